//! Runs the tests of a rule.
//!
//! Decoding and running belong to others: both come in as functions. A case fails when an event of it does
//! not decode, so that a test that expects silence cannot pass for want of events.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::temporal_conversions::timestamp_us_to_datetime;
use weir_engine::{Alert, Rule, Tables};

use crate::enrich::{self, Enrichment};

/// One test of a rule: raw vendor events in, alerts out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub name: String,
    /// Where the events stand: a file relative to the rule, or `inline`.
    pub source: String,
    /// As the vendor writes them, one record per line.
    pub events: Vec<u8>,
    /// Number of final alerts expected.
    pub alerts: usize,
    /// Reference tables, by name; those that the rule declares and the case does not fill are empty.
    pub tables: BTreeMap<String, CaseTable>,
    /// What enrichment would have filled.
    pub enrich: Enrichment,
    /// Entity kind → values that must occur in the alerts.
    pub entities: BTreeMap<String, Vec<String>>,
}

/// Columns and rows of a reference table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaseTable {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Option<String>>>,
}

#[derive(Debug, Clone)]
pub struct CaseResult {
    pub rule_id: String,
    pub rule_title: String,
    /// The rule's file.
    pub path: String,
    pub case: String,
    pub expected: usize,
    /// Alerts that came; none when decoding or running failed.
    pub got: Option<usize>,
    /// What is wrong, for people; empty when the case passed.
    pub failures: Vec<String>,
    pub elapsed: Duration,
}

impl CaseResult {
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

impl fmt::Display for CaseResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "ok" } else { "FAILED" };
        write!(f, "{verdict} {}: {}", self.path, self.case)?;
        for failure in &self.failures {
            for line in failure.lines() {
                write!(f, "\n    {line}")?;
            }
        }
        Ok(())
    }
}

/// Decodes the case's events, runs the rule alone over them and compares.
///
/// `decode` makes one batch in the event schema out of newline-delimited records; `run` gives the final
/// alerts of rules over batches, with reference tables.
pub async fn run_case<D, R, E>(rule: &Rule, case: &Case, decode: &D, run: &R) -> CaseResult
where
    D: Fn(&[u8]) -> Result<RecordBatch, String> + ?Sized,
    R: AsyncFn(&[Rule], &[RecordBatch], &Tables) -> Result<Vec<Alert>, E>,
    E: fmt::Display,
{
    let started = Instant::now();
    let outcome = async {
        let events = decode(&case.events)
            .map_err(|reason| format!("events ({}) do not decode: {reason}", case.source))?;
        let lines = case.events.split(|byte| *byte == b'\n');
        let records = lines.filter(|line| !line.trim_ascii().is_empty()).count();
        if events.num_rows() < records.max(1) {
            return Err(format!(
                "{} of {records} records ({}) became events; the others are not in the vendor's shape",
                events.num_rows(),
                case.source
            ));
        }
        let events = enrich::fill(events, &case.enrich)?;
        let mut tables = Tables::default();
        let filled = case
            .tables
            .iter()
            .filter(|(_, table)| !table.rows.is_empty());
        for (name, table) in filled {
            let inserted = tables.insert(name, &table.columns, &table.rows);
            inserted.map_err(|error| error.to_string())?;
        }
        // A building block tells nobody but its test.
        let mut told = rule.clone();
        told.building_block = false;
        run(std::slice::from_ref(&told), &[events], &tables)
            .await
            .map_err(|error| format!("the rule does not run: {error}"))
    };
    let (got, failures) = match outcome.await {
        Ok(alerts) => (Some(alerts.len()), differences(case, &alerts)),
        Err(failure) => (None, vec![failure]),
    };
    CaseResult {
        rule_id: rule.id.clone(),
        rule_title: rule.title.clone(),
        path: rule.path.clone(),
        case: case.name.clone(),
        expected: case.alerts,
        got,
        failures,
        elapsed: started.elapsed(),
    }
}

fn differences(case: &Case, alerts: &[Alert]) -> Vec<String> {
    let mut failures = vec![];
    if alerts.len() != case.alerts {
        let described: String = alerts.iter().map(describe).collect();
        let plural = if case.alerts == 1 { "" } else { "s" };
        failures.push(format!(
            "expected {} alert{plural}, got {}{described}",
            case.alerts,
            alerts.len()
        ));
    }
    for (kind, values) in &case.entities {
        let of_kind = alerts.iter().flat_map(|alert| &alert.entities);
        let of_kind = of_kind.filter(|entity| entity.kind == *kind);
        let found: Vec<_> = of_kind.map(|entity| entity.value.as_str()).collect();
        for value in values
            .iter()
            .filter(|value| !found.contains(&value.as_str()))
        {
            failures.push(format!("expected entity {kind} = {value}, got {found:?}"));
        }
    }
    failures
}

/// One line per alert: when, key, matches.
fn describe(alert: &Alert) -> String {
    let time = |micros: i64| {
        timestamp_us_to_datetime(micros)
            .map_or_else(|| format!("{micros} µs"), |time| format!("{time}Z"))
    };
    let key: Vec<_> = alert
        .key
        .iter()
        .map(|(column, value)| format!("{column}={value}"))
        .collect();
    format!(
        "\n  - {} to {}: {} ({} matches)",
        time(alert.first_time),
        time(alert.last_time),
        key.join(" "),
        alert.matches
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use datafusion::arrow::buffer::Buffer;
    use serde_json::json;
    use weir_engine::builder::EventBuilder;
    use weir_engine::schema::col;

    use super::*;
    use crate::format::parse;

    fn rule() -> Rule {
        let text = "title: A\nid: x\nlevel: low\nquery: SELECT 1\n";
        parse("a.yml", text, &|_| Ok(vec![])).unwrap().rule
    }
    fn case(alerts: usize) -> Case {
        Case {
            name: "case".into(),
            source: "inline".into(),
            events: b"{}".to_vec(),
            alerts,
            tables: BTreeMap::new(),
            enrich: BTreeMap::new(),
            entities: BTreeMap::from([("user".into(), vec!["bob".into()])]),
        }
    }
    fn alert() -> Alert {
        serde_json::from_value(json!({
            "alert_id": "a", "rule_id": "x", "rule_version": "1", "rule_title": "A", "level": "low",
            "confidence": "low", "risk_score": 1, "key": [["actor_user_uid", "bob"]], "window": null,
            "first_time": 0, "last_time": 1_000_000, "entities": [{"kind": "user", "value": "bob"}],
            "tactics": [], "techniques": [], "row": {}, "matches": 2, "evidence": [],
            "evidence_count": 2, "state": "final", "revision": 1, "watermark": null
        }))
        .unwrap()
    }
    fn decoded(rows: usize) -> impl Fn(&[u8]) -> Result<RecordBatch, String> {
        move |_| {
            let mut builder = EventBuilder::new(Buffer::from(b"{}" as &[u8]));
            for _ in 0..rows {
                builder.begin();
                builder.int(col::TIME, 1);
                for column in [
                    col::EVENT_UID,
                    col::FAMILY,
                    col::PRODUCT,
                    col::LOG_NAME,
                    col::RAW,
                ] {
                    builder.text(column, "x");
                }
                builder.keep();
            }
            builder.finish().map_err(|error| error.to_string())
        }
    }
    async fn result(case: &Case, rows: usize, alerts: &[Alert]) -> CaseResult {
        let run = async |rules: &[Rule], events: &[RecordBatch], _: &Tables| {
            assert_eq!((rules.len(), events[0].num_rows()), (1, rows));
            Ok::<_, String>(alerts.to_vec())
        };
        run_case(&rule(), case, &decoded(rows), &run).await
    }

    #[tokio::test]
    async fn as_expected() {
        let result = result(&case(1), 1, &[alert()]).await;
        assert!(result.passed(), "{result}");
        assert_eq!(result.to_string(), "ok a.yml: case");
        assert_eq!(result.got, Some(1));
    }

    #[tokio::test]
    async fn a_difference_is_told_in_words() {
        let mut other = alert();
        other.entities[0].value = "eve".into();
        let result = result(&case(1), 1, &[other.clone(), other]).await;
        assert!(!result.passed());
        let alert =
            "  - 1970-01-01 00:00:00Z to 1970-01-01 00:00:01Z: actor_user_uid=bob (2 matches)";
        assert_eq!(
            result.to_string(),
            format!(
                "FAILED a.yml: case\n    expected 1 alert, got 2\n    {alert}\n    {alert}\n    \
                 expected entity user = bob, got [\"eve\", \"eve\"]"
            )
        );
    }

    #[tokio::test]
    async fn silence_for_want_of_events_is_a_failure() {
        let mut silent = case(0);
        silent.entities.clear();
        silent.events = b"{}\n\n{}\n".to_vec();
        let one_lost = result(&silent, 1, &[]).await;
        assert!(
            one_lost.failures[0].starts_with("1 of 2 records (inline)"),
            "{one_lost}"
        );
        silent.events.clear();
        let no_events = result(&silent, 0, &[]).await;
        assert!(!no_events.passed() && no_events.got.is_none());
    }

    #[tokio::test]
    async fn what_does_not_decode_or_run_says_so() {
        let broken = |_: &[u8]| Err("bad json".to_owned());
        let run =
            async |_: &[Rule], _: &[RecordBatch], _: &Tables| Err("no such column".to_owned());
        let undecoded = run_case(&rule(), &case(0), &broken, &run).await;
        assert!(undecoded.failures[0].contains("bad json"), "{undecoded}");
        let unrun = run_case(&rule(), &case(0), &decoded(1), &run).await;
        assert!(unrun.failures[0].contains("no such column"), "{unrun}");
    }
}
