//! JSON read the obvious way: a value is its text, and is taken apart anew each time it is asked for.
//! Duplicate keys and numbers stay as they were written.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::columns::digits;

/// One JSON value, without the whitespace around it.
#[derive(Debug, Clone, Copy)]
pub struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// Nothing if the text is no JSON, or nested deeper than `depth`.
    pub fn parse(text: &'a str, depth: usize) -> Option<Self> {
        let raw: &RawValue = serde_json::from_str(text).ok()?;
        let json = Self(raw.get());
        json.is_sound(depth).then_some(json)
    }

    /// Raw values are not looked into by serde_json: a lone surrogate shows only when a string is read.
    fn is_sound(self, depth: usize) -> bool {
        match self.first() {
            b'"' => self.string().is_some(),
            b'[' => {
                depth > 0
                    && self
                        .elements()
                        .into_iter()
                        .all(|one| one.is_sound(depth - 1))
            }
            b'{' => {
                let members = serde_json::from_str::<Members>(self.0);
                depth > 0
                    && members.is_ok_and(|Members(members)| {
                        members.iter().all(|(_, one)| one.is_sound(depth - 1))
                    })
            }
            _ => true,
        }
    }

    pub fn raw(self) -> &'a str {
        self.0
    }

    fn first(self) -> u8 {
        self.0.as_bytes()[0]
    }

    pub fn is_null(self) -> bool {
        self.0 == "null"
    }

    pub fn is_object(self) -> bool {
        self.first() == b'{'
    }

    pub fn is_array(self) -> bool {
        self.first() == b'['
    }

    /// An object or array with nothing in it.
    pub fn is_empty(self) -> bool {
        self.members().is_empty() && self.elements().is_empty()
    }

    pub fn string(self) -> Option<String> {
        serde_json::from_str(self.0).ok()
    }

    /// A string, a truth value, or a number: in digits if it is an integer, else as it is written.
    pub fn scalar(self) -> Option<String> {
        match self.first() {
            b'"' => self.string(),
            b'{' | b'[' | b'n' => None,
            _ if self.is_number() => Some(digits(self.0).unwrap_or_else(|| self.0.to_owned())),
            _ => Some(self.0.to_owned()),
        }
    }

    /// A number, not in quotes.
    pub fn is_number(self) -> bool {
        matches!(self.first(), b'-' | b'0'..=b'9')
    }

    /// Members in the order of the text; none of what is no object.
    pub fn members(self) -> Vec<(String, Json<'a>)> {
        let members = serde_json::from_str(self.0);
        members.map_or(vec![], |Members(members)| members)
    }

    /// Elements of an array; none of what is none.
    pub fn elements(self) -> Vec<Json<'a>> {
        let elements: Result<Vec<&RawValue>, _> = serde_json::from_str(self.0);
        let elements = elements.unwrap_or_default().into_iter();
        elements.map(|raw| Json(raw.get())).collect()
    }

    /// The values under one key, in the order of the text.
    pub fn under(self, key: &str) -> Vec<Json<'a>> {
        let members = self.members().into_iter();
        members
            .filter(|(one, _)| one == key)
            .map(|(_, value)| value)
            .collect()
    }

    /// All values that a path of keys leads to.
    pub fn at(self, path: &[&str]) -> Vec<Json<'a>> {
        path.iter().fold(vec![self], |values, key| {
            values.iter().flat_map(|value| value.under(key)).collect()
        })
    }

    /// The first string that a path of keys leads to.
    pub fn any_text(self, path: &[&str]) -> Option<String> {
        self.at(path).into_iter().find_map(Json::string)
    }

    /// The same, of strings that are not empty.
    pub fn text(self, path: &[&str]) -> Option<String> {
        let mut texts = self.at(path).into_iter().filter_map(Json::string);
        texts.find(|text| !text.is_empty())
    }

    /// The first object under the key.
    pub fn object(self, key: &str) -> Option<Json<'a>> {
        self.under(key).into_iter().find(|value| value.is_object())
    }

    /// The first array under the key.
    pub fn array(self, key: &str) -> Option<Json<'a>> {
        self.under(key).into_iter().find(|value| value.is_array())
    }
}

/// The members of an object, duplicates included.
struct Members<'a>(Vec<(String, Json<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Collect)
    }
}

struct Collect;

impl<'de> Visitor<'de> for Collect {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'de>, M::Error> {
        let mut members = vec![];
        while let Some((key, raw)) = map.next_entry::<String, &RawValue>()? {
            members.push((key, Json(raw.get())));
        }
        Ok(Members(members))
    }
}
