//! What is to be learned: a feature query and the meaning of its columns.
//!
//! The queries stand in `features/*.sql`, one file per model. They obey the rules of every window rule (one
//! `SELECT … GROUP BY` key), plus one: features depend on counts only, never on the order of rows, so that
//! however a window's events arrived its vector is the same.

use std::collections::BTreeMap;
use std::ops::Range;

use weir_engine::rule::{Confidence, Level, Rule, RuleKind, Status, Suppress, Window};
use xxhash_rust::xxh3::xxh3_64;

use crate::{Error, Result};

const HOUR: i64 = 3_600_000_000;

/// How a feature is scaled and spoken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A count, 0 and up: compared by ratio (log), and only unusual when higher than usual.
    Count,
    /// A part of the whole, 0 to 1, unusual when higher than usual.
    Ratio,
    /// A part of the whole, 0 to 1, unusual in both directions.
    Balance,
}

/// One column of the feature query.
#[derive(Debug, Clone, Copy)]
pub struct Feature {
    pub column: &'static str,
    pub kind: Kind,
    /// For people.
    pub label: &'static str,
}

/// A model before training.
#[derive(Debug)]
pub struct FeatureSpec {
    /// Names the artefact's file.
    pub name: &'static str,
    pub query: &'static str,
    /// Output column that says whose window a row is.
    pub key: &'static str,
    pub window: Window,
    pub features: &'static [Feature],
    /// Position of the count that ratios are parts of.
    pub total: usize,
    rule: RuleText,
}

/// The parts of the rule that differ from model to model.
#[derive(Debug)]
struct RuleText {
    id: &'static str,
    title: &'static str,
    description: &'static str,
    tags: &'static [&'static str],
    entities: &'static [(&'static str, &'static str)],
    falsepositives: &'static [&'static str],
    runbook: &'static str,
}

const fn feature(column: &'static str, kind: Kind, label: &'static str) -> Feature {
    Feature {
        column,
        kind,
        label,
    }
}

/// What one identity did in CloudTrail within one hour.
pub static CLOUDTRAIL_IDENTITY_HOUR: FeatureSpec = FeatureSpec {
    name: "cloudtrail_identity_hour",
    query: include_str!("../features/cloudtrail_identity_hour.sql"),
    key: "actor_user_uid",
    window: Window {
        size: HOUR,
        slide: HOUR,
    },
    features: &[
        feature("calls", Kind::Count, "calls"),
        feature("operations", Kind::Count, "distinct operations"),
        feature("services", Kind::Count, "services"),
        feature("regions", Kind::Count, "regions"),
        feature("addresses", Kind::Count, "source addresses"),
        feature("error_ratio", Kind::Ratio, "calls refused or failed"),
        feature("read_only_ratio", Kind::Balance, "read-only calls"),
        feature(
            "never_seen_operations",
            Kind::Count,
            "never-seen operations",
        ),
    ],
    total: 0,
    rule: RuleText {
        id: "5d2c1a7e-93b4-4f0c-8a51-6c0e7b1f2d48",
        title: "Unusual activity of one identity",
        description: "What an identity did within an hour differs from what it, and identities like it, did in the training span: more calls, operations it never used, more refusals, other regions or addresses. Each alert says which of these it was.",
        tags: &["attack.initial_access", "attack.t1078.004"],
        entities: &[("user", "actor_user_uid"), ("ip", "ips")],
        falsepositives: &[
            "A new identity, or a new task of a known one; train the model again when it is here to stay",
            "A migration or an incident that is worked on with unusual calls",
        ],
        runbook: "Read the reasons, then list the identity's calls of that hour. Ask its owner about operations it never used before; if nobody knows of them, disable its keys and sessions.",
    },
};

/// Every model that this version knows.
pub static SPECS: &[&FeatureSpec] = &[&CLOUDTRAIL_IDENTITY_HOUR];

impl FeatureSpec {
    pub fn by_name(name: &str) -> Option<&'static Self> {
        SPECS.iter().copied().find(|spec| spec.name == name)
    }

    /// Splits a training span (µs) at the window boundary next to its middle: history is collected from the
    /// first part, vectors from the second.
    pub fn halves(&self, span: &Range<i64>) -> Result<(Range<i64>, Range<i64>)> {
        let middle = span.start + (span.end - span.start) / 2;
        let cut = middle - middle.rem_euclid(self.window.slide);
        if cut <= span.start || cut + self.window.size > span.end {
            return Err(Error::training(
                self.name,
                "the training span is shorter than two windows: give it a longer span of stored events",
            ));
        }
        Ok((span.start..cut, cut..span.end))
    }

    /// Identifies the feature query's text.
    pub fn query_hash(&self) -> String {
        format!("{:016x}", xxh3_64(self.query.as_bytes()))
    }

    /// The window rule whose rows are this model's vectors. `trained` identifies the artefact: it becomes
    /// a comment of the query, so that the rule's version changes with each training and no window state
    /// of an older model is carried on.
    pub fn rule(&self, trained: &str) -> Rule {
        let text = &self.rule;
        let owned = |list: &[&str]| list.iter().map(|item| (*item).to_owned()).collect();
        Rule {
            id: text.id.to_owned(),
            title: text.title.to_owned(),
            status: Status::Experimental,
            description: text.description.to_owned(),
            references: owned(&["https://attack.mitre.org/techniques/T1078/004/"]),
            author: "Weir".to_owned(),
            date: "2026-11-21".to_owned(),
            tags: owned(text.tags),
            level: Level::Medium,
            confidence: Confidence::Low,
            query: format!("{}/* model {trained} */", self.query),
            kind: RuleKind::Window(self.window),
            suppress: Some(Suppress {
                by: vec![self.key.to_owned()],
                length: HOUR,
                gap: None,
            }),
            building_block: false,
            tables: BTreeMap::new(),
            entities: text
                .entities
                .iter()
                .map(|(kind, column)| ((*kind).to_owned(), (*column).to_owned()))
                .collect(),
            compliance: BTreeMap::from([
                ("iso27001".to_owned(), owned(&["A.8.16"])),
                ("soc2".to_owned(), owned(&["CC7.2"])),
            ]),
            falsepositives: owned(text.falsepositives),
            runbook: text.runbook.to_owned(),
            path: format!("models/features/{}.sql", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_has_every_column_that_the_spec_names() {
        for spec in SPECS {
            assert_eq!(spec.features[spec.total].kind, Kind::Count);
            for feature in spec.features {
                let column = feature.column;
                assert!(spec.query.contains(&format!("AS {column}")), "{column}");
            }
            let rule = spec.rule("0");
            let outputs = rule.entities.iter().map(|(_, column)| column);
            for column in outputs.chain(&rule.suppress.expect("suppressed").by) {
                assert!(spec.query.contains(column.as_str()), "{column}");
            }
        }
    }

    #[test]
    fn a_span_is_cut_at_a_window_boundary_even_before_the_epoch() {
        let spec = &CLOUDTRAIL_IDENTITY_HOUR;
        let halves = |span: Range<i64>| spec.halves(&span).ok();
        assert_eq!(halves(0..5 * HOUR), Some((0..2 * HOUR, 2 * HOUR..5 * HOUR)));
        let negative = -5 * HOUR - 1..HOUR;
        assert_eq!(
            halves(negative),
            Some((-5 * HOUR - 1..-3 * HOUR, -3 * HOUR..HOUR))
        );
        assert_eq!(halves(0..HOUR), None);
        assert_eq!(halves(10..10), None);
    }

    #[test]
    fn the_rule_version_changes_with_the_training() {
        let spec = &CLOUDTRAIL_IDENTITY_HOUR;
        assert_ne!(spec.rule("a").version(), spec.rule("b").version());
        assert_eq!(spec.rule("a").version(), spec.rule("a").version());
        assert_eq!(spec.rule("a").tactics(), ["initial-access"]);
        assert_eq!(spec.rule("a").techniques(), ["T1078.004"]);
    }
}
