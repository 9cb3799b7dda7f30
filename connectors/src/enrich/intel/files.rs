//! Finds the files of a list and reads them.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value};

use crate::enrich::problems::{Account, Problems};

/// Files of a folder that are lists.
const EXTENSIONS: [&str; 11] = [
    "json", "jsonl", "ndjson", "csv", "tsv", "txt", "list", "netset", "ipset", "ioc", "gz",
];

/// The files of a list, and whether they are those of a MISP feed.
pub fn files(path: &Path, problems: &mut Problems) -> Vec<(PathBuf, bool)> {
    if !path.is_dir() {
        return vec![(path.to_owned(), false)];
    }
    if let Some(events) = manifest(path) {
        let file = |event: &String| (path.join(format!("{event}.json")), true);
        return events.iter().map(file).collect();
    }
    let entries = walkdir::WalkDir::new(path)
        .follow_links(true)
        .sort_by_file_name()
        .into_iter()
        // Mounted secrets and maps keep their versions in hidden folders.
        .filter_entry(|entry| {
            entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.')
        });
    let mut files = vec![];
    for entry in entries {
        match entry {
            Ok(entry) if entry.file_type().is_file() => {
                let extension = entry.path().extension().unwrap_or_default();
                let extension = extension.to_string_lossy().to_ascii_lowercase();
                if EXTENSIONS.contains(&extension.as_str()) {
                    files.push((entry.into_path(), false));
                }
            }
            Ok(_) => {}
            Err(error) => Account::new(path, problems).broken(format!("cannot be read: {error}")),
        }
    }
    if files.is_empty() {
        Account::new(path, problems).warn("the folder holds no lists");
    }
    files
}

/// Ids of the events of a MISP feed, by its `manifest.json`.
fn manifest(folder: &Path) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(folder.join("manifest.json")).ok()?;
    let entries: Map<String, Value> = serde_json::from_str(&text).ok()?;
    let plain = |id: &String| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let all = entries
        .iter()
        .all(|(id, about)| plain(id) && about.is_object());
    all.then(|| entries.into_iter().map(|(id, _)| id).collect())
}

pub fn content(path: &Path) -> std::io::Result<String> {
    let mut bytes = std::fs::read(path)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = vec![];
        MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut plain)?;
        bytes = plain;
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    // Written by spreadsheets, which may put a byte order mark first.
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// Whether a text is JSON rather than a list whose first value has a bracket.
pub fn is_json(text: &str) -> bool {
    let mut rest = text.trim_start().chars();
    match rest.next() {
        Some('{') => true,
        Some('[') => matches!(
            rest.as_str().trim_start().chars().next(),
            Some('{' | '"' | ']')
        ),
        _ => false,
    }
}
