//! What HAVING needs of a key: read off the query, and never more than what it takes.

use std::collections::BTreeMap;

use datafusion::arrow::array::{AsArray, Int64Array};
use weir_engine::Tables;
use weir_engine::detect::row;
use weir_engine::plan::{self, Need, Plan, Tally, WindowPlan};
use weir_engine::time::{HOUR, SECOND};

use crate::events::{Event, Random, batch, rule};

const FAILED: &str = "CASE WHEN status = 'failure' THEN 1 ELSE 0 END";

async fn window_plan(having: &str) -> WindowPlan {
    let query = format!(
        "SELECT actor_user_uid, count(*) AS calls FROM cloud_audit GROUP BY actor_user_uid HAVING {having}"
    );
    let rule = rule("need", &query, Some((HOUR, HOUR)), None);
    let session = plan::session(&[], &Tables::default()).await.unwrap();
    match Plan::new(&session, &rule).await.unwrap() {
        Plan::Window(plan) => plan,
        other => panic!("{other:?}"),
    }
}

/// Rows, and rows that satisfy each condition, that are just enough; one less of any is not.
#[tokio::test]
async fn what_having_needs_is_read_off() {
    let sequence = "sequence_match(time, api_operation = 'ListUsers', api_operation = 'ListUsers', \
                    without(status = 'failure'), within(api_operation = 'CreateUser' \
                    AND (raw->>'requestParameters') <> '', '10m'))";
    let cases = [
        ("count(*) >= 20".to_owned(), 20, [0; 4]),
        ("20 < count(DISTINCT api_operation)".to_owned(), 21, [0; 4]),
        (
            format!("sum({FAILED}) >= 3 AND count(*) > 4"),
            5,
            [3, 0, 0, 0],
        ),
        (
            format!("sum({FAILED}) >= 3 AND count(*) > 2"),
            3,
            [3, 0, 0, 0],
        ),
        (
            "count(DISTINCT CASE WHEN status = 'failure' THEN api_operation END) = 7".to_owned(),
            1,
            [7, 0, 0, 0],
        ),
        (
            "count(*) FILTER (WHERE status = 'failure') >= 2".to_owned(),
            1,
            [2, 0, 0, 0],
        ),
        // The part of a step that looks into the raw event is left out.
        (sequence.to_owned(), 3, [2, 1, 0, 0]),
    ];
    for (having, rows, that) in cases {
        let plan = window_plan(&having).await;
        let enough = Tally { rows, that };
        assert!(plan.need.holds(&enough), "{having}: {:?}", plan.need);
        let wanted = that.iter().filter(|least| **least > 0).count();
        assert_eq!(plan.conditions.len(), wanted, "{having}");
        for (condition, least) in that.iter().enumerate().filter(|(_, least)| **least > 0) {
            let mut less = enough;
            less.that[condition] = least - 1;
            assert!(!plan.need.holds(&less), "{having}: {:?}", plan.need);
        }
        let less = Tally {
            rows: rows - 1,
            that,
        };
        assert!(
            rows == 1 || !plan.need.holds(&less),
            "{having}: {:?}",
            plan.need
        );
    }
}

#[tokio::test]
async fn where_nothing_can_be_said_any_row_is_enough() {
    for having in [
        "count(*) < 20",
        "NOT (count(*) >= 20)",
        "count(*) <> 20",
        "min(api_operation) = 'ListUsers'",
        "count(*) >= 20 OR min(api_operation) = 'ListUsers'",
        "sum(CASE WHEN status = 'failure' THEN 100 ELSE 0 END) >= 20",
        "sum(CASE WHEN status = 'failure' THEN 1 ELSE 1 END) >= 1",
        "count(*) >= 0",
    ] {
        let plan = window_plan(having).await;
        assert!(plan.need.is_nothing(), "{having}: {:?}", plan.need);
    }
}

/// Of random groups, every one for which HAVING holds has what is needed, and of some the need sees that it
/// cannot hold.
#[tokio::test]
async fn no_group_that_matches_lacks_what_is_needed() {
    let step = |operation: &str| format!("api_operation = '{operation}'");
    let havings = [
        format!("sum({FAILED}) >= 3"),
        format!("count(*) >= 9 OR sum({FAILED}) >= 4"),
        format!("count(DISTINCT api_operation) >= 4 AND sum({FAILED}) > 1"),
        format!(
            "sequence_match(time, {}, {}, within({}, '10m'))",
            step("ListUsers"),
            step("ListUsers"),
            step("CreateUser")
        ),
        "count(CASE WHEN status = 'failure' AND api_operation LIKE 'Create%' THEN 1 END) = 2"
            .into(),
        "count(*) FILTER (WHERE status = 'failure') >= 3 AND min(api_operation) < 'D'".into(),
    ];
    for (seed, having) in (1..).zip(havings) {
        let plan = window_plan(&having).await;
        let session = plan::session(&[], &Tables::default()).await.unwrap();
        let ctx = session.task_ctx();
        let mut random = Random(seed);
        let (mut matched, mut spared) = (0, 0);
        for _ in 0..200 {
            let events: Vec<Event> = (0..1 + random.below(12))
                .map(|i| Event {
                    time: random.below(900) as i64 * SECOND,
                    uid: format!("00000000-0000-4000-8000-{i:012}"),
                    actor: "user".into(),
                    operation: ["CreateUser", "CreateAccessKey", "DeleteUser", "ListUsers"]
                        [random.below(4) as usize]
                        .into(),
                    ip: "203.0.113.7".into(),
                    failed: random.below(3) == 0,
                })
                .collect();
            let events = batch(&events);
            let mut tally = Tally {
                rows: events.num_rows() as u64,
                ..Tally::default()
            };
            for (count, condition) in tally.that.iter_mut().zip(&plan.conditions) {
                let hits = condition.evaluate(&events).unwrap();
                let hits = hits.into_array(events.num_rows()).unwrap();
                *count = hits.as_boolean().true_count() as u32;
            }
            let input = &plan.inputs[0];
            let rows = row::gather(&events, &input.rows.columns, None).unwrap();
            let rows = input.rows.evaluate(rows).unwrap();
            let reduce = input.reduce.as_ref().unwrap();
            let panes = Int64Array::from(vec![0; rows.num_rows()]);
            let (_, states) = reduce.run(rows, panes).unwrap();
            let answer = plan::run(&plan.finish, vec![vec![states]], &ctx);
            let answer = answer.await.unwrap();
            let holds = plan.need.holds(&tally);
            match answer.is_empty() {
                true => spared += usize::from(!holds),
                false => {
                    assert!(holds, "seed {seed}, {having}: {tally:?}");
                    matched += 1;
                }
            }
        }
        assert!(
            matched > 0 && spared > 0,
            "{having}: {matched} matched, {spared} spared"
        );
    }
}

/// Which needs are met by a set of tallies, for the reader of this file: any and all are monotone.
#[test]
fn more_rows_never_break_a_need() {
    let need = Need::Any(vec![
        Need::Rows(10),
        Need::All(vec![Need::That(0, 2), Need::That(1, 1)]),
    ]);
    let mut held = BTreeMap::new();
    for rows in 0..12 {
        for first in 0..4 {
            for second in 0..3 {
                let mut tally = Tally {
                    rows,
                    ..Tally::default()
                };
                (tally.that[0], tally.that[1]) = (first, second);
                held.insert((rows, first, second), need.holds(&tally));
            }
        }
    }
    for ((rows, first, second), holds) in &held {
        for more in [
            (rows + 1, *first, *second),
            (*rows, first + 1, *second),
            (*rows, *first, second + 1),
        ] {
            assert!(!holds || held.get(&more).copied().unwrap_or(true));
        }
    }
}
