//! What was wrong with the files of reference data, for people and for metrics.

use std::collections::BTreeMap;
use std::path::Path;

/// Warnings per file that are spelled out; the rest is counted.
const MAX_WARNINGS: usize = 10;

#[derive(Debug, Default)]
pub struct Problems {
    /// One line per problem.
    pub warnings: Vec<String>,
    /// A whole file could not be used, or most of it.
    pub broken: bool,
    /// Entries that were read and not used, by reason.
    pub unused: BTreeMap<&'static str, u64>,
}

impl Problems {
    /// What was read and is not used, with counts; none if all is.
    pub fn left_out(&self) -> Option<String> {
        let counts = self.unused.iter();
        let counts: Vec<_> = counts
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        (!counts.is_empty()).then(|| format!("not used are {}", counts.join(", ")))
    }
}

/// Account of one file.
#[derive(Debug)]
pub struct Account<'a> {
    shown: String,
    problems: &'a mut Problems,
    used: usize,
    skipped: usize,
}

impl<'a> Account<'a> {
    pub fn new(path: &Path, problems: &'a mut Problems) -> Self {
        Self {
            shown: path.display().to_string(),
            problems,
            used: 0,
            skipped: 0,
        }
    }

    /// An entry was used.
    pub fn used(&mut self) {
        self.used += 1;
    }

    /// An entry is sound and of no use here.
    pub fn unused(&mut self, reason: &'static str) {
        *self.problems.unused.entry(reason).or_default() += 1;
    }

    /// An entry cannot be used. `place` is a line, or the id of an object.
    pub fn skip(&mut self, place: impl std::fmt::Display, reason: &str) {
        self.skipped += 1;
        *self.problems.unused.entry("invalid").or_default() += 1;
        if self.skipped <= MAX_WARNINGS {
            let warning = format!("{}:{place}: {reason}; it is ignored", self.shown);
            self.problems.warnings.push(warning);
        }
    }

    /// Says something about the file.
    pub fn warn(&mut self, reason: impl std::fmt::Display) {
        let warning = format!("{}: {reason}", self.shown);
        self.problems.warnings.push(warning);
    }

    /// The file cannot be used.
    pub fn broken(&mut self, reason: impl std::fmt::Display) {
        self.warn(reason);
        self.problems.broken = true;
    }

    /// Ends the account. A file that is mostly rubbish is broken: a page of HTML has lines that look well.
    pub fn close(self) {
        if self.skipped > MAX_WARNINGS {
            let rest = self.skipped - MAX_WARNINGS;
            let warning = format!("{}: {rest} more entries are ignored", self.shown);
            self.problems.warnings.push(warning);
        }
        if self.skipped > self.used {
            self.problems.broken = true;
        }
    }
}
