//! Where a record ends: at the end of its line, or behind the document that goes on in the next lines.
//!
//! A line is a record unless it begins a JSON document and does not end it. Then the next lines are looked at: the
//! document goes on as long as they can belong to it. A line that was merely cut off costs itself: the line behind it
//! begins a document that cannot stand there, or never lets the one before it end.

use super::outline::{Fed, Outline, is_whole};

/// What becomes of the line at hand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// It is a record.
    Line,
    /// It is a record, and so are those behind it up to here: they were looked at in vain.
    Alone,
    /// A record ends here, and the next one begins there; more of them may stand on the line.
    At(usize, usize),
    /// More must be read to tell.
    More,
    /// The rest of a file that may grow.
    Wait,
    TooLong,
}

/// What was read and not yet cut.
pub(super) struct Text<'a> {
    pub bytes: &'a [u8],
    /// Nothing follows.
    pub ended: bool,
    /// What follows cannot be read.
    pub failed: bool,
    /// More may be appended later.
    pub growing: bool,
    /// Longest record.
    pub limit: usize,
}

/// A document whose end is looked for.
struct Open {
    start: usize,
    outline: Outline,
    /// It cannot be right, whatever follows; only brackets and strings tell where it ends.
    broken: bool,
    /// So it was in its first line.
    broken_first: bool,
    /// Strings that began in its first line, if the last of them was open at its end.
    texts: Option<usize>,
    /// First line that looks like a document of its own.
    doubt: Option<usize>,
    /// Whether nothing came before the line at hand but the string that was open at the end of the first one.
    was_in_first_text: bool,
}

/// What stands around records: whitespace, the zeros of a torn or preallocated file, separators of JSON sequences.
pub(super) fn is_filling(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, 0 | 0x1E)
}

/// How much stands before a record, byte order marks included.
pub(super) fn filling(bytes: &[u8]) -> usize {
    const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
    let mut at = 0;
    loop {
        at += bytes[at..]
            .iter()
            .take_while(|byte| is_filling(**byte))
            .count();
        match bytes[at..].starts_with(BYTE_ORDER_MARK) {
            true => at += BYTE_ORDER_MARK.len(),
            false => return at,
        }
    }
}

/// The bytes without what stands behind a record.
pub(super) fn trimmed_end(bytes: &[u8]) -> &[u8] {
    let filling = bytes.iter().rev().take_while(|byte| is_filling(**byte));
    &bytes[..bytes.len() - filling.count()]
}

impl Text<'_> {
    /// Cuts at the line from `start` to `end`. `is_part` says that it is the rest of a line that was cut already;
    /// `alone` that it is a record if it is no document.
    pub fn cut(&self, start: usize, end: usize, is_part: bool, alone: bool) -> Cut {
        let first = start + filling(&self.bytes[start..end]);
        let line = &self.bytes[first..end];
        if !is_part && is_whole(trimmed_end(line)) {
            return Cut::Line;
        }
        if !matches!(line.first(), Some(b'{' | b'[')) {
            return Cut::Line;
        }
        let mut outline = Outline::new();
        let fed = outline.feed(line);
        if let Some(length) = fed.end {
            return self.behind_document(first, first + length, end, fed.faults == 0);
        }
        if alone {
            return Cut::Line;
        }
        let broken = fed.faults > 0;
        self.join(
            Open {
                start,
                broken,
                broken_first: broken,
                texts: outline.is_in_text().then_some(outline.texts),
                outline,
                doubt: None,
                was_in_first_text: false,
            },
            end,
        )
    }

    /// Where to go on when a document ends within its line.
    fn behind_document(&self, first: usize, document: usize, end: usize, is_sound: bool) -> Cut {
        let rest = &self.bytes[document..end];
        let blanks = filling(rest);
        let Some(next) = rest.get(blanks) else {
            return Cut::At(document, end);
        };
        if self.bytes[first] != b'{' || !is_sound {
            return Cut::Line;
        }
        match next {
            b'{' => Cut::At(document, document + blanks),
            // Elements of an array whose brackets are elsewhere.
            b',' => {
                let behind = blanks + 1 + filling(&rest[blanks + 1..]);
                match rest.get(behind) {
                    None | Some(b'{') => Cut::At(document, document + behind),
                    Some(_) => Cut::Line,
                }
            }
            b']' if rest[blanks..]
                .iter()
                .all(|byte| is_filling(*byte) || b"]},".contains(byte)) =>
            {
                Cut::At(document, end)
            }
            _ => Cut::Line,
        }
    }

    /// Looks for the end of a document in the lines behind `at`.
    fn join(&self, mut open: Open, mut at: usize) -> Cut {
        loop {
            let begin = at + 1;
            let rest = self.bytes.get(begin..).unwrap_or_default();
            let line_end = memchr::memchr(b'\n', rest).map(|length| begin + length);
            let end = match line_end {
                Some(end) => end,
                None if self.ended => self.bytes.len(),
                None => return self.more(&open),
            };
            if rest.is_empty() || self.growing && line_end.is_none() {
                return self.at_end(&open);
            }
            let line = trimmed_end(&self.bytes[begin..end]);
            if filling(line) == line.len() {
                at = end;
                continue;
            }
            let Some(looks_like_one) = self.looks_like_document(line, end) else {
                return self.more(&open);
            };
            if looks_like_one {
                open.doubt.get_or_insert(begin);
            }
            let begins = matches!(line[0], b'{' | b'[');
            let (fed, is_torn) = open.take(&self.bytes[at..end], begins);
            if fed.faults > 0 && !open.broken {
                if let Some(doubt) = open.doubt {
                    return open.ends_before(doubt);
                }
                if is_torn || is_foreign(line) {
                    return open.ends_before(begin);
                }
                open.broken = true;
            } else if open.broken && open.doubt == Some(begin) {
                return open.ends_before(begin);
            }
            if let Some(length) = fed.end {
                return self.behind_joined(at + length, end);
            }
            at = end;
            if at - open.start > self.limit {
                return self.too_long(&open);
            }
        }
    }

    /// A document that lines were joined for ends here, in the line that ends there.
    fn behind_joined(&self, document: usize, end: usize) -> Cut {
        let rest = &self.bytes[document..end];
        let mut next = filling(rest);
        // An element whose array is elsewhere.
        if rest.get(next) == Some(&b',') {
            next += 1;
            next += filling(&rest[next..]);
        }
        Cut::At(document, document + next)
    }

    /// Whether a line, in its first column, begins a document: one that ends with it and no bracket or comma of a
    /// container follows, or one that goes on. Nothing if that cannot be told yet.
    fn looks_like_document(&self, line: &[u8], end: usize) -> Option<bool> {
        if line[0] != b'{' && line[0] != b'[' {
            return Some(false);
        }
        if !is_whole(line) {
            let fed = Outline::new().feed(line);
            return Some(fed.end.is_none() && fed.faults == 0);
        }
        let rest = &self.bytes[end..];
        match rest.get(filling(rest)) {
            Some(next) => Some(!matches!(next, b',' | b']' | b'}')),
            None => (self.ended || self.growing).then_some(true),
        }
    }

    fn more(&self, open: &Open) -> Cut {
        match self.bytes.len() - open.start > self.limit {
            true => self.too_long(open),
            false => Cut::More,
        }
    }

    fn too_long(&self, open: &Open) -> Cut {
        match open.doubt {
            Some(doubt) => open.ends_before(doubt),
            None if open.is_in_first_text() || open.broken_first => Cut::Alone,
            None => Cut::TooLong,
        }
    }

    /// What becomes of a document that has no end.
    fn at_end(&self, open: &Open) -> Cut {
        if self.growing {
            return Cut::Wait;
        }
        if let Some(doubt) = open.doubt {
            return open.ends_before(doubt);
        }
        if self.failed {
            // What it holds can be read, or it goes into the letter that tells of the failure.
            return match open.outline.elements > 0 {
                true => Cut::At(self.bytes.len(), self.bytes.len()),
                false => Cut::Wait,
            };
        }
        match open.is_in_first_text() || open.broken_first {
            true => Cut::Alone,
            false => Cut::At(self.bytes.len(), self.bytes.len()),
        }
    }
}

/// Whether a line that does not fit is no JSON at all: it has none of its signs, or begins with a word in brackets as
/// lines of logs do.
fn is_foreign(line: &[u8]) -> bool {
    if !line.iter().any(|byte| b"\"{}[]".contains(byte)) {
        return true;
    }
    let fed = Outline::new().feed(line);
    let next = fed
        .end
        .and_then(|end| line.get(end + filling(&line[end..])));
    line[0] == b'[' && fed.faults > 0 && next.is_some_and(|next| !b",]}".contains(next))
}

impl Open {
    /// Whether nothing has come since the first line but the string that was open at its end.
    fn is_in_first_text(&self) -> bool {
        self.outline.is_in_text() && self.texts == Some(self.outline.texts)
    }

    /// The record ends before a line that is not its own. What lies between, if all of it is in a string that never
    /// ended, is not known to belong to it.
    fn ends_before(&self, line: usize) -> Cut {
        match self.was_in_first_text {
            true => Cut::Line,
            false => Cut::At(line, line),
        }
    }

    /// Takes a line (with the line end before it) and says whether the document was cut off before it. A string that
    /// was open is taken as ended if the line then fits better.
    fn take(&mut self, bytes: &[u8], begins: bool) -> (Fed, bool) {
        // The first byte behind the line end.
        let at_once = |fed: Fed| begins && fed.first_fault == Some(1);
        let before = self.outline.is_in_text().then(|| self.outline.clone());
        self.was_in_first_text = self.is_in_first_text();
        let fed = self.outline.feed(bytes);
        let Some(mut closed) = before.filter(|_| fed.faults > 0) else {
            return (fed, at_once(fed));
        };
        closed.close_text();
        let other = closed.feed(bytes);
        if at_once(other) {
            return (fed, true);
        }
        if other.faults < fed.faults {
            self.outline = closed;
            // That the string had no end is a fault, too.
            let faults = other.faults + 1;
            return (Fed { faults, ..other }, false);
        }
        (fed, false)
    }
}
