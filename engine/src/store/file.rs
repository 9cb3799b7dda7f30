//! The database's file: its place, who may open it, and whether its schema is ours.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions};
use sqlx::{ConnectOptions, Connection, Row};

use super::sqlite::{FILE_NAME, refusal, store_error};
use crate::{Error, Result};

/// The schema's version that this program reads and writes.
const VERSION: i64 = 3;
/// The version that is brought to this one.
const EARLIER: i64 = 2;
const APPLICATION_ID: i64 = 0x5745_4952;
const SCHEMA: &str = include_str!("schema.sql");
/// What makes a store of the earlier version one of this: these around the schema.
const RENAME: &str = include_str!("migrate/rename.sql");
const FILL: &str = include_str!("migrate/fill.sql");

/// Reads of the API run beside each other; more than this only queues on the disk.
const READERS: u32 = 4;
/// Eight texts of each bulk statement, and the rest.
const STATEMENTS: usize = 256;

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(10))
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging()
}

pub(super) fn readers(options: SqliteConnectOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(Duration::from_secs(10))
        .connect_lazy_with(options.read_only(true))
}

/// A name that ends in `.db`, `.sqlite` or `.sqlite3` is the database itself; any other one is its folder.
pub(super) fn database_file(dir_or_file: &Path) -> PathBuf {
    let extension = dir_or_file.extension().and_then(|e| e.to_str());
    let named_like_a_file = matches!(extension, Some("db" | "sqlite" | "sqlite3"));
    if dir_or_file.is_file() || (named_like_a_file && !dir_or_file.is_dir()) {
        dir_or_file.to_path_buf()
    } else {
        dir_or_file.join(FILE_NAME)
    }
}

pub(super) fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// The store holds the logs' secrets: a folder made here is the owner's alone.
pub(super) fn create_private_folder(folder: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(folder)
        .map_err(|error| Error::io(folder, error))
}

/// Makes the new file's name durable, too.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    let sync = || File::open(folder)?.sync_all();
    sync().map_err(|error| Error::io(folder, error))
}

pub(super) fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let mut open = std::fs::OpenOptions::new();
    let opened = open.create(true).truncate(false).write(true).open(&path);
    let file = opened.map_err(|error| Error::io(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(refusal(
            folder,
            "another weir process writes to this data folder; stop it, or give this one a folder of its own"
                .into(),
        )),
        Err(TryLockError::Error(error)) => Err(Error::io(&path, error)),
    }
}

/// Creates the schema in an empty file, or brings one of the earlier version to ours. Returns whether the file is new.
pub(super) async fn prepare_schema(connection: &mut SqliteConnection, path: &Path) -> Result<bool> {
    let fail = |error| store_error(path, error);
    let tables = sqlx::query("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *connection)
        .await
        .map_err(fail)?;
    if tables.get::<i64, _>(0) > 0 {
        if version(connection, path).await? == EARLIER {
            tracing::info!(path = %path.display(), "the store is brought to schema version {VERSION}");
            migrate(connection).await.map_err(fail)?;
        }
        check_version(connection, path).await?;
        return Ok(false);
    }
    let mut transaction = connection.begin().await.map_err(fail)?;
    let created = sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await;
    created.map_err(fail)?;
    transaction.commit().await.map_err(fail)?;
    Ok(true)
}

/// All or nothing. Triage and comments stay what they are, and refer to the new table of incidents by its name.
async fn migrate(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    let pragmas = "PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON";
    sqlx::raw_sql(pragmas).execute(&mut *connection).await?;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for step in [RENAME, SCHEMA, FILL] {
        sqlx::raw_sql(step).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    let pragmas = "PRAGMA legacy_alter_table = OFF; PRAGMA foreign_keys = ON";
    sqlx::raw_sql(pragmas).execute(&mut *connection).await?;
    Ok(())
}

/// The version of a store's schema.
async fn version(connection: &mut SqliteConnection, path: &Path) -> Result<i64> {
    let fail = |error| store_error(path, error);
    let application = sqlx::query("PRAGMA application_id")
        .fetch_one(&mut *connection)
        .await
        .map_err(fail)?;
    if application.get::<i64, _>(0) != APPLICATION_ID {
        let reason = "is a database of another program; give weir a folder of its own".into();
        return Err(refusal(path, reason));
    }
    let version = sqlx::query("PRAGMA user_version")
        .fetch_one(&mut *connection)
        .await
        .map_err(fail)?;
    Ok(version.get(0))
}

pub(super) async fn check_version(connection: &mut SqliteConnection, path: &Path) -> Result<()> {
    let reason = match version(connection, path).await? {
        VERSION => return Ok(()),
        version @ VERSION.. => format!(
            "has schema version {version}, this weir knows up to {VERSION}; use the newer weir that wrote it"
        ),
        EARLIER => format!(
            "has schema version {EARLIER} of an earlier weir and was opened for reading only; `weir run` of this weir brings it to \
             version {VERSION} when it opens it"
        ),
        version => format!(
            "has schema version {version} of a weir before the first release, this one reads {EARLIER} and {VERSION} only; \
             move it away and start in a new folder"
        ),
    };
    Err(refusal(path, reason))
}
