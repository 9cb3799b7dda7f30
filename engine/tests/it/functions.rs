//! Aggregates of window rules: what depends on the order of rows is refused, what is allowed gives one answer
//! however rows are cut into batches, states are merged and the engine restarts.

use std::collections::BTreeMap;

use datafusion::arrow::array::{AsArray, Int64Array, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::Float64Type;
use datafusion::prelude::SessionContext;
use weir_engine::Tables;
use weir_engine::detect::{Detector, row, run_all};
use weir_engine::plan::{self, Plan, Reduce, WindowPlan};
use weir_engine::rule::Rule;
use weir_engine::time::{HOUR, MINUTE, SECOND};

use crate::events::{Event, Random, batch, rule};

const WHO: &str = "actor_user_uid";

/// Times are whole seconds, so that there are ties.
fn stream(seed: u64, count: usize) -> Vec<Event> {
    let mut random = Random(seed);
    (0..count)
        .map(|i| Event {
            time: random.below(600) as i64 * SECOND,
            uid: format!("00000000-0000-4000-8000-{i:012}"),
            actor: format!("user{}", random.below(40)),
            operation: ["CreateUser", "CreateAccessKey", "DeleteUser", "ListUsers"]
                [random.below(4) as usize]
                .into(),
            ip: format!("203.0.113.{}", random.below(250)),
            failed: random.below(3) == 0,
        })
        .collect()
}

fn window_rule(columns: &str, having: &str) -> Rule {
    let query = format!("SELECT {WHO}, {columns} FROM cloud_audit GROUP BY {WHO} {having}");
    rule("sequence", &query, Some((HOUR, HOUR)), None)
}

/// Aggregates the events in random batches, merges states in random order, and answers.
async fn in_parts(rule: &Rule, events: &[Event], random: &mut Random) -> Vec<RecordBatch> {
    let session = plan::session(&[], &Tables::default()).await.unwrap();
    let Plan::Window(WindowPlan { inputs, finish, .. }) = Plan::new(&session, rule).await.unwrap()
    else {
        panic!("not a window rule");
    };
    let reduce = inputs[0].reduce.as_ref().unwrap();
    let Reduce { merge, .. } = reduce;
    let ctx = session.task_ctx();
    let mut events = events.to_vec();
    random.shuffle(&mut events);
    let mut states = vec![];
    let mut rest = events.as_slice();
    while !rest.is_empty() {
        let (part, others) = rest.split_at(1 + random.below(rest.len().min(200) as u64) as usize);
        rest = others;
        let part = row::gather(&batch(part), &inputs[0].rows.columns, None).unwrap();
        let part = inputs[0].rows.evaluate(part).unwrap();
        let panes = (0..part.num_rows()).map(|_| random.below(3) as i64);
        let panes = Int64Array::from_iter_values(panes);
        let (_, of_panes) = reduce.run(part.clone(), panes).unwrap();
        states.push(of_panes);
    }
    for _ in 0..random.below(10) {
        random.shuffle(&mut states);
        let some = states.split_off(states.len() - states.len().min(5));
        let merged = reduce.merged.run(&some).unwrap();
        let by_plan = plan::run(merge, vec![some], &ctx).await.unwrap();
        let by_plan = concat_batches(&merged.schema(), &by_plan).unwrap();
        assert_eq!(merged, by_plan, "as DataFusion merges them");
        states.push(merged);
    }
    plan::run(&finish, vec![states], &ctx).await.unwrap()
}

fn by_actor<T>(
    batches: &[RecordBatch],
    read: impl Fn(&RecordBatch, usize) -> T,
) -> BTreeMap<String, T> {
    let mut all = BTreeMap::new();
    for batch in batches {
        let actors = batch.column(0).as_string_view();
        for (row, actor) in actors.iter().enumerate() {
            all.insert(actor.unwrap().to_owned(), read(batch, row));
        }
    }
    all
}

fn of_actors(events: &[Event]) -> BTreeMap<String, Vec<&Event>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in events {
        all.entry(event.actor.clone()).or_default().push(event);
    }
    all
}

/// A user is created, is not deleted, and gets a key within a minute: tries all pairs.
fn key_after_creation(events: &[&Event]) -> bool {
    let step = |e: &Event| match e.operation.as_str() {
        "CreateUser" => 0,
        "DeleteUser" => 1,
        "CreateAccessKey" => 2,
        _ => 3,
    };
    let order = |e: &Event| (e.time, step(e));
    events.iter().filter(|a| step(a) == 0).any(|a| {
        events.iter().filter(|c| step(c) == 2).any(|c| {
            order(a) < order(c)
                && c.time - a.time <= MINUTE
                && !events
                    .iter()
                    .any(|b| step(b) == 1 && order(a) < order(b) && order(b) < order(c))
        })
    })
}

const SEQUENCE: &str = "sequence_match(time, api_operation = 'CreateUser', without(api_operation = 'DeleteUser'), within(api_operation = 'CreateAccessKey', '1m'))";

/// Several distinct texts in one query are not DataFusion's own functions: they answer what those answer.
#[tokio::test]
async fn several_distinct_texts_are_those_of_datafusion() {
    let columns = "count(DISTINCT src_endpoint_ip) AS ips, \
                   count(DISTINCT CASE WHEN status = 'failure' THEN api_operation END) AS failed, \
                   array_agg(DISTINCT api_operation) AS operations, \
                   array_agg(DISTINCT CASE WHEN status = 'failure' THEN event_uid END) AS uids, \
                   count(DISTINCT api_operation) FILTER (WHERE src_endpoint_ip < '203.0.113.2') AS some, \
                   count(DISTINCT CASE WHEN status = 'x' THEN status END) AS none";
    let rule = window_rule(columns, "HAVING count(DISTINCT src_endpoint_ip) > 2");
    let show = |batch: &RecordBatch, row| {
        let mut json = row::json(batch, row);
        // Whether a list of distinct values names null is left open.
        for list in json.values_mut().filter_map(|value| value.as_array_mut()) {
            list.retain(|value| !value.is_null());
        }
        json
    };
    let mut random = Random(17);
    for seed in 20..24 {
        let events = stream(seed, 100 * seed as usize);
        let ctx = SessionContext::new();
        ctx.register_batch("cloud_audit", batch(&events)).unwrap();
        let expected = ctx.sql(&rule.query).await.unwrap().collect().await.unwrap();
        let expected = by_actor(&expected, show);
        assert!(expected.len() > 20);
        let answer = in_parts(&rule, &events, &mut random).await;
        assert_eq!(by_actor(&answer, show), expected, "seed {seed}");
    }
}

#[tokio::test]
async fn sequences_do_not_depend_on_batches_and_merges() {
    let rule = window_rule(&format!("{SEQUENCE} AS found"), "");
    let mut random = Random(5);
    let mut seen = [0, 0];
    for seed in 0..6 {
        let events = stream(seed, 400 + 200 * seed as usize);
        let answer = in_parts(&rule, &events, &mut random).await;
        let found = by_actor(&answer, |batch, row| {
            batch.column(1).as_boolean().value(row)
        });
        for (actor, events) in of_actors(&events) {
            let expected = key_after_creation(&events);
            seen[usize::from(expected)] += 1;
            assert_eq!(found[&actor], expected, "seed {seed}, {actor}");
        }
    }
    assert!(seen[0] > 20 && seen[1] > 20, "{seen:?}");
}

/// The rule of docs/rules.md.
#[tokio::test]
async fn a_guessed_password_is_told_from_a_user_who_sets_up_a_second_factor() {
    let query = "SELECT actor_user_uid, min(time) AS first_time, array_agg(DISTINCT src_endpoint_ip) AS ips
        FROM cloud_audit
        WHERE api_operation IN ('ConsoleLogin', 'EnableMFADevice', 'CreateAccessKey') AND actor_user_uid IS NOT NULL
        GROUP BY actor_user_uid
        HAVING sequence_match(time,
                 api_operation = 'ConsoleLogin' AND status = 'failure',
                 within(api_operation = 'ConsoleLogin' AND status = 'failure', '1m'),
                 within(api_operation = 'ConsoleLogin' AND status = 'success', '1m'),
                 without(api_operation = 'EnableMFADevice'),
                 within(api_operation = 'CreateAccessKey', '10m'))";
    let event = |actor: &str, second: i64, operation: &str, failed: bool| Event {
        time: second * SECOND,
        uid: format!("{actor} {second}"),
        actor: actor.into(),
        operation: operation.into(),
        ip: "203.0.113.9".into(),
        failed,
    };
    let guessed = |actor: &str, second_failure: i64| {
        vec![
            event(actor, 100, "ConsoleLogin", true),
            event(actor, second_failure, "ConsoleLogin", true),
            event(actor, 130, "ConsoleLogin", false),
            event(actor, 500, "CreateAccessKey", false),
        ]
    };
    let mut events = guessed("attacker", 120);
    events.extend(guessed("slow", 20));
    events.extend(guessed("careful", 120));
    events.push(event("careful", 300, "EnableMFADevice", false));
    let window = Some((15 * MINUTE, 3 * MINUTE));
    let rule = rule("guessed", query, window, Some((&[WHO], HOUR)));
    let alerts = run_all(&[rule], &[batch(&events)]).await.unwrap();
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(alerts[0].row[WHO], "attacker");
}

#[tokio::test]
async fn sequences_outlive_restarts() {
    let mut rule = window_rule("count(*) AS n", &format!("HAVING {SEQUENCE}"));
    rule.kind = weir_engine::rule::RuleKind::Window(weir_engine::rule::Window {
        size: 5 * MINUTE,
        slide: MINUTE,
    });
    let rules = [rule];
    let events = stream(11, 900);
    let told = |alerts: Vec<weir_engine::Alert>| {
        let mut told: Vec<_> = alerts
            .into_iter()
            .map(|a| (a.window, a.row[WHO].clone(), a.row["n"].clone()))
            .map(|alert| format!("{alert:?}"))
            .collect();
        told.sort();
        told
    };
    let expected = told(run_all(&rules, &[batch(&events)]).await.unwrap());
    assert!(expected.len() > 10, "{expected:?}");
    let mut detector = Detector::new(rules.to_vec(), vec![]).await.unwrap().0;
    let mut state: BTreeMap<(String, i64), Vec<u8>> = BTreeMap::new();
    for part in events.chunks(40) {
        detector.push(&batch(part)).await;
        for write in detector.take_state().await.unwrap() {
            match write.value {
                Some(value) => drop(state.insert((write.owner, write.key), value)),
                None => drop(state.remove(&(write.owner, write.key))),
            }
        }
        detector = Detector::new(rules.to_vec(), vec![]).await.unwrap().0;
        let pieces: Vec<_> = state
            .iter()
            .map(|((owner, key), value)| (owner.clone(), *key, value.clone()))
            .collect();
        assert!(detector.restore(&pieces, None).unwrap().is_empty());
    }
    detector.finish(i64::MAX).await;
    assert_eq!(told(detector.changes(false, None).await), expected);
}

#[tokio::test]
async fn exact_percentiles_do_not_depend_on_batches_and_merges() {
    let number = "CAST(split_part(src_endpoint_ip, '.', 4) AS DOUBLE)";
    let rule = window_rule(
        &format!(
            "median({number}) AS middle, percentile_cont(0.9) WITHIN GROUP (ORDER BY {number}) AS high, quantile_cont(DISTINCT {number}, 0.25) AS low"
        ),
        "",
    );
    // The value at a fraction of the way through the sorted values, between two of them in proportion.
    let at = |values: &[f64], fraction: f64| {
        let place = fraction * (values.len() - 1) as f64;
        let (below, above) = (
            values[place.floor() as usize],
            values[place.ceil() as usize],
        );
        below + (above - below) * place.fract()
    };
    let mut random = Random(6);
    for seed in 20..24 {
        let events = stream(seed, 700);
        let answer = in_parts(&rule, &events, &mut random).await;
        let found = by_actor(&answer, |batch, row| {
            [1, 2, 3].map(|i| batch.column(i).as_primitive::<Float64Type>().value(row))
        });
        for (actor, events) in of_actors(&events) {
            let number = |e: &&Event| e.ip.rsplit('.').next().unwrap().parse().unwrap();
            let mut values: Vec<f64> = events.iter().map(number).collect();
            values.sort_by(f64::total_cmp);
            let (middle, high) = (at(&values, 0.5), at(&values, 0.9));
            values.dedup();
            let expected = [middle, high, at(&values, 0.25)];
            for (got, expected) in found[&actor].iter().zip(expected) {
                assert!(
                    (got - expected).abs() < 1e-3,
                    "seed {seed}, {actor}: {got} is not {expected}"
                );
            }
        }
    }
}

#[tokio::test]
async fn aggregates_that_depend_on_the_order_of_rows_are_refused() {
    let port = "CAST(src_endpoint_port AS DOUBLE)";
    for (call, name) in [
        ("first_value(src_endpoint_ip)", "first_value"),
        ("first_value(src_endpoint_ip ORDER BY time)", "first_value"),
        ("last_value(src_endpoint_ip)", "last_value"),
        ("nth_value(src_endpoint_ip, 2)", "nth_value"),
        ("any_value(src_endpoint_ip)", "any_value"),
        ("string_agg(src_endpoint_ip, ',')", "string_agg"),
        (&format!("approx_median({port})"), "approx_median"),
        (
            &format!("approx_percentile_cont(0.9) WITHIN GROUP (ORDER BY {port})"),
            "approx_percentile_cont",
        ),
        (
            &format!("approx_percentile_cont_with_weight(1, 0.9) WITHIN GROUP (ORDER BY {port})"),
            "approx_percentile_cont_with_weight",
        ),
    ] {
        for rule in [
            window_rule(&format!("{call} AS x"), ""),
            window_rule("count(*) AS n", &format!("HAVING {call} IS NULL")),
        ] {
            let error = run_all(&[rule], &[]).await.unwrap_err().to_string();
            let reason =
                format!("the answer of {name} depends on the order in which events arrive; write ");
            assert!(error.contains(&reason), "{call}: {error}");
        }
    }
    let fine = window_rule(
        "approx_distinct(src_endpoint_ip) AS n, array_agg(src_endpoint_ip) AS ips",
        "",
    );
    assert!(run_all(&[fine], &[]).await.is_ok());
}
