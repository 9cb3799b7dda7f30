//! A group of alerts as an incident, made of all its alerts at once: what tests compare with what is kept up to date.

use std::collections::BTreeMap;

use super::identity_kind;
use crate::alert::{Alert, Entity};
use crate::incident::Incident;
use crate::rule::{Level, TACTICS};

/// What an analyst sees of a group of alerts in order of time.
pub(crate) fn describe(alerts: &[&Alert]) -> Incident {
    let first = alerts[0];
    let mut counts: BTreeMap<&Entity, usize> = BTreeMap::new();
    let (mut tactics, mut techniques, mut rule_ids) = (vec![], vec![], vec![]);
    for alert in alerts {
        for entity in &alert.entities {
            *counts.entry(entity).or_default() += 1;
        }
        add_new(&mut tactics, &alert.tactics);
        add_new(&mut techniques, &alert.techniques);
        add_new(&mut rule_ids, std::slice::from_ref(&alert.rule_id));
    }
    let mut entities: Vec<(&Entity, usize)> = counts.into_iter().collect();
    entities.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let highest = alerts
        .iter()
        .map(|a| a.level)
        .max()
        .unwrap_or(Level::Informational);
    let risk_score = risk(alerts, tactics.len());
    // Several tactics in one chain are worse than their worst step.
    let level = match (highest, tactics.len()) {
        (Level::High, 4..) => Level::Critical,
        (Level::Medium, 3..) => Level::High,
        (level, _) => level,
    };
    Incident {
        incident_id: format!("inc_{}", first.alert_id),
        title: title(alerts, &entities, &tactics),
        level,
        risk_score,
        first_time: alerts
            .iter()
            .map(|a| a.first_time)
            .min()
            .unwrap_or_default(),
        last_time: alerts.iter().map(|a| a.last_time).max().unwrap_or_default(),
        entities: entities
            .into_iter()
            .map(|(entity, _)| entity.clone())
            .collect(),
        tactics,
        techniques,
        alert_ids: alerts.iter().map(|a| a.alert_id.clone()).collect(),
        rule_ids,
        open: true,
    }
}

fn add_new(all: &mut Vec<String>, more: &[String]) {
    for one in more {
        if !all.contains(one) {
            all.push(one.clone());
        }
    }
}

/// Weighted levels × spread over tactics, 0 to 100. Repeats of one rule add little.
fn risk(alerts: &[&Alert], tactics: usize) -> u32 {
    let mut by_rule: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for alert in alerts {
        by_rule
            .entry(&alert.rule_id)
            .or_default()
            .push(alert.risk_score);
    }
    let sum: f64 = by_rule
        .into_values()
        .map(|mut scores| {
            scores.sort_unstable_by(|a, b| b.cmp(a));
            let repeats = (scores.len() as f64).ln() * 0.1 + 1.0;
            f64::from(scores[0]) * repeats
        })
        .sum();
    let spread = 1.0 + 0.15 * tactics.saturating_sub(1).min(TACTICS.len()) as f64;
    // 100 is approached, never passed: 100·(1 − e^(−x/100)).
    (100.0 * (1.0 - (-(sum * spread) / 100.0).exp())).round() as u32
}

/// One line: what happened, and to whom.
fn title(alerts: &[&Alert], entities: &[(&Entity, usize)], tactics: &[String]) -> String {
    let worst = alerts.iter().max_by(|a, b| {
        (a.level, a.risk_score)
            .cmp(&(b.level, b.risk_score))
            .then(b.first_time.cmp(&a.first_time))
    });
    let what = worst.map_or("", |a| a.rule_title.as_str());
    let who = entities
        .iter()
        .find(|(e, _)| identity_kind(&e.kind))
        .or(entities.first());
    let who = who
        .map(|(e, _)| format!(" by {} {}", e.kind, e.value))
        .unwrap_or_default();
    match alerts.len() {
        1 => format!("{what}{who}"),
        n => format!(
            "{what} and {} over {}{who}",
            count(n - 1, "more alert"),
            count(tactics.len(), "tactic")
        ),
    }
}

fn count(number: usize, of: &str) -> String {
    match number {
        1 => format!("1 {of}"),
        more => format!("{more} {of}s"),
    }
}
