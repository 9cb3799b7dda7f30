//! From bytes to text: encodings and compression.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use flate2::bufread::GzDecoder;

/// How compressed data begins.
const GZIP: &[u8] = &[0x1F, 0x8B];

/// What a record's bytes are.
#[derive(Debug)]
pub(crate) enum Text<'a> {
    Utf8(&'a str),
    /// Text that had to be made of the bytes.
    Other(Made),
    Compressed,
}

/// Text in UTF-8 that was made of other bytes.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub text: String,
    /// Where U+FFFD stands for what could not be read.
    pub marks: Vec<usize>,
}

impl<'a> Text<'a> {
    pub fn of(bytes: &'a [u8]) -> Self {
        if bytes.starts_with(GZIP) {
            return Self::Compressed;
        }
        if let Some(order) = utf16(bytes) {
            return Self::Other(from_utf16(bytes, order));
        }
        // Just before the scan, which then finds the bytes in the cache.
        match simdutf8::basic::from_utf8(bytes) {
            Ok(text) => Self::Utf8(text),
            Err(_) => Self::Other(lossy(bytes)),
        }
    }
}

type Unit = fn([u8; 2]) -> u16;

/// The byte order of UTF-16: told by its mark, or by ASCII characters whose other bytes are all zero.
fn utf16(bytes: &[u8]) -> Option<Unit> {
    match *bytes.first_chunk::<4>()? {
        [0xFF, 0xFE, ..] => Some(u16::from_le_bytes),
        [0xFE, 0xFF, ..] => Some(u16::from_be_bytes),
        [1..=0x7F, 0, 1..=0x7F, 0] => Some(u16::from_le_bytes),
        [0, 1..=0x7F, 0, 1..=0x7F] => Some(u16::from_be_bytes),
        _ => None,
    }
}

fn from_utf16(bytes: &[u8], order: Unit) -> Made {
    let mut made = Made::default();
    let (units, rest) = bytes.as_chunks::<2>();
    for character in char::decode_utf16(units.iter().map(|unit| order(*unit))) {
        made.push(character.ok());
    }
    if !rest.is_empty() {
        made.push(None);
    }
    made
}

fn lossy(bytes: &[u8]) -> Made {
    let mut made = Made::default();
    made.text.reserve(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        made.text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            made.push(None);
        }
    }
    made
}

impl Made {
    fn push(&mut self, character: Option<char>) {
        if character.is_none() {
            self.marks.push(self.text.len());
        }
        self.text
            .push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
}

/// What compressed bytes became.
#[derive(Debug, Default)]
pub(crate) struct Inflated {
    pub bytes: Vec<u8>,
    /// Compressed bytes that could not be read, and why; the first such place.
    pub lost: Option<(u64, String)>,
    /// More than the limit.
    pub is_cut: bool,
}

/// Unpacks one gzip member after the other. Behind a damaged one it goes on with the next; what was read of it before the
/// damage is kept, and ends with a line end.
pub(crate) fn inflate(packed: &[u8], limit: usize) -> Inflated {
    let mut inflated = Inflated::default();
    let mut at = 0;
    while at < packed.len() {
        let mut member = GzDecoder::new(&packed[at..]);
        let room = limit.saturating_sub(inflated.bytes.len()) as u64 + 1;
        let read = (&mut member).take(room).read_to_end(&mut inflated.bytes);
        if inflated.bytes.len() > limit {
            inflated.bytes.truncate(limit);
            inflated.is_cut = true;
            return inflated;
        }
        let left = member.into_inner().len();
        match read {
            Ok(_) => {
                at = packed.len() - left;
                // Some writers fill a block up with zeros.
                at += packed[at..].iter().take_while(|byte| **byte == 0).count();
            }
            Err(error) => {
                let next = memchr::memmem::find(&packed[at + 2..], &[0x1F, 0x8B, 8]);
                let end = next.map_or(packed.len(), |next| at + 2 + next);
                let (bytes, _) = inflated.lost.get_or_insert((0, error.to_string()));
                *bytes += (end - at) as u64;
                inflated.bytes.push(b'\n');
                at = end;
            }
        }
    }
    inflated
}

/// Lines that a container runtime cut into pieces, as far as they came. Kept from block to block, not over a restart: a line
/// that is cut by one ends as a dead letter.
#[derive(Debug, Default)]
pub(crate) struct Pieces(HashMap<(Arc<str>, String), Vec<u8>>);

impl Pieces {
    /// Adds a piece of a line; nothing is kept of a line longer than `limit`. Returns what was too long.
    pub fn add(
        &mut self,
        partition: &Arc<str>,
        stream: &str,
        text: &[u8],
        limit: usize,
    ) -> Option<Vec<u8>> {
        let key = (partition.clone(), stream.to_owned());
        let line = self.0.entry(key.clone()).or_default();
        line.extend_from_slice(text);
        match line.len() > limit {
            true => self.0.remove(&key),
            false => None,
        }
    }

    /// The pieces that came so far, which are then forgotten.
    pub fn take(&mut self, partition: &Arc<str>, stream: &str) -> Option<Vec<u8>> {
        match self.0.is_empty() {
            true => None,
            false => self.0.remove(&(partition.clone(), stream.to_owned())),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use super::*;

    fn made(bytes: &[u8]) -> (String, Vec<usize>) {
        match Text::of(bytes) {
            Text::Other(made) => (made.text, made.marks),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn text_of_every_encoding() {
        let text = "{\"a\":\"é😀\"}";
        assert!(matches!(Text::of(text.as_bytes()), Text::Utf8(same) if same == text));
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(made(&little), (text.to_owned(), vec![]));
        assert_eq!(made(&big), (text.to_owned(), vec![]));
        let marked = [b"\xFF\xFE", little.as_slice()].concat();
        assert_eq!(made(&marked).0, format!("\u{feff}{text}"));
        let half = [b"\xFF\xFEa\0\x00\xD8b\0", &b"c"[..]].concat();
        assert_eq!(
            made(&half),
            ("\u{feff}a\u{fffd}b\u{fffd}".to_owned(), vec![4, 8])
        );
        assert_eq!(
            made(b"a\xFFb\xE2\x82"),
            ("a\u{fffd}b\u{fffd}".to_owned(), vec![1, 5])
        );
        assert!(matches!(Text::of(b"\0\0\0\0{}"), Text::Utf8(_)));
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_damaged_member_costs_itself_alone() {
        let members: Vec<Vec<u8>> = (0..5)
            .map(|n| gzip(format!("line {n}\n").repeat(50).as_bytes()))
            .collect();
        let whole = inflate(&members.concat(), 1 << 20);
        assert_eq!(whole.bytes.len(), 5 * 50 * 7);
        assert!(whole.lost.is_none() && !whole.is_cut);
        let mut damaged = members.clone();
        let middle = damaged[2].len() / 2;
        damaged[2][middle] ^= 0x55;
        damaged[2].truncate(middle + 4);
        let some = inflate(&[damaged.concat().as_slice(), &[0; 512]].concat(), 1 << 20);
        let text = String::from_utf8_lossy(&some.bytes).into_owned();
        for n in [0, 1, 3, 4] {
            assert_eq!(text.matches(&format!("line {n}\n")).count(), 50);
        }
        assert_eq!(some.lost.unwrap().0, damaged[2].len() as u64);
        let cut = inflate(&members.concat(), 1000);
        assert!(cut.is_cut && cut.bytes.len() == 1000);
    }
}
