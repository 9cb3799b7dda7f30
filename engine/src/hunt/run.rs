//! Planning and running a checked query within its limits.

use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::utils::datafusion_strsim::levenshtein;
use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use futures::StreamExt;
use serde_json::Value;

use super::guard::{self, Checked};
use super::{Limits, QueryResult, Refusal, ResultColumn};
use crate::json;
use crate::{Result, functions};

/// A session for one query: the limits' memory, no spilling to disk (it would let a query fill the disk), the
/// engine's functions, no tables yet.
pub fn session(limits: &Limits) -> Result<SessionContext> {
    let config = SessionConfig::new()
        .with_target_partitions(limits.threads.max(1))
        .with_information_schema(true);
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(limits.memory)))
        .with_disk_manager_builder(disk)
        .build_arc()?;
    let mut ctx = SessionContext::new_with_config_rt(config, runtime);
    functions::register(&mut ctx)?;
    Ok(ctx)
}

/// Checks, plans and runs. The timeout takes effect between batches: a single expression may overrun it, which
/// is why servers go through [`ChildRunner`](super::ChildRunner).
pub async fn run(ctx: &SessionContext, sql: &str, limits: &Limits) -> Result<QueryResult, Refusal> {
    let checked = guard::check(sql, limits)?;
    run_checked(ctx, checked, limits).await
}

pub async fn run_checked(
    ctx: &SessionContext,
    checked: Checked,
    limits: &Limits,
) -> Result<QueryResult, Refusal> {
    let started = Instant::now();
    let answer = tokio::time::timeout(limits.timeout, answer(ctx, checked, limits)).await;
    let mut result = answer.map_err(|_| Refusal::out_of_time(limits))??;
    result.elapsed_ms = started.elapsed().as_millis() as u64;
    Ok(result)
}

async fn answer(
    ctx: &SessionContext,
    checked: Checked,
    limits: &Limits,
) -> Result<QueryResult, Refusal> {
    let state = ctx.state();
    let plan = state
        .statement_to_plan(checked.statement)
        .await
        .map_err(explain)?;
    let only_queries = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false);
    only_queries
        .verify_plan(&plan)
        .map_err(|e| Refusal::refused(e.strip_backtrace()))?;
    let mut frame = DataFrame::new(state, plan);
    if !checked.explain {
        // One more than wanted tells whether there are more.
        frame = frame.limit(0, Some(limits.rows + 1)).map_err(explain)?;
    }
    let fields = frame.schema().fields().clone();
    let column = |field: &Arc<datafusion::arrow::datatypes::Field>| ResultColumn {
        name: field.name().clone(),
        kind: kind(field.data_type()),
    };
    let mut result = QueryResult {
        columns: fields.iter().map(column).collect(),
        ..QueryResult::default()
    };
    let mut bytes = 0;
    let mut stream = frame.execute_stream().await.map_err(explain)?;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(explain)?;
        for row in 0..batch.num_rows() {
            if result.rows.len() == limits.rows {
                result.truncated = true;
                return Ok(result);
            }
            let values = batch.columns().iter().map(|c| json::value(c, row));
            let values: Vec<Value> = values.collect::<Result<_>>().map_err(|e| {
                Refusal::invalid(format!("the answer cannot be written as JSON: {e}"))
            })?;
            bytes += values.iter().map(weight).sum::<usize>();
            if bytes > limits.max_bytes {
                if result.rows.is_empty() {
                    return Err(Refusal::too_large(format!(
                        "one row of the answer has more than {} bytes; select less of it",
                        limits.max_bytes
                    )));
                }
                result.truncated = true;
                return Ok(result);
            }
            result.rows.push(values);
        }
    }
    Ok(result)
}

/// Bytes as JSON, about.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 3,
        Value::Array(values) => 2 + values.iter().map(weight).sum::<usize>(),
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, value)| key.len() + 4 + weight(value));
            2 + pairs.sum::<usize>()
        }
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 12,
    }
}

fn kind(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Null => "null",
        DataType::Boolean => "boolean",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::Float16 | DataType::Float32 | DataType::Float64 => "float",
        DataType::Timestamp(..) => "timestamp",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::ListView(_)
        | DataType::FixedSizeList(..) => "array",
        DataType::Struct(_) | DataType::Map(..) => "object",
        DataType::Union(..) => "json",
        other if other.is_integer() => "integer",
        other => return other.to_string(),
    };
    name.to_owned()
}

/// DataFusion's errors in words for the person who typed the query.
pub fn explain(error: DataFusionError) -> Refusal {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(detail) => {
            Refusal::out_of_memory(detail.lines().next().unwrap_or_default())
        }
        DataFusionError::SchemaError(schema, _) => match &**schema {
            SchemaError::FieldNotFound {
                field,
                valid_fields,
            } => Refusal::invalid(unknown_column(field, valid_fields)),
            other => Refusal::invalid(other.to_string()),
        },
        DataFusionError::ObjectStore(inner) if inner.to_string().contains("not found") => {
            Refusal::failed("files of the archive went away while the query ran; run it again")
        }
        DataFusionError::ObjectStore(_)
        | DataFusionError::IoError(_)
        | DataFusionError::ParquetError(_)
        | DataFusionError::External(_) => Refusal::failed(format!(
            "the archive cannot be read: {}",
            error.strip_backtrace()
        )),
        root => Refusal::invalid(root.strip_backtrace()),
    }
}

/// Names the columns that were perhaps meant.
fn unknown_column(field: &Column, valid: &[Column]) -> String {
    let wrong = field.name.to_lowercase();
    // Parts tell more than letters: `src_ip` means `src_endpoint_ip`.
    let part = |part: &&str| part.len() > 1;
    let parts: Vec<&str> = wrong.split('_').filter(part).collect();
    let distance = |name: &str| {
        let own: Vec<&str> = name.split('_').filter(part).collect();
        let missing = parts.iter().filter(|part| !own.contains(part)).count();
        let letters = levenshtein(name, &wrong);
        match missing {
            0 => own.len() - parts.len().min(own.len()),
            _ if letters <= wrong.len() / 3 => letters,
            _ => usize::MAX,
        }
    };
    let mut names: Vec<&str> = valid.iter().map(|column| column.name.as_str()).collect();
    names.retain(|name| distance(name) < usize::MAX);
    names.sort_by_key(|name| (distance(name), *name));
    names.dedup();
    names.truncate(5);
    let hint = match names.as_slice() {
        [] => "SELECT column_name FROM information_schema.columns lists them".to_owned(),
        near => format!("near it are {}", near.join(", ")),
    };
    // Text in double quotes is a name in SQL, which surprises people.
    let quotes = match field
        .name
        .contains(|c: char| !c.is_ascii_alphanumeric() && c != '_')
    {
        true => "; text is written in single quotes",
        false => "",
    };
    format!("there is no column {}; {hint}{quotes}", field.name)
}
