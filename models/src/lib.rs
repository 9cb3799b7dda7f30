//! Anomaly models of Weir: feature queries, training, scoring and artefacts.
//!
//! A model is a [`FeatureSpec`] (a window rule whose rows are feature vectors, one per key and window) and
//! an [`Artefact`] (everything that training learned, one JSON file). [`Model`] puts the two together: it
//! gives the engine its rule, the functions that the rule's query needs, and the scores.
//!
//! How training runs, step by step, is in [`train`]; how a score comes about is in [`fit`].
//!
//! This crate reads and writes artefact files and nothing else: whoever trains runs the feature query over
//! stored events with the engine, and hands the rows in.

pub mod artefact;
mod error;
pub mod fit;
pub mod history;
pub mod model;
pub mod spec;
pub mod train;
mod words;

pub use artefact::Artefact;
pub use error::{Error, Result};
pub use history::History;
pub use model::Model;
pub use spec::FeatureSpec;
pub use train::{TrainOptions, WindowRows, train};
