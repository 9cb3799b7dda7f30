//! The asset table: what the organisation knows about the things that events name.
//!
//! One line per entity. An event gets the line of the first of these columns that names a known entity:
//! resource uid, resource name, host, pod, identity, account. Comparison is exact.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, StringViewArray, UInt32Array,
};
use hashbrown::HashMap;
use weir_engine::Result;
use weir_engine::schema::col;

use super::{list, replace};

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

#[derive(Debug)]
struct Asset {
    name: Option<String>,
    owner: Option<String>,
    environment: Option<String>,
    criticality: Option<&'static str>,
}

#[derive(Debug, Default)]
pub struct Assets {
    assets: Vec<Asset>,
    by_entity: HashMap<String, u32>,
}

impl Assets {
    pub fn open(path: Option<&Path>, warnings: &mut Vec<String>) -> Self {
        let mut table = Self::default();
        let Some(path) = path else { return table };
        let optional = ["name", "owner", "environment", "criticality"];
        list::read(path, &["entity"], &optional, warnings, |line| {
            let entity = line.get("entity").unwrap_or_default();
            if table.by_entity.contains_key(entity) {
                return Err(format!("entity {entity:?} stands in the table already"));
            }
            let criticality = match line.get("criticality") {
                None => None,
                Some(text) => {
                    let known = CRITICALITIES
                        .into_iter()
                        .find(|known| known.eq_ignore_ascii_case(text));
                    Some(known.ok_or_else(|| {
                        format!(
                            "criticality {text:?} is not one of {}",
                            CRITICALITIES.join(", ")
                        )
                    })?)
                }
            };
            let text = |name| line.get(name).map(str::to_owned);
            table
                .by_entity
                .insert(entity.to_owned(), table.assets.len() as u32);
            table.assets.push(Asset {
                name: text("name"),
                owner: text("owner"),
                environment: text("environment"),
                criticality,
            });
            Ok(())
        });
        table
    }

    pub fn len(&self) -> usize {
        self.assets.len()
    }

    /// Fills the `asset_*` columns; false when the table is empty.
    pub fn fill(&self, events: &RecordBatch, columns: &mut [ArrayRef]) -> Result<bool> {
        if self.assets.is_empty() {
            return Ok(false);
        }
        let mut matched: Vec<Option<&Asset>> = vec![None];
        let mut local: HashMap<u32, u32> = HashMap::new();
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
                        let found = self.by_entity.get(entities.value(row));
                        let result = found.map_or(0, |number| {
                            *local.entry(*number).or_insert_with(|| {
                                matched.push(Some(&self.assets[*number as usize]));
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
            let values = StringViewArray::from_iter(matched.iter().map(|m| m.and_then(part)));
            replace(columns, column, Arc::new(values), &of_row)
        };
        put(col::ASSET_NAME, |asset| asset.name.as_deref())?;
        put(col::ASSET_OWNER, |asset| asset.owner.as_deref())?;
        put(col::ASSET_ENVIRONMENT, |asset| asset.environment.as_deref())?;
        put(col::ASSET_CRITICALITY, |asset| asset.criticality)?;
        Ok(true)
    }
}
