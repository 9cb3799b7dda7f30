//! What enrichment costs on top of decoding: places, networks of providers, and a million indicators.
//!
//! `cargo run --release -p weir-benches --bin enrich -- --city City.mmdb --asn ASN.mmdb`
//!
//! On one thread, in alternating rounds over the same generated events: decode alone, then decode and enrich with
//! more and more of the reference data. Prints nanoseconds per event, the cost beside decoding, and the memory
//! that an indicator takes. Indicators are addresses, networks, domains, URLs and hashes in equal parts.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;
use datafusion::arrow::buffer::Buffer;
use weir_benches::block;
use weir_benches::generator::{Spec, write_events};
use weir_connectors::enrich::{EnrichConfig, Enricher};
use weir_connectors::{Decoder, DecoderConfig, Record};
use weir_engine::batch::Partition;
use weir_engine::enrich::Enrich;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, default_value_t = 200_000)]
    events: u64,
    #[arg(long, default_value_t = 10_000)]
    identities: u32,
    #[arg(long, default_value_t = 1_000_000)]
    indicators: u32,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// MaxMind database of cities.
    #[arg(long)]
    city: Option<PathBuf>,
    /// MaxMind database of autonomous systems.
    #[arg(long)]
    asn: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let mut text = vec![];
    let spec = Spec {
        events: arguments.events,
        identities: arguments.identities,
        ..Spec::default()
    };
    write_events(&mut text, &spec)?;
    let lines: Vec<&[u8]> = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .collect();
    let blocks: Vec<_> = lines.chunks(8192).map(block).collect();
    println!("{} events, {arguments:?}", lines.len());

    let list = folder.path().join("indicators.txt");
    write_indicators(&list, arguments.indicators)?;
    let places = EnrichConfig {
        geo_city: arguments.city.clone(),
        geo_asn: arguments.asn.clone(),
        ..EnrichConfig::default()
    };
    let all = EnrichConfig {
        indicators: vec![list.into()],
        ..places.clone()
    };
    let started = Instant::now();
    let with_all = open(&all)?;
    println!(
        "{} indicators read in {:.2} s, {} bytes each in memory",
        with_all.indicators(),
        started.elapsed().as_secs_f64(),
        with_all.indicator_bytes() / with_all.indicators().max(1)
    );
    let stages = [
        ("decode", None),
        (
            "and automation, pods",
            Some(open(&EnrichConfig::default())?),
        ),
        ("and city, ASN", Some(open(&places)?)),
        ("and indicators", Some(with_all)),
    ];
    let mut best = vec![f64::INFINITY; stages.len()];
    for _ in 0..arguments.rounds {
        for ((_, enricher), best) in stages.iter().zip(&mut best) {
            let started = Instant::now();
            pass(&blocks, enricher.as_ref())?;
            let each = started.elapsed().as_secs_f64() * 1e9 / lines.len() as f64;
            *best = best.min(each);
        }
    }
    for ((name, _), each) in stages.iter().zip(&best) {
        let more = (each / best[0] - 1.0) * 100.0;
        println!("{name:22} {each:7.0} ns per event   {more:+6.1} %");
    }
    Ok(())
}

fn open(config: &EnrichConfig) -> Result<Enricher> {
    let (enricher, warnings) = Enricher::open(config);
    ensure!(warnings.is_empty(), "{warnings:?}");
    Ok(enricher)
}

fn pass(blocks: &[(Buffer, Vec<Record>)], enricher: Option<&Enricher>) -> Result<()> {
    let partition = Partition::new("bench", "file");
    let mut decoder = Decoder::new(DecoderConfig::new("bench"));
    for (bytes, records) in blocks {
        let mut events = decoder
            .decode(&partition, bytes.clone(), records, 0)?
            .events;
        if let Some(enricher) = enricher {
            events = enricher.enrich(events)?;
        }
        std::hint::black_box(events);
    }
    Ok(())
}

fn write_indicators(path: &Path, count: u32) -> Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for i in 0..count {
        // Spread over the whole range, each different.
        let bits = i.wrapping_mul(2_654_435_761);
        let address = std::net::Ipv4Addr::from_bits(bits);
        match i % 5 {
            0 => writeln!(file, "{address}")?,
            1 => writeln!(file, "{address}/{}", 20 + i % 13)?,
            2 => writeln!(file, "host-{i}.bad-{}.example", i % 9973)?,
            3 => writeln!(file, "http://bad-{i}.example/path/{i}")?,
            _ => writeln!(file, "{bits:08x}{bits:056x}")?,
        }
    }
    Ok(file.flush()?)
}
