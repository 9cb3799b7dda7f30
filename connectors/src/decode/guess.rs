//! What the next object is likely to be: for speed alone, as an object that fits is of its format whatever was guessed.

use xxhash_rust::xxh3::xxh3_64;

use crate::format::Format;
use crate::json::Scanner;

/// By the first key of an object: the format of the last object that began with it.
#[derive(Debug, Default)]
pub(super) struct Guesses([Option<Guess>; PLACES]);

#[derive(Debug, Clone, Copy)]
struct Guess {
    key: u64,
    format: Format,
    /// Whether such an object is read as that at once: not after one that was something else, until two of one format came.
    is_sure: bool,
}

const PLACES: usize = 32;

/// The first key of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct FirstKey(u64);

impl FirstKey {
    /// That of the object at the scanner.
    #[inline]
    pub fn of(s: &Scanner) -> Self {
        let mut s = s.clone();
        s.advance(1);
        let key = match s.text() {
            Ok(Some(key)) => s.slice(key),
            _ => &[],
        };
        Self(xxh3_64(key))
    }
}

impl Guesses {
    /// The format that an object is to be read as at once, if it begins with this key.
    #[inline]
    pub fn get(&self, key: FirstKey) -> Option<Format> {
        let guess = self.0[place(key)].filter(|guess| guess.key == key.0 && guess.is_sure);
        guess.map(|guess| guess.format)
    }

    /// Tells that an object with this key was of the format.
    pub fn learn(&mut self, key: FirstKey, format: Format) {
        let place = &mut self.0[place(key)];
        let before = place.filter(|guess| guess.key == key.0);
        *place = Some(Guess {
            key: key.0,
            format,
            is_sure: before.is_none_or(|guess| guess.format == format),
        });
    }

    /// Tells that an object with this key was not what was guessed.
    pub fn doubt(&mut self, key: FirstKey) {
        if let Some(guess) = &mut self.0[place(key)] {
            guess.is_sure = false;
        }
    }
}

fn place(key: FirstKey) -> usize {
    key.0 as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_guessed_by_their_first_key() {
        let key = |text: &str| FirstKey::of(&Scanner::new(text.as_bytes(), 0, 64));
        let trail = key(r#"{"eventVersion": "1.11"}"#);
        let audit = key(r#"{ "kind" : "Event"}"#);
        let mut guesses = Guesses::default();
        assert_eq!(guesses.get(trail), None);
        guesses.learn(trail, Format::CLOUDTRAIL);
        guesses.learn(audit, Format::K8S_AUDIT);
        assert_eq!(guesses.get(trail), Some(Format::CLOUDTRAIL));
        assert_eq!(guesses.get(audit), Some(Format::K8S_AUDIT));
        // One that was something else: nothing is tried at once until two of one format came.
        guesses.doubt(trail);
        assert_eq!(guesses.get(trail), None);
        guesses.learn(trail, Format::FALCO);
        assert_eq!(guesses.get(trail), None);
        guesses.learn(trail, Format::FALCO);
        assert_eq!(guesses.get(trail), Some(Format::FALCO));
        assert_eq!(guesses.get(key("{}")), None);
    }
}
