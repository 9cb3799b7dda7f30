//! State of rules in the store: that of another plan or layout is recognised, that of earlier versions is read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use weir_engine::alert::Alert;
use weir_engine::detect::Detector;
use weir_engine::rule::{Absence, NewTerms, Pair, Rule, RuleKind};
use weir_engine::time::{HOUR, MINUTE, SECOND};

use crate::events::{Event, batch, rule};

type Stored = BTreeMap<(String, i64), Vec<u8>>;

fn event(minutes: i64, number: i64, actor: &str, operation: &str) -> Event {
    Event {
        time: minutes * MINUTE + number * SECOND,
        uid: format!("{minutes:04}-{number:02}-{actor}-{operation}"),
        actor: actor.into(),
        operation: operation.into(),
        ip: "203.0.113.1".into(),
        failed: false,
    }
}

/// One rule of each kind of state.
fn rules() -> Vec<Rule> {
    let mut each = rule(
        "each",
        "SELECT actor_user_uid FROM cloud_audit WHERE api_operation = 'Put'",
        None,
        Some((&["actor_user_uid"], HOUR)),
    );
    each.entities = vec![("user".into(), "actor_user_uid".into())];
    let window = rule(
        "window",
        "SELECT actor_user_uid, count(DISTINCT api_operation) AS n, max(src_endpoint_ip) AS ip FROM cloud_audit GROUP BY actor_user_uid HAVING count(DISTINCT api_operation) >= 3 AND sum(CASE WHEN api_operation = 'Put' THEN 1 ELSE 0 END) >= 1",
        Some((10 * MINUTE, 5 * MINUTE)),
        Some((&["actor_user_uid"], HOUR)),
    );
    let whole = rule(
        "whole",
        "SELECT actor_user_uid, api_operation FROM (SELECT *, lag(api_operation) OVER (PARTITION BY actor_user_uid ORDER BY time, event_uid) AS before FROM cloud_audit) WHERE before = 'Get' AND api_operation = 'Put'",
        Some((10 * MINUTE, 10 * MINUTE)),
        Some((&["actor_user_uid"], HOUR)),
    );
    let mut first = rule("first", "SELECT * FROM cloud_audit", None, None);
    first.kind = RuleKind::NewTerms(NewTerms {
        fields: vec!["actor_user_uid".into(), "api_operation".into()],
        history: 20 * HOUR,
        warmup: 30 * SECOND,
    });
    let mut silent = rule(
        "silent",
        "SELECT actor_user_uid FROM cloud_audit",
        None,
        None,
    );
    silent.kind = RuleKind::Absence(Absence {
        by: vec!["actor_user_uid".into()],
        within: 30 * MINUTE,
        pair: None,
    });
    let mut unanswered = rule(
        "unanswered",
        "SELECT actor_user_uid, api_operation = 'Put' AS started, api_operation = 'Stop' AS stopped FROM cloud_audit",
        None,
        None,
    );
    unanswered.kind = RuleKind::Absence(Absence {
        by: vec!["actor_user_uid".into()],
        within: 8 * MINUTE,
        pair: Some(Pair {
            after: "started".into(),
            of: "stopped".into(),
        }),
    });
    vec![each, window, whole, first, silent, unanswered]
}

/// What is known before the restart: nothing of it is an alert of a window yet.
fn before() -> Vec<Event> {
    vec![
        event(0, 1, "ann", "List"),
        event(1, 0, "ann", "Get"),
        event(2, 0, "bob", "Get"),
        event(2, 1, "bob", "Put"),
        event(3, 0, "ann", "Put"),
        event(3, 1, "dan", "Get"),
    ]
}

fn after() -> Vec<Event> {
    vec![
        event(4, 0, "ann", "Stop"),
        event(4, 1, "dan", "Put"),
        event(5, 0, "ann", "Get"),
        event(6, 0, "cid", "Put"),
        event(90, 0, "ann", "Get"),
    ]
}

async fn detector() -> Detector {
    let (detector, refused) = Detector::new(rules(), vec![]).await.unwrap();
    assert!(refused.is_empty(), "{refused:?}");
    detector
}

async fn store(detector: &mut Detector, stored: &mut Stored) {
    for write in detector.take_state().await.unwrap() {
        let place = (write.owner, write.key);
        match write.value {
            Some(value) => stored.insert(place, value),
            None => stored.remove(&place),
        };
    }
}

/// State after the first events, and the alerts told by then.
async fn written() -> (Stored, Vec<Alert>) {
    let mut detector = detector().await;
    let mut stored = Stored::new();
    let mut told = vec![];
    for events in before().chunks(3) {
        detector.push(&batch(events)).await;
        detector.advance(3 * MINUTE).await;
        told.extend(detector.changes(false, None).await);
        store(&mut detector, &mut stored).await;
    }
    (stored, told)
}

/// Goes on from the state: owners whose state was not used, alerts told, and errors of rules by their title.
async fn gone_on(stored: &Stored) -> (Vec<String>, Vec<Alert>, BTreeMap<String, String>) {
    let mut detector = detector().await;
    let state: Vec<_> = stored
        .iter()
        .map(|((owner, key), value)| (owner.clone(), *key, value.clone()))
        .collect();
    let gone = detector.restore(&state, Some(3 * MINUTE)).unwrap();
    detector.push(&batch(&after())).await;
    detector.finish(i64::MAX).await;
    let told = detector.changes(false, None).await;
    let errors = detector.health().filter_map(|(_, health)| {
        let error = health.last_error.clone()?;
        Some((health.title.clone(), error))
    });
    let errors = errors.collect();
    (gone, told, errors)
}

/// Titles, keys and times of all alerts as they stand in the end.
fn standing<'a>(alerts: impl Iterator<Item = &'a Alert>) -> Vec<String> {
    let mut last: BTreeMap<&str, &Alert> = BTreeMap::new();
    for alert in alerts {
        last.insert(&alert.alert_id, alert);
    }
    let mut shown: Vec<_> = last
        .values()
        .map(|a| {
            let values: Vec<_> = a.key.iter().map(|(_, value)| value.as_str()).collect();
            let title = &a.rule_title;
            format!(
                "{title} {} {} {:?} {}",
                values.join("+"),
                a.first_time / SECOND,
                a.state,
                a.evidence_count
            )
        })
        .collect();
    shown.sort();
    shown
}

/// In one run without a restart.
async fn expected() -> Vec<String> {
    let mut detector = detector().await;
    let mut told = vec![];
    for events in [before(), after()] {
        detector.push(&batch(&events)).await;
        detector.advance(3 * MINUTE).await;
        told.extend(detector.changes(false, None).await);
    }
    detector.finish(i64::MAX).await;
    told.extend(detector.changes(false, None).await);
    standing(told.iter())
}

#[tokio::test]
async fn state_of_another_plan_is_not_used_and_others_are() {
    let (stored, told) = written().await;
    let expected = expected().await;
    for title in ["each", "window", "whole", "first", "silent", "unanswered"] {
        let of = |title: &str| expected.iter().filter(|one| one.starts_with(title)).count();
        assert!(of(title) > 0, "{title}: {expected:?}");
    }
    let (gone, more, errors) = gone_on(&stored).await;
    assert_eq!(standing(told.iter().chain(&more)), expected);
    assert!(gone.is_empty() && errors.is_empty(), "{gone:?} {errors:?}");

    let mut other = stored.clone();
    let layouts = other
        .iter_mut()
        .filter(|((owner, _), _)| owner.ends_with("/layout"));
    let mut changed = 0;
    for ((owner, _), value) in layouts {
        let text = String::from_utf8(value.clone()).unwrap();
        if owner.contains("id of window") {
            *value = text.replace("\"plan\":\"", "\"plan\":\"0").into_bytes();
            changed += usize::from(*value != text.as_bytes());
        }
        if owner.contains("id of silent") {
            *value = text.replace("\"format\":2", "\"format\":77").into_bytes();
            changed += usize::from(*value != text.as_bytes());
        }
    }
    assert_eq!(changed, 2);
    let (gone, more, errors) = gone_on(&other).await;
    let titles: Vec<_> = errors.keys().map(String::as_str).collect();
    assert_eq!(titles, ["silent", "window"]);
    assert!(
        errors["window"].contains("plans the rule's query in another way"),
        "{errors:?}"
    );
    assert!(errors["silent"].contains("format 77"), "{errors:?}");
    let owners = stored.keys().map(|(owner, _)| owner);
    let theirs =
        owners.filter(|owner| owner.contains("id of window") || owner.contains("id of silent"));
    assert!(theirs.clone().all(|owner| gone.contains(owner)), "{gone:?}");
    assert!(
        gone.iter()
            .all(|owner| theirs.clone().any(|one| one == owner)),
        "{gone:?}"
    );
    let others = |all: Vec<String>| -> Vec<String> {
        let one = |alert: &String| !alert.starts_with("window") && !alert.starts_with("silent");
        all.into_iter().filter(one).collect()
    };
    let all = standing(told.iter().chain(&more));
    assert_eq!(others(all.clone()), others(expected.clone()));
    assert_ne!(
        all, expected,
        "what the two rules had seen is not known any more"
    );
}

/// Formats in which state was ever written. Files of earlier ones are never made anew.
const FORMATS: [u32; 2] = [1, 2];

fn golden(format: u32) -> PathBuf {
    let file = format!("tests/it/state/format-{format}.json");
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = (0..hex.len()).step_by(2).map(|at| &hex[at..at + 2]);
    digits
        .map(|digits| u8::from_str_radix(digits, 16).unwrap())
        .collect()
}

/// State that each format wrote once, of all parts but the layout, which names the plan: with another version of DataFusion
/// it is another one.
#[tokio::test]
async fn state_of_every_format_is_read() {
    if std::env::var_os("WEIR_UPDATE").is_some() {
        let (stored, _) = written().await;
        let rows = stored
            .iter()
            .filter(|((owner, _), _)| !owner.ends_with("/layout"));
        let rows: Vec<_> = rows
            .map(|((owner, key), value)| (owner, key, hex(value)))
            .collect();
        std::fs::write(
            golden(FORMATS[FORMATS.len() - 1]),
            serde_json::to_string_pretty(&rows).unwrap() + "\n",
        )
        .unwrap();
    }
    for format in FORMATS {
        let rows: Vec<(String, i64, String)> =
            serde_json::from_slice(&std::fs::read(golden(format)).unwrap()).unwrap();
        let stored = rows
            .into_iter()
            .map(|(owner, key, hex)| ((owner, key), bytes(&hex)));
        let stored: Stored = stored.collect();
        for part in ["panes/", "match-log", "heads", "history", "memory", "seen"] {
            let has = |(owner, _): &(String, i64)| owner.contains(&format!("/{part}"));
            assert!(stored.keys().any(has), "no `{part}` in it");
        }
        let (gone, more, errors) = gone_on(&stored).await;
        assert!(gone.is_empty() && errors.is_empty(), "{gone:?} {errors:?}");
        let (_, told) = written().await;
        assert_eq!(standing(told.iter().chain(&more)), expected().await);
    }
}
