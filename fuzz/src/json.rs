//! The scanner and serde_json over the same text.

use std::borrow::Cow;

use weir_connectors::json::{Error, Scanner};
use weir_connectors::slow::Json;
use weir_connectors::time;

const DEPTH: usize = 64;

/// Any text: taken by both or by none, and with the same values. What has faults in its strings the scanner alone takes.
pub fn json(data: &[u8]) {
    let _ = time::parse(data);
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut s = Scanner::new(data, 0, DEPTH);
    let skipped = s.skip().and_then(|()| s.finish());
    if skipped.is_ok() && (s.repairs() > 0 || s.too_deep() < data.len()) {
        return;
    }
    let Some(json) = Json::parse(text, DEPTH) else {
        assert!(skipped.is_err(), "taken: {text}");
        return;
    };
    assert!(skipped.is_ok(), "{skipped:?}: {text}");
    let mut s = Scanner::new(data, 0, DEPTH);
    let walked = same(&mut s, json).and_then(|()| s.finish());
    assert!(walked.is_ok(), "{walked:?}: {text}");
}

fn same(s: &mut Scanner, json: Json) -> Result<(), Error> {
    s.peek();
    let mark = s.mark();
    let scalar = json.scalar().unwrap_or_default();
    let int = s.int()?;
    match scalar.parse::<i64>() {
        Ok(expected) if !scalar.starts_with('+') => assert_eq!(int, Some(expected)),
        // A number that is whole, however it is written.
        _ => {
            if let Some(int) = int {
                let float: f64 = scalar.parse().unwrap_or(f64::NAN);
                assert!((int as f64 - float).abs() <= float.abs() * 1e-9, "{scalar}");
            }
        }
    }
    s.reset(mark);
    assert_eq!(s.bool()?, scalar.parse().ok());
    s.reset(mark);
    let range = s.range()?;
    assert_eq!(&s.bytes()[range], json.raw().as_bytes());
    s.reset(mark);
    let text = s.text()?;
    let text = text.map(|text| s.value(text));
    assert_eq!(
        text,
        json.string().map(|text| Cow::Owned(text.into_bytes()))
    );
    s.reset(mark);
    let mut members = json.members().into_iter();
    let mut elements = json.elements().into_iter();
    match s.peek() {
        b'{' => s.object(|s, key| {
            let (name, value) = members
                .next()
                .unwrap_or_else(|| panic!("one member too many"));
            assert_eq!(key, name.as_bytes());
            same(s, value)
        })?,
        b'[' => s.array(|s| {
            let value = elements
                .next()
                .unwrap_or_else(|| panic!("one element too many"));
            same(s, value)
        })?,
        _ => s.skip()?,
    }
    assert!(members.next().is_none() && elements.next().is_none());
    Ok(())
}
