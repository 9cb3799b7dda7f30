use super::Watermark::At;
use super::*;

const NOW: i64 = 1_000 * HOUR;

fn setup() -> (Watermarks, Partition, Partition) {
    let settings = Lateness {
        lateness: 10,
        idle_after: 5,
        max_skew: 100,
        revoked_hold: 50,
        scan_gap: 0,
    };
    let marks = Watermarks::new([("s".into(), settings)]);
    (
        marks,
        Partition::new("s", "t/0"),
        Partition::new("s", "t/1"),
    )
}

/// The partition is read, and begins no earlier than 0.
fn begin(marks: &mut Watermarks, partition: &Partition) {
    marks.assigned(partition.clone(), Some(0));
}

#[test]
fn the_slowest_partition_decides() {
    let (mut marks, a, b) = setup();
    begin(&mut marks, &a);
    marks.assigned(b.clone(), None);
    marks.observe(&a, &[100, 90], None, NOW);
    assert_eq!(
        marks.advance(NOW),
        None,
        "the other partition has said nothing yet"
    );
    marks.observe(&b, &[50], None, NOW);
    assert_eq!(marks.advance(NOW), None, "one row may be wrong");
    begin(&mut marks, &b);
    marks.observe(&b, &[50], None, NOW);
    assert_eq!(marks.advance(NOW), Some(At(40)));
    marks.observe(&b, &[200], None, NOW);
    assert_eq!(marks.advance(NOW), Some(At(90)));
}

#[test]
fn time_stands_still_until_every_source_has_told_its_partitions() {
    let (mut marks, a, b) = setup();
    marks.await_source("s");
    marks.await_source("other");
    begin(&mut marks, &a);
    marks.observe(&a, &[100], None, NOW);
    marks.ready("other", false, NOW);
    marks.finished(&a);
    assert_eq!(marks.advance(NOW), None, "another topic may come");
    assert!(!marks.all_finished());
    marks.assigned(b.clone(), None);
    marks.ready("s", false, NOW);
    assert_eq!(marks.advance(NOW), None, "the new partition is silent yet");
    begin(&mut marks, &b);
    marks.observe(&b, &[50], None, NOW);
    assert_eq!(marks.advance(NOW), Some(At(40)));
}

#[test]
fn what_an_earlier_run_read_holds_time_until_it_is_known_to_be_gone() {
    let (mut marks, a, b) = setup();
    marks.restore(a.clone(), Some(50));
    marks.restore(Partition::new("removed", "x"), Some(1));
    marks.keep(|partition| &*partition.source == "s");
    marks.await_source("s");
    begin(&mut marks, &b);
    marks.observe(&b, &[200], None, NOW);
    let mut shared = Watermarks {
        settings: marks.settings.clone(),
        partitions: marks.partitions.clone(),
        ..Watermarks::default()
    };
    marks.ready("s", false, NOW);
    assert_eq!(marks.advance(NOW), Some(At(190)), "a file that is gone");
    marks.finished(&b);
    assert!(marks.all_finished());
    shared.ready("s", true, NOW);
    assert_eq!(
        shared.advance(NOW),
        Some(At(40)),
        "another member may have it"
    );
    assert_eq!(shared.advance(NOW + 50), Some(At(190)));
}

#[test]
fn it_never_goes_back() {
    let (mut marks, a, b) = setup();
    begin(&mut marks, &a);
    marks.observe(&a, &[100], None, NOW);
    assert_eq!(marks.advance(NOW), Some(At(90)));
    begin(&mut marks, &b);
    marks.observe(&b, &[20], None, NOW);
    assert_eq!(marks.advance(NOW), Some(At(90)));
}

#[test]
fn only_a_partition_read_to_its_end_becomes_idle() {
    let (mut marks, a, b) = setup();
    begin(&mut marks, &a);
    begin(&mut marks, &b);
    marks.observe(&a, &[100], None, NOW);
    marks.observe(&b, &[50], None, NOW);
    assert_eq!(
        marks.advance(NOW + HOUR),
        Some(At(40)),
        "busy elsewhere is not idle"
    );
    marks.caught_up(&b, NOW);
    assert_eq!(marks.advance(NOW + 4), Some(At(40)));
    assert_eq!(marks.advance(NOW + 5), Some(At(90)));
    marks.caught_up(&a, NOW);
    assert_eq!(
        marks.advance(NOW + HOUR),
        Some(At(90)),
        "all idle: time stands"
    );
}

#[test]
fn a_clock_in_the_future_does_not_close_windows() {
    let (mut marks, a, _) = setup();
    marks.assigned(a.clone(), Some(NOW));
    let times = [NOW, NOW + 101, NOW + HOUR];
    assert_eq!(marks.observe(&a, &times, None, NOW), 2);
    assert_eq!(marks.advance(NOW), Some(At(NOW - 10)));
}

#[test]
fn what_was_delivered_earlier_is_measured_by_that() {
    let (mut marks, a, _) = setup();
    let delivered = NOW - 30 * HOUR;
    marks.assigned(a.clone(), Some(delivered));
    // Ahead of its delivery by ten minutes, in a backlog that all lies before now.
    let times = [delivered, delivered + 10 * MINUTE];
    assert_eq!(marks.observe(&a, &times, Some(delivered), NOW), 1);
    assert_eq!(marks.advance(NOW), Some(At(delivered - 10)));
}

#[test]
fn a_clock_ahead_in_a_backlog_does_not_close_windows() {
    let (mut marks, a, b) = setup();
    begin(&mut marks, &a);
    begin(&mut marks, &b);
    marks.observe(&a, &[100, 30 * HOUR, 200], None, NOW);
    marks.observe(&b, &[100], None, NOW);
    assert_eq!(marks.advance(NOW), Some(At(90)));
    marks.observe(&b, &[300], None, NOW);
    assert_eq!(marks.advance(NOW), Some(At(190)));
    marks.finished(&b);
    marks.caught_up(&a, NOW);
    // Nothing more comes, and what came after it speaks against it.
    assert_eq!(marks.advance(NOW + 5), Some(At(290)), "both are over");
    marks.observe(&a, &[400], None, NOW + 6);
    assert_eq!(marks.advance(NOW + 6), Some(At(390)));
}

#[test]
fn a_revoked_partition_holds_for_a_while() {
    let (mut marks, a, b) = setup();
    begin(&mut marks, &a);
    begin(&mut marks, &b);
    marks.observe(&a, &[100], None, NOW);
    marks.observe(&b, &[50], None, NOW);
    marks.revoked(&b, NOW);
    assert_eq!(marks.advance(NOW + 49), Some(At(40)));
    assert_eq!(marks.advance(NOW + 50), Some(At(90)));
}

#[test]
fn a_source_has_a_time_of_its_own() {
    let (mut marks, a, b) = setup();
    marks.await_source("s");
    begin(&mut marks, &a);
    marks.observe(&a, &[100], None, NOW);
    marks.observe(&Partition::new("other", "x"), &[7], None, NOW);
    assert_eq!(marks.of_source("s", NOW), None, "partitions may be missing");
    marks.assigned(b.clone(), None);
    marks.ready("s", false, NOW);
    assert_eq!(marks.of_source("s", NOW), None, "one is silent yet");
    begin(&mut marks, &b);
    marks.observe(&b, &[50], None, NOW);
    assert_eq!(marks.of_source("s", NOW), Some(At(40)));
    marks.caught_up(&a, NOW);
    marks.caught_up(&b, NOW);
    assert_eq!(marks.of_source("s", NOW + 4), Some(At(40)));
    assert_eq!(marks.of_source("s", NOW + 5), Some(Watermark::Ended));
    assert_eq!(marks.of_source("gone", NOW), Some(Watermark::Ended));
}

#[test]
fn closed_input_ends_time() {
    let (mut marks, a, b) = setup();
    marks.assigned(a.clone(), Some(500));
    marks.assigned(b.clone(), Some(100));
    assert_eq!(
        marks.advance(NOW),
        Some(At(90)),
        "a floor stands in for events not read yet"
    );
    marks.finished(&b);
    assert_eq!(marks.advance(NOW), Some(At(490)));
    marks.finished(&a);
    assert_eq!(marks.advance(NOW), Some(Watermark::Ended));
}
