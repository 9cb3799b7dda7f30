//! Finds the files that a source reads: those named, and those with a log's extension under folders.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;
use weir_engine::{Error, Result};

use super::Skipped;

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

/// A file that is named is read whatever it is called; a path that is not there is an error, as is a
/// folder without a log.
pub(super) fn discover(source_name: &str, paths: &[PathBuf]) -> Result<Discovery> {
    let mut discovery = Discovery::default();
    let mut known = HashSet::new();
    for path in paths {
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
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        if !known.insert(real) {
            return self.skip(path, "the same file as one named before".into());
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
