//! The slow twins: every decoder once more, written to be obvious, for tests and fuzzing.
//!
//! They share with the fast decoders the tables of the formats and the reading of times, nothing else.
//! [`agree`] holds one format against its twin, [`agree_by_content`] the recognition of formats as well.
//!
//! Of duplicate keys the first value that says something counts: the first text that is not empty, the first
//! object where members belong together.

mod cloudtrail;
mod columns;
mod falco;
mod finish;
mod json;
mod k8s_audit;
mod lines;
pub mod mutate;
mod table;
#[cfg(test)]
mod tests;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use serde_json::{Map, Value, json};
use weir_engine::batch::{EventBatch, Partition};
use weir_engine::schema::{COLUMNS, Kind, col};

pub use self::columns::Columns;
pub use self::json::Json;
pub use self::lines::is_header;
use crate::decode::{Decoder, DecoderConfig, Record};
use crate::format::{Format, vpc_flow};

/// What becomes of one event.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Row(Columns),
    Filtered,
    /// A dead letter for this reason.
    Dead(&'static str),
}

/// Keys that say that the events lie inside.
const OTHERS: [&str; 9] = [
    "Records",
    "records",
    "items",
    "Events",
    "logEvents",
    "detail",
    "jsonPayload",
    "properties",
    "CloudTrailEvent",
];

fn holds_others(event: Json) -> bool {
    let members = event.members();
    members
        .iter()
        .any(|(key, _)| OTHERS.contains(&key.as_str()))
}

fn row(columns: Columns) -> Option<Vec<Outcome>> {
    Some(vec![Outcome::Row(columns)])
}

fn dead(reason: &'static str) -> Option<Vec<Outcome>> {
    Some(vec![Outcome::Dead(reason)])
}

/// What becomes of an object; nothing if it is not of the format.
fn decode(format: Format, event: Json) -> Option<Vec<Outcome>> {
    let mut outcomes = match format {
        Format::CLOUDTRAIL => cloudtrail::decode(event),
        Format::K8S_AUDIT => k8s_audit::decode(event),
        Format::FALCO => falco::decode(event),
        table => table::decode(table.known()?, event),
    }?;
    label(format, &mut outcomes);
    // Without an id of its own, an event of no report is known by its text.
    if let [Outcome::Row(columns)] = outcomes.as_mut_slice()
        && !columns.has(col::EVENT_UID)
    {
        columns.set(col::EVENT_UID, hash(event));
    }
    Some(outcomes)
}

fn label(format: Format, outcomes: &mut [Outcome]) {
    let [family, product] = format.labels(None);
    for outcome in outcomes {
        if let Outcome::Row(columns) = outcome {
            columns.set(col::FAMILY, family);
            columns.set(col::PRODUCT, product);
        }
    }
}

fn time(text: &str) -> Option<i64> {
    crate::time::parse(text.as_bytes())
}

fn hash(event: Json) -> String {
    format!(
        "{:032x}",
        xxhash_rust::xxh3::xxh3_128(event.raw().as_bytes())
    )
}

/// The object that the text is, if one decoder would read it whole.
fn object(text: &str) -> Option<Json<'_>> {
    let config = DecoderConfig::new("log");
    let json = Json::parse(text, config.max_depth).filter(|json| json.is_object());
    json.filter(|_| text.len() <= config.max_record_bytes)
}

/// Panics unless the decoder of the format makes of the text what its twin makes of it. Says whether the
/// text is an event of the format.
pub fn agree(format: Format, text: &str) -> bool {
    // What may stand around a record is no part of it.
    let own = text.trim_matches(|one| " \t\n\x0c\r\0\x0b\x1e".contains(one));
    if !own.starts_with('{') {
        return agree_line(format, None, text);
    }
    let expected = object(own).and_then(|event| decode(format, event));
    let batch = run(Decoder::only(format), &[text]);
    compare(expected.as_deref(), &batch, text, format.name());
    expected.is_some()
}

/// Whether the text has the form of a time as a container runtime writes it, whatever its digits say.
fn is_time(text: &str) -> bool {
    let digits_as_zeros: String = text
        .chars()
        .map(|one| if one.is_ascii_digit() { '0' } else { one })
        .collect();
    let rest = digits_as_zeros.strip_prefix("0000-00-00T00:00:00");
    rest.is_some_and(|rest| rest.chars().all(|one| "0.,:+-Z".contains(one)))
}

/// The same for a line that is no JSON, with the header of its log.
pub fn agree_line(format: Format, header: Option<&str>, line: &str) -> bool {
    // Marks, syslog's heads and gzip are not the formats' own; in what escapes stand for, lines are lenient.
    let plain = |text: &str| {
        let mut characters = text.chars();
        characters.all(|one| match one {
            ' ' | '\t' => true,
            '\\' | '\u{feff}' => false,
            one => one.is_ascii_graphic() || one >= '\u{a0}',
        })
    };
    let header = header.filter(|_| format == Format::of(&vpc_flow::FLOW));
    let begins = |first: char| first.is_ascii_digit() || first == '[';
    let names = |header: &str| header.starts_with(|first: char| first.is_ascii_alphabetic());
    if !line.starts_with(begins)
        || !plain(line)
        || !header.is_none_or(|header| names(header) && plain(header))
    {
        return false;
    }
    // What a container runtime writes before a line is no part of it.
    let cri = [" stdout F ", " stderr F "]
        .into_iter()
        .find_map(|tag| line.split_once(tag));
    let own = match cri {
        Some((time, rest)) if is_time(time) => rest.trim_start(),
        _ => line,
    };
    // Nor are the blanks around it. What begins with a quote is read as JSON.
    let own = own.trim();
    let mut expected = lines::decode(format, header, own).filter(|_| own.starts_with(begins));
    if let Some(outcomes) = &mut expected {
        label(format, outcomes);
        outcomes.extend(header.map(|_| Outcome::Filtered));
    }
    let lines: Vec<_> = header.into_iter().chain([line]).collect();
    let batch = run(Decoder::only(format), &lines);
    compare(expected.as_deref(), &batch, line, format.name());
    expected.is_some()
}

/// Panics unless an event that is of one format alone is recognised as that.
pub fn agree_by_content(text: &str) {
    let Some(event) = object(text) else { return };
    // What stands before these keys is an event; what stands behind them is not looked at.
    if holds_others(event) || !event.under("value").is_empty() {
        return;
    }
    let decoded = Format::all().filter_map(|format| Some((format, decode(format, event)?)));
    if let [(format, expected)] = decoded.collect::<Vec<_>>().as_slice() {
        let batch = run(Decoder::new(DecoderConfig::new("log")), &[text]);
        compare(Some(expected), &batch, text, format.name());
    }
}

fn run(mut decoder: Decoder, lines: &[&str]) -> EventBatch {
    let (mut block, mut records) = (vec![], vec![]);
    for line in lines {
        let start = block.len();
        block.extend_from_slice(line.as_bytes());
        records.push(Record {
            range: start..block.len(),
            position: start as i64,
        });
    }
    let (partition, next) = (Partition::new("twin", "one"), block.len() as i64);
    let batch = decoder.decode(&partition, Buffer::from_vec(block), &records, next);
    batch.expect("a block that is no bug")
}

fn compare(expected: Option<&[Outcome]>, batch: &EventBatch, text: &str, name: &str) {
    let counts = batch.counts;
    assert!(counts.conserved(), "{name}: {counts:?}: {text}");
    let Some(expected) = expected else {
        // Events may lie inside what is none.
        let raw = batch.events.column(col::RAW).as_string_view();
        let whole = raw.iter().flatten().any(|raw| raw == text.trim());
        assert!(!whole, "{name}: a row of what is no event: {text}");
        return;
    };
    let rows = (0..batch.events.num_rows()).map(|at| row_of(batch, at));
    let wanted = expected.iter().filter_map(|one| match one {
        Outcome::Row(columns) => Some(Value::Object(columns.0.clone())),
        _ => None,
    });
    assert_eq!(
        rows.collect::<Vec<_>>(),
        wanted.collect::<Vec<_>>(),
        "{name}: {text}"
    );
    let letters = batch.dead_letters.iter();
    let reasons: Vec<_> = letters.map(|letter| letter.reason).collect();
    let wanted = expected.iter().filter_map(|one| match one {
        Outcome::Dead(reason) => Some(*reason),
        _ => None,
    });
    assert_eq!(reasons, wanted.collect::<Vec<_>>(), "{name}: {text}");
    let filtered = expected.iter().filter(|one| **one == Outcome::Filtered);
    assert_eq!(counts.filtered, filtered.count() as u64, "{name}: {text}");
}

/// The columns of a row that are not null, without the log's name and the event's text.
pub fn row_of(batch: &EventBatch, row: usize) -> Value {
    let mut map = Map::new();
    for (index, column) in COLUMNS.iter().enumerate() {
        let array = batch.events.column(index);
        if array.is_null(row) || matches!(index, col::LOG_NAME | col::RAW) {
            continue;
        }
        let value = match column.kind {
            Kind::Text => json!(array.as_string_view().value(row)),
            Kind::Int => json!(array.as_primitive::<Int64Type>().value(row)),
            Kind::Time => json!(array.as_primitive::<TimestampMicrosecondType>().value(row)),
            Kind::Bool => json!(array.as_boolean().value(row)),
            Kind::Float => json!(array.as_primitive::<Float64Type>().value(row)),
        };
        map.insert(column.name.to_owned(), value);
    }
    Value::Object(map)
}
