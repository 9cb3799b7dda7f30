//! Dead letters in a file: one JSON object per line, durable before their positions are committed.
//!
//! After a crash a letter can stand there twice, with the same partition and position; none is missing.

use std::fs::{File, OpenOptions};
use std::io::Write;
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
            Some(folder) if folder.is_dir() => {}
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
            *file = Some(
                OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(&self.path)?,
            );
        }
        let Some(file) = file.as_mut() else {
            return Ok(());
        };
        file.write_all(lines)?;
        file.sync_data()
    }
}

#[async_trait]
impl DeadLetters for FileDeadLetters {
    async fn write(&self, letters: &[DeadLetter]) -> Result<()> {
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
