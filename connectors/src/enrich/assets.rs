//! The asset table: what the organisation knows about the things and identities that events name.
//!
//! One entry per entity, from a file (CSV or JSON) and from an inventory that changes while we run, which
//! goes before the file. An event gets the entry of the first of these columns that names a known entity:
//! resource uid, resource name, host, pod, identity, account. Comparison is exact.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, StringViewArray, UInt32Array,
};
use hashbrown::HashMap;
use serde_json::{Map, Value};
use weir_engine::Result;
use weir_engine::schema::col;

use super::list::{self, Field, Header};
use super::problems::{Account, Problems};
use super::replace;

/// Columns that may name an asset, the most specific first.
const ENTITY_COLUMNS: [usize; 6] = [
    col::RESOURCE_UID,
    col::RESOURCE_NAME,
    col::HOSTNAME,
    col::K8S_POD,
    col::ACTOR_UID,
    col::CLOUD_ACCOUNT,
];

const CRITICALITIES: [&str; 4] = ["low", "medium", "high", "critical"];

const FIELDS: &[Field] = &[
    ("entity", &["entity"]),
    ("name", &["name"]),
    ("owner", &["owner"]),
    ("environment", &["environment"]),
    ("criticality", &["criticality"]),
    ("tags", &["tags"]),
];

#[derive(Debug, PartialEq)]
struct Asset {
    name: Option<String>,
    owner: Option<String>,
    environment: Option<String>,
    criticality: Option<&'static str>,
    /// JSON array.
    tags: Option<String>,
}

impl Asset {
    /// From text values by field; `tags` separated by `,`, `;` or `|`.
    fn of<'v>(get: impl Fn(&str) -> Option<&'v str>) -> Result<Self, String> {
        let criticality = match get("criticality") {
            None => None,
            Some(text) => {
                let mut known = CRITICALITIES.into_iter();
                let same = known.find(|known| known.eq_ignore_ascii_case(text));
                Some(same.ok_or_else(|| {
                    format!(
                        "criticality {text:?} is not one of {}",
                        CRITICALITIES.join(", ")
                    )
                })?)
            }
        };
        let tags = get("tags").map(|text| {
            let tags = text.split([',', ';', '|']).map(str::trim);
            tags.filter(|tag| !tag.is_empty()).collect::<Vec<_>>()
        });
        let text = |name| get(name).map(str::to_owned);
        Ok(Self {
            name: text("name"),
            owner: text("owner"),
            environment: text("environment"),
            criticality,
            tags: tags.and_then(|tags| serde_json::to_string(&tags).ok()),
        })
    }

    /// From a JSON object; `tags` may be an array.
    fn of_object(object: &Map<String, Value>) -> Result<Self, String> {
        let mut texts = Map::new();
        for (name, value) in object {
            let text = match value {
                Value::Null => continue,
                Value::String(text) => text.clone(),
                Value::Array(items) if name == "tags" => {
                    let items = items.iter().filter_map(Value::as_str);
                    items.collect::<Vec<_>>().join("|")
                }
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                _ if FIELDS.iter().any(|(field, _)| field == name) => {
                    return Err(format!("{name} is not a text"));
                }
                _ => continue,
            };
            texts.insert(name.clone(), text.into());
        }
        let filled = |text: &&str| !text.is_empty();
        Self::of(|name| texts.get(name).and_then(Value::as_str).filter(filled))
    }
}

type Table = HashMap<String, Arc<Asset>>;

/// Entries that come and go while we run.
#[derive(Debug, Default)]
pub struct Inventory {
    entries: RwLock<Table>,
    refused: AtomicU64,
}

impl Inventory {
    /// Takes an entity's entry, a JSON object; without one the entity is forgotten. A wrong entry changes
    /// nothing.
    pub fn put(&self, entity: &str, object: Option<&[u8]>) -> Result<(), String> {
        if entity.is_empty() {
            return Err("the key is empty; it must be the entity".into());
        }
        let asset = match object {
            None => None,
            Some(bytes) => {
                let object: Map<String, Value> = serde_json::from_slice(bytes)
                    .map_err(|error| format!("the value is not a JSON object: {error}"))?;
                Some(Arc::new(Asset::of_object(&object)?))
            }
        };
        let mut table = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        match asset {
            Some(asset) => table.insert(entity.to_owned(), asset),
            None => table.remove(entity),
        };
        Ok(())
    }

    /// Counts an entry that could not be taken.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub fn len(&self) -> usize {
        self.table().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
pub struct Assets {
    by_entity: Table,
}

impl Assets {
    pub fn open(path: Option<&Path>, problems: &mut Problems) -> Self {
        let mut table = Self::default();
        let Some(path) = path else { return table };
        let mut account = Account::new(path, problems);
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let text = text.trim_start_matches('\u{feff}');
                if text.trim_start().starts_with(['{', '[']) {
                    table.json(text, &mut account);
                } else {
                    table.csv(text, &mut account);
                }
            }
            Err(error) => account.broken(format!("cannot be read: {error}")),
        }
        account.close();
        table
    }

    fn csv(&mut self, text: &str, account: &mut Account) {
        let mut before = 0;
        let mut rest = text;
        let first = loop {
            let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
            rest = after;
            before += 1;
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') || rest.is_empty() {
                break line;
            }
        };
        let delimiter = list::delimiter(first);
        let header = Header::of(&list::split(first, delimiter), FIELDS, |_| None);
        if !header.has("entity") {
            let names: Vec<&str> = FIELDS.iter().map(|(field, _)| *field).collect();
            return account.broken(format!(
                "the first line must be a header with some of the columns {}; entity is missing, the file is ignored",
                names.join(", ")
            ));
        }
        list::read(
            rest,
            before,
            delimiter,
            &header,
            "entity",
            account,
            |line| {
                let asset = Asset::of(|name| line.get(name))?;
                Ok(self.insert(line.get("entity").unwrap_or_default(), asset)?)
            },
        );
    }

    /// An array of objects, or objects one after the other.
    fn json(&mut self, text: &str, account: &mut Account) {
        let mut number = 0;
        for document in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
            let items = match document {
                Ok(Value::Array(items)) => items,
                Ok(item) => vec![item],
                Err(error) => return account.broken(format!("is not valid JSON: {error}")),
            };
            for item in items {
                number += 1;
                let entity = item.get("entity").and_then(Value::as_str);
                let added = match (entity, &item) {
                    (Some(entity), Value::Object(object)) if !entity.is_empty() => {
                        Asset::of_object(object).and_then(|asset| self.insert(entity, asset))
                    }
                    _ => Err("it is no object with a text `entity`".into()),
                };
                match added {
                    Ok(()) => account.used(),
                    Err(reason) => account.skip(number, &reason),
                }
            }
        }
    }

    fn insert(&mut self, entity: &str, asset: Asset) -> Result<(), String> {
        if self.by_entity.contains_key(entity) {
            return Err(format!("entity {entity:?} stands in the table already"));
        }
        self.by_entity.insert(entity.to_owned(), Arc::new(asset));
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.by_entity.len()
    }

    /// Fills the `asset_*` columns; false when both tables are empty.
    pub fn fill(
        &self,
        inventory: &Inventory,
        events: &RecordBatch,
        columns: &mut [ArrayRef],
    ) -> Result<bool> {
        let inventory = inventory.table();
        if self.by_entity.is_empty() && inventory.is_empty() {
            return Ok(false);
        }
        let find = |entity: &str| {
            let newest = inventory.get(entity);
            newest.or_else(|| self.by_entity.get(entity))
        };
        let mut matched: Vec<Option<&Arc<Asset>>> = vec![None];
        let mut local: HashMap<*const Asset, u32> = HashMap::new();
        let mut of_row = vec![0u32; events.num_rows()];
        for column in ENTITY_COLUMNS {
            let entities = events.column(column).as_string_view();
            if entities.null_count() == entities.len() {
                continue;
            }
            // Runs of one value are common, and equal views of one array are equal text.
            let mut last: Option<(u128, u32)> = None;
            for (row, view) in entities.views().iter().enumerate() {
                if of_row[row] != 0 || entities.is_null(row) {
                    continue;
                }
                of_row[row] = match last {
                    Some((seen, result)) if seen == *view => result,
                    _ => {
                        let result = find(entities.value(row)).map_or(0, |asset| {
                            *local.entry(Arc::as_ptr(asset)).or_insert_with(|| {
                                matched.push(Some(asset));
                                matched.len() as u32 - 1
                            })
                        });
                        last = Some((*view, result));
                        result
                    }
                };
            }
        }
        let of_row = UInt32Array::from(of_row);
        let mut put = |column: usize, part: fn(&Asset) -> Option<&str>| {
            let values = matched.iter().map(|m| m.and_then(|asset| part(asset)));
            let values = StringViewArray::from_iter(values);
            replace(columns, column, Arc::new(values), &of_row)
        };
        put(col::ASSET_NAME, |asset| asset.name.as_deref())?;
        put(col::ASSET_OWNER, |asset| asset.owner.as_deref())?;
        put(col::ASSET_ENVIRONMENT, |asset| asset.environment.as_deref())?;
        put(col::ASSET_CRITICALITY, |asset| asset.criticality)?;
        put(col::ASSET_TAGS, |asset| asset.tags.as_deref())?;
        Ok(true)
    }
}
