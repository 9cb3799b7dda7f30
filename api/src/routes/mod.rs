//! One file per kind of thing; each handler reads parameters, asks, and answers.

pub mod alerts;
pub mod comments;
pub mod incidents;
pub mod operation;
pub mod rules;
pub mod sql;
pub mod stream;
pub mod timeline;
