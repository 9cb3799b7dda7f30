#![allow(clippy::unwrap_used)]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use super::*;

const LIMIT: u64 = 64 << 20;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

fn append(spool: &Spool, body: &[u8]) -> Result<(), Refusal> {
    let parts = vec![(Kind::Document, 0..body.len())];
    runtime().block_on(spool.append(body.to_vec(), parts))
}

fn open(folder: &Path, committed: Option<i64>) -> Spool {
    Spool::open(folder, LIMIT, committed).unwrap()
}

/// Bodies from a position on, with the positions behind them.
fn bodies(spool: &Spool, from: i64) -> Vec<(Vec<u8>, i64)> {
    let state = spool.shared().state();
    let mut found = vec![];
    for one in &state.segments {
        let path = segment::path(&spool.shared().folder, one.base);
        let bytes = fs::read(path).unwrap()[FILE_HEADER as usize..].to_vec();
        assert_eq!(bytes.len() as u64, one.bytes);
        let mut at = 0;
        while at < bytes.len() {
            let record = segment::decode(&bytes[at..], one.base + at as i64).unwrap();
            let next = one.base + (at + record.range.end) as i64;
            if next > from {
                found.push((bytes[at..][record.range.clone()].to_vec(), next));
            }
            at += record.range.end;
        }
    }
    found
}

fn texts(spool: &Spool) -> Vec<String> {
    let all = bodies(spool, 0).into_iter();
    all.map(|(body, _)| String::from_utf8(body).unwrap())
        .collect()
}

fn segments(folder: &Path) -> Vec<i64> {
    let entries = fs::read_dir(folder).unwrap();
    let mut bases: Vec<_> = entries
        .map(|entry| segment::base(&entry.unwrap().path()).unwrap())
        .collect();
    bases.sort_unstable();
    bases
}

#[test]
fn what_was_answered_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), None);
    append(&spool, b"one").unwrap();
    append(&spool, b"two").unwrap();
    drop(spool);
    let spool = open(folder.path(), Some(0));
    append(&spool, b"three").unwrap();
    assert_eq!(texts(&spool), ["one", "two", "three"]);
}

#[test]
fn many_at_once_are_each_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), None);
    let runtime = runtime();
    runtime.block_on(async {
        let bodies = (0..500).map(|n| format!("body {n:03}").into_bytes());
        let appends = bodies.map(|body| {
            let parts = vec![(Kind::Lines, 0..4), (Kind::Document, 5..8)];
            spool.append(body, parts)
        });
        for outcome in futures::future::join_all(appends).await {
            outcome.unwrap();
        }
    });
    let mut numbers = texts(&spool);
    assert_eq!(numbers.len(), 1000);
    numbers.retain(|text| text != "body");
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), 500);
}

#[test]
fn a_torn_tail_is_cut_off_and_writing_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), None);
    append(&spool, b"whole").unwrap();
    let end = spool.shared().state().end();
    append(&spool, b"this one will be torn").unwrap();
    drop(spool);
    let path = segment::path(folder.path(), 0);
    let length = fs::metadata(&path).unwrap().len();
    for lost in [1, 10, 30] {
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(length - lost).unwrap();
        let spool = open(folder.path(), Some(0));
        assert_eq!(texts(&spool), ["whole"]);
        assert_eq!(spool.shared().state().end(), end);
        append(&spool, b"this one will be torn").unwrap();
        assert_eq!(texts(&spool), ["whole", "this one will be torn"]);
    }
}

#[test]
fn damage_in_the_middle_is_refused_by_file_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), None);
    append(&spool, b"first").unwrap();
    append(&spool, b"second").unwrap();
    drop(spool);
    let path = segment::path(folder.path(), 0);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"X", FILE_HEADER + RECORD_HEADER as u64 + 1)
        .unwrap();
    let message = Spool::open(folder.path(), LIMIT, Some(0)).err().unwrap();
    assert!(
        message.contains("00000000000000000000.spool is damaged at byte 16"),
        "{message}"
    );
    // Moved away, it is gone, and positions go on.
    fs::remove_file(&path).unwrap();
    let spool = open(folder.path(), Some(40));
    append(&spool, b"third").unwrap();
    assert_eq!(segments(folder.path()), [40]);
    assert_eq!(texts(&spool), ["third"]);
}

#[test]
fn a_file_that_is_no_segment_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), None));
    let path = segment::path(folder.path(), 0);
    // The crash came before the header was written.
    fs::write(&path, b"").unwrap();
    append(&open(folder.path(), None), b"one").unwrap();
    fs::write(&path, b"something else altogether").unwrap();
    let refused = Spool::open(folder.path(), LIMIT, None).err().unwrap();
    assert!(refused.contains("is damaged at byte 16"), "{refused}");
}

#[test]
fn what_is_read_is_deleted_and_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), 1 << 20, None).unwrap();
    let body = vec![b'x'; 50_000];
    let mut taken = 0;
    while append(&spool, &body).is_ok() {
        taken += 1;
    }
    assert_eq!(append(&spool, &body), Err(Refusal::Full));
    assert!((15..=20).contains(&taken), "{taken}");
    assert!(spool.disk_bytes() <= 1 << 20);
    let before = segments(folder.path());
    assert!(before.len() > 4, "{before:?}");
    // The engine has read half of them.
    let all = bodies(&spool, 0);
    let committed = all[taken / 2].1;
    spool.forget(committed);
    append(&spool, &body).unwrap();
    let left = bodies(&spool, committed);
    assert_eq!(left.len(), taken - taken / 2);
    assert!(segments(folder.path()).len() < before.len());
    drop(spool);
    let spool = Spool::open(folder.path(), 1 << 20, Some(committed)).unwrap();
    assert_eq!(bodies(&spool, committed).len(), left.len());
}

#[test]
fn all_that_was_taken_can_be_committed_and_the_spool_is_free_again() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), 1 << 20, None).unwrap();
    for round in 0..10 {
        let mut taken = 0;
        while append(&spool, &vec![b'x'; 400_000]).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, 2, "round {round}");
        let end = spool.shared().state().end();
        spool.forget(end);
    }
}

#[test]
fn a_store_that_is_ahead_or_behind_does_not_move_positions_back() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), Some(1_000_000));
    append(&spool, b"one").unwrap();
    let end = spool.shared().state().end();
    assert!(end > 1_000_000);
    drop(spool);
    // The spool was restored from an older copy.
    let spool = open(folder.path(), Some(2_000_000));
    append(&spool, b"two").unwrap();
    assert_eq!(segments(folder.path()), [2_000_000]);
    drop(spool);
    // The store is a new one.
    assert_eq!(open(folder.path(), None).shared().committed(), 2_000_000);
}

#[test]
fn a_disk_that_refuses_is_told_and_leaves_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), None);
    append(&spool, b"one").unwrap();
    drop(spool);
    // A full disk: every write fails.
    let shared = Arc::new(Shared {
        folder: folder.path().into(),
        limit: LIMIT,
        state: Mutex::new(State {
            segments: recover::find(folder.path()).unwrap(),
            committed: 0,
        }),
        grown: Condvar::new(),
    });
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut writer = Writer {
        shared: shared.clone(),
        file: full,
        dirty: false,
    };
    let attempt = |writer: &mut Writer| {
        let (done, mut outcome) = oneshot::channel();
        let body = b"two".to_vec();
        let parts = vec![(Kind::Document, 0..3)];
        writer.write(vec![Job { body, parts, done }]);
        outcome.try_recv().unwrap()
    };
    let refused = attempt(&mut writer);
    assert!(
        matches!(&refused, Err(Refusal::Disk(why)) if why.contains("space")),
        "{refused:?}"
    );
    assert!(writer.dirty);
    // There is room again, behind what was written in part.
    let path = segment::path(folder.path(), 0);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all_at(b"half", length).unwrap();
    writer.file = file;
    attempt(&mut writer).unwrap();
    assert_eq!(
        shared.state().disk_bytes(),
        fs::metadata(&path).unwrap().len()
    );
    drop(writer);
    assert_eq!(texts(&open(folder.path(), Some(0))), ["one", "two"]);
}
