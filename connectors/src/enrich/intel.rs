//! Threat intelligence: addresses, networks, domains and hashes from CSV lists, matched against events.
//!
//! What is matched: `ip` and `cidr` against the source and the destination address, `domain` against the
//! source domain and its parent domains, `hash` (SHA-256) against the digest in an image name
//! (`…@sha256:…`); other hashes are loaded and match nothing, since no column holds file hashes. The first
//! of these that matches an event is its indicator; of several for one address the longest prefix wins,
//! then the higher confidence, then the earlier line. An indicator that expired before the event's own
//! time does not match, so a replay answers as the live run did.
//!
//! The cost of a lookup depends on how many different prefix lengths the lists have, never on their size.

use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, StringViewArray, UInt32Array};
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use hashbrown::HashMap;
use jiff::Timestamp;
use weir_engine::Result;
use weir_engine::schema::col;

use super::list::{self, Line};
use super::{Distinct, replace};

/// End of a chain of indicators with equal key.
const NONE: u32 = u32::MAX;
/// Confidence of an indicator whose list states none.
const DEFAULT_CONFIDENCE: u8 = 50;

#[derive(Debug)]
struct Indicator {
    /// As the list writes it.
    value: String,
    /// `ip` (also for networks), `domain` or `hash`.
    kind: &'static str,
    source: Arc<str>,
    confidence: u8,
    /// µs since the epoch.
    expires: Option<i64>,
    /// Next best indicator with the same key.
    next: u32,
}

/// Networks of one address family, by prefix length, longest first.
type Networks<K> = Vec<(u8, HashMap<K, u32>)>;

/// Indicators that one value may match, best first.
type LookUp = fn(&Intel, &str) -> Vec<u32>;

#[derive(Debug, Default)]
pub struct Intel {
    indicators: Vec<Indicator>,
    v4: Networks<u32>,
    v6: Networks<u128>,
    domains: HashMap<String, u32>,
    sha256: HashMap<String, u32>,
}

/// What an indicator is looked up by.
#[derive(Debug, PartialEq)]
enum Key {
    V4(u32, u8),
    V6(u128, u8),
    Domain(String),
    Sha256(String),
    /// A hash that no column can hold.
    OtherHash,
}

impl Intel {
    pub fn open(paths: &[PathBuf], warnings: &mut Vec<String>) -> Self {
        let mut read: Vec<(Key, Indicator)> = vec![];
        for path in paths {
            let stem = path.file_stem().map(|stem| stem.to_string_lossy());
            let list: Arc<str> = stem.unwrap_or_default().into();
            list::read(
                path,
                &["indicator", "type"],
                &["source", "confidence", "expires"],
                warnings,
                |line| {
                    read.push(parse(line, &list)?);
                    Ok(())
                },
            );
        }
        Self::build(read)
    }

    fn build(mut read: Vec<(Key, Indicator)>) -> Self {
        // Worst first: each indicator is put in front of those with its key.
        read.reverse();
        read.sort_by_key(|(_, indicator)| indicator.confidence);
        let mut intel = Self::default();
        for (key, mut indicator) in read {
            let number = intel.indicators.len() as u32;
            let before = match key {
                Key::V4(net, length) => push(&mut intel.v4, net, length, number),
                Key::V6(net, length) => push(&mut intel.v6, net, length, number),
                Key::Domain(name) => intel.domains.insert(name, number),
                Key::Sha256(digest) => intel.sha256.insert(digest, number),
                Key::OtherHash => None,
            };
            indicator.next = before.unwrap_or(NONE);
            intel.indicators.push(indicator);
        }
        intel.v4.sort_by_key(|(length, _)| u8::MAX - length);
        intel.v6.sort_by_key(|(length, _)| u8::MAX - length);
        intel
    }

    pub fn len(&self) -> usize {
        self.indicators.len()
    }

    /// Fills the `osint_*` columns; false when there are no indicators.
    pub fn fill(
        &self,
        src: Option<&Distinct>,
        events: &RecordBatch,
        columns: &mut [ArrayRef],
    ) -> Result<bool> {
        if self.indicators.is_empty() {
            return Ok(false);
        }
        let addresses = !self.v4.is_empty() || !self.v6.is_empty();
        let when = |wanted: bool, column: usize| {
            wanted
                .then(|| Distinct::of(events.column(column)))
                .flatten()
        };
        let dst = when(addresses, col::DST_IP);
        let domain = when(!self.domains.is_empty(), col::SRC_DOMAIN);
        let image = when(!self.sha256.is_empty(), col::CONTAINER_IMAGE);
        let lookups: [(Option<&Distinct>, LookUp); 4] = [
            (src.filter(|_| addresses), Self::by_address),
            (dst.as_ref(), Self::by_address),
            (domain.as_ref(), Self::by_domain),
            (image.as_ref(), Self::by_image),
        ];
        // Per distinct value of a column, the indicators it may match. Columns without any drop out here,
        // which is nearly always all of them.
        let hits: Vec<(&Distinct, Vec<Vec<u32>>)> = lookups
            .into_iter()
            .filter_map(|(distinct, look_up)| {
                let distinct = distinct?;
                let mut found = vec![vec![]; distinct.values.len()];
                for (number, text) in distinct.iter() {
                    found[number] = look_up(self, text);
                }
                found
                    .iter()
                    .any(|f| !f.is_empty())
                    .then_some((distinct, found))
            })
            .collect();

        let times = events
            .column(col::TIME)
            .as_primitive::<TimestampMicrosecondType>();
        let mut matched: Vec<Option<&Indicator>> = vec![None];
        let mut of_row = vec![0u32; events.num_rows()];
        let mut local: HashMap<u32, u32> = HashMap::new();
        for (distinct, found) in &hits {
            for (row, number) in distinct.of_row.iter().enumerate() {
                let candidates = &found[*number as usize];
                if of_row[row] != 0 || candidates.is_empty() {
                    continue;
                }
                let live = |number: &&u32| {
                    let expires = self.indicators[**number as usize].expires;
                    expires.is_none_or(|expires| times.value(row) < expires)
                };
                if let Some(number) = candidates.iter().find(live) {
                    of_row[row] = *local.entry(*number).or_insert_with(|| {
                        matched.push(Some(&self.indicators[*number as usize]));
                        matched.len() as u32 - 1
                    });
                }
            }
        }
        let of_row = UInt32Array::from(of_row);
        let mut put = |column: usize, part: fn(&Indicator) -> &str| {
            let values = StringViewArray::from_iter(matched.iter().map(|m| m.map(part)));
            replace(columns, column, Arc::new(values), &of_row)
        };
        put(col::OSINT_VALUE, |indicator| &indicator.value)?;
        put(col::OSINT_TYPE, |indicator| indicator.kind)?;
        put(col::OSINT_SOURCE, |indicator| &indicator.source)?;
        Ok(true)
    }

    /// Indicators with the same key as this one, best first, appended to `found`.
    fn chain(&self, mut number: u32, found: &mut Vec<u32>) {
        while number != NONE {
            found.push(number);
            number = self.indicators[number as usize].next;
        }
    }

    fn by_address(&self, text: &str) -> Vec<u32> {
        let mut found = vec![];
        match text.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(IpAddr::V4(address)) => {
                for (length, nets) in &self.v4 {
                    if let Some(number) = nets.get(&mask4(address.to_bits(), *length)) {
                        self.chain(*number, &mut found);
                    }
                }
            }
            Ok(IpAddr::V6(address)) => {
                for (length, nets) in &self.v6 {
                    if let Some(number) = nets.get(&mask6(address.to_bits(), *length)) {
                        self.chain(*number, &mut found);
                    }
                }
            }
            Err(_) => {}
        }
        found
    }

    fn by_domain(&self, text: &str) -> Vec<u32> {
        let mut found = vec![];
        let name = text.trim_end_matches('.').to_ascii_lowercase();
        let mut rest = Some(name.as_str());
        while let Some(name) = rest {
            if let Some(number) = self.domains.get(name) {
                self.chain(*number, &mut found);
            }
            rest = name.split_once('.').map(|(_, parent)| parent);
        }
        found
    }

    fn by_image(&self, text: &str) -> Vec<u32> {
        let mut found = vec![];
        if let Some((_, digest)) = text.split_once("@sha256:")
            && let Some(number) = self.sha256.get(digest)
        {
            self.chain(*number, &mut found);
        }
        found
    }
}

fn push<K: Hash + Eq>(nets: &mut Networks<K>, net: K, length: u8, number: u32) -> Option<u32> {
    let position = match nets.iter().position(|(known, _)| *known == length) {
        Some(position) => position,
        None => {
            nets.push((length, HashMap::new()));
            nets.len() - 1
        }
    };
    nets[position].1.insert(net, number)
}

fn mask4(bits: u32, length: u8) -> u32 {
    bits & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

fn mask6(bits: u128, length: u8) -> u128 {
    bits & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

fn parse(line: &Line, list: &Arc<str>) -> Result<(Key, Indicator), String> {
    let value = line.get("indicator").unwrap_or_default();
    let kind = line.get("type").unwrap_or_default().to_ascii_lowercase();
    let (kind, key) = match kind.as_str() {
        "ip" => ("ip", address(value).ok_or_else(|| wrong(value, "address"))?),
        "cidr" => ("ip", network(value).ok_or_else(|| wrong(value, "network"))?),
        "domain" => (
            "domain",
            domain(value).ok_or_else(|| wrong(value, "domain"))?,
        ),
        "hash" => ("hash", hash(value).ok_or_else(|| wrong(value, "hash"))?),
        other => {
            return Err(format!(
                "type {other:?} is not known; use ip, cidr, domain or hash"
            ));
        }
    };
    let confidence = match line.get("confidence") {
        None => DEFAULT_CONFIDENCE,
        Some(text) => match text.parse() {
            Ok(number @ 0..=100) => number,
            _ => return Err(format!("confidence {text:?} is not a number from 0 to 100")),
        },
    };
    let expires = match line.get("expires") {
        None => None,
        Some(text) => match text.parse::<Timestamp>() {
            Ok(time) => Some(time.as_microsecond()),
            Err(_) => {
                return Err(format!(
                    "expires {text:?} is not a time such as 2027-01-31T00:00:00Z"
                ));
            }
        },
    };
    let indicator = Indicator {
        value: value.to_owned(),
        kind,
        source: line.get("source").map_or_else(|| list.clone(), Arc::from),
        confidence,
        expires,
        next: NONE,
    };
    Ok((key, indicator))
}

fn wrong(value: &str, kind: &str) -> String {
    format!("{value:?} is not a valid {kind}")
}

fn address(text: &str) -> Option<Key> {
    match text.parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(address) => Some(Key::V4(address.to_bits(), 32)),
        IpAddr::V6(address) => Some(Key::V6(address.to_bits(), 128)),
    }
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

/// A domain of at least two labels: a lone `com` would match half the world.
fn domain(text: &str) -> Option<Key> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let label = |label: &str| {
        let allowed = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
        !label.is_empty() && label.chars().all(allowed)
    };
    let valid = name.contains('.') && name.split('.').all(label) && address(&name).is_none();
    valid.then_some(Key::Domain(name))
}

fn hash(text: &str) -> Option<Key> {
    let digest = text.strip_prefix("sha256:").unwrap_or(text);
    let hex = digest.bytes().all(|b| b.is_ascii_hexdigit());
    match digest.len() {
        64 if hex => Some(Key::Sha256(digest.to_ascii_lowercase())),
        32 | 40 | 128 if hex => Some(Key::OtherHash),
        _ => None,
    }
}

#[cfg(test)]
#[path = "intel_tests.rs"]
mod tests;
