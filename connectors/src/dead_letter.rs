//! Dead letters in a file: one JSON object per line, durable before their positions are committed.
//!
//! After a crash a letter can stand there twice, with the same partition and position; none is missing.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use weir_engine::batch::DeadLetter;
use weir_engine::source::DeadLetters;
use weir_engine::{Error, Result};

#[derive(Debug)]
pub struct FileDeadLetters {
    path: PathBuf,
    /// Opened at the first letter, so that no empty file is left where nothing went wrong.
    file: Mutex<Option<File>>,
}

impl FileDeadLetters {
    /// The folder must exist.
    pub fn open(path: &Path) -> Result<Self> {
        match path.parent() {
            Some(folder) if folder.as_os_str().is_empty() || folder.is_dir() => {}
            _ => return Err(Error::io(path, std::io::ErrorKind::NotFound.into())),
        }
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(None),
        })
    }

    fn append(&self, lines: &[u8]) -> std::io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.is_none() {
            *file = Some(open(&self.path)?);
        }
        let Some(file) = file.as_mut() else {
            return Ok(());
        };
        file.write_all(lines)?;
        file.sync_data()
    }
}

/// Opens for appending. A line that a crash left unfinished is ended first: the next letter needs its own.
fn open(path: &Path) -> std::io::Result<File> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .open(path)?;
    if file.seek(SeekFrom::End(0))? > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

#[async_trait]
impl DeadLetters for FileDeadLetters {
    async fn write(&self, letters: &[DeadLetter]) -> Result<()> {
        if letters.is_empty() {
            return Ok(());
        }
        let mut lines = vec![];
        for letter in letters {
            serde_json::to_writer(&mut lines, letter)
                .map_err(|error| Error::Other(error.to_string()))?;
            lines.push(b'\n');
        }
        self.append(&lines)
            .map_err(|error| Error::io(&self.path, error))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use weir_engine::batch::Partition;

    use super::*;

    #[tokio::test]
    async fn letters_are_lines_also_after_a_torn_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead.ndjson");
        let letter = DeadLetter {
            partition: Partition::new("s", "p"),
            position: 7,
            reason: "invalid_json",
            detail: "bad\nthing".into(),
            payload: b"{\xFF\0".to_vec(),
            payload_bytes: 3,
            attributes: None,
        };
        let letters = FileDeadLetters::open(&path).unwrap();
        letters.write(&[]).await.unwrap();
        assert!(!path.exists());
        letters
            .write(&[letter.clone(), letter.clone()])
            .await
            .unwrap();
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(b"{\"torn\":"))
            .unwrap();
        let letters = FileDeadLetters::open(&path).unwrap();
        letters.write(&[letter]).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        for line in [lines[0], lines[1], lines[3]] {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(value["position"], 7);
            assert_eq!(value["payload"], "{\u{fffd}\0");
        }
        assert!(FileDeadLetters::open(&folder.path().join("no/dead.ndjson")).is_err());
    }
}
