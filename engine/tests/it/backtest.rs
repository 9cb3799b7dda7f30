//! Rules over the archive: spans that follow each other report each alert once, and whole.

use weir_engine::Alert;
use weir_engine::Tables;
use weir_engine::archive::{Archive, ArchiveConfig, ArchiveWriter};
use weir_engine::backtest::{Backtest, Diff, Reading, Span, episode_start, run};
use weir_engine::batch::Partition;
use weir_engine::rule::Rule;
use weir_engine::time::{HOUR, MINUTE};

use crate::events::{Event, Random, batch, rule};

/// 2026-11-09T12:00:00Z
const NOON: i64 = 1_794_225_600_000_000;
const OPEN: Span = Span {
    from: i64::MIN,
    to: i64::MAX,
};

fn rules() -> Vec<Rule> {
    vec![
        rule(
            "writes",
            "SELECT * FROM cloud_audit WHERE api_operation = 'PutBucketPolicy'",
            None,
            Some((&["actor_user_uid"], 5 * MINUTE)),
        ),
        rule(
            "refusals",
            "SELECT actor_user_uid, count(*) AS n FROM cloud_audit WHERE status = 'failure' AND api_operation = 'GetObject' GROUP BY actor_user_uid HAVING count(*) >= 3",
            Some((10 * MINUTE, MINUTE)),
            Some((&["actor_user_uid"], 20 * MINUTE)),
        ),
        rule(
            "each delete",
            "SELECT * FROM cloud_audit WHERE api_operation = 'DeleteBucket'",
            None,
            None,
        ),
    ]
}

/// Events in the first twelve minutes of six hours, in no order at all, from two partitions. The pauses are longer
/// than any rule reaches, so that no suppression chains through them.
async fn store(folder: &std::path::Path) -> usize {
    let mut random = Random(11);
    let mut events = vec![];
    for n in 0..1_500 {
        let time = NOON + random.below(6 * HOUR as u64) as i64;
        let minute = (time - NOON) / MINUTE;
        let operation = ["GetObject", "GetObject", "PutBucketPolicy", "DeleteBucket"];
        if minute % 60 < 12 {
            events.push(Event {
                time,
                uid: format!("e{n}"),
                actor: format!("user/{}", random.below(6)),
                operation: operation[random.below(4) as usize].into(),
                ip: "198.51.100.7".into(),
                failed: random.below(2) == 0,
            });
        }
    }
    random.shuffle(&mut events);
    let config = ArchiveConfig {
        sync: false,
        ..ArchiveConfig::default()
    };
    let mut writer = ArchiveWriter::open(folder, config).unwrap();
    let (left, right) = events.split_at(events.len() / 3);
    for (name, part) in [("a", left), ("b", right)] {
        let (partition, end) = (Partition::new("test", name), part.len() as i64);
        let rows = batch(part);
        writer.push(&partition, 0, end, &rows).await.unwrap();
    }
    writer.flush().await.unwrap();
    events.len()
}

async fn alerts(archive: &Archive, span: Span) -> (Vec<Alert>, Reading) {
    let set = Backtest::new(rules(), vec![], &Tables::default(), span, 10_000)
        .await
        .unwrap();
    let mut sets = [set];
    let reading = run(archive, &mut sets, |_| {}).await.unwrap();
    let [set] = sets;
    let bare = set.finish().alerts.into_iter().map(|alert| Alert {
        revision: 0,
        watermark: None,
        ..alert
    });
    (bare.collect(), reading)
}

#[tokio::test]
async fn spans_add_up() {
    let dir = tempfile::tempdir().unwrap();
    let stored = store(dir.path()).await;
    let archive = Archive::open(dir.path()).unwrap();
    let (whole, reading) = alerts(&archive, OPEN).await;
    assert_eq!(reading.events, stored as u64);
    assert_eq!(reading.in_span, reading.events);
    assert!(whole.len() > 50, "{}", whole.len());
    let (first, last) = archive.span().await.unwrap().unwrap();
    let (mut together, mut read) = (vec![], 0);
    for cut in [37 * MINUTE, HOUR, 95 * MINUTE] {
        together.clear();
        let mut from = first - HOUR;
        while from <= last {
            let span = Span {
                from,
                to: from + cut,
            };
            let (part, reading) = alerts(&archive, span).await;
            let inside = |alert: &Alert| (span.from..span.to).contains(&episode_start(alert));
            assert!(part.iter().all(inside));
            together.extend(part);
            read += reading.in_span;
            from = span.to;
        }
        together.sort_by(|a, b| (a.first_time, &a.alert_id).cmp(&(b.first_time, &b.alert_id)));
        assert_eq!(together, whole, "{cut}");
    }
    assert_eq!(read, 3 * stored as u64);
}

#[tokio::test]
async fn alerts_beyond_the_limit_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path()).await;
    let archive = Archive::open(dir.path()).unwrap();
    let (whole, _) = alerts(&archive, OPEN).await;
    let mut sets = [Backtest::new(rules(), vec![], &Tables::default(), OPEN, 2)
        .await
        .unwrap()];
    run(&archive, &mut sets, |_| {}).await.unwrap();
    let [set] = sets;
    let report = set.finish();
    assert_eq!(report.alerts.len(), 6);
    let counted: u64 = report.rules.iter().map(|rule| rule.alerts).sum();
    let left_out: u64 = report.rules.iter().map(|rule| rule.left_out).sum();
    assert_eq!(counted, whole.len() as u64);
    assert_eq!(left_out, whole.len() as u64 - 6);
    let share: f64 = report.rules.iter().map(|rule| rule.share).sum();
    assert!((share - 1.0).abs() < 1e-6);
    assert!(report.rules.is_sorted_by(|a, b| a.seconds >= b.seconds));
}

#[tokio::test]
async fn a_comparison_says_what_differs() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path()).await;
    let archive = Archive::open(dir.path()).unwrap();
    let (old, _) = alerts(&archive, OPEN).await;
    let mut new = old.clone();
    for alert in &mut new {
        alert.alert_id = format!("other {}", alert.alert_id);
        alert.rule_version = "other".into();
    }
    let diff = Diff::new(old.clone(), new.clone());
    assert!(diff.is_empty());
    assert_eq!(diff.same, old.len() as u64);
    new[3].evidence_count += 1;
    new[3].row.insert("more".into(), 1.into());
    let gone = new.remove(7);
    let diff = Diff::new(old, new);
    assert_eq!(diff.changed[0].fields, ["row.more", "evidence_count"]);
    assert_eq!(diff.removed[0].key, gone.key);
    assert_eq!((diff.changed.len(), diff.added.len()), (1, 0));
}

#[tokio::test]
async fn an_empty_archive_has_no_span() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open(dir.path().join("none")).unwrap();
    assert_eq!(archive.span().await.unwrap(), None);
    let (none, reading) = alerts(&archive, OPEN).await;
    assert_eq!((none.len(), reading.events), (0, 0));
}
