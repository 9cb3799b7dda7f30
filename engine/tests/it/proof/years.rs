//! First-seen rules over years: learning, pauses longer than the history, clocks of 1970 and clocks ahead, under
//! every timing of commits; live, from the archive and as a test of the rule.

use weir_engine::alert::Alert;
use weir_engine::archive::{Archive, ArchiveConfig, ArchiveWriter};
use weir_engine::backtest::{self, Backtest, Span};
use weir_engine::batch::Partition;
use weir_engine::detect::run_all;
use weir_engine::{Rule, Tables};

use super::live::{Flow, Way, detected, piped};
use super::rules::over_years;
use super::stream::{DAY, Event, arrivals, batch, partitions, years};
use super::{LATENESS, Proof};
use crate::events::Random;

#[tokio::test]
async fn every_timing_of_commits_gives_the_oracles_alerts() {
    for seed in 0..12 {
        let proof = Proof::of(seed, years(seed), over_years()).await;
        let alerts = proof.expected.len();
        assert!(alerts > 5, "{alerts} alerts of {}", proof.events.len());
        for round in 0..12 {
            let mut random = Random(round);
            let events = arrivals(&proof.events, LATENESS, &mut random);
            let way = Way {
                size: [1, 0, 7, 1_024][round as usize % 4],
                lateness: LATENESS,
                preview: round % 3 == 0,
                kills: [0, 6][round as usize / 6],
                lazy: round % 2 == 0,
            };
            let alerts = detected(&proof.rules, &events, way, &mut random).await;
            proof.check(&alerts, &format!("round {round}, {way:?}"));
        }
    }
}

#[tokio::test]
async fn tests_of_rules_and_backtests_agree() {
    for seed in 20..24 {
        let mut proof = Proof::of(seed, years(seed), over_years()).await;
        proof.check(&backtested(&proof.rules, &proof.events).await, "backtest");
        let mut random = Random(seed);
        random.shuffle(&mut proof.events);
        let batches: Vec<_> = proof.events.chunks(9).map(batch).collect();
        let alerts = run_all(&proof.rules, &batches).await.unwrap();
        proof.check(&alerts, "test of the rule");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelines_agree() {
    for seed in 30..34 {
        let proof = Proof::of(seed, years(seed), over_years()).await;
        for (round, count) in [1, 3, 2].into_iter().enumerate() {
            let mut random = Random(round as u64);
            let parts = partitions(&proof.events, count, LATENESS, &mut random);
            let flow = Flow {
                size: [1, 7, 100][round],
                lateness: LATENESS,
                commit_rows: [1, 30, 100_000][round],
                preview: round == 0,
                deaths: [0, 4, 0][round],
            };
            let alerts = piped(&proof.rules, &parts, flow, &mut random).await;
            proof.check(&alerts, &format!("{count} partitions, {flow:?}"));
        }
    }
}

/// What `weir backtest` says of all that is stored.
async fn backtested(rules: &[Rule], events: &[Event]) -> Vec<Alert> {
    let spans = [Span {
        from: i64::MIN,
        to: i64::MAX,
    }];
    backtested_in(&spans, rules, events).await
}

async fn backtested_in(spans: &[Span], rules: &[Rule], events: &[Event]) -> Vec<Alert> {
    let dir = tempfile::tempdir().unwrap();
    let config = ArchiveConfig {
        sync: false,
        ..ArchiveConfig::default()
    };
    let mut writer = ArchiveWriter::open(dir.path(), config).unwrap();
    let partition = Partition::new("test", "a");
    let end = events.len() as i64;
    let rows = batch(events);
    writer.push(&partition, 0, end, &rows).await.unwrap();
    writer.flush().await.unwrap();
    let archive = Archive::open(dir.path()).unwrap();
    let mut alerts = vec![];
    for span in spans {
        let tables = Tables::default();
        let set = Backtest::new(rules.to_vec(), vec![], &tables, *span, 10_000);
        let mut sets = [set.await.unwrap()];
        backtest::run(&archive, &mut sets, |_| {}).await.unwrap();
        let [set] = sets;
        alerts.extend(set.finish().alerts);
    }
    alerts
}

#[tokio::test]
async fn spans_that_follow_each_other_add_up() {
    for seed in 40..44 {
        let mut cases = over_years();
        // Its episodes can follow each other without a pause.
        cases.retain(|case| case.rule.suppress.is_none());
        let proof = Proof::of(seed, years(seed), cases).await;
        let times = || proof.events.iter().map(|event| event.time);
        // All that is said of 1970 is in one span.
        let first = times().filter(|time| *time > DAY).min().unwrap();
        let (mut from, last) = (first, times().max().unwrap());
        let mut random = Random(seed);
        let mut spans = vec![Span {
            from: i64::MIN,
            to: first,
        }];
        while from <= last {
            let to = from + 1 + random.below(300 * DAY as u64) as i64;
            spans.push(Span { from, to });
            from = to;
        }
        let alerts = backtested_in(&spans, &proof.rules, &proof.events).await;
        proof.check(&alerts, "spans of a backtest");
    }
}

#[tokio::test]
async fn two_events_far_apart_are_no_news() {
    let event = |time: i64, uid: &str| Event {
        time,
        at: time,
        uid: uid.into(),
        family: "cloud_audit",
        actor: Some("ann".into()),
        region: Some("us-east-1"),
        ..Event::default()
    };
    let events = [event(0, "first"), event(424 * DAY, "second")];
    let rules: Vec<Rule> = over_years().into_iter().map(|case| case.rule).collect();
    let rules = &rules[..3];
    for seed in 0..40 {
        let mut random = Random(seed);
        let way = Way {
            size: 1 + seed as usize % 2,
            lateness: LATENESS,
            preview: seed % 3 == 0,
            kills: 0,
            lazy: seed % 5 > 0,
        };
        let alerts = detected(rules, &events, way, &mut random).await;
        assert!(alerts.is_empty(), "{way:?}: {alerts:#?}");
    }
    assert!(backtested(rules, &events).await.is_empty());
    assert!(run_all(rules, &[batch(&events)]).await.unwrap().is_empty());
}
