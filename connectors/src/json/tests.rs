#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn check(text: &[u8]) -> Result<()> {
    let mut scanner = Scanner::new(text, 0, 64);
    scanner.skip()?;
    scanner.finish()
}

fn fault(text: &str) -> Fault {
    check(text.as_bytes()).unwrap_err().fault()
}

/// What serde_json says. It stops at a number that a float cannot hold, which we take: nothing to compare.
fn reference(text: &[u8]) -> Option<bool> {
    match serde_json::from_slice::<Value>(text) {
        Ok(_) => Some(true),
        Err(error) if error.to_string().contains("number out of range") => None,
        Err(_) => Some(false),
    }
}

/// Reads with the walking methods, not with `skip`.
fn rebuild(scanner: &mut Scanner) -> Result<Value> {
    Ok(match scanner.peek() {
        b'{' => {
            let mut map = serde_json::Map::new();
            scanner.object(|s, key| {
                let value = rebuild(s)?;
                map.insert(String::from_utf8(key.to_vec()).unwrap(), value);
                Ok::<_, Error>(())
            })?;
            Value::Object(map)
        }
        b'[' => {
            let mut list = vec![];
            scanner.array(|s| {
                list.push(rebuild(s)?);
                Ok::<_, Error>(())
            })?;
            Value::Array(list)
        }
        b'"' => {
            let text = scanner.text()?.unwrap();
            let value = unescape(scanner.slice(text)).into_owned();
            Value::String(String::from_utf8(value).unwrap())
        }
        _ => {
            let range = scanner.range()?;
            serde_json::from_slice(&scanner.bytes()[range]).unwrap()
        }
    })
}

#[test]
fn each_fault_is_named_with_its_place() {
    assert_eq!(fault(""), Fault::Truncated);
    assert_eq!(fault("{\"a\":1"), Fault::Truncated);
    assert_eq!(fault("\"abc"), Fault::Truncated);
    assert_eq!(fault("-"), Fault::Truncated);
    assert_eq!(fault("{\"a\":1}{\"b\":2}"), Fault::TrailingData);
    assert_eq!(fault("1 2"), Fault::TrailingData);
    assert_eq!(fault("\"a\0b\""), Fault::ControlCharacter);
    assert_eq!(fault("\"a\nb\""), Fault::ControlCharacter);
    assert_eq!(fault("\"\\x\""), Fault::BadEscape);
    assert_eq!(fault("\"\\u12g4\""), Fault::BadEscape);
    assert_eq!(fault("\"\\ud800\""), Fault::LoneSurrogate);
    assert_eq!(fault("\"\\ud800\\u0041\""), Fault::LoneSurrogate);
    assert_eq!(fault("\"\\udc00\""), Fault::LoneSurrogate);
    assert_eq!(fault("01"), Fault::BadNumber);
    assert_eq!(fault("1.x"), Fault::BadNumber);
    assert_eq!(fault("1e+}"), Fault::BadNumber);
    assert_eq!(fault("nul"), Fault::BadLiteral);
    assert_eq!(fault("truE"), Fault::BadLiteral);
    assert_eq!(fault("{\"a\" 1}"), Fault::Unexpected);
    assert_eq!(fault("[1,]"), Fault::Unexpected);
    assert_eq!(fault("{,}"), Fault::Unexpected);
    assert_eq!(fault("[1}"), Fault::Unexpected);
    assert_eq!(fault("{\"a\":1]"), Fault::Unexpected);
    assert_eq!(fault("\0{}"), Fault::Unexpected);
    assert_eq!(check(b"{\"a\":\x01}").unwrap_err().at(), 5);
}

#[test]
fn depth_is_capped_and_the_deep_value_can_still_be_passed() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(check(nested(64).as_bytes()), Ok(()));
    assert_eq!(fault(&nested(65)), Fault::TooDeep);
    for depth in [65, 127, 128, 129, 200, 5_000_000] {
        let mixed = "[{\"a\":".repeat(depth) + "1" + &"}]".repeat(depth) + " ";
        let mut scanner = Scanner::new(mixed.as_bytes(), 0, 64);
        scanner.skip_any_depth().unwrap();
        assert_eq!(scanner.position(), mixed.len() - 1);
        let swapped = mixed.replacen("}]", "]}", 1);
        assert!(
            Scanner::new(swapped.as_bytes(), 0, 64)
                .skip_any_depth()
                .is_err()
        );
    }
}

#[test]
fn depth_counts_through_walked_and_skipped_containers_alike() {
    let text = br#"{"a":{"b":[[1]]}}"#;
    let walk = |max_depth| {
        Scanner::new(text, 0, max_depth)
            .object(|s, _| s.object(|s, _| s.array(|s| s.skip())))
            .map_err(Error::fault)
    };
    assert_eq!(walk(4), Ok(()));
    assert_eq!(walk(3), Err(Fault::TooDeep));
    assert_eq!(walk(1), Err(Fault::TooDeep));
}

#[test]
fn typed_values_are_read_and_others_skipped() {
    let text = br#"[true,"false",null,17,"42",-9223372036854775808,1.5,"x",{"a":[1]},99999999999999999999]"#;
    let (mut bools, mut ints) = (vec![], vec![]);
    Scanner::new(text, 0, 8)
        .array(|s| {
            let mark = s.mark();
            bools.push(s.bool()?);
            s.reset(mark);
            ints.push(s.int()?);
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(&bools[..3], [Some(true), Some(false), None]);
    assert_eq!(
        &ints[3..],
        [Some(17), Some(42), Some(i64::MIN), None, None, None, None]
    );
}

#[test]
fn an_escaped_key_is_compared_by_its_value() {
    let mut seen = vec![];
    Scanner::new(br#"{"\u0072ule":1,"a\/b":2}"#, 0, 8)
        .object(|s, key| {
            seen.push(key.to_vec());
            s.skip()
        })
        .unwrap();
    assert_eq!(seen, [b"rule".to_vec(), b"a/b".to_vec()]);
}

fn documents() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        any::<String>(),
        "[a-z\"\\\\/\u{8}\u{c}\n\t\u{0}é€😀]{0,40}".prop_map(String::from),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((text.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Every other way to write the same strings: all characters as `\u` escapes.
fn escape_all(text: &str) -> String {
    let mut out = String::new();
    let mut in_string = false;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                in_string = !in_string;
                out.push('"');
            }
            '\\' => {
                out.push('\\');
                out.extend(characters.next());
            }
            other if in_string && (other.is_alphabetic() || other > '~') => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04X}"));
                }
            }
            other => out.push(other),
        }
    }
    // The hex digits behind a `\u` that serde_json wrote must stay as they are.
    if text.contains("\\u") {
        text.into()
    } else {
        out
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn documents_are_read_as_serde_json_reads_them(document in documents(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) }.unwrap();
        for text in [escape_all(&text), text] {
            prop_assert_eq!(check(text.as_bytes()), Ok(()));
            let expected: Value = serde_json::from_str(&text).unwrap();
            let mut scanner = Scanner::new(text.as_bytes(), 0, 64);
            prop_assert_eq!(rebuild(&mut scanner).unwrap(), expected);
        }
    }

    #[test]
    fn damaged_documents_are_judged_as_serde_json_judges_them(
        document in documents(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..4),
    ) {
        let mut text = serde_json::to_vec(&document).unwrap();
        for (index, byte, kind) in edits {
            let at = index.index(text.len() + 1);
            let byte = if byte < 128 { byte } else { b"\"\\{}[]:,.eE-+0u \n\0"[byte as usize % 18] };
            match kind {
                0 => text.insert(at, byte),
                1 => text.truncate(at),
                _ if at < text.len() && kind == 2 => text[at] = byte,
                _ if at < text.len() => drop(text.remove(at)),
                _ => {}
            }
        }
        let ours = std::str::from_utf8(&text).is_ok() && check(&text).is_ok();
        let expected = reference(&text).unwrap_or(ours);
        prop_assert_eq!(ours, expected, "{:?}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn noise_is_judged_as_serde_json_judges_it(text in "[\\[\\]{}:,\"\\\\ub0-9a-f.eE+ \\-]{0,12}") {
        let ours = check(text.as_bytes()).is_ok();
        prop_assert_eq!(ours, reference(text.as_bytes()).unwrap_or(ours), "{}", text);
    }

    #[test]
    fn numbers_are_judged_as_serde_json_judges_them(text in "-?[0-9]{0,3}\\.?[0-9]{0,2}[eE]?[+-]?[0-9]{0,2}") {
        let ours = check(text.as_bytes()).is_ok();
        prop_assert_eq!(ours, reference(text.as_bytes()).unwrap_or(ours), "{}", text);
    }
}
