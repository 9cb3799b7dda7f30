//! Ids of events in little memory: nearly all are UUIDs or hashes of 128 bits.

use std::cmp::Ordering;

/// An id, ordered as its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uid {
    /// 8-4-4-4-12 digits in small letters.
    Uuid([u8; 16]),
    /// 32 hexadecimal digits in small letters.
    Hash([u8; 16]),
    Other(Box<str>),
}

/// Places of the dashes of a UUID.
const DASHES: [usize; 4] = [8, 13, 18, 23];

impl Uid {
    pub fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let number = match bytes.len() {
            36 if DASHES.iter().all(|place| bytes[*place] == b'-') => {
                let digits = bytes.iter().enumerate();
                let digits = digits.filter(|(place, _)| !DASHES.contains(place));
                number(digits.map(|(_, digit)| *digit)).map(Self::Uuid)
            }
            32 => number(bytes.iter().copied()).map(Self::Hash),
            _ => None,
        };
        number.unwrap_or_else(|| Self::Other(text.into()))
    }

    pub fn text(&self) -> String {
        let (number, dashes) = match self {
            Self::Uuid(number) => (number, true),
            Self::Hash(number) => (number, false),
            Self::Other(text) => return text.to_string(),
        };
        let mut text = String::with_capacity(36);
        for byte in number {
            if dashes && DASHES.contains(&text.len()) {
                text.push('-');
            }
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from(HEX[usize::from(digit)]));
            }
        }
        text
    }

    /// As it is stored: a letter for the kind, and its bytes.
    pub fn write(&self, to: &mut Vec<u8>) {
        let (kind, bytes) = match self {
            Self::Uuid(number) => (b'u', &number[..]),
            Self::Hash(number) => (b'h', &number[..]),
            Self::Other(text) => (b't', text.as_bytes()),
        };
        to.push(kind);
        to.extend_from_slice(bytes);
    }

    /// What [`write`](Self::write) wrote; none if it is something else.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (kind, bytes) = bytes.split_first()?;
        Some(match kind {
            b'u' => Self::Uuid(bytes.try_into().ok()?),
            b'h' => Self::Hash(bytes.try_into().ok()?),
            b't' => Self::Other(str::from_utf8(bytes).ok()?.into()),
            _ => return None,
        })
    }

    /// Memory beside its own size.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Uuid(_) | Self::Hash(_) => 0,
            Self::Other(text) => text.len(),
        }
    }
}

impl Ord for Uid {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            // Digits are ordered as their values, and dashes stand at the same places.
            (Self::Uuid(a), Self::Uuid(b)) | (Self::Hash(a), Self::Hash(b)) => a.cmp(b),
            (Self::Other(a), Self::Other(b)) => a.cmp(b),
            _ => self.text().cmp(&other.text()),
        }
    }
}

impl PartialOrd for Uid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// 32 digits in small letters.
fn number(mut digits: impl Iterator<Item = u8>) -> Option<[u8; 16]> {
    let mut number = [0; 16];
    for byte in &mut number {
        let mut next = || match digits.next()? {
            digit @ b'0'..=b'9' => Some(digit - b'0'),
            digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        *byte = (next()? << 4) | next()?;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_their_text_and_order() {
        let texts = [
            "",
            "00000000-0000-0000-0000-000000000000",
            "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
            "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8fa",
            "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
            "ffffffffffffffffffffffffffffffff",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            // None of the two kinds.
            "0A1B2C3D-4e5f-6071-8293-a4b5c6d7e8f9",
            "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f",
            "0a1b2c3d4e5f-6071-8293-a4b5c6d7e8f9-",
            "0a1b2c3d4e5f60718293a4b5c6d7e8fg",
            "\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}",
            "event 7",
        ];
        for a in texts {
            let mut stored = vec![];
            Uid::new(a).write(&mut stored);
            assert_eq!(Uid::read(&stored), Some(Uid::new(a)));
            assert_eq!(Uid::new(a).text(), a);
            for b in texts {
                assert_eq!(Uid::new(a).cmp(&Uid::new(b)), a.cmp(b), "{a} {b}");
            }
        }
        assert_eq!(size_of::<(i64, Uid)>(), 32);
        for wrong in [&b""[..], b"u", b"h0123", b"t\xff", b"xabc"] {
            assert_eq!(Uid::read(wrong), None);
        }
    }
}
