//! Layout of the spool's files: one header, then records one after the other.
//!
//! A position counts the bytes of all records ever spooled, so it grows over segments and names one place in
//! one file. Every record says where it stands and with which others it was made durable: that is how a tail
//! that a crash left unfinished is told from damage.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

/// What a spooled body is, as it was found when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// One record, which spans lines or has none.
    Document = 1,
    /// Lines, each a record.
    Lines = 2,
}

const MAGIC: [u8; 4] = *b"WEIR";
/// Magic, kind, length, position, group, checksum.
pub(super) const RECORD_HEADER: usize = 4 + 1 + 4 + 8 + 8 + 8;
const CHECKED: usize = RECORD_HEADER - 8;
const FILE_MAGIC: [u8; 8] = *b"weirspl1";
pub(super) const FILE_HEADER: u64 = 16;
const EXTENSION: &str = "spool";

/// One record in some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub kind: Kind,
    /// Of the body.
    pub range: Range<usize>,
    /// Position of the first record that was made durable together with this one.
    pub group: i64,
}

/// Why there is no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The bytes end before it does; its length, where that is known.
    Short(usize),
    Damaged,
}

pub(super) fn encode(out: &mut Vec<u8>, kind: Kind, position: i64, group: i64, body: &[u8]) {
    let start = out.len();
    out.extend(MAGIC);
    out.push(kind as u8);
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(position.to_le_bytes());
    out.extend(group.to_le_bytes());
    let sum = checksum(&out[start..], body);
    out.extend(sum.to_le_bytes());
    out.extend(body);
}

fn checksum(header: &[u8], body: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(header);
    hash.update(body);
    hash.digest()
}

/// Reads the record that stands at the start of `bytes` and should be at `position`.
pub(super) fn decode(bytes: &[u8], position: i64) -> Result<Found, Fault> {
    let Some(header) = bytes.get(..RECORD_HEADER) else {
        return Err(Fault::Short(RECORD_HEADER));
    };
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&header[at..at + 8]);
        i64::from_le_bytes(word)
    };
    let kind = match header[4] {
        1 => Kind::Document,
        2 => Kind::Lines,
        _ => return Err(Fault::Damaged),
    };
    if header[..4] != MAGIC || word(9) != position {
        return Err(Fault::Damaged);
    }
    let length = u32::from_le_bytes([header[5], header[6], header[7], header[8]]) as usize;
    let range = RECORD_HEADER..RECORD_HEADER + length;
    let Some(body) = bytes.get(range.clone()) else {
        return Err(Fault::Short(range.end));
    };
    if checksum(&header[..CHECKED], body) as i64 != word(CHECKED) {
        return Err(Fault::Damaged);
    }
    Ok(Found {
        kind,
        range,
        group: word(17),
    })
}

/// What stands in a segment's bytes, which begin at `base`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scan {
    Whole,
    /// Records to this position; what follows was never made durable.
    Torn(i64),
    /// No record here, though later ones were made durable after it.
    Damaged(i64),
}

pub(super) fn scan(bytes: &[u8], base: i64) -> Scan {
    let mut at = 0;
    while at < bytes.len() {
        match decode(&bytes[at..], base + at as i64) {
            Ok(found) => at += found.range.end,
            Err(_) => {
                let position = base + at as i64;
                return match confirmed_later(bytes, at, base) {
                    true => Scan::Damaged(position),
                    false => Scan::Torn(position),
                };
            }
        }
    }
    Scan::Whole
}

/// Whether a record behind `at` was written after what stands at `at` had been made durable.
fn confirmed_later(bytes: &[u8], at: usize, base: i64) -> bool {
    let places = memchr::memmem::find_iter(&bytes[at + 1..], &MAGIC);
    places.map(|place| at + 1 + place).any(|place| {
        let found = decode(&bytes[place..], base + place as i64);
        found.is_ok_and(|found| found.group > base + at as i64)
    })
}

pub(super) fn path(folder: &Path, base: i64) -> PathBuf {
    folder.join(format!("{base:020}.{EXTENSION}"))
}

/// The position at which a segment begins, by its name.
pub(super) fn base(path: &Path) -> Option<i64> {
    if path.extension()? != EXTENSION {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}

/// A new, empty segment, durable with its name.
pub(super) fn create(folder: &Path, base: i64) -> io::Result<File> {
    let mut file = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(path(folder, base))?;
    let mut header = FILE_MAGIC.to_vec();
    header.extend(base.to_le_bytes());
    file.write_all(&header)?;
    file.sync_all()?;
    File::open(folder)?.sync_all()?;
    Ok(file)
}

/// Whether the file begins as a segment of this position does; `None` if it is too short to tell.
pub(super) fn has_header(file: &File, base: i64) -> io::Result<Option<bool>> {
    if file.metadata()?.len() < FILE_HEADER {
        return Ok(None);
    }
    let mut header = [0; FILE_HEADER as usize];
    file.read_exact_at(&mut header, 0)?;
    Ok(Some(
        header[..8] == FILE_MAGIC && header[8..] == base.to_le_bytes(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two groups: one of two records, one of one. Also where each record ends.
    fn written() -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (vec![], vec![]);
        for (group, body) in [(100, "first"), (100, "second"), (0, "third")] {
            let position = 100 + bytes.len() as i64;
            let group = if group == 0 { position } else { group };
            encode(&mut bytes, Kind::Lines, position, group, body.as_bytes());
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    #[test]
    fn a_record_is_read_back_only_where_it_was_written() {
        let (bytes, ends) = written();
        let found = decode(&bytes, 100).expect("a record");
        assert_eq!(
            (&bytes[found.range.clone()], found.kind),
            (&b"first"[..], Kind::Lines)
        );
        assert_eq!((found.range.end, found.group), (ends[0], 100));
        assert_eq!(decode(&bytes, 101), Err(Fault::Damaged));
        assert_eq!(decode(&bytes[..10], 100), Err(Fault::Short(RECORD_HEADER)));
        assert_eq!(
            decode(&bytes[..ends[0] - 1], 100),
            Err(Fault::Short(ends[0]))
        );
        for at in 0..ends[0] {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(decode(&changed[..ends[0]], 100).is_err(), "byte {at}");
        }
    }

    #[test]
    fn every_cut_is_a_torn_tail() {
        let (bytes, ends) = written();
        assert_eq!(scan(&bytes, 100), Scan::Whole);
        for cut in 1..bytes.len() {
            let whole = ends.iter().rev().find(|end| **end <= cut).copied();
            let expected = match whole {
                Some(end) if end == cut => Scan::Whole,
                end => Scan::Torn(100 + end.unwrap_or(0) as i64),
            };
            assert_eq!(scan(&bytes[..cut], 100), expected, "cut at {cut}");
        }
    }

    #[test]
    fn damage_before_what_was_confirmed_is_no_torn_tail() {
        let (mut bytes, ends) = written();
        bytes[ends[0] - 1] ^= 1;
        assert_eq!(scan(&bytes, 100), Scan::Damaged(100));
        // Within the last group nobody was answered: the disk may write its parts in any order.
        assert_eq!(scan(&bytes[..ends[1]], 100), Scan::Torn(100));
    }

    #[test]
    fn segments_are_named_by_their_position() {
        let folder = Path::new("spool");
        assert_eq!(base(&path(folder, 12_345)), Some(12_345));
        assert_eq!(base(Path::new("spool/notes.txt")), None);
        assert_eq!(base(Path::new("spool/x.spool")), None);
    }
}
