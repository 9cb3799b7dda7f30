//! Plans whose leaves mark where rows go, and the session that they are planned in.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, ScalarUDF, TableSource, lit};
use datafusion::optimizer::optimizer::Optimizer;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::detect::feed;
use crate::functions::distinct::SharedDistinct;
use crate::schema::{self, FAMILIES};
use crate::{Result, Tables, functions};

/// A leaf that only marks where batches go. Its statistics are unknown on purpose: over an empty table the
/// optimizer would fold `count(*)` to 0.
#[derive(Debug)]
pub(super) struct Slot(pub(super) SchemaRef);

impl PartitionStream for Slot {
    fn schema(&self) -> &SchemaRef {
        &self.0
    }
    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let error = DataFusionError::Internal("a template was run without rows".into());
        let stream = futures::stream::once(async { Err(error) });
        Box::pin(RecordBatchStreamAdapter::new(self.0.clone(), stream))
    }
}

pub(super) fn slot(schema: SchemaRef) -> DfResult<Arc<dyn ExecutionPlan>> {
    let part: Arc<dyn PartitionStream> = Arc::new(Slot(schema.clone()));
    Ok(Arc::new(StreamingTableExec::try_new(
        schema,
        vec![part],
        None,
        [],
        false,
        None,
    )?))
}

/// Runs a template over batches in the (projected) schemas of its leaves, one list per leaf, from left to
/// right.
pub async fn run(
    template: &Arc<dyn ExecutionPlan>,
    leaves: Vec<Vec<RecordBatch>>,
    ctx: &Arc<TaskContext>,
) -> DfResult<Vec<RecordBatch>> {
    let rows = collect(bind(template, leaves)?, ctx.clone()).await?;
    Ok(rows
        .into_iter()
        .filter(|batch| batch.num_rows() > 0)
        .collect())
}

fn bind(
    template: &Arc<dyn ExecutionPlan>,
    leaves: Vec<Vec<RecordBatch>>,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let mut leaves = leaves.into_iter();
    // Plans keep state between runs (a top-k sort its threshold); without the reset, rows vanish.
    let bound = reset_plan_states(template.clone())?.transform_up(|node| {
        if node.downcast_ref::<StreamingTableExec>().is_none() {
            return Ok(Transformed::no(node));
        }
        let batches = leaves.next().unwrap_or_default();
        let source = MemorySourceConfig::try_new_exec(&[batches], node.schema(), None)?;
        Ok(Transformed::yes(source as Arc<dyn ExecutionPlan>))
    })?;
    Ok(bound.data)
}

/// Session that rules are planned in: the `events` table, one view per family, `alerts` and reference tables.
pub async fn session(extra: &[ScalarUDF], tables: &Tables) -> Result<SessionContext> {
    let mut rules = PhysicalOptimizer::new().rules;
    // With one partition the first fuses the two halves that must stay apart; the second computes columns
    // (JSON look-ups above all) before the filter that would have spared most of them.
    rules.retain(|rule| {
        !["CombinePartialFinalAggregate", "ProjectionPushdown"].contains(&rule.name())
    });
    let mut logical = Optimizer::new().rules;
    // These, too, put computed columns below the filter, where dispatch could not read it any more.
    let sink = [
        "extract_leaf_expressions",
        "push_down_leaf_projections",
        "common_sub_expression_eliminate",
    ];
    logical.retain(|rule| !sink.contains(&rule.name()));
    logical.insert(0, Arc::new(SharedDistinct));
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_batch_size(8192);
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_config(config)
        .with_optimizer_rules(logical)
        .with_physical_optimizer_rules(rules)
        .build();
    let mut ctx = SessionContext::new_with_state(state);
    functions::register(&mut ctx)?;
    for function in extra {
        ctx.register_udf(function.clone());
    }
    let events = schema::events();
    let table = StreamingTable::try_new(events.clone(), vec![Arc::new(Slot(events))])?;
    ctx.register_table("events", Arc::new(table))?;
    family_views(&ctx).await?;
    ctx.sql(&feed::view()).await?;
    tables.register(&ctx)?;
    Ok(ctx)
}

/// Creates the views `cloud_audit`, `k8s_audit`, … over a registered table `events`.
async fn family_views(ctx: &SessionContext) -> DfResult<()> {
    let events = provider_as_source(ctx.table_provider("events").await?);
    for family in FAMILIES {
        ctx.register_table(*family, Arc::new(family_view(events.clone(), family)?))?;
    }
    Ok(())
}

/// `SELECT * FROM events WHERE family = '…'`, made without SQL: to plan a star takes some milliseconds.
pub(super) fn family_view(events: Arc<dyn TableSource>, family: &str) -> DfResult<ViewTable> {
    let schema = events.schema();
    let column = |name: &str| Expr::Column(Column::new(Some("events"), name));
    let columns = schema.fields().iter().map(|field| column(field.name()));
    let plan = LogicalPlanBuilder::scan("events", events, None)?
        .filter(column("family").eq(lit(family)))?
        .project(columns.collect::<Vec<_>>())?
        .build()?;
    Ok(ViewTable::new(plan, None))
}
