//! From matches to alerts. Matches of one key that lie close together are one episode and one alert.
//!
//! Invariant: matches are folded in order of event time, after the watermark has passed them; so which
//! episodes there are depends on the events alone, not on how they arrived.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::row;
use super::timeline::Key;
use crate::alert::{Alert, AlertState, Entity, Evidence, MAX_EVIDENCE, alert_id};
use crate::rule::{Confidence, Level, Rule};
use crate::score::Reason;

/// What speaks for a match in one pane: its start, events, first and last event time, the earliest events.
pub type PaneEvidence = (i64, u64, i64, i64, Vec<Evidence>);

/// One time that a rule matched: an event, or a window's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// Event time, or the window's start.
    pub start: i64,
    /// Watermark from which on the match is certain.
    pub due: i64,
    pub window: Option<(i64, i64)>,
    /// JSON text of the row, of which only the first match of an episode needs more than a few values. It is stored
    /// beside the rest.
    #[serde(skip)]
    pub row: Box<str>,
    /// Matches of a key that follow each other often name the same, and then share them.
    #[serde(with = "shared")]
    pub entities: Arc<[Entity]>,
    /// Whose evidence it is: windows of one group share panes.
    pub group: String,
    /// By pane, or by event.
    pub evidence: Vec<PaneEvidence>,
    /// Set by an anomaly model.
    pub level: Option<Level>,
    pub reasons: Vec<Reason>,
}

impl Match {
    /// Memory, about.
    pub fn bytes(&self) -> usize {
        let events = self
            .evidence
            .iter()
            .map(|pane| 48 + pane.4.len() * EVENT_BYTES);
        384 + self.row.len() + self.entities.len() * 80 + events.sum::<usize>()
    }
}

/// A list in common as a list.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<T: Serialize, S: Serializer>(
        list: &Arc<[T]>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        list.as_ref().serialize(to)
    }

    pub fn deserialize<'d, T: Deserialize<'d>, D: Deserializer<'d>>(
        from: D,
    ) -> Result<Arc<[T]>, D::Error> {
        Vec::deserialize(from).map(Arc::from)
    }
}

impl Alert {
    /// Takes an event in, if it is among the earliest.
    fn add_evidence(&mut self, event: &Evidence) {
        if let Err(place) = self.evidence.binary_search(event)
            && place < MAX_EVIDENCE
        {
            self.evidence.truncate(MAX_EVIDENCE - 1);
            self.evidence.insert(place, event.clone());
        }
    }

    /// Memory, about.
    pub(super) fn bytes(&self) -> usize {
        1024 + self.row.len() * 96 + self.entities.len() * 80 + self.evidence.len() * EVENT_BYTES
    }
}

/// Memory of one event in evidence: its time, its uid and where that stands.
const EVENT_BYTES: usize = 80;

/// An alert while matches can still join it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    pub start: i64,
    /// Watermark from which on the episode's first match is certain.
    pub due: i64,
    /// Start of the newest match.
    newest: i64,
    /// By group: panes before this are counted in the evidence already, as overlapping windows share panes.
    covered_to: BTreeMap<String, i64>,
    pub alert: Alert,
}

impl Episode {
    pub fn new(rule: &Rule, version: &str, key: &Key, first: &Match) -> Self {
        let row = row::parse(&first.row);
        let level = first.level.unwrap_or(rule.level);
        let first_time = first.evidence.iter().map(|pane| pane.2).min();
        let last_time = first.evidence.iter().map(|pane| pane.3).max();
        let alert = Alert {
            alert_id: alert_id(&rule.id, version, key, first.start),
            rule_id: rule.id.clone(),
            rule_version: version.to_owned(),
            rule_title: title(rule, &row),
            level,
            confidence: rule.confidence,
            risk_score: risk(level, rule.confidence, &row),
            key: key.clone(),
            window: first.window,
            first_time: first_time.unwrap_or(first.start),
            last_time: last_time.unwrap_or(first.start),
            entities: vec![],
            tactics: rule.tactics(),
            techniques: rule.techniques(),
            row,
            matches: 0,
            evidence: vec![],
            evidence_count: 0,
            state: AlertState::Provisional,
            revision: 0,
            watermark: None,
        };
        let mut episode = Self {
            start: first.start,
            due: first.due,
            newest: first.start,
            covered_to: BTreeMap::new(),
            alert,
        };
        if !first.reasons.is_empty() {
            let reasons = serde_json::to_value(&first.reasons).unwrap_or_default();
            episode.alert.row.insert("reasons".into(), reasons);
        }
        episode.fold(first, rule);
        episode
    }

    pub fn fold(&mut self, more: &Match, rule: &Rule) {
        self.newest = self.newest.max(more.start);
        let alert = &mut self.alert;
        alert.matches += 1;
        if let Some(level) = more.level
            && level > alert.level
        {
            alert.level = level;
            alert.risk_score = risk(level, rule.confidence, &row::parse(&more.row));
        }
        if let Some(finding) = rule.kind.finding() {
            let row = row::parse(&more.row);
            let (tactics, techniques) = finding.attack_of(&row);
            add(&mut alert.tactics, tactics);
            add(&mut alert.techniques, techniques);
            if alert.matches > 1 {
                alert.rule_title = title(rule, &row);
                let latest = update(&alert.row, &row);
                alert.row.insert(LATEST.into(), latest);
            }
        }
        for entity in more.entities.iter() {
            if let Err(place) = alert.entities.binary_search(entity) {
                alert.entities.insert(place, entity.clone());
            }
        }
        for (pane, count, first, last, events) in &more.evidence {
            // Windows overlap and share panes; events of a per-event rule are all different.
            if more.window.is_some() {
                match self.covered_to.get_mut(&more.group) {
                    Some(covered) if *pane < *covered => continue,
                    Some(covered) => *covered = pane + 1,
                    None => drop(self.covered_to.insert(more.group.clone(), pane + 1)),
                }
            }
            alert.evidence_count += count;
            alert.first_time = alert.first_time.min(*first);
            alert.last_time = alert.last_time.max(*last);
            for event in events {
                alert.add_evidence(event);
            }
        }
    }
}

impl Episode {
    /// Whether a match that starts then belongs to this episode.
    pub fn takes(&self, start: i64, rule: &Rule) -> bool {
        let gap = rule.suppress.as_ref().and_then(|s| s.gap);
        start < self.start.saturating_add(rule.reach().episode)
            && gap.is_none_or(|gap| start <= self.newest.saturating_add(gap))
    }
}

/// Where the row of a finding's alert holds what the newest update says otherwise than the first.
pub const LATEST: &str = "latest";

fn title(rule: &Rule, row: &Map<String, Value>) -> String {
    let finding = rule.kind.finding();
    let title = finding.and_then(|finding| finding.title_of(row));
    title.unwrap_or(&rule.title).to_owned()
}

fn add(to: &mut Vec<String>, more: Vec<String>) {
    for text in more {
        if !to.contains(&text) {
            to.push(text);
        }
    }
}

fn update(first: &Map<String, Value>, newest: &Map<String, Value>) -> Value {
    let other = newest
        .iter()
        .filter(|(name, value)| first.get(*name) != Some(value));
    Value::Object(
        other
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    )
}

/// 0 to 100: the level's weight, less when the rule is not sure, more when the asset matters.
pub fn risk(level: Level, confidence: Confidence, row: &Map<String, Value>) -> u32 {
    let sure = match confidence {
        Confidence::Low => 0.5,
        Confidence::Medium => 0.75,
        Confidence::High => 1.0,
    };
    let asset = match row.get("asset_criticality").and_then(Value::as_str) {
        Some("critical") => 1.5,
        Some("high") => 1.25,
        _ => 1.0,
    };
    (f64::from(level.weight()) * sure * asset)
        .round()
        .min(100.0) as u32
}
