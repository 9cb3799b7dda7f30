//! `weir config`.

use std::path::Path;
use std::process::ExitCode;

use crate::config::{self, Config};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Reads the configuration as `weir run` would and says what is wrong with it.
    Check,
    /// Prints the annotated default.
    Default,
}

pub fn run(file: Option<&Path>, command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Default => print!("{}", config::DEFAULT),
        Command::Check => {
            let config = Config::load(file)?;
            crate::node::check(&config)?;
            println!(
                "configuration is good: {} sources, API on {}",
                config.source.len(),
                config.api.listen
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}
