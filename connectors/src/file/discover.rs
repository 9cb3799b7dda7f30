//! Finds the files that a source reads: those named, and those with a log's extension under folders.

use std::collections::HashSet;
use std::fs::FileType;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;
use weir_engine::{Error, Result};

use super::Skipped;
use super::input::{STANDARD_INPUT, is_stream};

/// Extensions of logs; each may be followed by `.gz`.
pub(super) const EXTENSIONS: [&str; 4] = ["json", "ndjson", "jsonl", "log"];

/// A file to read, and its size on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub path: PathBuf,
    pub bytes: u64,
}

/// Files in the order of the paths, those of a folder sorted; each once.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    pub files: Vec<Found>,
    pub skipped: Vec<Skipped>,
}

/// A file that is named is read whatever it is called, a pipe as well, and `-` is the standard input; a path that is
/// not there is an error, as is a folder without a log.
pub(super) fn discover(source_name: &str, paths: &[PathBuf]) -> Result<Discovery> {
    let mut discovery = Discovery::default();
    let mut known = HashSet::new();
    for path in paths {
        if path.as_os_str() == STANDARD_INPUT {
            discovery.add(&mut known, path.clone(), 0);
            continue;
        }
        let metadata = path.metadata().map_err(|error| Error::io(path, error))?;
        if !metadata.is_dir() {
            discovery.add(&mut known, path.clone(), metadata.len());
            continue;
        }
        let before = (discovery.files.len(), discovery.skipped.len());
        discovery.walk(&mut known, path);
        if discovery.files.len() == before.0 {
            let others = discovery.skipped.len() - before.1;
            let reason = format!(
                "no logs under {}: looked for *.{} (each also with .gz), found {others} other files",
                path.display(),
                EXTENSIONS.join(", *.")
            );
            let source_name = source_name.to_owned();
            return Err(Error::Source {
                source_name,
                reason,
            });
        }
    }
    Ok(discovery)
}

impl Discovery {
    pub(super) fn walk(&mut self, known: &mut HashSet<PathBuf>, folder: &Path) {
        for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name() {
            match entry {
                Ok(entry) if entry.file_type().is_dir() => {}
                Ok(entry) if !entry.file_type().is_file() => {
                    let what = special(entry.file_type());
                    let reason = format!("{what}; one that is to be read must be named itself");
                    self.skip(entry.into_path(), reason);
                }
                Ok(entry) => {
                    let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
                    if is_log(entry.path()) {
                        self.add(known, entry.into_path(), bytes);
                    } else {
                        let reason = format!("not one of *.{}", EXTENSIONS.join(", *."));
                        self.skip(entry.into_path(), reason);
                    }
                }
                Err(error) => {
                    let path = error.path().unwrap_or(folder).to_owned();
                    self.skip(path, error.to_string());
                }
            }
        }
    }

    fn add(&mut self, known: &mut HashSet<PathBuf>, path: PathBuf, bytes: u64) {
        if !known.insert(identity(&path)) {
            return self.skip(path, "the same file as one named before".into());
        }
        // A pipe is opened once: who writes to it would be told that nobody reads any more.
        if is_stream(&path) {
            let kind = path.metadata().map(|metadata| metadata.file_type());
            return match kind {
                Ok(kind) if kind.is_socket() || kind.is_block_device() => {
                    self.skip(path, format!("{}, which cannot be read", special(kind)));
                }
                _ => self.files.push(Found { path, bytes: 0 }),
            };
        }
        match std::fs::File::open(&path) {
            Ok(_) => self.files.push(Found { path, bytes }),
            Err(error) => self.skip(path, format!("cannot be opened: {error}")),
        }
    }

    fn skip(&mut self, path: PathBuf, reason: String) {
        self.skipped.push((path.display().to_string(), reason));
    }
}

/// What one path and another of the same file have in common.
pub(super) fn identity(path: &Path) -> PathBuf {
    let path = match path.as_os_str() == STANDARD_INPUT {
        true => Path::new("/dev/stdin"),
        false => path,
    };
    match path.canonicalize() {
        Ok(real) => real,
        // The pipe behind a descriptor has no name.
        Err(_) => path.metadata().map_or_else(
            |_| path.to_owned(),
            |one| PathBuf::from(format!("{}:{}", one.dev(), one.ino())),
        ),
    }
}

/// What a path is that is neither file nor folder.
fn special(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

fn is_log(path: &Path) -> bool {
    let is_gzip = path.extension().is_some_and(|extension| extension == "gz");
    let name = if is_gzip {
        path.with_extension("")
    } else {
        path.to_owned()
    };
    let extension = name.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str()))
}
