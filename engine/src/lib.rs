//! Vocabulary and mechanism of Weir: events, time, windows, rules, alerts, incidents, commit.
//!
//! This crate knows no vendor, no HTTP and no Kafka. Read [`pipeline`] first: its one loop calls every
//! other module in the order in which data meets them.

pub mod alert;
pub mod archive;
pub mod backtest;
pub mod batch;
pub mod builder;
pub mod cases;
pub mod correlate;
pub mod dedup;
pub mod detect;
pub mod dispatch;
pub mod enrich;
pub mod error;
pub mod finding;
pub mod functions;
pub mod health;
pub mod hunt;
pub mod incident;
pub mod json;
pub mod keys;
pub mod mask;
pub mod parallel;
pub mod pipeline;
pub mod plan;
pub mod rule;
pub mod scans;
pub mod schema;
pub mod score;
pub mod source;
pub mod store;
pub mod tables;
pub mod time;
pub mod watermark;
pub mod window;

pub use alert::{Alert, AlertState, Entity, Evidence};
pub use error::{Error, Result};
pub use incident::Incident;
pub use rule::{Confidence, Level, Rule};
pub use tables::Tables;
