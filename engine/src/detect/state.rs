//! A detector as pieces of state in the store.

use std::collections::BTreeSet;

use futures::FutureExt;
use hashbrown::HashMap;

use super::{Detector, guarded, layout, told};
use crate::store::StateWrite;
use crate::watermark::Watermark;
use crate::{Error, Result};

/// Owner of the newest event times in the store, and of where time had ended.
const CLOCK: &str = "clock";

impl Detector {
    /// Pieces of state that changed since the last call.
    pub async fn take_state(&mut self) -> Result<Vec<StateWrite>> {
        let mut writes = vec![];
        let pieces = self.each(
            |_, _| Some(()),
            |rule, ()| guarded(async { rule.take_state() }).boxed(),
        );
        for pieces in pieces.await {
            writes.extend(pieces?);
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

    /// Rules whose state was written by another layout or plan. They begin anew, as a rule does that was changed.
    fn refused(
        &mut self,
        state: &[(String, i64, Vec<u8>)],
        rules: &HashMap<String, usize>,
    ) -> BTreeSet<usize> {
        let mut refused = BTreeSet::new();
        for (owner, _, earlier) in state {
            let Some((owner, layout::PART)) = split(owner) else {
                continue;
            };
            let Some(&at) = rules.get(owner) else {
                continue;
            };
            let rule = &mut self.rules[at];
            if let Some(reason) = rule.layout.refuses(earlier) {
                let reason = format!(
                    "its stored state is not used and it begins anew: {reason}; `weir backtest` shows what it would have found meanwhile"
                );
                rule.note(&Error::Other(reason));
                refused.insert(at);
            }
        }
        refused
    }

    /// Puts stored state back, pieces of an owner in ascending order, and the watermark that it was stored with.
    /// Returns owners whose rule (or its version) is gone.
    pub fn restore(
        &mut self,
        state: &[(String, i64, Vec<u8>)],
        watermark: Option<i64>,
    ) -> Result<Vec<String>> {
        let mut gone = vec![];
        let rules = self.rules.iter().enumerate();
        let rules: HashMap<String, usize> = rules.map(|(at, rule)| (rule.owner(), at)).collect();
        let refused = self.refused(state, &rules);
        for (owner, key, value) in state
            .iter()
            .filter(|(owner, ..)| owner.starts_with("rule/"))
        {
            let rule = split(owner).and_then(|(rule, part)| Some((*rules.get(rule)?, part)));
            match rule.filter(|(at, _)| !refused.contains(at)) {
                Some((at, part)) => {
                    let restored = self.rules[at].restore(part, *key, value);
                    restored.map_err(|reason| Error::State {
                        owner: owner.clone(),
                        reason,
                    })?;
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
        self.watermark = watermark.map(Watermark::At);
        for rule in &mut self.rules {
            rule.restored(watermark, self.ended, &self.ctx);
        }
        Ok(gone)
    }
}

/// The owner of a rule's state, and the part of it: `rule/ID/VERSION`, and what follows. Ids may hold slashes; parts but those of
/// panes do not.
fn split(owner: &str) -> Option<(&str, &str)> {
    let at = owner.rfind("/panes/").or_else(|| owner.rfind('/'))?;
    Some((&owner[..at], &owner[at + 1..]))
}
