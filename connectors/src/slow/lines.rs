//! Lines that are no JSON: taken apart into names and texts, and then walked by the format's table as if they were an
//! object.

use serde_json::{Map, Value};
use weir_engine::schema::col;

use super::{Json, Outcome, table};
use crate::format::{Format, envoy, vpc_flow, ztunnel};

const BLANKS: [char; 2] = [' ', '\t'];

/// What becomes of a line; nothing if it is not of the format. `header`: the names of a flow log's columns.
pub fn decode(format: Format, header: Option<&str>, line: &str) -> Option<Vec<Outcome>> {
    let (mapping, named) = if format == Format::of(&vpc_flow::FLOW) {
        if is_header(line) {
            return Some(vec![Outcome::Filtered]);
        }
        (&vpc_flow::FLOW, flow(header, line)?)
    } else if format == Format::of(&envoy::ACCESS) {
        (&envoy::ACCESS, access(line)?)
    } else if format == Format::of(&ztunnel::ACCESS) {
        (&ztunnel::ACCESS, tunnel(line)?)
    } else {
        return None;
    };
    let object = Value::Object(named).to_string();
    let mut outcomes = table::decode(mapping, Json::parse(&object, 2)?)?;
    for outcome in &mut outcomes {
        if let Outcome::Row(columns) = outcome {
            let hash = xxhash_rust::xxh3::xxh3_128(line.as_bytes());
            columns.text(col::EVENT_UID, Some(format!("{hash:032x}")));
        }
    }
    Some(outcomes)
}

/// Whether the line names the columns of those that follow.
pub fn is_header(line: &str) -> bool {
    let names: Vec<_> = line.split_ascii_whitespace().collect();
    ["start", "end", "interface-id"]
        .iter()
        .all(|name| names.contains(name))
}

fn flow(header: Option<&str>, line: &str) -> Option<Map<String, Value>> {
    let default = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status";
    let header = header.or(line.starts_with("2 ").then_some(default))?;
    let names: Vec<_> = header.split_ascii_whitespace().collect();
    let words: Vec<_> = line.split(BLANKS).collect();
    let pairs = names.iter().zip(&words);
    let pairs = pairs.map(|(name, word)| ((*name).to_owned(), Value::from(*word)));
    (names.len() == words.len()).then(|| pairs.collect())
}

/// Words between blanks, each with its first character; one in quotes or brackets may hold blanks.
fn words(mut rest: &str) -> Vec<(char, &str)> {
    let mut words = vec![];
    loop {
        rest = rest.trim_start_matches(' ');
        let Some(first) = rest.chars().next() else {
            return words;
        };
        let ends_with_bracket = || {
            let behind = rest.split_once(']').map_or("", |(_, behind)| behind);
            behind.is_empty() || behind.starts_with(' ')
        };
        let (inner, close) = match first {
            '"' => (&rest[1..], '"'),
            '[' if ends_with_bracket() => (&rest[1..], ']'),
            _ => (rest, ' '),
        };
        let (word, behind) = inner.split_once(close).unwrap_or((inner, ""));
        words.push((first, word));
        rest = behind;
    }
}

fn access(line: &str) -> Option<Map<String, Value>> {
    let mut words = words(line);
    // What a kubelet wrote.
    if !line.starts_with('[') && !words.is_empty() {
        words.remove(0);
    }
    let [
        ('[', time),
        ('"', request),
        (_, code),
        (_, flags),
        rest @ ..,
    ] = words.as_slice()
    else {
        return None;
    };
    if !time.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let mut named = Map::new();
    let mut say = |name: &str, text: &str| drop(named.insert(name.to_owned(), text.into()));
    say("start_time", time);
    say("response_code", code);
    say("response_flags", flags);
    let parts = request.split(' ');
    for (name, part) in ["method", "path", "protocol"].into_iter().zip(parts) {
        say(name, part);
    }
    // The first number is that of the bytes received; before it stand reasons, in some versions.
    let is_number = |(first, word): &(char, &str)| {
        *first != '"' && word.chars().all(|character| character.is_ascii_digit())
    };
    let reasons = rest.iter().position(is_number).unwrap_or(rest.len());
    let (reasons, rest) = rest.split_at(reasons);
    let (quoted, bare): (Vec<_>, Vec<_>) = reasons.iter().partition(|(first, _)| *first == '"');
    if let Some((_, failure)) = quoted.last() {
        say("upstream_transport_failure_reason", failure);
    }
    let names = ["response_code_details", "connection_termination_details"];
    for (name, (_, word)) in names.into_iter().zip(bare) {
        say(name, word);
    }
    let names = "bytes_received bytes_sent duration upstream_service_time x_forwarded_for user_agent \
        request_id authority upstream_host upstream_cluster upstream_local_address \
        downstream_local_address downstream_remote_address requested_server_name route_name";
    for (name, (_, word)) in names.split_whitespace().zip(rest) {
        say(name, word);
    }
    (rest.len() >= 4).then_some(named)
}

fn tunnel(line: &str) -> Option<Map<String, Value>> {
    let mut rest = line;
    let mut word = || {
        rest = rest.trim_start_matches(BLANKS);
        let (word, behind) = rest.split_at(rest.find(BLANKS).unwrap_or(rest.len()));
        rest = behind;
        word
    };
    let (mut time, mut level) = (word(), word());
    // What a kubelet wrote: time, stream, and whether the line is whole.
    if ["stdout", "stderr"].contains(&level) {
        word();
        (time, level) = (word(), word());
    }
    if level.is_empty() || word() != "access" {
        return None;
    }
    let mut named = Map::new();
    named.insert("time".into(), time.into());
    let text = rest.trim_start_matches(BLANKS);
    let mut rest = text;
    let mut is_first = true;
    while let Some(at) = rest.find(['=', ' ', '\t']) {
        if !rest[at..].starts_with('=') {
            rest = rest[at..].trim_start_matches(BLANKS);
            continue;
        }
        if is_first {
            let message = &text[..text.len() - rest.len()];
            named.insert("message".into(), message.trim_ascii_end().into());
            is_first = false;
        }
        let (key, value) = (&rest[..at], &rest[at + 1..]);
        let (value, behind) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => value.split_at(value.find(BLANKS).unwrap_or(value.len())),
        };
        named.insert(key.to_owned(), unescaped(value).into());
        rest = behind.trim_start_matches(BLANKS);
    }
    Some(named)
}

/// Escapes of JSON, where the text is sound.
fn unescaped(text: &str) -> String {
    serde_json::from_str(&format!("\"{text}\"")).unwrap_or_else(|_| text.to_owned())
}
