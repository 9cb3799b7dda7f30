#![allow(clippy::unwrap_used)]

mod bundles;

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::index::{Collected, Origin};
use super::*;

const ALWAYS: (i64, i64) = (i64::MIN, i64::MAX);

fn intel(lines: &[(&str, u8, (i64, i64))]) -> Intel {
    let mut collected = Collected::default();
    let origin = Origin {
        source: "list".into(),
        labels: None,
    };
    for (text, confidence, valid) in lines {
        let (usual, key) = value::read(text, None).unwrap();
        let pushed = collected.push(&usual, key.kind(), &origin, *confidence, *valid);
        pushed.unwrap();
    }
    Intel {
        index: collected.index(),
        exclusions: Exclusions::default(),
    }
}

fn found(intel: &Intel, by: By, text: &str) -> Vec<String> {
    let mut found = vec![];
    intel.look_up(by, text, &mut found);
    let value = |number: &u32| intel.index.text(intel.index.get(*number)).to_owned();
    found.iter().map(value).collect()
}

/// Reads lists of a folder; the files are (name, content).
fn read(files: &[(&str, &str)], change: impl Fn(&mut ListConfig)) -> (Intel, Problems) {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let mut config = ListConfig::from(folder.path().to_owned());
    change(&mut config);
    let mut problems = Problems::default();
    let intel = Intel::open(&[config], &mut problems);
    (intel, problems)
}

fn valid(intel: &Intel, by: By, text: &str) -> Vec<(i64, i64, u8, String, Option<String>)> {
    let mut found = vec![];
    intel.look_up(by, text, &mut found);
    let tell = |number: &u32| {
        let it = intel.index.get(*number);
        let origin = intel.index.origin(it);
        let labels = origin.labels.as_deref().map(str::to_owned);
        (
            it.from,
            it.until,
            it.confidence,
            origin.source.to_string(),
            labels,
        )
    };
    found.iter().map(tell).collect()
}

#[test]
fn the_longest_prefix_comes_first_then_the_higher_confidence_then_the_earlier_line() {
    let intel = intel(&[
        ("10.0.0.0/8", 90, ALWAYS),
        ("10.1.0.0/16", 10, (0, 90)),
        ("10.1.2.3", 20, ALWAYS),
        ("10.1.255.255/16", 80, (0, 50)),
        ("10.1.9.9/16", 80, (40, 60)),
    ]);
    assert_eq!(
        found(&intel, By::Address, "10.1.2.3"),
        [
            "10.1.2.3",
            "10.1.255.255/16",
            "10.1.9.9/16",
            "10.1.0.0/16",
            "10.0.0.0/8"
        ]
    );
    assert!(found(&intel, By::Address, "11.1.2.3").is_empty());
    assert!(found(&intel, By::Address, "not an address").is_empty());
}

#[test]
fn what_can_never_be_chosen_is_let_go() {
    let lines: Vec<_> = (0..1000).map(|_| ("192.0.2.1", 50, ALWAYS)).collect();
    let mut lines = lines;
    lines.push(("192.0.2.1", 60, (10, 20)));
    lines.push(("192.0.2.1", 40, (5, 15)));
    let intel = intel(&lines);
    assert_eq!(
        (intel.len(), found(&intel, By::Address, "192.0.2.1").len()),
        (2, 2)
    );
}

#[test]
fn mapped_addresses_are_ipv4() {
    let intel = intel(&[
        ("::ffff:192.0.2.0/120", 50, ALWAYS),
        ("2001:db8::/32", 50, ALWAYS),
    ]);
    assert_eq!(
        found(&intel, By::Address, "192.0.2.77"),
        ["::ffff:192.0.2.0/120"]
    );
    assert_eq!(
        found(&intel, By::Address, "::ffff:192.0.2.77"),
        ["::ffff:192.0.2.0/120"]
    );
    assert_eq!(
        found(&intel, By::Address, "2001:db8:9::1"),
        ["2001:db8::/32"]
    );
}

#[test]
fn domains_match_themselves_and_what_is_below() {
    let intel = intel(&[
        ("Bad.Example.", 50, ALWAYS),
        ("*.cdn.bad.example", 50, ALWAYS),
    ]);
    assert_eq!(
        found(&intel, By::Domain, "x.CDN.bad.example."),
        ["cdn.bad.example", "bad.example"]
    );
    assert_eq!(found(&intel, By::Domain, "bad.example"), ["bad.example"]);
    for other in ["notbad.example", "example", "bad.example.org", ""] {
        assert!(found(&intel, By::Domain, other).is_empty(), "{other}");
    }
}

#[test]
fn urls_match_by_themselves_without_their_query_and_by_their_host() {
    let intel = intel(&[
        ("hxxp://Bad.example/Drop", 50, ALWAYS),
        ("https://bad.example/drop?id=1", 50, ALWAYS),
        ("evil.example", 50, ALWAYS),
        ("198.51.100.0/24", 50, ALWAYS),
    ]);
    let by_url = |text| found(&intel, By::Url, text);
    assert_eq!(
        by_url("https://bad.example:443/Drop?x=2#part"),
        ["bad.example/Drop"]
    );
    assert_eq!(
        by_url("http://bad.example/drop?id=1"),
        ["bad.example/drop?id=1"]
    );
    assert!(by_url("http://bad.example/other").is_empty());
    assert_eq!(
        by_url("http://user@WWW.evil.example:8080/x"),
        ["evil.example"]
    );
    assert_eq!(by_url("http://198.51.100.7/x"), ["198.51.100.0/24"]);
    assert!(by_url("/api/v1/pods?x=http://evil.example/").is_empty());
}

#[test]
fn hashes_match_in_any_case_and_at_the_end_of_an_image() {
    let digest = "AB".repeat(32);
    let intel = intel(&[(&digest, 50, ALWAYS), (&"0f".repeat(16), 50, ALWAYS)]);
    let low = digest.to_lowercase();
    for text in [
        digest.clone(),
        low.clone(),
        format!("sha256:{low}"),
        format!("registry.example:5000/app@sha256:{low}"),
    ] {
        assert_eq!(found(&intel, By::Hash, &text), [low.as_str()], "{text}");
    }
    assert_eq!(found(&intel, By::Hash, &"0F".repeat(16)).len(), 1);
    assert!(found(&intel, By::Hash, "registry.example/app:latest").is_empty());
}

#[test]
fn values_are_told_apart() {
    let kind =
        |text: &str| value::read(text, None).map(|(usual, key)| (key.kind(), usual.into_owned()));
    for (text, expected, usual) in [
        ("192[.]0[.]2[.]1", Kind::Ip, "192.0.2.1"),
        ("192.0.2.1:8080", Kind::Ip, "192.0.2.1:8080"),
        ("2001:db8::1", Kind::Ip, "2001:db8::1"),
        ("192.0.2.0/24", Kind::Ip, "192.0.2.0/24"),
        ("bad[dot]example", Kind::Domain, "bad.example"),
        ("hXXps[://]bad(.)example/x", Kind::Url, "bad.example/x"),
        (
            "d41d8cd98f00b204e9800998ecf8427e",
            Kind::Hash,
            "d41d8cd98f00b204e9800998ecf8427e",
        ),
    ] {
        assert_eq!(kind(text).unwrap(), (expected, usual.to_owned()), "{text}");
    }
    for text in [
        "com",
        "",
        "300.1.2.3",
        "1.2.3",
        "0.0.0.0/0",
        "::/0",
        "bad example.org",
        "<td>a.b</td>",
        "bad..example",
        "192.0.2.1/33",
    ] {
        assert!(value::read(text, None).is_err(), "{text}");
    }
}

#[test]
fn plain_lists_have_comments_counts_and_hosts() {
    let text = "# title\n; also a comment\n// and this\n\n192.0.2.1\n192.0.2.2\t7\n\
                198.51.100.0/24 ; SBL1\n0.0.0.0 ads.example # blocked\n127.0.0.1\n\
                hxxp://drop[.]example/a\n\"quoted.example\"\n";
    let (intel, problems) = read(&[("drop.txt", text)], |_| {});
    assert!(problems.warnings.is_empty(), "{problems:?}");
    assert_eq!(intel.len(), 7);
    assert_eq!(
        found(&intel, By::Address, "198.51.100.9"),
        ["198.51.100.0/24"]
    );
    assert_eq!(found(&intel, By::Domain, "ads.example"), ["ads.example"]);
    assert_eq!(
        found(&intel, By::Domain, "quoted.example"),
        ["quoted.example"]
    );
    assert_eq!(valid(&intel, By::Address, "192.0.2.2")[0].3, "drop");
}

#[test]
fn any_csv_is_read_by_its_names_or_by_those_that_are_given() {
    let usual = "# exported today\n# \"first_seen_utc\",\"ioc_value\",\"ioc_type\",\"malware\",\"confidence_level\"\n\
                 \"1970-01-02 00:00:00\",\"192.0.2.1:443\",\"ip:port\",\"loader\",\"75\"\n";
    let (intel, problems) = read(&[("feed.csv", usual)], |_| {});
    assert!(problems.warnings.is_empty(), "{problems:?}");
    let told = valid(&intel, By::Address, "192.0.2.1");
    let day = 86_400_000_000;
    let labels = Some("[\"loader\"]".to_owned());
    assert_eq!(told, [(day, i64::MAX, 75, "feed".to_owned(), labels)]);

    let own = "Wann;Was;Wie sicher;Bis\n1;bad.example;90;1970-01-03\n2;;1;\n";
    let (intel, problems) = read(&[("own.csv", own)], |config| {
        config.columns.indicator = Some("was".into());
        config.columns.confidence = Some("Wie sicher".into());
        config.columns.expires = Some("bis".into());
        config.source = Some("partner".into());
    });
    let told = valid(&intel, By::Domain, "bad.example");
    assert_eq!(told, [(i64::MIN, 2 * day, 90, "partner".to_owned(), None)]);
    assert!(
        problems.warnings[0].contains("own.csv:3: no indicator"),
        "{problems:?}"
    );

    let (intel, problems) = read(&[("own.csv", own)], |config| {
        config.columns.indicator = Some("missing".into());
    });
    assert!(intel.len() == 0 && problems.broken);
    assert!(problems.warnings[0].contains("columns = {"), "{problems:?}");
}

const BUNDLE: &str = r#"{"type":"bundle","id":"bundle--1","objects":[
  {"type":"identity","id":"identity--1","name":"somebody"},
  {"type":"indicator","id":"indicator--1","pattern_type":"stix","modified":"2026-01-01T00:00:00Z",
   "pattern":"[ipv4-addr:value = '192.0.2.1' OR domain-name:value IN ('bad.example', 'worse.example') OR file:name = 'x']",
   "valid_from":"1970-01-02T00:00:00Z","valid_until":"1970-01-03T00:00:00Z","confidence":85,
   "indicator_types":["malicious-activity"],"labels":["loader"]},
  {"type":"indicator","id":"indicator--2","pattern":"[ipv6-addr:value ISSUBSET '2001:db8::/32'] OR [ipv4-addr:value = '198.51.100.0/24']"},
  {"type":"indicator","id":"indicator--3","pattern":"[file:hashes.'SHA-256' = 'ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB' OR file:hashes.md5 = '0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f']"},
  {"type":"indicator","id":"indicator--4","pattern":"[url:value = 'http://bad.example/it\\'s']"},
  {"type":"indicator","id":"indicator--5","pattern":"[ipv4-addr:value = '203.0.113.5' AND file:name = 'x']"},
  {"type":"indicator","id":"indicator--6","pattern":"[ipv4-addr:value = '203.0.113.6'] FOLLOWEDBY [ipv4-addr:value = '203.0.113.7']"},
  {"type":"indicator","id":"indicator--7","revoked":true,"pattern":"[ipv4-addr:value = '203.0.113.8']"},
  {"type":"indicator","id":"indicator--8","pattern_type":"snort","pattern":"alert tcp any any"},
  {"type":"indicator","id":"indicator--9","modified":"2026-01-02T00:00:00Z","revoked":true,"pattern":"[ipv4-addr:value = '203.0.113.9']"},
  {"type":"indicator","id":"indicator--9","modified":"2026-01-01T00:00:00Z","pattern":"[ipv4-addr:value = '203.0.113.9']"},
  {"type":"indicator","id":"indicator--10","pattern":"[domain-name:value = 'has a blank.example']"}
]}"#;

#[test]
fn misp_says_it_in_other_ways_too() {
    let search = r#"{"response":{"Attribute":[
        {"type":"ip-dst|port","value":"192.0.2.1:443","to_ids":1,"Event":{"id":"3","info":"x"}},
        {"type":"IP-SRC","value":"192.0.2.2","to_ids":"true"},
        {"type":"hostname","value":"bad.example","to_ids":"0"}]}}"#;
    let bare = r#"{"uuid":"e","info":"bare","Attribute":[{"type":"ip-src","value":"192.0.2.3","to_ids":true}],
        "Object":[{"deleted":true,"Attribute":[{"type":"ip-src","value":"192.0.2.4","to_ids":true}]}]}"#;
    let (intel, problems) = read(&[("search.json", search), ("bare.json", bare)], |_| {});
    assert!(
        problems.warnings.is_empty() && !problems.broken,
        "{problems:?}"
    );
    for (n, count) in [(1, 1), (2, 1), (3, 1), (4, 0)] {
        let address = format!("192.0.2.{n}");
        assert_eq!(
            found(&intel, By::Address, &address).len(),
            count,
            "{address}"
        );
    }
    let export = "uuid,event_id,category,type,value,comment,to_ids,date\n\
        u1,1,Network activity,ip-dst|port,192.0.2.1|443,,1,20260101\n\
        u2,1,Network activity,ip-src,192.0.2.2,,0,20260101\n\
        u3,1,Network activity,domain|ip,bad.example|192.0.2.3,,1,20260101\n\
        u4,1,Artifacts dropped,mutex,m,,1,20260101\n";
    let (intel, counted) = read(&[("export.csv", export)], |_| {});
    assert!(
        counted.warnings.is_empty() && !counted.broken,
        "{counted:?}"
    );
    for (n, count) in [(1, 1), (2, 0), (3, 1)] {
        let address = format!("192.0.2.{n}");
        assert_eq!(
            found(&intel, By::Address, &address).len(),
            count,
            "{address}"
        );
    }
    assert_eq!(found(&intel, By::Domain, "bad.example").len(), 1);
    assert_eq!(
        (
            counted.unused["not_for_detection"],
            counted.unused["type_not_matched"]
        ),
        (1, 1)
    );
    assert_eq!(problems.unused["revoked"], 1);
    assert_eq!(problems.unused["not_for_detection"], 1);
}

#[test]
fn a_misp_feed_is_the_events_of_its_manifest() {
    let manifest = r#"{"e1":{"info":"campaign","timestamp":"1"},"e2":{"info":"gone"}}"#;
    let event = r#"{"Event":{"uuid":"e1","info":"campaign","Tag":[{"name":"tlp:clear"}],"Attribute":[
        {"type":"ip-dst|port","value":"192.0.2.1|443","to_ids":true,"Tag":[{"name":"c2"}]},
        {"type":"domain|ip","value":"bad.example|192.0.2.2","to_ids":true},
        {"type":"filename|md5","value":"a.exe|0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f","to_ids":"1"},
        {"type":"ip-src","value":"192.0.2.3","to_ids":false},
        {"type":"ip-src","value":"192.0.2.4","to_ids":true,"deleted":true},
        {"type":"mutex","value":"m","to_ids":true},
        {"type":"ip-src","value":"no address","to_ids":true}],
      "Object":[{"name":"url","Attribute":[{"type":"url","value":"http://worse.example/x","to_ids":true}]}]}}"#;
    let files = [
        ("manifest.json", manifest),
        ("e1.json", event),
        ("hashes.csv", "0f0f0f,e1\n"),
    ];
    let (intel, problems) = read(&files, |config| config.source = Some("feed".into()));
    let labels = Some("[\"tlp:clear\",\"c2\"]".to_owned());
    assert_eq!(
        valid(&intel, By::Address, "192.0.2.1"),
        [(i64::MIN, i64::MAX, 50, "feed".to_owned(), labels)]
    );
    assert_eq!(intel.len(), 5);
    assert_eq!(found(&intel, By::Url, "https://worse.example/x").len(), 1);
    for (reason, count) in [
        ("not_for_detection", 1),
        ("revoked", 1),
        ("type_not_matched", 1),
        ("invalid", 1),
    ] {
        assert_eq!(problems.unused[reason], count, "{reason}");
    }
    // The second event is not there.
    assert!(problems.broken && problems.warnings.iter().any(|w| w.contains("e2.json")));
}

#[test]
fn what_a_warning_list_holds_is_no_match() {
    let lists = [
        (
            "a.txt",
            "192.0.2.1\n192.0.3.1\n2001:db8::1\nbad.example\nhxxp://short.example/x\nworse.example\n",
        ),
        (
            "cidr.json",
            r#"{"name":"n","type":"cidr","list":["192.0.2.0/24","2001:db8::/48"],"matching_attributes":["ip-src","domain|ip"]}"#,
        ),
        (
            "host.json",
            r#"{"name":"n","type":"hostname","list":["short.example"],"matching_attributes":["url"]}"#,
        ),
        (
            "string.json",
            r#"{"name":"n","type":"string","list":["worse.example"],"matching_attributes":["domain"]}"#,
        ),
        (
            "regex.json",
            r#"{"name":"n","type":"regex","list":["^a$","^b$"],"matching_attributes":["domain"]}"#,
        ),
    ];
    let (intel, problems) = read(&lists, |_| {});
    assert_eq!((intel.len(), intel.exclusions()), (6, 4));
    assert!(found(&intel, By::Address, "192.0.2.1").is_empty());
    assert!(found(&intel, By::Address, "2001:db8::1").is_empty());
    assert_eq!(found(&intel, By::Address, "192.0.3.1").len(), 1);
    assert!(found(&intel, By::Url, "http://short.example/x").is_empty());
    assert!(found(&intel, By::Domain, "worse.example").is_empty());
    // Equal text only: what is below it is still bad.
    assert_eq!(found(&intel, By::Domain, "a.worse.example").len(), 1);
    assert_eq!(found(&intel, By::Domain, "bad.example").len(), 1);
    assert_eq!(problems.unused["regular_expression"], 2);
    assert!(problems.warnings[0].contains("regex.json"), "{problems:?}");
}

#[test]
fn a_list_can_be_told_to_exclude() {
    let (intel, problems) = read(&[("own.txt", "bad.example\n192.0.2.0/24\n")], |config| {
        config.exclude = true;
    });
    assert!(problems.warnings.is_empty(), "{problems:?}");
    assert_eq!((intel.len(), intel.exclusions()), (0, 2));
    assert!(intel.exclusions.hold(Kind::Domain, "a.bad.example"));
    assert!(intel.exclusions.hold(Kind::Ip, "192.0.2.9"));
    assert!(!intel.exclusions.hold(Kind::Ip, "192.0.3.9"));
}

#[test]
fn files_that_are_no_lists_are_broken() {
    let html = "<!DOCTYPE html>\n<html>\n<body>\nbad.example\n</body>\n<p>try later</p>\n";
    for (name, content, say) in [
        ("page.txt", html, "page.txt:1: "),
        (
            "cut.json",
            "{\"type\":\"bundle\",\"objects\":[{\"type\":",
            "is not valid JSON",
        ),
        ("other.json", "{\"hello\":1}", "not what is wanted"),
    ] {
        let (_, problems) = read(&[(name, content)], |_| {});
        assert!(problems.broken, "{name}");
        assert!(problems.warnings[0].contains(say), "{problems:?}");
    }
    let mut problems = Problems::default();
    let missing = ListConfig::from(PathBuf::from("/no/such/list.txt"));
    Intel::open(&[missing], &mut problems);
    assert!(problems.broken && problems.warnings[0].contains("cannot be read"));
}

#[test]
fn a_million_indicators_take_a_hundred_bytes_each_at_most() {
    let mut collected = Collected::default();
    let origin = Origin {
        source: "list".into(),
        labels: None,
    };
    let count = 300_000u32;
    for i in 0..count {
        let (text, kind) = match i % 3 {
            0 => (
                std::net::Ipv4Addr::from_bits(i * 7919).to_string(),
                Kind::Ip,
            ),
            1 => (format!("host-{i}.bad{}.example", i % 97), Kind::Domain),
            _ => (format!("bad{i}.example/path/{i}"), Kind::Url),
        };
        collected.push(&text, kind, &origin, 50, ALWAYS).unwrap();
    }
    let index = collected.index();
    assert_eq!(index.len(), count as usize);
    let each = index.bytes() / count as usize;
    assert!((40..=100).contains(&each), "{each} bytes each");
}

#[test]
fn a_list_in_the_configuration_is_a_path_or_a_table() {
    let lists: Vec<ListConfig> = serde_json::from_str(
        r#"["a.csv", {"path":"b.csv","format":"csv","confidence":70,"columns":{"indicator":"ioc"},"exclude":true}]"#,
    )
    .unwrap();
    assert_eq!(lists[0], ListConfig::from(PathBuf::from("a.csv")));
    assert_eq!(
        (lists[1].form, lists[1].confidence, lists[1].exclude),
        (Form::Csv, Some(70), true)
    );
    for wrong in [
        r#"{"path":"a","columns":{"ioc":"x"}}"#,
        r#"{"path":"a","confidence":101}"#,
        r#"{"source":"a"}"#,
        "7",
    ] {
        assert!(
            serde_json::from_str::<ListConfig>(wrong).is_err(),
            "{wrong}"
        );
    }
}

/// Lists as they are published.
#[test]
fn real_lists_are_read() {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("WEIR_SHARED_DATA").map_or(default, PathBuf::from);
    let folder = folder.join("threat_intel");
    if !folder.is_dir() {
        println!("SKIPPED: no lists in {}", folder.display());
        return;
    }
    let open = |name: &str| {
        let mut problems = Problems::default();
        let config = ListConfig::from(folder.join(name));
        (Intel::open(&[config], &mut problems), problems)
    };
    let (plain, problems) = open("ipsum_level4.txt");
    assert!(problems.warnings.is_empty(), "{problems:?}");
    let lines = fs::read_to_string(folder.join("ipsum_level4.txt")).unwrap();
    assert_eq!(plain.len(), lines.lines().count());
    let (packed, problems) = open("ipsum_head.txt.gz");
    assert!(
        problems.warnings.is_empty() && packed.len() > 19_000,
        "{problems:?}"
    );
    let (stix, problems) = open("stix21");
    assert!(
        !problems.broken && stix.len() > 40,
        "{} {problems:?}",
        stix.len()
    );
    // Two certificates, two file names and a mail address are not looked up.
    assert!(problems.unused.values().sum::<u64>() >= 5, "{problems:?}");
    assert_eq!(found(&stix, By::Address, "223.167.1.1").len(), 1);
    assert_eq!(found(&stix, By::Url, "http://x4z9arb.cn/4712/").len(), 1);
    assert!(found(&stix, By::Hash, "001dd76872d80801692ff942308c64e6").len() == 1);
    let (warning, problems) = open("misp_warninglists");
    assert!(!problems.broken, "{problems:?}");
    assert!(warning.len() == 0 && warning.exclusions() > 9_000);
}

proptest! {
    #[test]
    fn networks_agree_with_arithmetic(
        nets in prop::collection::vec((any::<u32>(), 1u8..=32), 1..40),
        address in any::<u32>(),
        near in any::<prop::sample::Index>(),
    ) {
        let texts: Vec<String> = nets
            .iter()
            .map(|(net, length)| format!("{}/{length}", std::net::Ipv4Addr::from_bits(*net)))
            .collect();
        let lines: Vec<_> = texts.iter().map(|text| (text.as_str(), 50, ALWAYS)).collect();
        let intel = intel(&lines);
        for address in [address, near.get(&nets).0] {
            let best = nets
                .iter()
                .filter(|(net, length)| (net ^ address) >> (32 - u32::from(*length)).min(31) == 0
                    || *length == 32 && *net == address)
                .filter(|(net, length)| *length < 32 || *net == address)
                .map(|(_, length)| *length)
                .max();
            let text = std::net::Ipv4Addr::from_bits(address).to_string();
            let first = found(&intel, By::Address, &text).first().cloned();
            let length = first.map(|text| text.rsplit_once('/').unwrap().1.parse::<u8>().unwrap());
            prop_assert_eq!(length, best);
        }
    }

    #[test]
    fn no_text_breaks_a_reader(text in "(?s).{0,200}") {
        let _ = stix::pattern(&text);
        let _ = value::read(&text, None);
        let _ = text::time(&text);
        let _ = text::plain(&text);
        read(&[("any.txt", &text)], |_| {});
    }
}
