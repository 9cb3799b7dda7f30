//! Opens a file, a pipe or the standard input, once, and gives its text: unpacked if it is gzip, UTF-8 if it is UTF-16.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::utf16::{self, Utf16};
use crate::gzip::{self, Gzip};

/// The path that stands for the standard input.
pub(super) const STANDARD_INPUT: &str = "-";

/// Bytes by which a file's form is told.
const HEAD: usize = 64;

/// The text of a file from some place on.
pub(super) struct Input {
    pub read: Box<dyn Read + Send>,
    /// Bytes read from the disk.
    pub on_disk: Arc<AtomicU64>,
    /// Place in the text.
    pub offset: u64,
    /// Whether places in the text are places in the file, which may grow.
    pub is_plain: bool,
}

/// Counts what passes.
struct Counted {
    file: File,
    count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(bytes)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Whether what is read once is gone: a pipe, a terminal, the standard input.
pub(super) fn is_stream(path: &Path) -> bool {
    path.as_os_str() == STANDARD_INPUT || path.metadata().is_ok_and(|one| !one.is_file())
}

impl Input {
    /// Opens the path at a place in its text. A plain file that is shorter by now was replaced and starts anew, and a
    /// stream has but one start.
    pub fn open(path: &Path, offset: u64) -> io::Result<Self> {
        let is_stream = is_stream(path);
        let offset = if is_stream { 0 } else { offset };
        let file = match path.as_os_str() == STANDARD_INPUT {
            true => File::from(io::stdin().as_fd().try_clone_to_owned()?),
            false => File::open(path)?,
        };
        let count = Arc::new(AtomicU64::new(0));
        let mut counted = Counted {
            file,
            count: count.clone(),
        };
        let head = head(&mut counted)?;
        let is_gzip = head.starts_with(&gzip::MAGIC);
        if !is_gzip && !is_stream && utf16::order(&head).is_none() {
            return Self::plain(path, counted, offset);
        }
        let all = Cursor::new(head).chain(counted);
        let mut read: Box<dyn Read + Send> = match is_gzip {
            true => Box::new(Gzip::new(all)),
            false => Box::new(all),
        };
        let head = match head_of(&mut read) {
            (head, None) => head,
            // Damage in the first bytes is told when they are read again.
            (head, Some(error)) => {
                read = Box::new(Failing(Some(error)).chain(read));
                head
            }
        };
        let order = utf16::order(&head);
        read = Box::new(Cursor::new(head).chain(read));
        if let Some(order) = order {
            tracing::info!(path = %path.display(), "the file is UTF-16; positions count its text as UTF-8");
            read = Box::new(Utf16::new(read, order));
        }
        skip(&mut read, offset)?;
        Ok(Self {
            read,
            on_disk: count,
            offset,
            is_plain: false,
        })
    }

    fn plain(path: &Path, mut counted: Counted, mut offset: u64) -> io::Result<Self> {
        if offset > counted.file.metadata()?.len() {
            tracing::warn!(path = %path.display(), offset, "file is shorter than the position reached in it; reading it from its start");
            offset = 0;
        }
        counted.file.seek(SeekFrom::Start(offset))?;
        let on_disk = counted.count.clone();
        on_disk.store(offset, Ordering::Relaxed);
        Ok(Self {
            read: Box::new(counted),
            on_disk,
            offset,
            is_plain: true,
        })
    }
}

fn head(input: &mut impl Read) -> io::Result<Vec<u8>> {
    match head_of(input) {
        (head, None) => Ok(head),
        (_, Some(error)) => Err(error),
    }
}

/// The first bytes, and what kept it from reading more of them.
fn head_of(input: &mut impl Read) -> (Vec<u8>, Option<io::Error>) {
    let mut head = vec![];
    let error = input.take(HEAD as u64).read_to_end(&mut head).err();
    (head, error)
}

/// Fails once.
struct Failing(Option<io::Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Passes over what was read before; damage in it was told then.
fn skip(input: &mut impl Read, bytes: u64) -> io::Result<()> {
    let mut left = bytes;
    let mut chunk = vec![0; 64 << 10];
    while left > 0 {
        let length = left.min(chunk.len() as u64) as usize;
        match input.read(&mut chunk[..length]) {
            Ok(0) => break,
            Ok(read) => left -= read as u64,
            Err(error) if gzip::damage(&error).is_some_and(|one| one.goes_on) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
