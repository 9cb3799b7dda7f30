#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::buffer::Buffer;

use super::*;
use crate::builder::EventBuilder;
use crate::time::{HOUR, MINUTE, SECOND, floor};

/// What a scan says of a finding.
#[derive(Debug, Clone)]
struct Row {
    time: i64,
    uid: String,
    finding: u64,
    state: u64,
}

fn batch(rows: &[Row]) -> RecordBatch {
    let mut builder = EventBuilder::new(Buffer::from(b"" as &[u8]));
    for row in rows {
        builder.begin();
        builder.int(col::TIME, row.time);
        builder.text(col::EVENT_UID, &row.uid);
        builder.text(col::FAMILY, "posture");
        builder.text(col::PRODUCT, "Scanner");
        builder.text(col::LOG_NAME, "s");
        builder.text(col::RAW, &format!("raw text of the row {}", row.uid));
        builder.int(col::CLASS_UID, CLASSES[(row.finding % 2) as usize]);
        builder.text(col::FINDING_UID, &format!("finding {}", row.finding));
        builder.int(col::SEVERITY_ID, row.state.cast_signed());
        builder.keep();
    }
    builder.finish().unwrap()
}

fn uids(rows: &RecordBatch) -> Vec<String> {
    let uids = rows.column(col::EVENT_UID).as_string_view();
    uids.iter().map(|uid| uid.unwrap().to_owned()).collect()
}

fn scans(gap: i64, bytes: usize) -> Scans {
    Scans::new([("s".into(), gap)], bytes)
}

fn row(time: i64, finding: u64, state: u64) -> Row {
    Row {
        time,
        uid: format!("{finding} at {time}"),
        finding,
        state,
    }
}

fn partition(number: usize) -> Partition {
    Partition::new("s", format!("topic/{number}"))
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % n
    }
}

/// Every row is compared with all rows before it.
fn oracle(rows: &[Row], gap: i64) -> BTreeSet<String> {
    let slot = |row: &Row| floor(row.time, (gap / 8).max(SECOND));
    let is_news = |row: &&Row| {
        let before = rows.iter().filter(|other| {
            other.finding == row.finding && (other.time, &other.uid) < (row.time, &row.uid)
        });
        let before = before.max_by_key(|other| (other.time, &other.uid));
        before.is_none_or(|before| before.state != row.state || slot(row) - slot(before) > gap)
    };
    rows.iter()
        .filter(is_news)
        .map(|row| row.uid.clone())
        .collect()
}

/// State as a store keeps it.
#[derive(Default, Clone)]
struct Store {
    state: BTreeMap<(String, i64), Vec<u8>>,
    next: [usize; 2],
    newest: [i64; 2],
    passed: Vec<String>,
    unchanged: u64,
}

impl Store {
    fn commit(&mut self, scans: &mut Scans, run: &Store) {
        let (writes, dropped) = scans.take_state().unwrap();
        let mut state = std::mem::take(&mut self.state);
        state.retain(|(owner, _), _| !dropped.contains(owner));
        for write in writes {
            state.insert((write.owner, write.key), write.value.unwrap());
        }
        *self = Store {
            state,
            ..run.clone()
        };
    }

    fn resume(&self, gap: i64) -> (Scans, Store) {
        let mut scans = scans(gap, 1 << 30);
        for ((owner, key), value) in &self.state {
            scans.restore(owner, *key, value).unwrap();
        }
        (scans, self.clone())
    }
}

impl Store {
    fn note(&mut self, released: Vec<Released>) {
        for one in released {
            self.passed.extend(uids(&one.rows));
            self.unchanged += one.unchanged;
        }
    }
}

/// Two partitions, each in disorder within the lateness, in batches of any size, with kills: what goes on is
/// what the oracle says, each once.
#[test]
fn what_goes_on_depends_on_the_rows_alone() {
    let mut news = 0;
    for seed in 0..120 {
        let mut random = Random(seed);
        let gap = [2 * MINUTE, 20 * MINUTE, 8 * HOUR][random.below(3) as usize];
        let lateness = [SECOND, MINUTE, 10 * MINUTE][random.below(3) as usize];
        let span = [30, 300][random.below(2) as usize];
        let rows: Vec<Row> = (0..160)
            .map(|n| {
                // Half-minutes, so that rows of one finding meet in time.
                let time = random.below(span) as i64 * 30 * SECOND;
                let state = u64::from(random.below(4) == 0);
                Row {
                    uid: format!("row {n} of seed {seed}"),
                    ..row(time, random.below(4), state)
                }
            })
            .collect();
        let expected = oracle(&rows, gap);
        news += expected.len();
        let mut parts = [vec![], vec![]];
        for row in &rows {
            let arrival = row.time + random.below(lateness as u64) as i64;
            parts[random.below(2) as usize].push((arrival, row.clone()));
        }
        parts
            .iter_mut()
            .for_each(|part| part.sort_by_key(|(arrival, _)| *arrival));
        let mut store = Store {
            newest: [i64::MIN; 2],
            ..Store::default()
        };
        let (mut scans, mut run) = store.resume(gap);
        while (0..2).any(|part| run.next[part] < parts[part].len()) {
            let part = random.below(2) as usize;
            let from = run.next[part];
            let to = (from + 1 + random.below(30) as usize).min(parts[part].len());
            let taken: Vec<Row> = parts[part][from..to]
                .iter()
                .map(|(_, row)| row.clone())
                .collect();
            if taken.is_empty() {
                run.newest[part] = i64::MAX;
            }
            let admitted = scans.admit(&partition(part), batch(&taken)).unwrap();
            assert_eq!(admitted.rows.num_rows(), 0, "seed {seed}: nothing is late");
            assert_eq!(admitted.waiting, taken.len() as u64);
            run.next[part] = to;
            let newest = taken.iter().map(|row| row.time).max();
            run.newest[part] = run.newest[part].max(newest.unwrap_or(i64::MIN));
            let slowest = run.newest.into_iter().min().unwrap();
            let time = (slowest > i64::MIN).then(|| slowest.saturating_sub(lateness));
            run.note(scans.release(|_| time.map(Watermark::At)).unwrap());
            match random.below(6) {
                0 => store.commit(&mut scans, &run),
                1 => (scans, run) = store.resume(gap),
                _ => {}
            }
        }
        run.note(scans.release(|_| Some(Watermark::Ended)).unwrap());
        assert_eq!(
            run.passed.len() + run.unchanged as usize,
            rows.len(),
            "seed {seed}"
        );
        let passed: BTreeSet<String> = run.passed.iter().cloned().collect();
        assert_eq!(passed.len(), run.passed.len(), "seed {seed}: each once");
        assert_eq!(passed, expected, "seed {seed}");
    }
    assert!(
        (2_000..18_000).contains(&news),
        "{news} of 19,200 rows are news"
    );
}

fn say(scans: &mut Scans, rows: &[Row], time: Watermark) -> Vec<String> {
    let admitted = scans.admit(&partition(0), batch(rows)).unwrap();
    let mut told = uids(&admitted.rows);
    for one in scans.release(|_| Some(time)).unwrap() {
        told.extend(uids(&one.rows));
    }
    told.sort();
    told
}

#[test]
fn opened_and_resolved_and_opened_again() {
    let mut scans = scans(HOUR, 1 << 20);
    let rows = [
        row(1, 7, 0),
        row(2, 7, 0),
        row(3, 7, 1),
        row(4, 7, 1),
        row(5, 7, 0),
        row(5, 8, 0),
    ];
    let told = say(&mut scans, &rows, Watermark::Ended);
    assert_eq!(told, ["7 at 1", "7 at 3", "7 at 5", "8 at 5"]);
    assert_eq!(
        say(&mut scans, &[row(6, 7, 0), row(6, 8, 1)], Watermark::Ended),
        ["8 at 6"]
    );
    // Too late to be put in order: what the finding does not say now goes on and changes nothing.
    assert_eq!(
        say(&mut scans, &[row(2, 8, 1), row(2, 8, 0)], Watermark::Ended),
        ["8 at 2"]
    );
    assert_eq!(
        say(&mut scans, &[row(7, 8, 1)], Watermark::Ended),
        Vec::<String>::new()
    );
}

#[test]
fn what_no_scan_names_for_long_is_forgotten_and_told_again() {
    let mut scans = scans(HOUR, 1 << 20);
    let mut store: BTreeMap<String, usize> = BTreeMap::new();
    for minute in 0..600 {
        let mut rows = vec![row(minute * MINUTE, 1, 0)];
        if minute == 0 || minute == 300 {
            rows.push(row(minute * MINUTE, 2, 0));
        }
        let told = say(&mut scans, &rows, Watermark::At(minute * MINUTE + 1));
        let news = usize::from(minute == 0) + usize::from(minute == 0 || minute == 300);
        assert_eq!(told.len(), news, "minute {minute}: {told:?}");
        let (writes, dropped) = scans.take_state().unwrap();
        for write in writes
            .into_iter()
            .filter(|write| write.owner.starts_with(SAID))
        {
            *store.entry(write.owner).or_default() += write.value.unwrap().len();
        }
        store.retain(|owner, _| !dropped.contains(owner));
    }
    // Told every minute, and written once per slot: nine slots of a gap, and that of now.
    let bytes: usize = store.values().sum();
    assert!((9 * 24..=10 * 24).contains(&bytes), "{bytes} bytes stored");
    assert_eq!(
        scans.sources["s"].said.len(),
        1,
        "the other one is forgotten"
    );
}

#[test]
fn other_rows_do_not_wait() {
    let mut scans = scans(HOUR, 1 << 20);
    let rows = batch(&[row(1, 1, 0), row(2, 1, 0)]);
    let mut columns = rows.columns().to_vec();
    let class = datafusion::arrow::array::Int64Array::from(vec![2004, 2003]);
    columns[col::CLASS_UID] = Arc::new(class);
    let mixed = RecordBatch::try_new(rows.schema(), columns.clone()).unwrap();
    let admitted = scans.admit(&partition(0), mixed).unwrap();
    assert_eq!(
        (uids(&admitted.rows), admitted.waiting),
        (vec!["1 at 1".into()], 1)
    );
    let nameless =
        datafusion::arrow::array::new_null_array(columns[col::FINDING_UID].data_type(), 2);
    columns[col::FINDING_UID] = nameless;
    let nameless = RecordBatch::try_new(rows.schema(), columns).unwrap();
    assert_eq!(
        scans
            .admit(&partition(0), nameless)
            .unwrap()
            .rows
            .num_rows(),
        2
    );
    let mut off = Scans::new([("s".into(), 0)], 1 << 20);
    assert_eq!(off.admit(&partition(0), rows).unwrap().rows.num_rows(), 2);
}

#[test]
fn without_room_rows_do_not_wait_and_that_is_told() {
    let mut scans = scans(HOUR, 2 * 3 * FINDING_BYTES);
    // There is room for three findings and for no row.
    let rows: Vec<Row> = (0..5).map(|finding| row(1, finding, 0)).collect();
    let admitted = scans.admit(&partition(0), batch(&rows)).unwrap();
    assert_eq!(admitted.waiting, 5);
    let released = scans.release(|_| None).unwrap();
    assert_eq!(released[0].rows.num_rows(), 5);
    assert_eq!(scans.short(), 5 + 2);
    let again: Vec<Row> = (0..5).map(|finding| row(2, finding, 0)).collect();
    assert_eq!(
        say(&mut scans, &again, Watermark::At(3)),
        ["3 at 2", "4 at 2"]
    );
}

#[test]
fn a_piece_of_an_older_schema_is_read() {
    let piece = Piece::new(3, partition(1), batch(&[row(1, 1, 0)])).unwrap();
    let whole = Piece::decode(3, &piece.encode().unwrap()).unwrap();
    assert_eq!((whole.partition.clone(), whole.len()), (partition(1), 1));
    let rows = batch(&[row(1, 1, 0)]);
    let without = rows.schema().index_of("asset_owner").unwrap();
    let kept: Vec<usize> = (0..rows.num_columns())
        .filter(|at| *at != without)
        .collect();
    let metadata = [("source", "s"), ("name", "n")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let older = rows.project(&kept).unwrap();
    let schema = older
        .schema()
        .as_ref()
        .clone()
        .with_metadata(metadata.into());
    let mut bytes = datafusion::arrow::ipc::writer::StreamWriter::try_new(vec![], &schema).unwrap();
    bytes
        .write(&older.with_schema(Arc::new(schema)).unwrap())
        .unwrap();
    let mut old = Piece::decode(4, &bytes.into_inner().unwrap()).unwrap();
    assert_eq!(uids(&old.take_before(2).unwrap()), ["1 at 1"]);
    assert!(Piece::decode(5, b"damaged").is_err());
}
