//! Rows of every key in a window that moves forward: most windows hold no key with as many rows as HAVING
//! asks for, and need no answer computed.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::pane::Pane;

#[derive(Debug, Default)]
pub struct RowsPerKey {
    from: i64,
    to: i64,
    rows: HashMap<String, u64>,
    /// Keys that have as many rows as are needed.
    pub enough: usize,
}

impl RowsPerKey {
    pub fn slide(&mut self, panes: &BTreeMap<i64, Pane>, start: i64, end: i64, needed: u64) {
        if start >= self.to || start < self.from {
            *self = Self {
                from: start,
                to: start,
                ..Self::default()
            };
        }
        for (_, pane) in panes.range(self.from..start) {
            for (key, evidence) in &pane.evidence {
                if let Some(rows) = self.rows.get_mut(key) {
                    let before = *rows;
                    *rows = before.saturating_sub(evidence.count);
                    self.enough -= usize::from(before >= needed && *rows < needed);
                    if *rows == 0 {
                        self.rows.remove(key);
                    }
                }
            }
        }
        for (_, pane) in panes.range(self.to..end) {
            for (key, evidence) in &pane.evidence {
                let rows = self.rows.entry_ref(key).or_default();
                let before = *rows;
                *rows += evidence.count;
                self.enough += usize::from(before < needed && *rows >= needed);
            }
        }
        (self.from, self.to) = (start, end);
    }
}
