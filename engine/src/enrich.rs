//! Enrichment: what the engine asks of GeoIP, threat intelligence, the asset table and what was learnt of pods.

use datafusion::arrow::array::RecordBatch;

use crate::Result;
use crate::health::EnrichHealth;
use crate::store::StateWrite;

/// Fills columns of an event batch. Gets and returns batches in the event schema; never drops, adds or
/// reorders rows. A missing database leaves nulls.
pub trait Enrich: Send + Sync {
    fn enrich(&self, events: RecordBatch) -> Result<RecordBatch>;

    /// Takes back a piece of state that [`take_state`](Self::take_state) gave, whoever's it is.
    fn restore(&self, _owner: &str, _key: i64, _value: &[u8]) {}

    /// What was learnt from events since the last call, to be committed with them.
    fn take_state(&self) -> Vec<StateWrite> {
        vec![]
    }

    fn health(&self) -> EnrichHealth {
        EnrichHealth::default()
    }
}
