//! Reads the CSV files that people maintain: indicator lists and the asset table.
//!
//! The first line is a header; columns are found by name, unknown ones ignored. Lines that start with `#`
//! are comments. A line that cannot be used is a warning with file and line number, never a failure.

use std::path::Path;

use csv::{ErrorKind, ReaderBuilder, StringRecord, Trim};

/// Warnings per file that are spelled out; the rest is counted.
const MAX_WARNINGS: usize = 10;

/// One line of a CSV file, by column name.
pub struct Line<'a> {
    header: &'a [(&'static str, Option<usize>)],
    record: &'a StringRecord,
}

impl<'a> Line<'a> {
    /// The trimmed value; none when it is empty or the file has no such column.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let (_, position) = self.header.iter().find(|(column, _)| *column == name)?;
        self.record
            .get((*position)?)
            .filter(|value| !value.is_empty())
    }
}

/// Calls `each` for every line. `required` columns must stand in the header and have a value in each line;
/// the error that `each` returns becomes a warning.
pub fn read(
    path: &Path,
    required: &[&'static str],
    optional: &[&'static str],
    warnings: &mut Vec<String>,
    mut each: impl FnMut(&Line) -> Result<(), String>,
) {
    let shown = path.display();
    let reader = ReaderBuilder::new()
        .comment(Some(b'#'))
        .flexible(true)
        .trim(Trim::All)
        .from_path(path);
    let mut reader = match reader {
        Ok(reader) => reader,
        Err(error) => return warnings.push(format!("{shown}: cannot be read: {error}")),
    };
    let names = match reader.headers() {
        Ok(names) => names.clone(),
        Err(error) => return warnings.push(format!("{shown}: cannot be read: {error}")),
    };
    let position = |name: &str| names.iter().position(|n| n.eq_ignore_ascii_case(name));
    let missing: Vec<&str> = required
        .iter()
        .copied()
        .filter(|name| position(name).is_none())
        .collect();
    if !missing.is_empty() {
        return warnings.push(format!(
            "{shown}: the first line must be a header with the columns {}; {} is missing, the file is ignored",
            required.join(", "),
            missing.join(", "),
        ));
    }
    let header: Vec<(&'static str, Option<usize>)> = required
        .iter()
        .chain(optional)
        .map(|name| (*name, position(name)))
        .collect();

    let mut skipped = 0;
    let mut skip = |line: u64, reason: String| {
        skipped += 1;
        if skipped <= MAX_WARNINGS {
            warnings.push(format!("{shown}:{line}: {reason}; the line is ignored"));
        }
    };
    let mut record = StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => {
                let number = record.position().map_or(0, |position| position.line());
                let line = Line {
                    header: &header,
                    record: &record,
                };
                let result = match required.iter().find(|name| line.get(name).is_none()) {
                    Some(name) => Err(format!("no {name}")),
                    None => each(&line),
                };
                if let Err(reason) = result {
                    skip(number, reason);
                }
            }
            Err(error) => {
                let line = error.position().map_or(0, |position| position.line());
                let fatal = matches!(error.kind(), ErrorKind::Io(_));
                skip(line, error.to_string());
                if fatal {
                    break;
                }
            }
        }
    }
    if skipped > MAX_WARNINGS {
        let rest = skipped - MAX_WARNINGS;
        warnings.push(format!("{shown}: {rest} more lines are ignored"));
    }
}
