//! Sources, log formats, enrichment readers and sinks of Weir.

pub mod dead_letter;
pub mod decode;
pub mod enrich;
mod envelope;
pub mod file;
pub mod format;
pub mod http;
pub mod json;
pub mod kafka;
pub mod time;

pub use decode::{Decoder, DecoderConfig, FormatChoice, Record};
