//! When each key of a first-seen rule occurred: a hash and two times per key, about 60 bytes of memory.
//!
//! The event that is a match (the first of a run) is kept by name only while an earlier one can still come and take its place.
//! Keys hold text that the sender of an event chose. They are hashed with a seed of the store's own, so that nobody can make
//! up a key that is taken for another one that was seen before.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::{HashMap, HashSet};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::memory::Pieces;
use super::terms::{At, Change};

mod stored;

/// Hash of a key's text.
type Key = [u64; 2];

/// Occurrences that follow each other by no more than the history: times of the first and the last, µs.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    first: i64,
    last: i64,
}

/// The spans of a key, further apart than the history. Nearly always it is one.
#[derive(Debug, Clone, PartialEq)]
enum Spans {
    One(Span),
    More(Box<[Span]>),
}

impl Spans {
    fn all(&self) -> &[Span] {
        match self {
            Self::One(span) => std::slice::from_ref(span),
            Self::More(spans) => spans,
        }
    }

    /// None if there are none.
    fn new(spans: &[Span]) -> Option<Self> {
        match spans {
            [] => None,
            [one] => Some(Self::One(*one)),
            more => Some(Self::More(more.into())),
        }
    }
}

/// The first event of a span, and the key of its alert.
#[derive(Debug, Clone, PartialEq)]
struct First {
    uid: Box<str>,
    home: Box<str>,
}

#[derive(Debug)]
pub struct History {
    seed: u64,
    keys: HashMap<Key, Spans>,
    /// By time and key: first events that can still be replaced.
    firsts: BTreeMap<(i64, Key), First>,
    first_bytes: usize,
    changed: HashSet<Key>,
    pieces: Pieces,
}

impl Default for History {
    fn default() -> Self {
        Self {
            // Its keys come from the system's random numbers.
            seed: RandomState::new().hash_one("history"),
            keys: HashMap::new(),
            firsts: BTreeMap::new(),
            first_bytes: 0,
            changed: HashSet::new(),
            pieces: Pieces::default(),
        }
    }
}

impl History {
    fn key(&self, text: &str) -> Key {
        let hash = xxh3_128_with_seed(text.as_bytes(), self.seed);
        [hash as u64, (hash >> 64) as u64]
    }

    /// Notes occurrences of a key that follow each other by no more than `gap`, from the time and id of the first to the
    /// time of the last. A match is the first one of each span; `home` is the key of its alert. Unless it is `kept`, nothing is
    /// to be taken back if an earlier one comes.
    pub fn note(
        &mut self,
        text: &str,
        first: (i64, &str),
        to: i64,
        home: impl FnOnce() -> String,
        gap: i64,
        kept: bool,
    ) -> Change {
        let key = self.key(text);
        let from = first.0;
        let spans = self.keys.get(&key).map_or(&[][..], Spans::all);
        if let Some(held) = spans
            .iter()
            .find(|span| span.first <= from && from <= span.last.saturating_add(gap))
            && !self.is_before(first, held.first, key)
        {
            if to <= held.last {
                return Change::default();
            }
            if let [span] = spans {
                let span = Span {
                    first: span.first,
                    last: to,
                };
                self.keys.insert(key, Spans::One(span));
                self.changed.insert(key);
                return Change::default();
            }
        }
        let near = |span: &Span| {
            to >= span.first.saturating_sub(gap) && from <= span.last.saturating_add(gap)
        };
        let (absorbed, mut left): (Vec<Span>, Vec<Span>) = spans.iter().partition(|s| near(s));
        let earliest = absorbed.iter().map(|span| span.first).min();
        let matches = earliest.is_none_or(|time| self.is_before(first, time, key));
        let span = Span {
            first: earliest.map_or(from, |time| time.min(from)),
            last: absorbed.iter().fold(to, |last, span| last.max(span.last)),
        };
        left.push(span);
        let mut gone = vec![];
        for old in absorbed {
            if matches || old.first != span.first {
                gone.extend(self.take_first(old.first, key));
            }
        }
        if matches && kept {
            self.put_first(from, key, first.1, &home());
        }
        if let Some(spans) = Spans::new(&left) {
            self.keys.insert(key, spans);
        }
        self.changed.insert(key);
        Change { matches, gone }
    }

    /// Whether the occurrences begin before the first one of a span. Of two events of one time the lesser id is the first; one
    /// that is not kept any more stays the first.
    fn is_before(&self, (time, uid): (i64, &str), first: i64, key: Key) -> bool {
        let known = || self.firsts.get(&(first, key));
        time < first || time == first && known().is_some_and(|held| *uid < *held.uid)
    }

    fn put_first(&mut self, time: i64, key: Key, uid: &str, home: &str) {
        self.first_bytes += FIRST_BYTES + uid.len() + home.len();
        let first = First {
            uid: uid.into(),
            home: home.into(),
        };
        self.firsts.insert((time, key), first);
    }

    fn take_first(&mut self, time: i64, key: Key) -> Option<(String, At)> {
        let First { uid, home } = self.firsts.remove(&(time, key))?;
        self.first_bytes -= FIRST_BYTES + uid.len() + home.len();
        Some((home.into(), (time, uid.into())))
    }

    /// Keeps the names of first events from `from` on alone: no row comes that would replace an earlier one.
    pub fn settle(&mut self, from: i64) {
        while let Some((&(time, key), _)) = self.firsts.first_key_value()
            && time < from
        {
            self.take_first(time, key);
        }
    }

    /// Forgets spans that no occurrence at or after `from` can touch.
    pub fn forget(&mut self, from: i64, gap: i64) {
        let (firsts, changed) = (&mut self.firsts, &mut self.changed);
        let mut bytes = 0;
        self.keys.retain(|key, spans| {
            let stays = |span: &Span| span.last.saturating_add(gap) >= from;
            if spans.all().iter().all(stays) {
                return true;
            }
            for span in spans.all().iter().filter(|span| !stays(span)) {
                let first = firsts.remove(&(span.first, *key));
                bytes += first.map_or(0, |f| FIRST_BYTES + f.uid.len() + f.home.len());
            }
            let left: Vec<Span> = spans.all().iter().copied().filter(stays).collect();
            changed.insert(*key);
            let left = Spans::new(&left);
            let any = left.is_some();
            if let Some(left) = left {
                *spans = left;
            }
            any
        });
        self.first_bytes -= bytes;
        if self.keys.len() < self.keys.capacity() / 4 {
            self.keys.shrink_to_fit();
        }
    }

    /// Lets go of everything, also in the store.
    pub fn clear(&mut self) {
        self.changed.extend(self.keys.drain().map(|(key, _)| key));
        self.keys.shrink_to_fit();
        self.firsts.clear();
        self.first_bytes = 0;
    }

    /// Memory.
    pub fn bytes(&self) -> usize {
        self.keys.allocation_size() + self.changed.allocation_size() + self.first_bytes
    }
}

/// Memory of a first event beside its texts: its place in the tree, and what the allocator adds.
const FIRST_BYTES: usize = 96;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// Notes events in order of time. The key of an event's alert is its id in capitals.
    fn note(history: &mut History, key: &str, events: &[At], gap: i64) -> Change {
        let (time, uid) = &events[0];
        let to = events[events.len() - 1].0;
        history.note(key, (*time, uid), to, || uid.to_uppercase(), gap, true)
    }

    struct Random(u64);

    impl Random {
        fn below(&mut self, n: i64) -> i64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (self.0 >> 33) as i64 % n
        }
    }

    /// The first event of each run, by the definition.
    fn firsts(events: &[At], gap: i64) -> BTreeSet<At> {
        let mut sorted = events.to_vec();
        sorted.sort_unstable();
        let new = |i: &usize| *i == 0 || sorted[*i].0 - sorted[*i - 1].0 > gap;
        (0..sorted.len())
            .filter(new)
            .map(|i| sorted[i].clone())
            .collect()
    }

    fn apply(standing: &mut BTreeSet<At>, first: &At, change: Change) {
        for (home, gone) in change.gone {
            assert_eq!(home, gone.1.to_uppercase());
            assert!(standing.remove(&gone), "{gone:?} was no match");
        }
        if change.matches {
            standing.insert(first.clone());
        }
    }

    fn stored(history: &mut History, store: &mut BTreeMap<i64, Vec<u8>>) {
        let mut writes = vec![];
        history.take_state("owner", &mut writes);
        for write in writes {
            match write.value {
                Some(value) => drop(store.insert(write.key, value)),
                None => assert!(store.remove(&write.key).is_some()),
            }
        }
    }

    fn restored(store: &BTreeMap<i64, Vec<u8>>) -> History {
        let mut history = History::default();
        for (number, piece) in store {
            history.restore(*number, piece).unwrap();
        }
        history
    }

    /// One by one or in batches, restarted at any point: the matches are those of the definition, in any order of events of
    /// which many have the same time.
    #[test]
    fn any_order_gives_the_same_matches_across_restarts() {
        let mut random = Random(7);
        let mut moved = 0;
        for round in 0..3_000 {
            let gap = random.below(15);
            let count = random.below(12);
            let events: Vec<At> = (0..count)
                .map(|n| (random.below(60), format!("u{:02}", (n * 7 + round) % 12)))
                .collect();
            let mut history = History::default();
            let mut store = BTreeMap::new();
            let mut standing = BTreeSet::new();
            let mut left = events.as_slice();
            while !left.is_empty() {
                let (batch, rest) = left.split_at(1 + random.below(left.len() as i64) as usize);
                left = rest;
                let mut batch = batch.to_vec();
                batch.sort_unstable();
                for together in batch.chunk_by(|a, b| b.0 - a.0 <= gap) {
                    let change = note(&mut history, "key", together, gap);
                    moved += change.gone.len();
                    apply(&mut standing, &together[0], change);
                }
                if random.below(3) == 0 {
                    stored(&mut history, &mut store);
                    history = restored(&store);
                }
            }
            assert_eq!(standing, firsts(&events, gap), "{events:?} gap {gap}");
        }
        assert!(moved > 1_000, "{moved}");
    }

    #[test]
    fn what_is_settled_stays_and_what_is_forgotten_is_new() {
        let mut history = History::default();
        let at = |time: i64| (time, format!("u{time}"));
        assert!(note(&mut history, "a", &[at(100)], 50).matches);
        assert!(note(&mut history, "b", &[at(120)], 50).matches);
        let bytes = history.first_bytes;
        history.settle(110);
        assert!(history.first_bytes < bytes);
        // Of one time, a lesser id takes the place of one that is named still, and of no other.
        let same = |time: i64| (time, "a".to_owned());
        assert!(!note(&mut history, "a", &[same(100)], 50).matches);
        let change = note(&mut history, "b", &[same(120)], 50);
        assert_eq!(change.gone, [("U120".into(), at(120))]);
        assert!(change.matches);
        assert!(!note(&mut history, "b", &[at(125)], 50).matches);
        // Keys that no row can reach any more.
        history.forget(151, 50);
        assert!(note(&mut history, "a", &[at(160)], 50).matches);
        assert!(!note(&mut history, "b", &[at(160)], 50).matches);
        history.clear();
        let mut store = BTreeMap::new();
        stored(&mut history, &mut store);
        assert_eq!(restored(&store).keys.len(), 0);
        assert!(note(&mut history, "b", &[at(170)], 50).matches);
    }

    #[test]
    fn a_key_takes_no_more_than_a_hundred_bytes() {
        let mut history = History::default();
        let mut most = 0.0_f64;
        for number in 0..300_000_i64 {
            let event = (number, format!("event {number}"));
            note(
                &mut history,
                &format!("identity {number}"),
                &[event],
                1 << 40,
            );
            history.settle(number - 1_000);
            if number % 1_000 == 0 {
                history.take_state("owner", &mut vec![]);
            }
            if number > 20_000 {
                most = most.max(history.bytes() as f64 / number as f64);
            }
        }
        assert!(most < 100.0, "{most}");
    }
}
