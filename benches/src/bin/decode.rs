//! How fast Weir decodes CloudTrail, next to `sonic_rs` parsing the same bytes in the same run.
//!
//! `cargo run --release -p weir-benches --bin decode -- [--rounds N] [--events N] [FILE…]`
//!
//! Reads ndjson files (`.gz` too), or makes CloudTrail-shaped events itself (seeded, about 1.4 KB each). On
//! one thread, in alternating rounds, it measures
//! - floor: `sonic_rs::from_slice::<sonic_rs::Value>` per line, the tree thrown away;
//! - decode: the whole way from bytes to Arrow batches, in blocks of 8192 records;
//!
//! and prints the medians and the ratio of the two. Time is that of the thread on the processor where the
//! system tells it (Linux), so that other work on the machine disturbs little.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use datafusion::arrow::buffer::Buffer;
use weir_benches::block;
use weir_connectors::{Decoder, DecoderConfig, Record};
use weir_engine::batch::Partition;

#[path = "../cloudtrail_events.rs"]
mod cloudtrail_events;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BLOCK_RECORDS: usize = 8192;

/// Bytes that one round goes over at least, so that it takes long enough to be timed.
const ROUND_BYTES: usize = 200 << 20;

#[derive(Parser)]
struct Arguments {
    /// Rounds of each measurement.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Events to make if no file is given.
    #[arg(long, default_value_t = 65_536)]
    events: usize,
    /// Measure only our decoder, for a profiler.
    #[arg(long)]
    only_decode: bool,
    files: Vec<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut text = vec![];
    for file in &arguments.files {
        read(file, &mut text)?;
    }
    if arguments.files.is_empty() {
        cloudtrail_events::write(&mut text, arguments.events, 1);
    }
    let lines: Vec<&[u8]> = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .collect();
    ensure!(!lines.is_empty(), "no events in {:?}", arguments.files);
    let blocks: Vec<_> = lines.chunks(BLOCK_RECORDS).map(block).collect();
    let bytes: usize = lines.iter().map(|line| line.len()).sum();
    let passes = ROUND_BYTES.div_ceil(bytes);
    println!(
        "{} events, {} bytes each, {passes} passes per round, {} rounds",
        lines.len(),
        bytes / lines.len(),
        arguments.rounds
    );

    let (mut floors, mut decodes) = (vec![], vec![]);
    for _ in 0..arguments.rounds {
        if !arguments.only_decode {
            floors.push(time(passes, || floor(&lines))?);
        }
        decodes.push(time(passes, || decode(&blocks, lines.len()))?);
    }
    let events = (passes * lines.len()) as f64;
    let volume = (passes * bytes) as f64;
    let report = |name: &str, mut rounds: Vec<Duration>| {
        rounds.sort_unstable();
        let seconds = rounds.get(rounds.len() / 2)?.as_secs_f64();
        let (rate, speed) = (events / seconds / 1e6, volume / seconds / 1e9);
        println!("{name:7} {rate:6.3} M events/s  {speed:6.3} GB/s");
        Some(rate)
    };
    if let (Some(floor), Some(decode)) = (report("floor", floors), report("decode", decodes)) {
        println!("ratio   {:6.3}", decode / floor);
    }
    Ok(())
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

fn floor(lines: &[&[u8]]) -> Result<()> {
    for line in lines {
        let value: sonic_rs::Value = sonic_rs::from_slice(line)?;
        std::hint::black_box(value);
    }
    Ok(())
}

fn decode(blocks: &[(Buffer, Vec<Record>)], events: usize) -> Result<()> {
    let mut decoder = Decoder::new(DecoderConfig::new("bench"));
    let partition = Partition::new("bench", "0");
    let mut rows = 0;
    for (block, records) in blocks {
        let batch = decoder.decode(&partition, block.clone(), records, 0)?;
        rows += batch.events.num_rows() + batch.dead_letters.len();
        std::hint::black_box(batch);
    }
    ensure!(rows >= events, "{rows} of {events} events came out");
    Ok(())
}
