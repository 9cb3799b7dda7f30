//! Files that are complete: which there are, merging of small ones, retention.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use super::{Sealed, Worker};
use crate::archive::compact::{self, Job, Piece};
use crate::archive::encode;
use crate::archive::layout::{self, Folder, Hour, SET_ASIDE};
use crate::{Error, Result};

impl Worker {
    /// Makes the folder if need be, and lists it once.
    pub(super) fn know_folder(&mut self, folder: &Folder, path: &Path) -> Result<()> {
        if self.pieces.contains_key(folder) {
            return Ok(());
        }
        // The list is a cache: forgetting it costs a listing, keeping it all would grow without end.
        if self.pieces.len() >= 1024 {
            self.pieces.clear();
        }
        encode::create_folder(&self.root, path, self.config.sync)?;
        let mut streams: BTreeMap<String, Vec<Piece>> = BTreeMap::new();
        for file in layout::files(&self.root, folder)?.0 {
            let piece = Piece {
                from: file.name.from,
                to: file.name.to,
                bytes: file.bytes,
            };
            streams.entry(file.name.stream).or_default().push(piece);
        }
        self.pieces.insert(folder.clone(), streams);
        Ok(())
    }

    pub(super) fn add_piece(&mut self, file: &Sealed) {
        let Some(streams) = self.pieces.get_mut(&file.folder) else {
            return;
        };
        let pieces = streams.entry(file.name.stream.clone()).or_default();
        let (from, to) = (file.name.from, file.name.to);
        pieces.retain(|piece| (piece.from, piece.to) != (from, to));
        let bytes = file.bytes;
        let place = pieces.partition_point(|piece| piece.from < from);
        pieces.insert(place, Piece { from, to, bytes });
        let stream = file.name.stream.clone();
        self.grown.insert((file.folder.clone(), stream));
    }

    pub(super) fn submit_merges(&mut self) {
        for place in std::mem::take(&mut self.grown) {
            if self.merging.contains(&place) {
                self.grown.insert(place);
                continue;
            }
            let (folder, stream) = &place;
            let pieces = self.pieces.get(folder).and_then(|s| s.get(stream));
            let (Some(pieces), Some(committed)) = (pieces, self.committed.get(stream.as_str()))
            else {
                continue;
            };
            let safe = pieces.partition_point(|piece| piece.to <= *committed);
            if let Some(range) = compact::choose(&pieces[..safe], self.config.merge_at) {
                self.compactor.submit(Job {
                    folder: folder.clone(),
                    stream: stream.clone(),
                    inputs: pieces[range].to_vec(),
                });
                self.merging.insert(place);
            }
        }
    }

    pub(super) fn collect_merged(&mut self) {
        while let Ok((job, merged)) = self.compactor.done.try_recv() {
            let place = (job.folder.clone(), job.stream.clone());
            match merged {
                Ok(piece) => {
                    self.merging.remove(&place);
                    self.grown.insert(place);
                    let now = Instant::now();
                    let paths = job.input_paths(&self.root);
                    self.garbage
                        .extend(paths.into_iter().map(|path| (now, path)));
                    let streams = self.pieces.get_mut(&job.folder);
                    if let Some(pieces) = streams.and_then(|s| s.get_mut(&job.stream)) {
                        pieces.retain(|old| !job.inputs.contains(old));
                        let place = pieces.partition_point(|old| old.from < piece.from);
                        pieces.insert(place, piece);
                    }
                }
                // Its place stays marked: the same files would fail again. Nothing is lost by it.
                Err(e) => {
                    let folder = job.folder.path(&self.root);
                    tracing::warn!(folder = %folder.display(), stream = %job.stream, error = %e, "archive files not merged; they stay as they are");
                }
            }
        }
    }

    pub(super) fn remove_garbage(&mut self) {
        let grace = self.config.grace;
        self.garbage.retain(|(since, path)| {
            if since.elapsed() < grace {
                return true;
            }
            if let Err(e) = std::fs::remove_file(path) {
                tracing::debug!(path = %path.display(), error = %e, "replaced archive file not removed");
            }
            false
        });
    }

    /// Looks at the folders at most once per hour of `before`, so that it can be called at every commit.
    pub(super) fn expire(&mut self, before: i64) -> Result<usize> {
        if self.expired == Some(Hour::of(before)) {
            return Ok(0);
        }
        let mut removed = 0;
        for root in [self.root.clone(), self.root.join(SET_ASIDE)] {
            for folder in layout::folders(&root, None)? {
                if folder.hour.last() >= before {
                    continue;
                }
                let path = folder.path(&root);
                std::fs::remove_dir_all(&path).map_err(|e| Error::io(&path, e))?;
                // The day's folder goes with its last hour.
                let _ = path.parent().map(std::fs::remove_dir);
                self.pieces.remove(&folder);
                removed += 1;
            }
        }
        self.expired = Some(Hour::of(before));
        Ok(removed)
    }
}
