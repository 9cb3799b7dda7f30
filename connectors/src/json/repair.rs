//! Valid JSON for a value whose strings have faults.

use super::text::unicode_escape;

/// The JSON value with the faults in its strings mended: control characters as escapes, lone surrogates as `\\ufffd`, a backslash
/// that begins no escape as `\\\\`. What [`Scanner`](super::Scanner) accepts, every JSON reader accepts after this.
pub(crate) fn repair(value: &str) -> String {
    let bytes = value.as_bytes();
    let end = bytes.len();
    let mut repaired = String::with_capacity(end + 16);
    let (mut copied, mut at, mut in_string) = (0, 0, false);
    let mut replace = |from: usize, to: usize, with: &str, copied: &mut usize| {
        repaired.push_str(&value[*copied..from]);
        repaired.push_str(with);
        *copied = to;
    };
    while at < end {
        match bytes[at] {
            b'"' => {
                in_string = !in_string;
                at += 1;
            }
            b'\\' if in_string => {
                let (length, is_sound) = match bytes.get(at + 1) {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => (2, true),
                    Some(b'u') => unicode_escape(&bytes[at..]),
                    _ => (1, false),
                };
                if !is_sound {
                    let with = if length == 1 { "\\\\" } else { "\\ufffd" };
                    replace(at, at + length, with, &mut copied);
                }
                at += length;
            }
            control @ ..0x20 if in_string => {
                let with = match control {
                    b'\n' => "\\n".to_owned(),
                    b'\r' => "\\r".to_owned(),
                    b'\t' => "\\t".to_owned(),
                    other => format!("\\u{other:04x}"),
                };
                replace(at, at + 1, &with, &mut copied);
                at += 1;
            }
            _ => at += 1,
        }
    }
    replace(end, end, "", &mut copied);
    repaired
}
