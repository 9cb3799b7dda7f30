//! End to end with a real broker: events in Kafka, the `weir` binary, its API; and the same answers as
//! `weir replay` over the same files, whatever dies in between.
//!
//! Run with `WEIR_TEST_KAFKA=1 cargo test --test it kafka -- --nocapture`; see `tests/support/broker.rs`.
//! Random moments come from a printed seed; `WEIR_TEST_SEED` repeats one.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::message::{Headers, Message};
use serde_json::{Map, Value, json};

use crate::broker::{Broker, broker, own_broker};

const PARTITIONS: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(180);

/// Events in the order in which they are produced, one JSON document each.
struct Trace {
    name: &'static str,
    events: Vec<Vec<u8>>,
    file: PathBuf,
    /// At least the disorder of event times in the trace.
    lateness: &'static str,
    _folder: tempfile::TempDir,
}

impl Trace {
    fn of(name: &'static str, events: Vec<Vec<u8>>, lateness: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(format!("{name}.ndjson"));
        let mut lines = events.join(&b'\n');
        lines.push(b'\n');
        std::fs::write(&file, lines).unwrap();
        Self {
            name,
            events,
            file,
            lateness,
            _folder: folder,
        }
    }

    /// A real intrusion recorded in CloudTrail, or our own when the sample data is not here.
    fn intrusion() -> Self {
        match sample("cloudtrail/invictus_stratus_2023.ndjson.gz") {
            // Its events are up to ten minutes out of order.
            Some(events) => Self::of("intrusion", events, "20m"),
            None => Self::of("intrusion", own_intrusion(), "20m"),
        }
    }

    /// Short attacks from many days in no order of time.
    fn detonations() -> Option<Self> {
        let events = sample("cloudtrail/stratus_detonation.ndjson")?;
        Some(Self::of("detonations", events, "3000h"))
    }

    /// Produces a part in small portions with pauses, round-robin over the partitions.
    fn produce(&self, broker: &Broker, topic: &str, part: std::ops::Range<usize>, pause: Duration) {
        for portion in part.collect::<Vec<_>>().chunks(20) {
            let messages = portion
                .iter()
                .map(|n| (*n as i32 % PARTITIONS, Some(&*self.events[*n])));
            broker.produce(topic, messages);
            std::thread::sleep(pause);
        }
    }

    /// The trace in so many parts of equal length.
    fn parts(&self, count: usize) -> Vec<std::ops::Range<usize>> {
        let all = self.events.len();
        (0..count)
            .map(|n| all * n / count..all * (n + 1) / count)
            .collect()
    }
}

/// Lines of a file of the sample data, which lies beside the repository and is no part of it.
fn sample(path: &str) -> Option<Vec<Vec<u8>>> {
    let folder = std::env::var_os("WEIR_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let file = folder.join(path);
    let Ok(bytes) = std::fs::read(&file) else {
        eprintln!(
            "SKIPPED: {}: not here, using events of our own",
            file.display()
        );
        return None;
    };
    let mut text = vec![];
    if path.ends_with(".gz") {
        flate2::read::MultiGzDecoder::new(&*bytes)
            .read_to_end(&mut text)
            .unwrap();
    } else {
        text = bytes;
    }
    let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    Some(lines.map(<[u8]>::to_vec).collect())
}

/// An hour of an account: ordinary reads, and one identity that tries out stolen keys, hides and opens doors.
fn own_intrusion() -> Vec<Vec<u8>> {
    let second = |n: usize| {
        format!(
            "2026-01-01T{:02}:{:02}:{:02}Z",
            10 + n / 3600,
            n / 60 % 60,
            n % 60
        )
    };
    let event = |n: usize,
                 user: &str,
                 service: &str,
                 operation: &str,
                 error: Option<&str>,
                 parameters: Value| {
        let mut event = json!({
            "eventVersion": "1.08",
            "userIdentity": {
                "type": "IAMUser", "principalId": "AIDAEXAMPLE", "accountId": "111122223333",
                "arn": format!("arn:aws:iam::111122223333:user/{user}"), "accessKeyId": format!("AKIA{user}"),
                "userName": user
            },
            "eventTime": second(n), "eventSource": format!("{service}.amazonaws.com"), "eventName": operation,
            "awsRegion": "eu-west-1", "sourceIPAddress": if user == "mallory" { "198.51.100.66" } else { "192.0.2.10" },
            "userAgent": "aws-cli/2.15", "requestParameters": parameters, "responseElements": null,
            "requestID": format!("r-{n:08}"), "eventID": format!("{n:08}-0000-4000-8000-{user:0>12}"),
            "readOnly": false, "eventType": "AwsApiCall", "managementEvent": true,
            "recipientAccountId": "111122223333"
        });
        if let Some(error) = error {
            event["errorCode"] = json!(error);
            event["errorMessage"] = json!("User is not authorized to perform this operation");
        }
        event.to_string().into_bytes()
    };
    let mut events = vec![];
    for n in 0..1800 {
        events.push(event(
            2 * n,
            "ana",
            "s3",
            "GetObject",
            None,
            json!({"bucketName": "reports", "key": format!("{n}")}),
        ));
        // Sixteen different calls are refused within four minutes.
        if (600..720).contains(&n) && n % 8 == 0 {
            let operation = format!(
                "Describe{}",
                ["Instances", "Volumes", "Vpcs", "Subnets"][n / 8 % 4]
            ) + &(n / 32).to_string();
            events.push(event(
                2 * n + 1,
                "mallory",
                "ec2",
                &operation,
                Some("AccessDenied"),
                json!({}),
            ));
        }
        let step = match n {
            740 => Some(("cloudtrail", "StopLogging", json!({"name": "main"}))),
            760 => Some(("iam", "CreateAccessKey", json!({"userName": "root-helper"}))),
            780 => Some((
                "ec2",
                "AuthorizeSecurityGroupIngress",
                json!({"groupId": "sg-1", "ipPermissions": {"items": [{
                "ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "ipRanges": {"items": [{"cidrIp": "0.0.0.0/0"}]}}]}}),
            )),
            800 => Some(("cloudtrail", "DeleteTrail", json!({"name": "main"}))),
            _ => None,
        };
        if let Some((service, operation, parameters)) = step {
            events.push(event(
                2 * n + 1,
                "mallory",
                service,
                operation,
                None,
                parameters,
            ));
        }
    }
    events
}

/// `weir`, without the settings of whoever runs the tests.
fn weir(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WEIR_") {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// One topic that is read.
struct Reads<'a> {
    trace: &'a Trace,
    topic: &'a str,
    dead_letters: &'a str,
}

/// A running `weir run`, killed when dropped.
struct Instance {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
    partitions: usize,
}

impl Instance {
    fn new(broker: &Broker, group: &str, reads: &[Reads<'_>]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut config =
            format!("[store]\npath = \"data\"\n\n[api]\nlisten = \"127.0.0.1:{port}\"\n");
        for Reads {
            trace,
            topic,
            dead_letters,
        } in reads
        {
            let Trace { name, lateness, .. } = trace;
            config += &format!(
                "\n[source.{name}]\ntype = \"kafka\"\nbrokers = \"{}\"\ntopics = [\"{topic}\"]\ngroup = \"{group}\"\n\
                 format = \"cloudtrail\"\nlateness = \"{lateness}\"\ndead_letter_topic = \"{dead_letters}\"\n\n\
                 [source.{name}.properties]\n\"session.timeout.ms\" = \"6000\"\n\"heartbeat.interval.ms\" = \"1000\"\n",
                broker.address
            );
        }
        std::fs::write(folder.path().join("weir.toml"), config).unwrap();
        Self {
            folder,
            port,
            child: None,
            partitions: reads.len() * PARTITIONS as usize,
        }
    }

    async fn start(&mut self) {
        let child = weir(self.folder.path())
            .args(["run", "--config", "weir.toml"])
            .stdout(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
        self.wait("it is ready", async |instance| {
            instance.get("/readyz").await.is_some()
        })
        .await;
    }

    /// SIGKILL.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and waits for the end.
    async fn terminate(&mut self) {
        let mut child = self.child.take().unwrap();
        let sent = Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "ended with {status}");
                return;
            }
            assert!(Instant::now() < deadline, "does not stop");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The answer's text, if the answer is 200.
    async fn get(&self, path: &str) -> Option<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let answer = reqwest::get(url).await.ok()?;
        if answer.status() != 200 {
            return None;
        }
        answer.text().await.ok()
    }

    async fn json(&self, path: &str) -> Value {
        let text = self
            .get(path)
            .await
            .unwrap_or_else(|| panic!("{path} does not answer"));
        serde_json::from_str(&text).unwrap()
    }

    async fn wait(&mut self, what: &str, mut holds: impl AsyncFnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self).await {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("weir ended with {status} before {what}");
            }
            assert!(Instant::now() < deadline, "never came: {what}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Values of one metric of `/metrics`, by labels.
    async fn metric(&self, name: &str) -> BTreeMap<String, f64> {
        let text = self.get("/metrics").await.unwrap_or_default();
        let lines = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            if !labels.is_empty() && !labels.starts_with('{') {
                return None;
            }
            Some((labels.to_string(), value.parse().ok()?))
        });
        lines.collect()
    }

    async fn read(&self) -> u64 {
        self.metric("weir_events_read_total")
            .await
            .values()
            .sum::<f64>() as u64
    }

    /// Everything was read and committed, as far as the instance knows.
    async fn drained(&self) -> bool {
        let lag = self.metric("weir_kafka_lag_messages").await;
        lag.len() == self.partitions && lag.values().all(|lag| *lag == 0.0)
    }

    async fn list(&self, what: &str) -> Vec<Value> {
        let (mut all, mut cursor) = (vec![], String::new());
        loop {
            let mut page = self
                .json(&format!("/api/v1/{what}?limit=200{cursor}"))
                .await;
            all.append(page["items"].as_array_mut().unwrap());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }

    /// What the API says, in the form of [`Answers`].
    async fn answers(&self) -> Answers {
        let mut answers = Answers::default();
        for alert in self.list("alerts").await {
            answers.alert(&alert);
        }
        for incident in self.list("incidents").await {
            let id = incident["incident_id"].as_str().unwrap();
            answers.incident(&self.json(&format!("/api/v1/incidents/{id}")).await);
        }
        answers
    }

    /// Waits until the API gives the expected answers with nothing left to read, and that this stays so.
    async fn expect(&mut self, expected: &Answers) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.drained().await {
                let answers = self.answers().await;
                if answers == *expected {
                    break;
                }
                assert!(
                    Instant::now() < deadline,
                    "{}",
                    expected.difference(&answers)
                );
            }
            assert!(
                Instant::now() < deadline,
                "not drained: {:?}",
                self.metric("weir_kafka_lag_messages").await
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        let again = self.answers().await;
        assert!(
            again == *expected,
            "changed afterwards: {}",
            expected.difference(&again)
        );
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Alerts and incidents by id, without what depends on when events arrived: state, revision, watermark, open,
/// created, updated.
#[derive(Debug, Default, PartialEq)]
struct Answers {
    alerts: BTreeMap<String, Value>,
    incidents: BTreeMap<String, Value>,
}

impl Answers {
    fn alert(&mut self, alert: &Value) {
        if alert["state"] == "retracted" {
            return;
        }
        let fields = [
            "alert_id",
            "rule_id",
            "rule_version",
            "rule_title",
            "level",
            "confidence",
            "risk_score",
            "key",
            "window",
            "first_time",
            "last_time",
            "entities",
            "tactics",
            "techniques",
            "row",
            "matches",
            "evidence",
            "evidence_count",
        ];
        let id = alert["alert_id"].as_str().unwrap().to_string();
        let twice = self.alerts.insert(id, comparable(alert, &fields));
        assert!(twice.is_none(), "an alert is listed twice");
    }

    fn incident(&mut self, incident: &Value) {
        let fields = [
            "incident_id",
            "title",
            "level",
            "risk_score",
            "first_time",
            "last_time",
            "entities",
            "tactics",
            "techniques",
            "alert_ids",
            "rule_ids",
        ];
        let id = incident["incident_id"].as_str().unwrap().to_string();
        let twice = self.incidents.insert(id, comparable(incident, &fields));
        assert!(twice.is_none(), "an incident is listed twice");
    }

    /// What a replay of the files says.
    fn replayed(traces: &[&Trace]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lateness = traces
            .iter()
            .map(|t| t.lateness)
            .max_by_key(|l| l.len())
            .unwrap();
        let output = weir(folder.path())
            .arg("replay")
            .args(traces.iter().map(|t| &t.file))
            .args([
                "--output",
                "json",
                "--format",
                "cloudtrail",
                "--lateness",
                lateness,
            ])
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "replay ended with {}",
            output.status
        );
        let all: Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut answers = Self::default();
        all["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .for_each(|alert| answers.alert(alert));
        all["incidents"]
            .as_array()
            .unwrap()
            .iter()
            .for_each(|incident| answers.incident(incident));
        assert!(
            !answers.alerts.is_empty() && !answers.incidents.is_empty(),
            "nothing to compare"
        );
        println!(
            "replay: {} alerts, {} incidents",
            answers.alerts.len(),
            answers.incidents.len()
        );
        answers
    }

    fn difference(&self, other: &Self) -> String {
        let mut text = String::new();
        for (kind, a, b) in [
            ("alert", &self.alerts, &other.alerts),
            ("incident", &self.incidents, &other.incidents),
        ] {
            text += &format!("{} {kind}s expected, {} found\n", a.len(), b.len());
            for (id, value) in a {
                match b.get(id) {
                    None => text += &format!("missing {kind} {value}\n"),
                    Some(found) if found != value => {
                        text += &format!("{kind} {id}\n  expected {value}\n  found    {found}\n")
                    }
                    Some(_) => {}
                }
            }
            for (_, value) in b.iter().filter(|(id, _)| !a.contains_key(*id)) {
                text += &format!("unexpected {kind} {value}\n");
            }
        }
        text.chars().take(6000).collect()
    }
}

/// The fields named, with the two forms that the command line and the API have made one: times as µs, a key as
/// an object, a window as two times.
fn comparable(value: &Value, fields: &[&str]) -> Value {
    let mut out = Map::new();
    for field in fields {
        let value = match (*field, &value[*field]) {
            ("key", Value::Array(pairs)) => pairs
                .iter()
                .map(|pair| (pair[0].as_str().unwrap().to_string(), pair[1].clone()))
                .collect(),
            ("window", Value::Object(window)) => {
                json!([micros(&window["start"]), micros(&window["end"])])
            }
            ("first_time" | "last_time", time) => micros(time),
            ("evidence", Value::Array(events)) => events
                .iter()
                .map(|e| json!([micros(&e["time"]), e["event_uid"]]))
                .collect(),
            (_, other) => other.clone(),
        };
        assert!(!value.is_null() || *field == "window", "{field} is missing");
        out.insert((*field).to_string(), value);
    }
    Value::Object(out)
}

fn micros(time: &Value) -> Value {
    match time {
        Value::String(text) => json!(text.parse::<jiff::Timestamp>().unwrap().as_microsecond()),
        number => number.clone(),
    }
}

/// A small generator whose seed is printed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let given = std::env::var("WEIR_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let seed = given.unwrap_or(now.as_nanos() as u64);
        println!("seed: WEIR_TEST_SEED={seed}");
        Self(seed.max(1))
    }
    fn below(&mut self, limit: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_attacks_through_kafka_give_what_a_replay_gives() {
    let Some(broker) = broker("real_attacks_through_kafka") else {
        return;
    };
    let dead = broker.topic("attacks-dead", 1);
    let traces: Vec<Trace> = [Some(Trace::intrusion()), Trace::detonations()]
        .into_iter()
        .flatten()
        .collect();
    let topics: Vec<String> = traces
        .iter()
        .map(|t| broker.topic(t.name, PARTITIONS))
        .collect();
    let mut reads = vec![];
    for (trace, topic) in traces.iter().zip(&topics) {
        trace.produce(broker, topic, 0..trace.events.len(), Duration::ZERO);
        reads.push(Reads {
            trace,
            topic,
            dead_letters: &dead,
        });
    }
    let expected = Answers::replayed(&traces.iter().collect::<Vec<_>>());
    let mut instance = Instance::new(broker, "attacks", &reads);
    instance.start().await;
    instance.expect(&expected).await;
    let all: usize = traces.iter().map(|t| t.events.len()).sum();
    assert_eq!(instance.read().await, all as u64);
    instance.terminate().await;
    // A restart on the same data says the same and reads nothing again.
    instance.start().await;
    instance.expect(&expected).await;
    assert_eq!(instance.read().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_kills_at_random_moments_change_nothing() {
    let Some(broker) = broker("ten_kills_at_random_moments") else {
        return;
    };
    let mut random = Random::new();
    let trace = Trace::intrusion();
    let (topic, dead) = (
        broker.topic("killed", PARTITIONS),
        broker.topic("killed-dead", 1),
    );
    let expected = Answers::replayed(&[&trace]);
    let mut instance = Instance::new(
        broker,
        "killed",
        &[Reads {
            trace: &trace,
            topic: &topic,
            dead_letters: &dead,
        }],
    );
    let parts = trace.parts(11);
    for (round, part) in parts[..10].iter().enumerate() {
        instance.start().await;
        let producing = std::thread::scope(|scope| {
            let (trace, topic, part) = (&trace, &topic, part.clone());
            let producer =
                scope.spawn(move || trace.produce(broker, topic, part, Duration::from_millis(60)));
            // Something of this round is being read when the kill comes, a while after.
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(async {
                    instance
                        .wait("it reads", async |i| i.read().await > 0)
                        .await;
                    tokio::time::sleep(Duration::from_millis(random.below(1500))).await;
                    let read = instance.read().await;
                    instance.kill();
                    println!("kill {}: after {read} events", round + 1);
                });
            });
            producer.join()
        });
        producing.unwrap();
    }
    instance.start().await;
    trace.produce(broker, &topic, parts[10].clone(), Duration::from_millis(60));
    instance.expect(&expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_in_the_middle_changes_nothing() {
    let Some(broker) = own_broker("a_broker_killed_in_the_middle") else {
        return;
    };
    let trace = Trace::intrusion();
    let (topic, dead) = (
        broker.topic("outage", PARTITIONS),
        broker.topic("outage-dead", 1),
    );
    let expected = Answers::replayed(&[&trace]);
    let mut instance = Instance::new(
        &broker,
        "outage",
        &[Reads {
            trace: &trace,
            topic: &topic,
            dead_letters: &dead,
        }],
    );
    let parts = trace.parts(3);
    instance.start().await;
    trace.produce(&broker, &topic, parts[0].clone(), Duration::from_millis(20));
    instance
        .wait("it reads", async |i| i.read().await > 0)
        .await;
    broker.script(&["kill"]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    broker.script(&["start"]);
    trace.produce(&broker, &topic, parts[1].clone(), Duration::from_millis(20));
    broker.script(&["restart"]);
    trace.produce(&broker, &topic, parts[2].clone(), Duration::from_millis(20));
    instance.expect(&expected).await;
    assert_eq!(instance.read().await, trace.events.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_instance_that_joins_and_leaves_changes_nothing_for_the_first() {
    let Some(broker) = broker("a_second_instance") else {
        return;
    };
    let trace = Trace::intrusion();
    let (topic, dead) = (
        broker.topic("shared", PARTITIONS),
        broker.topic("shared-dead", 1),
    );
    let expected = Answers::replayed(&[&trace]);
    let reads = || {
        [Reads {
            trace: &trace,
            topic: &topic,
            dead_letters: &dead,
        }]
    };
    let mut first = Instance::new(broker, "shared", &reads());
    let mut second = Instance::new(broker, "shared", &reads());
    let parts = trace.parts(4);
    first.start().await;
    trace.produce(broker, &topic, parts[0].clone(), Duration::from_millis(20));
    first
        .wait("the first reads", async |i| i.read().await > 0)
        .await;
    second.start().await;
    // The second has partitions of its own when it reads what comes from here on.
    let quiet = Duration::from_millis(20);
    trace.produce(broker, &topic, parts[1].clone(), quiet);
    let mut rest = parts[2].clone();
    let mut joined = false;
    for n in rest.by_ref() {
        trace.produce(broker, &topic, n..n + 1, Duration::from_millis(50));
        if second.read().await > 0 {
            joined = true;
            break;
        }
    }
    assert!(joined, "the second instance never read anything");
    trace.produce(broker, &topic, rest, quiet);
    println!("second read {} events before it left", second.read().await);
    second.terminate().await;
    trace.produce(broker, &topic, parts[3].clone(), quiet);
    first.expect(&expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_messages_become_dead_letters_and_cost_no_other_event() {
    let Some(broker) = broker("poison_messages") else {
        return;
    };
    let trace = Trace::intrusion();
    let (topic, dead) = (
        broker.topic("poison", PARTITIONS),
        broker.topic("poison-dead", 1),
    );
    let expected = Answers::replayed(&[&trace]);
    let good = &trace.events[0];
    let deep = [vec![b'['; 200], vec![b']'; 200]].concat();
    let large = format!(r#"{{"padding":"{}"}}"#, "x".repeat(2 << 20)).into_bytes();
    let poison: Vec<(Option<Vec<u8>>, &[&str])> = vec![
        (None, &["empty"]),
        (Some(b"".to_vec()), &["empty"]),
        (Some(good[..good.len() / 2].to_vec()), &["invalid_json"]),
        (
            Some([good.clone(), good.clone()].concat()),
            &["invalid_json"],
        ),
        (
            Some(b"{\"eventName\":\"a\0b\"}".to_vec()),
            &["invalid_json"],
        ),
        (
            Some(b"{\"eventName\":\"\xff\xfe\"}".to_vec()),
            &["invalid_utf8"],
        ),
        (Some(deep), &["too_deep"]),
        (Some(large), &["too_large"]),
        (
            Some(b"{\"hello\":\"world\"}".to_vec()),
            &["unknown_format", "missing_field"],
        ),
        (
            Some(b"[1,2,3]".to_vec()),
            &["unknown_format", "missing_field", "wrong_type"],
        ),
    ];
    // A good part, then good and bad by turns, then the rest.
    let half = trace.events.len() / 2;
    trace.produce(broker, &topic, 0..half, Duration::ZERO);
    for (n, (payload, _)) in poison.iter().enumerate() {
        let next = half + n;
        broker.produce(
            &topic,
            [(0, payload.as_deref()), (0, Some(&*trace.events[next]))],
        );
    }
    trace.produce(
        broker,
        &topic,
        half + poison.len()..trace.events.len(),
        Duration::ZERO,
    );

    let mut instance = Instance::new(
        broker,
        "poison",
        &[Reads {
            trace: &trace,
            topic: &topic,
            dead_letters: &dead,
        }],
    );
    instance.start().await;
    instance.expect(&expected).await;
    assert_eq!(
        instance.read().await as usize,
        trace.events.len() + poison.len()
    );

    let letters = broker.read_all(&dead);
    let header = |message: &rdkafka::message::OwnedMessage, key: &str| {
        let headers = message.headers().unwrap();
        let found = headers
            .iter()
            .find(|h| h.key == key)
            .unwrap_or_else(|| panic!("no header {key}"));
        String::from_utf8(found.value.unwrap().to_vec()).unwrap()
    };
    let by_position: BTreeMap<i64, String> = letters
        .iter()
        .inspect(|letter| {
            assert_eq!(header(letter, "weir.partition"), format!("{topic}/0"));
            assert_eq!(header(letter, "weir.source"), trace.name);
            assert!(!header(letter, "weir.detail").is_empty());
        })
        .map(|letter| {
            (
                header(letter, "weir.position").parse().unwrap(),
                header(letter, "weir.reason"),
            )
        })
        .collect();
    assert_eq!(by_position.len(), poison.len(), "{by_position:?}");
    // Partition 0 has every third event before the poison, and from there on a good one after each bad one.
    let first = half.div_ceil(PARTITIONS as usize) as i64;
    for (n, (_, reasons)) in poison.iter().enumerate() {
        let position = first + 2 * n as i64;
        let reason = by_position
            .get(&position)
            .unwrap_or_else(|| panic!("no letter at {position}: {by_position:?}"));
        assert!(
            reasons.contains(&reason.as_str()),
            "at {position}: {reason}, not {reasons:?}"
        );
    }
}
