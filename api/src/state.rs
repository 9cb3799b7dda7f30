//! What handlers need, and the two things that the binary implements for them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use weir_engine::alert::Evidence;
use weir_engine::health::Health;
use weir_engine::hunt::{QueryResult, Refusal};
use weir_engine::rule::Rule;
use weir_engine::store::SharedStore;

use crate::auth::Auth;
use crate::config::{ApiConfig, ConfigError};

/// Finds stored events.
#[async_trait]
pub trait EventLookup: Send + Sync {
    /// The stored events among `wanted` (at most 500), each as a JSON object with at least `event_uid`,
    /// and `raw` as text. Those that are not stored (any more) are left out.
    async fn events(&self, wanted: &[Evidence]) -> Result<Vec<Value>, weir_engine::Error>;
}

/// Runs a person's query where it can be killed and cannot take the server's memory.
#[async_trait]
pub trait SqlRunner: Send + Sync {
    async fn run(&self, query: &str) -> Result<QueryResult, Refusal>;
}

/// Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    pub store: SharedStore,
    pub health: Arc<Health>,
    /// Loaded rules; the sender replaces them on reload.
    pub rules: watch::Receiver<Arc<Vec<Rule>>>,
    pub events: Arc<dyn EventLookup>,
    pub sql: Arc<dyn SqlRunner>,
    pub auth: Arc<Auth>,
    pub(crate) request_timeout: Duration,
    pub(crate) sql_timeout: Duration,
    pub(crate) sql_queue: Duration,
    pub(crate) sql_slots: Arc<Semaphore>,
    pub(crate) stream_slots: Arc<Semaphore>,
    pub(crate) mask_secrets: bool,
    /// True once the server is stopping: streams end, so that nothing waits for them.
    pub(crate) closing: watch::Sender<bool>,
}

impl ApiState {
    pub fn new(
        config: &ApiConfig,
        store: SharedStore,
        health: Arc<Health>,
        rules: watch::Receiver<Arc<Vec<Rule>>>,
        events: Arc<dyn EventLookup>,
        sql: Arc<dyn SqlRunner>,
    ) -> Result<Self, ConfigError> {
        crate::config::check_listen(config.listen, &config.tokens)?;
        Ok(Self {
            store,
            health,
            rules,
            events,
            sql,
            auth: Arc::new(Auth::new(&config.tokens)?),
            request_timeout: config.request_timeout,
            sql_timeout: config.sql_timeout,
            sql_queue: config.sql_queue,
            sql_slots: Arc::new(Semaphore::new(config.sql_concurrency.max(1))),
            stream_slots: Arc::new(Semaphore::new(config.max_streams.max(1))),
            mask_secrets: config.mask_secrets,
            closing: watch::Sender::new(false),
        })
    }
}
