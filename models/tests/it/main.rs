//! Models from vectors and from events to anomalies.
#![allow(clippy::unwrap_used)]

mod artefact;
mod events;
mod support;
mod training;
