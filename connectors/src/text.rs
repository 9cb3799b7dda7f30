//! Records that are no JSON: lines of flow logs and access logs, and what syslog puts before JSON.

use std::ops::Range;

use crate::decode::Work;
use crate::format::{Decoded, Format, Reject, Row, envoy, vpc_flow, ztunnel};
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
            let columns = match &*self.header {
                Some(columns) => Some(columns.as_slice()),
                None => vpc_flow::default_columns(line),
            };
            if let Some(columns) = columns
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
        let tunnel = Format::of(&ztunnel::ACCESS);
        if self.allowed.has(tunnel)
            && let Some(tree) = tunnel.tree(None)
            && ztunnel::split(s, tree, self.found)
        {
            return self.fill_line(s, tunnel, range).map(|()| true);
        }
        let tunneled = ztunnel::refusal(line).filter(|_| self.allowed.has(tunnel));
        let refusal = tunneled.or_else(|| match self.allowed.has(flow) {
            true => vpc_flow::refusal(line, self.header.as_deref()),
            false => None,
        });
        match refusal {
            Some(fault) => Err(Reject::Event(fault)),
            None => Ok(false),
        }
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

/// Longest text of a syslog daemon before the message.
const SYSLOG_HEAD: usize = 512;

/// Where JSON begins behind what a syslog daemon writes: `<13>Oct  9 22:14:15 host app[77]: {`, with or without the
/// number, or in the newer form `<13>1 2026-10-09T22:14:15Z host app 77 - - {`.
pub(crate) fn behind_syslog(line: &[u8]) -> Option<usize> {
    const MONTHS: [&[u8]; 12] = [
        b"Jan ", b"Feb ", b"Mar ", b"Apr ", b"May ", b"Jun ", b"Jul ", b"Aug ", b"Sep ", b"Oct ",
        b"Nov ", b"Dec ",
    ];
    let is_syslog = match line {
        [b'<', b'0'..=b'9', ..] => true,
        _ => MONTHS.iter().any(|month| line.starts_with(month)),
    };
    if !is_syslog {
        return None;
    }
    let brace = memchr::memchr(b'{', &line[..line.len().min(SYSLOG_HEAD)])?;
    let head = line[..brace].trim_ascii_end();
    let head = head
        .strip_suffix(b"\xEF\xBB\xBF")
        .unwrap_or(head)
        .trim_ascii_end();
    matches!(head.last(), Some(b':' | b'-' | b']')).then_some(brace)
}
