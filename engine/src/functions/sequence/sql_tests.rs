//! `sequence_match` through SQL: what queries may say, and what is refused.
#![allow(clippy::unwrap_used)]

use datafusion::arrow::array::AsArray;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::pattern::MAX_STEPS;

/// Actors with the letters of what they did, each a second apart; a letter after `+` is of the same time.
async fn sql(step_list: &str, what: &str) -> Result<Vec<(String, Option<bool>)>, String> {
    let mut rows = vec![];
    for (actor, letters) in [
        ("abc", "a b c"),
        ("cba", "c b a"),
        ("axc", "a x c"),
        ("axac", "a x a c"),
        ("tie", "a+c"),
        ("far", "a . . . . . . . . . . . c"),
        ("one", "a"),
    ] {
        for (second, letters) in letters.split(' ').enumerate() {
            for letter in letters.split('+') {
                rows.push(format!(
                    "('{actor}', arrow_cast({second}, 'Timestamp(Second, None)'), '{letter}')"
                ));
            }
        }
    }
    let config = SessionConfig::new()
        .with_target_partitions(3)
        .with_batch_size(4);
    let mut ctx = SessionContext::new_with_config(config);
    crate::functions::register(&mut ctx).unwrap();
    let query = format!(
        "SELECT actor, {what}sequence_match(time, {step_list}) AS found FROM (VALUES {}) AS e(actor, time, op) GROUP BY actor ORDER BY actor",
        rows.join(", ")
    );
    let frame = ctx.sql(&query).await.map_err(|e| e.strip_backtrace())?;
    let batches = frame.collect().await.map_err(|e| e.strip_backtrace())?;
    let mut found = vec![];
    for batch in batches {
        let answers = batch.columns().last().unwrap().as_boolean().clone();
        let actors = batch.column(0).as_string::<i32>().clone();
        let actors = actors.iter().map(|a| a.unwrap().to_owned());
        found.extend(actors.zip(answers.iter()));
    }
    Ok(found)
}

#[tokio::test]
async fn queries_use_it_like_any_aggregate() {
    let (a, c) = ("op = 'a'", "op = 'c'");
    for (steps, expected) in [
        (format!("{a}, {c}"), "abc axac axc far tie"),
        (format!("{a}, within({c}, '10s')"), "abc axac axc tie"),
        (format!("{a}, without(op = 'x'), {c}"), "abc axac far tie"),
        (format!("{a}, op IN ('b', 'x'), {c}"), "abc axac axc"),
        (
            format!("{a}, without(op = 'x'), within({c}, '1s')"),
            "axac tie",
        ),
        (format!("{a}, NULL"), ""),
        (format!("{a}, within(NULL, '1s')"), ""),
        (format!("{a}, within(true, '1s')"), "abc axac axc far tie"),
        (format!("{a}, without(true), {c}"), "axac tie"),
        (format!("{a}, without(false), {c}"), "abc axac axc far tie"),
    ] {
        // With a second use, what both share is computed in a step of its own.
        for what in [
            "",
            "sequence_match(time, op = 'x', within(op = 'c', '10s')), ",
        ] {
            let found = sql(&steps, what).await.unwrap();
            assert_eq!(found.len(), 7);
            assert!(found.iter().all(|(_, answer)| answer.is_some()));
            let found = found.iter().filter(|f| f.1 == Some(true));
            let found: Vec<_> = found.map(|(actor, _)| actor.as_str()).collect();
            assert_eq!(found.join(" "), expected, "{steps}");
        }
    }
}

#[tokio::test]
async fn what_is_no_sequence_is_refused_when_planned() {
    let a = "op = 'a'";
    let many = vec![a; MAX_STEPS + 1].join(", ");
    for (steps, expected) in [
        (a.to_owned(), "2 to 32 steps after the time, not 1"),
        (many, "2 to 32 steps after the time, not 33"),
        (format!("{a}, op"), "step 2 is Utf8"),
        (format!("{a}, 600000000"), "step 2 is Int64"),
        (
            format!("without({a}), {a}"),
            "without(…) cannot be the first step",
        ),
        (format!("{a}, without({a})"), "write a rule with `absence`"),
        (
            format!("within({a}, '1m'), {a}"),
            "within(…) cannot be the first step",
        ),
        (
            format!("{a}, within({a}, op)"),
            "within: the duration must be a constant such as '10m'",
        ),
        (
            format!("{a}, within({a}, 600)"),
            "within: the duration must be a constant such as '10m'",
        ),
        (
            format!("{a}, within({a}, '10 minutes')"),
            "within: `10 minutes` is not a duration",
        ),
        (format!("{a}, within({a}, '0s')"), "empty duration"),
        (
            format!("{a}, within({a})"),
            "within takes a condition and a duration",
        ),
        (
            format!("{a}, within(op, '1m')"),
            "within: the first argument must be a condition",
        ),
        (
            format!("{a}, without(op), {a}"),
            "without: the first argument must be a condition",
        ),
        (
            format!("{a}, within(without({a}), '1m')"),
            "within: the first argument must be a condition",
        ),
    ] {
        let error = sql(&steps, "").await.unwrap_err();
        assert!(error.contains(expected), "{steps}: {error}");
    }
    let mut ctx = SessionContext::new();
    crate::functions::register(&mut ctx).unwrap();
    let error = ctx.sql("SELECT sequence_match('x', true, true)").await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("is the time of the event"), "{error}");
}

#[tokio::test]
async fn filters_distinct_and_no_groups_work() {
    let mut ctx = SessionContext::new();
    crate::functions::register(&mut ctx).unwrap();
    let time = "arrow_cast(t, 'Timestamp(Second, None)')";
    for (call, expected) in [
        (format!("sequence_match({time}, op = 'a', op = 'a')"), true),
        (
            format!("sequence_match(DISTINCT {time}, op = 'a', op = 'a')"),
            false,
        ),
        (format!("sequence_match({time}, op = 'a', op = 'b')"), true),
        (
            format!("sequence_match({time}, op = 'a', op = 'b') FILTER (WHERE t < 2)"),
            false,
        ),
        (format!("sequence_match({time}, op = 'a', op = 'c')"), false),
    ] {
        for group in ["", " GROUP BY one"] {
            let query = format!(
                "SELECT {call} FROM (VALUES (1, 'a', 1), (1, 'a', 1), (2, 'b', 1), (NULL, 'c', 1)) AS e(t, op, one){group}"
            );
            let rows = ctx.sql(&query).await.unwrap().collect().await.unwrap();
            assert_eq!(rows[0].column(0).as_boolean().value(0), expected, "{query}");
        }
    }
    let empty = "SELECT sequence_match(now(), op, op) FROM (VALUES (true)) AS e(op) WHERE NOT op";
    let rows = ctx.sql(empty).await.unwrap().collect().await.unwrap();
    assert!(!rows[0].column(0).as_boolean().value(0) && rows[0].column(0).is_valid(0));
}
