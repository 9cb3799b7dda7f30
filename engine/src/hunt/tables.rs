//! Alerts and incidents of the store as SQL tables.
//!
//! They are read when a query names them, the newest first, up to a bound: the store answers pages, it does
//! not run SQL for people.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanBuilder, Int64Builder, ListBuilder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use serde::Serialize;

use crate::Result;
use crate::alert::{Alert, AlertState};
use crate::incident::{Incident, Triage};
use crate::rule::{Confidence, Level};
use crate::store::{AlertQuery, IncidentQuery, SharedStore, StoredIncident};

/// Newest alerts or incidents that a query sees.
pub const MAX_RECORDS: usize = 100_000;
/// Bytes that they may take; alerts carry an output row of any width.
const MAX_BYTES: usize = 64 << 20;
const PAGE: u32 = 1000;

/// Collects a table column by column. The order of the calls in a row's function is the order of columns.
#[derive(Default)]
struct Table {
    columns: Vec<(&'static str, Building)>,
    next: usize,
    bytes: usize,
}

enum Building {
    Text(StringBuilder),
    Texts(ListBuilder<StringBuilder>),
    Int(Int64Builder),
    Bool(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
}

macro_rules! setters {
    ($($function:ident $variant:ident $value:ty, $new:expr, |$builder:ident, $given:ident| $append:expr;)*) => {
        $(fn $function(&mut self, name: &'static str, $given: $value) -> &mut Self {
            if self.next == self.columns.len() {
                self.columns.push((name, Building::$variant($new)));
            }
            if let Some((_, Building::$variant($builder))) = self.columns.get_mut(self.next) {
                $append;
            }
            self.next += 1;
            self
        })*
    };
}

impl Table {
    setters! {
        text_column Text Option<&str>, StringBuilder::new(), |b, value| b.append_option(value);
        texts_column Texts &[String], ListBuilder::new(StringBuilder::new()), |b, values| {
            b.append_value(values.iter().map(Some))
        };
        int Int Option<i64>, Int64Builder::new(), |b, value| b.append_option(value);
        bool Bool bool, BooleanBuilder::new(), |b, value| b.append_value(value);
        time Time Option<i64>, TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            |b, value| b.append_option(value);
    }

    fn text(&mut self, name: &'static str, value: Option<&str>) -> &mut Self {
        self.bytes += value.map_or(0, str::len);
        self.text_column(name, value)
    }
    fn texts(&mut self, name: &'static str, values: &[String]) -> &mut Self {
        self.bytes += values.iter().map(String::len).sum::<usize>();
        self.texts_column(name, values)
    }
    /// Anything as JSON text, for the JSON operators.
    fn json(&mut self, name: &'static str, value: &impl Serialize) -> Result<&mut Self> {
        let json = serde_json::to_string(value);
        let json = json.map_err(|e| crate::Error::Other(format!("column {name}: {e}")))?;
        Ok(self.text(name, Some(&json)))
    }
    /// A serde enum by the name that it has in JSON.
    fn name(&mut self, name: &'static str, value: &impl Serialize) -> Result<&mut Self> {
        let json = serde_json::to_value(value);
        let json = json.map_err(|e| crate::Error::Other(format!("column {name}: {e}")))?;
        Ok(self.text(name, json.as_str()))
    }
    fn end_row(&mut self) {
        self.next = 0;
        self.bytes += 200;
    }

    fn finish(self, rows: usize) -> Result<MemTable> {
        let array = |(name, building): (&'static str, Building)| -> (&'static str, ArrayRef, bool) {
            let array: ArrayRef = match building {
                Building::Text(mut b) => Arc::new(b.finish()),
                Building::Texts(mut b) => Arc::new(b.finish()),
                Building::Int(mut b) => Arc::new(b.finish()),
                Building::Bool(mut b) => Arc::new(b.finish()),
                Building::Time(mut b) => Arc::new(b.finish()),
            };
            (name, array.slice(0, rows), true)
        };
        let columns = self.columns.into_iter().map(array);
        let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
        Ok(MemTable::try_new(batch.schema(), vec![vec![batch]])?)
    }
}

fn alert_row(table: &mut Table, alert: &Alert) -> Result<()> {
    table
        .text("alert_id", Some(&alert.alert_id))
        .text("rule_id", Some(&alert.rule_id))
        .text("rule_version", Some(&alert.rule_version))
        .text("rule_title", Some(&alert.rule_title))
        .name("level", &alert.level)?
        .name("confidence", &alert.confidence)?
        .int("risk_score", Some(alert.risk_score.into()))
        .text("state", Some(alert.state.as_str()))
        .int("revision", Some(alert.revision.into()))
        .time("first_time", Some(alert.first_time))
        .time("last_time", Some(alert.last_time))
        .time("window_start", alert.window.map(|window| window.0))
        .time("window_end", alert.window.map(|window| window.1))
        .texts("tactics", &alert.tactics)
        .texts("techniques", &alert.techniques)
        .json("entities", &alert.entities)?
        .json("group_key", &alert.key)?
        .json("output", &alert.row)?
        .json("evidence", &alert.evidence)?
        .int("evidence_count", Some(alert.evidence_count as i64))
        .int("matches", Some(alert.matches as i64))
        .end_row();
    Ok(())
}

fn incident_row(table: &mut Table, stored: &StoredIncident) -> Result<()> {
    let (incident, triage) = (&stored.incident, &stored.triage);
    table
        .text("incident_id", Some(&incident.incident_id))
        .text("title", Some(&incident.title))
        .name("level", &incident.level)?
        .int("risk_score", Some(incident.risk_score.into()))
        .name("status", &triage.status)?
        .name("verdict", &triage.verdict)?
        .text("assignee", triage.assignee.as_deref())
        .time("first_time", Some(incident.first_time))
        .time("last_time", Some(incident.last_time))
        .bool("open", incident.open)
        .texts("tactics", &incident.tactics)
        .texts("techniques", &incident.techniques)
        .json("entities", &incident.entities)?
        .texts("alert_ids", &incident.alert_ids)
        .texts("rule_ids", &incident.rule_ids)
        .int("alert_count", Some(incident.alert_ids.len() as i64))
        .int("comment_count", Some(stored.comment_count as i64))
        .int("revision", Some(stored.revision))
        .time("created", Some(stored.created))
        .time("updated", Some(stored.updated))
        .text("merged_into", stored.merged_into.as_deref())
        .bool("withdrawn", stored.withdrawn)
        .end_row();
    Ok(())
}

/// Registers `alerts`. Returns a note if not all of them fitted. Without a store the table is empty.
pub async fn register_alerts(
    ctx: &SessionContext,
    store: Option<&SharedStore>,
) -> Result<Option<String>> {
    let mut table = Table::default();
    let mut rows = 0;
    let mut query = AlertQuery {
        limit: PAGE,
        ..AlertQuery::default()
    };
    let mut more = store.is_some();
    while let (Some(store), true) = (store, more) {
        let page = store.alerts(&query).await?;
        for alert in &page {
            alert_row(&mut table, alert)?;
        }
        rows += page.len();
        query.cursor = page.last().map(|a| (a.first_time, a.alert_id.clone()));
        more = page.len() == PAGE as usize;
        if more && full(&table, rows) {
            break;
        }
    }
    if rows == 0 {
        alert_row(&mut table, &template_alert())?;
    }
    ctx.register_table("alerts", Arc::new(table.finish(rows)?))?;
    Ok(more.then(|| note("alerts", rows)))
}

/// Registers `incidents`, likewise.
pub async fn register_incidents(
    ctx: &SessionContext,
    store: Option<&SharedStore>,
) -> Result<Option<String>> {
    let mut table = Table::default();
    let mut rows = 0;
    let mut query = IncidentQuery {
        limit: PAGE,
        ..IncidentQuery::default()
    };
    let mut more = store.is_some();
    while let (Some(store), true) = (store, more) {
        let page = store.incidents(&query).await?;
        for incident in &page {
            incident_row(&mut table, incident)?;
        }
        rows += page.len();
        query.cursor = (page.last()).map(|i| (i.updated, i.incident.incident_id.clone()));
        more = page.len() == PAGE as usize;
        if more && full(&table, rows) {
            break;
        }
    }
    if rows == 0 {
        incident_row(&mut table, &template_incident())?;
    }
    ctx.register_table("incidents", Arc::new(table.finish(rows)?))?;
    Ok(more.then(|| note("incidents", rows)))
}

/// Gives an empty table its columns; its row is cut off.
fn template_alert() -> Alert {
    Alert {
        alert_id: String::new(),
        rule_id: String::new(),
        rule_version: String::new(),
        rule_title: String::new(),
        level: Level::Low,
        confidence: Confidence::Low,
        risk_score: 0,
        key: vec![],
        window: None,
        first_time: 0,
        last_time: 0,
        entities: vec![],
        tactics: vec![],
        techniques: vec![],
        row: serde_json::Map::new(),
        matches: 0,
        evidence: vec![],
        evidence_count: 0,
        state: AlertState::Final,
        revision: 0,
        watermark: None,
    }
}

fn template_incident() -> StoredIncident {
    StoredIncident {
        incident: Incident {
            incident_id: String::new(),
            title: String::new(),
            level: Level::Low,
            risk_score: 0,
            first_time: 0,
            last_time: 0,
            entities: vec![],
            tactics: vec![],
            techniques: vec![],
            alert_ids: vec![],
            rule_ids: vec![],
            open: false,
        },
        triage: Triage::default(),
        revision: 0,
        created: 0,
        updated: 0,
        merged_into: None,
        withdrawn: false,
        comment_count: 0,
    }
}

fn full(table: &Table, rows: usize) -> bool {
    rows >= MAX_RECORDS || table.bytes >= MAX_BYTES
}

fn note(table: &str, rows: usize) -> String {
    format!("table {table} holds the newest {rows} only; older ones are behind the API's filters")
}
