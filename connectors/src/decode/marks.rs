//! Where a text is not what was written.

use std::ops::Range;

use super::Work;

/// Where a text is not what was written, in order: U+FFFD for what could not be read, or a part whose checksum is wrong.
pub(crate) type Marks = Vec<Range<usize>>;

impl Work<'_, '_> {
    /// The marks in a part of the scanner's bytes, counted from its start.
    pub(crate) fn marks_in(&self, part: Range<usize>) -> Marks {
        let first = self.marks.partition_point(|mark| mark.end <= part.start);
        let marks = self.marks[first..].iter();
        let marks = marks.take_while(|mark| mark.start < part.end);
        let within = |at: usize| at.clamp(part.start, part.end.max(part.start)) - part.start;
        marks
            .map(|mark| within(mark.start)..within(mark.end))
            .collect()
    }

    pub(crate) fn is_marked(&self, part: &Range<usize>) -> bool {
        let first = self.marks.partition_point(|mark| mark.end <= part.start);
        let mark = self.marks.get(first);
        mark.is_some_and(|mark| mark.start < part.end)
    }
}
