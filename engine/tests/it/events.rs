//! Events made by hand for the engine's tests.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::buffer::Buffer;
use weir_engine::builder::EventBuilder;
use weir_engine::rule::{Confidence, Level, Rule, RuleKind, Status, Suppress, Window};
use weir_engine::schema::col;

#[derive(Debug, Clone)]
pub struct Event {
    pub time: i64,
    pub uid: String,
    pub actor: String,
    pub operation: String,
    pub ip: String,
    pub failed: bool,
}

/// An operation `scan:STATE` is what a scan says about the finding that `actor` names.
pub fn batch(events: &[Event]) -> RecordBatch {
    let mut builder = EventBuilder::new(Buffer::from(b"" as &[u8]));
    for event in events {
        builder.begin();
        builder.int(col::TIME, event.time);
        builder.text(col::EVENT_UID, &event.uid);
        if let Some(state) = event.operation.strip_prefix("scan:") {
            builder.text(col::FAMILY, "posture");
            builder.int(col::CLASS_UID, 2003);
            builder.text(col::FINDING_UID, &event.actor);
            builder.text(col::FINDING_STATUS, state);
        } else {
            builder.text(col::FAMILY, "cloud_audit");
        }
        builder.text(col::PRODUCT, "CloudTrail");
        builder.text(col::LOG_NAME, "test");
        builder.text(col::ACTOR_UID, &event.actor);
        builder.text(col::API_OPERATION, &event.operation);
        builder.text(col::SRC_IP, &event.ip);
        builder.text(
            col::STATUS,
            if event.failed { "failure" } else { "success" },
        );
        builder.text(col::RAW, "{\"requestParameters\":{\"bucketName\":\"b\"}}");
        builder.keep();
    }
    builder.finish().unwrap()
}

/// Numbers that depend on the seed alone.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

pub fn rule(
    title: &str,
    query: &str,
    window: Option<(i64, i64)>,
    suppress: Option<(&[&str], i64)>,
) -> Rule {
    Rule {
        id: format!("id of {title}"),
        title: title.into(),
        status: Status::Test,
        description: String::new(),
        references: vec![],
        author: String::new(),
        date: String::new(),
        tags: vec!["attack.discovery".into(), "attack.t1580".into()],
        level: Level::Medium,
        confidence: Confidence::Medium,
        query: query.into(),
        kind: match window {
            Some((size, slide)) => RuleKind::Window(Window { size, slide }),
            None => RuleKind::Event,
        },
        suppress: suppress.map(|(by, length)| Suppress {
            by: by.iter().map(|s| (*s).to_owned()).collect(),
            length,
            gap: None,
        }),
        building_block: false,
        tables: Default::default(),
        entities: vec![],
        compliance: Default::default(),
        falsepositives: vec![],
        runbook: String::new(),
        path: String::new(),
    }
}
