//! What a container runtime or a syslog daemon writes before a line.

use std::ops::Range;

/// What stands before the line's own text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its length.
    pub length: usize,
    /// The stream, if the runtime cut the line and more of it follows or came before.
    pub piece: Option<Piece>,
}

/// Part of a line in the format of the Container Runtime Interface.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// `stdout` or `stderr`, in the line.
    pub stream: Range<usize>,
    /// More of the line follows (tag `P`); otherwise this is the end of one that was cut, or a whole one (tag `F`).
    pub goes_on: bool,
}

/// Whether a container runtime or a syslog daemon wrote before the line.
pub(crate) fn has_head(line: &[u8]) -> bool {
    container(line).is_some() || syslog(line).is_some()
}

/// What a container runtime writes: `2026-01-02T03:04:05.678Z stdout F `; also the time alone, as `kubectl logs --timestamps`
/// puts it before JSON.
pub(super) fn container(line: &[u8]) -> Option<Head> {
    let time = time(line)?;
    let rest = line[time..].strip_prefix(b" ")?;
    let at = time + 1;
    if rest.first() == Some(&b'{') {
        let (length, piece) = (at, None);
        return Some(Head { length, piece });
    }
    let stream = [&b"stdout"[..], b"stderr"]
        .into_iter()
        .find(|name| rest.starts_with(name))?;
    let rest = rest[stream.len()..].strip_prefix(b" ")?;
    let tags = rest.split(|byte| *byte == b' ').next()?;
    let goes_on = match tags.split(|byte| *byte == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    let length = at + stream.len() + 1 + tags.len() + 1;
    let piece = Piece {
        stream: at..at + stream.len(),
        goes_on,
    };
    Some(Head {
        length: length.min(line.len()),
        piece: Some(piece),
    })
}

/// Longest text of a syslog daemon before the message.
const SYSLOG_HEAD: usize = 512;

/// Length of what a syslog daemon writes: `<13>Oct  9 22:14:15 host app[77]: `, with or without the number, with a time as RFC 3339
/// has it, in the newer form `<13>1 2026-10-09T22:14:15Z host app 77 - - `, and with the length of the message before it (RFC 6587).
pub(super) fn syslog(line: &[u8]) -> Option<usize> {
    let mut at = 0;
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > 0 && line[digits..].starts_with(b" <") {
        at = digits + 1;
    }
    let priority = priority(&line[at..]);
    at += priority.unwrap_or_default();
    if priority.is_some() && line[at..].starts_with(b"1 ") {
        return newer(line, at + 2);
    }
    let time = time(&line[at..]).or_else(|| bsd_time(&line[at..]));
    if priority.is_none() && time.is_none() {
        return None;
    }
    at += time.unwrap_or_default();
    let head = &line[at..line.len().min(at + SYSLOG_HEAD)];
    // The message is JSON, or begins behind the tag's colon.
    if let Some(brace) = memchr::memchr(b'{', head) {
        let before = head[..brace].trim_ascii_end();
        let before = before.strip_suffix(MARK).unwrap_or(before).trim_ascii_end();
        if before.is_empty() || matches!(before.last(), Some(b':' | b'-' | b']')) {
            return Some(at + brace);
        }
    }
    let colon = memchr::memmem::find(head, b": ")?;
    // Host and tag; without a time the tag alone.
    let words = head[..colon]
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty());
    (words.count() <= 2).then_some(at + colon + 2)
}

const MARK: &[u8] = b"\xEF\xBB\xBF";

/// RFC 5424, behind the version: time, host, application, process, message id, structured data.
fn newer(line: &[u8], mut at: usize) -> Option<usize> {
    for _ in 0..5 {
        let end = memchr::memchr(b' ', line.get(at..)?)?;
        at += end + 1;
    }
    if line.get(at) == Some(&b'-') {
        at += 1;
    } else {
        while line.get(at) == Some(&b'[') {
            at += structured(&line[at..])?;
        }
    }
    let rest = line.get(at..)?;
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let rest = rest.strip_prefix(MARK).unwrap_or(rest);
    Some(line.len() - rest.len())
}

/// Length of one element of structured data: in its quotes `"`, `\` and `]` are escaped.
fn structured(text: &[u8]) -> Option<usize> {
    let (mut in_quotes, mut at) = (false, 1);
    loop {
        match text.get(at)? {
            b'\\' => at += 1,
            b'"' => in_quotes = !in_quotes,
            b']' if !in_quotes => return Some(at + 1),
            _ => {}
        }
        at += 1;
    }
}

/// Length of `<13>`.
fn priority(text: &[u8]) -> Option<usize> {
    let digits = text.strip_prefix(b"<")?;
    let count = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    ((1..=3).contains(&count) && digits.get(count) == Some(&b'>')).then_some(count + 2)
}

/// Length of `Oct  9 22:14:15 ` or `Oct  9 2026 22:14:15 `, with the blank behind it.
fn bsd_time(text: &[u8]) -> Option<usize> {
    const MONTHS: [&[u8]; 12] = [
        b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
        b"Dec",
    ];
    let month = text.get(..3)?;
    if !MONTHS.contains(&month) || text.get(3) != Some(&b' ') {
        return None;
    }
    let is_clock = |word: &[u8]| {
        word.len() >= 8
            && word[2] == b':'
            && word[5] == b':'
            && word[..2].iter().all(u8::is_ascii_digit)
    };
    let mut at = 4;
    for _ in 0..3 {
        at += text[at..].iter().take_while(|byte| **byte == b' ').count();
        let end = at + memchr::memchr(b' ', text.get(at..)?)?;
        let is_last = is_clock(&text[at..end]);
        at = end + 1;
        if is_last {
            return Some(at);
        }
    }
    None
}

/// Length of `2026-01-02T03:04:05.678Z`, with or without fraction and zone.
fn time(text: &[u8]) -> Option<usize> {
    const FORM: &[u8; 19] = b"0000-00-00T00:00:00";
    let matches = |(byte, form): (&u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b' '),
        form => byte == form,
    };
    if !text.get(..FORM.len())?.iter().zip(FORM).all(matches) {
        return None;
    }
    let rest = &text[FORM.len()..];
    let more = rest
        .iter()
        .take_while(|byte| matches!(byte, b'.' | b',' | b'+' | b'-' | b':' | b'Z' | b'0'..=b'9'));
    Some(FORM.len() + more.count())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn container_lines() {
        let message = |line: &str| {
            let head = container(line.as_bytes())?;
            let stream = head
                .piece
                .map(|piece| (line[piece.stream].to_owned(), piece.goes_on));
            Some((line[head.length..].to_owned(), stream))
        };
        let whole =
            |text: &str, stream: &str| Some((text.to_owned(), Some((stream.to_owned(), false))));
        assert_eq!(
            message("2026-10-14T09:00:00.2Z stdout F {\"a\":1}"),
            whole("{\"a\":1}", "stdout")
        );
        assert_eq!(
            message("2026-10-14T09:00:00.2+02:00 stderr F:x a b"),
            whole("a b", "stderr")
        );
        assert_eq!(
            message("2026-10-14T09:00:00Z stdout F"),
            whole("", "stdout")
        );
        let piece = message("2026-10-14T09:00:00.2Z stdout P {\"a").unwrap();
        assert_eq!(
            piece,
            ("{\"a".to_owned(), Some(("stdout".to_owned(), true)))
        );
        assert_eq!(
            message("2026-10-14T09:00:00.2Z {\"a\":1}"),
            Some(("{\"a\":1}".to_owned(), None))
        );
        for line in [
            "2026-10-14T09:00:00Z info access",
            "2026-10-14 stdout F x",
            "stdout F x",
            "2026-10-14T09:00:00Z stdout X y",
            "",
        ] {
            assert_eq!(message(line), None, "{line}");
        }
    }

    #[test]
    fn syslog_lines() {
        let message = |line: &str| syslog(line.as_bytes()).map(|length| line[length..].to_owned());
        for head in [
            "<13>Oct  9 22:14:15 host app[77]: ",
            "Oct  9 22:14:15 host app: ",
            "Oct  9 2026 22:14:15 host app: ",
            "<13>app: ",
            "2026-10-09T22:14:15.123+02:00 host app[1]: ",
            "<13>2026-10-09T22:14:15Z host app: ",
            "<13>1 2026-10-09T22:14:15Z host app 77 - - ",
            "<13>1 2026-10-09T22:14:15Z host app 77 ID [a@1 b=\"c\\\"]d\"][e] \u{feff}",
            "94 <13>1 2026-10-09T22:14:15Z host app 77 - - ",
        ] {
            for text in [
                "{\"a\":1}",
                "2 111122223333 eni-0a1 10.0.0.1 OK",
                "[2026-10-14T09:00:00Z] \"GET / HTTP/1.1\"",
            ] {
                assert_eq!(
                    message(&format!("{head}{text}")).as_deref(),
                    Some(text),
                    "{head}"
                );
            }
        }
        assert_eq!(message("<13>{\"a\":1}").as_deref(), Some("{\"a\":1}"));
        for line in [
            "",
            "<13>",
            "<1",
            "Octo",
            "Oct",
            "{\"a\":1}",
            "2 111 eni",
            "a long sentence about b: c",
            "<13>1 x",
        ] {
            assert_eq!(message(line), None, "{line}");
        }
    }
}
