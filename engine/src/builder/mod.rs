//! Builds event batches out of pieces of the bytes that the source delivered.
//!
//! Text is validated once, by the caller, record by record ([`EventBuilder::begin_in`]); from then on it
//! travels as `&str` and is not looked at again. Short values are copied into a buffer of their column: a
//! rule that reads a column then runs over dense memory, not over the whole log. Long ones (`raw` above
//! all) stay where they are, as views into the input. A label that comes back row after row is a number
//! until the end. Columns are sparse: a gap costs nothing until the next value, and all columns without any
//! value share one array of nulls.
//!
//! Invariant: a row is nothing until it is kept; a discarded row leaves no trace.

use std::array;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayBuilder, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray, UInt32Array,
};
use datafusion::arrow::buffer::{BooleanBuffer, Buffer};
use datafusion::arrow::compute;
use datafusion::arrow::error::ArrowError;

use self::columns::{Numbers, Texts};
use crate::schema::{self, COLUMNS, Kind};

mod columns;

/// Longest text that is copied. A copy keeps columns dense; for more than this a view is cheaper.
const COPIED: usize = 256;

// Columns of the current row are bits of a `u128`.
const _: () = assert!(COLUMNS.len() <= 128);

/// Text known to the builder, to be set in many rows: see [`EventBuilder::intern`].
#[derive(Debug, Clone, Copy)]
pub struct Interned(u32);

/// A text set in the current row.
#[derive(Debug, Clone, Copy)]
struct Staged {
    column: u32,
    from: From,
    start: u32,
    end: u32,
}

#[derive(Debug, Clone, Copy)]
enum From {
    Input,
    Side,
    /// `start` is the number.
    Label,
}

/// Builder of one event batch over one block of input bytes.
///
/// Use: [`begin`](Self::begin) a row, set columns in any order (the first value set for a column in a row
/// stays), then [`keep`](Self::keep) or [`discard`](Self::discard) it.
#[derive(Debug)]
pub struct EventBuilder<'a> {
    input: Buffer,
    /// Labels by their numbers.
    labels: Vec<String>,
    // One place per column in each array; a column uses the one of its kind. Fixed length: an index known
    // at compile time needs no check.
    texts: Box<[Texts; COLUMNS.len()]>,
    /// Integers and times.
    ints: Box<[Numbers<i64>; COLUMNS.len()]>,
    floats: Box<[Numbers<f64>; COLUMNS.len()]>,
    bools: Box<[Numbers<bool>; COLUMNS.len()]>,
    capacity: usize,
    /// Rows kept.
    rows: usize,
    /// Text columns of the current row, as bits and in the order set.
    set: u128,
    /// Columns of numbers and truth values that were set in it.
    set_numbers: u128,
    staged: Vec<Staged>,
    /// Texts of the current row that do not stand in the input.
    side: String,
    /// The part of the input that the current row may point into, and where it starts.
    text: &'a str,
    text_start: usize,
    /// A range that was no text of the current row.
    broken: Option<Range<usize>>,
}

impl<'a> EventBuilder<'a> {
    /// `input` is the block that [`text_at`](Self::text_at) ranges refer to.
    pub fn new(input: Buffer) -> Self {
        Self::with_capacity(input, 0)
    }

    /// With room for `rows` rows in every column that gets a value.
    pub fn with_capacity(input: Buffer, rows: usize) -> Self {
        Self {
            input,
            labels: vec![],
            texts: Box::new(array::from_fn(|_| Texts::default())),
            ints: Box::new(array::from_fn(|_| Numbers::default())),
            floats: Box::new(array::from_fn(|_| Numbers::default())),
            bools: Box::new(array::from_fn(|_| Numbers::default())),
            capacity: rows,
            rows: 0,
            set: 0,
            set_numbers: 0,
            staged: Vec::with_capacity(COLUMNS.len()),
            side: String::new(),
            text: "",
            text_start: 0,
            broken: None,
        }
    }

    /// Rows kept so far.
    pub fn len(&self) -> usize {
        self.rows
    }
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Begins a row that takes nothing from the input.
    pub fn begin(&mut self) {
        self.begin_in("", 0);
    }

    /// Begins a row that takes its text from `text`, which stands in the input from `start` on.
    pub fn begin_in(&mut self, text: &'a str, start: usize) {
        self.clear_row();
        (self.text, self.text_start) = (text, start);
    }

    fn clear_row(&mut self) {
        self.set = 0;
        self.set_numbers = 0;
        self.staged.clear();
        self.side.clear();
    }

    /// Ends the row and keeps it.
    pub fn keep(&mut self) {
        let (row, capacity) = (self.rows, self.capacity);
        for staged in &self.staged {
            let column = &mut self.texts[staged.column as usize];
            let range = staged.start as usize..staged.end as usize;
            let value = match staged.from {
                From::Input => self.text.get(range.clone()),
                From::Side => self.side.get(range.clone()),
                From::Label => match column {
                    Texts::Labels(numbers) => {
                        numbers.set(row, capacity, staged.start);
                        continue;
                    }
                    Texts::Empty => {
                        let mut numbers = Numbers::default();
                        numbers.set(row, capacity, staged.start);
                        *column = Texts::Labels(numbers);
                        continue;
                    }
                    Texts::Values { .. } => {
                        self.labels.get(range.start).map(|label| label.as_str())
                    }
                },
            };
            let Some(value) = value else {
                self.broken = Some(range);
                continue;
            };
            let (builder, input) = column.values(row, capacity, &self.labels);
            if value.len() <= COPIED || !matches!(staged.from, From::Input) {
                builder.append_value(value);
                continue;
            }
            let block = *input.get_or_insert_with(|| builder.append_block(self.input.clone()));
            let start = (self.text_start + range.start) as u32;
            // Fails if `begin_in` was not told the truth: the text does not stand there.
            if builder
                .try_append_view(block, start, value.len() as u32)
                .is_err()
            {
                self.broken = Some(range);
            }
        }
        self.clear_row();
        self.rows += 1;
    }

    /// Ends the row and forgets everything set since [`begin`](Self::begin).
    pub fn discard(&mut self) {
        let mut left = self.set_numbers;
        while left != 0 {
            let column = left.trailing_zeros() as usize;
            self.ints[column].forget(self.rows);
            self.floats[column].forget(self.rows);
            self.bools[column].forget(self.rows);
            left &= left - 1;
        }
        self.clear_row();
    }

    /// Whether the column has a value in the current row.
    pub fn is_set(&self, column: usize) -> bool {
        match COLUMNS[column].kind {
            Kind::Text => self.set >> column & 1 == 1,
            Kind::Int | Kind::Time => self.ints[column].is_set(self.rows),
            Kind::Float => self.floats[column].is_set(self.rows),
            Kind::Bool => self.bools[column].is_set(self.rows),
        }
    }

    /// Text that stands at this place of the input, inside the text given to
    /// [`begin_in`](Self::begin_in); [`finish`](Self::finish) fails otherwise.
    #[inline]
    pub fn text_at(&mut self, column: usize, range: Range<usize>) {
        let start = range.start.wrapping_sub(self.text_start) as u32;
        let end = range.end.wrapping_sub(self.text_start) as u32;
        self.stage(column, From::Input, start, end);
    }

    /// Text that does not stand in the input.
    pub fn text(&mut self, column: usize, value: &str) {
        let start = self.side.len() as u32;
        self.side.push_str(value);
        self.stage(column, From::Side, start, self.side.len() as u32);
    }

    /// Keeps a text that many rows will share; it stays when a row is discarded.
    pub fn intern(&mut self, value: &str) -> Interned {
        self.labels.push(value.to_owned());
        Interned(self.labels.len() as u32 - 1)
    }

    #[inline]
    pub fn interned(&mut self, column: usize, value: Interned) {
        self.stage(column, From::Label, value.0, value.0);
    }

    #[inline]
    fn stage(&mut self, column: usize, from: From, start: u32, end: u32) {
        let bit = 1 << column;
        if self.set & bit == 0 {
            self.set |= bit;
            let column = column as u32;
            self.staged.push(Staged {
                column,
                from,
                start,
                end,
            });
        }
    }

    /// An integer, or a time in microseconds since the epoch.
    #[inline]
    pub fn int(&mut self, column: usize, value: i64) {
        self.set_numbers |= 1 << column;
        self.ints[column].set(self.rows, self.capacity, value);
    }

    #[inline]
    pub fn float(&mut self, column: usize, value: f64) {
        self.set_numbers |= 1 << column;
        self.floats[column].set(self.rows, self.capacity, value);
    }

    #[inline]
    pub fn bool(&mut self, column: usize, value: bool) {
        self.set_numbers |= 1 << column;
        self.bools[column].set(self.rows, self.capacity, value);
    }

    /// The batch in the schema of [`schema::events`]. Fails when a never-null column has a gap or a range
    /// was no text: both are decoder bugs.
    pub fn finish(self) -> Result<RecordBatch, ArrowError> {
        if let Some(range) = self.broken {
            let reason = format!(
                "bytes {} to {} are no text of their row",
                range.start, range.end
            );
            return Err(ArrowError::InvalidArgumentError(reason));
        }
        let len = self.rows;
        let labels: ArrayRef = Arc::new(StringViewArray::from_iter_values(&self.labels));
        let no_text: ArrayRef = Arc::new(StringViewArray::new_null(len));
        let no_int: ArrayRef = Arc::new(Int64Array::new_null(len));
        let no_float: ArrayRef = Arc::new(Float64Array::new_null(len));
        let text = |texts: Texts| -> Result<ArrayRef, ArrowError> {
            match texts {
                Texts::Empty => Ok(no_text.clone()),
                Texts::Labels(numbers) => match numbers.finish(len) {
                    None => Ok(no_text.clone()),
                    Some((numbers, nulls)) => {
                        compute::take(&labels, &UInt32Array::try_new(numbers, nulls)?, None)
                    }
                },
                Texts::Values { mut builder, .. } => {
                    while builder.len() < len {
                        builder.append_null();
                    }
                    Ok(Arc::new(builder.finish()))
                }
            }
        };
        let kinds = self.texts.into_iter().zip(*self.ints);
        let kinds = kinds.zip(self.floats.into_iter().zip(*self.bools));
        let columns = COLUMNS.iter().zip(kinds).map(
            |(column, ((texts, ints), (floats, mut bools)))| -> Result<ArrayRef, ArrowError> {
                Ok(match column.kind {
                    Kind::Text => text(texts)?,
                    Kind::Int => match ints.finish(len) {
                        None => no_int.clone(),
                        Some((values, nulls)) => Arc::new(Int64Array::try_new(values, nulls)?),
                    },
                    Kind::Time => {
                        let times = match ints.finish(len) {
                            None => TimestampMicrosecondArray::new_null(len),
                            Some((values, nulls)) => {
                                TimestampMicrosecondArray::try_new(values, nulls)?
                            }
                        };
                        Arc::new(times.with_timezone("UTC"))
                    }
                    Kind::Float => match floats.finish(len) {
                        None => no_float.clone(),
                        Some((values, nulls)) => Arc::new(Float64Array::try_new(values, nulls)?),
                    },
                    Kind::Bool => match bools.nulls(len) {
                        None => Arc::new(BooleanArray::new_null(len)),
                        Some(nulls) => {
                            Arc::new(BooleanArray::new(BooleanBuffer::from(bools.values), nulls))
                        }
                    },
                })
            },
        );
        let columns = columns.collect::<Result<Vec<_>, ArrowError>>()?;
        RecordBatch::try_new(schema::events(), columns)
    }
}

#[cfg(test)]
mod tests;
