//! When time ends, for a closed input: with its newest event. A clock that is far ahead does not end it later, or
//! everything would be missing from then on that rules wait for. A function of the set of event times alone.

use crate::time::DAY;

/// The newest times that are kept.
const KEPT: usize = 256;
/// Of fewer times none is doubted: there is too little to hold against it.
const ENOUGH: usize = 20;

#[derive(Debug, Default)]
pub struct Ending {
    /// The newest event times, the newest last.
    newest: Vec<i64>,
    unwritten: bool,
}

impl Ending {
    pub fn note(&mut self, times: &[i64]) {
        let least = match self.newest.len() {
            KEPT => self.newest[0],
            _ => i64::MIN,
        };
        let before = self.newest.len();
        self.newest
            .extend(times.iter().copied().filter(|time| *time >= least));
        if self.newest.len() > before {
            self.newest.sort_unstable();
            let surplus = self.newest.len().saturating_sub(KEPT);
            self.newest.drain(..surplus);
            self.unwritten = true;
        }
    }

    /// Whether older times can change nothing.
    pub fn is_full(&self) -> bool {
        self.newest.len() == KEPT
    }

    /// The newest event time at or before `limit`, without those that stand alone: at most one in twenty of the newest
    /// events, more than a day after all others and further from them than these from each other. [`i64::MIN`] if
    /// there is none.
    pub fn end(&self, limit: i64) -> i64 {
        let counting = self.newest.partition_point(|time| *time <= limit);
        let times = &self.newest[..counting];
        let Some((first, last)) = times.first().zip(times.last()) else {
            return i64::MIN;
        };
        if times.len() < ENOUGH {
            return *last;
        }
        let alone = |n: &usize| {
            let (others, alone) = times.split_at(times.len() - n);
            let last = others[others.len() - 1];
            alone[0].saturating_sub(last) > last.saturating_sub(*first).max(DAY)
        };
        let alone = (1..=times.len() / ENOUGH).rev().find(alone).unwrap_or(0);
        times[times.len() - alone - 1]
    }

    /// As it is stored, if it changed since the last call.
    pub fn take_state(&mut self) -> Option<Vec<u8>> {
        std::mem::take(&mut self.unwritten)
            .then(|| self.newest.iter().flat_map(|t| t.to_le_bytes()).collect())
    }

    pub fn restore(&mut self, value: &[u8]) {
        let (times, _) = value.as_chunks::<8>();
        self.newest = times.iter().map(|time| i64::from_le_bytes(*time)).collect();
        self.newest.sort_unstable();
        self.unwritten = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{HOUR, MINUTE, SECOND};

    fn ending(times: impl IntoIterator<Item = i64>) -> Ending {
        let mut ending = Ending::default();
        for time in times {
            ending.note(&[time]);
        }
        ending
    }

    #[test]
    fn clocks_far_ahead_do_not_end_time() {
        let many = (0..1_000).map(|n| n * SECOND);
        for ahead in [2 * DAY, 180 * DAY, 9_000 * DAY] {
            let times = many.clone().chain([ahead, 3 * ahead]);
            assert_eq!(ending(times.clone()).end(i64::MAX), 999 * SECOND);
            assert_eq!(ending(times.rev()).end(i64::MAX), 999 * SECOND);
        }
        let gap = many.clone().chain([3 * HOUR]);
        assert_eq!(ending(gap).end(i64::MAX), 3 * HOUR, "a pause is a pause");
        assert_eq!(
            ending(many).end(7 * SECOND),
            i64::MIN,
            "only the newest are known"
        );
    }

    #[test]
    fn few_or_sparse_events_are_believed() {
        assert_eq!(ending([0, MINUTE, 90 * DAY]).end(i64::MAX), 90 * DAY);
        assert_eq!(ending([0, MINUTE, 90 * DAY]).end(DAY), MINUTE);
        let daily = (0..50).map(|n| n * DAY);
        assert_eq!(ending(daily.chain([60 * DAY])).end(i64::MAX), 60 * DAY);
        assert_eq!(ending([]).end(i64::MAX), i64::MIN);
    }

    #[test]
    fn it_is_stored_and_read_back() {
        let mut one = ending((0..600).rev());
        let stored = one.take_state().unwrap_or_default();
        assert_eq!((stored.len(), one.take_state()), (KEPT * 8, None));
        let mut two = Ending::default();
        two.restore(&stored);
        assert_eq!(two.end(i64::MAX), 599);
        two.restore(&7_i64.to_le_bytes());
        assert_eq!(two.end(i64::MAX), 7, "as earlier versions wrote it");
    }
}
