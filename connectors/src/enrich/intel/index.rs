//! Indicators in memory: 32 bytes each, its text in one long buffer, and a table per kind that holds numbers
//! only. A lookup costs the same for ten and for a million of them; addresses cost one lookup per prefix
//! length that occurs.

use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::value::{self, Key, Kind, mask4, mask6};

/// End of a chain of indicators with equal key.
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
pub struct Indicator {
    start: u32,
    length: u16,
    pub kind: Kind,
    pub confidence: u8,
    /// Number of its origin.
    origin: u32,
    /// Next best indicator with the same key.
    next: u32,
    /// Valid from here, µs since the epoch; `i64::MIN` is always.
    pub from: i64,
    /// Valid before this; `i64::MAX` is for ever.
    pub until: i64,
}

impl Indicator {
    pub fn valid_at(&self, time: i64) -> bool {
        self.from <= time && time < self.until
    }
}

/// What many indicators have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Name of the list.
    pub source: Arc<str>,
    /// JSON array.
    pub labels: Option<Arc<str>>,
}

/// Networks of one address family, by prefix length, longest first.
type Networks<K> = Vec<(u8, HashMap<K, u32>)>;

#[derive(Debug, Default)]
pub struct Index {
    indicators: Vec<Indicator>,
    texts: String,
    origins: Vec<Origin>,
    v4: Networks<u32>,
    v6: Networks<u128>,
    domains: HashTable<u32>,
    urls: HashTable<u32>,
    hashes: HashTable<u32>,
    hasher: DefaultHashBuilder,
    used: usize,
}

/// Collects indicators, then makes an index of them.
#[derive(Debug, Default)]
pub struct Collected {
    indicators: Vec<Indicator>,
    texts: String,
    origins: Vec<Origin>,
    known: HashMap<Origin, u32>,
}

impl Collected {
    pub fn push(
        &mut self,
        text: &str,
        kind: Kind,
        origin: &Origin,
        confidence: u8,
        valid: (i64, i64),
    ) -> Result<(), String> {
        let length = u16::try_from(text.len()).map_err(|_| "it is longer than 65535 bytes");
        let (Ok(start), length) = (u32::try_from(self.texts.len()), length?) else {
            return Err("there are more than 4 GiB of indicators".into());
        };
        let origin = match self.known.get(origin) {
            Some(number) => *number,
            None => {
                let number = self.origins.len() as u32;
                self.origins.push(origin.clone());
                self.known.insert(origin.clone(), number);
                number
            }
        };
        self.texts.push_str(text);
        self.indicators.push(Indicator {
            start,
            length,
            kind,
            confidence,
            origin,
            next: NONE,
            from: valid.0,
            until: valid.1,
        });
        Ok(())
    }

    pub fn index(mut self) -> Index {
        // Worst first: each indicator is put in front of those with its key.
        self.indicators.reverse();
        self.indicators
            .sort_by_key(|indicator| indicator.confidence);
        self.indicators.shrink_to_fit();
        self.texts.shrink_to_fit();
        let mut index = Index {
            indicators: self.indicators,
            texts: self.texts,
            origins: self.origins,
            ..Index::default()
        };
        for number in 0..index.indicators.len() as u32 {
            index.insert(number);
        }
        index.v4.sort_by_key(|(length, _)| u8::MAX - length);
        index.v6.sort_by_key(|(length, _)| u8::MAX - length);
        index
    }
}

impl Index {
    fn insert(&mut self, number: u32) {
        let indicator = self.indicators[number as usize];
        let key = match indicator.kind {
            Kind::Ip => match value::read(self.text(&indicator), Some(Kind::Ip)) {
                Ok((_, key)) => key,
                Err(_) => return,
            },
            kind => Key::Text(kind),
        };
        let mut before = match key {
            Key::V4(net, length) => push(&mut self.v4, net, length, number),
            Key::V6(net, length) => push(&mut self.v6, net, length, number),
            Key::Text(kind) => self.push_text(kind, number),
        };
        self.used += 1;
        // One that was never better and is not valid longer cannot be chosen any more.
        while let Some(known) = before.map(|before| self.indicators[before as usize])
            && indicator.from <= known.from
            && indicator.until >= known.until
        {
            before = Some(known.next).filter(|next| *next != NONE);
            self.used -= 1;
        }
        self.indicators[number as usize].next = before.unwrap_or(NONE);
    }

    fn push_text(&mut self, kind: Kind, number: u32) -> Option<u32> {
        let (indicators, texts, hasher) = (&self.indicators, &self.texts, &self.hasher);
        let text = |number: u32| {
            let it = &indicators[number as usize];
            &texts[it.start as usize..it.start as usize + usize::from(it.length)]
        };
        let own = text(number);
        let table = match kind {
            Kind::Domain => &mut self.domains,
            Kind::Url => &mut self.urls,
            Kind::Hash | Kind::Ip => &mut self.hashes,
        };
        let entry = table.entry(
            hasher.hash_one(own),
            |other| text(*other) == own,
            |other| hasher.hash_one(text(*other)),
        );
        match entry {
            Entry::Occupied(mut known) => Some(std::mem::replace(known.get_mut(), number)),
            Entry::Vacant(free) => {
                free.insert(number);
                None
            }
        }
    }

    /// Indicators that can match.
    pub fn len(&self) -> usize {
        self.used
    }

    pub fn has(&self, kind: Kind) -> bool {
        match kind {
            Kind::Ip => !self.v4.is_empty() || !self.v6.is_empty(),
            Kind::Domain => !self.domains.is_empty(),
            Kind::Url => !self.urls.is_empty(),
            Kind::Hash => !self.hashes.is_empty(),
        }
    }

    /// Bytes of memory, about.
    pub fn bytes(&self) -> usize {
        let nets = |capacity: usize, each: usize| capacity * 8 / 7 * (each + 1);
        let v4: usize = self.v4.iter().map(|(_, m)| nets(m.capacity(), 8)).sum();
        let v6: usize = self.v6.iter().map(|(_, m)| nets(m.capacity(), 32)).sum();
        let tables = [&self.domains, &self.urls, &self.hashes];
        let tables: usize = tables.iter().map(|t| nets(t.capacity(), 4)).sum();
        self.indicators.capacity() * size_of::<Indicator>()
            + self.texts.capacity()
            + v4
            + v6
            + tables
    }

    pub fn get(&self, number: u32) -> &Indicator {
        &self.indicators[number as usize]
    }

    pub fn text(&self, indicator: &Indicator) -> &str {
        let start = indicator.start as usize;
        &self.texts[start..start + usize::from(indicator.length)]
    }

    pub fn origin(&self, indicator: &Indicator) -> &Origin {
        &self.origins[indicator.origin as usize]
    }

    /// Indicators with the same key as this one, best first, appended to `found`.
    fn chain(&self, mut number: u32, found: &mut Vec<u32>) {
        while number != NONE {
            found.push(number);
            number = self.indicators[number as usize].next;
        }
    }

    /// Appends the indicators of an address, those of the longest prefix first.
    pub fn by_address(&self, address: IpAddr, found: &mut Vec<u32>) {
        match address {
            IpAddr::V4(address) => {
                for (length, nets) in &self.v4 {
                    if let Some(number) = nets.get(&mask4(address.to_bits(), *length)) {
                        self.chain(*number, found);
                    }
                }
            }
            IpAddr::V6(address) => {
                for (length, nets) in &self.v6 {
                    if let Some(number) = nets.get(&mask6(address.to_bits(), *length)) {
                        self.chain(*number, found);
                    }
                }
            }
        }
    }

    /// Appends the indicators with exactly this text.
    pub fn by_text(&self, kind: Kind, text: &str, found: &mut Vec<u32>) {
        let table = match kind {
            Kind::Domain => &self.domains,
            Kind::Url => &self.urls,
            Kind::Hash => &self.hashes,
            Kind::Ip => return,
        };
        let own = |number: &u32| self.text(self.get(*number)) == text;
        if let Some(number) = table.find(self.hasher.hash_one(text), own) {
            self.chain(*number, found);
        }
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
