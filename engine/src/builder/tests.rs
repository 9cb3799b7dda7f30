use datafusion::arrow::array::{Array, AsArray};

use super::*;
use crate::schema::col;

fn required(builder: &mut EventBuilder) {
    builder.int(col::TIME, 1);
    builder.text(col::EVENT_UID, "uid");
    builder.text(col::FAMILY, "cloud_audit");
    builder.text(col::PRODUCT, "a product with a long name");
    builder.text(col::LOG_NAME, "log");
    builder.text(col::RAW, "{}");
}

#[test]
fn a_discarded_row_leaves_nothing_behind() {
    let input = "first-unique-id second-unique-id";
    let mut builder = EventBuilder::new(Buffer::from(input.as_bytes()));
    builder.begin_in(input, 0);
    builder.text_at(col::EVENT_UID, 0..15);
    required(&mut builder);
    builder.keep();
    builder.begin();
    builder.text(col::STATUS, "a status that will not be seen");
    builder.bool(col::IS_READ_ONLY, true);
    builder.discard();
    builder.begin_in(&input[10..], 10);
    builder.text_at(col::EVENT_UID, 16..32);
    required(&mut builder);
    builder.int(col::HTTP_CODE, 403);
    builder.keep();
    let batch = builder.finish().expect("valid");
    assert_eq!(batch.num_rows(), 2);
    let uid = batch.column(col::EVENT_UID).as_string_view();
    assert_eq!(
        (uid.value(0), uid.value(1)),
        ("first-unique-id", "second-unique-id")
    );
    assert_eq!(batch.column(col::STATUS).null_count(), 2);
    assert!(batch.column(col::HTTP_CODE).is_null(0));
    assert_eq!(
        batch.column(col::PRODUCT).as_string_view().value(1),
        "a product with a long name"
    );
}

#[test]
fn the_first_value_of_a_row_stays() {
    let mut builder = EventBuilder::new(Buffer::from(b"uid" as &[u8]));
    builder.begin();
    required(&mut builder);
    builder.text(col::STATUS, "success");
    builder.text(col::STATUS, "failure");
    builder.keep();
    let batch = builder.finish().expect("valid");
    assert_eq!(
        batch.column(col::STATUS).as_string_view().value(0),
        "success"
    );
}

#[test]
fn text_of_all_lengths_is_the_same_copied_or_pointed_at() {
    let input: String = (0..2000)
        .map(|i| char::from(b'a' + (i % 26) as u8))
        .collect();
    let block = Buffer::from(input.as_bytes());
    let mut builder = EventBuilder::new(block.clone());
    let ends = || [0, 1, 11, 12, 13, COPIED - 1, COPIED, COPIED + 1, 1500];
    for end in ends() {
        builder.begin_in(&input[100..1900], 100);
        required(&mut builder);
        builder.text_at(col::STATUS_DETAIL, 200..200 + end);
        builder.keep();
    }
    let batch = builder.finish().expect("valid");
    let column = batch.column(col::STATUS_DETAIL).as_string_view();
    for (row, end) in ends().into_iter().enumerate() {
        assert_eq!(column.value(row), &input[200..200 + end]);
    }
    // The long ones were not copied.
    let shared = column.data_buffers().iter();
    assert!(
        shared
            .map(|buffer| buffer.as_ptr())
            .any(|at| at == block.as_ptr())
    );
}

#[test]
fn a_range_that_is_no_text_of_its_row_fails_the_batch() {
    let input = "text é more";
    for range in [0..2, 2..6, 5..12, 5..200] {
        let mut builder = EventBuilder::new(Buffer::from(input.as_bytes()));
        builder.begin_in(&input[2..9], 2);
        required(&mut builder);
        builder.text_at(col::STATUS, range.clone());
        builder.keep();
        assert!(builder.finish().is_err(), "{range:?}");
    }
}

#[test]
fn labels_and_other_text_mix_in_a_column() {
    let mut builder = EventBuilder::new(Buffer::from(b"" as &[u8]));
    let (short, long) = (
        builder.intern("core"),
        builder.intern("a label longer than a view"),
    );
    let rows = [None, Some(short), Some(long), None, Some(short)];
    for label in rows {
        builder.begin();
        required(&mut builder);
        if let Some(label) = label {
            builder.interned(col::STATUS, label);
            builder.interned(col::API_SERVICE, label);
            builder.interned(col::API_SERVICE, short);
        }
        builder.keep();
    }
    builder.begin();
    required(&mut builder);
    builder.text(col::API_SERVICE, "apps");
    builder.keep();
    builder.begin();
    required(&mut builder);
    builder.interned(col::API_SERVICE, long);
    builder.keep();
    let batch = builder.finish().expect("valid");
    let text = |column: usize| -> Vec<Option<String>> {
        let column = batch.column(column).as_string_view();
        column.iter().map(|text| text.map(str::to_owned)).collect()
    };
    let (core, long) = (
        Some("core".to_owned()),
        Some("a label longer than a view".to_owned()),
    );
    let first = [None, core.clone(), long.clone(), None, core];
    assert_eq!(text(col::STATUS)[..5], first);
    assert_eq!(text(col::STATUS)[5..], [None, None]);
    assert_eq!(text(col::API_SERVICE)[..5], first);
    assert_eq!(text(col::API_SERVICE)[5..], [Some("apps".into()), long]);
}

#[test]
fn gaps_at_all_places_become_nulls() {
    let mut builder = EventBuilder::with_capacity(Buffer::from(b"uid" as &[u8]), 4);
    let log = builder.intern("a log with a long name");
    for row in 0..20i64 {
        builder.begin();
        if row % 3 == 1 {
            builder.bool(col::IS_READ_ONLY, true);
            builder.discard();
            builder.begin();
        }
        builder.interned(col::LOG_NAME, log);
        required(&mut builder);
        if row % 4 == 2 {
            builder.int(col::HTTP_CODE, row);
            builder.text(col::STATUS, "a status longer than a view");
        }
        if row < 2 {
            builder.float(col::SRC_LAT, 0.5);
        }
        builder.keep();
    }
    let batch = builder.finish().expect("valid");
    for row in 0..20 {
        assert_eq!(batch.column(col::HTTP_CODE).is_valid(row), row % 4 == 2);
        assert_eq!(batch.column(col::STATUS).is_valid(row), row % 4 == 2);
        assert_eq!(batch.column(col::SRC_LAT).is_valid(row), row < 2);
        assert!(batch.column(col::IS_READ_ONLY).is_null(row));
        assert_eq!(
            batch.column(col::LOG_NAME).as_string_view().value(row),
            "a log with a long name"
        );
    }
    let codes = batch
        .column(col::HTTP_CODE)
        .as_primitive::<datafusion::arrow::datatypes::Int64Type>();
    assert_eq!(
        codes.iter().flatten().collect::<Vec<_>>(),
        [2, 6, 10, 14, 18]
    );
}

#[test]
fn a_gap_in_a_required_column_is_refused() {
    let mut builder = EventBuilder::new(Buffer::from(b"" as &[u8]));
    builder.begin();
    builder.int(col::TIME, 1);
    builder.keep();
    assert!(builder.finish().is_err());
}
