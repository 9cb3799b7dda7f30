//! JSON documents of any size, item by item: a bundle is never held whole.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Members whose items come one by one: of bundles and TAXII envelopes, of answers of MISP, and what others put bundles
/// in.
pub const LISTS: [&str; 5] = ["objects", "response", "data", "bundle", "bundles"];

/// A piece of a document.
pub enum Part {
    /// An item of a top-level array, or of a member of [`LISTS`].
    Item(Value),
    /// The other members of a top-level object.
    Rest(Map<String, Value>),
}

/// Calls `each` for the parts of every document in the text.
pub fn read(text: &str, each: &mut dyn FnMut(Part)) -> Result<(), serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    loop {
        Document(each).deserialize(&mut reader)?;
        // Several documents may follow one another, a line each.
        if reader.end().is_ok() {
            return Ok(());
        }
    }
}

struct Document<'a>(&'a mut dyn FnMut(Part));

/// A member of [`LISTS`]: a document, or a value that has nothing to do with one.
struct Inner<'a>(&'a mut dyn FnMut(Part));

impl<'de> DeserializeSeed<'de> for Inner<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inner<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        Document(self.0).visit_seq(items)
    }
    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        Document(self.0).visit_map(members)
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element()? {
            (self.0)(Part::Item(item));
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut rest = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            if LISTS.contains(&key.as_str()) {
                members.next_value_seed(Inner(self.0))?;
            } else {
                rest.insert(key, members.next_value()?);
            }
        }
        (self.0)(Part::Rest(rest));
        Ok(())
    }
}
