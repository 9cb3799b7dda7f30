//! One vendor's log of one day: events in order of arrival, with the disorder and the duplicates of
//! real delivery.

use super::clock::{MINUTE, SECOND};
use super::rng::Rng;

/// How a vendor delivers: how late events arrive, and how many arrive twice.
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    /// What nearly all events wait, microseconds.
    pub usual: i64,
    /// What one event in fifty waits at most, microseconds. The demo's lateness bound is the largest.
    pub slow: i64,
    /// One event in so many is delivered a second time.
    pub one_twice_in: u64,
}

impl Delivery {
    /// CloudTrail delivers within minutes, now and then within a quarter of an hour, at least once.
    pub const CLOUDTRAIL: Self = Self {
        usual: 4 * MINUTE,
        slow: 14 * MINUTE,
        one_twice_in: 700,
    };
    /// Two API servers, one shipper.
    pub const KUBERNETES: Self = Self {
        usual: 5 * SECOND,
        slow: 2 * MINUTE,
        one_twice_in: 1_500,
    };
    /// An agent on each node, one forwarder.
    pub const FALCO: Self = Self {
        usual: 3 * SECOND,
        slow: 5 * MINUTE,
        one_twice_in: 250,
    };
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    arrival: i64,
    start: usize,
    end: usize,
}

#[derive(Debug)]
pub struct Log {
    text: String,
    entries: Vec<Entry>,
    delivery: Delivery,
    rng: Rng,
    duplicates: usize,
}

impl Log {
    pub fn new(delivery: Delivery, rng: Rng) -> Self {
        Self {
            text: String::new(),
            entries: Vec::new(),
            delivery,
            rng,
            duplicates: 0,
        }
    }

    /// Adds one event that happened at `time`; `write` appends its JSON.
    pub fn push(&mut self, time: i64, write: impl FnOnce(&mut String)) {
        let start = self.text.len();
        write(&mut self.text);
        let end = self.text.len();
        let bound = if self.rng.percent(2) {
            self.delivery.slow
        } else {
            self.delivery.usual
        };
        let arrival = time + self.rng.between(0, bound);
        self.entries.push(Entry {
            arrival,
            start,
            end,
        });
        if self.rng.below(self.delivery.one_twice_in) == 0 {
            let again = time + self.rng.between(bound / 2, self.delivery.slow);
            self.entries.push(Entry {
                arrival: again,
                start,
                end,
            });
            self.duplicates += 1;
        }
    }

    /// Events in the log, each counted once.
    pub fn events(&self) -> usize {
        self.entries.len() - self.duplicates
    }

    pub fn duplicates(&self) -> usize {
        self.duplicates
    }

    /// Every delivered event as `(arrival, JSON)`, in order of arrival.
    pub fn delivered(&mut self) -> impl Iterator<Item = (i64, &str)> {
        self.entries
            .sort_by_key(|entry| (entry.arrival, entry.start));
        self.entries
            .iter()
            .map(|entry| (entry.arrival, &self.text[entry.start..entry.end]))
    }
}
