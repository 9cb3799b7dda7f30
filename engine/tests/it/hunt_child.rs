//! SQL in a process of its own: its tables, its protocol, and every way in which it can end.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use weir_engine::Tables;
use weir_engine::alert::{Alert, AlertState, Entity};
use weir_engine::hunt::{ChildRunner, Limits, QueryResult, Refusal, RefusalKind, child_main};
use weir_engine::incident::Incident;
use weir_engine::rule::{Confidence, Level};
use weir_engine::store::sqlite::SqliteStore;
use weir_engine::store::{Commit, IncidentWrite, SharedStore, Store};

use crate::archive::NOON;
use crate::hunt::data;

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
        incidents: vec![IncidentWrite::whole(&incident)],
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
    child_main(
        input,
        &mut output,
        |_| async { Ok(store) },
        |_| Ok(Tables::default()),
    )
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
        "2026-11-09T12:00:00.000000Z",
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
        run("cat > /dev/null; sleep 600").await.kind,
        RefusalKind::Timeout
    );
    assert!(started.elapsed() < Duration::from_secs(500));
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
        "ulimit -v {kilobytes}; WEIR_TEST_CHILD=1 exec {} --exact hunt_child::as_child --nocapture --test-threads=1 3>&1 >/dev/null",
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
        child_main(std::io::stdin(), output, none, |_| Ok(Tables::default()))
            .await
            .unwrap();
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
