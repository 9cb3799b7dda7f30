//! What is never a match: warning lists of addresses, domains and hashes that are known to be harmless or
//! shared by everybody.

use std::net::IpAddr;

use hashbrown::{HashMap, HashSet};

use super::value::{self, Key, Kind, host_of, mask4, mask6};

/// Kinds that an entry speaks about, as bits.
pub type Kinds = u8;
pub const ALL: Kinds = 0b1111;

pub fn bit(kind: Kind) -> Kinds {
    1 << kind as u8
}

/// How an entry is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By what it looks like: networks contain, domains include those below them, the rest is equal.
    Usual,
    Equal,
    Contains,
}

#[derive(Debug, Default)]
pub struct Exclusions {
    v4: HashSet<(u8, u32)>,
    v6: HashSet<(u8, u128)>,
    /// Prefix lengths that occur.
    lengths: (Vec<u8>, Vec<u8>),
    /// Domains with everything below them.
    domains: HashMap<String, Kinds>,
    equal: HashMap<String, Kinds>,
    contains: Vec<(String, Kinds)>,
}

impl Exclusions {
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len() + self.domains.len() + self.equal.len() + self.contains.len()
    }

    pub fn add(&mut self, text: &str, how: How, kinds: Kinds) -> Result<(), String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("an empty entry would exclude everything".into());
        }
        let known = value::read(text.trim_start_matches('.'), None);
        match (known, how) {
            (_, How::Contains) => self.contains.push((text.to_ascii_lowercase(), kinds)),
            (Ok((_, Key::V4(net, length))), _) => {
                self.v4.insert((length, net));
                remember(&mut self.lengths.0, length);
            }
            (Ok((_, Key::V6(net, length))), _) => {
                self.v6.insert((length, net));
                remember(&mut self.lengths.1, length);
            }
            (Ok((name, Key::Text(Kind::Domain))), How::Usual) => {
                *self.domains.entry(name.into_owned()).or_default() |= kinds;
            }
            (Ok((usual, Key::Text(_))), _) => {
                *self.equal.entry(usual.into_owned()).or_default() |= kinds;
            }
            (Err(_), How::Equal) => {
                *self.equal.entry(text.to_ascii_lowercase()).or_default() |= kinds;
            }
            (Err(reason), How::Usual) => return Err(reason),
        }
        Ok(())
    }

    /// Whether a value of an event, in its usual form, is no match whatever the indicators say.
    pub fn hold(&self, kind: Kind, text: &str) -> bool {
        if self.len() == 0 {
            return false;
        }
        let speaks = |kinds: &Kinds| kinds & bit(kind) != 0;
        if self.equal.get(text).is_some_and(speaks) {
            return true;
        }
        let host = if kind == Kind::Url {
            host_of(text)
        } else {
            text
        };
        let named = match kind {
            Kind::Ip => text.parse().is_ok_and(|address| self.address(address)),
            Kind::Domain | Kind::Url => {
                parents(host).any(|name| self.domains.get(name).is_some_and(speaks))
            }
            Kind::Hash => false,
        };
        let contains = |(part, kinds): &(String, Kinds)| speaks(kinds) && text.contains(part);
        named || self.contains.iter().any(contains)
    }

    fn address(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.lengths.0.iter().any(|length| {
                let net = mask4(address.to_bits(), *length);
                self.v4.contains(&(*length, net))
            }),
            IpAddr::V6(address) => self.lengths.1.iter().any(|length| {
                let net = mask6(address.to_bits(), *length);
                self.v6.contains(&(*length, net))
            }),
        }
    }
}

fn remember(lengths: &mut Vec<u8>, length: u8) {
    if !lengths.contains(&length) {
        lengths.push(length);
    }
}

/// A domain and the domains above it.
pub fn parents(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| {
        name.split_once('.').map(|(_, parent)| parent)
    })
}
