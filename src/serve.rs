//! The API with what only the binary can give it: stored events, and SQL in a process of its own.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use weir_api::{ApiConfig, ApiState, EventLookup, SqlRunner};
use weir_engine::alert::Evidence;
use weir_engine::archive::Archive;
use weir_engine::health::Health;
use weir_engine::hunt::{ChildRunner, Limits, QueryResult, Refusal};
use weir_engine::store::SharedStore;
use weir_engine::{Error, Rule};

use crate::config::Config;
use crate::node;

/// SQL children that run side by side.
const SQL_AT_ONCE: usize = 2;

/// A served API; dropping it does not stop it, [`stop`](Self::stop) does.
pub struct Serving {
    pub address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Serving {
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

/// Binds and serves. Without tokens only loopback is served, and this says so.
pub async fn start(
    config: &Config,
    data: &Path,
    store: SharedStore,
    health: Arc<Health>,
    rules: watch::Receiver<Arc<Vec<Rule>>>,
) -> anyhow::Result<Serving> {
    let api = ApiConfig {
        listen: config.api.listen,
        tokens: node::tokens(config)?,
        mask_secrets: config.privacy.mask_secrets,
        ..ApiConfig::default()
    };
    let events = Arc::new(Stored {
        folder: data.join("events"),
    });
    let sql = Arc::new(Children(runner(config, data)?));
    let state = ApiState::new(&api, store, health, rules, events, sql)?;
    let listener = TcpListener::bind(api.listen).await.with_context(|| {
        format!(
            "cannot listen on {}; set api.listen or WEIR_API__LISTEN to a free address",
            api.listen
        )
    })?;
    let address = listener.local_addr()?;
    if api.tokens.is_empty() {
        tracing::warn!(
            "no API token is configured: only this machine is served, as administrator; `weir token` makes one"
        );
    }
    tracing::info!("API on http://{address}/api/v1, document at /api/openapi.json");
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move {
        let _ = stopped.await;
    };
    let task = tokio::spawn(weir_api::serve(listener, state, shutdown));
    Ok(Serving {
        address,
        stop,
        task,
    })
}

/// Runs SQL that people type, in a child of this program.
pub fn runner(config: &Config, data: &Path) -> anyhow::Result<ChildRunner> {
    let limits = Limits {
        rows: config.sql.rows,
        timeout: config.sql.timeout,
        memory: usize::try_from(config.sql.memory_mb)? << 20,
        ..Limits::default()
    };
    let program = std::env::current_exe().context("cannot find this program again")?;
    let mut runner = ChildRunner::new(
        program,
        vec![
            "sql-child".into(),
            "--memory-mb".into(),
            config.sql.memory_mb.to_string(),
        ],
        data.to_owned(),
        limits,
        SQL_AT_ONCE,
    );
    runner.tables.clone_from(&config.tables);
    Ok(runner)
}

struct Stored {
    folder: std::path::PathBuf,
}

#[async_trait]
impl EventLookup for Stored {
    async fn events(&self, wanted: &[Evidence]) -> Result<Vec<Value>, Error> {
        let wanted: Vec<(String, i64)> = wanted
            .iter()
            .map(|e| (e.event_uid.clone(), e.time))
            .collect();
        Archive::open(&self.folder)?.lookup(&wanted).await
    }
}

struct Children(ChildRunner);

#[async_trait]
impl SqlRunner for Children {
    async fn run(&self, query: &str) -> Result<QueryResult, Refusal> {
        self.0.run(query).await
    }
}
