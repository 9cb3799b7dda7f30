//! Names and places of archive files: pure functions, and the listing of folders.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::{SignedDuration, civil};
use xxhash_rust::xxh3::Xxh3;

use crate::batch::Partition;
use crate::{Error, Result};

/// Folder for files being written.
pub const TEMPORARY: &str = ".tmp";
/// Folder for files that the store knows nothing of.
pub const SET_ASIDE: &str = ".set-aside";

const MICROS: i64 = 3_600_000_000;

/// One hour of event time, counted from the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hour(i64);

impl Hour {
    /// 0000-01-01T00 and 9999-12-31T23. Times beyond them lie in these hours' folders, so that a
    /// folder's name is always a date.
    const FIRST: i64 = -17_268_672;
    const LAST: i64 = 70_389_527;

    /// The hour of an event time in µs.
    pub fn of(time: i64) -> Self {
        Self(time.div_euclid(MICROS).clamp(Self::FIRST, Self::LAST))
    }

    /// Earliest event time (µs) that its folder may hold.
    pub fn first(self) -> i64 {
        match self.0 {
            Self::FIRST => i64::MIN,
            hour => hour * MICROS,
        }
    }

    /// Latest event time (µs) that its folder may hold.
    pub fn last(self) -> i64 {
        match self.0 {
            Self::LAST => i64::MAX,
            hour => hour * MICROS + (MICROS - 1),
        }
    }

    fn parse(date: &str, hour: &str) -> Option<Self> {
        let date: civil::Date = date.strip_prefix("dt=")?.parse().ok()?;
        let hour: i8 = hour.strip_prefix("hour=")?.parse().ok()?;
        if !(0..24).contains(&hour) {
            return None;
        }
        let since = date.at(hour, 0, 0, 0).duration_since(EPOCH);
        Some(Self(since.as_hours()))
    }
}

const EPOCH: civil::DateTime = civil::date(1970, 1, 1).at(0, 0, 0, 0);

impl fmt::Display for Hour {
    /// `dt=2026-11-09/hour=13`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = EPOCH
            .checked_add(SignedDuration::from_hours(self.0))
            .map_err(|_| fmt::Error)?;
        write!(f, "dt={}/hour={:02}", start.date(), start.hour())
    }
}

/// Where the files of one family and hour lie.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Folder {
    pub hour: Hour,
    pub family: String,
}

impl Folder {
    pub fn path(&self, root: &Path) -> PathBuf {
        root.join(format!("family={}/{}", self.family, self.hour))
    }
}

/// `<readable>.<hash of source and partition>.<generation>`. The hash tells partitions apart; the rest is for
/// people.
pub fn stream_name(partition: &Partition, generation: u32) -> String {
    let full = partition.to_string();
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let tail: String = full.chars().rev().take(48).collect();
    let readable: String = tail.chars().rev().map(plain).collect();
    format!("{readable}.{:016x}.{generation}", partition_hash(partition))
}

pub fn partition_hash(partition: &Partition) -> u64 {
    let mut hash = Xxh3::new();
    for part in [&partition.source, &partition.name] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.digest()
}

/// A file's name without its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName {
    pub stream: String,
    pub from: i64,
    pub to: i64,
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}.parquet", self.stream, self.from, self.to)
    }
}

impl FileName {
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".parquet")?.rsplitn(3, '-');
        let to = parts.next()?.parse().ok()?;
        let from = parts.next()?.parse().ok()?;
        let stream = parts.next()?.to_owned();
        Some(Self { stream, from, to })
    }

    /// Hash of the partition, and generation.
    pub fn origin(&self) -> Option<(u64, u32)> {
        let mut parts = self.stream.rsplitn(3, '.');
        let generation = parts.next()?.parse().ok()?;
        let hash = u64::from_str_radix(parts.next()?, 16).ok()?;
        Some((hash, generation))
    }

    /// Whether the other's rows are all in this file too.
    pub fn covers(&self, other: &Self) -> bool {
        self.stream == other.stream && self.from <= other.from && other.to <= self.to
    }
}

#[derive(Debug, Clone)]
pub struct StoredFile {
    pub name: FileName,
    pub path: PathBuf,
    pub bytes: u64,
    pub modified: SystemTime,
}

/// Every folder, or those of one family, by hour and then family.
pub fn folders(root: &Path, family: Option<&str>) -> Result<Vec<Folder>> {
    let families = match family {
        Some(family) => vec![format!("family={family}")],
        None => names(root)?,
    };
    let mut found = vec![];
    for folder in families {
        let Some(family) = folder.strip_prefix("family=") else {
            continue;
        };
        let family_path = root.join(&folder);
        for date in names(&family_path)? {
            for hour in names(&family_path.join(&date))? {
                if let Some(hour) = Hour::parse(&date, &hour) {
                    let family = family.to_owned();
                    found.push(Folder { hour, family });
                }
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Folders of certain hours, by hour and then family, whether there is anything in them or not. Lists no
/// hour, so it costs the same in an archive of a day and of a year.
pub fn folders_of(
    root: &Path,
    family: Option<&str>,
    hours: &BTreeSet<Hour>,
) -> Result<Vec<Folder>> {
    let mut families = match family {
        Some(family) => vec![family.to_owned()],
        None => names(root)?
            .iter()
            .filter_map(|name| Some(name.strip_prefix("family=")?.to_owned()))
            .collect(),
    };
    families.sort();
    let folder = |hour: Hour| {
        let families = families.iter().cloned();
        families.map(move |family| Folder { hour, family })
    };
    Ok(hours.iter().copied().flat_map(folder).collect())
}

/// Names in a folder; none if it is not there (any more).
fn names(path: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if is_absent(&e) => return Ok(vec![]),
        Err(e) => return Err(Error::io(path, e)),
    };
    entries
        .map(|entry| match entry {
            Ok(entry) => Ok(entry.file_name().to_string_lossy().into_owned()),
            Err(e) => Err(Error::io(path, e)),
        })
        .collect()
}

fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// A folder's files by stream and range, in two lists: those to read, and those that a merged one replaced.
pub fn files(root: &Path, folder: &Folder) -> Result<(Vec<StoredFile>, Vec<StoredFile>)> {
    let path = folder.path(root);
    let mut all = vec![];
    for file in names(&path)? {
        let Some(name) = FileName::parse(&file) else {
            continue;
        };
        let path = path.join(file);
        let meta = match fs::metadata(&path) {
            Ok(meta) => meta,
            Err(e) if is_absent(&e) => continue,
            Err(e) => return Err(Error::io(&path, e)),
        };
        all.push(StoredFile {
            name,
            bytes: meta.len(),
            modified: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            path,
        });
    }
    Ok(split_replaced(all))
}

fn split_replaced(mut all: Vec<StoredFile>) -> (Vec<StoredFile>, Vec<StoredFile>) {
    // Of files that start together the longest comes first, so that whatever covers a file stands before it.
    all.sort_by(|a, b| {
        let key = |file: &StoredFile| (file.name.from, std::cmp::Reverse(file.name.to));
        (&a.name.stream, key(a)).cmp(&(&b.name.stream, key(b)))
    });
    let mut live: Vec<StoredFile> = vec![];
    let mut replaced = vec![];
    for file in all {
        match live.last() {
            Some(last) if last.name.covers(&file.name) => replaced.push(file),
            _ => live.push(file),
        }
    }
    (live, replaced)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_named_by_its_start() {
        let hour = Hour::of(1_794_232_800_000_000);
        assert_eq!(hour.to_string(), "dt=2026-11-09/hour=14");
        assert_eq!(
            Hour::of(hour.first() - 1).to_string(),
            "dt=2026-11-09/hour=13"
        );
        assert_eq!(Hour::of(hour.last()), hour);
        assert_eq!(Hour::of(-1).to_string(), "dt=1969-12-31/hour=23");
        assert_eq!(Hour::parse("dt=2026-11-09", "hour=14"), Some(hour));
        assert_eq!(Hour::parse("dt=2026-11-09", "hour=24"), None);
    }

    #[test]
    fn times_beyond_the_calendar_stay_within_a_folder_that_admits_them() {
        for (time, name) in [
            (i64::MIN, "dt=0000-01-01/hour=00"),
            (i64::MAX, "dt=9999-12-31/hour=23"),
        ] {
            let hour = Hour::of(time);
            assert_eq!(hour.to_string(), name);
            assert!(hour.first() <= time && time <= hour.last());
            let (date, clock) = name.split_once('/').unwrap();
            assert_eq!(Hour::parse(date, clock), Some(hour));
        }
    }

    #[test]
    fn file_names_survive_hostile_partition_names() {
        for name in [
            "topic/3",
            "../../etc/passwd",
            "a-1-2.parquet",
            "ünïcode \n",
            "",
        ] {
            let partition = Partition::new("source", name);
            let file = FileName {
                stream: stream_name(&partition, 7),
                from: 0,
                to: i64::MAX,
            };
            let text = file.to_string();
            assert!(
                text.chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            );
            assert_eq!(FileName::parse(&text), Some(file.clone()));
            assert_eq!(file.origin(), Some((partition_hash(&partition), 7)));
        }
        let (a, b) = (Partition::new("a", "b_c"), Partition::new("a_b", "c"));
        assert_ne!(partition_hash(&a), partition_hash(&b));
    }

    #[test]
    fn a_merged_file_hides_what_it_was_made_from_and_nothing_else() {
        let file = |stream: &str, from, to| StoredFile {
            name: FileName {
                stream: stream.into(),
                from,
                to,
            },
            path: PathBuf::new(),
            bytes: 0,
            modified: SystemTime::UNIX_EPOCH,
        };
        let (live, replaced) = split_replaced(vec![
            file("a.0.0", 0, 10),
            file("a.0.0", 10, 20),
            file("a.0.0", 0, 30),
            file("a.0.0", 20, 30),
            file("a.0.0", 30, 40),
            file("a.0.1", 0, 10),
        ]);
        let ranges = |files: &[StoredFile]| -> Vec<(i64, i64)> {
            files.iter().map(|f| (f.name.from, f.name.to)).collect()
        };
        assert_eq!(ranges(&live), [(0, 30), (30, 40), (0, 10)]);
        assert_eq!(ranges(&replaced), [(0, 10), (10, 20), (20, 30)]);
    }
}
