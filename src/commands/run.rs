//! `weir run`: the configured sources, until stopped.

use std::process::ExitCode;

use tokio::sync::oneshot;

use crate::config::Config;
use crate::node::{self, Node, Purpose};
use crate::serve;

pub async fn run(config: Config) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        !config.source.is_empty(),
        "no source is configured: add a [source.NAME] section; `weir config default` shows how"
    );
    // Refuse what can be refused before anything is opened.
    weir_api::check_listen(config.api.listen, &node::tokens(&config)?)?;
    let data = config.store.path.clone();
    let node = Node::open(&config, &data, Purpose::Service).await?;
    let api = serve::start(
        &config,
        &node.data,
        node.store.clone(),
        node.health.clone(),
        node.rules.clone(),
    )
    .await?;
    let running = node::start_sources(&config, &node.positions)?;
    tracing::info!(sources = running.sources.len(), rules = node.rules.len(), store = %data.display(), "running");
    let (stop, stopped) = oneshot::channel();
    let signal = tokio::spawn(async move {
        terminated().await;
        tracing::info!("stopping: committing what was read");
        let _ = stop.send(());
    });
    let outcome = node
        .pipeline
        .run(&running.sources, running.receiver, stopped)
        .await;
    for source in &running.sources {
        source.stop().await;
    }
    if outcome.is_ok() && !signal.is_finished() {
        // All input was read to its end; the API goes on serving what was found.
        tracing::info!("all sources are finished; serving until stopped");
        terminated().await;
    }
    signal.abort();
    api.stop().await;
    outcome?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Waits for Ctrl-C or SIGTERM.
pub async fn terminated() {
    let mut term = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(term) => term,
        Err(error) => {
            tracing::error!(%error, "cannot listen for SIGTERM");
            return std::future::pending().await;
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
    }
}
