//! `weir rule`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::datatypes::Schema;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use weir_connectors::decode::{Decoder, FormatChoice, Record};
use weir_detections::{CaseResult, Lint, LoadedRule, lint, reads_alerts, run_case};
use weir_engine::batch::Partition;
use weir_engine::detect::Planned;
use weir_engine::dispatch::necessary;
use weir_engine::plan::{self, Plan};
use weir_engine::rule::RuleKind;
use weir_engine::schema::{self, COLUMNS};
use weir_engine::time::{HOUR, MINUTE, SECOND, pane_size};
use weir_engine::{Rule, Tables, parallel};

use crate::config::{Config, decoder};
use crate::node;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Runs the tests of rules and checks their metadata.
    Test {
        /// Rule files or folders; without any, all configured rules.
        paths: Vec<PathBuf>,
        /// Also fail on style findings.
        #[arg(long)]
        strict: bool,
    },
    /// Lists rules.
    List {
        paths: Vec<PathBuf>,
        #[arg(long, value_enum, default_value = "table")]
        output: crate::report::Output,
    },
    /// Shows how a rule is run: plan, dispatch literals, state kept.
    Explain {
        /// Rule file, id or title.
        rule: String,
    },
}

pub async fn run(config: &Config, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Test { paths, strict } => {
            let rules = select(config, &paths)?;
            test(config, &rules, strict).await
        }
        Command::List { paths, output } => {
            crate::report::rules(&select(config, &paths)?, output)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Explain { rule } => explain(config, &rule).await,
    }
}

fn select(config: &Config, paths: &[PathBuf]) -> anyhow::Result<Vec<LoadedRule>> {
    if paths.is_empty() {
        return node::load_rules(config);
    }
    let mut rules = vec![];
    for path in paths {
        rules.extend(load(path)?);
    }
    Ok(rules)
}

/// The rules of a file, or of a folder and below it.
pub fn load(path: &Path) -> anyhow::Result<Vec<LoadedRule>> {
    if path.is_dir() {
        Ok(weir_detections::load_dir(path)?)
    } else {
        Ok(vec![weir_detections::load_file(path)?])
    }
}

/// Decodes newline-delimited vendor events as a source would. Anything that cannot be decoded is an error.
pub fn decode(events: &[u8]) -> Result<RecordBatch, String> {
    let mut records = vec![];
    let mut start = 0;
    for line in events.split_inclusive(|byte| *byte == b'\n') {
        let end = start + line.trim_ascii_end().len();
        if end > start {
            records.push(Record {
                range: start..end,
                position: start as i64,
            });
        }
        start += line.len();
    }
    let block = Buffer::from(events);
    let partition = Partition::new("test", "events");
    let batch = Decoder::new(decoder("test", FormatChoice::Auto)).decode(
        &partition,
        block,
        &records,
        events.len() as i64,
    );
    let batch = batch.map_err(|error| error.to_string())?;
    match batch.dead_letters.first() {
        Some(letter) => Err(format!(
            "event at byte {}: {}: {}",
            letter.position, letter.reason, letter.detail
        )),
        None => Ok(batch.events),
    }
}

/// What came of the tests of one rule.
struct Tested {
    lints: Vec<Lint>,
    cases: Vec<CaseResult>,
    /// Why a rule without tests cannot be planned.
    refused: Option<weir_engine::Error>,
}

async fn test(config: &Config, rules: &[LoadedRule], strict: bool) -> anyhow::Result<ExitCode> {
    let mut all: Vec<_> = rules.iter().map(|loaded| loaded.rule.clone()).collect();
    // A rule over alerts needs the rules that raise them, those tested in the place of configured ones.
    if all.iter().any(|rule| reads_alerts(&rule.query)) {
        for loaded in node::load_rules(config)? {
            if all.iter().all(|rule| rule.id != loaded.rule.id) {
                all.push(loaded.rule);
            }
        }
    }
    let planned = OnceCell::new();
    let runtime = Handle::current();
    let tested = parallel::map(rules, |loaded| {
        runtime.block_on(test_rule(loaded, &all, &planned))
    });
    let (mut passed, mut failed, mut findings) = (0, 0, 0);
    for (LoadedRule { rule, .. }, tested) in rules.iter().zip(&tested) {
        for lint in &tested.lints {
            println!("{}: {lint}", rule.path);
            findings += 1;
        }
        for case in &tested.cases {
            if case.passed() {
                passed += 1;
            } else {
                failed += 1;
                println!("{case}");
            }
        }
        if let Some(error) = &tested.refused {
            println!("FAILED {}: {error}", rule.path);
            failed += 1;
        }
    }
    println!(
        "{} rules: {passed} tests passed, {failed} failed, {findings} style findings",
        rules.len()
    );
    Ok(if failed > 0 || (strict && findings > 0) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Runs the tests of one rule. Cases without reference tables share one plan; those of rules over alerts share the
/// plans of all rules.
async fn test_rule(loaded: &LoadedRule, all: &[Rule], planned: &OnceCell<Planned>) -> Tested {
    let over_alerts = reads_alerts(&loaded.rule.query);
    let alone = OnceCell::new();
    let run = async |one: &[Rule], events: &[RecordBatch], tables: &Tables| {
        let (rules, shared) = match over_alerts {
            true => (all, planned),
            false => (one, &alone),
        };
        let mut alerts = if tables.is_empty() {
            let planned = shared.get_or_try_init(|| Planned::new(rules, tables));
            planned.await?.run(events).await?
        } else {
            Planned::new(rules, tables).await?.run(events).await?
        };
        alerts.retain(|alert| one.iter().any(|rule| rule.id == alert.rule_id));
        Ok::<_, weir_engine::Error>(alerts)
    };
    let mut cases = vec![];
    for case in &loaded.tests {
        cases.push(run_case(&loaded.rule, case, &decode, &run).await);
    }
    let refused = match cases.is_empty() {
        // Nothing else would plan it.
        true => {
            let one = std::slice::from_ref(&loaded.rule);
            run(one, &[], &Tables::default()).await.err()
        }
        false => None,
    };
    Tested {
        lints: lint(loaded),
        cases,
        refused,
    }
}

async fn explain(config: &Config, wanted: &str) -> anyhow::Result<ExitCode> {
    let path = Path::new(wanted);
    let rules = if path.exists() {
        load(path)?
    } else {
        node::load_rules(config)?
    };
    let hit = |r: &&LoadedRule| {
        path.exists() || r.rule.id == wanted || r.rule.title.eq_ignore_ascii_case(wanted)
    };
    let Some(loaded) = rules.iter().find(hit) else {
        anyhow::bail!("no rule has the id, title or file `{wanted}`; `weir rule list` shows them");
    };
    let rule = &loaded.rule;
    let tables = node::tables(config)?.with_declared(std::iter::once(rule))?;
    let session = plan::session(&[], &tables).await?;
    let plan = Plan::unabridged(&session.state(), rule).await?;
    println!(
        "{}\n  id {}, version {}, {}",
        rule.title,
        rule.id,
        rule.version(),
        rule.path
    );
    let predicate = plan.predicate();
    match predicate.as_ref().and_then(necessary) {
        Some(literals) => {
            println!("\ndispatched by any of");
            for (column, value) in literals {
                println!("  {} = '{value}'", COLUMNS[column].name);
            }
        }
        None => {
            println!("\nsees every event: its WHERE holds no text literal that a match must have")
        }
    }
    if let Some(predicate) = &predicate {
        println!("\nfilter\n  {predicate}");
    }
    match (&plan, rule.kind.window()) {
        (Plan::Window(window_plan), Some(window)) => {
            let pane = pane_size(window);
            let keys: Vec<_> = window_plan
                .keys
                .iter()
                .map(|(_, name)| name.as_str())
                .collect();
            println!(
                "\nwindow of {} sliding by {}, {} panes of {}",
                length(window.size),
                length(window.slide),
                window.size / pane,
                length(pane)
            );
            println!(
                "kept per key ({}) and pane: evidence of up to {} events",
                keys.join(", "),
                weir_engine::window::PANE_EVIDENCE
            );
            for input in &window_plan.inputs {
                let (what, schema) = match &input.reduce {
                    Some(reduce) => ("per key and pane", reduce.partial.schema()),
                    None => {
                        let columns = input.rows.columns.iter();
                        let names = columns.map(|c| schema::events().field(*c).clone());
                        let schema = Schema::new(names.collect::<Vec<_>>());
                        ("per row that passes the filter", schema.into())
                    }
                };
                println!("kept {what}");
                for field in schema.fields() {
                    let price = price(field.data_type());
                    println!("  {} {}, {price}", field.name(), field.data_type());
                }
            }
        }
        _ => println!("{}", memory(rule)),
    }
    println!("\n{}", plan.explain());
    Ok(ExitCode::SUCCESS)
}

/// What a rule that looks at single events keeps.
fn memory(rule: &Rule) -> String {
    let matches = "matches until late rows can no longer change their alerts, some 2 KiB each";
    match &rule.kind {
        RuleKind::NewTerms(terms) => format!(
            "\nfirst seen: the times of each ({}) for {}, at most 100 bytes per value; silent for the first {}; \
             and {matches}",
            terms.fields.join(", "),
            length(terms.history),
            length(terms.warmup)
        ),
        RuleKind::Absence(absence) => format!(
            "\nabsence: the times of each ({}) for {}, some 400 bytes per key; and {matches}",
            absence.by.join(", "),
            length(absence.within)
        ),
        RuleKind::Event | RuleKind::Finding(_) | RuleKind::Window(_) => {
            format!("\nkept: {matches}")
        }
    }
}

/// Bytes that a value of this type takes in a pane's state.
fn price(kind: &datafusion::arrow::datatypes::DataType) -> String {
    match kind.primitive_width() {
        Some(width) => format!("{width} bytes"),
        None if kind.is_nested() => "grows with the values collected".into(),
        None => "16 bytes and the text beyond 12".into(),
    }
}

fn length(micros: i64) -> String {
    match micros {
        m if m % HOUR == 0 => format!("{} h", m / HOUR),
        m if m % MINUTE == 0 => format!("{} min", m / MINUTE),
        m => format!("{} s", m / SECOND),
    }
}
