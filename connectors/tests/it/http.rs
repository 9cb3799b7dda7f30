//! The HTTP source as a sender and the engine see it: a real listener, and a stand-in for the engine.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::AsArray;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use weir_connectors::DecoderConfig;
use weir_connectors::http::{HttpConfig, HttpSource, Inbox, serve};
use weir_engine::batch::{Counts, DeadLetter, EventBatch, Partition};
use weir_engine::schema::col;
use weir_engine::source::{Positions, Source, SourceMessage, SourceReceiver};

const PATIENCE: Duration = Duration::from_secs(20);
/// Of the token `secret`.
const SHA256: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

fn config(folder: &Path) -> HttpConfig {
    HttpConfig {
        name: "push".into(),
        listen: "127.0.0.1:0".parse().unwrap(),
        tokens: vec![],
        decoder: DecoderConfig::new("push"),
        max_body_bytes: 1 << 20,
        spool: folder.join("spool"),
        spool_bytes: 16 << 20,
    }
}

struct Server {
    inbox: Arc<Inbox>,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(config: HttpConfig, positions: &Positions) -> Self {
        let inbox = Arc::new(Inbox::open(config, positions).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move { drop(stopped.await) };
        let task = tokio::spawn(serve(listener, vec![inbox.clone()], shutdown));
        Self {
            inbox,
            address,
            stop,
            task,
        }
    }

    fn post(&self) -> reqwest::RequestBuilder {
        self.post_as("application/json")
    }

    fn post_as(&self, media: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}/push/push", self.address);
        let request = reqwest::Client::new().post(url);
        request.header("content-type", media)
    }

    async fn stop(self) {
        drop(self.stop);
        self.task.await.unwrap().unwrap();
    }
}

/// Takes messages as the engine does.
struct Engine {
    source: HttpSource,
    receiver: SourceReceiver,
    uids: Vec<String>,
    counts: Counts,
    letters: Vec<DeadLetter>,
    positions: Positions,
    ended: usize,
}

impl Engine {
    async fn start(inbox: Arc<Inbox>, positions: &Positions) -> Self {
        let (sender, mut receiver) = mpsc::channel(2);
        let source = HttpSource::start(inbox, positions, sender).unwrap();
        let first = receiver.recv().await.unwrap();
        assert!(matches!(first, SourceMessage::Assigned { partitions } if partitions.len() == 1));
        let second = receiver.recv().await.unwrap();
        assert!(matches!(second, SourceMessage::Ready { shared: false, .. }));
        Self {
            source,
            receiver,
            uids: vec![],
            counts: Counts::default(),
            letters: vec![],
            positions: Positions::new(),
            ended: 0,
        }
    }

    fn take(&mut self, batch: EventBatch) {
        assert!(batch.counts.conserved());
        self.counts.add(&batch.counts);
        let uids = batch.events.column(col::EVENT_UID).as_string_view();
        self.uids
            .extend(uids.iter().map(|uid| uid.unwrap().to_owned()));
        self.letters.extend(batch.dead_letters);
        let before = self.positions.insert(batch.partition, batch.next);
        assert!(before.is_none_or(|before| before < batch.next));
    }

    /// Reads on until this many events were read and the source is at its end.
    async fn until(&mut self, events: u64) {
        let mut at_end = false;
        while self.counts.read < events || !at_end {
            let message = tokio::time::timeout(PATIENCE, self.receiver.recv()).await;
            match message.expect("the source is silent").unwrap() {
                SourceMessage::Batch(batch) => {
                    at_end = false;
                    self.take(*batch);
                }
                SourceMessage::CaughtUp { .. } => {
                    at_end = true;
                    self.ended += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(self.counts.read, events);
    }

    fn commit(&self) {
        let positions: Vec<(Partition, i64)> = self.positions.clone().into_iter().collect();
        self.source.committed(&positions);
    }

    fn status(&self, status: u16) -> u64 {
        let intake = self.source.intake().unwrap();
        intake.requests.get(&status).copied().unwrap_or(0)
    }
}

fn event(uid: &str) -> String {
    format!(
        r#"{{"eventTime":"2026-01-02T03:04:05Z","eventSource":"s","eventName":"n","eventID":"{uid}"}}"#
    )
}

fn audit(uid: &str) -> String {
    format!(
        r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"{uid}","stage":"ResponseComplete","requestURI":"/api/v1/pods","verb":"list","user":{{"username":"ana"}},"requestReceivedTimestamp":"2026-01-02T03:04:05.123456Z","stageTimestamp":"2026-01-02T03:04:05.200000Z"}}"#
    )
}

fn gzip(text: &str) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

/// Events and dead letters that the answer to a push counts.
async fn counted(answer: reqwest::Response) -> (u64, u64) {
    let answer: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let count = |name: &str| answer[name].as_u64().unwrap();
    (count("events"), count("dead_letters"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_shape_that_senders_have_becomes_events() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(config(folder.path()), &Positions::new()).await;
    let mut engine = Engine::start(server.inbox.clone(), &Positions::new()).await;
    let list = format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{{}},"items":[{},{}]}}"#,
        audit("k1"),
        audit("k2")
    );
    let falco = r#"{"uuid":"f1","output":"x","priority":"Notice","rule":"Terminal shell in container","source":"syscall","hostname":"n","time":"2026-01-02T03:04:05.123456789Z","output_fields":{"evt.time":1767322800123456789},"tags":[]}"#;
    let lines = format!("{}\nnot JSON\n{}\n", event("l1"), event("l2"));
    let bodies = [
        event("one"),
        format!("[{},{}]", event("a1"), event("a2")),
        list,
        falco.to_owned(),
        lines,
        "{\"hello\": \"world\"}".to_owned(),
    ];
    for body in bodies {
        let answer = server.post().body(body).send().await.unwrap();
        assert_eq!(answer.status(), 202);
    }
    let packed = server
        .post_as("application/x-ndjson")
        .header("content-encoding", "gzip")
        .body(gzip(&format!("{}\n{}", event("z1"), event("z2"))));
    assert_eq!(packed.send().await.unwrap().status(), 202);
    engine.until(12).await;
    let mut uids = engine.uids.clone();
    uids.sort();
    for uid in ["one", "a1", "a2", "l1", "l2", "z1", "z2"] {
        assert!(uids.contains(&uid.to_owned()), "{uid} of {uids:?}");
    }
    assert_eq!(uids.len(), 10, "{uids:?}");
    let reasons: Vec<_> = engine.letters.iter().map(|letter| letter.reason).collect();
    assert_eq!(reasons, ["invalid_json", "unknown_format"]);
    assert_eq!(engine.letters[0].payload, b"not JSON");
    assert_eq!(engine.status(202), 7);
    engine.source.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_say_what_is_wrong_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let settings = HttpConfig {
        tokens: vec![SHA256.into()],
        ..config(folder.path())
    };
    let server = Server::start(settings, &Positions::new()).await;
    let mut engine = Engine::start(server.inbox.clone(), &Positions::new()).await;
    let before = engine.source.intake().unwrap().spool_bytes;
    let trusted = || server.post().bearer_auth("secret");
    let url = format!("http://{}/push/other", server.address);
    let other = reqwest::Client::new().post(url).body("{}");
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    let wrong: Vec<(reqwest::RequestBuilder, u16, &str)> = vec![
        (other, 404, "no source \"other\""),
        (server.post().body("{}"), 401, "token"),
        (server.post().bearer_auth("Secret").body("{}"), 401, "token"),
        (
            server
                .post_as("text/plain")
                .bearer_auth("secret")
                .body("{}"),
            415,
            "application/json",
        ),
        (trusted().body(""), 400, "empty"),
        (trusted().body(large.clone()), 413, "max_body_mb"),
        (
            trusted()
                .header("content-encoding", "gzip")
                .body(gzip(&large)),
            413,
            "max_body_mb",
        ),
        (
            trusted().header("content-encoding", "br").body("{}"),
            415,
            "br",
        ),
    ];
    for (request, status, says) in wrong {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{says}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let problem: serde_json::Value =
            serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(problem["status"], status);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{detail}");
        assert!(!problem["type"].as_str().unwrap().ends_with("busy"));
    }
    let url = format!("http://weir:secret@{}/push/push", server.address);
    let by_url = reqwest::Client::new().post(url);
    let by_url = by_url.header("content-type", "application/json");
    let answer = by_url.body(event("good")).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    assert_eq!(counted(answer).await, (1, 0));
    engine.until(1).await;
    assert_eq!(engine.uids, ["good"]);
    // What cannot be used is a dead letter, told to the sender, and costs its neighbours nothing.
    let mixed = format!("[{},{{\"a\":NaN}},{}]", event("b"), event("c"));
    let sent = mixed.len() as u64;
    let answer = trusted().body(mixed).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    assert_eq!(counted(answer).await, (3, 1));
    engine.until(4).await;
    assert_eq!(engine.uids, ["good", "b", "c"]);
    let intake = engine.source.intake().unwrap();
    let statuses: Vec<_> = intake.requests.into_iter().collect();
    assert_eq!(statuses, [(202, 2), (400, 1), (401, 2), (413, 2), (415, 2)]);
    let one = event("good").len() as u64;
    assert_eq!(intake.bytes, one + sent);
    assert!(intake.spool_bytes - before < 2 * (one + sent));
    engine.source.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_goes_on_where_the_store_is_also_in_a_new_process() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(config(folder.path()), &Positions::new()).await;
    for number in 0..20 {
        let body = event(&format!("e{number}"));
        assert_eq!(server.post().body(body).send().await.unwrap().status(), 202);
    }
    let mut engine = Engine::start(server.inbox.clone(), &Positions::new()).await;
    engine.until(20).await;
    assert_eq!(engine.ended, 1);
    let half = engine.positions.clone();
    engine.commit();
    // Pushed while nobody reads, and read by the next one.
    engine.source.stop().await;
    let late = server.post().body(event("late")).send().await.unwrap();
    assert_eq!(late.status(), 202);
    server.stop().await;
    drop(engine);
    let server = Server::start(config(folder.path()), &half).await;
    let mut engine = Engine::start(server.inbox.clone(), &half).await;
    engine.until(1).await;
    assert_eq!(engine.uids, ["late"]);
    // Nothing was committed: it comes again.
    engine.source.stop().await;
    let mut again = Engine::start(server.inbox.clone(), &half).await;
    again.until(1).await;
    assert_eq!(again.uids, ["late"]);
    again.source.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_spool_says_when_to_come_back_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let settings = HttpConfig {
        spool_bytes: 2 << 20,
        ..config(folder.path())
    };
    let server = Server::start(settings, &Positions::new()).await;
    let mut engine = Engine::start(server.inbox.clone(), &Positions::new()).await;
    let body = |number: usize| {
        let padding = "x".repeat(100_000);
        event(&format!("e{number}")).replacen('{', &format!("{{\"padding\":\"{padding}\","), 1)
    };
    let mut taken = 0;
    let refused = loop {
        let answer = server.post().body(body(taken)).send().await.unwrap();
        if answer.status() != 202 {
            break answer;
        }
        taken += 1;
        assert!(taken < 30, "never full");
    };
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "5");
    assert!(refused.text().await.unwrap().contains("spool_mb"));
    engine.until(taken as u64).await;
    engine.commit();
    assert_eq!(
        server
            .post()
            .body(body(taken))
            .send()
            .await
            .unwrap()
            .status(),
        202
    );
    engine.until(taken as u64 + 1).await;
    let expected: Vec<_> = (0..=taken).map(|number| format!("e{number}")).collect();
    assert_eq!(engine.uids, expected);
    assert_eq!(
        (engine.status(202), engine.status(429)),
        (taken as u64 + 1, 1)
    );
    engine.source.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_that_is_found_while_reading_stops_the_source_with_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(config(folder.path()), &Positions::new()).await;
    assert_eq!(
        server
            .post()
            .body(event("a"))
            .send()
            .await
            .unwrap()
            .status(),
        202
    );
    let segment = folder.path().join("spool/00000000000000000000.spool");
    let mut bytes = std::fs::read(&segment).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let mut engine = Engine::start(server.inbox.clone(), &Positions::new()).await;
    match engine.receiver.recv().await.unwrap() {
        SourceMessage::Failed { source, reason } => {
            assert_eq!(source, "push");
            assert!(reason.contains("damaged at byte 16"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    server.stop().await;
}

#[test]
fn configurations_that_cannot_be_meant_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |change: &dyn Fn(&mut HttpConfig)| {
        let mut config = config(folder.path());
        config.check().unwrap();
        change(&mut config);
        config.check().unwrap_err().to_string()
    };
    for open in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
        let message = refused(&|config| config.listen = open.parse().unwrap());
        assert!(message.contains("weir token"), "{message}");
    }
    assert!(refused(&|config| config.tokens = vec!["secret".into()]).contains("token_sha256"));
    assert!(refused(&|config| config.max_body_bytes = 65 << 20).contains("max_body_mb"));
    assert!(refused(&|config| config.spool_bytes = 1 << 20).contains("spool_mb"));
}
