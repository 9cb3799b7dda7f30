//! Integration tests of the connectors.
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/support/broker.rs"]
mod broker;
mod http;
mod inventory;
mod kafka;
mod real_logs;
