//! A detection rule as the engine runs it. The file format that people write is in `weir-detections`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::finding::Finding;

mod reach;

pub use self::reach::Reach;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

impl Level {
    pub const ALL: [Self; 5] = [
        Self::Informational,
        Self::Low,
        Self::Medium,
        Self::High,
        Self::Critical,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }
    /// Weight of one alert of this level in an incident's risk.
    pub fn weight(self) -> u32 {
        match self {
            Self::Informational => 1,
            Self::Low => 5,
            Self::Medium => 20,
            Self::High => 45,
            Self::Critical => 70,
        }
    }
}

/// How sure the rule is, apart from how bad it would be.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    Low,
    #[default]
    Medium,
    High,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    #[default]
    Experimental,
    Test,
    Stable,
    Deprecated,
}

/// Event-time window, both in microseconds; `slide` divides time from the epoch on. A window is
/// `[start, start + size)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub size: i64,
    pub slide: i64,
}

/// Matches of one key within `length` µs of an episode's start belong to that episode's alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppress {
    /// Output columns of the query that make up the key.
    pub by: Vec<String>,
    pub length: i64,
    /// As a session: the episode also ends when no match follows within this many µs of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<i64>,
}

/// First-seen: a row matches only if its terms did not occur in the `history` before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTerms {
    /// Output columns, one to three; rows with a null among them are passed over.
    pub fields: Vec<String>,
    /// µs.
    pub history: i64,
    /// The rule only learns for this long after its first row, µs.
    pub warmup: i64,
}

/// Something that should have come did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    /// Output columns of the query that make up the key.
    pub by: Vec<String>,
    /// µs.
    pub within: i64,
    /// Without them every row is a sign of life, and a match is a key that gave none for `within`.
    pub pair: Option<Pair>,
}

/// A row in which `after` is true calls for one of the same key in which `of` is true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Boolean output columns.
    pub after: String,
    pub of: String,
}

/// What is a match.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// Each row that the query returns of single events.
    Event,
    /// The same, and each row is a finding of another product, told as it is.
    Finding(Box<Finding>),
    /// Each row that the query returns of a window.
    Window(Window),
    /// A row whose terms are new.
    NewTerms(NewTerms),
    /// A row after which something did not come.
    Absence(Absence),
}

impl RuleKind {
    /// `event`, `window`, `new_terms` or `absence`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Event | Self::Finding(_) => "event",
            Self::Window(_) => "window",
            Self::NewTerms(_) => "new_terms",
            Self::Absence(_) => "absence",
        }
    }

    /// Output columns whose values the rule remembers; none if it remembers nothing.
    pub fn remembered(&self) -> &[String] {
        match self {
            Self::NewTerms(terms) => &terms.fields,
            Self::Absence(absence) => &absence.by,
            Self::Event | Self::Finding(_) | Self::Window(_) => &[],
        }
    }

    pub fn window(&self) -> Option<Window> {
        match self {
            Self::Window(window) => Some(*window),
            _ => None,
        }
    }

    pub fn new_terms(&self) -> Option<&NewTerms> {
        match self {
            Self::NewTerms(terms) => Some(terms),
            _ => None,
        }
    }

    pub fn absence(&self) -> Option<&Absence> {
        match self {
            Self::Absence(absence) => Some(absence),
            _ => None,
        }
    }

    pub fn finding(&self) -> Option<&Finding> {
        match self {
            Self::Finding(finding) => Some(finding),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub id: String,
    pub title: String,
    pub status: Status,
    pub description: String,
    pub references: Vec<String>,
    pub author: String,
    pub date: String,
    /// Sigma style: `attack.persistence`, `attack.t1098.001`.
    pub tags: Vec<String>,
    pub level: Level,
    pub confidence: Confidence,
    pub query: String,
    pub kind: RuleKind,
    pub suppress: Option<Suppress>,
    /// Feeds rules over `alerts` and is not told to anybody by itself.
    #[serde(default)]
    pub building_block: bool,
    /// Reference tables that the query reads: name → columns it needs. One that is not configured is empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, Vec<String>>,
    /// Entity kind → output column of the query (text, or a list of text).
    pub entities: Vec<(String, String)>,
    /// Framework → control ids.
    pub compliance: BTreeMap<String, Vec<String>>,
    pub falsepositives: Vec<String>,
    pub runbook: String,
    /// File that the rule was read from.
    pub path: String,
}

/// ATT&CK tactics in the order of an attack, as Sigma tags name them (without `attack.`).
pub const TACTICS: &[&str] = &[
    "reconnaissance",
    "resource-development",
    "initial-access",
    "execution",
    "persistence",
    "privilege-escalation",
    "defense-evasion",
    "credential-access",
    "discovery",
    "lateral-movement",
    "collection",
    "command-and-control",
    "exfiltration",
    "impact",
];

impl Rule {
    /// Changes exactly when the rule's answer can change: a hash of query, window, suppression, entities
    /// and level.
    pub fn version(&self) -> String {
        let parts = (
            &self.query,
            self.kind.window(),
            &self.suppress,
            &self.entities,
            self.level,
        );
        let mut text = serde_json::to_string(&parts).unwrap_or_default();
        let (terms, absence) = (self.kind.new_terms(), self.kind.absence());
        if terms.is_some() || absence.is_some() || self.building_block {
            let more = (terms, absence, self.building_block);
            text += &serde_json::to_string(&more).unwrap_or_default();
        }
        if let Some(finding) = self.kind.finding() {
            text += &serde_json::to_string(finding).unwrap_or_default();
        }
        format!("{:08x}", xxh3_64(text.as_bytes()) as u32)
    }

    /// Tactics among the tags, with `_` as `-`.
    pub fn tactics(&self) -> Vec<String> {
        let tags = self
            .tags
            .iter()
            .filter_map(|tag| tag.strip_prefix("attack."));
        tags.map(|tag| tag.replace('_', "-"))
            .filter(|tag| TACTICS.contains(&tag.as_str()))
            .collect()
    }

    /// Technique ids among the tags, upper case: `T1098.001`.
    pub fn techniques(&self) -> Vec<String> {
        let tags = self
            .tags
            .iter()
            .filter_map(|tag| tag.strip_prefix("attack.t"));
        tags.filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            .map(|rest| format!("T{rest}"))
            .collect()
    }
}
