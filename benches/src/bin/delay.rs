//! How long after the event that crosses a threshold its provisional alert can be read, through real Kafka.
//!
//! `cargo run --release -p weir-benches --bin delay -- --broker 127.0.0.1:9092` (see `scripts/kafka.sh start`)
//!
//! First a topic that is full already is read as fast as it goes: the maximum rate. Then another topic is written
//! at half of that rate, with ordinary events at the pace of their own time and, ten times a second, the twenty
//! failures of a new identity. The delay is from handing the twentieth to the producer until the alert can be
//! queried from the store. Producer, broker and engine share this machine. All embedded rules run beside.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use clap::Parser;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tokio::sync::{mpsc, oneshot};
use weir_benches::generator::{DEFAULT_START_US, Generator, Spec};
use weir_benches::{failures, road};
use weir_connectors::DecoderConfig;
use weir_connectors::kafka::{KafkaConfig, KafkaSource};
use weir_engine::detect::Detector;
use weir_engine::health::Health;
use weir_engine::pipeline::{Pipeline, Settings};
use weir_engine::source::Source;
use weir_engine::store::{AlertQuery, SharedStore};
use weir_engine::time::rfc3339;
use weir_engine::watermark::Lateness;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long)]
    broker: String,
    /// Events for the maximum rate.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Length of the second part.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Milliseconds between commits in the second part; else the default.
    #[arg(long)]
    commit_ms: Option<u64>,
}

const PARTITIONS: i32 = 4;

struct Engine {
    store: SharedStore,
    health: Arc<Health>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<weir_engine::Result<()>>,
    source: Arc<dyn Source>,
    _folder: tempfile::TempDir,
}

impl Engine {
    async fn start(broker: &str, topic: &str, commit_ms: Option<u64>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut rules: Vec<_> = weir_detections::embedded()?
            .into_iter()
            .map(|loaded| loaded.rule)
            .collect();
        rules.push(failures());
        let (detector, refused) = Detector::new(rules, vec![]).await?;
        ensure!(refused.is_empty(), "{refused:?}");
        let mut settings = Settings {
            provisional: true,
            ..road::settings(Lateness::default())
        };
        if let Some(ms) = commit_ms {
            settings.commit_interval = Duration::from_millis(ms);
        }
        let parts = road::parts(folder.path(), detector, None).await?;
        let (store, health) = (parts.store.clone(), parts.health.clone());
        let (pipeline, positions) = Pipeline::resume(settings, parts).await?;
        let (sender, receiver) = mpsc::channel(road::CHANNEL);
        let decoder = DecoderConfig::new(road::SOURCE);
        let config = KafkaConfig::new(road::SOURCE, broker, &[topic.to_owned()], topic, decoder);
        let source: Arc<dyn Source> = Arc::new(KafkaSource::start(&config, &positions, sender)?);
        let (stop, stopped) = oneshot::channel();
        let sources = [source.clone()];
        let task = tokio::spawn(async move { pipeline.run(&sources, receiver, stopped).await });
        Ok(Self {
            store,
            health,
            stop,
            task,
            source,
            _folder: folder,
        })
    }

    fn processed(&self) -> u64 {
        let snapshot = self.health.snapshot();
        let source = snapshot.sources.get(road::SOURCE);
        source.map_or(0, |source| source.counts.processed)
    }

    async fn stop(self) -> Result<()> {
        let _ = self.stop.send(());
        self.task.await??;
        self.source.stop().await;
        Ok(())
    }
}

async fn topic(broker: &str, name: &str) -> Result<BaseProducer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", broker)
        .set("linger.ms", "5")
        .set("compression.type", "lz4")
        .set("queue.buffering.max.kbytes", "262144");
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let new = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1));
    for created in admin.create_topics(&[new], &AdminOptions::new()).await? {
        created.map_err(|(name, error)| anyhow!("topic {name}: {error}"))?;
    }
    Ok(config.create()?)
}

/// Hands a record over; waits while the producer's queue is full.
fn send(producer: &BaseProducer, topic: &str, payload: &[u8]) -> Result<()> {
    loop {
        match producer.send(BaseRecord::<(), [u8]>::to(topic).payload(payload)) {
            Ok(()) => return Ok(()),
            Err((error, _))
                if error
                    .rdkafka_error_code()
                    .is_some_and(|code| code == rdkafka::types::RDKafkaErrorCode::QueueFull) =>
            {
                producer.poll(Duration::from_millis(10));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

fn spec(events: u64, rate: f64) -> Spec {
    Spec {
        events,
        identities: 10_000,
        rate,
        seed: 7,
        ..Spec::default()
    }
}

async fn maximum(broker: &str, events: u64) -> Result<f64> {
    let name = format!("weir-bench-max-{}", std::process::id());
    let producer = topic(broker, &name).await?;
    // A busy stream: read far behind its own time, few events a minute would be many panes a batch.
    let mut generator = Generator::new(spec(events, 50_000.0));
    let mut line = vec![];
    while generator.append_next(&mut line).is_some() {
        send(&producer, &name, &line)?;
        line.clear();
    }
    producer.flush(Duration::from_secs(60))?;
    let engine = Engine::start(broker, &name, None).await?;
    // Joining the group and the first fetch are not counted.
    let mut begun: Option<(Instant, u64)> = None;
    let rate = loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let processed = engine.processed();
        match begun {
            None if processed >= events / 10 => begun = Some((Instant::now(), processed)),
            Some((since, from)) if processed >= events => {
                break (processed - from) as f64 / since.elapsed().as_secs_f64();
            }
            _ => ensure!(!engine.task.is_finished(), "the engine ended"),
        }
    };
    engine.stop().await?;
    Ok(rate)
}

/// One of an identity's failures.
fn failure(probe: u64, number: u64, time_us: i64) -> Vec<u8> {
    serde_json::json!({
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "IAMUser", "principalId": format!("AIDAPROBE{probe:011}"), "accountId": "111122223333",
            "arn": format!("arn:aws:iam::111122223333:user/probe-{probe}"), "userName": format!("probe-{probe}"),
        },
        "eventTime": rfc3339(time_us / 1_000_000 * 1_000_000),
        "eventSource": "s3.amazonaws.com", "eventName": "GetObject", "awsRegion": "us-east-1",
        "sourceIPAddress": "203.0.113.9", "userAgent": "probe", "errorCode": "AccessDenied",
        "errorMessage": "Access Denied", "requestParameters": null, "responseElements": null,
        "eventID": format!("{probe:08x}-{number:04x}-4000-8000-000000000000"),
        "eventType": "AwsApiCall", "recipientAccountId": "111122223333", "eventCategory": "Management",
    })
    .to_string()
    .into_bytes()
}

type Sent = Arc<Mutex<HashMap<String, Instant>>>;

/// Writes for some seconds at a rate. Gives the rate reached.
fn produce(
    producer: &BaseProducer,
    topic: &str,
    rate: f64,
    seconds: u64,
    sent: &Sent,
) -> Result<f64> {
    let mut generator = Generator::new(spec(u64::MAX, rate));
    let (mut line, mut written, mut probe) = (vec![], 0_u64, 0_u64);
    let started = Instant::now();
    let whole = Duration::from_secs(seconds);
    while started.elapsed() < whole {
        let due = (started.elapsed().as_secs_f64() * rate) as u64;
        while written < due {
            generator.append_next(&mut line);
            send(producer, topic, &line)?;
            line.clear();
            written += 1;
        }
        if started.elapsed().as_millis() as u64 >= probe * 100 {
            let now = DEFAULT_START_US + started.elapsed().as_micros() as i64;
            for number in 0..20 {
                send(producer, topic, &failure(probe, number, now))?;
            }
            let key = format!("arn:aws:iam::111122223333:user/probe-{probe}");
            if let Ok(mut sent) = sent.lock() {
                sent.insert(key, Instant::now());
            }
            probe += 1;
        }
        producer.poll(Duration::ZERO);
        // `poll` spins while it waits, and would take a core from the engine.
        std::thread::sleep(Duration::from_millis(2));
    }
    producer.flush(Duration::from_secs(60))?;
    Ok(written as f64 / started.elapsed().as_secs_f64())
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let maximum = maximum(&arguments.broker, arguments.events).await?;
    println!("maximum through Kafka, all rules: {maximum:.0} events/s");

    let name = format!("weir-bench-delay-{}", std::process::id());
    let producer = topic(&arguments.broker, &name).await?;
    let engine = Engine::start(&arguments.broker, &name, arguments.commit_ms).await?;
    let mut news = engine.store.subscribe();
    // Until the group is joined, delays would be those of joining.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let sent: Sent = Arc::default();
    let writing = {
        let (sent, seconds) = (sent.clone(), arguments.seconds);
        tokio::task::spawn_blocking(move || {
            produce(&producer, &name, maximum / 2.0, seconds, &sent)
        })
    };
    let mut delays: Vec<Duration> = vec![];
    let mut seen: HashMap<String, ()> = HashMap::new();
    let mut last_news = Instant::now();
    while !writing.is_finished() || last_news.elapsed() < Duration::from_secs(10) {
        let changed = tokio::time::timeout(Duration::from_millis(200), news.changed()).await;
        if changed.is_err() {
            continue;
        }
        let query = AlertQuery {
            rule_id: Some(failures().id),
            limit: 1000,
            ..AlertQuery::default()
        };
        for alert in engine.store.alerts(&query).await? {
            let Some((_, key)) = alert.key.first().cloned() else {
                continue;
            };
            let at = sent.lock().ok().and_then(|sent| sent.get(&key).copied());
            if let Some(at) = at
                && seen.insert(key, ()).is_none()
            {
                delays.push(at.elapsed());
                last_news = Instant::now();
            }
        }
    }
    let rate = writing.await??;
    let probes = sent.lock().map_or(0, |sent| sent.len());
    let (commits, seconds) = {
        let health = engine.health.snapshot();
        (health.commits, health.commit_seconds_total)
    };
    engine.stop().await?;
    ensure!(
        delays.len() == probes,
        "{} of {probes} alerts came",
        delays.len()
    );
    delays.sort_unstable();
    let at = |part: f64| delays[((delays.len() - 1) as f64 * part) as usize].as_millis();
    println!(
        "at {rate:.0} events/s, {} alerts: p50 {} ms, p99 {} ms, longest {} ms ({commits} commits of {:.0} ms each)",
        delays.len(),
        at(0.5),
        at(0.99),
        at(1.0),
        seconds * 1000.0 / commits.max(1) as f64
    );
    Ok(())
}
