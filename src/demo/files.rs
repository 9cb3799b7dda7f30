//! Writes a day's logs in the form in which their vendors deliver them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::clock::{self, DAY, HOUR, WEEK_START};
use super::cloudtrail::ACCOUNT;
use super::k8s::CLUSTER;
use super::log::Log;
use super::{AttackStory, Day, Scenario};

/// One folder per source.
pub const FOLDERS: [&str; 3] = ["cloudtrail", "falco", "k8s_audit"];
/// Time that one CloudTrail file covers. AWS delivers every few minutes; this is a week in 56 files.
const FILE_SPAN: i64 = 3 * HOUR;

const BUFFER: usize = 1 << 18;
/// Speed matters more than size for files that live for minutes.
const LEVEL: Compression = Compression::new(1);

/// Writes one day and says what it wrote. `compress` says whether CloudTrail's files are packed, as AWS
/// delivers them.
pub fn write(
    dir: &Path,
    day: &mut Day,
    compress: bool,
    attacks: Vec<AttackStory>,
) -> io::Result<Scenario> {
    let start = WEEK_START + day.index * DAY;
    let date = clock::date(start);
    let mut scenario = Scenario {
        attacks,
        ..Scenario::default()
    };
    let folder = dir.join("cloudtrail");
    write_trail(&folder, start, compress, &mut day.trail.log, &mut scenario)?;
    let alerts = dir.join("falco").join(format!("falco-{date}.ndjson"));
    write_lines(alerts, &mut day.alerts.log, &mut scenario)?;
    let audit = dir
        .join("k8s_audit")
        .join(format!("{CLUSTER}-audit-{date}.ndjson"));
    write_lines(audit, &mut day.audit.log, &mut scenario)?;
    for log in [&day.trail.log, &day.alerts.log, &day.audit.log] {
        scenario.events += log.events();
        scenario.duplicates += log.duplicates();
    }
    Ok(scenario)
}

/// `{"Records":[…]}`. AWS writes a file per region; here one file holds all of them, so that the order
/// of names is the order of delivery.
fn write_trail(
    dir: &Path,
    start: i64,
    compress: bool,
    log: &mut Log,
    scenario: &mut Scenario,
) -> io::Result<()> {
    let last = DAY / FILE_SPAN - 1;
    let mut delivered = log.delivered().peekable();
    for part in 0..=last {
        let from = start + part * FILE_SPAN;
        let until = if part == last {
            i64::MAX
        } else {
            from + FILE_SPAN
        };
        // What arrives after midnight goes into the day's last file.
        let records = std::iter::from_fn(|| delivered.next_if(|(arrival, _)| *arrival < until));
        let stamp = clock::file_stamp(from);
        let mut path = dir.join(format!("{ACCOUNT}_CloudTrail_us-east-1_{stamp}.json"));
        if compress {
            path.add_extension("gz");
            let packed = GzEncoder::new(File::create(&path)?, LEVEL);
            // The encoder wants large writes: each call costs it much more than a copy.
            let mut out = BufWriter::with_capacity(BUFFER, packed);
            scenario.bytes += write_records(&mut out, records)?;
            out.into_inner()?.finish()?;
        } else {
            let mut out = BufWriter::with_capacity(BUFFER, File::create(&path)?);
            scenario.bytes += write_records(&mut out, records)?;
            out.flush()?;
        }
        scenario.files.push(path);
    }
    Ok(())
}

fn write_records<'a>(
    out: &mut impl Write,
    records: impl Iterator<Item = (i64, &'a str)>,
) -> io::Result<usize> {
    out.write_all(br#"{"Records":["#)?;
    let mut bytes = 0;
    for (index, (_, record)) in records.enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        out.write_all(record.as_bytes())?;
        bytes += record.len() + 1;
    }
    out.write_all(b"]}")?;
    Ok(bytes)
}

fn write_lines(path: PathBuf, log: &mut Log, scenario: &mut Scenario) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, File::create(&path)?);
    for (_, line) in log.delivered() {
        out.write_all(line.as_bytes())?;
        out.write_all(b"\n")?;
        scenario.bytes += line.len() + 1;
    }
    out.flush()?;
    scenario.files.push(path);
    Ok(())
}
