//! HTTP API of Weir: incidents, alerts, rules, SQL, a live stream, metrics.
//!
//! [`router`](router()) is the table of contents. A handler reads its parameters, asks the [`Store`] (or
//! one of the two traits in [`state`]), and turns the answer into the types of [`view`].
//!
//! Invariants:
//! - Every request passes [`guard`] first; a route is closed to strangers unless it is named open there.
//! - This crate never runs a person's SQL and never opens the store's file; it knows both only as traits.
//! - Every refusal is a [`Problem`] (RFC 9457), also those that the framework makes.
//! - Tokens are never logged, and only their hashes are kept.
//!
//! [`Store`]: weir_engine::store::Store

// A problem is made once per refused request; boxing it would only hide it.
#![allow(clippy::result_large_err)]

pub mod auth;
pub mod config;
mod cursor;
mod extract;
mod guard;
mod masked;
pub mod metrics;
pub mod problem;
pub mod router;
mod routes;
pub mod server;
pub mod state;
pub mod view;

pub use auth::{Auth, Role, new_token};
pub use config::{ApiConfig, ConfigError, Token, check_listen};
pub use problem::Problem;
pub use router::{openapi_json, router};
pub use server::serve;
pub use state::{ApiState, EventLookup, SqlRunner};
