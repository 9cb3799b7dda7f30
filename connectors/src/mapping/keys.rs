//! Keys and what each leads to.

/// Keys and what each leads to: a hash table with open addressing, filled once.
///
/// A key of at most 16 bytes stands in the table itself, so that a look-up compares two words and follows no pointer.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// A power of two, at most half full.
    table: Vec<Entry>,
    count: usize,
}

#[derive(Debug, Default, Clone)]
struct Entry {
    words: [u64; 2],
    /// Length of the key plus one; 0 if nothing stands here.
    length: u32,
    value: u16,
    /// The whole key, if the words do not tell it.
    long: Option<Box<[u8]>>,
}

impl Keys {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    #[inline(always)]
    pub fn get(&self, key: &[u8]) -> Option<u16> {
        if self.table.is_empty() {
            return None;
        }
        let words = words(key);
        let length = key.len() as u32 + 1;
        let mut at = hash(words, length) & (self.table.len() - 1);
        loop {
            let entry = &self.table[at];
            if entry.length == length
                && entry.words == words
                && (key.len() <= 16 || entry.long.as_deref() == Some(key))
            {
                return Some(entry.value);
            }
            if entry.length == 0 {
                return None;
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
        self.count += 1;
        if self.table.len() < self.count * 2 {
            let larger = vec![Entry::default(); (self.count * 2).next_power_of_two()];
            for entry in std::mem::replace(&mut self.table, larger) {
                if entry.length > 0 {
                    self.put(entry);
                }
            }
        }
        self.put(Entry {
            words: words(key),
            length: key.len() as u32 + 1,
            value,
            long: (key.len() > 16).then(|| key.into()),
        });
        value
    }

    fn put(&mut self, entry: Entry) {
        let mut at = hash(entry.words, entry.length) & (self.table.len() - 1);
        while self.table[at].length > 0 {
            at = (at + 1) & (self.table.len() - 1);
        }
        self.table[at] = entry;
    }
}

/// The first and the last bytes of a key: with its length they tell a key of at most 16 bytes.
#[inline(always)]
fn words(key: &[u8]) -> [u64; 2] {
    if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
        return [u64::from_le_bytes(*first), u64::from_le_bytes(*last)];
    }
    if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return [u64::from(first), u64::from(last)];
    }
    let byte = |at: usize| key.get(at).copied().map_or(0, u64::from);
    [byte(0) | byte(1) << 8 | byte(2) << 16, 0]
}

#[inline(always)]
fn hash(words: [u64; 2], length: u32) -> usize {
    let mixed = words[0] ^ words[1].rotate_left(29) ^ u64::from(length);
    (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_all_lengths_are_told_apart() {
        let mut keys = Keys::default();
        let mut known = vec![];
        for length in 0..40usize {
            for change in 0..length.max(1) {
                let mut key = vec![b'k'; length];
                if let Some(byte) = key.get_mut(change) {
                    *byte = b'x';
                }
                known.push(key);
            }
        }
        for (place, key) in known.iter().enumerate() {
            assert_eq!(keys.get(key), None, "{key:?}");
            assert_eq!(keys.get_or_insert(key, || place as u16), place as u16);
            assert_eq!(keys.get_or_insert(key, || 9999), place as u16);
        }
        for (place, key) in known.iter().enumerate() {
            assert_eq!(keys.get(key), Some(place as u16));
        }
        assert!(!keys.is_empty() && !keys.has(&[b'y'; 12]) && !keys.has(&[b'y'; 20]));
    }
}
