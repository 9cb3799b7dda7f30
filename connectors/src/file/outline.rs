//! The outline of a JSON document: where it ends, and whether what follows can belong to it.
//!
//! Lenient where a scanner is strict: raw control characters stand in strings, a word is any word, and behind a fault
//! it goes on with brackets and strings alone. It validates nothing; it only tells where one record ends.

use super::brackets::Brackets;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A value is due.
    Value,
    /// A value is due, or the end of the array.
    FirstValue,
    Key,
    FirstKey,
    Colon,
    /// A comma is due, or the end of the container.
    After,
    /// Within a string, a key or a value.
    Text {
        key: bool,
        escaped: bool,
    },
    Word,
}

/// One document, read piece by piece. It may be deep, so that it is never copied: see [`Outline::mark`].
#[derive(Debug)]
pub(super) struct Outline {
    open: Brackets,
    state: State,
    /// Objects in arrays that have ended.
    pub elements: usize,
    /// Strings that began.
    pub texts: usize,
    marked: (State, usize, usize),
}

/// What a piece was.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fed {
    /// Where the document ended within the piece.
    pub end: Option<usize>,
    pub faults: usize,
    /// Place of the first fault.
    pub first_fault: Option<usize>,
}

impl Outline {
    pub fn new() -> Self {
        Self {
            open: Brackets::default(),
            state: State::Value,
            elements: 0,
            texts: 0,
            marked: (State::Value, 0, 0),
        }
    }

    /// Remembers how things stand.
    pub fn mark(&mut self) {
        self.open.mark();
        self.marked = (self.state, self.elements, self.texts);
    }

    /// Takes back what was fed since the mark.
    pub fn restore(&mut self) {
        self.open.restore();
        (self.state, self.elements, self.texts) = self.marked;
    }

    pub fn is_in_text(&self) -> bool {
        matches!(self.state, State::Text { .. })
    }

    /// Whether a value, or anything at all within a string, can stand next.
    pub fn takes_value(&self) -> bool {
        self.is_in_text() || matches!(self.state, State::Value | State::FirstValue)
    }

    /// As if the string that is open had ended.
    pub fn close_text(&mut self) {
        if let State::Text { key, .. } = self.state {
            self.state = if key { State::Colon } else { State::After };
        }
    }

    /// Goes on with the next bytes; stops behind the document's end.
    pub fn feed(&mut self, bytes: &[u8]) -> Fed {
        let mut fed = Fed::default();
        let mut at = 0;
        while at < bytes.len() {
            if let State::Text { key, escaped } = self.state {
                at = self.text(bytes, at, key, escaped);
                continue;
            }
            let byte = bytes[at];
            if self.state == State::Word {
                if !is_separator(byte) {
                    at += 1;
                    continue;
                }
                self.state = State::After;
            }
            if byte <= b' ' {
                at += 1;
                continue;
            }
            if !self.take(byte, &bytes[at + 1..]) {
                fed.faults += 1;
                fed.first_fault.get_or_insert(at);
            }
            at += 1;
            if self.open.is_empty() {
                fed.end = Some(at);
                break;
            }
        }
        #[cfg(test)]
        LOOKED_AT.set(LOOKED_AT.get() + at);
        fed
    }

    /// Reads on in a string; gives the place behind its quote, or the end of the bytes.
    fn text(&mut self, bytes: &[u8], mut at: usize, key: bool, escaped: bool) -> usize {
        at += usize::from(escaped);
        while let Some(length) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
            at += length;
            if bytes[at] == b'"' {
                self.close_text();
                return at + 1;
            }
            at += 2;
        }
        // A backslash at the very end escapes what comes next.
        let escaped = at > bytes.len();
        self.state = State::Text { key, escaped };
        bytes.len()
    }

    /// Takes a byte outside of strings and words. False if it cannot stand there.
    fn take(&mut self, byte: u8, rest: &[u8]) -> bool {
        let state = self.state;
        let value_is_due = matches!(state, State::Value | State::FirstValue);
        match byte {
            b'"' => {
                let key = matches!(state, State::Key | State::FirstKey);
                let escaped = false;
                self.state = State::Text { key, escaped };
                self.texts += 1;
                key || value_is_due
            }
            b'{' | b'[' => {
                self.open.push(byte);
                self.state = match byte {
                    b'{' => State::FirstKey,
                    _ => State::FirstValue,
                };
                value_is_due
            }
            b'}' | b']' => self.close(byte, rest),
            b',' => {
                self.state = match self.open.last() {
                    Some(b'{') => State::Key,
                    _ => State::Value,
                };
                state == State::After
            }
            b':' => {
                self.state = State::Value;
                state == State::Colon
            }
            _ => {
                self.state = State::Word;
                value_is_due
            }
        }
    }

    fn close(&mut self, byte: u8, rest: &[u8]) -> bool {
        let (open, empty) = match byte {
            b'}' => (b'{', State::FirstKey),
            _ => (b'[', State::FirstValue),
        };
        let fits = self.state == State::After || self.state == empty;
        self.state = State::After;
        if self.open.last() == Some(open) {
            self.open.pop();
            self.elements += usize::from(open == b'{' && self.open.last() == Some(b'['));
            return fits;
        }
        // One too many if its neighbours go on as if nothing had ended; else one is missing.
        let next = rest.iter().find(|byte| **byte > b' ');
        let goes_on = matches!(next, Some(b',' | b']'));
        if !(goes_on && self.open.other_is_outermost()) {
            self.open.close_other();
        }
        false
    }
}

#[cfg(test)]
thread_local! {
    /// Bytes that the outlines of this thread were fed.
    pub(super) static LOOKED_AT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

fn is_separator(byte: u8) -> bool {
    byte <= b' ' || matches!(byte, b',' | b':' | b'"' | b'{' | b'}' | b'[' | b']')
}

/// Whether a line is surely no part of a document: it begins like none, or ends with the bracket that it begins with
/// and opens as many of both kinds as it closes. Cheap, as every line is asked.
pub(super) fn is_whole(line: &[u8]) -> bool {
    let close = match line.first() {
        Some(b'{') => b'}',
        Some(b'[') => b']',
        _ => return true,
    };
    if line.last() != Some(&close) || memchr::memchr(0x1E, line).is_some() {
        return false;
    }
    let (mut braces, mut brackets) = (0isize, 0isize);
    // In pieces, so that the sums of each fit a byte and many bytes are compared at once.
    for piece in line.chunks(127) {
        let (mut brace, mut bracket) = (0i8, 0i8);
        for byte in piece {
            brace += i8::from(*byte == b'{') - i8::from(*byte == b'}');
            bracket += i8::from(*byte == b'[') - i8::from(*byte == b']');
        }
        braces += isize::from(brace);
        brackets += isize::from(bracket);
    }
    braces == 0 && brackets == 0
}

/// Keys under which the events of long documents stand.
const CONTAINERS: [&[u8]; 10] = [
    b"Records",
    b"records",
    b"items",
    b"Events",
    b"events",
    b"logEvents",
    b"value",
    b"Findings",
    b"findings",
    b"logs",
];

/// Where the events begin in the array or the object that the text begins with: behind the `[` of `[{…` or
/// `{"Records":[{…`. What stands before is short.
pub(super) fn inside(text: &[u8]) -> Option<usize> {
    const LONGEST: usize = 64 << 10;
    let head = &text[..text.len().min(LONGEST)];
    if head.first() == Some(&b'[') {
        let next = head[1..].iter().position(|byte| *byte > b' ')? + 1;
        return (head[next] == b'{').then_some(1);
    }
    // No further than the first document, and each byte once.
    let end = Outline::new().feed(head).end.unwrap_or(head.len());
    let (mut outline, mut fed) = (Outline::new(), 0);
    for at in memchr::memchr_iter(b'[', &head[..end]) {
        if outline.feed(&head[fed..=at]).faults > 0 {
            return None;
        }
        fed = at + 1;
        let before = head[..at].trim_ascii_end().strip_suffix(b":");
        let before = before.and_then(|before| before.trim_ascii_end().strip_suffix(b"\""));
        let Some(before) = before else { continue };
        let key = memchr::memrchr(b'"', before).map(|quote| &before[quote + 1..]);
        if key.is_some_and(|key| CONTAINERS.contains(&key))
            && outline.state == State::FirstValue
            && outline.open.are(b"{[")
        {
            return Some(at + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(text: &str) -> (Option<usize>, usize) {
        // Byte by byte and at once it is the same.
        let (mut pieces, mut faults, mut end) = (Outline::new(), 0, None);
        for (at, byte) in text.bytes().enumerate() {
            let fed = pieces.feed(&[byte]);
            faults += fed.faults;
            if fed.end.is_some() {
                end = Some(at + 1);
                break;
            }
        }
        let fed = Outline::new().feed(text.as_bytes());
        assert_eq!((fed.end, fed.faults), (end, faults), "{text}");
        (end, faults)
    }

    #[test]
    fn where_documents_end() {
        for text in [
            "{}",
            "[]",
            r#"{"a":"}\"]","b":[1,-2.5e3,true,null,{"c":{}}]}"#,
            "[[],{},\"\",\n1 ]",
            "{\"a\":\"raw\nline\tand\0nul\"}",
            r#"{"a":"\\"}"#,
        ] {
            assert_eq!(feed(text), (Some(text.len()), 0), "{text}");
            assert_eq!(feed(&format!("{text}{text} x")), (Some(text.len()), 0));
            for cut in 1..text.len() {
                if text.is_char_boundary(cut) {
                    assert_eq!(feed(&text[..cut]).0, None, "{text} {cut}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_follow_is_a_fault() {
        for text in [
            "{\"a\":1{",
            "{{",
            "{\"a\" 1",
            "{\"a\":1 \"b\"",
            "[1 2",
            "{'a'",
            "{\"a\":}",
            "[,",
            "[1,]",
        ] {
            assert!(feed(text).1 > 0, "{text}");
        }
        // One too many, or one missing.
        let (end, faults) = (Outline::new().feed(b"{\"r\":[{\"a\":1}},{}]}").end, 1);
        assert_eq!((end, faults), (Some(19), 1));
        assert_eq!(Outline::new().feed(b"{\"r\":[1,2}").end, Some(10));
    }

    #[test]
    fn lines_that_are_whole() {
        for (line, whole) in [
            ("{\"a\":1}", true),
            ("2 1 eni", true),
            ("{\"a\":{\"b\":1}", false),
            ("{\"a\":[{\"b\":\"1}}", false),
            ("{\"a\":[{\"b\":1}", false),
            ("{\"a\":1},", false),
            ("[{\"b\":1}", false),
            ("", true),
        ] {
            assert_eq!(is_whole(line.as_bytes()), whole, "{line}");
        }
        let long = format!("{{{}}}", "{}".repeat(1000));
        assert!(is_whole(long.as_bytes()) && !is_whole(&long.as_bytes()[1..]));
    }

    #[test]
    fn where_the_events_of_a_container_begin() {
        for (text, at) in [
            ("[{\"a\"", Some(1)),
            ("[ {", Some(1)),
            ("[1", None),
            ("{\"Records\":[{", Some(12)),
            ("{\"x\":[1],\"records\" : [", Some(22)),
            ("{\"a\":{\"Records\":[{", None),
            ("{\"resources\":[{", None),
            ("{\"m\":\"\\\"Records\\\":[\"", None),
        ] {
            assert_eq!(inside(text.as_bytes()), at, "{text}");
        }
    }
}
