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

    /// Whether the text ends before the value does.
    pub fn is_truncated(self) -> bool {
        self.fault() == Fault::Truncated
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
    BadNumber,
    BadLiteral,
    TrailingData,
}

impl Fault {
    const ALL: [Fault; 5] = [
        Self::Truncated,
        Self::Unexpected,
        Self::BadNumber,
        Self::BadLiteral,
        Self::TrailingData,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the text ends early",
            Self::Unexpected => "unexpected character",
            Self::BadNumber => "bad number",
            Self::BadLiteral => "bad literal",
            Self::TrailingData => "more data after the value",
        })
    }
}
