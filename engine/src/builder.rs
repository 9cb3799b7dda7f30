//! Builds event batches whose text points into the bytes that the source delivered.
//!
//! A text column is a list of 16-byte views. A value that stands in the input as it is costs one view and
//! no copy; a value that had to be unescaped or made is appended to one side buffer, and one that comes
//! back row after row is interned once. Columns are sparse: a row touches only the columns it fills, a gap
//! costs nothing until the next value, and all columns without any value share one array of nulls.

use std::array;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, Float64Array, Int64Array, RecordBatch,
    StringViewArray, TimestampMicrosecondArray, make_view,
};
use datafusion::arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use datafusion::arrow::error::ArrowError;

use crate::schema::{self, COLUMNS, Kind};

const INPUT: u32 = 0;
const SIDE: u32 = 1;
const INTERNED: u32 = 2;

/// Longest text that a view holds in itself.
const INLINE: usize = 12;

/// A column while it is built. It ends with its last value: rows behind it are a gap not yet closed.
#[derive(Debug, Default)]
struct Building<T> {
    values: Vec<T>,
    /// Rows without a value, ascending; `values` holds a default there.
    gaps: Vec<Range<u32>>,
}

impl<T: Default + Clone> Building<T> {
    /// The first value of a row stays.
    #[inline(always)]
    fn set(&mut self, row: u32, capacity: usize, value: T) {
        if self.values.len() != row as usize {
            if self.is_set(row) {
                return;
            }
            self.close_gap(row, capacity);
        }
        if self.values.len() == self.values.capacity() {
            self.values.reserve(capacity.max(1));
        }
        self.values.push(value);
    }

    #[inline]
    fn is_set(&self, row: u32) -> bool {
        self.values.len() > row as usize
    }

    #[inline(never)]
    fn close_gap(&mut self, row: u32, capacity: usize) {
        self.values
            .reserve(capacity.saturating_sub(self.values.len()));
        self.gaps.push(self.values.len() as u32..row);
        self.values.resize(row as usize, T::default());
    }

    fn forget(&mut self, row: u32) {
        self.values.truncate(row as usize);
    }

    /// Values and validity of `len` rows; nothing if no row has a value.
    fn finish(mut self, len: usize) -> Option<(Vec<T>, Option<NullBuffer>)> {
        if self.values.is_empty() {
            return None;
        }
        if self.values.len() < len {
            self.close_gap(len as u32, len);
        }
        if self.gaps.is_empty() {
            return Some((self.values, None));
        }
        let mut valid = BooleanBufferBuilder::new(len);
        for gap in self.gaps {
            valid.append_n(gap.start as usize - valid.len(), true);
            valid.append_n(gap.len(), false);
        }
        valid.append_n(len - valid.len(), true);
        Some((self.values, Some(NullBuffer::new(valid.finish()))))
    }
}

/// Text known to the builder, to be set in many rows: see [`EventBuilder::intern`].
#[derive(Debug, Clone, Copy)]
pub struct Interned(u128);

/// Builder of one event batch over one block of input bytes.
///
/// Use: [`begin`](Self::begin) a row, set columns in any order (the first value set for a column in a row
/// stays), then [`keep`](Self::keep) or [`discard`](Self::discard) it.
#[derive(Debug)]
pub struct EventBuilder {
    input: Buffer,
    side: Vec<u8>,
    interned: Vec<u8>,
    // One place per column in each array; a column uses the one of its kind. Fixed length: an index known
    // at compile time needs no check.
    texts: Box<[Building<u128>; COLUMNS.len()]>,
    /// Integers and times.
    ints: Box<[Building<i64>; COLUMNS.len()]>,
    floats: Box<[Building<f64>; COLUMNS.len()]>,
    bools: Box<[Building<bool>; COLUMNS.len()]>,
    row: u32,
    side_mark: usize,
    capacity: usize,
}

impl EventBuilder {
    /// `input` is the block that [`text_at`](Self::text_at) ranges refer to (block 0 of every text column).
    pub fn new(input: Buffer) -> Self {
        Self::with_capacity(input, 0)
    }

    /// With room for `rows` rows in every column that gets a value.
    pub fn with_capacity(input: Buffer, rows: usize) -> Self {
        Self {
            input,
            side: vec![],
            interned: vec![],
            texts: Box::new(array::from_fn(|_| Building::default())),
            ints: Box::new(array::from_fn(|_| Building::default())),
            floats: Box::new(array::from_fn(|_| Building::default())),
            bools: Box::new(array::from_fn(|_| Building::default())),
            row: 0,
            side_mark: 0,
            capacity: rows,
        }
    }

    /// Rows kept so far.
    pub fn len(&self) -> usize {
        self.row as usize
    }
    pub fn is_empty(&self) -> bool {
        self.row == 0
    }

    pub fn begin(&mut self) {
        self.side_mark = self.side.len();
    }

    /// Ends the row and keeps it.
    pub fn keep(&mut self) {
        self.row += 1;
    }

    /// Ends the row and forgets everything set since [`begin`](Self::begin).
    pub fn discard(&mut self) {
        let row = self.row;
        self.texts.iter_mut().for_each(|column| column.forget(row));
        self.ints.iter_mut().for_each(|column| column.forget(row));
        self.floats.iter_mut().for_each(|column| column.forget(row));
        self.bools.iter_mut().for_each(|column| column.forget(row));
        self.side.truncate(self.side_mark);
    }

    /// Whether the column has a value in the current row.
    pub fn is_set(&self, column: usize) -> bool {
        match COLUMNS[column].kind {
            Kind::Text => self.texts[column].is_set(self.row),
            Kind::Int | Kind::Time => self.ints[column].is_set(self.row),
            Kind::Float => self.floats[column].is_set(self.row),
            Kind::Bool => self.bools[column].is_set(self.row),
        }
    }

    /// Text that stands in the input block as it is. The range must be valid UTF-8; [`finish`](Self::finish)
    /// checks it and fails the batch otherwise, so the decoder validates each record first.
    #[inline]
    pub fn text_at(&mut self, column: usize, range: Range<usize>) {
        let view = view_at(&self.input, range);
        self.texts[column].set(self.row, self.capacity, view);
    }

    /// Text that does not stand in the input; it is copied.
    pub fn text(&mut self, column: usize, value: &str) {
        let view = make_view(value.as_bytes(), SIDE, self.side.len() as u32);
        if value.len() > INLINE {
            if self.texts[column].is_set(self.row) {
                return;
            }
            self.side.extend_from_slice(value.as_bytes());
        }
        self.texts[column].set(self.row, self.capacity, view);
    }

    /// Keeps a text that many rows will share; it stays when a row is discarded.
    pub fn intern(&mut self, value: &str) -> Interned {
        let view = make_view(value.as_bytes(), INTERNED, self.interned.len() as u32);
        if value.len() > INLINE {
            self.interned.extend_from_slice(value.as_bytes());
        }
        Interned(view)
    }

    #[inline]
    pub fn interned(&mut self, column: usize, value: Interned) {
        self.texts[column].set(self.row, self.capacity, value.0);
    }

    /// An integer, or a time in microseconds since the epoch.
    #[inline]
    pub fn int(&mut self, column: usize, value: i64) {
        self.ints[column].set(self.row, self.capacity, value);
    }

    #[inline]
    pub fn float(&mut self, column: usize, value: f64) {
        self.floats[column].set(self.row, self.capacity, value);
    }

    #[inline]
    pub fn bool(&mut self, column: usize, value: bool) {
        self.bools[column].set(self.row, self.capacity, value);
    }

    /// The batch in the schema of [`schema::events`]. Fails when a never-null column has a gap or text is
    /// not UTF-8: both are decoder bugs.
    pub fn finish(self) -> Result<RecordBatch, ArrowError> {
        let len = self.row as usize;
        let buffers: Arc<[Buffer]> = Arc::from([
            self.input,
            Buffer::from_vec(self.side),
            Buffer::from_vec(self.interned),
        ]);
        let no_text: ArrayRef = Arc::new(StringViewArray::new_null(len));
        let no_int: ArrayRef = Arc::new(Int64Array::new_null(len));
        let no_float: ArrayRef = Arc::new(Float64Array::new_null(len));
        let kinds = self.texts.into_iter().zip(*self.ints);
        let kinds = kinds.zip(self.floats.into_iter().zip(*self.bools));
        let columns = COLUMNS.iter().zip(kinds).map(
            |(column, ((texts, ints), (floats, bools)))| -> Result<ArrayRef, ArrowError> {
                Ok(match column.kind {
                    Kind::Text => match texts.finish(len) {
                        None => no_text.clone(),
                        Some((views, nulls)) => Arc::new(StringViewArray::try_new(
                            ScalarBuffer::from(views),
                            buffers.clone(),
                            nulls,
                        )?),
                    },
                    Kind::Int => match ints.finish(len) {
                        None => no_int.clone(),
                        Some((values, nulls)) => {
                            Arc::new(Int64Array::try_new(ScalarBuffer::from(values), nulls)?)
                        }
                    },
                    Kind::Time => {
                        let (values, nulls) = ints
                            .finish(len)
                            .unwrap_or_else(|| (vec![0; len], Some(NullBuffer::new_null(len))));
                        let times =
                            TimestampMicrosecondArray::try_new(ScalarBuffer::from(values), nulls)?;
                        Arc::new(times.with_timezone("UTC"))
                    }
                    Kind::Float => match floats.finish(len) {
                        None => no_float.clone(),
                        Some((values, nulls)) => {
                            Arc::new(Float64Array::try_new(ScalarBuffer::from(values), nulls)?)
                        }
                    },
                    Kind::Bool => match bools.finish(len) {
                        None => Arc::new(BooleanArray::new_null(len)),
                        Some((values, nulls)) => {
                            Arc::new(BooleanArray::new(BooleanBuffer::from(values), nulls))
                        }
                    },
                })
            },
        );
        let columns = columns.collect::<Result<Vec<_>, ArrowError>>()?;
        RecordBatch::try_new(schema::events(), columns)
    }
}

/// The view of `input[range]`. Reads 16 bytes whatever the length, which costs no branch per length.
#[inline]
fn view_at(input: &Buffer, range: Range<usize>) -> u128 {
    let text = &input[range.clone()];
    let Some(head) = input[range.start..].first_chunk::<16>() else {
        return make_view(text, INPUT, range.start as u32);
    };
    let (head, len) = (u128::from_le_bytes(*head), text.len());
    if len <= INLINE {
        let text = head & ((1 << (8 * len)) - 1);
        text << 32 | len as u128
    } else {
        let prefix = u128::from(head as u32);
        (range.start as u128) << 96 | u128::from(INPUT) << 64 | prefix << 32 | len as u128
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Array, AsArray};

    use super::*;
    use crate::schema::col;

    fn required(builder: &mut EventBuilder, uid: Range<usize>) {
        builder.int(col::TIME, 1);
        builder.text_at(col::EVENT_UID, uid.clone());
        builder.text(col::FAMILY, "cloud_audit");
        builder.text(col::PRODUCT, "a product with a long name");
        builder.text(col::LOG_NAME, "log");
        builder.text_at(col::RAW, uid);
    }

    #[test]
    fn a_discarded_row_leaves_nothing_behind() {
        let mut builder =
            EventBuilder::new(Buffer::from(b"first-unique-id second-unique-id" as &[u8]));
        builder.begin();
        required(&mut builder, 0..15);
        builder.keep();
        builder.begin();
        builder.text(col::STATUS, "a status that will not be seen");
        builder.bool(col::IS_READ_ONLY, true);
        builder.discard();
        builder.begin();
        required(&mut builder, 16..32);
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
        required(&mut builder, 0..3);
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
    fn views_of_all_lengths_and_places_are_those_of_arrow() {
        let input = Buffer::from(b"abcdefghijklmnopqrstuvwxyz0123456789" as &[u8]);
        for start in 0..=input.len() {
            for end in start..=input.len() {
                let expected = make_view(&input[start..end], INPUT, start as u32);
                assert_eq!(view_at(&input, start..end), expected, "{start}..{end}");
            }
        }
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
            required(&mut builder, 0..3);
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
}
