//! Sources, log formats, enrichment readers and sinks of Weir.

pub mod decode;
mod envelope;

pub mod format;
pub mod json;
pub mod time;

pub use decode::{Decoder, DecoderConfig, FormatChoice, Record};
