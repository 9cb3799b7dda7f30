//! A mapping written in the configuration.

use std::sync::Arc;

use weir_engine::schema::{COLUMNS, FAMILIES, Kind, col, index_of};

use super::{Compiled, Field, How, LogFormat, Path, SEVERITY, STATUS};

/// What the configuration says about a format of its own.
#[derive(Debug, Clone, Default)]
pub struct Description {
    pub product: String,
    pub family: String,
    pub class: i64,
    /// Paths that an event must have.
    pub required: Vec<String>,
    /// Paths whose values make up `event_uid`.
    pub uid: Vec<String>,
    /// Columns and where each comes from.
    pub columns: Vec<(String, Vec<Source>)>,
}

/// Where a column comes from: the first path that leads to something counts.
#[derive(Debug, Clone)]
pub struct Source {
    pub path: String,
    /// A name of [`HOWS`]; the column's own kind without it.
    pub how: Option<String>,
}

/// How values can be read, by name.
pub const HOWS: &[(&str, How)] = &[
    ("text", How::Text),
    ("lower", How::Lower),
    ("address", How::Address),
    ("no_address", How::NoAddress),
    ("host_of", How::HostOf),
    ("port_of", How::PortOf),
    ("int", How::Int),
    ("float", How::Float),
    ("bool", How::Bool),
    ("time", How::Time),
    ("time_utc", How::Utc),
    ("json", How::Json),
    ("severity", SEVERITY),
    ("status", STATUS),
];

/// A checked mapping of the configuration.
#[derive(Debug, Clone)]
pub struct CustomMapping(Arc<Compiled>);

impl CustomMapping {
    /// Says what is wrong with a description that cannot be used.
    pub fn new(description: &Description) -> Result<Self, String> {
        let Description {
            product, family, ..
        } = description;
        if product.is_empty() {
            return Err("a mapping needs a product".to_owned());
        }
        if !FAMILIES.contains(&family.as_str()) {
            let known = FAMILIES.join(", ");
            return Err(format!("family `{family}` is unknown; there are {known}"));
        }
        let mut fields: Vec<Field> = vec![];
        for (column, sources) in &description.columns {
            let index = index_of(column).ok_or_else(|| format!("column `{column}` is unknown"))?;
            if [
                col::EVENT_UID,
                col::FAMILY,
                col::PRODUCT,
                col::LOG_NAME,
                col::RAW,
            ]
            .contains(&index)
            {
                return Err(format!("column `{column}` cannot be mapped"));
            }
            if sources.is_empty() {
                return Err(format!("column `{column}` has no path"));
            }
            for source in sources {
                fields.push((&source.path, index, how(source, index)?));
            }
        }
        if !fields.iter().any(|(_, column, _)| *column == col::TIME) {
            return Err("a mapping must say which path is the `time`".to_owned());
        }
        let paths = |paths: &'static str, given: &[String]| match given.is_empty() {
            true => Err(format!("`{paths}` is empty")),
            false => Ok(()),
        };
        paths("required", &description.required)?;
        for path in description.required.iter().chain(&description.uid) {
            Path::parse(path)?;
        }
        let needs: Vec<_> = description
            .required
            .iter()
            .map(|path| (path.as_str(), &[][..]))
            .collect();
        let uid: Vec<_> = description.uid.iter().map(String::as_str).collect();
        let mapping = LogFormat {
            name: "event of the configured mapping",
            source: "mapped",
            family,
            product,
            class: description.class,
            needs: &[&needs],
            uid_with_content: true,
            nothing: &["-", "null", "None"],
            uid: &uid,
            fields: &fields,
            ..LogFormat::NEW
        };
        Ok(Self(Arc::new(Compiled::new(&mapping)?)))
    }

    pub(crate) fn tree(&self) -> &Compiled {
        &self.0
    }
}

fn how(source: &Source, column: usize) -> Result<How, String> {
    let Some(name) = &source.how else {
        return Ok(match (COLUMNS[column].kind, column) {
            (Kind::Text, col::SRC_IP | col::DST_IP) => How::Address,
            (Kind::Text, _) => How::Text,
            (Kind::Int, _) => How::Int,
            (Kind::Float, _) => How::Float,
            (Kind::Bool, _) => How::Bool,
            (Kind::Time, _) => How::Time,
        });
    };
    let Some((_, how)) = HOWS.iter().find(|(known, _)| known == name) else {
        let known: Vec<_> = HOWS.iter().map(|(name, _)| *name).collect();
        return Err(format!(
            "`as = \"{name}\"` is unknown; there are {}",
            known.join(", ")
        ));
    };
    match how.kind() == COLUMNS[column].kind {
        true => Ok(*how),
        false => Err(format!(
            "column `{}` holds {:?} values, which `as = \"{name}\"` does not give",
            COLUMNS[column].name, COLUMNS[column].kind
        )),
    }
}
