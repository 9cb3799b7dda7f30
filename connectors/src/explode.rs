//! Reports: one object that holds many events in arrays, perhaps of arrays. Each event is a row; what the
//! objects around it say holds for it too.
//!
//! Invariant: a report without events is counted as one that was left out.

use crate::decode::Work;
use crate::format::{Decoded, Fault, Format, Reject, Stop, fault};
use crate::json::Scanner;
use crate::mapping::{Compiled, Found, Outer, Rivals};

/// An object around events, and what was found in it.
type Around<'t> = (&'t Compiled, Found);

impl Work<'_, '_> {
    /// Reads a report. False if it is none: the scanner is then back at its start.
    pub(crate) fn explode(
        &mut self,
        s: &mut Scanner,
        format: Format,
        tree: &'static Compiled,
        rivals: Rivals,
    ) -> Result<bool, Reject> {
        let mark = s.mark();
        let mut found = vec![];
        let walked = tree.walk(s, &mut found, rivals);
        match walked.map(|()| tree.is_met(s, &found)) {
            Ok(true) => {}
            Ok(false) | Err(Stop::NotThis) => {
                s.reset(mark);
                return Ok(false);
            }
            Err(stop) => {
                s.reset(mark);
                return Err(stop.reject());
            }
        }
        let before = self.counts.read;
        let outer = tree.outer(s, &found, &Outer::default());
        let mut around = vec![(tree, found)];
        self.explode_inside(s, format, &mut around, &outer)?;
        if self.counts.read == before {
            self.counts.read += 1;
            self.counts.filtered += 1;
        }
        Ok(true)
    }

    /// Reads the arrays of the innermost object.
    fn explode_inside(
        &mut self,
        s: &Scanner,
        format: Format,
        around: &mut Vec<Around<'static>>,
        outer: &Outer,
    ) -> Result<(), Reject> {
        let Some((tree, found)) = around.last() else {
            return Ok(());
        };
        let arrays: Vec<_> = tree
            .inside
            .iter()
            .filter_map(|(slot, inner)| Some((found[*slot as usize]?, inner)))
            .filter(|(value, _)| value.first == b'[')
            .collect();
        for (value, inner) in arrays {
            // What the objects around say may stand behind the array.
            let mut array = Scanner::new(s.bytes(), value.json().start, self.config.max_depth);
            let mut found = vec![];
            array.array(|s| {
                let (first, start, faults) = (s.peek(), s.position(), s.repairs());
                s.forget_depth();
                match (first, inner.words.is_empty()) {
                    (b'{', true) => inner
                        .walk(s, &mut found, format.refused())
                        .map_err(Stop::reject)?,
                    (b'"', false) => {
                        let Some(text) = s.text()? else {
                            return Ok(());
                        };
                        let count = inner.split(s, text, &mut found);
                        if !inner.counts.contains(&count) {
                            let fault = miscounted(inner, count);
                            self.dead_letter(&s.bytes()[start..s.position()], fault);
                            return Ok(());
                        }
                    }
                    // What says nothing is no event.
                    (b'n', _) => return Ok(s.skip()?),
                    (_, is_object) => {
                        s.skip()?;
                        let what = if is_object { "object" } else { "text" };
                        let detail = format!("an element of the report's array is no {what}");
                        let element = &s.bytes()[start..s.position()];
                        self.dead_letter(element, fault("unknown_format", detail));
                        return Ok(());
                    }
                }
                if !inner.inside.is_empty() {
                    let outer = inner.outer(s, &found, outer);
                    around.push((inner, std::mem::take(&mut found)));
                    let outcome = self.explode_inside(s, format, around, &outer);
                    if let Some((_, used)) = around.pop() {
                        found = used;
                    }
                    return outcome;
                }
                let (mut row, _) = self.begin(format.refused());
                let mut decoded = inner.fill_inner(s, &mut row, &found, outer);
                for (tree, found) in around.iter().rev() {
                    tree.set_fields(s, &mut row, found);
                    tree.set_fixed(&mut row);
                }
                if matches!(decoded, Ok(Decoded::Row))
                    && !row.builder.is_set(weir_engine::schema::col::TIME)
                {
                    decoded = Err(inner.no_time(s, &found));
                }
                let range = start..s.position();
                let decoded = decoded.map_err(Stop::reject);
                match self.finish(s, format, range.clone(), faults, decoded) {
                    Ok(true) => {}
                    Ok(false) => {
                        self.counts.read += 1;
                        self.counts.filtered += 1;
                    }
                    Err(Reject::Event(fault)) => self.dead_letter(&s.bytes()[range], fault),
                    Err(json) => return Err(json),
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// Of a text with another number of words than it should have.
#[cold]
fn miscounted(tree: &Compiled, count: usize) -> Box<Fault> {
    let reason = match tree.counts.iter().any(|right| count < *right) {
        true => "missing_field",
        false => "unknown_format",
    };
    let right: Vec<_> = tree.counts.iter().map(usize::to_string).collect();
    let right = right.join(" or ");
    let detail = format!("a flow of {count} words between commas, of which there are {right}");
    fault(reason, detail)
}
