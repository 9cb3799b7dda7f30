//! Integration tests of the engine: one binary, one module per subject.
#![allow(clippy::unwrap_used)]

mod archive;
mod backtest;
mod detect;
mod events;
mod functions;
mod gone;
mod hunt;
mod hunt_child;
mod kinds;
mod need;
mod pipeline;
mod plans;
mod proof;
mod scans;
mod state;
mod store;
mod tables;
mod traps;
