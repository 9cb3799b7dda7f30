//! Lines of logs that are no JSON, told from what goes on in a JSON document.

use crate::envelope::{behind_syslog, has_container_head};
use crate::format::Format;
use crate::json::Scanner;

/// Whether the line is one that a container runtime or a syslog daemon wrote, or one of a format with lines: also its
/// header, or one that is refused as such. What columns a header named is not known here.
pub(super) fn is_text_line(line: &[u8]) -> bool {
    let is_word = match line.first() {
        Some(b'[' | b'<') => false,
        Some(first) if first.is_ascii_alphanumeric() => true,
        _ => return false,
    };
    if has_container_head(line) || behind_syslog(line).is_some() {
        return true;
    }
    let text = String::from_utf8_lossy(line);
    let s = Scanner::new(text.as_bytes(), 0, usize::MAX);
    let mut found = vec![];
    Format::with_lines().iter().any(|(_, tree, lines)| {
        (lines.split)(&s, None, tree, &mut found)
            || is_word
                && ((lines.header)(line, tree).is_some() || (lines.refusal)(line, None).is_some())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_logs_and_of_documents() {
        for line in [
            "2 111122223333 eni-0a1 10.0.0.5 203.0.113.7 49152 443 6 8 4000 1767322800 1767322860 ACCEPT OK",
            "srcaddr dstaddr start end action log-status",
            "[2026-10-14T09:00:00.000Z] \"GET /{a HTTP/1.1\" 200 - 0 1 1 1 \"-\" \"b\" \"c\" \"d\" \"e\"",
            "2026-01-02T03:04:05Z\tinfo\taccess\tconnection complete\tsrc.addr=10.0.0.1:1 dst.addr=10.0.1.1:15008 direction=\"inbound\"",
            "2026-01-02T03:04:05Z\tinfo\taccess\tconnection complete\tsrc.addr=10.0.0.1:1 src.addr=10.0.0.2:1 dst.addr=10.0.1.1:15008",
            "2026-01-02T03:04:05Z stdout F {\"a\":1}",
            "2026-01-02T03:04:05Z stderr P any \"thing\"",
            "2026-01-02T03:04:05Z {\"a\":1}",
            "<13>Oct  9 22:14:15 host app[77]: {\"a\":[",
            "Oct  9 22:14:15 host app: it said \"no\"",
        ] {
            assert!(is_text_line(line.as_bytes()), "{line}");
        }
        for line in [
            "",
            "}",
            "  \"a\": 1,",
            "\"a\": \"2026-01-02T03:04:05Z stdout F x\",",
            "[1, 2,",
            "[\"eni-1\", \"a\", \"b\", \"c\"",
            "{\"a\":1}",
            "1,",
            "null]",
            "true, \"b\": [",
            "a sentence in a string, with \"quotes\": and more",
        ] {
            assert!(!is_text_line(line.as_bytes()), "{line}");
        }
    }
}
