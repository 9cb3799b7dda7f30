//! The same table, walked the obvious way over `serde_json` values: what [`Compiled`](super::Compiled) has
//! to agree with.

use std::net::IpAddr;

use serde_json::{Map, Value, json};
use weir_engine::schema::{COLUMNS, col};

use super::{How, Mapping, Path, Step};
use crate::time;

/// The value at a path.
pub(crate) fn find<'v>(mapping: &Mapping, value: &'v Value, path: &str) -> Option<&'v Value> {
    let mut at = value;
    for step in Path::parse(path).expect(path).0 {
        at = match step {
            Step::Key(key) => member(mapping, at.as_object()?, &key)?,
            Step::Element(index) => at.as_array()?.get(index)?,
            Step::Last => at.as_array()?.last()?,
        };
    }
    (!at.is_null()).then_some(at)
}

fn member<'v>(mapping: &Mapping, object: &'v Map<String, Value>, key: &str) -> Option<&'v Value> {
    let same = |one: &str| {
        one == key
            || mapping.either_case
                && one.len() == key.len()
                && one[1..] == key[1..]
                && one[..1].eq_ignore_ascii_case(&key[..1])
    };
    // The first that is not null, as in the text.
    let mut found = object
        .iter()
        .filter(|(one, _)| !one.is_empty() && same(one));
    found
        .find(|(_, value)| !value.is_null())
        .map(|(_, value)| value)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

fn is_nothing(mapping: &Mapping, value: &Value) -> bool {
    text(value).is_some_and(|text| text.is_empty() || mapping.nothing.contains(&text.as_str()))
}

pub(crate) fn is_met(mapping: &Mapping, value: &Value) -> bool {
    mapping.needs.iter().any(|line| {
        line.iter()
            .all(|(path, texts)| match find(mapping, value, path) {
                None => false,
                Some(found) => {
                    texts.is_empty()
                        || text(found).is_some_and(|text| texts.contains(&text.as_str()))
                }
            })
    })
}

/// The columns that the table alone fills.
pub(crate) fn fields(mapping: &Mapping, value: &Value) -> Map<String, Value> {
    let mut row = Map::new();
    let uid: Vec<_> = mapping
        .uid
        .iter()
        .map(|path| {
            let found = find(mapping, value, path).filter(|found| !is_nothing(mapping, found));
            found
                .filter(|found| found.is_string() || found.is_number())
                .and_then(text)
        })
        .collect();
    if let Some(Some(_)) = uid.first() {
        let uid: Vec<_> = uid.into_iter().flatten().collect();
        row.insert(COLUMNS[col::EVENT_UID].name.into(), json!(uid.join("/")));
    }
    for (path, column, how) in mapping.fields {
        let name = COLUMNS[*column].name;
        let found = find(mapping, value, path).filter(|found| !is_nothing(mapping, found));
        if let Some(filled) = found.and_then(|found| apply(found, *how))
            && !row.contains_key(name)
        {
            row.insert(name.into(), filled);
        }
    }
    for (column, text) in mapping.fixed {
        let name = COLUMNS[*column].name;
        if !row.contains_key(name) {
            row.insert(name.into(), json!(text));
        }
    }
    row
}

fn apply(value: &Value, how: How) -> Option<Value> {
    if let How::Json = how {
        return match value {
            Value::Object(map) => (!map.is_empty()).then(|| value.clone()),
            Value::Array(items) => (!items.is_empty()).then(|| value.clone()),
            _ => Some(json!(text(value)?)),
        };
    }
    let text = text(value)?;
    let address = |text: &str| {
        let parsed = text.parse::<IpAddr>().ok()?;
        Some(json!(parsed.to_canonical().to_string()))
    };
    let int = |text: &str| text.parse::<i64>().ok().filter(|_| !text.starts_with('+'));
    Some(match how {
        How::Text | How::Json => json!(text),
        How::Lower => json!(text.to_lowercase()),
        How::Address => address(&text)?,
        How::NoAddress => match address(&text) {
            None => json!(text),
            Some(_) => return None,
        },
        How::HostOf => address(&host(&text).0)?,
        How::PortOf => json!(int(&host(&text).1?).filter(|port| (0..=65_535).contains(port))?),
        How::Int => json!(int(&text)?),
        How::Float => json!(
            text.parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())?
        ),
        How::Bool => match text.as_str() {
            "true" | "True" => json!(true),
            "false" | "False" => json!(false),
            _ => return None,
        },
        How::Time => json!(instant(&text)?),
        How::Words(words) => json!(
            words
                .iter()
                .find(|(word, _)| word.eq_ignore_ascii_case(&text))?
                .1
        ),
        How::Names(words) => json!(
            words
                .iter()
                .find(|(word, _)| word.eq_ignore_ascii_case(&text))?
                .1
        ),
        How::Bands(bands) => {
            let number = text
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())?;
            json!(bands.iter().rfind(|(from, _)| *from <= number)?.1)
        }
    })
}

fn host(text: &str) -> (String, Option<String>) {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').unwrap_or((rest, ""));
        return (host.to_owned(), rest.strip_prefix(':').map(str::to_owned));
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host.to_owned(), Some(port.to_owned())),
        _ => (text.to_owned(), None),
    }
}

fn instant(text: &str) -> Option<i64> {
    if text.as_bytes().get(4) == Some(&b'-') {
        return time::parse(text.as_bytes());
    }
    super::epoch(text.as_bytes())
}
