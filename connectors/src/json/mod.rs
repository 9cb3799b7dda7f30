//! A strict JSON scanner over bytes: one pass, no tree, no allocation, no recursion.
//!
//! The caller walks objects and arrays and says what becomes of each value; what it does not want it skips,
//! which still validates it. Refused are control characters in strings (NUL among them), bad escapes,
//! lone surrogates, bad numbers and literals, nesting beyond the given depth, and anything after the value.
//! UTF-8 is not looked at here: the caller validates it first.
//!
//! Invariants: every method that reads a value leaves the position just behind it; a string without
//! escapes is given as a range of the input, never copied.

mod chunk;
mod error;
mod number;
mod text;

pub use self::error::{Error, Fault};
pub(crate) use self::number::{Decimal, int, plain};
pub use self::text::{Text, unescape, unescape_into};

use std::borrow::Cow;
use std::ops::Range;

use self::text::hex;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Cursor over one JSON text.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    pos: usize,
    depth: usize,
    max_depth: usize,
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
        }
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
            return Err(self.error(Fault::TooDeep, self.pos));
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
                Some(_) => return Err(self.error(Fault::ControlCharacter, at)),
                None => return Err(self.error(Fault::Truncated, at)),
            }
            at = chunk::find_special(self.bytes, at);
        }
        self.pos = at + 1;
        Ok(Text::new(start, at, true))
    }

    /// Checks the escape whose backslash is at `at`; gives the place behind it.
    fn escape(&self, at: usize) -> Result<usize> {
        match self.bytes.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
            Some(b'u') => match self.unit(at + 2)? {
                0xD800..=0xDBFF => {
                    if self.bytes.get(at + 6..at + 8) == Some(b"\\u")
                        && matches!(self.unit(at + 8)?, 0xDC00..=0xDFFF)
                    {
                        Ok(at + 12)
                    } else {
                        Err(self.error(Fault::LoneSurrogate, at))
                    }
                }
                0xDC00..=0xDFFF => Err(self.error(Fault::LoneSurrogate, at)),
                _ => Ok(at + 6),
            },
            Some(_) => Err(self.error(Fault::BadEscape, at)),
            None => Err(self.error(Fault::Truncated, at)),
        }
    }

    fn unit(&self, at: usize) -> Result<u16> {
        match self.bytes.get(at..at + 4).map(hex) {
            Some(Some(unit)) => Ok(unit),
            Some(None) => Err(self.error(Fault::BadEscape, at)),
            None => Err(self.error(Fault::Truncated, at)),
        }
    }

    /// Skips and validates one value of any kind.
    #[inline]
    pub fn skip(&mut self) -> Result<()> {
        match self.peek() {
            b'"' => self.string().map(drop),
            b'{' | b'[' => self.skip_container(self.max_depth),
            _ => self.scalar(),
        }
    }

    /// Like [`skip`](Self::skip), to get past a value that is nested deeper than allowed.
    pub fn skip_any_depth(&mut self) -> Result<()> {
        match self.peek() {
            b'{' | b'[' => self.skip_container(usize::MAX),
            _ => self.skip(),
        }
    }

    /// The kinds of the open containers are bits (1 for an object): the innermost in the lowest bit, 64 in
    /// `kinds`, those around them in `outer`.
    #[inline(never)]
    fn skip_container(&mut self, max_depth: usize) -> Result<()> {
        let (mut kinds, mut outer, mut opened) = (0u64, Vec::new(), 0usize);
        loop {
            let byte = self.peek();
            match byte {
                b'"' => drop(self.string()?),
                b'{' | b'[' => {
                    if self.depth + opened >= max_depth {
                        return Err(self.error(Fault::TooDeep, self.pos));
                    }
                    let object = byte == b'{';
                    self.pos += 1;
                    if self.peek() == if object { b'}' } else { b']' } {
                        self.pos += 1;
                    } else {
                        if opened % 64 == 0 && opened > 0 {
                            outer.push(kinds);
                        }
                        kinds = kinds << 1 | u64::from(object);
                        opened += 1;
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            loop {
                if opened == 0 {
                    return Ok(());
                }
                let object = kinds & 1 == 1;
                let byte = self.peek();
                if byte == b',' {
                    self.pos += 1;
                    if object {
                        self.key()?;
                    }
                    break;
                }
                if byte != if object { b'}' } else { b']' } {
                    return Err(self.error(Fault::Unexpected, self.pos));
                }
                self.pos += 1;
                opened -= 1;
                kinds >>= 1;
                if opened % 64 == 0
                    && let Some(word) = outer.pop()
                {
                    kinds = word;
                }
            }
        }
    }

    /// `true` or `false` at the position, also in quotes; `None` and a skipped value for anything else.
    pub fn bool(&mut self) -> Result<Option<bool>> {
        Ok(match &*self.word()? {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        })
    }

    /// An integer at the position, however it is written, also in quotes; `None` and a skipped value for anything else.
    pub fn int(&mut self) -> Result<Option<i64>> {
        Ok(number::int(&self.word()?))
    }

    /// The value of a string, or anything else as it stands.
    fn word(&mut self) -> Result<Cow<'a, [u8]>> {
        if self.peek() == b'"' {
            let text = self.string()?;
            return Ok(self.value(text));
        }
        let range = self.range()?;
        Ok(Cow::Borrowed(&self.bytes[range]))
    }

    /// The place of the value at the position, skipped.
    pub fn range(&mut self) -> Result<Range<usize>> {
        self.peek();
        let start = self.pos;
        self.skip()?;
        Ok(start..self.pos)
    }

    /// A number or literal.
    #[inline]
    fn scalar(&mut self) -> Result<()> {
        let rest = &self.bytes[self.pos..];
        let len = match rest.first() {
            Some(b't') => literal(rest, b"true"),
            Some(b'f') => literal(rest, b"false"),
            Some(b'n') => literal(rest, b"null"),
            Some(b'-' | b'0'..=b'9') => match number::len(rest) {
                Ok(len) => Some(len),
                Err(at) => return self.fail_number(self.pos + at),
            },
            _ => return Err(self.error(Fault::Unexpected, self.pos)),
        };
        match len {
            Some(len) => self.pos += len,
            None => return Err(self.error(Fault::BadLiteral, self.pos)),
        }
        Ok(())
    }

    #[cold]
    fn fail_number(&self, at: usize) -> Result<()> {
        let fault = match at < self.bytes.len() {
            true => Fault::BadNumber,
            false => Fault::Truncated,
        };
        Err(self.error(fault, at))
    }
}

#[inline]
fn literal(rest: &[u8], word: &[u8]) -> Option<usize> {
    rest.starts_with(word).then_some(word.len())
}

/// Whether the text of an object or array has nothing in it.
pub(crate) fn is_empty(container: &[u8]) -> bool {
    let inside = container.get(1..container.len() - 1);
    inside.is_none_or(|inside| inside.trim_ascii().is_empty())
}

#[cfg(test)]
mod tests;
