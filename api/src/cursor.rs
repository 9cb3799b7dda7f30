//! Opaque cursors: where a list goes on. They hold a position, never a filter; the caller repeats those.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// Which list a cursor is of, so that one of another list is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum List {
    #[serde(rename = "i")]
    Incidents,
    #[serde(rename = "a")]
    Alerts,
    #[serde(rename = "t")]
    Timeline,
    #[serde(rename = "e")]
    Events,
}

/// The last item of a page, by (time, id).
pub fn encode(list: List, time: i64, id: &str) -> String {
    // Numbers and text always have a JSON form.
    let json = serde_json::to_vec(&(list, time, id)).unwrap_or_default();
    BASE64_URL_SAFE_NO_PAD.encode(json)
}

pub fn decode(list: List, cursor: &str) -> Result<(i64, String), Problem> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
    let parts = bytes.and_then(|bytes| serde_json::from_slice::<(List, i64, String)>(&bytes).ok());
    match parts {
        Some((of, time, id)) if of == list => Ok((time, id)),
        _ => Err(Problem::bad_request(
            "the cursor is not one of this list; give `next_cursor` of the page before, unchanged",
        )),
    }
}

pub fn decode_optional(list: List, cursor: Option<&str>) -> Result<Option<(i64, String)>, Problem> {
    cursor.map(|cursor| decode(list, cursor)).transpose()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_and_others_are_refused() {
        let id = "inc_ü\"\u{0}";
        let cursor = encode(List::Incidents, -5, id);
        assert!(
            cursor
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        );
        let (time, back) = decode(List::Incidents, &cursor).unwrap();
        assert_eq!((time, &*back), (-5, id));
        for bad in ["", "x", "!!", "bnVsbA", &cursor[1..]] {
            assert!(decode(List::Incidents, bad).is_err(), "{bad}");
        }
        assert!(decode(List::Alerts, &cursor).is_err());
    }
}
