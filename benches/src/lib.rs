//! Benches and the end-to-end throughput program of Weir.

pub mod fixtures;
pub mod generator;
pub mod road;
pub mod variants;

use std::collections::BTreeMap;

use datafusion::arrow::buffer::Buffer;
use weir_connectors::Record;
use weir_engine::rule::{Confidence, Level, Rule, RuleKind, Status, Suppress, Window};
use weir_engine::time::{HOUR, MINUTE};

/// Lines as a source would deliver them: one block of bytes and where each record lies in it.
pub fn block(lines: &[&[u8]]) -> (Buffer, Vec<Record>) {
    let (mut bytes, mut records) = (vec![], vec![]);
    for line in lines {
        let start = bytes.len();
        bytes.extend_from_slice(line);
        records.push(Record {
            range: start..bytes.len(),
            position: start as i64,
        });
        bytes.push(b'\n');
    }
    (Buffer::from_vec(bytes), records)
}

/// Twenty failures of one identity in ten minutes, sliding by one.
pub fn failures() -> Rule {
    rule(
        "failures",
        "SELECT actor_user_uid, count(*) AS n FROM cloud_audit WHERE status = 'failure' \
         GROUP BY actor_user_uid HAVING count(*) >= 20",
    )
}

/// Five regions of one identity in ten minutes, sliding by one.
pub fn regions() -> Rule {
    rule(
        "regions",
        "SELECT actor_user_uid, count(DISTINCT cloud_region) AS n FROM cloud_audit \
         WHERE actor_user_uid IS NOT NULL GROUP BY actor_user_uid HAVING count(DISTINCT cloud_region) >= 5",
    )
}

fn rule(title: &str, query: &str) -> Rule {
    Rule {
        id: title.into(),
        title: title.into(),
        status: Status::Test,
        description: String::new(),
        references: vec![],
        author: String::new(),
        date: String::new(),
        tags: vec![],
        level: Level::Medium,
        confidence: Confidence::Medium,
        query: query.into(),
        kind: RuleKind::Window(Window {
            size: 10 * MINUTE,
            slide: MINUTE,
        }),
        suppress: Some(Suppress {
            by: vec!["actor_user_uid".into()],
            length: HOUR,
            gap: None,
        }),
        building_block: false,
        tables: BTreeMap::new(),
        entities: vec![],
        compliance: BTreeMap::new(),
        falsepositives: vec![],
        runbook: String::new(),
        path: String::new(),
    }
}

/// Peak resident memory of this process, MiB.
pub fn peak_mib() -> u64 {
    memory("VmHWM:")
}

/// Resident memory of this process now, MiB.
pub fn rss_mib() -> u64 {
    memory("VmRSS:")
}

fn memory(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(what));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
