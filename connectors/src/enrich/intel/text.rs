//! Lists that are plain text: one value per line, or CSV.

use csv::StringRecord;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::config::Columns;
use super::value::Kind;
use crate::enrich::list::{self, Field, Header, Line, Refused};

/// Fields of a CSV file and the usual names of their columns.
const FIELDS: &[Field] = &[
    (
        "indicator",
        &[
            "indicator",
            "ioc",
            "ioc_value",
            "indicator_value",
            "observable",
            "value",
            "url",
            "domain",
            "domain_name",
            "hostname",
            "fqdn",
            "ip",
            "ip_address",
            "dst_ip",
            "src_ip",
            "address",
            "cidr",
            "network",
            "sha256_hash",
            "sha256",
            "sha1_hash",
            "sha1",
            "md5_hash",
            "md5",
            "hash",
        ],
    ),
    ("type", &["type", "ioc_type", "indicator_type", "kind"]),
    // As MISP exports it: 0 is context, not for detection.
    ("to_ids", &["to_ids"]),
    ("source", &["source", "provider"]),
    ("confidence", &["confidence", "confidence_level"]),
    (
        "valid_from",
        &["valid_from", "first_seen", "first_seen_utc"],
    ),
    (
        "expires",
        &["expires", "valid_until", "expiration", "expiration_date"],
    ),
    ("labels", &["labels", "tags", "malware", "threat"]),
];

/// A CSV file's columns, and where its lines begin.
pub struct Csv<'a> {
    pub header: Header,
    pub delimiter: u8,
    pub body: &'a str,
    /// Lines in front of `body`.
    pub before: u64,
}

/// Finds the header: the first line, or the last comment in front of it. None when neither names a column of
/// indicators.
pub fn header<'a>(text: &'a str, columns: &Columns) -> Option<Csv<'a>> {
    let named = columns.named();
    let read = |line: &str| {
        let delimiter = list::delimiter(line);
        let names: StringRecord = list::split(line, delimiter);
        let header = Header::of(&names, FIELDS, |field| named.get(field).copied());
        (header, delimiter)
    };
    let mut of_comment = None;
    let (mut at, mut before) = (0, 0);
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        if let Some(comment) = trimmed.strip_prefix('#') {
            let (header, delimiter) = read(comment.trim_start_matches(['#', ' ']));
            if header.has("indicator") {
                of_comment = Some((header, delimiter));
            }
        } else if !trimmed.is_empty() {
            let (header, delimiter) = read(trimmed);
            if header.has("indicator") {
                let body = &text[at + line.len()..];
                before += 1;
                return Some(Csv {
                    header,
                    delimiter,
                    body,
                    before,
                });
            }
            break;
        }
        at += line.len();
        before += 1;
    }
    let (header, delimiter) = of_comment?;
    let body = &text[at..];
    Some(Csv {
        header,
        delimiter,
        body,
        before,
    })
}

/// What a line of a CSV file says beside its value.
pub struct Said {
    pub kind: Option<Kind>,
    pub confidence: Option<u8>,
    pub valid: (i64, i64),
}

pub fn said(line: &Line) -> Result<Said, Refused> {
    let of_misp = line.get("to_ids");
    if of_misp.is_some_and(|set| matches!(set, "0" | "false" | "False")) {
        return Err(Refused::Unused("not_for_detection"));
    }
    let kind = match (line.get("type"), of_misp) {
        (None, _) => None,
        (Some(word), None) => Some(Kind::of_word(word).ok_or_else(|| {
            format!("type {word:?} is not known; use ip, cidr, domain, url or hash")
        })?),
        // Its types are read with the value.
        (Some(word), Some(_)) => Kind::of_word(word),
    };
    let confidence = match line.get("confidence") {
        None => None,
        Some(text) => match text.parse() {
            Ok(number @ 0..=100) => Some(number),
            _ => {
                let reason = format!("confidence {text:?} is not a number from 0 to 100");
                return Err(reason.into());
            }
        },
    };
    let instant = |field: &str, otherwise: i64| match line.get(field) {
        None => Ok(otherwise),
        Some(text) => time(text)
            .ok_or_else(|| format!("{field} {text:?} is not a time such as 2027-01-31T00:00:00Z")),
    };
    let valid = (
        instant("valid_from", i64::MIN)?,
        instant("expires", i64::MAX)?,
    );
    Ok(Said {
        kind,
        confidence,
        valid,
    })
}

/// A time as feeds write it, in UTC where they say nothing, as µs: RFC 3339, a date, or seconds since the
/// epoch.
pub fn time(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_microsecond());
    }
    if text.len() >= 9 && text.bytes().all(|b| b.is_ascii_digit()) {
        let seconds: i64 = text.parse().ok()?;
        return Some(Timestamp::from_second(seconds).ok()?.as_microsecond());
    }
    let text = text.strip_suffix("UTC").unwrap_or(text).trim_end();
    let local: DateTime = text.parse().ok()?;
    let time = local.to_zoned(TimeZone::UTC).ok()?;
    Some(time.timestamp().as_microsecond())
}

/// The value of a line of a plain list; none for an empty line or a comment. What follows the value (a
/// comment, a count) is not read; a hosts file names the domain second.
pub fn plain(line: &str) -> Option<&str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with(['#', ';']) || line.starts_with("//") {
        return None;
    }
    // A comma ends a value, but can stand in a URL.
    let ends = |c: char| c == ' ' || c == '\t' || c == ',' && !line.contains("://");
    let mut words = line.split(ends).filter(|word| !word.is_empty());
    let first = words.next()?;
    let first = first.trim_end_matches(';').trim_matches(['"', '\'']);
    match words.next() {
        Some(second)
            if matches!(first, "0.0.0.0" | "127.0.0.1" | "::" | "::1")
                && !second.starts_with(['#', ';', '/']) =>
        {
            Some(second)
        }
        _ => Some(first),
    }
}
