//! What is wrong with a text that is not JSON.

use std::fmt;
use std::num::NonZeroU64;

/// What is wrong with a text that is not JSON, and at which byte.
///
/// One word, like [`Text`](super::Text): results of either then travel in registers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error(NonZeroU64);

impl Error {
    pub(super) fn new(fault: Fault, at: usize) -> Self {
        let word = u64::from(at.min(u32::MAX as usize) as u32) << 8 | (fault as u64 + 1);
        Self(NonZeroU64::new(word).unwrap_or(NonZeroU64::MIN))
    }

    pub fn fault(self) -> Fault {
        Fault::ALL[((self.0.get() & 0xFF) as usize - 1) % Fault::ALL.len()]
    }

    /// Offset in the bytes given to [`Scanner::new`](super::Scanner::new).
    pub fn at(self) -> usize {
        (self.0.get() >> 8) as usize
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.fault(), self.at())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Truncated,
    Unexpected,
    ControlCharacter,
    BadEscape,
    LoneSurrogate,
    BadNumber,
    BadLiteral,
    TrailingData,
    TooDeep,
}

impl Fault {
    const ALL: [Fault; 9] = [
        Self::Truncated,
        Self::Unexpected,
        Self::ControlCharacter,
        Self::BadEscape,
        Self::LoneSurrogate,
        Self::BadNumber,
        Self::BadLiteral,
        Self::TrailingData,
        Self::TooDeep,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the text ends early",
            Self::Unexpected => "unexpected character",
            Self::ControlCharacter => "control character in a string",
            Self::BadEscape => "bad escape in a string",
            Self::LoneSurrogate => "lone surrogate in a string",
            Self::BadNumber => "bad number",
            Self::BadLiteral => "bad literal",
            Self::TrailingData => "more data after the value",
            Self::TooDeep => "nesting is too deep",
        })
    }
}
