//! Errors of rule files. Each names its file and says what to write instead.

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {source}")]
    Io {
        path: String,
        source: std::io::Error,
    },
    /// `reason` holds line and column where the text has them.
    #[error("{path}: {reason}")]
    Rule { path: String, reason: String },
    #[error("{second}: id {id} is also the id of {first}; give one of them a new UUID")]
    DuplicateId {
        id: String,
        first: String,
        second: String,
    },
    #[error("{path}: no rule file (*.yml or *.yaml) in this folder or below it")]
    NoRules { path: String },
    /// Everything wrong in a folder at once, a line each.
    #[error("{}", lines(.0))]
    Many(Vec<Error>),
}

impl Error {
    pub(crate) fn rule(path: &str, reason: impl std::fmt::Display) -> Self {
        Self::Rule {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// One error as it is, several as [`Error::Many`].
    pub(crate) fn all(mut errors: Vec<Self>) -> Self {
        match errors.len() {
            1 => errors.remove(0),
            _ => Self::Many(errors),
        }
    }
}

fn lines(errors: &[Error]) -> String {
    let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
