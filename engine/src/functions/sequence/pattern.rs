//! What a sequence is, and the search for it in the events of one group.

use std::cmp::Ordering;

use datafusion::arrow::datatypes::{DataType, FieldRef, TimeUnit};
use datafusion::common::{Result, plan_err};

use super::step;

/// Most steps of a sequence: an event's steps are the bits of a `u32`.
pub(super) const MAX_STEPS: usize = 32;
/// Most events of one group that are kept. A group that has more has no answer.
pub(super) const MAX_EVENTS: usize = 1 << 20;

/// How one step relates to the steps around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// An event follows the one before.
    Then,
    /// An event follows the one before after at most this many microseconds.
    Within(i64),
    /// No such event lies between the positive steps around this one.
    Without,
}

/// An event that satisfies at least one step: bit `i` of `steps` is set for the step `i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub time: i64,
    pub steps: u32,
}

impl Entry {
    /// The order that sequences are searched in. Two entries that it holds equal are interchangeable, so no
    /// answer depends on the order of arrival.
    fn order(&self, other: &Self) -> Ordering {
        let key = |entry: &Self| (entry.time, entry.steps.trailing_zeros(), entry.steps);
        key(self).cmp(&key(other))
    }
}

/// A step that takes an event.
#[derive(Debug)]
struct Positive {
    bit: u32,
    /// Longest time since the positive step before, µs.
    gap: i64,
    /// Negated steps between this positive step and the next.
    barrier: u32,
}

/// A sequence of 2 to 32 steps of which the first and the last are positive.
#[derive(Debug)]
pub(super) struct Pattern {
    steps: Vec<Positive>,
    /// Bits of all positive steps.
    positive: u32,
    /// Whether equal events count once.
    distinct: bool,
    /// See [`MAX_EVENTS`].
    pub most: usize,
}

impl Pattern {
    /// Reads the steps off the arguments' fields; the first argument is the time.
    pub(super) fn from_fields(fields: &[FieldRef]) -> Result<Self> {
        let Some((time, fields)) = fields.split_first() else {
            return plan_err!(
                "sequence_match needs a time and steps: sequence_match(time, condition, condition)"
            );
        };
        if *time.data_type() != time_type() {
            return plan_err!(
                "sequence_match: the first argument is the time of the event, not {}; write sequence_match(time, …)",
                time.data_type()
            );
        }
        if !(2..=MAX_STEPS).contains(&fields.len()) {
            return plan_err!(
                "sequence_match takes 2 to {MAX_STEPS} steps after the time, not {}",
                fields.len()
            );
        }
        let steps = fields
            .iter()
            .enumerate()
            .map(|(index, field)| match (field.data_type(), step::kind(field)) {
                (_, Some(step)) => Ok(step),
                (DataType::Boolean, None) => Ok(Step::Then),
                (other, None) => plan_err!(
                    "sequence_match: step {} is {other}; a step is a condition, within(condition, '10m') or without(condition)",
                    index + 1
                ),
            })
            .collect::<Result<Vec<_>>>()?;
        Self::new(&steps)
    }

    pub(super) fn new(steps: &[Step]) -> Result<Self> {
        if matches!(steps.first(), Some(Step::Within(_))) {
            return plan_err!(
                "sequence_match: within(…) cannot be the first step, which follows nothing; give the condition alone"
            );
        }
        if steps.first() == Some(&Step::Without) {
            return plan_err!(
                "sequence_match: without(…) cannot be the first step; start with what happens before it"
            );
        }
        if steps.last() == Some(&Step::Without) {
            return plan_err!(
                "sequence_match: without(…) cannot be the last step; for “A and then nothing” write a rule with `absence`"
            );
        }
        let mut pattern = Self {
            steps: vec![],
            positive: 0,
            distinct: false,
            most: MAX_EVENTS,
        };
        for (index, step) in steps.iter().enumerate() {
            let bit = 1 << index;
            let gap = match (step, pattern.steps.last_mut()) {
                (Step::Without, Some(before)) => {
                    before.barrier |= bit;
                    continue;
                }
                (Step::Within(gap), _) => *gap,
                _ => i64::MAX,
            };
            pattern.positive |= bit;
            pattern.steps.push(Positive {
                bit,
                gap,
                barrier: 0,
            });
        }
        Ok(pattern)
    }

    pub(super) fn distinct(self, distinct: bool) -> Self {
        Self { distinct, ..self }
    }

    /// Sorts the entries and drops equal ones that no chain can need: a chain takes at most as many as they
    /// have positive steps, and one more stands for all that are left between.
    pub(super) fn settle(&self, entries: &mut Vec<Entry>) {
        entries.sort_unstable_by(Entry::order);
        let mut before = None;
        let mut equal = 0;
        entries.retain(|entry| {
            equal = if before == Some(*entry) { equal + 1 } else { 1 };
            before = Some(*entry);
            let spare = if self.distinct {
                1
            } else {
                1 + (entry.steps & self.positive).count_ones()
            };
            equal <= spare
        });
        entries.shrink_to(entries.len() * 2);
    }

    /// Whether settled entries hold the sequence.
    ///
    /// Per positive step it keeps the time of the latest chain that ends there and that no negated step has cut.
    /// The latest one stands for all: what it cannot reach in time no earlier one reaches, and an event that
    /// cuts it lies behind the earlier ones as well.
    pub(super) fn is_in(&self, entries: &[Entry]) -> bool {
        let mut chains = [None::<i64>; MAX_STEPS];
        for entry in entries {
            // From the last step down, so that an event extends only chains of the events before it.
            for (index, step) in self.steps.iter().enumerate().rev() {
                let follows = match index.checked_sub(1).map(|before| chains[before]) {
                    None => true,
                    Some(None) => false,
                    Some(Some(before)) => entry.time.saturating_sub(before) <= step.gap,
                };
                if entry.steps & step.bit != 0 && follows {
                    if index + 1 == self.steps.len() {
                        return true;
                    }
                    chains[index] = Some(entry.time);
                } else if entry.steps & step.barrier != 0 {
                    chains[index] = None;
                }
            }
        }
        false
    }
}

/// Type that the time is brought to.
pub(super) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}
