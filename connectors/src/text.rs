//! Records that are no JSON: lines of flow logs and access logs.

use std::ops::Range;

use crate::decode::Work;
use crate::format::{Decoded, Format, Reject, Row, envoy, vpc_flow};
use crate::json::Scanner;

impl Work<'_, '_> {
    /// Reads the record as a line of a text format. False if it is none.
    pub(crate) fn line(&mut self, s: &Scanner, range: Range<usize>) -> Result<bool, Reject> {
        let line = &s.bytes()[range.clone()];
        let flow = Format::of(&vpc_flow::FLOW);
        if self.allowed.has(flow)
            && let Some(tree) = flow.tree(None)
        {
            if let Some(columns) = vpc_flow::header(line, tree) {
                *self.header = Some(columns);
                self.counts.read += 1;
                self.counts.filtered += 1;
                return Ok(true);
            }
            if self.header.is_none() && line.starts_with(b"2 ") {
                *self.header = vpc_flow::header(vpc_flow::DEFAULT, tree);
            }
            if let Some(columns) = &*self.header
                && vpc_flow::split(s, columns, tree, self.found)
            {
                return self.fill_line(s, flow, range).map(|()| true);
            }
        }
        let access = Format::of(&envoy::ACCESS);
        if self.allowed.has(access)
            && let Some(tree) = access.tree(None)
            && envoy::split(s, tree, self.found)
        {
            return self.fill_line(s, access, range).map(|()| true);
        }
        Ok(false)
    }

    /// Makes a row of the values found in a line.
    fn fill_line(
        &mut self,
        s: &Scanner,
        format: Format,
        range: Range<usize>,
    ) -> Result<(), Reject> {
        self.begin();
        let mut row = Row {
            builder: &mut self.builder,
            labels: &self.labels,
            in_block: true,
            scratch: self.scratch,
        };
        let decoded = match format.tree(None) {
            Some(tree) => tree.fill(s, &mut row, self.found),
            None => Ok(Decoded::NotThis),
        };
        match decoded {
            Ok(Decoded::Row) => {
                self.end_row(s, format, range);
                self.builder.keep();
                self.counts.read += 1;
                Ok(())
            }
            Ok(_) => {
                self.builder.discard();
                self.counts.read += 1;
                self.counts.filtered += 1;
                Ok(())
            }
            Err(stop) => {
                self.builder.discard();
                Err(stop.reject())
            }
        }
    }
}
