//! Errors of models. Messages are lowercase, name the wrong value, and say the way out.

use std::path::Path;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {source}")]
    Io {
        path: String,
        source: std::io::Error,
    },
    #[error("{path}: not a model artefact: {reason}; train it again with `weir model train`")]
    Format { path: String, reason: String },
    #[error(
        "model {name} was trained with another feature query (hash {trained}, now {current}): its numbers do not fit any more; train it again with `weir model train`"
    )]
    OtherQuery {
        name: String,
        trained: String,
        current: String,
    },
    #[error(
        "model {name} cannot be trained on {windows} windows, at least {minimum} are needed: give it a longer span of stored events"
    )]
    TooFew {
        name: String,
        windows: usize,
        minimum: usize,
    },
    #[error("model {name}: {reason}")]
    Training { name: String, reason: String },
    #[error("model {name}: feature query has no numeric column {column}")]
    Column { name: String, column: String },
    #[error("event batch has no text column {0}")]
    Events(String),
}

impl Error {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            path: path.display().to_string(),
            source,
        }
    }
    pub(crate) fn format(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Format {
            path: path.display().to_string(),
            reason: reason.to_string(),
        }
    }
    pub(crate) fn training(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::Training {
            name: name.to_owned(),
            reason: reason.to_string(),
        }
    }
}
