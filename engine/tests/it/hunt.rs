//! SQL typed by people: what is refused, what is bounded, what works.

use std::path::Path;
use std::time::Duration;

use datafusion::prelude::SessionContext;
use serde_json::{Value, json};
use weir_engine::archive::{Archive, ArchiveWriter};
use weir_engine::batch::Partition;
use weir_engine::hunt::{Limits, QueryResult, Refusal, RefusalKind, check, run, session};

use crate::archive::{HOUR, NOON, batch, config, event};

pub async fn data() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut events: Vec<_> = (0..2000)
        .map(|n| event(n, NOON + n * HOUR / 1000))
        .collect();
    events
        .iter_mut()
        .skip(1900)
        .for_each(|e| e.family = "k8s_audit");
    let mut writer = ArchiveWriter::open(dir.path().join("events"), config()).unwrap();
    let partition = Partition::new("trail", "audit/0");
    writer
        .push(&partition, 0, 2000, &batch(&events))
        .await
        .unwrap();
    writer.flush().await.unwrap();
    dir
}

fn context(data: &Path, limits: &Limits) -> SessionContext {
    let ctx = session(limits).unwrap();
    Archive::open(data.join("events"))
        .unwrap()
        .register(&ctx)
        .unwrap();
    ctx
}

async fn answer(data: &Path, sql: &str) -> Result<QueryResult, Refusal> {
    let limits = Limits::default();
    run(&context(data, &limits), sql, &limits).await
}

fn refused(sql: &str) -> Refusal {
    check(sql, &Limits::default()).expect_err(sql)
}

#[test]
fn everything_that_is_not_a_query_is_refused() {
    for sql in [
        "COPY events TO '/tmp/stolen.parquet'",
        "COPY (SELECT * FROM events) TO 'x.csv' STORED AS CSV",
        "EXPLAIN ANALYZE COPY events TO '/tmp/stolen.parquet'",
        "EXPLAIN COPY events TO '/tmp/stolen.parquet'",
        "EXPLAIN VERBOSE COPY events TO '/tmp/stolen.parquet'",
        "EXPLAIN FORMAT INDENT COPY events TO '/tmp/stolen.parquet'",
        "EXPLAIN (ANALYZE true) SELECT 1",
        "EXPLAIN ANALYZE SELECT * FROM events",
        "EXPLAIN VERBOSE ANALYZE SELECT 1",
        "EXPLAIN EXPLAIN SELECT 1",
        "INSERT INTO events SELECT * FROM events",
        "WITH x AS (SELECT 1) INSERT INTO events SELECT * FROM x",
        "EXPLAIN INSERT INTO events VALUES (1)",
        "UPDATE events SET raw = ''",
        "DELETE FROM events",
        "TRUNCATE events",
        "CREATE TABLE t AS SELECT * FROM events",
        "CREATE VIEW v AS SELECT 1",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE FUNCTION f() RETURNS int RETURN 1",
        "SELECT * INTO t FROM events",
        "DROP TABLE events",
        "ALTER TABLE events RENAME TO x",
        "SET datafusion.execution.batch_size = 1",
        "RESET datafusion.execution.batch_size",
        "SHOW TABLES",
        "DESCRIBE events",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "BEGIN",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE events",
        "/* SELECT */ DROP TABLE events",
        "(SELECT 1)",
        "VALUES (1)",
        "TABLE events",
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT * FROM t",
        "SELECT * FROM generate_series(1, 1000000000000)",
        "SELECT * FROM range(1000000000000) AS r",
        "SELECT * FROM TABLE(range(5))",
        "SELECT * FROM events, LATERAL generate_series(1, 5)",
        "SELECT repeat('x', 1500000000)",
        "SELECT length(REPEAT('x', 1500000000))",
        "SELECT * FROM events WHERE length(\"repeat\"('x', 1500000000)) > 1",
        "WITH a AS (SELECT lpad('x', 1500000000)) SELECT * FROM a",
        "SELECT (SELECT rpad('x', 1500000000))",
        "SELECT count(*) FROM events ORDER BY array_repeat(1, 1000000000)",
        "SELECT sum(array_resize([1], 1000000000)[1]) OVER () FROM events",
        "SELECT range(1, 1000000000)",
        "SELECT max(time) FILTER (WHERE length(repeat('x', 100)) > 1) FROM events",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT input_file_name() FROM events",
    ] {
        assert_eq!(refused(sql).kind, RefusalKind::Refused, "{sql}");
    }
    for sql in ["", "  -- nothing", "SELECT 'open", "SELECT (1"] {
        assert_eq!(refused(sql).kind, RefusalKind::Invalid, "{sql}");
    }
}

/// The parser would exhaust the stack of this thread, and abort the whole process.
#[test]
fn long_chains_are_refused_before_anything_recurses() {
    let chains: [(&str, &str); 14] = [
        ("SELECT 1", "+1"),
        ("SELECT ", "- "),
        ("SELECT 1", "::int"),
        ("SELECT ", "NOT "),
        ("SELECT 1", " IS NULL"),
        ("SELECT 1 WHERE 1=1", " OR 1=1"),
        ("SELECT ", "("),
        ("SELECT a", "[1]"),
        ("SELECT raw", "->'a'"),
        ("SELECT 1", " UNION ALL SELECT 1"),
        ("SELECT * FROM events", " NATURAL JOIN events"),
        ("SELECT ", "CASE WHEN 1 THEN "),
        ("SELECT ", "INTERVAL "),
        ("SELECT * FROM ", "(SELECT * FROM "),
    ];
    // Well below the 2 MiB that a server's threads have.
    let small = std::thread::Builder::new().stack_size(512 << 10);
    let checks = move || {
        for (start, link) in chains {
            for bytes in [7_000, 16_000, 400_000] {
                let sql = format!("{start}{}", link.repeat(bytes / link.len()));
                assert_eq!(refused(&sql).kind, RefusalKind::TooLarge, "{start}{link}…");
                // Also where somebody has lifted the limit on text.
                let limits = Limits {
                    max_text: usize::MAX,
                    ..Limits::default()
                };
                let refusal = check(&sql, &limits).unwrap_err();
                assert_eq!(refusal.kind, RefusalKind::TooLarge, "{start}{link}…");
            }
        }
    };
    small.spawn(checks).unwrap().join().unwrap();
}

#[tokio::test]
async fn what_is_just_within_the_limits_neither_aborts_nor_is_refused() {
    let dir = data().await;
    for sql in [
        format!("SELECT 1{}", "+1".repeat(190)),
        format!("SELECT {}1{}", "(".repeat(31), ")".repeat(31)),
        format!(
            "SELECT count(*) FROM events WHERE {}",
            ["time IS NULL"; 90].join(" OR ")
        ),
        format!(
            "SELECT event_uid FROM events WHERE event_uid IN ({})",
            ["'a'"; 1000].join(",")
        ),
        format!("SELECT {}", ["1 AS a"; 16].join(" UNION ALL SELECT ")),
    ] {
        answer(dir.path(), &sql).await.expect(&sql);
    }
}

#[test]
fn many_tables_are_refused() {
    let sql = format!("SELECT 1 FROM {}", ["events"; 900].join(","));
    assert_eq!(refused(&sql).kind, RefusalKind::TooLarge);
}

#[tokio::test]
async fn analysts_queries_work() {
    let dir = data().await;
    let one = |result: QueryResult| result.rows[0].clone();
    let result = answer(
        dir.path(),
        "select count(*) as n, min(time) as first from cloud_audit;",
    )
    .await
    .unwrap();
    assert_eq!(result.columns[0].name, "n");
    assert_eq!(
        (
            result.columns[0].kind.as_str(),
            result.columns[1].kind.as_str()
        ),
        ("integer", "timestamp")
    );
    assert_eq!(
        one(result),
        [json!(1900), json!("2026-11-09T12:00:00.000000Z")]
    );

    let sql = "SELECT raw->'requestParameters'->>'bucketName' AS bucket, raw->'requestParameters' AS parameters
               FROM events WHERE event_uid = 'event-with-a-long-name-0'";
    let result = answer(dir.path(), sql).await.unwrap();
    assert_eq!(result.columns[1].kind, "json");
    let bucket = format!("b-{}", NOON % 7);
    assert_eq!(
        one(result),
        [json!(bucket), json!({"bucketName": bucket, "n": [1, 2]})]
    );

    let sql = "WITH hourly AS (
                 SELECT date_bin(INTERVAL '1 hour', time) AS hour, family, count(DISTINCT event_uid) AS events,
                        array_agg(DISTINCT api_operation) AS operations
                 FROM events WHERE time >= '2026-11-09T12:00:00Z' GROUP BY 1, 2)
               SELECT * FROM hourly ORDER BY hour, family";
    let result = answer(dir.path(), sql).await.unwrap();
    assert_eq!(result.rows.len(), 3);
    assert_eq!(
        result.rows[1][..3],
        [
            json!("2026-11-09T13:00:00.000000Z"),
            json!("cloud_audit"),
            json!(900)
        ]
    );
    let operations = result.rows[1][3].as_array().unwrap();
    assert!(operations.contains(&json!("PutBucketPolicy")) && operations.contains(&Value::Null));

    let sql = "SELECT event_uid, lag(time) OVER (ORDER BY time) AS before FROM events
               WHERE api_operation LIKE 'Put%' AND NOT is_public_ip(coalesce(src_endpoint_ip, '10.0.0.1'))
               ORDER BY time LIMIT 2";
    let result = answer(dir.path(), sql).await.unwrap();
    assert_eq!(result.rows[1][1], json!("2026-11-09T12:00:00.000000Z"));

    let result = answer(dir.path(), "EXPLAIN SELECT count(*) FROM events")
        .await
        .unwrap();
    assert!(
        result
            .rows
            .iter()
            .any(|row| row[1].as_str().unwrap().contains("Aggregate"))
    );
    let result = answer(
        dir.path(),
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'events'",
    )
    .await
    .unwrap();
    assert!(result.rows.contains(&vec![json!("src_endpoint_ip")]));
}

#[tokio::test]
async fn a_wrong_name_is_answered_with_near_ones() {
    let dir = data().await;
    let wrong = answer(dir.path(), "SELECT src_ip FROM events")
        .await
        .unwrap_err();
    assert_eq!(wrong.kind, RefusalKind::Invalid);
    assert!(
        wrong.message.contains("no column src_ip") && wrong.message.contains("near it"),
        "{wrong}"
    );
    let wrong = answer(dir.path(), "SELECT api_opration FROM events")
        .await
        .unwrap_err();
    assert!(wrong.message.contains("api_operation"), "{wrong}");
    let wrong = answer(
        dir.path(),
        "SELECT * FROM events WHERE api_operation = \"Put-x\"",
    )
    .await
    .unwrap_err();
    assert!(wrong.message.contains("single quotes"), "{wrong}");
    let wrong = answer(dir.path(), "SELECT * FROM evnts").await.unwrap_err();
    assert!(
        wrong.kind == RefusalKind::Invalid && wrong.message.contains("evnts"),
        "{wrong}"
    );
    let wrong = answer(dir.path(), "SELECT * FROM '/etc/passwd'")
        .await
        .unwrap_err();
    assert_eq!(wrong.kind, RefusalKind::Invalid, "{wrong}");
}

#[tokio::test]
async fn long_answers_are_cut_and_say_so() {
    let dir = data().await;
    let all = answer(dir.path(), "SELECT event_uid FROM events")
        .await
        .unwrap();
    assert_eq!((all.rows.len(), all.truncated), (1000, true));
    let exact = answer(dir.path(), "SELECT event_uid FROM events LIMIT 1000")
        .await
        .unwrap();
    assert_eq!((exact.rows.len(), exact.truncated), (1000, false));

    let few = Limits::default().with_rows(7);
    let ctx = context(dir.path(), &few);
    let result = run(&ctx, "SELECT * FROM events ORDER BY time DESC", &few)
        .await
        .unwrap();
    assert_eq!((result.rows.len(), result.truncated), (7, true));
    assert_eq!(Limits::default().with_rows(1_000_000_000).rows, 10_000);

    let small = Limits {
        max_bytes: 5_000,
        ..Limits::default()
    };
    let ctx = context(dir.path(), &small);
    let result = run(&ctx, "SELECT raw FROM events", &small).await.unwrap();
    assert!(
        result.truncated && (10..60).contains(&result.rows.len()),
        "{}",
        result.rows.len()
    );
    let sql = "SELECT string_agg(raw, ',') FROM events";
    assert_eq!(
        run(&ctx, sql, &small).await.unwrap_err().kind,
        RefusalKind::TooLarge
    );
}

#[tokio::test]
async fn a_join_that_blows_up_ends_by_memory_or_time() {
    let dir = data().await;
    let tight = Limits {
        memory: 1 << 20,
        timeout: Duration::from_secs(600),
        ..Limits::default()
    };
    let ctx = context(dir.path(), &tight);
    let sql =
        "SELECT a.raw FROM events a, events b, events c, events d ORDER BY a.raw || b.raw || c.raw";
    let refusal = run(&ctx, sql, &tight).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Memory, "{refusal}");
    assert!(
        refusal.message.contains("narrow its time range"),
        "{refusal}"
    );

    // More memory than could be filled in the time: only the clock can end it.
    let quick = Limits {
        memory: 64 << 30,
        timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let ctx = context(dir.path(), &quick);
    let sql =
        "SELECT count(*) FROM events a, events b, events c WHERE a.raw > b.raw OR b.raw > c.raw";
    let refusal = run(&ctx, sql, &quick).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Timeout, "{refusal}");
}
