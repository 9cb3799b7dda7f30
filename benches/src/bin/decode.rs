//! How fast Weir decodes each format, next to a floor in the same run.
//!
//! `cargo run --release -p weir-benches --bin decode -- [--format NAME|all] [--rounds N] [--events N] [FILE…]`
//!
//! Reads ndjson files (`.gz` too), or makes events itself, seeded: CloudTrail (the default, about 1.4 KB each),
//! Kubernetes audit and Falco by generators, the others out of the fixtures in `connectors/tests/formats`. On
//! one thread, in alternating rounds over all formats asked for, it measures
//! - floor: of JSON `sonic_rs::from_slice::<sonic_rs::Value>` per line, the tree thrown away; of text lines
//!   UTF-8 checked and split at blanks;
//! - decode: the whole way from bytes to Arrow batches, in blocks of 8192 records, formats told apart by content;
//!
//! and prints the medians and the ratio of the two. Time is that of the thread on the processor where the
//! system tells it (Linux), so that other work on the machine disturbs little. With `MIMALLOC_PURGE_DELAY=1000`,
//! as the Docker image has it, the memory of each batch is not given back and asked for anew.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use datafusion::arrow::buffer::Buffer;
use weir_benches::block;
use weir_benches::fixtures::fixtures;
use weir_benches::generator::{Format, Spec, write_events};
use weir_connectors::{Decoder, DecoderConfig, Record};
use weir_engine::batch::Partition;

#[path = "../cloudtrail_events.rs"]
mod cloudtrail_events;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BLOCK_RECORDS: usize = 8192;

#[derive(Parser)]
struct Arguments {
    /// A format, or `all`.
    #[arg(long, default_value = "cloudtrail")]
    format: String,
    /// Rounds of each measurement.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Events of each format to make if no file is given.
    #[arg(long, default_value_t = 65_536)]
    events: usize,
    /// Megabytes that one round goes over at least, so that it takes long enough to be timed.
    #[arg(long, default_value_t = 200)]
    megabytes: usize,
    /// Measure only our decoder, for a profiler.
    #[arg(long)]
    only_decode: bool,
    files: Vec<PathBuf>,
}

/// What a log is called, whether its lines are JSON, and its bytes.
type Text = (String, bool, Vec<u8>);

/// Lines to be decoded, and how long each round over them took.
struct Log<'t> {
    name: &'t str,
    json: bool,
    lines: Vec<&'t [u8]>,
    blocks: Vec<(Buffer, Vec<Record>)>,
    /// Without the line feeds.
    bytes: usize,
    /// How often one round goes over them.
    passes: usize,
    floors: Vec<Duration>,
    decodes: Vec<Duration>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let texts = match arguments.files.as_slice() {
        [] => made(&arguments.format, arguments.events)?,
        files => given(files)?,
    };
    let logs = texts.iter().map(|text| Log::new(text, arguments.megabytes));
    let mut logs = logs.collect::<Result<Vec<_>>>()?;
    for _ in 0..arguments.rounds {
        for log in &mut logs {
            if !arguments.only_decode {
                log.floors
                    .push(time(log.passes, || floor(log.json, &log.lines))?);
            }
            log.decodes
                .push(time(log.passes, || decode(&log.blocks, log.lines.len()))?);
        }
    }
    println!(
        "{} rounds; floor: sonic-rs to a tree, of text lines their words",
        arguments.rounds
    );
    println!("format              bytes/event     events/s    MB/s  floor MB/s  ratio");
    logs.iter_mut().for_each(Log::report);
    Ok(())
}

/// Logs of the format, or of all.
fn made(format: &str, events: usize) -> Result<Vec<Text>> {
    let mut texts = vec![];
    let wanted = |name: &str| format == "all" || format == name;
    for (name, generated) in [
        ("cloudtrail", None),
        ("k8s_audit", Some(Format::K8sAudit)),
        ("falco", Some(Format::Falco)),
    ] {
        if !wanted(name) {
            continue;
        }
        let mut text = vec![];
        match generated {
            None => cloudtrail_events::write(&mut text, events, 1),
            Some(format) => {
                let spec = Spec {
                    events: events as u64,
                    format,
                    ..Spec::default()
                };
                write_events(&mut text, &spec)?;
            }
        }
        texts.push((name.to_owned(), true, text));
    }
    let generated = texts.len();
    for fixture in fixtures()? {
        let format = fixture.name.split('-').next().unwrap_or_default();
        let is_new = texts[..generated].iter().all(|(name, ..)| name != format);
        if is_new && (wanted(format) || wanted(&fixture.name)) {
            let mut text = vec![];
            fixture.write(&mut text, events, 1);
            texts.push((fixture.name, fixture.json, text));
        }
    }
    ensure!(!texts.is_empty(), "no events of `{format}` can be made");
    Ok(texts)
}

/// The files as one log.
fn given(files: &[PathBuf]) -> Result<Vec<Text>> {
    let mut text = vec![];
    for file in files {
        read(file, &mut text)?;
    }
    let json = text.trim_ascii_start().first() == Some(&b'{');
    Ok(vec![("files".to_owned(), json, text)])
}

fn read(path: &Path, text: &mut Vec<u8>) -> Result<()> {
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let gzip = path.extension().is_some_and(|extension| extension == "gz");
    let read = match gzip {
        true => flate2::read::MultiGzDecoder::new(file).read_to_end(text),
        false => std::io::BufReader::new(file).read_to_end(text),
    };
    read.with_context(|| path.display().to_string())?;
    text.push(b'\n');
    Ok(())
}

impl<'t> Log<'t> {
    fn new((name, json, text): &'t Text, megabytes: usize) -> Result<Self> {
        let lines = text.split(|byte| *byte == b'\n');
        let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
        ensure!(!lines.is_empty(), "no events in {name}");
        let bytes: usize = lines.iter().map(|line| line.len()).sum();
        Ok(Self {
            name,
            json: *json,
            blocks: lines.chunks(BLOCK_RECORDS).map(block).collect(),
            bytes,
            passes: (megabytes << 20).div_ceil(bytes),
            lines,
            floors: vec![],
            decodes: vec![],
        })
    }

    fn report(&mut self) {
        let volume = (self.passes * self.bytes) as f64;
        let speed = |rounds: &mut Vec<Duration>| {
            rounds.sort_unstable();
            let median = rounds.get(rounds.len() / 2);
            median.map_or(f64::NAN, |median| volume / median.as_secs_f64())
        };
        let (floor, decode) = (speed(&mut self.floors), speed(&mut self.decodes));
        let size = self.bytes / self.lines.len();
        println!(
            "{:<20}{size:>11}{:>13.0}{:>8.0}{:>12.0}{:>7.2}",
            self.name,
            decode / self.bytes as f64 * self.lines.len() as f64,
            decode / 1e6,
            floor / 1e6,
            decode / floor
        );
    }
}

fn time(passes: usize, mut pass: impl FnMut() -> Result<()>) -> Result<Duration> {
    let (start, on_cpu) = (Instant::now(), on_cpu());
    for _ in 0..passes {
        pass()?;
    }
    let elapsed = start.elapsed();
    Ok(match (on_cpu, self::on_cpu()) {
        (Some(before), Some(after)) => after - before,
        _ => elapsed,
    })
}

/// Time that this thread has spent on a processor.
fn on_cpu() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = text.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

fn floor(json: bool, lines: &[&[u8]]) -> Result<()> {
    for line in lines {
        if json {
            let value: sonic_rs::Value = sonic_rs::from_slice(line)?;
            std::hint::black_box(value);
        } else {
            let words: Vec<_> = std::str::from_utf8(line)?.split(' ').collect();
            std::hint::black_box(words);
        }
    }
    Ok(())
}

fn decode(blocks: &[(Buffer, Vec<Record>)], lines: usize) -> Result<()> {
    let mut decoder = Decoder::new(DecoderConfig::new("bench"));
    let partition = Partition::new("bench", "0");
    let mut events = 0;
    for (block, records) in blocks {
        let batch = decoder.decode(&partition, block.clone(), records, 0)?;
        events += batch.counts.read;
        std::hint::black_box(batch);
    }
    ensure!(
        events >= lines as u64,
        "{events} events came out of {lines} lines"
    );
    Ok(())
}
