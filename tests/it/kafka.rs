//! End to end with a real broker: events in Kafka, the `weir` binary, its API; and the same answers as
//! `weir replay` over the same files, whatever dies in between.
//!
//! Run with `WEIR_TEST_KAFKA=1 cargo test --test it kafka -- --nocapture`; see `tests/support/broker.rs`.
//! Random moments come from a printed seed; `WEIR_TEST_SEED` repeats one. `WEIR_TEST_KILLS` is
//! how often the process is killed (10). `WEIR_TEST_BINARY` names another
//! binary to test than the one just built (an optimised one, the one of an image).

mod answers;
pub mod instance;
mod trace;

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::message::{Headers, Message};

use crate::broker::{broker, own_broker};
use answers::Answers;
use instance::{Instance, Reads, SOURCE};
use trace::Trace;

const PARTITIONS: i32 = 3;
/// The intrusion's events are up to ten minutes out of order.
const LATENESS: &str = "20m";
const PATIENCE: Duration = Duration::from_secs(300);

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

/// So long that no alert of a stream that goes on becomes final.
const NEVER_FINAL: &str = "3000h";

/// Rules to leave out of a comparison: those that tell only what is certain, of absences and of final alerts,
/// tell it in a replay when it ends.
fn disabled(lateness: &str) -> Vec<String> {
    let rules = weir_detections::embedded().unwrap().into_iter();
    let rules = rules.map(|loaded| loaded.rule);
    let certain = rules
        .filter(|rule| rule.kind.absence().is_some() || weir_detections::reads_alerts(&rule.query));
    let ids = certain.map(|rule| rule.id);
    ids.filter(|_| lateness == NEVER_FINAL).collect()
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
    for (trace, topic) in traces.iter().zip(&topics) {
        trace.produce(broker, topic, 0..trace.events.len(), Duration::ZERO);
    }
    // The detonations are of many days in no order: as late as any of them is after any other.
    let lateness = NEVER_FINAL;
    let expected = Answers::replayed(&traces.iter().collect::<Vec<_>>(), lateness);
    let reads = Reads {
        group: "attacks",
        topics: &topics,
        lateness,
        dead_letters: &dead,
    };
    let mut instance = Instance::new(broker, &reads);
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
    let topics = [topic.clone()];
    let reads = Reads {
        group: "killed",
        topics: &topics,
        lateness: LATENESS,
        dead_letters: &dead,
    };
    let expected = Answers::replayed(&[&trace], LATENESS);
    let mut instance = Instance::new(broker, &reads);
    let kills = std::env::var("WEIR_TEST_KILLS").map_or(10, |n| n.parse().unwrap());
    let parts = trace.parts(kills + 1);
    for (round, part) in parts[..kills].iter().enumerate() {
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
    trace.produce(
        broker,
        &topic,
        parts[kills].clone(),
        Duration::from_millis(60),
    );
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
    let topics = [topic.clone()];
    let reads = Reads {
        group: "outage",
        topics: &topics,
        lateness: LATENESS,
        dead_letters: &dead,
    };
    let expected = Answers::replayed(&[&trace], LATENESS);
    let mut instance = Instance::new(&broker, &reads);
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
    let topics = [topic.clone()];
    let reads = Reads {
        group: "shared",
        topics: &topics,
        lateness: LATENESS,
        dead_letters: &dead,
    };
    let expected = Answers::replayed(&[&trace], LATENESS);
    let mut first = Instance::new(broker, &reads);
    let mut second = Instance::new(broker, &reads);
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
    let topics = [topic.clone()];
    let reads = Reads {
        group: "poison",
        topics: &topics,
        lateness: LATENESS,
        dead_letters: &dead,
    };
    let expected = Answers::replayed(&[&trace], LATENESS);
    let good = &trace.events[0];
    let deep = [vec![b'['; 200], vec![b']'; 200]].concat();
    let large = format!(r#"{{"padding":"{}"}}"#, "x".repeat(2 << 20)).into_bytes();
    let poison: Vec<(Option<Vec<u8>>, &[&str])> = vec![
        (None, &["empty"]),
        (Some(b"".to_vec()), &["empty"]),
        (Some(good[..good.len() / 2].to_vec()), &["invalid_json"]),
        (
            Some(b"{\"eventName\":\"a\0b\"}".to_vec()),
            &["unknown_format", "missing_field"],
        ),
        (
            Some(b"{\"eventName\":\"\xff\xfe".to_vec()),
            &["invalid_utf8"],
        ),
        (Some(deep), &["unknown_format", "missing_field"]),
        (Some(large), &["unknown_format", "missing_field"]),
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

    let mut instance = Instance::new(broker, &reads);
    instance.start().await;
    instance.expect(&expected).await;
    // Each element of the array of three is one.
    assert_eq!(
        instance.read().await as usize,
        trace.events.len() + poison.len() + 2
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
            assert_eq!(header(letter, "weir.source"), SOURCE);
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
