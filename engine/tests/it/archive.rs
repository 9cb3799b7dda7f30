//! The archive: every event once, whatever crashes between its writes and the store's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use datafusion::prelude::SessionContext;
use weir_engine::archive::{Archive, ArchiveConfig, ArchiveWriter, Compression};
use weir_engine::batch::Partition;
use weir_engine::builder::EventBuilder;
use weir_engine::schema::{self, col};

pub const HOUR: i64 = 3_600_000_000;
/// 2026-11-09T12:00:00Z
pub const NOON: i64 = 1_794_225_600_000_000;

/// One event for tests: what differs between them.
#[derive(Clone)]
pub struct Event {
    pub uid: String,
    pub time: i64,
    pub family: &'static str,
    pub operation: Option<&'static str>,
}

pub fn event(n: i64, time: i64) -> Event {
    Event {
        uid: format!("event-with-a-long-name-{n}"),
        time,
        family: "cloud_audit",
        operation: (n % 3 == 0).then_some("PutBucketPolicy"),
    }
}

pub fn batch(events: &[Event]) -> RecordBatch {
    let mut builder = EventBuilder::new(Buffer::from(b"" as &[u8]));
    for event in events {
        builder.begin();
        builder.int(col::TIME, event.time);
        builder.text(col::EVENT_UID, &event.uid);
        builder.text(col::FAMILY, event.family);
        builder.text(col::PRODUCT, "CloudTrail");
        builder.text(col::LOG_NAME, "trail");
        if let Some(operation) = event.operation {
            builder.text(col::API_OPERATION, operation);
            builder.bool(col::IS_READ_ONLY, false);
            builder.float(col::SRC_LAT, 48.5);
        }
        let raw = format!(
            r#"{{"eventID":"{}","requestParameters":{{"bucketName":"b-{}","n":[1,2]}}}}"#,
            event.uid,
            event.time % 7
        );
        builder.text(col::RAW, &raw);
        builder.keep();
    }
    builder.finish().unwrap()
}

pub fn config() -> ArchiveConfig {
    ArchiveConfig {
        sync: false,
        ..ArchiveConfig::default()
    }
}

fn partition() -> Partition {
    Partition::new("trail", "audit/3")
}

/// Times by id. Fails on an event that is there twice.
fn by_uid(batches: &[RecordBatch]) -> BTreeMap<String, i64> {
    let mut found = BTreeMap::new();
    for batch in batches {
        let uids = batch.column(col::EVENT_UID).as_string_view();
        let times = batch
            .column(col::TIME)
            .as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            let uid = uids.value(row).to_owned();
            let before = found.insert(uid, times.value(row));
            assert_eq!(before, None, "{} is there twice", uids.value(row));
        }
    }
    found
}

fn expected(events: &[Event]) -> BTreeMap<String, i64> {
    events.iter().map(|e| (e.uid.clone(), e.time)).collect()
}

async fn all(root: &Path) -> Vec<RecordBatch> {
    let archive = Archive::open(root).unwrap();
    archive.read(i64::MIN, i64::MAX).await.unwrap()
}

fn parquet_files(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let hidden = path.file_name().unwrap().to_string_lossy().starts_with('.');
            if path.is_dir() && !hidden {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "parquet") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

async fn rows(ctx: &SessionContext, sql: &str) -> usize {
    let batches = ctx.sql(sql).await.unwrap().collect().await.unwrap();
    batches.iter().map(RecordBatch::num_rows).sum()
}

#[tokio::test]
async fn every_column_comes_back_as_it_was() {
    for compression in [Compression::Lz4, Compression::Zstd, Compression::None] {
        let dir = tempfile::tempdir().unwrap();
        let mut events: Vec<_> = (0..500).map(|n| event(n, NOON + n * HOUR / 100)).collect();
        for event in events.iter_mut().step_by(7) {
            event.family = "k8s_audit";
        }
        let config = ArchiveConfig {
            compression,
            ..config()
        };
        let mut writer = ArchiveWriter::open(dir.path(), config).unwrap();
        let sent = batch(&events);
        writer.push(&partition(), 0, 900, &sent).await.unwrap();
        assert!(writer.buffered_bytes() > 0);
        let flushed = writer.flush().await.unwrap();
        assert_eq!((flushed.files, flushed.rows), (10, 500));
        assert_eq!(writer.buffered_bytes(), 0);

        let ctx = SessionContext::new();
        Archive::open(dir.path()).unwrap().register(&ctx).unwrap();
        let sorted = "SELECT * FROM events ORDER BY time, event_uid";
        let read = ctx.sql(sorted).await.unwrap().collect().await.unwrap();
        let read = concat_batches(&schema::events(), &read).unwrap();
        assert_eq!(read, sent);
        assert_eq!(rows(&ctx, "SELECT * FROM k8s_audit").await, 72);
        assert_eq!(rows(&ctx, "SELECT * FROM cloud_audit").await, 428);
        assert_eq!(rows(&ctx, "SELECT * FROM agent_alerts").await, 0);
        let hour = dir.path().join("family=k8s_audit/dt=2026-11-09/hour=13");
        assert_eq!(parquet_files(&hour).len(), 1);
    }
}

#[tokio::test]
async fn an_archive_that_is_not_there_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open(dir.path().join("none")).unwrap();
    let ctx = SessionContext::new();
    archive.register(&ctx).unwrap();
    assert_eq!(
        rows(&ctx, "SELECT time FROM events WHERE status = 'failure'").await,
        0
    );
    let counted = ctx.sql("SELECT count(*) FROM cloud_audit").await.unwrap();
    let counted = counted.collect().await.unwrap();
    let count = counted[0].column(0);
    assert_eq!(
        count
            .as_primitive::<datafusion::arrow::datatypes::Int64Type>()
            .value(0),
        0
    );
    assert!(
        archive
            .lookup(&[("a".into(), NOON)])
            .await
            .unwrap()
            .is_empty()
    );
    assert!(archive.read(0, i64::MAX).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_crash_between_archive_and_store_neither_doubles_nor_loses_events() {
    let dir = tempfile::tempdir().unwrap();
    let events: Vec<_> = (0..300).map(|n| event(n, NOON + n * HOUR / 60)).collect();
    let mut writer = ArchiveWriter::open(dir.path(), config()).unwrap();
    writer
        .push(&partition(), 0, 100, &batch(&events[..100]))
        .await
        .unwrap();
    writer.flush().await.unwrap();
    // The store commits 100 here. The next batch reaches the archive, but not the store.
    writer
        .push(&partition(), 100, 170, &batch(&events[100..170]))
        .await
        .unwrap();
    writer.flush().await.unwrap();
    // And one did not even reach the archive.
    writer
        .push(&partition(), 170, 180, &batch(&events[170..180]))
        .await
        .unwrap();
    drop(writer);

    let mut writer = ArchiveWriter::open(dir.path(), config()).unwrap();
    let early = writer
        .push(&partition(), 100, 130, &batch(&events[100..130]))
        .await;
    assert!(early.unwrap_err().to_string().contains("reconcile"));
    let done = writer.reconcile(&[(partition(), 100)]).unwrap();
    assert_eq!((done.removed, done.set_aside), (2, 0));
    assert_eq!(by_uid(&all(dir.path()).await), expected(&events[..100]));
    for range in [100..130, 130..200, 200..300] {
        let (from, next) = (range.start as i64, range.end as i64);
        writer
            .push(&partition(), from, next, &batch(&events[range]))
            .await
            .unwrap();
        writer.flush().await.unwrap();
    }
    assert_eq!(by_uid(&all(dir.path()).await), expected(&events));
}

/// Small deterministic generator (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

#[tokio::test]
async fn any_sequence_of_batches_commits_merges_and_crashes_keeps_each_event_once() {
    for seed in 0..8 {
        let mut random = Random(seed);
        let dir = tempfile::tempdir().unwrap();
        let config = ArchiveConfig {
            merge_at: 2,
            grace: Duration::from_millis(random.below(2) * 100_000),
            memory: 1 << (12 + random.below(10)),
            ..config()
        };
        let partitions = [partition(), Partition::new("trail", "audit/4")];
        // Each partition's log is fixed; its times wander over a few hours.
        let logs: Vec<Vec<Event>> = (0..2)
            .map(|p| {
                let late =
                    |n: i64, r: &mut Random| NOON + n * HOUR / 120 - r.below(HOUR as u64) as i64;
                (0..150)
                    .map(|n| event(p * 1000 + n, late(n, &mut random)))
                    .collect()
            })
            .collect();
        let mut committed = [0usize; 2];
        let mut reached = [0usize; 2];
        let mut writer = ArchiveWriter::open(dir.path(), config.clone()).unwrap();
        while committed != [150, 150] {
            for _ in 0..random.below(4) {
                let p = random.below(2) as usize;
                let from = reached[p];
                let next = (from + random.below(40) as usize).min(150);
                let rows = batch(&logs[p][from..next]);
                let (start, end) = (from as i64, next as i64);
                writer
                    .push(&partitions[p], start, end, &rows)
                    .await
                    .unwrap();
                reached[p] = next;
            }
            let crash_before_flush = random.below(12) == 0;
            if !crash_before_flush {
                writer.flush().await.unwrap();
            }
            let crash = crash_before_flush || random.below(8) == 0;
            if !crash {
                committed = reached;
            }
            let positions: Vec<_> = (partitions.iter().zip(committed))
                .map(|(partition, next)| (partition.clone(), next as i64))
                .collect();
            if crash {
                drop(writer);
                reached = committed;
                writer = ArchiveWriter::open(dir.path(), config.clone()).unwrap();
                writer.reconcile(&positions).unwrap();
            } else {
                let streams = writer.in_streams(positions.into_iter());
                writer.committed(streams).await.unwrap();
            }
            let stored: Vec<Event> = (logs.iter().zip(committed))
                .flat_map(|(log, next)| log[..next].to_vec())
                .collect();
            assert_eq!(
                by_uid(&all(dir.path()).await),
                expected(&stored),
                "seed {seed}"
            );
        }
        writer.close().await.unwrap();
        let everything: Vec<Event> = logs.concat();
        assert_eq!(
            by_uid(&all(dir.path()).await),
            expected(&everything),
            "seed {seed}"
        );
    }
}

#[tokio::test]
async fn many_small_files_become_few_and_readers_see_each_event_once_throughout() {
    let dir = tempfile::tempdir().unwrap();
    let events: Vec<_> = (0..200).map(|n| event(n, NOON + n)).collect();
    let grace = Duration::from_secs(3600);
    let mut writer = ArchiveWriter::open(dir.path(), ArchiveConfig { grace, ..config() }).unwrap();
    for (n, chunk) in events.chunks(5).enumerate() {
        let (from, next) = (n as i64 * 10, n as i64 * 10 + 10);
        writer
            .push(&partition(), from, next, &batch(chunk))
            .await
            .unwrap();
        writer.flush().await.unwrap();
        let streams = writer.in_streams([(partition(), next)].into_iter());
        writer.committed(streams).await.unwrap();
        let sent = (n + 1) * 5;
        assert_eq!(by_uid(&all(dir.path()).await), expected(&events[..sent]));
    }
    writer.close().await.unwrap();
    // Within the grace the merged ones lie beside their inputs.
    assert!(parquet_files(dir.path()).len() > 40);
    assert_eq!(by_uid(&all(dir.path()).await), expected(&events));

    let mut writer = ArchiveWriter::open(dir.path(), config()).unwrap();
    let done = writer.reconcile(&[(partition(), 400)]).unwrap();
    assert_eq!((done.removed, done.set_aside), (0, 0));
    assert!(
        parquet_files(dir.path()).len() < 20,
        "{:?}",
        parquet_files(dir.path())
    );
    let read = all(dir.path()).await;
    assert_eq!(by_uid(&read), expected(&events));
    let merged = concat_batches(&schema::events(), &read).unwrap();
    assert_eq!(merged, batch(&events));
}

#[tokio::test]
async fn what_the_store_cannot_account_for_is_set_aside_and_not_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ArchiveWriter::open(dir.path(), config()).unwrap();
    let events: Vec<_> = (0..20).map(|n| event(n, NOON + n)).collect();
    let gone = Partition::new("trail", "gone/0");
    writer
        .push(&partition(), 0, 10, &batch(&events[..10]))
        .await
        .unwrap();
    writer
        .push(&gone, 0, 10, &batch(&events[10..]))
        .await
        .unwrap();
    writer.flush().await.unwrap();
    drop(writer);
    let mut writer = ArchiveWriter::open(dir.path(), config()).unwrap();
    // The store's backup is from when position 5 was reached, inside a file; and never knew the other.
    let done = writer.reconcile(&[(partition(), 5)]).unwrap();
    assert_eq!((done.removed, done.set_aside), (0, 2));
    assert!(all(dir.path()).await.is_empty());
    assert_eq!(parquet_files(&dir.path().join(".set-aside")).len(), 2);
}

#[tokio::test]
async fn a_partition_that_starts_over_does_not_hide_or_overwrite_its_former_rows() {
    let dir = tempfile::tempdir().unwrap();
    let events: Vec<_> = (0..60).map(|n| event(n, NOON + n)).collect();
    let mut writer = ArchiveWriter::open(dir.path(), config()).unwrap();
    writer
        .push(&partition(), 0, 100, &batch(&events[..20]))
        .await
        .unwrap();
    writer.flush().await.unwrap();
    // The topic was made anew: its offsets begin at 0 again.
    writer
        .push(&partition(), 0, 10, &batch(&events[20..30]))
        .await
        .unwrap();
    writer.flush().await.unwrap();
    drop(writer);
    let mut writer = ArchiveWriter::open(dir.path(), config()).unwrap();
    let done = writer.reconcile(&[(partition(), 10)]).unwrap();
    assert_eq!((done.removed, done.set_aside), (0, 0));
    writer
        .push(&partition(), 10, 20, &batch(&events[30..50]))
        .await
        .unwrap();
    // And once more; this time the pipeline only knows that 20 came before.
    writer
        .push(&partition(), 20, 15, &batch(&events[50..]))
        .await
        .unwrap();
    writer.flush().await.unwrap();
    assert_eq!(by_uid(&all(dir.path()).await), expected(&events));
}

#[tokio::test]
async fn rows_without_a_position_of_their_own_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ArchiveWriter::open(dir.path(), config()).unwrap();
    let rows = batch(&[event(1, NOON)]);
    let refused = writer.push(&partition(), 7, 7, &rows).await.unwrap_err();
    assert!(
        refused.to_string().contains("covers no position ([7, 7))"),
        "{refused}"
    );
    writer
        .push(&partition(), 7, 7, &rows.slice(0, 0))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_second_writer_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let writer = ArchiveWriter::open(dir.path(), config()).unwrap();
    let second = ArchiveWriter::open(dir.path(), config()).unwrap_err();
    assert!(second.to_string().contains("another process"), "{second}");
    drop(writer);
    ArchiveWriter::open(dir.path(), config()).unwrap();
}

#[tokio::test]
async fn after_a_failed_write_nothing_more_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ArchiveWriter::open(dir.path(), config()).unwrap();
    // A file where the family's folder should be.
    std::fs::write(dir.path().join("family=cloud_audit"), "").unwrap();
    writer
        .push(&partition(), 0, 1, &batch(&[event(1, NOON)]))
        .await
        .unwrap();
    let failed = writer.flush().await.unwrap_err().to_string();
    assert!(failed.contains("family=cloud_audit"), "{failed}");
    std::fs::remove_file(dir.path().join("family=cloud_audit")).unwrap();
    assert_eq!(writer.flush().await.unwrap_err().to_string(), failed);
}

#[tokio::test]
async fn filters_on_time_and_family_read_only_the_folders_concerned() {
    let dir = tempfile::tempdir().unwrap();
    let mut events: Vec<_> = (0..480).map(|n| event(n, NOON + n * HOUR / 20)).collect();
    for event in events.iter_mut().step_by(2) {
        event.family = "agent_alerts";
    }
    let mut writer = ArchiveWriter::open(dir.path(), config()).unwrap();
    writer
        .push(&partition(), 0, 480, &batch(&events))
        .await
        .unwrap();
    writer.flush().await.unwrap();
    let ctx = SessionContext::new();
    Archive::open(dir.path()).unwrap().register(&ctx).unwrap();
    let queries = [
        (
            "time >= '2026-11-09T14:30:00Z' AND time < '2026-11-09T15:30:00Z'",
            20,
        ),
        (
            "family = 'cloud_audit' AND time <= '2026-11-09T13:59:59Z'",
            20,
        ),
        (
            "family IN ('cloud_audit') AND time BETWEEN '2026-11-09T15:00:00Z' AND '2026-11-09T15:59:59Z'",
            10,
        ),
        (
            "time < '2026-11-09T12:30:00Z' OR time >= '2026-11-09T15:30:00Z' AND time < '2026-11-09T16:00:00Z'",
            20,
        ),
        ("time = '2026-11-09T14:03:00Z' AND api_operation IS NULL", 1),
        (
            "date_trunc('hour', time) = '2026-11-09T15:00:00Z' AND time < '2026-11-09T16:00:00Z'",
            20,
        ),
    ];
    for (filter, count) in queries {
        let sql = format!("SELECT event_uid FROM events WHERE {filter}");
        assert_eq!(rows(&ctx, &sql).await, count, "{filter}");
    }
    // Files of other hours are not even opened: break them.
    for file in parquet_files(dir.path()) {
        let path = file.to_string_lossy().into_owned();
        if !["dt=2026-11-09/hour=12", "hour=13", "hour=14", "hour=15"]
            .iter()
            .any(|h| path.contains(h))
        {
            std::fs::write(&file, "not a parquet file").unwrap();
        }
    }
    for (filter, count) in queries {
        let sql = format!("SELECT event_uid FROM events WHERE {filter}");
        assert_eq!(rows(&ctx, &sql).await, count, "{filter}");
    }
    let broken = ctx
        .sql("SELECT event_uid FROM events")
        .await
        .unwrap()
        .collect()
        .await;
    assert!(broken.is_err());
}

#[tokio::test]
async fn evidence_is_found_by_id_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let events: Vec<_> = (0..240).map(|n| event(n, NOON + n * HOUR / 20)).collect();
    let mut writer = ArchiveWriter::open(dir.path(), config()).unwrap();
    writer
        .push(&partition(), 0, 240, &batch(&events))
        .await
        .unwrap();
    writer.flush().await.unwrap();
    let archive = Archive::open(dir.path()).unwrap();
    let wanted = |n: usize| (events[n].uid.clone(), events[n].time);
    // Out of order, with one that is not there and one at another time.
    let asked = [
        wanted(99),
        wanted(3),
        ("none".into(), NOON),
        (events[4].uid.clone(), NOON),
    ];
    let found = archive.lookup(&asked).await.unwrap();
    assert_eq!(found.len(), 2);
    let uids: Vec<_> = found
        .iter()
        .map(|e| e["event_uid"].as_str().unwrap())
        .collect();
    assert_eq!(uids, [&events[99].uid, &events[3].uid]);
    assert_eq!(found[1]["time"], "2026-11-09T12:09:00.000000Z");
    assert_eq!(found[1]["api_operation"], "PutBucketPolicy");
    assert_eq!(found[1]["api_is_read_only"], false);
    assert_eq!(found[1].get("status"), None);
    // More than pruning unrolls.
    let many: Vec<_> = (0..60).map(|n| wanted(n * 2)).collect();
    assert_eq!(archive.lookup(&many).await.unwrap().len(), 60);
}

#[tokio::test]
async fn a_scan_goes_hour_by_hour_within_its_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ArchiveWriter::open(dir.path(), config()).unwrap();
    let families = ["k8s_audit", "cloud_audit", "agent_alerts"];
    for (n, family) in families.iter().enumerate() {
        let mut events: Vec<_> = (0..100)
            .map(|i| event(i + 1000 * n as i64, NOON + i * HOUR / 20))
            .collect();
        events.iter_mut().for_each(|event| event.family = family);
        let partition = Partition::new(*family, "0");
        writer
            .push(&partition, 0, 100, &batch(&events))
            .await
            .unwrap();
    }
    writer.flush().await.unwrap();
    let archive = Archive::open(dir.path()).unwrap();
    let read = archive
        .read(NOON + HOUR / 2, NOON + 3 * HOUR)
        .await
        .unwrap();
    let times: Vec<i64> = (read.iter())
        .flat_map(|b| {
            b.column(col::TIME)
                .as_primitive::<TimestampMicrosecondType>()
                .values()
                .to_vec()
        })
        .collect();
    assert_eq!(times.len(), 150);
    assert!(
        times
            .iter()
            .all(|t| (NOON + HOUR / 2..NOON + 3 * HOUR).contains(t))
    );
    let hours: Vec<i64> = times.iter().map(|t| t / HOUR).collect();
    assert!(hours.is_sorted());
}

#[tokio::test]
async fn expired_hours_go_and_their_successors_stay() {
    let dir = tempfile::tempdir().unwrap();
    let events: Vec<_> = (0..60).map(|n| event(n, NOON + n * HOUR / 20)).collect();
    let mut writer = ArchiveWriter::open(dir.path(), config()).unwrap();
    writer
        .push(&partition(), 0, 60, &batch(&events))
        .await
        .unwrap();
    writer.flush().await.unwrap();
    assert_eq!(writer.expire(NOON + HOUR - 1).await.unwrap(), 0);
    assert_eq!(writer.expire(NOON + HOUR).await.unwrap(), 1);
    assert_eq!(by_uid(&all(dir.path()).await), expected(&events[20..]));
    // A late event for an hour that is gone makes it anew.
    let late = event(777, NOON + 1);
    writer
        .push(&partition(), 60, 61, &batch(std::slice::from_ref(&late)))
        .await
        .unwrap();
    writer.flush().await.unwrap();
    assert!(by_uid(&all(dir.path()).await).contains_key(&late.uid));
    assert_eq!(writer.expire(NOON + 9 * HOUR).await.unwrap(), 3);
    assert!(all(dir.path()).await.is_empty());
}
