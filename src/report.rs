//! What people see in a terminal: incidents as tables with their story, rules as a list.
//!
//! Everything from events passes through [`clean`]: data cannot move the cursor or change colours.

use std::collections::BTreeMap;
use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets};
use weir_detections::LoadedRule;
use weir_engine::batch::Counts;
use weir_engine::time::rfc3339;
use weir_engine::{Alert, Incident};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    Table,
    Json,
}

/// Control and direction-changing characters become visible.
pub fn clean(text: &str) -> String {
    let bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    text.chars()
        .map(|c| if bad(c) { '\u{fffd}' } else { c })
        .collect()
}

pub fn time(micros: i64) -> String {
    let text = rfc3339(micros);
    text.get(..19).unwrap_or(&text).replace('T', " ")
}

pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.to_vec());
    table
}

/// Incidents that are shown with their story; the others only count.
const STORIES: usize = 10;
const STEPS: usize = 14;

/// The list of incidents, the worst first, and the story of the worst.
pub fn incidents<'a>(
    out: &mut impl Write,
    incidents: impl IntoIterator<Item = &'a Incident>,
    alerts: &[Alert],
) -> io::Result<()> {
    let mut sorted: Vec<&Incident> = incidents.into_iter().collect();
    if sorted.is_empty() {
        return writeln!(out, "no incidents");
    }
    let by_id: BTreeMap<&str, &Alert> = alerts.iter().map(|a| (a.alert_id.as_str(), a)).collect();
    sorted.sort_by_key(|i| (std::cmp::Reverse((i.level, i.risk_score)), i.first_time));
    let mut list = table(&[
        "risk",
        "level",
        "from (UTC)",
        "to",
        "alerts",
        "tactics",
        "incident",
    ]);
    for i in sorted.iter().take(30) {
        list.add_row([
            i.risk_score.to_string(),
            i.level.as_str().into(),
            time(i.first_time),
            time(i.last_time),
            i.alert_ids.len().to_string(),
            i.tactics.len().to_string(),
            clean(&i.title),
        ]);
    }
    writeln!(out, "{list}")?;
    if sorted.len() > 30 {
        writeln!(out, "… and {} more", sorted.len() - 30)?;
    }
    let several = sorted.iter().filter(|i| i.alert_ids.len() > 1);
    for incident in several.take(STORIES) {
        story(out, incident, &by_id)?;
    }
    Ok(())
}

/// Who, from where, what, in which order.
fn story(
    out: &mut impl Write,
    incident: &Incident,
    alerts: &BTreeMap<&str, &Alert>,
) -> io::Result<()> {
    writeln!(
        out,
        "\n{} · risk {} · {}",
        incident.level.as_str().to_uppercase(),
        incident.risk_score,
        clean(&incident.title)
    )?;
    writeln!(out, "  {}", incident.incident_id)?;
    let mut kinds: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for entity in &incident.entities {
        kinds
            .entry(&entity.kind)
            .or_default()
            .push(clean(&entity.value));
    }
    for (kind, values) in kinds {
        let more = values.len().saturating_sub(4);
        let rest = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        writeln!(
            out,
            "  {kind:<12} {}{rest}",
            values[..values.len() - more].join(", ")
        )?;
    }
    writeln!(out, "  {:<12} {}", "tactics", incident.tactics.join(" → "))?;
    let steps: Vec<&&Alert> = incident
        .alert_ids
        .iter()
        .filter_map(|id| alerts.get(id.as_str()))
        .collect();
    for alert in steps.iter().take(STEPS) {
        let text = |column: &str| alert.row.get(column).and_then(|v| v.as_str()).map(clean);
        let place = [
            text("src_endpoint_ip"),
            text("src_endpoint_location_city"),
            text("src_endpoint_location_country"),
        ];
        let place: Vec<String> = place.into_iter().flatten().collect();
        let from = if place.is_empty() {
            String::new()
        } else {
            format!(" from {}", place.join(", "))
        };
        let count = if alert.evidence_count > 1 {
            format!(" ({} events)", alert.evidence_count)
        } else {
            String::new()
        };
        writeln!(
            out,
            "    {}  {:<13} {}{count}{from}",
            time(alert.first_time),
            alert.level.as_str(),
            clean(&alert.rule_title)
        )?;
    }
    if steps.len() > STEPS {
        writeln!(out, "    … and {} more alerts", steps.len() - STEPS)?;
    }
    Ok(())
}

/// One line that accounts for every event read.
pub fn counts(counts: &Counts, reasons: &BTreeMap<String, u64>, seconds: f64) -> String {
    let rate = counts.read as f64 / seconds.max(0.001);
    let mut text = format!(
        "{} events in {seconds:.1} s ({rate:.0}/s): {} processed ({} late), {} duplicates, {} unchanged, {} filtered, {} dead letters",
        counts.read,
        counts.processed,
        counts.late,
        counts.duplicates,
        counts.unchanged,
        counts.filtered,
        counts.dead_lettered
    );
    if !reasons.is_empty() {
        let reasons: Vec<String> = reasons
            .iter()
            .map(|(reason, n)| format!("{reason} {n}"))
            .collect();
        text.push_str(&format!(" ({})", reasons.join(", ")));
    }
    text
}

pub fn rules(rules: &[LoadedRule], output: Output) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    if output == Output::Json {
        let all: Vec<_> = rules.iter().map(|loaded| &loaded.rule).collect();
        writeln!(stdout, "{}", serde_json::to_string_pretty(&all)?)?;
        return Ok(());
    }
    let mut list = table(&["level", "kind", "title", "techniques", "tests", "id"]);
    for loaded in rules {
        let rule = &loaded.rule;
        list.add_row([
            rule.level.as_str().to_owned(),
            rule.kind.as_str().to_owned(),
            rule.title.clone(),
            rule.techniques().join(" "),
            loaded.tests.len().to_string(),
            rule.id.clone(),
        ]);
    }
    writeln!(stdout, "{list}\n{} rules", rules.len())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn data_cannot_control_the_terminal() {
        assert_eq!(
            clean("a\u{1b}[31mb\r\n\u{202e}c\u{9b}d"),
            "a\u{fffd}[31mb\u{fffd}\u{fffd}\u{fffd}c\u{fffd}d"
        );
        assert_eq!(clean("Zürich — 東京"), "Zürich — 東京");
    }
}
