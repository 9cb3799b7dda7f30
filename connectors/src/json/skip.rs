//! Values that are passed without being looked into, and scalars.

use std::borrow::Cow;
use std::ops::Range;

use super::{Fault, Result, Scanner, number};

impl<'a> Scanner<'a> {
    /// Skips and validates one value of any kind.
    #[inline]
    pub fn skip(&mut self) -> Result<()> {
        match self.peek() {
            b'"' => self.string().map(drop),
            b'{' | b'[' => self.skip_container(),
            _ => self.scalar(),
        }
    }

    /// The kinds of the open containers are bits (1 for an object): the innermost in the lowest bit, 64 in
    /// `kinds`, those around them in `outer`.
    #[inline(never)]
    fn skip_container(&mut self) -> Result<()> {
        let (mut kinds, mut outer, mut opened) = (0u64, Vec::new(), 0usize);
        loop {
            let byte = self.peek();
            match byte {
                b'"' => drop(self.string()?),
                b'{' | b'[' => {
                    if self.depth + opened >= self.max_depth {
                        self.note_depth();
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
