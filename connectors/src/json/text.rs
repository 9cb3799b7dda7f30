//! Strings as they stand in the input, and their values.

use std::borrow::Cow;
use std::num::NonZeroU64;
use std::ops::Range;

/// A string as it stands in the input, without its quotes: its place, and whether it holds escapes.
///
/// Packed: 32 bits start, 31 bits length, one bit escapes. Never zero, as a quote stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text(NonZeroU64);

impl Text {
    const ESCAPED: u64 = 1 << 63;

    #[inline(always)]
    pub(crate) fn new(start: usize, end: usize, escaped: bool) -> Self {
        let word = start as u64 | ((end - start) as u64) << 32 | u64::from(escaped) << 63;
        Self(NonZeroU64::new(word).unwrap_or(NonZeroU64::MIN))
    }
    #[inline(always)]
    pub fn range(self) -> Range<usize> {
        let word = self.0.get();
        let start = word as u32 as usize;
        start..start + ((word & !Self::ESCAPED) >> 32) as usize
    }
    #[inline(always)]
    pub fn is_empty(self) -> bool {
        self.0.get() & !Self::ESCAPED < 1 << 32
    }
    /// Holds escapes: [`unescape`] gives its value.
    #[inline(always)]
    pub fn is_escaped(self) -> bool {
        self.0.get() & Self::ESCAPED != 0
    }
}

pub(super) fn hex(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0u16, |unit, digit| {
        let digit = (*digit as char).to_digit(16)?;
        Some(unit << 4 | digit as u16)
    })
}

/// The value of a string that [`Scanner`](super::Scanner) accepted, escapes resolved.
pub fn unescape(escaped: &[u8]) -> Cow<'_, [u8]> {
    if !escaped.contains(&b'\\') {
        return Cow::Borrowed(escaped);
    }
    let mut value = Vec::with_capacity(escaped.len());
    unescape_into(escaped, &mut value);
    Cow::Owned(value)
}

/// Length of the `\uXXXX` escape (or pair of them) that `escape` begins with, and whether it is sound. A lone surrogate is
/// 6 bytes long; what is no escape at all is its backslash.
pub(super) fn unicode_escape(escape: &[u8]) -> (usize, bool) {
    match (unit(escape, 0), unit(escape, 6)) {
        (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => (12, true),
        (Some(0xD800..=0xDFFF), _) => (6, false),
        (Some(_), _) => (6, true),
        (None, _) => (1, false),
    }
}

/// The UTF-16 unit of the `\uXXXX` at this place.
fn unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
    hex(digits)
}

/// Appends the value of a string that [`Scanner`](super::Scanner) accepted. UTF-8 stays UTF-8; a lone surrogate becomes
/// U+FFFD, and a backslash that begins no escape stays as it is.
pub fn unescape_into(mut escaped: &[u8], value: &mut Vec<u8>) {
    while let Some(at) = memchr::memchr(b'\\', escaped) {
        value.extend_from_slice(&escaped[..at]);
        escaped = &escaped[at..];
        let mut used = 2;
        match escaped.get(1) {
            Some(b'b') => value.push(8),
            Some(b'f') => value.push(12),
            Some(b'n') => value.push(b'\n'),
            Some(b'r') => value.push(b'\r'),
            Some(b't') => value.push(b'\t'),
            Some(other @ (b'"' | b'\\' | b'/')) => value.push(*other),
            Some(b'u') => {
                let (length, is_sound) = unicode_escape(escaped);
                used = length;
                if length == 1 {
                    value.push(b'\\');
                } else {
                    let first = unit(escaped, 0);
                    let second = if length == 12 { unit(escaped, 6) } else { None };
                    let units = first.into_iter().chain(second);
                    let character = char::decode_utf16(units).next().and_then(Result::ok);
                    let character = character.filter(|_| is_sound);
                    let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
                    value.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
            _ => {
                value.push(b'\\');
                used = 1;
            }
        }
        escaped = escaped.get(used..).unwrap_or_default();
    }
    value.extend_from_slice(escaped);
}
