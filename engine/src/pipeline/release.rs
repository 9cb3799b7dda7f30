//! Rows of scans that have waited for their turn.

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::TimestampMicrosecondType;

use super::Pipeline;
use crate::Result;
use crate::scans::Released;
use crate::schema::col;

impl Pipeline {
    /// Lets go what is certain now. Before time moves: what waited is not late for having waited.
    pub(super) async fn release(&mut self, now: i64) -> Result<()> {
        let watermarks = &self.watermarks;
        let released = self
            .scans
            .release(|source| watermarks.of_source(source, now))?;
        for released in released {
            let Released {
                partition,
                rows,
                unchanged,
            } = released;
            let processed = rows.num_rows() as u64;
            let late = self.late(&rows);
            let reached = self.reached.entry(partition.clone()).or_default();
            reached.counts.release(processed, unchanged);
            reached.counts.late += late;
            reached.changed = true;
            self.note_release(&partition, processed, unchanged, late);
            self.changed = true;
            self.rows_since_commit += rows.num_rows();
            if processed == 0 {
                continue;
            }
            let rows = self.parts.enrich.enrich(rows)?;
            if let Some(archive) = &mut self.parts.archive {
                let (stream, position) = self.scans.archive_position(&partition.source);
                archive.push(&stream, position, position + 1, &rows).await?;
            }
            self.parts.detector.push(&rows).await;
        }
        Ok(())
    }

    /// How many rows are behind the watermark.
    pub(super) fn late(&self, rows: &RecordBatch) -> u64 {
        let times = rows
            .column(col::TIME)
            .as_primitive::<TimestampMicrosecondType>();
        let behind = |time: &&i64| self.watermark.is_some_and(|w| **time < w.before());
        times.values().iter().filter(behind).count() as u64
    }
}
