//! The decoder over real logs: nothing lost, and each dead letter for a reason that is known.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use datafusion::arrow::array::AsArray;
use datafusion::arrow::buffer::Buffer;
use weir_connectors::decode::{Decoder, DecoderConfig, Record};
use weir_engine::batch::{EventBatch, Partition};
use weir_engine::schema::col;

/// The folder of sample data, if it is here.
fn samples() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("WEIR_SHARED_DATA").map_or(default, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no sample data in {}", folder.display());
    None
}

fn read(path: &Path) -> Vec<u8> {
    let mut bytes = vec![];
    let file = std::fs::File::open(path).unwrap();
    if path.extension().is_some_and(|e| e == "gz") {
        flate2::read::MultiGzDecoder::new(file)
            .read_to_end(&mut bytes)
            .unwrap();
    } else {
        std::io::BufReader::new(file)
            .read_to_end(&mut bytes)
            .unwrap();
    }
    bytes
}

/// Decodes a file: line by line, or as one document.
fn decode(path: &Path, lines: bool) -> EventBatch {
    let bytes = read(path);
    let mut records = vec![];
    let mut start = 0;
    for line in bytes.split_inclusive(|byte| lines && *byte == b'\n') {
        let end = start + line.trim_ascii_end().len();
        if end > start {
            records.push(Record {
                range: start..end,
                position: start as i64,
            });
        }
        start += line.len();
    }
    let next = bytes.len() as i64;
    let partition = Partition::new("samples", path.display().to_string());
    let mut decoder = Decoder::new(DecoderConfig::new("samples"));
    let batch = decoder
        .decode(&partition, Buffer::from_vec(bytes), &records, next)
        .unwrap();
    let counts = batch.counts;
    assert!(counts.conserved(), "{}: {counts:?}", path.display());
    assert_eq!(counts.processed, batch.events.num_rows() as u64);
    let mut reasons = BTreeMap::new();
    for letter in &batch.dead_letters {
        *reasons.entry(letter.reason).or_insert(0) += 1;
    }
    let name = path.file_name().unwrap().to_string_lossy();
    println!(
        "{name}: read {}, rows {}, filtered {}, dead letters {reasons:?}",
        counts.read, counts.processed, counts.filtered
    );
    batch
}

fn counts(batch: &EventBatch) -> (u64, u64, u64, u64) {
    let c = batch.counts;
    (c.read, c.processed, c.filtered, c.dead_lettered)
}

#[test]
fn cloudtrail() {
    let Some(samples) = samples() else { return };
    let folder = samples.join("cloudtrail");
    let whole = |name: &str| counts(&decode(&folder.join(name), true));
    assert_eq!(whole("invictus_stratus_2023.ndjson.gz"), (2900, 2900, 0, 0));
    assert_eq!(whole("posture_scan_2021.ndjson.gz"), (840, 840, 0, 0));
    assert_eq!(whole("stratus_detonation.ndjson"), (102, 102, 0, 0));
    assert_eq!(whole("api_examples.ndjson"), (48, 48, 0, 0));
    assert_eq!(whole("lookup_events_form.ndjson"), (6, 6, 0, 0));
    // One line says of itself that it is no event.
    assert_eq!(whole("mozilla_redacted.ndjson"), (10, 9, 0, 1));

    let mixed = decode(&folder.join("eventbridge_and_bare.ndjson"), true);
    assert_eq!(counts(&mixed), (31, 23, 0, 8));
    for letter in &mixed.dead_letters {
        assert_eq!(letter.reason, "unknown_format", "{}", letter.detail);
    }

    let mut records = 0;
    for entry in std::fs::read_dir(folder.join("records_form")).unwrap() {
        let batch = decode(&entry.unwrap().path(), true);
        assert_eq!(batch.counts.dead_lettered, 0);
        records += batch.counts.read;
    }
    assert_eq!(records, 77);
}

#[test]
fn k8s_audit() {
    let Some(samples) = samples() else { return };
    let folder = samples.join("k8s_audit");
    let whole = |name: &str| counts(&decode(&folder.join(name), true));
    assert_eq!(whole("audit2rbac_demo.ndjson"), (37, 37, 0, 0));
    assert_eq!(whole("single_examples.ndjson"), (2, 2, 0, 0));
    assert_eq!(whole("admission_reviews.ndjson"), (6, 0, 0, 6));
    assert_eq!(whole("stratus_doc_samples.ndjson"), (8, 0, 0, 8));
    assert_eq!(whole("aks/event.json").0, 22);
    let one = |name: &str| counts(&decode(&folder.join(name), false));
    assert_eq!(one("aks/sample_EventHubs_event.json"), (1, 1, 0, 0));
    assert_eq!(one("aks/sample_KubeAuditLog_event.json"), (1, 1, 0, 0));

    // One trace is just `{"kind":0}`.
    let traces = decode(&folder.join("falco_traces.ndjson"), true);
    assert_eq!(counts(&traces), (36, 35, 0, 1));

    let bulk = decode(&folder.join("perfspec_2023_rebuilt.ndjson.gz"), true);
    assert_eq!((bulk.counts.read, bulk.counts.dead_lettered), (16_563, 0));
    assert!(bulk.counts.processed > bulk.counts.filtered);
}

#[test]
fn falco() {
    let Some(samples) = samples() else { return };
    let folder = samples.join("falco");
    let alerts = decode(&folder.join("alerts.ndjson"), true);
    // The one time that ends in `Z+2`.
    assert_eq!(counts(&alerts), (40, 39, 0, 1));
    assert_eq!(alerts.dead_letters[0].reason, "bad_time");
    assert_eq!(
        counts(&decode(&folder.join("variants.ndjson"), true)),
        (6, 6, 0, 0)
    );
    let text = decode(&folder.join("plain_text.log"), true);
    assert_eq!(text.dead_letters[0].reason, "invalid_json");

    let nested = decode(&folder.join("nested_keys.ndjson"), true);
    assert_eq!(counts(&nested), (1, 1, 0, 0));
    let image = nested.events.column(col::CONTAINER_IMAGE).as_string_view();
    assert_eq!(image.value(0), "docker.io/library/nginx:latest");
}

/// A file and what becomes of it: read, rows, left out, dead letters; and why there are any.
type File = (&'static str, (u64, u64, u64, u64), &'static str);

const FILES: &[File] = &[
    ("guardduty/api_form_2025.ndjson", (15, 15, 0, 0), ""),
    ("guardduty/custodian.ndjson", (2, 2, 0, 0), ""),
    ("guardduty/eventbridge_2019.ndjson", (20, 20, 0, 0), ""),
    // A custom action that names no finding.
    (
        "guardduty/security_hub.ndjson",
        (5, 4, 0, 1),
        "unknown_format",
    ),
    ("gcp_audit/cloudevents.ndjson", (3, 3, 0, 0), ""),
    // A finding of Security Command Center.
    (
        "gcp_audit/custodian_events.ndjson",
        (47, 46, 0, 1),
        "unknown_format",
    ),
    ("gcp_audit/dftimewolf_project.ndjson", (98, 98, 0, 0), ""),
    ("gcp_audit/mozilla_admin.ndjson", (15, 15, 0, 0), ""),
    // A text line and a structured line of other programs.
    (
        "gcp_audit/plaso_gcp_logging.ndjson",
        (11, 9, 0, 2),
        "unknown_format",
    ),
    // Load balancer, DNS and the like: no audit logs.
    (
        "gcp_audit/security_analytics_fixtures.ndjson",
        (18, 15, 0, 3),
        "unknown_format",
    ),
    // Events inside a collector's own object, shortened by hand.
    (
        "gcp_audit/stratus_doc_samples.ndjson",
        (12, 0, 0, 12),
        "unknown_format",
    ),
    (
        "azure_activity/automation_examples.ndjson",
        (3, 3, 0, 0),
        "",
    ),
    (
        "azure_activity/entra_id_examples.ndjson",
        (16, 16, 0, 0),
        "",
    ),
    ("azure_activity/plaso_activity.ndjson", (4, 4, 0, 0), ""),
    (
        // One of them is whole, under the collector's `event`.
        "azure_activity/stratus_doc_samples.ndjson",
        (17, 1, 0, 16),
        "unknown_format",
    ),
    ("okta/streamalert_tests.ndjson", (1, 1, 0, 0), ""),
    // JSON behind a syslog line inside JSON.
    ("github/streamalert_tests.ndjson", (18, 18, 0, 0), ""),
    // Cut off by its collector.
    (
        "github/webhook_workflow_run.raw",
        (1, 0, 0, 1),
        "invalid_json",
    ),
    ("istio/sidecar_text.log", (3, 3, 0, 0), ""),
    ("istio/waypoint.log", (16, 16, 0, 0), ""),
    // A message of Envoy itself.
    ("istio/envoy_text_older.log", (5, 4, 0, 1), "invalid_json"),
    ("istio/ztunnel.log", (28, 28, 0, 0), ""),
    ("tetragon/attack_story.ndjson", (40, 40, 0, 0), ""),
    ("tetragon/events.ndjson", (3, 3, 0, 0), ""),
    // The header is left out.
    ("vpcflow/aws_v2.log", (4, 3, 1, 0), ""),
    ("vpcflow/gcp_vpc_flow.ndjson", (1, 1, 0, 0), ""),
    // Google Workspace's own interface, and Microsoft 365.
    (
        "saas/workspace_and_o365.ndjson",
        (22, 0, 0, 22),
        "unknown_format",
    ),
];

#[test]
fn other_vendors() {
    let Some(samples) = samples() else { return };
    for (name, expected, reason) in FILES {
        let batch = decode(&samples.join(name), true);
        assert_eq!(
            counts(&batch),
            *expected,
            "{name}: {:?}",
            batch.dead_letters.first()
        );
        for letter in &batch.dead_letters {
            assert_eq!(letter.reason, *reason, "{name}: {}", letter.detail);
        }
    }
    let one = |name: &str| counts(&decode(&samples.join(name), false));
    // Its publisher left out every time.
    assert_eq!(one("azure_activity/cloudgrep/azure.json"), (1, 0, 0, 1));
    assert_eq!(one("azure_activity/cloudgrep/bad_azure.json"), (1, 0, 0, 1));
}

/// A report becomes as many rows as it holds findings; one without any is left out.
#[test]
fn trivy_reports() {
    let Some(samples) = samples() else { return };
    let mut rows = 0;
    for entry in std::fs::read_dir(samples.join("trivy")).unwrap() {
        let path = entry.unwrap().path();
        let batch = decode(&path, false);
        // A bill of materials in a form of its own.
        let foreign = path.ends_with("conda-spdx.json");
        assert_eq!(
            batch.counts.dead_lettered,
            u64::from(foreign),
            "{}",
            path.display()
        );
        rows += batch.counts.processed;
    }
    assert!(rows > 40, "{rows}");
}

/// Whatever is not read as it was written costs no panic and is counted.
#[test]
fn any_file_is_accounted_for() {
    let Some(samples) = samples() else { return };
    for name in [
        "guardduty",
        "okta",
        "github",
        "azure_activity",
        "gcp_audit",
        "istio",
        "saas",
        "tetragon",
        "trivy",
        "vpcflow",
    ] {
        for entry in std::fs::read_dir(samples.join(name)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                decode(&path, true);
                decode(&path, false);
            }
        }
    }
}
