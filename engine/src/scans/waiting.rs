//! Rows of one batch that wait until it is certain which rows came before them.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch, new_null_array};
use datafusion::arrow::compute::{filter_record_batch, not};
use datafusion::arrow::datatypes::{Schema, TimestampMicrosecondType};
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::common::utils::memory::get_record_batch_memory_size;

use crate::Result;
use crate::batch::Partition;
use crate::schema::{self, col};
use crate::window::compact;

#[derive(Debug)]
pub(super) struct Piece {
    pub number: i64,
    pub partition: Partition,
    rows: RecordBatch,
    /// Memory; what was taken out is not given back before the rest is.
    pub bytes: usize,
    pub stored: bool,
}

impl Piece {
    pub fn new(number: i64, partition: Partition, rows: RecordBatch) -> Result<Self> {
        // The block that the batch was read from must not wait with it, nor the columns that nothing is in.
        let used = |at: &usize| rows.column(*at).null_count() < rows.num_rows();
        let used: Vec<usize> = (0..rows.num_columns()).filter(used).collect();
        let rows = compact(rows.project(&used)?)?;
        Ok(Self {
            number,
            partition,
            bytes: get_record_batch_memory_size(&rows),
            rows,
            stored: false,
        })
    }

    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Takes out the rows before an event time.
    pub fn take_before(&mut self, time: i64) -> Result<RecordBatch> {
        let schema = schema::events();
        let times = self.rows.column_by_name(schema.field(col::TIME).name());
        let times = times.map(|times| times.as_primitive::<TimestampMicrosecondType>().values());
        let before: BooleanArray = times
            .into_iter()
            .flatten()
            .map(|t| Some(*t < time))
            .collect();
        let taken = filter_record_batch(&self.rows, &before)?;
        if taken.num_rows() > 0 {
            self.rows = filter_record_batch(&self.rows, &not(&before)?)?;
        }
        let columns = schema.fields().iter().map(|field| {
            let known = taken.column_by_name(field.name()).cloned();
            known.unwrap_or_else(|| new_null_array(field.data_type(), taken.num_rows()))
        });
        Ok(RecordBatch::try_new(schema.clone(), columns.collect())?)
    }

    /// An Arrow IPC stream whose schema names the partition.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let names = [
            ("source", &self.partition.source),
            ("name", &self.partition.name),
        ];
        let names = names.map(|(key, name)| (key.to_owned(), name.to_string()));
        let fields = self.rows.schema().fields().clone();
        let schema = Schema::new_with_metadata(fields, HashMap::from(names));
        let rows = RecordBatch::try_new(Arc::new(schema), self.rows.columns().to_vec())?;
        let mut writer = StreamWriter::try_new(vec![], &rows.schema())?;
        writer.write(&rows)?;
        Ok(writer.into_inner()?)
    }

    pub fn decode(number: i64, bytes: &[u8]) -> Result<Self, String> {
        let text = |error: datafusion::arrow::error::ArrowError| error.to_string();
        let mut reader = StreamReader::try_new(bytes, None).map_err(text)?;
        let rows = reader.next().ok_or("it holds no rows")?.map_err(text)?;
        let stored = rows.schema();
        let name = |key| stored.metadata().get(key).map(String::as_str);
        let (source, name) = name("source")
            .zip(name("name"))
            .ok_or("it names no partition")?;
        Ok(Self {
            number,
            partition: Partition::new(source, name),
            bytes: get_record_batch_memory_size(&rows),
            rows,
            stored: true,
        })
    }
}
