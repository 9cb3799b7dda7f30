#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::Path;

use datafusion::arrow::array::AsArray;
use tokio::sync::mpsc;
use weir_engine::batch::{Counts, DeadLetter};
use weir_engine::schema::col;

use super::reader::Reader;
use super::*;

mod framing;
mod pipes;

/// Records (with their positions) and letters of a content, the reader reopened after every block, as
/// after a crash.
fn cut(content: &[u8], limit: usize) -> (Vec<(i64, String)>, Vec<&'static str>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, content).unwrap();
    let (mut records, mut letters, mut next) = (vec![], vec![], 0);
    loop {
        let mut reader = Reader::open(&path, next as u64, limit, false).unwrap();
        let Some(block) = reader.next_block() else {
            break;
        };
        assert!(block.next > next);
        next = block.next;
        let text = |range| String::from_utf8_lossy(&block.bytes[range]).into_owned();
        let cut = block.records.into_iter();
        records.extend(cut.map(|record| (record.position, text(record.range))));
        letters.extend(block.letter.map(|letter| letter.reason));
    }
    assert_eq!(next, content.len() as i64);
    (records, letters)
}

fn texts(content: &[u8]) -> Vec<String> {
    let (records, letters) = cut(content, 1000);
    assert!(letters.is_empty());
    records.into_iter().map(|(_, text)| text).collect()
}

#[test]
fn lines_with_and_without_an_end() {
    let lines = texts(b"{\"a\":1}\r\n\n  \n{\"b\":2}\n{\"c\":3}");
    assert_eq!(lines, ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"]);
    let (records, _) = cut(b"\n{}\n x\n", 1000);
    assert_eq!(records, [(1, "{}".into()), (5, "x".into())]);
    let (records, _) = cut(b"\xEF\xBB\xBF{}\n", 1000);
    assert_eq!(records, [(3, "{}".into())]);
    assert!(texts(b"").is_empty() && texts(b"\n\n").is_empty());
}

#[test]
fn a_truncated_first_line_does_not_swallow_the_file() {
    for first in ["{\"a\": [1, {\"b", "{\"a\":", "{\"a\":1", "text"] {
        let content = format!("{first}\n{{\"c\":3}}\n");
        assert_eq!(texts(content.as_bytes()), [first, "{\"c\":3}"]);
    }
}

#[test]
fn pretty_printed_documents() {
    let first = "{\n  \"a\": \"}\\\"\",\n  \"b\": [\n1]\n}";
    let content = format!("{first}\n\n{{\n \"c\": 2\n}}\n{{\"d\":4}} {{\"e\":5}}\n{{\"f\":");
    let expected = [first, "{\n \"c\": 2\n}", "{\"d\":4} {\"e\":5}", "{\"f\":"];
    assert_eq!(texts(content.as_bytes()), expected);
    // A broken one costs no other: reading goes on at the next line that begins a document.
    let broken = "{\n  \"a\": 1,\n  \"b\" 2\n}\n";
    let content = format!("{{\n\"x\":1\n}}\n{broken}{{\n\"y\":2\n}}\n");
    assert_eq!(
        texts(content.as_bytes()),
        ["{\n\"x\":1\n}", broken.trim_end(), "{\n\"y\":2\n}"]
    );
}

#[test]
fn long_documents_are_read_in_whole_and_bounded() {
    let long = format!("[\n\"{}\"\n]", "x".repeat(5 << 20));
    let content = format!("{{\n}}\n{long}\n{{\"a\":1}}\n");
    let (records, letters) = cut(content.as_bytes(), 64 << 20);
    assert_eq!((records.len(), letters.len()), (3, 0));
    assert_eq!(records[1].1.len(), long.len());
    let (records, letters) = cut(content.as_bytes(), 1 << 20);
    assert_eq!(letters, ["too_large"]);
    assert_eq!(records.last().unwrap().1, "{\"a\":1}");
}

#[test]
fn a_line_without_end_is_bounded() {
    let mut content = vec![b'x'; 5 << 20];
    content.extend(b"\n{\"a\":1}\n");
    let (records, letters) = cut(&content, 1 << 20);
    assert_eq!(records, [((5 << 20) + 1, "{\"a\":1}".into())]);
    assert_eq!(letters, ["too_large"]);
    let (records, letters) = cut(&content[..5 << 20], 1 << 20);
    assert_eq!((records.len(), letters.len()), (0, 1));
}

/// All that a source says, until it is silent for good.
struct Told {
    assigned: Vec<(String, Option<i64>)>,
    /// Partition and first uid of each batch.
    batches: Vec<String>,
    uids: Vec<String>,
    counts: Counts,
    letters: Vec<DeadLetter>,
    ended: Vec<String>,
    positions: Positions,
}

fn config(paths: &[&Path]) -> FileConfig {
    FileConfig {
        name: "files".into(),
        paths: paths.iter().map(|path| path.to_path_buf()).collect(),
        decoder: DecoderConfig::new("files"),
        follow: false,
    }
}

fn short(partition: &Partition) -> String {
    let name = Path::new(&*partition.name).file_name().unwrap();
    name.to_string_lossy().into_owned()
}

fn listen(messages: &mut mpsc::Receiver<SourceMessage>, until: impl Fn(&Told) -> bool) -> Told {
    let mut told = Told {
        assigned: vec![],
        batches: vec![],
        uids: vec![],
        counts: Counts::default(),
        letters: vec![],
        ended: vec![],
        positions: Positions::new(),
    };
    while !until(&told)
        && let Some(message) = messages.blocking_recv()
    {
        match message {
            SourceMessage::Assigned { partitions } => {
                let partitions = partitions.iter();
                let named = partitions.map(|(partition, floor)| (short(partition), *floor));
                told.assigned.extend(named);
            }
            SourceMessage::Batch(batch) => {
                assert!(batch.counts.conserved());
                told.counts.add(&batch.counts);
                told.batches.push(short(&batch.partition));
                let uids = batch.events.column(col::EVENT_UID).as_string_view();
                told.uids
                    .extend(uids.iter().map(|uid| uid.unwrap().to_owned()));
                told.letters.extend(batch.dead_letters);
                let before = told.positions.insert(batch.partition, batch.next);
                assert!(before.is_none_or(|before| before <= batch.next));
            }
            SourceMessage::Finished { partition } | SourceMessage::CaughtUp { partition } => {
                told.ended.push(short(&partition));
            }
            SourceMessage::Ready { .. } => {
                assert!(!told.assigned.is_empty());
            }
            other => panic!("{other:?}"),
        }
    }
    told
}

fn run(config: FileConfig, positions: &Positions) -> (Told, Arc<FileSource>) {
    let (sender, mut messages) = mpsc::channel(2);
    let source = FileSource::start(config, positions, sender).unwrap();
    (listen(&mut messages, |_| false), source)
}

fn event(uid: &str, minute: usize) -> String {
    format!(
        "{{\"eventTime\":\"2026-01-02T{:02}:{:02}:00Z\",\"eventSource\":\"s\",\"eventName\":\"n\",\"eventID\":\"{uid}\"}}\n",
        minute / 60,
        minute % 60
    )
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    gzip.write_all(content).unwrap();
    gzip.finish().unwrap()
}

/// A folder of logs and of other things.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    write("late.ndjson", (event("e", 50) + &event("f", 51)).as_bytes());
    write("sub/early.log", (event("a", 1) + &event("b", 2)).as_bytes());
    let records = format!(
        "{{\"Records\":[{},{}]}}",
        event("c", 10).trim(),
        event("d", 11).trim()
    );
    write("middle.json.gz", &gzip(records.as_bytes()));
    write("empty.jsonl", b"");
    write("notes.csv", b"a,b\n");
    folder
}

#[test]
fn a_folder_is_read_in_order_of_time() {
    let folder = folder();
    let (told, source) = run(config(&[folder.path()]), &Positions::new());
    assert_eq!(told.uids, ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(told.letters, []);
    let mut ended = told.ended.clone();
    ended.sort();
    assert_eq!(
        ended,
        ["early.log", "empty.jsonl", "late.ndjson", "middle.json.gz"]
    );
    let floors: Vec<_> = told
        .assigned
        .iter()
        .map(|(_, floor)| floor.is_some())
        .collect();
    assert_eq!(floors, [false, true, true, true]);
    let names: Vec<_> = told
        .assigned
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(
        names,
        ["empty.jsonl", "late.ndjson", "middle.json.gz", "early.log"]
    );
    let (done, total) = source.progress();
    assert!(done == total && total > 0, "{done} of {total}");
    assert_eq!(source.files(), 4);
    let skipped = source.skipped();
    assert_eq!(skipped.len(), 1);
    assert!(skipped[0].0.ends_with("notes.csv") && skipped[0].1.contains("*.ndjson"));
}

#[test]
fn reading_goes_on_at_the_positions_given() {
    let folder = folder();
    let (all, _) = run(config(&[folder.path()]), &Positions::new());
    let (again, source) = run(config(&[folder.path()]), &all.positions);
    assert_eq!(again.uids, Vec::<String>::new());
    assert_eq!(again.ended.len(), 4);
    let (done, total) = source.progress();
    assert_eq!(done, total);
    let late = folder.path().join("late.ndjson");
    let first = Positions::from([(
        Partition::new("files", late.display().to_string()),
        event("e", 50).len() as i64,
    )]);
    let (rest, _) = run(config(&[&late]), &first);
    assert_eq!(rest.uids, ["f"]);
    // A position behind the end: the file was replaced.
    let behind = Positions::from([(Partition::new("files", late.display().to_string()), 10_000)]);
    let (anew, _) = run(config(&[&late]), &behind);
    assert_eq!(anew.uids, ["e", "f"]);
}

/// The lines behind a position do not say what their columns are: the file's first line does.
#[test]
fn a_flow_log_is_read_on_with_the_header_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    let header = "srcaddr dstaddr start end interface-id action log-status\n";
    let line =
        |n: usize| format!("10.0.0.{n} 203.0.113.7 176732280{n} 176732286{n} eni-1 ACCEPT OK\n");
    let content: String = header.to_owned() + &line(1) + &line(2);
    let position = (header.len() + line(1).len()) as i64;
    for (name, bytes) in [
        ("a.log", content.clone().into_bytes()),
        ("b.log.gz", gzip(content.as_bytes())),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let partition = Partition::new("files", path.display().to_string());
        let (rest, _) = run(config(&[&path]), &Positions::from([(partition, position)]));
        assert_eq!(
            (rest.counts.read, rest.counts.dead_lettered),
            (1, 0),
            "{name}"
        );
        assert_eq!(rest.uids.len(), 1);
    }
}

#[test]
fn many_blocks_of_many_files_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    for file in 0..3 {
        let events = (0..20_000).map(|index| event(&format!("{file}-{index}"), index / 20));
        let content: String = events.collect();
        fs::write(folder.path().join(format!("{file}.log")), content).unwrap();
    }
    let (told, _) = run(config(&[folder.path()]), &Positions::new());
    assert_eq!(told.uids.len(), 60_000);
    assert_eq!(told.counts.read, 60_000);
    // No file runs ahead of the others.
    let order = ["0.log", "1.log", "2.log"].repeat(3);
    assert_eq!(told.batches, order);
    let sorted: std::collections::HashSet<_> = told.uids.iter().collect();
    assert_eq!(sorted.len(), 60_000);
}

#[test]
fn more_files_than_are_kept_open() {
    let folder = tempfile::tempdir().unwrap();
    for file in 0..200 {
        let events = (0..3).map(|index| event(&format!("{file}-{index}"), index * 400 + file));
        fs::write(
            folder.path().join(format!("{file:03}.log")),
            events.collect::<String>(),
        )
        .unwrap();
    }
    let (told, _) = run(config(&[folder.path()]), &Positions::new());
    assert_eq!((told.uids.len(), told.ended.len()), (600, 200));
}

#[test]
fn a_torn_gzip_file_gives_what_is_readable_and_one_letter() {
    let folder = tempfile::tempdir().unwrap();
    let events: String = (0..5000)
        .map(|index| event(&format!("uid-{}", index * 7919), index % 1000))
        .collect();
    let whole = gzip(events.as_bytes());
    let torn = folder.path().join("torn.log.gz");
    fs::write(&torn, &whole[..whole.len() / 2]).unwrap();
    let mut corrupt = whole.clone();
    corrupt[whole.len() / 2..whole.len() / 2 + 64].fill(0xFF);
    fs::write(folder.path().join("corrupt.log.gz"), corrupt).unwrap();
    for name in ["torn.log.gz", "corrupt.log.gz"] {
        let (told, _) = run(config(&[&folder.path().join(name)]), &Positions::new());
        assert!(told.uids.len() > 1000, "{name}: {}", told.uids.len());
        let unreadable = told
            .letters
            .iter()
            .filter(|letter| letter.reason == "unreadable");
        assert_eq!(unreadable.count(), 1, "{name}");
        assert_eq!(told.ended.len(), 1);
    }
    let (told, _) = run(config(&[&torn]), &Positions::new());
    assert_eq!(told.letters.len(), 1);
    assert!(told.letters[0].detail.contains("cannot be read beyond"));
}

#[test]
fn bad_input_is_told_and_costs_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.log");
    let mut content = event("a", 1).into_bytes();
    content.extend(format!("{{\"eventName\":\"{}\"}}\n", "x".repeat(10 << 20)).bytes());
    content.extend(b"{\"eventTime\":\"2026\n\xFF\xFE\n\0\0\n{\"a\":\"\0\"}\n");
    content.extend(("[".repeat(5000) + &"]".repeat(5000)).bytes());
    content.extend(b"\n");
    content.extend(event("b", 2).trim().bytes());
    fs::write(&path, content).unwrap();
    let (told, _) = run(config(&[&path]), &Positions::new());
    assert_eq!(told.uids, ["a", "b"]);
    let reasons: Vec<_> = told.letters.iter().map(|letter| letter.reason).collect();
    let expected = [
        "unknown_format",
        "invalid_json",
        "invalid_utf8",
        "unknown_format",
        "unknown_format",
    ];
    assert_eq!(reasons, expected);
    assert!(told.counts.conserved());
}

#[test]
fn paths_without_logs_are_refused_with_what_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.csv"), "x").unwrap();
    let start = |path: &Path| {
        let (sender, _messages) = mpsc::channel(1);
        let started = FileSource::start(config(&[path]), &Positions::new(), sender);
        started.unwrap_err().to_string()
    };
    let message = start(folder.path());
    assert!(
        message.contains("*.ndjson") && message.contains("1 other files"),
        "{message}"
    );
    assert!(start(&folder.path().join("none.log")).contains("none.log"));
    // A file that is named is read whatever it is called.
    let odd = folder.path().join("odd.txt");
    fs::write(&odd, event("a", 1)).unwrap();
    assert_eq!(run(config(&[&odd]), &Positions::new()).0.uids, ["a"]);
}

#[test]
fn followed_files_give_what_is_appended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    fs::write(&path, event("a", 1) + "{\"eventTime\":").unwrap();
    fs::write(
        folder.path().join("old.log.gz"),
        gzip(event("z", 0).as_bytes()),
    )
    .unwrap();
    let (sender, mut messages) = mpsc::channel(2);
    let config = FileConfig {
        follow: true,
        ..config(&[folder.path()])
    };
    let source = FileSource::start(config, &Positions::new(), sender).unwrap();
    let told = listen(&mut messages, |told| told.ended.len() == 2);
    assert_eq!(told.uids, ["z", "a"]);
    // The started line is finished, and another file appears.
    let whole = event("b", 2);
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&whole.as_bytes()["{\"eventTime\":".len()..])
        .unwrap();
    fs::write(folder.path().join("b.log"), event("c", 3)).unwrap();
    let told = listen(&mut messages, |told| told.ended.len() == 2);
    let mut uids = told.uids.clone();
    uids.sort();
    assert_eq!(uids, ["b", "c"]);
    assert_eq!(told.letters, []);
    // Replaced by a shorter file.
    fs::write(&path, event("d", 4)).unwrap();
    let told = listen(&mut messages, |told| told.ended.len() == 1);
    assert_eq!(told.uids, ["d"]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(source.stop());
    assert!(messages.blocking_recv().is_none());
}
