//! Reference tables from CSV files. Unlike the lists of enrichment, a file that cannot be used whole is
//! refused: a rule that joins half an allow-list would be wrong without anybody noticing.

use std::path::Path;

use csv::{ReaderBuilder, Trim};

/// Column names, and rows with none for an empty value. The first line names the columns; lines that start
/// with `#` are comments.
type Content = (Vec<String>, Vec<Vec<Option<String>>>);

/// Reads a file; the error names it and the line.
pub fn read_table(path: &Path) -> Result<Content, String> {
    let shown = path.display();
    let wrong = |error: csv::Error| {
        let line = error.position().map(|p| format!(":{}", p.line()));
        format!("{shown}{}: {error}", line.unwrap_or_default())
    };
    let mut reader = ReaderBuilder::new()
        .comment(Some(b'#'))
        .trim(Trim::All)
        .from_path(path)
        .map_err(wrong)?;
    let header = reader.headers().map_err(wrong)?;
    // Written by spreadsheets, which may put a byte order mark before the first name.
    let name = |text: &str| text.trim_start_matches('\u{feff}').to_ascii_lowercase();
    let columns: Vec<String> = header.iter().map(name).collect();
    if columns.iter().all(String::is_empty) {
        return Err(format!(
            "{shown}: the file is empty; its first line must name the columns"
        ));
    }
    let mut rows = vec![];
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        let value = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        rows.push(record.iter().map(value).collect());
    }
    Ok((columns, rows))
}
