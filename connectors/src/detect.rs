//! Which format an object is, told by its top-level keys in one cheap pass.
//!
//! Each key (or key and text) that any format needs is a bit; an object is a candidate for a format when all
//! bits of one of the format's lines of needs were seen. Keys under which other events lie end the search.

use std::sync::LazyLock;

use crate::envelope::members::{ARRAY, BASE64, OBJECT, ONLY_ENVELOPES, TEXT, holds};
use crate::format::Format;
use crate::json::{self, Scanner};
use crate::mapping::{Keys, Need, Path, Step};

static DETECTOR: LazyLock<Detector> = LazyLock::new(|| {
    let mut detector = Detector::default();
    for format in Format::all() {
        for line in format.needs() {
            detector.add(format, line);
        }
    }
    detector
});

/// A set of formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Formats(u128);

impl Formats {
    pub fn of(formats: impl IntoIterator<Item = Format>) -> Self {
        let bits = formats.into_iter().map(|format| 1u128 << format.index());
        Self(bits.fold(0, |all, bit| all | bit))
    }

    pub fn has(self, format: Format) -> bool {
        self.0 >> format.index() & 1 == 1
    }

    pub fn is_only(self, format: Format) -> bool {
        self == Self::of([format])
    }

    pub fn without(self, format: Format) -> Self {
        Self(self.0 & !(1 << format.index()))
    }
}

// Formats are bits of a set, that of the configuration among them.
const _: () = assert!(Format::COUNT <= 128);

/// Bits of the keys that were seen.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Bits([u128; 2]);

impl Bits {
    const LEN: u32 = 256;

    #[inline]
    fn set(&mut self, bit: u32) {
        self.0[bit as usize / 128] |= 1 << (bit % 128);
    }

    #[inline]
    fn holds(&self, other: &Self) -> bool {
        (other.0[0] & !self.0[0]) | (other.0[1] & !self.0[1]) == 0
    }
}

#[derive(Debug, Default)]
struct Detector {
    /// By key: its place in `tests`.
    keys: Keys,
    /// Texts that the value must be one of, if any, and the bit that this sets.
    tests: Vec<Vec<(&'static [&'static str], u32)>>,
    bits: u32,
    lines: Vec<(Bits, Format)>,
}

impl Detector {
    fn add(&mut self, format: Format, line: &[Need<'static>]) {
        let mut mask = Bits::default();
        for (path, texts) in line {
            let Ok(Path(steps)) = Path::parse(path) else {
                continue;
            };
            let Some(Step::Key(key)) = steps.first() else {
                continue;
            };
            let texts = if steps.len() == 1 { *texts } else { &[] };
            let bit = self.bit(key.as_bytes(), texts, None);
            for other in format.spelling().others(key) {
                self.bit(&other, texts, Some(bit));
            }
            mask.set(bit);
        }
        self.lines.push((mask, format));
    }

    /// The bit of a key with these texts; `same` says that it is that one.
    fn bit(&mut self, key: &[u8], texts: &'static [&'static str], same: Option<u32>) -> u32 {
        let new = self.tests.len() as u16;
        let place = self.keys.get_or_insert(key, || new);
        if place == new {
            self.tests.push(vec![]);
        }
        let tests = &mut self.tests[place as usize];
        let known = tests
            .iter()
            .find(|(one, bit)| *one == texts && same.is_none_or(|same| same == *bit));
        if let Some((_, bit)) = known {
            return *bit;
        }
        let bit = same.unwrap_or(self.bits);
        self.bits += u32::from(same.is_none());
        assert!(
            bit < Bits::LEN,
            "formats are told apart by at most {} keys",
            Bits::LEN
        );
        tests.push((texts, bit));
        bit
    }

    /// The first format of those allowed, all of whose keys were seen.
    fn complete(&self, seen: &Bits, allowed: Formats) -> Option<Format> {
        let mut lines = self.lines.iter();
        let line = lines.find(|(mask, format)| seen.holds(mask) && allowed.has(*format));
        line.map(|(_, format)| *format)
    }
}

/// What an object looks like by its top-level keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looks {
    Event(Format),
    /// It holds events, and no format was recognised before that.
    Envelope,
    Nothing,
}

enum Ended {
    Json(json::Error),
    At(Looks),
}

impl From<json::Error> for Ended {
    fn from(error: json::Error) -> Self {
        Self::Json(error)
    }
}

/// What the object at the scanner looks like.
///
/// # Errors
/// If it is no JSON as far as it had to be looked at.
pub(crate) fn sniff(mut s: Scanner, allowed: Formats) -> json::Result<Looks> {
    let detector = &*DETECTOR;
    let (mut seen, mut holds_events) = (Bits::default(), false);
    let ended = s.object(|s, key| {
        let place = detector.keys.get(key);
        if let Some(place) = place {
            let before = seen;
            for (texts, bit) in &detector.tests[place as usize] {
                if texts.is_empty() || is_one_of(s, texts)? {
                    seen.set(*bit);
                }
            }
            if seen != before
                && let Some(format) = detector.complete(&seen, allowed)
            {
                return Err(Ended::At(Looks::Event(format)));
            }
        }
        let what = holds(key);
        if what != 0 {
            let first = s.peek();
            // Such a member may be long, and no format has it but those that know it.
            let is_envelope = what & ONLY_ENVELOPES != 0 && key != b"properties";
            if is_envelope && place.is_none() && matches!(first, b'[' | b'{') {
                return Err(Ended::At(Looks::Envelope));
            }
            holds_events |= match first {
                b'[' => what & ARRAY != 0,
                b'{' => what & OBJECT != 0,
                b'"' => what & (TEXT | BASE64) != 0,
                _ => false,
            };
        }
        Ok(s.skip()?)
    });
    match ended {
        Ok(()) if holds_events => Ok(Looks::Envelope),
        Ok(()) => Ok(Looks::Nothing),
        Err(Ended::At(looks)) => Ok(looks),
        Err(Ended::Json(error)) => Err(error),
    }
}

/// Whether the value at the scanner is one of the texts; the scanner stays.
fn is_one_of(s: &mut Scanner, texts: &[&str]) -> json::Result<bool> {
    let mark = s.mark();
    let text = s.text()?;
    let found = text.is_some_and(|text| {
        let text = s.value(text);
        texts.iter().any(|one| one.as_bytes() == &*text)
    });
    s.reset(mark);
    Ok(found)
}
