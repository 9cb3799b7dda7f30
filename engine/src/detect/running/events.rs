//! Rows of queries that look at single events.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{cast, concat_batches};
use datafusion::arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::execution::TaskContext;

use super::{RunningRule, key_text, times_of};
use crate::alert::Evidence;
use crate::detect::episode::Match;
use crate::detect::row::{self, Row};
use crate::detect::terms::{At, Stretched};
use crate::plan::{self, Plan};
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
        let input = row::gather(events, &plan.rows.columns, Some(matched))?;
        let output = plan::run(&plan.template, vec![vec![input]], ctx).await?;
        let output = concat_batches(&plan.template.schema(), &output)?;
        if plan.joined {
            return self.add_joined(&output);
        }
        if output.num_rows() != matched.len() {
            return Err(Error::rule(
                &self.rule.title,
                "rows were dropped outside the WHERE clause",
            ));
        }
        let times = times_of(events);
        let uids = events.column(col::EVENT_UID).as_string_view();
        for (index, source) in matched.values().iter().enumerate() {
            let source = *source as usize;
            let at = (times.value(source), uids.value(source).to_owned());
            self.add_row(
                at,
                Row {
                    rows: &output,
                    index,
                },
            );
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
        for (at, (_, index)) in least {
            self.add_row(
                at,
                Row {
                    rows: output,
                    index,
                },
            );
        }
        Ok(())
    }

    /// A row of a query that looks at single events.
    fn add_row(&mut self, at: At, row: Row) {
        if let Some(terms) = &self.rule.new_terms {
            match self.seen.note(at.0, terms.history) {
                Stretched::Nothing => {}
                Stretched::Longer => self.seen_written = false,
                Stretched::Moved => {
                    self.seen_written = false;
                    self.timelines.refold();
                }
            }
        }
        let values = |columns: &[String]| -> Vec<(String, String)> {
            let value =
                |column: &String| row.get(column).map_or_else(String::new, |v| row::text(&v));
            let named = columns.iter().map(|column| (column.clone(), value(column)));
            named.collect()
        };
        let rule = &self.rule;
        let remembered = match (&rule.new_terms, &rule.absence) {
            (Some(terms), _) => Some(&terms.fields),
            (None, Some(absence)) => Some(&absence.by),
            (None, None) => None,
        };
        if remembered.is_some_and(|columns| columns.iter().any(|c| row.get(c).is_none())) {
            return;
        }
        let key = match (&rule.suppress, remembered) {
            (Some(suppress), _) => values(&suppress.by),
            (None, Some(columns)) => values(columns),
            (None, None) => vec![("event_uid".into(), at.1.clone())],
        };
        let home = key_text(&key);
        let what = remembered.map(|columns| key_text(&values(columns)));
        let what = what.unwrap_or_default();
        let (change, due) = self.recall.note(rule, &what, &home, &at, row);
        for (home, place) in &change.gone {
            self.timelines.remove(home, place);
        }
        if !change.matches {
            return;
        }
        let (time, uid) = at;
        let row = row.json();
        let evidence = vec![Evidence {
            time,
            event_uid: uid.clone(),
        }];
        let found = Match {
            entities: row::entities(&row, &rule.entities),
            key,
            start: time,
            due,
            window: None,
            row,
            group: String::new(),
            evidence: vec![(time, 1, time, time, evidence)],
            level: None,
            reasons: vec![],
        };
        if self.timelines.insert(&home, uid, found) {
            self.matches += 1;
            self.last_match = self.last_match.max(Some(time));
        } else {
            self.rows_too_late += 1;
        }
    }
}
