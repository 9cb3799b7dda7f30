//! Integration tests of the API: the real router over a real store.
#![allow(clippy::unwrap_used)]

mod access;
mod contract;
mod fixture;
mod incidents;
mod lists;
mod operation;
mod stream;
