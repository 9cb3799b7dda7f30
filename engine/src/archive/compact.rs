//! Merging of small files: frequent commits make many, readers want few.
//!
//! A merged file is written beside its inputs and covers their range, so from the moment its name appears
//! readers skip the inputs; these are removed later, when no reader can still hold a list that names them.
//! A crash at any point leaves either the inputs or the merged file to read, never both, never neither.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use datafusion::arrow::array::{RecordBatch, new_null_array};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::file::properties::WriterProperties;

use super::encode::{self, Columns};
use super::layout::{FileName, Folder, TEMPORARY};
use crate::schema;
use crate::{Error, Result};

/// Files from this size on are left alone.
const BIG: u64 = 8 << 20;
/// Sizes that count as one.
const SIZE_STEP: u64 = 8;
const SMALLEST: u64 = 128 << 10;

/// One file of a stream in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub from: i64,
    pub to: i64,
    pub bytes: u64,
}

/// Chooses neighbours to merge, among pieces in order of range: at least `at_least`, and together so much
/// bigger than any of them that a row is rewritten a few times in all, not with every merge.
pub fn choose(pieces: &[Piece], at_least: usize) -> Option<std::ops::Range<usize>> {
    let at_least = at_least.max(2);
    let worth = |run: &[Piece]| {
        let total: u64 = run.iter().map(|piece| piece.bytes).sum();
        let biggest = run.iter().map(|piece| piece.bytes).max().unwrap_or(0);
        run.len() >= at_least && total >= biggest * (at_least as u64 / 2)
    };
    // The smallest first: bigger neighbours wait for company of their own size.
    let mut limit = SMALLEST;
    while limit <= BIG {
        let mut start = 0;
        for end in 0..=pieces.len() {
            if pieces.get(end).is_some_and(|piece| piece.bytes < limit) {
                continue;
            }
            if start < end && worth(&pieces[start..end]) {
                return Some(start..end);
            }
            start = end + 1;
        }
        limit *= SIZE_STEP;
    }
    None
}

#[derive(Debug)]
pub struct Job {
    pub folder: Folder,
    pub stream: String,
    pub inputs: Vec<Piece>,
}

impl Job {
    fn name(&self, from: i64, to: i64) -> FileName {
        let stream = self.stream.clone();
        FileName { stream, from, to }
    }
    fn target(&self) -> FileName {
        let from = self.inputs.first().map_or(0, |piece| piece.from);
        let to = self.inputs.last().map_or(0, |piece| piece.to);
        self.name(from, to)
    }
    pub fn input_paths(&self, root: &Path) -> Vec<PathBuf> {
        let folder = self.folder.path(root);
        let path = |piece: &Piece| folder.join(self.name(piece.from, piece.to).to_string());
        self.inputs.iter().map(path).collect()
    }
}

/// A job's end: the merged piece.
pub type Done = (Job, Result<Piece>);

/// Runs jobs on a thread of its own, so that the pipeline never waits for one.
#[derive(Debug)]
pub struct Compactor {
    jobs: Option<mpsc::Sender<Job>>,
    pub done: mpsc::Receiver<Done>,
    thread: Option<JoinHandle<()>>,
}

impl Compactor {
    pub fn start(root: PathBuf, properties: WriterProperties, sync: bool) -> Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (finished, done) = mpsc::channel();
        let work = move || {
            for (number, job) in queue.into_iter().enumerate() {
                let temporary = root.join(TEMPORARY).join(format!("merge-{number}.parquet"));
                let merged = merge(&root, &job, &temporary, &properties, sync);
                if merged.is_err() {
                    let _ = std::fs::remove_file(&temporary);
                }
                if finished.send((job, merged)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("weir-compact".into())
            .spawn(work)
            .map_err(|e| Error::io("thread weir-compact", e))?;
        Ok(Self {
            jobs: Some(jobs),
            done,
            thread: Some(thread),
        })
    }

    pub fn submit(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
    }

    /// Waits for the jobs under way.
    pub fn stop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn merge(
    root: &Path,
    job: &Job,
    temporary: &Path,
    properties: &WriterProperties,
    sync: bool,
) -> Result<Piece> {
    let open = |path: PathBuf| {
        let file = File::open(&path).map_err(|e| Error::io(&path, e))?;
        let meta = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
            .map_err(|e| encode::failed(&path, e))?;
        let names = meta.schema().fields().iter();
        let columns = names.filter_map(|field| schema::index_of(field.name()));
        Ok((path, file, Columns::of(columns)))
    };
    let inputs: Vec<_> = (job.input_paths(root).into_iter())
        .map(open)
        .collect::<Result<_>>()?;
    let columns = inputs
        .iter()
        .fold(Columns::default(), |all, i| all.union(i.2));
    let mut writer = encode::create(temporary, columns, properties)?;
    for (path, file, own) in inputs {
        // Text as views: rows are passed on without a copy of their text.
        let options = ArrowReaderOptions::new().with_schema(own.schema()?);
        let meta =
            ArrowReaderMetadata::load(&file, options).map_err(|e| encode::failed(&path, e))?;
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, meta)
            .with_batch_size(1024)
            .build()
            .map_err(|e| encode::failed(&path, e))?;
        for batch in reader {
            let batch = widen(&batch?, columns)?;
            writer.write(&batch).map_err(|e| encode::failed(&path, e))?;
        }
    }
    let bytes = encode::finish(writer, temporary, sync)?;
    let (name, folder) = (job.target(), job.folder.path(root));
    let target = folder.join(name.to_string());
    std::fs::rename(temporary, &target).map_err(|e| Error::io(&target, e))?;
    if sync {
        encode::sync_folder(&folder)?;
    }
    let (from, to) = (name.from, name.to);
    Ok(Piece { from, to, bytes })
}

/// The batch with null columns added, up to `columns`.
fn widen(batch: &RecordBatch, columns: Columns) -> Result<RecordBatch> {
    let schema = columns.schema()?;
    let column = |field: &std::sync::Arc<datafusion::arrow::datatypes::Field>| {
        let have = batch.column_by_name(field.name()).cloned();
        have.unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows()))
    };
    let arrays = schema.fields().iter().map(column).collect();
    Ok(RecordBatch::try_new(schema, arrays)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(sizes: &[u64]) -> Vec<Piece> {
        let piece = |(n, bytes): (usize, &u64)| Piece {
            from: n as i64,
            to: n as i64 + 1,
            bytes: *bytes,
        };
        sizes.iter().enumerate().map(piece).collect()
    }

    #[test]
    fn only_neighbours_of_about_one_size_are_merged() {
        let small = 1000;
        let middle = 500 << 10;
        assert_eq!(choose(&pieces(&[small; 3]), 4), None);
        assert_eq!(choose(&pieces(&[small; 5]), 4), Some(0..5));
        assert_eq!(
            choose(&pieces(&[middle, small, small, small, small]), 4),
            Some(1..5)
        );
        // A big one between keeps them apart: a range with a hole cannot be named.
        assert_eq!(choose(&pieces(&[small, small, BIG, small, small]), 4), None);
        assert_eq!(
            choose(&pieces(&[middle, small, middle, middle, small]), 4),
            Some(0..5)
        );
        assert_eq!(choose(&pieces(&[BIG; 40]), 4), None);
        assert_eq!(choose(&[], 0), None);
    }

    #[test]
    fn a_row_is_rewritten_once_per_size() {
        let mut files: Vec<Piece> = vec![];
        let mut rewritten = 0;
        for n in 0..3600 {
            files.push(Piece {
                from: n,
                to: n + 1,
                bytes: 20_000,
            });
            while let Some(range) = choose(&files, 16) {
                let bytes = files[range.clone()].iter().map(|f| f.bytes).sum();
                rewritten += bytes;
                let (from, to) = (files[range.start].from, files[range.end - 1].to);
                files.splice(range, [Piece { from, to, bytes }]);
            }
        }
        assert!(files.len() < 50, "{}", files.len());
        assert!(rewritten <= 3 * 3600 * 20_000, "{rewritten}");
    }
}
