//! The matches of a rule by key, folded into episodes, and what was told about each.
//!
//! Invariants: the alerts of a key are a pure function of its matches in order of time, so a match that comes
//! late or goes away amends or retracts exactly the alerts that it would have changed; matches are kept until
//! the watermark is further past them than late rows are taken, then they are folded into `base` for good.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::{HashMap, HashSet};
use xxhash_rust::xxh3::xxh3_64;

use crate::alert::{Alert, AlertState};
use crate::detect::episode::Match;
use crate::detect::told::{Fold, Head, Told};
use crate::keys;
use crate::rule::Rule;

mod log;
mod stored;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use self::log::Log;

/// Matches of one key that are kept for late rows; the oldest are folded for good when there are more.
const MAX_KEPT: usize = 4096;

/// (start, id): the order in which matches are folded.
pub type Place = (i64, String);

/// Columns and their values, in the rule's order: whose matches become one alert.
pub type Key = Vec<(String, String)>;

#[derive(Debug, Default)]
struct Timeline {
    key: Key,
    head: Head,
    head_stored: bool,
    matches: BTreeMap<Place, Held>,
    head_bytes: usize,
}

impl Timeline {
    /// Puts a match in its place, and returns what was there.
    fn hold(&mut self, place: Place, mut found: Match, is_written: bool) -> Option<Held> {
        if let Some((_, last)) = self.matches.last_key_value()
            && last.found.entities == found.entities
        {
            found.entities = last.found.entities.clone();
        }
        self.matches.insert(place, Held { found, is_written })
    }
}

#[derive(Debug)]
struct Held {
    found: Match,
    /// Whether the log in the store has it as it is.
    is_written: bool,
}

/// When alerts are told.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Matches due at or before this are certain.
    pub clock: i64,
    /// How far time has come for what is kept: not further than windows are closed, which a later run answers anew.
    pub kept_from: i64,
    /// Tell uncertain ones too.
    pub preview: bool,
    /// For the alerts; none once time has ended.
    pub watermark: Option<i64>,
}

#[derive(Debug, Default)]
pub struct Timelines {
    by_key: HashMap<String, Timeline>,
    /// Keys to fold anew.
    dirty: BTreeSet<String>,
    /// Keys with alerts that are not certain and that nobody was told of, as no preview was wanted when they came.
    untold: BTreeSet<String>,
    /// (watermark, key): then an alert of the key becomes certain, or matches of it are no longer kept.
    due: BTreeSet<(i64, String)>,
    live: HashSet<String>,
    /// Keys with matches that are not written.
    unwritten: BTreeSet<String>,
    log: Log,
    /// Pieces that the store has and should not: of which part, and which.
    gone: Vec<(&'static str, i64)>,
    unwritten_heads: BTreeSet<String>,
    /// Memory of all matches and heads.
    bytes: usize,
}

impl Timelines {
    /// Adds a match, or replaces it. False if what it would change is settled for good.
    pub fn insert(&mut self, home: &str, key: Key, id: String, found: Match) -> bool {
        let timeline = self.by_key.entry_ref(home).or_default();
        let place = (found.start, id);
        if timeline.head.cut.as_ref().is_some_and(|cut| place <= *cut) {
            return false;
        }
        timeline.key = key;
        self.bytes += found.bytes();
        if let Some(before) = timeline.hold(place.clone(), found, false) {
            self.bytes -= before.found.bytes();
            self.log.end(home, place, before.is_written);
        }
        self.unwritten.insert(home.to_owned());
        self.dirty.insert(home.to_owned());
        true
    }

    pub fn remove(&mut self, key: &str, place: &Place) {
        let Some(timeline) = self.by_key.get_mut(key) else {
            return;
        };
        if let Some(gone) = timeline.matches.remove(place) {
            self.bytes -= gone.found.bytes();
            self.log.end(key, place.clone(), gone.is_written);
            self.dirty.insert(key.to_owned());
        }
    }

    /// Removes the matches at these places, of whichever key.
    pub fn remove_all(&mut self, places: &[Place]) {
        let held = |timeline: &Timeline, place: &&Place| timeline.matches.contains_key(*place);
        let mut found = vec![];
        for (key, timeline) in &self.by_key {
            let places = places.iter().filter(|place| held(timeline, place));
            found.extend(places.map(|place| (key.clone(), place)));
        }
        for (key, place) in found {
            self.remove(&key, place);
        }
    }

    /// Lets go of everything, also in the store. What was told stays as it was told.
    pub fn clear(&mut self) {
        let mut gone = std::mem::take(&mut self.gone);
        for (key, timeline) in &self.by_key {
            if timeline.head_stored {
                gone.push(("heads", head_number(key)));
            }
        }
        let log = std::mem::take(&mut self.log).emptied(&mut gone);
        *self = Self {
            gone,
            log,
            ..Self::default()
        };
    }

    /// All keys are folded anew, as something changed that concerns them all.
    pub fn refold(&mut self) {
        self.dirty.extend(self.by_key.keys().cloned());
    }

    pub fn is_live(&self, alert_id: &str) -> bool {
        self.live.contains(alert_id)
    }

    /// Whether something was told provisionally and must be confirmed or taken back.
    pub fn owes(&self) -> bool {
        let mut told = self.by_key.values().flat_map(|t| t.head.told.values());
        told.any(|told| told.alert.state == AlertState::Provisional)
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Alerts that are new, changed or retracted since the last call. Matches that start in a
    /// `silent` time are passed over; matches are kept for `amend` µs after they are certain.
    pub fn tell(
        &mut self,
        rule: &Rule,
        version: &str,
        now: Now,
        silent: &[(i64, i64)],
        amend: i64,
    ) -> Vec<Alert> {
        let mut told = vec![];
        if now.preview {
            self.dirty.append(&mut self.untold);
        }
        while self.due.first().is_some_and(|(at, _)| *at <= now.clock) {
            if let Some((_, key)) = self.due.pop_first() {
                self.dirty.insert(key);
            }
        }
        for key in std::mem::take(&mut self.dirty) {
            self.tell_key(&key, rule, version, now, silent, &mut told);
            self.let_go(&key, rule, version, now.kept_from, silent, amend);
        }
        told
    }

    fn tell_key(
        &mut self,
        key: &str,
        rule: &Rule,
        version: &str,
        now: Now,
        silent: &[(i64, i64)],
        told: &mut Vec<Alert>,
    ) {
        self.untold.remove(key);
        let Some(timeline) = self.by_key.get_mut(key) else {
            return;
        };
        // Nobody is told of an absence before it is certain.
        let certain_only = rule.kind.absence().is_some();
        let mut standing = BTreeSet::new();
        let mut later = None;
        let fold = Fold {
            rule,
            version,
            key: &timeline.key,
            silent,
        };
        let matches = timeline.matches.values().map(|held| &held.found);
        let matches = matches.filter(|m| {
            let counts = !certain_only || m.due <= now.clock;
            if !counts {
                later = Some(later.map_or(m.due, |due: i64| due.min(m.due)));
            }
            counts
        });
        let head = &mut timeline.head;
        let episodes = fold.all(head.base.clone(), matches);
        for episode in episodes {
            let id = &episode.alert.alert_id;
            standing.insert(id.clone());
            let certain = episode.due <= now.clock;
            if !certain {
                later = Some(later.map_or(episode.due, |due: i64| due.min(episode.due)));
                if !now.preview && !head.told.contains_key(id) {
                    self.untold.insert(key.to_owned());
                    continue;
                }
            }
            let state = match certain {
                true => AlertState::Final,
                false => AlertState::Provisional,
            };
            self.live.insert(id.clone());
            told.extend(head.tell(
                Alert {
                    state,
                    ..episode.alert
                },
                now.watermark,
            ));
        }
        for (id, before) in &mut head.told {
            if !standing.contains(id) && before.alert.state != AlertState::Retracted {
                before.alert.state = AlertState::Retracted;
                before.alert.revision += 1;
                before.alert.watermark = now.watermark;
                told.push(before.alert.clone());
            }
        }
        self.unwritten_heads.insert(key.to_owned());
        self.due.extend(later.map(|at| (at, key.to_owned())));
    }

    /// Folds matches for good that no late row can change any more, and drops keys that are over.
    fn let_go(
        &mut self,
        key: &str,
        rule: &Rule,
        version: &str,
        clock: i64,
        silent: &[(i64, i64)],
        amend: i64,
    ) {
        let Some(timeline) = self.by_key.get_mut(key) else {
            return;
        };
        let mut ended = vec![];
        let mut kept = timeline.matches.len();
        while let Some(entry) = timeline.matches.first_entry() {
            let due = entry.get().found.due;
            let until = due.saturating_add(amend);
            if until > clock && (due > clock || kept <= MAX_KEPT) {
                self.due.insert((until, key.to_owned()));
                break;
            }
            kept -= 1;
            let (place, Held { found, is_written }) = entry.remove_entry();
            self.bytes -= found.bytes();
            let fold = Fold {
                rule,
                version,
                key: &timeline.key,
                silent,
            };
            let head = &mut timeline.head;
            if fold.counts(&found) {
                let base = head.base.take();
                let next = fold.one(base, &found, &mut ended);
                head.base = Some(next);
            }
            head.cut = Some(place.clone());
            self.log.end(key, place, is_written);
        }
        let head = &mut timeline.head;
        if let Some(base) = &head.base {
            // A match that would join starts before the episode ends, and is certain this much later.
            let lag = rule.reach().wait;
            let over = (base.start.saturating_add(rule.reach().episode))
                .saturating_add(lag)
                .saturating_add(amend);
            if over <= clock {
                ended.extend(head.base.take());
            } else if timeline.matches.is_empty() {
                self.due.insert((over, key.to_owned()));
            }
        }
        for episode in ended {
            head.told.remove(&episode.alert.alert_id);
            self.live.remove(&episode.alert.alert_id);
        }
        // A retracted alert may come back, and then counts its revisions on.
        let back = |told: &Told| {
            let alert = &told.alert;
            let due = alert.window.map_or(alert.first_time, |(_, end)| end);
            due.saturating_add(rule.reach().wait).saturating_add(amend)
        };
        let retracted = |told: &Told| told.alert.state == AlertState::Retracted;
        let live = &mut self.live;
        head.told.retain(|id, told| {
            let over = retracted(told) && back(told) <= clock;
            if over {
                live.remove(id);
            }
            !over
        });
        let bytes = head.bytes();
        self.bytes = self.bytes + bytes - std::mem::replace(&mut timeline.head_bytes, bytes);
        let head = &timeline.head;
        if timeline.matches.is_empty() && head.base.is_none() {
            if let Some(until) = head.told.values().map(back).max() {
                self.due.insert((until, key.to_owned()));
                return;
            }
            if timeline.head_stored {
                self.gone.push(("heads", head_number(key)));
            }
            self.bytes -= bytes;
            self.by_key.remove(key);
            self.unwritten_heads.remove(key);
        }
    }
}

/// The text of a key, by which its matches are found.
pub fn home_of(key: &Key) -> String {
    keys::join(key.iter().map(|(_, value)| value.as_str()))
}

/// Number of a key's head in the store. 64 bits over at most some hundred thousand live ones: a collision is a matter
/// of one in 10^9.
fn head_number(key: &str) -> i64 {
    xxh3_64(key.as_bytes()) as i64
}
