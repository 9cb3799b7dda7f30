//! What scanners tell again and again becomes an event only when it changes.
//!
//! A row of OCSF class 2002 (vulnerability) or 2003 (compliance) that names its finding says how something *is*. It
//! goes on if the row before it, by event time and of the same finding and source, said otherwise; if there is
//! none; or if that one is longer ago than the source's gap. Else it is counted as unchanged and dropped.
//!
//! Which row came before is certain once the time of the row's source has passed it: until then it waits here
//! (ADR 0007). Invariants: what goes on is a function of the set of rows, as long as none is later than its
//! source allows; what waits and what was said last are state of the store like everything else.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use xxhash_rust::xxh3::Xxh3;

use self::said::Said;
use self::waiting::Piece;
use crate::Result;
use crate::batch::Partition;
use crate::schema::col;
use crate::store::StateWrite;
use crate::watermark::Watermark;

mod said;
#[cfg(test)]
mod tests;
mod waiting;

/// Classes whose rows say how something is.
const CLASSES: [i64; 2] = [2002, 2003];
/// What tells a finding from all others of its source. Two clusters may use the same names.
const IDENTITY: [usize; 3] = [col::PRODUCT, col::K8S_CLUSTER, col::FINDING_UID];
/// What is said about it. What differs from scan to scan by itself (times, ids of the run) is not here.
const STATE: [usize; 7] = [
    col::FINDING_STATUS,
    col::STATUS,
    col::ACTION,
    col::FINDING_TITLE,
    col::FINDING_DESC,
    col::MESSAGE,
    col::PACKAGE_FIXED,
];
/// Memory of what one finding said last: an entry of a table that is half empty.
const FINDING_BYTES: usize = 80;

const SAID: &str = "scans/said/";
const WAITING: &str = "scans/waiting/";
const CLOCK: &str = "scans/clock/";

/// What became of the rows of a batch.
#[derive(Debug)]
pub struct Admitted {
    /// Rows that go on at once.
    pub rows: RecordBatch,
    pub unchanged: u64,
    pub waiting: u64,
}

/// Rows of one batch that have waited.
#[derive(Debug)]
pub struct Released {
    pub partition: Partition,
    /// What changed.
    pub rows: RecordBatch,
    pub unchanged: u64,
}

#[derive(Debug, Default)]
struct Source {
    said: Said,
    waiting: Vec<Piece>,
    /// Rows before this event time were decided.
    decided: i64,
    /// Batches let go. What waited is a stream of its own in the archive, and this its position.
    archived: i64,
    changed: bool,
}

#[derive(Debug)]
pub struct Scans {
    gaps: BTreeMap<Arc<str>, i64>,
    max_bytes: usize,
    sources: BTreeMap<Arc<str>, Source>,
    pieces: i64,
    dropped: Vec<String>,
    short: u64,
}

impl Scans {
    /// `gaps` by source in µs, see [`crate::watermark::Lateness::scan_gap`]; 0 makes every row an event. Half of
    /// `max_bytes` is for rows that wait, half for what findings said.
    pub fn new(gaps: impl IntoIterator<Item = (Arc<str>, i64)>, max_bytes: usize) -> Self {
        Self {
            gaps: gaps.into_iter().collect(),
            max_bytes,
            sources: BTreeMap::new(),
            pieces: 0,
            dropped: vec![],
            short: 0,
        }
    }

    /// Sorts out the rows of a batch: those that are events, and those that wait.
    pub fn admit(&mut self, partition: &Partition, rows: RecordBatch) -> Result<Admitted> {
        let gap = self.gaps.get(&partition.source).copied().unwrap_or(0);
        let states = match gap {
            0 => vec![],
            _ => states(&rows),
        };
        if !states.contains(&true) {
            return Ok(Admitted {
                rows,
                unchanged: 0,
                waiting: 0,
            });
        }
        let source = self.sources.entry(partition.source.clone());
        let source = source.or_insert_with(|| Source::new(gap));
        let times = rows
            .column(col::TIME)
            .as_primitive::<TimestampMicrosecondType>();
        let (mut goes_on, mut waits) = (vec![], vec![]);
        let mut unchanged = 0;
        for (row, is_state) in states.into_iter().enumerate() {
            let late = is_state && times.value(row) < source.decided;
            let news = !late || { source.said.differs(finding(&rows, row), state(&rows, row)) };
            unchanged += u64::from(!news);
            waits.push(is_state && !late);
            goes_on.push(!is_state || (late && news));
        }
        let waiting = filter_record_batch(&rows, &BooleanArray::from(waits))?;
        let count = waiting.num_rows() as u64;
        if count > 0 {
            let piece = Piece::new(self.pieces, partition.clone(), waiting)?;
            source.waiting.push(piece);
            self.pieces += 1;
        }
        Ok(Admitted {
            rows: filter_record_batch(&rows, &BooleanArray::from(goes_on))?,
            unchanged,
            waiting: count,
        })
    }

    /// Decides the rows that lie behind the time of their source: `None` while that is not known, ended when
    /// nothing more is under way.
    pub fn release(&mut self, time: impl Fn(&str) -> Option<Watermark>) -> Result<Vec<Released>> {
        let bytes: usize = self.waiting().map(|piece| piece.bytes).sum();
        let crowded = bytes > self.max_bytes / 2;
        let known: usize = self.sources.values().map(|source| source.said.len()).sum();
        let mut room = (self.max_bytes / 2 / FINDING_BYTES).saturating_sub(known);
        let mut released = vec![];
        for (name, source) in &mut self.sources {
            let until = match crowded {
                true => Some(Watermark::Ended),
                false => time(name),
            };
            let Some(until) = until.filter(|until| until.before() > source.decided) else {
                continue;
            };
            let early = source.waiting.iter().map(Piece::len).sum::<usize>();
            self.short += source.release(until, &mut room, &mut released)?;
            self.short += if crowded { early as u64 } else { 0 };
            source.waiting.retain(|piece| {
                if piece.len() == 0 && piece.stored {
                    self.dropped.push(format!("{WAITING}{}", piece.number));
                }
                piece.len() > 0
            });
            for slot in source.said.forget_before(source.decided) {
                self.dropped.push(format!("{SAID}{slot}/{name}"));
            }
        }
        Ok(released)
    }

    /// Rows that could not wait, or whose findings could not be remembered, for want of memory.
    pub fn short(&self) -> u64 {
        self.short
    }

    /// The streams of released rows in the archive, one for each source, and their next positions.
    pub fn streams(&self) -> impl Iterator<Item = (Partition, i64)> {
        self.gaps.keys().map(|name| {
            let source = self.sources.get(name);
            (stream(name), source.map_or(0, |source| source.archived))
        })
    }

    /// The position that a released batch takes in the archive.
    pub fn archive_position(&mut self, source: &str) -> (Partition, i64) {
        let position = self.sources.get_mut(source).map_or(0, |source| {
            source.changed = true;
            source.archived += 1;
            source.archived - 1
        });
        (stream(source), position)
    }

    fn waiting(&self) -> impl Iterator<Item = &Piece> {
        self.sources.values().flat_map(|source| &source.waiting)
    }

    /// What changed since the last call, and owners to drop.
    pub fn take_state(&mut self) -> Result<(Vec<StateWrite>, Vec<String>)> {
        let mut writes = vec![];
        for (name, source) in &mut self.sources {
            for (slot, key, value) in source.said.take_fresh() {
                writes.push(StateWrite {
                    owner: format!("{SAID}{slot}/{name}"),
                    key,
                    value: Some(value),
                });
            }
            for piece in source.waiting.iter_mut().filter(|piece| !piece.stored) {
                piece.stored = true;
                writes.push(StateWrite {
                    owner: format!("{WAITING}{}", piece.number),
                    key: 0,
                    value: Some(piece.encode()?),
                });
            }
            if std::mem::take(&mut source.changed) {
                for (key, value) in [(0, source.decided), (1, source.archived)] {
                    writes.push(StateWrite {
                        owner: format!("{CLOCK}{name}"),
                        key,
                        value: Some(value.to_le_bytes().to_vec()),
                    });
                }
            }
        }
        Ok((writes, std::mem::take(&mut self.dropped)))
    }

    /// Puts back a piece of state if it is one of ours. Clocks come before what waits: owners in ascending order.
    pub fn restore(&mut self, owner: &str, key: i64, value: &[u8]) -> Result<(), String> {
        let number = |text: &str| {
            let number = text.parse::<i64>();
            number.map_err(|_| format!("`{text}` is not a number"))
        };
        if let Some(name) = owner.strip_prefix(CLOCK) {
            let time = value.try_into().map_err(|_| "not 8 bytes".to_owned())?;
            let source = self.source(name);
            match key {
                0 => source.decided = i64::from_le_bytes(time),
                _ => source.archived = i64::from_le_bytes(time),
            }
        } else if let Some(rest) = owner.strip_prefix(SAID) {
            let (slot, name) = rest.split_once('/').ok_or("it names no source")?;
            self.source(name).said.restore(number(slot)?, key, value)?;
        } else if let Some(text) = owner.strip_prefix(WAITING) {
            let mut piece = Piece::decode(number(text)?, value)?;
            self.pieces = self.pieces.max(piece.number + 1);
            let name = piece.partition.source.clone();
            let source = self.source(&name);
            // Part of a piece may have been let go.
            piece
                .take_before(source.decided)
                .map_err(|e| e.to_string())?;
            source.waiting.push(piece);
        }
        Ok(())
    }

    fn source(&mut self, name: &str) -> &mut Source {
        let gap = self.gaps.get(name).copied();
        self.sources
            .entry(name.into())
            .or_insert_with(|| Source::new(gap.unwrap_or(0)))
    }
}

impl Source {
    fn new(gap: i64) -> Self {
        Self {
            said: Said::new(gap),
            decided: i64::MIN,
            ..Self::default()
        }
    }

    /// Takes out the rows before `until`. Returns how many findings there was no room for.
    fn release(
        &mut self,
        until: Watermark,
        room: &mut usize,
        released: &mut Vec<Released>,
    ) -> Result<u64> {
        let mut parts = vec![];
        for piece in &mut self.waiting {
            let rows = piece.take_before(until.before())?;
            if rows.num_rows() > 0 {
                parts.push((piece.partition.clone(), rows));
            }
        }
        let mut order = vec![];
        for (part, (_, rows)) in parts.iter().enumerate() {
            let times = rows
                .column(col::TIME)
                .as_primitive::<TimestampMicrosecondType>();
            let uids = rows.column(col::EVENT_UID).as_string_view();
            order
                .extend((0..rows.num_rows()).map(|at| (times.value(at), uids.value(at), part, at)));
        }
        order.sort_unstable();
        let mut news: Vec<Vec<bool>> = parts
            .iter()
            .map(|(_, rows)| vec![false; rows.num_rows()])
            .collect();
        let mut short = 0;
        for (time, _, part, at) in &order {
            let rows = &parts[*part].1;
            let (finding, state) = (finding(rows, *at), state(rows, *at));
            let said = self.said.say(finding, state, *time, room);
            news[*part][*at] = said.news;
            short += u64::from(!said.kept);
        }
        let newest = order.last().map(|(time, ..)| time.saturating_add(1));
        let decided = match until {
            // Nothing more is under way, but something may come all the same.
            Watermark::Ended => newest.unwrap_or(self.decided),
            Watermark::At(until) => until,
        };
        drop(order);
        self.changed |= decided != self.decided;
        self.decided = decided;
        for ((partition, rows), news) in parts.into_iter().zip(news) {
            let count = rows.num_rows();
            let rows = filter_record_batch(&rows, &BooleanArray::from(news))?;
            released.push(Released {
                partition,
                unchanged: (count - rows.num_rows()) as u64,
                rows,
            });
        }
        Ok(short)
    }
}

/// Which rows say how something is; none for none.
fn states(rows: &RecordBatch) -> Vec<bool> {
    let classes = rows.column(col::CLASS_UID).as_primitive::<Int64Type>();
    let findings = rows.column(col::FINDING_UID);
    if findings.null_count() == findings.len() {
        return vec![];
    }
    (0..rows.num_rows())
        .map(|row| {
            let class = classes.is_valid(row).then(|| classes.value(row));
            class.is_some_and(|class| CLASSES.contains(&class)) && findings.is_valid(row)
        })
        .collect()
}

fn hash(rows: &RecordBatch, row: usize, columns: &[usize]) -> Xxh3 {
    let mut hash = Xxh3::new();
    for column in columns {
        let texts = rows.column(*column).as_string_view();
        let text = texts.is_valid(row).then(|| texts.value(row));
        // Null is not the empty text, and no text runs into the next one.
        let length = text.map_or(u64::MAX, |text| text.len() as u64);
        hash.update(&length.to_le_bytes());
        hash.update(text.unwrap_or_default().as_bytes());
    }
    hash
}

fn finding(rows: &RecordBatch, row: usize) -> u128 {
    hash(rows, row, &IDENTITY).digest128()
}

fn state(rows: &RecordBatch, row: usize) -> u64 {
    let mut hash = hash(rows, row, &STATE);
    let severity = rows.column(col::SEVERITY_ID).as_primitive::<Int64Type>();
    let severity = severity.is_valid(row).then(|| severity.value(row));
    hash.update(&severity.unwrap_or(-1).to_le_bytes());
    hash.digest()
}

/// No partition of a source is called so.
fn stream(source: &str) -> Partition {
    Partition::new(source, "(scans)")
}
