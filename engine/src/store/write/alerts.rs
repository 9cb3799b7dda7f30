//! Alerts and what they can be found by.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde::Deserialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{level_rank, to_json};
use crate::Result;
use crate::alert::{Alert, Entity};
use crate::store::sqlite::store_error;
use crate::store::{bulk, read};

/// What the store has of an alert that is written again.
struct Known {
    number: i64,
    body: String,
}

/// Of a body, what has rows of its own.
#[derive(Deserialize)]
struct Entities {
    entities: BTreeSet<Entity>,
}

async fn known(
    connection: &mut SqliteConnection,
    ids: &[&str],
) -> sqlx::Result<HashMap<String, Known>> {
    const SELECT: &str = "SELECT alert_id, alert_no, body FROM alerts WHERE alert_id IN";
    let known = |row: &SqliteRow| {
        Ok(Known {
            number: row.try_get(1)?,
            body: row.try_get(2)?,
        })
    };
    bulk::by_texts(connection, SELECT, ids, known).await
}

/// One row of `alert_entities`, in the order of its key.
type EntityRow<'a> = (i64, &'a str, &'a str, i64);

fn row_of(entity: &Entity, number: i64) -> EntityRow<'_> {
    (number >> read::CHUNK, &entity.value, &entity.kind, number)
}

pub(super) async fn write_alerts(
    connection: &mut SqliteConnection,
    path: &Path,
    alerts: &[Alert],
    now: i64,
) -> Result<()> {
    let fail = |error| store_error(path, error);
    // The last of several with one id, and in order of ids, as their index is.
    let alerts: BTreeMap<&str, &Alert> = alerts
        .iter()
        .map(|alert| (alert.alert_id.as_str(), alert))
        .collect();
    let ids: Vec<&str> = alerts.keys().copied().collect();
    let known = known(connection, &ids).await.map_err(fail)?;
    let mut newest = read::newest_number(connection, "alert")
        .await
        .map_err(fail)?;
    let mut rows = Vec::with_capacity(alerts.len());
    let mut before: Vec<(i64, BTreeSet<Entity>)> = vec![];
    let mut added: Vec<EntityRow<'_>> = vec![];
    for (id, alert) in alerts {
        let number = match known.get(id) {
            Some(known) => {
                let old: Entities = read::parse(path, id, &known.body)?;
                before.push((known.number, old.entities));
                known.number
            }
            None => {
                newest += 1;
                newest
            }
        };
        rows.push((number, alert, to_json(path, alert, id)?));
        added.extend(alert.entities.iter().map(|entity| row_of(entity, number)));
    }
    const HEAD: &str = "INSERT INTO alerts (alert_no, alert_id, rule_id, level, state, first_time, \
                        last_time, revision, created, updated, body) ";
    const TAIL: &str = " ON CONFLICT (alert_no) DO UPDATE SET rule_id = excluded.rule_id, \
        level = excluded.level, state = excluded.state, first_time = excluded.first_time, \
        last_time = excluded.last_time, revision = excluded.revision, \
        updated = excluded.updated, body = excluded.body";
    bulk::insert(
        connection,
        HEAD,
        TAIL,
        &rows,
        |row, (number, alert, body)| {
            row.push_bind(*number);
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
        },
    )
    .await
    .map_err(fail)?;
    write_entities(connection, &before, added)
        .await
        .map_err(fail)
}

/// Writes the rows that are to be there and were not; drops those that were and are not to be.
async fn write_entities(
    connection: &mut SqliteConnection,
    before: &[(i64, BTreeSet<Entity>)],
    mut added: Vec<EntityRow<'_>>,
) -> sqlx::Result<()> {
    added.sort_unstable();
    added.dedup();
    let before = before.iter();
    let before: BTreeSet<EntityRow<'_>> = before
        .flat_map(|(number, old)| old.iter().map(|entity| row_of(entity, *number)))
        .collect();
    let is_kept = |row: &EntityRow<'_>| added.binary_search(row).is_ok();
    let gone: Vec<_> = before.iter().filter(|row| !is_kept(row)).copied().collect();
    added.retain(|row| !before.contains(row));
    const TABLE: &str = "alert_entities";
    const KEY: &str = "(chunk, value, kind, alert_no)";
    bulk::delete(connection, TABLE, KEY, &gone, |row, values| {
        let (chunk, value, kind, number) = *values;
        row.push_bind(chunk).push_bind(value.to_owned());
        row.push_bind(kind.to_owned()).push_bind(number);
    })
    .await?;
    const HEAD: &str = "INSERT INTO alert_entities (chunk, value, kind, alert_no) ";
    bulk::insert(connection, HEAD, "", &added, |row, values| {
        let (chunk, value, kind, number) = *values;
        row.push_bind(chunk).push_bind(value.to_owned());
        row.push_bind(kind.to_owned()).push_bind(number);
    })
    .await
}
