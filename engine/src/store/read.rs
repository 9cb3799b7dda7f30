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
use super::{
    AlertQuery, IncidentChange, IncidentQuery, PartitionState, Resume, StoredIncident, bulk,
};
use crate::Result;
use crate::alert::Alert;
use crate::batch::{Counts, Partition};
use crate::incident::{Comment, Incident, IncidentStatus, Triage, Verdict};

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
    let incidents = open_incidents(connection, path).await?;
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

async fn open_incidents(connection: &mut SqliteConnection, path: &Path) -> Result<Vec<Incident>> {
    let rows = sqlx::query(
        "SELECT incident_id, body FROM incidents \
         WHERE open = 1 AND merged_into IS NULL AND withdrawn = 0 ORDER BY first_time, incident_id",
    )
    .fetch_all(connection)
    .await
    .map_err(|error| store_error(path, error))?;
    rows.iter().map(|row| body_of(path, row)).collect()
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

const INCIDENT: &str = "SELECT i.incident_id, i.body, i.revision, i.created, i.updated, \
    i.merged_into, i.withdrawn, t.status, t.assignee, t.verdict, \
    (SELECT count(*) FROM comments c WHERE c.incident_id = i.incident_id) + \
    (SELECT count(*) FROM incidents m JOIN comments c ON c.incident_id = m.incident_id \
     WHERE m.merged_into = i.incident_id) \
    FROM incidents i LEFT JOIN triage t ON t.incident_id = i.incident_id WHERE ";

/// Triage in three columns from `first` on; all of them null where nobody has decided anything.
pub(super) fn triage_of(row: &SqliteRow, first: usize) -> sqlx::Result<Triage> {
    let unknown = |what: &str, text: &str| {
        sqlx::Error::Decode(format!("triage has the unknown {what} {text:?}").into())
    };
    let status = match row.try_get::<Option<&str>, _>(first)? {
        Some(text) => IncidentStatus::parse(text).ok_or_else(|| unknown("status", text))?,
        None => IncidentStatus::New,
    };
    let verdict = match row.try_get::<Option<&str>, _>(first + 2)? {
        Some(text) => Some(Verdict::parse(text).ok_or_else(|| unknown("verdict", text))?),
        None => None,
    };
    Ok(Triage {
        status,
        assignee: row.try_get(first + 1)?,
        verdict,
    })
}

fn stored_incident(path: &Path, row: &SqliteRow) -> Result<StoredIncident> {
    let incident: Incident = body_of(path, row)?;
    let rest = || -> sqlx::Result<StoredIncident> {
        Ok(StoredIncident {
            incident,
            triage: triage_of(row, 7)?,
            revision: row.try_get(2)?,
            created: row.try_get(3)?,
            updated: row.try_get(4)?,
            merged_into: row.try_get(5)?,
            withdrawn: row.try_get(6)?,
            comment_count: row.try_get::<i64, _>(10)?.cast_unsigned(),
        })
    };
    rest().map_err(|error| store_error(path, error))
}

pub(super) async fn incident(
    connection: &mut SqliteConnection,
    path: &Path,
    id: &str,
) -> Result<Option<StoredIncident>> {
    let mut query = QueryBuilder::<Sqlite>::new(INCIDENT);
    query.push("i.incident_id = ").push_bind(id.to_owned());
    let row = query.build().fetch_optional(connection).await;
    let row = row.map_err(|error| store_error(path, error))?;
    row.map(|row| stored_incident(path, &row)).transpose()
}

/// Adds `AND {column} IN (…)` for an entity given as a value or as `kind:value`.
fn push_entity(query: &mut QueryBuilder<Sqlite>, subselect: &'static str, entity: &str) {
    query.push(subselect);
    query.push(" WHERE value = ").push_bind(entity.to_owned());
    if let Some((kind, value)) = entity.split_once(':') {
        query.push(" OR (kind = ").push_bind(kind.to_owned());
        query.push(" AND value = ").push_bind(value.to_owned());
        query.push(")");
    }
    query.push(")");
}

pub(super) async fn incidents(
    connection: &mut SqliteConnection,
    path: &Path,
    filter: &IncidentQuery,
) -> Result<Vec<StoredIncident>> {
    let mut query = QueryBuilder::<Sqlite>::new(INCIDENT);
    query.push("i.merged_into IS NULL AND i.withdrawn = 0");
    if let Some(status) = filter.status {
        query.push(" AND coalesce(t.status, 'new') = ");
        query.push_bind(status.as_str());
    }
    if let Some(level) = filter.min_level {
        query.push(" AND i.level >= ").push_bind(level_rank(level));
    }
    if let Some(entity) = &filter.entity {
        const IN: &str = " AND i.incident_id IN (SELECT incident_id FROM incident_entities";
        push_entity(&mut query, IN, entity);
    }
    for (label, value) in [("tactic", &filter.tactic), ("rule", &filter.rule_id)] {
        if let Some(value) = value {
            query.push(" AND i.incident_id IN (SELECT incident_id FROM incident_labels");
            query.push(" WHERE label = ").push_bind(label);
            query.push(" AND value = ").push_bind(value.clone());
            query.push(")");
        }
    }
    if let Some(assignee) = &filter.assignee {
        query.push(" AND t.assignee = ").push_bind(assignee.clone());
    }
    if let Some(from) = filter.from {
        query.push(" AND i.last_time >= ").push_bind(from);
    }
    if let Some(to) = filter.to {
        query.push(" AND i.first_time < ").push_bind(to);
    }
    if let Some((updated, id)) = &filter.cursor {
        query.push(" AND (i.updated, i.incident_id) < (");
        query.push_bind(*updated).push(", ").push_bind(id.clone());
        query.push(")");
    }
    query.push(" ORDER BY i.updated DESC, i.incident_id DESC LIMIT ");
    query.push_bind(i64::from(filter.limit));
    let rows = query.build().fetch_all(connection).await;
    let rows = rows.map_err(|error| store_error(path, error))?;
    rows.iter().map(|row| stored_incident(path, row)).collect()
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
        const IN: &str = " AND alert_id IN (SELECT alert_id FROM alert_entities";
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
    let mut found: HashMap<String, Alert> = HashMap::with_capacity(ids.len());
    for piece in bulk::pieces(&texts) {
        const SELECT: &str = "SELECT alert_id, body FROM alerts WHERE alert_id IN";
        let mut query = bulk::with_texts(SELECT, piece);
        let rows = query.build().fetch_all(&mut *connection).await;
        for row in rows.map_err(|error| store_error(path, error))? {
            let alert: Alert = body_of(path, &row)?;
            found.insert(alert.alert_id.clone(), alert);
        }
    }
    Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
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

pub(super) async fn changes(
    connection: &mut SqliteConnection,
    id: Option<&str>,
    after: i64,
    limit: u32,
) -> sqlx::Result<Vec<IncidentChange>> {
    const SELECT: &str =
        "SELECT seq, incident_id, kind, time, author, detail FROM changes WHERE seq > ";
    let mut query = QueryBuilder::<Sqlite>::new(SELECT);
    query.push_bind(after);
    if let Some(id) = id {
        query.push(" AND incident_id = ").push_bind(id.to_owned());
    }
    query
        .push(" ORDER BY seq LIMIT ")
        .push_bind(i64::from(limit));
    let rows = query.build().fetch_all(connection).await?;
    let change = |row: &SqliteRow| -> sqlx::Result<IncidentChange> {
        let detail: &str = row.try_get(5)?;
        Ok(IncidentChange {
            seq: row.try_get(0)?,
            incident_id: row.try_get(1)?,
            kind: row.try_get(2)?,
            time: row.try_get(3)?,
            author: row.try_get(4)?,
            detail: serde_json::from_str(detail)
                .map_err(|error| sqlx::Error::Decode(error.into()))?,
        })
    };
    rows.iter().map(change).collect()
}
