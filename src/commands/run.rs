//! `weir run`: the configured sources, until stopped.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use weir_connectors::kafka::InventoryReader;
use weir_engine::error::is_full;
use weir_engine::health::Health;
use weir_engine::pipeline::Reload;
use weir_engine::{Error, Rule};

use crate::config::Config;
use crate::node::{self, Node, Purpose};
use crate::push::{self, Pushed};
use crate::{reload, scheduled, serve, sources};

/// How often room is looked for on a full disk.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(2);
/// Bytes that must fit before the sources are read again.
const ROOM: usize = 8 << 20;
/// How long events wait for the inventory at the start.
const INVENTORY: Duration = Duration::from_secs(15);

pub async fn run(config: Config, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        !config.source.is_empty(),
        "no source is configured: add a [source.NAME] section; `weir config default` shows how"
    );
    // Refuse what can be refused before anything is opened.
    weir_api::check_listen(config.api.listen, &node::tokens(&config)?)?;
    push::check(&config)?;
    let data = config.store.path.clone();
    let mut node = Node::open(&config, &data, Purpose::Service).await?;
    let pushed = push::start(&config, &node.positions).await?;
    let (store, health) = (node.store.clone(), node.health.clone());
    let (rules, served) = watch::channel(Arc::new(node.rules.clone()));
    let rules = Arc::new(rules);
    let api = serve::start(&config, &data, store.clone(), health.clone(), served).await?;
    let (told, mut terminate) = watch::channel(false);
    let signal = tokio::spawn(async move {
        terminated().await;
        tracing::info!("stopping: committing what was read");
        let _ = told.send(true);
        // The sender stays, or waiting for it would end.
        std::future::pending::<()>().await;
    });
    let backtests = tokio::spawn(scheduled::run(
        config.clone(),
        file.map(Path::to_owned),
        data.clone(),
        health.clone(),
    ));
    let outcome = loop {
        match session(&config, node, &pushed, &rules, terminate.clone()).await {
            Err(error @ Error::Full { .. }) if !*terminate.borrow() => {
                tracing::error!(%error, "the disk is full: reading stops until there is room");
                if !wait_for_room(&data, &health, &mut terminate).await {
                    break Err(error.into());
                }
                tracing::info!("there is room again: going on where the store is");
                let again = Node::over(
                    &config,
                    &data,
                    Purpose::Service,
                    store.clone(),
                    health.clone(),
                );
                node = match again.await {
                    Ok(node) => node,
                    Err(error) => break Err(error),
                };
            }
            other => break other.map_err(anyhow::Error::from),
        }
    };
    if outcome.is_ok() && !*terminate.borrow() {
        // All input was read to its end; the API goes on serving what was found.
        tracing::info!("all sources are finished; serving until stopped");
        let _ = terminate.wait_for(|stop| *stop).await;
    }
    signal.abort();
    backtests.abort();
    pushed.stop().await;
    api.stop().await;
    outcome?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// What kept sources from starting; a full disk stays one.
fn started(error: &anyhow::Error, data: &Path) -> Error {
    let is_full = error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        let own = cause.downcast_ref::<Error>();
        io.is_some_and(is_full) || own.is_some_and(|own| matches!(own, Error::Full { .. }))
    });
    let reason = format!("{error:#}");
    match is_full {
        true => Error::Full {
            path: data.display().to_string(),
            reason,
        },
        false => Error::Other(reason),
    }
}

/// Runs a pipeline to its end. Rules and reference data are exchanged as their files change.
async fn session(
    config: &Config,
    node: Node,
    pushed: &Pushed,
    rules: &Arc<watch::Sender<Arc<Vec<Rule>>>>,
    mut terminate: watch::Receiver<bool>,
) -> weir_engine::Result<()> {
    let running = sources::start(config, &node.positions, pushed)
        .map_err(|error| started(&error, &node.data))?;
    tracing::info!(sources = running.sources.len(), rules = node.rules.len(), store = %node.data.display(), "running");
    let _inventory = read_inventory(config, &node).await?;
    let (stop, stopped) = oneshot::channel();
    let stopping = tokio::spawn(async move {
        if terminate.wait_for(|stop| *stop).await.is_ok() {
            let _ = stop.send(());
        } else {
            std::future::pending::<()>().await;
        }
    });
    let (sender, reloads) = mpsc::channel::<Reload>(1);
    let watching = tokio::spawn(reload::watch(
        config.clone(),
        node.health.clone(),
        rules.clone(),
        node.enricher.clone(),
        sender,
    ));
    let outcome = node
        .pipeline
        .with_reloads(reloads)
        .run(&running.sources, running.receiver, stopped)
        .await;
    watching.abort();
    stopping.abort();
    for source in &running.sources {
        source.stop().await;
    }
    outcome
}

/// Keeps the asset table like its topic as long as the reader lives. Events wait until it was read once.
async fn read_inventory(
    config: &Config,
    node: &Node,
) -> weir_engine::Result<Option<InventoryReader>> {
    let Some(settings) = node::inventory_config(config) else {
        return Ok(None);
    };
    let reader = InventoryReader::start(&settings, node.enricher.inventory())?;
    if !reader.caught_up(INVENTORY).await {
        tracing::warn!(
            "inventory: topic {} is not read to its end after {} s; events go on without the rest",
            settings.topic,
            INVENTORY.as_secs()
        );
    }
    Ok(Some(reader))
}

/// Waits until a file of some size can be written. False if asked to stop meanwhile.
async fn wait_for_room(
    data: &Path,
    health: &Health,
    terminate: &mut watch::Receiver<bool>,
) -> bool {
    let probe = data.join(".room");
    loop {
        health.update(|health| {
            health.ready = false;
            health.reason = format!(
                "no room on the disk of {}: nothing is read; make room and it goes on",
                data.display()
            );
        });
        tokio::select! {
            _ = terminate.wait_for(|stop| *stop) => return false,
            () = tokio::time::sleep(LOOK_FOR_ROOM) => {}
        }
        let written = std::fs::write(&probe, vec![0; ROOM]);
        let _ = std::fs::remove_file(&probe);
        if written.is_ok() {
            return true;
        }
    }
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
