//! The spool as an earlier process left it: what of it is whole, what is torn, what is damaged.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::segment::{self, FILE_HEADER, Scan};
use super::spool::Segment;

/// Makes the folder so that its name is durable, too.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    make(parent)?;
    fs::create_dir(folder)?;
    File::open(parent)?.sync_all()
}

/// The segments of the folder, checked; a torn tail is cut off.
pub(super) fn find(folder: &Path) -> Result<VecDeque<Segment>, String> {
    let fail = |error: io::Error| format!("the spool {}: {error}", folder.display());
    let mut bases = vec![];
    for entry in fs::read_dir(folder).map_err(fail)? {
        bases.extend(segment::base(&entry.map_err(fail)?.path()));
    }
    bases.sort_unstable();
    let mut segments = VecDeque::new();
    for (index, base) in bases.iter().enumerate() {
        let path = segment::path(folder, *base);
        let next = bases.get(index + 1);
        let bytes = check(&path, *base, next.copied()).map_err(|error| match error {
            Unusable::Io(error) => format!("{}: {error}", path.display()),
            Unusable::Damaged(position) => damaged(&path, *base, position),
        })?;
        segments.push_back(Segment { base: *base, bytes });
    }
    Ok(segments)
}

enum Unusable {
    Io(io::Error),
    Damaged(i64),
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Length of a segment's records. Only the last one, and one whose successor is gone, are read for it.
fn check(path: &Path, base: i64, next: Option<i64>) -> Result<u64, Unusable> {
    let file = File::options().read(true).write(true).open(path)?;
    match segment::has_header(&file, base)? {
        Some(true) => {}
        // The crash came while it was made.
        None if next.is_none() => {
            let folder = path.parent().unwrap_or(Path::new("."));
            segment::create(folder, base)?;
            return Ok(0);
        }
        _ => return Err(Unusable::Damaged(base)),
    }
    let length = file.metadata()?.len() - FILE_HEADER;
    let end = base + length as i64;
    if next == Some(end) {
        return Ok(length);
    }
    if next.is_some_and(|next| next < end) {
        return Err(Unusable::Damaged(base));
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, FILE_HEADER)?;
    match (segment::scan(&bytes, base), next) {
        (Scan::Whole, None) => Ok(length),
        (Scan::Whole, Some(next)) => {
            tracing::error!(path = %path.display(), "the segment after this one is gone: what was pushed from position {end} to {next} is lost");
            Ok(length)
        }
        (Scan::Torn(position), None) => {
            let cut = end - position;
            tracing::warn!(path = %path.display(), "cut {cut} bytes off the spool that a crash left unfinished; their senders got no answer");
            let whole = (position - base) as u64;
            file.set_len(FILE_HEADER + whole)?;
            file.sync_all()?;
            Ok(whole)
        }
        (Scan::Damaged(position) | Scan::Torn(position), _) => Err(Unusable::Damaged(position)),
    }
}

pub(super) fn damaged(path: &Path, base: i64, position: i64) -> String {
    let byte = position - base + FILE_HEADER as i64;
    format!(
        "{} is damaged at byte {byte}: what was stored there cannot be read back; check the disk and restore the file, or move it away to go on without the requests in it",
        path.display()
    )
}
