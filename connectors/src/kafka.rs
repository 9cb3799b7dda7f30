//! Kafka: a consumer group as source, a topic as place for dead letters.
//!
//! The engine's store is the truth about positions. What it committed is told to Kafka afterwards, so that
//! tools can show the lag and an instance without a position of its own knows where to begin; nothing here
//! ever commits what the store has not.
//!
//! One reader (thread and group member) per topic: Kafka's client names only the partition number when a
//! partition ends, and taking one topic's end for another's would let the watermark run ahead of unread
//! events. Several members of one process balance each topic evenly, too.
//!
//! A topic may be given as a pattern (`^logs-`). A thread of its own looks which topics there are, and each that
//! matches gets a reader.
//!
//! Memory is bounded: a reader prefetches at most [`PREFETCH_BYTES`] (shared by a source's topics), gathers at
//! most [`GATHERED_BYTES`], and pauses its partitions while the channel to the engine is full. It goes on
//! polling then, so that the group does not expel it.

mod callbacks;
mod config;
mod dead_letters;
mod finder;
mod gather;
mod inventory;
mod reader;
mod shared;
mod source;

pub use config::{KafkaConfig, Start};
pub use dead_letters::KafkaDeadLetters;
pub use inventory::{InventoryConfig, InventoryReader};
pub use source::KafkaSource;

/// Bytes that Kafka's client may fetch ahead, over all topics of a source.
pub const PREFETCH_BYTES: usize = 16 << 20;
/// Bytes of undecoded messages that one reader gathers, over all its partitions.
pub const GATHERED_BYTES: usize = 32 << 20;
/// Bytes after which one partition's block is decoded. A single longer message still makes one block.
pub const BLOCK_BYTES: usize = 8 << 20;
