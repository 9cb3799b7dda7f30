//! Sources, log formats, enrichment readers and sinks of Weir.

pub mod decode;
pub mod enrich;
pub mod kafka;
