//! The store in one SQLite file.
//!
//! One connection writes, a few others read; in WAL mode readers never wait for the writer. `synchronous`
//! is FULL: the log is flushed to disk at every commit. With NORMAL, a power cut could take back the last
//! commits after Kafka, an analyst or a webhook had been told of them.
//!
//! The data folder belongs to one process: it holds a lock on the file `lock` beside the database, which
//! the system releases however the process ends.
//!
//! Invariant: after a failed commit nothing is written any more ([`SqliteStore::refuse_if_poisoned`]); what
//! the disk holds is then the last good commit, and only a restart goes on from there. A full disk is no such
//! failure: SQLite rolls back, and the loop, which ends with it, starts again once there is room.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use async_trait::async_trait;
use sqlx::ConnectOptions;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqliteSynchronous,
};
use tokio::sync::{Mutex, MutexGuard, watch};

use super::file::{
    check_version, create_private_folder, database_file, folder_of, lock, options, prepare_schema,
    readers, sync_folder,
};
use super::{
    AlertQuery, ChangeOutcome, Commit, IncidentChange, IncidentQuery, Resume, Store,
    StoredIncident, TriageChange, people, read, write,
};
use crate::alert::Alert;
use crate::incident::Comment;
use crate::{Error, Result};

/// File of the database inside a data folder.
pub const FILE_NAME: &str = "weir.db";

#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    /// None when opened for reading only.
    writer: Option<Mutex<Writer>>,
    writing: SqliteConnectOptions,
    readers: SqlitePool,
    newest: watch::Sender<i64>,
    poisoned: OnceLock<String>,
    _lock: Option<File>,
}

#[derive(Debug)]
pub(super) struct Writer {
    pub connection: SqliteConnection,
    /// Wall clock of the last write, µs; never goes back, so that the order by time is the order of writes.
    last_time: i64,
}

impl Writer {
    pub fn now(&mut self) -> i64 {
        let wall = jiff::Timestamp::now().as_microsecond();
        self.last_time = wall.max(self.last_time + 1);
        self.last_time
    }
}

impl SqliteStore {
    /// Opens the store of a data folder (created when missing), or a database file by its name. A second
    /// process that wants to write is refused.
    pub async fn open(dir_or_file: &Path) -> Result<Self> {
        let path = database_file(dir_or_file);
        let folder = folder_of(&path);
        create_private_folder(&folder)?;
        let lock = lock(&folder)?;

        let fail = |error| store_error(&path, error);
        let options = options(&path);
        let writing = options
            .clone()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // Pages that a commit touches are read and written once, not once for each statement: 64 MiB, taken as needed.
            .pragma("cache_size", "-65536")
            // Pages of 4 KiB in the log before they are copied into the database, many commits at a time: a page that several of
            // them wrote is copied once.
            .pragma("wal_autocheckpoint", "32768")
            // After a burst, the log file shrinks back to this.
            .pragma("journal_size_limit", "134217728");
        let mut connection = writing.connect().await.map_err(fail)?;
        let created = prepare_schema(&mut connection, &path).await?;
        if created {
            sync_folder(&folder)?;
        }
        let newest = read::newest_change(&mut connection).await.map_err(fail)?;
        let last_time = read::last_time(&mut connection).await.map_err(fail)?;
        Ok(Self {
            readers: readers(options),
            writer: Some(Mutex::new(Writer {
                connection,
                last_time,
            })),
            writing,
            newest: watch::Sender::new(newest),
            poisoned: OnceLock::new(),
            path,
            _lock: Some(lock),
        })
    }

    /// Opens an existing store beside the process that writes it. Every write is refused.
    pub async fn open_read_only(dir_or_file: &Path) -> Result<Self> {
        let path = database_file(dir_or_file);
        if !path.exists() {
            let reason = "there is no store here; give the folder that `weir run` writes to".into();
            return Err(refusal(&path, reason));
        }
        let writing = options(&path);
        let readers = readers(writing.clone());
        let fail = |error| store_error(&path, error);
        let mut connection = readers.acquire().await.map_err(fail)?;
        check_version(&mut connection, &path).await?;
        let newest = read::newest_change(&mut connection).await.map_err(fail)?;
        drop(connection);
        Ok(Self {
            readers,
            writer: None,
            writing,
            newest: watch::Sender::new(newest),
            poisoned: OnceLock::new(),
            path,
            _lock: None,
        })
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn writer(&self) -> Result<MutexGuard<'_, Writer>> {
        let Some(writer) = &self.writer else {
            return Err(self.refuse("was opened for reading only".into()));
        };
        let guard = writer.lock().await;
        self.refuse_if_poisoned()?;
        Ok(guard)
    }

    fn refuse_if_poisoned(&self) -> Result<()> {
        match self.poisoned.get() {
            Some(cause) => Err(self.refuse(format!(
                "the store is poisoned: an earlier commit failed ({cause}); restart after fixing that"
            ))),
            None => Ok(()),
        }
    }

    fn refuse(&self, reason: String) -> Error {
        refusal(&self.path, reason)
    }

    fn fail(&self, error: sqlx::Error) -> Error {
        store_error(&self.path, error)
    }

    async fn reader(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Sqlite>> {
        self.readers
            .acquire()
            .await
            .map_err(|error| self.fail(error))
    }

    fn tell(&self, newest: i64) {
        self.newest.send_if_modified(|seq| {
            let newer = newest > *seq;
            *seq = newest.max(*seq);
            newer
        });
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn resume(&self) -> Result<Resume> {
        read::resume(&mut *self.reader().await?, &self.path).await
    }

    async fn commit(&self, commit: &Commit) -> Result<()> {
        let mut writer = self.writer().await?;
        match write::commit(&mut writer, &self.path, commit).await {
            Ok(newest) => {
                self.tell(newest);
                Ok(())
            }
            // SQLite has rolled back by itself, which sqlx does not notice: a new connection goes on, once there
            // is room.
            Err(error @ Error::Full { .. }) => {
                let again = self.writing.connect().await;
                writer.connection = again.map_err(|error| self.fail(error))?;
                Err(error)
            }
            Err(error) => {
                // Only the first cause is kept; nothing can be written after it anyway.
                let _ = self.poisoned.set(error.to_string());
                Err(error)
            }
        }
    }

    fn subscribe(&self) -> watch::Receiver<i64> {
        self.newest.subscribe()
    }

    async fn incidents(&self, query: &IncidentQuery) -> Result<Vec<StoredIncident>> {
        read::incidents(&mut *self.reader().await?, &self.path, query).await
    }

    async fn incident(&self, id: &str) -> Result<Option<StoredIncident>> {
        read::incident(&mut *self.reader().await?, &self.path, id).await
    }

    async fn alerts(&self, query: &AlertQuery) -> Result<Vec<Alert>> {
        read::alerts(&mut *self.reader().await?, &self.path, query).await
    }

    async fn alerts_by_id(&self, ids: &[String]) -> Result<Vec<Alert>> {
        read::alerts_by_id(&mut *self.reader().await?, &self.path, ids).await
    }

    async fn triage(&self, id: &str, change: &TriageChange) -> Result<ChangeOutcome> {
        let mut writer = self.writer().await?;
        let (outcome, newest) = people::triage(&mut writer, &self.path, id, change).await?;
        self.tell(newest);
        Ok(outcome)
    }

    async fn comments(&self, id: &str) -> Result<Vec<Comment>> {
        let comments = read::comments(&mut *self.reader().await?, id).await;
        comments.map_err(|error| self.fail(error))
    }

    async fn add_comment(&self, id: &str, author: &str, text: &str) -> Result<Option<Comment>> {
        let mut writer = self.writer().await?;
        let added = people::add_comment(&mut writer, id, author, text).await;
        let (comment, newest) = added.map_err(|error| self.fail(error))?;
        self.tell(newest);
        Ok(comment)
    }

    async fn changes(
        &self,
        id: Option<&str>,
        after: i64,
        limit: u32,
    ) -> Result<Vec<IncidentChange>> {
        let changes = read::changes(&mut *self.reader().await?, id, after, limit).await;
        changes.map_err(|error| self.fail(error))
    }
}

/// Primary result code of SQLite when the disk is full.
const SQLITE_FULL: &str = "13";

pub(super) fn store_error(path: &Path, error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|error| error.code());
    let is_full = match &error {
        sqlx::Error::Io(error) => crate::error::is_full(error),
        _ => code.as_deref() == Some(SQLITE_FULL),
    };
    match is_full {
        true => Error::Full {
            path: path.display().to_string(),
            reason: error.to_string(),
        },
        false => refusal(path, error.to_string()),
    }
}

pub(super) fn refusal(path: &Path, reason: String) -> Error {
    Error::Store {
        path: path.display().to_string(),
        reason,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store::StateWrite;

    async fn pragma(store: &SqliteStore, pragma: &'static str) {
        let mut writer = store.writer().await.unwrap();
        let done = sqlx::raw_sql(pragma).execute(&mut writer.connection).await;
        done.unwrap();
    }

    #[tokio::test]
    async fn a_full_disk_is_over_once_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(dir.path()).await.unwrap();
        let write = |key, length| Commit {
            state: vec![StateWrite {
                owner: "test".into(),
                key,
                value: Some(vec![7; length]),
            }],
            ..Commit::default()
        };
        store.commit(&write(1, 10)).await.unwrap();
        pragma(&store, "PRAGMA max_page_count = 60").await;
        let full = store.commit(&write(2, 4 << 20)).await.unwrap_err();
        assert!(matches!(full, Error::Full { .. }), "{full}");
        let kept = |resume: Resume| {
            resume
                .state
                .iter()
                .map(|(_, key, _)| *key)
                .collect::<Vec<_>>()
        };
        assert_eq!(kept(store.resume().await.unwrap()), [1]);
        // The next connection has no such limit.
        store.commit(&write(2, 4 << 20)).await.unwrap();
        assert_eq!(kept(store.resume().await.unwrap()), [1, 2]);
    }
}
