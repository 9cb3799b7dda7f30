//! The text forms of Envoy's access logs.
//!
//! What a client chose stands in them as it is. Invariant: a line is read field by field only if it has exactly the
//! fields of a known form, each of its kind; a quote or blank that a client wrote makes it have others.

use super::UNCERTAIN;
use crate::json::{Scanner, Text};
use crate::mapping::{Column, Compiled, Found};

/// Names of what stands in the text forms: behind the request, between the numbers and the flags, and behind those.
const BEFORE: [&str; 2] = ["response_code", "response_flags"];
const DETAILS: [&str; 2] = ["response_code_details", "connection_termination_details"];
const NUMBERS: [&str; 4] = [
    "bytes_received",
    "bytes_sent",
    "duration",
    "upstream_service_time",
];
const QUOTED: [&str; 5] = [
    "x_forwarded_for",
    "user_agent",
    "request_id",
    "authority",
    "upstream_host",
];
const TAIL: [&str; 6] = [
    "upstream_cluster",
    "upstream_local_address",
    "downstream_local_address",
    "downstream_remote_address",
    "requested_server_name",
    "route_name",
];

/// Fields of the longest form behind the request: code, flags, two details, two reasons, four numbers, five texts and
/// the tail.
const MOST: usize = 21;

/// Finds the values of a line in text form. False if it is none.
pub(super) fn split(s: &Scanner, _: Option<&[Column]>, tree: &Compiled, found: &mut Found) -> bool {
    tree.clear(found);
    let (bytes, start) = (s.bytes().trim_ascii_end(), s.position());
    let Some(head) = Head::of(bytes, start) else {
        return false;
    };
    let mut line = Line {
        s,
        bytes,
        tree,
        found,
    };
    line.note("start_time", head.time);
    // The request, if it ends with the first quote: then no client wrote one into it.
    let closed = memchr::memchr(b'"', &bytes[head.request..]);
    let Some(end) = closed.map(|length| head.request + length) else {
        return false;
    };
    if let Some((fields, count)) = fields(bytes, end + 1)
        && line.form(&fields[..count])
    {
        line.request(head.request, end);
        return true;
    }
    line.found.fill(None);
    line.note("start_time", head.time);
    line.uncertain(head, end)
}

/// What stands before the request.
#[derive(Clone, Copy)]
struct Head {
    time: Text,
    /// Where the request begins, behind its quote.
    request: usize,
}

impl Head {
    fn of(bytes: &[u8], start: usize) -> Option<Self> {
        let mut at = start;
        if bytes.get(at) != Some(&b'[') {
            // A kubelet's time ends before the bracket.
            at += memchr::memchr(b' ', bytes.get(at..)?)?;
            at += bytes[at..].iter().take_while(|byte| **byte == b' ').count();
        }
        let rest = bytes[at..].strip_prefix(b"[")?;
        let length = memchr::memchr(b']', rest)?;
        let time = &rest[..length];
        // An array of JSON has words and quotes as well.
        let is_time = time.len() >= 20
            && time[4] == b'-'
            && time[10] == b'T'
            && time[0].is_ascii_digit()
            && !time.contains(&b'"');
        let behind = at + 1 + length + 1;
        (is_time && bytes[behind..].starts_with(b" \"")).then(|| Head {
            time: Text::new(at + 1, at + 1 + length, false),
            request: behind + 2,
        })
    }
}

/// A field, and whether it stands in quotes.
type Field = (bool, Text);

/// The fields from here to the end of the line. Nothing if a quote stands where none can, or there are too many.
fn fields(bytes: &[u8], mut at: usize) -> Option<([Field; MOST], usize)> {
    let mut fields = [(false, Text::new(at, at, false)); MOST];
    let mut count = 0;
    while at < bytes.len() {
        if bytes[at] != b' ' {
            return None;
        }
        at += bytes[at..].iter().take_while(|byte| **byte == b' ').count();
        let is_quoted = match bytes.get(at) {
            None => break,
            Some(first) => *first == b'"',
        };
        let start = at + usize::from(is_quoted);
        let close = if is_quoted { b'"' } else { b' ' };
        let length = memchr::memchr(close, &bytes[start..]);
        let end = match length {
            Some(length) => start + length,
            None if is_quoted => return None,
            None => bytes.len(),
        };
        if !is_quoted && bytes[start..end].contains(&b'"') {
            return None;
        }
        *fields.get_mut(count)? = (is_quoted, Text::new(start, end, false));
        count += 1;
        at = end + usize::from(is_quoted);
    }
    Some((fields, count))
}

/// A line whose values are being noted.
struct Line<'a, 's> {
    s: &'a Scanner<'s>,
    bytes: &'a [u8],
    tree: &'a Compiled,
    found: &'a mut Found,
}

impl Line<'_, '_> {
    fn note(&mut self, name: &str, text: Text) {
        if let Some(slot) = self.tree.named(name) {
            self.found[slot as usize] = Some(self.tree.word(self.s, text));
        }
    }

    fn slice(&self, text: Text) -> &[u8] {
        &self.bytes[text.range()]
    }

    /// Method, path and protocol; a path may hold blanks.
    fn request(&mut self, start: usize, end: usize) {
        let request = &self.bytes[start..end];
        let method = memchr::memchr(b' ', request).unwrap_or(request.len());
        self.note("method", Text::new(start, start + method, false));
        let last = memchr::memrchr(b' ', request).filter(|last| *last > method);
        let path_end = last.unwrap_or(request.len());
        if method < path_end {
            let path = Text::new(start + method + 1, start + path_end, false);
            self.note("path", path);
        }
        if let Some(last) = last {
            self.note("protocol", Text::new(start + last + 1, end, false));
        }
    }

    /// Notes the fields behind the request, if they are exactly those of a known form: code and flags, up to two
    /// details and two reasons in quotes, four numbers, five texts in quotes, and nothing or the tail with or without a
    /// route.
    fn form(&mut self, fields: &[Field]) -> bool {
        let is_number = |line: &Self, (quoted, text): &Field, dash: bool| {
            let word = line.slice(*text);
            !quoted && (word.iter().all(u8::is_ascii_digit) || dash && word == b"-")
        };
        let [code, flags, rest @ ..] = fields else {
            return false;
        };
        if !is_number(self, code, false) || code.1.range().len() > 3 || flags.0 {
            return false;
        }
        let mut details = 0;
        while details < 2
            && rest
                .get(details)
                .is_some_and(|field| !field.0 && !is_number(self, field, false))
        {
            details += 1;
        }
        let (details, rest) = rest.split_at(details);
        let reasons = rest.iter().take(2).take_while(|field| field.0).count();
        let (reasons, rest) = rest.split_at(reasons);
        let Some((numbers, rest)) = rest.split_at_checked(NUMBERS.len()) else {
            return false;
        };
        let Some((quoted, tail)) = rest.split_at_checked(QUOTED.len()) else {
            return false;
        };
        let fits = numbers
            .iter()
            .enumerate()
            .all(|(at, field)| is_number(self, field, at > 1))
            && quoted.iter().all(|field| field.0)
            && tail.iter().all(|field| !field.0)
            && matches!(tail.len(), 0 | 5 | 6);
        if !fits {
            return false;
        }
        let mut note = |names: &[&str], fields: &[Field]| {
            for (name, (_, text)) in names.iter().zip(fields) {
                self.note(name, *text);
            }
        };
        note(&BEFORE, &[*code, *flags]);
        note(&DETAILS, details);
        if let Some(reason) = reasons.last() {
            note(&["upstream_transport_failure_reason"], &[*reason]);
        }
        note(&NUMBERS, numbers);
        note(&QUOTED, quoted);
        note(&TAIL, tail);
        true
    }

    /// Notes of any other line what only Envoy can have written: the method, the path as far as it surely goes, the
    /// code if there is but one, and the addresses if only one row of fields in the line can be them. False if no code
    /// is there.
    fn uncertain(&mut self, head: Head, quote: usize) -> bool {
        let bytes = self.bytes;
        let request = &bytes[head.request..quote];
        let mut parts = request.splitn(2, |byte| *byte == b' ');
        let method = parts.next().unwrap_or_default().len();
        let path = parts.next().unwrap_or_default();
        let path = match memchr::memmem::rfind(path, b" HTTP/") {
            Some(end) => &path[..end],
            None => path,
        };
        let path = head.request + method + 1..head.request + method + 1 + path.len();
        let mut codes = memchr::memmem::find_iter(&bytes[quote..], b"\" ")
            .map(|at| quote + at + 2)
            .filter_map(|at| code_at(bytes, at));
        let (code, more) = (codes.next(), codes.next().is_some());
        let Some((code, flags)) = code else {
            return false;
        };
        self.note(UNCERTAIN, head.time);
        self.note(
            "method",
            Text::new(head.request, head.request + method, false),
        );
        if path.end <= quote {
            self.note("path", Text::new(path.start, path.end, false));
        }
        if !more {
            self.note("response_code", code);
            self.note("response_flags", flags);
        }
        if let Some(tail) = self.only_tail(quote) {
            let names = QUOTED[4..].iter().chain(&TAIL);
            for (name, text) in names.zip(tail) {
                self.note(name, text);
            }
        }
        true
    }

    /// Host, cluster and addresses of the upstream and of both ends downstream: if only one place in the line has
    /// three addresses in a row, and at most two words without quotes follow there. What a client wrote into a field in
    /// quotes is not at the end; what it wrote into the server's name stands beside the true addresses.
    fn only_tail(&self, from: usize) -> Option<[Text; 5]> {
        let mut words = [Text::new(from, from, false); 5];
        let (mut only, mut at, mut behind) = (None, from, 0);
        for word in self.bytes[from..].split(|byte| *byte == b' ') {
            words.rotate_left(1);
            words[4] = Text::new(at, at + word.len(), false);
            at += word.len() + 1;
            behind += 1;
            let [_, _, upstream, local, remote] = words.map(|word| self.slice(word));
            let is_upstream =
                upstream == b"-" || upstream.starts_with(b"envoy://") || is_endpoint(upstream);
            if is_upstream && is_endpoint(local) && is_endpoint(remote) {
                if only.is_some() {
                    return None;
                }
                (only, behind) = (Some(words), 0);
            }
        }
        let mut tail = only.filter(|_| behind <= 2)?;
        let end = tail[4].range().end;
        let host = tail[0].range();
        if self.bytes[end..].contains(&b'"') || host.len() < 2 || self.bytes[host.end - 1] != b'"' {
            return None;
        }
        let inner = memchr::memrchr(b'"', &self.bytes[from..host.end - 1])? + from + 1;
        tail[0] = Text::new(inner, host.end - 1, false);
        Some(tail)
    }
}

/// A code of three digits (or 0, of TCP) and the flags behind it, at the place behind a quote.
fn code_at(bytes: &[u8], at: usize) -> Option<(Text, Text)> {
    let rest = &bytes[at..];
    let length = memchr::memchr(b' ', rest)?;
    let code = &rest[..length];
    let is_code = match code {
        b"0" => true,
        code => code.len() == 3 && code.iter().all(u8::is_ascii_digit),
    };
    let flags = &rest[length + 1..];
    let end = memchr::memchr(b' ', flags)?;
    let are_flags = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b',' | b'-' | b'_');
    (is_code && !flags[..end].iter().all(u8::is_ascii_digit) && flags[..end].iter().all(are_flags))
        .then(|| {
            let flags = at + length + 1;
            (
                Text::new(at, at + length, false),
                Text::new(flags, flags + end, false),
            )
        })
}

/// An address with a port.
fn is_endpoint(word: &[u8]) -> bool {
    std::str::from_utf8(word).is_ok_and(|word| word.parse::<std::net::SocketAddr>().is_ok())
}
