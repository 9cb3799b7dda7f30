//! The proof: whatever the order, the batches, the partitions and the crashes, the streaming engine ends with
//! the alerts of a plain batch oracle that shares no code with it.

mod live;
mod oracle;
pub mod rules;
mod stream;
mod years;

use std::collections::BTreeMap;

use live::{Flow, Way, detected, piped};
use oracle::{Answers, answers, told};
use rules::{Case, Kind, cases};
use stream::{Event, MINUTE, arrivals, partitions, stream};
use weir_engine::Rule;
use weir_engine::alert::Alert;

use crate::events::{Random, rule};

const LATENESS: i64 = 3 * MINUTE;

struct Proof {
    seed: u64,
    events: Vec<Event>,
    cases: BTreeMap<String, Case>,
    rules: Vec<Rule>,
    expected: Answers,
}

impl Proof {
    async fn new(seed: u64, count: usize, span: i64) -> Self {
        Self::of(seed, stream(seed, count, span), cases()).await
    }

    async fn of(seed: u64, events: Vec<Event>, cases: Vec<Case>) -> Self {
        println!("seed {seed}");
        let expected = answers(&cases, &events).await;
        Self {
            seed,
            events,
            rules: cases.iter().map(|case| case.rule.clone()).collect(),
            cases: cases
                .into_iter()
                .map(|case| (case.rule.title.clone(), case))
                .collect(),
            expected,
        }
    }

    /// The engine's alerts are the oracle's, each once.
    fn check(&self, alerts: &[Alert], how: &str) {
        let mut got = Answers::new();
        let mut wrong: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for alert in alerts {
            let case = &self.cases[&alert.rule_title];
            let (id, told) = told(alert, case);
            if let Some(other) = got.insert(id.clone(), told) {
                let text = format!("two alerts for {id:?}, the other is {other:#?}");
                wrong.entry(&case.rule.title).or_default().push(text);
            }
        }
        for (id, told) in &self.expected {
            let text = match got.remove(id) {
                Some(same) if same == *told => continue,
                Some(other) => format!("{id:?}\n  oracle {told:?}\n  engine {other:?}"),
                None => format!("missing {id:?}\n  oracle {told:?}"),
            };
            wrong.entry(&id.0).or_default().push(text);
        }
        for (id, told) in &got {
            let text = format!("too much {id:?}\n  engine {told:?}");
            wrong
                .entry(&self.cases[&id.0].rule.title)
                .or_default()
                .push(text);
        }
        let lines: Vec<String> = wrong
            .iter()
            .map(|(rule, wrong)| {
                let shown = wrong[..wrong.len().min(3)].join("\n");
                format!("rule `{rule}`: {} alerts differ\n{shown}", wrong.len())
            })
            .collect();
        assert!(
            wrong.is_empty(),
            "seed {}, {how}: {} of {} rules differ from the oracle\n{}",
            self.seed,
            wrong.len(),
            self.cases.len(),
            lines.join("\n")
        );
    }
}

#[tokio::test]
async fn every_rule_is_put_to_the_test() {
    assert!(cases().len() >= 50);
    let mut alerts: BTreeMap<String, usize> = cases()
        .into_iter()
        .map(|case| (case.rule.title, 0))
        .collect();
    assert_eq!(alerts.len(), cases().len(), "titles are unique");
    let mut folded = 0;
    for seed in [11, 12] {
        for (id, told) in answers(&cases(), &stream(seed, 500, 75 * MINUTE)).await {
            *alerts.get_mut(&id.0).unwrap() += 1;
            folded += usize::from(told.matches > 1);
        }
    }
    println!("{alerts:#?}");
    let silent: Vec<_> = alerts.iter().filter(|(_, count)| **count == 0).collect();
    assert!(silent.is_empty(), "no alert of {silent:?}");
    assert!(folded > 100, "{folded} episodes of more than one match");
}

#[tokio::test]
async fn the_oracle_itself_agrees_with_one_query_per_window() {
    let events = stream(21, 60, 12 * MINUTE);
    for case in cases()
        .iter()
        .filter(|case| matches!(case.kind, Kind::Grouped(_)))
    {
        oracle::assert_window_by_window(case, &events).await;
    }
}

#[tokio::test]
async fn every_batch_size_gives_the_oracles_alerts() {
    let proof = Proof::new(31, 320, 45 * MINUTE).await;
    for (size, lateness, preview) in [
        (7, LATENESS, true),
        (7, 0, false),
        (1024, LATENESS, false),
        (8192, 20 * MINUTE, true),
        (0, LATENESS, true),
        (0, 20 * MINUTE, false),
    ] {
        let mut random = Random(size as u64 + 1);
        let events = arrivals(&proof.events, lateness, &mut random);
        let way = Way {
            size,
            lateness,
            preview,
            kills: 0,
            lazy: false,
        };
        let alerts = detected(&proof.rules, &events, way, &mut random).await;
        proof.check(&alerts, &format!("{way:?}"));
    }
}

#[tokio::test]
async fn row_by_row_gives_the_oracles_alerts() {
    let proof = Proof::new(41, 110, 20 * MINUTE).await;
    for preview in [false, true] {
        let mut random = Random(42);
        let events = arrivals(&proof.events, LATENESS, &mut random);
        let way = Way {
            size: 1,
            lateness: LATENESS,
            preview,
            kills: 0,
            lazy: false,
        };
        let alerts = detected(&proof.rules, &events, way, &mut random).await;
        proof.check(&alerts, &format!("{way:?}"));
    }
}

#[tokio::test]
async fn every_shuffle_within_the_lateness_gives_the_oracles_alerts() {
    let proof = Proof::new(51, 280, 40 * MINUTE).await;
    for shuffle in 0..6 {
        let mut random = Random(shuffle);
        let lateness = [1, MINUTE, 4 * MINUTE, 15 * MINUTE][shuffle as usize % 4];
        let events = arrivals(&proof.events, lateness, &mut random);
        let way = Way {
            size: 0,
            lateness,
            preview: shuffle % 2 == 0,
            kills: 0,
            lazy: false,
        };
        let alerts = detected(&proof.rules, &events, way, &mut random).await;
        proof.check(&alerts, &format!("shuffle {shuffle}, {way:?}"));
    }
}

#[tokio::test]
async fn kill_and_restore_at_any_point_gives_the_oracles_alerts() {
    let proof = Proof::new(61, 280, 40 * MINUTE).await;
    for round in 0..4 {
        let mut random = Random(round);
        let events = arrivals(&proof.events, LATENESS, &mut random);
        let way = Way {
            size: [0, 7][round as usize % 2],
            lateness: LATENESS,
            preview: round < 2,
            kills: 6,
            lazy: false,
        };
        let alerts = detected(&proof.rules, &events, way, &mut random).await;
        proof.check(&alerts, &format!("round {round}, {way:?}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_of_any_number_give_the_oracles_alerts() {
    let proof = Proof::new(71, 220, 30 * MINUTE).await;
    let ways = [1, 2, 3, 8].map(|count| [1, 7, 1024, 8192].map(|size| (count, size)));
    for (round, (count, size)) in ways.into_iter().flatten().enumerate() {
        let mut random = Random(round as u64);
        let parts = partitions(&proof.events, count, LATENESS, &mut random);
        let commit_rows = [1, 60, 100_000][round % 3];
        let flow = Flow {
            size,
            lateness: LATENESS,
            commit_rows,
            preview: round % 3 < 2,
            deaths: 0,
        };
        let alerts = piped(&proof.rules, &parts, flow, &mut random).await;
        proof.check(&alerts, &format!("{count} partitions, {flow:?}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_dies_again_and_again_gives_the_oracles_alerts() {
    let proof = Proof::new(81, 260, 40 * MINUTE).await;
    for round in 0..4 {
        let mut random = Random(round);
        let count = [3, 1, 8, 2][round as usize];
        let parts = partitions(&proof.events, count, LATENESS, &mut random);
        let flow = Flow {
            size: 7,
            lateness: LATENESS,
            commit_rows: 40,
            preview: round != 1,
            deaths: 5,
        };
        let alerts = piped(&proof.rules, &parts, flow, &mut random).await;
        proof.check(
            &alerts,
            &format!("round {round}, {count} partitions, {flow:?}"),
        );
    }
}

#[tokio::test]
async fn rows_later_than_the_lateness_give_the_oracles_alerts() {
    let proof = Proof::new(91, 300, 60 * MINUTE).await;
    for round in 0..4 {
        let mut random = Random(round);
        // One in ten comes up to eight minutes later than it may.
        let (late, on_time): (Vec<Event>, Vec<Event>) = proof
            .events
            .iter()
            .cloned()
            .partition(|_| random.below(10) == 0);
        let mut events: Vec<(i64, Event)> = on_time.into_iter().map(|e| (e.at, e)).collect();
        events.extend(
            late.into_iter()
                .map(|e| (e.at + random.below(8 * MINUTE as u64) as i64, e)),
        );
        events.sort_by_key(|(arrival, _)| *arrival);
        let events: Vec<Event> = events.into_iter().map(|(_, event)| event).collect();
        let kills = if round < 2 { 0 } else { 4 };
        let way = Way {
            size: 0,
            lateness: MINUTE,
            preview: round % 2 == 0,
            kills,
            lazy: false,
        };
        let (alerts, late) = live::late(&proof.rules, &events, way, &mut random).await;
        // A detector that was killed forgets what it counted.
        assert!(late > 0 || kills > 0);
        proof.check(&alerts, &format!("late rows, round {round}, {way:?}"));
    }
}

#[tokio::test]
async fn an_alert_that_comes_back_counts_its_revisions_on() {
    let query = "SELECT family, count(*) AS n FROM events GROUP BY family HAVING count(*) <> 2";
    let rules = [rule("not two", query, Some((MINUTE, MINUTE)), None)];
    let events = ["a", "b", "c"].map(|uid| Event {
        uid: uid.into(),
        family: "cloud_audit",
        ..Event::default()
    });
    let way = Way {
        size: 1,
        lateness: 0,
        preview: true,
        kills: 0,
        lazy: false,
    };
    let alerts = detected(&rules, &events, way, &mut Random(1)).await;
    // Told with one event, retracted with two, told with three, final.
    let revisions: Vec<u32> = alerts.iter().map(|alert| alert.revision).collect();
    assert_eq!(revisions, [4]);
}

#[tokio::test]
async fn evidence_of_several_groups_in_one_alert_is_counted_whole() {
    let query = "SELECT actor_user_uid AS who, api_operation, count(*) AS n FROM events GROUP BY actor_user_uid, api_operation";
    let rules = [rule(
        "both",
        query,
        Some((MINUTE, MINUTE)),
        Some((&["who"], MINUTE)),
    )];
    let events = ["GetObject", "CreateUser", "CreateUser"].map(|operation| Event {
        family: "cloud_audit",
        actor: Some("ann".into()),
        operation: Some(operation),
        ..Event::default()
    });
    let way = Way {
        size: 3,
        lateness: 0,
        preview: false,
        kills: 0,
        lazy: false,
    };
    let alerts = detected(&rules, &events, way, &mut Random(1)).await;
    let [alert] = alerts.as_slice() else {
        panic!("{alerts:#?}")
    };
    assert_eq!((alert.matches, alert.evidence_count), (2, 3));
    assert_eq!(
        alert.row["api_operation"], "CreateUser",
        "of equal starts the smaller row is first"
    );
}
