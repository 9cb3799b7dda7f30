//! Accumulators of `sequence_match`: the events of each group that satisfy a step, and their state as Arrow lists.
//!
//! A state is two lists per group, the times and the steps of its entries; both are null when the group had
//! more events than are kept. Merging states is putting the lists together, in any order.

use std::mem::{size_of, size_of_val, take};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, ListArray, PrimitiveArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{
    DataType, Field, Int64Type, TimestampMicrosecondType, UInt32Type,
};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

use super::pattern::{Entry, Pattern};
use crate::functions::true_rows;

/// What is known of one group.
#[derive(Debug)]
enum Group {
    Kept(Vec<Entry>),
    /// It had more events than are kept, and stays so whatever is merged into it.
    TooMany,
}

impl Default for Group {
    fn default() -> Self {
        Self::Kept(vec![])
    }
}

impl Group {
    fn add(&mut self, entry: Entry, pattern: &Pattern) {
        if let Self::Kept(entries) = self {
            entries.push(entry);
            if entries.len() >= pattern.most.saturating_mul(2) {
                self.settle(pattern);
            }
        }
    }

    /// Whether a group has too many events is decided by all its events alone: equal ones are dropped alike in
    /// whatever parts they come.
    fn settle(&mut self, pattern: &Pattern) {
        if let Self::Kept(entries) = self {
            pattern.settle(entries);
            if entries.len() > pattern.most {
                tracing::warn!(
                    most = pattern.most,
                    "sequence_match: a group has more events than are kept; its answer is null"
                );
                *self = Self::TooMany;
            }
        }
    }

    fn answer(&mut self, pattern: &Pattern) -> Option<bool> {
        self.settle(pattern);
        match self {
            Self::Kept(entries) => Some(pattern.is_in(entries)),
            Self::TooMany => None,
        }
    }

    fn entries(&self) -> &[Entry] {
        match self {
            Self::Kept(entries) => entries,
            Self::TooMany => &[],
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Kept(entries) => entries.capacity() * size_of::<Entry>(),
            Self::TooMany => 0,
        }
    }
}

/// Types of the two lists of a state.
pub(super) fn state_types() -> [DataType; 2] {
    [DataType::Int64, DataType::UInt32]
        .map(|item| DataType::List(Arc::new(Field::new_list_field(item, true))))
}

fn list<T: ArrowPrimitiveType>(
    values: Vec<T::Native>,
    offsets: OffsetBuffer<i32>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let item = Arc::new(Field::new_list_field(T::DATA_TYPE, true));
    let values = PrimitiveArray::<T>::new(values.into(), None);
    Ok(Arc::new(ListArray::try_new(
        item,
        offsets,
        Arc::new(values),
        nulls,
    )?))
}

fn state(groups: &[Group]) -> Result<Vec<ArrayRef>> {
    let lengths = || groups.iter().map(|group| group.entries().len());
    if i32::try_from(lengths().sum::<usize>()).is_err() {
        return exec_err!(
            "sequence_match: the groups of one batch have more than {} events; narrow the WHERE clause",
            i32::MAX
        );
    }
    let offsets = OffsetBuffer::from_lengths(lengths());
    let kept: NullBuffer = groups
        .iter()
        .map(|group| matches!(group, Group::Kept(_)))
        .collect();
    let nulls = (kept.null_count() > 0).then_some(kept);
    let entries = || groups.iter().flat_map(Group::entries);
    Ok(vec![
        list::<Int64Type>(
            entries().map(|entry| entry.time).collect(),
            offsets.clone(),
            nulls.clone(),
        )?,
        list::<UInt32Type>(entries().map(|entry| entry.steps).collect(), offsets, nulls)?,
    ])
}

/// Calls `each` with the row and the entry of every event that satisfies a step and passes the filter. Events
/// without a time have no place in a sequence.
fn read_events(
    values: &[ArrayRef],
    filter: Option<&BooleanArray>,
    mut each: impl FnMut(usize, Entry),
) -> Result<()> {
    let Some((times, conditions)) = values.split_first() else {
        return exec_err!("sequence_match: the arguments are missing");
    };
    let Some(times) = times.as_primitive_opt::<TimestampMicrosecondType>() else {
        return exec_err!("sequence_match: the time is {}", times.data_type());
    };
    let mut steps = vec![0u32; times.len()];
    for (index, condition) in conditions.iter().enumerate() {
        let mut set = |row: usize| steps[row] |= 1 << index;
        match (condition.data_type(), condition.nulls()) {
            (DataType::Boolean, _) => true_rows(condition).set_indices().for_each(set),
            (_, Some(nulls)) => nulls.valid_indices().for_each(set),
            (_, None) => (0..condition.len()).for_each(&mut set),
        }
    }
    let passes = |row: usize| filter.is_none_or(|f| f.is_valid(row) && f.value(row));
    for (row, steps) in steps.into_iter().enumerate() {
        if steps != 0 && times.is_valid(row) && passes(row) {
            let time = times.value(row);
            each(row, Entry { time, steps });
        }
    }
    Ok(())
}

/// Calls `each` with the row and every entry of states, and with none for a group that had too many.
fn read_states(values: &[ArrayRef], mut each: impl FnMut(usize, Option<Entry>)) -> Result<()> {
    let lists = |index: usize| {
        values
            .get(index)
            .and_then(|column| column.as_list_opt::<i32>())
    };
    let (Some(times), Some(steps)) = (lists(0), lists(1)) else {
        return exec_err!("sequence_match: a state is not two lists");
    };
    let (Some(time), Some(step)) = (
        times.values().as_primitive_opt::<Int64Type>(),
        steps.values().as_primitive_opt::<UInt32Type>(),
    ) else {
        return exec_err!("sequence_match: a state is not of times and steps");
    };
    for row in 0..times.len() {
        if times.is_null(row) || steps.is_null(row) {
            each(row, None);
            continue;
        }
        let range = |list: &ListArray| {
            let offsets = list.value_offsets();
            offsets[row] as usize..offsets[row + 1] as usize
        };
        let (time, step) = (&time.values()[range(times)], &step.values()[range(steps)]);
        if time.len() != step.len() {
            return exec_err!("sequence_match: a state has more times than steps");
        }
        for (&time, &steps) in time.iter().zip(step) {
            each(row, Some(Entry { time, steps }));
        }
    }
    Ok(())
}

/// The events of many groups.
#[derive(Debug)]
pub(super) struct Groups {
    pattern: Pattern,
    groups: Vec<Group>,
    /// What the groups' entries take.
    bytes: usize,
}

impl Groups {
    pub(super) fn new(pattern: Pattern) -> Self {
        Self {
            pattern,
            groups: vec![],
            bytes: 0,
        }
    }

    fn grow(&mut self, groups: usize) {
        self.groups.resize_with(groups, Group::default);
    }

    fn add(&mut self, group: usize, entry: Option<Entry>) {
        let group = &mut self.groups[group];
        let before = group.bytes();
        match entry {
            Some(entry) => group.add(entry, &self.pattern),
            None => *group = Group::TooMany,
        }
        self.bytes = self.bytes + group.bytes() - before;
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<Group> {
        let groups = emit_to.take_needed(&mut self.groups);
        self.bytes -= groups.iter().map(Group::bytes).sum::<usize>();
        groups
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.grow(total_num_groups);
        read_events(values, opt_filter, |row, entry| {
            self.add(group_indices[row], Some(entry));
        })
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let groups = self.take(emit_to);
        let answers = groups
            .into_iter()
            .map(|mut group| group.answer(&self.pattern));
        Ok(Arc::new(answers.collect::<BooleanArray>()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let mut groups = self.take(emit_to);
        for group in &mut groups {
            group.settle(&self.pattern);
        }
        state(&groups)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.grow(total_num_groups);
        read_states(values, |row, entry| self.add(group_indices[row], entry))
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |column| column.len());
        let mut groups: Vec<Group> = vec![];
        groups.resize_with(rows, Group::default);
        read_events(values, opt_filter, |row, entry| {
            groups[row] = Group::Kept(vec![entry]);
        })?;
        state(&groups)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.groups.capacity() * size_of::<Group>() + self.bytes
    }
}

/// The events of one group, for queries without GROUP BY and for `OVER`.
#[derive(Debug)]
pub(super) struct Single {
    pattern: Pattern,
    group: Group,
}

impl Single {
    pub(super) fn new(pattern: Pattern) -> Self {
        Self {
            pattern,
            group: Group::default(),
        }
    }
}

impl Accumulator for Single {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        read_events(values, None, |_, entry| {
            self.group.add(entry, &self.pattern);
        })
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Boolean(self.group.answer(&self.pattern)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.group.bytes()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.group.settle(&self.pattern);
        state(&[take(&mut self.group)])?
            .iter()
            .map(|list| ScalarValue::try_from_array(list, 0))
            .collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        read_states(states, |_, entry| match entry {
            Some(entry) => self.group.add(entry, &self.pattern),
            None => self.group = Group::TooMany,
        })
    }
}
