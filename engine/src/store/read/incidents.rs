//! Incidents as people see them, and their history.

use std::path::Path;

use sqlx::query_builder::QueryBuilder;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, SqliteConnection};

use super::{body_of, parse, push_entity};
use crate::Result;
use crate::alert::Entity;
use crate::incident::{Incident, IncidentHead, IncidentStatus, Triage, Verdict};
use crate::store::sqlite::store_error;
use crate::store::write::level_rank;
use crate::store::{IncidentChange, IncidentQuery, Place, StoredIncident};

/// Everything that the engine has stored of an incident.
pub(in crate::store) struct Whole {
    pub head: IncidentHead,
    pub places: Vec<Place>,
    pub entities: Vec<(Entity, u32)>,
}

pub(in crate::store) async fn whole(
    connection: &mut SqliteConnection,
    path: &Path,
    number: i64,
) -> Result<Whole> {
    let fail = |error| store_error(path, error);
    let head = sqlx::query("SELECT incident_id, body FROM incidents WHERE incident_no = ?")
        .bind(number)
        .fetch_one(&mut *connection)
        .await
        .map_err(fail)?;
    let places =
        sqlx::query("SELECT first_time, alert_id FROM incident_alerts WHERE incident_no = ?")
            .bind(number)
            .fetch_all(&mut *connection)
            .await
            .map_err(fail)?;
    let entities =
        sqlx::query("SELECT kind, value, alerts FROM incident_entities WHERE incident_no = ?")
            .bind(number)
            .fetch_all(&mut *connection)
            .await
            .map_err(fail)?;
    let place = |row: &SqliteRow| Ok((row.try_get(0)?, row.try_get(1)?));
    let entity = |row: &SqliteRow| {
        let (kind, value) = (row.try_get(0)?, row.try_get(1)?);
        Ok((Entity { kind, value }, row.try_get(2)?))
    };
    Ok(Whole {
        head: body_of(path, &head)?,
        places: places
            .iter()
            .map(place)
            .collect::<sqlx::Result<_>>()
            .map_err(fail)?,
        entities: entities
            .iter()
            .map(entity)
            .collect::<sqlx::Result<_>>()
            .map_err(fail)?,
    })
}

/// The number of an incident that is stored.
pub(in crate::store) async fn number_of(
    connection: &mut SqliteConnection,
    id: &str,
) -> sqlx::Result<i64> {
    let query = sqlx::query("SELECT incident_no FROM incidents WHERE incident_id = ?");
    query.bind(id).fetch_one(connection).await?.try_get(0)
}

/// Those that alerts can still join.
pub(super) async fn open(connection: &mut SqliteConnection, path: &Path) -> Result<Vec<Incident>> {
    let mut query = QueryBuilder::<Sqlite>::new(INCIDENT);
    query.push("i.open = 1 AND i.merged_into IS NULL AND i.withdrawn = 0");
    query.push(" ORDER BY i.first_time, i.incident_id");
    let rows = query.build().fetch_all(connection).await;
    let rows = rows.map_err(|error| store_error(path, error))?;
    rows.iter().map(|row| incident_of(path, row, 11)).collect()
}

/// Row of (id, body, …), with alert ids and entities as JSON from `lists` on.
fn incident_of(path: &Path, row: &SqliteRow, lists: usize) -> Result<Incident> {
    let fail = |error| store_error(path, error);
    let id: &str = row.try_get(0).map_err(fail)?;
    let head: IncidentHead = body_of(path, row)?;
    let alert_ids = parse(path, id, row.try_get(lists).map_err(fail)?)?;
    let entities = parse(path, id, row.try_get(lists + 1).map_err(fail)?)?;
    Ok(head.with(entities, alert_ids))
}

const INCIDENT: &str = "SELECT i.incident_id, i.body, i.revision, i.created, i.updated, \
    i.merged_into, i.withdrawn, t.status, t.assignee, t.verdict, \
    (SELECT count(*) FROM comments c WHERE c.incident_id = i.incident_id) + \
    (SELECT count(*) FROM incidents m JOIN comments c ON c.incident_id = m.incident_id \
     WHERE m.merged_into = i.incident_id), \
    (SELECT json_group_array(a.alert_id) FROM (SELECT alert_id FROM incident_alerts a \
     WHERE a.incident_no = i.incident_no ORDER BY first_time, alert_id) a), \
    (SELECT json_group_array(json_object('kind', e.kind, 'value', e.value)) FROM (SELECT kind, value \
     FROM incident_entities e WHERE e.incident_no = i.incident_no ORDER BY alerts DESC, kind, value) e) \
    FROM incidents i LEFT JOIN triage t ON t.incident_id = i.incident_id WHERE ";

/// Triage in three columns from `first` on; all of them null where nobody has decided anything.
pub(in crate::store) fn triage_of(row: &SqliteRow, first: usize) -> sqlx::Result<Triage> {
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
    let incident = incident_of(path, row, 11)?;
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

pub(in crate::store) async fn incident(
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

pub(in crate::store) async fn incidents(
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
        // The chunks that there are, and in each of them the value.
        const IN: &str = " AND i.incident_no IN (WITH RECURSIVE chunks (n) AS (SELECT 0 UNION ALL \
            SELECT n + 1 FROM chunks WHERE n < (SELECT max(incident_no) >> 14 FROM incidents)) \
            SELECT e.incident_no FROM chunks CROSS JOIN incident_entities e \
            INDEXED BY incident_entities_by_value WHERE e.incident_no >> 14 = n";
        push_entity(&mut query, IN, entity);
    }
    for (label, value) in [("tactic", &filter.tactic), ("rule", &filter.rule_id)] {
        if let Some(value) = value {
            query.push(" AND i.incident_no IN (SELECT incident_no FROM incident_labels");
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

pub(in crate::store) async fn changes(
    connection: &mut SqliteConnection,
    id: Option<&str>,
    after: i64,
    limit: u32,
) -> sqlx::Result<Vec<IncidentChange>> {
    const SELECT: &str = "SELECT c.seq, i.incident_id, c.kind, c.time, c.author, c.detail \
                          FROM changes c JOIN incidents i USING (incident_no) WHERE c.seq > ";
    let mut query = QueryBuilder::<Sqlite>::new(SELECT);
    query.push_bind(after);
    if let Some(id) = id {
        query.push(" AND i.incident_id = ").push_bind(id.to_owned());
    }
    query
        .push(" ORDER BY c.seq LIMIT ")
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
