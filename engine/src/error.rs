//! The engine's errors. Messages are lowercase, name the offending value, and say the way out.

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("rule {rule}: {reason}")]
    Rule { rule: String, reason: String },
    #[error("{0}")]
    Plan(#[from] Box<DataFusionError>),
    #[error("arrow: {0}")]
    Arrow(#[from] ArrowError),
    #[error("store {path}: {reason}")]
    Store { path: String, reason: String },
    /// A disk or a quota is full: what failed can be done again once there is room.
    #[error("{path}: {reason}")]
    Full { path: String, reason: String },
    #[error(
        "state of {owner} is damaged: {reason}; restore the store from a backup, or remove this state with `DELETE FROM state WHERE owner = '{owner}'` to start it anew"
    )]
    State { owner: String, reason: String },
    #[error("query refused: {0}")]
    Query(String),
    #[error("source {source_name}: {reason}")]
    Source { source_name: String, reason: String },
    #[error("{path}: {error}")]
    Io { path: String, error: std::io::Error },
    #[error("{0}")]
    Other(String),
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        Self::Plan(Box::new(error))
    }
}

impl Error {
    pub fn rule(rule: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Rule {
            rule: rule.into(),
            reason: reason.to_string(),
        }
    }
    pub fn io(path: impl AsRef<std::path::Path>, error: std::io::Error) -> Self {
        let path = path.as_ref().display().to_string();
        match is_full(&error) {
            true => Self::Full {
                path,
                reason: error.to_string(),
            },
            false => Self::Io { path, error },
        }
    }
}

/// Whether there is no room, on the disk or within a quota.
pub fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}
