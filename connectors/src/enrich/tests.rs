#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::Instant;

use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use weir_engine::builder::EventBuilder;

use super::*;

/// One row per list of (column, value); times are the row's number in days since the epoch.
fn events(rows: &[&[(usize, &str)]]) -> RecordBatch {
    let mut builder = EventBuilder::new(Buffer::from(b"" as &[u8]));
    for (number, row) in rows.iter().enumerate() {
        builder.begin();
        builder.int(col::TIME, number as i64 * 86_400_000_000);
        for required in [
            col::EVENT_UID,
            col::FAMILY,
            col::PRODUCT,
            col::LOG_NAME,
            col::RAW,
        ] {
            builder.text(required, "x");
        }
        for (column, value) in *row {
            builder.text(*column, value);
        }
        builder.keep();
    }
    builder.finish().unwrap()
}

fn text(batch: &RecordBatch, column: usize) -> Vec<Option<&str>> {
    batch.column(column).as_string_view().iter().collect()
}

fn file(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path
}

/// The folder of MaxMind's test databases, or a loud skip.
fn databases() -> Option<PathBuf> {
    let shared = std::env::var_os("WEIR_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    let folder = shared.join("mmdb");
    if !folder.is_dir() {
        println!("SKIPPED: no test databases in {}", folder.display());
        return None;
    }
    Some(folder)
}

#[test]
fn without_configuration_the_batch_comes_back_as_it_was() {
    let (enricher, warnings) = Enricher::open(&EnrichConfig::default());
    assert!(warnings.is_empty());
    let batch = events(&[&[(col::SRC_IP, "192.0.2.1")]]);
    assert_eq!(enricher.enrich(batch.clone()).unwrap(), batch);
}

#[test]
fn the_source_address_gets_its_place_and_network() {
    let Some(folder) = databases() else { return };
    let (enricher, warnings) = Enricher::open(&EnrichConfig {
        geo_city: Some(folder.join("GeoIP2-City-Test.mmdb")),
        geo_asn: Some(folder.join("GeoLite2-ASN-Test.mmdb")),
        ..Default::default()
    });
    assert!(warnings.is_empty(), "{warnings:?}");
    let batch = events(&[
        &[(col::SRC_IP, "81.2.69.160")],
        &[],
        &[(col::SRC_IP, "1.128.0.0")],
        &[(col::SRC_IP, "::ffff:81.2.69.160")],
        &[(col::SRC_IP, "256.44.44.11")],
        &[(col::SRC_IP, "2001:218::")],
        &[(col::SRC_IP, "81.2.69.160")],
    ]);
    for _ in ["cold", "from the cache"] {
        let rows = enricher.enrich(batch.clone()).unwrap();
        assert_eq!(rows.schema(), batch.schema());
        let london = Some("London");
        assert_eq!(
            text(&rows, col::SRC_CITY),
            [london, None, None, london, None, None, london]
        );
        let country = text(&rows, col::SRC_COUNTRY);
        assert_eq!(
            (country[0], country[1], country[5]),
            (Some("GB"), None, Some("JP"))
        );
        let lat = rows.column(col::SRC_LAT).as_primitive::<Float64Type>();
        assert!((lat.value(0) - 51.5142).abs() < 1e-6 && lat.is_null(1));
        let asn = rows.column(col::SRC_ASN).as_primitive::<Int64Type>();
        assert_eq!((asn.value(2), asn.is_null(0)), (1221, true));
        assert_eq!(text(&rows, col::SRC_AS_NAME)[2], Some("Telstra Pty Ltd"));
        assert_eq!(rows.column(col::RAW), batch.column(col::RAW));
    }
}

#[test]
fn a_country_database_gives_the_country() {
    let Some(folder) = databases() else { return };
    let (enricher, warnings) = Enricher::open(&EnrichConfig {
        geo_city: Some(folder.join("GeoLite2-Country-Test.mmdb")),
        ..Default::default()
    });
    assert!(warnings.is_empty(), "{warnings:?}");
    let rows = enricher
        .enrich(events(&[&[(col::SRC_IP, "81.2.69.160")]]))
        .unwrap();
    assert_eq!(text(&rows, col::SRC_COUNTRY), [Some("GB")]);
    assert_eq!(text(&rows, col::SRC_CITY), [None]);
}

#[test]
fn swapped_databases_are_a_warning() {
    let Some(folder) = databases() else { return };
    let (_, warnings) = Enricher::open(&EnrichConfig {
        geo_city: Some(folder.join("GeoLite2-ASN-Test.mmdb")),
        ..Default::default()
    });
    assert!(warnings[0].contains("swapped"), "{warnings:?}");
}

#[test]
fn missing_and_unreadable_databases_are_warnings_and_null_columns() {
    let folder = tempfile::tempdir().unwrap();
    let (enricher, warnings) = Enricher::open(&EnrichConfig {
        geo_city: Some(file(folder.path(), "broken.mmdb", "this is no database")),
        geo_asn: Some(folder.path().join("absent.mmdb")),
        indicators: vec![folder.path().join("absent.csv").into()],
        assets: Some(file(folder.path(), "assets.csv", "name,owner\na,b\n")),
        ..Default::default()
    });
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    assert!(warnings[0].contains("broken.mmdb") && warnings[0].contains("columns stay null"));
    assert!(warnings[1].contains("absent.mmdb"));
    assert!(warnings[2].contains("absent.csv"));
    assert!(warnings[3].contains("assets.csv") && warnings[3].contains("entity is missing"));
    let rows = enricher
        .enrich(events(&[&[(col::SRC_IP, "81.2.69.160")]]))
        .unwrap();
    assert_eq!(text(&rows, col::SRC_COUNTRY), [None]);
}

#[test]
fn a_damaged_database_never_panics() {
    let Some(folder) = databases() else { return };
    let good = fs::read(folder.join("GeoIP2-City-Test.mmdb")).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("damaged.mmdb");
    let batch = events(&[
        &[(col::SRC_IP, "81.2.69.160")],
        &[(col::SRC_IP, "89.160.20.112")],
        &[(col::SRC_IP, "2001:218::")],
    ]);
    for seed in 0..60usize {
        let mut bytes = good.clone();
        if seed % 3 == 0 {
            bytes.truncate(good.len() * seed / 60);
        } else {
            for i in 0..200 {
                let at = (seed * 7919 + i * 104_729) % bytes.len();
                bytes[at] ^= 0x5a;
            }
        }
        fs::write(&path, &bytes).unwrap();
        let (enricher, _) = Enricher::open(&EnrichConfig {
            geo_city: Some(path.clone()),
            ..Default::default()
        });
        assert_eq!(enricher.enrich(batch.clone()).unwrap().num_rows(), 3);
    }
}

#[test]
fn indicators_match_addresses_domains_and_image_digests_until_they_expire() {
    let folder = tempfile::tempdir().unwrap();
    let digest = "0f".repeat(32);
    let list = format!(
        "\u{feff}Indicator,type,source,confidence,expires\n\
         # a comment\n\
         203.0.113.0/24,cidr,,,\n\
         203.0.113.9,ip,hot list,80,1970-01-02T12:00:00Z\n\
         bad.example,domain,dns,,\n\
         {digest},hash,images,,\n"
    );
    let (enricher, warnings) = Enricher::open(&EnrichConfig {
        indicators: vec![file(folder.path(), "blocked.csv", &list).into()],
        ..Default::default()
    });
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(enricher.indicators(), 4);
    let image = format!("registry.example/app@sha256:{digest}");
    let rows = enricher
        .enrich(events(&[
            &[(col::SRC_IP, "203.0.113.9")],
            &[(col::SRC_IP, "192.0.2.1"), (col::DST_IP, "203.0.113.9")],
            &[(col::SRC_IP, "203.0.113.9")],
            &[(col::SRC_DOMAIN, "cdn.bad.example")],
            &[(col::CONTAINER_IMAGE, &image)],
            &[(col::SRC_IP, "192.0.2.1")],
        ]))
        .unwrap();
    assert_eq!(
        text(&rows, col::OSINT_VALUE),
        [
            Some("203.0.113.9"),
            Some("203.0.113.9"),
            // Expired at noon of the second day; the third day's event falls back to the network.
            Some("203.0.113.0/24"),
            Some("bad.example"),
            Some(digest.as_str()),
            None
        ]
    );
    assert_eq!(
        text(&rows, col::OSINT_TYPE),
        [
            Some("ip"),
            Some("ip"),
            Some("ip"),
            Some("domain"),
            Some("hash"),
            None
        ]
    );
    assert_eq!(
        text(&rows, col::OSINT_SOURCE),
        [
            Some("hot list"),
            Some("hot list"),
            Some("blocked"),
            Some("dns"),
            Some("images"),
            None
        ]
    );
}

#[test]
fn a_bad_line_is_named_and_the_others_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let list = "indicator,type,confidence,expires\n\
                300.1.2.3,ip\n\
                192.0.2.1,ip\n\
                192.0.2.2,color\n\
                ,ip\n\
                192.0.2.3,ip,high\n\
                192.0.2.4,ip,,tomorrow\n\
                com,domain\n";
    let assets = "entity,criticality\nweb-1,huge\nweb-2,High\nweb-2,low\n";
    let (enricher, warnings) = Enricher::open(&EnrichConfig {
        indicators: vec![file(folder.path(), "list.csv", list).into()],
        assets: Some(file(folder.path(), "assets.csv", assets)),
        ..Default::default()
    });
    assert_eq!((enricher.indicators(), enricher.assets()), (1, 1));
    let found = |line: &str, reason: &str| {
        let both = |w: &String| w.contains(line) && w.contains(reason);
        assert!(warnings.iter().any(both), "{line} {reason}: {warnings:#?}");
    };
    found("list.csv:2:", "\"300.1.2.3\" is not a valid address");
    found("list.csv:4:", "use ip, cidr, domain, url or hash");
    found("list.csv:5:", "no indicator");
    found("list.csv:6:", "confidence \"high\"");
    found("list.csv:7:", "expires \"tomorrow\"");
    found("list.csv:8:", "\"com\" is not a valid domain");
    found("assets.csv:2:", "low, medium, high, critical");
    found("assets.csv:4:", "stands in the table already");
    assert_eq!(warnings.len(), 8);
}

#[test]
fn a_file_of_rubbish_gives_few_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let mut list = b"indicator,type\n".to_vec();
    for _ in 0..1000 {
        list.extend_from_slice(b"\xff\xfe,ip\n");
    }
    let path = folder.path().join("list.csv");
    fs::write(&path, list).unwrap();
    let (enricher, warnings) = Enricher::open(&EnrichConfig {
        indicators: vec![path.into()],
        ..Default::default()
    });
    assert_eq!((enricher.indicators(), warnings.len()), (0, 11));
    assert!(
        warnings[10].contains("990 more entries"),
        "{}",
        warnings[10]
    );
}

#[test]
fn the_most_specific_asset_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let assets = "entity,name,owner,environment,criticality,tags\n\
                  111122223333,Shop account,cloud team,production,high,shop; pci\n\
                  arn:aws:s3:::customer-data,Customer data,\"data, privacy\",production,critical\n\
                  pod-1,,,test,\n";
    let (enricher, warnings) = Enricher::open(&EnrichConfig {
        assets: Some(file(folder.path(), "assets.csv", assets)),
        ..Default::default()
    });
    assert!(warnings.is_empty(), "{warnings:?}");
    let account = (col::CLOUD_ACCOUNT, "111122223333");
    let rows = enricher
        .enrich(events(&[
            &[account],
            &[account, (col::RESOURCE_UID, "arn:aws:s3:::customer-data")],
            &[(col::K8S_POD, "pod-1")],
            &[(col::K8S_POD, "pod-2")],
        ]))
        .unwrap();
    assert_eq!(
        text(&rows, col::ASSET_NAME),
        [Some("Shop account"), Some("Customer data"), None, None]
    );
    assert_eq!(
        text(&rows, col::ASSET_OWNER),
        [Some("cloud team"), Some("data, privacy"), None, None]
    );
    assert_eq!(
        text(&rows, col::ASSET_ENVIRONMENT),
        [Some("production"), Some("production"), Some("test"), None]
    );
    assert_eq!(
        text(&rows, col::ASSET_TAGS),
        [Some("[\"shop\",\"pci\"]"), None, None, None]
    );
    assert_eq!(
        text(&rows, col::ASSET_CRITICALITY),
        [Some("high"), Some("critical"), None, None]
    );
}

#[test]
fn json_and_an_inventory_fill_the_asset_table() {
    let folder = tempfile::tempdir().unwrap();
    let lines = "{\"entity\":\"web-1\",\"owner\":\"shop\",\"tags\":[\"a\",\"b\"],\"rack\":{\"row\":1}}\n\
                 {\"owner\":\"nobody\"}\n{\"entity\":\"web-2\",\"criticality\":\"LOW\"}\n";
    let (enricher, warnings) = Enricher::open(&EnrichConfig {
        assets: Some(file(folder.path(), "assets.ndjson", lines)),
        ..Default::default()
    });
    assert!(
        warnings.len() == 1 && warnings[0].contains("assets.ndjson:2:"),
        "{warnings:?}"
    );
    let inventory = enricher.inventory();
    let owners = || {
        let hosts = ["web-1", "web-2", "web-3"].map(|host| [(col::HOSTNAME, host)]);
        let rows: Vec<&[(usize, &str)]> = hosts.iter().map(|row| row.as_slice()).collect();
        let rows = enricher.enrich(events(&rows)).unwrap();
        let owners = text(&rows, col::ASSET_OWNER);
        owners
            .into_iter()
            .map(|o| o.map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let some = |owner: &str| Some(owner.to_owned());
    assert_eq!(owners(), [some("shop"), None, None]);
    inventory.put("web-1", Some(br#"{"owner":"new"}"#)).unwrap();
    inventory
        .put("web-3", Some(br#"{"owner":"third"}"#))
        .unwrap();
    assert_eq!(owners(), [some("new"), None, some("third")]);
    // What is wrong changes nothing, and a tombstone gives the file's entry back.
    assert!(inventory.put("web-3", Some(b"no json")).is_err());
    assert!(
        inventory
            .put("web-3", Some(br#"{"criticality":"huge"}"#))
            .is_err()
    );
    inventory.put("web-1", None).unwrap();
    assert_eq!(owners(), [some("shop"), None, some("third")]);
}

#[test]
fn a_broken_new_file_keeps_what_was_known() {
    let folder = tempfile::tempdir().unwrap();
    let config = EnrichConfig {
        indicators: vec![file(folder.path(), "list.txt", "203.0.113.9\n").into()],
        assets: Some(file(
            folder.path(),
            "assets.csv",
            "entity,owner\nweb-1,shop\n",
        )),
        ..Default::default()
    };
    let (first, warnings) = Enricher::open(&config);
    assert!(warnings.is_empty(), "{warnings:?}");
    let seen = |enricher: &Enricher| {
        let rows = enricher
            .enrich(events(&[&[(col::SRC_IP, "203.0.113.9")]]))
            .unwrap();
        text(&rows, col::OSINT_VALUE)[0].is_some()
    };
    file(folder.path(), "list.txt", "<html>\n<body>\nsorry\n");
    file(
        folder.path(),
        "assets.csv",
        "entity,owner\nweb-1,shop\nweb-2,shop\n",
    );
    let (second, warnings) = first.reopen(&config);
    assert!(seen(&second));
    // The parts that can be read are new.
    assert_eq!((second.indicators(), second.assets()), (1, 2));
    assert_eq!(second.health().broken, ["indicators"]);
    assert!(
        warnings
            .iter()
            .any(|w| w.contains("indicators of before stay in use")),
        "{warnings:?}"
    );
    file(folder.path(), "list.txt", "198.51.100.1\n198.51.100.2\n");
    let (third, warnings) = second.reopen(&config);
    assert!(warnings.is_empty() && !seen(&third), "{warnings:?}");
    assert_eq!((third.indicators(), third.health().broken.len()), (2, 0));
}

/// The cost must not grow with the list: one lookup per distinct address and prefix length.
#[test]
fn lists_of_many_networks_cost_as_much_as_short_ones() {
    let folder = tempfile::tempdir().unwrap();
    let list = |count: u32| {
        let line = |i: u32| format!("{}.{}.{}.0/24,cidr\n", i >> 16, i >> 8 & 255, i & 255);
        let lines: String = (0..count).map(line).collect();
        let content = format!("indicator,type\n{lines}");
        let path = file(folder.path(), &format!("{count}.csv"), &content);
        let (enricher, warnings) = Enricher::open(&EnrichConfig {
            indicators: vec![path.into()],
            ..Default::default()
        });
        assert!(warnings.is_empty(), "{warnings:?}");
        enricher
    };
    let (short, long) = (list(1_000), list(100_000));
    let addresses: Vec<String> = (0..8192).map(|i| format!("9.9.{}.7", i % 250)).collect();
    let rows: Vec<Vec<(usize, &str)>> = addresses
        .iter()
        .map(|address| vec![(col::SRC_IP, address.as_str())])
        .collect();
    let rows: Vec<&[(usize, &str)]> = rows.iter().map(Vec::as_slice).collect();
    let batch = events(&rows);
    // The fastest of several runs: other work on the machine only ever makes a run slower.
    let time = |enricher: &Enricher| {
        let run = |_| {
            let start = Instant::now();
            enricher.enrich(batch.clone()).unwrap();
            start.elapsed()
        };
        (0..20).map(run).min().unwrap()
    };
    let (short, long) = (time(&short), time(&long));
    assert!(long < short * 5, "short {short:?}, long {long:?}");
}
