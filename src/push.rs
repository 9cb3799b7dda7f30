//! Listeners for sources that are pushed to. They outlive the engine's sessions: while it waits for room on the
//! disk, what is pushed is still answered, with 503 if need be.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use weir_connectors::http::{HttpConfig, Inbox, serve};
use weir_engine::source::Positions;

use crate::config::{self, Config};

/// Open inboxes, by source, and who fills them.
pub struct Pushed {
    inboxes: BTreeMap<String, Arc<Inbox>>,
    servers: Vec<(oneshot::Sender<()>, JoinHandle<std::io::Result<()>>)>,
}

/// Opens the spools of all sources that are pushed to, and listens. Sources may share an address.
pub async fn start(config: &Config, positions: &Positions) -> anyhow::Result<Pushed> {
    let mut pushed = Pushed {
        inboxes: BTreeMap::new(),
        servers: vec![],
    };
    let mut addresses: BTreeMap<SocketAddr, Vec<Arc<Inbox>>> = BTreeMap::new();
    for (name, source) in &config.source {
        let config::Source::Http(http) = source else {
            continue;
        };
        let settings = http_config(config, name, source, http);
        let inbox = Arc::new(Inbox::open(settings, positions)?);
        pushed.inboxes.insert(name.clone(), inbox.clone());
        addresses.entry(http.listen).or_default().push(inbox);
    }
    for (listen, inboxes) in addresses {
        let names: Vec<&str> = inboxes.iter().map(|inbox| inbox.name()).collect();
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!(
                "cannot listen on {listen}; set source.{}.listen to a free address",
                names[0]
            )
        })?;
        let address = listener.local_addr()?;
        for name in names {
            tracing::info!("source {name} takes POST http://{address}/push/{name}");
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let task = tokio::spawn(serve(listener, inboxes, shutdown));
        pushed.servers.push((stop, task));
    }
    Ok(pushed)
}

impl Pushed {
    pub fn inbox(&self, source: &str) -> anyhow::Result<Arc<Inbox>> {
        let inbox = self.inboxes.get(source).cloned();
        inbox.with_context(|| format!("source {source} has no spool; this is a bug"))
    }

    /// Requests that are under way may end.
    pub async fn stop(self) {
        for (stop, task) in self.servers {
            let _ = stop.send(());
            let _ = task.await;
        }
    }
}

pub fn http_config(
    config: &Config,
    name: &str,
    source: &config::Source,
    http: &config::HttpSource,
) -> HttpConfig {
    let mut tokens = http.token_sha256.clone();
    if !http.token.is_empty() {
        tokens.push(weir_api::auth::sha256_hex(&http.token));
    }
    HttpConfig {
        name: name.into(),
        listen: http.listen,
        tokens,
        decoder: source.decoder(name),
        max_body_bytes: http.max_body_mb << 20,
        spool: config.store.path.join("spool").join(name),
        spool_bytes: http.spool_mb << 20,
    }
}

/// Checks tokens, limits and addresses before anything is opened.
pub fn check(config: &Config) -> anyhow::Result<()> {
    for (name, source) in &config.source {
        if let config::Source::Http(http) = source {
            http_config(config, name, source, http).check()?;
            if http.listen == config.api.listen {
                bail!(
                    "source.{name}.listen is {}, where the API listens: give it a port of its own",
                    http.listen
                );
            }
        }
    }
    Ok(())
}
