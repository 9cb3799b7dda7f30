//! Rows of rules that remember, first-seen and absence: which of a batch are matches.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::RunningRule;
use crate::detect::recall;
use crate::detect::row;
use crate::detect::terms::{At, Stretched};
use crate::plan;
use crate::rule::NewTerms;

/// Rows of a batch are grouped by the hash of their key. Nobody who sends events can know it.
static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one("keys of a batch"));

impl RunningRule {
    /// Columns that say which alert a match belongs to; none if each stands alone.
    pub(super) fn key_columns(&self) -> &[String] {
        match &self.rule.suppress {
            Some(suppress) => &suppress.by,
            None => plan::remembered_columns(&self.rule),
        }
    }

    /// Takes rows of a batch in: `keys` has their remembered columns, `ats` their time and uid. Takes back
    /// matches that are none any more, and gives the rows that are.
    pub(super) fn remember(&mut self, keys: &RecordBatch, ats: &[(i64, &str)]) -> Vec<usize> {
        self.note_stretches(ats);
        let columns = |names: &[String]| -> Vec<ArrayRef> {
            let columns = names.iter().filter_map(|name| keys.column_by_name(name));
            columns.cloned().collect()
        };
        let what = columns(plan::remembered_columns(&self.rule));
        let homes = columns(self.key_columns());
        let home = |index: usize| key_text(&homes, index);
        let pair = self.rule.absence.as_ref().and_then(|a| a.pair.as_ref());
        let pair = pair.map(|pair| [&pair.of, &pair.after].map(|name| keys.column_by_name(name)));
        let gap = recall::gap(&self.rule);
        // By key in order of time.
        let mut key = String::new();
        let mut rows = Vec::with_capacity(ats.len());
        for index in (0..ats.len()).filter(|i| what.iter().all(|column| column.is_valid(*i))) {
            key.clear();
            write_key(&what, index, &mut key);
            rows.push((xxh3_128_with_seed(key.as_bytes(), *SEED), ats[index], index));
        }
        rows.sort_unstable();
        let together = |a: &(u128, (i64, &str), usize), b: &(u128, (i64, &str), usize)| {
            a.0 == b.0 && pair.is_none() && b.1.0.saturating_sub(a.1.0) <= gap
        };
        // What nobody will be told of, if no row comes later than rows amend, is not kept. Of rules over alerts it is, as
        // an alert can become certain, or be taken back, long after its time.
        let from = self.clock.saturating_sub(self.amend);
        let terms = self.rule.new_terms.as_ref().filter(|_| !self.over_alerts);
        let seen = &self.seen;
        let is_silent = |time| {
            let silent = |t: &NewTerms| seen.is_silent_for_good(time, from, t.history, t.warmup);
            terms.is_some_and(silent)
        };
        // By alert key and time: the last word on an occurrence counts.
        let mut standing: BTreeMap<(String, At), usize> = BTreeMap::new();
        for rows in rows.chunk_by(together) {
            let (first, last) = (rows[0].2, rows[rows.len() - 1].2);
            key.clear();
            write_key(&what, first, &mut key);
            let place = |index: usize| (home(index), owned(ats[index]));
            let (at, change) = match &pair {
                Some(pair) => {
                    let is = pair.map(|column| is_true(column, first));
                    let (home, at) = place(first);
                    let change = self.recall.note_pair(&self.rule, &key, &home, &at, is);
                    (first, change)
                }
                None => {
                    let ends = [first, last];
                    let at = match self.recall.matches_first() {
                        true => first,
                        false => last,
                    };
                    let kept = !is_silent(ats[at].0);
                    let home = |end: usize| home(ends[end]);
                    let ends = ends.map(|index| ats[index]);
                    (at, self.recall.note(&self.rule, &key, ends, home, kept))
                }
            };
            for (home, at) in change.gone {
                self.timelines.remove(&home, &at);
                standing.remove(&(home, at));
            }
            if change.matches {
                standing.insert(place(at), at);
            }
        }
        let (silent, told): (Vec<usize>, Vec<usize>) = standing
            .into_values()
            .partition(|index| is_silent(ats[*index].0));
        self.matches += silent.len() as u64;
        self.last_match = self.last_match.max(silent.iter().map(|i| ats[*i].0).max());
        told
    }

    fn note_stretches(&mut self, ats: &[(i64, &str)]) {
        let Some(terms) = &self.rule.new_terms else {
            return;
        };
        for (time, _) in ats {
            match self.seen.note(*time, terms.history) {
                Stretched::Nothing => {}
                Stretched::Longer => self.seen_written = false,
                Stretched::Moved => {
                    self.seen_written = false;
                    self.timelines.refold();
                }
            }
        }
    }
}

fn owned(at: (i64, &str)) -> At {
    (at.0, at.1.to_owned())
}

fn is_true(column: Option<&ArrayRef>, row: usize) -> bool {
    column.is_some_and(|column| row::value(column, row) == Value::Bool(true))
}

fn key_text(columns: &[ArrayRef], row: usize) -> String {
    let mut text = String::new();
    write_key(columns, row, &mut text);
    text
}

/// The values as texts, as [`home_of`](crate::detect::timeline::home_of) joins them.
fn write_key(columns: &[ArrayRef], row: usize, to: &mut String) {
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            to.push('\u{1f}');
        }
        match column.as_string_view_opt() {
            Some(texts) if texts.is_valid(row) => to.push_str(texts.value(row)),
            Some(_) => {}
            None => to.push_str(&row::text(&row::value(column, row))),
        }
    }
}
