//! What a list's text means: an address, a network, a domain, a URL or a file hash, written plainly or made
//! harmless (`hxxp://bad[.]example`).

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Also networks.
    Ip,
    Domain,
    Url,
    Hash,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Domain => "domain",
            Self::Url => "url",
            Self::Hash => "hash",
        }
    }

    /// The kind that a list's own word stands for.
    pub fn of_word(word: &str) -> Option<Self> {
        let word = word.trim().to_ascii_lowercase().replace([' ', '-'], "_");
        Some(match word.as_str() {
            "ip" | "ipv4" | "ipv6" | "ip_address" | "ipv4_addr" | "ipv6_addr" | "ip_src"
            | "ip_dst" | "ip:port" | "cidr" | "network" | "subnet" | "address" => Self::Ip,
            "domain" | "domain_name" | "hostname" | "host" | "fqdn" => Self::Domain,
            "url" | "uri" | "link" => Self::Url,
            "hash" | "file_hash" | "filehash" | "md5" | "sha1" | "sha_1" | "sha256" | "sha_256"
            | "sha512" | "sha_512" | "md5_hash" | "sha1_hash" | "sha256_hash" | "filehash_md5"
            | "filehash_sha1" | "filehash_sha256" => Self::Hash,
            _ => return None,
        })
    }
}

/// What an indicator is looked up by; domains, URLs and hashes by their text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Key {
    V4(u32, u8),
    V6(u128, u8),
    Text(Kind),
}

impl Key {
    pub fn kind(self) -> Kind {
        match self {
            Self::V4(..) | Self::V6(..) => Kind::Ip,
            Self::Text(kind) => kind,
        }
    }
}

/// Reads a value, of one kind if the list says which. Gives its usual form; addresses and networks stay as
/// they are written.
pub fn read(text: &str, kind: Option<Kind>) -> Result<(Cow<'_, str>, Key), String> {
    let text = refang(text);
    let found = match kind {
        Some(kind) => one(&text, kind),
        None => [Kind::Ip, Kind::Hash, Kind::Url, Kind::Domain]
            .into_iter()
            .find_map(|kind| one(&text, kind)),
    };
    match found {
        Some((_, Key::V4(_, 0) | Key::V6(_, 0))) => {
            Err(format!("{text:?} is every address there is"))
        }
        Some((Some(usual), key)) => Ok((Cow::Owned(usual), key)),
        Some((None, key)) => Ok((text, key)),
        None => Err(match kind {
            Some(Kind::Ip) if text.contains('/') => format!("{text:?} is not a valid network"),
            Some(Kind::Ip) => format!("{text:?} is not a valid address"),
            Some(kind) => format!("{text:?} is not a valid {}", kind.name()),
            None => format!("{text:?} is no address, network, domain, URL or hash"),
        }),
    }
}

/// The key, and the usual form where it differs.
fn one(text: &str, kind: Kind) -> Option<(Option<String>, Key)> {
    match kind {
        Kind::Ip => network(text)
            .or_else(|| address(text))
            .or_else(|| with_port(text))
            .map(|key| (None, key)),
        Kind::Domain => domain(text).map(|name| (Some(name), Key::Text(kind))),
        Kind::Url => {
            let usual = url(text)?;
            // Without a scheme, an address with a slash is a damaged network.
            let host = host_of(&usual);
            let bare = text.contains('/') && domain(host).is_some();
            if !bare && !text.contains("://") {
                return None;
            }
            Some((Some(usual), Key::Text(kind)))
        }
        Kind::Hash => hash(text).map(|digest| (Some(digest), Key::Text(kind))),
    }
}

/// Undoes what makes an indicator safe to click on.
pub fn refang(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    let lower = |prefix: &str| {
        text.get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let marked = text.contains(['[', '(', '{']) || lower("hxxp") || lower("fxp");
    if !marked {
        return Cow::Borrowed(text);
    }
    let mut plain = text.to_owned();
    for (harmless, meant) in [
        ("[.]", "."),
        ("(.)", "."),
        ("{.}", "."),
        ("[dot]", "."),
        ("(dot)", "."),
        ("[:]", ":"),
        ("[://]", "://"),
        ("[/]", "/"),
        ("[@]", "@"),
    ] {
        if plain.contains(harmless) {
            plain = plain.replace(harmless, meant);
        }
    }
    for (harmless, meant) in [("hxxps", "https"), ("hxxp", "http"), ("fxp", "ftp")] {
        if plain
            .get(..harmless.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(harmless))
        {
            plain.replace_range(..harmless.len(), meant);
            break;
        }
    }
    Cow::Owned(plain)
}

pub fn address(text: &str) -> Option<Key> {
    match text.parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(address) => Some(Key::V4(address.to_bits(), 32)),
        IpAddr::V6(address) => Some(Key::V6(address.to_bits(), 128)),
    }
}

fn with_port(text: &str) -> Option<Key> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    port.parse::<u16>().ok().and_then(|_| address(host))
}

/// A network; bits behind the prefix are ignored, and a network of IPv4-mapped addresses is IPv4.
fn network(text: &str) -> Option<Key> {
    let (start, length) = text.split_once('/')?;
    let length: u8 = length.parse().ok()?;
    match start.parse::<IpAddr>().ok()? {
        IpAddr::V4(start) if length <= 32 => Some(v4(start, length)),
        IpAddr::V6(start) if length <= 128 => Some(v6(start, length)),
        _ => None,
    }
}

fn v4(start: Ipv4Addr, length: u8) -> Key {
    Key::V4(mask4(start.to_bits(), length), length)
}

fn v6(start: Ipv6Addr, length: u8) -> Key {
    match start.to_ipv4_mapped() {
        Some(start) if length >= 96 => v4(start, length - 96),
        _ => Key::V6(mask6(start.to_bits(), length), length),
    }
}

pub fn mask4(bits: u32, length: u8) -> u32 {
    bits & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

pub fn mask6(bits: u128, length: u8) -> u128 {
    bits & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

/// A domain of at least two labels: a lone `com` would match half the world.
pub fn domain(text: &str) -> Option<String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let label = |label: &str| {
        let allowed = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
        !label.is_empty() && label.chars().all(allowed)
    };
    // A last label of digits is a damaged address.
    let digits = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    let valid = name.contains('.')
        && name.split('.').all(label)
        && !name.rsplit('.').next().is_some_and(digits);
    valid.then_some(name)
}

/// A URL without scheme, user and fragment, its host in lower case: lists say `http` where a proxy logs
/// `https`. None without a host.
pub fn url(text: &str) -> Option<String> {
    let is_scheme = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(is_scheme) => rest,
        _ => text,
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let host = host.rsplit('@').next().unwrap_or_default();
    let host = host
        .strip_suffix(":80")
        .or_else(|| host.strip_suffix(":443"))
        .unwrap_or(host);
    let name = host_of(host);
    let valid = domain(name).is_some() || name.parse::<IpAddr>().is_ok();
    valid.then(|| {
        let path = if path == "/" { "" } else { path };
        format!("{}{path}", host.to_ascii_lowercase())
    })
}

/// The host of a URL in its usual form, without port and brackets.
pub fn host_of(url: &str) -> &str {
    let end = url.find(['/', '?']).unwrap_or(url.len());
    let host = &url[..end];
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.contains(':') => {
            name
        }
        _ => host,
    }
}

/// MD5, SHA-1, SHA-256 or SHA-512 as lower-case hex.
pub fn hash(text: &str) -> Option<String> {
    let digest = text.rsplit_once(':').map_or(text, |(_, digest)| digest);
    let hex = digest.bytes().all(|b| b.is_ascii_hexdigit());
    (hex && matches!(digest.len(), 32 | 40 | 64 | 128)).then(|| digest.to_ascii_lowercase())
}
