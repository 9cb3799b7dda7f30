//! How far in event time the rules of a detector reach together, µs.

use super::Detector;
use crate::rule::{Reach, RuleKind};
use crate::time::pane_size;

impl Detector {
    /// Of all rules: those over alerts reach as far as they do, and as far as the rules whose alerts they read.
    pub fn reach(&self) -> Reach {
        self.longest(true).over(self.longest(false))
    }

    fn longest(&self, over_alerts: bool) -> Reach {
        let rules = self.rules.iter().filter(|r| r.over_alerts == over_alerts);
        let reaches = rules.map(|rule| rule.rule.reach());
        reaches.fold(Reach::default(), Reach::max)
    }

    /// How far behind the watermark an alert may still start or change.
    pub fn alerts_change(&self) -> i64 {
        self.reach().wait.saturating_add(self.limits.amend)
    }

    /// How far behind the watermark rules still count events: an event that comes twice within it would be
    /// counted twice. Other kinds of rules do not mind.
    pub fn counts_back(&self) -> i64 {
        match self.reach().counts {
            0 => 0,
            longest => longest.saturating_add(self.limits.amend),
        }
    }

    /// How far behind the watermark an alert may lie that shares a pane with one that is taken back.
    pub(super) fn shares_pane(&self) -> i64 {
        let longest = self.longest(true).counts;
        self.limits.amend.saturating_add(longest.saturating_mul(2))
    }

    /// The longest pane of a rule over alerts.
    pub(super) fn longest_pane(&self) -> i64 {
        let over = self.rules.iter().filter(|rule| rule.over_alerts);
        let panes = over.filter_map(|rule| match rule.rule.kind {
            RuleKind::Window(window) => Some(pane_size(window)),
            _ => None,
        });
        panes.max().unwrap_or(0)
    }
}
