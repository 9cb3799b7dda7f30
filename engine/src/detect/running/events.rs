//! Rows of queries that look at single events.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{cast, concat_batches, take_record_batch};
use datafusion::arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::execution::TaskContext;

use super::{RunningRule, times_of};
use crate::alert::Evidence;
use crate::detect::episode::Match;
use crate::detect::row::{self, Output};
use crate::detect::terms::At;
use crate::detect::timeline::home_of;
use crate::plan::{self, Plan, RowPart};
use crate::schema::{self, col};
use crate::{Error, Result};

impl RunningRule {
    /// Evaluates the query on the rows of a batch that its predicate lets through.
    pub(super) async fn add_rows(
        &mut self,
        events: &RecordBatch,
        matched: &UInt32Array,
        ctx: &Arc<TaskContext>,
    ) -> Result<()> {
        let Plan::Event(plan) = &self.plan else {
            return Ok(());
        };
        let times = times_of(events);
        let uids = events.column(col::EVENT_UID).as_string_view();
        let at = |row: u32| (times.value(row as usize), uids.value(row as usize));
        let gather =
            |part: &RowPart, rows: &UInt32Array| row::gather(events, &part.columns, Some(rows));
        let mut matched = matched.clone();
        if let Some(remembered) = &plan.remembered {
            // Most rows turn out to be no match: first what is remembered of all, then all of what matches.
            let keys = remembered.evaluate(gather(remembered, &matched)?)?;
            let ats: Vec<_> = matched.values().iter().map(|row| at(*row)).collect();
            let found = self.remember(&keys, &ats);
            let rows = found.into_iter().map(|index| matched.value(index));
            matched = UInt32Array::from_iter_values(rows);
            if matched.is_empty() {
                return Ok(());
            }
        }
        let Plan::Event(plan) = &self.plan else {
            return Ok(());
        };
        if plan.joined {
            let input = gather(&plan.rows, &matched)?;
            let output = plan::run(&plan.template, vec![vec![input]], ctx).await?;
            return self.add_joined(&concat_batches(&plan.template.schema(), &output)?);
        }
        let of = |rows: &UInt32Array| plan.rows.evaluate(gather(&plan.rows, rows)?);
        let mut outputs = vec![];
        match of(&matched) {
            Ok(output) => outputs.push((matched, output)),
            Err(error) if plan.remembered.is_none() => return Err(error),
            // They are noted already and would be no match if they were tried again: only what fails alone is lost.
            Err(_) => {
                for row in matched.values() {
                    let one = UInt32Array::from(vec![*row]);
                    match of(&one) {
                        Ok(output) => outputs.push((one, output)),
                        Err(error) => self.failed = Some(error),
                    }
                }
            }
        }
        for (rows, output) in outputs {
            let output = Output::new(&output);
            for (index, source) in rows.values().iter().enumerate() {
                let (time, uid) = at(*source);
                self.add_match((time, uid.to_owned()), &output, index);
            }
        }
        Ok(())
    }

    fn add_joined(&mut self, output: &RecordBatch) -> Result<()> {
        let column = |name: &str| {
            let missing = || Error::rule(&self.rule.title, format!("returns no `{name}`"));
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
        let found = match plan::remembered_columns(&self.rule).is_empty() {
            true => (0..least.len()).collect(),
            false => {
                let rows = UInt32Array::from_iter_values(least.iter().map(|(_, row)| *row as u32));
                let keys = take_record_batch(output, &rows)?;
                let ats: Vec<_> = least.iter().map(|(at, _)| (at.0, &*at.1)).collect();
                self.remember(&keys, &ats)
            }
        };
        let output = Output::new(output);
        for index in found {
            let (at, index) = least[index].clone();
            self.add_match(at, &output, index);
        }
        Ok(())
    }

    /// A row of a query that looks at single events, and that is a match.
    fn add_match(&mut self, at: At, output: &Output, row: usize) {
        let key = match self.key_columns() {
            [] => vec![("event_uid".into(), at.1.clone())],
            columns => {
                let value = |column: &String| {
                    output
                        .get(row, column)
                        .map_or_else(String::new, |v| row::text(&v))
                };
                let named = columns.iter().map(|column| (column.clone(), value(column)));
                named.collect()
            }
        };
        let home = home_of(&key);
        let rule = &self.rule;
        let (time, uid) = at;
        let text = output.text(row);
        let finding = rule.finding.as_ref();
        let evidence = vec![Evidence {
            time,
            event_uid: uid.clone(),
        }];
        let found = Match {
            level: finding.and_then(|finding| finding.level_of(&row::parse(&text))),
            entities: row::entities(|name| output.get(row, name), &rule.entities).into(),
            start: time,
            due: time.saturating_add(self.recall.wait(rule)),
            window: None,
            row: text,
            group: String::new(),
            evidence: vec![(time, 1, time, time, evidence)],
            reasons: vec![],
        };
        if self.timelines.insert(&home, key, uid, found) {
            self.matches += 1;
            self.last_match = self.last_match.max(Some(time));
        } else {
            self.rows_too_late += 1;
        }
    }
}
