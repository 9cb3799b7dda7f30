//! One engine commit as one transaction.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use sqlx::{Connection, SqliteConnection};
use xxhash_rust::xxh3::Xxh3;

use crate::rule::Level;
use crate::store::sqlite::{Writer, refusal, store_error};
use crate::store::{Commit, PartitionState, StateWrite, bulk, people, read};
use crate::{Error, Result};

mod alerts;
mod incidents;

/// Who changed something when no person did.
pub(super) const ENGINE: &str = "weir";

/// Checksum of a piece of state, kept beside it. Covers whose and which piece it is.
pub(super) fn checksum(owner: &str, key: i64, value: &[u8]) -> i64 {
    let mut hash = Xxh3::new();
    hash.update(&(owner.len() as u64).to_le_bytes());
    hash.update(owner.as_bytes());
    hash.update(&key.to_le_bytes());
    hash.update(value);
    hash.digest().cast_signed()
}

pub(super) fn level_rank(level: Level) -> i64 {
    level as i64
}

/// So that a damaged piece is told apart from a broken store.
pub(super) fn damaged(owner: &str, reason: String) -> Error {
    Error::State {
        owner: owner.to_owned(),
        reason,
    }
}

/// One line of the change log that is still to be written.
pub(super) struct Change {
    pub incident_no: i64,
    pub kind: &'static str,
    pub author: String,
    pub detail: serde_json::Value,
}

/// Writes everything or nothing; returns the newest `seq`.
pub(super) async fn commit(writer: &mut Writer, path: &Path, commit: &Commit) -> Result<i64> {
    let now = writer.now();
    let fail = |error| store_error(path, error);
    let mut transaction = writer
        .connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(fail)?;
    let newest = write_all(&mut transaction, path, commit, now).await;
    match newest {
        Ok(newest) => {
            transaction.commit().await.map_err(fail)?;
            Ok(newest)
        }
        Err(error) => {
            // The first error is the one to tell; dropping the transaction would roll back as well.
            let _ = transaction.rollback().await;
            Err(error)
        }
    }
}

async fn write_all(
    connection: &mut SqliteConnection,
    path: &Path,
    commit: &Commit,
    now: i64,
) -> Result<i64> {
    let fail = |error| store_error(path, error);
    write_state(connection, &commit.dropped_owners, &commit.state)
        .await
        .map_err(fail)?;
    write_partitions(connection, &commit.partitions)
        .await
        .map_err(fail)?;
    alerts::write_alerts(connection, path, &commit.alerts, now).await?;
    let mut changes = incidents::write_incidents(connection, path, &commit.incidents, now).await?;
    for (gone, survivor) in &commit.merged {
        let merged = people::merge(connection, gone, survivor, now).await;
        changes.extend(merged.map_err(fail)?);
    }
    for id in &commit.withdrawn {
        changes.extend(
            incidents::withdraw(connection, id, now)
                .await
                .map_err(fail)?,
        );
    }
    write_changes(connection, &changes, now).await.map_err(fail)
}

/// Appends to the change log; returns the newest `seq`.
pub(super) async fn write_changes(
    connection: &mut SqliteConnection,
    changes: &[Change],
    now: i64,
) -> sqlx::Result<i64> {
    const HEAD: &str = "INSERT INTO changes (incident_no, kind, time, author, detail) ";
    bulk::insert(connection, HEAD, "", changes, |row, change| {
        row.push_bind(change.incident_no);
        row.push_bind(change.kind);
        row.push_bind(now);
        row.push_bind(change.author.clone());
        row.push_bind(change.detail.to_string());
    })
    .await?;
    read::newest_change(connection).await
}

async fn write_state(
    connection: &mut SqliteConnection,
    dropped: &[String],
    writes: &[StateWrite],
) -> sqlx::Result<()> {
    for owner in dropped {
        sqlx::query("DELETE FROM state WHERE owner = ?")
            .bind(owner.as_str())
            .execute(&mut *connection)
            .await?;
    }
    // The last write of a piece counts.
    let last: BTreeMap<(&str, i64), Option<&[u8]>> = writes
        .iter()
        .map(|write| ((write.owner.as_str(), write.key), write.value.as_deref()))
        .collect();
    let mut kept = vec![];
    for ((owner, key), value) in last {
        match value {
            Some(value) => kept.push((owner, key, value)),
            None => {
                sqlx::query("DELETE FROM state WHERE owner = ? AND key = ?")
                    .bind(owner)
                    .bind(key)
                    .execute(&mut *connection)
                    .await?;
            }
        }
    }
    const HEAD: &str = "INSERT INTO state (owner, key, length, checksum, value) ";
    const TAIL: &str = " ON CONFLICT (owner, key) DO UPDATE SET length = excluded.length, \
                        checksum = excluded.checksum, value = excluded.value";
    let length = |(_, _, value): &(&str, i64, &[u8])| value.len();
    bulk::insert_by(
        connection,
        HEAD,
        TAIL,
        &kept,
        length,
        |row, (owner, key, value)| {
            row.push_bind((*owner).to_owned());
            row.push_bind(*key);
            row.push_bind(value.len().cast_signed() as i64);
            row.push_bind(checksum(owner, *key, value));
            row.push_bind(value.to_vec());
        },
    )
    .await
}

async fn write_partitions(
    connection: &mut SqliteConnection,
    partitions: &[PartitionState],
) -> sqlx::Result<()> {
    const HEAD: &str = "INSERT INTO partitions (source, name, next, max_time, events_read, \
                        processed, duplicates, unchanged, waiting, dead_lettered, filtered, late, bytes) ";
    const TAIL: &str = " ON CONFLICT (source, name) DO UPDATE SET next = excluded.next, \
        max_time = excluded.max_time, events_read = excluded.events_read, \
        processed = excluded.processed, duplicates = excluded.duplicates, \
        unchanged = excluded.unchanged, waiting = excluded.waiting, \
        dead_lettered = excluded.dead_lettered, filtered = excluded.filtered, \
        late = excluded.late, bytes = excluded.bytes";
    bulk::insert(connection, HEAD, TAIL, partitions, |row, state| {
        row.push_bind(state.partition.source.to_string());
        row.push_bind(state.partition.name.to_string());
        row.push_bind(state.next);
        row.push_bind(state.max_time);
        let counts = &state.counts;
        for count in [
            counts.read,
            counts.processed,
            counts.duplicates,
            counts.unchanged,
            counts.waiting,
            counts.dead_lettered,
            counts.filtered,
            counts.late,
            counts.bytes,
        ] {
            row.push_bind(count.cast_signed());
        }
    })
    .await
}

fn to_json(path: &Path, value: &impl Serialize, what: &str) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| refusal(path, format!("{what} cannot be written as JSON: {error}")))
}
