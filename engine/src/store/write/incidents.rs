//! Incidents with their side tables, and what the change log says of them.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::json;
use sqlx::{Row, SqliteConnection};

use super::{Change, ENGINE, last_of_each, level_rank, to_json};
use crate::Result;
use crate::incident::Incident;
use crate::store::sqlite::store_error;
use crate::store::{bulk, read};

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
pub(super) async fn write_incidents(
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

pub(super) async fn withdraw(
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
