//! SQL typed by people: what is refused, what is bounded, what works.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::prelude::SessionContext;
use serde_json::{Value, json};
use weir_engine::alert::{Alert, AlertState, Entity};
use weir_engine::archive::{Archive, ArchiveWriter};
use weir_engine::batch::Partition;
use weir_engine::hunt::{
    ChildRunner, Limits, QueryResult, Refusal, RefusalKind, check, child_main, run, session,
};
use weir_engine::incident::Incident;
use weir_engine::rule::{Confidence, Level};
use weir_engine::store::sqlite::SqliteStore;
use weir_engine::store::{Commit, SharedStore, Store};

use crate::archive::{HOUR, NOON, batch, config, event};

async fn data() -> tempfile::TempDir {
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
    assert_eq!(one(result), [json!(1900), json!("2026-11-09T12:00:00Z")]);

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
            json!("2026-11-09T13:00:00Z"),
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
    assert_eq!(result.rows[1][1], json!("2026-11-09T12:00:00Z"));

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
        timeout: Duration::from_millis(500),
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

    let quick = Limits {
        timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let ctx = context(dir.path(), &quick);
    let started = Instant::now();
    let sql =
        "SELECT count(*) FROM events a, events b, events c WHERE a.raw > b.raw OR b.raw > c.raw";
    let refusal = run(&ctx, sql, &quick).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Timeout, "{refusal}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

fn alert(n: i64) -> Alert {
    Alert {
        alert_id: format!("{n:032x}"),
        rule_id: "rule-a".into(),
        rule_version: "1".into(),
        rule_title: "Bucket made public".into(),
        level: Level::High,
        confidence: Confidence::Medium,
        risk_score: 70,
        key: vec![("actor_user_uid".into(), "mallory".into())],
        window: None,
        first_time: NOON + n,
        last_time: NOON + n,
        entities: vec![Entity {
            kind: "user".into(),
            value: "mallory".into(),
        }],
        tactics: vec!["exfiltration".into()],
        techniques: vec!["T1537".into()],
        row: json!({"denied": 12}).as_object().unwrap().clone(),
        matches: 1,
        evidence: vec![],
        evidence_count: 1,
        state: AlertState::Final,
        revision: 1,
        watermark: None,
    }
}

async fn store(dir: &Path, alerts: i64) -> SharedStore {
    let store = SqliteStore::open(&dir.join("weir.db")).await.unwrap();
    let alerts: Vec<Alert> = (0..alerts).map(alert).collect();
    let incident = Incident {
        incident_id: "inc_1".into(),
        title: "Bucket made public by mallory".into(),
        level: Level::High,
        risk_score: 70,
        first_time: NOON,
        last_time: NOON + 1,
        entities: alerts[0].entities.clone(),
        tactics: vec!["exfiltration".into()],
        techniques: vec![],
        alert_ids: alerts.iter().take(2).map(|a| a.alert_id.clone()).collect(),
        rule_ids: vec!["rule-a".into()],
        open: true,
    };
    let commit = Commit {
        alerts,
        incidents: vec![incident],
        ..Commit::default()
    };
    store.commit(&commit).await.unwrap();
    Arc::new(store)
}

/// One request through the child's own entrance.
async fn ask(data: &Path, sql: &str, store: Option<SharedStore>) -> Result<QueryResult, Refusal> {
    let request = json!({"sql": sql, "data_dir": data, "limits": {"rows": 50}});
    let mut output = vec![];
    let input = Cursor::new(request.to_string());
    child_main(input, &mut output, |_| async { Ok(store) })
        .await
        .unwrap();
    serde_json::from_slice(&output).unwrap()
}

#[tokio::test]
async fn alerts_and_incidents_are_tables_too() {
    let dir = data().await;
    let store = store(dir.path(), 2500).await;
    let sql = "SELECT alert_id, level, state, first_time, tactics, entities->0->>'value' AS who, output->'denied' AS denied
               FROM alerts ORDER BY first_time LIMIT 1";
    let result = ask(dir.path(), sql, Some(store.clone())).await.unwrap();
    let expected = json!([
        format!("{:032x}", 0),
        "high",
        "final",
        "2026-11-09T12:00:00Z",
        ["exfiltration"],
        "mallory",
        12
    ]);
    assert_eq!(json!(result.rows[0]), expected);
    assert!(result.notes.is_empty());
    let sql = "SELECT i.incident_id, i.status, i.verdict, i.alert_count, a.n FROM incidents i,
               (SELECT count(*) AS n FROM alerts) a";
    let result = ask(dir.path(), sql, Some(store)).await.unwrap();
    assert_eq!(json!(result.rows), json!([["inc_1", "new", null, 2, 2500]]));
    // Without a store the tables are there, and empty.
    let result = ask(
        dir.path(),
        "SELECT alert_id, tactics, first_time FROM alerts",
        None,
    )
    .await
    .unwrap();
    assert_eq!((result.rows.len(), result.columns.len()), (0, 3));
    let result = ask(dir.path(), "SELECT count(*) FROM incidents", None)
        .await
        .unwrap();
    assert_eq!(result.rows, [[json!(0)]]);
    let sql = "SELECT DISTINCT table_name FROM information_schema.columns WHERE column_name = 'alert_count'";
    assert_eq!(
        ask(dir.path(), sql, None).await.unwrap().rows,
        [[json!("incidents")]]
    );
    assert_eq!(
        ask(dir.path(), "DROP TABLE alerts", None)
            .await
            .unwrap_err()
            .kind,
        RefusalKind::Refused
    );
}

/// A runner whose child is a shell script.
fn script(script: &str, limits: Limits) -> ChildRunner {
    let args = vec!["-c".into(), script.into()];
    ChildRunner::new("/bin/sh".into(), args, PathBuf::new(), limits, 1)
}

#[tokio::test]
async fn whatever_becomes_of_the_child_is_an_answer() {
    let quick = || Limits {
        timeout: Duration::from_secs(2),
        max_bytes: 1000,
        ..Limits::default()
    };
    let run = async |text: &str| script(text, quick()).run("SELECT 1").await.unwrap_err();

    let started = Instant::now();
    assert_eq!(
        run("cat > /dev/null; sleep 60").await.kind,
        RefusalKind::Timeout
    );
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(run("yes").await.kind, RefusalKind::TooLarge);
    assert_eq!(run("kill -KILL $$").await.kind, RefusalKind::Memory);
    assert_eq!(run("kill -XCPU $$").await.kind, RefusalKind::Timeout);
    let aborted = "echo 'memory allocation of 99 bytes failed' >&2; kill -ABRT $$";
    assert_eq!(run(aborted).await.kind, RefusalKind::Memory);
    let overflow = "echo 'thread main has overflowed its stack' >&2; kill -ABRT $$";
    assert_eq!(run(overflow).await.kind, RefusalKind::TooLarge);
    let failed = run("echo 'no such option' >&2; exit 2").await;
    assert_eq!(failed.kind, RefusalKind::Failed);
    assert!(failed.message.contains("no such option"), "{failed}");
    assert_eq!(run("echo '{}'").await.kind, RefusalKind::Failed);
    assert_eq!(run("exit 0").await.kind, RefusalKind::Failed);

    // Passed on as it is; secrets of the environment are not.
    let said = r#"echo '{"Err":{"kind":"invalid","message":"no such table"}}'"#;
    assert_eq!(run(said).await, Refusal::invalid("no such table"));
    let home = r#"echo "{\"Err\":{\"kind\":\"invalid\",\"message\":\"home <$HOME>\"}}""#;
    assert_eq!(run(home).await.message, "home <>");

    // Refused without a process.
    let never = ChildRunner::new(
        "/no/such/program".into(),
        vec![],
        PathBuf::new(),
        quick(),
        1,
    );
    assert_eq!(
        never.run("DROP TABLE events").await.unwrap_err().kind,
        RefusalKind::Refused
    );
    assert_eq!(
        never.run("SELECT 1").await.unwrap_err().kind,
        RefusalKind::Failed
    );
}

/// This test binary again, as the child, with as much memory as `ulimit -v` leaves it.
fn real_child(data: &Path, kilobytes: usize, limits: Limits) -> ChildRunner {
    let program = std::env::current_exe().unwrap();
    // The answer goes to the runner's pipe as descriptor 3; what the test harness prints does not.
    let script = format!(
        "ulimit -v {kilobytes}; WEIR_TEST_CHILD=1 exec {} --exact hunt::as_child --nocapture --test-threads=1 3>&1 >/dev/null",
        program.display()
    );
    let args = vec!["-c".into(), script];
    ChildRunner::new("/bin/sh".into(), args, data.to_path_buf(), limits, 2)
}

/// Not a test of its own: the body of the child that [`real_child`] starts.
#[tokio::test]
async fn as_child() {
    if std::env::var_os("WEIR_TEST_CHILD").is_some() {
        let output = std::fs::File::options()
            .write(true)
            .open("/proc/self/fd/3")
            .unwrap();
        let none = |_| async { Ok(None) };
        child_main(std::io::stdin(), output, none).await.unwrap();
    }
}

#[tokio::test]
async fn a_process_of_its_own_answers_and_takes_the_harm() {
    let dir = data().await;
    let runner = real_child(dir.path(), 4_000_000, Limits::default());
    let result = runner
        .run_rows("SELECT event_uid FROM cloud_audit ORDER BY time", 3)
        .await
        .unwrap();
    assert_eq!((result.rows.len(), result.truncated), (3, true));
    let wrong = runner
        .run("SELECT nothing FROM cloud_audit")
        .await
        .unwrap_err();
    assert_eq!(wrong.kind, RefusalKind::Invalid);

    // Allowed functions, few operators, no sort or group that a memory pool would see: 8^7 times the text.
    let mut sql = "SELECT raw AS t0 FROM events".to_owned();
    for n in 0..7 {
        let arguments = vec![format!("t{n}"); 8].join(", ");
        sql = format!("SELECT concat({arguments}) AS t{} FROM ({sql})", n + 1);
    }
    let sql = format!("SELECT length(t7) FROM ({sql})");
    let runner = real_child(dir.path(), 1_500_000, Limits::default());
    let bomb = runner.run(&sql).await.unwrap_err();
    assert_eq!(bomb.kind, RefusalKind::Memory, "{bomb}");
}
