//! Timelines as pieces of state in the store.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Place, Timelines, piece};
use crate::detect::episode::Match;
use crate::detect::told::Head;
use crate::store::StateWrite;
use crate::{Error, Result};

impl Timelines {
    /// Pieces of state that changed since the last call.
    /// Matches of windows are written once they are certain: open windows are answered anew after a restart.
    pub fn take_state(
        &mut self,
        owner: &str,
        clock: i64,
        writes: &mut Vec<StateWrite>,
    ) -> Result<()> {
        for (part, key) in std::mem::take(&mut self.gone) {
            writes.push(StateWrite {
                owner: format!("{owner}/{part}"),
                key,
                value: None,
            });
        }
        let mut later = BTreeMap::new();
        for ((key, place), written) in std::mem::take(&mut self.unwritten) {
            let found = self.by_key.get(&key).and_then(|t| t.matches.get(&place));
            if let Some(found) = found {
                if found.window.is_some() && found.due > clock {
                    later.insert((key, place), written);
                    continue;
                }
                writes.push(StateWrite {
                    owner: format!("{owner}/matches"),
                    key: piece(&key, Some(&place)),
                    value: Some(json(&(&key, &place.1, found))?),
                });
            }
        }
        self.unwritten = later;
        for key in std::mem::take(&mut self.unwritten_heads) {
            if let Some(timeline) = self.by_key.get_mut(&key)
                && (timeline.head_stored || !timeline.head.is_empty())
            {
                timeline.head_stored = true;
                writes.push(StateWrite {
                    owner: format!("{owner}/heads"),
                    key: piece(&key, None),
                    value: Some(json(&(&key, &timeline.head))?),
                });
            }
        }
        Ok(())
    }

    /// Puts a match back. Gives its window's end, if it is a window's.
    pub fn restore_match(&mut self, value: &[u8]) -> Result<(Option<i64>, String, Place), String> {
        let (key, id, found): (String, String, Match) =
            serde_json::from_slice(value).map_err(|e| e.to_string())?;
        let end = found.window.map(|(_, end)| end);
        let place = (found.start, id);
        let timeline = self.by_key.entry_ref(&key).or_default();
        self.bytes += found.bytes();
        let before = timeline.matches.insert(place.clone(), found);
        self.bytes -= before.as_ref().map_or(0, Match::bytes);
        self.dirty.insert(key.clone());
        Ok((end, key, place))
    }

    pub fn restore_head(&mut self, value: &[u8]) -> Result<(), String> {
        let (key, head): (String, Head) =
            serde_json::from_slice(value).map_err(|e| e.to_string())?;
        self.live.extend(head.told.keys().cloned());
        self.dirty.insert(key.clone());
        let timeline = self.by_key.entry(key).or_default();
        self.bytes += head.bytes();
        timeline.head_bytes = head.bytes();
        timeline.head = head;
        timeline.head_stored = true;
        Ok(())
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::Other(e.to_string()))
}
