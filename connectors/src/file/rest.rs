//! How long the end of a file that may grow has stood there undelivered.

use std::time::Instant;

use super::frame::Waited;

/// The end of a file that may grow, as it was when it was read last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rest {
    /// Where the first line begins that was not delivered.
    pub position: i64,
    first_seen: Instant,
    length: u64,
    grown: Instant,
    /// Whether waiting on was given up.
    given_up: bool,
}

impl Rest {
    /// What stands there now, if `last` is what did before.
    pub fn of(last: Option<Rest>, position: i64, length: u64, now: Instant) -> Self {
        let last = last.filter(|last| last.position == position);
        let same = last.filter(|last| last.length == length);
        Self {
            position,
            first_seen: last.map_or(now, |last| last.first_seen),
            length,
            grown: same.map_or(now, |last| last.grown),
            given_up: same.is_some_and(|last| last.waited(now).is_over()),
        }
    }

    pub fn waited(&self, now: Instant) -> Waited {
        Waited {
            since_first_seen: now.duration_since(self.first_seen),
            since_growth: now.duration_since(self.grown),
        }
    }

    /// Whether the file, so long by now, is to be read again: it has other content, or nobody writes on.
    pub fn is_due(&self, length: u64, now: Instant) -> bool {
        let has_rest = self.length > self.position as u64;
        length != self.length || has_rest && !self.given_up && self.waited(now).is_over()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_stands_at_the_end_is_read_again_when_it_grew_or_once_when_it_did_not() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let rest = Rest::of(None, 100, 150, after(0));
        assert!(rest.is_due(160, after(1)) && rest.is_due(10, after(1)));
        assert!(!rest.is_due(150, after(5)) && rest.is_due(150, after(30)));
        // It grew: its age goes on.
        let grown = Rest::of(Some(rest), 100, 160, after(8));
        let waited = grown.waited(after(12));
        assert_eq!(waited.since_first_seen, Duration::from_secs(12));
        assert_eq!(waited.since_growth, Duration::from_secs(4));
        assert!(!grown.is_due(160, after(12)));
        // It was read again, and nothing came of it.
        let read = Rest::of(Some(grown), 100, 160, after(30));
        assert!(!read.is_due(160, after(90)) && read.is_due(161, after(90)));
        // Some of it was delivered.
        let next = Rest::of(Some(read), 130, 160, after(40));
        assert_eq!(next.waited(after(40)).since_first_seen, Duration::ZERO);
        // All of it was.
        let all = Rest::of(None, 150, 150, after(0));
        assert!(!all.is_due(150, after(90)));
    }
}
