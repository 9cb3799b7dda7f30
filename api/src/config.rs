//! What the operator decides about the API.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;

use crate::auth::Role;

/// A token as the configuration has it: never the token itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Who; stands in the history of incidents.
    pub name: String,
    /// SHA-256 of the token, 64 hexadecimal digits, as `weir token` prints it.
    pub sha256_hex: String,
    pub role: Role,
}

#[derive(Debug, Clone)]
pub struct ApiConfig {
    pub listen: SocketAddr,
    pub tokens: Vec<Token>,
    /// Every request but SQL must be answered in this time.
    pub request_timeout: Duration,
    /// Outer bound of one SQL query; the runner has its own, shorter one.
    pub sql_timeout: Duration,
    /// SQL queries that run at the same time; others wait for `sql_queue`.
    pub sql_concurrency: usize,
    pub sql_queue: Duration,
    /// Live streams that are open at the same time.
    pub max_streams: usize,
    /// Secrets in what is shown are replaced by `***`.
    pub mask_secrets: bool,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8470)),
            tokens: vec![],
            request_timeout: Duration::from_secs(30),
            sql_timeout: Duration::from_secs(90),
            sql_concurrency: 2,
            sql_queue: Duration::from_secs(5),
            max_streams: 256,
            mask_secrets: true,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "refusing to listen on {0}: without a token only loopback is served; make one with `weir token` and put its hash into the configuration, or listen on 127.0.0.1"
    )]
    OpenToTheNetwork(SocketAddr),
    #[error(
        "the sha256_hex of token {0} is not 64 hexadecimal digits; `weir token` prints a token with its hash"
    )]
    BadHash(String),
    #[error("two tokens have the name {0:?}; the history of incidents could not tell them apart")]
    DuplicateName(String),
    #[error(
        "a token has an unusable name {0:?}; use 1 to 100 printable characters, but not `weir`"
    )]
    BadName(String),
}

/// Nothing listens beyond loopback without authentication.
pub fn check_listen(listen: SocketAddr, tokens: &[Token]) -> Result<(), ConfigError> {
    if tokens.is_empty() && !listen.ip().to_canonical().is_loopback() {
        return Err(ConfigError::OpenToTheNetwork(listen));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_served_without_a_token() {
        let token = Token {
            name: "ann".into(),
            sha256_hex: "0".repeat(64),
            role: Role::Viewer,
        };
        for open in [
            "0.0.0.0:80",
            "10.0.0.1:80",
            "[::]:80",
            "[::ffff:10.0.0.1]:80",
        ] {
            let listen = open.parse().unwrap();
            let error = check_listen(listen, &[]).unwrap_err().to_string();
            assert!(error.contains("weir token"), "{error}");
            check_listen(listen, std::slice::from_ref(&token)).unwrap();
        }
        for closed in [
            "127.0.0.1:80",
            "127.8.8.8:80",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
        ] {
            check_listen(closed.parse().unwrap(), &[]).unwrap();
        }
    }
}
