//! Builds event batches whose text points into the bytes that the source delivered.
//!
//! A text column is a list of 16-byte views. A value that stands in the input as it is costs one view and
//! no copy; a value that had to be unescaped or made is appended to one side buffer. Columns are sparse:
//! a row touches only the columns it fills, the gaps are padded once at the end.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray, make_view,
};
use datafusion::arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use datafusion::arrow::error::ArrowError;

use crate::schema::{self, COLUMNS, Kind};

const INPUT: u32 = 0;
const SIDE: u32 = 1;

/// A column while it is built: values for the rows named in `rows`, in ascending order.
#[derive(Debug)]
enum Values {
    Text(Vec<u128>),
    Int(Vec<i64>),
    Float(Vec<f64>),
    Bool(Vec<bool>),
}

#[derive(Debug)]
struct Building {
    rows: Vec<u32>,
    values: Values,
}

/// Builder of one event batch over one block of input bytes.
///
/// Use: [`begin`](Self::begin) a row, set columns in any order (the first value set for a column in a row
/// stays), then [`keep`](Self::keep) or [`discard`](Self::discard) it.
#[derive(Debug)]
pub struct EventBuilder {
    input: Buffer,
    side: Vec<u8>,
    columns: Vec<Building>,
    row: u32,
    side_mark: usize,
}

impl EventBuilder {
    /// `input` is the block that [`text_at`](Self::text_at) ranges refer to (block 0 of every text column).
    pub fn new(input: Buffer) -> Self {
        let column = |kind| Building {
            rows: vec![],
            values: match kind {
                Kind::Text => Values::Text(vec![]),
                Kind::Int | Kind::Time => Values::Int(vec![]),
                Kind::Float => Values::Float(vec![]),
                Kind::Bool => Values::Bool(vec![]),
            },
        };
        Self {
            input,
            side: vec![],
            columns: COLUMNS.iter().map(|c| column(c.kind)).collect(),
            row: 0,
            side_mark: 0,
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
        for column in &mut self.columns {
            if column.rows.last() == Some(&self.row) {
                column.rows.pop();
                match &mut column.values {
                    Values::Text(v) => drop(v.pop()),
                    Values::Int(v) => drop(v.pop()),
                    Values::Float(v) => drop(v.pop()),
                    Values::Bool(v) => drop(v.pop()),
                }
            }
        }
        self.side.truncate(self.side_mark);
    }

    /// Whether the column has a value in the current row.
    pub fn is_set(&self, column: usize) -> bool {
        self.columns[column].rows.last() == Some(&self.row)
    }

    /// Text that stands in the input block as it is. The range must be valid UTF-8; [`finish`](Self::finish)
    /// checks it and fails the batch otherwise, so the decoder validates each record first.
    #[inline]
    pub fn text_at(&mut self, column: usize, range: Range<usize>) {
        let view = make_view(&self.input[range.clone()], INPUT, range.start as u32);
        self.push_view(column, view);
    }

    /// Text that does not stand in the input; it is copied.
    pub fn text(&mut self, column: usize, value: &str) {
        let view = make_view(value.as_bytes(), SIDE, self.side.len() as u32);
        if value.len() > 12 {
            if self.is_set(column) {
                return;
            }
            self.side.extend_from_slice(value.as_bytes());
        }
        self.push_view(column, view);
    }

    #[inline]
    fn push_view(&mut self, column: usize, view: u128) {
        let building = &mut self.columns[column];
        if building.rows.last() != Some(&self.row)
            && let Values::Text(values) = &mut building.values
        {
            building.rows.push(self.row);
            values.push(view);
        }
    }

    /// An integer, or a time in microseconds since the epoch.
    pub fn int(&mut self, column: usize, value: i64) {
        let building = &mut self.columns[column];
        if building.rows.last() != Some(&self.row)
            && let Values::Int(values) = &mut building.values
        {
            building.rows.push(self.row);
            values.push(value);
        }
    }

    pub fn float(&mut self, column: usize, value: f64) {
        let building = &mut self.columns[column];
        if building.rows.last() != Some(&self.row)
            && let Values::Float(values) = &mut building.values
        {
            building.rows.push(self.row);
            values.push(value);
        }
    }

    pub fn bool(&mut self, column: usize, value: bool) {
        let building = &mut self.columns[column];
        if building.rows.last() != Some(&self.row)
            && let Values::Bool(values) = &mut building.values
        {
            building.rows.push(self.row);
            values.push(value);
        }
    }

    /// The batch in the schema of [`schema::events`]. Fails when a never-null column has a gap or text is
    /// not UTF-8: both are decoder bugs.
    pub fn finish(self) -> Result<RecordBatch, ArrowError> {
        let len = self.row as usize;
        let buffers: Arc<[Buffer]> = Arc::from([self.input, Buffer::from_vec(self.side)]);
        let columns = self
            .columns
            .into_iter()
            .zip(COLUMNS)
            .map(|(building, column)| {
                let Building { rows, values } = building;
                let nulls = nulls(&rows, len);
                Ok(match values {
                    Values::Text(views) => Arc::new(StringViewArray::try_new(
                        ScalarBuffer::from(spread(views, &rows, len)),
                        buffers.clone(),
                        nulls,
                    )?) as ArrayRef,
                    Values::Int(values) => {
                        let values = ScalarBuffer::from(spread(values, &rows, len));
                        match column.kind {
                            Kind::Time => Arc::new(
                                TimestampMicrosecondArray::try_new(values, nulls)?
                                    .with_timezone("UTC"),
                            ) as ArrayRef,
                            _ => Arc::new(Int64Array::try_new(values, nulls)?),
                        }
                    }
                    Values::Float(values) => Arc::new(Float64Array::try_new(
                        ScalarBuffer::from(spread(values, &rows, len)),
                        nulls,
                    )?),
                    Values::Bool(values) => Arc::new(BooleanArray::new(
                        BooleanBuffer::from(spread(values, &rows, len)),
                        nulls,
                    )),
                })
            });
        RecordBatch::try_new(
            schema::events(),
            columns.collect::<Result<Vec<_>, ArrowError>>()?,
        )
    }
}

fn nulls(rows: &[u32], len: usize) -> Option<NullBuffer> {
    if rows.len() == len {
        return None;
    }
    if rows.is_empty() {
        return Some(NullBuffer::new_null(len));
    }
    let mut bits = vec![0u8; len.div_ceil(8)];
    for row in rows {
        bits[*row as usize / 8] |= 1 << (row % 8);
    }
    Some(NullBuffer::new(BooleanBuffer::new(
        Buffer::from_vec(bits),
        0,
        len,
    )))
}

/// Puts dense values at their rows, with defaults between.
fn spread<T: Default + Clone>(values: Vec<T>, rows: &[u32], len: usize) -> Vec<T> {
    if rows.len() == len {
        return values;
    }
    let mut all = vec![T::default(); len];
    for (row, value) in rows.iter().zip(values) {
        all[*row as usize] = value;
    }
    all
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
    fn a_gap_in_a_required_column_is_refused() {
        let mut builder = EventBuilder::new(Buffer::from(b"" as &[u8]));
        builder.begin();
        builder.int(col::TIME, 1);
        builder.keep();
        assert!(builder.finish().is_err());
    }
}
