//! Enrichment: GeoIP, threat intelligence, the asset table, what was learnt of pods, and whether a machine acts,
//! filled into event batches.
//!
//! Files are read by [`Enricher::open`] and, when they change, by [`Enricher::reopen`]; after that no file is
//! touched and nothing can fail for want of data. A missing or damaged file is a warning and null columns, or
//! what was known before. Rows are never added, dropped or reordered, and no column but this stage's own is
//! changed.
//!
//! Cost: what was found of an identity or an address is remembered across batches ([`Memo`]), so that a row costs
//! one look-up there. Other text columns are first reduced to their distinct values. Rows get their result by one
//! index `take` per output column.

mod assets;
mod automation;
mod geo;
mod intel;
mod list;
mod memo;
mod place;
mod pods;
mod problems;
mod table;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, StringViewArray, UInt32Array, new_null_array,
};
use datafusion::arrow::compute::take;
use hashbrown::HashMap;
use weir_engine::Result;
use weir_engine::enrich::Enrich;
use weir_engine::health::EnrichHealth;
use weir_engine::schema::col;
use weir_engine::store::StateWrite;

pub use assets::Inventory;
pub use intel::{Columns, Form, ListConfig};
pub use table::read_table;

use assets::Assets;
use automation::Automation;
use geo::{Geo, Places};
use intel::Intel;
use memo::Memo;
use pods::Pods;
use problems::Problems;

/// What enrichment reads. All is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnrichConfig {
    /// MaxMind DB with cities or countries.
    pub geo_city: Option<PathBuf>,
    /// MaxMind DB with autonomous systems.
    pub geo_asn: Option<PathBuf>,
    /// Threat intelligence and exclusions.
    pub indicators: Vec<ListConfig>,
    /// CSV or JSON with `entity` and any of `name`, `owner`, `environment`, `criticality`, `tags`.
    pub assets: Option<PathBuf>,
    /// Identities that act by themselves, beside the built-in ones; `*` stands for any text.
    pub automation: Vec<String>,
}

/// The enrichment stage.
#[derive(Debug)]
pub struct Enricher {
    geo: Arc<Geo>,
    intel: Arc<Intel>,
    assets: Arc<Assets>,
    inventory: Arc<Inventory>,
    pods: Arc<Pods>,
    automation: Automation,
    addresses: Mutex<Addresses>,
    health: EnrichHealth,
}

/// What was found of source addresses.
#[derive(Debug, Default)]
struct Addresses {
    memo: Memo<Address>,
    places: Places,
}

#[derive(Debug, Default)]
struct Address {
    /// Number of its place.
    place: u32,
    /// Indicators that it may match, best first.
    indicators: Vec<u32>,
}

impl Enricher {
    /// Reads everything that the configuration names. What could not be used comes back as one line per
    /// problem; the rest works.
    pub fn open(config: &EnrichConfig) -> (Self, Vec<String>) {
        Self::read(config, None)
    }

    /// Reads everything again. A part (GeoIP, intelligence, assets) whose files are broken now stays as it was.
    pub fn reopen(&self, config: &EnrichConfig) -> (Self, Vec<String>) {
        Self::read(config, Some(self))
    }

    fn read(config: &EnrichConfig, before: Option<&Self>) -> (Self, Vec<String>) {
        let mut health = EnrichHealth::default();
        let mut warnings = vec![];
        // What was read, or what was there before if that is broken.
        let mut part = |name: &str, problems: Problems| {
            if let Some(left_out) = problems.left_out() {
                tracing::warn!("enrichment: of the {name} {left_out} (docs/enrichment.md)");
            }
            warnings.extend(problems.warnings);
            for (reason, count) in problems.unused {
                *health.unused.entry(reason.into()).or_default() += count;
            }
            if problems.broken {
                health.broken.push(name.into());
            }
            let kept = before.filter(|_| problems.broken);
            if kept.is_some() {
                warnings.push(format!(
                    "the {name} of before stay in use until the files can be read again"
                ));
            }
            kept
        };
        let mut problems = Problems::default();
        let geo = Geo::open(
            config.geo_city.as_deref(),
            config.geo_asn.as_deref(),
            &mut problems,
        );
        let geo = part("databases", problems).map_or_else(|| geo.into(), |old| old.geo.clone());
        let mut problems = Problems::default();
        let intel = Intel::open(&config.indicators, &mut problems);
        let intel = part("indicators", problems).map_or_else(|| intel.into(), |e| e.intel.clone());
        let mut problems = Problems::default();
        let assets = Assets::open(config.assets.as_deref(), &mut problems);
        let assets = part("assets", problems).map_or_else(|| assets.into(), |e| e.assets.clone());
        for warning in &warnings {
            tracing::warn!("enrichment: {warning}");
        }
        let enricher = Self {
            geo,
            intel,
            assets,
            inventory: before.map_or_else(Arc::default, |before| before.inventory.clone()),
            pods: before.map_or_else(Arc::default, |before| before.pods.clone()),
            automation: Automation::new(&config.automation),
            addresses: Mutex::default(),
            health,
        };
        (enricher, warnings)
    }

    /// Places and threat intelligence.
    fn fill_addresses(&self, events: &RecordBatch, columns: &mut [ArrayRef]) -> Result<bool> {
        if self.geo.is_empty() && self.intel.len() == 0 {
            return Ok(false);
        }
        let src = events.column(col::SRC_IP).as_string_view();
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Addresses { memo, places } = &mut *addresses;
        if memo.is_full() {
            *places = Places::default();
        }
        let of_row = memo.numbers(src, |text| Address {
            place: self.geo.place(text, places),
            indicators: self.intel.of_address(text),
        });
        let of_row = of_row.as_deref();
        let found = |row: usize| &memo.found[of_row.map_or(0, |of_row| of_row[row] as usize)];
        let mut changed = false;
        if of_row.is_some() {
            let of_row = (0..src.len()).map(|row| found(row).place);
            changed |= self.geo.fill(of_row, places, columns)?;
        }
        let indicators = |row: usize| found(row).indicators.as_slice();
        changed |= self.intel.fill(indicators, events, columns)?;
        Ok(changed)
    }

    /// Indicators in use.
    pub fn indicators(&self) -> usize {
        self.intel.len()
    }

    /// Exclusions in use.
    pub fn exclusions(&self) -> usize {
        self.intel.exclusions()
    }

    /// Memory of the indicators, about.
    pub fn indicator_bytes(&self) -> usize {
        self.intel.bytes()
    }

    /// Assets in use.
    pub fn assets(&self) -> usize {
        self.assets.len() + self.inventory.len()
    }

    /// Entries of the asset table that change while we run; the same after every [`reopen`](Self::reopen).
    pub fn inventory(&self) -> Arc<Inventory> {
        self.inventory.clone()
    }
}

impl Enrich for Enricher {
    fn enrich(&self, events: RecordBatch) -> Result<RecordBatch> {
        let mut columns = events.columns().to_vec();
        let mut changed = self.automation.fill(&events, &mut columns);
        changed |= self.pods.fill(&events, &mut columns)?;
        changed |= self.fill_addresses(&events, &mut columns)?;
        changed |= self.assets.fill(&self.inventory, &events, &mut columns)?;
        if !changed {
            return Ok(events);
        }
        Ok(RecordBatch::try_new(events.schema(), columns)?)
    }

    fn restore(&self, owner: &str, _key: i64, value: &[u8]) {
        self.pods.restore(owner, value);
    }

    fn take_state(&self) -> Vec<StateWrite> {
        self.pods.take_state()
    }

    fn health(&self) -> EnrichHealth {
        let mut unused = self.health.unused.clone();
        if self.inventory.refused() > 0 {
            unused.insert("inventory".into(), self.inventory.refused());
        }
        EnrichHealth {
            unused,
            indicators: self.indicators() as u64,
            exclusions: self.exclusions() as u64,
            assets: self.assets() as u64,
            pods: self.pods.len() as u64,
            ..self.health.clone()
        }
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
