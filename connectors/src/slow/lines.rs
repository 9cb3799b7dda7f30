//! Lines that are no JSON: taken apart into names and texts, and then walked by the format's table as if they were an
//! object.

use serde_json::{Map, Value};
use weir_engine::schema::col;

use self::tunnel::tunnel;
use super::{Json, Outcome, table};
use crate::format::{Format, envoy, vpc_flow, ztunnel};

mod tunnel;

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
    let object = Json::parse(&object, 2)?;
    let mut outcomes = match std::ptr::eq(mapping, &ztunnel::ACCESS) {
        true => table::decode(mapping, object)?,
        // The line's form has told what it is.
        false => vec![table::one(mapping, object, &table::Outer::default())?],
    };
    for outcome in &mut outcomes {
        if let Outcome::Row(columns) = outcome {
            let hash = xxhash_rust::xxh3::xxh3_128(line.as_bytes());
            columns.text(col::EVENT_UID, Some(format!("{hash:032x}")));
        }
    }
    Some(outcomes)
}

/// The names of the columns, if the line names those of the lines that follow.
fn names(line: &str) -> Option<Vec<String>> {
    let known = "version account_id interface_id srcaddr dstaddr srcport dstport protocol packets bytes start end \
        action log_status vpc_id subnet_id instance_id tcp_flags type pkt_srcaddr pkt_dstaddr region az_id \
        sublocation_type sublocation_id pkt_src_aws_service pkt_dst_aws_service flow_direction traffic_path \
        reject_reason resource_type resource_id encryption_status encryption_type";
    let known: Vec<_> = known.split_whitespace().collect();
    let mut names: Vec<String> = vec![];
    for word in line.split_ascii_whitespace() {
        let inner = word
            .strip_prefix("${")
            .and_then(|word| word.strip_suffix('}'));
        let name = inner.unwrap_or(word).to_ascii_lowercase().replace('-', "_");
        let is_name = name.starts_with(|first: char| first.is_ascii_lowercase())
            && name
                .chars()
                .all(|one| one.is_ascii_alphanumeric() || one == '_');
        if !is_name || names.contains(&name) {
            return None;
        }
        names.push(name);
    }
    let is_known = |name: &&String| {
        known.contains(&name.as_str())
            || name.starts_with("ecs_")
            || name.starts_with("tgw_")
            || name.starts_with("packets_lost_")
    };
    let count = names.iter().filter(is_known).count();
    let telling = [
        "start",
        "end",
        "srcaddr",
        "dstaddr",
        "pkt_srcaddr",
        "pkt_dstaddr",
    ];
    let tells = names.iter().any(|name| telling.contains(&name.as_str()));
    (count >= 3 && count * 2 > names.len() && tells && line.len() <= 4096).then_some(names)
}

/// Whether the line names the columns of those that follow.
pub fn is_header(line: &str) -> bool {
    names(line).is_some()
}

/// Whether a value is what its column says; a dash can be anything.
fn fits(name: &str, word: &str) -> bool {
    if word == "-" {
        return true;
    }
    match name {
        "srcport" | "dstport" | "protocol" | "packets" | "bytes" | "start" | "end" => {
            word.chars().all(|one| one.is_ascii_digit())
        }
        "srcaddr" | "dstaddr" | "pkt_srcaddr" | "pkt_dstaddr" => {
            word.contains(['.', ':'])
                && word
                    .chars()
                    .all(|one| one.is_ascii_hexdigit() || ".:".contains(one))
        }
        "action" => ["ACCEPT", "REJECT"].contains(&word),
        "log_status" => ["OK", "NODATA", "SKIPDATA"].contains(&word),
        _ => true,
    }
}

fn flow(header: Option<&str>, line: &str) -> Option<Map<String, Value>> {
    let default = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status";
    let names = names(header.unwrap_or(default))?;
    let words: Vec<_> = line.split_ascii_whitespace().collect();
    let mut pairs = names.iter().zip(&words);
    if names.len() != words.len() || !pairs.all(|(name, word)| fits(name, word)) {
        return None;
    }
    if header.is_none() {
        let number = |at: usize| words[at].parse::<i64>().ok();
        let swapped = |less: usize, more: usize| {
            number(less)
                .zip(number(more))
                .is_some_and(|(less, more)| less > more)
        };
        if words[0] != "2" || words[13] == "-" || swapped(8, 9) || swapped(10, 11) {
            return None;
        }
    }
    let pairs = names.into_iter().zip(words);
    Some(
        pairs
            .map(|(name, word)| (name, Value::from(word)))
            .collect(),
    )
}

/// What stands behind a line's request: words without quotes, and texts in quotes. Nothing if a quote stands where
/// none can.
fn words(mut rest: &str) -> Option<Vec<(bool, &str)>> {
    let mut words = vec![];
    while !rest.is_empty() {
        rest = rest.strip_prefix(' ')?.trim_start_matches(' ');
        let (quoted, word, behind) = match rest.strip_prefix('"') {
            Some(inner) => {
                let (word, behind) = inner.split_once('"')?;
                (true, word, behind)
            }
            None => {
                let (word, behind) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
                (false, word, behind)
            }
        };
        if word.contains('"') {
            return None;
        }
        if quoted || !word.is_empty() {
            words.push((quoted, word));
        }
        rest = behind;
    }
    Some(words)
}

/// The fields behind the request by name, if they are those of a known form.
fn form<'a>(words: &[(bool, &'a str)]) -> Option<Vec<(&'static str, &'a str)>> {
    let number = |word: &str| word.chars().all(|one| one.is_ascii_digit());
    let kind = |(at, (quoted, word)): (usize, &(bool, &str))| match (*quoted, number(word)) {
        (true, _) => 'q',
        (false, true) => 'n',
        (false, false) if *word == "-" => '-',
        (false, false) if at > 1 => 'w',
        (false, false) => 'f',
    };
    let kinds: String = words.iter().enumerate().map(kind).collect();
    for details in 0..=2 {
        for reasons in 0..=2 {
            for tail in [0, 5, 6] {
                let parts = [1, 1, details, reasons, 2, 2, 5, tail];
                if parts.iter().sum::<usize>() != words.len() {
                    continue;
                }
                let mut at = 0;
                let [code, flags, inner, reason, counts, durations, texts, behind] =
                    parts.map(|length| {
                        at += length;
                        &kinds[at - length..at]
                    });
                let fits = code == "n"
                    && words[0].1.len() <= 3
                    && flags != "q"
                    && inner.chars().all(|one| "w-".contains(one))
                    && reason.chars().all(|one| one == 'q')
                    && counts == "nn"
                    && durations.chars().all(|one| "n-".contains(one))
                    && texts == "qqqqq"
                    && !behind.contains('q');
                if !fits {
                    continue;
                }
                let mut named = vec!["response_code", "response_flags"];
                named.extend(
                    &["response_code_details", "connection_termination_details"][..details],
                );
                named.extend(
                    ["", "upstream_transport_failure_reason"]
                        .iter()
                        .skip(2 - reasons),
                );
                named.extend([
                    "bytes_received",
                    "bytes_sent",
                    "duration",
                    "upstream_service_time",
                    "x_forwarded_for",
                    "user_agent",
                    "request_id",
                    "authority",
                    "upstream_host",
                    "upstream_cluster",
                    "upstream_local_address",
                    "downstream_local_address",
                    "downstream_remote_address",
                    "requested_server_name",
                    "route_name",
                ]);
                return Some(
                    named
                        .into_iter()
                        .zip(words.iter().map(|(_, word)| *word))
                        .collect(),
                );
            }
        }
    }
    None
}

fn access(line: &str) -> Option<Map<String, Value>> {
    let line = line.trim_end();
    // What a kubelet wrote.
    let line = match line.starts_with('[') {
        true => line,
        false => line.split_once(' ')?.1.trim_start_matches(' '),
    };
    let (time, rest) = line.strip_prefix('[')?.split_once(']')?;
    let bytes = time.as_bytes();
    if bytes.len() < 20
        || bytes[4] != b'-'
        || bytes[10] != b'T'
        || !bytes[0].is_ascii_digit()
        || time.contains('"')
    {
        return None;
    }
    let (request, behind) = rest.strip_prefix(" \"")?.split_once('"')?;
    let mut named = Map::new();
    let mut say = |name: &str, text: &str| {
        if !name.is_empty() {
            named.insert(name.to_owned(), text.into());
        }
    };
    say("start_time", time);
    if let Some(fields) = words(behind).and_then(|words| form(&words)) {
        let parts: Vec<_> = request.split(' ').collect();
        say("method", parts[0]);
        match parts.as_slice() {
            [_, path] => say("path", path),
            [_, path @ .., protocol] => {
                say("path", &path.join(" "));
                say("protocol", protocol);
            }
            _ => {}
        }
        fields.into_iter().for_each(|(name, text)| say(name, text));
        return Some(named);
    }
    uncertain(request, behind, &mut say).then_some(named)
}

/// What no client can have written into a line whose quotes do not fit.
fn uncertain(request: &str, behind: &str, say: &mut dyn FnMut(&str, &str)) -> bool {
    let code = |text: &str| {
        let (code, rest) = text.split_once(' ')?;
        let (flags, _) = rest.split_once(' ')?;
        let digits = |text: &str| text.chars().all(|one| one.is_ascii_digit());
        let fits = (code == "0" || code.len() == 3 && digits(code))
            && !digits(flags)
            && flags
                .chars()
                .all(|one| one.is_ascii_alphabetic() || ",-_".contains(one));
        fits.then(|| (code.to_owned(), flags.to_owned()))
    };
    // The request's own quote ends before what is behind.
    let quoted = format!("\"{behind}");
    let codes: Vec<_> = quoted
        .match_indices("\" ")
        .filter_map(|(at, _)| code(&quoted[at + 2..]))
        .collect();
    let Some(first) = codes.first() else {
        return false;
    };
    say("weir_uncertain", "yes");
    let (method, path) = request.split_once(' ').unwrap_or((request, ""));
    say("method", method);
    say(
        "path",
        path.rfind(" HTTP/").map_or(path, |end| &path[..end]),
    );
    if codes.len() == 1 {
        say("response_code", &first.0);
        say("response_flags", &first.1);
    }
    let endpoint = |word: &str| word.parse::<std::net::SocketAddr>().is_ok();
    let words: Vec<_> = quoted.split(' ').collect();
    let places: Vec<_> = (0..words.len())
        .filter(|at| {
            let upstream = at.checked_sub(2).map(|at| words[at]);
            let upstream = upstream
                .is_some_and(|word| word == "-" || word.starts_with("envoy://") || endpoint(word));
            upstream && endpoint(words[at - 1]) && endpoint(words[*at])
        })
        .collect();
    let [at] = places[..] else { return true };
    let is_end = at >= 4 && words.len() - at <= 3 && !words[at + 1..].concat().contains('"');
    let host = words[..at.saturating_sub(3)].join(" ");
    let Some((before, "")) = host.rsplit_once('"').filter(|_| is_end) else {
        return true;
    };
    if words[at - 4].len() < 2 {
        return true;
    }
    let Some((_, host)) = before.rsplit_once('"') else {
        return true;
    };
    say("upstream_host", host);
    let names = [
        "upstream_cluster",
        "upstream_local_address",
        "downstream_local_address",
        "downstream_remote_address",
    ];
    for (name, word) in names.into_iter().zip(&words[at - 3..]) {
        say(name, word);
    }
    true
}
