//! The demo's week: an ordinary week of a small company with three attacks hidden in it.
//!
//! [`write_scenario`] writes the logs as their vendors would have delivered them; the engine reads them
//! like any other file. [`Scenario::attacks`] says what was hidden: tests hold the engine's incidents
//! against it, the engine itself never sees it.
//!
//! Invariants: the same seed gives the same bytes; every value is invented (documentation addresses and
//! accounts, keys that say EXAMPLE); nothing here reads the clock, the network or the system's randomness.

mod attacks;
mod clock;
mod cloudtrail;
mod company;
mod falco;
mod files;
mod identity;
mod k8s;
mod log;
mod ordinary;
mod rng;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use clock::DAYS;

/// GeoIP database of the demo's addresses (`scripts/geo` builds it).
pub const CITY_MMDB: &[u8] = include_bytes!("geo/demo-city.mmdb");
/// ASN database of the demo's addresses (`scripts/geo` builds it).
pub const ASN_MMDB: &[u8] = include_bytes!("geo/demo-asn.mmdb");
/// Indicators: `indicator,type,source,confidence,expires`.
pub const INDICATORS_CSV: &str = include_str!("indicators.csv");
/// Assets: `entity,name,owner,environment,criticality`.
pub const ASSETS_CSV: &str = include_str!("assets.csv");
/// The furthest an event arrives behind one that happened later, microseconds.
pub const MAX_LATENESS_US: i64 = 15 * clock::MINUTE;

/// What was written, and the truth about it.
#[derive(Debug, Clone, Default)]
pub struct Scenario {
    /// Every file, in the order in which the vendors delivered them.
    pub files: Vec<PathBuf>,
    /// Events, each counted once.
    pub events: usize,
    /// Events delivered a second time.
    pub duplicates: usize,
    /// Bytes of JSON, before compression.
    pub bytes: usize,
    pub attacks: Vec<AttackStory>,
}

/// One hidden attack. Only tests hold it against what the engine found.
#[derive(Debug, Clone)]
#[allow(
    dead_code,
    reason = "the truth is for tests; the engine must not see it"
)]
pub struct AttackStory {
    pub name: &'static str,
    /// In order of time.
    pub steps: Vec<Step>,
    /// Users, keys, addresses, pods that an incident about it should name.
    pub entities: Vec<String>,
}

/// One step that a detection could see.
#[derive(Debug, Clone)]
#[allow(
    dead_code,
    reason = "the truth is for tests; the engine must not see it"
)]
pub struct Step {
    /// Microseconds since the epoch.
    pub time_us: i64,
    pub what: String,
    /// The event's `event_uid`: `eventID`, `auditID/stage`, or Falcosidekick's `uuid`.
    pub event_uid: String,
}

/// The logs of one day.
#[derive(Debug)]
struct Day {
    /// 0 is Monday.
    index: i64,
    trail: cloudtrail::Trail,
    audit: k8s::Audit,
    alerts: falco::Alerts,
}

/// Writes the week under `dir`: `cloudtrail/*.json.gz`, `k8s_audit/*.ndjson` and `falco/*.ndjson`.
/// Within each folder the order of names is the order of delivery.
pub fn write_scenario(dir: &Path, seed: u64) -> io::Result<Scenario> {
    write_days(dir, seed, DAYS, true)
}

/// Writes the first `days` of the week. Tests leave CloudTrail's files unpacked: an unoptimised build
/// packs a few megabytes a second.
fn write_days(dir: &Path, seed: u64, days: i64, compress: bool) -> io::Result<Scenario> {
    for folder in files::FOLDERS {
        std::fs::create_dir_all(dir.join(folder))?;
    }
    // Days depend on nothing but the seed, so two threads halve the time.
    let every_second = |first: i64| -> io::Result<Vec<Scenario>> {
        (first..days)
            .step_by(2)
            .map(|index| write_day(dir, seed, index, compress))
            .collect()
    };
    let (even, odd) = std::thread::scope(|scope| {
        let odd = scope.spawn(|| every_second(1));
        (every_second(0), odd.join())
    });
    let odd = odd.map_err(|_| io::Error::other("the scenario's writer thread panicked"))??;
    let mut days: Vec<Scenario> = even?.into_iter().chain(odd).collect();
    days.sort_by(|left, right| left.files.cmp(&right.files));
    Ok(days.into_iter().fold(Scenario::default(), Scenario::then))
}

/// Writes one day of the week, 0 for Monday.
#[cfg(test)]
pub fn write_weekday(dir: &Path, seed: u64, index: i64) -> io::Result<Scenario> {
    for folder in files::FOLDERS {
        std::fs::create_dir_all(dir.join(folder))?;
    }
    write_day(dir, seed, index, false)
}

fn write_day(dir: &Path, seed: u64, index: i64, compress: bool) -> io::Result<Scenario> {
    let number = index as u64;
    let mut day = Day {
        index,
        trail: cloudtrail::Trail::new(seed, number),
        audit: k8s::Audit::new(seed, number),
        alerts: falco::Alerts::new(seed, number),
    };
    ordinary::fill(&mut day, seed);
    let attacks = attacks::hide(&mut day);
    files::write(dir, &mut day, compress, attacks)
}

impl Scenario {
    fn then(mut self, next: Self) -> Self {
        self.files.extend(next.files);
        self.events += next.events;
        self.duplicates += next.duplicates;
        self.bytes += next.bytes;
        self.attacks.extend(next.attacks);
        self
    }
}
