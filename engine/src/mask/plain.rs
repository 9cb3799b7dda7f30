//! Secrets in text without structure, by their shape or by what stands in front of them.

use std::borrow::Cow;
use std::ops::Range;

use super::{MASK, Name, name};

/// Adds where secrets of one kind stand.
type Finder = fn(&str, &mut Vec<Range<usize>>);

/// Masks a text that is no JSON.
pub fn text(text: &str) -> Cow<'_, str> {
    let finders: [Finder; 6] = [private_keys, jwts, aws_keys, pairs, bearers, user_infos];
    // Nothing shorter is a secret with its name.
    if text.len() < 5 {
        return Cow::Borrowed(text);
    }
    let mut found = vec![];
    for find in finders {
        find(text, &mut found);
    }
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    found.sort_by_key(|range| (range.start, usize::MAX - range.end));
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for range in found {
        if range.end <= at {
            continue;
        }
        if range.start >= at {
            out.push_str(&text[at..range.start]);
            out.push_str(MASK);
        }
        at = range.end;
    }
    out.push_str(&text[at..]);
    if out == text {
        return Cow::Borrowed(text);
    }
    Cow::Owned(out)
}

/// PEM, to its end or to that of a text that is cut.
fn private_keys(text: &str, found: &mut Vec<Range<usize>>) {
    let mut from = 0;
    while let Some(start) = text[from..].find("-----BEGIN ").map(|at| at + from) {
        let label = text[start..].find("KEY-----").map(|at| at + start);
        let Some(label) = label.filter(|end| text[start..*end].contains("PRIVATE")) else {
            from = start + 11;
            continue;
        };
        let end = text[label..].find("-----END ").map(|at| at + label);
        let end = end.and_then(|end| Some(end + text[end..].find("KEY-----")? + 8));
        let end = end.unwrap_or(text.len());
        found.push(start..end);
        from = end;
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Where a run of such bytes ends.
fn run(text: &str, from: usize, of: impl Fn(u8) -> bool) -> usize {
    let bytes = &text.as_bytes()[from..];
    from + bytes.iter().position(|b| !of(*b)).unwrap_or(bytes.len())
}

/// JSON web tokens: a header that begins with `{"`, a body, a signature.
fn jwts(text: &str, found: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    for (start, _) in text.match_indices("eyJ") {
        if start > 0 && is_word(bytes[start - 1]) {
            continue;
        }
        let header = run(text, start, is_word);
        let mut end = header;
        for _ in 0..2 {
            if bytes.get(end) == Some(&b'.') {
                end = run(text, end + 1, is_word);
            }
        }
        let cut = header == bytes.len();
        if header - start >= 10 && (cut || end - header > 10) {
            found.push(start..end);
        }
    }
}

/// Forty letters, digits, `/` and `+` that look drawn by lot; a SHA-1 in hex does not.
fn aws_keys(text: &str, found: &mut Vec<Range<usize>>) {
    let of = |b: u8| b.is_ascii_alphanumeric() || b == b'/' || b == b'+';
    let mut at = 0;
    while at < text.len() {
        let end = run(text, at, of);
        if end - at == 40 && text.as_bytes().get(end) != Some(&b'=') {
            let count = |which: fn(&u8) -> bool| {
                text.as_bytes()[at..end].iter().filter(|b| which(b)).count()
            };
            let mixed = count(u8::is_ascii_uppercase) >= 4
                && count(u8::is_ascii_lowercase) >= 4
                && count(u8::is_ascii_digit) >= 2;
            if mixed && count(|b| *b == b'/') <= 4 {
                found.push(at..end);
            }
        }
        at = run(text, end, |b| !of(b)).max(end + 1);
    }
}

/// `name=value`, `name: value` and `--name value`.
fn pairs(text: &str, found: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    for (at, sign) in text.match_indices(['=', ':', ' ']) {
        let before = text[..at].trim_end_matches([' ', '"', '\'']);
        if sign == " " && before.len() != at {
            continue;
        }
        let start = before
            .bytes()
            .rposition(|b| !is_word(b) && b != b'.')
            .map_or(0, |at| at + 1);
        let key = &before[start..];
        let judged = name(key);
        let apart = bytes.get(at + 1) == Some(&b' ');
        let is_pair = match sign {
            " " => key.starts_with("--") && judged != Name::Harmless,
            "=" => judged != Name::Harmless,
            // `arn:…:secret:name` is a name, `Authorization: …` a header.
            _ => judged == Name::Whole || judged == Name::Secret && (apart || before.len() != at),
        };
        if !is_pair {
            continue;
        }
        let from = run(text, at + 1, |b| matches!(b, b' ' | b'"' | b'\'' | b'='));
        let to_blank = |from| {
            run(text, from, |b| {
                !b.is_ascii_whitespace() && !b"&,;\"'<>{}[]()".contains(&b)
            })
        };
        let mut end = to_blank(from);
        let scheme = text[from..end].to_ascii_lowercase();
        if matches!(
            scheme.as_str(),
            "bearer" | "basic" | "token" | "digest" | "negotiate"
        ) {
            end = to_blank(run(text, end, |b| b == b' '));
        } else if scheme.starts_with("aws4-hmac") {
            end = run(text, end, |b| !b"\"'\r\n".contains(&b));
        }
        let value = &text[from..end];
        let option = sign == " " && value.starts_with('-');
        let said = !matches!(value, "" | "null" | "true" | "false" | "None");
        if said && !option {
            found.push(from..end);
        }
    }
}

/// `Bearer …` without the header's name.
fn bearers(text: &str, found: &mut Vec<Range<usize>>) {
    for (at, word) in ["Bearer ", "bearer "]
        .into_iter()
        .flat_map(|word| text.match_indices(word))
    {
        let from = at + word.len();
        let end = run(text, from, |b| is_word(b) || b"./+=~".contains(&b));
        if end - from >= 8 {
            found.push(from..end);
        }
    }
}

/// The password in `scheme://user:password@host`.
fn user_infos(text: &str, found: &mut Vec<Range<usize>>) {
    for (at, sign) in text.match_indices("://") {
        let from = at + sign.len();
        let end = run(text, from, |b| {
            !b.is_ascii_whitespace() && !b"/?#\"'<>".contains(&b)
        });
        let authority = &text[from..end];
        let Some((user, _)) = authority.rsplit_once('@') else {
            continue;
        };
        if let Some((user, password)) = user.split_once(':')
            && !password.is_empty()
        {
            let start = from + user.len() + 1;
            found.push(start..start + password.len());
        }
    }
}
