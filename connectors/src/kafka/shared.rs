//! What the threads around one topic share: the reader, the client's callbacks, and the engine that asks for
//! lag and tells what it committed.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_engine::batch::Partition;

/// What the group decided and the reader has yet to carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rebalance {
    Assign(Vec<i32>),
    Revoke {
        partitions: Vec<i32>,
        /// The session timed out: others may own them already.
        lost: bool,
    },
}

/// Positions that the engine's store has.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub positions: HashMap<i32, i64>,
    /// Partitions whose position Kafka was not told yet.
    pub untold: BTreeSet<i32>,
}

/// What keeps us from reading. The kinds are told apart so that each change is logged once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Unreachable,
    NoTopic,
    Refused,
}

#[derive(Debug)]
pub(super) struct Shared {
    /// Name of the source.
    pub source: Arc<str>,
    pub topic: Arc<str>,
    pub brokers: String,
    pub stopping: AtomicBool,
    /// The consumer is being closed: rebalances are carried out at once, nobody reads any more.
    pub closing: AtomicBool,
    rebalances: Mutex<VecDeque<Rebalance>>,
    stored: Mutex<Stored>,
    /// End of each assigned partition as last heard of.
    ends: Mutex<HashMap<i32, i64>>,
    trouble: Mutex<Option<(Trouble, String)>>,
    /// The client's own words for the last error, which its error codes leave out.
    last_error: Mutex<String>,
}

impl Shared {
    pub fn new(
        source: Arc<str>,
        topic: &str,
        brokers: &str,
        positions: HashMap<i32, i64>,
    ) -> Arc<Self> {
        Arc::new(Self {
            source,
            topic: topic.into(),
            brokers: brokers.into(),
            stopping: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            rebalances: Mutex::default(),
            stored: Mutex::new(Stored {
                positions,
                untold: BTreeSet::new(),
            }),
            ends: Mutex::default(),
            trouble: Mutex::default(),
            last_error: Mutex::default(),
        })
    }

    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub fn partition(&self, number: i32) -> Partition {
        Partition::new(
            self.source.clone(),
            format!("{}/{number}", self.topic).as_str(),
        )
    }

    pub fn push_rebalance(&self, rebalance: Rebalance) {
        lock(&self.rebalances).push_back(rebalance);
    }
    pub fn next_rebalance(&self) -> Option<Rebalance> {
        lock(&self.rebalances).pop_front()
    }

    pub fn stored(&self) -> MutexGuard<'_, Stored> {
        lock(&self.stored)
    }
    pub fn ends(&self) -> MutexGuard<'_, HashMap<i32, i64>> {
        lock(&self.ends)
    }

    /// The store has this position now.
    pub fn store(&self, number: i32, position: i64) {
        let mut stored = self.stored();
        if stored.positions.insert(number, position) != Some(position) {
            stored.untold.insert(number);
        }
    }

    /// Kafka did not take what it was told; tell it again.
    pub fn tell_again(&self, numbers: impl IntoIterator<Item = i32>) {
        self.stored().untold.extend(numbers);
    }

    /// Messages between the store's position and the end, where both are known.
    pub fn lag(&self) -> Vec<(Partition, i64)> {
        let ends = self.ends().clone();
        let stored = self.stored();
        let known = ends.iter().filter_map(|(number, end)| {
            let position = stored.positions.get(number)?;
            Some((self.partition(*number), (end - position).max(0)))
        });
        known.collect()
    }

    pub fn set_last_error(&self, text: &str) {
        *lock(&self.last_error) = text.to_string();
    }
    pub fn last_error(&self) -> String {
        lock(&self.last_error).clone()
    }

    /// Logs and remembers a trouble; the same kind again says nothing new.
    pub fn trouble(&self, kind: Trouble, text: String) {
        let mut trouble = lock(&self.trouble);
        if trouble.as_ref().is_none_or(|(known, _)| *known != kind) {
            tracing::error!(source = %self.source, topic = %self.topic, "{text}");
            *trouble = Some((kind, text));
        }
    }

    /// Logs and forgets, if it was one of these kinds.
    pub fn well_again(&self, kinds: &[Trouble]) {
        let mut trouble = lock(&self.trouble);
        if trouble
            .as_ref()
            .is_some_and(|(known, _)| kinds.contains(known))
        {
            tracing::info!(source = %self.source, topic = %self.topic, "reading from {} again", self.brokers);
            *trouble = None;
        }
    }

    pub fn problem(&self) -> Option<String> {
        lock(&self.trouble).as_ref().map(|(_, text)| text.clone())
    }
}

/// Counts the readers of a source that have no first assignment yet, and the finder that has not looked yet.
#[derive(Debug)]
pub(super) struct Gate(AtomicUsize);

impl Gate {
    pub fn new(readers: usize) -> Self {
        Self(AtomicUsize::new(readers))
    }
    /// Another reader, before the last one has passed.
    pub fn one_more(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
    /// Once per reader; true for the last of them.
    pub fn pass(&self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

/// `topic/3` → (`topic`, 3).
pub(super) fn split(name: &str) -> Option<(&str, i32)> {
    let (topic, number) = name.rsplit_once('/')?;
    Some((topic, number.parse().ok()?))
}

/// What the mutexes guard is whole after each statement: a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Arc<Shared> {
        Shared::new("trail".into(), "t", "b:9092", HashMap::from([(0, 10)]))
    }

    #[test]
    fn lag_is_known_where_position_and_end_are() {
        let shared = shared();
        shared.ends().extend([(0, 15), (1, 99)]);
        assert_eq!(shared.lag(), [(Partition::new("trail", "t/0"), 5)]);
        // The end was heard of before the position moved past it.
        shared.store(0, 20);
        assert_eq!(shared.lag(), [(Partition::new("trail", "t/0"), 0)]);
    }

    #[test]
    fn kafka_is_told_only_what_changed() {
        let shared = shared();
        shared.store(0, 10);
        assert!(shared.stored().untold.is_empty());
        shared.store(0, 11);
        assert_eq!(shared.stored().untold, BTreeSet::from([0]));
    }

    #[test]
    fn a_trouble_ends_only_by_its_own_cure() {
        let shared = shared();
        shared.trouble(Trouble::NoTopic, "topic t does not exist".into());
        shared.well_again(&[Trouble::Unreachable]);
        assert_eq!(shared.problem().as_deref(), Some("topic t does not exist"));
        shared.well_again(&[Trouble::NoTopic]);
        assert_eq!(shared.problem(), None);
    }

    #[test]
    fn the_last_reader_opens_the_gate() {
        let gate = Gate::new(2);
        assert!(!gate.pass());
        gate.one_more();
        assert!(!gate.pass());
        assert!(gate.pass());
    }

    #[test]
    fn partition_names_are_split_at_the_number() {
        assert_eq!(split("a.topic-1/12"), Some(("a.topic-1", 12)));
        assert_eq!(split("/var/log/trail.json"), None);
        assert_eq!(split("topic"), None);
    }
}
