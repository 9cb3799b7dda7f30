//! Clocks that are wrong: what they say alone changes nothing of the rest, in a replay, a backtest and a test of the
//! rule alike.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const BURST: &str = "title: Twenty denied calls within ten minutes
id: 7d0a5a80-0000-4000-8000-0000000000a1
level: medium
tags: [attack.discovery, attack.t1580]
query: |
  SELECT actor_user_uid, count(*) AS denied FROM cloud_audit
  WHERE status_code = 'AccessDenied' AND actor_user_uid IS NOT NULL
  GROUP BY actor_user_uid HAVING count(*) >= 20
window: { size: 10m, slide: 1m }
suppress: { by: [actor_user_uid], for: 1h }
entities: { user: actor_user_uid }
";

const SILENT: &str = "title: Identity without a call for an hour
id: 7d0a5a80-0000-4000-8000-0000000000a2
level: low
tags: [attack.discovery, attack.t1580]
query: SELECT actor_user_uid FROM cloud_audit WHERE actor_user_uid NOT LIKE '%clock'
absence: { by: [actor_user_uid], within: 1h }
entities: { user: actor_user_uid }
";

const FIRST_SEEN: &str = "title: First use of a region by an account
id: 7d0a5a80-0000-4000-8000-0000000000a3
level: medium
tags: [attack.discovery, attack.t1580]
query: SELECT * FROM cloud_audit WHERE api_operation = 'GetSecretValue'
new_terms: { fields: [cloud_account_uid, cloud_region], history: 90d, warmup: 7d }
entities: { user: actor_user_uid }
";

fn line(user: &str, time: &str, n: usize) -> String {
    format!(
        r#"{{"eventVersion":"1.11","userIdentity":{{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/{user}","accountId":"111122223333","userName":"{user}"}},"eventTime":"{time}","eventSource":"secretsmanager.amazonaws.com","eventName":"GetSecretValue","awsRegion":"us-east-1","sourceIPAddress":"203.0.113.7","eventID":"{user}-{time}-{n}","readOnly":true,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"111122223333","eventCategory":"Management","errorCode":"AccessDenied"}}"#
    )
}

/// Two bursts three hours apart, with `between` calls of others, and a call at the end.
fn sane(between: usize) -> Vec<String> {
    let mut lines = vec![];
    for n in 0..25 {
        let time = format!("2026-03-01T09:0{}:{:02}Z", n / 6, n % 6 * 10);
        lines.push(line("mallory", &time, n));
    }
    for n in 0..between {
        let time = format!(
            "2026-03-01T{:02}:{:02}:00Z",
            9 + (n * 170 / between + 5) / 60,
            (n * 170 / between + 5) % 60
        );
        lines.push(line(&format!("other{n}"), &time, n));
    }
    for n in 0..25 {
        let time = format!("2026-03-01T12:0{}:{:02}Z", n / 6, n % 6 * 10);
        lines.push(line("trent", &time, n));
    }
    lines.push(line("late", "2026-03-01T12:10:00Z", 0));
    lines
}

fn weir(folder: &Path, arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["-c", "weir.toml"])
        .args(arguments)
        .args(["--output", "json"])
        .current_dir(folder)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Title, key, first and last time and count of every alert.
fn alerts(told: &Value) -> Vec<String> {
    let mut alerts: Vec<String> = told["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|alert| {
            let named = [
                "rule_title",
                "key",
                "first_time",
                "last_time",
                "evidence_count",
            ];
            named.map(|name| alert[name].to_string()).join(" ")
        })
        .collect();
    alerts.sort();
    alerts
}

fn folder(rules: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    for (n, rule) in rules.iter().enumerate() {
        std::fs::write(folder.path().join(format!("rules/{n}.yml")), rule).unwrap();
    }
    let config = "[rules]\nembedded = false\npaths = [\"rules\"]\n";
    std::fs::write(folder.path().join("weir.toml"), config).unwrap();
    folder
}

/// What a replay of the lines tells, and a backtest of what it stored.
fn told(folder: &Path, lines: &[String], name: &str) -> [Vec<String>; 2] {
    let file = format!("{name}.ndjson");
    std::fs::write(folder.join(&file), lines.join("\n")).unwrap();
    let replayed = weir(folder, &["replay", &file, "--data", name]);
    // A time that is out of range is a dead letter.
    let counts = ["processed", "dead_lettered"].map(|name| replayed["counts"][name].as_u64());
    let sum: u64 = counts.into_iter().flatten().sum();
    assert_eq!(sum, lines.len() as u64, "{name}");
    let tested = weir(folder, &["backtest", "--data", name]);
    [alerts(&replayed), alerts(&tested)]
}

#[test]
fn one_clock_that_is_wrong_changes_nothing_of_the_rest() {
    let folder = folder(&[BURST, SILENT, FIRST_SEEN]);
    for between in [3, 700] {
        let lines = sane(between);
        let [expected, tested] = told(folder.path(), &lines, &format!("sane{between}"));
        assert!(expected.len() >= 3, "{expected:#?}");
        assert_eq!(expected, tested);
        let middle = 25 + between / 2;
        let clocks = [
            "2026-03-01T10:30:00Z",
            "2026-03-03T09:00:00Z",
            "2026-09-01T00:00:00Z",
            "2031-09-01T00:00:00Z",
            "9999-12-30T00:00:00Z",
            "1970-01-01T00:00:10Z",
            "0001-01-01T00:00:00Z",
        ];
        for (n, clock) in clocks.iter().enumerate() {
            let places = match between {
                3 => vec![0, 1, middle, lines.len()],
                _ => vec![middle],
            };
            for place in places {
                let mut lines = lines.clone();
                lines.insert(place, line("fastclock", clock, 0));
                let name = format!("{between}-{n}-{place}");
                let got = told(folder.path(), &lines, &name);
                assert_eq!(
                    got,
                    [expected.clone(), expected.clone()],
                    "{clock} at {place}"
                );
            }
        }
        let mut all = lines.clone();
        for (n, clock) in clocks.iter().enumerate().skip(1).take(4) {
            all.insert(middle + n, line("fastclock", clock, n));
            all.insert(3 * n, line("otherclock", clock, n));
        }
        let got = told(folder.path(), &all, &format!("{between}-all"));
        if between > 100 {
            assert_eq!(got, [expected.clone(), expected.clone()], "all at once");
        }
    }
}

#[test]
fn tests_of_rules_agree() {
    let mut lines = sane(0);
    lines.insert(25, line("fastclock", "2026-09-01T00:00:00Z", 0));
    let mut rule = BURST.to_owned();
    write!(
        rule,
        "tests:\n  - {{ name: a clock ahead, events: ahead.ndjson, alerts: 2 }}\n"
    )
    .unwrap();
    writeln!(
        rule,
        "  - {{ name: nothing, events: calm.ndjson, alerts: 0 }}"
    )
    .unwrap();
    let folder = folder(&[&rule]);
    std::fs::write(folder.path().join("rules/ahead.ndjson"), lines.join("\n")).unwrap();
    std::fs::write(folder.path().join("rules/calm.ndjson"), &lines[0]).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["rule", "test", "rules"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
}

#[test]
fn two_calls_more_than_a_year_apart_are_no_news_in_any_run() {
    let folder = folder(&[FIRST_SEEN]);
    let lines = ["2025-01-01T00:00:00Z", "2026-03-01T09:00:00Z"].map(|time| line("alice", time, 0));
    for run in 0..6 {
        let got = told(folder.path(), &lines, &format!("run{run}"));
        assert_eq!(got, [vec![], Vec::<String>::new()], "run {run}");
    }
}
