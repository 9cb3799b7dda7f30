//! How far one partition has come, by what its rows say together. Pure.
//!
//! One clock that is ahead must not make the rows of all others late (ADR 0010). So an event time counts at once
//! only if it is at most one step ahead of what is believed already. One further ahead is remembered: it is believed
//! once most rows are as far, or once nothing contradicts it and nothing more comes.

use std::collections::{BTreeSet, VecDeque};

use crate::time::MINUTE;

/// Rows that are asked.
const RECENT: usize = 512;
/// Rows between two questions.
const PAUSE: usize = RECENT / 8;
/// Rows that must have come after a time for it to be believed when a partition has fallen silent.
const FOLLOWERS: usize = 3;
/// The least step.
const STEP: i64 = MINUTE;

/// What a batch of rows is measured by, µs.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// Wall clock.
    pub now: i64,
    /// Times after this count for nothing: the wall clock, or when the rows were delivered, and the allowed skew.
    pub limit: i64,
    pub max_skew: i64,
    pub lateness: i64,
    /// The partition was at its end before these rows, so they have just come.
    pub live: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// Latest event time that is believed.
    pub max_time: Option<i64>,
    /// Earliest event time to expect.
    pub floor: Option<i64>,
    /// Times of the last rows, in the order in which they came.
    recent: VecDeque<i64>,
    /// Times that are not believed yet.
    ahead: BTreeSet<i64>,
    /// Rows since they were asked.
    unasked: usize,
    /// Asked since the partition fell silent.
    settled: bool,
    /// Wall clock when the last row came that is neither late nor ahead.
    near_at: Option<i64>,
}

impl Reach {
    pub fn restored(max_time: Option<i64>) -> Self {
        Self {
            max_time,
            ..Self::default()
        }
    }

    /// What is believed, or expected.
    pub fn time(&self) -> Option<i64> {
        self.max_time.max(self.floor)
    }

    /// Notes event times. Returns how many are beyond the limit.
    pub fn note(&mut self, times: &[i64], by: Measure) -> u64 {
        let step = by.max_skew.max(STEP);
        let mut beyond = 0;
        for time in times.iter().copied() {
            if time > by.limit {
                beyond += 1;
                continue;
            }
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(time);
            self.unasked += 1;
            self.settled = false;
            let reached = self.time();
            let near = reached.is_some_and(|reached| time <= reached.saturating_add(step));
            let live = by.live && time >= by.now.saturating_sub(by.lateness);
            if near || live {
                if reached.is_none_or(|reached| time >= reached.saturating_sub(by.lateness)) {
                    self.near_at = Some(by.now);
                }
                self.believe(time);
            } else {
                self.ahead.insert(time);
                if self.ahead.len() > RECENT {
                    self.ahead.pop_last();
                }
            }
            if self.unasked >= PAUSE && self.recent.len() == RECENT && !self.ahead.is_empty() {
                self.ask(step);
            }
        }
        beyond
    }

    /// Believes what three quarters of the last rows are as far as, if that is further than a step; and from there on what
    /// lies close together, but no more than three quarters of them.
    fn ask(&mut self, step: i64) {
        self.unasked = 0;
        let mut sorted: Vec<i64> = self.recent.iter().copied().collect();
        sorted.sort_unstable();
        let mut far = sorted[RECENT / 4];
        if self.time().is_some_and(|t| far <= t.saturating_add(step)) {
            return;
        }
        for time in &sorted[RECENT / 4..3 * RECENT / 4] {
            if *time > far.saturating_add(step) {
                break;
            }
            far = *time;
        }
        self.believe(far);
    }

    /// Nothing more has come for a while: time need not stand still for want of rows that confirm the last ones.
    pub fn settle(&mut self, now: i64, max_skew: i64, lateness: i64) {
        if self.ahead.is_empty() {
            return;
        }
        let step = max_skew.max(STEP);
        if !self.settled {
            self.settled = true;
            if let Some(time) = self.uncontradicted(lateness) {
                self.believe(time);
            }
        }
        let since = *self.near_at.get_or_insert(now);
        let next = match self.time() {
            None => self.ahead.first().copied(),
            // A clock that is right is ahead by no more than the time that has passed.
            Some(reached) => {
                let passed = now.saturating_sub(since).max(0);
                let to = reached.saturating_add(passed).saturating_add(step);
                self.ahead.range(..=to).next_back().copied()
            }
        };
        if let Some(next) = next {
            self.near_at = Some(now);
            self.believe(next);
        }
    }

    /// Nothing more will come.
    pub fn finish(&mut self) {
        self.recent = VecDeque::new();
        self.ahead = BTreeSet::new();
    }

    /// The latest time that three quarters of the rows after it do not make late.
    fn uncontradicted(&self, lateness: i64) -> Option<i64> {
        let mut after: Vec<i64> = vec![];
        let mut latest = None;
        for time in self.recent.iter().rev().copied() {
            let late = after.partition_point(|other| *other < time.saturating_sub(lateness));
            if after.len() >= FOLLOWERS && 4 * late <= after.len() {
                latest = latest.max(Some(time));
            }
            after.insert(after.partition_point(|other| *other <= time), time);
        }
        latest
    }

    fn believe(&mut self, time: i64) {
        if self.time().is_none_or(|reached| time > reached) {
            self.max_time = Some(time);
            // Not one after the other: the trail of a clock that is ahead would lead all the way up to it.
            while self.ahead.first().is_some_and(|first| *first <= time) {
                self.ahead.pop_first();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{DAY, HOUR, SECOND};

    const BEGIN: i64 = 20_000 * DAY;
    const NOW: i64 = BEGIN + 400 * DAY;

    fn measure() -> Measure {
        Measure {
            now: NOW,
            limit: NOW,
            max_skew: 5 * MINUTE,
            lateness: 20 * MINUTE,
            live: false,
        }
    }

    /// `count` rows, a step apart, from a time on.
    fn rows(from: i64, count: i64, step: i64) -> Vec<i64> {
        (0..count).map(|n| from + n * step).collect()
    }

    fn reach() -> Reach {
        Reach {
            floor: Some(BEGIN),
            ..Reach::default()
        }
    }

    #[test]
    fn rows_that_follow_each_other_count_at_once_and_a_clock_ahead_does_not() {
        for ahead in [6 * MINUTE, HOUR, DAY, 180 * DAY] {
            let mut reach = reach();
            for time in rows(BEGIN, 5_000, SECOND) {
                reach.note(&[time], measure());
                assert_eq!(reach.time(), Some(time));
                if (time / SECOND) % 20 == 0 {
                    reach.note(&[time + ahead], measure());
                    assert_eq!(reach.time(), Some(time), "{ahead}");
                }
            }
        }
    }

    #[test]
    fn a_gap_is_believed_once_most_rows_lie_behind_it() {
        let mut reach = reach();
        reach.note(&rows(BEGIN, 100, SECOND), measure());
        reach.note(&[BEGIN + 90 * DAY], measure());
        let later = rows(BEGIN + 3 * HOUR, 1_000, SECOND);
        reach.note(&later[..100], measure());
        assert_eq!(reach.time(), Some(BEGIN + 99 * SECOND));
        reach.note(&later[100..], measure());
        assert_eq!(reach.time(), later.last().copied());
    }

    #[test]
    fn a_source_that_says_something_once_a_day_goes_on() {
        let mut reach = reach();
        let daily = rows(BEGIN, 300, DAY);
        for time in &daily {
            reach.note(&[*time], measure());
        }
        let reached = reach.time();
        reach.settle(NOW, 5 * MINUTE, 20 * MINUTE);
        // The last ones have too few behind them; the clock on the wall lets them go, one after the other.
        assert!(reach.time() > reached && reach.time() >= Some(daily[295]));
        for day in 1..9 {
            reach.settle(NOW + day * DAY, 5 * MINUTE, 20 * MINUTE);
        }
        assert_eq!(reach.time(), daily.last().copied());
        // What comes to a partition that was at its end, and speaks of just now, counts at once.
        let now = NOW + 10 * DAY;
        let live = Measure {
            now,
            limit: now,
            live: true,
            ..measure()
        };
        reach.note(&[now - MINUTE], live);
        assert_eq!(reach.time(), Some(now - MINUTE));
    }

    #[test]
    fn when_nothing_more_comes_what_the_last_rows_say_is_believed() {
        let mut reach = reach();
        reach.note(&rows(BEGIN, 20, SECOND), measure());
        reach.note(&[BEGIN + 180 * DAY], measure());
        let later = rows(BEGIN + 3 * HOUR, 25, SECOND);
        reach.note(&later, measure());
        reach.settle(NOW, 5 * MINUTE, 20 * MINUTE);
        assert_eq!(reach.time(), later.last().copied());
    }

    #[test]
    fn without_a_time_to_expect_the_first_row_decides_nothing() {
        let mut reach = Reach::default();
        reach.note(&[BEGIN + 180 * DAY], measure());
        reach.note(&rows(BEGIN, 9, SECOND), measure());
        assert_eq!(reach.time(), None);
        reach.settle(NOW, 5 * MINUTE, 20 * MINUTE);
        assert_eq!(reach.time(), Some(BEGIN + 8 * SECOND));
        let mut reach = Reach::default();
        reach.note(&[BEGIN], measure());
        reach.settle(NOW, 5 * MINUTE, 20 * MINUTE);
        assert_eq!(reach.time(), Some(BEGIN), "nothing contradicts it");
    }

    #[test]
    fn clocks_behind_hold_nothing_back() {
        let mut reach = reach();
        reach.note(&rows(BEGIN, 10, SECOND), measure());
        for time in rows(BEGIN + HOUR, 2_000, SECOND) {
            reach.note(&[time], measure());
            if (time / SECOND) % 10 == 0 {
                reach.note(&[time % DAY], measure());
            }
        }
        assert_eq!(reach.time(), Some(BEGIN + HOUR + 1_999 * SECOND));
    }

    #[test]
    fn how_rows_are_batched_changes_nothing_in_the_end() {
        let mut times = rows(BEGIN, 700, SECOND);
        times.insert(300, BEGIN + 30 * DAY);
        times.extend(rows(BEGIN + DAY, 2_000, SECOND));
        times.insert(900, BEGIN + 60 * DAY);
        for size in [1, 7, 64, 1_000, 10_000] {
            let mut reach = reach();
            for batch in times.chunks(size) {
                reach.note(batch, measure());
            }
            assert_eq!(
                reach.time(),
                Some(BEGIN + DAY + 1_999 * SECOND),
                "size {size}"
            );
        }
    }
}
