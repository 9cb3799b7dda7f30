//! Keys and what each leads to.

/// Keys and what each leads to: a hash table with open addressing, filled once.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    entries: Vec<(Box<[u8]>, u16)>,
    /// Indices of entries plus one; a power of two, at most half full.
    table: Vec<u16>,
}

impl Keys {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[inline]
    fn place(&self, key: &[u8]) -> usize {
        let end = key.len();
        let byte = |at: usize| u32::from(key.get(at).copied().unwrap_or_default());
        let sample = byte(0) | byte(end / 2) << 8 | byte(end.wrapping_sub(1)) << 16;
        let hash = (sample ^ (end as u32) << 21).wrapping_mul(0x9E37_79B1);
        (hash >> 15) as usize & (self.table.len() - 1)
    }

    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<u16> {
        if self.table.is_empty() {
            return None;
        }
        let mut at = self.place(key);
        loop {
            let (known, value) = match self.table[at] {
                0 => return None,
                index => &self.entries[index as usize - 1],
            };
            if is_same(known, key) {
                return Some(*value);
            }
            at = (at + 1) & (self.table.len() - 1);
        }
    }

    #[inline]
    pub fn has(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// What the key leads to; `new` if nothing yet.
    pub fn get_or_insert(&mut self, key: &[u8], new: impl FnOnce() -> u16) -> u16 {
        if let Some(value) = self.get(key) {
            return value;
        }
        let value = new();
        self.entries.push((key.into(), value));
        self.table = vec![0; (self.entries.len() * 2).next_power_of_two()];
        for index in 0..self.entries.len() {
            let mut at = self.place(&self.entries[index].0);
            while self.table[at] != 0 {
                at = (at + 1) & (self.table.len() - 1);
            }
            self.table[at] = index as u16 + 1;
        }
        value
    }
}

/// Whether two keys are the same; most are short.
#[inline(always)]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let words = |key: &[u8]| {
        let first = key.first_chunk().copied().map(u64::from_le_bytes);
        (first, key.last_chunk().copied().map(u64::from_le_bytes))
    };
    let bytes = |key: &[u8]| {
        let first = key.first_chunk().copied().map(u32::from_le_bytes);
        (first, key.last_chunk().copied().map(u32::from_le_bytes))
    };
    one.len() == other.len()
        && match one.len() {
            4..8 => bytes(one) == bytes(other),
            8..=16 => words(one) == words(other),
            _ => one == other,
        }
}
