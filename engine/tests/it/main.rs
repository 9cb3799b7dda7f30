//! Integration tests of the engine.
#![allow(clippy::unwrap_used)]

mod store;
