//! Metrics in Prometheus' text format, written from one health snapshot.
//!
//! Names and labels are a contract; `tests/it/metrics.txt` holds them. Counters count since the source's or
//! rule's state began and may start at 0 after a restart, which Prometheus' `rate` expects.

use weir_engine::health::{RuleHealth, Snapshot, SourceHealth};

mod text;

use text::{Text, one};

pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text of a snapshot. `now` is the wall clock in µs, `resident` the process's memory in bytes.
pub fn render(health: &Snapshot, now: i64, resident: Option<u64>) -> String {
    let mut text = Text::default();
    process(&mut text, health, resident);
    events(&mut text, health);
    time(&mut text, health, now);
    rules(&mut text, health);
    outcome(&mut text, health);
    enrichment(&mut text, health);
    text.out()
}

/// Resident memory of this process, in bytes, where the system tells it (Linux).
pub fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

fn process(text: &mut Text, health: &Snapshot, resident: Option<u64>) {
    let version = vec![("version", env!("CARGO_PKG_VERSION"))];
    text.gauge("weir_build_info", "Version that runs.", [(version, 1.0)]);
    text.gauge(
        "weir_ready",
        "1 while the engine processes events.",
        one(f64::from(u8::from(health.ready))),
    );
    text.gauge(
        "weir_start_time_seconds",
        "Start of the engine, since the epoch.",
        one(seconds(health.started)),
    );
    text.gauge(
        "weir_process_resident_memory_bytes",
        "Resident memory of the process.",
        resident.map(|bytes| (vec![], bytes as f64)),
    );
    text.gauge(
        "weir_state_bytes",
        "Memory of all windows and other state.",
        one(health.state_bytes as f64),
    );
    text.gauge(
        "weir_warnings",
        "Warnings in force, such as a missing GeoIP database.",
        one(health.warnings.len() as f64),
    );
    text.gauge(
        "weir_dedup_short_seconds",
        "Event time by which less is remembered of duplicates than wanted, for want of memory.",
        one(health.dedup_short_seconds as f64),
    );
    text.gauge(
        "weir_dedup_unchecked_events",
        "Events let through unchecked for duplicates for want of memory.",
        one(health.dedup_unchecked as f64),
    );
    text.gauge(
        "weir_scans_short_events",
        "Findings of scans that did not wait or are not remembered, for want of memory.",
        one(health.scans_short as f64),
    );
}

/// Reading a field of a source's or rule's health.
type Read<T> = fn(&T) -> f64;

fn events(text: &mut Text, health: &Snapshot) {
    let counters: [(&str, &str, Read<SourceHealth>); 8] = [
        (
            "weir_events_read_total",
            "Events read; the sum of processed, duplicates, unchanged, dead-lettered, filtered and waiting.",
            |s| s.counts.read as f64,
        ),
        (
            "weir_events_processed_total",
            "Events that went through the rules.",
            |s| s.counts.processed as f64,
        ),
        (
            "weir_events_duplicates_total",
            "Events that were seen before.",
            |s| s.counts.duplicates as f64,
        ),
        (
            "weir_events_unchanged_total",
            "Findings that a scan told again as they were.",
            |s| s.counts.unchanged as f64,
        ),
        (
            "weir_events_filtered_total",
            "Events left out by configuration.",
            |s| s.counts.filtered as f64,
        ),
        (
            "weir_events_late_total",
            "Processed events that were behind the watermark.",
            |s| s.counts.late as f64,
        ),
        (
            "weir_events_future_total",
            "Events too far in the future to move the watermark.",
            |s| s.future as f64,
        ),
        (
            "weir_input_bytes_total",
            "Bytes of the records read.",
            |s| s.counts.bytes as f64,
        ),
    ];
    for (name, help, read) in counters {
        let samples = health
            .sources
            .iter()
            .map(|(name, source)| (vec![("source", name.as_str())], read(source)));
        text.counter(name, help, samples);
    }
    text.gauge(
        "weir_events_waiting",
        "Findings of scans that wait until it is certain whether they changed.",
        health.sources.iter().map(|(name, source)| {
            (
                vec![("source", name.as_str())],
                source.counts.waiting as f64,
            )
        }),
    );
    let dead = health.sources.iter().flat_map(|(name, source)| {
        let known: u64 = source.dead_letter_reasons.values().sum();
        // Letters whose reasons are not known any more, so that the sum over reasons stays true.
        let rest = source.counts.dead_lettered.saturating_sub(known);
        let reasons = source.dead_letter_reasons.iter();
        reasons
            .map(|(reason, count)| (reason.as_str(), *count))
            .chain((rest > 0).then_some(("unknown", rest)))
            .map(|(reason, count)| {
                let labels = vec![("source", name.as_str()), ("reason", reason)];
                (labels, count as f64)
            })
    });
    text.counter(
        "weir_events_dead_lettered_total",
        "Records that could not be decoded, by reason.",
        dead,
    );
    let lag = health.sources.iter().flat_map(|(name, source)| {
        source.lag.iter().map(|(partition, lag)| {
            let labels = vec![("source", name.as_str()), ("partition", partition.as_str())];
            (labels, *lag as f64)
        })
    });
    text.gauge("weir_kafka_lag_messages", "Messages not read yet.", lag);
    let problems = health.sources.iter().map(|(name, source)| {
        let has_one = f64::from(u8::from(source.problem.is_some()));
        (vec![("source", name.as_str())], has_one)
    });
    text.gauge(
        "weir_source_problem",
        "1 while something keeps the source from reading; /readyz says what.",
        problems,
    );
    pushed(text, health);
}

/// Sources that are pushed to.
fn pushed(text: &mut Text, health: &Snapshot) {
    let sources = health.sources.iter();
    let intakes: Vec<_> = sources
        .filter_map(|(name, source)| Some((name.as_str(), source.intake.as_ref()?)))
        .collect();
    let requests = intakes.iter().flat_map(|(name, intake)| {
        intake
            .requests
            .iter()
            .map(|(status, count)| (*name, status.to_string(), *count as f64))
    });
    let requests: Vec<_> = requests.collect();
    text.counter(
        "weir_push_requests_total",
        "Requests that pushed events, by the status of the answer.",
        requests.iter().map(|(name, status, count)| {
            let labels = vec![("source", *name), ("status", status.as_str())];
            (labels, *count)
        }),
    );
    text.counter(
        "weir_push_bytes_total",
        "Bytes of the bodies taken, as they were sent.",
        intakes
            .iter()
            .map(|(name, intake)| (vec![("source", *name)], intake.bytes as f64)),
    );
    text.gauge(
        "weir_push_spool_bytes",
        "Size of the spool on the disk.",
        intakes
            .iter()
            .map(|(name, intake)| (vec![("source", *name)], intake.spool_bytes as f64)),
    );
}

/// The earliest watermark of the partitions that are not idle; of all, when all are.
fn watermark(source: &SourceHealth) -> Option<i64> {
    let idle = |partition: &String| source.idle.get(partition).copied().unwrap_or(false);
    let active = source.watermarks.iter().filter(|(p, _)| !idle(p));
    let active = active.map(|(_, time)| *time).min();
    active.or_else(|| source.watermarks.values().copied().min())
}

fn time(text: &mut Text, health: &Snapshot, now: i64) {
    let ages = health.sources.iter().filter_map(|(name, source)| {
        let age = now - watermark(source)?;
        Some((vec![("source", name.as_str())], seconds(age)))
    });
    text.gauge(
        "weir_watermark_age_seconds",
        "Wall clock minus the source's watermark, over partitions that are not idle.",
        ages,
    );
    let engine = health.watermark.map(|time| (vec![], seconds(now - time)));
    text.gauge(
        "weir_engine_watermark_age_seconds",
        "Wall clock minus the engine's watermark.",
        engine,
    );
    let idle = health.sources.iter().flat_map(|(name, source)| {
        source.idle.iter().map(|(partition, idle)| {
            let labels = vec![("source", name.as_str()), ("partition", partition.as_str())];
            (labels, f64::from(u8::from(*idle)))
        })
    });
    text.gauge(
        "weir_partition_idle",
        "1 while a partition is left out of the watermark.",
        idle,
    );
}

fn rules(text: &mut Text, health: &Snapshot) {
    let counters: [(&str, &str, Read<RuleHealth>); 6] = [
        ("weir_rule_matches_total", "Matches of a rule.", |r| {
            r.matches as f64
        }),
        ("weir_rule_alerts_total", "Alerts of a rule.", |r| {
            r.alerts as f64
        }),
        (
            "weir_rule_errors_total",
            "Failed evaluations of a rule.",
            |r| r.errors as f64,
        ),
        (
            "weir_rule_rows_late_total",
            "Rows that came after their window had closed.",
            |r| r.rows_late as f64,
        ),
        (
            "weir_rule_rows_evaluated_total",
            "Rows that a rule was evaluated on.",
            |r| r.rows_evaluated as f64,
        ),
        (
            "weir_rule_cost_seconds_total",
            "Time spent on a rule.",
            |r| r.cost_ns as f64 / 1e9,
        ),
    ];
    for (name, help, read) in counters {
        let samples = health
            .rules
            .iter()
            .map(|(id, rule)| (vec![("rule_id", id.as_str())], read(rule)));
        text.counter(name, help, samples);
    }
    let state = health.rules.iter();
    text.gauge(
        "weir_rule_state_bytes",
        "Memory of a rule's windows.",
        state.map(|(id, rule)| (vec![("rule_id", id.as_str())], rule.state_bytes as f64)),
    );
}

fn outcome(text: &mut Text, health: &Snapshot) {
    text.counter(
        "weir_alerts_total",
        "Alerts so far.",
        one(health.alerts as f64),
    );
    text.counter(
        "weir_incidents_total",
        "Incidents so far.",
        one(health.incidents as f64),
    );
    text.counter(
        "weir_commits_total",
        "Commits to the store.",
        one(health.commits as f64),
    );
    text.counter(
        "weir_commit_seconds_total",
        "Time spent in commits.",
        one(health.commit_seconds_total),
    );
    text.gauge(
        "weir_commit_last_seconds",
        "Duration of the last commit.",
        one(health.commit_seconds_last),
    );
    text.gauge(
        "weir_last_commit_timestamp_seconds",
        "Wall clock of the last commit.",
        health.last_commit.map(|time| (vec![], seconds(time))),
    );
    let trips = health.guard_trips.iter();
    text.counter(
        "weir_correlation_guard_trips_total",
        "Times that a guard of correlation refused to join, by guard.",
        trips.map(|(guard, count)| (vec![("guard", guard.as_str())], *count as f64)),
    );
}

fn enrichment(text: &mut Text, health: &Snapshot) {
    let data = &health.enrichment;
    let entries = [
        ("indicators", data.indicators),
        ("exclusions", data.exclusions),
        ("assets", data.assets),
        ("pods", data.pods),
    ];
    text.gauge(
        "weir_enrichment_entries",
        "Entries of reference data in use, by kind.",
        entries.map(|(kind, count)| (vec![("kind", kind)], count as f64)),
    );
    let unused = data.unused.iter();
    text.gauge(
        "weir_enrichment_unused_entries",
        "Entries of lists that were read and are not used, by reason.",
        unused.map(|(reason, count)| (vec![("reason", reason.as_str())], *count as f64)),
    );
    let broken = data.broken.iter();
    text.gauge(
        "weir_enrichment_broken",
        "1 for reference data whose files could not be read last; what was known before is used.",
        broken.map(|part| (vec![("part", part.as_str())], 1.0)),
    );
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Text::default();
        let hostile = "a\"} 1\nweir_ready 0 \\";
        text.gauge(
            "weir_x",
            "X.",
            [(vec![("source", hostile), ("b", "ü")], 0.5)],
        );
        let expected = "# HELP weir_x X.\n# TYPE weir_x gauge\n\
            weir_x{source=\"a\\\"} 1\\nweir_ready 0 \\\\\",b=\"ü\"} 0.5\n";
        assert_eq!(text.out(), expected);
    }

    #[test]
    fn an_idle_partition_does_not_age_the_watermark() {
        let mut source = SourceHealth::default();
        assert_eq!(watermark(&source), None);
        source.watermarks = [("a".to_owned(), 5), ("b".to_owned(), 9)].into();
        assert_eq!(watermark(&source), Some(5));
        source.idle.insert("a".to_owned(), true);
        assert_eq!(watermark(&source), Some(9));
        source.idle.insert("b".to_owned(), true);
        assert_eq!(watermark(&source), Some(5));
    }

    #[test]
    fn memory_of_this_process_is_known_on_linux() {
        if cfg!(target_os = "linux") {
            assert!(resident_memory().unwrap() > 1 << 20);
        }
    }
}
