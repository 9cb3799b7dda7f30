//! Events that are pushed over HTTP: Kubernetes audit webhooks, Falco, anything that posts JSON.
//!
//! A push has no position that could be asked for again, so a body is put into a spool on the disk
//! ([`spool`]) before it is answered with 202. The engine reads the spool as one partition and commits its
//! position there like that of any other source: nothing that was answered is lost, and nothing is taken twice,
//! whatever dies in between.
//!
//! An [`Inbox`] is a source's spool and who may write to it; [`serve`] fills inboxes, an [`HttpSource`] reads
//! one.

mod body;
mod recover;
mod refusal;
mod segment;
mod server;
mod source;
mod spool;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use weir_engine::health::Intake;
use weir_engine::source::Positions;
use weir_engine::{Error, Result};

pub use server::serve;
pub use source::HttpSource;

use crate::decode::DecoderConfig;
use spool::Spool;

/// Refusals of one kind are logged this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// What an operator says about a source that is pushed to.
#[derive(Clone)]
pub struct HttpConfig {
    /// Name of the source, and of its path.
    pub name: String,
    pub listen: SocketAddr,
    /// SHA-256 of each token that lets a sender in, 64 hexadecimal digits.
    pub tokens: Vec<String>,
    pub decoder: DecoderConfig,
    /// Longest body, unpacked.
    pub max_body_bytes: usize,
    /// Folder of the spool, and its largest size.
    pub spool: PathBuf,
    pub spool_bytes: u64,
}

impl HttpConfig {
    /// Checks everything that can be checked without listening.
    pub fn check(&self) -> Result<()> {
        self.hashes()?;
        if self.tokens.is_empty() && !self.listen.ip().to_canonical().is_loopback() {
            return Err(self.error(format!(
                "refusing to listen on {}: without a token only loopback is served; make one with `weir token` and put its hash into token_sha256, or listen on 127.0.0.1",
                self.listen
            )));
        }
        let most = self.decoder.max_envelope_bytes;
        if self.max_body_bytes == 0 || self.max_body_bytes > most {
            return Err(self.error(format!("max_body_mb must be 1 to {}", most >> 20)));
        }
        if self.spool_bytes < 2 * self.max_body_bytes as u64 {
            return Err(self.error("spool_mb must be at least twice max_body_mb"));
        }
        Ok(())
    }

    fn hashes(&self) -> Result<Vec<[u8; 32]>> {
        let parsed = self.tokens.iter().map(|hex| {
            parse_hash(hex).ok_or_else(|| {
                self.error("a token_sha256 is not 64 hexadecimal digits; `weir token` prints a token with its hash")
            })
        });
        parsed.collect()
    }

    fn error(&self, reason: impl Into<String>) -> Error {
        Error::Source {
            source_name: self.name.clone(),
            reason: reason.into(),
        }
    }
}

fn parse_hash(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(hash)
}

/// A source's spool, and what came in so far.
pub struct Inbox {
    config: HttpConfig,
    hashes: Vec<[u8; 32]>,
    spool: Spool,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    intake: Intake,
    complained: BTreeMap<u16, Instant>,
}

impl Inbox {
    /// Opens the spool and checks it. `positions` are the store's.
    pub fn open(config: HttpConfig, positions: &Positions) -> Result<Self> {
        config.check()?;
        let committed = positions.get(&source::partition(&config.name)).copied();
        let spool = Spool::open(&config.spool, config.spool_bytes, committed);
        let spool = spool.map_err(|reason| config.error(reason))?;
        Ok(Self {
            hashes: config.hashes()?,
            config,
            spool,
            counted: Mutex::default(),
        })
    }

    pub fn name(&self) -> &str {
        &self.config.name
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an answer. True if a refusal like it was not logged lately.
    fn count(&self, status: StatusCode, bytes: u64) -> bool {
        let mut counted = self.counted();
        *counted.intake.requests.entry(status.as_u16()).or_default() += 1;
        counted.intake.bytes += bytes;
        let now = Instant::now();
        let last = counted.complained.get(&status.as_u16());
        let due = last.is_none_or(|last| now.duration_since(*last) >= COMPLAIN_EVERY);
        if due {
            counted.complained.insert(status.as_u16(), now);
        }
        due
    }

    fn intake(&self) -> Intake {
        Intake {
            spool_bytes: self.spool.disk_bytes(),
            ..self.counted().intake.clone()
        }
    }
}
