//! How far in event time what a rule answers depends on events.

use super::{Rule, RuleKind};

/// All in µs of event time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    /// Events this long before the start of an alert's episode have a say in it.
    pub before: i64,
    /// An episode is complete this long after its start.
    pub after: i64,
    /// A match is certain this long after it begins at most.
    pub wait: i64,
    /// An episode takes matches in for this long after its start; 0 means that each match is an alert.
    pub episode: i64,
    /// Events are counted this long before the end of a window, so that one that comes twice would be counted twice.
    pub counts: i64,
}

impl Reach {
    /// The longer of each.
    pub fn max(self, other: Self) -> Self {
        Self {
            before: self.before.max(other.before),
            after: self.after.max(other.after),
            wait: self.wait.max(other.wait),
            episode: self.episode.max(other.episode),
            counts: self.counts.max(other.counts),
        }
    }

    /// Of rules over the alerts of others, which reach as far as these.
    pub fn over(self, alerts: Self) -> Self {
        Self {
            before: self.before.saturating_add(alerts.before),
            after: self.after.saturating_add(alerts.after),
            wait: self.wait.saturating_add(alerts.wait),
            ..self.max(alerts)
        }
    }
}

impl Rule {
    pub fn reach(&self) -> Reach {
        let (wait, window, history) = match &self.kind {
            RuleKind::Event | RuleKind::Finding(_) => (0, 0, 0),
            RuleKind::Window(window) => (window.size, window.size, 0),
            // What is new is known after a history; and by then the warm-up that reading begins with must be over.
            RuleKind::NewTerms(terms) => (0, 0, terms.history.saturating_add(terms.warmup)),
            RuleKind::Absence(absence) => (absence.within.saturating_add(1), 0, 0),
        };
        // Sliding windows see the same events again and again.
        let episode = self
            .suppress
            .as_ref()
            .map_or(window, |suppress| suppress.length);
        let after = wait.saturating_add(episode);
        Reach {
            before: after.saturating_add(history),
            after,
            wait,
            episode,
            counts: window,
        }
    }
}
