//! The three hidden attacks, modelled on public traces of real ones (Stratus Red Team, Falco).
//!
//! Invariants: an attack lies within one day; its steps share users, keys, addresses or pods, so that
//! correlation can join them; every step in its [`AttackStory`] is an event in the files.

mod cluster;
mod pod;
mod spraying;
mod stolen_key;

use super::clock::SECOND;
use super::{AttackStory, Day, Step};

/// Adds the attacks of this day.
pub fn hide(day: &mut Day) -> Vec<AttackStory> {
    match day.index {
        1 => vec![spraying::hide(day)],
        3 => vec![stolen_key::hide(day)],
        5 => vec![cluster::hide(day)],
        _ => Vec::new(),
    }
}

/// A story being told: its clock moves on with every step.
struct Teller {
    time: i64,
    steps: Vec<Step>,
}

impl Teller {
    fn new(time: i64) -> Self {
        Self {
            time,
            steps: Vec::new(),
        }
    }

    /// Lets time pass and returns the new time.
    fn after(&mut self, seconds: i64) -> i64 {
        self.time += seconds * SECOND;
        self.time
    }

    /// Notes the event that just happened.
    fn note(&mut self, what: &str, event_uid: String) {
        self.steps.push(Step {
            time_us: self.time,
            what: what.to_owned(),
            event_uid,
        });
    }

    fn end(self, name: &'static str, entities: Vec<String>) -> AttackStory {
        AttackStory {
            name,
            steps: self.steps,
            entities,
        }
    }
}
