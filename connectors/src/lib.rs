//! Sources, log formats, enrichment readers and sinks of Weir.

pub mod dead_letter;
pub mod decode;
mod detect;
pub mod enrich;
mod envelope;
mod explode;
pub mod file;
pub mod format;
mod gzip;
mod hash;
pub mod http;
pub mod json;
pub mod kafka;
pub mod mapping;
#[cfg(any(test, feature = "slow"))]
pub mod slow;
pub mod time;

pub use decode::{Decoder, DecoderConfig, FormatChoice, Record};
