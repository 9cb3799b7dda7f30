//! The `weir` binary: command line, configuration, wiring, start and stop order.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod commands;
mod config;
mod dead_letters;
mod demo;
mod logging;
mod node;
mod push;
mod reload;
mod report;
mod scheduled;
mod serve;
mod sources;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Streaming security event correlation engine.
#[derive(Debug, Parser)]
#[command(name = "weir", version, propagate_version = true)]
struct Cli {
    /// Configuration file; without it the built-in default. The environment (WEIR_…) overrides both.
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A week of a small company with three attacks hidden in it: replay, incidents, API. Works offline.
    Demo(commands::demo::Args),
    /// Runs the configured sources until stopped.
    Run,
    /// Files in, incidents out, then exit.
    Replay(commands::replay::Args),
    /// Rules over stored events, or over files: alerts, cost, and what a change of a rule would do.
    Backtest(commands::backtest::Args),
    /// Detection rules: test, list, explain.
    #[command(subcommand)]
    Rule(commands::rule::Command),
    /// Anomaly models: train, show.
    #[command(subcommand)]
    Model(commands::model::Command),
    /// Read-only SQL over stored events, alerts and incidents.
    Sql(commands::sql::Args),
    /// Configuration: check it, or print the annotated default.
    #[command(subcommand)]
    Config(commands::config::Command),
    /// Makes an API token: prints it once, with the hash that belongs into the configuration.
    Token(commands::token::Args),
    /// Answers one SQL request on standard input. Started by `weir sql` and the API.
    #[command(hide = true)]
    SqlChild {
        /// Memory for the query.
        #[arg(long, default_value_t = 1024)]
        memory_mb: u64,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("WEIR_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,datafusion=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| logging::Masked)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .init();
    if let Command::SqlChild { memory_mb } = cli.command {
        return commands::sql::child(memory_mb);
    }
    // DataFusion plans recursively: two megabytes of stack are not enough for every query that people write.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(8 << 20)
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(dispatch(cli)),
        Err(error) => Err(anyhow::anyhow!("cannot start: {error}")),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weir: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let load = || config::Config::load(cli.config.as_deref());
    match cli.command {
        Command::Demo(args) => commands::demo::run(load()?, args).await,
        Command::Run => commands::run::run(load()?, cli.config.as_deref()).await,
        Command::Replay(args) => commands::replay::run(load()?, args).await,
        Command::Backtest(args) => commands::backtest::run(load()?, args).await,
        Command::Rule(command) => commands::rule::run(&load()?, command).await,
        Command::Model(command) => commands::model::run(load()?, command).await,
        Command::Sql(args) => commands::sql::run(&load()?, args).await,
        Command::Config(command) => commands::config::run(cli.config.as_deref(), &command),
        Command::Token(args) => commands::token::run(&args),
        Command::SqlChild { .. } => Ok(ExitCode::SUCCESS),
    }
}
