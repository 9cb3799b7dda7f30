//! Which files under the given paths are logs.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;
use weir_engine::{Error, Result};

/// Path and why it is not read.
pub type Skipped = (String, String);

/// Logs under the paths, sorted, each once; and what was passed over. A path that is named itself is read
/// whatever it is called.
pub fn discover(paths: &[PathBuf]) -> Result<(Vec<PathBuf>, Vec<Skipped>)> {
    let (mut files, mut skipped) = (vec![], vec![]);
    for path in paths {
        let found = path.metadata().map_err(|error| Error::io(path, error))?;
        if !found.is_dir() {
            files.push(path.clone());
            continue;
        }
        for entry in WalkDir::new(path).sort_by_file_name() {
            match entry {
                Ok(entry) if entry.file_type().is_dir() => {}
                Ok(entry) if is_log(entry.path()) => files.push(entry.into_path()),
                Ok(entry) => skipped.push((
                    entry.path().display().to_string(),
                    "not a log by its name".into(),
                )),
                Err(error) => {
                    let place = error.path().unwrap_or(path).display().to_string();
                    skipped.push((place, error.to_string()));
                }
            }
        }
    }
    files.sort();
    files.dedup();
    Ok((files, skipped))
}

fn is_log(path: &Path) -> bool {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    [".json", ".ndjson", ".jsonl", ".log"]
        .iter()
        .any(|ending| name.ends_with(ending))
}
