//! The oracle: plain batch SQL over all events at once in an ordinary session, and plain loops. It knows no
//! watermark, no pane, no state and no order of arrival, and shares no code with the engine but the SQL
//! functions that rules call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use serde_json::{Map, Number, Value};
use weir_engine::alert::Alert;

use super::rules::{Case, Grouped, Kind, Step};
use super::stream::{DAY, Event, batch};

type Row = Map<String, Value>;
/// Title, key and start of the episode.
pub type Id = (String, Vec<(String, String)>, i64);

/// All of an alert that the events alone decide.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub matches: u64,
    pub row: Row,
    /// First and last time and number of the events behind it, where the rule's kind defines them.
    pub evidence: Option<(i64, i64, u64)>,
    pub entities: BTreeSet<(String, String)>,
}

pub type Answers = BTreeMap<Id, Told>;

/// The same of the engine's alert.
pub fn told(alert: &Alert, case: &Case) -> (Id, Told) {
    let start = alert.window.map_or(alert.first_time, |window| window.0);
    let evidence = (alert.first_time, alert.last_time, alert.evidence_count);
    let of_events = !matches!(case.kind, Kind::WindowSql | Kind::Alerts);
    let entities = alert
        .entities
        .iter()
        .map(|e| (e.kind.clone(), e.value.clone()));
    let told = Told {
        matches: alert.matches,
        row: alert.row.clone(),
        evidence: of_events.then_some(evidence),
        entities: entities.collect(),
    };
    let key = match (&case.kind, alert.key.as_slice()) {
        // The oracle gives alerts no ids.
        (Kind::Alerts, [(name, _)]) if name == "event_uid" => by_row(&alert.row),
        (_, key) => key.to_vec(),
    };
    ((alert.rule_title.clone(), key, start), told)
}

fn by_row(row: &Row) -> Vec<(String, String)> {
    vec![("row".into(), text(row))]
}

struct Match {
    key: Vec<(String, String)>,
    start: i64,
    /// Decides between matches of one start.
    tie: String,
    row: Row,
    /// Events by id.
    evidence: BTreeMap<String, i64>,
}

/// A row of a query over events, with the event's time and id.
struct Occurrence {
    time: i64,
    uid: String,
    row: Row,
}

pub async fn answers(cases: &[Case], events: &[Event]) -> Answers {
    let whole = session(&batch(events)).await;
    let mut answers = Answers::new();
    for case in cases
        .iter()
        .filter(|case| !matches!(case.kind, Kind::Alerts))
    {
        let matches = match &case.kind {
            Kind::Alerts => continue,
            Kind::Event => single(case, occurrences(&whole, &case.rule.query).await),
            Kind::Grouped(parts) => grouped(case, parts, events).await,
            Kind::Sequence(parts, steps) => sequences(case, parts, steps, events).await,
            Kind::WindowSql => window_by_window(case, events).await,
            Kind::NewTerms => single(
                case,
                new_terms(case, occurrences(&whole, &case.rule.query).await),
            ),
            Kind::Absence => {
                // Time does not end where one clock is.
                let told = events.iter().filter(|e| e.time - e.at < DAY);
                let end = told.map(|e| e.time).max().unwrap();
                single(
                    case,
                    absence(case, occurrences(&whole, &case.rule.query).await, end),
                )
            }
        };
        answers.extend(fold(case, matches));
    }
    let alerts = alert_rows(cases, &answers);
    for case in cases
        .iter()
        .filter(|case| matches!(case.kind, Kind::Alerts))
    {
        let matches = over_alerts(case, &alerts).await;
        answers.extend(fold(case, matches));
    }
    answers
}

/// An alert as the view `alerts` shows it: its time, and texts by column.
type AlertRow = (i64, Vec<(&'static str, Option<String>)>);

fn alert_rows(cases: &[Case], answers: &Answers) -> Vec<AlertRow> {
    let row = |((title, _, start), told): (&Id, &Told)| {
        let rule = &cases.iter().find(|c| c.rule.title == *title).unwrap().rule;
        let certain = match (rule.kind.absence(), rule.kind.window()) {
            (Some(absence), _) => start + absence.within,
            (None, Some(window)) => start + window.size,
            (None, None) => *start,
        };
        let first = |kind: &str| {
            let named = rule.entities.iter().filter(|(of, _)| of == kind);
            let mut values = named.flat_map(|(_, column)| match told.row.get(column) {
                None => vec![],
                Some(Value::Array(values)) => values.iter().map(plain).collect(),
                Some(value) => vec![plain(value)],
            });
            values.next()
        };
        let columns = vec![
            ("rule_title", Some(title.clone())),
            ("level", Some("medium".into())),
            ("output", Some(text(&told.row))),
            ("user", first("user")),
            ("ip", first("ip")),
        ];
        (certain, columns)
    };
    answers.iter().map(row).collect()
}

async fn alerts_table(ctx: &SessionContext, rows: &[&AlertRow]) {
    let times = rows.iter().map(|(time, _)| *time);
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    let mut columns = vec![("time", Arc::new(times) as ArrayRef)];
    for (index, (name, _)) in rows[0].1.iter().enumerate() {
        let texts: StringViewArray = rows
            .iter()
            .map(|(_, row)| row[index].1.as_deref())
            .collect();
        columns.push((*name, Arc::new(texts)));
    }
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, true)),
    );
    ctx.deregister_table("alerts").unwrap();
    ctx.register_batch("alerts", batch.unwrap()).unwrap();
}

async fn over_alerts(case: &Case, alerts: &[AlertRow]) -> Vec<Match> {
    let mut ctx = SessionContext::new();
    weir_engine::functions::register(&mut ctx).unwrap();
    let by = case.rule.suppress.as_ref().map(|suppress| &suppress.by);
    let named = |row: &Row| match by {
        Some(by) => key(row, by.iter().map(String::as_str)),
        None => by_row(row),
    };
    // By start: the rows of its window; without one, each alert alone at its time.
    let mut parts: Vec<(i64, Vec<&AlertRow>)> = vec![];
    match case.rule.kind.window() {
        None => parts.extend(alerts.iter().map(|alert| (alert.0, vec![alert]))),
        Some(window) => {
            let mut windows: BTreeMap<i64, Vec<&AlertRow>> = BTreeMap::new();
            for alert in alerts {
                let mut start = alert.0 - alert.0.rem_euclid(window.slide);
                while start + window.size > alert.0 {
                    windows.entry(start).or_default().push(alert);
                    start -= window.slide;
                }
            }
            parts.extend(windows);
        }
    }
    let mut matches = vec![];
    for (start, alerts) in parts {
        alerts_table(&ctx, &alerts).await;
        for row in rows(&ctx, &case.rule.query).await {
            matches.push(Match {
                key: named(&row),
                start,
                tie: text(&row),
                row,
                evidence: BTreeMap::new(),
            });
        }
    }
    matches
}

/// Episodes: a match joins the one that began less than `length` before it (and whose last match is not
/// longer ago than `gap`), else it begins one.
fn fold(case: &Case, mut matches: Vec<Match>) -> Answers {
    let suppress = case.rule.suppress.as_ref();
    let length = match (suppress, case.rule.kind.window()) {
        (Some(suppress), _) => suppress.length,
        (None, Some(window)) => window.size,
        (None, None) => 0,
    };
    matches.sort_by(|a, b| (&a.key, a.start, &a.tie).cmp(&(&b.key, b.start, &b.tie)));
    let mut episodes: Vec<Vec<Match>> = vec![];
    for next in matches {
        let joins = episodes.last().is_some_and(|episode| {
            let (first, last) = (&episode[0], &episode[episode.len() - 1]);
            first.key == next.key
                && next.start < first.start + length
                && suppress
                    .and_then(|s| s.gap)
                    .is_none_or(|gap| next.start <= last.start + gap)
        });
        if joins {
            episodes.last_mut().unwrap().push(next);
        } else {
            episodes.push(vec![next]);
        }
    }
    let mut answers = Answers::new();
    for episode in episodes {
        let mut entities = BTreeSet::new();
        let mut evidence = BTreeMap::new();
        for one in &episode {
            evidence.extend(one.evidence.iter().map(|(uid, time)| (uid.clone(), *time)));
            for (kind, column) in &case.rule.entities {
                let values = match one.row.get(column) {
                    None => vec![],
                    Some(Value::Array(values)) => values.iter().map(plain).collect(),
                    Some(value) => vec![plain(value)],
                };
                entities.extend(values.into_iter().map(|value| (kind.clone(), value)));
            }
        }
        let first = &episode[0];
        let told = Told {
            matches: episode.len() as u64,
            row: first.row.clone(),
            evidence: evidence.values().min().map(|min| {
                (
                    *min,
                    *evidence.values().max().unwrap(),
                    evidence.len() as u64,
                )
            }),
            entities,
        };
        let id = (case.rule.title.clone(), first.key.clone(), first.start);
        assert!(answers.insert(id, told).is_none());
    }
    answers
}

/// Matches that are one event each.
fn single(case: &Case, found: Vec<Occurrence>) -> Vec<Match> {
    let rule = &case.rule;
    let by = match (&rule.suppress, rule.kind.absence(), rule.kind.new_terms()) {
        (Some(suppress), _, _) => Some(&suppress.by),
        (None, Some(absence), _) => Some(&absence.by),
        (None, None, Some(terms)) => Some(&terms.fields),
        (None, None, None) => None,
    };
    let one = |found: Occurrence| Match {
        key: match by {
            Some(by) => key(&found.row, by.iter().map(String::as_str)),
            None => vec![("event_uid".into(), found.uid.clone())],
        },
        start: found.time,
        tie: found.uid.clone(),
        row: found.row,
        evidence: [(found.uid, found.time)].into(),
    };
    found.into_iter().map(one).collect()
}

fn new_terms(case: &Case, mut found: Vec<Occurrence>) -> Vec<Occurrence> {
    let spec = case.rule.kind.new_terms().unwrap();
    let mut times: Vec<i64> = found.iter().map(|o| o.time).collect();
    times.sort_unstable();
    // Stretches without a pause longer than the history begin with a warm-up each.
    let stretches: Vec<&[i64]> = times.chunk_by(|a, b| b - a <= spec.history).collect();
    let silent = |time: i64| {
        let mut learning = stretches.iter();
        learning.any(|s| (s[0]..s[0] + spec.warmup).contains(&time))
    };
    found.retain(|o| spec.fields.iter().all(|field| o.row.contains_key(field)));
    found.sort_by(|a, b| (a.time, &a.uid).cmp(&(b.time, &b.uid)));
    let terms = |o: &Occurrence| key(&o.row, spec.fields.iter().map(String::as_str));
    let is_new = |(index, o): (usize, &Occurrence)| {
        let known = found[..index]
            .iter()
            .any(|b| terms(b) == terms(o) && b.time >= o.time - spec.history);
        !known && !silent(o.time)
    };
    let new: Vec<bool> = found.iter().enumerate().map(is_new).collect();
    found
        .into_iter()
        .zip(new)
        .filter(|(_, new)| *new)
        .map(|(o, _)| o)
        .collect()
}

fn absence(case: &Case, found: Vec<Occurrence>, end: i64) -> Vec<Occurrence> {
    let spec = case.rule.kind.absence().unwrap();
    let keyed = |o: &Occurrence| key(&o.row, spec.by.iter().map(String::as_str));
    let is_true = |o: &Occurrence, column: &String| o.row.get(column) == Some(&Value::Bool(true));
    let missing = |o: &Occurrence| {
        let until = o.time + spec.within;
        let answered =
            found
                .iter()
                .filter(|other| keyed(other) == keyed(o))
                .any(|other| match &spec.pair {
                    None => (o.time, &o.uid) < (other.time, &other.uid) && other.time <= until,
                    Some(pair) => {
                        is_true(other, &pair.of) && (o.time..=until).contains(&other.time)
                    }
                });
        let asks = spec
            .pair
            .as_ref()
            .is_none_or(|pair| is_true(o, &pair.after));
        asks && !answered && until <= end
    };
    let missing: Vec<bool> = found.iter().map(missing).collect();
    found
        .into_iter()
        .zip(missing)
        .filter(|(_, missing)| *missing)
        .map(|(o, _)| o)
        .collect()
}

/// Every window on the grid that holds an event, by its start.
fn windows(case: &Case, events: &[Event]) -> BTreeMap<i64, Vec<Event>> {
    let window = case.rule.kind.window().unwrap();
    let mut windows: BTreeMap<i64, Vec<Event>> = BTreeMap::new();
    for event in events {
        let mut start = event.time - event.time.rem_euclid(window.slide);
        while start + window.size > event.time {
            windows.entry(start).or_default().push(event.clone());
            start -= window.slide;
        }
    }
    windows
}

/// The two ways to ask a grouped rule of all windows give the same matches.
pub async fn assert_window_by_window(case: &Case, events: &[Event]) {
    let Kind::Grouped(parts) = &case.kind else {
        return;
    };
    let plain = |matches: Vec<Match>| {
        let mut plain: Vec<_> = matches
            .into_iter()
            .map(|m| (m.start, m.key, m.tie))
            .collect();
        plain.sort();
        plain
    };
    let one_by_one = plain(window_by_window(case, events).await);
    let at_once = plain(grouped(case, parts, events).await);
    assert_eq!(one_by_one, at_once, "{}", case.rule.title);
}

/// The rule's query over just the events of each window.
async fn window_by_window(case: &Case, events: &[Event]) -> Vec<Match> {
    let mut matches = vec![];
    let names: Vec<&str> = match (&case.rule.suppress, &case.kind) {
        (Some(suppress), _) => suppress.by.iter().map(String::as_str).collect(),
        (None, Kind::Grouped(parts)) => parts.keys.iter().map(|(_, name)| *name).collect(),
        (None, _) => panic!("{} needs suppress.by", case.rule.title),
    };
    let ctx = session(&batch(events)).await;
    for (start, events) in windows(case, events) {
        tables(&ctx, &batch(&events)).await;
        for row in rows(&ctx, &case.rule.query).await {
            let (tie, key) = (text(&row), key(&row, names.iter().copied()));
            matches.push(Match {
                key,
                start,
                tie,
                row,
                evidence: BTreeMap::new(),
            });
        }
    }
    matches
}

/// All windows in one query: each event stands once for each window that holds it, and the window's start is
/// one more thing to group by.
async fn grouped(case: &Case, parts: &Grouped, events: &[Event]) -> Vec<Match> {
    let ctx = session(&replicated(case, events)).await;
    let names: Vec<&str> = parts.keys.iter().map(|(_, name)| *name).collect();
    let by = match &case.rule.suppress {
        Some(suppress) => suppress.by.iter().map(String::as_str).collect(),
        None => names.clone(),
    };
    let behind = evidence(&ctx, parts, "").await;
    let mut matches = vec![];
    for mut row in rows(&ctx, &parts.query(Some("__start"))).await {
        let start = row.shift_remove("__start").unwrap().as_i64().unwrap();
        let group = (start, key(&row, names.iter().copied()));
        let evidence = behind[&group]
            .iter()
            .map(|o| (o.uid.clone(), o.time))
            .collect();
        matches.push(Match {
            key: key(&row, by.iter().copied()),
            start,
            tie: text(&row),
            row,
            evidence,
        });
    }
    matches
}

async fn sequences(case: &Case, parts: &Grouped, steps: &[Step], events: &[Event]) -> Vec<Match> {
    let ctx = session(&replicated(case, events)).await;
    let names: Vec<&str> = parts.keys.iter().map(|(_, name)| *name).collect();
    let conditions = steps.iter().enumerate().map(|(i, step)| {
        let (Step::Then(sql) | Step::Within(sql, _) | Step::Without(sql)) = step;
        format!(", coalesce({sql}, false) AS s{i}")
    });
    let mut behind = evidence(&ctx, parts, &conditions.collect::<String>()).await;
    for rows in behind.values_mut() {
        // At equal times the earlier step comes first.
        rows.sort_by_key(|o| (o.time, holds(o).trailing_zeros(), holds(o)));
    }
    let mut matches = vec![];
    for mut row in rows(&ctx, &parts.query(Some("__start"))).await {
        let start = row.shift_remove("__start").unwrap().as_i64().unwrap();
        let group = key(&row, names.iter().copied());
        let behind = &behind[&(start, group.clone())];
        if chain(behind, steps, 0, None) {
            let evidence = behind.iter().map(|o| (o.uid.clone(), o.time)).collect();
            matches.push(Match {
                key: group,
                start,
                tie: text(&row),
                row,
                evidence,
            });
        }
    }
    matches
}

/// The conditions that a row satisfies, as bits.
fn holds(row: &Occurrence) -> u32 {
    let bit = |i: u32| u32::from(row.row.get(&format!("s{i}")) == Some(&Value::Bool(true))) << i;
    (0..8).map(bit).sum()
}

/// Whether the steps from `at` on can be taken after the row `last`.
fn chain(rows: &[Occurrence], steps: &[Step], at: usize, last: Option<usize>) -> bool {
    let Some(step) = steps.get(at) else {
        return true;
    };
    let (at, undone) = match step {
        Step::Without(_) => (at + 1, Some(at)),
        _ => (at, None),
    };
    let from = last.map_or(0, |last| last + 1);
    (from..rows.len()).any(|next| {
        let in_time = match (steps[at], last) {
            (Step::Within(_, limit), Some(last)) => rows[next].time - rows[last].time <= limit,
            _ => true,
        };
        let undone = undone.is_some_and(|bit| {
            rows[from..next]
                .iter()
                .any(|row| holds(row) >> bit & 1 == 1)
        });
        holds(&rows[next]) >> at & 1 == 1
            && in_time
            && !undone
            && chain(rows, steps, at + 1, Some(next))
    })
}

/// The rows behind each group of each window.
async fn evidence(
    ctx: &SessionContext,
    parts: &Grouped,
    more: &str,
) -> BTreeMap<(i64, Vec<(String, String)>), Vec<Occurrence>> {
    let named: String = parts
        .keys
        .iter()
        .map(|(expr, name)| format!("{expr} AS {name}, "))
        .collect();
    let filter = if parts.filter.is_empty() {
        "true"
    } else {
        parts.filter
    };
    let query = format!(
        "SELECT {named} __start{more} FROM {} WHERE {filter}",
        parts.from
    );
    let mut groups: BTreeMap<_, Vec<Occurrence>> = BTreeMap::new();
    for mut found in occurrences(ctx, &query).await {
        let start = found.row.shift_remove("__start").unwrap().as_i64().unwrap();
        let group = key(&found.row, parts.keys.iter().map(|(_, name)| *name));
        groups.entry((start, group)).or_default().push(found);
    }
    groups
}

fn replicated(case: &Case, events: &[Event]) -> RecordBatch {
    let (mut starts, mut batches) = (vec![], vec![]);
    for (start, events) in windows(case, events) {
        starts.extend(std::iter::repeat_n(start, events.len()));
        batches.push(batch(&events));
    }
    let all = concat_batches(&batches[0].schema(), &batches).unwrap();
    let mut fields: Vec<_> = all.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("__start", DataType::Int64, false)));
    let mut columns = all.columns().to_vec();
    columns.push(Arc::new(Int64Array::from(starts)));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

async fn session(events: &RecordBatch) -> SessionContext {
    let mut ctx = SessionContext::new();
    weir_engine::functions::register(&mut ctx).unwrap();
    tables(&ctx, events).await;
    ctx
}

async fn tables(ctx: &SessionContext, events: &RecordBatch) {
    let table = MemTable::try_new(events.schema(), vec![vec![events.clone()]]).unwrap();
    ctx.deregister_table("events").unwrap();
    ctx.register_table("events", Arc::new(table)).unwrap();
    for family in ["cloud_audit", "k8s_audit", "agent_alerts"] {
        let view = format!(
            "CREATE OR REPLACE VIEW {family} AS SELECT * FROM events WHERE family = '{family}'"
        );
        ctx.sql(&view).await.unwrap();
    }
}

/// Rows of a query over events with the time and id of each row's event.
async fn occurrences(ctx: &SessionContext, query: &str) -> Vec<Occurrence> {
    let query = query.replacen(
        "SELECT ",
        "SELECT CAST(time AS BIGINT) AS __time, event_uid AS __uid, ",
        1,
    );
    let split = |mut row: Row| Occurrence {
        time: row.shift_remove("__time").unwrap().as_i64().unwrap(),
        uid: plain(&row.shift_remove("__uid").unwrap()),
        row,
    };
    rows(ctx, &query).await.into_iter().map(split).collect()
}

async fn rows(ctx: &SessionContext, query: &str) -> Vec<Row> {
    let frame = ctx
        .sql(query)
        .await
        .unwrap_or_else(|e| panic!("{query}: {e}"));
    let batches = frame
        .collect()
        .await
        .unwrap_or_else(|e| panic!("{query}: {e}"));
    let mut rows = vec![];
    for batch in &batches {
        let schema = batch.schema();
        for index in 0..batch.num_rows() {
            let columns = schema.fields().iter().zip(batch.columns());
            let present =
                columns.filter(|(field, column)| field.name() != "raw" && !column.is_null(index));
            let row = present.map(|(field, column)| (field.name().clone(), value(column, index)));
            rows.push(row.collect());
        }
    }
    rows
}

/// A value as alerts show it: times in RFC 3339, floats with nine digits, lists sorted, without nulls.
fn value(column: &ArrayRef, row: usize) -> Value {
    match ScalarValue::try_from_array(column, row).unwrap() {
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => text.into(),
        ScalarValue::Boolean(Some(truth)) => truth.into(),
        ScalarValue::Int64(Some(number)) => number.into(),
        ScalarValue::Int32(Some(number)) => number.into(),
        ScalarValue::UInt64(Some(number)) => number.into(),
        ScalarValue::Float64(Some(number)) => {
            let rounded: f64 = format!("{number:.8e}").parse().unwrap();
            Number::from_f64(rounded).map_or(Value::Null, Value::Number)
        }
        ScalarValue::TimestampMicrosecond(Some(time), _) => {
            format!("{:.6}", jiff::Timestamp::from_microsecond(time).unwrap()).into()
        }
        ScalarValue::List(list) => {
            let items = list.value(0);
            let present = (0..items.len()).filter(|i| !items.is_null(*i));
            let mut values: Vec<Value> = present.map(|i| value(&items, i)).collect();
            values.sort_by_key(Value::to_string);
            Value::Array(values)
        }
        other => panic!("the oracle cannot show {other:?}"),
    }
}

fn key<'a>(row: &Row, names: impl Iterator<Item = &'a str>) -> Vec<(String, String)> {
    names
        .map(|name| {
            (
                name.to_owned(),
                row.get(name).map(plain).unwrap_or_default(),
            )
        })
        .collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn text(row: &Row) -> String {
    serde_json::to_string(row).unwrap()
}
