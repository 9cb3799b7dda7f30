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

/// Writes one day and says what it wrote.
pub fn write(dir: &Path, day: &mut Day, attacks: Vec<AttackStory>) -> io::Result<Scenario> {
    let start = WEEK_START + day.index * DAY;
    let date = clock::date(start);
    let mut scenario = Scenario {
        attacks,
        ..Scenario::default()
    };
    write_trail(
        &dir.join("cloudtrail"),
        start,
        &mut day.trail.log,
        &mut scenario,
    )?;
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

/// `{"Records":[…]}` in gzip. AWS writes a file per region; here one file holds all of them, so that
/// the order of names is the order of delivery.
fn write_trail(dir: &Path, start: i64, log: &mut Log, scenario: &mut Scenario) -> io::Result<()> {
    let last = DAY / FILE_SPAN - 1;
    let mut delivered = log.delivered().peekable();
    for part in 0..=last {
        let from = start + part * FILE_SPAN;
        let name = format!(
            "{ACCOUNT}_CloudTrail_us-east-1_{}.json.gz",
            clock::file_stamp(from)
        );
        let path = dir.join(name);
        let file = BufWriter::new(File::create(&path)?);
        let mut out = GzEncoder::new(file, Compression::new(1));
        out.write_all(br#"{"Records":["#)?;
        let mut separator = "";
        // What arrives after midnight goes into the day's last file.
        while let Some((_, record)) =
            delivered.next_if(|(arrival, _)| part == last || *arrival < from + FILE_SPAN)
        {
            out.write_all(separator.as_bytes())?;
            out.write_all(record.as_bytes())?;
            scenario.bytes += record.len() + 1;
            separator = ",";
        }
        out.write_all(b"]}")?;
        out.finish()?.flush()?;
        scenario.files.push(path);
    }
    Ok(())
}

fn write_lines(path: PathBuf, log: &mut Log, scenario: &mut Scenario) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 18, File::create(&path)?);
    for (_, line) in log.delivered() {
        out.write_all(line.as_bytes())?;
        out.write_all(b"\n")?;
        scenario.bytes += line.len() + 1;
    }
    out.flush()?;
    scenario.files.push(path);
    Ok(())
}
