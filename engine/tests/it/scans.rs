//! What scans tell again and again, through the whole loop with its store and archive.

use std::collections::BTreeMap;

use weir_engine::batch::Partition;
use weir_engine::time::{MINUTE, SECOND};

use crate::events::{Event, Random};
use crate::pipeline::{outcome, run, run_with_crashes};

/// Scans of forty findings once a minute, spread over three partitions, with disorder and duplicates.
fn scans(seed: u64) -> Vec<(Partition, Vec<Event>)> {
    let mut random = Random(seed);
    let mut states = [0; 40];
    let mut parts: Vec<Vec<Event>> = vec![vec![]; 3];
    for scan in 0..30i64 {
        for (finding, state) in states.iter_mut().enumerate() {
            if random.below(12) == 0 {
                *state = 1 - *state;
            }
            let event = Event {
                time: scan * MINUTE + finding as i64 * SECOND,
                uid: format!("scan-{scan:02}-of-finding-{finding:02}"),
                actor: format!("finding-{finding}"),
                operation: format!("scan:{}", ["open", "resolved"][*state]),
                ip: "203.0.113.9".into(),
                failed: false,
            };
            let home = random.below(3) as usize;
            parts[home].push(event.clone());
            if random.below(10) == 0 {
                parts[(home + 1) % 3].push(event);
            }
        }
    }
    for part in parts.iter_mut().flat_map(|events| events.chunks_mut(12)) {
        random.shuffle(part);
    }
    let names = (0..3).map(|n| Partition::new("test", format!("topic/{n}")));
    names.zip(parts).collect()
}

/// Ids of the events that differ from the one before, by time.
fn changes(input: &[(Partition, Vec<Event>)]) -> Vec<String> {
    let mut findings: BTreeMap<&str, BTreeMap<i64, &Event>> = BTreeMap::new();
    for event in input.iter().flat_map(|(_, events)| events) {
        findings
            .entry(&event.actor)
            .or_default()
            .insert(event.time, event);
    }
    let mut changes = vec![];
    for events in findings.values() {
        let mut before = "";
        for event in events.values() {
            if event.operation != before {
                changes.push(event.uid.clone());
            }
            before = &event.operation;
        }
    }
    changes.sort();
    changes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_changes_become_events_whatever_dies() {
    let input = scans(7);
    let expected = changes(&input);
    assert!(
        (100..400).contains(&expected.len()),
        "{} changes",
        expected.len()
    );
    let dir = tempfile::tempdir().unwrap();
    let whole = run(dir.path(), &input, &mut Random(1), None).await.unwrap();
    let undisturbed = outcome(&whole, dir.path()).await;
    assert_eq!(
        undisturbed.2, expected,
        "the archive holds the changes, each once"
    );
    assert!(undisturbed.0.len() > 10, "{} alerts", undisturbed.0.len());
    let counts = whole.health.snapshot().sources["test"].counts;
    assert!(counts.conserved(), "{counts:?}");
    assert_eq!(counts.processed, expected.len() as u64);
    assert_eq!(counts.unchanged, 1200 - expected.len() as u64);
    assert_eq!((counts.waiting, counts.late), (0, 0));
    drop(whole);
    for seed in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let (done, crashes) = run_with_crashes(dir.path(), &input, seed + 100, 25).await;
        let got = outcome(&done, dir.path()).await;
        assert_eq!(got, undisturbed, "after {crashes} crashes, seed {seed}");
        assert!(done.health.snapshot().sources["test"].counts.conserved());
        let resumed = done.store.resume().await.unwrap();
        for state in &resumed.partitions {
            assert!(
                state.counts.conserved() && state.counts.waiting == 0,
                "{state:?}"
            );
        }
        let left = resumed
            .state
            .iter()
            .filter(|(owner, ..)| owner.starts_with("scans/waiting"));
        assert_eq!(left.count(), 0, "what went on is no longer stored");
    }
}
