//! One engine commit as one transaction.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use serde::Serialize;
use serde_json::json;
use sqlx::{Connection, Row, SqliteConnection};
use xxhash_rust::xxh3::Xxh3;

use super::sqlite::{Writer, refusal, store_error};
use super::{Commit, PartitionState, StateWrite, bulk, people, read};
use crate::alert::{Alert, Entity};
use crate::incident::Incident;
use crate::rule::Level;
use crate::{Error, Result};

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

/// One line of the change log that is still to be written.
pub(super) struct Change {
    pub incident_id: String,
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
    write_alerts(connection, path, &commit.alerts, now).await?;
    let mut changes = write_incidents(connection, path, &commit.incidents, now).await?;
    for (gone, survivor) in &commit.merged {
        let merged = people::merge(connection, gone, survivor, now).await;
        changes.extend(merged.map_err(fail)?);
    }
    for id in &commit.withdrawn {
        changes.extend(withdraw(connection, id, now).await.map_err(fail)?);
    }
    write_changes(connection, &changes, now).await.map_err(fail)
}

/// Appends to the change log; returns the newest `seq`.
pub(super) async fn write_changes(
    connection: &mut SqliteConnection,
    changes: &[Change],
    now: i64,
) -> sqlx::Result<i64> {
    const HEAD: &str = "INSERT INTO changes (incident_id, kind, time, author, detail) ";
    bulk::insert(connection, HEAD, "", changes, |row, change| {
        row.push_bind(change.incident_id.clone());
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
    bulk::insert(connection, HEAD, TAIL, &kept, |row, (owner, key, value)| {
        row.push_bind((*owner).to_owned());
        row.push_bind(*key);
        row.push_bind(value.len().cast_signed() as i64);
        row.push_bind(checksum(owner, *key, value));
        row.push_bind(value.to_vec());
    })
    .await
}

async fn write_partitions(
    connection: &mut SqliteConnection,
    partitions: &[PartitionState],
) -> sqlx::Result<()> {
    const HEAD: &str = "INSERT INTO partitions (source, name, next, max_time, events_read, \
                        processed, duplicates, dead_lettered, filtered, late, bytes) ";
    const TAIL: &str = " ON CONFLICT (source, name) DO UPDATE SET next = excluded.next, \
        max_time = excluded.max_time, events_read = excluded.events_read, \
        processed = excluded.processed, duplicates = excluded.duplicates, \
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

/// The last of several with one id, in the order given.
fn last_of_each<'a, T>(items: &'a [T], id: impl Fn(&'a T) -> &'a str) -> Vec<&'a T> {
    let last: HashMap<&str, usize> = items
        .iter()
        .enumerate()
        .map(|(index, item)| (id(item), index))
        .collect();
    let is_last = |(index, item): &(usize, &'a T)| last.get(id(item)) == Some(index);
    let kept = items.iter().enumerate().filter(is_last);
    kept.map(|(_, item)| item).collect()
}

async fn write_alerts(
    connection: &mut SqliteConnection,
    path: &Path,
    alerts: &[Alert],
    now: i64,
) -> Result<()> {
    let fail = |error| store_error(path, error);
    let alerts = last_of_each(alerts, |alert| &alert.alert_id);
    let rows = alerts
        .iter()
        .map(|alert| Ok((*alert, to_json(path, alert, &alert.alert_id)?)))
        .collect::<Result<Vec<_>>>()?;
    const HEAD: &str = "INSERT INTO alerts (alert_id, rule_id, level, state, first_time, \
                        last_time, revision, created, updated, body) ";
    const TAIL: &str = " ON CONFLICT (alert_id) DO UPDATE SET rule_id = excluded.rule_id, \
        level = excluded.level, state = excluded.state, first_time = excluded.first_time, \
        last_time = excluded.last_time, revision = excluded.revision, \
        updated = excluded.updated, body = excluded.body";
    bulk::insert(connection, HEAD, TAIL, &rows, |row, (alert, body)| {
        row.push_bind(alert.alert_id.clone());
        row.push_bind(alert.rule_id.clone());
        row.push_bind(level_rank(alert.level));
        row.push_bind(alert.state.as_str());
        row.push_bind(alert.first_time);
        row.push_bind(alert.last_time);
        row.push_bind(i64::from(alert.revision));
        row.push_bind(now);
        row.push_bind(now);
        row.push_bind(body.clone());
    })
    .await
    .map_err(fail)?;

    let ids: Vec<&str> = alerts.iter().map(|alert| alert.alert_id.as_str()).collect();
    for piece in bulk::pieces(&ids) {
        bulk::with_texts("DELETE FROM alert_entities WHERE alert_id IN", piece)
            .build()
            .execute(&mut *connection)
            .await
            .map_err(fail)?;
    }
    let entities: Vec<(&str, &Entity)> = alerts
        .iter()
        .flat_map(|alert| {
            let id = alert.alert_id.as_str();
            alert.entities.iter().map(move |entity| (id, entity))
        })
        .collect();
    const ENTITIES: &str = "INSERT OR IGNORE INTO alert_entities (alert_id, kind, value) ";
    bulk::insert(connection, ENTITIES, "", &entities, |row, (id, entity)| {
        row.push_bind((*id).to_owned());
        row.push_bind(entity.kind.clone());
        row.push_bind(entity.value.clone());
    })
    .await
    .map_err(fail)
}

/// What the store has of an incident that is written again.
struct Known {
    body: String,
    revision: i64,
    /// Merged into another or withdrawn; written again, it is alive again.
    hidden: bool,
}

async fn known(
    connection: &mut SqliteConnection,
    ids: &[&str],
) -> sqlx::Result<HashMap<String, Known>> {
    const SELECT: &str = "SELECT incident_id, body, revision, merged_into IS NOT NULL OR withdrawn \
                          FROM incidents WHERE incident_id IN";
    let mut found = HashMap::new();
    for piece in bulk::pieces(ids) {
        let mut query = bulk::with_texts(SELECT, piece);
        for row in query.build().fetch_all(&mut *connection).await? {
            let known = Known {
                body: row.try_get(1)?,
                revision: row.try_get(2)?,
                hidden: row.try_get(3)?,
            };
            found.insert(row.try_get(0)?, known);
        }
    }
    Ok(found)
}

/// Rows of the side tables: incident, kind or label, value.
type Side = HashSet<(&'static str, String, String)>;

fn side_rows(incident: &Incident) -> Side {
    let entities = incident
        .entities
        .iter()
        .map(|entity| ("entity", entity.kind.clone(), entity.value.clone()));
    let tactics = incident
        .tactics
        .iter()
        .map(|value| ("label", "tactic".to_owned(), value.clone()));
    let rules = incident
        .rule_ids
        .iter()
        .map(|value| ("label", "rule".to_owned(), value.clone()));
    entities.chain(tactics).chain(rules).collect()
}

/// An incident whose body is unchanged is not written: its revision tells people of changes.
async fn write_incidents(
    connection: &mut SqliteConnection,
    path: &Path,
    incidents: &[Incident],
    now: i64,
) -> Result<Vec<Change>> {
    let fail = |error| store_error(path, error);
    let incidents = last_of_each(incidents, |incident| &incident.incident_id);
    let ids: Vec<&str> = incidents.iter().map(|i| i.incident_id.as_str()).collect();
    let known = known(connection, &ids).await.map_err(fail)?;

    let (mut rows, mut changes) = (vec![], vec![]);
    let (mut added, mut removed) = (vec![], vec![]);
    for incident in incidents {
        let id = &incident.incident_id;
        let body = to_json(path, incident, id)?;
        let before = known.get(id);
        if before.is_some_and(|known| known.body == body && !known.hidden) {
            continue;
        }
        let old: Side = match before {
            Some(known) => side_rows(&read::parse(path, id, &known.body)?),
            None => Side::new(),
        };
        let new = side_rows(incident);
        added.extend(new.difference(&old).cloned().map(|row| (id.clone(), row)));
        removed.extend(old.difference(&new).cloned().map(|row| (id.clone(), row)));
        changes.push(Change {
            incident_id: id.clone(),
            kind: if before.is_some() {
                "updated"
            } else {
                "created"
            },
            author: ENGINE.to_owned(),
            detail: json!({
                "alerts": incident.alert_ids.len(),
                "level": incident.level,
                "risk_score": incident.risk_score,
                "open": incident.open,
            }),
        });
        rows.push((incident, body, before.map_or(1, |known| known.revision + 1)));
    }

    const HEAD: &str = "INSERT INTO incidents (incident_id, level, risk_score, first_time, \
                        last_time, open, revision, created, updated, body) ";
    const TAIL: &str = " ON CONFLICT (incident_id) DO UPDATE SET level = excluded.level, \
        risk_score = excluded.risk_score, first_time = excluded.first_time, \
        last_time = excluded.last_time, open = excluded.open, merged_into = NULL, withdrawn = 0, \
        revision = excluded.revision, updated = excluded.updated, body = excluded.body";
    bulk::insert(
        connection,
        HEAD,
        TAIL,
        &rows,
        |row, (incident, body, revision)| {
            row.push_bind(incident.incident_id.clone());
            row.push_bind(level_rank(incident.level));
            row.push_bind(i64::from(incident.risk_score));
            row.push_bind(incident.first_time);
            row.push_bind(incident.last_time);
            row.push_bind(incident.open);
            row.push_bind(*revision);
            row.push_bind(now);
            row.push_bind(now);
            row.push_bind(body.clone());
        },
    )
    .await
    .map_err(fail)?;
    write_sides(connection, added, removed)
        .await
        .map_err(fail)?;
    Ok(changes)
}

type SideRow = (String, (&'static str, String, String));

async fn write_sides(
    connection: &mut SqliteConnection,
    added: Vec<SideRow>,
    removed: Vec<SideRow>,
) -> sqlx::Result<()> {
    for (id, (table, kind, value)) in removed {
        let delete = if table == "entity" {
            "DELETE FROM incident_entities WHERE incident_id = ? AND kind = ? AND value = ?"
        } else {
            "DELETE FROM incident_labels WHERE incident_id = ? AND label = ? AND value = ?"
        };
        let query = sqlx::query(delete).bind(id).bind(kind).bind(value);
        query.execute(&mut *connection).await?;
    }
    let (entities, labels): (Vec<_>, Vec<_>) =
        added.into_iter().partition(|(_, row)| row.0 == "entity");
    const ENTITIES: &str = "INSERT OR IGNORE INTO incident_entities (incident_id, kind, value) ";
    const LABELS: &str = "INSERT OR IGNORE INTO incident_labels (incident_id, label, value) ";
    for (head, rows) in [(ENTITIES, entities), (LABELS, labels)] {
        bulk::insert(
            connection,
            head,
            "",
            &rows,
            |row, (id, (_, kind, value))| {
                row.push_bind(id.clone());
                row.push_bind(kind.clone());
                row.push_bind(value.clone());
            },
        )
        .await?;
    }
    Ok(())
}

async fn withdraw(
    connection: &mut SqliteConnection,
    id: &str,
    now: i64,
) -> sqlx::Result<Option<Change>> {
    let query = sqlx::query(
        "UPDATE incidents SET withdrawn = 1, open = 0, revision = revision + 1, updated = ?2 \
         WHERE incident_id = ?1 AND withdrawn = 0",
    );
    let done = query.bind(id).bind(now).execute(connection).await?;
    Ok((done.rows_affected() > 0).then(|| Change {
        incident_id: id.to_owned(),
        kind: "withdrawn",
        author: ENGINE.to_owned(),
        detail: json!({}),
    }))
}

/// So that a damaged piece is told apart from a broken store.
pub(super) fn damaged(owner: &str, reason: String) -> Error {
    Error::State {
        owner: owner.to_owned(),
        reason,
    }
}
