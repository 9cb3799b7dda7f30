//! Distinct texts per group, for `count(DISTINCT text)` and `array_agg(DISTINCT text)` where a query has several
//! of them. DataFusion keeps a set with buffers of its own for each group, some 8 KiB each; here all groups
//! share one table of texts.
//!
//! The state is one list of texts per group. Nulls are neither counted nor listed.

use std::mem::size_of;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, StringArray, StringViewArray,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, Aggregate, AggregateUDF, AggregateUDFImpl, EmitTo, Expr, ExprSchemable,
    GroupsAccumulator, LogicalPlan, Signature, Volatility,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use hashbrown::{HashMap, HashSet};

/// Puts the functions of this module in the place of DataFusion's.
#[derive(Debug)]
pub struct SharedDistinct;

impl OptimizerRule for SharedDistinct {
    fn name(&self) -> &str {
        "shared_distinct"
    }
    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }
    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = plan else {
            return Ok(Transformed::no(plan));
        };
        let call = |expr: &Expr| match expr.clone().unalias() {
            Expr::AggregateFunction(call) => Some(call),
            _ => None,
        };
        let calls: Vec<_> = aggregate.aggr_expr.iter().filter_map(call).collect();
        let distinct = calls.iter().filter(|call| call.params.distinct);
        // One distinct column alone is pre-aggregated by value, which is faster still.
        if distinct.clone().all(|call| call.func.name() == "count")
            && distinct
                .map(|call| &call.params.args)
                .collect::<HashSet<_>>()
                .len()
                < 2
        {
            return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
        }
        let schema = aggregate.input.schema().clone();
        let mut changed = false;
        let mut exprs = vec![];
        for expr in &aggregate.aggr_expr {
            let replaced = match call(expr) {
                Some(call) => replacement(&call, |arg| arg.get_type(&schema))?,
                None => None,
            };
            changed |= replaced.is_some();
            exprs.push(match replaced {
                Some(new) => new.alias(expr.schema_name().to_string()),
                None => expr.clone(),
            });
        }
        if !changed {
            return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
        }
        let Aggregate {
            input, group_expr, ..
        } = aggregate;
        let aggregate = Aggregate::try_new(input, group_expr, exprs)?;
        Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
    }
}

fn replacement(
    call: &AggregateFunction,
    kind_of: impl Fn(&Expr) -> Result<DataType>,
) -> Result<Option<Expr>> {
    let params = &call.params;
    let ([arg], true, true) = (
        params.args.as_slice(),
        params.distinct,
        params.order_by.is_empty(),
    ) else {
        return Ok(None);
    };
    let counts = match call.func.name() {
        "count" => true,
        "array_agg" => false,
        _ => return Ok(None),
    };
    if !matches!(kind_of(arg)?, DataType::Utf8 | DataType::Utf8View) {
        return Ok(None);
    }
    let function = AggregateUDF::from(DistinctTexts {
        counts,
        signature: Signature::any(1, Volatility::Immutable),
    });
    Ok(Some(Expr::AggregateFunction(AggregateFunction::new_udf(
        Arc::new(function),
        vec![arg.clone()],
        false,
        params.filter.clone(),
        vec![],
        None,
    ))))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DistinctTexts {
    counts: bool,
    signature: Signature,
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

impl AggregateUDFImpl for DistinctTexts {
    fn name(&self) -> &str {
        if self.counts {
            "distinct_count"
        } else {
            "distinct_values"
        }
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match (self.counts, types) {
            (true, _) => DataType::Int64,
            (false, [item]) => list_of(item.clone()),
            (false, _) => return exec_err!("distinct_values takes one argument"),
        })
    }
    fn is_nullable(&self) -> bool {
        !self.counts
    }
    fn default_value(&self, kind: &DataType) -> Result<ScalarValue> {
        match self.counts {
            true => Ok(ScalarValue::Int64(Some(0))),
            false => ScalarValue::try_from(kind),
        }
    }
    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let name = format_state_name(args.name, "texts");
        Ok(vec![Arc::new(Field::new(
            name,
            list_of(DataType::Utf8),
            true,
        ))])
    }
    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(One(Sets::new(&args))))
    }
    fn groups_accumulator_supported(&self, _: AccumulatorArgs) -> bool {
        true
    }
    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Sets::new(&args)))
    }
}

/// The sets of all groups.
#[derive(Debug, Default)]
struct Sets {
    /// Type of the answer; the count's where none is set.
    answer: Option<DataType>,
    ids: HashMap<Box<str>, u32>,
    texts: Vec<Box<str>>,
    text_bytes: usize,
    /// Group and text, as found.
    pairs: Vec<(u32, u32)>,
    known: HashSet<(u32, u32)>,
    /// Texts by group.
    counts: Vec<u32>,
}

impl Sets {
    fn new(args: &AccumulatorArgs) -> Self {
        Self {
            answer: Some(args.return_field.data_type().clone()),
            ..Self::default()
        }
    }

    fn id(&mut self, text: &str) -> u32 {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let id = self.texts.len() as u32;
        self.texts.push(text.into());
        self.ids.insert(text.into(), id);
        self.text_bytes += 2 * text.len();
        id
    }

    fn add(&mut self, group: usize, text: &str) {
        let pair = (group as u32, self.id(text));
        if self.known.insert(pair) {
            self.pairs.push(pair);
            self.counts[group] += 1;
        }
    }

    fn update(
        &mut self,
        texts: &ArrayRef,
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.counts.resize(total, 0);
        let texts = cast(texts, &DataType::Utf8View)?;
        let texts = texts.as_string_view();
        for (row, group) in groups.iter().enumerate() {
            if !texts.is_null(row) && passes(filter, row) {
                self.add(*group, texts.value(row));
            }
        }
        Ok(())
    }

    fn merge(&mut self, lists: &ArrayRef, groups: &[usize], total: usize) -> Result<()> {
        self.counts.resize(total, 0);
        let lists = lists.as_list::<i32>();
        let texts = lists.values().as_string::<i32>();
        for (row, group) in groups.iter().enumerate() {
            if lists.is_null(row) {
                continue;
            }
            let (from, to) = (lists.value_offsets()[row], lists.value_offsets()[row + 1]);
            for place in from..to {
                self.add(*group, texts.value(place as usize));
            }
        }
        Ok(())
    }

    /// Takes the first `n` groups out: how many texts each has, and all their texts in order of groups.
    fn take(&mut self, emit_to: EmitTo) -> (Vec<u32>, Vec<u32>) {
        let n = match emit_to {
            EmitTo::All => self.counts.len(),
            EmitTo::First(n) => n,
        };
        let rest = self.counts.split_off(n);
        let counts = std::mem::replace(&mut self.counts, rest);
        let mut starts = Vec::with_capacity(n);
        let mut total = 0_usize;
        for count in &counts {
            starts.push(total);
            total += *count as usize;
        }
        let mut texts = vec![0_u32; total];
        let pairs = std::mem::take(&mut self.pairs);
        self.known.clear();
        for (group, text) in pairs {
            match starts.get_mut(group as usize) {
                Some(place) => {
                    texts[*place] = text;
                    *place += 1;
                }
                None => {
                    let pair = (group - n as u32, text);
                    self.known.insert(pair);
                    self.pairs.push(pair);
                }
            }
        }
        (counts, texts)
    }

    fn lists(&self, counts: &[u32], texts: &[u32], item: &DataType) -> Result<ArrayRef> {
        let values = texts.iter().map(|id| self.texts[*id as usize].as_ref());
        let values: ArrayRef = match item {
            DataType::Utf8View => Arc::new(StringViewArray::from_iter_values(values).gc()),
            _ => Arc::new(StringArray::from_iter_values(values)),
        };
        let offsets = OffsetBuffer::from_lengths(counts.iter().map(|count| *count as usize));
        let field = Arc::new(Field::new_list_field(item.clone(), true));
        Ok(Arc::new(ListArray::try_new(field, offsets, values, None)?))
    }

    fn answer(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (counts, texts) = self.take(emit_to);
        match &self.answer {
            Some(DataType::List(item)) => self.lists(&counts, &texts, item.data_type()),
            _ => Ok(Arc::new(Int64Array::from_iter_values(
                counts.into_iter().map(i64::from),
            ))),
        }
    }

    fn states(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (counts, texts) = self.take(emit_to);
        self.lists(&counts, &texts, &DataType::Utf8)
    }

    fn bytes(&self) -> usize {
        let per_text = size_of::<(Box<str>, u32)>() + size_of::<Box<str>>() + 1;
        let per_pair = 2 * size_of::<(u32, u32)>() + 1;
        self.text_bytes
            + self.texts.capacity() * per_text
            + self.pairs.capacity() * per_pair
            + self.counts.capacity() * size_of::<u32>()
    }
}

fn passes(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

impl GroupsAccumulator for Sets {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.update(&values[0], groups, filter, total)
    }
    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.merge(&values[0], groups, total)
    }
    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.answer(emit_to)
    }
    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.states(emit_to)?])
    }
    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let mut sets = Sets {
            answer: self.answer.clone(),
            ..Sets::default()
        };
        let rows: Vec<usize> = (0..values[0].len()).collect();
        sets.update(&values[0], &rows, filter, rows.len())?;
        Ok(vec![sets.states(EmitTo::All)?])
    }
    fn size(&self) -> usize {
        self.bytes()
    }
}

/// One group alone, for queries without GROUP BY.
#[derive(Debug)]
struct One(Sets);

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let groups = vec![0; values[0].len()];
        self.0.update(&values[0], &groups, None, 1)
    }
    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let groups = vec![0; states[0].len()];
        self.0.merge(&states[0], &groups, 1)
    }
    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.counts.resize(1, 0);
        ScalarValue::try_from_array(&self.0.answer(EmitTo::All)?, 0)
    }
    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.counts.resize(1, 0);
        let states = self.0.states(EmitTo::All)?;
        Ok(vec![ScalarValue::try_from_array(&states, 0)?])
    }
    fn size(&self) -> usize {
        self.0.bytes()
    }
}
