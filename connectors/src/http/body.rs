//! What a request's body is, before it is taken: its type, its encoding, and where its records begin and end.
//!
//! Headers say what a sender may send; what it did send is told by the bytes.

use std::ops::Range;

use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};

use super::refusal::Refused;
use super::segment::Kind;
use crate::envelope::{Text, inflate};
use crate::file::{records, utf16};

/// How gzip begins.
const GZIP: &[u8] = &[0x1F, 0x8B];

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

/// Refuses encodings that are not read.
pub(super) fn check_encoding(headers: &HeaderMap) -> Result<(), Refused> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    let (first, second) = (encodings.next(), encodings.next());
    let given = first.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    match given.as_deref().map(str::trim) {
        None | Some("identity" | "gzip" | "x-gzip") if second.is_none() => Ok(()),
        given => {
            let given = given.unwrap_or_default();
            let detail = format!("the Content-Encoding is {given:?}: send gzip or none");
            Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
        }
    }
}

/// The body unpacked and in UTF-8, or as it is if some of it would be lost by that: then the decoder reads what can be
/// read of it, and tells of the rest.
pub(super) fn text(mut body: Vec<u8>, limit: usize) -> Result<Vec<u8>, Refused> {
    if body.starts_with(GZIP) {
        let unpacked = inflate(&body, limit);
        if unpacked.is_cut {
            return Err(Refused::too_large(limit));
        }
        if unpacked.lost.is_some() {
            return Ok(body);
        }
        body = unpacked.bytes;
    }
    match Text::of(&body) {
        Text::Other(made) if made.marks.is_empty() => Ok(made.text.into_bytes()),
        _ => Ok(body),
    }
}

/// How the body is spooled: records that span lines as documents, others as lines. They end where those of a file do. Refused
/// is only an empty body: whatever else it holds is judged event by event, and each that cannot be used is a dead letter.
pub(super) fn parts(body: &[u8], media: Media) -> Result<Vec<(Kind, Range<usize>)>, Refused> {
    let records = match is_cut_by_the_decoder(body) {
        true => vec![],
        false => records(body),
    };
    let first = records.first().map(|record| body[record.start]);
    let begins_json = matches!(first, Some(b'{' | b'['));
    if first.is_none() && lines(body).next().is_none() {
        let detail = "the body is empty: send a JSON event, or several";
        return Err(Refused::new(StatusCode::BAD_REQUEST, detail));
    }
    if first.is_none() || media == Media::Json && !begins_json {
        return Ok(vec![(Kind::Document, 0..body.len())]);
    }
    let mut parts: Vec<(Kind, Range<usize>)> = vec![];
    let mut count = 0;
    for record in records {
        let spans_lines = memchr::memchr(b'\n', &body[record.clone()]).is_some();
        count += 1;
        match parts.last_mut() {
            Some((Kind::Lines, part))
                if !spans_lines && count <= LINES && is_line_end(&body[part.end..record.start]) =>
            {
                part.end = record.end;
            }
            _ => {
                let kind = match spans_lines {
                    true => Kind::Document,
                    false => Kind::Lines,
                };
                parts.push((kind, record));
                count = 1;
            }
        }
    }
    Ok(parts)
}

/// Whether the body has no lines yet: it is still packed, or UTF-16 with characters that are none.
fn is_cut_by_the_decoder(body: &[u8]) -> bool {
    body.starts_with(GZIP) || utf16::order(body).is_some()
}

/// Whether nothing but the end of a line stands there.
fn is_line_end(between: &[u8]) -> bool {
    between.contains(&b'\n') && lines(between).next().is_none()
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
        let expected = [(Kind::Document, document.trim())];
        assert_eq!(taken(document, Media::Json), expected);
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
        // A part of its own for what spans lines, and behind a comma.
        let mixed = "{\"a\":1}\n{\"b\":2}\n{\n\"c\":3\n}\n{\"d\":4},\n{\"e\":5}\n";
        let expected = [
            (Kind::Lines, "{\"a\":1}\n{\"b\":2}"),
            (Kind::Document, "{\n\"c\":3\n}"),
            (Kind::Lines, "{\"d\":4}"),
            (Kind::Lines, "{\"e\":5}"),
        ];
        assert_eq!(taken(mixed, Media::Lines), expected);
        assert_eq!(taken(mixed, Media::Json), expected);
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
        for (body, media, kind) in [
            ("<html>\n</html>", Media::Json, Kind::Document),
            ("{\n\"a\":1\n}", Media::Lines, Kind::Document),
            ("[\n{\"a\":1},\n{\"a\":2}\n]", Media::Json, Kind::Document),
            ("{\"a\":\"x\ny\"}", Media::Lines, Kind::Document),
            ("\0\0\0", Media::Json, Kind::Document),
        ] {
            assert_eq!(taken(body, media), [(kind, body)], "{body}");
        }
        let one_line = "{\"a\":1}{\"b\":2}";
        assert_eq!(taken(one_line, Media::Json), [(Kind::Lines, one_line)]);
        let text = "no\nnor this";
        assert_eq!(taken(text, Media::Lines), [(Kind::Lines, text)]);
    }

    /// A torn line costs itself: the lines behind it are not taken for a part of it.
    #[test]
    fn a_torn_line_does_not_make_a_document_of_the_body() {
        let flow = "2 111122223333 eni-0a1 10.0.0.5 203.0.113.7 49152 443 6 8 4000 1767322800 1767322860 ACCEPT OK";
        let access = "2026-01-02T03:04:05Z\tinfo\taccess\tconnection complete\tsrc.addr=10.0.0.1:1 dst.addr=10.0.1.1:15008 direction=\"inbound\"";
        for torn in ["{\"x\":1", "{\"x\":\"y", "{\"x\":[", "[{\"x\":1},{"] {
            for line in [event("a"), flow.to_owned(), access.to_owned()] {
                let body = [torn, &line, &line, &line].join("\n");
                for media in [Media::Json, Media::Lines] {
                    let all = [(Kind::Lines, body.as_str())];
                    assert_eq!(taken(&body, media), all, "{body}");
                }
                assert_eq!(judged(body.as_bytes()), (4, 1), "{body}");
            }
        }
    }

    fn event(uid: &str) -> String {
        format!(
            "{{\"eventTime\":\"2026-01-02T03:04:05Z\",\"eventSource\":\"s\",\"eventName\":\"n\",\"eventID\":\"{uid}\"}}"
        )
    }

    /// Events that the answer to such lines tells of, and how many of them cannot be used.
    fn judged(body: &[u8]) -> (u64, u64) {
        let config = crate::http::HttpConfig {
            name: "push".into(),
            listen: ([127, 0, 0, 1], 0).into(),
            tokens: vec![],
            decoder: crate::DecoderConfig::new("push"),
            max_body_bytes: 16 << 20,
            spool: "spool".into(),
            spool_bytes: 1 << 30,
        };
        let body = text(body.to_vec(), config.max_body_bytes).unwrap();
        let parts = parts(&body, Media::Lines).unwrap();
        let counts = crate::http::source::judge(&config, &body, &parts);
        assert!(counts.conserved());
        (counts.read, counts.dead_lettered)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
        packed.write_all(text).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn gzip_is_bounded() {
        let packed = gzip(&vec![b' '; 1 << 20]);
        assert_eq!(text(packed.clone(), 1 << 20).unwrap().len(), 1 << 20);
        for packed in [packed.clone(), [&packed[..], b"damage"].concat()] {
            let refused = text(packed, (1 << 20) - 1).unwrap_err();
            assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
        }
    }

    /// Whatever the headers say: the bytes tell what a body is.
    #[test]
    fn a_body_is_what_its_bytes_are() {
        let (good, torn) = ([event("a"), event("b")].join("\n"), "{\"x\":1\n");
        let lines = format!("{torn}{good}");
        let utf16 = |order: fn(u16) -> [u8; 2], mark: &str| -> Vec<u8> {
            format!("{mark}{lines}")
                .encode_utf16()
                .flat_map(order)
                .collect()
        };
        let little = utf16(u16::to_le_bytes, "\u{feff}");
        for body in [
            lines.clone().into_bytes(),
            gzip(lines.as_bytes()),
            little.clone(),
            utf16(u16::to_be_bytes, ""),
            gzip(&little),
            gzip(&gzip(lines.as_bytes())),
            [gzip(torn.as_bytes()), gzip(good.as_bytes())].concat(),
            [gzip(lines.as_bytes()), vec![0; 512]].concat(),
        ] {
            assert_eq!(judged(&body), (3, 1), "{body:?}");
        }
        // Half of a pair is no reason to cut the bytes at 0x0A, which is half of many a character.
        let odd = [&little[..], &[0x0A, 0xD8, b'\n', 0]].concat();
        let part = [(Kind::Document, 0..odd.len())];
        assert_eq!(
            parts(&text(odd, 1 << 20).unwrap(), Media::Lines).unwrap(),
            part
        );
    }

    #[test]
    fn damaged_gzip_gives_what_can_be_read_of_it_and_tells_the_rest() {
        let events = |from: usize| -> String {
            (from..from + 500)
                .map(|n| event(&format!("uid-{}", n * 7919)) + "\n")
                .collect()
        };
        let (first, second, third) = (
            gzip(events(0).as_bytes()),
            gzip(events(500).as_bytes()),
            gzip(events(1000).as_bytes()),
        );
        let half = &second[..second.len() / 2];
        for (body, rows) in [
            ([&first, half, &third].concat(), 1000..1500),
            ([&first, half].concat(), 500..1000),
            (
                [&first[..], b"no gzip at all, but long enough"].concat(),
                500..501,
            ),
            (half.to_vec(), 1..500),
        ] {
            let (read, dead) = judged(&body);
            assert!(
                dead > 0 && rows.contains(&((read - dead) as usize)),
                "{read} {dead}"
            );
        }
        // Nothing of it can be read.
        assert_eq!(judged(&[0x1F, 0x8B, 8, 0, 1]), (1, 1));
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
            |value: &str| check_encoding(&headers(CONTENT_ENCODING, value)).map_err(|r| r.status);
        assert_eq!(encoded("GZIP"), Ok(()));
        assert_eq!(encoded("identity"), Ok(()));
        assert_eq!(encoded("br"), Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        assert_eq!(
            encoded("gzip, gzip"),
            Err(StatusCode::UNSUPPORTED_MEDIA_TYPE)
        );
    }
}
