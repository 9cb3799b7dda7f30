//! What people decide: triage and comments, and what becomes of both when incidents join.

use std::path::Path;

use serde_json::{Map, Value, json};
use sqlx::{Connection, Row, SqliteConnection};

use super::sqlite::{Writer, store_error};
use super::write::{Change, ENGINE, write_changes};
use super::{ChangeOutcome, TriageChange, read};
use crate::Result;
use crate::incident::{Comment, IncidentStatus, Triage};

/// Returns the outcome and the newest `seq`. A change that changes nothing leaves no trace.
pub(super) async fn triage(
    writer: &mut Writer,
    path: &Path,
    id: &str,
    change: &TriageChange,
) -> Result<(ChangeOutcome, i64)> {
    let fail = |error| store_error(path, error);
    let now = writer.now();
    let mut transaction = writer
        .connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(fail)?;
    let newest = read::newest_change(&mut transaction).await.map_err(fail)?;
    let Some(stored) = read::incident(&mut transaction, path, id).await? else {
        return Ok((ChangeOutcome::NotFound, newest));
    };
    if let Some(survivor) = stored.merged_into {
        return Ok((ChangeOutcome::Merged(survivor), newest));
    }
    if change
        .expected_revision
        .is_some_and(|expected| expected != stored.revision)
    {
        return Ok((ChangeOutcome::Conflict(stored.revision), newest));
    }
    let before = stored.triage.clone();
    let after = Triage {
        status: change.status.unwrap_or(before.status),
        assignee: change
            .assignee
            .clone()
            .unwrap_or_else(|| before.assignee.clone()),
        verdict: change.verdict.unwrap_or(before.verdict),
    };
    let detail = difference(&before, &after);
    if detail.is_empty() {
        return Ok((ChangeOutcome::Changed(Box::new(stored)), newest));
    }
    put_triage(&mut transaction, id, &after, now)
        .await
        .map_err(fail)?;
    touch(&mut transaction, id, now).await.map_err(fail)?;
    let change = Change {
        incident_no: read::number_of(&mut transaction, id).await.map_err(fail)?,
        kind: "triaged",
        author: change.author.clone(),
        detail: Value::Object(detail),
    };
    let newest = write_changes(&mut transaction, &[change], now)
        .await
        .map_err(fail)?;
    let stored = read::incident(&mut transaction, path, id).await?;
    transaction.commit().await.map_err(fail)?;
    let outcome = stored.map_or(ChangeOutcome::NotFound, |stored| {
        ChangeOutcome::Changed(Box::new(stored))
    });
    Ok((outcome, newest))
}

/// `{"status": {"from": "new", "to": "closed"}}` for the fields that differ.
fn difference(before: &Triage, after: &Triage) -> Map<String, Value> {
    let fields = [
        ("status", json!(before.status), json!(after.status)),
        ("assignee", json!(before.assignee), json!(after.assignee)),
        ("verdict", json!(before.verdict), json!(after.verdict)),
    ];
    fields
        .into_iter()
        .filter(|(_, from, to)| from != to)
        .map(|(name, from, to)| (name.to_owned(), json!({ "from": from, "to": to })))
        .collect()
}

async fn put_triage(
    connection: &mut SqliteConnection,
    id: &str,
    triage: &Triage,
    now: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO triage (incident_id, status, assignee, verdict, updated) \
         VALUES (?, ?, ?, ?, ?) ON CONFLICT (incident_id) DO UPDATE SET status = excluded.status, \
         assignee = excluded.assignee, verdict = excluded.verdict, updated = excluded.updated",
    )
    .bind(id)
    .bind(triage.status.as_str())
    .bind(triage.assignee.as_deref())
    .bind(triage.verdict.map(|verdict| verdict.as_str()))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

async fn touch(connection: &mut SqliteConnection, id: &str, now: i64) -> sqlx::Result<()> {
    sqlx::query("UPDATE incidents SET revision = revision + 1, updated = ? WHERE incident_id = ?")
        .bind(now)
        .bind(id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Returns the comment (None without such an incident) and the newest `seq`.
pub(super) async fn add_comment(
    writer: &mut Writer,
    id: &str,
    author: &str,
    text: &str,
) -> sqlx::Result<(Option<Comment>, i64)> {
    let now = writer.now();
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let found = sqlx::query(
        "SELECT coalesce(merged_into, incident_id) FROM incidents WHERE incident_id = ?",
    )
    .bind(id)
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(row) = found else {
        return Ok((None, read::newest_change(&mut transaction).await?));
    };
    let incident_id: String = row.try_get(0)?;
    let inserted = sqlx::query(
        "INSERT INTO comments (incident_id, author, time, text) VALUES (?, ?, ?, ?) \
         RETURNING comment_id",
    )
    .bind(incident_id.as_str())
    .bind(author)
    .bind(now)
    .bind(text)
    .fetch_one(&mut *transaction)
    .await?;
    let comment = Comment {
        comment_id: inserted.try_get(0)?,
        incident_id,
        author: author.to_owned(),
        time: now,
        text: text.to_owned(),
    };
    touch(&mut transaction, &comment.incident_id, now).await?;
    let change = Change {
        incident_no: read::number_of(&mut transaction, &comment.incident_id).await?,
        kind: "commented",
        author: author.to_owned(),
        detail: json!({ "comment_id": comment.comment_id }),
    };
    let newest = write_changes(&mut transaction, &[change], now).await?;
    transaction.commit().await?;
    Ok((Some(comment), newest))
}

/// Lets `gone` join `survivor`. Its comments and triage stay; the survivor inherits work in progress.
pub(super) async fn merge(
    connection: &mut SqliteConnection,
    gone: &str,
    survivor: &str,
    now: i64,
) -> sqlx::Result<Vec<Change>> {
    // The survivor may itself have joined another one in this very commit.
    let row = sqlx::query("SELECT merged_into FROM incidents WHERE incident_id = ?")
        .bind(survivor)
        .fetch_optional(&mut *connection)
        .await?;
    let further: Option<String> = match row {
        Some(row) => row.try_get(0)?,
        None => None,
    };
    let survivor = further.as_deref().unwrap_or(survivor);
    let query = sqlx::query(
        "UPDATE incidents SET merged_into = ?2, open = 0, revision = revision + 1, updated = ?3 \
         WHERE incident_id = ?1 AND merged_into IS NOT ?2",
    );
    let query = query.bind(gone).bind(survivor).bind(now);
    if query.execute(&mut *connection).await?.rows_affected() == 0 {
        // Never stored, or joined already: nothing that anybody has seen changes.
        return Ok(vec![]);
    }
    // Those that joined `gone` before have joined the survivor now.
    sqlx::query(
        "UPDATE incidents SET merged_into = ?2, revision = revision + 1, updated = ?3 \
         WHERE merged_into = ?1",
    )
    .bind(gone)
    .bind(survivor)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    let mut changes = vec![Change {
        incident_no: read::number_of(connection, gone).await?,
        kind: "merged",
        author: ENGINE.to_owned(),
        detail: json!({ "into": survivor }),
    }];
    if let Some(triage) = inheritance(connection, gone, survivor).await? {
        put_triage(connection, survivor, &triage, now).await?;
        touch(connection, survivor, now).await?;
        let mut detail = difference(&Triage::default(), &triage);
        detail.insert("inherited_from".to_owned(), json!(gone));
        changes.push(Change {
            incident_no: read::number_of(connection, survivor).await?,
            kind: "triaged",
            author: ENGINE.to_owned(),
            detail: Value::Object(detail),
        });
    }
    Ok(changes)
}

/// A survivor that nobody has touched takes over who works on it, so that a late event which changes the
/// incident's id takes no work away. A finished decision is not taken over: it was made on fewer facts.
async fn inheritance(
    connection: &mut SqliteConnection,
    gone: &str,
    survivor: &str,
) -> sqlx::Result<Option<Triage>> {
    let rows = sqlx::query(
        "SELECT t.incident_id = ?2, t.status, t.assignee, t.verdict FROM triage t \
         JOIN incidents s ON s.incident_id = ?2 WHERE t.incident_id IN (?1, ?2)",
    )
    .bind(gone)
    .bind(survivor)
    .fetch_all(connection)
    .await?;
    let [row] = rows.as_slice() else {
        return Ok(None);
    };
    if row.try_get::<bool, _>(0)? {
        return Ok(None);
    }
    let mut triage = read::triage_of(row, 1)?;
    if triage.status.is_done() {
        triage.status = IncidentStatus::New;
        triage.verdict = None;
    }
    Ok((triage != Triage::default()).then_some(triage))
}
