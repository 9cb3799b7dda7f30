//! Rules that join reference tables.

use weir_engine::Tables;
use weir_engine::detect::run_all_with;
use weir_engine::rule::Rule;
use weir_engine::time::{HOUR, MINUTE, SECOND};

use crate::events::{Event, batch, rule};

fn event(seconds: i64, actor: &str, ip: &str) -> Event {
    Event {
        time: seconds * SECOND,
        uid: format!("{seconds:06}-{actor}"),
        actor: actor.into(),
        operation: "ConsoleLogin".into(),
        ip: ip.into(),
        failed: false,
    }
}

fn table(name: &str, columns: &[&str], rows: &[&[&str]]) -> Tables {
    let columns: Vec<String> = columns.iter().map(|c| (*c).to_owned()).collect();
    let value = |text: &&str| Some((*text).to_owned()).filter(|text| !text.is_empty());
    let rows: Vec<Vec<_>> = rows.iter().map(|r| r.iter().map(value).collect()).collect();
    let mut tables = Tables::default();
    tables.insert(name, &columns, &rows).unwrap();
    tables
}

/// Actors that the alerts are about, in order.
async fn actors(rule: &Rule, events: &[Event], tables: &Tables) -> Vec<String> {
    let mut told = vec![];
    // Also event by event: what a batch holds must not matter.
    for size in [1, events.len()] {
        let batches: Vec<_> = events.chunks(size).map(batch).collect();
        let alerts = run_all_with(std::slice::from_ref(rule), &batches, tables).await;
        let mut actors: Vec<_> = alerts
            .unwrap()
            .iter()
            .map(|alert| alert.row["actor_user_uid"].as_str().unwrap().to_owned())
            .collect();
        actors.sort();
        told.push(actors);
    }
    assert_eq!(told[0], told[1]);
    told.swap_remove(0)
}

#[tokio::test]
async fn events_are_judged_by_what_a_table_says() {
    let events = [
        event(1, "ann", "203.0.113.7"),
        event(2, "bob", "198.51.100.9"),
        event(3, "cid", "203.0.113.200"),
    ];
    // By equality: people of a watch list, with what is known of them.
    let mut watched = rule(
        "watched",
        "SELECT e.time, e.event_uid, e.actor_user_uid, v.reason FROM cloud_audit e \
         JOIN watched v ON e.actor_user_uid = v.person WHERE e.api_operation = 'ConsoleLogin'",
        None,
        None,
    );
    watched.tables = [("watched".to_owned(), vec!["person".into(), "reason".into()])].into();
    let list = table(
        "watched",
        &["person", "reason"],
        &[&["bob", "left"], &["bob", "again"], &["eve", ""]],
    );
    assert_eq!(actors(&watched, &events, &list).await, ["bob"]);
    // Nobody has filled it: it is empty, and the rule runs.
    assert!(
        actors(&watched, &events, &Tables::default())
            .await
            .is_empty()
    );

    // By range: addresses outside of known networks.
    let mut foreign = rule(
        "foreign",
        "SELECT time, event_uid, actor_user_uid FROM cloud_audit WHERE api_operation = 'ConsoleLogin' \
         AND NOT EXISTS (SELECT 1 FROM networks n WHERE ip_in_cidr(src_endpoint_ip, n.network))",
        None,
        None,
    );
    foreign.tables = [("networks".to_owned(), vec!["network".into()])].into();
    let known = table(
        "networks",
        &["network"],
        &[&["203.0.113.0/25"], &["198.51.100.9"], &["x"]],
    );
    assert_eq!(actors(&foreign, &events, &known).await, ["cid"]);
    let all = actors(&foreign, &events, &Tables::default()).await;
    assert_eq!(all, ["ann", "bob", "cid"]);
}

#[tokio::test]
async fn windows_are_counted_over_what_a_table_leaves() {
    let mut many = rule(
        "many",
        "SELECT actor_user_uid, count(*) AS n FROM cloud_audit WHERE NOT EXISTS \
         (SELECT 1 FROM networks n WHERE ip_in_cidr(src_endpoint_ip, n.network)) \
         GROUP BY actor_user_uid HAVING count(*) >= 2",
        Some((10 * MINUTE, MINUTE)),
        Some((&["actor_user_uid"], HOUR)),
    );
    many.tables = [("networks".to_owned(), vec!["network".into()])].into();
    let events = [
        event(1, "ann", "203.0.113.7"),
        event(2, "ann", "198.51.100.9"),
        event(3, "bob", "198.51.100.9"),
        event(4, "bob", "198.51.100.10"),
    ];
    let known = table("networks", &["network"], &[&["203.0.113.0/24"]]);
    assert_eq!(actors(&many, &events, &known).await, ["bob"]);
    assert_eq!(
        actors(&many, &events, &Tables::default()).await,
        ["ann", "bob"]
    );
}

#[tokio::test]
async fn what_a_table_cannot_be_is_said() {
    let refused = |name: &str, columns: &[&str]| {
        let columns: Vec<String> = columns.iter().map(|c| (*c).to_owned()).collect();
        let error = Tables::default().insert(name, &columns, &[]).unwrap_err();
        error.to_string()
    };
    assert!(refused("events", &["a"]).contains("choose another"));
    assert!(refused("k8s_audit", &["a"]).contains("choose another"));
    assert!(refused("Mine", &["a"]).contains("a-z"));
    assert!(refused("mine", &["Net Work"]).contains("`Net Work`"));
    assert!(refused("mine", &["a", "a"]).contains("twice"));
    assert!(refused("mine", &[]).contains("no columns"));

    let mut wrong = rule(
        "wrong",
        "SELECT time, event_uid, e.actor_user_uid FROM cloud_audit e JOIN people p ON e.actor_user_uid = p.nick",
        None,
        None,
    );
    let people = table("people", &["name"], &[]);
    let error = run_all_with(std::slice::from_ref(&wrong), &[], &people).await;
    assert!(error.unwrap_err().to_string().contains("nick"));
    // Both sides are events: each would be compared with every other.
    wrong.query =
        "SELECT a.time, a.event_uid FROM cloud_audit a, cloud_audit b WHERE a.time < b.time".into();
    let error = run_all_with(&[wrong], &[], &people).await;
    assert!(error.unwrap_err().to_string().contains("no equality"));
}
