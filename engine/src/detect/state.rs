//! A detector as pieces of state in the store.

use super::{Detector, told};
use crate::store::StateWrite;
use crate::{Error, Result};

/// Owner of the newest event times in the store, and of where time had ended.
const CLOCK: &str = "clock";

impl Detector {
    /// Pieces of state that changed since the last call.
    pub fn take_state(&mut self) -> Result<Vec<StateWrite>> {
        let mut writes = vec![];
        for rule in &mut self.rules {
            writes.extend(rule.take_state()?);
        }
        self.fed.take_state(&mut writes)?;
        let ended = Some(self.ended).filter(|time| *time > i64::MIN);
        let ended = ended.map(|time| time.to_le_bytes().to_vec());
        let early = Some(self.early).filter(|time| *time > i64::MIN);
        let early = early.map(|time| time.to_le_bytes().to_vec());
        for (key, value) in [(0, self.ending.take_state()), (1, ended), (2, early)] {
            if value.is_some() {
                writes.push(StateWrite {
                    owner: CLOCK.into(),
                    key,
                    value,
                });
            }
        }
        Ok(writes)
    }

    /// Puts stored state back, pieces of an owner in ascending order, and the watermark that it was stored with.
    /// Returns owners whose rule (or its version) is gone.
    pub fn restore(
        &mut self,
        state: &[(String, i64, Vec<u8>)],
        watermark: Option<i64>,
    ) -> Result<Vec<String>> {
        let mut gone = vec![];
        for (owner, key, value) in state
            .iter()
            .filter(|(owner, ..)| owner.starts_with("rule/"))
        {
            let rule = self.rules.iter_mut().find_map(|rule| {
                let part = owner.strip_prefix(&rule.owner())?.strip_prefix('/')?;
                Some((rule, part))
            });
            match rule {
                Some((rule, part)) => {
                    rule.restore(part, *key, value)
                        .map_err(|reason| Error::State {
                            owner: owner.clone(),
                            reason,
                        })?
                }
                None => {
                    if owner.ends_with("/heads") {
                        let told = told::provisional(value);
                        self.orphans.extend(told.map_err(|reason| Error::State {
                            owner: owner.clone(),
                            reason,
                        })?);
                    }
                    if !gone.contains(owner) {
                        gone.push(owner.clone());
                    }
                }
            }
        }
        for (_, key, value) in state.iter().filter(|(owner, ..)| owner == CLOCK) {
            match key {
                0 => self.ending.restore(value),
                key => {
                    let bytes = value.as_slice().try_into();
                    let time = bytes.map_or(i64::MIN, i64::from_le_bytes);
                    match key {
                        1 => self.ended = time,
                        _ => self.early = time,
                    }
                }
            }
            self.newest = self.ending.end(i64::MAX);
        }
        self.early = self.early.max(self.newest);
        for (owner, _, value) in state {
            let restored = self.fed.restore(owner, value);
            restored.map_err(|reason| Error::State {
                owner: owner.clone(),
                reason,
            })?;
        }
        self.watermark = watermark;
        for rule in &mut self.rules {
            rule.restored(watermark, self.ended);
        }
        Ok(gone)
    }
}
