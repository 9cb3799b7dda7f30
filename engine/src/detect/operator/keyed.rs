//! Rows of a batch by the key that is remembered of them.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::Scope;
use super::matching::key_columns;
use crate::detect::terms::{At, Change};
use crate::keys::{self, Null};
use crate::rule::Rule;

/// Rows of a batch are grouped by the hash of their key. Nobody who sends events can know it.
static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one("keys of a batch"));

/// Hash of a row's key, its time and uid, and which row it is.
pub type Keyed<'a> = (u128, (i64, &'a str), usize);

/// Rows with their remembered columns. Those with a null among them are passed over.
#[derive(Debug)]
pub struct ByKey<'a> {
    what: Vec<ArrayRef>,
    homes: Vec<ArrayRef>,
    pub ats: &'a [(i64, &'a str)],
    rows: Vec<Keyed<'a>>,
}

impl<'a> ByKey<'a> {
    pub fn new(rule: &Rule, keys: &RecordBatch, ats: &'a [(i64, &'a str)]) -> Self {
        let columns = |names: &[String]| -> Vec<ArrayRef> {
            let columns = names.iter().filter_map(|name| keys.column_by_name(name));
            columns.cloned().collect()
        };
        let what = columns(rule.kind.remembered());
        let mut key = String::new();
        let mut rows = Vec::with_capacity(ats.len());
        for index in (0..ats.len()).filter(|i| what.iter().all(|column| column.is_valid(*i))) {
            key.clear();
            keys::write(&what, index, Null::Empty, &mut key);
            rows.push((xxh3_128_with_seed(key.as_bytes(), *SEED), ats[index], index));
        }
        rows.sort_unstable();
        Self {
            what,
            homes: columns(key_columns(rule)),
            ats,
            rows,
        }
    }

    /// By key in order of time.
    pub fn rows(&self) -> &[Keyed<'a>] {
        &self.rows
    }

    /// Rows of a key that follow each other by no more than the gap.
    pub fn runs(&self, gap: i64) -> impl Iterator<Item = &[Keyed<'a>]> {
        self.rows
            .chunk_by(move |a, b| a.0 == b.0 && b.1.0.saturating_sub(a.1.0) <= gap)
    }

    /// The text of a row's key.
    pub fn key(&self, row: usize, to: &mut String) {
        to.clear();
        keys::write(&self.what, row, Null::Empty, to);
    }

    /// The key of the alert that a row would belong to.
    pub fn home(&self, row: usize) -> String {
        let mut text = String::new();
        keys::write(&self.homes, row, Null::Empty, &mut text);
        text
    }
}

/// Matches among the rows of a batch, by alert key and time: the last word on an occurrence counts.
#[derive(Debug, Default)]
pub struct Standing(BTreeMap<(String, At), usize>);

impl Standing {
    /// What the occurrence that ends with this row changed.
    pub fn apply(&mut self, change: Change, row: usize, rows: &ByKey<'_>, scope: &mut Scope<'_>) {
        for (home, at) in change.gone {
            scope.timelines.remove(&home, &at);
            self.0.remove(&(home, at));
        }
        if change.matches {
            let (time, uid) = rows.ats[row];
            let at = (time, uid.to_owned());
            self.0.insert((rows.home(row), at), row);
        }
    }

    pub fn rows(self) -> Vec<usize> {
        self.0.into_values().collect()
    }
}
