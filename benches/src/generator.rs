//! A seeded stream of vendor-shaped events for benches: as many as wanted, from as many identities, at a
//! chosen rate of event time and with a chosen disorder.
//!
//! It never reads the clock or the system's randomness: one [`Spec`] gives one sequence of bytes. Events
//! are patched into text prepared once per identity and operation, so that making them costs little
//! beside reading them.

mod cloudtrail;
mod falco;
mod k8s;
mod text;

use std::io::{self, Write};

pub use text::Rng;

/// 2026-11-09T00:00:00Z, microseconds since the epoch.
pub const DEFAULT_START_US: i64 = 1_794_182_400_000_000;

/// What to generate.
#[derive(Debug, Clone)]
pub struct Spec {
    pub events: u64,
    /// Distinct callers; each event picks one uniformly.
    pub identities: u32,
    pub seed: u64,
    /// Events per second of event time.
    pub rate: f64,
    /// How far an event's time may lie behind the newest before it, in seconds; 0 for none.
    pub disorder_seconds: f64,
    /// Part of events that look like an attack's, 0 to 1.
    pub attacks: f64,
    pub format: Format,
    /// Event time of the first event, microseconds since the epoch.
    pub start_us: i64,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            events: 100_000,
            identities: 1_000,
            seed: 1,
            rate: 1_000.0,
            disorder_seconds: 0.0,
            attacks: 0.0,
            format: Format::CloudTrail,
            start_us: DEFAULT_START_US,
        }
    }
}

/// Which vendor's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    CloudTrail,
    K8sAudit,
    Falco,
    /// Of 20 events 12 CloudTrail, 7 Kubernetes, 1 Falco, for readers that tell formats apart.
    Mixed,
}

/// What was generated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub events: u64,
    /// With the line feeds.
    pub bytes: u64,
    pub cloudtrail: u64,
    pub k8s_audit: u64,
    pub falco: u64,
    /// Events of the attack-like part.
    pub attacks: u64,
    /// Oldest and newest event time, microseconds since the epoch.
    pub oldest_us: i64,
    pub newest_us: i64,
}

/// One generated event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Never [`Format::Mixed`].
    pub format: Format,
    /// Microseconds since the epoch.
    pub time_us: i64,
    pub is_attack: bool,
}

/// The stream of a [`Spec`].
#[derive(Debug)]
pub struct Generator {
    spec: Spec,
    rng: Rng,
    next: u64,
    cloudtrail: cloudtrail::Templates,
    k8s: k8s::Templates,
    falco: falco::Templates,
}

impl Generator {
    pub fn new(spec: Spec) -> Self {
        let identities = spec.identities.max(1);
        Self {
            rng: Rng::new(spec.seed),
            next: 0,
            cloudtrail: cloudtrail::Templates::new(identities),
            k8s: k8s::Templates::new(identities),
            falco: falco::Templates::new(identities),
            spec,
        }
    }

    /// Appends the next event's JSON, without a line feed; `None` after the last.
    pub fn append_next(&mut self, out: &mut Vec<u8>) -> Option<Event> {
        if self.next == self.spec.events {
            return None;
        }
        let on_time = self.spec.start_us + (self.next as f64 * 1e6 / self.spec.rate) as i64;
        self.next += 1;
        let disorder = (self.spec.disorder_seconds * 1e6) as u64;
        let behind = if disorder > 0 {
            self.rng.below(disorder + 1) as i64
        } else {
            0
        };
        let is_attack = self.spec.attacks > 0.0 && self.rng.unit() < self.spec.attacks;
        let format = match self.spec.format {
            Format::Mixed => match self.rng.below(20) {
                0..12 => Format::CloudTrail,
                12..19 => Format::K8sAudit,
                _ => Format::Falco,
            },
            one => one,
        };
        let event = Event {
            format,
            time_us: on_time - behind,
            is_attack,
        };
        match format {
            Format::K8sAudit => self.k8s.append(out, &event, &mut self.rng),
            Format::Falco => self.falco.append(out, &event, &mut self.rng),
            _ => self.cloudtrail.append(out, &event, &mut self.rng),
        }
        Some(event)
    }
}

/// Each event's JSON with its description.
impl Iterator for Generator {
    type Item = (Event, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut json = Vec::with_capacity(2_048);
        let event = self.append_next(&mut json)?;
        Some((event, json))
    }
}

/// Writes all events of `spec`, one a line. `out` gets large writes and needs no buffer of its own.
pub fn write_events(out: &mut impl Write, spec: &Spec) -> io::Result<Stats> {
    const BLOCK: usize = 1 << 18;
    let mut generator = Generator::new(spec.clone());
    let mut block = Vec::with_capacity(BLOCK + (1 << 14));
    let mut stats = Stats::default();
    while let Some(event) = generator.append_next(&mut block) {
        block.push(b'\n');
        stats.count(&event);
        if block.len() >= BLOCK {
            stats.bytes += block.len() as u64;
            out.write_all(&block)?;
            block.clear();
        }
    }
    stats.bytes += block.len() as u64;
    out.write_all(&block)?;
    Ok(stats)
}

impl Stats {
    fn count(&mut self, event: &Event) {
        if self.events == 0 {
            (self.oldest_us, self.newest_us) = (event.time_us, event.time_us);
        }
        self.events += 1;
        self.attacks += u64::from(event.is_attack);
        self.oldest_us = self.oldest_us.min(event.time_us);
        self.newest_us = self.newest_us.max(event.time_us);
        match event.format {
            Format::K8sAudit => self.k8s_audit += 1,
            Format::Falco => self.falco += 1,
            _ => self.cloudtrail += 1,
        }
    }
}

#[cfg(test)]
mod tests;
