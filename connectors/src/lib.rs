//! Sources, log formats, enrichment readers and sinks of Weir.

pub mod enrich;
