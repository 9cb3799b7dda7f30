//! What the engine asks of a source, and what a source may tell the engine.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use crate::Result;
use crate::batch::{DeadLetter, EventBatch, Partition};
use crate::health::Intake;

/// Messages on the bounded channel from sources to the engine. A full channel is how a source learns that
/// the engine is behind; it then pauses and holds nothing more in memory.
#[derive(Debug)]
pub enum SourceMessage {
    /// These partitions are read from now on; each takes part in the watermark. `floor` is the earliest
    /// event time (µs) to expect from it where that is known before reading; without one the partition
    /// holds the watermark back until its first event.
    Assigned {
        partitions: Vec<(Partition, Option<i64>)>,
    },
    /// The source has told of every partition that it begins with. Until all sources have, time stands
    /// still: a watermark that does not know of a partition yet would run ahead of it.
    Ready {
        source: Arc<str>,
        /// Partitions are shared out among members of a group: more may come at any time.
        shared: bool,
    },
    Batch(Box<EventBatch>),
    /// The partition was read to its end and nothing more is there now. Only such a partition can become
    /// idle.
    CaughtUp {
        partition: Partition,
    },
    /// Other members of the group own these now. The engine commits what it has of them, then answers.
    Revoked {
        partitions: Vec<Partition>,
        done: oneshot::Sender<()>,
    },
    /// Nothing will ever follow in this partition (a file that was read whole).
    Finished {
        partition: Partition,
    },
    /// The source cannot go on; the engine stops with this message.
    Failed {
        source: String,
        reason: String,
    },
}

/// Position to start at, asked by a source for each partition it gets.
pub type Positions = std::collections::HashMap<Partition, i64>;

/// A running source. Started by its own constructor; it owns its thread or task, sends
/// [`SourceMessage`]s, and stops when the channel closes.
#[async_trait]
pub trait Source: Send + Sync {
    fn name(&self) -> &str;
    /// Whether a partition that an earlier run read can come from it as it is configured now. One that cannot
    /// holds no time back.
    fn covers(&self, _partition: &Partition) -> bool {
        true
    }
    /// Called after the store committed these positions. Only now may Kafka be told.
    fn committed(&self, positions: &[(Partition, i64)]);
    /// Messages not read yet, per partition, where the source can tell.
    fn lag(&self) -> Vec<(Partition, i64)> {
        vec![]
    }
    /// What was pushed to the source, if it is one that is pushed to.
    fn intake(&self) -> Option<Intake> {
        None
    }
    /// What keeps the source from reading now (broker unreachable, topic missing), for people; None when
    /// all is well.
    fn problem(&self) -> Option<String> {
        None
    }
    /// Stops reading, leaves the group. Idempotent.
    async fn stop(&self);
}

/// The engine's end of the channel.
pub type SourceReceiver = mpsc::Receiver<SourceMessage>;
pub type SourceSender = mpsc::Sender<SourceMessage>;

/// Where dead letters go. Called before the transaction that commits their positions: after a crash a
/// letter can be written again, with the same partition and position, but none is lost.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    async fn write(&self, letters: &[DeadLetter]) -> Result<()>;
}
