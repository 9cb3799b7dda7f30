//! What rules that remember keep beside the [history](super::history) of keys: when keys of absence rules occurred, calls that
//! wait for their answers, and when first-seen rules saw rows. Pure; the order in which occurrences come does not matter.

use serde::{Deserialize, Serialize};

/// An occurrence: event time in µs, and the event's uid, which orders occurrences of one time.
pub type At = (i64, String);

/// Occurrences that follow each other by no more than the gap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub first: At,
    pub last: At,
    /// Keys of the alerts that the first and the last occurrence belong to.
    pub first_home: String,
    pub last_home: String,
}

/// What an occurrence changed.
#[derive(Debug, Default, PartialEq)]
pub struct Change {
    /// The occurrence is a match.
    pub matches: bool,
    /// (alert key, occurrence): matches no more.
    pub gone: Vec<(String, At)>,
}

/// Occurrences of one key, kept as runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Runs(Vec<Run>);

impl Runs {
    pub fn all(&self) -> &[Run] {
        &self.0
    }

    /// Whether these occurrences lie inside a run, and change nothing.
    pub fn holds(&self, first: (i64, &str), last: (i64, &str)) -> bool {
        let holds = |run: &Run| at(&run.first) <= first && last <= at(&run.last);
        self.0.iter().any(holds)
    }

    /// Notes occurrences. A match is the last one of each run.
    pub fn note_last(&mut self, new: Run, gap: i64) -> Change {
        let last = new.last.clone();
        let (run, absorbed) = self.note(new, gap);
        let matches = run.last == last;
        let ends = absorbed.into_iter().filter(|old| old.last != run.last);
        Change {
            matches,
            gone: ends.map(|old| (old.last_home, old.last)).collect(),
        }
    }

    /// The run that holds the occurrences now, and those that went into it.
    fn note(&mut self, mut run: Run, gap: i64) -> (Run, Vec<Run>) {
        let (from, to) = (run.first.0, run.last.0);
        let near = |old: &mut Run| {
            to >= old.first.0.saturating_sub(gap) && from <= old.last.0.saturating_add(gap)
        };
        let absorbed: Vec<Run> = self.0.extract_if(.., near).collect();
        for old in &absorbed {
            if old.first < run.first {
                (run.first, run.first_home) = (old.first.clone(), old.first_home.clone());
            }
            if old.last > run.last {
                (run.last, run.last_home) = (old.last.clone(), old.last_home.clone());
            }
        }
        self.0.push(run.clone());
        (run, absorbed)
    }

    /// Forgets runs that no occurrence at or after `from` can touch. False when nothing is left.
    pub fn forget(&mut self, from: i64, gap: i64) -> bool {
        self.0.retain(|run| run.last.0.saturating_add(gap) >= from);
        !self.0.is_empty()
    }
}

fn at(at: &At) -> (i64, &str) {
    (at.0, &at.1)
}

/// Stretches that are kept.
const MAX_STRETCHES: usize = 1024;

/// Stretches of time in which a rule saw rows no further apart than its history. What lies further apart does
/// not know of each other, so each stretch begins with a warm-up of its own: a single row with a clock from 1970
/// teaches nothing, and after a pause everything would be new. In order of time. They are kept for good, as matches
/// in their warm-ups can come at any time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stretches {
    all: Vec<(i64, i64)>,
}

/// What a row changed about stretches.
#[derive(Debug, PartialEq, Eq)]
pub enum Stretched {
    Nothing,
    /// The last one reaches further.
    Longer,
    /// Warm-ups may lie elsewhere now.
    Moved,
}

impl Stretches {
    pub fn note(&mut self, time: i64, history: i64) -> Stretched {
        let holds = |(from, to): &(i64, i64)| (*from..=*to).contains(&time);
        // Nearly always it is the last one, or there are few.
        if self.all.last().is_some_and(holds) || self.all.iter().any(holds) {
            return Stretched::Nothing;
        }
        let touches = |(from, to): &(i64, i64)| {
            time >= from.saturating_sub(history) && time <= to.saturating_add(history)
        };
        let near: Vec<_> = self.all.extract_if(.., |one| touches(one)).collect();
        let from = near.iter().map(|one| one.0).fold(time, i64::min);
        let to = near.iter().map(|one| one.1).fold(time, i64::max);
        let place = self.all.partition_point(|one| one.0 < from);
        self.all.insert(place, (from, to));
        if self.all.len() > MAX_STRETCHES {
            self.all.remove(0);
        }
        match near.as_slice() {
            [one] if one.0 == from => Stretched::Longer,
            _ => Stretched::Moved,
        }
    }

    /// The warm-ups, `[from, to)`, in order of time.
    pub fn warmups(&self, length: i64) -> Vec<(i64, i64)> {
        let one = |(from, _): &(i64, i64)| (*from, from.saturating_add(length));
        self.all.iter().map(one).collect()
    }

    /// Whether a time lies in a warm-up, and will whatever rows come, if none comes from before `from`.
    pub fn is_silent_for_good(&self, time: i64, from: i64, history: i64, warmup: i64) -> bool {
        let begun = self.all.partition_point(|(start, _)| *start <= time);
        let Some((start, _)) = begun.checked_sub(1).map(|at| self.all[at]) else {
            return false;
        };
        if time >= start.saturating_add(warmup) {
            return false;
        }
        // Rows before a stretch move its start, or join it to the one before.
        if start <= from {
            return true;
        }
        let earlier = self.all[..begun - 1].iter();
        let can_join = earlier
            .map(|(_, to)| *to)
            .max()
            .is_some_and(|to| to.saturating_add(history) >= from);
        !can_join && time < from.saturating_add(warmup)
    }

    /// End of the warm-up that is under way at a time. Before the first row nothing is.
    pub fn learning_to(&self, time: i64, length: i64) -> Option<i64> {
        let begun = self.all.partition_point(|(from, _)| *from <= time);
        // Time follows behind the rows: what they begin is under way already.
        let (from, _) = self.all.get(begun.saturating_sub(1))?;
        let to = from.saturating_add(length);
        (time < to).then_some(to)
    }
}

/// Calls and answers of one key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pairs {
    /// Calls without an answer, with the key of their alert.
    calls: Vec<(At, String)>,
    answers: Vec<i64>,
}

impl Pairs {
    /// Notes a call: a match unless it is answered within the time.
    pub fn call(&mut self, at: At, home: &str, within: i64) -> Change {
        let (from, to) = (at.0, at.0.saturating_add(within));
        let answered = self.answers.iter().any(|t| (from..=to).contains(t));
        if !answered {
            self.calls.push((at, home.to_owned()));
        }
        Change {
            matches: !answered,
            gone: vec![],
        }
    }

    /// Notes an answer, which takes the calls before it away.
    pub fn answer(&mut self, time: i64, within: i64) -> Change {
        let mut change = Change::default();
        self.calls.retain(|(at, home)| {
            let answered = (at.0..=at.0.saturating_add(within)).contains(&time);
            if answered {
                change.gone.push((home.clone(), at.clone()));
            }
            !answered
        });
        if let Err(place) = self.answers.binary_search(&time) {
            self.answers.insert(place, time);
        }
        change
    }

    /// Forgets what lies too far back for an occurrence at or after `from`. False when nothing is left.
    pub fn forget(&mut self, from: i64, within: i64) -> bool {
        self.calls
            .retain(|(at, _)| at.0.saturating_add(within) >= from);
        self.answers.retain(|time| *time >= from);
        !(self.calls.is_empty() && self.answers.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: i64) -> At {
        (time, format!("uid {time}"))
    }

    /// A run of ascending times.
    fn run(times: &[i64]) -> Run {
        Run {
            first: at(times[0]),
            last: at(times[times.len() - 1]),
            first_home: "k".into(),
            last_home: "k".into(),
        }
    }

    /// Standing matches after all occurrences, by the definition.
    fn firsts(times: &[i64], gap: i64) -> Vec<i64> {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let new = |i: &usize| *i == 0 || sorted[*i] - sorted[*i - 1] > gap;
        (0..sorted.len()).filter(new).map(|i| sorted[i]).collect()
    }

    fn lasts(times: &[i64], gap: i64) -> Vec<i64> {
        let negated: Vec<i64> = times.iter().map(|t| -t).collect();
        let mut found: Vec<i64> = firsts(&negated, gap).iter().map(|t| -t).collect();
        found.sort_unstable();
        found
    }

    fn apply(standing: &mut Vec<i64>, time: i64, change: Change) {
        standing.retain(|t| !change.gone.iter().any(|(_, gone)| gone.0 == *t));
        if change.matches {
            standing.push(time);
        }
        standing.sort_unstable();
        standing.dedup();
    }

    #[test]
    fn any_order_gives_the_same_matches() {
        let mut seed = 7_u64;
        let mut random = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % n
        };
        for _ in 0..2_000 {
            let times: Vec<i64> = (0..random(12)).map(|_| random(60) as i64).collect();
            let gap = random(15) as i64;
            let (mut one_by_one, mut standing) = (Runs::default(), vec![]);
            for time in &times {
                apply(
                    &mut standing,
                    *time,
                    one_by_one.note_last(run(&[*time]), gap),
                );
            }
            assert_eq!(standing, lasts(&times, gap), "{times:?} gap {gap}");
            let mut split = times.clone();
            let batches = [split.split_off(times.len() / 2), split];
            let (mut in_batches, mut standing) = (Runs::default(), vec![]);
            for mut batch in batches {
                batch.sort_unstable();
                for times in batch.chunk_by(|a, b| b - a <= gap) {
                    let run = run(times);
                    let last = times[times.len() - 1];
                    if !in_batches.holds(super::at(&run.first), super::at(&run.last)) {
                        apply(&mut standing, last, in_batches.note_last(run, gap));
                    }
                }
            }
            assert_eq!(
                standing,
                lasts(&times, gap),
                "{times:?} gap {gap} in batches"
            );
        }
    }

    #[test]
    fn what_is_silent_for_good_stays_silent_whatever_comes() {
        let mut seed = 11_u64;
        let mut random = |n: i64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as i64 % n
        };
        let (mut silent, mut open) = (0, 0);
        for _ in 0..20_000 {
            let (history, warmup) = (1 + random(20), 1 + random(20));
            let mut seen = Stretches::default();
            for _ in 0..random(5) {
                seen.note(random(100), history);
            }
            let (time, from) = (random(100), random(100));
            seen.note(time, history);
            let is_silent = |seen: &Stretches| {
                let warmups = seen.warmups(warmup);
                let last = warmups.iter().rfind(|(start, _)| *start <= time);
                last.is_some_and(|(_, to)| time < *to)
            };
            if !seen.is_silent_for_good(time, from, history, warmup) {
                open += usize::from(is_silent(&seen));
                continue;
            }
            silent += 1;
            for _ in 0..random(8) {
                assert!(
                    is_silent(&seen),
                    "{seen:?} {time} {from} {history} {warmup}"
                );
                seen.note(from + random(100), history);
            }
            assert!(
                is_silent(&seen),
                "{seen:?} {time} {from} {history} {warmup}"
            );
        }
        assert!(silent > 2_000 && open > 1_000, "{silent} {open}");
    }

    #[test]
    fn a_call_is_taken_back_by_its_answer_in_either_order() {
        for order in [[true, false], [false, true]] {
            let mut pairs = Pairs::default();
            let mut standing = vec![];
            for call in order {
                match call {
                    true => apply(&mut standing, 10, pairs.call(at(10), "k", 5)),
                    false => apply(&mut standing, 99, pairs.answer(15, 5)),
                }
            }
            assert!(standing.is_empty(), "{order:?}");
        }
        let mut pairs = Pairs::default();
        assert!(pairs.call(at(10), "k", 5).matches);
        assert!(pairs.answer(16, 5).gone.is_empty(), "too late an answer");
        assert!(!pairs.forget(17, 5));
    }
}
