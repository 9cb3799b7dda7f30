//! The history as pieces of state in the store: a log of keys, in which later entries count.

use super::{History, Key, Span, Spans};
use crate::detect::terms::Run;
use crate::store::StateWrite;

/// Version of the pieces.
const VERSION: u8 = 1;
/// Keys of one piece.
const PIECE: usize = 20_000;

impl History {
    /// Pieces that changed since the last call.
    pub fn take_state(&mut self, owner: &str, writes: &mut Vec<StateWrite>) {
        if self.changed.is_empty() {
            return;
        }
        let mut keys: Vec<Key> = std::mem::take(&mut self.changed).into_iter().collect();
        if self.pieces.is_stale(keys.len(), self.keys.len()) {
            self.pieces.restart(owner, writes);
            keys = self.keys.keys().copied().collect();
        }
        keys.sort_unstable();
        for keys in keys.chunks(PIECE) {
            let mut value = vec![VERSION];
            value.extend(self.seed.to_le_bytes());
            for key in keys {
                self.write_key(*key, &mut value);
            }
            self.pieces.add(owner, value, keys.len(), writes);
        }
    }

    /// The key, the number of its spans, and of each its times and the name of its first event (empty if it is not kept).
    fn write_key(&self, key: Key, to: &mut Vec<u8>) {
        let spans = self.keys.get(&key).map_or(&[][..], Spans::all);
        to.extend(key.iter().flat_map(|part| part.to_le_bytes()));
        to.extend((spans.len() as u32).to_le_bytes());
        for span in spans {
            to.extend(span.first.to_le_bytes());
            to.extend(span.last.to_le_bytes());
            let first = self.firsts.get(&(span.first, key));
            for text in first.map_or(["", ""], |first| [&*first.uid, &*first.home]) {
                to.extend((text.len() as u32).to_le_bytes());
                to.extend(text.as_bytes());
            }
        }
    }

    /// Puts back one piece of [`take_state`](Self::take_state). They must come in ascending order.
    pub fn restore(&mut self, number: i64, value: &[u8]) -> Result<(), String> {
        let mut rest = value;
        match take::<1>(&mut rest)? {
            [VERSION] => {}
            [other] => {
                return Err(format!(
                    "version {other} of what a first-seen rule remembers is not known"
                ));
            }
        }
        self.seed = u64::from_le_bytes(take(&mut rest)?);
        let mut entries = 0;
        while !rest.is_empty() {
            entries += 1;
            let key = [take(&mut rest)?, take(&mut rest)?].map(u64::from_le_bytes);
            let mut spans = vec![];
            for span in self.keys.remove(&key).iter().flat_map(Spans::all) {
                self.take_first(span.first, key);
            }
            for _ in 0..u32::from_le_bytes(take(&mut rest)?) {
                let [first, last] = [take(&mut rest)?, take(&mut rest)?].map(i64::from_le_bytes);
                let [uid, home] = [text(&mut rest)?, text(&mut rest)?];
                if !uid.is_empty() {
                    self.put_first(first, key, uid, home);
                }
                spans.push(Span { first, last });
            }
            if let Some(spans) = Spans::new(&spans) {
                self.keys.insert(key, spans);
            }
        }
        self.pieces.restored(number, entries)
    }

    /// Takes over what an earlier version remembered of a key.
    pub fn put_back(&mut self, text: &str, runs: &[Run]) {
        let key = self.key(text);
        let span = |run: &Run| Span {
            first: run.first.0,
            last: run.last.0,
        };
        for span in self.keys.remove(&key).iter().flat_map(Spans::all) {
            self.take_first(span.first, key);
        }
        let spans: Vec<Span> = runs.iter().map(span).collect();
        if let Some(spans) = Spans::new(&spans) {
            self.keys.insert(key, spans);
        }
        for run in runs {
            self.put_first(run.first.0, key, &run.first.1, &run.first_home);
        }
        self.changed.insert(key);
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (taken, after) = rest.split_first_chunk().ok_or("a piece is cut short")?;
    *rest = after;
    Ok(*taken)
}

fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, String> {
    let length = u32::from_le_bytes(take(rest)?) as usize;
    let (text, after) = rest
        .split_at_checked(length)
        .ok_or("a piece is cut short")?;
    *rest = after;
    std::str::from_utf8(text).map_err(|e| e.to_string())
}
