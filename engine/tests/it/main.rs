//! Integration tests of the engine: one binary, one module per subject.
#![allow(clippy::unwrap_used)]

mod archive;
mod detect;
mod events;
mod hunt;
mod hunt_child;
mod pipeline;
mod proof;
mod store;
mod traps;
