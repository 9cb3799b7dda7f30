//! Loads rules from a folder tree, or one file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;
use weir_engine::{Rule, parallel};

use crate::case::Case;
use crate::error::{Error, Result};
use crate::format;

/// A rule with its tests.
#[derive(Debug, Clone)]
pub struct LoadedRule {
    pub rule: Rule,
    pub tests: Vec<Case>,
}

/// Every rule (`*.yml`, `*.yaml`) in a folder and below it, in order of their paths. Files and folders whose
/// names begin with a dot are passed over, so that a mounted ConfigMap is read once.
///
/// Fails with everything that is wrong in the folder, not only the first.
pub fn load_dir(path: impl AsRef<Path>) -> Result<Vec<LoadedRule>> {
    let path = path.as_ref();
    let visible = |entry: &walkdir::DirEntry| {
        entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.')
    };
    let mut files = vec![];
    let mut errors = vec![];
    let entries = WalkDir::new(path).follow_links(true).sort_by_file_name();
    for entry in entries.into_iter().filter_entry(visible) {
        match entry {
            Ok(entry) if is_rule(entry.path()) && entry.file_type().is_file() => {
                files.push(entry.into_path());
            }
            Ok(_) => {}
            Err(error) => errors.push(Error::Io {
                path: error.path().unwrap_or(path).display().to_string(),
                source: error.into(),
            }),
        }
    }
    if files.is_empty() && errors.is_empty() {
        return Err(Error::NoRules {
            path: path.display().to_string(),
        });
    }
    checked(parallel::map(&files, |file| load_file(file)), errors)
}

/// One rule file with its tests.
pub fn load_file(path: impl Into<PathBuf>) -> Result<LoadedRule> {
    let path = path.into();
    let name = path.display().to_string();
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Io {
        path: name.clone(),
        source,
    })?;
    let folder = path.parent().unwrap_or(Path::new("."));
    format::parse(&name, &text, &|file| {
        std::fs::read(folder.join(file)).map_err(|error| error.to_string())
    })
}

pub(crate) fn is_rule(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yml" | "yaml"))
}

/// The rules, unless something is wrong with any of them, or beside them, or two share an id.
pub(crate) fn checked(
    read: Vec<Result<LoadedRule>>,
    mut errors: Vec<Error>,
) -> Result<Vec<LoadedRule>> {
    let mut rules = Vec::with_capacity(read.len());
    for rule in read {
        match rule {
            Ok(rule) => rules.push(rule),
            Err(error) => errors.push(error),
        }
    }
    let mut by_id = HashMap::new();
    for LoadedRule { rule, .. } in &rules {
        if let Some(first) = by_id.insert(&rule.id, &rule.path) {
            errors.push(Error::DuplicateId {
                id: rule.id.clone(),
                first: first.clone(),
                second: rule.path.clone(),
            });
        }
    }
    if errors.is_empty() {
        Ok(rules)
    } else {
        Err(Error::all(errors))
    }
}
