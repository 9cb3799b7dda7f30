//! Rules over streams: answers do not depend on order, batching or a restart, and equal plain batch SQL.

use std::collections::BTreeMap;

use weir_engine::alert::{Alert, AlertState};
use weir_engine::detect::{Detector, run_all};
use weir_engine::rule::{NewTerms, Rule, RuleKind};
use weir_engine::time::{HOUR, MINUTE, SECOND};

use crate::events::{Event, Random, batch, rule};

fn stream(seed: u64, count: usize) -> Vec<Event> {
    let mut random = Random(seed);
    (0..count)
        .map(|i| Event {
            time: (i as i64) * SECOND / 2 + random.below(5) as i64,
            uid: format!("00000000-0000-4000-8000-{i:012}"),
            actor: format!("arn:aws:iam::111122223333:user/user{}", random.below(7)),
            operation: ["GetObject", "ListBuckets", "StopLogging", "CreateUser"]
                [random.below(4) as usize]
                .into(),
            ip: format!("203.0.113.{}", random.below(6)),
            failed: random.below(3) == 0,
        })
        .collect()
}

fn rules() -> Vec<Rule> {
    vec![
        rule(
            "each",
            "SELECT * FROM cloud_audit WHERE api_operation = 'StopLogging' AND status = 'failure'",
            None,
            None,
        ),
        rule(
            "suppressed",
            "SELECT actor_user_uid, src_endpoint_ip FROM cloud_audit WHERE api_operation IN ('CreateUser')",
            None,
            Some((&["actor_user_uid"], 2 * MINUTE)),
        ),
        rule(
            "sliding count",
            "SELECT actor_user_uid, count(*) AS n, array_agg(DISTINCT src_endpoint_ip) AS ips FROM cloud_audit WHERE status = 'failure' GROUP BY actor_user_uid HAVING count(*) >= 6",
            Some((5 * MINUTE, MINUTE)),
            None,
        ),
        rule(
            "tumbling distinct",
            "SELECT actor_user_uid AS who, count(DISTINCT src_endpoint_ip) AS n FROM cloud_audit GROUP BY actor_user_uid HAVING count(DISTINCT src_endpoint_ip) >= 4",
            Some((MINUTE, MINUTE)),
            None,
        ),
    ]
}

fn content(mut alerts: Vec<Alert>) -> BTreeMap<String, String> {
    for alert in &mut alerts {
        alert.revision = 0;
        alert.watermark = None;
    }
    alerts
        .into_iter()
        .map(|a| {
            (
                a.alert_id.clone(),
                serde_json::to_string_pretty(&a).unwrap(),
            )
        })
        .collect()
}

/// Applies batches with a watermark that stays `lateness` behind, as the pipeline does.
async fn streamed(
    events: &[Event],
    size: usize,
    lateness: i64,
    preview: bool,
    restart: Option<usize>,
) -> BTreeMap<String, String> {
    let (mut detector, refused) = Detector::new(rules(), vec![]).await.unwrap();
    assert!(refused.is_empty(), "{refused:?}");
    let mut stored: BTreeMap<String, Alert> = BTreeMap::new();
    let mut state: BTreeMap<(String, i64), Vec<u8>> = BTreeMap::new();
    let mut newest = i64::MIN;
    let chunks: Vec<_> = events.chunks(size).collect();
    for (index, chunk) in chunks.iter().enumerate() {
        detector.push(&batch(chunk)).await;
        newest = newest.max(chunk.iter().map(|e| e.time).max().unwrap());
        let last = index + 1 == chunks.len();
        detector
            .advance(if last { i64::MAX } else { newest - lateness })
            .await;
        for alert in detector.changes(preview, None).await {
            let before = stored.get(&alert.alert_id).map_or(0, |a| a.revision);
            assert_eq!(alert.revision, before + 1, "revisions rise by one");
            stored.insert(alert.alert_id.clone(), alert);
        }
        for write in detector.take_state().await.unwrap() {
            match write.value {
                Some(value) => drop(state.insert((write.owner, write.key), value)),
                None => drop(state.remove(&(write.owner, write.key))),
            }
        }
        if restart.is_some_and(|every| index % every == every - 1) {
            detector = Detector::new(rules(), vec![]).await.unwrap().0;
            let pieces: Vec<_> = state
                .iter()
                .map(|((o, k), v)| (o.clone(), *k, v.clone()))
                .collect();
            assert!(detector.restore(&pieces, None).unwrap().is_empty());
        }
    }
    for (id, health) in detector.health() {
        assert_eq!(
            (health.errors, health.rows_late),
            (0, 0),
            "{id}: {health:?}"
        );
    }
    content(
        stored
            .into_values()
            .filter(|a| a.state != AlertState::Retracted)
            .collect(),
    )
}

#[tokio::test]
async fn alerts_depend_on_the_events_alone() {
    let seed = 20_261_121;
    println!("seed {seed}");
    let events = stream(seed, 1500);
    let expected = content(run_all(&rules(), &[batch(&events)]).await.unwrap());
    assert!(expected.len() > 50, "{}", expected.len());
    let mut random = Random(seed);
    for (size, disorder, preview, restart) in [
        (1500, 0, false, None),
        (64, 0, true, None),
        (7, 60, false, None),
        (100, 200, true, Some(3)),
        (33, 20, true, Some(1)),
    ] {
        let mut shuffled = events.clone();
        if disorder > 0 {
            for part in shuffled.chunks_mut(disorder) {
                random.shuffle(part);
            }
        }
        let lateness = disorder as i64 * SECOND;
        let got = streamed(&shuffled, size, lateness, preview, restart).await;
        assert_eq!(
            got.len(),
            expected.len(),
            "size {size}, disorder {disorder}, restart {restart:?}"
        );
        for (id, alert) in &expected {
            assert_eq!(
                got.get(id),
                Some(alert),
                "size {size}, disorder {disorder}, restart {restart:?}"
            );
        }
    }
}

#[tokio::test]
async fn windows_equal_a_count_by_hand() {
    let events = stream(3, 900);
    let alerts = run_all(&rules(), &[batch(&events)]).await.unwrap();
    // By hand: per minute and actor the distinct addresses.
    let mut seen: BTreeMap<(i64, &str), std::collections::BTreeSet<&str>> = BTreeMap::new();
    for event in &events {
        seen.entry((event.time.div_euclid(MINUTE), &event.actor))
            .or_default()
            .insert(&event.ip);
    }
    let expected: Vec<_> = seen
        .iter()
        .filter(|(_, ips)| ips.len() >= 4)
        .map(|((m, who), ips)| (m * MINUTE, (*who).to_owned(), ips.len()))
        .collect();
    let mut got: Vec<_> = alerts
        .iter()
        .filter(|a| a.rule_title == "tumbling distinct")
        .map(|a| {
            (
                a.window.unwrap().0,
                a.row["who"].as_str().unwrap().to_owned(),
                a.row["n"].as_u64().unwrap() as usize,
            )
        })
        .collect();
    got.sort();
    assert!(!got.is_empty());
    assert_eq!(got, expected);
    for alert in alerts
        .iter()
        .filter(|a| a.rule_title == "tumbling distinct")
    {
        let (start, end) = alert.window.unwrap();
        let who = alert.row["who"].as_str().unwrap();
        let count = events
            .iter()
            .filter(|e| e.actor == who && (start..end).contains(&e.time))
            .count();
        assert_eq!(alert.evidence_count, count as u64);
    }
}

#[tokio::test]
async fn shapes_that_cannot_run_on_a_stream_are_refused_with_a_reason() {
    let minute = Some((MINUTE, MINUTE));
    for (query, window, expected) in [
        ("SELECT nothing FROM cloud_audit", None, "nothing"),
        (
            "SELECT actor_user_uid FROM cloud_audit ORDER BY time",
            None,
            "row by row",
        ),
        (
            "SELECT DISTINCT actor_user_uid FROM cloud_audit",
            None,
            "window",
        ),
        (
            "SELECT actor_user_uid, count(*) FROM cloud_audit GROUP BY actor_user_uid",
            None,
            "window",
        ),
        ("SELECT actor_user_uid FROM cloud_audit", minute, "GROUP BY"),
        ("SELECT count(*) AS n FROM cloud_audit", minute, "GROUP BY"),
        (
            "SELECT count(*) AS n FROM cloud_audit GROUP BY actor_user_uid",
            minute,
            "add it to the SELECT list",
        ),
        ("DROP TABLE events", None, "DDL not supported"),
        (
            "COPY events TO '/nowhere.parquet'",
            None,
            "DML not supported",
        ),
        ("SELECT * FROM no_such_table", None, "no_such_table"),
        (
            "SELECT event_uid FROM cloud_audit WHERE time < now()",
            None,
            "now()",
        ),
        (
            "SELECT actor_user_uid, count(*) AS n FROM cloud_audit WHERE random() < 0.5 GROUP BY actor_user_uid",
            minute,
            "random()",
        ),
        ("SELECT event_uid FROM cloud_audit LIMIT 3", None, "LIMIT"),
        (
            "SELECT actor_user_uid, count(*) AS n FROM cloud_audit GROUP BY actor_user_uid LIMIT 3",
            minute,
            "LIMIT without ORDER BY",
        ),
        (
            "SELECT actor_user_uid, lag(api_operation) OVER (PARTITION BY actor_user_uid) AS b FROM cloud_audit",
            minute,
            "lag OVER without ORDER BY",
        ),
        (
            "SELECT actor_user_uid, array_to_string(array_agg(api_operation), ',') AS x FROM cloud_audit GROUP BY actor_user_uid",
            minute,
            "array_sort",
        ),
        (
            "SELECT actor_user_uid FROM (SELECT actor_user_uid, first_value(api_operation) AS f FROM cloud_audit GROUP BY actor_user_uid) WHERE f = 'x'",
            minute,
            "first_value",
        ),
        (
            "SELECT a.\"user\" FROM alerts a JOIN cloud_audit c ON a.\"user\" = c.actor_user_uid",
            minute,
            "must say what one alert is about",
        ),
    ] {
        let error = run_all(&[rule("wrong", query, window, None)], &[])
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("wrong") && error.contains(expected),
            "{query}: {error}"
        );
    }
    let mixed = rule(
        "wrong",
        "SELECT a.\"user\" FROM alerts a JOIN cloud_audit c ON a.\"user\" = c.actor_user_uid",
        minute,
        Some((&["user"], 1)),
    );
    let error = run_all(&[mixed], &[]).await.unwrap_err().to_string();
    assert!(error.contains("building block"), "{error}");
    let missing = rule(
        "wrong",
        "SELECT api_operation FROM cloud_audit",
        None,
        Some((&["actor_user_uid"], 1)),
    );
    let error = run_all(&[missing], &[]).await.unwrap_err().to_string();
    assert!(
        error.contains("suppress.by names column `actor_user_uid`"),
        "{error}"
    );
}

#[tokio::test]
async fn a_row_that_fails_costs_no_other_row() {
    let mut events = stream(1, 40);
    events[17].actor = "not a number".into();
    for (index, event) in events.iter_mut().enumerate().filter(|(i, _)| *i != 17) {
        event.actor = index.to_string();
    }
    let query = "SELECT CAST(actor_user_uid AS BIGINT) AS number FROM cloud_audit WHERE family = 'cloud_audit'";
    let (mut detector, refused) = Detector::new(vec![rule("cast", query, None, None)], vec![])
        .await
        .unwrap();
    assert!(refused.is_empty());
    detector.push(&batch(&events)).await;
    detector.advance(i64::MAX).await;
    assert_eq!(detector.changes(false, None).await.len(), 39);
    let (_, health) = detector.health().next().unwrap();
    assert_eq!(health.errors, 1);
    // What a rule remembers of a row does not fail, what it returns does.
    let query = "SELECT event_uid, CAST(actor_user_uid AS BIGINT) AS number FROM cloud_audit";
    let mut first_seen = rule("first seen", query, None, None);
    first_seen.kind = RuleKind::NewTerms(NewTerms {
        fields: vec!["event_uid".into()],
        history: HOUR,
        warmup: 0,
    });
    let (mut detector, refused) = Detector::new(vec![first_seen], vec![]).await.unwrap();
    assert!(refused.is_empty());
    detector.push(&batch(&events)).await;
    detector.advance(i64::MAX).await;
    assert_eq!(detector.changes(false, None).await.len(), 39);
    let (_, health) = detector.health().next().unwrap();
    assert_eq!(health.errors, 1);
}
