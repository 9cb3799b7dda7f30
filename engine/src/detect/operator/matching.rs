//! Rows of queries that look at single events, as matches.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use datafusion::arrow::array::{AsArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{cast, concat_batches, take_record_batch};
use datafusion::arrow::datatypes::{DataType, TimestampMicrosecondType};

use super::{EventPlan, Scope, times_of};
use crate::alert::Evidence;
use crate::detect::episode::Match;
use crate::detect::row::{self, Output};
use crate::detect::terms::At;
use crate::detect::timeline::home_of;
use crate::keys;
use crate::plan::{self, RowPart};
use crate::rule::Rule;
use crate::schema::{self, col};
use crate::{Error, Result};

/// What decides which rows are matches by what it remembers of others.
pub trait Remember: Send {
    /// Takes rows of a batch in: `keys` has their remembered columns, `ats` their time and uid. Takes back matches that are
    /// none any more, and gives the rows that are.
    fn remember(
        &mut self,
        keys: &RecordBatch,
        ats: &[(i64, &str)],
        scope: &mut Scope<'_>,
    ) -> Vec<usize>;
}

/// Columns that say which alert a match belongs to; none if each stands alone.
pub fn key_columns(rule: &Rule) -> &[String] {
    match &rule.suppress {
        Some(suppress) => &suppress.by,
        None => rule.kind.remembered(),
    }
}

/// Evaluates the query on rows of a batch, of which there is one input; those that are matches, by the `memory` if there is one, go to the timelines.
pub async fn take(
    plan: &EventPlan,
    events: &RecordBatch,
    rows: &[UInt32Array],
    memory: Option<&mut dyn Remember>,
    scope: &mut Scope<'_>,
) -> Result<()> {
    let Some(rows) = rows.first() else {
        return Ok(());
    };
    let times = times_of(events);
    let uids = events.column(col::EVENT_UID).as_string_view();
    let at = |row: u32| (times.value(row as usize), uids.value(row as usize));
    let gather =
        |part: &RowPart, rows: &UInt32Array| row::gather(events, &part.columns, Some(rows));
    if plan.joined {
        let input = gather(&plan.rows, rows)?;
        let output = plan::run(&plan.template, vec![vec![input]], scope.ctx).await?;
        let output = concat_batches(&plan.template.schema(), &output)?;
        return take_joined(&output, memory, scope);
    }
    let mut rows = rows.clone();
    let remembers = memory.is_some();
    if let (Some(remembered), Some(memory)) = (&plan.remembered, memory) {
        // Most rows turn out to be no match: first what is remembered of all, then all of what matches.
        let keys = remembered.evaluate(gather(remembered, &rows)?)?;
        let ats: Vec<_> = rows.values().iter().map(|row| at(*row)).collect();
        let found = memory.remember(&keys, &ats, scope);
        let found = found.into_iter().map(|index| rows.value(index));
        rows = UInt32Array::from_iter_values(found);
        if rows.is_empty() {
            return Ok(());
        }
    }
    let of = |rows: &UInt32Array| plan.rows.evaluate(gather(&plan.rows, rows)?);
    let mut outputs = vec![];
    match of(&rows) {
        Ok(output) => outputs.push((rows, output)),
        Err(error) if !remembers => return Err(error),
        // They are noted already and would be no match if they were tried again: only what fails alone is lost.
        Err(_) => {
            for row in rows.values() {
                let one = UInt32Array::from(vec![*row]);
                match of(&one) {
                    Ok(output) => outputs.push((one, output)),
                    Err(error) => scope.note(&error),
                }
            }
        }
    }
    for (rows, output) in outputs {
        let output = Output::new(&output);
        for (index, source) in rows.values().iter().enumerate() {
            let (time, uid) = at(*source);
            add((time, uid.to_owned()), &output, index, scope);
        }
    }
    Ok(())
}

/// Rows of a query that joins reference tables are told apart by their columns `time` and `event_uid`.
fn take_joined(
    output: &RecordBatch,
    memory: Option<&mut dyn Remember>,
    scope: &mut Scope<'_>,
) -> Result<()> {
    let column = |name: &str| {
        let missing = || Error::rule(&scope.rule.title, format!("returns no `{name}`"));
        output.column_by_name(name).cloned().ok_or_else(missing)
    };
    let times = cast(&column("time")?, &schema::data_type(schema::Kind::Time))?;
    let uids = cast(&column("event_uid")?, &DataType::Utf8View)?;
    let (times, uids) = (
        times.as_primitive::<TimestampMicrosecondType>(),
        uids.as_string_view(),
    );
    // An event that joins with several rows is one match: that of the least output row.
    let mut least: BTreeMap<At, (String, usize)> = BTreeMap::new();
    for index in 0..output.num_rows() {
        let at = (times.value(index), uids.value(index).to_owned());
        let text = serde_json::to_string(&row::json(output, index)).unwrap_or_default();
        match least.entry(at) {
            Entry::Vacant(place) => {
                place.insert((text, index));
            }
            Entry::Occupied(mut held) if text < held.get().0 => {
                held.insert((text, index));
            }
            Entry::Occupied(_) => {}
        }
    }
    let least: Vec<(At, usize)> = least.into_iter().map(|(at, (_, row))| (at, row)).collect();
    let found = match memory {
        None => (0..least.len()).collect(),
        Some(memory) => {
            let rows = UInt32Array::from_iter_values(least.iter().map(|(_, row)| *row as u32));
            let keys = take_record_batch(output, &rows)?;
            let ats: Vec<_> = least.iter().map(|(at, _)| (at.0, &*at.1)).collect();
            memory.remember(&keys, &ats, scope)
        }
    };
    let output = Output::new(output);
    for index in found {
        let (at, index) = least[index].clone();
        add(at, &output, index, scope);
    }
    Ok(())
}

/// A row that is a match.
fn add(at: At, output: &Output, row: usize, scope: &mut Scope<'_>) {
    let rule = scope.rule;
    let key = match key_columns(rule) {
        [] => vec![("event_uid".into(), at.1.clone())],
        columns => {
            let value = |column: &String| {
                output
                    .get(row, column)
                    .map_or_else(String::new, |v| keys::text(&v))
            };
            let named = columns.iter().map(|column| (column.clone(), value(column)));
            named.collect()
        }
    };
    let home = home_of(&key);
    let (time, uid) = at;
    let text = output.text(row);
    let finding = rule.kind.finding();
    let evidence = vec![Evidence {
        time,
        event_uid: uid.clone(),
    }];
    let found = Match {
        level: finding.and_then(|finding| finding.level_of(&row::parse(&text))),
        entities: row::entities(|name| output.get(row, name), &rule.entities).into(),
        start: time,
        due: time.saturating_add(rule.reach().wait.max(1)),
        window: None,
        row: text,
        group: String::new(),
        evidence: vec![(time, 1, time, time, evidence)],
        reasons: vec![],
    };
    if scope.timelines.insert(&home, key, uid, found) {
        scope.health.matches += 1;
        scope.health.last_match = scope.health.last_match.max(Some(time));
    } else {
        scope.health.rows_too_late += 1;
    }
}
