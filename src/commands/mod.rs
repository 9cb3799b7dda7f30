//! One module per command.

pub mod backtest;
pub mod config;
pub mod demo;
pub mod model;
pub mod replay;
pub mod rule;
pub mod run;
pub mod sql;
pub mod token;
