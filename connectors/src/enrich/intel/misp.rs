//! MISP: attributes of events, and warning lists.

use serde_json::Value;

use super::exclude::{ALL, How, Kinds, bit};
use super::value::Kind;

/// An attribute that detection is meant to use.
#[derive(Debug, PartialEq)]
pub struct Attribute<'a> {
    pub values: Vec<(Kind, &'a str)>,
    pub labels: Vec<&'a str>,
    pub first_seen: Option<&'a str>,
}

/// Calls `each` with every attribute of an event, also those of its objects; with a reason for those that
/// are of no use.
pub fn attributes<'a>(event: &'a Value, each: &mut dyn FnMut(Result<Attribute<'a>, &'static str>)) {
    let list = |value: &'a Value, name: &str| -> &'a [Value] {
        let items = value.get(name).and_then(Value::as_array);
        items.map_or(&[], Vec::as_slice)
    };
    let of_event = tags(event);
    let objects = list(event, "Object");
    for attribute in list(event, "Attribute") {
        each(self::attribute(attribute, &of_event));
    }
    for object in objects {
        let deleted = flag(object, "deleted") == Some(true);
        for attribute in list(object, "Attribute") {
            each(match deleted {
                true => Err("revoked"),
                false => self::attribute(attribute, &of_event),
            });
        }
    }
}

fn flag(of: &Value, name: &str) -> Option<bool> {
    match of.get(name)? {
        Value::Bool(set) => Some(*set),
        Value::String(text) => Some(text == "1" || text.eq_ignore_ascii_case("true")),
        Value::Number(number) => Some(number.as_f64() == Some(1.0)),
        _ => None,
    }
}

fn attribute<'a>(
    attribute: &'a Value,
    of_event: &[&'a str],
) -> Result<Attribute<'a>, &'static str> {
    if flag(attribute, "deleted") == Some(true) {
        return Err("revoked");
    }
    // Published for context, not for detection.
    if flag(attribute, "to_ids") != Some(true) {
        return Err("not_for_detection");
    }
    let text = |name: &str| attribute.get(name).and_then(Value::as_str);
    let (Some(kind), Some(value)) = (text("type"), text("value")) else {
        return Err("invalid");
    };
    let kind = kind.trim().to_ascii_lowercase();
    let values = values(&kind, value).ok_or("type_not_matched")?;
    let mut labels = of_event.to_vec();
    labels.extend(tags(attribute));
    Ok(Attribute {
        values,
        labels,
        first_seen: text("first_seen"),
    })
}

/// The values of an attribute of this type; none if it is not matched.
pub fn values<'a>(kind: &str, value: &'a str) -> Option<Vec<(Kind, &'a str)>> {
    let parts = || value.split_once('|');
    // A port behind a colon is told from the address by who reads it.
    let first = || parts().map_or(value, |(first, _)| first);
    Some(match kind {
        "ip-src" | "ip-dst" => vec![(Kind::Ip, value)],
        "ip-src|port" | "ip-dst|port" => vec![(Kind::Ip, first())],
        "domain" | "hostname" => vec![(Kind::Domain, value)],
        "hostname|port" => vec![(Kind::Domain, first())],
        "domain|ip" => {
            let (domain, ip) = parts()?;
            vec![(Kind::Domain, domain), (Kind::Ip, ip)]
        }
        "url" | "link" => vec![(Kind::Url, value)],
        "md5" | "sha1" | "sha256" | "sha512" => vec![(Kind::Hash, value)],
        "filename|md5" | "filename|sha1" | "filename|sha256" | "filename|sha512" => {
            vec![(
                Kind::Hash,
                value.rsplit_once('|').map_or(value, |(_, hash)| hash),
            )]
        }
        _ => return None,
    })
}

fn tags(value: &Value) -> Vec<&str> {
    let tags = value.get("Tag").and_then(Value::as_array);
    let names = tags.into_iter().flatten();
    names.filter_map(|tag| tag.get("name")?.as_str()).collect()
}

/// How the entries of a warning list are compared; none for regular expressions.
pub fn how(list: &Value) -> Option<How> {
    match list.get("type").and_then(Value::as_str) {
        Some("string") => Some(How::Equal),
        Some("substring") => Some(How::Contains),
        Some("regex") => None,
        _ => Some(How::Usual),
    }
}

/// Kinds of values that a warning list speaks about.
pub fn kinds(list: &Value) -> Kinds {
    let attributes = list.get("matching_attributes").and_then(Value::as_array);
    let names = attributes.into_iter().flatten().filter_map(Value::as_str);
    let kinds = names.flat_map(|name| name.split('|')).map(|name| {
        let kind = Kind::of_word(name).or(match name {
            "ip-src" | "ip-dst" => Some(Kind::Ip),
            _ => None,
        });
        kind.map_or(0, bit)
    });
    match kinds.fold(0, |all, one| all | one) {
        0 => ALL,
        some => some,
    }
}
