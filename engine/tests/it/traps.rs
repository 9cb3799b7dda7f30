//! One test per trap of the execution engine below that was measured before Weir was written; each is named
//! after what went wrong.
//!
//! Traps that are tested elsewhere:
//! - statements and `COPY` in people's SQL, even inside EXPLAIN: `hunt::everything_that_is_not_a_query_is_refused`
//! - `SELECT 1+1+…` aborts the process: `hunt::long_chains_are_refused_before_anything_recurses`
//! - a pool and a timeout bound nothing: `hunt::a_join_that_blows_up_ends_by_memory_or_time`,
//!   `hunt_child::a_process_of_its_own_answers_and_takes_the_harm`
//! - a bad record fails its batch, NUL bytes, depth, `{…}{…}`, repeated keys: `connectors/src/json/tests.rs` and
//!   `connectors/src/decode` (`depth_is_capped…`, `two_objects_in_one_record_are_refused_whole`,
//!   `duplicate_keys_the_first_one_stays`, `bad_records_are_told_by_reason_and_cost_no_other`)
//! - answers that depend on arrival: `proof`
//!
//! Prices (merging sets, planning, dispatch) are measured in `benches/`.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::physical_plan::ExecutionPlan;
use weir_engine::Alert;
use weir_engine::Tables;
use weir_engine::detect::{Detector, run_all};
use weir_engine::plan;
use weir_engine::time::{MINUTE, SECOND};

use crate::events::{Event, Random, batch, rule};

const WINDOW: Option<(i64, i64)> = Some((10 * MINUTE, MINUTE));

fn event(index: usize, time: i64) -> Event {
    Event {
        time,
        uid: format!("event-{index:06}"),
        actor: "arn:aws:iam::111122223333:user/ann".into(),
        operation: "GetObject".into(),
        ip: "203.0.113.9".into(),
        failed: false,
    }
}

async fn alerts(query: &str, window: Option<(i64, i64)>, batches: &[RecordBatch]) -> Vec<Alert> {
    run_all(&[rule("trap", query, window, None)], batches)
        .await
        .unwrap()
}

/// Runs a template over events, as rules do.
async fn run(template: &Arc<dyn ExecutionPlan>, events: &[Event]) -> Vec<RecordBatch> {
    let mut leaf = template;
    while let Some(child) = leaf.children().first().copied() {
        leaf = child;
    }
    let all = batch(events);
    let columns: Vec<usize> = leaf
        .schema()
        .fields()
        .iter()
        .map(|f| all.schema().index_of(f.name()).unwrap())
        .collect();
    let ctx = plan::session(&[], &Tables::default())
        .await
        .unwrap()
        .task_ctx();
    plan::run(template, vec![vec![all.project(&columns).unwrap()]], &ctx)
        .await
        .unwrap()
}

async fn template(sql: &str) -> Arc<dyn ExecutionPlan> {
    let session = plan::session(&[], &Tables::default()).await.unwrap();
    let frame = session.sql(sql).await.unwrap();
    frame.create_physical_plan().await.unwrap()
}

#[tokio::test]
async fn trap_two_stacked_aggregates_split_at_the_lowest() {
    // Six addresses, each in every pane of the window: split at the upper one of the two aggregates, they
    // would be counted once per pane.
    let events: Vec<Event> = (0..120)
        .map(|i| Event {
            ip: format!("203.0.113.{}", i % 6),
            ..event(i, i as i64 * 5 * SECOND)
        })
        .collect();
    let batches: Vec<_> = events.chunks(10).map(batch).collect();
    let query = "SELECT actor_user_uid, count(DISTINCT src_endpoint_ip) AS n FROM cloud_audit GROUP BY actor_user_uid HAVING count(DISTINCT src_endpoint_ip) >= 6";
    let alerts = alerts(query, WINDOW, &batches).await;
    assert!(!alerts.is_empty());
    for alert in alerts {
        assert_eq!(alert.row["n"], 6, "{alert:?}");
    }
}

#[tokio::test]
async fn trap_a_combined_aggregate_cannot_be_split() {
    // With one partition an optimizer rule fuses the halves; the rule would be refused.
    let query = "SELECT actor_user_uid, count(*) AS n, max(time) AS last FROM cloud_audit GROUP BY actor_user_uid";
    let rules = [rule("trap", query, WINDOW, None)];
    let (detector, refused) = Detector::new(rules.to_vec(), vec![]).await.unwrap();
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(detector.rules().len(), 1);
}

#[tokio::test]
async fn trap_count_over_empty_template_is_not_folded_to_zero() {
    let events: Vec<Event> = (0..5).map(|i| event(i, i as i64)).collect();
    for sql in [
        "SELECT count(*) AS n FROM events",
        "SELECT count(event_uid) AS n FROM events",
    ] {
        let rows = run(&template(sql).await, &events).await;
        let count = rows[0].column(0).as_primitive::<Int64Type>().value(0);
        assert_eq!(count, 5, "{sql}");
    }
    let query = "SELECT family, count(*) AS n FROM events GROUP BY family";
    let alerts = alerts(query, Some((MINUTE, MINUTE)), &[batch(&events)]).await;
    assert_eq!(alerts[0].row["n"], 5);
}

#[tokio::test]
async fn trap_a_plan_that_ran_once_keeps_state() {
    // A sort with a limit remembers its threshold: older events of the second run would not pass it.
    let newest = template("SELECT event_uid FROM events ORDER BY time DESC LIMIT 2").await;
    for start in [1_000_000, 0] {
        let events: Vec<Event> = (0..9)
            .map(|i| event(start as usize + i, start + i as i64))
            .collect();
        let rows = run(&newest, &events).await;
        let uids: Vec<_> = rows
            .iter()
            .flat_map(|b| {
                b.column(0)
                    .as_string_view()
                    .iter()
                    .flatten()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(uids, [&*events[8].uid, &*events[7].uid], "from {start}");
    }
}

#[tokio::test]
async fn trap_joins_below_the_split_are_refused_or_exact() {
    // The two sides of each pair come in different batches and panes: joined batch by batch, none is found.
    let events: Vec<Event> = (0..40)
        .map(|i| Event {
            actor: format!("user{}", i % 4),
            operation: if i < 20 { "CreateUser" } else { "DeleteUser" }.into(),
            ..event(i, i as i64 * 10 * SECOND)
        })
        .collect();
    let batches: Vec<_> = events.chunks(5).map(batch).collect();
    let query = "SELECT a.actor_user_uid AS who, count(*) AS n FROM cloud_audit a JOIN cloud_audit b ON a.actor_user_uid = b.actor_user_uid WHERE a.api_operation = 'CreateUser' AND b.api_operation = 'DeleteUser' GROUP BY a.actor_user_uid";
    let tumbling = Some((10 * MINUTE, 10 * MINUTE));
    let suppress: Option<(&[&str], i64)> = Some((&["who"], MINUTE));
    match run_all(&[rule("trap", query, tumbling, suppress)], &batches).await {
        Err(error) => assert!(error.to_string().contains("rule trap: "), "{error}"),
        Ok(alerts) => {
            let counts: Vec<_> = alerts.iter().map(|a| a.row["n"].clone()).collect();
            assert_eq!(counts, [25, 25, 25, 25]);
        }
    }
}

#[tokio::test]
async fn trap_more_groups_than_batch_size_are_all_answered() {
    let events: Vec<Event> = (0..8300)
        .map(|i| Event {
            actor: format!("user{i}"),
            ..event(i, i as i64)
        })
        .collect();
    let query = "SELECT actor_user_uid, count(*) AS n FROM cloud_audit GROUP BY actor_user_uid";
    let alerts = alerts(query, Some((MINUTE, MINUTE)), &[batch(&events)]).await;
    assert_eq!(alerts.len(), events.len());
}

#[tokio::test]
async fn trap_float_sums_are_rounded() {
    // 0.1 + 0.2 + 0.3 is another number than 0.3 + 0.2 + 0.1.
    let query = "SELECT actor_user_uid, sum(CAST(api_operation AS DOUBLE)) AS mb, avg(CAST(api_operation AS DOUBLE)) AS mean FROM cloud_audit GROUP BY actor_user_uid";
    let mut events: Vec<Event> = (0..60)
        .map(|i| Event {
            operation: format!("{}.{}", i % 7, i % 10),
            ..event(i, i as i64 * SECOND)
        })
        .collect();
    let mut rows = vec![];
    for seed in 0..8 {
        Random(seed).shuffle(&mut events);
        let batches: Vec<_> = events.chunks(1 + seed as usize * 3).map(batch).collect();
        let alerts = alerts(query, Some((MINUTE, MINUTE)), &batches).await;
        rows.push(serde_json::to_string(&alerts).unwrap());
    }
    rows.dedup();
    assert_eq!(rows.len(), 1, "{rows:#?}");
}

#[tokio::test]
async fn trap_literals_in_casts_are_still_dispatched() {
    let events: Vec<Event> = (0..100)
        .map(|i| Event {
            operation: if i % 50 == 0 {
                "StopLogging"
            } else {
                "GetObject"
            }
            .into(),
            ..event(i, i as i64)
        })
        .collect();
    let queries = [
        "SELECT event_uid FROM cloud_audit WHERE api_operation = 'StopLogging'",
        "SELECT event_uid FROM cloud_audit WHERE 'StopLogging' = api_operation AND status = 'success'",
        "SELECT event_uid FROM cloud_audit WHERE api_operation IN ('StopLogging', 'DeleteTrail') AND (raw->>'x') IS NULL",
    ];
    let rules = queries.map(|query| rule(query, query, None, None));
    let (mut detector, refused) = Detector::new(rules.to_vec(), vec![]).await.unwrap();
    assert!(refused.is_empty(), "{refused:?}");
    detector.push(&batch(&events)).await;
    detector.finish(i64::MAX).await;
    assert_eq!(detector.changes(false, None).await.len(), 6);
    for (id, health) in detector.health() {
        assert_eq!(health.rows_evaluated, 2, "{id}");
    }
}

/// Keys of evidence were once taken from the event column that a computed one was named after.
#[tokio::test]
async fn a_key_computed_in_a_subquery_is_the_key_of_its_evidence() {
    let named = |n: usize, actor: &str| Event {
        actor: actor.into(),
        ..event(n, n as i64)
    };
    let events: Vec<Event> = (0..21)
        .map(|n| named(n, ["Bob", "BOB", "bob"][n % 3]))
        .collect();
    let having = "GROUP BY actor_user_uid HAVING count(*) >= 20";
    for query in [
        format!("SELECT actor_user_uid, count(*) AS n FROM (SELECT lower(actor_user_uid) AS actor_user_uid FROM cloud_audit) {having}"),
        format!("WITH low AS (SELECT lower(actor_user_uid) AS actor_user_uid FROM cloud_audit) SELECT actor_user_uid, count(*) AS n FROM low {having}"),
        "SELECT coalesce(lower(actor_user_uid), 'x') AS actor_user_uid, count(*) AS n FROM cloud_audit GROUP BY coalesce(lower(actor_user_uid), 'x') HAVING count(*) >= 20".into(),
    ] {
        let window = Some((5 * MINUTE, 5 * MINUTE));
        let suppress: Option<(&[&str], i64)> = Some((&["actor_user_uid"], 5 * MINUTE));
        let alerts = run_all(&[rule("trap", &query, window, suppress)], &[batch(&events)]).await;
        let alerts = alerts.unwrap();
        assert_eq!(alerts.len(), 1, "{query}");
        assert_eq!((&*alerts[0].key[0].1, alerts[0].evidence_count), ("bob", 21), "{query}");
    }
}

/// The first look-up of a batch once took an empty text for one that was looked up before.
#[tokio::test]
async fn empty_texts_are_dispatched_wherever_they_stand() {
    let query = "SELECT event_uid FROM cloud_audit WHERE api_operation = ''";
    for empty in [0, 1] {
        let events: Vec<Event> = (0..2)
            .map(|n| Event {
                operation: if n == empty { "" } else { "Get" }.into(),
                ..event(n, n as i64)
            })
            .collect();
        let alerts = run_all(&[rule("trap", query, None, None)], &[batch(&events)]).await;
        assert_eq!(alerts.unwrap().len(), 1, "at row {empty}");
    }
}

/// Found by the proof: that a window was closed was stored only together with a pane that changed.
#[tokio::test]
async fn a_window_closed_between_commits_is_not_answered_again_after_a_restart() {
    let query = "SELECT actor_user_uid, count(*) AS n FROM cloud_audit GROUP BY actor_user_uid HAVING count(*) >= 6";
    let rules = [rule("trap", query, Some((5 * MINUTE, MINUTE)), None)];
    let begin = 1_740_816_000 * SECOND;
    let at = |minutes: i64| begin + minutes * MINUTE;
    let events: Vec<Event> = (0..6).map(|i| event(i, at(4) + i as i64)).collect();
    let (mut detector, _) = Detector::new(rules.to_vec(), vec![]).await.unwrap();
    let (mut state, mut told) = (BTreeMap::new(), vec![]);
    detector.push(&batch(&events)).await;
    // The second time the window that holds the pane closes, and no pane changes.
    for watermark in [at(4), at(5)] {
        detector.advance(watermark).await;
        told.extend(detector.changes(false, None).await);
        for write in detector.take_state().await.unwrap() {
            match write.value {
                Some(value) => drop(state.insert((write.owner, write.key), value)),
                None => drop(state.remove(&(write.owner, write.key))),
            }
        }
    }
    let (mut detector, _) = Detector::new(rules.to_vec(), vec![]).await.unwrap();
    let state: Vec<_> = state.into_iter().map(|((o, k), v)| (o, k, v)).collect();
    detector.restore(&state, None).unwrap();
    detector.finish(i64::MAX).await;
    let alerts = detector.changes(false, None).await;
    let matches: Vec<u64> = alerts.iter().map(|alert| alert.matches).collect();
    assert_eq!(
        matches,
        [5],
        "one match for each window that holds the events"
    );
}
