//! Streams of events made up from a seed: quiet background, bursts that rules look for, chains of steps,
//! heartbeats that stop, journeys. And the ways in which a stream can arrive.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::buffer::Buffer;
use weir_engine::builder::EventBuilder;
use weir_engine::schema::col;

use crate::events::Random;

pub const SECOND: i64 = 1_000_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const DAY: i64 = 24 * 60 * MINUTE;
/// 2025-03-01T08:00:00Z: in the past of any clock that runs these tests.
const BEGIN: i64 = 1_740_816_000 * SECOND;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Event {
    /// What it says; see [`clocks_ahead`].
    pub time: i64,
    /// When it happened.
    pub at: i64,
    pub uid: String,
    pub family: &'static str,
    pub operation: Option<&'static str>,
    pub actor: Option<String>,
    /// Address with latitude and longitude.
    pub from: Option<(&'static str, f64, f64)>,
    pub region: Option<&'static str>,
    pub failed: bool,
    pub severity: Option<i64>,
    pub port: Option<i64>,
    pub namespace: Option<&'static str>,
    pub pod: Option<String>,
    pub host: Option<String>,
    pub finding: Option<&'static str>,
    pub raw: String,
}

pub fn batch(events: &[Event]) -> RecordBatch {
    let mut builder = EventBuilder::new(Buffer::from(b"" as &[u8]));
    for event in events {
        builder.begin();
        builder.int(col::TIME, event.time);
        builder.text(col::EVENT_UID, &event.uid);
        builder.text(col::FAMILY, event.family);
        builder.text(col::PRODUCT, "test");
        builder.text(col::LOG_NAME, "test");
        builder.text(
            col::STATUS,
            if event.failed { "failure" } else { "success" },
        );
        builder.text(col::RAW, &event.raw);
        let texts = [
            (col::API_OPERATION, event.operation),
            (col::ACTOR_UID, event.actor.as_deref()),
            (col::SRC_IP, event.from.map(|from| from.0)),
            (col::CLOUD_REGION, event.region),
            (col::K8S_NAMESPACE, event.namespace),
            (col::K8S_POD, event.pod.as_deref()),
            (col::HOSTNAME, event.host.as_deref()),
            (col::FINDING_TITLE, event.finding),
        ];
        for (column, value) in texts {
            if let Some(value) = value {
                builder.text(column, value);
            }
        }
        for (column, value) in [
            (col::SEVERITY_ID, event.severity),
            (col::SRC_PORT, event.port),
        ] {
            if let Some(value) = value {
                builder.int(column, value);
            }
        }
        if let Some((_, lat, long)) = event.from {
            builder.float(col::SRC_LAT, lat);
            builder.float(col::SRC_LONG, long);
        }
        builder.keep();
    }
    builder.finish().unwrap()
}

const ADDRESSES: [(&str, f64, f64); 8] = [
    ("203.0.113.5", 52.52, 13.405),
    ("203.0.113.77", 48.137, 11.575),
    ("198.51.100.9", 40.713, -74.006),
    ("198.51.100.23", 35.69, 139.692),
    ("192.0.2.14", -33.869, 151.209),
    ("10.1.2.3", 50.11, 8.682),
    ("10.200.0.8", 50.11, 8.682),
    ("2001:db8::17", 1.29, 103.852),
];
const OPERATIONS: [&str; 7] = [
    "GetObject",
    "ListBuckets",
    "StopLogging",
    "CreateUser",
    "PutBucketPolicy",
    "GetSecretValue",
    "DescribeInstances",
];
const VERBS: [&str; 5] = ["get", "list", "create", "delete", "exec"];
const REGIONS: [&str; 4] = ["eu-central-1", "us-east-1", "ap-southeast-2", "sa-east-1"];
const NAMESPACES: [&str; 3] = ["shop", "kube-system", "lab"];
const FINDINGS: [&str; 4] = [
    "Shell in container",
    "Write below etc",
    "Outbound miner",
    "Heartbeat",
];

fn pick<T: Copy>(random: &mut Random, items: &[T]) -> T {
    items[random.below(items.len() as u64) as usize]
}

fn cloud_actor(random: &mut Random) -> String {
    let name = pick(random, &["ann", "ben", "cem", "dora", "eve", "finn"]);
    format!("arn:aws:iam::111122223333:user/{name}")
}

struct Maker {
    random: Random,
    span: i64,
    last: i64,
    events: Vec<Event>,
}

impl Maker {
    /// A time in the stream: often on a full minute, where windows begin and end, or equal to another's.
    fn time(&mut self, around: i64, width: i64) -> i64 {
        let time = around + self.random.below(width.max(1) as u64) as i64;
        let time = match self.random.below(10) {
            0 => time - time.rem_euclid(MINUTE),
            1 => time - time.rem_euclid(SECOND),
            2 if (around..around + width).contains(&self.last) => self.last,
            _ => time,
        };
        self.last = time.max(BEGIN);
        self.last
    }

    fn moment(&mut self) -> i64 {
        BEGIN + self.random.below(self.span as u64) as i64
    }

    fn raw(&mut self) -> String {
        let random = &mut self.random;
        let bucket = pick(
            random,
            &["\"logs\"", "\"secrets\"", "\"web\"", "\"b é\"", "null", "7"],
        );
        let tenths = random.below(400);
        match random.below(6) {
            0 => "{}".into(),
            1 => format!(
                "{{\"requestParameters\": \"none\", \"mb\": {}.{}}}",
                tenths / 10,
                tenths % 10
            ),
            _ => format!(
                "{{\"requestParameters\":{{\"bucketName\":{bucket},\"ids\":[\"i-{}\",\"i-{}\"]}},\"mb\":{}.{},\"bytes\":{}}}",
                random.below(4),
                random.below(3),
                tenths / 10,
                tenths % 10,
                random.below(5000)
            ),
        }
    }

    fn add(&mut self, event: Event) {
        let uid = format!(
            "{:016x}-{:04}",
            self.random.below(u64::MAX),
            self.events.len()
        );
        let raw = self.raw();
        let at = event.time;
        self.events.push(Event {
            uid,
            raw,
            at,
            ..event
        });
    }

    fn cloud(
        &mut self,
        time: i64,
        actor: Option<String>,
        operation: &'static str,
        from: usize,
        failed: bool,
    ) {
        let random = &mut self.random;
        let from = (random.below(12) > 0).then(|| ADDRESSES[from % ADDRESSES.len()]);
        let region = (random.below(6) > 0).then(|| pick(random, &REGIONS));
        let port = (random.below(5) > 0).then(|| 1024 + random.below(3000) as i64);
        let severity = (random.below(3) > 0).then(|| 1 + random.below(6) as i64);
        let family = "cloud_audit";
        let operation = Some(operation);
        self.add(Event {
            time,
            family,
            actor,
            operation,
            from,
            region,
            port,
            severity,
            failed,
            ..Event::default()
        });
    }

    fn k8s(
        &mut self,
        time: i64,
        actor: &str,
        verb: &'static str,
        namespace: &'static str,
        from: usize,
    ) {
        let random = &mut self.random;
        let pod = (random.below(5) > 0).then(|| format!("pod-{}", random.below(4)));
        let failed = random.below(4) == 0;
        let from = (random.below(5) > 0).then(|| ADDRESSES[from % ADDRESSES.len()]);
        let (family, actor, operation) = ("k8s_audit", Some(actor.to_owned()), Some(verb));
        let namespace = Some(namespace);
        self.add(Event {
            time,
            family,
            actor,
            operation,
            from,
            namespace,
            pod,
            failed,
            ..Event::default()
        });
    }

    fn agent(&mut self, time: i64, host: u64, finding: &'static str, severity: i64) {
        let random = &mut self.random;
        let pod = (random.below(4) > 0).then(|| format!("pod-{}", random.below(4)));
        let namespace = Some(pick(random, &NAMESPACES));
        let (family, finding, severity) = ("agent_alerts", Some(finding), Some(severity));
        let host = Some(format!("node-{host}"));
        self.add(Event {
            time,
            family,
            finding,
            severity,
            pod,
            namespace,
            host,
            ..Event::default()
        });
    }

    fn background(&mut self) {
        let time = self.moment();
        let time = self.time(time, MINUTE);
        let random = &mut self.random;
        match random.below(6) {
            0 => {
                let (finding, severity) =
                    (pick(random, &FINDINGS[..3]), 1 + random.below(6) as i64);
                let host = random.below(3);
                self.agent(time, host, finding, severity);
            }
            1 | 2 => {
                let user = format!("system:serviceaccount:shop:sa{}", random.below(4));
                let (verb, namespace) = (pick(random, &VERBS), pick(random, &NAMESPACES));
                let from = random.below(8) as usize;
                self.k8s(time, &user, verb, namespace, from);
            }
            _ => {
                let actor = (random.below(10) > 0).then(|| cloud_actor(random));
                let (operation, from) = (pick(random, &OPERATIONS), random.below(8) as usize);
                let failed = random.below(4) == 0;
                self.cloud(time, actor, operation, from, failed);
            }
        }
    }

    fn cloud_burst(&mut self) {
        let start = self.moment();
        let random = &mut self.random;
        let actor = Some(cloud_actor(random));
        let width = 20 * SECOND + random.below(4) as i64 * MINUTE;
        let operations = 1 + random.below(OPERATIONS.len() as u64) as usize;
        let (first, addresses) = (random.below(8) as usize, 1 + random.below(4));
        let failing = random.below(4);
        for _ in 0..6 + self.random.below(9) {
            let time = self.time(start, width);
            let operation = pick(&mut self.random, &OPERATIONS[..operations]);
            let from = first + self.random.below(addresses) as usize;
            let failed = self.random.below(4) < failing;
            self.cloud(time, actor.clone(), operation, from, failed);
        }
    }

    fn k8s_burst(&mut self) {
        let start = self.moment();
        let random = &mut self.random;
        let user = format!("system:serviceaccount:lab:sa{}", random.below(4));
        let (from, namespace) = (random.below(8) as usize, pick(random, &NAMESPACES));
        for _ in 0..4 + self.random.below(6) {
            let time = self.time(start, 3 * MINUTE);
            let verb = pick(&mut self.random, &VERBS);
            self.k8s(time, &user, verb, namespace, from);
        }
    }

    /// Steps of a take-over, now and then with a step left out, in disorder, too slow or undone in between.
    fn chain(&mut self) {
        let mut time = self.moment();
        let actor = Some(cloud_actor(&mut self.random));
        for step in [
            "ConsoleLogin",
            "ConsoleLogin",
            "CreateUser",
            "DeleteUser",
            "AttachUserPolicy",
        ] {
            let random = &mut self.random;
            let wanted = if step == "DeleteUser" { 1 } else { 3 };
            if random.below(4) >= wanted {
                continue;
            }
            time += [0, SECOND, 40 * SECOND, 100 * SECOND, 170 * SECOND][random.below(5) as usize];
            let failed = step == "ConsoleLogin" && random.below(2) == 0;
            let from = random.below(3) as usize;
            self.cloud(time, actor.clone(), step, from, failed);
        }
    }

    /// A host says that it is alive, and stops.
    fn heartbeats(&mut self) {
        let mut time = self.moment();
        let host = self.random.below(3);
        for _ in 0..3 + self.random.below(5) {
            time += MINUTE + self.random.below(40) as i64 * SECOND;
            self.agent(time, host, "Heartbeat", 1);
        }
    }

    /// A change that asks for a review, which comes, or not, or too late.
    fn change_and_review(&mut self) {
        let start = self.moment();
        let user = format!("system:serviceaccount:shop:sa{}", self.random.below(4));
        let namespace = pick(&mut self.random, &NAMESPACES);
        self.k8s(start, &user, "patch", namespace, 0);
        let after =
            [0, 30 * SECOND, 5 * MINUTE, 5 * MINUTE + 1, 9 * MINUTE][self.random.below(5) as usize];
        if self.random.below(3) > 0 {
            self.k8s(start + after, &user, "review", namespace, 0);
        }
    }
}

/// Events in order of time, each with its own id.
pub fn stream(seed: u64, count: usize, span: i64) -> Vec<Event> {
    let mut maker = Maker {
        random: Random(seed),
        span,
        last: 0,
        events: vec![],
    };
    while maker.events.len() < count {
        match maker.random.below(12) {
            0..5 => (0..5).for_each(|_| maker.background()),
            5..8 => maker.cloud_burst(),
            8 => maker.k8s_burst(),
            9 => maker.chain(),
            10 => maker.heartbeats(),
            _ => maker.change_and_review(),
        }
    }
    let mut events = maker.events;
    events.truncate(count);
    clocks_ahead(&mut events, &AHEAD, &mut Random(seed));
    in_order(events)
}

fn in_order(mut events: Vec<Event>) -> Vec<Event> {
    events.sort_by(|a, b| (a.at, &a.uid).cmp(&(b.at, &b.uid)));
    events
}

/// How far clocks are ahead: by less than any clock of today notices, by more, and by more than there will be rules.
const AHEAD: [i64; 6] = [
    6 * MINUTE,
    40 * MINUTE,
    10 * DAY,
    200 * DAY,
    4_000 * DAY,
    2_500_000 * DAY,
];

/// Makes one event in fifty say a time that lies ahead.
fn clocks_ahead(events: &mut [Event], ahead: &[i64], random: &mut Random) {
    for event in events {
        if random.below(50) == 0 {
            event.time += pick(random, ahead);
        }
    }
}

/// Three years in which something happens now and then: pauses of hours to months, clocks that are ahead, and some
/// that have just begun with 1970.
pub fn years(seed: u64) -> Vec<Event> {
    let mut maker = Maker {
        random: Random(seed),
        span: 1,
        last: 0,
        events: vec![],
    };
    let mut time = BEGIN;
    while time < BEGIN + 1_100 * DAY {
        let random = &mut maker.random;
        time += [
            DAY,
            6 * DAY,
            20 * DAY,
            31 * DAY,
            60 * DAY,
            89 * DAY,
            91 * DAY,
            200 * DAY,
        ][random.below(8) as usize];
        for _ in 0..1 + maker.random.below(14) {
            let random = &mut maker.random;
            time += [MINUTE, 3 * 60 * MINUTE, DAY, 2 * DAY][random.below(4) as usize];
            let (actor, from) = (Some(cloud_actor(random)), random.below(8) as usize);
            let operation = pick(random, &OPERATIONS[..3]);
            maker.cloud(time, actor, operation, from, false);
        }
    }
    let (mut events, mut random) = (maker.events, maker.random);
    clocks_ahead(
        &mut events,
        &[8 * DAY, 40 * DAY, 95 * DAY, 400 * DAY],
        &mut random,
    );
    for event in &mut events {
        if random.below(40) == 0 {
            event.time = random.below(30 * MINUTE as u64) as i64;
        }
    }
    in_order(events)
}

/// The same events as they could arrive: none happened more than `lateness` before the newest
/// before it.
pub fn arrivals(events: &[Event], lateness: i64, random: &mut Random) -> Vec<Event> {
    let mut arriving: Vec<_> = events
        .iter()
        .map(|event| {
            (
                event.at + random.below(lateness.max(1) as u64) as i64,
                random.below(1 << 32),
                event,
            )
        })
        .collect();
    arriving.sort_by_key(|(arrival, tie, _)| (*arrival, *tie));
    arriving
        .into_iter()
        .map(|(.., event)| event.clone())
        .collect()
}

/// The events on `count` partitions, each in an order of its own within the lateness, some events twice.
/// With three partitions and more, one stays empty and one ends early.
pub fn partitions(
    events: &[Event],
    count: usize,
    lateness: i64,
    random: &mut Random,
) -> Vec<Vec<Event>> {
    let mut parts: Vec<Vec<Event>> = vec![vec![]; count];
    let middle = events[events.len() / 2].at;
    for event in events {
        let home = match count {
            0..3 => random.below(count as u64) as usize,
            // The last one stays empty, the one before it has nothing in the second half.
            _ if event.at < middle => random.below(count as u64 - 1) as usize,
            _ => random.below(count as u64 - 2) as usize,
        };
        parts[home].push(event.clone());
        if random.below(12) == 0 {
            let other = if random.below(2) == 0 { home } else { 0 };
            parts[other].push(event.clone());
        }
    }
    parts
        .iter()
        .map(|part| arrivals(part, lateness, random))
        .collect()
}
