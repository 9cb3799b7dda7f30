use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::alert::Entity;

/// What the store has, by part and number.
type Stored = BTreeMap<(String, i64), Vec<u8>>;

fn commit(timelines: &mut Timelines, stored: &mut Stored, clock: i64) {
    let mut writes = vec![];
    timelines.take_state("rule", clock, &mut writes).unwrap();
    for write in writes {
        match write.value {
            Some(value) => stored.insert((write.owner, write.key), value),
            None => stored.remove(&(write.owner, write.key)),
        };
    }
}

fn restored(stored: &Stored) -> Timelines {
    let mut timelines = Timelines::default();
    for ((owner, number), value) in stored {
        match owner.as_str() {
            "rule/match-log" => timelines.restore_piece(*number, value).unwrap(),
            "rule/matches" => timelines.restore_single(*number, value).unwrap(),
            "rule/heads" => timelines.restore_head(value).unwrap(),
            other => panic!("unknown part {other}"),
        }
    }
    timelines
}

type Content = BTreeMap<(String, Place), (Key, Match)>;

/// Windows that are not over are answered anew after a restart, so their matches need not be stored.
fn content(timelines: &Timelines, clock: i64) -> Content {
    let mut all = BTreeMap::new();
    for (home, timeline) in &timelines.by_key {
        for (place, held) in &timeline.matches {
            if held.found.window.is_none() || held.found.due <= clock {
                let what = (timeline.key.clone(), held.found.clone());
                all.insert((home.clone(), place.clone()), what);
            }
        }
    }
    all
}

fn key(number: u8) -> Key {
    vec![
        ("a".into(), number.to_string()),
        ("b".into(), "x\n\u{1f}".into()),
    ]
}

fn found(start: i64, window: bool, text: &str) -> Match {
    Match {
        start,
        due: start + if window { 10 } else { 0 },
        window: window.then_some((start, start + 10)),
        row: serde_json::json!({"text": text, "line": "\n+"})
            .to_string()
            .into(),
        entities: vec![Entity {
            kind: "user".into(),
            value: text.into(),
        }]
        .into(),
        group: String::new(),
        evidence: vec![(start, 1, start, start, vec![])],
        level: None,
        reasons: vec![],
    }
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u8, i64, u8, bool, u8),
    Remove(u8, i64, u8),
    Commit(i64),
    Restart(i64),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0..4u8, 0..20i64, 0..2u8);
    prop_oneof![
        8 => (place(), any::<bool>(), 0..3u8).prop_map(|((k, s, i), w, t)| Step::Insert(k, s, i, w, t)),
        4 => place().prop_map(|(k, s, i)| Step::Remove(k, s, i)),
        3 => (0..30i64).prop_map(Step::Commit),
        1 => (0..30i64).prop_map(Step::Restart),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #[test]
    fn what_is_stored_is_what_is_held(steps in prop::collection::vec(step(), 1..120)) {
        let (mut timelines, mut stored) = (Timelines::default(), Stored::new());
        for step in steps {
            match step {
                Step::Insert(k, start, id, window, text) => {
                    let id = format!("{id}\n");
                    let one = found(start, window, &text.to_string());
                    timelines.insert(&home_of(&key(k)), key(k), id, one);
                }
                Step::Remove(k, start, id) => {
                    timelines.remove(&home_of(&key(k)), &(start, format!("{id}\n")));
                }
                Step::Clear => timelines.clear(),
                Step::Commit(clock) => {
                    commit(&mut timelines, &mut stored, clock);
                    let stored = content(&restored(&stored), i64::MAX);
                    let held = content(&timelines, i64::MAX);
                    // What was written under a later clock and still stands is there too.
                    for (at, what) in &stored {
                        prop_assert_eq!(held.get(at), Some(what));
                    }
                    for (at, what) in content(&timelines, clock) {
                        prop_assert_eq!(stored.get(&at), Some(&what));
                    }
                }
                Step::Restart(clock) => {
                    commit(&mut timelines, &mut stored, clock);
                    timelines = restored(&stored);
                }
            }
            let bytes: usize = timelines.by_key.values()
                .flat_map(|t| t.matches.values()).map(|held| held.found.bytes()).sum();
            prop_assert_eq!(timelines.bytes, bytes);
        }
    }
}

#[test]
fn the_log_is_written_anew_when_most_of_it_has_ended() {
    let (mut timelines, mut stored) = (Timelines::default(), Stored::new());
    let long = "long ".repeat(400);
    let insert = |timelines: &mut Timelines, start: i64| {
        let one = found(start, false, &long);
        timelines.insert(&home_of(&key(1)), key(1), "id".into(), one);
    };
    (0..5000).for_each(|start| insert(&mut timelines, start));
    commit(&mut timelines, &mut stored, 0);
    let written: usize = stored.values().map(Vec::len).sum();
    assert!(stored.len() > 5, "{} pieces", stored.len());
    // It goes on for long with as many, and takes no more than some times their room.
    for start in 5000..40_000 {
        insert(&mut timelines, start);
        timelines.remove(&home_of(&key(1)), &(start - 5000, "id".into()));
        if start % 500 == 0 {
            commit(&mut timelines, &mut stored, 0);
            let now: usize = stored.values().map(Vec::len).sum();
            assert!(now < written * 5 / 2, "{now} bytes, {written} at first");
            assert_eq!(content(&restored(&stored), 0), content(&timelines, 0));
        }
    }
    for start in 30_000..40_000 {
        timelines.remove(&home_of(&key(1)), &(start, "id".into()));
    }
    commit(&mut timelines, &mut stored, 0);
    assert_eq!(
        stored
            .keys()
            .filter(|(owner, _)| owner == "rule/match-log")
            .count(),
        0
    );
}

#[test]
fn matches_stored_one_by_one_are_taken_over_into_the_log() {
    let old = serde_json::json!([
        "alice",
        "id",
        {
            "key": [["user", "alice"]], "start": 5, "due": 5, "window": null,
            "row": {"user": "alice", "count": 3}, "entities": [{"kind": "user", "value": "alice"}],
            "group": "", "evidence": [[5, 1, 5, 5, [{"time": 5, "event_uid": "e"}]]],
            "level": null, "reasons": []
        }
    ]);
    let part = |name: &str, number| (format!("rule/{name}"), number);
    let mut stored = Stored::from([(part("matches", 77), old.to_string().into_bytes())]);
    let mut timelines = restored(&stored);
    commit(&mut timelines, &mut stored, 10);
    let log: Vec<_> = stored.keys().cloned().collect();
    assert_eq!(log, [part("match-log", 0)]);
    let again = restored(&stored);
    let (key, one) = &content(&again, 10)[&("alice".to_owned(), (5, "id".to_owned()))];
    assert_eq!(key, &[("user".to_owned(), "alice".to_owned())]);
    assert_eq!(&*one.row, r#"{"user":"alice","count":3}"#);
    assert_eq!(one.evidence[0].4[0].event_uid, "e");
}
