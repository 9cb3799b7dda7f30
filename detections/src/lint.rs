//! What a reviewer would say about a rule before it is merged.
//!
//! An `Error` lint means that the rule should not ship; a `Warning` is advice. The engine still decides
//! whether the query plans.

use std::fmt;

use weir_engine::rule::TACTICS;
use weir_engine::schema::FAMILIES;

use crate::load::LoadedRule;
use crate::outputs::shape;

/// Entity kinds that correlation knows.
pub const ENTITY_KINDS: &[&str] = &[
    "user",
    "access_key",
    "session",
    "ip",
    "pod",
    "container",
    "host",
    "image",
    "bucket",
    "role",
    "namespace",
    "account",
    "resource",
    "service_account",
    "instance",
    "secret",
];

/// Compliance frameworks a rule may refer to.
pub const COMPLIANCE: &[&str] = &[
    "soc2",
    "iso27001",
    "cis_aws",
    "cis_k8s",
    "pci_dss",
    "nist_800_53",
];

/// Sigma's limit: a title must fit into one line of a list.
const TITLE: std::ops::RangeInclusive<usize> = 10..=110;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Warning,
    Error,
}

/// One remark about one field of a rule file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lint {
    pub severity: Severity,
    pub field: &'static str,
    pub message: String,
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}: {}: {}", self.field, self.message)
    }
}

/// Remarks in the order of the file's fields; none for a rule that is fit to ship.
pub fn lint(loaded: &LoadedRule) -> Vec<Lint> {
    let mut lints = vec![];
    let mut say = |severity, field, message: String| {
        lints.push(Lint {
            severity,
            field,
            message,
        });
    };
    let rule = &loaded.rule;
    use Severity::{Error, Warning};

    let length = rule.title.chars().count();
    if !TITLE.contains(&length) || rule.title.ends_with('.') {
        say(
            Error,
            "title",
            format!(
                "`{}` should be {} to {} characters without a full stop",
                rule.title,
                TITLE.start(),
                TITLE.end()
            ),
        );
    }
    if !is_uuid(&rule.id) {
        say(
            Error,
            "id",
            format!(
                "`{}` is not a UUID in lower case; make one with uuidgen",
                rule.id
            ),
        );
    }
    if rule.description.trim().is_empty() {
        say(
            Error,
            "description",
            "is missing: say what the rule sees and why it matters".into(),
        );
    }
    if rule.references.is_empty() {
        say(
            Error,
            "references",
            "are missing: link where the behaviour is described".into(),
        );
    }
    for reference in rule.references.iter().filter(|text| !is_url(text)) {
        say(
            Error,
            "references",
            format!("`{reference}` is not an https:// address"),
        );
    }
    if rule.author.trim().is_empty() {
        say(Error, "author", "is missing".into());
    }
    if !is_date(&rule.date) {
        say(
            Error,
            "date",
            format!("`{}` is not a date; write it as 2026-11-21", rule.date),
        );
    }
    tags(&rule.tags, rule.kind.finding().is_some(), &mut say);
    query(loaded, &mut say);
    for (framework, controls) in &rule.compliance {
        if !COMPLIANCE.contains(&framework.as_str()) {
            say(
                Error,
                "compliance",
                format!(
                    "`{framework}` is unknown; known are {}",
                    COMPLIANCE.join(", ")
                ),
            );
        }
        if controls.is_empty() {
            say(
                Error,
                "compliance",
                format!("`{framework}` names no control"),
            );
        }
    }
    if rule.compliance.is_empty() {
        say(
            Warning,
            "compliance",
            "is missing: name the controls that this rule serves".into(),
        );
    }
    if rule.falsepositives.is_empty() {
        say(
            Error,
            "falsepositives",
            "are missing: say what harmless thing looks the same".into(),
        );
    }
    if rule.runbook.trim().is_empty() {
        say(
            Error,
            "runbook",
            "is missing: say what an analyst does first".into(),
        );
    }
    tests(loaded, &mut say);
    lints
}

fn tags(
    tags: &[String],
    named_by_finding: bool,
    say: &mut impl FnMut(Severity, &'static str, String),
) {
    let (mut tactics, mut techniques) = (0, 0);
    for tag in tags {
        let Some(rest) = tag.strip_prefix("attack.") else {
            continue;
        };
        if TACTICS.contains(&rest.replace('_', "-").as_str()) {
            tactics += 1;
        } else if is_technique(rest) {
            techniques += 1;
        } else {
            say(
                Severity::Error,
                "tags",
                format!(
                    "`{tag}` is neither an ATT&CK tactic nor a technique such as attack.t1098.001"
                ),
            );
        }
    }
    if !named_by_finding && (tactics == 0 || techniques == 0) {
        say(
            Severity::Error,
            "tags",
            "must name an ATT&CK tactic and a technique, as in attack.persistence, attack.t1098.001"
                .into(),
        );
    }
}

fn query(loaded: &LoadedRule, say: &mut impl FnMut(Severity, &'static str, String)) {
    use Severity::{Error, Warning};
    let rule = &loaded.rule;
    let shape = match shape(&rule.query) {
        Ok(shape) => shape,
        Err(reason) => return say(Error, "query", reason),
    };
    let reads = |table: &str| table == "events" || table == "alerts" || FAMILIES.contains(&table);
    if !shape.tables.iter().any(|table| reads(table)) {
        say(
            Error,
            "query",
            format!(
                "reads from {}; rules read from events, alerts, {}",
                match shape.tables.as_slice() {
                    [] => "no table".to_owned(),
                    tables => tables.join(", "),
                },
                FAMILIES.join(", ")
            ),
        );
    }
    let over_alerts = shape.tables.iter().any(|table| table == "alerts");
    if shape.grouped && rule.kind.window().is_none() {
        say(
            Error,
            "window",
            "is missing: a query with GROUP BY needs a window".into(),
        );
    }
    if !shape.grouped && rule.kind.window().is_some() && rule.suppress.is_none() {
        say(
            Error,
            "suppress",
            "is missing: a windowed query without GROUP BY does not say what one alert is about"
                .into(),
        );
    }
    let pair = rule
        .kind
        .absence()
        .and_then(|absence| absence.pair.as_ref());
    let pair = pair.into_iter().flat_map(|pair| [&pair.after, &pair.of]);
    let named = rule.kind.remembered().iter().chain(pair);
    for column in named.filter(|column| !shape.columns.contains(column)) {
        say(
            Error,
            rule.kind.as_str(),
            format!("`{column}` is no output column of the query; add it to the SELECT"),
        );
    }
    if !shape.dispatchable && !over_alerts {
        say(
            Warning,
            "query",
            "no `column = 'text'` or `column IN ('text', …)` that every match needs: \
             the rule is evaluated on each event"
                .into(),
        );
    }
    if rule.kind.window().is_some() && rule.suppress.is_none() {
        say(
            Warning,
            "suppress",
            "is missing: each of the overlapping windows becomes an alert".into(),
        );
    }
    let by = rule.suppress.iter().flat_map(|suppress| &suppress.by);
    for column in by.filter(|column| !shape.columns.contains(column)) {
        say(
            Error,
            "suppress",
            format!("`{column}` is no output column of the query; add it to the SELECT"),
        );
    }
    if rule.entities.is_empty() {
        say(
            Error,
            "entities",
            "are missing: without them an alert joins no incident".into(),
        );
    }
    for (kind, column) in &rule.entities {
        if !ENTITY_KINDS.contains(&kind.as_str()) {
            say(
                Error,
                "entities",
                format!("`{kind}` is unknown; known are {}", ENTITY_KINDS.join(", ")),
            );
        }
        if !shape.columns.contains(column) {
            say(
                Error,
                "entities",
                format!("`{column}` is no output column of the query; add it to the SELECT"),
            );
        }
    }
}

fn tests(loaded: &LoadedRule, say: &mut impl FnMut(Severity, &'static str, String)) {
    let tests = &loaded.tests;
    if !tests.iter().any(|case| case.alerts > 0) {
        say(Severity::Error, "tests", "no test expects an alert".into());
    }
    if !tests.iter().any(|case| case.alerts == 0) {
        say(
            Severity::Error,
            "tests",
            "no test expects silence (alerts: 0)".into(),
        );
    }
    for (index, case) in tests.iter().enumerate() {
        if tests[..index].iter().any(|other| other.name == case.name) {
            say(
                Severity::Error,
                "tests",
                format!("two tests are named `{}`", case.name),
            );
        }
    }
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    let lengths: Vec<_> = groups.iter().map(|group| group.len()).collect();
    let hex = |group: &&str| group.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    lengths == [8, 4, 4, 4, 12] && groups.iter().all(hex)
}

fn is_url(text: &str) -> bool {
    text.strip_prefix("https://")
        .is_some_and(|rest| rest.contains('.') && !rest.contains(char::is_whitespace))
}

fn is_date(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let [year, month, day] = parts.as_slice() else {
        return false;
    };
    let number = |part: &str, length: usize, range: std::ops::RangeInclusive<u32>| {
        part.len() == length && part.parse().is_ok_and(|number| range.contains(&number))
    };
    number(year, 4, 2000..=2199) && number(month, 2, 1..=12) && number(day, 2, 1..=31)
}

/// `t1098` or `t1098.001`; also Sigma's tags for groups and software, `g0049` and `s0001`.
fn is_technique(text: &str) -> bool {
    let digits =
        |text: &str, length| text.len() == length && text.chars().all(|c| c.is_ascii_digit());
    let Some(rest) = text.strip_prefix(['t', 'g', 's']) else {
        return false;
    };
    match rest.split_once('.') {
        Some((technique, sub)) => text.starts_with('t') && digits(technique, 4) && digits(sub, 3),
        None => digits(rest, 4),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests_of_lint {
    use super::*;
    use crate::format::parse;

    const GOOD: &str = "
title: A rule that is fit to ship
id: 0f8f9a0e-6b0e-4c0a-9a43-0a4e0c1d2f33
description: Why.
references: [https://attack.mitre.org/techniques/T1580/]
author: Weir
date: 2026-11-21
tags: [attack.discovery, attack.t1098.001, cve.2024.1]
level: low
query: SELECT * FROM cloud_audit WHERE api_operation = 'A'
entities: { user: actor_user_uid }
compliance: { soc2: [CC6.1] }
falsepositives: [A scanner]
runbook: Look.
tests:
  - { name: a, events: ['{}'], alerts: 1 }
  - { name: b, events: ['{}'], alerts: 0 }
";

    fn lints(text: &str) -> Vec<String> {
        let loaded = parse("a.yml", text, &|_| Ok(vec![])).unwrap();
        lint(&loaded).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_rule_that_is_fit_to_ship_gets_no_remark() {
        assert_eq!(lints(GOOD), Vec::<String>::new());
    }

    #[test]
    fn each_fault_gets_its_remark() {
        let faults = [
            ("A rule that is fit to ship", "Short", "error: title"),
            ("0f8f9a0e-6b0e", "0F8F9A0E-6b0e", "error: id"),
            ("description: Why.", "description: ''", "error: description"),
            ("https://attack", "attack", "error: references"),
            ("author: Weir", "author: ''", "error: author"),
            ("2026-11-21", "21.11.2026", "error: date"),
            ("attack.discovery", "attack.exploring", "`attack.exploring`"),
            ("attack.t1098.001", "attack.t1098.01", "`attack.t1098.01`"),
            ("attack.discovery, ", "", "must name an ATT&CK tactic"),
            ("FROM cloud_audit", "FROM cloud", "reads from cloud"),
            (
                "api_operation = 'A'",
                "api_operation LIKE 'A%'",
                "warning: query",
            ),
            ("user: actor_user_uid", "person: actor_user_uid", "`person`"),
            (
                "user: actor_user_uid",
                "user: actor",
                "`actor` is no output column",
            ),
            ("soc2", "soc3", "`soc3`"),
            (
                "falsepositives: [A scanner]",
                "falsepositives: []",
                "error: falsepositives",
            ),
            ("runbook: Look.", "runbook: ''", "error: runbook"),
            ("alerts: 1", "alerts: 0", "no test expects an alert"),
            ("alerts: 0", "alerts: 1", "no test expects silence"),
            ("name: b", "name: a", "two tests are named `a`"),
            (
                "level: low",
                "level: low\nsuppress: { by: [who], for: 1h }",
                "`who` is no output column",
            ),
            (
                "level: low",
                "level: low\nwindow: { size: 1h, slide: 1m }",
                "without GROUP BY",
            ),
        ];
        for (from, to, expected) in faults {
            assert!(GOOD.contains(from), "{from}");
            let lints = lints(&GOOD.replacen(from, to, 1));
            assert!(
                lints.iter().any(|lint| lint.contains(expected)),
                "{to}: {lints:?}"
            );
        }
    }
}
