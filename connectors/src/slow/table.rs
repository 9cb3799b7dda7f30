//! The table of a format, walked path by path: what [`Compiled`](crate::mapping::Compiled) has to agree with.

use serde_json::{Value, json};
use weir_engine::schema::col;

use super::columns::{address, digits, int};
use super::{Columns, Json, Outcome, finish, hash, time};
use crate::mapping::{How, LogFormat, Path, Spelling, Step};
use crate::time::{parse_number, parse_utc};

/// What an object around events says for each of them.
#[derive(Default)]
pub struct Outer<'a> {
    uid: String,
    finding: String,
    /// Innermost first.
    around: Vec<(&'a LogFormat<'static>, Json<'a>)>,
}

pub fn decode(mapping: &'static LogFormat<'static>, event: Json) -> Option<Vec<Outcome>> {
    let met = mapping.needs.iter().any(|line| {
        line.iter()
            .all(|(path, texts)| match find(mapping, event, path) {
                None => false,
                Some(found) => {
                    texts.is_empty()
                        || found
                            .scalar()
                            .is_some_and(|text| texts.contains(&text.as_str()))
                }
            })
    });
    if !met {
        return None;
    }
    if mapping.inside.is_empty() {
        return Some(vec![one(mapping, event, &Outer::default())?]);
    }
    let mut outcomes = vec![];
    explode(mapping, event, Outer::default(), &mut outcomes);
    if outcomes.is_empty() {
        outcomes.push(Outcome::Filtered);
    }
    Some(outcomes)
}

/// The events in the arrays of a report.
fn explode<'a>(
    mapping: &'static LogFormat<'static>,
    report: Json<'a>,
    outer: Outer<'a>,
    outcomes: &mut Vec<Outcome>,
) {
    let joined = |before: &str, paths: &[&str]| {
        let parts = paths.iter().filter_map(|path| part(mapping, report, path));
        parts.fold(before.to_owned(), |joined, part| joined + &part + "/")
    };
    let (uid, finding) = (
        joined(&outer.uid, mapping.uid),
        joined(&outer.finding, mapping.finding),
    );
    let mut around = outer.around;
    around.insert(0, (mapping, report));
    for (path, inner) in mapping.inside {
        let array = find(mapping, report, path);
        for element in array.map_or(vec![], Json::elements) {
            let is_text = !inner.words.is_empty() && element.string().is_some();
            let words = element.raw().split(',').count();
            if is_text && !inner.counts.contains(&words) {
                let most = inner.counts.iter().max().copied().unwrap_or_default();
                outcomes.push(Outcome::Dead(match words < most {
                    true => "missing_field",
                    false => "unknown_format",
                }));
                continue;
            }
            let (tuple, is_null) = (object_of(inner.words, element), element.is_null());
            let element = match &tuple {
                Some(tuple) => Json::parse(tuple, 2),
                None => Some(element).filter(|one| inner.words.is_empty() && one.is_object()),
            };
            let Some(element) = element else {
                if tuple.is_none() && !is_null {
                    outcomes.push(Outcome::Dead("unknown_format"));
                }
                continue;
            };
            let outer = Outer {
                uid: uid.clone(),
                finding: finding.clone(),
                around: around.clone(),
            };
            if inner.inside.is_empty() {
                outcomes.extend(one(inner, element, &outer));
            } else {
                explode(inner, element, outer, outcomes);
            }
        }
    }
}

/// A text between commas as an object with these names.
fn object_of(names: &[&str], tuple: Json) -> Option<String> {
    let text = tuple.raw().strip_prefix('"')?.strip_suffix('"')?;
    let members = names.iter().zip(text.split(','));
    let members: Vec<_> = members
        .map(|(name, word)| format!("\"{name}\":\"{word}\""))
        .collect();
    (!names.is_empty()).then(|| format!("{{{}}}", members.join(",")))
}

/// One event. Nothing if the mapping's hook says that it is of another format.
pub fn one(mapping: &LogFormat<'static>, event: Json, outer: &Outer) -> Option<Outcome> {
    let mut seen = finish::Seen::new(mapping, event);
    if let Some(outcome) = finish::finish(mapping.name, &mut seen) {
        return outcome;
    }
    let (mut columns, late) = (seen.columns, seen.late);
    let ids = [
        (col::EVENT_UID, mapping.uid, &outer.uid),
        (col::FINDING_UID, mapping.finding, &outer.finding),
    ];
    for (column, paths, before) in ids {
        if column == col::EVENT_UID && mapping.uid_with_content {
            columns.text(column, uid_with_content(mapping, event));
        }
        let mut parts = paths.iter().map(|path| part(mapping, event, path));
        if let Some(Some(first)) = parts.next() {
            let id = parts.flatten().fold(first, |id, part| id + "/" + &part);
            columns.text(column, Some(format!("{before}{id}")));
        }
    }
    fields(mapping, event, &mut columns);
    for (column, text) in late {
        columns.text(column, Some(text));
    }
    fixed(mapping, &mut columns);
    for (mapping, around) in &outer.around {
        fields(mapping, *around, &mut columns);
        fixed(mapping, &mut columns);
    }
    if !columns.has(col::TIME) {
        let times = mapping.fields.iter().filter(|field| field.1 == col::TIME);
        let mut found = times.filter_map(|(path, ..)| said(mapping, event, path));
        return Some(Outcome::Dead(match found.next() {
            Some(_) => "bad_time",
            None => "missing_field",
        }));
    }
    if !outer.around.is_empty() && !columns.has(col::EVENT_UID) {
        columns.set(col::EVENT_UID, hash(event));
    }
    Some(Outcome::Row(columns))
}

/// A value as it is hashed: its characters; of an object or array its brackets, and its keys and values each behind a 1 and their
/// length.
fn plain(value: Json) -> Vec<u8> {
    let token = |value: Json| match value.is_object() || value.is_array() {
        true => plain(value),
        false => marked(&plain(value)),
    };
    if value.is_object() {
        let members = value.members().into_iter();
        let members = members.flat_map(|(key, value)| [marked(key.as_bytes()), token(value)]);
        return [vec![b'{'], members.collect::<Vec<_>>().concat(), vec![b'}']].concat();
    }
    if value.is_array() {
        let elements: Vec<_> = value.elements().into_iter().map(token).collect();
        return [vec![b'['], elements.concat(), vec![b']']].concat();
    }
    let text = value
        .string()
        .or_else(|| Some(int(value.raw())?.to_string()));
    text.unwrap_or_else(|| value.raw().to_owned()).into_bytes()
}

fn marked(text: &[u8]) -> Vec<u8> {
    [&[1], (text.len() as u32).to_le_bytes().as_slice(), text].concat()
}

/// The parts of the id and a hash of every value that the table names.
fn uid_with_content(mapping: &LogFormat, event: Json) -> Option<String> {
    let mut parts: Vec<_> = mapping
        .uid
        .iter()
        .map(|path| part(mapping, event, path))
        .collect();
    parts.first()?.as_ref()?;
    let needs = mapping.needs.iter().copied().flatten();
    let named = needs.map(|(path, _)| *path);
    let named = named.chain(mapping.uid.iter().copied());
    let named = named.chain(mapping.finding.iter().copied());
    let named = named.chain(mapping.fields.iter().map(|(path, ..)| *path));
    let mut known = vec![];
    let mut bytes = vec![];
    for path in named.chain(mapping.reads.iter().copied()) {
        let steps = Path::parse(path).expect(path);
        if !known.contains(&steps) {
            known.push(steps);
            if let Some(text) = find(mapping, event, path).map(plain) {
                bytes.extend((known.len() as u32 - 1).to_le_bytes());
                bytes.extend((text.len() as u32).to_le_bytes());
                bytes.extend(text);
            }
        }
    }
    parts.push(Some(format!(
        "{:032x}",
        xxhash_rust::xxh3::xxh3_128(&bytes)
    )));
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    Some(parts.join("/"))
}

fn fields(mapping: &LogFormat, event: Json, columns: &mut Columns) {
    for (path, column, how) in mapping.fields {
        if let Some(value) = said(mapping, event, path).and_then(|found| apply(found, *how)) {
            match value {
                Value::String(text) => columns.text(*column, Some(text)),
                value => columns.set(*column, value),
            }
        }
    }
}

fn fixed(mapping: &LogFormat, columns: &mut Columns) {
    for (column, text) in mapping.fixed {
        columns.set(*column, *text);
    }
    if mapping.class > 0 {
        columns.set(col::CLASS_UID, mapping.class);
    }
}

/// A part of an id.
fn part(mapping: &LogFormat, event: Json, path: &str) -> Option<String> {
    let found = said(mapping, event, path)?;
    let fits = found.is_number() || found.string().is_some();
    found.scalar().filter(|_| fits)
}

/// The first value at a path that is not null.
pub fn find<'a>(mapping: &LogFormat, event: Json<'a>, path: &str) -> Option<Json<'a>> {
    let Path(steps) = Path::parse(path).expect(path);
    let found = steps.iter().fold(vec![event], |values, step| {
        let inner = values.into_iter().flat_map(|value| match step {
            Step::Key(key) => under(mapping, value, key),
            Step::Element(index) => value.elements().get(*index).copied().into_iter().collect(),
            Step::Last => value.elements().last().copied().into_iter().collect(),
        });
        inner.collect()
    });
    found.into_iter().find(|value| !value.is_null())
}

/// The same, unless it stands for nothing.
pub fn said<'a>(mapping: &LogFormat, event: Json<'a>, path: &str) -> Option<Json<'a>> {
    find(mapping, event, path).filter(|value| {
        let text = value.scalar();
        !text.is_some_and(|text| text.is_empty() || mapping.nothing.contains(&text.as_str()))
    })
}

fn under<'a>(mapping: &LogFormat, value: Json<'a>, key: &str) -> Vec<Json<'a>> {
    let is_same = |one: &str| {
        one == key
            || match mapping.spelling {
                Spelling::Exact => false,
                Spelling::FirstLetter => {
                    let first = one.get(..1).zip(key.get(..1));
                    first.is_some_and(|(one, other)| one.eq_ignore_ascii_case(other))
                        && one.get(1..) == key.get(1..)
                }
                Spelling::Words => is_spelled(one, key),
            }
    };
    let members = value.members().into_iter();
    members
        .filter(|(one, _)| is_same(one))
        .map(|(_, value)| value)
        .collect()
}

/// Whether `one` is a key of several words in another spelling: any sign between the words, or none, and one case of
/// letters throughout.
fn is_spelled(one: &str, key: &str) -> bool {
    // Every word, and the ends of a flow with what is told of them as one word.
    let apart = key.replace("srca", "src_a").replace("srcp", "src_p");
    let apart = apart.replace("dsta", "dst_a").replace("dstp", "dst_p");
    [key.to_owned(), apart].iter().any(|words| {
        ["_", "-", ""].iter().any(|between| {
            let joined = words.replace('_', between);
            let mut title = String::new();
            for (at, word) in words.split('_').enumerate() {
                title += if at == 0 { "" } else { between };
                title += &word[..1].to_uppercase();
                title += &word[1..];
            }
            let is = |title: &str| one.get(1..) == title.get(1..);
            let capitals = one == joined.to_uppercase();
            let first = one.get(..1).unwrap_or_default();
            let titled = first.eq_ignore_ascii_case(&title[..1])
                && (is(&title) || title.ends_with("Id") && is(&title.replace("Id", "ID")));
            one == joined || capitals || titled
        })
    })
}

fn apply(value: Json, how: How) -> Option<Value> {
    if let How::Json = how {
        return match value.scalar() {
            Some(text) => Some(json!(text)),
            None => (!value.is_empty()).then(|| json!(value.raw())),
        };
    }
    let text = value.scalar()?;
    Some(match how {
        How::Text | How::Json => json!(text),
        How::Lower => json!(text.to_lowercase()),
        How::Address => json!(address(&text)?),
        How::NoAddress => match address(&text) {
            None => json!(text),
            Some(_) => return None,
        },
        How::HostOf => json!(address(&host(&text).0)?),
        How::PortOf => json!(int(&host(&text).1?).filter(|port| (0..=65_535).contains(port))?),
        How::Int => json!(int(&text)?),
        How::Float => json!(float(&text)?),
        How::Bool => match text.as_str() {
            "true" | "True" => json!(true),
            "false" | "False" => json!(false),
            _ => return None,
        },
        How::Time => json!(time(&text).or(number(&text))?),
        How::Utc => json!(parse_utc(text.as_bytes()).or(number(&text))?),
        How::Words(words) => json!(named(words, &text)?),
        How::Names(words) => json!(named(words, &text)?),
        How::Bands(bands) => {
            let number = float(&text)?;
            json!(bands.iter().rfind(|(from, _)| *from <= number)?.1)
        }
    })
}

fn float(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

pub fn host(text: &str) -> (String, Option<String>) {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').unwrap_or((rest, ""));
        return (host.to_owned(), rest.strip_prefix(':').map(str::to_owned));
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host.to_owned(), Some(port.to_owned())),
        _ => (text.to_owned(), None),
    }
}

fn number(text: &str) -> Option<i64> {
    parse_number(text.as_bytes())
}

fn named<T: Copy>(words: &[(&str, T)], text: &str) -> Option<T> {
    let other = text.contains(['.', 'e', 'E']) || text == "-0";
    let number = digits(text).filter(|_| other);
    let same = |word: &str| word.eq_ignore_ascii_case(text) || number.as_deref() == Some(word);
    let mut words = words.iter();
    words.find(|(word, _)| same(word)).map(|(_, value)| *value)
}
