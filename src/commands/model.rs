//! `weir model`.

use std::path::PathBuf;
use std::process::ExitCode;

use weir_engine::archive::Archive;
use weir_engine::detect;
use weir_engine::time::rfc3339;
use weir_models::{FeatureSpec, History, Model, TrainOptions, WindowRows, train};

use crate::config::Config;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Trains a model on stored events and writes it into the configured folder.
    Train {
        /// Model; `weir model list` shows which there are.
        #[arg(default_value = "cloudtrail_identity_hour")]
        model: String,
        /// Data folder with stored events; without it the configured store.
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// Folder to write to; without it models.path.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Part of the training windows that counts as usual.
        #[arg(long, default_value_t = TrainOptions::default().quantile)]
        quantile: f64,
        /// Vectors below which training is refused.
        #[arg(long, default_value_t = TrainOptions::default().min_windows)]
        min_windows: usize,
    },
    /// Shows which models there are and which of them are trained.
    List,
}

pub async fn run(config: Config, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List => {
            for spec in weir_models::spec::SPECS {
                let path = config.models.path.join(format!("{}.json", spec.name));
                let state = match path.exists().then(|| Model::load(&path)) {
                    None => "not trained: it emits nothing until `weir model train`".into(),
                    Some(Ok(model)) => {
                        let artefact = model.artefact();
                        format!(
                            "trained on {} to {}, {} windows",
                            rfc3339(artefact.span.start),
                            rfc3339(artefact.span.end),
                            artefact.evaluation.windows
                        )
                    }
                    Some(Err(error)) => format!("not used: {error}"),
                };
                println!("{}  {state}", spec.name);
            }
        }
        Command::Train {
            model,
            data,
            out,
            quantile,
            min_windows,
        } => {
            let Some(spec) = FeatureSpec::by_name(&model) else {
                anyhow::bail!(
                    "there is no model `{model}`; `weir model list` shows which there are"
                );
            };
            let data = data.unwrap_or_else(|| config.store.path.clone());
            let events = Archive::open(data.join("events"))?
                .read(i64::MIN, i64::MAX)
                .await?;
            let times = events.iter().filter_map(|batch| {
                let times = batch.column(weir_engine::schema::col::TIME);
                let times = datafusion::arrow::array::AsArray::as_primitive_opt::<
                    datafusion::arrow::datatypes::TimestampMicrosecondType,
                >(times)?;
                Some((
                    times.values().iter().copied().min()?,
                    times.values().iter().copied().max()?,
                ))
            });
            let span = times.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
            let Some((first, last)) = span else {
                anyhow::bail!(
                    "{}: no stored events; `weir replay --data DIR` or `weir run` store them",
                    data.display()
                );
            };
            let span = first..last + 1;
            let (before, after) = spec.halves(&span)?;
            let first_half = History::collect(&events, before)?;
            let answers =
                detect::answers(&spec.rule("training"), &first_half.functions(), &events).await?;
            let windows: Vec<WindowRows> = answers
                .into_iter()
                .filter(|answer| after.contains(&answer.start))
                .map(|a| WindowRows {
                    start: a.start,
                    rows: a.rows,
                })
                .collect();
            let history = History::collect(&events, span.clone())?;
            let options = TrainOptions {
                quantile,
                min_windows,
                ..TrainOptions::default()
            };
            let artefact = train(spec, &windows, history, span, &options)?;
            let path = artefact.save(&out.unwrap_or(config.models.path))?;
            println!("{}", serde_json::to_string_pretty(&artefact.evaluation)?);
            println!(
                "trained on {} windows; wrote {}",
                artefact.evaluation.windows,
                path.display()
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}
