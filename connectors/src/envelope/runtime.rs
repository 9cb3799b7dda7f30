//! Lines as container runtimes write them, long ones in pieces.

use std::borrow::Cow;

use super::head;
use crate::decode::Work;
use crate::format::{Fault, fault};
use crate::json::{self, Scanner};

impl Work<'_, '_> {
    /// A line that Docker wrote: a long one comes in pieces, of which only the last has a line end.
    pub(super) fn docker_log(
        &mut self,
        s: &mut Scanner,
        level: usize,
    ) -> json::Result<Option<Box<Fault>>> {
        let (text, marks) = self.unescaped(s)?;
        let (partition, limit) = (self.partition, self.config.max_envelope_bytes);
        let held = self.pieces.take(&partition.name, "log");
        let is_json = |text: &[u8]| {
            let mut inner = Scanner::new(text, 0, usize::MAX);
            inner.peek() == b'{' && inner.skip().is_err_and(json::Error::is_truncated)
        };
        let line = match held {
            // The line that was to go on never did.
            Some(held) if matches!(text.first(), Some(b'{')) && !is_json(&text) => {
                let fault = fault("invalid_json", "the end of a line in pieces never came");
                self.dead_letter(&held, fault);
                text
            }
            Some(mut held) => {
                held.extend_from_slice(&text);
                Cow::Owned(held)
            }
            None => text,
        };
        if !line.ends_with(b"\n") && is_json(&line) {
            let too_long = self.pieces.add(&partition.name, "log", &line, limit);
            return Ok(too_long.map(|_| fault("too_large", "a line in too many pieces")));
        }
        Ok(self.read_text(&line, marks, level + 1))
    }

    /// Passes what a container runtime or a syslog daemon wrote before a line. False if it was a piece of a line: the scanner
    /// is then behind it, and what became of it is the outcome.
    pub(crate) fn pass_head(
        &mut self,
        s: &mut Scanner,
        level: usize,
    ) -> Result<(), Option<Box<Fault>>> {
        let rest = &s.bytes()[s.position()..];
        let Some(head) = head::container(rest) else {
            return Ok(());
        };
        if let Some(piece) = head.piece {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let stream = String::from_utf8_lossy(&rest[piece.stream]).into_owned();
            let text = rest.get(head.length..end).unwrap_or_default();
            let (partition, limit) = (self.partition, self.config.max_envelope_bytes);
            if piece.goes_on {
                s.advance(end);
                let too_long = self.pieces.add(&partition.name, &stream, text, limit);
                return Err(too_long.map(|_| fault("too_large", "a line in too many pieces")));
            }
            if let Some(mut line) = self.pieces.take(&partition.name, &stream) {
                s.advance(end);
                line.extend_from_slice(text);
                return Err(self.read_bytes(&line, level + 1));
            }
        }
        s.advance(head.length);
        Ok(())
    }
}
