//! Integration tests of the whole.
#![allow(clippy::unwrap_used)]

#[path = "../support/broker.rs"]
mod broker;
mod clocks;
mod kafka;
mod kubernetes_forms;
mod packs;
mod push;
mod replay;
