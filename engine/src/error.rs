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
    /// Whether the disk is full: what failed can be done again once there is room.
    pub fn is_out_of_space(&self) -> bool {
        let full = |kind: std::io::ErrorKind| {
            matches!(
                kind,
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
            )
        };
        match self {
            Self::Io { error, .. } => full(error.kind()),
            // SQLite and the archive's thread tell in words.
            Self::Store { reason, .. } | Self::Other(reason) => {
                ["No space left on device", "disk is full", "quota exceeded"]
                    .iter()
                    .any(|words| reason.contains(words))
            }
            _ => false,
        }
    }

    pub fn io(path: impl AsRef<std::path::Path>, error: std::io::Error) -> Self {
        Self::Io {
            path: path.as_ref().display().to_string(),
            error,
        }
    }
}
