//! Enrichment: what the engine asks of GeoIP, threat intelligence and the asset table.

use datafusion::arrow::array::RecordBatch;

use crate::Result;

/// Fills columns of an event batch. Gets and returns batches in the event schema; never drops, adds or
/// reorders rows. A missing database leaves nulls.
pub trait Enrich: Send + Sync {
    fn enrich(&self, events: RecordBatch) -> Result<RecordBatch>;
}
