//! The one place where a row is begun and finished.

use std::ops::Range;

use weir_engine::schema::col;

use super::Work;
use crate::format::{Decoded, Format, Reject, Row};
use crate::hash::Hex;
use crate::json::{self, Scanner};
use crate::mapping::{Found, Rivals};

impl<'b> Work<'_, 'b> {
    /// Begins a row; gives it, and the place for the values that a table finds in the event.
    pub(crate) fn begin(&mut self, rivals: Rivals) -> (Row<'_, 'b>, &mut Found) {
        match self.in_block {
            true => self.builder.begin_in(self.text, self.text_start),
            false => self.builder.begin(),
        }
        let row = Row {
            builder: &mut self.builder,
            labels: &self.labels,
            in_block: self.in_block,
            scratch: self.scratch,
            rivals,
        };
        (row, self.found)
    }

    /// Ends the row that was begun: kept, left out on purpose, or nothing (then false). `raw` is the event's place in the
    /// scanner's bytes, `faults` what [`Scanner::repairs`] was before it.
    pub(crate) fn finish(
        &mut self,
        s: &Scanner,
        format: Format,
        raw: Range<usize>,
        faults: u32,
        decoded: Result<Decoded, Reject>,
    ) -> Result<bool, Reject> {
        match decoded {
            Ok(Decoded::Row) => {
                self.typical.add(raw.len());
                self.common_columns(s, format, raw, faults);
                self.builder.keep();
                self.counts.read += 1;
                Ok(true)
            }
            Ok(Decoded::Filtered) => {
                self.builder.discard();
                self.counts.read += 1;
                self.counts.filtered += 1;
                Ok(true)
            }
            Ok(Decoded::NotThis) => {
                self.builder.discard();
                Ok(false)
            }
            Err(reject) => {
                self.builder.discard();
                Err(reject)
            }
        }
    }

    /// The columns that no format sets.
    fn common_columns(&mut self, s: &Scanner, format: Format, raw: Range<usize>, faults: u32) {
        let is_marked = self.is_marked(&raw);
        let builder = &mut self.builder;
        let [family, product] = self.labels.formats[format.index()];
        builder.interned(col::FAMILY, family);
        builder.interned(col::PRODUCT, product);
        builder.interned(col::LOG_NAME, self.labels.log_name);
        if let Some(cluster) = self.labels.cluster
            && format != Format::CLOUDTRAIL
        {
            builder.interned(col::K8S_CLUSTER, cluster);
        }
        if !builder.is_set(col::EVENT_UID) {
            let hash = xxhash_rust::xxh3::xxh3_128(&s.bytes()[raw.clone()]);
            builder.text(col::EVENT_UID, Hex::of(hash).as_str());
        }
        let has_faults = s.repairs() != faults;
        if has_faults || is_marked {
            builder.bool(col::RAW_REPAIRED, true);
        }
        let kept = self.config.kept(s, raw.clone());
        if kept.end < raw.end {
            builder.bool(col::RAW_TRUNCATED, true);
        }
        if has_faults && let Ok(raw) = std::str::from_utf8(&s.bytes()[kept.clone()]) {
            let repaired = match raw.starts_with('{') {
                true => json::repair(raw),
                false => raw.to_owned(),
            };
            return builder.text(col::RAW, &repaired);
        }
        if self.in_block {
            builder.text_at(col::RAW, kept);
        } else if let Ok(raw) = std::str::from_utf8(&s.bytes()[kept]) {
            builder.text(col::RAW, raw);
        }
    }
}
