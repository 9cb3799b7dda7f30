//! The state of a window rule as pieces, to the store and back.

use super::keys::with_keys;
use super::{Piece, WindowState};
use crate::Result;

impl WindowState {
    /// Pieces of panes that changed since the last call; none where one is gone.
    pub fn take_pieces(&mut self) -> Result<Vec<Piece>> {
        let gone = |(pane, number)| Piece {
            pane,
            number,
            value: None,
        };
        let mut pieces: Vec<Piece> = self.removed.drain(..).map(gone).collect();
        for start in std::mem::take(&mut self.dirty) {
            let Some(pane) = self.panes.get_mut(&start) else {
                continue;
            };
            let taken = pane.take_pieces()?;
            pieces.extend(taken.gone.into_iter().map(|number| gone((start, number))));
            pieces.extend(taken.written.into_iter().map(|(number, value)| Piece {
                pane: start,
                number,
                value: Some(value),
            }));
        }
        Ok(pieces)
    }

    /// Every window that ends at or before this is final; given when it has moved since the last call.
    pub fn take_closed(&mut self) -> Option<i64> {
        let moved = self.closed_to != self.closed_written;
        self.closed_written = self.closed_to;
        moved.then_some(self.closed_to)
    }

    /// Puts back a piece; those of a pane come in ascending order.
    pub fn restore(&mut self, pane: i64, number: i64, bytes: &[u8]) -> Result<(), String> {
        let entry = self.panes.entry(pane).or_default();
        let before = entry.bytes;
        entry.restore(number, bytes, self.plan.inputs.len())?;
        self.bytes = self.bytes + entry.bytes - before;
        Ok(())
    }

    pub fn restore_closed(&mut self, closed_to: i64) {
        self.closed_to = closed_to;
        self.closed_written = closed_to;
    }

    /// After the last [`restore`](Self::restore): windows that end behind `clock`, from which time goes on, are answered
    /// anew. After a finished run that lies before what it closed, and rows that came since may wait for it.
    pub fn restored(&mut self, clock: i64) {
        let panes: Vec<i64> = self.panes.keys().copied().collect();
        let after = self.closed_to.min(clock).max(self.horizon());
        for pane in panes {
            self.mark_stale(pane, after);
        }
        for pane in self.panes.values_mut() {
            let before = pane.bytes;
            pane.restored(|rows| with_keys(&self.plan, rows));
            self.bytes = self.bytes + pane.bytes - before;
        }
    }
}
