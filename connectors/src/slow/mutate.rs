//! Changes JSON text so that it stays JSON, as logs differ: members gone, doubled, moved, of another type,
//! written with escapes, cut. The same seed makes the same change.

use super::Json;

/// Values that formats do not expect, or that trip readers up.
const ODD: &[&str] = &[
    "null",
    "true",
    "\"false\"",
    "0",
    "-0",
    "403",
    "\"403\"",
    "99999999999999999999999",
    "-1.5e-7",
    "1e400",
    "1767323045.25",
    "\"1767323045123\"",
    "\"\"",
    "\"-\"",
    "\"null\"",
    "\"None\"",
    "\"<NA>\"",
    r#""\u003cNA\u003e""#,
    "{}",
    "{ }",
    "[]",
    "[ ]",
    r#"{"value":"x","code":7}"#,
    r#"[{"id":"a"},5,null]"#,
    r#"["a","b\"c"]"#,
    r#"[[[[[[[[{"a":[]}]]]]]]]]"#,
    "\"2001:DB8::1\"",
    "\"::ffff:192.0.2.7\"",
    "\"[2001:db8::1]:443\"",
    r#""10.0.0.1\u003a99999""#,
    "\"2026-01-02T03:04:05.123456789+01:00\"",
    "\"2026-13-02T03:04:05Z\"",
    r#""escaped \" \\ \/ \u00e9 \ud83d\ude00 \n""#,
    "\"é😀\u{2028}\"",
];

/// How often a property is tried: as `WEIR_TEST_ROUNDS` says.
pub fn rounds(unless_told: u32) -> u32 {
    let told = std::env::var("WEIR_TEST_ROUNDS").ok();
    told.map_or(unless_told, |told| {
        told.parse().expect("WEIR_TEST_ROUNDS: a number")
    })
}

/// One more number of a seed (splitmix64).
pub fn next(seed: &mut u64) -> usize {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *seed;
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ z >> 31) >> 1) as usize
}

/// Makes one change at a place that the seed picks. Text that is no JSON stays.
pub fn mutate(text: &str, seed: &mut u64) -> String {
    let Some(whole) = Json::parse(text, 128) else {
        return text.to_owned();
    };
    let mut values = vec![];
    collect(whole, &mut values);
    let value = values[next(seed) % values.len()];
    let changed = match next(seed) % 4 {
        0 => ODD[next(seed) % ODD.len()].to_owned(),
        _ if value.is_object() => members(value, seed),
        _ if value.is_array() => elements(value, seed),
        _ => match value.string() {
            Some(text) => string(&text, seed),
            None => format!("\"{}\"", value.raw()),
        },
    };
    // All values are pieces of the text.
    let start = value.raw().as_ptr() as usize - text.as_ptr() as usize;
    let end = start + value.raw().len();
    format!("{}{changed}{}", &text[..start], &text[end..])
}

/// Words that lines do not expect.
const ODD_WORDS: &[&str] = &[
    "-",
    "",
    "0",
    "-1",
    "99999999999999999999999",
    "65536",
    "1767323045123",
    "2026-01-02T03:04:05.5+01:00",
    "NODATA",
    "2001:DB8::1",
    "::ffff:192.0.2.7",
    "[2001:db8::1]:443",
    "10.0.0.1:99999",
    "\"two words\"",
    "\"",
    "[",
    "]",
    "=",
    "a=\"b",
    "error=\"policy rejection\"",
    "duration=7ms",
    "via_upstream",
    "inbound|80||a",
    "é😀",
];

/// Makes one change to a line: a word gone, doubled, moved, changed, cut, or other blanks.
pub fn mutate_line(line: &str, seed: &mut u64) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let at = next(seed) % words.len();
    let odd = ODD_WORDS[next(seed) % ODD_WORDS.len()];
    match next(seed) % 8 {
        0 => drop(words.remove(at)),
        1 => words.insert(at, odd.to_owned()),
        2 => words.rotate_left(at),
        3 => words[at] = odd.to_owned(),
        4 => words[at] = words[at].to_uppercase(),
        5 => words.truncate(at + 1),
        // What stands between two signs of a word.
        _ => {
            let word = std::mem::take(&mut words[at]);
            let ends: Vec<_> = word.char_indices().map(|(end, _)| end).collect();
            let end = ends.get(next(seed) % (ends.len() + 1)).copied();
            let (before, behind) = word.split_at(end.unwrap_or(word.len()));
            let between = ["\t", " ", "\"", "=", odd][next(seed) % 5];
            words[at] = format!("{before}{between}{behind}");
        }
    }
    words.join(" ")
}

/// The value and all in it.
fn collect<'a>(value: Json<'a>, into: &mut Vec<Json<'a>>) {
    into.push(value);
    let members = value.members().into_iter().map(|(_, value)| value);
    members
        .chain(value.elements())
        .for_each(|inner| collect(inner, into));
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn members(object: Json, seed: &mut u64) -> String {
    let members = object.members().into_iter();
    let mut members: Vec<_> = members
        .map(|(key, value)| (quoted(&key), value.raw().to_owned()))
        .collect();
    if members.is_empty() {
        return "null".to_owned();
    }
    let at = next(seed) % members.len();
    match next(seed) % 4 {
        0 => drop(members.remove(at)),
        1 => members.rotate_left(at),
        // A double, in front or behind, that says something else.
        pick => {
            let double = (
                members[at].0.clone(),
                ODD[next(seed) % ODD.len()].to_owned(),
            );
            let place = if pick == 2 { 0 } else { members.len() };
            members.insert(place, double);
        }
    }
    let members: Vec<_> = members
        .iter()
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    format!("{{{}}}", members.join(" , "))
}

fn elements(array: Json, seed: &mut u64) -> String {
    let elements = array.elements().into_iter();
    let mut elements: Vec<_> = elements.map(|one| one.raw().to_owned()).collect();
    let at = next(seed) % (elements.len() + 1);
    match next(seed) % 3 {
        0 => elements.truncate(at),
        1 => elements.rotate_left(at),
        _ => elements.insert(at, ODD[next(seed) % ODD.len()].to_owned()),
    }
    format!("[{}]", elements.join(","))
}

fn string(text: &str, seed: &mut u64) -> String {
    let count = text.chars().count();
    let at = next(seed) % (count + 1);
    match next(seed) % 3 {
        0 => quoted(&text.chars().take(at).collect::<String>()),
        1 => quoted(&text.to_uppercase()),
        // The same text, written otherwise.
        _ => {
            let mut written = String::from("\"");
            for (index, character) in text.chars().enumerate() {
                if index == at || count < 4 {
                    let mut units = [0; 2];
                    for unit in character.encode_utf16(&mut units) {
                        written.push_str(&format!("\\u{unit:04x}"));
                    }
                } else {
                    let one = quoted(&character.to_string());
                    written.push_str(&one[1..one.len() - 1]);
                }
            }
            written + "\""
        }
    }
}
