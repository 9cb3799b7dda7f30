//! Watermarks: how far event time is complete. Pure: takes what happened and the wall clock, returns times.
//!
//! A partition's watermark is the highest event time seen in it minus its source's lateness. The engine's is
//! the minimum over partitions that may still deliver older events, and it never goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::batch::Partition;
use crate::time::{DAY, HOUR, MINUTE, SECOND};

/// Time settings of one source, all in µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lateness {
    /// How much older than the newest event an event of the same partition may be.
    pub lateness: i64,
    /// A partition that was read to its end and stays silent this long (wall clock) holds nothing back.
    pub idle_after: i64,
    /// Event times further than this ahead of the wall clock do not move the watermark.
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
    max_time: Option<i64>,
    floor: Option<i64>,
    progress: Progress,
}

#[derive(Debug, Default)]
pub struct Watermarks {
    settings: BTreeMap<Arc<str>, Lateness>,
    partitions: BTreeMap<Partition, PartitionTime>,
    /// Sources that have not told yet what they begin with.
    awaited: BTreeSet<Arc<str>>,
    current: Option<i64>,
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

    /// The partition is read from now on. Without a `floor` it holds the watermark until its first event.
    pub fn assigned(&mut self, partition: Partition, floor: Option<i64>) {
        let entry = PartitionTime {
            max_time: None,
            floor,
            progress: Progress::Reading,
        };
        self.partitions.entry(partition).or_insert(entry).progress = Progress::Reading;
    }

    /// What an earlier run knew of a partition. It holds time back until it is known whether it comes again.
    pub fn restore(&mut self, partition: Partition, max_time: Option<i64>) {
        let progress = Progress::Restored;
        self.partitions.insert(
            partition,
            PartitionTime {
                max_time,
                floor: None,
                progress,
            },
        );
    }

    /// Where an earlier run had got to.
    pub fn restore_current(&mut self, watermark: Option<i64>) {
        self.current = watermark;
    }

    /// Notes event times of a batch. Returns how many are too far in the future to count.
    pub fn observe(&mut self, partition: &Partition, times: &[i64], now: i64) -> u64 {
        let limit = now.saturating_add(self.of(partition).max_skew);
        let newest = times.iter().copied().filter(|time| *time <= limit).max();
        let entry = self
            .partitions
            .entry(partition.clone())
            .or_insert(PartitionTime {
                max_time: None,
                floor: None,
                progress: Progress::Reading,
            });
        entry.max_time = entry.max_time.max(newest);
        entry.progress = Progress::Reading;
        times.iter().filter(|time| **time > limit).count() as u64
    }

    pub fn caught_up(&mut self, partition: &Partition, now: i64) {
        self.set(partition, Progress::CaughtUp(now));
    }
    pub fn revoked(&mut self, partition: &Partition, now: i64) {
        self.set(partition, Progress::Revoked(now));
    }
    pub fn finished(&mut self, partition: &Partition) {
        self.set(partition, Progress::Finished);
    }
    fn set(&mut self, partition: &Partition, progress: Progress) {
        if let Some(entry) = self.partitions.get_mut(partition) {
            entry.progress = progress;
        }
    }

    /// Latest event time of all partitions that no clock in the future has told.
    pub fn newest(&self) -> i64 {
        let times = self.partitions.values().filter_map(|p| p.max_time);
        times.max().unwrap_or(i64::MIN)
    }

    pub fn max_time(&self, partition: &Partition) -> Option<i64> {
        self.partitions.get(partition)?.max_time
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

    /// The engine's watermark. `i64::MAX` once all input is closed; none while nothing is known.
    pub fn advance(&mut self, now: i64) -> Option<i64> {
        if !self.awaited.is_empty() {
            return self.current;
        }
        if self.all_finished() {
            self.current = Some(i64::MAX);
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
        self.current = self.current.max(next);
        self.current
    }

    /// How far time is complete in one source alone: `None` while nobody can tell, [`i64::MAX`] when nothing more
    /// is under way.
    pub fn of_source(&self, source: &str, now: i64) -> Option<i64> {
        if self.awaited.contains(source) {
            return None;
        }
        let own = self.partitions.iter();
        let held = own.filter(|(name, p)| &*name.source == source && !self.left(name, p, now));
        let times: Vec<Option<i64>> = held.map(|(name, p)| self.time_of(name, p)).collect();
        match times.is_empty() {
            true => Some(i64::MAX),
            false => times.into_iter().min().flatten(),
        }
    }

    fn time_of(&self, name: &Partition, partition: &PartitionTime) -> Option<i64> {
        let seen = partition.max_time.max(partition.floor);
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
mod tests {
    use super::*;

    const NOW: i64 = 1_000 * HOUR;

    fn setup() -> (Watermarks, Partition, Partition) {
        let settings = Lateness {
            lateness: 10,
            idle_after: 5,
            max_skew: 100,
            revoked_hold: 50,
            scan_gap: 0,
        };
        let marks = Watermarks::new([("s".into(), settings)]);
        (
            marks,
            Partition::new("s", "t/0"),
            Partition::new("s", "t/1"),
        )
    }

    #[test]
    fn the_slowest_partition_decides() {
        let (mut marks, a, b) = setup();
        marks.assigned(a.clone(), None);
        marks.assigned(b.clone(), None);
        marks.observe(&a, &[100, 90], NOW);
        assert_eq!(
            marks.advance(NOW),
            None,
            "the other partition has said nothing yet"
        );
        marks.observe(&b, &[50], NOW);
        assert_eq!(marks.advance(NOW), Some(40));
        marks.observe(&b, &[200], NOW);
        assert_eq!(marks.advance(NOW), Some(90));
    }

    #[test]
    fn time_stands_still_until_every_source_has_told_its_partitions() {
        let (mut marks, a, b) = setup();
        marks.await_source("s");
        marks.await_source("other");
        marks.observe(&a, &[100], NOW);
        marks.ready("other", false, NOW);
        marks.finished(&a);
        assert_eq!(marks.advance(NOW), None, "another topic may come");
        assert!(!marks.all_finished());
        marks.assigned(b.clone(), None);
        marks.ready("s", false, NOW);
        assert_eq!(marks.advance(NOW), None, "the new partition is silent yet");
        marks.observe(&b, &[50], NOW);
        assert_eq!(marks.advance(NOW), Some(40));
    }

    #[test]
    fn what_an_earlier_run_read_holds_time_until_it_is_known_to_be_gone() {
        let (mut marks, a, b) = setup();
        marks.restore(a.clone(), Some(50));
        marks.restore(Partition::new("removed", "x"), Some(1));
        marks.keep(|partition| &*partition.source == "s");
        marks.await_source("s");
        marks.assigned(b.clone(), None);
        marks.observe(&b, &[200], NOW);
        let mut shared = Watermarks {
            settings: marks.settings.clone(),
            partitions: marks.partitions.clone(),
            ..Watermarks::default()
        };
        marks.ready("s", false, NOW);
        assert_eq!(marks.advance(NOW), Some(190), "a file that is gone");
        marks.finished(&b);
        assert!(marks.all_finished());
        shared.ready("s", true, NOW);
        assert_eq!(shared.advance(NOW), Some(40), "another member may have it");
        assert_eq!(shared.advance(NOW + 50), Some(190));
    }

    #[test]
    fn it_never_goes_back() {
        let (mut marks, a, b) = setup();
        marks.observe(&a, &[100], NOW);
        assert_eq!(marks.advance(NOW), Some(90));
        marks.assigned(b.clone(), None);
        marks.observe(&b, &[20], NOW);
        assert_eq!(marks.advance(NOW), Some(90));
    }

    #[test]
    fn only_a_partition_read_to_its_end_becomes_idle() {
        let (mut marks, a, b) = setup();
        marks.observe(&a, &[100], NOW);
        marks.observe(&b, &[50], NOW);
        assert_eq!(
            marks.advance(NOW + HOUR),
            Some(40),
            "busy elsewhere is not idle"
        );
        marks.caught_up(&b, NOW);
        assert_eq!(marks.advance(NOW + 4), Some(40));
        assert_eq!(marks.advance(NOW + 5), Some(90));
        marks.caught_up(&a, NOW);
        assert_eq!(marks.advance(NOW + HOUR), Some(90), "all idle: time stands");
    }

    #[test]
    fn a_clock_in_the_future_does_not_close_windows() {
        let (mut marks, a, _) = setup();
        assert_eq!(marks.observe(&a, &[NOW, NOW + 101], NOW), 1);
        assert_eq!(marks.advance(NOW), Some(NOW - 10));
    }

    #[test]
    fn a_revoked_partition_holds_for_a_while() {
        let (mut marks, a, b) = setup();
        marks.observe(&a, &[100], NOW);
        marks.observe(&b, &[50], NOW);
        marks.revoked(&b, NOW);
        assert_eq!(marks.advance(NOW + 49), Some(40));
        assert_eq!(marks.advance(NOW + 50), Some(90));
    }

    #[test]
    fn a_source_has_a_time_of_its_own() {
        let (mut marks, a, b) = setup();
        marks.await_source("s");
        marks.assigned(a.clone(), None);
        marks.observe(&a, &[100], NOW);
        marks.observe(&Partition::new("other", "x"), &[7], NOW);
        assert_eq!(marks.of_source("s", NOW), None, "partitions may be missing");
        marks.assigned(b.clone(), None);
        marks.ready("s", false, NOW);
        assert_eq!(marks.of_source("s", NOW), None, "one is silent yet");
        marks.observe(&b, &[50], NOW);
        assert_eq!(marks.of_source("s", NOW), Some(40));
        marks.caught_up(&a, NOW);
        marks.caught_up(&b, NOW);
        assert_eq!(marks.of_source("s", NOW + 4), Some(40));
        assert_eq!(marks.of_source("s", NOW + 5), Some(i64::MAX));
        assert_eq!(marks.of_source("gone", NOW), Some(i64::MAX));
    }

    #[test]
    fn closed_input_ends_time() {
        let (mut marks, a, b) = setup();
        marks.assigned(a.clone(), Some(500));
        marks.assigned(b.clone(), Some(100));
        assert_eq!(
            marks.advance(NOW),
            Some(90),
            "a floor stands in for events not read yet"
        );
        marks.finished(&b);
        assert_eq!(marks.advance(NOW), Some(490));
        marks.finished(&a);
        assert_eq!(marks.advance(NOW), Some(i64::MAX));
    }
}
