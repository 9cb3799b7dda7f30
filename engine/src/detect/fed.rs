//! The alerts that rules over alerts have seen and that stand.
//!
//! Invariant: what those rules hold comes of exactly these rows, but of those that no late event reaches any more.
//! An alert that is retracted is taken back from them, one that says something else is exchanged. Of an alert whose
//! row was let go to keep within memory the id stays: it is not counted again.

use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::feed::{self, AlertRow};
use super::{Detector, push_again};
use crate::alert::{Alert, AlertState};
use crate::store::StateWrite;
use crate::watermark::Watermark;
use crate::{Error, Result};

/// Owner of the rows in the store.
const OWNER: &str = "alerts";
/// Rows at which those that are over are looked for.
const MANY: usize = 10_000;

/// An alert that was given to the rules.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Given {
    Row(Box<AlertRow>),
    /// Its row was let go; its time.
    LetGo(i64),
}

impl Given {
    fn time(&self) -> i64 {
        match self {
            Self::Row(row) => row.time,
            Self::LetGo(time) => *time,
        }
    }

    /// Memory, about, with that of its id.
    fn bytes(&self, id: &str) -> usize {
        let row = match self {
            Self::Row(row) => row.bytes(),
            Self::LetGo(_) => 0,
        };
        size_of::<(String, Self)>() + id.len() + row
    }
}

#[derive(Debug)]
pub struct Fed {
    /// By alert id.
    alerts: HashMap<String, Given>,
    /// The latest time of those whose row was let go.
    let_go_until: i64,
    /// Ids whose row is not in the store as it is here, or not here and in the store.
    unwritten: HashSet<String>,
    bytes: usize,
    prune_at: usize,
}

impl Default for Fed {
    fn default() -> Self {
        Self {
            alerts: HashMap::new(),
            let_go_until: i64::MIN,
            unwritten: HashSet::new(),
            bytes: 0,
            prune_at: MANY,
        }
    }
}

impl Fed {
    fn put(&mut self, id: String, given: Given) {
        self.bytes += given.bytes(&id);
        if let Given::LetGo(time) = given {
            self.let_go_until = self.let_go_until.max(time);
        }
        self.unwritten.insert(id.clone());
        let bytes = |before: &Given| before.bytes(&id);
        self.bytes -= self.alerts.get(&id).map_or(0, bytes);
        self.alerts.insert(id, given);
    }

    fn take(&mut self, id: &str) -> Option<Given> {
        let given = self.alerts.remove(id)?;
        self.bytes -= given.bytes(id);
        self.unwritten.insert(id.to_owned());
        Some(given)
    }

    fn keep(&mut self, keeps: impl Fn(&str, &Given) -> bool) {
        let over = self.alerts.iter().filter(|(id, given)| !keeps(id, given));
        let over: Vec<String> = over.map(|(id, _)| id.clone()).collect();
        for id in over {
            self.take(&id);
        }
    }

    fn rows(&self) -> impl Iterator<Item = (&String, &AlertRow)> {
        self.alerts.iter().filter_map(|(id, given)| match given {
            Given::Row(row) => Some((id, &**row)),
            Given::LetGo(_) => None,
        })
    }

    /// Lets go of the older half of the rows, or of the ids if no row is left.
    fn let_go(&mut self) {
        let is_row = |given: &Given| matches!(given, Given::Row(_));
        let rows = self.alerts.values().any(is_row);
        let all = || {
            self.alerts
                .iter()
                .filter(|(_, given)| is_row(given) == rows)
        };
        let mut times: Vec<i64> = all().map(|(_, given)| given.time()).collect();
        let middle = times.len() / 2;
        let (_, middle, _) = times.select_nth_unstable(middle);
        let old = all().filter(|(_, given)| given.time() <= *middle);
        let old: Vec<_> = old.map(|(id, given)| (id.clone(), given.time())).collect();
        for (id, time) in old {
            match rows {
                true => self.put(id, Given::LetGo(time)),
                false => drop(self.take(&id)),
            }
        }
    }

    /// Rows that changed since the last call.
    pub fn take_state(&mut self, writes: &mut Vec<StateWrite>) -> Result<()> {
        for id in self.unwritten.drain() {
            let given = self.alerts.get(&id);
            let row = given.map(|given| serde_json::to_vec(&(&id, given)));
            writes.push(StateWrite {
                owner: OWNER.into(),
                key: xxh3_64(id.as_bytes()) as i64,
                value: row.transpose().map_err(|e| Error::Other(e.to_string()))?,
            });
        }
        Ok(())
    }

    /// Puts back one row; pieces of others are passed over.
    pub fn restore(&mut self, owner: &str, value: &[u8]) -> Result<(), String> {
        if owner == OWNER {
            let (id, given): (String, Given) =
                serde_json::from_slice(value).map_err(|e| e.to_string())?;
            self.put(id.clone(), given);
            self.unwritten.remove(&id);
        }
        Ok(())
    }
}

impl Detector {
    /// Gives rules over alerts those that became final, and takes back those that were retracted or say something
    /// else now.
    pub(super) async fn feed(&mut self, alerts: &[Alert]) {
        let (mut gone, mut fresh) = (vec![], vec![]);
        let whole_from = self.whole_from();
        for alert in alerts {
            let Some(rule) = self.rules.iter().find(|r| r.rule.id == alert.rule_id) else {
                continue;
            };
            let row = match alert.state {
                AlertState::Provisional => continue,
                AlertState::Final => Some(AlertRow::new(alert, &rule.rule)),
                AlertState::Retracted => None,
            };
            let id = &alert.alert_id;
            let before = self.fed.alerts.get(id);
            let stays = before.is_some_and(|before| before.time() <= whole_from);
            let same = match before {
                Some(Given::Row(before)) => row.as_ref() == Some(&**before),
                Some(Given::LetGo(_)) => false,
                None => row.is_none(),
            };
            if !stays && !same {
                gone.extend(self.fed.take(id).map(|before| (before.time(), id.clone())));
                fresh.extend(row.map(|row| (id.clone(), row)));
            }
        }
        if !gone.is_empty() {
            self.take_back(&gone).await;
        }
        if !fresh.is_empty() {
            let rows = feed::rows(fresh.iter().map(|(id, row)| (id, row)));
            for (id, row) in fresh {
                self.fed.put(id, Given::Row(row.into()));
            }
            match rows {
                Ok(rows) => self.push_to(&rows, true).await,
                Err(error) => tracing::error!(%error, "alerts cannot be given to rules over them"),
            }
        }
        self.forget_fed();
    }

    /// Takes alerts back, by time and id. Aggregates cannot be undone: panes that held one are made anew of the
    /// others.
    async fn take_back(&mut self, gone: &[(i64, String)]) {
        for rule in self.rules.iter_mut().filter(|rule| rule.takes(true)) {
            for (from, to) in rule.take_back(gone, &self.ctx) {
                let stand = self.fed.rows();
                let stand = stand.filter(|(_, row)| (from..to).contains(&row.time));
                match feed::rows(stand) {
                    Ok(rows) => push_again(rule, &rows, &self.ctx).await,
                    Err(error) => rule.note(&error),
                }
            }
        }
    }

    /// Drops rows that nothing can take back any more, or the oldest if they are too many to keep.
    fn forget_fed(&mut self) {
        let limit = self.limits.rule_bytes;
        if self.fed.alerts.len() > self.fed.prune_at || self.fed.bytes > limit {
            let rules = &self.rules;
            let from = self
                .watermark
                .map_or(i64::MIN, Watermark::before)
                .saturating_sub(self.shares_pane());
            self.fed.keep(|id, given| {
                given.time() >= from || rules.iter().any(|rule| rule.is_live(id))
            });
            self.fed.prune_at = MANY.max(2 * self.fed.alerts.len());
        }
        if self.fed.bytes <= limit {
            return;
        }
        while self.fed.bytes > limit {
            self.fed.let_go();
        }
        let from = crate::time::rfc3339(self.whole_from());
        for rule in self.rules.iter_mut().filter(|rule| rule.over_alerts) {
            let reason = format!(
                "more than {} MiB of alerts stand: those until {from} stay counted as they are; raise engine.state_per_rule_mb",
                limit >> 20
            );
            rule.note(&Error::Other(reason));
        }
    }

    /// A pane that holds a later time holds nothing that was let go, and can be made anew.
    fn whole_from(&self) -> i64 {
        self.fed.let_go_until.saturating_add(self.longest_pane())
    }
}
