//! The rule file: Sigma's names for the metadata, SQL under `query`, tests beside it.
//!
//! Unknown keys are refused by name. Order of `entities` is kept: an alert lists them so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Component, Path};

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use weir_engine::Rule;
use weir_engine::finding::Finding;
use weir_engine::rule::{
    Absence, Confidence, Level, NewTerms, Pair, RuleKind, Status, Suppress, Window,
};
use weir_engine::time::parse_duration;

use crate::case::{Case, CaseTable};
use crate::enrich::Enrichment;
use crate::error::{Error, Result};
use crate::load::LoadedRule;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    title: String,
    id: String,
    #[serde(default)]
    status: Status,
    #[serde(default)]
    description: String,
    #[serde(default)]
    references: Vec<String>,
    #[serde(default)]
    author: String,
    #[serde(default)]
    date: String,
    #[serde(default)]
    tags: Vec<String>,
    level: Level,
    #[serde(default)]
    confidence: Confidence,
    query: String,
    window: Option<WindowFile>,
    suppress: Option<SuppressFile>,
    new_terms: Option<NewTermsFile>,
    absence: Option<AbsenceFile>,
    finding: Option<Finding>,
    #[serde(default)]
    building_block: bool,
    #[serde(default)]
    tables: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    entities: Entities,
    #[serde(default)]
    compliance: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    falsepositives: Vec<String>,
    #[serde(default)]
    runbook: String,
    #[serde(default)]
    tests: Vec<CaseFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowFile {
    size: Micros,
    slide: Micros,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SuppressFile {
    by: Vec<String>,
    #[serde(rename = "for")]
    length: Micros,
    gap: Option<Micros>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTermsFile {
    fields: Vec<String>,
    history: Micros,
    warmup: Option<Micros>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AbsenceFile {
    by: Vec<String>,
    within: Micros,
    after: Option<String>,
    of: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    name: String,
    /// A file of raw events, relative to the rule, or a list of them: objects, or lines as they come.
    events: Value,
    alerts: usize,
    /// Reference tables by name, as lists of rows.
    #[serde(default)]
    tables: BTreeMap<String, Vec<BTreeMap<String, String>>>,
    /// By source address, or `*`: columns that enrichment would fill.
    #[serde(default)]
    enrich: Enrichment,
    #[serde(default)]
    entities: BTreeMap<String, Vec<String>>,
}

/// Parses one rule file. `read` gives the content of a file named relative to it.
pub(crate) fn parse(
    path: &str,
    text: &str,
    read: &dyn Fn(&Path) -> Result<Vec<u8>, String>,
) -> Result<LoadedRule> {
    // YAML 1.1 would read the key `n` and the country `no` as booleans.
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    let file: RuleFile = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| Error::rule(path, error.to_string().replace('\n', " ")))?;
    let refuse = |reason: String| Error::rule(path, reason);
    if let Some(window) = &file.window
        && window.slide.0 > window.size.0
    {
        return Err(refuse(
            "window.slide is longer than window.size, so events between windows would be missed; \
             make it at most the size"
                .to_owned(),
        ));
    }
    if let Some(suppress) = &file.suppress
        && suppress.by.is_empty()
    {
        return Err(refuse(
            "suppress.by is empty; name the output columns that make up the key".to_owned(),
        ));
    }
    let new_terms = file.new_terms.map(new_terms).transpose().map_err(refuse)?;
    let absence = file.absence.map(absence).transpose().map_err(refuse)?;
    let window = file.window.map(|window| Window {
        size: window.size.0,
        slide: window.slide.0,
    });
    let kinds = [
        window.map(RuleKind::Window),
        new_terms.map(RuleKind::NewTerms),
        absence.map(RuleKind::Absence),
    ];
    let mut kinds = kinds.into_iter().flatten().collect::<Vec<_>>();
    if kinds.len() > 1 {
        let names: Vec<_> = kinds.iter().map(RuleKind::as_str).collect();
        return Err(refuse(format!(
            "{} cannot stand in one rule; write a rule for each and join them over `alerts`",
            names.join(" and ")
        )));
    }
    if file.finding.is_some() && (!kinds.is_empty() || file.suppress.is_none()) {
        return Err(refuse(
            "finding belongs to a per-event rule with suppress: name the finding's id in suppress.by, so that its \
             updates are one alert"
                .to_owned(),
        ));
    }
    kinds.extend(
        file.finding
            .map(|finding| RuleKind::Finding(Box::new(finding))),
    );
    let tests = file.tests.into_iter().map(|case| {
        let name = case.name.clone();
        read_case(case, read).map_err(|reason| refuse(format!("test `{name}`: {reason}")))
    });
    let tests = tests.collect::<Result<Vec<_>>>()?;
    let rule = Rule {
        id: file.id,
        title: file.title,
        status: file.status,
        description: file.description,
        references: file.references,
        author: file.author,
        date: file.date,
        tags: file.tags,
        level: file.level,
        confidence: file.confidence,
        query: file.query,
        kind: kinds.pop().unwrap_or(RuleKind::Event),
        suppress: file.suppress.map(|suppress| Suppress {
            by: suppress.by,
            length: suppress.length.0,
            gap: suppress.gap.map(|gap| gap.0),
        }),
        building_block: file.building_block,
        tables: file.tables,
        entities: file.entities.0,
        compliance: file.compliance,
        falsepositives: file.falsepositives,
        runbook: file.runbook,
        path: path.to_owned(),
    };
    Ok(LoadedRule { rule, tests })
}

/// Longest history of first-seen rules: 90 days.
const MAX_HISTORY: i64 = 90 * 86_400_000_000;
/// A rule learns for a week before it speaks, if nothing else is said.
const WARMUP: i64 = 7 * 86_400_000_000;

fn new_terms(file: NewTermsFile) -> Result<NewTerms, String> {
    let history = file.history.0;
    if !(1..=3).contains(&file.fields.len()) {
        return Err("new_terms.fields must name one to three output columns".to_owned());
    }
    if history > MAX_HISTORY {
        return Err("new_terms.history is longer than 90d".to_owned());
    }
    let warmup = file.warmup.map_or(WARMUP.min(history), |warmup| warmup.0);
    if warmup > history {
        return Err("new_terms.warmup is longer than new_terms.history; a rule that has seen its whole history has nothing more to learn".to_owned());
    }
    Ok(NewTerms {
        fields: file.fields,
        history,
        warmup,
    })
}

fn absence(file: AbsenceFile) -> Result<Absence, String> {
    if file.by.is_empty() {
        return Err("absence.by is empty; name the output columns that make up the key".to_owned());
    }
    let pair = match (file.after, file.of) {
        (Some(after), Some(of)) => Some(Pair { after, of }),
        (None, None) => None,
        _ => {
            return Err("absence.after and absence.of belong together: boolean output columns for what comes first and for what must follow".to_owned());
        }
    };
    Ok(Absence {
        by: file.by,
        within: file.within.0,
        pair,
    })
}

fn read_case(
    case: CaseFile,
    read: &dyn Fn(&Path) -> Result<Vec<u8>, String>,
) -> Result<Case, String> {
    let (source, events) = match case.events {
        Value::String(file) => {
            let relative = Path::new(&file);
            if !relative
                .components()
                .all(|part| matches!(part, Component::Normal(_)))
            {
                return Err(format!(
                    "events file {file} must lie in the rule's folder or below it, named without `..`"
                ));
            }
            let events =
                read(relative).map_err(|reason| format!("events file {file}: {reason}"))?;
            (file, events)
        }
        Value::Array(events) => {
            let lines: Vec<_> = events
                .iter()
                .map(|event| {
                    event
                        .as_str()
                        .map_or_else(|| event.to_string(), str::to_owned)
                })
                .collect();
            ("inline".to_owned(), lines.join("\n").into_bytes())
        }
        _ => return Err("events must be a file name or a list of events".to_owned()),
    };
    Ok(Case {
        name: case.name,
        source,
        events,
        alerts: case.alerts,
        tables: case.tables.into_iter().map(case_table).collect(),
        enrich: case.enrich,
        entities: case.entities,
    })
}

/// Rows with all columns that any of them has.
fn case_table((name, rows): (String, Vec<BTreeMap<String, String>>)) -> (String, CaseTable) {
    let columns: BTreeSet<String> = rows.iter().flat_map(BTreeMap::keys).cloned().collect();
    let columns: Vec<String> = columns.into_iter().collect();
    let row =
        |row: &BTreeMap<String, String>| columns.iter().map(|c| row.get(c).cloned()).collect();
    let rows = rows.iter().map(row).collect();
    (name, CaseTable { columns, rows })
}

/// A duration in microseconds, written as `10m`.
struct Micros(i64);

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Self).map_err(de::Error::custom)
    }
}

/// Entity kind → output column, or several of them, in the order of the file.
#[derive(Default)]
struct Entities(Vec<(String, String)>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl<'de> Deserialize<'de> for Entities {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Entities;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from entity kind to an output column or a list of them")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entities, M::Error> {
                let mut entities = vec![];
                while let Some((kind, columns)) = map.next_entry::<String, OneOrMany>()? {
                    match columns {
                        OneOrMany::One(column) => entities.push((kind, column)),
                        OneOrMany::Many(columns) => {
                            let pairs = columns.into_iter().map(|column| (kind.clone(), column));
                            entities.extend(pairs);
                        }
                    }
                }
                Ok(Entities(entities))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MINIMAL: &str = "title: A\nid: x\nlevel: low\nquery: SELECT 1\n";

    fn parsed(text: &str) -> Result<LoadedRule> {
        parse("packs/a.yml", text, &|file| {
            Ok(format!("content of {}", file.display()).into_bytes())
        })
    }
    fn refused(text: &str) -> String {
        parsed(text).err().unwrap().to_string()
    }

    #[test]
    fn everything_arrives() {
        let text = r#"
title: Title
id: 0f8f9a0e-6b0e-4c0a-9a43-0a4e0c1d2f33
status: stable
description: Why
references: [https://example.org]
author: Weir
date: 2026-11-21
tags: [attack.discovery, attack.t1580]
level: medium
confidence: high
query: |
  SELECT actor_user_uid, count(*) AS n FROM cloud_audit GROUP BY actor_user_uid
window: { size: 10m, slide: 1m }
suppress: { by: [actor_user_uid], for: 1h }
entities: { user: [actor_user_uid, other], ip: ips, account: a }
compliance: { soc2: [CC6.1] }
falsepositives: [none]
runbook: Look.
tests:
  - name: inline
    events:
      - { eventID: a, n: 1, when: 2026-01-02T03:04:05Z }
      - '{"as": "it comes"}'
    alerts: 1
    entities: { user: [bob] }
  - { name: file, events: cases/a.ndjson, alerts: 0 }
"#;
        let LoadedRule { rule, tests } = parsed(text).unwrap();
        assert_eq!(rule.path, "packs/a.yml");
        assert_eq!(
            (rule.status, rule.level, rule.confidence),
            (Status::Stable, Level::Medium, Confidence::High)
        );
        assert_eq!(
            rule.kind,
            RuleKind::Window(Window {
                size: 600_000_000,
                slide: 60_000_000
            })
        );
        assert_eq!(rule.suppress.unwrap().length, 3_600_000_000);
        let kinds: Vec<_> = rule
            .entities
            .iter()
            .map(|(kind, _)| kind.as_str())
            .collect();
        assert_eq!(kinds, ["user", "user", "ip", "account"]);
        assert_eq!(rule.date, "2026-11-21");
        assert_eq!(
            String::from_utf8(tests[0].events.clone()).unwrap(),
            "{\"eventID\":\"a\",\"n\":1,\"when\":\"2026-01-02T03:04:05Z\"}\n{\"as\": \"it comes\"}"
        );
        assert_eq!(tests[1].events, b"content of cases/a.ndjson");
        assert_eq!(tests[1].source, "cases/a.ndjson");
    }

    #[test]
    fn an_unknown_key_is_refused_with_file_and_line() {
        let message = refused(&format!("{MINIMAL}wndow: {{ size: 1m, slide: 1m }}\n"));
        assert!(message.starts_with("packs/a.yml: "), "{message}");
        assert!(message.contains("`wndow`"), "{message}");
        assert!(message.contains("line 5"), "{message}");
    }

    #[test]
    fn wrong_values_are_refused_by_name() {
        let message = refused(&format!("{MINIMAL}window: {{ size: ten, slide: 1m }}\n"));
        assert!(
            message.contains("`ten`") && message.contains("line 5"),
            "{message}"
        );
        let message = refused(&MINIMAL.replace("low", "severe"));
        assert!(
            message.contains("severe") && message.contains("critical"),
            "{message}"
        );
        let message = refused(&MINIMAL.replace("id: x\n", ""));
        assert!(message.contains("`id`"), "{message}");
        let message = refused(&format!("{MINIMAL}window: {{ size: 1m, slide: 2m }}\n"));
        assert!(message.contains("window.slide"), "{message}");
        let message = refused(&format!("{MINIMAL}suppress: {{ by: [], for: 1h }}\n"));
        assert!(message.contains("suppress.by"), "{message}");
    }

    #[test]
    fn kinds_that_remember() {
        let text = format!("{MINIMAL}new_terms: {{ fields: [a, b], history: 30d }}\n");
        let rule = parsed(&text).unwrap().rule;
        let day = 86_400_000_000;
        let terms = NewTerms {
            fields: vec!["a".into(), "b".into()],
            history: 30 * day,
            warmup: 7 * day,
        };
        assert_eq!(rule.kind, RuleKind::NewTerms(terms));
        let text = format!("{MINIMAL}absence: {{ by: [a], after: x, of: y, within: 1h }}\n");
        let rule = parsed(&text).unwrap().rule;
        let absence = rule.kind.absence().unwrap();
        assert_eq!(absence.pair.as_ref().unwrap().of, "y");
        for (wrong, word) in [
            ("new_terms: { fields: [], history: 1d }", "one to three"),
            ("new_terms: { fields: [a], history: 91d }", "90d"),
            (
                "new_terms: { fields: [a], history: 1d, warmup: 2d }",
                "warmup",
            ),
            ("absence: { by: [a], after: x, within: 1h }", "absence.of"),
            ("absence: { by: [], within: 1h }", "absence.by"),
            (
                "window: { size: 1m, slide: 1m }\nabsence: { by: [a], within: 1h }",
                "window and absence",
            ),
        ] {
            let message = refused(&format!("{MINIMAL}{wrong}\n"));
            assert!(message.contains(word), "{message}");
        }
    }

    #[test]
    fn a_case_stays_in_its_pack() {
        for file in ["../../etc/passwd", "/etc/passwd", "cases/../../x"] {
            let text = format!("{MINIMAL}tests: [{{ name: t, events: {file}, alerts: 0 }}]\n");
            let message = refused(&text);
            assert!(
                message.contains("test `t`") && message.contains(file),
                "{message}"
            );
        }
    }
}
