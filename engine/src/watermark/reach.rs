//! How far one partition has come, by what its rows say together. Pure.
//!
//! One clock that is ahead must not make the rows of all others late (ADR 0010). So an event time counts at once
//! only if it is at most one step ahead of what most of the last rows have reached. One further ahead is remembered: it is
//! believed once most rows are as far, or once nothing contradicts it and nothing more comes.

use std::collections::{BTreeSet, VecDeque};

use crate::time::MINUTE;

/// Rows that are asked.
const RECENT: usize = 512;
/// Rows between two questions.
const PAUSE: usize = RECENT / 8;
/// Rows without which nothing is asked.
const ENOUGH: usize = RECENT / 2;
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
    /// What three quarters of the last rows had reached when they were asked; before that, what was believed at first.
    confirmed: Option<i64>,
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
            if self.confirmed.is_none() {
                self.confirmed = reached;
            }
            // Rows that have just come are no backlog: a clock that is right is hardly ahead of the last one.
            let from = match by.live {
                true => reached.max(self.confirmed),
                false => self.confirmed,
            };
            let near = from.is_some_and(|from| time <= from.saturating_add(step));
            let known = reached.is_some_and(|reached| time <= reached);
            let live = by.live && time >= by.now.saturating_sub(by.lateness);
            if near || known || live {
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
            if self.unasked >= PAUSE && self.recent.len() >= ENOUGH {
                self.ask(step);
            }
        }
        beyond
    }

    /// Learns what three quarters of the last rows have reached, and believes what is a step ahead of it.
    fn ask(&mut self, step: i64) {
        self.unasked = 0;
        let mut times: Vec<i64> = self.recent.iter().copied().collect();
        let quarter = times.len() / 4;
        let (_, far, _) = times.select_nth_unstable(quarter);
        self.confirmed = self.confirmed.max(Some(*far));
        let to = far.saturating_add(step);
        if let Some(time) = self.ahead.range(..=to).next_back().copied() {
            self.believe(time);
        }
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
            for time in rows(BEGIN, 5_000, SECOND / 2) {
                reach.note(&[time], measure());
                if (time / SECOND) % 20 == 0 {
                    reach.note(&[time + ahead], measure());
                }
                // By less than the skew that is allowed any clock may be ahead.
                let reached = reach.time();
                let most = Some(time + 5 * MINUTE);
                assert!(Some(time) <= reached && reached <= most, "{ahead}");
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
        assert!(reach.time() >= Some(later[1_000 - RECENT]));
        reach.settle(NOW, 5 * MINUTE, 20 * MINUTE);
        assert!(reach.time() >= Some(later[1_000 - 1 - FOLLOWERS]));
    }

    /// A host whose clock runs away, row by row, and one that leaves a trail while all others are silent.
    #[test]
    fn a_clock_that_is_ahead_a_little_more_each_time_leads_nowhere() {
        for (own, others) in [(1, 40), (1, 4), (1, 1)] {
            let (mut reach, mut ahead) = (reach(), BEGIN);
            for time in rows(BEGIN, 20_000, 100 * SECOND / 1_000) {
                let turn = (time - BEGIN) / (SECOND / 10) % (own + others);
                if turn < own {
                    ahead += MINUTE;
                    reach.note(&[ahead], measure());
                } else {
                    reach.note(&[time], measure());
                }
                let honest = own * 3 <= others;
                assert!(!honest || reach.time() <= Some(time + 5 * MINUTE));
            }
        }
        let mut reach = reach();
        reach.note(&rows(BEGIN, 10_000, SECOND), measure());
        let last = BEGIN + 9_999 * SECOND;
        reach.note(&rows(last, 200, 4 * MINUTE), measure());
        assert!(reach.time() <= Some(last + 5 * MINUTE));
    }

    /// A quiet host in a backlog: its rows are confirmed by those that follow.
    #[test]
    fn slow_rows_of_a_backlog_count_when_others_have_followed() {
        let mut reach = reach();
        let slow = rows(BEGIN, 2_000, 4 * MINUTE);
        reach.note(&slow, measure());
        assert!(reach.time() >= Some(slow[2_000 - RECENT]));
        reach.settle(NOW, 5 * MINUTE, 20 * MINUTE);
        assert!(reach.time() >= Some(slow[2_000 - 1 - FOLLOWERS]));
        // Rows of a partition that was at its end count as they come.
        let live = Measure {
            live: true,
            ..measure()
        };
        let mut live_one = self::reach();
        for time in &slow {
            live_one.note(&[*time], live);
            assert_eq!(live_one.time(), Some(*time));
        }
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
        assert!(reach.time() >= Some(BEGIN + HOUR + (2_000 - RECENT as i64) * SECOND));
    }

    #[test]
    fn how_rows_are_batched_changes_nothing_in_the_end() {
        let mut times = rows(BEGIN, 700, SECOND);
        times.insert(300, BEGIN + 30 * DAY);
        times.extend(rows(BEGIN + DAY, 2_000, SECOND));
        times.insert(900, BEGIN + 60 * DAY);
        let reached = |size: usize| {
            let mut reach = reach();
            for batch in times.chunks(size) {
                reach.note(batch, measure());
            }
            reach.time()
        };
        assert!(reached(1) >= Some(BEGIN + DAY + (2_000 - RECENT as i64) * SECOND));
        for size in [7, 64, 1_000, 10_000] {
            assert_eq!(reached(size), reached(1), "size {size}");
        }
    }
}
