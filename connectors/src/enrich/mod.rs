//! Enrichment: GeoIP, threat intelligence and the asset table, filled into event batches.
//!
//! Everything is read once, by [`Enricher::open`]; after that no file is touched and nothing can fail for
//! want of data. A missing or damaged database is a warning and null columns. Rows are never added,
//! dropped or reordered, and no column but this stage's own is changed.
//!
//! Cost: each text column that is looked up is first reduced to its distinct values; lookups happen per
//! distinct value, and rows get their result by one index `take` per output column.

mod assets;
mod geo;
mod intel;
mod list;
mod table;

use std::path::PathBuf;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, StringViewArray, UInt32Array, new_null_array,
};
use datafusion::arrow::compute::take;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use weir_engine::Result;
use weir_engine::enrich::Enrich;
use weir_engine::schema::col;

pub use table::read_table;

use assets::Assets;
use geo::Geo;
use intel::Intel;

/// Files that enrichment reads. All are optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnrichConfig {
    /// MaxMind DB with cities or countries.
    pub geo_city: Option<PathBuf>,
    /// MaxMind DB with autonomous systems.
    pub geo_asn: Option<PathBuf>,
    /// CSV files with the header `indicator,type` and optionally `source,confidence,expires`.
    pub indicators: Vec<PathBuf>,
    /// CSV file with the header `entity` and any of `name,owner,environment,criticality`.
    pub assets: Option<PathBuf>,
}

/// The enrichment stage.
#[derive(Debug)]
pub struct Enricher {
    geo: Geo,
    intel: Intel,
    assets: Assets,
}

impl Enricher {
    /// Reads everything that the configuration names. What could not be used comes back as one line per
    /// problem, and is logged; the rest works.
    pub fn open(config: &EnrichConfig) -> (Self, Vec<String>) {
        let mut warnings = vec![];
        let enricher = Self {
            geo: Geo::open(
                config.geo_city.as_deref(),
                config.geo_asn.as_deref(),
                &mut warnings,
            ),
            intel: Intel::open(&config.indicators, &mut warnings),
            assets: Assets::open(config.assets.as_deref(), &mut warnings),
        };
        for warning in &warnings {
            tracing::warn!("enrichment: {warning}");
        }
        (enricher, warnings)
    }

    /// Indicators in use.
    pub fn indicators(&self) -> usize {
        self.intel.len()
    }

    /// Assets in use.
    pub fn assets(&self) -> usize {
        self.assets.len()
    }
}

impl Enrich for Enricher {
    fn enrich(&self, events: RecordBatch) -> Result<RecordBatch> {
        if self.geo.is_empty() && self.intel.len() == 0 && self.assets.len() == 0 {
            return Ok(events);
        }
        let mut columns = events.columns().to_vec();
        let src = Distinct::of(events.column(col::SRC_IP));
        let mut changed = false;
        if let Some(src) = &src {
            changed |= self.geo.fill(src, &mut columns)?;
        }
        changed |= self.intel.fill(src.as_ref(), &events, &mut columns)?;
        changed |= self.assets.fill(&events, &mut columns)?;
        if !changed {
            return Ok(events);
        }
        Ok(RecordBatch::try_new(events.schema(), columns)?)
    }
}

/// A text column as its distinct values and, per row, which of them it holds.
#[derive(Debug)]
struct Distinct<'a> {
    /// Values by index; index 0 stands for null.
    values: Vec<&'a str>,
    of_row: Vec<u32>,
}

impl<'a> Distinct<'a> {
    /// None when the column has no value at all.
    fn of(column: &'a ArrayRef) -> Option<Self> {
        let array: &StringViewArray = column.as_string_view_opt()?;
        if array.null_count() == array.len() {
            return None;
        }
        let mut values = vec![""];
        let mut index: HashMap<&str, u32> = HashMap::new();
        let mut of_row = Vec::with_capacity(array.len());
        // Events of one caller come in runs, and equal views of one array are equal text.
        let mut last = (0u128, 0u32);
        for (row, view) in array.views().iter().enumerate() {
            if array.is_null(row) {
                of_row.push(0);
                continue;
            }
            if last.1 == 0 || last.0 != *view {
                let value = array.value(row);
                let number = *index.entry(value).or_insert_with(|| {
                    values.push(value);
                    values.len() as u32 - 1
                });
                last = (*view, number);
            }
            of_row.push(last.1);
        }
        Some(Self { values, of_row })
    }

    /// Distinct values with their index, without null.
    fn iter(&self) -> impl Iterator<Item = (usize, &'a str)> + '_ {
        self.values.iter().copied().enumerate().skip(1)
    }
}

/// Puts `values[of_row]` in a column's place. A column without any value stays all null.
fn replace(
    columns: &mut [ArrayRef],
    column: usize,
    values: ArrayRef,
    of_row: &UInt32Array,
) -> Result<()> {
    let old = &columns[column];
    if values.null_count() < values.len() {
        columns[column] = take(&values, of_row, None)?;
    } else if old.null_count() < old.len() {
        columns[column] = new_null_array(old.data_type(), old.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
