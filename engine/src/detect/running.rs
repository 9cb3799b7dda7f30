//! One loaded rule with its state: rows in, matches kept, alerts out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::prep_null_mask_filter;
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_64;

use crate::alert::{Alert, AlertState, Evidence};
use crate::detect::episode::{Episode, Match, episode_length};
use crate::detect::row;
use crate::dispatch::Rows;
use crate::plan::{self, Plan};
use crate::rule::Rule;
use crate::schema::col;
use crate::score::Score;
use crate::store::StateWrite;
use crate::window::{Answer, WindowState, key_texts};
use crate::{Error, Result};

/// An expression over a few event columns.
#[derive(Debug)]
struct Narrow {
    columns: Vec<usize>,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
}

impl Narrow {
    fn new(exprs: &[Arc<dyn PhysicalExpr>]) -> Result<Self> {
        let used: BTreeSet<usize> = exprs
            .iter()
            .flat_map(collect_columns)
            .map(|c| c.index())
            .collect();
        let columns: Vec<usize> = used.into_iter().collect();
        let remap = |expr: &Arc<dyn PhysicalExpr>| {
            let remapped = expr.clone().transform_up(|node| {
                let Some(column) = node.downcast_ref::<Column>() else {
                    return Ok(Transformed::no(node));
                };
                let index = columns
                    .iter()
                    .position(|c| *c == column.index())
                    .unwrap_or(column.index());
                Ok(Transformed::yes(
                    Arc::new(Column::new(column.name(), index)) as Arc<dyn PhysicalExpr>,
                ))
            })?;
            Ok(remapped.data)
        };
        let exprs = exprs.iter().map(remap).collect::<Result<Vec<_>>>()?;
        Ok(Self { columns, exprs })
    }
}

#[derive(Debug, Clone)]
struct Published {
    state: AlertState,
    revision: u32,
    /// Hash of the alert as it was told, without state, revision and watermark.
    content: u64,
    /// The alert itself while it can still be retracted.
    provisional: Option<Box<Alert>>,
}

#[derive(Debug)]
pub struct RunningRule {
    pub rule: Rule,
    pub version: String,
    pub plan: Plan,
    scorer: Option<Arc<dyn Score>>,
    predicate: Option<Narrow>,
    keys: Option<Narrow>,
    pub window: Option<WindowState>,
    length: i64,
    /// Matches that the watermark has not passed, by start and key.
    pending: BTreeMap<(i64, String), Match>,
    /// Matches of windows that are still open, by the window's end, as of the last preview.
    open_matches: BTreeMap<i64, Vec<Match>>,
    episodes: HashMap<String, Episode>,
    /// Keys of episodes that changed since the last call of [`changes`](Self::changes).
    touched: BTreeSet<String>,
    watermark: i64,
    /// Alerts of episodes that a next one of the same key has followed, not told yet.
    ended: Vec<Alert>,
    preview_stale: bool,
    published: HashMap<String, Published>,
    dirty_pending: BTreeSet<(i64, String)>,
    dirty_episodes: BTreeSet<String>,
    pub rows_late: u64,
    pub matches: u64,
    pub last_match: Option<i64>,
}

impl RunningRule {
    pub fn new(rule: Rule, plan: Plan, scorer: Option<Arc<dyn Score>>) -> Result<Self> {
        let predicate = plan
            .rows()
            .predicate
            .as_ref()
            .map(|p| Narrow::new(std::slice::from_ref(p)))
            .transpose()?;
        let (window, keys) = match (&plan, rule.window) {
            (Plan::Window(plan), Some(window)) => {
                let exprs: Vec<_> = plan.keys.iter().map(|(expr, _)| expr.clone()).collect();
                (
                    Some(WindowState::new(plan.clone(), window)),
                    Some(Narrow::new(&exprs)?),
                )
            }
            _ => (None, None),
        };
        Ok(Self {
            version: rule.version(),
            length: episode_length(&rule),
            rule,
            plan,
            scorer,
            predicate,
            keys,
            window,
            pending: BTreeMap::new(),
            open_matches: BTreeMap::new(),
            episodes: HashMap::new(),
            touched: BTreeSet::new(),
            watermark: i64::MIN,
            ended: vec![],
            preview_stale: false,
            published: HashMap::new(),
            dirty_pending: BTreeSet::new(),
            dirty_episodes: BTreeSet::new(),
            rows_late: 0,
            matches: 0,
            last_match: None,
        })
    }

    /// Owner of this rule's state in the store.
    pub fn owner(&self) -> String {
        format!("rule/{}/{}", self.rule.id, self.version)
    }

    /// Evaluates the rule on candidate rows of a batch.
    pub async fn push(
        &mut self,
        events: &RecordBatch,
        rows: &Rows,
        ctx: &Arc<TaskContext>,
    ) -> Result<()> {
        let candidates = match rows {
            Rows::All => None,
            Rows::Some(rows) => Some(UInt32Array::from(rows.as_ref().clone())),
        };
        let matched = match &self.predicate {
            None => candidates
                .unwrap_or_else(|| UInt32Array::from_iter_values(0..events.num_rows() as u32)),
            Some(predicate) => {
                let narrow = row::gather(events, &predicate.columns, candidates.as_ref())?;
                let answer = predicate.exprs[0]
                    .evaluate(&narrow)?
                    .into_array(narrow.num_rows())?;
                let mask = match answer.as_boolean() {
                    mask if mask.null_count() == 0 => mask.clone(),
                    mask => prep_null_mask_filter(mask),
                };
                let row = |i: usize| candidates.as_ref().map_or(i as u32, |c| c.value(i));
                UInt32Array::from_iter_values(mask.values().set_indices().map(row))
            }
        };
        if matched.is_empty() {
            return Ok(());
        }
        match self.plan.clone() {
            Plan::Event(plan) => {
                let input = row::gather(events, &plan.rows.columns, Some(&matched))?;
                let output = plan::run(&plan.template, vec![input], ctx).await?;
                let output =
                    datafusion::arrow::compute::concat_batches(&plan.template.schema(), &output)?;
                if output.num_rows() != matched.len() {
                    return Err(Error::rule(
                        &self.rule.title,
                        "rows were dropped outside the WHERE clause",
                    ));
                }
                self.add_events(events, &matched, &output);
                Ok(())
            }
            Plan::Window(_) => self.add_to_window(events, &matched, ctx).await,
        }
    }

    fn add_events(&mut self, events: &RecordBatch, rows: &UInt32Array, output: &RecordBatch) {
        let times = events
            .column(col::TIME)
            .as_primitive::<TimestampMicrosecondType>();
        let uids = events.column(col::EVENT_UID).as_string_view();
        for (index, source) in rows.values().iter().enumerate() {
            let (time, uid) = (times.value(*source as usize), uids.value(*source as usize));
            let row = row::json(output, index);
            let key: Vec<(String, String)> = match &self.rule.suppress {
                Some(suppress) => {
                    let value = |c: &String| row.get(c).map(row::text).unwrap_or_default();
                    suppress
                        .by
                        .iter()
                        .map(|column| (column.clone(), value(column)))
                        .collect()
                }
                None => vec![("event_uid".into(), uid.to_owned())],
            };
            let evidence = vec![Evidence {
                time,
                event_uid: uid.to_owned(),
            }];
            let found = Match {
                entities: row::entities(&row, &self.rule.entities),
                key,
                start: time,
                window: None,
                row,
                evidence: vec![(time, 1, time, time, evidence)],
                level: None,
                reasons: vec![],
            };
            let place = (time, format!("{}\u{1e}{uid}", key_text(&found.key)));
            self.dirty_pending.insert(place.clone());
            self.pending.insert(place, found);
            self.matches += 1;
            self.last_match = self.last_match.max(Some(time));
        }
        self.preview_stale = true;
    }

    async fn add_to_window(
        &mut self,
        events: &RecordBatch,
        rows: &UInt32Array,
        ctx: &Arc<TaskContext>,
    ) -> Result<()> {
        let (Some(window), Some(keys)) = (&mut self.window, &self.keys) else {
            return Ok(());
        };
        let times = events
            .column(col::TIME)
            .as_primitive::<TimestampMicrosecondType>();
        let uids = events.column(col::EVENT_UID).as_string_view();
        let mut late = 0;
        let mut by_pane: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for row in rows.values() {
            let time = times.value(*row as usize);
            late += u64::from(window.is_late(time));
            if !window.is_gone(time) {
                by_pane.entry(window.pane_of(time)).or_default().push(*row);
            }
        }
        let mut ready = vec![];
        for (pane, rows) in by_pane {
            let rows = UInt32Array::from(rows);
            let narrow = row::gather(events, &keys.columns, Some(&rows))?;
            let values = keys
                .exprs
                .iter()
                .map(|e| Ok(e.evaluate(&narrow)?.into_array(narrow.num_rows())?));
            let texts = key_texts(&values.collect::<Result<Vec<_>>>()?)?;
            let input = row::gather(events, &window.plan().rows.columns, Some(&rows))?;
            ready.push((pane, window.partial(input, ctx).await?, rows, texts));
        }
        self.rows_late += late;
        // From here on nothing fails: the rows are counted once.
        for (pane, states, rows, texts) in ready {
            window.insert(pane, states, ctx).await;
            for (row, key) in rows.values().iter().zip(&texts) {
                window.add_evidence(
                    pane,
                    key,
                    times.value(*row as usize),
                    uids.value(*row as usize),
                );
            }
        }
        self.preview_stale = true;
        Ok(())
    }

    /// Answers windows and ends matches that the watermark has passed.
    pub async fn advance(&mut self, watermark: i64, ctx: &Arc<TaskContext>) -> Result<()> {
        loop {
            let answers = match &mut self.window {
                Some(window) if window.can_close(watermark) => window.close(watermark, ctx).await?,
                _ => break,
            };
            for answer in answers {
                for found in self.matches_of(&answer)? {
                    self.matches += 1;
                    self.last_match = self
                        .last_match
                        .max(found.evidence.iter().map(|e| e.3).max());
                    self.finalise(&found);
                }
            }
            if let Some(window) = &mut self.window {
                window.drop_closed_panes();
            }
            self.preview_stale = true;
        }
        while let Some(entry) = self.pending.first_entry() {
            if entry.key().0 >= watermark {
                break;
            }
            let (place, found) = entry.remove_entry();
            self.dirty_pending.insert(place);
            self.finalise(&found);
            self.preview_stale = true;
        }
        self.watermark = watermark;
        Ok(())
    }

    /// Lets go of episodes that nothing can join any more: no match starts before the watermark, or, for a
    /// window rule, further behind it than a window is long.
    fn drop_ended(&mut self) {
        let horizon = self.watermark.saturating_sub(self.reach());
        let ended = |e: &Episode| e.start.saturating_add(self.length) <= horizon;
        for (key, episode) in self.episodes.extract_if(|_, episode| ended(episode)) {
            self.published.remove(&episode.alert.alert_id);
            self.dirty_episodes.insert(key);
        }
    }

    /// How far behind the watermark a match can still start.
    fn reach(&self) -> i64 {
        self.rule.window.map_or(0, |window| window.size)
    }

    /// Whether matches can still join this alert, or it can still be retracted.
    pub fn is_live(&self, alert_id: &str) -> bool {
        self.published.contains_key(alert_id)
    }

    /// Rows of a window's answer as matches, in order of their keys.
    fn matches_of(&self, answer: &Answer) -> Result<Vec<Match>> {
        let Plan::Window(plan) = &self.plan else {
            return Ok(vec![]);
        };
        let Some(window) = &self.window else {
            return Ok(vec![]);
        };
        let scored = match &self.scorer {
            Some(scorer) => Some(scorer.score(&answer.rows)?),
            None => None,
        };
        let columns: Vec<_> = plan
            .keys
            .iter()
            .map(|(_, name)| answer.rows.column_by_name(name).cloned())
            .collect();
        let columns = columns
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .unwrap_or_default();
        let texts = key_texts(&columns)?;
        let rows: Vec<(usize, Option<crate::score::Anomaly>)> = match scored {
            Some(anomalies) => anomalies.into_iter().map(|a| (a.row, Some(a))).collect(),
            None => (0..answer.rows.num_rows()).map(|row| (row, None)).collect(),
        };
        let mut found = vec![];
        for (index, anomaly) in rows {
            let mut row = row::json(&answer.rows, index);
            let named = |names: &mut dyn Iterator<Item = &String>| -> Vec<(String, String)> {
                names
                    .map(|name| {
                        (
                            name.clone(),
                            row.get(name).map(row::text).unwrap_or_default(),
                        )
                    })
                    .collect()
            };
            let key = match &self.rule.suppress {
                Some(suppress) => named(&mut suppress.by.iter()),
                None => named(&mut plan.keys.iter().map(|(_, name)| name)),
            };
            let evidence = window.evidence(&texts[index], answer.start, answer.end);
            let entities = row::entities(&row, &self.rule.entities);
            if let Some(anomaly) = &anomaly {
                row.insert("anomaly_score".into(), anomaly.score.into());
                row.insert("anomaly".into(), anomaly.text.clone().into());
            }
            found.push(Match {
                key,
                start: answer.start,
                window: Some((answer.start, answer.end)),
                row,
                entities,
                evidence: evidence
                    .into_iter()
                    .map(|(pane, e)| (pane, e.count, e.first, e.last, e.events))
                    .collect(),
                level: anomaly.as_ref().map(|a| a.level),
                reasons: anomaly.map(|a| a.reasons).unwrap_or_default(),
            });
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    fn finalise(&mut self, found: &Match) {
        let key = key_text(&found.key);
        match self.episodes.get_mut(&key) {
            Some(episode) if found.start < episode.start.saturating_add(self.length) => {
                episode.fold(found, &self.rule)
            }
            _ => {
                let ended = self
                    .episodes
                    .insert(key.clone(), Episode::new(&self.rule, &self.version, found));
                // If it was told as it is, it is not told again.
                self.ended.extend(ended.map(|ended| ended.alert));
            }
        }
        self.dirty_episodes.insert(key.clone());
        self.touched.insert(key);
    }

    /// Alerts that are new or changed since the last call. With `preview`, also those that open windows and
    /// matches ahead of the watermark would give; those that were told so and are gone are retracted.
    pub async fn changes(
        &mut self,
        preview: bool,
        watermark: Option<i64>,
        ctx: &Arc<TaskContext>,
    ) -> Result<Vec<Alert>> {
        let mut final_alerts = std::mem::take(&mut self.ended);
        let followed: Vec<String> = final_alerts
            .iter()
            .map(|alert| alert.alert_id.clone())
            .collect();
        let touched = std::mem::take(&mut self.touched);
        final_alerts.extend(
            touched
                .iter()
                .filter_map(|key| Some(self.episodes.get(key)?.alert.clone())),
        );
        let mut told = vec![];
        for alert in final_alerts {
            told.extend(self.publish(
                Alert {
                    state: AlertState::Final,
                    ..alert
                },
                watermark,
            ));
        }
        for alert_id in followed {
            self.published.remove(&alert_id);
        }
        let confirmed: BTreeSet<String> = told.iter().map(|alert| alert.alert_id.clone()).collect();
        // What an earlier run told provisionally must be confirmed or taken back, whatever this run does.
        let owed = self
            .published
            .values()
            .any(|p| p.state == AlertState::Provisional);
        if (preview || owed) && self.preview_stale {
            let alerts = self.preview(ctx).await?;
            let mut standing = confirmed;
            for alert in alerts {
                standing.insert(alert.alert_id.clone());
                told.extend(self.publish(alert, watermark));
            }
            told.extend(self.retract(&standing, watermark));
            self.preview_stale = false;
        }
        self.drop_ended();
        Ok(told)
    }

    fn publish(&mut self, mut alert: Alert, watermark: Option<i64>) -> Option<Alert> {
        let bare = Alert {
            state: AlertState::Final,
            revision: 0,
            watermark: None,
            ..alert.clone()
        };
        let content = xxh3_64(&serde_json::to_vec(&bare).unwrap_or_default());
        let before = self.published.get(&alert.alert_id);
        if let Some(before) = before {
            // What is final stays final while an open window adds to it.
            if before.state == AlertState::Final {
                alert.state = AlertState::Final;
            }
            if before.state == alert.state && before.content == content {
                return None;
            }
        }
        alert.revision = before.map_or(0, |b| b.revision) + 1;
        alert.watermark = watermark;
        let provisional = (alert.state == AlertState::Provisional).then(|| Box::new(alert.clone()));
        let now = Published {
            state: alert.state,
            revision: alert.revision,
            content,
            provisional,
        };
        self.published.insert(alert.alert_id.clone(), now);
        Some(alert)
    }

    fn retract(&mut self, standing: &BTreeSet<String>, watermark: Option<i64>) -> Vec<Alert> {
        let gone = |id: &String, p: &mut Published| {
            p.state == AlertState::Provisional && !standing.contains(id)
        };
        let mut retracted: Vec<Alert> = vec![];
        for (_, published) in self.published.extract_if(gone) {
            if let Some(alert) = published.provisional {
                let revision = published.revision + 1;
                retracted.push(Alert {
                    state: AlertState::Retracted,
                    revision,
                    watermark,
                    ..*alert
                });
            }
        }
        retracted.sort_by(|a, b| a.alert_id.cmp(&b.alert_id));
        retracted
    }

    /// Alerts as they would be if no further event came.
    async fn preview(&mut self, ctx: &Arc<TaskContext>) -> Result<Vec<Alert>> {
        let mut found: Vec<Match> = self.pending.values().cloned().collect();
        if let Some(window) = &mut self.window {
            let answers = window.preview(ctx).await?;
            let closed_to = window.closed_to();
            for (end, answer) in answers {
                let matches = answer.map(|answer| self.matches_of(&answer)).transpose()?;
                self.open_matches.insert(end, matches.unwrap_or_default());
            }
            self.open_matches
                .retain(|end, matches| *end > closed_to && !matches.is_empty());
            found.extend(self.open_matches.values().flatten().cloned());
        }
        let mut episodes: HashMap<String, Episode> = HashMap::new();
        let mut alerts = vec![];
        for one in &found {
            let key = key_text(&one.key);
            let current = episodes
                .remove(&key)
                .or_else(|| self.episodes.get(&key).cloned());
            let next = match current {
                Some(mut episode) if one.start < episode.start.saturating_add(self.length) => {
                    episode.fold(one, &self.rule);
                    episode
                }
                ended => {
                    alerts.extend(ended.map(|e| e.alert));
                    Episode::new(&self.rule, &self.version, one)
                }
            };
            episodes.insert(key, next);
        }
        // What an open window added to a final alert and is gone is taken back.
        let others = self
            .episodes
            .iter()
            .filter(|(key, _)| !episodes.contains_key(*key));
        alerts.extend(others.map(|(_, episode)| episode.alert.clone()));
        alerts.extend(episodes.into_values().map(|e| e.alert));
        alerts.sort_by(|a, b| (a.first_time, &a.alert_id).cmp(&(b.first_time, &b.alert_id)));
        Ok(alerts)
    }

    /// Pieces of state that changed since the last call.
    pub fn take_state(&mut self) -> Result<Vec<StateWrite>> {
        let owner = self.owner();
        let mut writes = vec![];
        if let Some(window) = &mut self.window {
            for (key, value) in window.take_changes()? {
                writes.push(StateWrite {
                    owner: format!("{owner}/panes"),
                    key,
                    value,
                });
            }
        }
        let json = |value: Result<Vec<u8>, serde_json::Error>| {
            value.map_err(|e| Error::Other(e.to_string()))
        };
        for place in std::mem::take(&mut self.dirty_pending) {
            let key = piece(&format!("{}\u{1f}{}", place.0, place.1));
            let value = self
                .pending
                .get(&place)
                .map(|m| json(serde_json::to_vec(&(&place.1, m))))
                .transpose()?;
            writes.push(StateWrite {
                owner: format!("{owner}/pending"),
                key,
                value,
            });
        }
        for text in std::mem::take(&mut self.dirty_episodes) {
            let value = self
                .episodes
                .get(&text)
                .map(|e| json(serde_json::to_vec(&(&text, e))))
                .transpose()?;
            writes.push(StateWrite {
                owner: format!("{owner}/episodes"),
                key: piece(&text),
                value,
            });
        }
        Ok(writes)
    }

    /// Puts back one piece; `part` is what follows the owner.
    pub fn restore(&mut self, part: &str, key: i64, value: &[u8]) -> Result<(), String> {
        match part {
            "panes" => match &mut self.window {
                Some(window) => window.restore(key, value)?,
                None => return Err("the rule has no window".into()),
            },
            "pending" => {
                let (text, found): (String, Match) =
                    serde_json::from_slice(value).map_err(|e| e.to_string())?;
                self.pending.insert((found.start, text), found);
            }
            "episodes" => {
                let (text, episode): (String, Episode) =
                    serde_json::from_slice(value).map_err(|e| e.to_string())?;
                self.episodes.insert(text, episode);
            }
            other => return Err(format!("unknown part `{other}`")),
        }
        self.preview_stale = true;
        Ok(())
    }

    /// Tells the rule which of its alerts the store holds.
    pub fn restore_published(&mut self, alert: &Alert) {
        let live = self
            .episodes
            .values()
            .any(|episode| episode.alert.alert_id == alert.alert_id);
        if !live && alert.state != AlertState::Provisional {
            return;
        }
        let bare = Alert {
            state: AlertState::Final,
            revision: 0,
            watermark: None,
            ..alert.clone()
        };
        let content = xxh3_64(&serde_json::to_vec(&bare).unwrap_or_default());
        let provisional = (alert.state == AlertState::Provisional).then(|| Box::new(alert.clone()));
        let published = Published {
            state: alert.state,
            revision: alert.revision,
            content,
            provisional,
        };
        self.published.insert(alert.alert_id.clone(), published);
    }

    pub fn state_bytes(&self) -> usize {
        let matches = self.pending.len() * 2048 + self.episodes.len() * 2048;
        self.window.as_ref().map_or(0, WindowState::state_bytes) + matches
    }
}

/// Store key of a piece. 64 bits over at most some hundred thousand live pieces: a collision is a matter of
/// one in 10^9.
fn piece(text: &str) -> i64 {
    xxh3_64(text.as_bytes()) as i64
}

fn key_text(key: &[(String, String)]) -> String {
    let parts: Vec<&str> = key.iter().map(|(_, value)| value.as_str()).collect();
    parts.join("\u{1f}")
}
