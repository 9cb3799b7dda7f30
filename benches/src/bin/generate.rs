//! Writes generated events to a file, for benches and for trying the engine with a lot of them.
//!
//! `cargo run --release -p weir-benches --bin generate -- --events 5000000 --identities 10000 --seed 7 --out FILE`

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use weir_benches::generator::{Format, Spec, write_events};

/// Generates vendor-shaped events, one a line.
#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, default_value_t = 100_000)]
    events: u64,
    /// Distinct callers.
    #[arg(long, default_value_t = 1_000)]
    identities: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Events per second of event time.
    #[arg(long, default_value_t = 1_000.0)]
    rate: f64,
    /// How far events may lie behind, in seconds of event time.
    #[arg(long, default_value_t = 0.0)]
    disorder: f64,
    /// Part of events that look like an attack's, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    attacks: f64,
    #[arg(long, value_enum, default_value = "cloudtrail")]
    format: Name,
    /// File to write; `-` is standard output.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    #[value(name = "cloudtrail")]
    CloudTrail,
    K8sAudit,
    Falco,
    Mixed,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if !(arguments.rate > 0.0 && arguments.disorder >= 0.0) {
        bail!("--rate must be above 0 and --disorder not below it");
    }
    let spec = Spec {
        events: arguments.events,
        identities: arguments.identities,
        seed: arguments.seed,
        rate: arguments.rate,
        disorder_seconds: arguments.disorder,
        attacks: arguments.attacks,
        format: match arguments.format {
            Name::CloudTrail => Format::CloudTrail,
            Name::K8sAudit => Format::K8sAudit,
            Name::Falco => Format::Falco,
            Name::Mixed => Format::Mixed,
        },
        ..Spec::default()
    };
    let begin = Instant::now();
    let stats = if arguments.out.as_os_str() == "-" {
        write_events(&mut io::stdout().lock(), &spec)?
    } else {
        let path = arguments.out.display();
        let mut file =
            File::create(&arguments.out).with_context(|| format!("cannot create {path}"))?;
        let stats =
            write_events(&mut file, &spec).with_context(|| format!("cannot write {path}"))?;
        file.flush()?;
        stats
    };
    let seconds = begin.elapsed().as_secs_f64();
    eprintln!(
        "{} events, {} bytes in {seconds:.2} s ({:.0} events/s)",
        stats.events,
        stats.bytes,
        stats.events as f64 / seconds
    );
    Ok(())
}
