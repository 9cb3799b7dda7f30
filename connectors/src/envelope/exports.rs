//! CloudTrail events as databases give them: the columns of an Athena table, and the rows of a CloudTrail Lake query; and with
//! members that a forwarder made JSON in text. They are put back into the form in which CloudTrail wrote them, as rules know it. Invariants: values are copied as they stand, so that numbers
//! keep their digits; nothing here is recursive, and the work is linear in the length of the row, as callers of an API choose what
//! stands in its parameters.

use std::ops::Range;

use super::presto::structure;
use crate::json::{self, Scanner};

/// Keys of CloudTrail below the top whose case a database loses.
const KEYS: &[&str] = &[
    "eventVersion",
    "userIdentity",
    "eventTime",
    "eventSource",
    "eventName",
    "awsRegion",
    "sourceIPAddress",
    "userAgent",
    "errorCode",
    "errorMessage",
    "requestParameters",
    "responseElements",
    "additionalEventData",
    "requestID",
    "eventID",
    "eventType",
    "apiVersion",
    "readOnly",
    "managementEvent",
    "recipientAccountId",
    "serviceEventDetails",
    "sharedEventID",
    "vpcEndpointId",
    "vpcEndpointAccountId",
    "eventCategory",
    "tlsDetails",
    "tlsVersion",
    "cipherSuite",
    "clientProvidedHostHeader",
    "principalId",
    "accountId",
    "accessKeyId",
    "userName",
    "invokedBy",
    "sessionContext",
    "sessionIssuer",
    "mfaAuthenticated",
    "creationDate",
    "webIdFederationData",
    "federatedProvider",
    "sourceIdentity",
    "ec2RoleDelivery",
    "identityProvider",
    "onBehalfOf",
    "userId",
    "identityStoreArn",
    "credentialId",
    "resourceName",
    "sessionCredentialFromConsole",
    "edgeDeviceDetails",
    "addendum",
    "arn",
    "type",
    "attributes",
    "resources",
];

/// Columns that hold JSON as text.
const TEXTS: &[&str] = &[
    "requestParameters",
    "responseElements",
    "additionalEventData",
    "serviceEventDetails",
    "userIdentity",
    "resources",
    "tlsDetails",
    "addendum",
    "edgeDeviceDetails",
];

/// Columns whose names below are those of the caller.
const CALLERS: &[&str] = &[
    "requestParameters",
    "responseElements",
    "additionalEventData",
    "serviceEventDetails",
];

/// The top-level keys by which an exported event is known, in lower case.
pub(super) const REQUIRED: [&[u8]; 3] = [b"eventname", b"eventsource", b"eventtime"];

/// An event in CloudTrail's own form.
#[derive(Debug, Default)]
pub(super) struct Native {
    /// JSON.
    pub text: Vec<u8>,
    /// Where something in it stands for what could not be read.
    pub marks: Vec<Range<usize>>,
    /// Which of the required columns were texts, as bits.
    required: u8,
    /// Whether U+FFFD stands for something in a column that was text.
    replaced: bool,
    /// Whether anything differs from the row.
    changed: bool,
}

/// Whether the text of such a column is an object or an array.
pub(crate) fn holds_members(text: &[u8]) -> bool {
    let mut s = Scanner::new(text, 0, usize::MAX);
    matches!(s.peek(), b'{' | b'[')
        && (s.skip().and_then(|()| s.finish()).is_ok() || structure(text).is_some())
}

/// The event of a row (an object) whose columns are named in lower case, or are JSON in text; nothing if it is none, or was one
/// already. `is_marked` says that U+FFFD in the
/// row stands for what could not be read.
pub(super) fn of_row(object: &[u8], is_marked: bool) -> Option<Native> {
    let mut native = Native::new(is_marked);
    let mut s = Scanner::new(object, 0, usize::MAX);
    s.object(|s, key| native.column(s, key)).ok()?;
    native.finish().filter(|native| native.changed)
}

/// The event of a row that is an array of objects with one column each.
pub(super) fn of_cells(array: &[u8], is_marked: bool) -> Option<Native> {
    let mut native = Native::new(is_marked);
    let mut s = Scanner::new(array, 0, usize::MAX);
    s.array(|s| s.object(|s, key| native.column(s, key))).ok()?;
    native.finish()
}

impl Native {
    fn new(is_marked: bool) -> Self {
        Self {
            replaced: is_marked,
            ..Self::default()
        }
    }

    fn column(&mut self, s: &mut Scanner, key: &[u8]) -> json::Result<()> {
        let written = key;
        let key = named(key);
        self.changed |= key != written;
        let is = |name: &&str| name.as_bytes() == key;
        self.text.push(match self.text.is_empty() {
            true => b'{',
            false => b',',
        });
        quote(&mut self.text, key);
        self.text.push(b':');
        let faults = s.repairs();
        s.peek();
        let start = s.position();
        let text = s.text()?;
        let raw = &s.bytes()[start..s.position()];
        let Some(text) = text else {
            match CALLERS.iter().any(is) {
                true => self.text.extend_from_slice(raw),
                false => {
                    let start = self.text.len();
                    rename(&mut self.text, raw);
                    self.changed |= self.text[start..] != *raw;
                }
            }
            return Ok(());
        };
        let mut required = REQUIRED.iter();
        if let Some(at) = required.position(|one| one.eq_ignore_ascii_case(key)) {
            self.required |= 1 << at;
        }
        let value = s.value(text);
        if TEXTS.iter().any(is) {
            self.replaced |= s.repairs() != faults;
            self.json_of(&value, raw, CALLERS.iter().any(is));
        } else if let Some(time) = utc(&value).filter(|_| key == b"eventTime") {
            quote(&mut self.text, &time);
            self.changed = true;
        } else if *value == *b"null" {
            self.changed = true;
            self.text.extend_from_slice(b"null");
        } else {
            self.text.extend_from_slice(raw);
        }
        Ok(())
    }

    /// Adds what the text of a column holds: JSON, or a structure as Presto prints it. What is neither stays the text that it is, in
    /// its quotes; it is marked if it seems to be one of the two.
    fn json_of(&mut self, text: &[u8], quoted: &[u8], is_callers: bool) {
        let was_changed = std::mem::replace(&mut self.changed, true);
        if text.is_empty() || text == b"null" {
            return self.text.extend_from_slice(b"null");
        }
        let mut s = Scanner::new(text, 0, usize::MAX);
        if s.skip().and_then(|()| s.finish()).is_ok() {
            return match is_callers {
                true => self.text.extend_from_slice(text),
                false => rename(&mut self.text, text),
            };
        }
        if let Some(json) = structure(text) {
            return self.text.extend_from_slice(&json);
        }
        let start = self.text.len();
        self.changed = was_changed;
        self.text.extend_from_slice(quoted);
        if matches!(text.first(), Some(b'{' | b'[')) {
            self.marks.push(start..self.text.len());
        }
    }

    fn finish(mut self) -> Option<Self> {
        self.text.push(b'}');
        if self.replaced {
            let found = memchr::memmem::find_iter(&self.text, "\u{fffd}");
            self.marks.extend(found.map(|at| at..at + 3));
            self.marks.sort_by_key(|mark| mark.start);
        }
        (self.required == 0b111).then_some(self)
    }
}

pub(super) fn named(key: &[u8]) -> &[u8] {
    let known = KEYS.iter().map(|known| known.as_bytes());
    let known = known
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(key));
    known.unwrap_or(key)
}

pub(super) fn quote(into: &mut Vec<u8>, text: &[u8]) {
    // Writing to memory cannot fail.
    let _ = serde_json::to_writer(into, &String::from_utf8_lossy(text));
}

/// Adds the JSON, its keys named as CloudTrail names them.
fn rename(into: &mut Vec<u8>, json: &[u8]) {
    let (mut copied, mut at) = (0, 0);
    while let Some(quote_at) = memchr::memchr(b'"', &json[at..]) {
        let start = at + quote_at;
        let mut s = Scanner::new(json, start, usize::MAX);
        let Ok(Some(text)) = s.text() else {
            break;
        };
        at = s.position();
        if s.peek() == b':' {
            let key = s.value(text);
            let name = named(&key);
            if name != &*key {
                into.extend_from_slice(&json[copied..start]);
                quote(into, name);
                copied = at;
            }
        }
    }
    into.extend_from_slice(&json[copied..]);
}

/// The time with its zone, if the database lost that: CloudTrail means UTC.
fn utc(text: &[u8]) -> Option<Vec<u8>> {
    let is_bare =
        text.len() >= 19 && text[10] == b' ' && !text.ends_with(b"Z") && !text.contains(&b'+');
    let text = text.strip_suffix(b" UTC").unwrap_or(text);
    is_bare.then(|| [&text[..10], b"T", &text[11..], b"Z"].concat())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn rows_of_both_databases_become_the_event() {
        let event = json!({
            "eventVersion": "1.08", "eventTime": "2026-10-14T09:00:00Z", "eventSource": "iam.amazonaws.com", "eventName": "CreateUser",
            "sourceIPAddress": "203.0.113.7", "requestParameters": {"userName": "eve", "tags": [{"Key": "a"}]},
            "userIdentity": {"type": "AssumedRole", "principalId": "AROA:x", "arn": "arn:aws:sts::1:assumed-role/R/x", "accessKeyId": "ASIA",
                "sessionContext": {"attributes": {"mfaAuthenticated": "false"}, "sessionIssuer": {"userName": "R"}}},
        });
        let athena = json!({
            "eventversion": "1.08", "eventtime": "2026-10-14T09:00:00Z", "eventsource": "iam.amazonaws.com", "eventname": "CreateUser",
            "sourceipaddress": "203.0.113.7", "requestparameters": "{\"userName\":\"eve\",\"tags\":[{\"Key\":\"a\"}]}",
            "useridentity": {"type": "AssumedRole", "principalid": "AROA:x", "arn": "arn:aws:sts::1:assumed-role/R/x", "accesskeyid": "ASIA",
                "sessioncontext": {"attributes": {"mfaauthenticated": "false"}, "sessionissuer": {"username": "R"}}},
        });
        let read = |native: Option<Native>| -> Value {
            serde_json::from_slice(&native.unwrap().text).unwrap()
        };
        assert_eq!(read(of_row(athena.to_string().as_bytes(), false)), event);
        let lake = json!([
            {"eventVersion": "1.08"}, {"eventTime": "2026-10-14 09:00:00.000"}, {"eventSource": "iam.amazonaws.com"},
            {"eventName": "CreateUser"},
            {"userIdentity": "{type=IAMUser, principalid=A, arn=arn:aws:iam::1:user/a, b, sessioncontext={attributes={mfaauthenticated=false}, sessionissuer=null}}"},
        ]);
        let read = read(of_cells(lake.to_string().as_bytes(), false));
        assert_eq!(read["eventTime"], "2026-10-14T09:00:00.000Z");
        assert_eq!(read["userIdentity"]["arn"], "arn:aws:iam::1:user/a, b");
        assert_eq!(
            read["userIdentity"]["sessionContext"]["attributes"]["mfaAuthenticated"],
            "false"
        );
        assert!(of_row(b"{\"eventname\":1}", false).is_none());
        assert!(of_cells(b"[{\"a\":\"b\"}]", false).is_none());
        assert!(of_cells(b"[1]", false).is_none());
    }

    fn row(parameters: &str) -> Native {
        let row = json!({"eventtime": "2026-01-02T03:04:05Z", "eventsource": "s", "eventname": "n", "requestparameters": parameters});
        of_row(row.to_string().as_bytes(), false).unwrap()
    }

    #[test]
    fn values_are_copied_as_they_stand() {
        let deep = format!("{}1{}", "{\"a\":".repeat(140), "}".repeat(140));
        for text in [
            "{\"Type\":12345678901234567890123}".to_owned(),
            r#"{"userName":"eve","x":"\ud800"}"#.to_owned(),
            deep,
        ] {
            let native = row(&text);
            let expected = format!("\"requestParameters\":{text}}}");
            assert!(native.text.ends_with(expected.as_bytes()));
            assert!(native.marks.is_empty());
        }
        // Half a pair in the string that holds the JSON.
        let row = r#"{"eventtime":"a","eventsource":"s","eventname":"n","requestparameters":"{\"a\":\"\ud800\"}"}"#;
        assert_eq!(of_row(row.as_bytes(), false).unwrap().marks.len(), 1);
        // A time in which another character stands where the date should end.
        let row =
            "{\"eventtime\":\"2026-01-0é 03:04:05xxxx\",\"eventsource\":\"s\",\"eventname\":\"n\"}";
        assert!(of_row(row.as_bytes(), false).is_some());
    }

    #[test]
    fn structures_are_read_in_one_pass() {
        let parameters = |text: &str| -> (Value, bool) {
            let native = row(text);
            let event: Value = serde_json::from_slice(&native.text).unwrap();
            (event["requestParameters"].clone(), !native.marks.is_empty())
        };
        for (text, value) in [
            (
                "{a=b, c, d={e=[], f={}}, g=[x, y]}",
                json!({"a": "b, c", "d": {"e": [], "f": {}}, "g": "[x, y]"}),
            ),
            (
                "[{arn=a, type=b}, {arn=null}]",
                json!([{"arn": "a", "type": "b"}, {"arn": null}]),
            ),
            ("{a={x, b=[y, c=}", json!({"a": "{x", "b": "[y", "c": ""})),
            ("plain", json!("plain")),
        ] {
            assert_eq!(parameters(text), (value, false), "{text}");
        }
        let nested = |count: usize| format!("{{a={}!=}}", "{a=, a=".repeat(count));
        let commas = format!("{{a={}", ", ".repeat(200_000));
        let keys = format!("{{a={}", ", b".repeat(200_000));
        for text in [
            nested(40),
            nested(100_000),
            "[".repeat(200_000),
            "{a=".repeat(200_000),
            commas,
            keys,
            "{a=b".to_owned(),
            "{a={b=c}x, d=e}".to_owned(),
        ] {
            let started = std::time::Instant::now();
            let (value, is_marked) = parameters(&text);
            assert_eq!(value, text.as_str());
            assert!(is_marked && started.elapsed().as_secs() < 5);
        }
    }
}
