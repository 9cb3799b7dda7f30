//! What audit events tell of pods, remembered after the pods are gone: what they belong to, where they ran,
//! from which images, as whom.
//!
//! Learnt from answers that hold the whole pod (create, update, patch, delete), from requests where answers
//! are not logged, and from bindings to nodes. What is remembered depends on the set of events, not on their
//! order: per value the first and the last time that it was seen. An event gets what was true at its own
//! time, as far as that was learnt before the event came.

mod learn;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, StringViewArray, StringViewBuilder,
};
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};
use weir_engine::Result;
use weir_engine::schema::col;
use weir_engine::store::StateWrite;
use xxhash_rust::xxh3::xxh3_64;

/// Pods remembered, about 1 KB each; beyond it those that were seen the longest ago are forgotten.
const MOST: usize = 100_000;
/// Values of one kind that are remembered of a pod: a name can come back with another image.
const VALUES: usize = 4;
/// Whose state it is in the store.
const OWNER: &str = "pods";

/// What is remembered, and the column that it fills.
const KINDS: [usize; 6] = [
    col::POD_WORKLOAD_KIND,
    col::K8S_WORKLOAD,
    col::POD_NODE,
    col::POD_IMAGES,
    col::POD_SERVICE_ACCOUNT,
    col::POD_LABELS,
];

/// A value with the first and the last time (µs) that it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen(String, i64, i64);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Pod {
    /// In the order of [`KINDS`]; values in the order of their first time.
    values: [Vec<Seen>; KINDS.len()],
}

impl Pod {
    fn see(&mut self, kind: usize, value: &str, time: i64) {
        let values = &mut self.values[kind];
        match values.iter_mut().find(|seen| seen.0 == value) {
            Some(seen) => {
                seen.1 = seen.1.min(time);
                seen.2 = seen.2.max(time);
            }
            None => values.push(Seen(value.to_owned(), time, time)),
        }
        values.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        if values.len() > VALUES {
            let oldest = values
                .iter()
                .enumerate()
                .min_by_key(|(_, seen)| (seen.2, &seen.0));
            if let Some((oldest, _)) = oldest {
                values.remove(oldest);
            }
        }
    }

    /// The value that held at a time: the last that was seen first until then, else the earliest.
    fn at(&self, kind: usize, time: i64) -> Option<&str> {
        let values = &self.values[kind];
        let then = values.iter().rev().find(|seen| seen.1 <= time);
        then.or_else(|| values.first()).map(|seen| seen.0.as_str())
    }

    fn last(&self) -> i64 {
        let all = self.values.iter().flatten();
        all.map(|seen| seen.2).max().unwrap_or(i64::MIN)
    }
}

#[derive(Debug, Default)]
struct Memory {
    /// By cluster, namespace and pod.
    pods: HashMap<String, Pod>,
    changed: HashSet<String>,
}

#[derive(Debug, Default)]
pub struct Pods(Mutex<Memory>);

impl Pods {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn len(&self) -> usize {
        self.memory().pods.len()
    }

    /// Learns from the batch's audit events, then fills the columns of those that name a pod; false when none
    /// is known.
    pub fn fill(&self, events: &RecordBatch, columns: &mut [ArrayRef]) -> Result<bool> {
        let text = |column: usize| -> &StringViewArray { events.column(column).as_string_view() };
        let names = text(col::K8S_POD);
        let mut memory = self.memory();
        learn::learn(events, &mut |key, kind, value, time| {
            memory.changed.insert(key.to_owned());
            let pod = memory.pods.entry_ref(key).or_default();
            pod.see(kind, value, time);
        });
        memory.forget();
        if names.null_count() == names.len() || memory.pods.is_empty() {
            return Ok(false);
        }
        let (clusters, namespaces) = (text(col::K8S_CLUSTER), text(col::K8S_NAMESPACE));
        let times = events
            .column(col::TIME)
            .as_primitive::<TimestampMicrosecondType>();
        let mut key = String::new();
        let known: Vec<Option<&Pod>> = (0..events.num_rows())
            .map(|row| {
                if names.is_null(row) {
                    return None;
                }
                let (cluster, namespace) = (or_empty(clusters, row), or_empty(namespaces, row));
                write_key(&mut key, cluster, namespace, names.value(row));
                memory.pods.get(&key)
            })
            .collect();
        if known.iter().all(Option::is_none) {
            return Ok(false);
        }
        for (kind, column) in KINDS.into_iter().enumerate() {
            let mut values = StringViewBuilder::with_capacity(known.len());
            let told = text(column);
            for (row, pod) in known.iter().enumerate() {
                // What the event itself says stands.
                values.append_option(match told.is_valid(row) {
                    true => Some(told.value(row)),
                    false => pod.and_then(|pod| pod.at(kind, times.value(row))),
                });
            }
            columns[column] = Arc::new(values.finish());
        }
        Ok(true)
    }

    /// What changed since the last call.
    pub fn take_state(&self) -> Vec<StateWrite> {
        let mut memory = self.memory();
        let changed: BTreeSet<String> = memory.changed.drain().collect();
        let write = |key: String| StateWrite {
            owner: OWNER.into(),
            key: xxh3_64(key.as_bytes()) as i64,
            value: memory
                .pods
                .get(&key)
                .and_then(|pod| serde_json::to_vec(&(&key, pod)).ok()),
        };
        changed.into_iter().map(write).collect()
    }

    /// Takes a piece back if it is one of ours. One that cannot be read is left out: it will be learnt anew.
    pub fn restore(&self, owner: &str, value: &[u8]) {
        if owner != OWNER {
            return;
        }
        match serde_json::from_slice::<(String, Pod)>(value) {
            Ok((key, pod)) => {
                self.memory().pods.insert(key, pod);
            }
            Err(error) => tracing::warn!("enrichment: a remembered pod cannot be read: {error}"),
        }
    }
}

impl Memory {
    fn forget(&mut self) {
        if self.pods.len() <= MOST {
            return;
        }
        let mut ages: Vec<(i64, &String)> = self.pods.iter().map(|(k, p)| (p.last(), k)).collect();
        // An eighth at a time, or every batch would sort them all.
        ages.sort_unstable();
        ages.truncate(ages.len() - MOST + MOST / 8);
        let gone: Vec<String> = ages.into_iter().map(|(_, key)| key.clone()).collect();
        for key in gone {
            self.pods.remove(&key);
            self.changed.insert(key);
        }
    }
}

fn or_empty(column: &StringViewArray, row: usize) -> &str {
    if column.is_null(row) {
        ""
    } else {
        column.value(row)
    }
}

fn write_key(key: &mut String, cluster: &str, namespace: &str, pod: &str) {
    key.clear();
    for part in [cluster, namespace] {
        key.push_str(part);
        key.push('\0');
    }
    key.push_str(pod);
}

#[cfg(test)]
mod tests;
