//! The demo's random numbers: SplitMix64, seeded, never from the operating system.
//!
//! Every generator takes its own stream, named by what it makes and for which day, so adding an
//! event to one generator changes nothing in the others.

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub struct Rng(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Rng {
    /// The stream of `name` for a seed and a day.
    pub fn new(seed: u64, name: &str, day: u64) -> Self {
        let mut state = Self(seed ^ label(name) ^ day.wrapping_mul(GOLDEN));
        state.next();
        state
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in `0..bound`; the bias for bounds this small is far below what a demo shows.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `low..=high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as u64) as i64
    }

    /// True in `percent` of 100 draws.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    /// Appends a version 4 UUID in lower case.
    pub fn push_uuid(&mut self, out: &mut String) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let high = (self.next() & !0xf000) | 0x4000;
        let low = (self.next() >> 2) | 0x8000_0000_0000_0000;
        for (word, dashes) in [(high, [8, 12]), (low, [0, 4])] {
            for digit in 0..16 {
                if dashes.contains(&digit) {
                    out.push('-');
                }
                out.push(char::from(HEX[(word >> (60 - 4 * digit)) as usize & 15]));
            }
        }
    }

    pub fn uuid(&mut self) -> String {
        let mut text = String::with_capacity(36);
        self.push_uuid(&mut text);
        text
    }

    /// `length` characters of `alphabet`, which is ASCII.
    pub fn text(&mut self, alphabet: &[u8], length: usize) -> String {
        (0..length)
            .map(|_| char::from(*self.pick(alphabet)))
            .collect()
    }

    pub fn hex(&mut self, length: usize) -> String {
        self.text(b"0123456789abcdef", length)
    }
}

/// FNV-1a of a name.
fn label(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_stable_and_apart() {
        assert_eq!(Rng::new(7, "a", 1).next(), Rng::new(7, "a", 1).next());
        assert_ne!(Rng::new(7, "a", 1).next(), Rng::new(7, "a", 2).next());
        assert_ne!(Rng::new(7, "a", 1).next(), Rng::new(7, "b", 1).next());
        assert_ne!(Rng::new(7, "a", 1).next(), Rng::new(8, "a", 1).next());
    }

    #[test]
    fn uuid_is_version_4() {
        let text = Rng::new(1, "uuid", 0).uuid();
        let bytes = text.as_bytes();
        assert_eq!(text.len(), 36);
        assert_eq!(bytes[14], b'4');
        assert!(b"89ab".contains(&bytes[19]), "{text}");
        for dash in [8, 13, 18, 23] {
            assert_eq!(bytes[dash], b'-', "{text}");
        }
    }

    #[test]
    fn ranges_hold() {
        let mut rng = Rng::new(3, "ranges", 0);
        for _ in 0..1_000 {
            assert!((-3..=4).contains(&rng.between(-3, 4)));
            assert!(rng.below(5) < 5);
        }
    }
}
