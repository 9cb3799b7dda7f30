//! What rules may keep in memory, and what happens to one that keeps more.

use super::Detector;
use crate::Error;
use crate::time::HOUR;

/// What rules may keep.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How far behind the watermark late rows still amend answers, µs of event time.
    pub amend: i64,
    /// State of one rule, and of all, in bytes. A rule over it stops amending, and if that does not help it is
    /// suspended.
    pub rule_bytes: usize,
    pub all_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            amend: HOUR,
            rule_bytes: 1 << 30,
            all_bytes: 4 << 30,
        }
    }
}

impl Detector {
    /// Rules that keep too much first stop taking late rows, and are suspended if that is not enough at the next look; both are
    /// told. If all together keep too much, the largest pay, and no more of them than hold what is over.
    pub(super) fn keep_limits(&mut self) {
        let sizes: Vec<usize> = self.rules.iter().map(|rule| rule.state_bytes()).collect();
        let all: usize = sizes.iter().sum();
        let mut over = all.saturating_sub(self.limits.all_bytes);
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(sizes[*index]));
        for index in order {
            if sizes[index] <= self.limits.rule_bytes && over == 0 {
                return;
            }
            let rule = &mut self.rules[index];
            let reason = if rule.amend_no_more() {
                format!(
                    "kept {} MiB of state; late rows do not amend its alerts any more",
                    sizes[index] >> 20
                )
            } else {
                let reason = format!(
                    "suspended: it keeps {} MiB of state, more than its limit of {} MiB (or all rules together more than {} MiB); narrow its WHERE or its keys, shorten its window, or raise engine.state_per_rule_mb",
                    sizes[index] >> 20,
                    self.limits.rule_bytes >> 20,
                    self.limits.all_bytes >> 20,
                );
                rule.suspend(reason.clone());
                reason
            };
            over = over.saturating_sub(sizes[index]);
            rule.note(&Error::Other(reason));
        }
    }
}
