//! What the fuzz targets do with their bytes: each function panics if something is wrong.
//!
//! `scripts/fuzz.sh` runs them; how to run one for long stands there. The decoder of one format is fuzzed by
//! `format` with `WEIR_FUZZ_FORMAT=NAME`.

mod envelope;
mod intel;
mod json;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use datafusion::arrow::buffer::Buffer;
use serde_json::Value;
use weir_connectors::format::Format;
use weir_connectors::mapping::custom::{CustomMapping, Description, Source};
use weir_connectors::slow::{self, row_of};
use weir_connectors::{Decoder, DecoderConfig, FormatChoice, Record};
use weir_engine::batch::{DEAD_LETTER_PAYLOAD, EventBatch, Partition};

pub use envelope::envelope;
pub use intel::{intel, intel_in_all_forms};
pub use json::json;

/// Reasons of dead letters: a metric counts by them.
const REASONS: [&str; 10] = [
    "bad_time",
    "empty",
    "invalid_gzip",
    "invalid_json",
    "invalid_utf8",
    "missing_field",
    "too_deep",
    "too_large",
    "unknown_format",
    "wrong_type",
];

/// Lines of a log of the format that `WEIR_FUZZ_FORMAT` names; of any if it names none.
pub fn format(data: &[u8]) {
    static NAME: OnceLock<String> = OnceLock::new();
    format_as(
        NAME.get_or_init(|| std::env::var("WEIR_FUZZ_FORMAT").unwrap_or_else(|_| "auto".into())),
        data,
    );
}

/// Lines of a log of a format by its name in the configuration.
pub fn format_as(name: &str, data: &[u8]) {
    let config = config(name);
    let lines: Vec<_> = data.split(|byte| *byte == b'\n').collect();
    let batch = checked(&config, &lines);
    let formats: Vec<_> = Format::all().filter(|one| one.source() == name).collect();
    // What fits two formats of a vendor is that of its neighbour, and a flow log has a header.
    if formats.len() == 1 && name != "vpc_flow" {
        let alone = lines
            .iter()
            .flat_map(|line| rows(&checked(&config, &[line])));
        assert_eq!(rows(&batch), alone.collect::<Vec<_>>());
    }
    let mut header = None;
    for text in lines
        .iter()
        .filter_map(|line| std::str::from_utf8(line).ok())
    {
        for format in &formats {
            slow::agree(*format, text);
            slow::agree_line(*format, header, text);
        }
        header = slow::is_header(text).then_some(text).or(header);
        if name == "auto" {
            slow::agree_by_content(text);
        }
    }
}

fn config(name: &str) -> DecoderConfig {
    let format = FormatChoice::named(name).unwrap_or_else(|| panic!("no format `{name}`"));
    let mapping = (format == FormatChoice::Custom).then(|| {
        let mapping = CustomMapping::new(&description());
        mapping.unwrap_or_else(|error| panic!("{error}"))
    });
    DecoderConfig {
        format,
        mapping,
        cluster: Some("cluster".into()),
        ..DecoderConfig::new("log")
    }
}

/// A mapping with every kind of step and value.
fn description() -> Description {
    let columns = [
        ("time", "eventTime", None),
        ("time", "time[-1]", None),
        ("actor_user_uid", "userIdentity.arn", None),
        ("actor_user_name", "user.\"user.name\"", Some("lower")),
        ("src_endpoint_ip", "sourceIPs[0]", None),
        ("src_endpoint_port", "hops[-1].address", Some("port_of")),
        ("severity_id", "severity", Some("severity")),
        ("status", "status", Some("status")),
        ("confidence_score", "confidence", None),
        ("api_is_read_only", "readOnly", None),
        ("actor_user_groups", "groups", Some("json")),
    ];
    let source = |path: &str, how: Option<&str>| Source {
        path: path.into(),
        how: how.map(Into::into),
    };
    Description {
        product: "Fuzz".into(),
        family: "identity".into(),
        class: 3002,
        required: vec!["eventTime".into()],
        uid: vec!["eventID".into(), "attempt".into()],
        columns: columns
            .map(|(column, path, how)| (column.into(), vec![source(path, how)]))
            .into(),
    }
}

/// The lines decoded, with everything checked that holds for any bytes.
pub(crate) fn checked(config: &DecoderConfig, lines: &[&[u8]]) -> EventBatch {
    let batch = decoded(config, lines);
    let counts = batch.counts;
    assert!(counts.conserved(), "{counts:?}");
    assert_eq!(counts.processed, batch.events.num_rows() as u64);
    let bytes: usize = lines.iter().map(|line| line.len()).sum();
    assert_eq!(counts.bytes, bytes as u64);
    assert!(batch.dead_letters.len() as u64 <= counts.dead_lettered);
    for letter in &batch.dead_letters {
        assert!(REASONS.contains(&letter.reason), "{}", letter.reason);
        let kept = letter.payload_bytes.min(DEAD_LETTER_PAYLOAD as u64);
        assert_eq!(letter.payload.len() as u64, kept);
    }
    let again = decoded(config, lines);
    assert_eq!(batch.events, again.events);
    assert_eq!(batch.dead_letters, again.dead_letters);
    assert_eq!(batch.counts, again.counts);
    batch
}

fn decoded(config: &DecoderConfig, lines: &[&[u8]]) -> EventBatch {
    let (mut block, mut records) = (vec![], vec![]);
    for line in lines {
        let start = block.len();
        block.extend_from_slice(line);
        records.push(Record {
            range: start..block.len(),
            position: start as i64,
        });
        block.push(b'\n');
    }
    let next = block.len() as i64;
    let partition = Partition::new("fuzz", "lines");
    let batch =
        Decoder::new(config.clone()).decode(&partition, Buffer::from_vec(block), &records, next);
    batch.unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn rows(batch: &EventBatch) -> Vec<Value> {
    let rows = 0..batch.events.num_rows();
    rows.map(|row| row_of(batch, row)).collect()
}

/// Changes one line as JSON, in place. Gives the new size; nothing in half of all cases, for libFuzzer to
/// change bytes.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> Option<usize> {
    let mut seed = u64::from(seed);
    if slow::mutate::next(&mut seed).is_multiple_of(2) {
        return None;
    }
    let text = std::str::from_utf8(&data[..size]).ok()?;
    let mut lines: Vec<_> = text.split('\n').map(str::to_owned).collect();
    let at = slow::mutate::next(&mut seed) % lines.len();
    lines[at] = slow::mutate::mutate(&lines[at], &mut seed);
    let changed = lines.join("\n");
    if changed.len() > max_size.min(data.len()) || changed == text {
        return None;
    }
    data[..changed.len()].copy_from_slice(changed.as_bytes());
    Some(changed.len())
}
