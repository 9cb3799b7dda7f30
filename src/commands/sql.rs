//! `weir sql`, and the child that runs what people type.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use comfy_table::{ContentArrangement, Table, presets};
use weir_engine::hunt::{self, QueryResult};
use weir_engine::mask;
use weir_engine::store::SharedStore;
use weir_engine::store::sqlite::SqliteStore;

use crate::config::Config;
use crate::node;
use crate::report::{Output, clean};
use crate::serve;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// One SELECT over events, cloud_audit and other families, alerts, incidents, reference tables.
    query: String,
    /// Data folder; without it the configured store.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub async fn run(config: &Config, args: Args) -> anyhow::Result<ExitCode> {
    let data = args.data.as_ref().unwrap_or(&config.store.path);
    anyhow::ensure!(
        data.is_dir(),
        "{}: no such data folder; --data names another",
        data.display()
    );
    let mut answer = serve::runner(config, data)?.run(&args.query).await;
    if let Ok(result) = &mut answer
        && config.privacy.mask_secrets
    {
        result.rows.iter_mut().flatten().for_each(mask::value);
    }
    match answer {
        Ok(result) if args.output == Output::Json => {
            println!("{}", serde_json::to_string_pretty(&result)?)
        }
        Ok(result) => print(&result),
        Err(refusal) => {
            eprintln!("weir: {}", clean(&refusal.message));
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(result: &QueryResult) {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(result.columns.iter().map(|c| clean(&c.name)));
    for row in &result.rows {
        table.add_row(row.iter().map(|value| match value {
            serde_json::Value::String(text) => clean(text),
            serde_json::Value::Null => String::new(),
            other => other.to_string(),
        }));
    }
    println!("{table}");
    let more = if result.truncated {
        ", cut at the row limit"
    } else {
        ""
    };
    println!("{} rows{more}, {} ms", result.rows.len(), result.elapsed_ms);
    for note in &result.notes {
        println!("note: {}", clean(note));
    }
}

/// Address space that the program itself needs beside a query's memory: code, stacks, allocator.
const OWN_BYTES: u64 = 2 << 30;

/// The child: bounds itself first, then reads one request.
pub fn child(memory_mb: u64) -> ExitCode {
    let space = (memory_mb << 20) + OWN_BYTES;
    let bounded = rlimit::setrlimit(rlimit::Resource::AS, space, space)
        .and_then(|()| rlimit::setrlimit(rlimit::Resource::CPU, 600, 600));
    if let Err(error) = bounded {
        eprintln!("cannot bound the query process: {error}");
        return ExitCode::from(2);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .thread_stack_size(16 << 20)
        .build();
    let Ok(runtime) = runtime else {
        eprintln!("cannot start the query process");
        return ExitCode::from(2);
    };
    let done = runtime.block_on(hunt::child_main(
        std::io::stdin().lock(),
        std::io::stdout().lock(),
        open,
        |paths| node::read_tables(paths).map_err(|error| format!("{error:#}")),
    ));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

async fn open(data: PathBuf) -> weir_engine::Result<Option<SharedStore>> {
    if !Path::new(&data).join("weir.db").exists() {
        return Ok(None);
    }
    let store = SqliteStore::open_read_only(&data).await?;
    Ok(Some(Arc::new(store)))
}
