//! Threat intelligence: indicators from STIX, MISP, CSV and plain lists, matched against events.
//!
//! [`MATCHED`] says which columns are compared with what. The first of them that matches is an event's
//! indicator; of several for one value the longest prefix wins (for domains: the most labels), then the
//! higher confidence, then the earlier line. An indicator that was not valid at the event's own time does not
//! match, so a replay answers as the live run did. What stands on a warning list matches nothing.

mod config;
mod exclude;
mod files;
mod index;
mod json;
mod misp;
mod read;
mod stix;
mod text;
mod value;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray, UInt32Array,
};
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use hashbrown::HashMap;
use weir_engine::Result;
use weir_engine::schema::col;

pub use config::{Columns, Form, ListConfig};

use super::problems::Problems;
use super::{Distinct, replace};
use exclude::{Exclusions, parents};
use index::{Index, Indicator};
use value::Kind;

/// How a column's values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Address,
    Domain,
    /// Also by the host in it.
    Url,
    /// A file's hash, or `…@sha256:…` at the end of an image's name.
    Hash,
}

/// Columns that are matched, in the order in which they name an event's indicator.
const MATCHED: &[(usize, By)] = &[
    (col::SRC_IP, By::Address),
    (col::DST_IP, By::Address),
    (col::SRC_DOMAIN, By::Domain),
    (col::DST_DOMAIN, By::Domain),
    (col::SNI, By::Domain),
    (col::URL, By::Url),
    (col::PROCESS_HASH, By::Hash),
    (col::CONTAINER_IMAGE, By::Hash),
];

#[derive(Debug, Default)]
pub struct Intel {
    index: Index,
    exclusions: Exclusions,
}

impl Intel {
    /// Reads all lists, files or folders. What cannot be used is told in `problems`.
    pub fn open(lists: &[ListConfig], problems: &mut Problems) -> Self {
        let (indicators, exclusions) = read::read(lists, problems);
        Self {
            index: indicators.index(),
            exclusions,
        }
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn exclusions(&self) -> usize {
        self.exclusions.len()
    }

    pub fn bytes(&self) -> usize {
        self.index.bytes()
    }

    /// Indicators that an address may match, best first.
    pub fn of_address(&self, text: &str) -> Vec<u32> {
        let mut found = vec![];
        self.by_address(text, &mut found);
        found
    }

    /// Fills the `osint_*` columns; false when there are no indicators. `of_src` gives those of a row's source
    /// address.
    pub fn fill<'a>(
        &self,
        of_src: impl Fn(usize) -> &'a [u32],
        events: &RecordBatch,
        columns: &mut [ArrayRef],
    ) -> Result<bool> {
        if self.index.len() == 0 {
            return Ok(false);
        }
        let times = events
            .column(col::TIME)
            .as_primitive::<TimestampMicrosecondType>();
        let mut matched: Vec<Option<&Indicator>> = vec![None];
        let mut of_row = vec![0u32; events.num_rows()];
        let mut local: HashMap<u32, u32> = HashMap::new();
        let mut choose = |row: usize, candidates: &[u32]| {
            if of_row[row] != 0 || candidates.is_empty() {
                return;
            }
            let valid = |number: &&u32| self.index.get(**number).valid_at(times.value(row));
            if let Some(number) = candidates.iter().find(valid) {
                of_row[row] = *local.entry(*number).or_insert_with(|| {
                    matched.push(Some(self.index.get(*number)));
                    matched.len() as u32 - 1
                });
            }
        };
        for (column, by) in MATCHED {
            if !self.may_match(*by) {
                continue;
            }
            if *column == col::SRC_IP {
                (0..events.num_rows()).for_each(|row| choose(row, of_src(row)));
                continue;
            }
            if *by == By::Url && !has_host(events.column(*column)) {
                continue;
            }
            let Some(distinct) = Distinct::of(events.column(*column)) else {
                continue;
            };
            // Nearly always no value of the column has any.
            let Some(found) = self.candidates(&distinct, *by) else {
                continue;
            };
            for (row, number) in distinct.of_row.iter().enumerate() {
                choose(row, &found[*number as usize]);
            }
        }
        self.put(&matched, &UInt32Array::from(of_row), columns)?;
        Ok(true)
    }

    /// Per distinct value the indicators that it may match, best first; none if there are none at all.
    fn candidates(&self, distinct: &Distinct, by: By) -> Option<Vec<Vec<u32>>> {
        let mut all: Option<Vec<Vec<u32>>> = None;
        let mut found = vec![];
        for (number, text) in distinct.iter() {
            self.look_up(by, text, &mut found);
            if !found.is_empty() {
                let all = all.get_or_insert_with(|| vec![vec![]; distinct.values.len()]);
                all[number] = std::mem::take(&mut found);
            }
        }
        all
    }

    fn put<'a>(
        &'a self,
        matched: &[Option<&'a Indicator>],
        of_row: &UInt32Array,
        columns: &mut [ArrayRef],
    ) -> Result<()> {
        let index = &self.index;
        let value = texts(matched, |it| Some(index.text(it)));
        let kind = texts(matched, |it| Some(it.kind.name()));
        let source = texts(matched, |it| Some(&index.origin(it).source));
        let labels = texts(matched, |it| index.origin(it).labels.as_deref());
        let confidence = matched.iter().map(|m| m.map(|it| i64::from(it.confidence)));
        let confidence = Arc::new(Int64Array::from_iter(confidence));
        replace(columns, col::OSINT_VALUE, value, of_row)?;
        replace(columns, col::OSINT_TYPE, kind, of_row)?;
        replace(columns, col::OSINT_SOURCE, source, of_row)?;
        replace(columns, col::OSINT_CONFIDENCE, confidence, of_row)?;
        replace(columns, col::OSINT_LABELS, labels, of_row)
    }

    fn may_match(&self, by: By) -> bool {
        let has = |kind| self.index.has(kind);
        match by {
            By::Address => has(Kind::Ip),
            By::Domain => has(Kind::Domain),
            By::Url => has(Kind::Url) || has(Kind::Domain) || has(Kind::Ip),
            By::Hash => has(Kind::Hash),
        }
    }

    /// Appends what a value may match.
    fn look_up(&self, by: By, text: &str, found: &mut Vec<u32>) {
        match by {
            By::Address => self.by_address(text, found),
            By::Domain => self.by_domain(text, found),
            By::Url => self.by_url(text, found),
            By::Hash => {
                let digest = text.rsplit_once(':').map_or(text, |(_, digest)| digest);
                let digest = lower(digest);
                self.index.by_text(Kind::Hash, &digest, found);
                if !found.is_empty() && self.exclusions.hold(Kind::Hash, &digest) {
                    found.clear();
                }
            }
        }
    }

    fn by_address(&self, text: &str, found: &mut Vec<u32>) {
        let Ok(address) = text.parse::<IpAddr>() else {
            return;
        };
        let before = found.len();
        self.index.by_address(address.to_canonical(), found);
        if found.len() > before && self.exclusions.hold(Kind::Ip, text) {
            found.truncate(before);
        }
    }

    fn by_domain(&self, text: &str, found: &mut Vec<u32>) {
        let before = found.len();
        let name = lower(text.trim_end_matches('.'));
        for name in parents(&name) {
            self.index.by_text(Kind::Domain, name, found);
        }
        if found.len() > before && self.exclusions.hold(Kind::Domain, &name) {
            found.truncate(before);
        }
    }

    /// The whole URL, then without its query, then its host.
    fn by_url(&self, text: &str, found: &mut Vec<u32>) {
        if !text.contains("://") {
            return;
        }
        let Some(url) = value::url(text) else { return };
        self.index.by_text(Kind::Url, &url, found);
        if let Some((path, _)) = url.split_once('?') {
            self.index.by_text(Kind::Url, path, found);
        }
        if !found.is_empty() && self.exclusions.hold(Kind::Url, &url) {
            found.clear();
        }
        let host = value::host_of(&url);
        self.by_address(host, found);
        self.by_domain(host, found);
    }
}

fn texts<'a>(
    matched: &[Option<&'a Indicator>],
    part: impl Fn(&'a Indicator) -> Option<&'a str>,
) -> ArrayRef {
    let values = matched.iter().map(|m| m.and_then(&part));
    Arc::new(StringViewArray::from_iter(values))
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

/// Whether any value is more than a path: those of an API server are paths, and nearly all different.
fn has_host(column: &ArrayRef) -> bool {
    let array: Option<&StringViewArray> = column.as_string_view_opt();
    array.is_some_and(|array| {
        array.null_count() < array.len()
            && array
                .iter()
                .flatten()
                .any(|text| !text.starts_with('/') && text.contains("://"))
    })
}

#[cfg(test)]
mod tests;
