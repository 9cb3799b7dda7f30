//! UTF-16, read as UTF-8.

use std::io::{self, Read};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Little,
    Big,
}

/// Whether a file that begins like this is UTF-16: it has a byte order mark, or every second byte of plain text is
/// zero.
pub(crate) fn order(head: &[u8]) -> Option<Order> {
    match head {
        [0xFF, 0xFE, ..] => return Some(Order::Little),
        [0xFE, 0xFF, ..] => return Some(Order::Big),
        _ => {}
    }
    let head = head.get(..8)?;
    let is = |text: usize| {
        let mut pairs = head.chunks_exact(2);
        pairs.all(|pair| pair[text] != 0 && pair[text].is_ascii() && pair[1 - text] == 0)
    };
    match (is(0), is(1)) {
        (true, _) => Some(Order::Little),
        (_, true) => Some(Order::Big),
        _ => None,
    }
}

/// Gives what it reads as UTF-8; half of a pair that is alone becomes U+FFFD.
pub(super) struct Utf16<R> {
    input: R,
    order: Order,
    raw: Vec<u8>,
    text: Vec<u8>,
    /// How much of the text was given.
    given: usize,
    failure: Option<io::Error>,
    ended: bool,
}

impl<R: Read> Utf16<R> {
    pub fn new(input: R, order: Order) -> Self {
        Self {
            input,
            order,
            raw: vec![],
            text: vec![],
            given: 0,
            failure: None,
            ended: false,
        }
    }

    /// Reads on and makes text of it. What stands behind a failure begins with a whole character.
    fn refill(&mut self) {
        const CHUNK: u64 = 64 << 10;
        let mut chunk = (&mut self.input).take(CHUNK);
        match chunk.read_to_end(&mut self.raw) {
            Ok(0) => self.ended = true,
            Ok(_) => {}
            Err(error) => self.failure = Some(error),
        }
        let mut units: Vec<u16> = self
            .raw
            .chunks_exact(2)
            .map(|pair| match self.order {
                Order::Little => u16::from_le_bytes([pair[0], pair[1]]),
                Order::Big => u16::from_be_bytes([pair[0], pair[1]]),
            })
            .collect();
        let mut used = units.len() * 2;
        if self.ended || self.failure.is_some() {
            if self.raw.len() > used {
                units.push(0xFFFD);
            }
            used = self.raw.len();
        } else if matches!(units.last(), Some(0xD800..=0xDBFF)) {
            // Its other half may come.
            units.pop();
            used -= 2;
        }
        self.raw.drain(..used);
        self.text.clear();
        self.given = 0;
        for unit in char::decode_utf16(units) {
            let mut buffer = [0; 4];
            let character = unit.unwrap_or(char::REPLACEMENT_CHARACTER);
            let bytes = character.encode_utf8(&mut buffer).as_bytes();
            self.text.extend_from_slice(bytes);
        }
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.given == self.text.len() {
            if let Some(error) = self.failure.take() {
                return Err(error);
            }
            if self.ended {
                return Ok(0);
            }
            self.refill();
        }
        let rest = &self.text[self.given..];
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        self.given += length;
        Ok(length)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], order: Order) -> String {
        let mut text = String::new();
        Utf16::new(bytes, order).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn both_orders_pairs_and_halves() {
        let text = "{\"a\":\"grün 😀\"}\n".repeat(10_000);
        for order in [Order::Little, Order::Big] {
            let bytes = |unit: u16| match order {
                Order::Little => unit.to_le_bytes(),
                Order::Big => unit.to_be_bytes(),
            };
            let all: Vec<u8> = text.encode_utf16().flat_map(bytes).collect();
            assert_eq!(read(&all, order), text);
            assert_eq!(super::order(&all), Some(order));
            let halves: Vec<u8> = [0x61, 0xD83D, 0x62, 0xDE00]
                .into_iter()
                .flat_map(bytes)
                .collect();
            assert_eq!(read(&halves, order), "a\u{FFFD}b\u{FFFD}");
            assert_eq!(read(&halves[..3], order), "a\u{FFFD}");
            assert_eq!(read(&halves[..4], order), "a\u{FFFD}");
        }
        assert_eq!(order(b"{\"a\":1}\n"), None);
        assert_eq!(order(b"\0\0\0\0\0\0{\"a\":1}\n"), None);
        assert_eq!(order(b"{\0"), None);
        assert_eq!(order(b"\xFF\xFE{\0"), Some(Order::Little));
    }
}
