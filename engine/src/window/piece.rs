//! Batches in a piece of stored state.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;

use crate::{Error, Result};

/// Appends a length (u64) and as many bytes: an Arrow IPC stream.
pub fn stream(to: &mut Vec<u8>, batches: &[RecordBatch]) -> Result<()> {
    let Some(first) = batches.first() else {
        return Err(Error::Other("nothing to write".into()));
    };
    let mut writer = StreamWriter::try_new(vec![], &first.schema())?;
    for batch in batches {
        writer.write(batch)?;
    }
    let bytes = writer.into_inner()?;
    to.extend((bytes.len() as u64).to_le_bytes());
    to.extend(bytes);
    Ok(())
}

/// Takes such a stream off the front.
pub fn read(rest: &mut &[u8]) -> Result<Vec<RecordBatch>, String> {
    let cut = || "a piece is cut short".to_owned();
    let (length, after) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut())?;
    let (bytes, after) = after.split_at_checked(length).ok_or_else(cut)?;
    *rest = after;
    let reader = StreamReader::try_new(bytes, None).map_err(|e| e.to_string())?;
    let batches = reader.collect::<std::result::Result<_, _>>();
    batches.map_err(|e| e.to_string())
}
