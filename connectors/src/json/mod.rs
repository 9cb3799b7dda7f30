//! A JSON scanner over bytes: one pass, no tree, no allocation, no recursion.
//!
//! The caller walks objects and arrays and says what becomes of each value; what it does not want it skips,
//! which still validates it. Structure, numbers and literals are strict. Strings are lenient: control
//! characters, bad escapes and lone surrogates are accepted and counted ([`Scanner::repairs`]), as a client
//! can choose the text of a field and must not hide an event by it; [`repair`] gives valid JSON for such a value.
//! Any depth is read; where nesting goes beyond the given depth is noted ([`Scanner::too_deep`]).
//! UTF-8 is not looked at here: the caller validates it first.
//!
//! Invariants: every method that reads a value leaves the position just behind it; a string without
//! escapes is given as a range of the input, never copied.

mod chunk;
mod error;
mod number;
mod repair;
mod skip;
mod text;

pub use self::error::{Error, Fault};
pub(crate) use self::number::{Decimal, int, plain};
pub(crate) use self::repair::repair;
pub use self::text::{Text, unescape, unescape_into};

use std::borrow::Cow;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Cursor over one JSON text.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    pos: usize,
    depth: usize,
    max_depth: usize,
    /// Faults in strings passed so far.
    repairs: u32,
    /// Where nesting first went beyond `max_depth`.
    too_deep: usize,
}

/// Place to come back to.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    pos: usize,
    depth: usize,
}

impl<'a> Scanner<'a> {
    /// Starts at `start`; the text ends where `bytes` end (at most 4 GiB, as offsets are kept in 32 bits, and a string
    /// has at most 2 GiB).
    pub fn new(bytes: &'a [u8], start: usize, max_depth: usize) -> Self {
        Self {
            bytes,
            pos: start,
            depth: 0,
            max_depth,
            repairs: 0,
            too_deep: usize::MAX,
        }
    }

    /// Number of faults in the strings read or skipped so far: it grows whenever a value with such faults is passed, also when
    /// it is passed again.
    pub fn repairs(&self) -> u32 {
        self.repairs
    }
    /// Where nesting first went beyond the depth given, since [`forget_depth`](Self::forget_depth); `usize::MAX` if nowhere.
    pub fn too_deep(&self) -> usize {
        self.too_deep
    }
    pub fn forget_depth(&mut self) {
        self.too_deep = usize::MAX;
    }

    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
    pub fn position(&self) -> usize {
        self.pos
    }
    pub fn mark(&self) -> Mark {
        Mark {
            pos: self.pos,
            depth: self.depth,
        }
    }
    pub fn reset(&mut self, mark: Mark) {
        self.pos = mark.pos;
        self.depth = mark.depth;
    }
    /// The characters of a string; still escaped if it is.
    #[inline]
    pub fn slice(&self, text: Text) -> &'a [u8] {
        &self.bytes[text.range()]
    }

    /// The characters of a string, escapes resolved. Writers may escape any of them: Go writes `<` as
    /// `\u003c`.
    #[inline]
    pub fn value(&self, text: Text) -> Cow<'a, [u8]> {
        match text.is_escaped() {
            true => unescape(self.slice(text)),
            false => Cow::Borrowed(self.slice(text)),
        }
    }

    /// Passes so many bytes, whatever they are.
    pub fn advance(&mut self, bytes: usize) {
        self.pos += bytes;
    }

    #[cold]
    #[inline(never)]
    fn error(&self, fault: Fault, at: usize) -> Error {
        match fault {
            Fault::Unexpected if at >= self.bytes.len() => {
                Error::new(Fault::Truncated, self.bytes.len())
            }
            fault => Error::new(fault, at.min(self.bytes.len())),
        }
    }

    /// Skips whitespace and gives the next byte without consuming it; 0 at the end.
    #[inline]
    pub fn peek(&mut self) -> u8 {
        loop {
            match self.bytes.get(self.pos) {
                Some(&byte) if byte > b' ' => return byte,
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.pos += 1,
                // A byte that no token starts with: callers refuse it like the end.
                Some(_) | None => return 0,
            }
        }
    }

    /// Refuses anything but whitespace behind the value.
    #[inline]
    pub fn finish(&mut self) -> Result<()> {
        self.peek();
        if self.pos < self.bytes.len() {
            return Err(self.error(Fault::TrailingData, self.pos));
        }
        Ok(())
    }

    /// Reads an object; `member` must read or skip exactly the one value behind each key.
    #[inline]
    pub fn object<E: From<Error>>(
        &mut self,
        mut member: impl FnMut(&mut Self, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut more = self.open(b'{', b'}')?;
        while more {
            let key = self.key()?;
            let unescaped;
            let key = if key.is_escaped() {
                unescaped = unescape(self.slice(key));
                &*unescaped
            } else {
                self.slice(key)
            };
            member(self, key)?;
            more = self.more(b'}')?;
        }
        Ok(())
    }

    /// Reads an array; `element` must read or skip exactly one value.
    #[inline]
    pub fn array<E: From<Error>>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut more = self.open(b'[', b']')?;
        while more {
            element(self)?;
            more = self.more(b']')?;
        }
        Ok(())
    }

    /// Reads the object if the value is one, else skips the value.
    #[inline]
    pub fn object_or_skip<E: From<Error>>(
        &mut self,
        member: impl FnMut(&mut Self, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.peek() == b'{' {
            self.object(member)
        } else {
            Ok(self.skip()?)
        }
    }

    #[inline]
    fn open(&mut self, open: u8, close: u8) -> Result<bool> {
        if self.peek() != open {
            return Err(self.error(Fault::Unexpected, self.pos));
        }
        if self.depth >= self.max_depth {
            self.note_depth();
        }
        self.pos += 1;
        if self.peek() == close {
            self.pos += 1;
            return Ok(false);
        }
        self.depth += 1;
        Ok(true)
    }

    /// After a value: whether another one follows in this container.
    #[inline]
    fn more(&mut self, close: u8) -> Result<bool> {
        let byte = self.peek();
        if byte == b',' {
            self.pos += 1;
            return Ok(true);
        }
        if byte == close {
            self.pos += 1;
            self.depth -= 1;
            return Ok(false);
        }
        Err(self.error(Fault::Unexpected, self.pos))
    }

    /// `"key" :`, and the whitespace before and behind.
    #[inline(always)]
    fn key(&mut self) -> Result<Text> {
        if self.peek() != b'"' {
            return Err(self.error(Fault::Unexpected, self.pos));
        }
        let key = self.string()?;
        if self.peek() != b':' {
            return Err(self.error(Fault::Unexpected, self.pos));
        }
        self.pos += 1;
        Ok(key)
    }

    /// The string at the position, or `None` and a skipped value.
    #[inline]
    pub fn text(&mut self) -> Result<Option<Text>> {
        if self.peek() == b'"' {
            Ok(Some(self.string()?))
        } else {
            self.skip()?;
            Ok(None)
        }
    }

    /// The string whose opening quote is at the position.
    #[inline(always)]
    fn string(&mut self) -> Result<Text> {
        let start = self.pos + 1;
        let at = chunk::find_special(self.bytes, start);
        if self.bytes.get(at) == Some(&b'"') {
            self.pos = at + 1;
            return Ok(Text::new(start, at, false));
        }
        self.string_slow(start, at)
    }

    #[inline(never)]
    fn string_slow(&mut self, start: usize, mut at: usize) -> Result<Text> {
        loop {
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => at = self.escape(at)?,
                Some(_) => {
                    self.repairs = self.repairs.wrapping_add(1);
                    at += 1;
                }
                None => return Err(self.error(Fault::Truncated, at)),
            }
            at = chunk::find_special(self.bytes, at);
        }
        self.pos = at + 1;
        Ok(Text::new(start, at, true))
    }

    /// Checks the escape whose backslash is at `at`; gives the place behind it. A backslash that begins no escape is passed
    /// alone.
    fn escape(&mut self, at: usize) -> Result<usize> {
        let (length, is_valid) = match self.bytes.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => (2, true),
            Some(b'u') => text::unicode_escape(&self.bytes[at..]),
            Some(_) => (1, false),
            None => return Err(self.error(Fault::Truncated, at)),
        };
        if !is_valid {
            self.repairs = self.repairs.wrapping_add(1);
        }
        Ok(at + length)
    }

    #[cold]
    fn note_depth(&mut self) {
        self.too_deep = self.too_deep.min(self.pos);
    }
}

/// Whether the text of an object or array has nothing in it.
pub(crate) fn is_empty(container: &[u8]) -> bool {
    let inside = container.get(1..container.len() - 1);
    inside.is_none_or(|inside| inside.trim_ascii().is_empty())
}

#[cfg(test)]
mod tests;
