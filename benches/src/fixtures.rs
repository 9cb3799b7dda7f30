//! Logs of any length out of the fixtures of the formats: the same events again and again, with other times,
//! addresses and numbers. The same seed gives the same bytes.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use datafusion::arrow::buffer::Buffer;
use weir_connectors::decode::are_flow_fields;
use weir_connectors::{Decoder, DecoderConfig, Record};
use weir_engine::batch::{Counts, Partition};

use crate::generator::Rng;

/// Lines of one format.
#[derive(Debug)]
pub struct Fixture {
    /// Name of the file without its ending: the format, and what of it.
    pub name: String,
    /// Whether the lines are JSON.
    pub json: bool,
    /// Names of columns that stand before the first line.
    header: Option<String>,
    lines: Vec<String>,
}

/// The fixtures that hold events, in the order of their names.
pub fn fixtures() -> Result<Vec<Fixture>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../connectors/tests/formats");
    let mut found = vec![];
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let ending = path.extension().unwrap_or_default();
        if ending != "ndjson" && ending != "log" {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let header = text.lines().next().filter(|line| are_flow_fields(line));
        let events = text.lines().filter(|line| is_event(line, header));
        let fixture = Fixture {
            name: path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            json: ending == "ndjson",
            header: header.map(str::to_owned),
            lines: events.map(str::to_owned).collect(),
        };
        if !fixture.lines.is_empty() {
            found.push(fixture);
        }
    }
    ensure!(!found.is_empty(), "no fixtures in {}", folder.display());
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// Whether all that the line holds becomes rows.
fn is_event(line: &str, header: Option<&str>) -> bool {
    let config = DecoderConfig {
        columns: header.map(Into::into),
        ..DecoderConfig::new("bench")
    };
    let record = Record {
        range: 0..line.len(),
        position: 0,
    };
    let partition = Partition::new("bench", "0");
    let batch =
        Decoder::new(config).decode(&partition, Buffer::from(line.as_bytes()), &[record], 1);
    let counts = batch.map_or(Counts::default(), |batch| batch.counts);
    counts.processed > 0 && counts.processed == counts.read
}

impl Fixture {
    /// Appends `count` lines, beside the header.
    pub fn write(&self, text: &mut Vec<u8>, count: usize, seed: u64) {
        if let Some(header) = &self.header {
            text.extend_from_slice(header.as_bytes());
            text.push(b'\n');
        }
        let mut rng = Rng::new(seed);
        for index in 0..count {
            vary(
                self.lines[index % self.lines.len()].as_bytes(),
                text,
                &mut rng,
            );
            text.push(b'\n');
        }
    }
}

/// Appends the line with other digits: minutes and seconds of times, and what
/// stands behind the first five digits of a number. Its length and kind stay.
fn vary(line: &[u8], text: &mut Vec<u8>, rng: &mut Rng) {
    let mut at = 0;
    while at < line.len() {
        let rest = &line[at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            text.push(line[at]);
            at += 1;
        } else if let Some(time) = clock(rest, rng) {
            text.extend_from_slice(&time);
            at += time.len();
        } else {
            let kept = digits.min(5);
            text.extend_from_slice(&rest[..kept]);
            text.extend((kept..digits).map(|_| b'0' + rng.below(10) as u8));
            at += digits;
        }
    }
}

/// `2026-01-02T03:04:05` with other minutes and seconds.
fn clock(text: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let head = text.get(..19)?;
    let fits = head
        .iter()
        .zip(b"dddd-dd-ddTdd:dd:dd")
        .all(|(byte, form)| match form {
            b'd' => byte.is_ascii_digit(),
            form => byte == form,
        });
    let (minute, second) = (rng.below(60), rng.below(60));
    fits.then(|| [&head[..14], format!("{minute:02}:{second:02}").as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_events_and_varied_ones_are_events_still() {
        let fixtures = fixtures().unwrap_or_else(|error| panic!("{error}"));
        assert!(fixtures.len() > 15, "{}", fixtures.len());
        for fixture in fixtures {
            let mut text = vec![];
            fixture.write(&mut text, 50, 7);
            let text = String::from_utf8_lossy(&text);
            let lines = text.lines().skip(usize::from(fixture.header.is_some()));
            for line in lines {
                assert!(
                    is_event(line, fixture.header.as_deref()),
                    "{}: {line}",
                    fixture.name
                );
            }
            assert_ne!(fixture.lines[0], text.lines().last().unwrap_or_default());
        }
    }
}
