//! One example of each kind of rule that remembers, and what late rows, memory limits and restarts do.

use std::collections::BTreeMap;

use weir_engine::Tables;
use weir_engine::alert::{Alert, AlertState};
use weir_engine::detect::{Detector, Limits, run_all};
use weir_engine::rule::{Absence, NewTerms, Pair, Rule, RuleKind};
use weir_engine::time::{HOUR, MINUTE, SECOND};

use crate::events::{Event, batch, rule};

/// An event at a time in seconds.
fn event(seconds: i64, actor: &str, operation: &str) -> Event {
    Event {
        time: seconds * SECOND,
        uid: format!("{seconds:06}-{actor}-{operation}"),
        actor: actor.into(),
        operation: operation.into(),
        ip: "203.0.113.1".into(),
        failed: false,
    }
}

/// (key's last value, first event time in seconds) of the alerts.
fn told(alerts: &[Alert]) -> Vec<(String, i64)> {
    let one = |a: &Alert| (a.key.last().unwrap().1.clone(), a.first_time / SECOND);
    let mut told: Vec<_> = alerts.iter().map(one).collect();
    told.sort();
    told
}

async fn closed(rule: Rule, events: &[Event]) -> Vec<(String, i64)> {
    told(&run_all(&[rule], &[batch(events)]).await.unwrap())
}

#[tokio::test]
async fn a_term_is_new_once_in_its_history_and_not_while_the_rule_learns() {
    let mut new = rule(
        "new operation",
        "SELECT actor_user_uid, api_operation FROM cloud_audit",
        None,
        None,
    );
    new.kind = RuleKind::NewTerms(NewTerms {
        fields: vec!["actor_user_uid".into(), "api_operation".into()],
        history: 1_000 * SECOND,
        warmup: 100 * SECOND,
    });
    let events = [
        event(0, "ann", "Get"),
        event(150, "ann", "Get"),
        event(160, "ann", "Put"),
        event(170, "bob", "Put"),
        event(900, "ann", "Put"),
        event(1000, "bob", "Put"),
        event(1901, "ann", "Put"),
        // Clocks that were never set: they teach nothing, and the rule learns on its own after them.
        event(-5_000_000, "ann", "Get"),
        event(-4_999_950, "cid", "Get"),
    ];
    let expected = [
        ("Put".into(), 160),
        ("Put".into(), 170),
        ("Put".into(), 1901),
    ];
    assert_eq!(closed(new.clone(), &events).await, expected);
    let mut backwards = events;
    backwards.reverse();
    assert_eq!(closed(new, &backwards).await, expected);
}

#[tokio::test]
async fn a_key_that_stops_reporting_is_told_once_time_has_passed() {
    let mut silent = rule(
        "silent",
        "SELECT actor_user_uid FROM cloud_audit",
        None,
        None,
    );
    silent.kind = RuleKind::Absence(Absence {
        by: vec!["actor_user_uid".into()],
        within: 100 * SECOND,
        pair: None,
    });
    let events = [
        event(0, "ann", "Get"),
        event(90, "ann", "Get"),
        event(150, "bob", "Get"),
        event(200, "ann", "Get"),
        event(310, "cid", "Get"),
    ];
    // Time ends at 310: of cid's silence nothing is known yet.
    let expected = [("ann".into(), 90), ("ann".into(), 200), ("bob".into(), 150)];
    assert_eq!(closed(silent, &events).await, expected);
}

#[tokio::test]
async fn a_call_without_an_answer_is_told() {
    let query = "SELECT actor_user_uid, api_operation = 'Start' AS started, api_operation = 'Stop' AS stopped FROM cloud_audit WHERE api_operation IN ('Start', 'Stop')";
    let mut unanswered = rule("unanswered", query, None, None);
    unanswered.kind = RuleKind::Absence(Absence {
        by: vec!["actor_user_uid".into()],
        within: 60 * SECOND,
        pair: Some(Pair {
            after: "started".into(),
            of: "stopped".into(),
        }),
    });
    let events = [
        event(0, "ann", "Start"),
        event(60, "ann", "Stop"),
        event(100, "ann", "Start"),
        event(161, "ann", "Stop"),
        event(400, "bob", "Start"),
        event(430, "eve", "Get"),
    ];
    assert_eq!(closed(unanswered, &events).await, [("ann".into(), 100)]);
}

#[tokio::test]
async fn any_query_runs_whole_over_each_window() {
    let travel = "SELECT actor_user_uid, src_endpoint_ip FROM (SELECT *, lag(src_endpoint_ip) OVER (PARTITION BY actor_user_uid ORDER BY time, event_uid) AS before FROM cloud_audit) WHERE before <> src_endpoint_ip";
    let moved = rule(
        "moved",
        travel,
        Some((10 * MINUTE, 10 * MINUTE)),
        Some((&["actor_user_uid"], HOUR)),
    );
    let mut events = vec![
        event(0, "ann", "Get"),
        event(30, "ann", "Get"),
        event(40, "bob", "Get"),
    ];
    events[1].ip = "198.51.100.7".into();
    assert_eq!(closed(moved.clone(), &events).await, [("ann".into(), 0)]);
    let joined = rule(
        "joined",
        "SELECT a.actor_user_uid, count(*) AS n FROM cloud_audit a JOIN cloud_audit b ON a.actor_user_uid = b.actor_user_uid WHERE a.api_operation = 'Put' AND b.api_operation = 'Get' GROUP BY a.actor_user_uid",
        Some((10 * MINUTE, 10 * MINUTE)),
        Some((&["actor_user_uid"], HOUR)),
    );
    events.push(event(50, "bob", "Put"));
    events.push(event(599, "ann", "Put"));
    events.push(event(601, "cid", "Put"));
    events.push(event(1201, "cid", "Get"));
    let expected = [("ann".into(), 0), ("bob".into(), 40)];
    assert_eq!(closed(joined, &events).await, expected);
    // Without a key nobody could say what one alert is about.
    let keyless = rule("keyless", travel, Some((MINUTE, MINUTE)), None);
    let error = run_all(&[keyless], &[]).await.unwrap_err().to_string();
    assert!(error.contains("suppress"), "{error}");
    let crossed = rule(
        "crossed",
        "SELECT a.actor_user_uid FROM cloud_audit a, cloud_audit b WHERE a.time < b.time",
        Some((MINUTE, MINUTE)),
        Some((&["actor_user_uid"], HOUR)),
    );
    let error = run_all(&[crossed], &[]).await.unwrap_err().to_string();
    assert!(error.contains("no equality"), "{error}");
}

#[tokio::test]
async fn rules_read_the_alerts_of_other_rules() {
    let mut block = rule(
        "block",
        "SELECT actor_user_uid FROM cloud_audit WHERE api_operation = 'Get'",
        None,
        None,
    );
    block.building_block = true;
    block.entities = vec![("user".into(), "actor_user_uid".into())];
    let mut other = rule(
        "other",
        "SELECT actor_user_uid, count(*) AS n FROM cloud_audit WHERE api_operation = 'Put' GROUP BY actor_user_uid HAVING count(*) >= 2",
        Some((MINUTE, MINUTE)),
        None,
    );
    other.entities = block.entities.clone();
    let both = rule(
        "both",
        "SELECT \"user\", count(DISTINCT rule_title) AS rules FROM alerts GROUP BY \"user\" HAVING count(DISTINCT rule_title) >= 2",
        Some((HOUR, HOUR)),
        None,
    );
    let events = [
        event(1, "ann", "Get"),
        event(2, "ann", "Put"),
        event(3, "ann", "Put"),
        event(4, "bob", "Get"),
        event(5, "bob", "Get"),
    ];
    let alerts = run_all(&[block, other, both], &[batch(&events)])
        .await
        .unwrap();
    let titles: Vec<_> = alerts.iter().map(|a| a.rule_title.as_str()).collect();
    assert_eq!(titles, ["both", "other"], "a building block tells nobody");
    assert_eq!(alerts[0].key, [("user".to_owned(), "ann".to_owned())]);
}

fn counting() -> Rule {
    rule(
        "counting",
        "SELECT actor_user_uid, count(*) AS n FROM cloud_audit GROUP BY actor_user_uid HAVING count(*) BETWEEN 3 AND 4",
        Some((MINUTE, MINUTE)),
        None,
    )
}

type Stored = BTreeMap<(String, i64), Vec<u8>>;

/// A detector made of what is stored and what this one has to write.
async fn restarted(
    mut detector: Detector,
    stored: &mut Stored,
    limits: Limits,
    watermark: i64,
) -> Detector {
    for write in detector.take_state().await.unwrap() {
        let place = (write.owner, write.key);
        match write.value {
            Some(value) => stored.insert(place, value),
            None => stored.remove(&place),
        };
    }
    let rules: Vec<_> = detector.rules().map(|r| r.rule.clone()).collect();
    let made = Detector::open(rules, vec![], limits, &Tables::default()).await;
    let mut detector = made.unwrap().0;
    let state: Vec<_> = stored
        .iter()
        .map(|((owner, key), value)| (owner.clone(), *key, value.clone()))
        .collect();
    let failed = detector.restore(&state, Some(watermark)).unwrap();
    assert!(failed.is_empty());
    assert!(detector.changes(false, None).await.is_empty());
    detector
}

#[tokio::test]
async fn rules_over_alerts_forget_those_that_late_rows_take_back() {
    let mut counting = counting();
    counting.entities = vec![("user".into(), "actor_user_uid".into())];
    let window = rule(
        "window",
        "SELECT \"user\", count(*) AS n FROM alerts GROUP BY \"user\" HAVING count(*) >= 2",
        Some((HOUR, HOUR)),
        None,
    );
    let each = rule("each", "SELECT \"user\" FROM alerts", None, None);
    let made = Detector::new(vec![counting, window, each], vec![]).await;
    let mut detector = made.unwrap().0;
    let minutes = [0, 60].map(|from| (from..from + 3).map(|s| event(s, "ann", "Get")));
    let events: Vec<_> = minutes.into_iter().flatten().collect();
    detector.push(&batch(&events)).await;
    detector.advance(HOUR).await;
    let states = |alerts: &[Alert]| {
        let one = |a: &Alert| (a.rule_title.clone(), a.state, a.revision);
        let mut states: Vec<_> = alerts.iter().map(one).collect();
        states.sort_by_key(|(title, ..)| title.clone());
        states
    };
    let told = |title: &str, state, revision| (title.to_owned(), state, revision);
    let (last, gone) = (AlertState::Final, AlertState::Retracted);
    let first = states(&detector.changes(false, None).await);
    let expected = [
        told("counting", last, 1),
        told("counting", last, 1),
        told("each", last, 1),
        told("each", last, 1),
        told("window", last, 1),
    ];
    assert_eq!(first, expected);
    // A killed detector knows which alerts its rules have seen.
    let (mut stored, limits) = (Stored::new(), Limits::default());
    let mut detector = restarted(detector, &mut stored, limits, HOUR).await;
    // Five in the second minute are no match.
    let late = [63, 64].map(|s| event(s, "ann", "Put"));
    detector.push(&batch(&late)).await;
    let taken_back = states(&detector.changes(false, None).await);
    let expected = ["counting", "each", "window"].map(|title| told(title, gone, 2));
    assert_eq!(taken_back, expected);
}

#[tokio::test]
async fn alerts_beyond_the_memory_of_rules_over_them_are_not_counted_twice() {
    let limits = Limits {
        amend: 10 * HOUR,
        rule_bytes: 1 << 20,
        ..Limits::default()
    };
    let mut counting = counting();
    counting.entities = vec![("user".into(), "actor_user_uid".into())];
    let twice = rule(
        "twice",
        "SELECT \"user\", count(*) AS n FROM alerts WHERE rule_title = 'counting' GROUP BY \"user\" HAVING count(*) >= 2",
        Some((HOUR, HOUR)),
        None,
    );
    // No rule is over the limit by itself, the alerts of all are.
    let filling = (0..8).map(|n| {
        let sql =
            "SELECT actor_user_uid, api_operation FROM cloud_audit WHERE api_operation = 'Fill'";
        rule(&format!("filling {n}"), sql, None, None)
    });
    let rules: Vec<_> = filling.chain([counting, twice]).collect();
    let made = Detector::open(rules, vec![], limits.clone(), &Tables::default()).await;
    let mut detector = made.unwrap().0;
    let mut events: Vec<_> = (0..3).map(|s| event(s, "ann", "Get")).collect();
    events.extend([0, 1, 2, 60, 61, 62].map(|s| event(s, "eve", "Get")));
    events.extend((0..600).map(|s| event(60 + s, &format!("user {s}"), "Fill")));
    detector.push(&batch(&events)).await;
    detector.advance(HOUR + MINUTE).await;
    let alerts = detector.changes(false, None).await;
    let made = |title: &str| alerts.iter().filter(|a| a.rule_title == title).count();
    assert_eq!(
        (made("counting"), made("twice")),
        (3, 1),
        "ann's, eve's two"
    );
    let suspended = detector.health().find(|(_, h)| h.suspended.is_some());
    assert!(suspended.is_none(), "{suspended:?}");
    let health = |detector: &mut Detector| {
        let (_, health) = detector.health().last().unwrap();
        health.last_error.clone().unwrap_or_default()
    };
    let told = health(&mut detector);
    assert!(told.contains("stay counted"), "{told}");
    let mut stored = Stored::new();
    for (n, state) in [(3, AlertState::Final), (4, AlertState::Retracted)] {
        detector = restarted(detector, &mut stored, limits.clone(), HOUR + MINUTE).await;
        // One more amends the alert, a fifth takes its ground away.
        detector.push(&batch(&[event(n, "ann", "Put")])).await;
        let changed = detector.changes(false, None).await;
        let changed: Vec<_> = changed.iter().map(|a| (&*a.rule_title, a.state)).collect();
        assert_eq!(changed, [("counting", state)]);
    }
    // What is younger is taken back still.
    let more: Vec<_> = (0..3).map(|s| event(7200 + s, "bob", "Get")).collect();
    let again: Vec<_> = (0..3).map(|s| event(7260 + s, "bob", "Get")).collect();
    detector.push(&batch(&[more, again].concat())).await;
    detector.advance(4 * HOUR).await;
    assert_eq!(detector.changes(false, None).await.len(), 3);
    let late = [3, 4].map(|s| event(7260 + s, "bob", "Put"));
    detector.push(&batch(&late)).await;
    let changed = detector.changes(false, None).await;
    let mut changed: Vec<_> = changed.iter().map(|a| (&*a.rule_title, a.state)).collect();
    changed.sort_by_key(|(title, _)| *title);
    let gone = AlertState::Retracted;
    assert_eq!(changed, [("counting", gone), ("twice", gone)]);
}

#[tokio::test]
async fn late_rows_amend_and_retract_until_they_are_too_late() {
    let limits = Limits {
        amend: 10 * MINUTE,
        ..Limits::default()
    };
    let made = Detector::open(vec![counting()], vec![], limits, &Tables::default()).await;
    let mut detector = made.unwrap().0;
    let first: Vec<_> = (0..3).map(|s| event(s, "ann", "Get")).collect();
    detector.push(&batch(&first)).await;
    detector.advance(5 * MINUTE).await;
    let alerts = detector.changes(false, None).await;
    assert_eq!(
        (alerts[0].state, alerts[0].revision),
        (AlertState::Final, 1)
    );
    // One more: the same alert, amended.
    detector.push(&batch(&[event(3, "ann", "Put")])).await;
    let amended = detector.changes(false, None).await;
    assert_eq!(amended[0].alert_id, alerts[0].alert_id);
    assert_eq!((amended[0].revision, amended[0].evidence_count), (2, 4));
    // A fifth takes its ground away.
    detector.push(&batch(&[event(4, "ann", "Put")])).await;
    let gone = detector.changes(false, None).await;
    assert_eq!(
        (gone[0].state, gone[0].revision),
        (AlertState::Retracted, 3)
    );
    // Beyond the limit nothing changes, and that is counted.
    detector.advance(12 * MINUTE).await;
    detector
        .push(&batch(&[
            event(5, "bob", "Get"),
            event(6, "bob", "Get"),
            event(7, "bob", "Get"),
        ]))
        .await;
    assert!(detector.changes(false, None).await.is_empty());
    let health = detector.health().next().unwrap().1;
    assert_eq!((health.rows_late, health.rows_too_late), (5, 3));
}

/// All rules together keep too much: the one that does so pays, the others go on amending.
#[tokio::test]
async fn a_greedy_rule_pays_alone() {
    let limits = Limits {
        all_bytes: 2 << 20,
        ..Limits::default()
    };
    let small = |title: &str| {
        let query = "SELECT actor_user_uid, count(*) AS n FROM cloud_audit WHERE api_operation = 'Put' GROUP BY actor_user_uid HAVING count(*) >= 3";
        rule(title, query, Some((MINUTE, MINUTE)), None)
    };
    let rules = vec![small("one"), counting(), small("two")];
    let made = Detector::open(rules, vec![], limits, &Tables::default()).await;
    let mut detector = made.unwrap().0;
    let many: Vec<_> = (0..20_000)
        .map(|n| event(1, &format!("user {n}"), "Get"))
        .collect();
    detector.push(&batch(&many)).await;
    detector
        .push(&batch(&[event(2, "ann", "Put"), event(3, "ann", "Put")]))
        .await;
    for watermark in [0, 1, 2 * MINUTE] {
        detector.advance(watermark).await;
        assert!(detector.changes(false, None).await.is_empty());
    }
    let health = detector.health();
    let failed: Vec<_> = health
        .filter(|(_, health)| health.errors > 0)
        .map(|(_, health)| (health.title.clone(), health.suspended.is_some()))
        .collect();
    assert_eq!(failed, [("counting".to_owned(), true)]);
    // A late row still amends what the others answered.
    detector.push(&batch(&[event(4, "ann", "Put")])).await;
    let told = detector.changes(false, None).await;
    assert_eq!(told.len(), 2, "{told:?}");
}

/// Events with texts of a hundred kilobytes: what is kept of them is cut, and alerts are told apart by the whole texts.
#[tokio::test]
async fn long_texts_are_cut_in_what_is_kept() {
    let each = rule(
        "each",
        "SELECT actor_user_uid, src_endpoint_ip FROM cloud_audit",
        None,
        Some((&["actor_user_uid"], HOUR)),
    );
    let mut window = rule(
        "window",
        "SELECT actor_user_uid, max(src_endpoint_ip) AS ip, array_agg(DISTINCT src_endpoint_ip) AS ips FROM cloud_audit GROUP BY actor_user_uid HAVING count(*) >= 1",
        Some((MINUTE, MINUTE)),
        None,
    );
    window.entities = vec![("ip".into(), "ip".into())];
    let long = |last: char| {
        let mut one = event(1, &format!("{}{last}", "é".repeat(50_000)), "Get");
        one.ip = format!("{}{last}", "x".repeat(100_000));
        one.uid = format!("u{last}");
        one
    };
    let alerts = run_all(&[each, window], &[batch(&[long('a'), long('b')])])
        .await
        .unwrap();
    // Two actors that differ in their last letter alone.
    assert_eq!(alerts.len(), 4);
    for alert in &alerts {
        let row = serde_json::to_string(&alert.row).unwrap();
        assert!(row.len() < 20_000, "{} bytes", row.len());
        assert!(row.contains("bytes)"), "{row}");
        assert!(
            alert
                .entities
                .iter()
                .all(|entity| entity.value.len() < 5_000)
        );
    }
}

#[tokio::test]
async fn a_rule_that_keeps_too_much_is_suspended_and_says_so() {
    let limits = Limits {
        rule_bytes: 1 << 20,
        ..Limits::default()
    };
    let modest = rule(
        "modest",
        "SELECT actor_user_uid FROM cloud_audit WHERE api_operation = 'Put'",
        None,
        None,
    );
    let made = Detector::open(vec![counting(), modest], vec![], limits, &Tables::default()).await;
    let mut detector = made.unwrap().0;
    let many: Vec<_> = (0..20_000)
        .map(|n| event(1, &format!("user {n}"), "Get"))
        .collect();
    detector.push(&batch(&many)).await;
    // First it stops amending; that frees nothing of an open window.
    detector.advance(0).await;
    assert!(detector.changes(false, None).await.is_empty());
    detector.advance(1).await;
    assert!(detector.changes(false, None).await.is_empty());
    detector.push(&batch(&[event(2, "ann", "Put")])).await;
    detector.finish(i64::MAX).await;
    assert_eq!(detector.changes(false, None).await.len(), 1, "others go on");
    let suspended = detector.health().next().unwrap().1.clone();
    let reason = suspended.suspended.unwrap();
    assert!(
        reason.contains("suspended") && reason.contains("MiB"),
        "{reason}"
    );
    assert_eq!(suspended.last_error, Some(reason));
    assert_eq!(suspended.state_bytes, 0);
    let stored = detector.take_state().await.unwrap();
    let of_rule = stored.iter().filter(|w| w.owner.contains("id of counting"));
    let kept: Vec<_> = of_rule
        .filter(|w| !w.owner.ends_with("/closed") && w.value.is_some())
        .collect();
    assert!(kept.is_empty(), "{kept:?}");
}

/// Answering early is left out where there is no time for it: what came meanwhile is told at the next preview, without a new row.
#[tokio::test]
async fn what_was_not_told_early_is_told_at_the_next_preview() {
    let suppressed = rule(
        "suppressed",
        "SELECT actor_user_uid FROM cloud_audit",
        None,
        Some((&["actor_user_uid"], HOUR)),
    );
    let each = rule("each", "SELECT actor_user_uid FROM cloud_audit", None, None);
    let counted = rule(
        "counted",
        "SELECT actor_user_uid, count(*) AS n FROM cloud_audit GROUP BY actor_user_uid",
        Some((MINUTE, MINUTE)),
        None,
    );
    let made = Detector::new(vec![suppressed, each, counted], vec![]).await;
    let mut detector = made.unwrap().0;
    detector
        .push(&batch(&[event(5, "ann", "Get"), event(6, "bob", "Get")]))
        .await;
    detector.advance(0).await;
    for _ in 0..2 {
        assert!(detector.changes(false, None).await.is_empty());
    }
    let early = detector.changes(true, None).await;
    let mut titles: Vec<_> = early.iter().map(|a| a.rule_title.as_str()).collect();
    titles.sort_unstable();
    let both = [
        "counted",
        "counted",
        "each",
        "each",
        "suppressed",
        "suppressed",
    ];
    assert_eq!(titles, both);
    assert!(early.iter().all(|a| a.state == AlertState::Provisional));
    assert!(detector.changes(true, None).await.is_empty());
}
