//! Places in broken JSON: where keys stand and where values seem to end.

use std::ops::Range;

use crate::json::Scanner;

/// Passes `"key": value`, if that is what stands at the scanner.
pub(super) fn pass_member(s: &mut Scanner) -> bool {
    let mut member = s.clone();
    if !matches!(member.text(), Ok(Some(_))) || member.peek() != b':' {
        return false;
    }
    member.advance(1);
    let is_member = member.skip().is_ok();
    if is_member {
        s.advance(member.position() - s.position());
    }
    is_member
}

/// Places of the first two keys of an object, with their quotes; empty where there is none.
#[derive(Debug, Default, Clone)]
pub(super) struct Keys {
    pub first: Range<usize>,
    second: Range<usize>,
}

impl Keys {
    pub fn of(bytes: &[u8], at: usize) -> Self {
        let first = first_key(bytes, at);
        let mut s = Scanner::new(bytes, first.end, usize::MAX);
        let mut second = 0..0;
        if !first.is_empty() && s.peek() == b':' {
            s.advance(1);
            if s.skip().is_ok() && s.peek() == b',' {
                s.advance(1);
                s.peek();
                second = key_at(bytes, s.position());
            }
        }
        Self { first, second }
    }

    pub fn has_first(&self, bytes: &[u8], key: Range<usize>) -> bool {
        !key.is_empty() && bytes[key] == bytes[self.first.clone()]
    }

    pub fn is_alike(&self, bytes: &[u8], other: &Self) -> bool {
        self.has_first(bytes, other.first.clone())
            && bytes[self.second.clone()] == bytes[other.second.clone()]
    }
}

/// Place of the first key of the object at `at`, with its quotes; empty if there is none.
pub(super) fn first_key(bytes: &[u8], at: usize) -> Range<usize> {
    let mut s = Scanner::new(bytes, at + 1, usize::MAX);
    if bytes.get(at) != Some(&b'{') || s.peek() != b'"' {
        return 0..0;
    }
    key_at(bytes, s.position())
}

/// Place of the string at `start`, if it can be a key.
fn key_at(bytes: &[u8], start: usize) -> Range<usize> {
    if bytes.get(start) != Some(&b'"') {
        return 0..0;
    }
    // A key is short: what seems longer is a quote that was never closed.
    let end = memchr::memchr(b'"', &bytes[start + 1..bytes.len().min(start + 128)]);
    end.map_or(0..0, |end| start..start + end + 2)
}

/// Whether an object begins at `at`, also one in the single quotes that some programs write.
fn begins_object(bytes: &[u8], at: usize) -> bool {
    let mut s = Scanner::new(bytes, at + 1, usize::MAX);
    matches!(s.peek(), b'\'' | b'}') || !first_key(bytes, at).is_empty()
}

/// Where the brackets of the value at `at` close, if what follows can follow a value.
pub(super) fn own_end(bytes: &[u8], at: usize, budget: &mut usize) -> Option<usize> {
    let (mut depth, mut in_string, mut place) = (0usize, false, at);
    while let Some(byte) = bytes.get(place).filter(|_| *budget > 0) {
        *budget -= 1;
        match byte {
            b'\\' if in_string => place += 1,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    let mut behind = Scanner::new(bytes, place + 1, usize::MAX);
                    let mut next = behind.peek();
                    if next == b',' {
                        // A member belongs to the value: a bracket too many closed it before.
                        behind.advance(1);
                        next = behind.peek();
                    }
                    let follows = match next {
                        b']' | b'}' | b'[' | 0 => true,
                        b'{' => begins_object(bytes, behind.position()),
                        _ => false,
                    };
                    return follows.then_some(place + 1);
                }
            }
            _ => {}
        }
        place += 1;
    }
    None
}
