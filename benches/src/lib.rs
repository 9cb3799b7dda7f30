//! Benches and the end-to-end throughput program of Weir.

pub mod generator;
