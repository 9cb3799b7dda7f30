//! Everything that is read back: after a start, and by the API.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use sqlx::query_builder::QueryBuilder;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, SqliteConnection};

use super::sqlite::{refusal, store_error};
use super::write::{checksum, damaged, level_rank};
use super::{AlertQuery, PartitionState, Resume, bulk};
use crate::Result;
use crate::alert::Alert;
use crate::batch::{Counts, Partition};
use crate::incident::Comment;

mod incidents;

pub(super) use incidents::{Whole, changes, incident, incidents, number_of, triage_of, whole};

/// Alerts and incidents of so many bits of their numbers are a chunk of what is found by value; as in `schema.sql`.
pub(super) const CHUNK: u32 = 14;

/// The alert or incident in a `body` column.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, id: &str, body: &str) -> Result<T> {
    serde_json::from_str(body).map_err(|error| {
        refusal(
            path,
            format!("{id} is damaged ({error}); restore the store from a backup"),
        )
    })
}

async fn number(connection: &mut SqliteConnection, sql: &'static str) -> sqlx::Result<i64> {
    sqlx::query(sql).fetch_one(connection).await?.try_get(0)
}

/// `seq` of the newest change, 0 before the first.
pub(super) async fn newest_change(connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    number(connection, "SELECT coalesce(max(seq), 0) FROM changes").await
}

/// The highest number of an alert or incident, 0 before the first.
pub(super) async fn newest_number(
    connection: &mut SqliteConnection,
    of: &'static str,
) -> sqlx::Result<i64> {
    let sql = match of {
        "alert" => "SELECT coalesce(max(alert_no), 0) FROM alerts",
        _ => "SELECT coalesce(max(incident_no), 0) FROM incidents",
    };
    number(connection, sql).await
}

/// Wall clock of the newest write that is visible to people.
pub(super) async fn last_time(connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    number(
        connection,
        "SELECT coalesce(max(updated), 0) FROM incidents",
    )
    .await
}

pub(super) async fn resume(connection: &mut SqliteConnection, path: &Path) -> Result<Resume> {
    let fail = |error| store_error(path, error);
    let incidents = incidents::open(connection, path).await?;
    let wanted: HashSet<&String> = incidents.iter().flat_map(|i| &i.alert_ids).collect();
    let wanted: Vec<String> = wanted.into_iter().cloned().collect();
    let mut alerts = alerts_by_id(connection, path, &wanted).await?;
    alerts.sort_by(|a, b| (a.first_time, &a.alert_id).cmp(&(b.first_time, &b.alert_id)));
    let found: HashSet<&String> = alerts.iter().map(|alert| &alert.alert_id).collect();
    if let Some(missing) = wanted.iter().find(|id| !found.contains(id)) {
        let reason = format!("an open incident names alert {missing}, which is not stored");
        return Err(refusal(path, reason));
    }
    Ok(Resume {
        partitions: partitions(connection).await.map_err(fail)?,
        state: state(connection, path).await?,
        incidents,
        alerts,
        alert_count: number(connection, "SELECT count(*) FROM alerts")
            .await
            .map_err(fail)?
            .cast_unsigned(),
        incident_count: number(
            connection,
            "SELECT count(*) FROM incidents WHERE merged_into IS NULL AND withdrawn = 0",
        )
        .await
        .map_err(fail)?
        .cast_unsigned(),
    })
}

/// Row of (id, body).
fn body_of<T: DeserializeOwned>(path: &Path, row: &SqliteRow) -> Result<T> {
    let fail = |error| store_error(path, error);
    parse(
        path,
        row.try_get(0).map_err(fail)?,
        row.try_get(1).map_err(fail)?,
    )
}

async fn partitions(connection: &mut SqliteConnection) -> sqlx::Result<Vec<PartitionState>> {
    let rows = sqlx::query(
        "SELECT source, name, next, max_time, events_read, processed, duplicates, unchanged, \
         waiting, dead_lettered, filtered, late, bytes FROM partitions ORDER BY source, name",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(partition).collect()
}

fn partition(row: &SqliteRow) -> sqlx::Result<PartitionState> {
    let text = |index| -> sqlx::Result<Arc<str>> { Ok(row.try_get::<&str, _>(index)?.into()) };
    let count = |index| -> sqlx::Result<u64> { Ok(row.try_get::<i64, _>(index)?.cast_unsigned()) };
    Ok(PartitionState {
        partition: Partition::new(text(0)?, text(1)?),
        next: row.try_get(2)?,
        max_time: row.try_get(3)?,
        counts: Counts {
            read: count(4)?,
            processed: count(5)?,
            duplicates: count(6)?,
            unchanged: count(7)?,
            waiting: count(8)?,
            dead_lettered: count(9)?,
            filtered: count(10)?,
            late: count(11)?,
            bytes: count(12)?,
        },
    })
}

async fn state(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<Vec<(String, i64, Vec<u8>)>> {
    let fail = |error| store_error(path, error);
    let rows =
        sqlx::query("SELECT owner, key, value, length, checksum FROM state ORDER BY owner, key")
            .fetch_all(connection)
            .await
            .map_err(fail)?;
    let mut pieces = Vec::with_capacity(rows.len());
    for row in rows {
        let owner: String = row.try_get(0).map_err(fail)?;
        let key: i64 = row.try_get(1).map_err(fail)?;
        let value: Vec<u8> = row.try_get(2).map_err(fail)?;
        let length: i64 = row.try_get(3).map_err(fail)?;
        let expected: i64 = row.try_get(4).map_err(fail)?;
        if value.len().cast_signed() as i64 != length {
            let reason = format!("piece {key} has {} bytes instead of {length}", value.len());
            return Err(damaged(&owner, reason));
        }
        if checksum(&owner, key, &value) != expected {
            let reason = format!("piece {key} does not fit its checksum");
            return Err(damaged(&owner, reason));
        }
        pieces.push((owner, key, value));
    }
    Ok(pieces)
}

/// Adds `{subselect} AND …)` for an entity given as a value or as `kind:value`; the subselect is open, and calls its rows `e`.
fn push_entity(query: &mut QueryBuilder<Sqlite>, subselect: &'static str, entity: &str) {
    query.push(subselect);
    match entity.split_once(':') {
        None => query.push(" AND e.value = ").push_bind(entity.to_owned()),
        Some((kind, value)) => {
            query.push(" AND e.value IN (").push_bind(entity.to_owned());
            query.push(", ").push_bind(value.to_owned());
            query.push(") AND (e.value = ").push_bind(entity.to_owned());
            query.push(" OR e.kind = ").push_bind(kind.to_owned());
            query.push(")")
        }
    };
    query.push(")");
}

pub(super) async fn alerts(
    connection: &mut SqliteConnection,
    path: &Path,
    filter: &AlertQuery,
) -> Result<Vec<Alert>> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT alert_id, body FROM alerts WHERE 1");
    if let Some(rule_id) = &filter.rule_id {
        query.push(" AND rule_id = ").push_bind(rule_id.clone());
    }
    if let Some(level) = filter.min_level {
        query.push(" AND level >= ").push_bind(level_rank(level));
    }
    if let Some(entity) = &filter.entity {
        // The chunks that there are, and in each of them the value.
        const IN: &str = " AND alert_no IN (WITH RECURSIVE chunks (n) AS (SELECT 0 UNION ALL \
            SELECT n + 1 FROM chunks WHERE n < (SELECT max(alert_no) >> 14 FROM alerts)) \
            SELECT e.alert_no FROM chunks CROSS JOIN alert_entities e WHERE e.chunk = n";
        push_entity(&mut query, IN, entity);
    }
    if let Some(state) = &filter.state {
        query.push(" AND state = ").push_bind(state.clone());
    }
    if let Some(from) = filter.from {
        query.push(" AND last_time >= ").push_bind(from);
    }
    if let Some(to) = filter.to {
        query.push(" AND first_time < ").push_bind(to);
    }
    if let Some((first_time, id)) = &filter.cursor {
        query.push(" AND (first_time, alert_id) < (");
        query
            .push_bind(*first_time)
            .push(", ")
            .push_bind(id.clone());
        query.push(")");
    }
    query.push(" ORDER BY first_time DESC, alert_id DESC LIMIT ");
    query.push_bind(i64::from(filter.limit));
    let rows = query.build().fetch_all(connection).await;
    let rows = rows.map_err(|error| store_error(path, error))?;
    rows.iter().map(|row| body_of(path, row)).collect()
}

/// In the order of `ids`; those that are not stored are left out.
pub(super) async fn alerts_by_id(
    connection: &mut SqliteConnection,
    path: &Path,
    ids: &[String],
) -> Result<Vec<Alert>> {
    let texts: Vec<&str> = ids.iter().map(String::as_str).collect();
    const SELECT: &str = "SELECT alert_id, body FROM alerts WHERE alert_id IN";
    let found = bulk::by_texts(connection, SELECT, &texts, |row| row.try_get(1)).await;
    let mut found: HashMap<String, String> = found.map_err(|error| store_error(path, error))?;
    let bodies = ids.iter().filter_map(|id| found.remove_entry(id));
    bodies.map(|(id, body)| parse(path, &id, &body)).collect()
}

pub(super) async fn comments(
    connection: &mut SqliteConnection,
    id: &str,
) -> sqlx::Result<Vec<Comment>> {
    let rows = sqlx::query(
        "SELECT comment_id, incident_id, author, time, text FROM comments WHERE incident_id = ?1 \
         OR incident_id IN (SELECT incident_id FROM incidents WHERE merged_into = ?1) \
         ORDER BY comment_id",
    )
    .bind(id)
    .fetch_all(connection)
    .await?;
    let comment = |row: &SqliteRow| -> sqlx::Result<Comment> {
        Ok(Comment {
            comment_id: row.try_get(0)?,
            incident_id: row.try_get(1)?,
            author: row.try_get(2)?,
            time: row.try_get(3)?,
            text: row.try_get(4)?,
        })
    };
    rows.iter().map(comment).collect()
}
