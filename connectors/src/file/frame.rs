//! Where a record ends: at the end of its line, or behind the document that goes on in the next lines.
//!
//! A line is a record unless it begins a JSON document and does not end it. Then the next lines are looked at: the
//! document goes on as long as they can belong to it. A line that was merely cut off costs itself: the line behind it
//! begins a document that cannot stand there, or is a line of a log, or never lets the one before it end.

use std::time::Duration;

use super::outline::{Fed, Outline, is_whole};
use super::text_line::is_text_line;

/// After this time what is at the end of a growing file is given out, if it seems that it will never be whole.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longer than this, it need not look torn.
const LONGEST_REST: usize = 1 << 20;

/// What becomes of the line at hand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// It is a record.
    Line,
    /// It is a record, and so are those behind it, as far as they were looked at.
    Alone,
    /// A record ends here, and the next one begins there; more of them may stand on the line.
    At(usize, usize),
    /// More must be read to tell.
    More,
    /// The rest of a file that may grow.
    Wait,
    TooLong,
}

/// How long the line at hand has stood at the end of a file that may grow.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Waited {
    pub since_first_seen: Duration,
    pub since_growth: Duration,
}

impl Waited {
    /// Whether nothing more can be told by waiting on.
    pub fn is_over(self) -> bool {
        self.since_growth >= PATIENCE
    }
}

/// What was read and not yet cut.
pub(super) struct Text<'a> {
    pub bytes: &'a [u8],
    /// Place of its first byte in all of the text.
    pub offset: u64,
    /// Nothing follows.
    pub ended: bool,
    /// What follows cannot be read.
    pub failed: bool,
    /// More may be appended later.
    pub growing: bool,
    pub waited: Waited,
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
    /// First line that looks like a document of its own, or like a line of a log.
    doubt: Option<usize>,
    /// Whether nothing came before the line at hand but the string that was open at the end of the first one.
    was_in_first_text: bool,
    /// Up to where lines were looked at.
    seen: usize,
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
    /// Cuts at the line from `start` to `end`, which if it is `alone` is a record or a document; also tells up to where
    /// lines were looked at.
    pub fn cut(&self, start: usize, end: usize, is_part: bool, alone: bool) -> (Cut, usize) {
        let first = start + filling(&self.bytes[start..end]);
        let line = &self.bytes[first..end];
        if !is_part && is_whole(trimmed_end(line)) {
            return (Cut::Line, end);
        }
        if !matches!(line.first(), Some(b'{' | b'[')) {
            return (Cut::Line, end);
        }
        let mut outline = Outline::new();
        let fed = outline.feed(line);
        if let Some(length) = fed.end {
            let cut = self.behind_document(first, first + length, end, fed.faults == 0);
            return (cut, end);
        }
        if alone {
            return (Cut::Line, end);
        }
        let broken = fed.faults > 0;
        let mut open = Open {
            start,
            broken,
            broken_first: broken,
            texts: outline.is_in_text().then_some(outline.texts),
            outline,
            doubt: None,
            was_in_first_text: false,
            seen: end,
        };
        let cut = self.join(&mut open, end);
        (cut, open.seen)
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
    fn join(&self, open: &mut Open, mut at: usize) -> Cut {
        loop {
            open.seen = at;
            let begin = at + 1;
            let rest = self.bytes.get(begin..).unwrap_or_default();
            let line_end = memchr::memchr(b'\n', rest).map(|length| begin + length);
            let end = match line_end {
                Some(end) => end,
                None if self.ended => self.bytes.len(),
                None => return self.more(open),
            };
            if rest.is_empty() || self.growing && line_end.is_none() {
                return self.at_end(open);
            }
            let line = trimmed_end(&self.bytes[begin..end]);
            if filling(line) == line.len() {
                at = end;
                continue;
            }
            let Some(looks_like_one) = self.looks_like_document(line, end) else {
                return self.more(open);
            };
            if open.doubt.is_none() && (looks_like_one || is_text_line(line)) {
                open.doubt = Some(begin);
            }
            let begins = matches!(line[0], b'{' | b'[');
            let (fed, is_torn) = open.take(&self.bytes[at..end], begins);
            open.seen = end;
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
                return self.too_long(open);
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
        if self.growing && !self.is_given_up(open) {
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
        let end = match self.growing {
            true => (open.seen + 1).min(self.bytes.len()),
            false => self.bytes.len(),
        };
        match open.is_in_first_text() || open.broken_first {
            true => Cut::Alone,
            false => Cut::At(end, end),
        }
    }

    /// Whether the end of a document is not waited for any longer: it seems to be torn, or is long and nobody writes on.
    fn is_given_up(&self, open: &Open) -> bool {
        let is_old = self.waited.since_first_seen >= PATIENCE;
        let is_long = open.seen - open.start > LONGEST_REST;
        if open.doubt.is_some() {
            return is_old;
        }
        if open.is_in_first_text() || open.broken_first {
            return is_old || is_long;
        }
        is_long && self.waited.since_growth >= PATIENCE
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
        let is_in_text = self.outline.is_in_text();
        if is_in_text {
            self.outline.mark();
        }
        self.was_in_first_text = self.is_in_first_text();
        let fed = self.outline.feed(bytes);
        if fed.faults == 0 || !is_in_text {
            return (fed, at_once(fed));
        }
        self.outline.restore();
        self.outline.close_text();
        let other = self.outline.feed(bytes);
        if !at_once(other) && other.faults < fed.faults {
            // That the string had no end is a fault, too.
            let faults = other.faults + 1;
            return (Fed { faults, ..other }, false);
        }
        self.outline.restore();
        self.outline.feed(bytes);
        (fed, at_once(other))
    }
}
