//! Lines of ztunnel.

use super::*;

pub(super) fn tunnel(line: &str) -> Option<Map<String, Value>> {
    let line = line.trim_ascii_end();
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
    let text = rest.trim_start_matches(BLANKS);
    // The words before the first pair are the message.
    let mut rest = text;
    while !rest.is_empty() && !rest[..rest.find(BLANKS).unwrap_or(rest.len())].contains('=') {
        rest = rest[rest.find(BLANKS).unwrap_or(rest.len())..].trim_start_matches(BLANKS);
    }
    let mut pairs = vec![("time", time)];
    if !rest.is_empty() {
        pairs.push(("message", text[..text.len() - rest.len()].trim_ascii_end()));
    }
    while !rest.is_empty() {
        let (key, value) = rest.split_once('=')?;
        if key.contains(BLANKS) {
            return None;
        }
        let (value, behind) = match value.strip_prefix('"') {
            // Lines with a backslash are not compared.
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_at(value.find(BLANKS).unwrap_or(value.len())),
        };
        if value.contains('"') || !(behind.is_empty() || behind.starts_with(BLANKS)) {
            return None;
        }
        pairs.push((key, value));
        rest = behind.trim_start_matches(BLANKS);
    }
    let wanted: Vec<_> = ztunnel::ACCESS
        .fields
        .iter()
        .map(|field| field.0)
        .chain(ztunnel::ACCESS.reads.iter().copied())
        .map(|path| path.trim_matches('"'))
        .collect();
    let mut named = Map::new();
    for (key, value) in pairs {
        let before = named.insert(key.to_owned(), unescaped(value).into());
        if before.is_some() && wanted.contains(&key) {
            return None;
        }
    }
    Some(named)
}

/// Escapes of JSON, where the text is sound.
fn unescaped(text: &str) -> String {
    serde_json::from_str(&format!("\"{text}\"")).unwrap_or_else(|_| text.to_owned())
}
