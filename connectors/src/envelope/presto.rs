//! Structures as Presto prints them into a column of text.

use super::exports::{named, quote};

/// The JSON of a structure as Presto prints it: `{type=IAMUser, arn=…, sessioncontext=null}`. Values hold commas and brackets: one
/// is a structure if it begins like one, and else ends where a key with its sign follows, or a bracket closes.
pub(super) fn structure(text: &[u8]) -> Option<Vec<u8>> {
    opens(text, 0)?;
    let (mut json, mut open, mut at) = (vec![], vec![], 0);
    loop {
        match opens(text, at) {
            Some(close) => {
                json.push(text[at]);
                open.push(close);
                at += 1;
                if text.get(at) != Some(&close) {
                    if close == b'}' {
                        at = key(text, at, &mut json)?;
                    }
                    continue;
                }
            }
            None => {
                // An array holds structures.
                if open.last() != Some(&b'}') {
                    return None;
                }
                let end = end_of_value(text, at)?;
                match &text[at..end] {
                    b"null" => json.extend_from_slice(b"null"),
                    value => quote(&mut json, value),
                }
                at = end;
            }
        }
        while open.last().is_some_and(|close| text.get(at) == Some(close)) {
            json.extend(open.pop());
            at += 1;
        }
        let Some(close) = open.last() else {
            return (at == text.len()).then_some(json);
        };
        text.get(at..)?.strip_prefix(b", ")?;
        at += 2;
        json.push(b',');
        if *close == b'}' {
            at = key(text, at, &mut json)?;
        }
    }
}

/// The bracket that closes the structure which seems to begin at `at`.
fn opens(text: &[u8], at: usize) -> Option<u8> {
    let next = text.get(at + 1)?;
    match text[at] {
        b'{' if *next == b'}' || end_of_key(text, at + 1).is_some() => Some(b'}'),
        b'[' if matches!(next, b']' | b'[' | b'{') => Some(b']'),
        _ => None,
    }
}

/// Adds the key at `at`; gives where its value begins.
fn key(text: &[u8], at: usize, json: &mut Vec<u8>) -> Option<usize> {
    let end = end_of_key(text, at)?;
    quote(json, named(&text[at..end]));
    json.push(b':');
    Some(end + 1)
}

/// Where the sign behind the key at `at` stands.
fn end_of_key(text: &[u8], at: usize) -> Option<usize> {
    let is_of_key = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_' || **byte >= 0x80;
    let end = at + text.get(at..)?.iter().take_while(is_of_key).count();
    (end > at && text.get(end) == Some(&b'=')).then_some(end)
}

fn end_of_value(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr2(b',', b'}', text.get(at..)?)?;
        let is_end =
            text[at] == b'}' || text[at..].starts_with(b", ") && end_of_key(text, at + 2).is_some();
        if is_end {
            return Some(at);
        }
        at += 1;
    }
}
