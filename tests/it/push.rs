//! The `weir` binary under concurrent pushes, killed in the middle: what got a 202 is in the result once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::kafka::instance::{Instance, free_port};

const SENDERS: usize = 4;
const EVENTS: usize = 20;
const KILLS: usize = 3;
const TOKEN: &str = "a token for tests";

fn config(port: u16, more: &str) -> String {
    format!(
        r#"
            [store]
            path = "data"
            [source.push]
            type = "http"
            listen = "127.0.0.1:{port}"
            token = "{TOKEN}"
            lateness = "1m"
            {more}
        "#
    )
}

fn event(uid: &str) -> String {
    format!(
        r#"{{"eventVersion":"1.08","userIdentity":{{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/ana"}},"eventTime":"2026-01-01T00:00:00Z","eventSource":"s3.amazonaws.com","eventName":"GetObject","sourceIPAddress":"198.51.100.7","eventID":"{uid}"}}"#
    )
}

/// What the senders know.
#[derive(Default)]
struct Sent {
    acknowledged: BTreeSet<String>,
    /// No answer came: the events may be there or not.
    unknown: BTreeSet<String>,
}

impl Sent {
    fn add(&mut self, other: Sent) {
        self.acknowledged.extend(other.acknowledged);
        self.unknown.extend(other.unknown);
    }
}

/// Sends batches until told to stop. One that retries sends a batch again until it gets a 202.
async fn send(
    port: u16,
    name: String,
    retries: bool,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
) -> Sent {
    let client = reqwest::Client::new();
    let mut all = Sent::default();
    for batch in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let uids: Vec<_> = (0..EVENTS).map(|n| format!("{name}-{batch}-{n}")).collect();
        let lines: Vec<_> = uids.iter().map(|uid| event(uid)).collect();
        loop {
            let request = client
                .post(format!("http://127.0.0.1:{port}/push/push"))
                .bearer_auth(TOKEN)
                .header("content-type", "application/x-ndjson")
                .body(lines.join("\n"));
            match request.send().await {
                Ok(answer) => {
                    assert_eq!(answer.status(), 202);
                    all.acknowledged.extend(uids);
                    sent.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Err(_) if retries => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => {
                    // Nobody listened: it cannot be there.
                    if !error.is_connect() {
                        all.unknown.extend(uids);
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    break;
                }
            }
        }
    }
    all
}

/// How often each event is in the archive, by its id; read in pages, for an answer holds so many rows only.
async fn stored(instance: &Instance) -> BTreeMap<String, u64> {
    const PAGE: usize = 5_000;
    let mut all = BTreeMap::new();
    loop {
        let last = all.last_key_value();
        let last = last.map_or("", |(uid, _): (&String, _)| uid.as_str());
        let page = format!(
            "SELECT event_uid, count(*) FROM events WHERE event_uid > '{last}' \
             GROUP BY event_uid ORDER BY event_uid LIMIT {PAGE}"
        );
        let rows = instance.sql(&page).await;
        let rows_read = rows.len();
        all.extend(rows.iter().map(|row| {
            let uid = row[0].as_str().unwrap().to_owned();
            (uid, row[1].as_u64().unwrap())
        }));
        if rows_read < PAGE {
            return all;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_push_that_got_a_202_is_there_once_whatever_is_killed() {
    let port = free_port();
    let mut instance = Instance::configured(&config(port, ""));
    let mut all = Sent::default();
    for round in 0..=KILLS {
        instance.start().await;
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let name = format!("{round}-{sender}");
                let (stop, sent) = (stop.clone(), sent.clone());
                tokio::spawn(send(port, name, sender % 2 == 0, stop, sent))
            })
            .collect();
        while sent.load(Ordering::Relaxed) < 15 * (round + 1) {
            assert!(!senders.iter().any(|sender| sender.is_finished()));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if round < KILLS {
            instance.kill();
            tokio::time::sleep(Duration::from_millis(100)).await;
            println!("killed after {} pushes", sent.load(Ordering::Relaxed));
            instance.start().await;
        }
        stop.store(true, Ordering::Relaxed);
        for sender in senders {
            all.add(sender.await.unwrap());
        }
        instance.kill();
    }
    instance.start().await;
    let wanted = all.acknowledged.len();
    println!(
        "{wanted} events acknowledged, {} without an answer",
        all.unknown.len()
    );
    let here = async |instance: &Instance| {
        let stored = stored(instance).await;
        all.acknowledged.iter().all(|uid| stored.contains_key(uid))
    };
    instance.wait("all that was acknowledged", here).await;
    let stored = stored(&instance).await;
    for (uid, count) in &stored {
        assert_eq!(*count, 1, "{uid}");
        assert!(
            all.acknowledged.contains(uid) || all.unknown.contains(uid),
            "{uid}"
        );
    }
    // A restart in order reads nothing again.
    instance.terminate().await;
    instance.start().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(instance.read().await, 0);
    let requests = instance.metric("weir_push_requests_total").await;
    assert_eq!(requests.len(), 0, "{requests:?}");
    let spool = instance.metric("weir_push_spool_bytes").await;
    assert!(spool["{source=\"push\"}"] > 16.0, "{spool:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pushed_event_list_is_alerted_on_and_counted() {
    let port = free_port();
    let more = "format = \"k8s_audit\"\ncluster = \"prod\"";
    let mut instance = Instance::configured(&config(port, more));
    instance.start().await;
    let audit = |uid: &str| {
        format!(
            r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"{uid}","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/prod/pods/app-1/exec?command=sh","verb":"create","user":{{"username":"ana","groups":["system:authenticated"]}},"sourceIPs":["203.0.113.7"],"userAgent":"kubectl/v1.31","objectRef":{{"resource":"pods","namespace":"prod","name":"app-1","subresource":"exec","apiVersion":"v1"}},"responseStatus":{{"metadata":{{}},"code":101}},"requestReceivedTimestamp":"2026-01-02T03:04:05.123456Z","stageTimestamp":"2026-01-02T03:04:05.200000Z"}}"#
        )
    };
    let list = format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{{}},"items":[{},{},{{"kind":"Event"}}]}}"#,
        audit("a1"),
        audit("a2")
    );
    let push = || {
        reqwest::Client::new()
            .post(format!("http://127.0.0.1:{port}/push/push"))
            .header("content-type", "application/json")
            .body(list.clone())
    };
    assert_eq!(push().send().await.unwrap().status(), 401);
    // A sender that got no answer sends the same again.
    for _ in 0..2 {
        let answer = push().bearer_auth(TOKEN).send().await.unwrap();
        assert_eq!(answer.status(), 202);
    }
    instance
        .wait("the events are read", async |i| i.read().await == 6)
        .await;
    let label = "{source=\"push\"}";
    for (name, count) in [("processed", 2.0), ("duplicates", 2.0)] {
        let name = format!("weir_events_{name}_total");
        assert_eq!(instance.metric(&name).await[label], count, "{name}");
    }
    instance
        .wait("the requests are counted", async |i| {
            let requests = i.metric("weir_push_requests_total").await;
            let of = |status| {
                requests
                    .get(&format!("{{source=\"push\",status=\"{status}\"}}"))
                    .copied()
            };
            (of(202), of(401)) == (Some(2.0), Some(1.0))
        })
        .await;
    instance
        .wait("an alert", async |i| !i.list("alerts").await.is_empty())
        .await;
    instance
        .wait("the letters", async |i| {
            let letters = std::fs::read_to_string(i.folder().join("data/dead-letters.ndjson"));
            letters.is_ok_and(|letters| letters.lines().count() == 2)
        })
        .await;
    let rows = instance
        .sql("SELECT DISTINCT k8s_cluster_name FROM k8s_audit")
        .await;
    assert_eq!(rows, [serde_json::json!(["prod"])]);
}
