//! Pipes, and files whose bytes are not their text.

use std::process::Command;

use super::*;

fn make_pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

/// Reads a pipe into which these bytes are written, a few at a time.
fn piped(content: Vec<u8>) -> Told {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    make_pipe(&path);
    let to = path.clone();
    let writer = std::thread::spawn(move || {
        let mut pipe = fs::OpenOptions::new().write(true).open(to).unwrap();
        let (first, rest) = content.split_at(content.len().min(3));
        for piece in [first].into_iter().chain(rest.chunks(10_000)) {
            pipe.write_all(piece).unwrap();
        }
    });
    let (told, _) = run(config(&[&path]), &Positions::new());
    writer.join().unwrap();
    told
}

#[test]
fn a_pipe_is_read_once_and_to_its_end() {
    let events: String = (0..5000)
        .map(|index| event(&format!("uid-{index}"), index % 1000))
        .collect();
    let utf16: Vec<u8> = events.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for content in [
        events.clone().into_bytes(),
        events.trim_end().as_bytes().to_vec(),
        gzip(events.as_bytes()),
        [
            gzip(&events.as_bytes()[..1000]),
            gzip(&events.as_bytes()[1000..]),
        ]
        .concat(),
        utf16.clone(),
        gzip(&utf16),
    ] {
        let told = piped(content);
        assert_eq!(told.uids.len(), 5000);
        assert_eq!((told.uids[0].as_str(), told.letters.len()), ("uid-0", 0));
        assert_eq!(told.ended, ["pipe"]);
    }
    assert_eq!(piped(vec![]).uids, Vec::<String>::new());
    assert_eq!(piped(event("a", 1).into_bytes()).uids, ["a"]);
}

#[test]
fn pipes_and_files_are_read_together() {
    let folder = folder();
    let pipe = folder.path().join("pipe");
    make_pipe(&pipe);
    let to = pipe.clone();
    let writer = std::thread::spawn(move || fs::write(to, event("p", 30)).unwrap());
    // Named twice it is read once; a folder's own pipes are not waited for.
    let (told, source) = run(config(&[&pipe, &pipe, folder.path()]), &Positions::new());
    writer.join().unwrap();
    let mut uids = told.uids.clone();
    uids.sort();
    assert_eq!(uids, ["a", "b", "c", "d", "e", "f", "p"]);
    let skipped = source.skipped();
    let reasons: Vec<_> = skipped
        .iter()
        .filter(|(path, _)| path.ends_with("pipe"))
        .map(|(_, reason)| reason.as_str())
        .collect();
    assert_eq!(reasons.len(), 2);
    assert!(reasons[0].contains("the same file") && reasons[1].contains("a named pipe"));
}

#[test]
fn utf16_of_any_order_and_with_or_without_a_mark() {
    let folder = tempfile::tempdir().unwrap();
    let text = event("a", 1) + &event("b", 2) + "{\"x\":\"grün 😀\"}\n";
    let path = folder.path().join("a.log");
    for mark in ["", "\u{FEFF}"] {
        let marked = format!("{mark}{text}");
        for big in [false, true] {
            let bytes = |unit: u16| match big {
                true => unit.to_be_bytes(),
                false => unit.to_le_bytes(),
            };
            let mut content: Vec<u8> = marked.encode_utf16().flat_map(bytes).collect();
            fs::write(&path, &content).unwrap();
            let (told, _) = run(config(&[&path]), &Positions::new());
            assert_eq!(told.uids, ["a", "b"]);
            assert_eq!(told.letters.len(), 1);
            assert!(String::from_utf8_lossy(&told.letters[0].payload).contains("grün 😀"));
            // It goes on where it was.
            let (again, _) = run(config(&[&path]), &told.positions);
            assert_eq!((again.uids.len(), again.letters.len()), (0, 0));
            let next = (mark.len() + event("a", 1).len()) as i64;
            let positions = told
                .positions
                .keys()
                .map(|one| (one.clone(), next))
                .collect();
            assert_eq!(run(config(&[&path]), &positions).0.uids, ["b"]);
            // Half of a pair costs no event.
            let half = bytes(0xD83D);
            let at = content.len() - 2;
            content.splice(at..at, "\n{\"a\":\"".encode_utf16().flat_map(bytes));
            content.extend(half);
            content.extend("\"}".encode_utf16().flat_map(bytes));
            fs::write(&path, &content).unwrap();
            let (told, _) = run(config(&[&path]), &Positions::new());
            assert_eq!(told.uids, ["a", "b"]);
            let last = told.letters.last().unwrap();
            assert!(String::from_utf8_lossy(&last.payload).contains('\u{FFFD}'));
        }
    }
}

#[test]
fn a_damaged_gzip_member_costs_itself() {
    let folder = tempfile::tempdir().unwrap();
    let part = |name: &str| -> Vec<u8> {
        let events: String = (0..2000)
            .map(|index| event(&format!("{name}-{}", index * 7919), index % 1000))
            .collect();
        gzip(events.as_bytes())
    };
    let (first, second, third) = (part("a"), part("b"), part("c"));
    let path = folder.path().join("a.log.gz");
    let torn = &second[..second.len() / 2];
    fs::write(&path, [&first, torn, &third].concat()).unwrap();
    let (told, _) = run(config(&[&path]), &Positions::new());
    let count = |name: &str| told.uids.iter().filter(|uid| uid.starts_with(name)).count();
    assert_eq!((count("a-"), count("c-")), (2000, 2000));
    assert!(count("b-") > 200, "{}", count("b-"));
    let unreadable: Vec<_> = told
        .letters
        .iter()
        .filter(|letter| letter.reason == "unreadable")
        .collect();
    assert_eq!(unreadable.len(), 1, "{:?}", told.letters);
    assert!(
        unreadable[0].detail.contains("reading goes on"),
        "{}",
        unreadable[0].detail
    );
    assert!(unreadable[0].payload_bytes > 1000);
    assert!(told.counts.conserved());
    // Read on in the third part.
    let positions: Positions = told
        .positions
        .iter()
        .map(|(one, next)| (one.clone(), next - 10))
        .collect();
    let (again, _) = run(config(&[&path]), &positions);
    assert_eq!(again.uids.len(), 0);
    let whole = event("c-0", 0).len() as i64;
    let positions = told
        .positions
        .iter()
        .map(|(one, next)| (one.clone(), next - whole * 2))
        .collect();
    assert!(!run(config(&[&path]), &positions).0.uids.is_empty());
}

/// What was looked at to find where a file begins in time does not tell how its first lines are read.
#[test]
fn a_header_further_on_does_not_hold_for_the_lines_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    let first = "2 1 eni-1 10.0.0.1 203.0.113.7 1 2 6 1 40 1767322801 1767322860 ACCEPT OK\n";
    let second = "version account-id interface-id dstaddr srcaddr srcport dstport protocol packets bytes start end action log-status\n";
    fs::write(&path, [first, second, first].concat()).unwrap();
    assert_eq!(sources(&path, 0), ["10.0.0.1", "203.0.113.7"]);
}

/// Source addresses of what is read from this place on.
fn sources(path: &Path, place: i64) -> Vec<String> {
    let partition = Partition::new("files", path.display().to_string());
    let (sender, mut messages) = mpsc::channel(2);
    let positions = Positions::from([(partition, place)]);
    FileSource::start(config(&[path]), &positions, sender).unwrap();
    let mut sources = vec![];
    while let Some(message) = messages.blocking_recv() {
        if let SourceMessage::Batch(batch) = message {
            let column = batch.events.column(col::SRC_IP).as_string_view();
            sources.extend(column.iter().map(|one| one.unwrap_or_default().to_owned()));
        }
    }
    sources
}

/// A later header of the same file holds from there on, also for a reading that begins behind it.
#[test]
fn the_last_header_before_the_place_to_go_on_counts() {
    let folder = tempfile::tempdir().unwrap();
    let before = "srcaddr dstaddr start end\n10.0.0.1 203.0.113.7 1767322801 1767322860\n\
        dstaddr srcaddr start end\n203.0.113.7 10.0.0.2 1767322802 1767322860\n";
    let content = format!("{before}203.0.113.7 10.0.0.3 1767322803 1767322860\n");
    for (name, bytes) in [
        ("a.log", content.clone().into_bytes()),
        ("b.log.gz", gzip(content.as_bytes())),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let sources = sources(&path, before.len() as i64);
        assert_eq!(sources, ["10.0.0.3"], "{name}");
    }
}

#[test]
fn a_line_that_the_end_of_the_file_cuts_is_a_dead_letter() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    let cut = "{\"eventTime\":\"2026-01-02T03:04:05Z\",\"eventSou";
    let docker = serde_json::json!({"log": cut, "stream": "stdout"}).to_string();
    for line in [docker, format!("2026-01-02T03:04:05Z stdout P {cut}")] {
        fs::write(&path, format!("{}{line}\n", event("a", 1))).unwrap();
        let (told, _) = run(config(&[&path]), &Positions::new());
        assert_eq!(told.uids, ["a"]);
        assert_eq!((told.counts.read, told.counts.dead_lettered), (2, 1));
        assert_eq!(told.letters[0].payload, cut.as_bytes());
        assert_eq!(told.ended.len(), 1);
    }
}

#[test]
fn rows_of_a_damaged_gzip_member_are_marked_and_what_is_lost_is_estimated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log.gz");
    let part = |name: &str| -> Vec<u8> {
        let events: String = (0..2000)
            .map(|index| event(&format!("{name}-{}", index * 7919), index % 1000))
            .collect();
        gzip(events.as_bytes())
    };
    let mut second = part("b");
    let middle = second.len() / 2;
    // A block of a kind that there is not, and garbage.
    second.truncate(middle);
    second.extend(vec![0xFF; middle]);
    fs::write(&path, [part("a"), second, part("c")].concat()).unwrap();
    let (sender, mut messages) = mpsc::channel(2);
    FileSource::start(config(&[&path]), &Positions::new(), sender).unwrap();
    let (mut counts, mut marked) = (Counts::default(), vec![]);
    while let Some(message) = messages.blocking_recv() {
        if let SourceMessage::Batch(batch) = message {
            counts.add(&batch.counts);
            let uids = batch.events.column(col::EVENT_UID).as_string_view();
            let marks = batch.events.column(col::RAW_REPAIRED).as_boolean();
            let rows = uids.iter().zip(marks.iter());
            let rows = rows.filter(|(_, mark)| *mark == Some(true));
            marked.extend(rows.map(|(uid, _)| uid.unwrap_or_default().to_owned()));
        }
    }
    assert!(marked.len() > 500, "{}", marked.len());
    assert!(
        marked
            .iter()
            .all(|uid| !uid.starts_with("a-") && !uid.starts_with("c-"))
    );
    assert!((4500..8000).contains(&counts.read), "{counts:?}");
    assert!(counts.dead_lettered > 100, "{counts:?}");
}
