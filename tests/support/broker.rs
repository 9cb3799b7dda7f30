//! A real Kafka broker for tests, run by `scripts/kafka.sh`. Shared by the test programs of several crates.
//!
//! Asked for by `WEIR_TEST_KAFKA=1`; otherwise, or without Java and Maven, a test says loudly that it skips.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

pub struct Broker {
    home: PathBuf,
    pub address: String,
    producer: OnceLock<BaseProducer>,
}

/// The broker that tests of this process share, or None after saying why the test skips.
pub fn broker(test: &str) -> Option<&'static Broker> {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    can_run(test).then(|| BROKER.get_or_init(Broker::start))
}

/// A broker of its own, for a test that kills it.
pub fn own_broker(test: &str) -> Option<Broker> {
    can_run(test).then(Broker::start)
}

fn can_run(test: &str) -> bool {
    let why = if std::env::var_os("WEIR_TEST_KAFKA").is_none_or(|v| v.is_empty() || v == "0") {
        "WEIR_TEST_KAFKA is not set to 1"
    } else if !has("java") {
        "java is missing"
    } else if !has("mvn") {
        "mvn is missing"
    } else {
        return true;
    };
    eprintln!("SKIPPED: {test}: no Kafka broker: {why}");
    false
}

fn has(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| dir.join(program).is_file())
}

fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here
        .ancestors()
        .find(|d| d.join("scripts/kafka.sh").exists());
    root.expect("scripts/kafka.sh is in the repository").into()
}

impl Broker {
    fn start() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weir-test-kafka-{}-{number}", std::process::id());
        let home = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&home).unwrap();
        let mut broker = Self {
            home,
            address: String::new(),
            producer: OnceLock::new(),
        };
        broker.address = broker.script(&["start"]);
        // Statics are never dropped: a watcher ends the broker when this process is gone, however it went.
        Command::new("sh")
            .arg("-c")
            .arg(format!(
                "(while kill -0 {} 2>/dev/null; do sleep 1; done; '{}' kill; rm -rf '{}') &",
                std::process::id(),
                repository().join("scripts/kafka.sh").display(),
                broker.home.display()
            ))
            .env("KAFKA_HOME", &broker.home)
            .env("KAFKA_LIBS", repository().join(".kafka/libs"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        broker
    }

    /// Runs a command of the script and returns what it prints.
    pub fn script(&self, arguments: &[&str]) -> String {
        let output = Command::new(repository().join("scripts/kafka.sh"))
            .args(arguments)
            .env("KAFKA_HOME", &self.home)
            .env("KAFKA_LIBS", repository().join(".kafka/libs"))
            .env_remove("KAFKA_PORT")
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "kafka.sh {arguments:?} failed");
        String::from_utf8(output.stdout).unwrap().trim().to_string()
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.address);
        client
    }

    /// A topic of a name not used before, `<hint>-<number>`.
    pub fn topic(&self, hint: &str, partitions: i32) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{hint}-{number}");
        self.create_topic(&name, partitions);
        name
    }

    pub fn create_topic(&self, name: &str, partitions: i32) {
        self.administer(async |admin, options| {
            let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
            let made = admin.create_topics([&topic], options).await.unwrap();
            assert!(made[0].is_ok(), "{made:?}");
        });
    }

    #[allow(dead_code)]
    pub fn grow_topic(&self, name: &str, partitions: usize) {
        self.administer(async |admin, options| {
            let grown = NewPartitions::new(name, partitions);
            let made = admin.create_partitions([&grown], options).await.unwrap();
            assert!(made[0].is_ok(), "{made:?}");
        });
    }

    /// On a thread of its own, since the caller may be inside a runtime.
    fn administer(
        &self,
        work: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) + Send,
    ) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let admin = self.client().create().unwrap();
                let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
                tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap()
                    .block_on(work(&admin, &options));
            });
        });
    }

    fn producer(&self) -> &BaseProducer {
        self.producer.get_or_init(|| {
            self.client()
                .set("enable.idempotence", "true")
                .set("message.max.bytes", "12000000")
                .set("compression.type", "zstd")
                .create()
                .unwrap()
        })
    }

    /// Produces one message to each partition given and waits until all are acknowledged. A payload of None is
    /// a tombstone.
    pub fn produce<'a>(
        &self,
        topic: &str,
        messages: impl IntoIterator<Item = (i32, Option<&'a [u8]>)>,
    ) {
        self.produce_by(self.producer(), topic, messages);
    }

    /// The same in another compression.
    #[allow(dead_code)]
    pub fn produce_packed<'a>(
        &self,
        compression: &str,
        topic: &str,
        messages: impl IntoIterator<Item = (i32, Option<&'a [u8]>)>,
    ) {
        let producer: BaseProducer = self
            .client()
            .set("message.max.bytes", "12000000")
            .set("compression.type", compression)
            .create()
            .unwrap();
        self.produce_by(&producer, topic, messages);
    }

    /// One message to partition 0, with a key and headers.
    #[allow(dead_code)]
    pub fn produce_with(
        &self,
        topic: &str,
        key: &[u8],
        headers: &[(&str, Option<&[u8]>)],
        payload: &[u8],
    ) {
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| {
                all.insert(Header { key, value: *value })
            });
        let record = BaseRecord::to(topic).partition(0).key(key).payload(payload);
        let sent = self.producer().send(record.headers(headers));
        sent.map_err(|(error, _)| error).unwrap();
        self.producer().flush(Duration::from_secs(120)).unwrap();
    }

    fn produce_by<'a>(
        &self,
        producer: &BaseProducer,
        topic: &str,
        messages: impl IntoIterator<Item = (i32, Option<&'a [u8]>)>,
    ) {
        for (partition, payload) in messages {
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic)
                .partition(partition)
                .headers(OwnedHeaders::new());
            if let Some(payload) = payload {
                record = record.payload(payload);
            } else {
                record = record.key(b"gone");
            }
            loop {
                match producer.send(record) {
                    Ok(()) => break,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                        record = back;
                        producer.poll(Duration::from_millis(50));
                    }
                    Err((error, _)) => panic!("{error}"),
                }
            }
            producer.poll(Duration::ZERO);
        }
        producer.flush(Duration::from_secs(120)).unwrap();
        assert_eq!(producer.in_flight_count(), 0);
    }

    /// All messages of a topic, partition by partition.
    #[allow(dead_code)]
    pub fn read_all(&self, topic: &str) -> Vec<rdkafka::message::OwnedMessage> {
        let consumer: BaseConsumer = self.client().set("group.id", "reads-all").create().unwrap();
        let metadata = consumer
            .fetch_metadata(Some(topic), Duration::from_secs(30))
            .unwrap();
        let mut all = vec![];
        for partition in metadata.topics()[0].partitions() {
            let (low, high) = consumer
                .fetch_watermarks(topic, partition.id(), Duration::from_secs(30))
                .unwrap();
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(topic, partition.id(), Offset::Beginning)
                .unwrap();
            consumer.assign(&list).unwrap();
            let mut next = low;
            let deadline = Instant::now() + Duration::from_secs(60);
            while next < high {
                assert!(Instant::now() < deadline, "reading {topic} back stalls");
                if let Some(message) = consumer.poll(Duration::from_millis(200)) {
                    let message = message.unwrap().detach();
                    next = message.offset() + 1;
                    all.push(message);
                }
            }
        }
        all
    }

    /// The group's committed position of a partition.
    #[allow(dead_code)]
    pub fn group_position(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let consumer: BaseConsumer = self.client().set("group.id", group).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        let list = consumer
            .committed_offsets(list, Duration::from_secs(30))
            .unwrap();
        match list.elements()[0].offset() {
            Offset::Offset(position) => Some(position),
            _ => None,
        }
    }
}
