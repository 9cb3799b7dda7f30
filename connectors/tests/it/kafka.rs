//! The Kafka source against a real broker. Run with `WEIR_TEST_KAFKA=1`; see `tests/support/broker.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::message::{Headers, Message};
use tokio::sync::mpsc;
use weir_connectors::decode::DecoderConfig;
use weir_connectors::kafka::{KafkaConfig, KafkaDeadLetters, KafkaSource, Start};
use weir_engine::batch::{DeadLetter, EventBatch, Partition};
use weir_engine::source::{DeadLetters, Positions, Source, SourceMessage, SourceReceiver};

use crate::broker::{Broker, broker, own_broker};

const PATIENCE: Duration = Duration::from_secs(60);

fn event(number: usize) -> Vec<u8> {
    format!(
        r#"{{"eventVersion":"1.08","userIdentity":{{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/ana","accountId":"111122223333"}},"eventTime":"2026-01-01T00:00:00Z","eventSource":"s3.amazonaws.com","eventName":"GetObject","awsRegion":"eu-west-1","sourceIPAddress":"198.51.100.7","eventID":"{number:08}-0000-4000-8000-000000000000","eventType":"AwsApiCall"}}"#
    )
    .into_bytes()
}

fn config(broker: &Broker, topics: &[&str]) -> KafkaConfig {
    let mut config = KafkaConfig::new(
        "trail",
        &broker.address,
        topics.iter().copied(),
        format!("group-of-{}", topics[0]),
        DecoderConfig::new("trail"),
    );
    // Lost members are noticed soon.
    config
        .properties
        .insert("session.timeout.ms".into(), "6000".into());
    config
}

/// A stand-in for the engine: takes messages, commits at once, keeps account.
struct Engine {
    source: Arc<KafkaSource>,
    receiver: SourceReceiver,
    /// Offsets that batches covered, in order of arrival: (from, next) per partition.
    spans: HashMap<String, Vec<(i64, i64)>>,
    read: u64,
    letters: Vec<DeadLetter>,
    owned: BTreeSet<String>,
    caught_up: BTreeSet<String>,
    positions: Positions,
    revocations: usize,
    /// Partitions that were assigned when the source called itself ready.
    ready: Option<usize>,
    failed: Option<String>,
}

impl Engine {
    fn start(config: &KafkaConfig, positions: Positions, capacity: usize) -> Self {
        let (sender, receiver) = mpsc::channel(capacity);
        let source = Arc::new(KafkaSource::start(config, &positions, sender).unwrap());
        Self {
            source,
            receiver,
            spans: HashMap::new(),
            read: 0,
            letters: vec![],
            owned: BTreeSet::new(),
            caught_up: BTreeSet::new(),
            positions,
            revocations: 0,
            ready: None,
            failed: None,
        }
    }

    fn take_batch(&mut self, batch: EventBatch) {
        let name = batch.partition.name.to_string();
        assert!(
            self.owned.contains(&name),
            "a batch of {name}, which is not assigned"
        );
        assert!(
            batch.counts.conserved() || batch.counts.processed == 0,
            "{:?}",
            batch.counts
        );
        self.caught_up.remove(&name);
        let from = self.positions.get(&batch.partition).copied().unwrap_or(0);
        assert!(
            batch.next > from,
            "{name} goes from {from} to {}",
            batch.next
        );
        self.spans.entry(name).or_default().push((from, batch.next));
        self.read += batch.counts.read;
        self.letters.extend(batch.dead_letters);
        self.positions.insert(batch.partition.clone(), batch.next);
        self.source.committed(&[(batch.partition, batch.next)]);
    }

    fn take(&mut self, message: SourceMessage) {
        match message {
            SourceMessage::Assigned { partitions } => {
                for (partition, _) in partitions {
                    assert!(self.owned.insert(partition.name.to_string()));
                }
            }
            SourceMessage::Ready { .. } => {
                assert_eq!(self.ready, None, "ready twice");
                self.ready = Some(self.owned.len());
            }
            SourceMessage::Batch(batch) => self.take_batch(*batch),
            SourceMessage::CaughtUp { partition } => {
                assert!(self.owned.contains(&*partition.name));
                self.caught_up.insert(partition.name.to_string());
            }
            SourceMessage::Revoked { partitions, done } => {
                self.revocations += 1;
                for partition in partitions {
                    assert!(self.owned.remove(&*partition.name));
                    self.caught_up.remove(&*partition.name);
                }
                done.send(()).unwrap();
            }
            SourceMessage::Finished { partition } => panic!("{partition} cannot finish"),
            SourceMessage::Failed { reason, .. } => self.failed = Some(reason),
        }
    }

    /// Takes messages until the condition holds.
    async fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(
                Instant::now() < deadline,
                "never came: {what}; read {}, owned {:?}, caught up {:?}, failed {:?}",
                self.read,
                self.owned,
                self.caught_up,
                self.failed
            );
            if let Ok(message) =
                tokio::time::timeout(Duration::from_millis(50), self.receiver.recv()).await
            {
                self.take(message.expect("the source is alive"));
            }
        }
    }

    /// Takes messages for a while.
    async fn for_a_while(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if let Ok(Some(message)) =
                tokio::time::timeout(Duration::from_millis(20), self.receiver.recv()).await
            {
                self.take(message);
            }
        }
    }
}

/// Two engines of one group, taken from by turns.
async fn both(
    a: &mut Engine,
    b: &mut Engine,
    what: &str,
    holds: impl Fn(&Engine, &Engine) -> bool,
) {
    let deadline = Instant::now() + PATIENCE;
    while !holds(a, b) {
        assert!(
            Instant::now() < deadline,
            "never came: {what}: {:?} {:?}",
            a.owned,
            b.owned
        );
        a.for_a_while(Duration::from_millis(20)).await;
        b.for_a_while(Duration::from_millis(20)).await;
    }
}

fn produce(broker: &Broker, topic: &str, partitions: i32, numbers: std::ops::Range<usize>) {
    let events: Vec<_> = numbers.map(|n| (n as i32 % partitions, event(n))).collect();
    broker.produce(topic, events.iter().map(|(p, e)| (*p, Some(&e[..]))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_to_the_end_and_a_restart_goes_on_at_the_store_not_at_the_group() {
    let Some(broker) = broker("reads_to_the_end") else {
        return;
    };
    let topic = broker.topic("plain", 3);
    produce(broker, &topic, 3, 0..3000);
    let config = config(broker, &[&topic]);
    let mut engine = Engine::start(&config, Positions::new(), 4);
    engine
        .until("everything", |e| e.read == 3000 && e.caught_up.len() == 3)
        .await;
    let positions: BTreeMap<_, _> = engine
        .positions
        .iter()
        .map(|(p, n)| (p.name.to_string(), *n))
        .collect();
    assert_eq!(positions.values().copied().collect::<Vec<_>>(), [1000; 3]);

    // The lag falls to zero, the group hears of it.
    engine
        .until("no lag", |e| {
            let lag = e.source.lag();
            lag.len() == 3 && lag.iter().all(|(_, lag)| *lag == 0)
        })
        .await;
    assert_eq!(engine.source.problem(), None);
    engine.source.stop().await;
    for partition in 0..3 {
        assert_eq!(
            broker.group_position(&config.group, &topic, partition),
            Some(1000)
        );
    }

    // One partition of the store is behind the group, one is not known to it.
    produce(broker, &topic, 3, 3000..3030);
    let positions = Positions::from([
        (Partition::new("trail", format!("{topic}/0").as_str()), 900),
        (Partition::new("trail", format!("{topic}/1").as_str()), 1000),
    ]);
    let mut again = Engine::start(&config, positions, 4);
    again
        .until("the rest", |e| {
            e.read == 110 + 10 + 10 && e.caught_up.len() == 3
        })
        .await;
    assert_eq!(again.spans[&format!("{topic}/0")][0].0, 900);
    again.source.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_one_topic_is_not_taken_for_that_of_another() {
    let Some(broker) = broker("the_end_of_one_topic") else {
        return;
    };
    let (full, empty) = (broker.topic("full", 1), broker.topic("empty", 1));
    produce(broker, &full, 1, 0..20_000);
    // One slot in the channel: the source cannot run ahead of what is looked at here.
    let mut engine = Engine::start(&config(broker, &[&full, &empty]), Positions::new(), 1);
    let of_empty = format!("{empty}/0");
    let of_full = format!("{full}/0");
    engine
        .until("the empty one's end", |e| e.caught_up.contains(&of_empty))
        .await;
    engine
        .until("the full one's end", |e| {
            assert!(e.read == 20_000 || !e.caught_up.contains(&of_full));
            e.caught_up.len() == 2
        })
        .await;
    engine.until("readiness", |e| e.ready.is_some()).await;
    assert_eq!(engine.ready, Some(2), "ready before all was assigned");
    assert_eq!(engine.read, 20_000);
    engine.source.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_engine_pauses_the_source_and_loses_nothing() {
    let Some(broker) = broker("a_slow_engine") else {
        return;
    };
    let topic = broker.topic("slow", 3);
    produce(broker, &topic, 3, 0..6000);
    let mut config = config(broker, &[&topic]);
    config.batch_rows = 100;
    let mut engine = Engine::start(&config, Positions::new(), 1);
    engine.until("an assignment", |e| e.owned.len() == 3).await;
    // Longer than the session timeout and than the wait before a pause: nobody takes messages.
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(engine.source.problem(), None);
    engine
        .until("everything", |e| e.read == 6000 && e.caught_up.len() == 3)
        .await;
    assert_eq!(
        engine.revocations, 0,
        "the group expelled a source that only waited"
    );
    // Nothing twice: spans are contiguous by the assertion in take_batch, and add up.
    for spans in engine.spans.values() {
        assert!(spans.windows(2).all(|w| w[0].1 == w[1].0));
        assert_eq!(spans.last().unwrap().1, 2000);
    }
    engine.source.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go_and_each_store_sees_every_message_of_its_spans() {
    let Some(broker) = broker("members_come_and_go") else {
        return;
    };
    let topic = broker.topic("moving", 4);
    produce(broker, &topic, 4, 0..400);
    let config = config(broker, &[&topic]);
    let mut a = Engine::start(&config, Positions::new(), 4);
    a.until("all partitions", |e| e.owned.len() == 4 && e.read == 400)
        .await;

    let mut b = Engine::start(&config, Positions::new(), 4);
    both(&mut a, &mut b, "two each", |a, b| {
        a.owned.len() == 2 && b.owned.len() == 2
    })
    .await;
    assert!(a.revocations > 0);
    let moved: Vec<String> = b.owned.iter().cloned().collect();
    produce(broker, &topic, 4, 400..800);
    both(&mut a, &mut b, "the second portion", |a, b| {
        a.read + b.read == 800 && b.caught_up.len() == 2
    })
    .await;
    assert_eq!(
        (a.read, b.read),
        (600, 200),
        "b began where a had committed"
    );

    // b leaves. Its partitions come back to a, which goes on at its own position, not at b's.
    b.source.stop().await;
    a.until("all partitions again", |e| e.owned.len() == 4)
        .await;
    produce(broker, &topic, 4, 800..1200);
    a.until("everything", |e| e.read == 1200 && e.caught_up.len() == 4)
        .await;
    for name in &moved {
        let spans = &a.spans[name];
        assert!(
            spans.windows(2).all(|w| w[0].1 == w[1].0),
            "{name}: {spans:?}"
        );
        assert_eq!((spans[0].0, spans.last().unwrap().1), (0, 300));
    }

    // a goes, a third member takes over its store.
    let positions = a.positions.clone();
    a.source.stop().await;
    let mut c = Engine::start(&config, positions, 4);
    produce(broker, &topic, 4, 1200..1240);
    c.until("the last portion", |e| e.owned.len() == 4 && e.read == 40)
        .await;
    c.source.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tombstones_and_huge_messages_do_not_stop_the_partition() {
    let Some(broker) = broker("tombstones") else {
        return;
    };
    let topic = broker.topic("odd", 1);
    let huge = format!(r#"{{"padding":"{}"}}"#, "x".repeat(10 << 20)).into_bytes();
    let good = event(1);
    broker.produce(
        &topic,
        [
            (0, Some(&good[..])),
            (0, None),
            (0, Some(&huge[..])),
            (0, Some(b"not json")),
            (0, Some(&good[..])),
        ],
    );
    let mut engine = Engine::start(&config(broker, &[&topic]), Positions::new(), 4);
    engine
        .until("all five", |e| {
            e.caught_up.len() == 1 && e.positions.values().any(|n| *n == 5)
        })
        .await;
    let reasons: BTreeMap<i64, &str> = engine
        .letters
        .iter()
        .map(|l| (l.position, l.reason))
        .collect();
    assert_eq!(reasons.get(&1), Some(&"empty"), "{reasons:?}");
    assert_eq!(reasons.get(&2), Some(&"unknown_format"), "{reasons:?}");
    assert_eq!(reasons.get(&3), Some(&"invalid_json"), "{reasons:?}");
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    engine.source.stop().await;

    // And what is written of them can be read back.
    let dead = broker.topic("dead", 1);
    let mut with_topic = config(broker, &[&topic]);
    with_topic.dead_letter_topic = Some(dead.clone());
    let writer = KafkaDeadLetters::new(&with_topic).unwrap().unwrap();
    writer.write(&engine.letters).await.unwrap();
    let written = broker.read_all(&dead);
    assert_eq!(written.len(), 3);
    let header = |message: &rdkafka::message::OwnedMessage, key: &str| {
        let headers = message.headers().unwrap();
        let found = headers.iter().find(|h| h.key == key).unwrap();
        String::from_utf8(found.value.unwrap().to_vec()).unwrap()
    };
    for (message, letter) in written.iter().zip(&engine.letters) {
        assert_eq!(header(message, "weir.source"), "trail");
        assert_eq!(header(message, "weir.partition"), format!("{topic}/0"));
        assert_eq!(
            header(message, "weir.position"),
            letter.position.to_string()
        );
        assert_eq!(header(message, "weir.reason"), letter.reason);
        assert_eq!(header(message, "weir.detail"), letter.detail);
        assert_eq!(
            header(message, "weir.payload_bytes"),
            letter.payload_bytes.to_string()
        );
        assert_eq!(message.payload().unwrap_or_default(), letter.payload);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_that_cannot_be_written_are_an_error() {
    let Some(broker) = broker("dead_letters_that_cannot") else {
        return;
    };
    let mut config = config(broker, &["whatever"]);
    config.dead_letter_topic = Some("no-such-topic".into());
    let writer = KafkaDeadLetters::new(&config).unwrap().unwrap();
    let letter = DeadLetter {
        partition: Partition::new("trail", "whatever/0"),
        position: 17,
        reason: "invalid_json",
        detail: "for the test".into(),
        payload: b"x".to_vec(),
        payload_bytes: 1,
        attributes: None,
    };
    let error = writer
        .write(&[letter])
        .await
        .expect_err("no topic")
        .to_string();
    assert!(
        error.contains("no-such-topic") && error.contains("17"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latest_starts_at_the_end_and_then_misses_nothing() {
    let Some(broker) = broker("latest") else {
        return;
    };
    let topic = broker.topic("latest", 1);
    produce(broker, &topic, 1, 0..50);
    let mut config = config(broker, &[&topic]);
    config.start = Start::Latest;
    let mut engine = Engine::start(&config, Positions::new(), 4);
    engine.until("the end", |e| e.caught_up.len() == 1).await;
    assert_eq!(engine.read, 0);
    produce(broker, &topic, 1, 50..60);
    engine.until("what is new", |e| e.read == 10).await;
    engine.source.stop().await;
    // A restart is not a first start.
    produce(broker, &topic, 1, 60..65);
    let mut again = Engine::start(&config, Positions::new(), 4);
    again.until("what came meanwhile", |e| e.read == 5).await;
    again.source.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_topic_is_named_and_read_once_it_is_there() {
    let Some(broker) = broker("a_missing_topic") else {
        return;
    };
    let topic = "comes-later";
    let mut config = config(broker, &[topic]);
    config
        .properties
        .insert("topic.metadata.refresh.interval.ms".into(), "1000".into());
    let mut engine = Engine::start(&config, Positions::new(), 4);
    engine
        .until("the complaint", |e| {
            e.source
                .problem()
                .is_some_and(|p| p.contains("topic comes-later does not exist"))
        })
        .await;
    assert_eq!(engine.ready, None, "the topic is waited for");
    broker.create_topic(topic, 2);
    produce(broker, topic, 2, 0..10);
    engine.until("its messages", |e| e.read == 10).await;
    assert_eq!(engine.source.problem(), None);
    // More partitions than at the start.
    broker.grow_topic(topic, 3);
    engine
        .until("the new partition", |e| e.owned.len() == 3)
        .await;
    engine.source.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_dies_and_comes_back_is_read_on() {
    let Some(broker) = own_broker("a_broker_that_dies") else {
        return;
    };
    let broker = &broker;
    let topic = broker.topic("outage", 3);
    produce(broker, &topic, 3, 0..300);
    let mut engine = Engine::start(&config(broker, &[&topic]), Positions::new(), 4);
    engine
        .until("the first portion", |e| {
            e.read == 300 && e.caught_up.len() == 3
        })
        .await;
    broker.script(&["kill"]);
    engine
        .until("the complaint", |e| {
            e.source
                .problem()
                .is_some_and(|p| p.contains("cannot reach Kafka"))
        })
        .await;
    broker.script(&["start"]);
    produce(broker, &topic, 3, 300..600);
    engine
        .until("the second portion", |e| {
            e.read == 600 && e.caught_up.len() == 3
        })
        .await;
    engine
        .until("no complaint", |e| e.source.problem().is_none())
        .await;
    assert_eq!(engine.failed, None);
    engine.source.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stops_promptly_without_any_broker() {
    // A port that nothing listens on: bound once and let go.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let config = KafkaConfig::new(
        "trail",
        format!("127.0.0.1:{port}"),
        ["cloudtrail"],
        "weir",
        DecoderConfig::new("trail"),
    );
    let mut engine = Engine::start(&config, Positions::new(), 4);
    engine
        .until("the complaint", |e| {
            e.source
                .problem()
                .is_some_and(|p| p.contains("cannot reach Kafka"))
        })
        .await;
    let begun = Instant::now();
    engine.source.stop().await;
    engine.source.stop().await;
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}

/// All that a set of topics holds is read once, and more topics may come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_match_a_pattern_are_read_also_those_that_come_later() {
    let Some(broker) = broker("topics_that_match_a_pattern") else {
        return;
    };
    let first = broker.topic("pattern-logs", 2);
    let other = broker.topic("pattern-other", 1);
    let dead = broker.topic("pattern-logs-dead", 1);
    produce(broker, &first, 2, 0..100);
    produce(broker, &other, 1, 100..150);
    let mut config = config(broker, &["^pattern-logs-"]);
    config.dead_letter_topic = Some(dead.clone());
    config.group = "group-of-patterns".into();
    let mut engine = Engine::start(&config, Positions::new(), 4);
    engine
        .until("the first topic", |e| {
            e.read == 100 && e.caught_up.len() == 2
        })
        .await;
    engine.until("readiness", |e| e.ready == Some(2)).await;
    let later = broker.topic("pattern-logs", 1);
    produce(broker, &later, 1, 150..200);
    engine
        .until("the later topic", |e| {
            e.read == 150 && e.caught_up.len() == 3
        })
        .await;
    produce(broker, &first, 2, 200..220);
    engine.until("more of the first", |e| e.read == 170).await;
    let partition = |topic: &str| Partition::new("trail", format!("{topic}/0").as_str());
    assert!(engine.source.covers(&partition(&later)));
    assert!(!engine.source.covers(&partition(&other)));
    assert!(!engine.source.covers(&partition(&dead)));
    assert_eq!(engine.source.problem(), None);
    engine.source.stop().await;
    // A restart goes on at the store's positions, in topics that were found, too.
    let mut again = Engine::start(&config, engine.positions.clone(), 4);
    again.until("the end", |e| e.caught_up.len() == 3).await;
    assert_eq!(again.read, 0);
    again.source.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_without_a_topic_says_so_and_waits() {
    let Some(broker) = broker("a_pattern_without_a_topic") else {
        return;
    };
    let config = config(broker, &["^nothing-of-this-name-"]);
    let mut engine = Engine::start(&config, Positions::new(), 4);
    engine
        .until("readiness", |e| {
            e.ready == Some(0) && e.source.problem().is_some()
        })
        .await;
    let problem = engine.source.problem().unwrap();
    assert!(
        problem.contains("no topic at") && problem.contains("^nothing-of-this-name-"),
        "{problem}"
    );
    let topic = broker.topic("nothing-of-this-name", 1);
    produce(broker, &topic, 1, 0..10);
    engine
        .until("the topic", |e| {
            e.read == 10 && e.source.problem().is_none()
        })
        .await;
    engine.source.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_at_a_time_skips_what_is_older() {
    let Some(broker) = broker("a_start_at_a_time") else {
        return;
    };
    let topic = broker.topic("timed", 2);
    produce(broker, &topic, 2, 0..20);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let between = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    // Only partition 0 has anything newer.
    produce(broker, &topic, 1, 20..25);
    let mut config = config(broker, &[&topic]);
    config.start = Start::Time(between.as_millis() as i64);
    let mut engine = Engine::start(&config, Positions::new(), 4);
    engine
        .until("both ends", |e| e.read == 5 && e.caught_up.len() == 2)
        .await;
    produce(broker, &topic, 2, 25..31);
    engine.until("what comes", |e| e.read == 11).await;
    engine.source.stop().await;
    // The store knows better than the configuration.
    let mut again = Engine::start(
        &config,
        Positions::from([(Partition::new("trail", format!("{topic}/0").as_str()), 9)]),
        4,
    );
    again
        .until("the end", |e| e.caught_up.len() == 2 && e.read == 1 + 5 + 3)
        .await;
    again.source.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_compression_is_read_and_messages_of_ten_megabytes() {
    let Some(broker) = broker("every_compression") else {
        return;
    };
    let topic = broker.topic("packed", 1);
    let mut number = 0;
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let events: Vec<_> = (number..number + 50).map(event).collect();
        broker.produce_packed(
            compression,
            &topic,
            events.iter().map(|e| (0, Some(&e[..]))),
        );
        number += 50;
    }
    // An envelope that no compression makes small.
    let mut seed = 1_u64;
    let mut noise = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("{seed:016x}")
    };
    let large: Vec<String> = (number..number + 100)
        .map(|n| {
            let padding: String = (0..6_000).map(|_| noise()).collect();
            let event = String::from_utf8(event(n)).unwrap();
            event.replacen('{', &format!("{{\"padding\":\"{padding}\","), 1)
        })
        .collect();
    let envelope = format!("{{\"Records\":[{}]}}", large.join(","));
    assert!(envelope.len() > 9_500_000, "{}", envelope.len());
    broker.produce_packed("none", &topic, [(0, Some(envelope.as_bytes()))]);
    broker.produce_packed("none", &topic, [(0, Some(&event(0)[..]))]);
    let mut engine = Engine::start(&config(broker, &[&topic]), Positions::new(), 4);
    engine
        .until("everything", |e| e.read == 351 && e.caught_up.len() == 1)
        .await;
    assert_eq!(engine.letters, []);
    engine.source.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_keeps_key_and_headers_of_its_message() {
    let Some(broker) = broker("a_dead_letter_keeps_key") else {
        return;
    };
    let (topic, dead) = (broker.topic("keyed", 1), broker.topic("keyed-dead", 1));
    let headers = [("trace", Some(&b"t-1"[..])), ("empty", None)];
    broker.produce_with(&topic, b"tenant-a", &headers, b"not json");
    broker.produce_with(&topic, b"tenant-b", &headers, &event(1));
    broker.produce(&topic, [(0, Some(&b"not json either"[..]))]);
    let mut config = config(broker, &[&topic]);
    config.dead_letter_topic = Some(dead.clone());
    let mut engine = Engine::start(&config, Positions::new(), 4);
    engine.until("everything", |e| e.read == 3).await;
    engine.source.stop().await;
    let kept = engine.letters[0].attributes.clone().unwrap();
    assert_eq!(kept.key.as_deref(), Some(&b"tenant-a"[..]));
    assert_eq!(engine.letters[1].attributes, None);
    let sink = KafkaDeadLetters::new(&config).unwrap().unwrap();
    sink.write(&engine.letters).await.unwrap();
    let written = broker.read_all(&dead);
    assert_eq!(written[0].key(), Some(&b"tenant-a"[..]));
    assert_eq!(written[1].key(), Some(format!("{topic}/0").as_bytes()));
    let of_first = written[0].headers().unwrap();
    let values: Vec<_> = of_first.iter().map(|h| (h.key, h.value)).collect();
    assert_eq!(values[..2], [("trace", Some(&b"t-1"[..])), ("empty", None)]);
    assert!(
        values.contains(&("weir.reason", Some(&b"invalid_json"[..]))),
        "{values:?}"
    );
}

/// Events in each of two topics, and how often each is read.
const MANY: usize = 40_000;
const READINGS: usize = 3;

/// Reads a topic from its start, with dead letters written as the engine does: some at a time, and before
/// their positions count. Gives the time from the first batch on.
async fn read_through(config: &KafkaConfig, reading: usize) -> (Duration, Vec<DeadLetter>) {
    let config = KafkaConfig {
        group: format!("{}-{reading}", config.group),
        ..config.clone()
    };
    let sink = KafkaDeadLetters::new(&config).unwrap().unwrap();
    let mut engine = Engine::start(&config, Positions::new(), 4);
    engine.until("the first batch", |e| e.read > 0).await;
    let (began, from) = (Instant::now(), engine.read);
    let mut written = 0;
    while engine.read < MANY as u64 {
        let wanted = (engine.read + 8192).min(MANY as u64);
        engine.until("more", |e| e.read >= wanted).await;
        sink.write(&engine.letters[written..]).await.unwrap();
        written = engine.letters.len();
    }
    let share = MANY as f64 / (MANY as u64 - from).max(1) as f64;
    let time = began.elapsed().mul_f64(share);
    engine.source.stop().await;
    assert_eq!(engine.read, MANY as u64);
    (time, engine.letters)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenth_of_poison_costs_less_than_a_fifth_of_the_speed_and_no_message() {
    let Some(broker) = broker("a_tenth_of_poison") else {
        return;
    };
    let good = event(0);
    let deep = [vec![b'['; 200], vec![b']'; 200]].concat();
    let poison: Vec<(Option<&[u8]>, &str)> = vec![
        (None, "empty"),
        (Some(&good[..good.len() / 2]), "invalid_json"),
        (Some(b"{\"eventName\":\"\xff\xfe\"}"), "unknown_format"),
        (Some(&deep), "unknown_format"),
        (Some(b"{\"hello\":\"world\"}"), "unknown_format"),
    ];
    let (clean, mixed) = (broker.topic("clean", 1), broker.topic("mixed", 1));
    let dead = broker.topic("mixed-dead", 1);
    produce(broker, &clean, 1, 0..MANY);
    let events: Vec<_> = (0..MANY).map(event).collect();
    let bad = |n: usize| (n % 10 == 7).then(|| poison[n / 10 % poison.len()]);
    broker.produce(
        &mixed,
        events.iter().enumerate().map(|(n, event)| match bad(n) {
            Some((payload, _)) => (0, payload),
            None => (0, Some(&event[..])),
        }),
    );
    let settings = |topic: &str| {
        let mut config = config(broker, &[topic]);
        config.dead_letter_topic = Some(dead.clone());
        config
    };
    // The best of several by turns: the machine has other things to do.
    let (mut of_clean, mut of_mixed, mut letters) = (Duration::MAX, Duration::MAX, vec![]);
    for reading in 0..READINGS {
        let (time, none) = read_through(&settings(&clean), reading).await;
        assert_eq!(none, []);
        of_clean = of_clean.min(time);
        let (time, all) = read_through(&settings(&mixed), reading).await;
        of_mixed = of_mixed.min(time);
        letters = all;
    }
    let ratio = of_clean.as_secs_f64() / of_mixed.as_secs_f64();
    println!("clean {of_clean:?}, a tenth of it poison {of_mixed:?}: {ratio:.2} of the speed");
    let expected: Vec<(i64, &str)> = (0..MANY)
        .filter_map(|n| Some((n as i64, bad(n)?.1)))
        .collect();
    let told: Vec<_> = letters.iter().map(|l| (l.position, l.reason)).collect();
    assert_eq!(told, expected);
    let written = broker.read_all(&dead);
    assert_eq!(written.len(), READINGS * expected.len());
    let text = |message: &rdkafka::message::OwnedMessage, key: &str| {
        let headers = message.headers().unwrap();
        let found = headers.iter().find(|header| header.key == key).unwrap();
        String::from_utf8(found.value.unwrap().to_vec()).unwrap()
    };
    for (message, (position, reason)) in written.iter().zip(&expected) {
        assert_eq!(text(message, "weir.position"), position.to_string());
        assert_eq!(text(message, "weir.reason"), *reason);
    }
    assert!(ratio >= 0.8, "{ratio:.2} of the speed of clean input");
}
