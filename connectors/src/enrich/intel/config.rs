//! What an operator says about a list.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Form of a list's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// By their content.
    #[default]
    Auto,
    Stix,
    Misp,
    WarningList,
    /// One value per line.
    Lines,
    Csv,
}

/// A file, or a folder of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListConfig {
    pub path: PathBuf,
    pub form: Form,
    /// Name of its origin, where the list does not say; the file's or folder's name if not given.
    pub source: Option<String>,
    /// Confidence of indicators whose list states none.
    pub confidence: Option<u8>,
    pub columns: Columns,
    /// Its values are never a match.
    pub exclude: bool,
}

/// Names of a CSV file's columns, where they are not the usual ones.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Columns {
    pub indicator: Option<String>,
    pub r#type: Option<String>,
    pub source: Option<String>,
    pub confidence: Option<String>,
    pub valid_from: Option<String>,
    pub expires: Option<String>,
    pub labels: Option<String>,
}

impl Columns {
    /// Field → column, of those that are named.
    pub fn named(&self) -> BTreeMap<&'static str, &str> {
        let all = [
            ("indicator", &self.indicator),
            ("type", &self.r#type),
            ("source", &self.source),
            ("confidence", &self.confidence),
            ("valid_from", &self.valid_from),
            ("expires", &self.expires),
            ("labels", &self.labels),
        ];
        let named = all.into_iter();
        named
            .filter_map(|(field, column)| Some((field, column.as_deref()?)))
            .collect()
    }
}

impl From<PathBuf> for ListConfig {
    fn from(path: PathBuf) -> Self {
        Self {
            path,
            ..Self::default()
        }
    }
}

/// The same as a table in the configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    path: PathBuf,
    #[serde(default)]
    format: Form,
    source: Option<String>,
    #[serde(default, deserialize_with = "percent")]
    confidence: Option<u8>,
    #[serde(default)]
    columns: Columns,
    #[serde(default)]
    exclude: bool,
}

fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    match u8::deserialize(deserializer)? {
        number @ 0..=100 => Ok(Some(number)),
        number => Err(serde::de::Error::custom(format!(
            "confidence {number} is not a number from 0 to 100"
        ))),
    }
}

impl<'de> Deserialize<'de> for ListConfig {
    /// A path, or a table with `path` and more.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = ListConfig;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, or a table with `path`")
            }
            fn visit_str<E>(self, path: &str) -> Result<ListConfig, E> {
                Ok(PathBuf::from(path).into())
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ListConfig, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(ListConfig {
                    path: table.path,
                    form: table.format,
                    source: table.source,
                    confidence: table.confidence,
                    columns: table.columns,
                    exclude: table.exclude,
                })
            }
        }
        deserializer.deserialize_any(Either)
    }
}
