//! What a request's body is, before it is taken: its type, its encoding, and whether anything in it is JSON.

use std::io::Read;
use std::ops::Range;

use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use flate2::bufread::MultiGzDecoder;

use super::refusal::Refused;
use super::segment::Kind;
use crate::json::{Error, Scanner};

/// Lines that are spooled, and so handed to the decoder, as one piece.
const LINES: usize = 1000;

/// What the sender says that it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    Lines,
}

pub(super) fn media(headers: &HeaderMap) -> Result<Media, Refused> {
    let given = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    let given = String::from_utf8_lossy(given.unwrap_or_default()).to_ascii_lowercase();
    let essence = given.split(';').next().unwrap_or_default().trim();
    match essence {
        "application/json" => Ok(Media::Json),
        "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/x-jsonlines"
        | "application/json-seq" => Ok(Media::Lines),
        _ if essence.starts_with("application/") && essence.ends_with("+json") => Ok(Media::Json),
        _ => {
            let given = if essence.is_empty() { "none" } else { essence };
            let detail = format!(
                "the Content-Type is {given:?}: send application/json, or application/x-ndjson for one event per line (Falco: set json_output: true)"
            );
            Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
        }
    }
}

/// Whether the body is compressed.
pub(super) fn is_gzip(headers: &HeaderMap) -> Result<bool, Refused> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    let (first, second) = (encodings.next(), encodings.next());
    let given = first.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    match given.as_deref().map(str::trim) {
        None | Some("identity") if second.is_none() => Ok(false),
        Some("gzip" | "x-gzip") if second.is_none() => Ok(true),
        given => {
            let given = given.unwrap_or_default();
            let detail = format!("the Content-Encoding is {given:?}: send gzip or none");
            Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
        }
    }
}

/// Unpacks at most `limit` bytes.
pub(super) fn gunzip(packed: &[u8], limit: usize) -> Result<Vec<u8>, Refused> {
    let mut body = vec![];
    let read = MultiGzDecoder::new(packed)
        .take(limit as u64 + 1)
        .read_to_end(&mut body);
    match read {
        Ok(read) if read > limit => Err(Refused::too_large(limit)),
        Ok(_) => Ok(body),
        Err(error) => {
            let detail =
                format!("the body is not gzip, though its Content-Encoding says so: {error}");
            Err(Refused::new(StatusCode::BAD_REQUEST, detail))
        }
    }
}

/// How the body is spooled: as one text, or as lines of which each is an event. Refused is only an empty one: whatever else it
/// holds is judged event by event, and each that cannot be used is a dead letter.
pub(super) fn parts(body: &[u8], media: Media) -> Result<Vec<(Kind, Range<usize>)>, Refused> {
    let mut lines = lines(body).peekable();
    let Some(first) = lines.peek().cloned() else {
        let detail = "the body is empty: send a JSON event, or several";
        return Err(Refused::new(StatusCode::BAD_REQUEST, detail));
    };
    let are_lines = match media {
        Media::Json => first.len() < body.trim_ascii().len() && is_json(&body[first]),
        Media::Lines => is_json(&body[first]) || !is_json(body),
    };
    // A value that goes on in the next line, or a text in it that does, is put together when it is read as a whole.
    if !are_lines || lines.clone().any(|line| is_torn(&body[line])) {
        return Ok(vec![(Kind::Document, 0..body.len())]);
    }
    let mut parts: Vec<(Kind, Range<usize>)> = vec![];
    for (number, line) in lines.enumerate() {
        match parts.last_mut() {
            Some((_, part)) if number % LINES != 0 => part.end = line.end,
            _ => parts.push((Kind::Lines, line)),
        }
    }
    Ok(parts)
}

/// The lines that hold something, without the whitespace around them.
pub(super) fn lines(body: &[u8]) -> impl Iterator<Item = Range<usize>> + Clone {
    let mut start = 0;
    let ends = memchr::memchr_iter(b'\n', body).chain([body.len()]);
    ends.filter_map(move |end| {
        let line = &body[start..end];
        // RFC 7464 begins each text of a sequence with 0x1E.
        let blank = |byte: &&u8| byte.is_ascii_whitespace() || **byte == 0x1E;
        let first = start + line.iter().take_while(blank).count();
        let last = end - line.iter().rev().take_while(blank).count();
        start = end + 1;
        (first < last).then_some(first..last)
    })
}

/// Whether the text is one JSON value, however deep.
fn is_json(text: &[u8]) -> bool {
    let mut scanner = Scanner::new(text, 0, usize::MAX);
    matches!(scanner.peek(), b'{' | b'[') && scanner.skip().is_ok() && scanner.finish().is_ok()
}

/// Whether the text is the beginning of a JSON value.
fn is_torn(text: &[u8]) -> bool {
    let mut scanner = Scanner::new(text, 0, usize::MAX);
    scanner.peek() == b'{' && scanner.skip().is_err_and(Error::is_truncated)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use super::*;

    fn taken(body: &str, media: Media) -> Vec<(Kind, &str)> {
        let parts = parts(body.as_bytes(), media).unwrap();
        parts
            .into_iter()
            .map(|(kind, part)| (kind, &body[part]))
            .collect()
    }

    #[test]
    fn a_document_stays_whole_and_lines_are_lines_under_either_name() {
        let document = "{\n  \"a\": 1\n}\n";
        assert_eq!(taken(document, Media::Json), [(Kind::Document, document)]);
        let lines = "\n{\"a\":1}\r\n\n oops\n{\"b\":2}\n";
        let expected = [(Kind::Lines, "{\"a\":1}\r\n\n oops\n{\"b\":2}")];
        assert_eq!(taken(lines, Media::Lines), expected);
        assert_eq!(taken(lines, Media::Json), expected);
        assert_eq!(
            taken("oops\n{\"b\":2}", Media::Lines),
            [(Kind::Lines, "oops\n{\"b\":2}")]
        );
        assert_eq!(
            taken("\u{1e}{\"a\":1}\n", Media::Lines),
            [(Kind::Lines, "{\"a\":1}")]
        );
        let cut: Vec<_> = super::lines(b"{} \n\n\r\n [] ").collect();
        assert_eq!(cut, [0..2, 8..10]);
    }

    #[test]
    fn many_lines_are_several_parts() {
        let body = "{}\n".repeat(2 * LINES + 1);
        let parts = taken(&body, Media::Lines);
        let counts: Vec<_> = parts.iter().map(|(_, part)| part.lines().count()).collect();
        assert_eq!(counts, [LINES, LINES, 1]);
    }

    #[test]
    fn only_an_empty_body_is_refused() {
        let refused = parts(b" \r\n", Media::Json).unwrap_err();
        assert!(refused.detail.contains("empty"));
        for (body, media) in [
            ("<html>", Media::Json),
            ("[\n{\"a\":1}\n", Media::Json),
            ("{\"a\":1}{\"b\":2}", Media::Json),
            ("{\"a\":\"x\ny\"}\n{\"b\":2}", Media::Lines),
            ("{\n\"a\":1\n}", Media::Lines),
        ] {
            assert_eq!(taken(body, media), [(Kind::Document, body)], "{body}");
        }
        let text = "no\nnor this";
        assert_eq!(taken(text, Media::Lines), [(Kind::Lines, text)]);
    }

    #[test]
    fn gzip_is_bounded() {
        let mut packed = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
        packed.write_all(&vec![b' '; 1 << 20]).unwrap();
        let packed = packed.finish().unwrap();
        assert_eq!(gunzip(&packed, 1 << 20).unwrap().len(), 1 << 20);
        let status = |packed: &[u8], limit| gunzip(packed, limit).unwrap_err().status;
        assert_eq!(
            status(&packed, (1 << 20) - 1),
            StatusCode::PAYLOAD_TOO_LARGE
        );
        assert_eq!(
            status(&packed[..packed.len() / 2], 1 << 20),
            StatusCode::BAD_REQUEST
        );
        assert_eq!(status(b"{}", 1 << 20), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn types_and_encodings_are_told_by_their_names() {
        let headers = |name, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            headers
        };
        let of = |value: &str| media(&headers(CONTENT_TYPE, value)).map_err(|r| r.detail);
        assert_eq!(of("Application/JSON; charset=utf-8"), Ok(Media::Json));
        assert_eq!(of("application/cloudevents+json"), Ok(Media::Json));
        assert_eq!(of("application/x-ndjson"), Ok(Media::Lines));
        assert!(of("text/plain").unwrap_err().contains("json_output"));
        assert!(media(&HeaderMap::new()).is_err());
        let encoded =
            |value: &str| is_gzip(&headers(CONTENT_ENCODING, value)).map_err(|r| r.status);
        assert_eq!(encoded("GZIP"), Ok(true));
        assert_eq!(encoded("identity"), Ok(false));
        assert_eq!(encoded("br"), Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        assert_eq!(
            encoded("gzip, gzip"),
            Err(StatusCode::UNSUPPORTED_MEDIA_TYPE)
        );
    }
}
