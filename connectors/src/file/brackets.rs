//! The brackets that are open, as runs of one kind: what a line does to them, and taking it back, costs no more than the
//! line is long, however deep they are.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    byte: u8,
    count: usize,
}

#[derive(Debug, Default)]
pub(super) struct Brackets {
    /// Two kinds in turn; none is empty.
    runs: Vec<Run>,
    /// How many runs are as they were at the mark.
    kept: usize,
    /// What those above them were, the last one first.
    before: Vec<Run>,
}

impl Brackets {
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The innermost one.
    pub fn last(&self) -> Option<u8> {
        self.runs.last().map(|run| run.byte)
    }

    pub fn are(&self, brackets: &[u8]) -> bool {
        let all = self.runs.iter();
        all.flat_map(|run| std::iter::repeat_n(&run.byte, run.count))
            .eq(brackets)
    }

    pub fn push(&mut self, byte: u8) {
        if self.last() == Some(byte) {
            self.keep_last();
        }
        match self.runs.last_mut() {
            Some(run) if run.byte == byte => run.count += 1,
            _ => self.runs.push(Run { byte, count: 1 }),
        }
    }

    /// Closes the innermost one.
    pub fn pop(&mut self) {
        self.keep_last();
        if let Some(run) = self.runs.last_mut() {
            run.count -= 1;
            if run.count == 0 {
                self.runs.pop();
            }
        }
    }

    /// Whether there is one of the kind that the innermost is not, and it is the outermost of all.
    pub fn other_is_outermost(&self) -> bool {
        matches!(self.runs[..], [Run { count: 1, .. }, _])
    }

    /// Closes the innermost one of the kind that the last is not, with all in it; nothing if there is none.
    pub fn close_other(&mut self) {
        if self.runs.len() > 1 {
            self.keep_last();
            self.runs.pop();
            self.pop();
        }
    }

    /// Remembers what is open now.
    pub fn mark(&mut self) {
        self.kept = self.runs.len();
        self.before.clear();
    }

    /// Goes back to what was open at the mark, which stays.
    pub fn restore(&mut self) {
        self.runs.truncate(self.kept);
        self.runs.extend(self.before.drain(..).rev());
        self.kept = self.runs.len();
    }

    /// Before the last run changes.
    fn keep_last(&mut self) {
        if self.kept == self.runs.len()
            && let Some(run) = self.runs.last()
        {
            self.before.push(*run);
            self.kept -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As plain as can be.
    #[derive(Default, Clone)]
    struct Plain(Vec<u8>);

    impl Plain {
        fn close_other(&mut self) {
            let last = self.0.last().copied();
            if let Some(at) = self.0.iter().rposition(|byte| Some(*byte) != last) {
                self.0.truncate(at);
            }
        }
    }

    #[test]
    fn any_changes_are_those_of_a_plain_stack_and_are_taken_back() {
        let mut seed = 7u64;
        let mut next = |below: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..200 {
            let (mut brackets, mut plain) = (Brackets::default(), Plain::default());
            let mut marked = plain.clone();
            for _ in 0..200 {
                match next(10) {
                    0..=4 => {
                        let byte = if next(3) == 0 { b'{' } else { b'[' };
                        brackets.push(byte);
                        plain.0.push(byte);
                    }
                    5 | 6 if !plain.0.is_empty() => {
                        brackets.pop();
                        plain.0.pop();
                    }
                    7 => {
                        brackets.close_other();
                        plain.close_other();
                    }
                    8 => {
                        brackets.mark();
                        marked = plain.clone();
                    }
                    9 => {
                        brackets.restore();
                        plain = marked.clone();
                    }
                    _ => {}
                }
                assert!(brackets.are(&plain.0));
                assert_eq!(brackets.last(), plain.0.last().copied());
                let other = plain.0.iter().rposition(|one| Some(one) != plain.0.last());
                assert_eq!(brackets.other_is_outermost(), other == Some(0));
            }
        }
    }
}
