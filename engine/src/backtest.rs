//! Rules over stored events: the plans that run live, fed from the archive.
//!
//! The archive holds what the pipeline made of events (decoded, enriched, each once), so nothing is done to
//! them again. It is read hour after hour. Within an hour rows have no order, so time stands still while an
//! hour is pushed and then moves to the start of the next one: no row is ever late. Answers are the ones that
//! a stream gives whose events all come within the lateness of their source.
//!
//! Invariant: over disjoint spans that follow each other, each alert is reported once, in the span in which
//! its episode starts, and whole: reading begins earlier and ends later than the span by what rules can reach.
//! (Where matches of a key follow each other without a pause for longer than that, live suppression may have
//! started its episodes at other times.)
//!
//! Held in memory: the rules' state, matches of one hour, and the alerts that are kept.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use futures::StreamExt;
use serde::Serialize;

use crate::alert::{Alert, AlertState};
use crate::archive::Archive;
use crate::detect::{Detector, Limits, ModelRule};
use crate::pipeline::wall_clock;
use crate::rule::{Reach, Rule};
use crate::schema::col;
use crate::watermark::{Lateness, Watermark};
use crate::{Error, Result, Tables};

mod diff;

pub use diff::{Changed, Diff};

/// Event times `[from, to)`, µs. `i64::MIN` and `i64::MAX` leave an end open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub from: i64,
    pub to: i64,
}

/// Start of an alert's episode, µs: its first window's, or its first event's time.
pub fn episode_start(alert: &Alert) -> i64 {
    alert.window.map_or(alert.first_time, |(start, _)| start)
}

/// A set of rules, each id once, and what they say about a span.
#[derive(Debug)]
pub struct Backtest {
    span: Span,
    keep: usize,
    detector: Detector,
    /// By id.
    alerts: BTreeMap<String, Alert>,
    /// By rule id.
    tallies: BTreeMap<String, Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    alerts: u64,
    kept: usize,
    /// Hashes of values, by kind.
    entities: BTreeMap<String, HashSet<u64>>,
}

/// What one rule did. Counts of rows are over everything read, counts of alerts over the span.
#[derive(Debug, Clone, Serialize)]
pub struct RuleReport {
    pub rule_id: String,
    pub title: String,
    pub version: String,
    pub path: String,
    pub level: String,
    pub kind: &'static str,
    pub alerts: u64,
    /// Alerts that were counted and not kept.
    pub left_out: u64,
    /// Different entities of its alerts, by kind.
    pub entities: BTreeMap<String, usize>,
    /// Events that the rule was evaluated on, after dispatch.
    pub events: u64,
    /// Events, or rows of windows, that satisfied it.
    pub matches: u64,
    pub errors: u64,
    pub last_error: Option<String>,
    pub seconds: f64,
    /// Part of the time that all rules of the set took, 0 to 1.
    pub share: f64,
}

/// What a set of rules did.
#[derive(Debug)]
pub struct Report {
    /// The slowest first.
    pub rules: Vec<RuleReport>,
    /// In order of time.
    pub alerts: Vec<Alert>,
}

/// How far reading has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Read is `[from, to)`, µs.
    pub from: i64,
    pub to: i64,
    pub hours: usize,
    pub hours_done: usize,
    pub events: u64,
    /// Part of `events`: those in the span itself.
    pub in_span: u64,
}

impl Backtest {
    /// Plans the rules. `keep`: alerts that are kept per rule; those beyond are only counted. Fails with the
    /// first rule that cannot be run.
    pub async fn new(
        rules: Vec<Rule>,
        models: Vec<ModelRule>,
        tables: &Tables,
        span: Span,
        keep: usize,
    ) -> Result<Self> {
        let made = Detector::open(rules, models, Limits::default(), tables).await;
        let (detector, refused) = made?;
        if let Some(error) = refused.into_iter().next() {
            return Err(error);
        }
        Ok(Self {
            span,
            keep,
            detector,
            alerts: BTreeMap::new(),
            tallies: BTreeMap::new(),
        })
    }

    pub fn reach(&self) -> Reach {
        self.detector.reach()
    }

    async fn advance(&mut self, watermark: Watermark) {
        match watermark {
            Watermark::At(time) => self.detector.advance(time).await,
            // As at the end of a replay.
            Watermark::Ended => {
                let limit = wall_clock().saturating_add(Lateness::default().max_skew);
                self.detector.finish(limit).await;
            }
        }
        for alert in self.detector.changes(false, watermark.time()).await {
            if (self.span.from..self.span.to).contains(&episode_start(&alert)) {
                self.take(alert);
            }
        }
    }

    fn take(&mut self, alert: Alert) {
        let tally = self.tallies.entry(alert.rule_id.clone()).or_default();
        let kept = self.alerts.contains_key(&alert.alert_id);
        if alert.state == AlertState::Retracted {
            tally.alerts = tally.alerts.saturating_sub(1);
            tally.kept -= usize::from(kept);
            self.alerts.remove(&alert.alert_id);
            return;
        }
        for entity in &alert.entities {
            let values = tally.entities.entry(entity.kind.clone()).or_default();
            values.insert(hash(&entity.value));
        }
        let new = alert.revision == 1;
        tally.alerts += u64::from(new);
        if kept || (new && tally.kept < self.keep) {
            tally.kept += usize::from(!kept);
            self.alerts.insert(alert.alert_id.clone(), alert);
        }
    }

    /// What came out.
    pub fn finish(mut self) -> Report {
        let mut rules: Vec<RuleReport> = vec![];
        for (id, health) in self.detector.health() {
            let tally = self.tallies.remove(id).unwrap_or_default();
            let entities = tally.entities.into_iter();
            rules.push(RuleReport {
                rule_id: id.to_owned(),
                title: health.title.clone(),
                version: health.version.clone(),
                path: health.path.clone(),
                level: health.level.clone(),
                kind: health.kind,
                alerts: tally.alerts,
                left_out: tally.alerts.saturating_sub(tally.kept as u64),
                entities: entities
                    .map(|(kind, values)| (kind, values.len()))
                    .collect(),
                events: health.rows_evaluated,
                matches: health.matches,
                errors: health.errors,
                last_error: health.last_error.clone(),
                seconds: health.cost_ns as f64 / 1e9,
                share: 0.0,
            });
        }
        let total: f64 = rules.iter().map(|rule| rule.seconds).sum();
        for rule in &mut rules {
            rule.share = rule.seconds / total.max(f64::MIN_POSITIVE);
        }
        rules.sort_by(|a, b| {
            (b.seconds.total_cmp(&a.seconds)).then_with(|| a.rule_id.cmp(&b.rule_id))
        });
        let mut alerts: Vec<Alert> = self.alerts.into_values().collect();
        alerts.sort_by(|a, b| (a.first_time, &a.alert_id).cmp(&(b.first_time, &b.alert_id)));
        Report { rules, alerts }
    }
}

/// One seed for the process: hashes are compared with each other and never kept.
fn hash(text: &str) -> u64 {
    static SEED: std::sync::LazyLock<RandomState> = std::sync::LazyLock::new(RandomState::new);
    SEED.hash_one(text)
}

/// Runs sets of rules, all over the same span, over the stored events. `told` hears of the progress after every
/// chunk. Writes nothing.
pub async fn run(
    archive: &Archive,
    sets: &mut [Backtest],
    mut told: impl FnMut(&Reading),
) -> Result<Reading> {
    let Some(span) = sets.first().map(|set| set.span) else {
        return Ok(Reading::default());
    };
    if sets.iter().any(|set| set.span != span) {
        return Err(Error::Other(
            "sets of rules in one backtest must have one span".into(),
        ));
    }
    let reaches = sets.iter().map(Backtest::reach);
    let reach = reaches.fold(Reach::default(), Reach::max);
    let (from, to) = (
        span.from.saturating_sub(reach.before),
        span.to.saturating_add(reach.after),
    );
    let mut hours = archive.hours()?;
    hours.retain(|hour| hour.last() >= from && hour.first() < to);
    let mut reading = Reading {
        from,
        to,
        hours: hours.len(),
        ..Reading::default()
    };
    let end = archive.span().await?.map_or(i64::MAX, |(_, last)| last);
    for hour in hours {
        // A clock that stands alone far ahead does not move time, as in a replay.
        if hour.first() <= end {
            for set in &mut *sets {
                set.advance(Watermark::At(hour.first())).await;
            }
        }
        let mut rows = archive.scan_hour(hour, from, to).await?;
        while let Some(events) = rows.next().await {
            let events = events?;
            reading.events += events.num_rows() as u64;
            reading.in_span += within(&events, span);
            for set in &mut *sets {
                set.detector.push(&events).await;
            }
            told(&reading);
        }
        reading.hours_done += 1;
        told(&reading);
    }
    // An open end is that of all input.
    let end = match to {
        i64::MAX => Watermark::Ended,
        to => Watermark::At(to),
    };
    for set in &mut *sets {
        set.advance(end).await;
    }
    Ok(reading)
}

fn within(events: &RecordBatch, span: Span) -> u64 {
    let times = events
        .column(col::TIME)
        .as_primitive::<TimestampMicrosecondType>();
    let inside = |time: &&i64| (span.from..span.to).contains(*time);
    times.values().iter().filter(inside).count() as u64
}
