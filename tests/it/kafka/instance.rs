//! A running `weir` and what its API says.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::answers::Answers;
use super::{PARTITIONS, PATIENCE};
use crate::broker::Broker;

/// `weir`, without the settings of whoever runs the tests.
pub fn weir(folder: &Path) -> Command {
    let given = std::env::var_os("WEIR_TEST_BINARY");
    let mut command = Command::new(given.unwrap_or_else(|| env!("CARGO_BIN_EXE_weir").into()));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WEIR_") {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// A port that nothing listens on, at this moment.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Name of the source, the same in Kafka and replay: alerts show it.
pub const SOURCE: &str = "trail";

/// What the source reads.
pub struct Reads<'a> {
    pub group: &'a str,
    pub topics: &'a [String],
    pub lateness: &'a str,
    pub dead_letters: &'a str,
}

/// A running `weir run`, killed when dropped.
pub struct Instance {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
    partitions: usize,
}

impl Instance {
    pub fn new(broker: &Broker, reads: &Reads<'_>) -> Self {
        let Reads {
            group,
            topics,
            lateness,
            dead_letters,
        } = reads;
        let config = format!(
            r#"
                [store]
                path = "data"
                [rules]
                disabled = {:?}
                [source.{SOURCE}]
                type = "kafka"
                brokers = "{}"
                topics = {topics:?}
                group = "{group}"
                format = "cloudtrail"
                lateness = "{lateness}"
                dead_letter_topic = "{dead_letters}"
                [source.{SOURCE}.properties]
                "session.timeout.ms" = "6000"
                "heartbeat.interval.ms" = "1000"
            "#,
            super::disabled(lateness),
            broker.address
        );
        let mut instance = Self::configured(&config);
        instance.partitions = topics.len() * PARTITIONS as usize;
        instance
    }

    /// With this configuration, and an address for the API.
    pub fn configured(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = format!("{config}\n[api]\nlisten = \"127.0.0.1:{port}\"\n");
        std::fs::write(folder.path().join("weir.toml"), config).unwrap();
        Self {
            folder,
            port,
            child: None,
            partitions: 0,
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Rows of a query.
    pub async fn sql(&self, query: &str) -> Vec<Value> {
        let url = format!("http://127.0.0.1:{}/api/v1/sql", self.port);
        let body = serde_json::json!({ "query": query }).to_string();
        let request = reqwest::Client::new().post(url).body(body);
        let request = request.header("content-type", "application/json");
        let text = request.send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        let rows = answer["rows"].as_array();
        rows.unwrap_or_else(|| panic!("{answer}")).clone()
    }

    pub async fn start(&mut self) {
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
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and waits for the end.
    pub async fn terminate(&mut self) {
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
    pub async fn get(&self, path: &str) -> Option<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let answer = reqwest::get(url).await.ok()?;
        if answer.status() != 200 {
            return None;
        }
        answer.text().await.ok()
    }

    pub async fn json(&self, path: &str) -> Value {
        let text = self
            .get(path)
            .await
            .unwrap_or_else(|| panic!("{path} does not answer"));
        serde_json::from_str(&text).unwrap()
    }

    pub async fn wait(&mut self, what: &str, mut holds: impl AsyncFnMut(&Self) -> bool) {
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
    pub async fn metric(&self, name: &str) -> BTreeMap<String, f64> {
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

    pub async fn read(&self) -> u64 {
        self.metric("weir_events_read_total")
            .await
            .values()
            .sum::<f64>() as u64
    }

    /// Everything was read and committed, as far as the instance knows.
    pub async fn drained(&self) -> bool {
        let lag = self.metric("weir_kafka_lag_messages").await;
        lag.len() == self.partitions && lag.values().all(|lag| *lag == 0.0)
    }

    pub async fn list(&self, what: &str) -> Vec<Value> {
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
    pub async fn answers(&self) -> Answers {
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
    pub async fn expect(&mut self, expected: &Answers) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.drained().await {
                let answers = self.answers().await;
                if answers == *expected {
                    break;
                }
                assert!(
                    Instant::now() < deadline,
                    "late: {:?} {:?}\n{}",
                    self.metric("weir_events_late_total").await,
                    self.metric("weir_rule_rows_late_total")
                        .await
                        .into_iter()
                        .filter(|(_, rows)| *rows > 0.0)
                        .collect::<Vec<_>>(),
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
