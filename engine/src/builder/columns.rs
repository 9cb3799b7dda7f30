//! Columns while they are built: sparse, so that a gap costs nothing until the next value.

use std::ops::Range;

use datafusion::arrow::array::{ArrayBuilder, BooleanBufferBuilder, StringViewBuilder};
use datafusion::arrow::buffer::{NullBuffer, ScalarBuffer};

/// A column of numbers while it is built. It ends with its last value: rows behind are a gap not yet
/// closed.
#[derive(Debug, Default)]
pub(super) struct Numbers<T> {
    pub(super) values: Vec<T>,
    /// Rows without a value, ascending; `values` holds a default there.
    gaps: Vec<Range<u32>>,
}

impl<T: Default + Clone> Numbers<T> {
    /// The first value of a row stays.
    #[inline]
    pub(super) fn set(&mut self, row: usize, capacity: usize, value: T) {
        if self.values.len() != row {
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

    pub(super) fn is_set(&self, row: usize) -> bool {
        self.values.len() > row
    }

    #[inline(never)]
    fn close_gap(&mut self, row: usize, capacity: usize) {
        let length = self.values.len();
        self.values.reserve(capacity.saturating_sub(length));
        self.gaps.push(length as u32..row as u32);
        self.values.resize(row, T::default());
    }

    pub(super) fn forget(&mut self, row: usize) {
        self.values.truncate(row);
    }

    /// Values and validity of `len` rows; nothing if no row has a value.
    pub(super) fn finish(mut self, len: usize) -> Option<(ScalarBuffer<T>, Option<NullBuffer>)>
    where
        T: datafusion::arrow::datatypes::ArrowNativeType,
    {
        let nulls = self.nulls(len)?;
        Some((ScalarBuffer::from(self.values), nulls))
    }

    /// Closes the last gap. Nothing if no row has a value, else the validity of the rows.
    pub(super) fn nulls(&mut self, len: usize) -> Option<Option<NullBuffer>> {
        if self.values.is_empty() {
            return None;
        }
        if self.values.len() < len {
            self.close_gap(len, len);
        }
        if self.gaps.is_empty() {
            return Some(None);
        }
        let mut valid = BooleanBufferBuilder::new(len);
        for gap in &self.gaps {
            valid.append_n(gap.start as usize - valid.len(), true);
            valid.append_n(gap.len(), false);
        }
        valid.append_n(len - valid.len(), true);
        Some(Some(NullBuffer::new(valid.finish())))
    }
}

/// A column of text while it is built.
#[derive(Debug, Default)]
pub(super) enum Texts {
    #[default]
    Empty,
    /// Only labels so far: their numbers.
    Labels(Numbers<u32>),
    Values {
        builder: Box<StringViewBuilder>,
        /// Rows in it.
        filled: usize,
        /// The input among the builder's blocks, once it is needed.
        input: Option<u32>,
    },
}

impl Texts {
    /// The builder of a column that holds more than labels, with nulls up to `row`, whose value the caller
    /// appends.
    #[inline]
    pub(super) fn values(
        &mut self,
        row: usize,
        capacity: usize,
        labels: &[String],
    ) -> (&mut StringViewBuilder, &mut Option<u32>) {
        if !matches!(self, Texts::Values { .. }) {
            *self = self.spell_out(capacity, labels);
        }
        let Texts::Values {
            builder,
            filled,
            input,
        } = self
        else {
            unreachable!("the column was made one of values above")
        };
        while *filled < row {
            builder.append_null();
            *filled += 1;
        }
        *filled += 1;
        (builder, input)
    }

    #[cold]
    fn spell_out(&mut self, capacity: usize, labels: &[String]) -> Self {
        let mut builder = Box::new(StringViewBuilder::with_capacity(capacity));
        if let Texts::Labels(numbers) = std::mem::take(self) {
            let mut gaps = numbers.gaps.into_iter().flatten().peekable();
            for (row, number) in numbers.values.iter().enumerate() {
                let is_null = gaps.next_if_eq(&(row as u32)).is_some();
                let label = labels.get(*number as usize).filter(|_| !is_null);
                builder.append_option(label);
            }
        }
        Texts::Values {
            filled: builder.len(),
            builder,
            input: None,
        }
    }
}
