//! What enrichment would have filled, for tests of rules: they run without databases.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringViewArray,
};
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use serde_json::{Map, Value};
use weir_engine::schema::{self, COLUMNS, Kind, col};

/// Source address, or `*` for every event → column → value.
pub type Enrichment = BTreeMap<String, Map<String, Value>>;

/// Fills the columns named. The error says which cannot be filled.
pub(crate) fn fill(events: RecordBatch, with: &Enrichment) -> Result<RecordBatch, String> {
    let names: BTreeSet<&String> = with.values().flat_map(Map::keys).collect();
    let mut columns = events.columns().to_vec();
    for name in names {
        let index = schema::index_of(name).ok_or(format!("enrich: no column is named `{name}`"))?;
        let addresses = events.column(col::SRC_IP).as_string_view();
        let value = |row: usize| {
            let address = (!addresses.is_null(row)).then(|| addresses.value(row));
            let own = address.and_then(|address| with.get(address)?.get(name));
            own.or_else(|| with.get("*")?.get(name))
        };
        let rows = 0..events.num_rows();
        let old = &columns[index];
        let kept = |row: usize| old.is_valid(row);
        columns[index] = match COLUMNS[index].kind {
            Kind::Text => {
                let old = old.as_string_view();
                let text = |row| match value(row) {
                    Some(value) => value.as_str(),
                    None => kept(row).then(|| old.value(row)),
                };
                Arc::new(rows.map(text).collect::<StringViewArray>()) as ArrayRef
            }
            Kind::Int => {
                let old = old.as_primitive::<Int64Type>();
                let number = |row| match value(row) {
                    Some(value) => value.as_i64(),
                    None => kept(row).then(|| old.value(row)),
                };
                Arc::new(rows.map(number).collect::<Int64Array>())
            }
            Kind::Float => {
                let old = old.as_primitive::<Float64Type>();
                let number = |row| match value(row) {
                    Some(value) => value.as_f64(),
                    None => kept(row).then(|| old.value(row)),
                };
                Arc::new(rows.map(number).collect::<Float64Array>())
            }
            Kind::Bool => {
                let old = old.as_boolean();
                let truth = |row| match value(row) {
                    Some(value) => value.as_bool(),
                    None => kept(row).then(|| old.value(row)),
                };
                Arc::new(rows.map(truth).collect::<BooleanArray>())
            }
            Kind::Time => return Err(format!("enrich: `{name}` is the event's own")),
        };
    }
    RecordBatch::try_new(events.schema(), columns).map_err(|error| error.to_string())
}
