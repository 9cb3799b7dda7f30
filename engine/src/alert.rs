//! An alert: what one rule says about one key and one episode of time.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::Xxh3;

use crate::rule::{Confidence, Level};

/// A thing that alerts can have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entity {
    /// `user`, `access_key`, `session`, `ip`, `pod`, `container`, `host`, `image`, `bucket`, `role`,
    /// `namespace`, `account`, `resource`.
    pub kind: String,
    pub value: String,
}

/// An event that speaks for the alert.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Evidence {
    /// Event time, µs.
    pub time: i64,
    pub event_uid: String,
}

/// Evidence kept per alert: the earliest ones. `evidence_count` has the true number.
pub const MAX_EVIDENCE: usize = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// Seen, but the watermark has not passed it: it may still change.
    Provisional,
    Final,
    /// Was provisional; the events that came later took its ground away.
    Retracted,
}

impl AlertState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisional => "provisional",
            Self::Final => "final",
            Self::Retracted => "retracted",
        }
    }
}

/// Times are µs since the epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// [`alert_id`].
    pub alert_id: String,
    pub rule_id: String,
    pub rule_version: String,
    pub rule_title: String,
    pub level: Level,
    pub confidence: Confidence,
    /// 0 to 100.
    pub risk_score: u32,
    /// The key's columns and values, in the rule's order.
    pub key: Vec<(String, String)>,
    /// First matching window `[start, end)` of the episode; none for a per-event rule.
    pub window: Option<(i64, i64)>,
    pub first_time: i64,
    pub last_time: i64,
    pub entities: Vec<Entity>,
    pub tactics: Vec<String>,
    pub techniques: Vec<String>,
    /// Output row of the query at the episode's first match.
    pub row: Map<String, Value>,
    /// Matches (events, or windows) in the episode.
    pub matches: u64,
    pub evidence: Vec<Evidence>,
    pub evidence_count: u64,
    pub state: AlertState,
    /// Rises by one with every stored change, from 1 on. How often it changed depends on how events
    /// arrived; everything else but `state` and `watermark` depends on the events alone.
    pub revision: u32,
    /// Engine's watermark when this revision was decided.
    pub watermark: Option<i64>,
}

/// `hash(rule id, rule version, key, episode start)`, 128 bits in hex: running anything again gives the
/// same id.
pub fn alert_id(
    rule_id: &str,
    rule_version: &str,
    key: &[(String, String)],
    episode_start: i64,
) -> String {
    let mut hash = Xxh3::new();
    let mut part = |text: &str| {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    part(rule_id);
    part(rule_version);
    for (column, value) in key {
        part(column);
        part(value);
    }
    hash.update(&episode_start.to_le_bytes());
    format!("{:032x}", hash.digest128())
}
