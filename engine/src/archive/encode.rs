//! Event batches to Parquet bytes.
//!
//! A file has only those columns that hold a value in it, plus the never-null ones; readers fill the others
//! with nulls. That keeps small files small: of nearly seventy columns a Falco alert uses twenty.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression as Codec, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::layout::{Folder, Hour};
use super::{ArchiveConfig, Compression};
use crate::schema::{self, COLUMNS, col};
use crate::{Error, Result};

/// A set of columns of the event schema, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Columns(u128);

const _: () = assert!(COLUMNS.len() <= 128);

impl Columns {
    /// Those that hold a value, or may never be null.
    pub fn used(batch: &RecordBatch) -> Self {
        let schema = schema::events();
        let used = |index: &usize| {
            !schema.field(*index).is_nullable()
                || batch.column(*index).null_count() < batch.num_rows()
        };
        Self::of((0..COLUMNS.len()).filter(used))
    }
    pub fn of(indices: impl IntoIterator<Item = usize>) -> Self {
        Self(indices.into_iter().fold(0, |bits, index| bits | 1 << index))
    }
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
    pub fn indices(self) -> Vec<usize> {
        (0..COLUMNS.len())
            .filter(|index| self.0 >> index & 1 == 1)
            .collect()
    }
    pub fn schema(self) -> Result<SchemaRef> {
        Ok(Arc::new(schema::events().project(&self.indices())?))
    }
}

/// Rows by family and hour. Fails for a family that cannot be a folder's name.
pub fn split(events: &RecordBatch) -> Result<Vec<(Folder, RecordBatch)>> {
    let times = events
        .column(col::TIME)
        .as_primitive::<TimestampMicrosecondType>()
        .values();
    let families = events.column(col::FAMILY).as_string_view();
    let mut rows: BTreeMap<(Hour, &str), Vec<u32>> = BTreeMap::new();
    // Neighbours mostly share their hour: look the group up only where it changes.
    let mut row = 0;
    while row < times.len() {
        let key = (Hour::of(times[row]), families.value(row));
        let group = rows.entry(key).or_default();
        while row < times.len() && key == (Hour::of(times[row]), families.value(row)) {
            group.push(row as u32);
            row += 1;
        }
    }
    let single = rows.len() == 1;
    let folders = rows.into_iter().map(|((hour, family), rows)| {
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if family.is_empty() || !family.chars().all(word) {
            return Err(Error::Other(format!(
                "event family {family:?} cannot be archived: only lower-case letters, digits and `_` make a family's name"
            )));
        }
        let family = family.to_owned();
        let part = match single {
            true => events.clone(),
            false => take_record_batch(events, &UInt32Array::from(rows))?,
        };
        Ok((Folder { hour, family }, part))
    });
    folders.collect()
}

pub fn properties(config: &ArchiveConfig) -> WriterProperties {
    let column = |index: usize| ColumnPath::from(COLUMNS[index].name);
    let codec = match config.compression {
        Compression::Lz4 => Codec::LZ4_RAW,
        Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
        Compression::None => Codec::UNCOMPRESSED,
    };
    let mut properties = WriterProperties::builder()
        .set_compression(codec)
        .set_max_row_group_row_count(Some(config.row_group_rows))
        // Keeps one open file from holding a whole row group of megabyte events in memory.
        .set_max_row_group_bytes(Some(64 << 20))
        // Text statistics cost a comparison per value and rarely prune anything: rows come in order of time.
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_statistics_enabled(column(col::TIME), EnabledStatistics::Page);
    // No two values alike: a dictionary would only be given up after a megabyte.
    for distinct in [col::TIME, col::EVENT_UID, col::API_REQUEST_UID, col::RAW] {
        properties = properties.set_column_dictionary_enabled(column(distinct), false);
    }
    properties.build()
}

pub type FileWriter = ArrowWriter<File>;

pub fn create(path: &Path, columns: Columns, properties: &WriterProperties) -> Result<FileWriter> {
    let file = File::create(path).map_err(|e| Error::io(path, e))?;
    let options = ArrowWriterOptions::new()
        .with_properties(properties.clone())
        // The reader brings its own schema.
        .with_skip_arrow_metadata(true);
    ArrowWriter::try_new_with_options(file, columns.schema()?, options).map_err(|e| failed(path, e))
}

pub fn failed(path: &Path, error: ParquetError) -> Error {
    let (path, reason) = (path.display().to_string(), error.to_string());
    let full = match &error {
        ParquetError::External(cause) => cause.downcast_ref().is_some_and(crate::error::is_full),
        _ => false,
    };
    match full {
        true => Error::Full { path, reason },
        false => Error::Store { path, reason },
    }
}

/// Ends the file and returns its size.
pub fn finish(mut writer: FileWriter, path: &Path, sync: bool) -> Result<u64> {
    writer.finish().map_err(|e| failed(path, e))?;
    // What is still buffered is written here: a full disk is told as such, not in words as `into_inner` would.
    writer.sync().map_err(|e| Error::io(path, e))?;
    let file = writer.inner();
    if sync {
        file.sync_all().map_err(|e| Error::io(path, e))?;
    }
    Ok(file.metadata().map_err(|e| Error::io(path, e))?.len())
}

/// Makes a folder's entries durable.
pub fn sync_folder(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| Error::io(path, e))
}

/// Makes a folder and its parents below `root`, durably if asked.
pub fn create_folder(root: &Path, path: &Path, sync: bool) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(path).map_err(|e| Error::io(path, e))?;
    if sync {
        for parent in path.ancestors().skip(1) {
            sync_folder(parent)?;
            if parent == root {
                break;
            }
        }
    }
    Ok(())
}

/// Bytes that a batch stands for, about. (`get_array_memory_size` would count the one input block behind all
/// text columns once per column.)
pub fn weight(events: &RecordBatch) -> usize {
    let raw = events.column(col::RAW).as_string_view();
    // The low half of a view is its length.
    let text: usize = raw.views().iter().map(|view| *view as u32 as usize).sum();
    text + events.num_rows() * 256
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use datafusion::arrow::array::{Int64Array, RecordBatch};

    use super::*;

    /// The last bytes of a file are written when it ends: of a small one, all of them.
    #[test]
    fn a_disk_that_is_full_at_the_end_of_a_file_is_told_as_such() {
        for rows in [1, 1 << 20] {
            let path = Path::new("/dev/full");
            let numbers = Arc::new(Int64Array::from_iter_values(0..rows));
            let batch = RecordBatch::try_from_iter([("n", numbers as _)]).unwrap();
            let file = File::create(path).unwrap();
            let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
            let written = writer.write(&batch).map_err(|e| failed(path, e));
            let error = written
                .and_then(|()| finish(writer, path, false))
                .unwrap_err();
            assert!(matches!(error, Error::Full { .. }), "{rows} rows: {error}");
        }
    }
}
