//! Timelines as pieces of state in the store.

use std::collections::BTreeSet;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Key, Place, Timeline, Timelines, head_number, home_of, log};
use crate::detect::episode::Match;
use crate::detect::told::Head;
use crate::store::StateWrite;
use crate::{Error, Result};

impl Timelines {
    /// Pieces of state that changed since the last call.
    /// Matches of windows are written if the window ends at or before `clock`: later ones are answered anew after a restart.
    pub fn take_state(
        &mut self,
        owner: &str,
        clock: i64,
        writes: &mut Vec<StateWrite>,
    ) -> Result<()> {
        if self.log.is_stale() {
            self.log = std::mem::take(&mut self.log).emptied(&mut self.gone);
            for (home, timeline) in &mut self.by_key {
                for held in timeline.matches.values_mut() {
                    held.is_written = false;
                }
                if !timeline.matches.is_empty() {
                    self.unwritten.insert(home.clone());
                }
            }
        }
        for (part, key) in std::mem::take(&mut self.gone) {
            writes.push(StateWrite {
                owner: format!("{owner}/{part}"),
                key,
                value: None,
            });
        }
        let mut pieces = self.log.write()?;
        let mut later = BTreeSet::new();
        for home in std::mem::take(&mut self.unwritten) {
            let Some(Timeline { key, matches, .. }) = self.by_key.get_mut(&home) else {
                continue;
            };
            let unwritten = matches.iter_mut().filter(|(_, held)| !held.is_written);
            for ((_, id), held) in unwritten {
                let found = &held.found;
                if found.window.is_some() && found.due > clock {
                    later.insert(home.clone());
                    continue;
                }
                pieces.came(key, id, found)?;
                held.is_written = true;
            }
        }
        self.unwritten = later;
        for (number, piece) in pieces.done() {
            writes.push(StateWrite {
                owner: format!("{owner}/{}", log::PART),
                key: number,
                value: Some(piece),
            });
        }
        for key in std::mem::take(&mut self.unwritten_heads) {
            if let Some(timeline) = self.by_key.get_mut(&key)
                && (timeline.head_stored || !timeline.head.is_empty())
            {
                timeline.head_stored = true;
                writes.push(StateWrite {
                    owner: format!("{owner}/heads"),
                    key: head_number(&key),
                    value: Some(json(&(&key, &timeline.head))?),
                });
            }
        }
        Ok(())
    }

    /// Puts a piece of the log back.
    pub fn restore_piece(&mut self, number: i64, value: &[u8]) -> Result<(), String> {
        self.log.restore(number);
        let mut lines = value.split(|byte| *byte == b'\n');
        while let Some((kind, entry)) = lines.next().and_then(|line| line.split_first()) {
            match kind {
                b'+' => {
                    let (key, id, found) = parse(entry)?;
                    let row = lines.next().ok_or("a match without its row")?;
                    let ended = usize::from(self.put_back(key, id, found, row, true)?);
                    self.log.restore_entry(1, ended);
                }
                b'-' => {
                    let (home, start, id): (String, i64, String) = parse(entry)?;
                    let timeline = self.by_key.get_mut(&home);
                    let gone = timeline.and_then(|t| t.matches.remove(&(start, id)));
                    self.bytes -= gone.as_ref().map_or(0, |held| held.found.bytes());
                    self.log.restore_entry(0, usize::from(gone.is_some()));
                }
                _ => return Err("a line that is neither `+` nor `-`".into()),
            }
        }
        Ok(())
    }

    /// Puts back a match as it was stored before there was a log; it is written into the log next.
    pub fn restore_single(&mut self, number: i64, value: &[u8]) -> Result<(), String> {
        #[derive(Deserialize)]
        struct Keyed {
            key: Key,
            row: Map<String, Value>,
        }
        let (_, id, found): (IgnoredAny, String, Match) = parse(value)?;
        let (_, _, Keyed { key, row }) = parse::<(IgnoredAny, IgnoredAny, Keyed)>(value)?;
        let row = serde_json::to_vec(&row).map_err(|e| e.to_string())?;
        self.put_back(key, id, found, &row, false)?;
        self.gone.push(("matches", number));
        Ok(())
    }

    /// Whether there was another match in its place.
    fn put_back(
        &mut self,
        key: Key,
        id: String,
        mut found: Match,
        row: &[u8],
        is_written: bool,
    ) -> Result<bool, String> {
        found.row = std::str::from_utf8(row).map_err(|e| e.to_string())?.into();
        let home = home_of(&key);
        let timeline = self.by_key.entry_ref(&home).or_default();
        timeline.key = key;
        self.bytes += found.bytes();
        let before = timeline.hold((found.start, id), found, is_written);
        self.bytes -= before.as_ref().map_or(0, |held| held.found.bytes());
        if !is_written {
            self.unwritten.insert(home.clone());
        }
        self.dirty.insert(home);
        Ok(before.is_some())
    }

    /// Matches of windows: the window's end, the key's text and the place.
    pub fn windows(&self) -> impl Iterator<Item = (i64, &str, &Place)> {
        let timelines = self.by_key.iter();
        timelines.flat_map(|(home, timeline)| {
            let matches = timeline.matches.iter();
            matches.filter_map(|(place, held)| Some((held.found.window?.1, &**home, place)))
        })
    }

    pub fn restore_head(&mut self, value: &[u8]) -> Result<(), String> {
        let (key, head): (String, Head) = parse(value)?;
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

fn parse<'d, T: Deserialize<'d>>(value: &'d [u8]) -> Result<T, String> {
    serde_json::from_slice(value).map_err(|error| error.to_string())
}
