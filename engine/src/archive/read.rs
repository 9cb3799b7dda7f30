//! Reading the archive: SQL tables over it, single events by id, and everything in order of hours.
//!
//! A scan lists the folders that its filter on `time` and `family` leaves, and within them the files that
//! no merged file replaces. The list is taken once, when the query is planned.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{
    ArrayRef, AsArray, BooleanArray, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::object_store::ObjectMeta;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::simplifier::PhysicalExprSimplifier;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use datafusion::prelude::{SessionConfig, SessionContext, col as column, lit};
use futures::StreamExt;
use serde_json::{Map, Value};

use super::layout::{self, Folder, Hour};
use crate::detect::Ending;
use crate::pipeline::wall_clock;
use crate::schema::{self, FAMILIES, col};
use crate::watermark::Lateness;
use crate::{Error, Result, json};

/// A readable archive. Cheap to clone; any number may read while one process writes.
#[derive(Debug, Clone)]
pub struct Archive {
    root: PathBuf,
}

impl Archive {
    /// The archive in folder `root`, which need not exist yet.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        let root = std::path::absolute(root).map_err(|e| Error::io(root, e))?;
        Ok(Self { root })
    }

    /// All events as a table in the schema of [`schema::events`].
    pub fn table_provider(&self) -> Arc<dyn TableProvider> {
        self.table(None, None)
    }

    fn table(&self, family: Option<&'static str>, hours: Option<BTreeSet<Hour>>) -> Arc<Events> {
        Arc::new(Events {
            root: self.root.clone(),
            family,
            hours,
        })
    }

    /// Registers `events` and a table of each family's name.
    pub fn register(&self, ctx: &SessionContext) -> Result<()> {
        ctx.register_table("events", self.table_provider())?;
        for family in FAMILIES {
            ctx.register_table(*family, self.table(Some(family), None))?;
        }
        Ok(())
    }

    /// Events by `event_uid` and time (µs), as objects of their non-null columns, in the order asked for.
    /// Those that are not there (any more) are left out. Reads only the hours concerned.
    pub async fn lookup(&self, wanted: &[(String, i64)]) -> Result<Vec<Value>> {
        if wanted.is_empty() {
            return Ok(vec![]);
        }
        let hours = wanted.iter().map(|(_, time)| Hour::of(*time)).collect();
        let times: BTreeSet<i64> = wanted.iter().map(|(_, time)| *time).collect();
        let times = times.into_iter().map(|t| lit(instant(t))).collect();
        let uids: BTreeSet<&str> = wanted.iter().map(|(uid, _)| uid.as_str()).collect();
        let uids = uids.into_iter().map(lit).collect();
        let filter = column("time").in_list(times, false);
        let filter = filter.and(column("event_uid").in_list(uids, false));
        let table = context()?.read_table(self.table(None, Some(hours)))?;
        let batches = table.filter(filter)?.collect().await?;
        let mut found: HashMap<(String, i64), Map<String, Value>> = HashMap::new();
        for batch in &batches {
            let times = batch
                .column(col::TIME)
                .as_primitive::<TimestampMicrosecondType>();
            let uids = batch.column(col::EVENT_UID).as_string_view();
            for row in 0..batch.num_rows() {
                let key = (uids.value(row).to_owned(), times.value(row));
                found.insert(key, json::object(batch, row)?);
            }
        }
        let events = wanted.iter().filter_map(|key| found.remove(key));
        Ok(events.map(Value::Object).collect())
    }

    /// Events of `[from, to)` (µs), hour after hour; within an hour in no particular order.
    pub async fn scan(&self, from: i64, to: i64) -> Result<SendableRecordBatchStream> {
        self.stream(None, from, to).await
    }

    /// Events of one hour that lie in `[from, to)` (µs), in no particular order. The hour's files are listed
    /// now: whoever reads for long and hour by hour does not trip over files that were merged meanwhile.
    pub async fn scan_hour(
        &self,
        hour: Hour,
        from: i64,
        to: i64,
    ) -> Result<SendableRecordBatchStream> {
        self.stream(Some([hour].into()), from, to).await
    }

    async fn stream(
        &self,
        hours: Option<BTreeSet<Hour>>,
        from: i64,
        to: i64,
    ) -> Result<SendableRecordBatchStream> {
        let filter = column("time").gt_eq(lit(instant(from)));
        let filter = filter.and(column("time").lt(lit(instant(to))));
        let table = context()?.read_table(self.table(None, hours))?;
        Ok(table.filter(filter)?.execute_stream().await?)
    }

    /// Hours that have a folder, ascending.
    pub fn hours(&self) -> Result<Vec<Hour>> {
        let folders = layout::folders(&self.root, None)?;
        let mut hours: Vec<Hour> = folders.into_iter().map(|folder| folder.hour).collect();
        hours.dedup();
        Ok(hours)
    }

    /// Time (µs) of the earliest event and of the latest, clocks that stand alone far ahead left out; none in an empty
    /// archive. Reads the times of the first and of the last hours only.
    pub async fn span(&self) -> Result<Option<(i64, i64)>> {
        let hours = self.hours()?;
        let mut first = None;
        for hour in &hours {
            first = self.times(*hour).await?.into_iter().min();
            if first.is_some() {
                break;
            }
        }
        let Some(first) = first else {
            return Ok(None);
        };
        let mut ending = Ending::default();
        for hour in hours.iter().rev() {
            ending.note(&self.times(*hour).await?);
            if ending.is_full() {
                break;
            }
        }
        let limit = wall_clock().saturating_add(Lateness::default().max_skew);
        Ok(Some((first, ending.end(limit).max(first))))
    }

    /// Event times within an hour.
    async fn times(&self, hour: Hour) -> Result<Vec<i64>> {
        let table = context()?.read_table(self.table(None, Some([hour].into())))?;
        let batches = table.select_columns(&["time"])?.collect().await?;
        let times = batches.iter().flat_map(|batch| {
            let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
            times.values().iter().copied()
        });
        Ok(times.collect())
    }

    /// [`scan`](Self::scan), all at once.
    pub async fn read(&self, from: i64, to: i64) -> Result<Vec<RecordBatch>> {
        let mut stream = self.scan(from, to).await?;
        let mut batches = vec![];
        while let Some(batch) = stream.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}

fn instant(time: i64) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(time), Some("UTC".into()))
}

/// For the engine's own reading: one partition keeps the order of the files.
fn context() -> Result<SessionContext> {
    let config = SessionConfig::new().with_target_partitions(1);
    Ok(SessionContext::new_with_config(config))
}

/// The table over the files.
#[derive(Debug)]
struct Events {
    root: PathBuf,
    family: Option<&'static str>,
    hours: Option<BTreeSet<Hour>>,
}

impl Events {
    /// Files to read under a filter, by hour, family, stream and range.
    fn files(&self, filter: Option<Arc<dyn PhysicalExpr>>) -> PlanResult<Vec<PartitionedFile>> {
        let outside = |e: Error| DataFusionError::External(Box::new(e));
        let folders = match &self.hours {
            Some(hours) => layout::folders_of(&self.root, self.family, hours),
            None => layout::folders(&self.root, self.family),
        };
        let mut folders = folders.map_err(outside)?;
        if let Some(filter) = filter {
            folders = prune(folders, filter);
        }
        let mut files = vec![];
        for folder in folders {
            for file in layout::files(&self.root, &folder).map_err(outside)?.0 {
                files.push(PartitionedFile::from(ObjectMeta {
                    location: datafusion::object_store::path::Path::from_absolute_path(&file.path)
                        .map_err(|e| DataFusionError::External(Box::new(e)))?,
                    last_modified: file.modified.into(),
                    size: file.bytes,
                    e_tag: None,
                    version: None,
                }));
            }
        }
        Ok(files)
    }
}

#[async_trait]
impl TableProvider for Events {
    fn schema(&self) -> SchemaRef {
        schema::events()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> PlanResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let schema = self.schema();
        let filter = match conjunction(filters.to_vec()) {
            Some(filter) => {
                let names = DFSchema::try_from(schema.clone())?;
                let filter = state.create_physical_expr(filter, &names)?;
                // Literals come wrapped in casts, which hide them from pruning.
                Some(PhysicalExprSimplifier::new(&schema).simplify(filter)?)
            }
            None => None,
        };
        let files = self.files(filter)?;
        if files.is_empty() {
            let schema = datafusion::physical_plan::project_schema(&schema, projection)?;
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let groups = groups(files, state.config().target_partitions());
        // Filters run inside the scan: `raw`, nearly all of an event's bytes, is read for matching rows only.
        let mut options = state.default_table_options().parquet;
        options.global.pushdown_filters = true;
        let format = ParquetFormat::default().with_options(options.clone());
        let source: Arc<dyn FileSource> =
            Arc::new(ParquetSource::new(schema).with_table_parquet_options(options));
        let scan = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), source)
            .with_file_groups(groups)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        format.create_physical_plan(state, scan).await
    }
}

/// Neighbours stay together and in order; each group gets about the same bytes.
fn groups(files: Vec<PartitionedFile>, count: usize) -> Vec<FileGroup> {
    let total: u64 = files.iter().map(|file| file.object_meta.size).sum();
    let share = total.div_ceil(count.max(1) as u64).max(1);
    let mut groups: Vec<Vec<PartitionedFile>> = vec![vec![]];
    let mut size = 0;
    for file in files {
        if size >= share {
            groups.push(vec![]);
            size = 0;
        }
        size += file.object_meta.size;
        if let Some(group) = groups.last_mut() {
            group.push(file);
        }
    }
    groups.into_iter().map(FileGroup::new).collect()
}

/// Folders that may hold a row for which the filter is true.
fn prune(folders: Vec<Folder>, filter: Arc<dyn PhysicalExpr>) -> Vec<Folder> {
    if folders.is_empty() {
        return folders;
    }
    let predicate = PruningPredicateBuilder::new()
        .with_file_schema(schema::events())
        .try_build(filter);
    // A filter that pruning does not understand is still applied to the rows.
    let keep = predicate.and_then(|p| p.prune(&FolderStatistics(&folders)));
    match keep {
        Ok(keep) => {
            let kept = folders.into_iter().zip(keep).filter(|(_, keep)| *keep);
            kept.map(|(folder, _)| folder).collect()
        }
        Err(_) => folders,
    }
}

/// What a folder's name says about its rows.
struct FolderStatistics<'a>(&'a [Folder]);

impl FolderStatistics<'_> {
    fn bound(&self, column: &Column, time: impl Fn(Hour) -> i64) -> Option<ArrayRef> {
        if column.name() == schema::COLUMNS[col::TIME].name {
            let times = self.0.iter().map(|folder| Some(time(folder.hour)));
            let times: TimestampMicrosecondArray = times.collect();
            return Some(Arc::new(times.with_timezone("UTC")));
        }
        if column.name() == schema::COLUMNS[col::FAMILY].name {
            let families = self.0.iter().map(|folder| Some(&folder.family));
            return Some(Arc::new(families.collect::<StringViewArray>()));
        }
        None
    }
}

impl PruningStatistics for FolderStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, Hour::first)
    }
    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, Hour::last)
    }
    fn num_containers(&self) -> usize {
        self.0.len()
    }
    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }
    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }
    fn contained(
        &self,
        _: &Column,
        _: &std::collections::HashSet<ScalarValue>,
    ) -> Option<BooleanArray> {
        None
    }
}
