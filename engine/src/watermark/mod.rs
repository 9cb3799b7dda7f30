//! Watermarks: how far event time is complete. Pure: takes what happened and the wall clock, returns times.
//!
//! A partition's watermark is the highest event time that is believed of it ([`Reach`]) minus its source's lateness.
//! The engine's is the minimum over partitions that may still deliver older events, and it never goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::batch::Partition;
use crate::time::{DAY, HOUR, MINUTE, SECOND};

mod reach;

use self::reach::{Measure, Reach};

/// Time settings of one source, all in µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lateness {
    /// How much older than the newest event an event of the same partition may be.
    pub lateness: i64,
    /// A partition that was read to its end and stays silent this long (wall clock) holds nothing back.
    pub idle_after: i64,
    /// Event times further than this ahead of what the partition's other events say, of when they were delivered or of
    /// the wall clock do not move the watermark by themselves.
    pub max_skew: i64,
    /// A partition that another member of the group took may come back: it holds the watermark this long
    /// (wall clock).
    pub revoked_hold: i64,
    /// A finding that no scan named for this long is told again when it comes back, see [`crate::scans`]. 0 makes
    /// whatever a scan says an event.
    pub scan_gap: i64,
}

impl Default for Lateness {
    fn default() -> Self {
        Self {
            lateness: 20 * MINUTE,
            idle_after: 30 * SECOND,
            max_skew: 5 * MINUTE,
            revoked_hold: HOUR,
            scan_gap: 8 * DAY,
        }
    }
}

/// How far event time has come, µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watermark {
    /// What lies before it has been read, as far as it comes in time.
    At(i64),
    /// All input is closed.
    Ended,
}

impl Watermark {
    /// None once all input is closed.
    pub fn time(self) -> Option<i64> {
        match self {
            Self::At(time) => Some(time),
            Self::Ended => None,
        }
    }

    /// Times before this are behind the watermark: all of them once all input is closed.
    pub fn before(self) -> i64 {
        self.time().unwrap_or(i64::MAX)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// More may be there.
    Reading,
    /// Read to the end at this wall-clock time.
    CaughtUp(i64),
    /// Taken by another member at this wall-clock time.
    Revoked(i64),
    /// Known from an earlier run and not assigned yet.
    Restored,
    Finished,
}

#[derive(Debug, Clone)]
struct PartitionTime {
    reach: Reach,
    progress: Progress,
}

impl PartitionTime {
    fn new(reach: Reach, progress: Progress) -> Self {
        Self { reach, progress }
    }
}

#[derive(Debug, Default)]
pub struct Watermarks {
    settings: BTreeMap<Arc<str>, Lateness>,
    partitions: BTreeMap<Partition, PartitionTime>,
    /// Sources that have not told yet what they begin with.
    awaited: BTreeSet<Arc<str>>,
    current: Option<Watermark>,
}

impl Watermarks {
    pub fn new(settings: impl IntoIterator<Item = (Arc<str>, Lateness)>) -> Self {
        Self {
            settings: settings.into_iter().collect(),
            ..Self::default()
        }
    }

    fn of(&self, partition: &Partition) -> Lateness {
        self.settings
            .get(&partition.source)
            .copied()
            .unwrap_or_default()
    }

    /// Time stands still until this source is [`ready`](Self::ready).
    pub fn await_source(&mut self, source: &str) {
        self.awaited.insert(source.into());
    }
    /// The source has told of all partitions that it begins with. What an earlier run knew beyond them may be
    /// `shared` out to this member of a group again; otherwise (a file that is gone) it holds nothing back.
    pub fn ready(&mut self, source: &str, shared: bool, now: i64) {
        self.awaited.remove(source);
        let left = |name: &Partition, p: &PartitionTime| {
            &*name.source == source && p.progress == Progress::Restored
        };
        self.partitions.retain(|name, p| shared || !left(name, p));
        for (name, partition) in &mut self.partitions {
            if left(name, partition) {
                partition.progress = Progress::Revoked(now);
            }
        }
    }

    /// Forgets partitions that no source can read any more, as it is configured now.
    pub fn keep(&mut self, covered: impl Fn(&Partition) -> bool) {
        self.partitions.retain(|name, _| covered(name));
    }

    /// The partition is read from now on. Without a `floor` it holds the watermark until its events say how far it is.
    pub fn assigned(&mut self, partition: Partition, floor: Option<i64>) {
        let unknown = PartitionTime::new(Reach::default(), Progress::Reading);
        let entry = self.partitions.entry(partition).or_insert(unknown);
        entry.progress = Progress::Reading;
        if entry.reach.time().is_none() {
            entry.reach.floor = floor;
        }
    }

    /// What an earlier run knew of a partition. It holds time back until it is known whether it comes again.
    pub fn restore(&mut self, partition: Partition, max_time: Option<i64>) {
        let restored = PartitionTime::new(Reach::restored(max_time), Progress::Restored);
        self.partitions.insert(partition, restored);
    }

    /// Where an earlier run had got to.
    pub fn restore_current(&mut self, watermark: Option<i64>) {
        self.current = watermark.map(Watermark::At);
    }

    /// Notes event times of a batch, in its order, and when it was `delivered`, if that is known. Returns how many
    /// are too far in the future to count.
    pub fn observe(
        &mut self,
        partition: &Partition,
        times: &[i64],
        delivered: Option<i64>,
        now: i64,
    ) -> u64 {
        let Lateness {
            max_skew, lateness, ..
        } = self.of(partition);
        let unknown = || PartitionTime::new(Reach::default(), Progress::Reading);
        let entry = self.partitions.entry(partition.clone());
        let entry = entry.or_insert_with(unknown);
        let by = Measure {
            now,
            limit: delivered
                .map_or(now, |at| at.min(now))
                .saturating_add(max_skew),
            max_skew,
            lateness,
            live: matches!(entry.progress, Progress::CaughtUp(_)),
        };
        entry.progress = Progress::Reading;
        entry.reach.note(times, by)
    }

    pub fn caught_up(&mut self, partition: &Partition, now: i64) {
        self.set(partition, Progress::CaughtUp(now));
    }
    pub fn revoked(&mut self, partition: &Partition, now: i64) {
        self.set(partition, Progress::Revoked(now));
    }
    pub fn finished(&mut self, partition: &Partition) {
        self.set(partition, Progress::Finished);
        if let Some(entry) = self.partitions.get_mut(partition) {
            entry.reach.finish();
        }
    }
    fn set(&mut self, partition: &Partition, progress: Progress) {
        if let Some(entry) = self.partitions.get_mut(partition) {
            entry.progress = progress;
        }
    }

    /// How far ahead of the wall clock an event time may be in any source, µs.
    pub fn max_skew(&self) -> i64 {
        let skews = self.settings.values().map(|times| times.max_skew);
        skews.max().unwrap_or(Lateness::default().max_skew)
    }

    pub fn max_time(&self, partition: &Partition) -> Option<i64> {
        self.partitions.get(partition)?.reach.max_time
    }

    /// Whether every partition was read to its end: nothing is waiting to be read.
    pub fn all_caught_up(&self) -> bool {
        self.awaited.is_empty()
            && self
                .partitions
                .values()
                .all(|p| p.progress != Progress::Reading)
    }

    /// Whether there were partitions and all are finished: the input is closed.
    pub fn all_finished(&self) -> bool {
        !self.partitions.is_empty()
            && self.awaited.is_empty()
            && self
                .partitions
                .values()
                .all(|p| p.progress == Progress::Finished)
    }

    /// The engine's watermark; none while nothing is known.
    pub fn advance(&mut self, now: i64) -> Option<Watermark> {
        self.settle(now);
        if !self.awaited.is_empty() {
            return self.current;
        }
        if self.all_finished() {
            self.current = Some(Watermark::Ended);
            return self.current;
        }
        let held = self
            .partitions
            .iter()
            .filter(|(name, p)| !self.left(name, p, now));
        let times: Vec<Option<i64>> = held.map(|(name, p)| self.time_of(name, p)).collect();
        let next = if times.is_empty() {
            // All are idle: time stands where the newest of them brought it.
            self.partitions
                .iter()
                .filter_map(|(name, p)| self.time_of(name, p))
                .max()
        } else {
            // `None` holds everything back.
            times.into_iter().min().flatten()
        };
        self.current = self.current.max(next.map(Watermark::At));
        self.current
    }

    /// How far time is complete in one source alone: `None` while nobody can tell, ended when nothing more
    /// is under way.
    pub fn of_source(&self, source: &str, now: i64) -> Option<Watermark> {
        if self.awaited.contains(source) {
            return None;
        }
        let own = self.partitions.iter();
        let held = own.filter(|(name, p)| &*name.source == source && !self.left(name, p, now));
        let times: Vec<Option<i64>> = held.map(|(name, p)| self.time_of(name, p)).collect();
        match times.is_empty() {
            true => Some(Watermark::Ended),
            false => times.into_iter().min().flatten().map(Watermark::At),
        }
    }

    /// Partitions that have fallen silent come to what their last rows say.
    fn settle(&mut self, now: i64) {
        for (name, partition) in &mut self.partitions {
            let times = self.settings.get(&name.source).copied().unwrap_or_default();
            if let Progress::CaughtUp(since) = partition.progress
                && now.saturating_sub(since) >= times.idle_after
            {
                partition.reach.settle(now, times.max_skew, times.lateness);
            }
        }
    }

    fn time_of(&self, name: &Partition, partition: &PartitionTime) -> Option<i64> {
        let seen = partition.reach.time();
        seen.map(|time| time.saturating_sub(self.of(name).lateness))
    }

    /// Whether the partition has left the minimum.
    fn left(&self, name: &Partition, partition: &PartitionTime, now: i64) -> bool {
        match partition.progress {
            Progress::Reading | Progress::Restored => false,
            Progress::Finished => true,
            Progress::CaughtUp(since) => now.saturating_sub(since) >= self.of(name).idle_after,
            Progress::Revoked(since) => now.saturating_sub(since) >= self.of(name).revoked_hold,
        }
    }

    /// Watermark and idleness by partition, for operators.
    pub fn describe(&self, now: i64) -> Vec<(&Partition, Option<i64>, bool)> {
        let one = |(name, p)| (name, self.time_of(name, p), self.left(name, p, now));
        self.partitions.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests;
