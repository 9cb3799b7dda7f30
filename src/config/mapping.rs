//! A format of one's own: JSON events and which of their values fill which column.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use weir_connectors::mapping::custom::{CustomMapping, Description, Source};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    product: String,
    family: String,
    #[serde(default)]
    class: i64,
    required: Vec<String>,
    #[serde(default)]
    uid: Vec<String>,
    columns: BTreeMap<String, Paths>,
}

/// One path, or several, of which the first that leads to something counts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Paths {
    One(Path),
    Many(Vec<Path>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Path {
    Plain(String),
    Read(Read),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    path: String,
    #[serde(rename = "as")]
    how: String,
}

impl From<Path> for Source {
    fn from(path: Path) -> Self {
        match path {
            Path::Plain(path) => Self { path, how: None },
            Path::Read(Read { path, how }) => Self {
                path,
                how: Some(how),
            },
        }
    }
}

/// Reads and checks a mapping: a bad path or column is refused where it stands.
pub fn mapping<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<CustomMapping>, D::Error> {
    let Some(written) = Option::<Written>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let columns = written.columns.into_iter().map(|(column, paths)| {
        let paths = match paths {
            Paths::One(path) => vec![path],
            Paths::Many(paths) => paths,
        };
        (column, paths.into_iter().map(Source::from).collect())
    });
    let description = Description {
        product: written.product,
        family: written.family,
        class: written.class,
        required: written.required,
        uid: written.uid,
        columns: columns.collect(),
    };
    let mapping = CustomMapping::new(&description).map_err(serde::de::Error::custom)?;
    Ok(Some(mapping))
}
