//! What a backtest shows.

use std::io::{self, Write};

use serde_json::{Value, json};
use weir_engine::Alert;
use weir_engine::backtest::{Diff, Report, RuleReport, episode_start};
use weir_engine::correlate::Correlation;
use weir_engine::time::rfc3339;

use super::Summary;
use crate::report::{self, clean};

/// Alerts of one kind that a comparison's table shows.
const SHOWN: usize = 50;

pub fn table(
    out: &mut impl Write,
    summary: &Summary,
    report: &Report,
    grouped: &Correlation,
    alerts: bool,
) -> io::Result<()> {
    rules(out, summary, &report.rules)?;
    if alerts && !report.alerts.is_empty() {
        let mut list = report::table(&["from (UTC)", "level", "alert", "key", "events"]);
        for alert in &report.alerts {
            list.add_row([
                report::time(alert.first_time),
                alert.level.as_str().into(),
                clean(&alert.rule_title),
                key(alert),
                alert.evidence_count.to_string(),
            ]);
        }
        writeln!(out, "{list}")?;
    }
    report::incidents(out, grouped.incidents.values(), &report.alerts)?;
    let total: u64 = report.rules.iter().map(|rule| rule.alerts).sum();
    writeln!(
        out,
        "\n{} incidents, {total} alerts by {} rules",
        grouped.incidents.len(),
        report.rules.len()
    )?;
    left_out(out, &report.rules)?;
    footer(out, summary)
}

/// What each rule did, the slowest first.
fn rules(out: &mut impl Write, summary: &Summary, rules: &[RuleReport]) -> io::Result<()> {
    let mut list = report::table(&[
        "rule", "level", "alerts", "a day", "entities", "events", "matches", "ms", "share",
    ]);
    for rule in rules {
        let kinds = rule.entities.iter().map(|(kind, n)| format!("{n} {kind}"));
        list.add_row([
            clean(&rule.title),
            rule.level.clone(),
            rule.alerts.to_string(),
            format!("{:.1}", a_day(rule, summary)),
            kinds.collect::<Vec<_>>().join(", "),
            rule.events.to_string(),
            rule.matches.to_string(),
            format!("{:.1}", rule.seconds * 1e3),
            format!("{:.0} %", rule.share * 100.0),
        ]);
    }
    writeln!(out, "{list}")
}

/// Over less than a day: what there was, rather than a guess.
fn a_day(rule: &RuleReport, summary: &Summary) -> f64 {
    rule.alerts as f64 / summary.days().max(1.0)
}

fn left_out(out: &mut impl Write, rules: &[RuleReport]) -> io::Result<()> {
    for rule in rules.iter().filter(|rule| rule.left_out > 0) {
        writeln!(
            out,
            "note: {}: {} alerts are counted only and in no incident; --keep raises the limit",
            clean(&rule.title),
            rule.left_out
        )?;
    }
    Ok(())
}

fn footer(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    let reading = &summary.reading;
    writeln!(
        out,
        "{} to {}: {} events; read from {} to {}: {} events in {:.2} s ({:.0}/s)",
        report::time(summary.span.from),
        report::time(summary.span.to),
        reading.in_span,
        report::time(reading.from),
        report::time(reading.to),
        reading.events,
        summary.seconds,
        summary.rate()
    )?;
    if let Some(files) = &summary.files {
        let counts = report::counts(&files.counts, &files.reasons, files.seconds);
        writeln!(out, "files: {counts}")?;
    }
    for note in &summary.notes {
        writeln!(out, "note: {}", clean(note))?;
    }
    Ok(())
}

/// The alerts that differ, the earliest first, and how many stay.
pub fn diff(
    out: &mut impl Write,
    summary: &Summary,
    both: &[RuleReport],
    diff: &Diff,
) -> io::Result<()> {
    // Both have one title, mostly; their files tell them apart.
    let named: Vec<RuleReport> = both
        .iter()
        .map(|rule| RuleReport {
            title: rule.path.clone(),
            ..rule.clone()
        })
        .collect();
    rules(out, summary, &named)?;
    let mut lines: Vec<(i64, char, &Alert, String)> = vec![];
    for (sign, alerts) in [('+', &diff.added), ('-', &diff.removed)] {
        let shown = alerts.iter().take(SHOWN);
        lines.extend(shown.map(|alert| (episode_start(alert), sign, alert, String::new())));
    }
    for changed in diff.changed.iter().take(SHOWN) {
        let fields = changed.fields.join(", ");
        lines.push((episode_start(&changed.new), '~', &changed.new, fields));
    }
    lines.sort_by(|a, b| (a.0, a.1, &a.2.key).cmp(&(b.0, b.1, &b.2.key)));
    if !lines.is_empty() {
        let mut list = report::table(&["", "from (UTC)", "level", "key", "events", "changed"]);
        for (start, sign, alert, fields) in lines {
            list.add_row([
                sign.to_string(),
                report::time(start),
                alert.level.as_str().into(),
                key(alert),
                alert.evidence_count.to_string(),
                clean(&fields),
            ]);
        }
        writeln!(out, "{list}")?;
    }
    let hidden: usize = [diff.added.len(), diff.removed.len(), diff.changed.len()]
        .iter()
        .map(|all| all.saturating_sub(SHOWN))
        .sum();
    if hidden > 0 {
        writeln!(out, "… and {hidden} more; --output json has all")?;
    }
    writeln!(
        out,
        "{} added, {} removed, {} changed, {} stay",
        diff.added.len(),
        diff.removed.len(),
        diff.changed.len(),
        diff.same
    )?;
    footer(out, summary)
}

fn key(alert: &Alert) -> String {
    let values = alert.key.iter().map(|(_, value)| clean(value));
    values.collect::<Vec<_>>().join(" · ")
}

pub fn json(
    out: &mut impl Write,
    summary: &Summary,
    report: &Report,
    grouped: &Correlation,
) -> anyhow::Result<()> {
    let mut all = head(summary, &report.rules);
    all["incidents"] = json!(grouped.incidents.values().collect::<Vec<_>>());
    all["guard_trips"] = json!(grouped.trips);
    all["alerts"] = json!(report.alerts);
    serde_json::to_writer_pretty(&mut *out, &all)?;
    Ok(writeln!(out)?)
}

pub fn diff_json(
    out: &mut impl Write,
    summary: &Summary,
    both: &[RuleReport],
    diff: &Diff,
) -> anyhow::Result<()> {
    let mut all = head(summary, both);
    all["equal"] = json!(diff.is_empty());
    for (name, value) in [
        ("same", json!(diff.same)),
        ("added", json!(diff.added)),
        ("removed", json!(diff.removed)),
        ("changed", json!(diff.changed)),
    ] {
        all[name] = value;
    }
    serde_json::to_writer_pretty(&mut *out, &all)?;
    Ok(writeln!(out)?)
}

/// What both kinds of backtest say. Times are RFC 3339; `from`, `to` is the span, `read_from`, `read_to` what was
/// read for it.
fn head(summary: &Summary, rules: &[RuleReport]) -> Value {
    let reading = &summary.reading;
    let rules: Vec<Value> = rules
        .iter()
        .map(|rule| {
            let mut value = json!(rule);
            value["alerts_per_day"] = json!(a_day(rule, summary));
            value
        })
        .collect();
    let mut all = json!({
        "from": rfc3339(summary.span.from),
        "to": rfc3339(summary.span.to),
        "read_from": rfc3339(reading.from),
        "read_to": rfc3339(reading.to),
        "events_read": reading.events,
        "events_in_span": reading.in_span,
        "seconds": summary.seconds,
        "events_per_second": summary.rate(),
        "notes": summary.notes,
        "rules": rules,
    });
    if let Some(files) = &summary.files {
        let skipped = files.skipped.iter();
        let skipped: Vec<Value> = skipped
            .map(|(path, reason)| json!({"path": path, "reason": reason}))
            .collect();
        all["files"] = json!({
            "counts": files.counts, "dead_letters": files.reasons, "skipped": skipped,
            "seconds": files.seconds,
        });
    }
    all
}
