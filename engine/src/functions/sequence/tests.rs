//! `sequence_match` against a reference that tries every assignment of events to steps.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int8Array, Int64Array, TimestampMicrosecondArray,
};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

use super::groups::{Groups, Single};
use super::pattern::{Entry, Pattern, Step};

/// Numbers that depend on the seed alone.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
    fn steps(&mut self) -> Vec<Step> {
        let count = 2 + self.below(4) as usize;
        let step = |index: usize, random: &mut Self| match random.below(3) {
            _ if index == 0 => Step::Then,
            0 if index + 1 < count => Step::Without,
            1 => Step::Within(random.below(4) as i64),
            _ => Step::Then,
        };
        (0..count).map(|index| step(index, self)).collect()
    }
    /// Few times and few masks, so that there are ties and equal events.
    fn events(&mut self, steps: usize) -> Vec<Entry> {
        let (count, span) = (self.below(10), 1 + self.below(9));
        let several = self.below(2) == 0;
        let mask = |random: &mut Self| match several {
            true => random.below(1 << steps) as u32,
            false => 1 << random.below(steps as u64),
        };
        (0..count)
            .map(|_| Entry {
                time: self.below(span) as i64 - 3,
                steps: mask(self),
            })
            .collect()
    }
}

/// Whether some way to give each positive step its own event keeps order, gaps and negations.
fn reference(steps: &[Step], events: &[Entry]) -> bool {
    let mut events: Vec<Entry> = events.iter().filter(|e| e.steps != 0).copied().collect();
    events.sort_by_key(|e| (e.time, e.steps.trailing_zeros(), e.steps));
    fn continues(steps: &[Step], events: &[Entry], step: usize, last: Option<usize>) -> bool {
        let mut negated = 0;
        let mut next = step;
        while next < steps.len() && steps[next] == Step::Without {
            negated |= 1u32 << next;
            next += 1;
        }
        if next == steps.len() {
            return true;
        }
        let first = last.map_or(0, |last| last + 1);
        (first..events.len()).any(|place| {
            let near = match (steps[next], last) {
                (Step::Within(gap), Some(last)) => events[place].time - events[last].time <= gap,
                _ => true,
            };
            events[place].steps & (1 << next) != 0
                && near
                && events[first..place].iter().all(|e| e.steps & negated == 0)
                && continues(steps, events, next + 1, Some(place))
        })
    }
    continues(steps, &events, 0, None)
}

/// The columns that SQL would give for these events.
fn columns(steps: &[Step], events: &[Entry]) -> Vec<ArrayRef> {
    let times = events.iter().map(|e| e.time).collect::<Vec<_>>();
    let times = TimestampMicrosecondArray::from(times).with_timezone("UTC");
    let mut columns: Vec<ArrayRef> = vec![Arc::new(times)];
    for (index, step) in steps.iter().enumerate() {
        let hits = events.iter().map(|e| e.steps & (1 << index) != 0);
        columns.push(match step {
            // False and null are both not true.
            Step::Then => Arc::new(
                hits.zip(0..)
                    .map(|(hit, row)| (hit || row % 2 == 0).then_some(hit))
                    .collect::<BooleanArray>(),
            ),
            Step::Within(gap) => {
                Arc::new(hits.map(|hit| hit.then_some(*gap)).collect::<Int64Array>())
            }
            Step::Without => Arc::new(hits.map(|hit| hit.then_some(1)).collect::<Int8Array>()),
        });
    }
    columns
}

fn pattern(steps: &[Step], most: usize) -> Pattern {
    let mut pattern = Pattern::new(steps).unwrap();
    pattern.most = most;
    pattern
}

/// Cuts the events into parts, aggregates each and merges the states in random order, some of them twice over.
fn in_parts(
    steps: &[Step],
    events: &[Entry],
    most: usize,
    random: &mut Random,
) -> (Option<bool>, Option<bool>) {
    let mut events = events.to_vec();
    random.shuffle(&mut events);
    let mut states = vec![];
    let mut rest = events.as_slice();
    while !rest.is_empty() {
        let (part, others) = rest.split_at(1 + random.below(rest.len() as u64) as usize);
        rest = others;
        let values = columns(steps, part);
        let mut groups = Groups::new(pattern(steps, most));
        if random.below(4) == 0 {
            states.push(groups.convert_to_state(&values, None).unwrap());
        } else {
            // The second group is another's and must not mix with the first.
            groups
                .update_batch(&values, &vec![1; part.len()], None, 2)
                .unwrap();
            groups.state(EmitTo::First(1)).unwrap();
            states.push(groups.state(EmitTo::All).unwrap());
            assert!(groups.size() < 400, "{}", groups.size());
        }
    }
    while states.len() > 1 && random.below(4) > 0 {
        random.shuffle(&mut states);
        let mut merged = Groups::new(pattern(steps, most));
        for state in states.split_off(states.len() - 2) {
            let rows = state[0].len();
            merged.merge_batch(&state, &vec![0; rows], 1).unwrap();
        }
        states.push(merged.state(EmitTo::All).unwrap());
    }
    let mut groups = Groups::new(pattern(steps, most));
    let mut single = Single::new(pattern(steps, most));
    for state in &states {
        let rows = state[0].len();
        groups.merge_batch(state, &vec![0; rows], 1).unwrap();
        single.merge_batch(state).unwrap();
    }
    if states.is_empty() {
        groups
            .update_batch(&columns(steps, &[]), &[], None, 1)
            .unwrap();
    }
    let answer = groups.evaluate(EmitTo::All).unwrap();
    let alone = single.evaluate().unwrap();
    let answers = answer.as_boolean().iter().next().unwrap();
    (answers, alone.try_into().ok())
}

#[test]
fn answers_equal_those_of_trying_everything() {
    let seed = 20_261_121;
    println!("seed {seed}");
    let mut random = Random(seed);
    let mut found = 0;
    let rounds = 20_000;
    for round in 0..rounds {
        let steps = random.steps();
        let events = random.events(steps.len());
        let expected = reference(&steps, &events);
        found += usize::from(expected);
        let mut single = Single::new(Pattern::new(&steps).unwrap());
        single.update_batch(&columns(&steps, &events)).unwrap();
        let got: Option<bool> = single.evaluate().unwrap().try_into().ok();
        assert_eq!(got, Some(expected), "round {round}: {steps:?} {events:?}");
        let parts = in_parts(&steps, &events, usize::MAX, &mut random);
        assert_eq!(
            parts,
            (Some(expected), Some(expected)),
            "round {round}: {steps:?} {events:?}"
        );
    }
    assert!(
        (rounds / 10..rounds * 9 / 10).contains(&found),
        "too few of one kind: {found}"
    );
}

#[test]
fn whether_there_are_too_many_events_does_not_depend_on_order_either() {
    let mut random = Random(7);
    let mut unknown = 0;
    for round in 0..3000 {
        let steps = random.steps();
        let events = random.events(steps.len());
        let most = 1 + random.below(8) as usize;
        let mut kept: Vec<_> = events.iter().filter(|e| e.steps != 0).copied().collect();
        pattern(&steps, most).settle(&mut kept);
        let expected = (kept.len() <= most).then(|| reference(&steps, &events));
        unknown += usize::from(expected.is_none());
        let parts = in_parts(&steps, &events, most, &mut random);
        assert_eq!(
            parts,
            (expected, expected),
            "round {round}: at most {most}: {steps:?} {events:?}"
        );
    }
    assert!(unknown > 300, "{unknown}");
}

#[test]
fn equal_events_are_kept_only_as_often_as_chains_need_them() {
    let steps = [Step::Then, Step::Without, Step::Then];
    let mut entries = vec![];
    for steps in [0b001, 0b010, 0b101] {
        entries.extend([Entry { time: 5, steps }; 1000]);
    }
    Pattern::new(&steps).unwrap().settle(&mut entries);
    assert_eq!(entries.len(), 2 + 1 + 3);
    assert!(entries.capacity() <= 2 * entries.len());
}

#[test]
fn extreme_times_do_not_overflow() {
    let steps = [Step::Then, Step::Within(1_000_000)];
    let entries = [
        Entry {
            time: i64::MIN,
            steps: 1,
        },
        Entry {
            time: i64::MAX,
            steps: 2,
        },
    ];
    assert!(!Pattern::new(&steps).unwrap().is_in(&entries));
    let steps = [Step::Then, Step::Then];
    assert!(Pattern::new(&steps).unwrap().is_in(&entries));
}
