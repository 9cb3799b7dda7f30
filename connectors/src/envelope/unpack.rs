//! From bytes to text: encodings and compression.

use std::io::Read;

use super::LEVELS;
use crate::decode::{Marks, Work};
use crate::format::{Fault, fault};
use crate::gzip::{self, Gzip};

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
    pub marks: Marks,
}

impl<'a> Text<'a> {
    pub fn of(bytes: &'a [u8]) -> Self {
        if bytes.starts_with(&gzip::MAGIC) {
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
            let start = self.text.len();
            self.marks
                .push(start..start + char::REPLACEMENT_CHARACTER.len_utf8());
        }
        self.text
            .push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
}

/// What compressed bytes became.
#[derive(Debug, Default)]
pub(crate) struct Inflated {
    pub bytes: Vec<u8>,
    /// What was made of damaged members.
    pub marks: Marks,
    pub lost: Option<Lost>,
    /// More than the limit.
    pub is_cut: bool,
}

/// Compressed bytes that could not be read.
#[derive(Debug)]
pub(crate) struct Lost {
    pub packed: u64,
    /// An estimate of the text in them.
    pub bytes: u64,
    /// Why the first of them could not be read.
    pub error: String,
}

/// Unpacks one gzip member after the other. Behind a damaged one it goes on with the next; what was read of it before the
/// damage is kept, and ends with a line end.
pub(crate) fn inflate(packed: &[u8], limit: usize) -> Inflated {
    let mut inflated = Inflated::default();
    let mut gzip = Gzip::new(packed);
    loop {
        let bytes = &mut inflated.bytes;
        let room = limit.saturating_sub(bytes.len()) as u64 + 1;
        let read = (&mut gzip).take(room).read_to_end(bytes);
        if bytes.len() > limit {
            bytes.truncate(limit);
            inflated.is_cut = true;
            return inflated;
        }
        let Err(error) = read else {
            return inflated;
        };
        // Reading from memory fails for no other reason.
        let Some(damage) = gzip::damage(&error) else {
            return inflated;
        };
        let start = bytes.len().saturating_sub(damage.unverified as usize);
        if start < bytes.len() {
            inflated.marks.push(start..bytes.len());
        }
        bytes.push(b'\n');
        let lost = inflated.lost.get_or_insert_with(|| Lost {
            packed: 0,
            bytes: 0,
            error: damage.reason.clone(),
        });
        lost.packed += damage.skipped;
        lost.bytes += damage.lost;
        if !damage.goes_on {
            return inflated;
        }
    }
}

impl Work<'_, '_> {
    /// Reads bytes of any encoding, compressed or not; whether they are `in_doubt`, their checksum tells if they have one.
    pub(super) fn read_bytes(
        &mut self,
        bytes: &[u8],
        in_doubt: bool,
        level: usize,
    ) -> Option<Box<Fault>> {
        let marks = |text: &str, marks| match in_doubt {
            true => whole(text.as_bytes()),
            false => marks,
        };
        match Text::of(bytes) {
            Text::Utf8(text) => self.read_text(text.as_bytes(), marks(text, vec![]), level),
            Text::Other(made) => {
                let marks = marks(&made.text, made.marks);
                self.read_text(made.text.as_bytes(), marks, level)
            }
            Text::Compressed => self.compressed(bytes, level),
        }
    }

    /// Reads compressed data; what is damaged or beyond the limit is counted by its length.
    pub(crate) fn compressed(&mut self, packed: &[u8], level: usize) -> Option<Box<Fault>> {
        if level >= LEVELS {
            return Some(fault("unknown_format", "compressed too many times over"));
        }
        let limit = self.unpack(0);
        let inflated = inflate(packed, limit);
        self.unpack(inflated.bytes.len() as u64);
        if inflated.is_cut {
            let detail = format!(
                "only the first {limit} bytes of what is compressed were read: a record may hold {}",
                self.config.max_envelope_bytes
            );
            // The last four bytes of gzip are the length, if it is one member below 4 GiB.
            let length = packed
                .last_chunk()
                .map_or(0, |bytes| u32::from_le_bytes(*bytes) as u64);
            let rest = length.saturating_sub(limit as u64).max(1);
            self.lost(packed, rest, fault("too_large", detail));
        }
        if let Some(lost) = &inflated.lost {
            let detail = format!(
                "{} bytes cannot be decompressed: {}",
                lost.packed, lost.error
            );
            let fault = fault("invalid_gzip", detail);
            if inflated.bytes.trim_ascii().is_empty() && packed.len() as u64 == lost.packed {
                return Some(fault);
            }
            self.lost(packed, lost.bytes, fault);
        }
        if inflated.bytes.is_empty() && inflated.is_cut {
            return None;
        }
        match Text::of(&inflated.bytes) {
            Text::Utf8(text) => self.read_text(text.as_bytes(), inflated.marks, level + 1),
            _ => self.read_bytes(&inflated.bytes, !inflated.marks.is_empty(), level + 1),
        }
    }
}

/// A mark of all of it.
pub(super) fn whole(text: &[u8]) -> Marks {
    let all = 0..text.len();
    match all.is_empty() {
        true => vec![],
        false => vec![all],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use super::*;

    fn made(bytes: &[u8]) -> (String, Vec<usize>) {
        match Text::of(bytes) {
            Text::Other(made) => {
                let starts = made.marks.iter().map(|mark| mark.start);
                (made.text, starts.collect())
            }
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
        // Of what is damaged nothing is known to be right.
        let some = inflate(&[damaged.concat().as_slice(), &[0; 512]].concat(), 1 << 20);
        let text = String::from_utf8_lossy(&some.bytes).into_owned();
        for n in [0, 1, 3, 4] {
            assert_eq!(text.matches(&format!("line {n}\n")).count(), 50);
        }
        assert_eq!(some.lost.unwrap().packed, damaged[2].len() as u64);
        assert!(text[..some.marks[0].start].ends_with("line 1\n"));
        assert!(text[some.marks[0].end..].starts_with("\nline 3\n"));
        let cut = inflate(&members.concat(), 1000);
        assert!(cut.is_cut && cut.bytes.len() == 1000);
    }
}
