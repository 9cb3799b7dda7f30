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

/// The value of a text, and whether it has faults.
fn lenient(text: &str) -> (String, bool) {
    let mut scanner = Scanner::new(text.as_bytes(), 0, 64);
    let read = scanner.text().unwrap().unwrap();
    scanner.finish().unwrap();
    let value = scanner.value(read).into_owned();
    (String::from_utf8(value).unwrap(), scanner.repairs() > 0)
}

#[test]
fn faults_in_strings_are_passed_counted_and_mended() {
    for (text, value, has_faults, repaired) in [
        (r#""a""#, "a", false, r#""a""#),
        (
            r#""\u00e9\ud83d\ude00\/""#,
            "é😀/",
            false,
            r#""\u00e9\ud83d\ude00\/""#,
        ),
        ("\"a\0b\"", "a\0b", true, r#""a\u0000b""#),
        (
            "\"a\nb\tc\rd\x1f\"",
            "a\nb\tc\rd\x1f",
            true,
            r#""a\nb\tc\rd\u001f""#,
        ),
        (r#""\x""#, "\\x", true, r#""\\x""#),
        (r#""\u12g4""#, "\\u12g4", true, r#""\\u12g4""#),
        (r#""\u12""#, "\\u12", true, r#""\\u12""#),
        (r#""\ud800""#, "\u{fffd}", true, r#""\ufffd""#),
        (r#""\ud800\u0041""#, "\u{fffd}A", true, r#""\ufffd\u0041""#),
        (
            r#""\ud800\ud800\udc00""#,
            "\u{fffd}\u{10000}",
            true,
            r#""\ufffd\ud800\udc00""#,
        ),
        (r#""\udc00\"x""#, "\u{fffd}\"x", true, r#""\ufffd\"x""#),
        ("\"\\é\"", "\\é", true, r#""\\é""#),
        ("\"\\\n\"", "\\\n", true, r#""\\\n""#),
    ] {
        assert_eq!(lenient(text), (value.to_owned(), has_faults), "{text}");
        assert_eq!(repair(text), repaired, "{text}");
        assert_eq!(lenient(repaired), (value.to_owned(), false), "{repaired}");
    }
}

#[test]
fn depth_beyond_the_limit_is_noted_and_passed() {
    let too_deep = |text: &str, max: usize| {
        let mut scanner = Scanner::new(text.as_bytes(), 0, max);
        scanner.skip().unwrap();
        scanner.too_deep()
    };
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(too_deep(&nested(64), 64), usize::MAX);
    assert_eq!(too_deep(&nested(65), 64), 64);
    for depth in [65, 127, 128, 129, 200, 5_000_000] {
        let mixed = "[{\"a\":".repeat(depth) + "1" + &"}]".repeat(depth) + " ";
        let mut scanner = Scanner::new(mixed.as_bytes(), 0, 64);
        scanner.skip().unwrap();
        assert_eq!(scanner.position(), mixed.len() - 1);
        let swapped = mixed.replacen("}]", "]}", 1);
        assert!(Scanner::new(swapped.as_bytes(), 0, 64).skip().is_err());
    }
}

#[test]
fn depth_counts_through_walked_and_skipped_containers_alike() {
    let text = br#"{"a":{"b":[[1]]}}"#;
    let walk = |max_depth| {
        let mut scanner = Scanner::new(text, 0, max_depth);
        let walked = scanner.object(|s, _| s.object(|s, _| s.array(|s| s.skip())));
        walked.map(|()| scanner.too_deep()).map_err(Error::fault)
    };
    assert_eq!(walk(4), Ok(usize::MAX));
    assert_eq!(walk(3), Ok(11));
    assert_eq!(walk(1), Ok(5));
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

/// What serde_json takes is taken, without faults. Of the rest only what has faults in its strings is taken, and serde_json takes
/// that once it is mended.
fn judged_alike(text: &str) -> Result<(), TestCaseError> {
    let mut scanner = Scanner::new(text.as_bytes(), 0, 64);
    let is_taken = scanner.skip().and_then(|()| scanner.finish()).is_ok();
    let has_faults = scanner.repairs() > 0;
    let ours = is_taken && !has_faults;
    let expected = reference(text.as_bytes()).unwrap_or(ours || has_faults);
    prop_assert_eq!(ours, expected && !has_faults, "{}", text);
    if is_taken && has_faults {
        prop_assert!(
            !expected || reference(text.as_bytes()).is_none(),
            "{}",
            text
        );
        let mended = repair(text);
        prop_assert!(
            reference(mended.as_bytes()).unwrap_or(true),
            "{} becomes {}",
            text,
            mended
        );
    }
    Ok(())
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
        let Ok(text) = std::str::from_utf8(&text) else {
            return Ok(());
        };
        judged_alike(text)?;
    }

    #[test]
    fn noise_is_judged_as_serde_json_judges_it(text in "[\\[\\]{}:,\"\\\\ub0-9a-f.eE+ \\-]{0,12}") {
        judged_alike(&text)?;
    }

    #[test]
    fn numbers_are_judged_as_serde_json_judges_them(text in "-?[0-9]{0,3}\\.?[0-9]{0,2}[eE]?[+-]?[0-9]{0,2}") {
        let ours = check(text.as_bytes()).is_ok();
        prop_assert_eq!(ours, reference(text.as_bytes()).unwrap_or(ours), "{}", text);
    }
}
