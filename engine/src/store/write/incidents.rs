//! Incidents with their side tables, and what the change log says of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{Change, ENGINE, level_rank, to_json};
use crate::Result;
use crate::alert::Entity;
use crate::store::read::{self, Whole};
use crate::store::sqlite::{refusal, store_error};
use crate::store::{IncidentWrite, Label, Labels, Place, bulk};

/// What the store has of an incident that is written again.
struct Known {
    number: i64,
    /// Merged into another or withdrawn; written again, it is alive again.
    is_hidden: bool,
}

async fn known(
    connection: &mut SqliteConnection,
    ids: &[&str],
) -> sqlx::Result<HashMap<String, Known>> {
    const SELECT: &str = "SELECT incident_id, incident_no, merged_into IS NOT NULL OR withdrawn \
                          FROM incidents WHERE incident_id IN";
    let known = |row: &SqliteRow| {
        Ok(Known {
            number: row.try_get(1)?,
            is_hidden: row.try_get(2)?,
        })
    };
    bulk::by_texts(connection, SELECT, ids, known).await
}

/// Rows to write and to drop, each with the number of its incident.
#[derive(Default)]
struct Rows {
    heads: Vec<(i64, usize, String)>,
    joined: Vec<(i64, Place)>,
    left: Vec<(i64, Place)>,
    counts: Vec<(i64, Entity, u32)>,
    gone: Vec<(i64, Entity)>,
    labels: Vec<(Label, String, i64)>,
    unlabelled: Vec<(Label, String, i64)>,
}

/// Each incident at most once. Those that change nothing leave no trace.
pub(super) async fn write_incidents(
    connection: &mut SqliteConnection,
    path: &Path,
    writes: &[IncidentWrite],
    now: i64,
) -> Result<Vec<Change>> {
    let fail = |error| store_error(path, error);
    let ids: Vec<&str> = writes.iter().map(|w| w.head.incident_id.as_str()).collect();
    let known = known(connection, &ids).await.map_err(fail)?;
    let newest = read::newest_number(connection, "incident").await;
    let mut newest = newest.map_err(fail)?;
    let (mut rows, mut changes) = (Rows::default(), vec![]);
    for (index, write) in writes.iter().enumerate() {
        let id = &write.head.incident_id;
        let (number, kind, is_changed) = match known.get(id) {
            None if !write.is_new => {
                let reason = format!("{id} is to be changed, and is not stored");
                return Err(refusal(path, reason));
            }
            None => {
                newest += 1;
                rows.add(newest, write);
                (newest, "created", true)
            }
            Some(known) if write.is_new => {
                let before = read::whole(connection, path, known.number).await?;
                let rest = difference(&before, write);
                rows.add(known.number, &rest);
                (known.number, "updated", rest.is_changed || known.is_hidden)
            }
            Some(known) => {
                rows.add(known.number, write);
                (known.number, "updated", write.is_changed)
            }
        };
        if !is_changed {
            continue;
        }
        rows.heads
            .push((number, index, to_json(path, &write.head, id)?));
        changes.push(Change {
            incident_no: number,
            kind,
            author: ENGINE.to_owned(),
            detail: json!({
                "alerts": write.alert_count,
                "level": write.head.level,
                "risk_score": write.head.risk_score,
                "open": write.head.open,
            }),
        });
    }
    rows.write(connection, writes, now).await.map_err(fail)?;
    Ok(changes)
}

/// What is to be stored of an incident that the store has, and the engine does not know: one that was closed, merged or
/// withdrawn, and of whose alerts a group was made again.
fn difference(before: &Whole, write: &IncidentWrite) -> IncidentWrite {
    let joined: BTreeSet<&Place> = write.joined.iter().collect();
    let known: BTreeSet<&Place> = before.places.iter().collect();
    let counts: BTreeMap<&Entity, u32> = write.entities.iter().map(|(e, n)| (e, *n)).collect();
    let stored: BTreeMap<&Entity, u32> = before.entities.iter().map(|(e, n)| (e, *n)).collect();
    let new = counts.iter().filter(|(e, n)| stored.get(*e) != Some(*n));
    let gone = stored.keys().filter(|entity| !counts.contains_key(*entity));
    let ids = |places: &BTreeSet<&Place>| -> Vec<String> {
        places.iter().map(|(_, id)| id.clone()).collect()
    };
    let order = |counts: &BTreeMap<&Entity, u32>| -> Vec<Entity> {
        let mut all: Vec<_> = counts.iter().collect();
        all.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        all.into_iter()
            .map(|(entity, _)| (*entity).clone())
            .collect()
    };
    IncidentWrite {
        is_changed: before.head != write.head
            || ids(&known) != ids(&joined)
            || order(&stored) != order(&counts),
        joined: joined
            .difference(&known)
            .map(|place| (*place).clone())
            .collect(),
        left: known
            .difference(&joined)
            .map(|place| (*place).clone())
            .collect(),
        entities: new
            .map(|(entity, alerts)| ((*entity).clone(), *alerts))
            .chain(gone.map(|entity| ((*entity).clone(), 0)))
            .collect(),
        labels: Labels::between(Some(&before.head), &write.head),
        head: write.head.clone(),
        ..*write
    }
}

impl Rows {
    fn add(&mut self, number: i64, write: &IncidentWrite) {
        let of = |place: &Place| (number, place.clone());
        self.joined.extend(write.joined.iter().map(of));
        self.left.extend(write.left.iter().map(of));
        for (entity, alerts) in &write.entities {
            match alerts {
                0 => self.gone.push((number, entity.clone())),
                alerts => self.counts.push((number, entity.clone(), *alerts)),
            }
        }
        let of = |(label, value): &(Label, String)| (*label, value.clone(), number);
        self.labels.extend(write.labels.added.iter().map(of));
        self.unlabelled.extend(write.labels.removed.iter().map(of));
    }

    async fn write(
        mut self,
        connection: &mut SqliteConnection,
        writes: &[IncidentWrite],
        now: i64,
    ) -> sqlx::Result<()> {
        const HEAD: &str = "INSERT INTO incidents (incident_no, incident_id, level, risk_score, first_time, \
                            last_time, open, revision, created, updated, body) ";
        const TAIL: &str = " ON CONFLICT (incident_no) DO UPDATE SET level = excluded.level, \
            risk_score = excluded.risk_score, first_time = excluded.first_time, \
            last_time = excluded.last_time, open = excluded.open, merged_into = NULL, withdrawn = 0, \
            revision = revision + 1, updated = excluded.updated, body = excluded.body";
        bulk::insert(
            connection,
            HEAD,
            TAIL,
            &self.heads,
            |row, (number, index, body)| {
                let head = &writes[*index].head;
                row.push_bind(*number);
                row.push_bind(head.incident_id.clone());
                row.push_bind(level_rank(head.level));
                row.push_bind(i64::from(head.risk_score));
                row.push_bind(head.first_time);
                row.push_bind(head.last_time);
                row.push_bind(head.open);
                row.push_bind(1);
                row.push_bind(now);
                row.push_bind(now);
                row.push_bind(body.clone());
            },
        )
        .await?;
        // Tables and indexes are walked in their order.
        self.joined.sort_unstable();
        self.counts.sort_unstable();
        self.labels.sort_unstable();
        const ALERTS: &str = "(incident_no, first_time, alert_id)";
        bulk::delete(
            connection,
            "incident_alerts",
            ALERTS,
            &self.left,
            |row, (number, (time, id))| {
                row.push_bind(*number).push_bind(*time);
                row.push_bind(id.clone());
            },
        )
        .await?;
        const JOINED: &str =
            "INSERT OR IGNORE INTO incident_alerts (incident_no, first_time, alert_id) ";
        bulk::insert(
            connection,
            JOINED,
            "",
            &self.joined,
            |row, (number, (time, id))| {
                row.push_bind(*number).push_bind(*time);
                row.push_bind(id.clone());
            },
        )
        .await?;
        const ENTITIES: &str = "(incident_no, kind, value)";
        bulk::delete(
            connection,
            "incident_entities",
            ENTITIES,
            &self.gone,
            |row, (number, entity)| {
                row.push_bind(*number).push_bind(entity.kind.clone());
                row.push_bind(entity.value.clone());
            },
        )
        .await?;
        const COUNTS: &str = "INSERT INTO incident_entities (incident_no, kind, value, alerts) ";
        const RECOUNTS: &str =
            " ON CONFLICT (incident_no, kind, value) DO UPDATE SET alerts = excluded.alerts";
        bulk::insert(
            connection,
            COUNTS,
            RECOUNTS,
            &self.counts,
            |row, (number, entity, alerts)| {
                row.push_bind(*number).push_bind(entity.kind.clone());
                row.push_bind(entity.value.clone()).push_bind(*alerts);
            },
        )
        .await?;
        const LABELS: &str = "(label, value, incident_no)";
        bulk::delete(
            connection,
            "incident_labels",
            LABELS,
            &self.unlabelled,
            |row, (label, value, number)| {
                row.push_bind(label.as_str()).push_bind(value.clone());
                row.push_bind(*number);
            },
        )
        .await?;
        const LABELLED: &str = "INSERT OR IGNORE INTO incident_labels (label, value, incident_no) ";
        bulk::insert(
            connection,
            LABELLED,
            "",
            &self.labels,
            |row, (label, value, number)| {
                row.push_bind(label.as_str()).push_bind(value.clone());
                row.push_bind(*number);
            },
        )
        .await
    }
}

pub(super) async fn withdraw(
    connection: &mut SqliteConnection,
    id: &str,
    now: i64,
) -> sqlx::Result<Option<Change>> {
    let query = sqlx::query(
        "UPDATE incidents SET withdrawn = 1, open = 0, revision = revision + 1, updated = ?2 \
         WHERE incident_id = ?1 AND withdrawn = 0 RETURNING incident_no",
    );
    let done = query.bind(id).bind(now).fetch_optional(connection).await?;
    let number = done.map(|row| row.try_get(0)).transpose()?;
    Ok(number.map(|incident_no| Change {
        incident_no,
        kind: "withdrawn",
        author: ENGINE.to_owned(),
        detail: json!({}),
    }))
}
