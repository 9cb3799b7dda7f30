//! The store's contract, against SQLite.

use serde_json::json;
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;
use weir_engine::alert::{Alert, AlertState, Entity, Evidence, alert_id};
use weir_engine::batch::{Counts, Partition};
use weir_engine::incident::{Incident, IncidentStatus, Verdict};
use weir_engine::rule::{Confidence, Level};
use weir_engine::store::{
    AlertQuery, ChangeOutcome, Commit, IncidentQuery, IncidentWrite, PartitionState, SqliteStore,
    StateWrite, Store, StoredIncident, TriageChange,
};
use weir_engine::{Error, Result};

fn entity(kind: &str, value: &str) -> Entity {
    Entity {
        kind: kind.into(),
        value: value.into(),
    }
}

fn alert(rule: &str, user: &str, time: i64) -> Alert {
    let key = vec![("actor_user_uid".to_owned(), user.to_owned())];
    Alert {
        alert_id: alert_id(rule, "v1", &key, time),
        rule_id: rule.into(),
        rule_version: "v1".into(),
        rule_title: format!("Title of {rule}"),
        level: Level::Medium,
        confidence: Confidence::Medium,
        risk_score: 20,
        key,
        window: Some((time - time % 600, time - time % 600 + 600)),
        first_time: time,
        last_time: time + 10,
        entities: vec![entity("user", user), entity("ip", "192.0.2.7")],
        tactics: vec!["discovery".into()],
        techniques: vec!["T1580".into()],
        row: json!({"denied": 12, "text": "nul \u{0} and \u{1b}[31m"})
            .as_object()
            .unwrap()
            .clone(),
        matches: 3,
        evidence: vec![Evidence {
            time,
            event_uid: format!("event-{time}"),
        }],
        evidence_count: 1,
        state: AlertState::Final,
        revision: 1,
        watermark: Some(time),
    }
}

fn incident(alerts: &[Alert]) -> Incident {
    let first = &alerts[0];
    Incident {
        incident_id: format!("inc_{}", first.alert_id),
        title: first.rule_title.clone(),
        level: alerts.iter().map(|alert| alert.level).max().unwrap(),
        risk_score: 40,
        first_time: first.first_time,
        last_time: alerts.iter().map(|alert| alert.last_time).max().unwrap(),
        entities: first.entities.clone(),
        tactics: first.tactics.clone(),
        techniques: first.techniques.clone(),
        alert_ids: alerts.iter().map(|alert| alert.alert_id.clone()).collect(),
        rule_ids: vec![first.rule_id.clone()],
        open: true,
    }
}

/// One alert and its incident.
fn pair(rule: &str, user: &str, time: i64) -> (Alert, Incident) {
    let alert = alert(rule, user, time);
    let incident = incident(std::slice::from_ref(&alert));
    (alert, incident)
}

fn commit_of(pairs: Vec<(Alert, Incident)>) -> Commit {
    let (alerts, incidents): (_, Vec<_>) = pairs.into_iter().unzip();
    let incidents = incidents.iter().map(IncidentWrite::whole).collect();
    Commit {
        alerts,
        incidents,
        ..Commit::default()
    }
}

fn piece(owner: &str, key: i64, value: &[u8]) -> StateWrite {
    StateWrite {
        owner: owner.into(),
        key,
        value: Some(value.to_vec()),
    }
}

async fn open(dir: &TempDir) -> SqliteStore {
    SqliteStore::open(dir.path()).await.unwrap()
}

/// Does what no part of Weir does: writes into the file behind the store's back.
async fn tamper(dir: &TempDir, sql: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("weir.db"));
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn list(store: &SqliteStore, change: impl FnOnce(&mut IncidentQuery)) -> Vec<StoredIncident> {
    let mut query = IncidentQuery {
        limit: 100,
        ..IncidentQuery::default()
    };
    change(&mut query);
    store.incidents(&query).await.unwrap()
}

fn ids(incidents: &[StoredIncident]) -> Vec<&str> {
    let ids = incidents.iter().map(|i| i.incident.incident_id.as_str());
    ids.collect()
}

#[tokio::test]
async fn everything_comes_back_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let (first, mut one) = pair("rule-a", "alice", 1_000);
    let (second, mut two) = pair("rule-b", "bob", 2_000);
    one.alert_ids.push(second.alert_id.clone());
    two.open = false;
    let partition = PartitionState {
        partition: Partition::new("audit", "topic/3"),
        next: 42,
        max_time: Some(-7),
        counts: Counts {
            read: 19,
            processed: 6,
            duplicates: 1,
            unchanged: 5,
            waiting: 4,
            dead_lettered: 2,
            filtered: 1,
            late: 3,
            bytes: 12_345,
        },
    };
    let commit = Commit {
        partitions: vec![partition.clone()],
        state: vec![
            piece("rule/a/v1", -600, b"pane"),
            piece("rule/a/v1", 0, &[0, 255, 10]),
            piece("dedup", 0, b""),
        ],
        alerts: vec![first.clone(), second.clone()],
        incidents: vec![IncidentWrite::whole(&one), IncidentWrite::whole(&two)],
        ..Commit::default()
    };
    {
        let store = open(&dir).await;
        store.commit(&commit).await.unwrap();
    }
    let resume = open(&dir).await.resume().await.unwrap();
    assert_eq!(resume.partitions, [partition]);
    assert_eq!(
        resume.state,
        [
            ("dedup".to_owned(), 0, vec![]),
            ("rule/a/v1".to_owned(), -600, b"pane".to_vec()),
            ("rule/a/v1".to_owned(), 0, vec![0, 255, 10]),
        ]
    );
    assert_eq!(resume.incidents, [one]);
    assert_eq!(resume.alerts, [first, second]);
    assert_eq!((resume.alert_count, resume.incident_count), (2, 2));
}

#[tokio::test]
async fn state_is_replaced_deleted_and_dropped_by_owner() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let first = Commit {
        state: vec![
            piece("a", 1, b"x"),
            piece("a", 2, b"y"),
            piece("b", 1, b"z"),
        ],
        ..Commit::default()
    };
    store.commit(&first).await.unwrap();
    let deleted = StateWrite {
        value: None,
        ..piece("a", 1, b"")
    };
    let second = Commit {
        state: vec![piece("a", 2, b"old"), piece("a", 2, b"new"), deleted],
        dropped_owners: vec!["b".into()],
        ..Commit::default()
    };
    store.commit(&second).await.unwrap();
    let state = store.resume().await.unwrap().state;
    assert_eq!(state, [("a".to_owned(), 2, b"new".to_vec())]);
}

#[tokio::test]
async fn a_commit_that_fails_leaves_nothing_and_poisons_the_store() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    store
        .commit(&commit_of(vec![pair("rule-a", "alice", 1_000)]))
        .await
        .unwrap();
    tamper(
        &dir,
        "CREATE TRIGGER fail BEFORE INSERT ON changes BEGIN SELECT RAISE(ABORT, 'disk on fire'); END",
    )
    .await;

    let (alert, incident) = pair("rule-b", "bob", 2_000);
    let mut doomed = commit_of(vec![(alert.clone(), incident.clone())]);
    doomed.partitions = vec![PartitionState {
        partition: Partition::new("audit", "topic/0"),
        next: 1,
        max_time: None,
        counts: Counts::default(),
    }];
    doomed.state = vec![piece("a", 1, b"x")];
    let error = store.commit(&doomed).await.unwrap_err().to_string();
    assert!(error.contains("disk on fire"), "{error}");

    // Poisoned: also when the cause is gone, and for people's changes.
    tamper(&dir, "DROP TRIGGER fail").await;
    let error = store.commit(&doomed).await.unwrap_err().to_string();
    assert!(error.contains("poisoned") && error.contains("restart after fixing"));
    let refused = store
        .add_comment(&incident.incident_id, "ann", "hello")
        .await;
    assert!(refused.is_err());

    drop(store);
    let store = open(&dir).await;
    let resume = store.resume().await.unwrap();
    assert!(resume.partitions.is_empty() && resume.state.is_empty());
    assert_eq!((resume.alert_count, resume.incident_count), (1, 1));
    assert!(
        store
            .alerts_by_id(&[alert.alert_id])
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(store.changes(None, 0, 10).await.unwrap().len(), 1);
    store.commit(&doomed).await.unwrap();
}

#[tokio::test]
async fn damaged_state_is_named() {
    let damages = [
        "UPDATE state SET value = CAST(x'00' || substr(value, 2) AS BLOB) WHERE owner = 'rule/b'",
        "UPDATE state SET value = substr(value, 2) WHERE owner = 'rule/b'",
        // A good piece in another's place does not fit either.
        "UPDATE state SET key = 5 - key WHERE owner = 'rule/b'",
    ];
    for damage in damages {
        let dir = TempDir::new().unwrap();
        let store = open(&dir).await;
        let commit = Commit {
            state: vec![
                piece("rule/a", 1, b"good"),
                piece("rule/b", 1, b"bad!"),
                piece("rule/b", 9, b"bad?"),
            ],
            ..Commit::default()
        };
        store.commit(&commit).await.unwrap();
        tamper(&dir, damage).await;
        match store.resume().await {
            Err(Error::State { owner, .. }) => assert_eq!(owner, "rule/b", "{damage}"),
            other => panic!("{damage}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_damaged_alert_and_a_missing_one_are_named() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let (alert, incident) = pair("rule-a", "alice", 1_000);
    let id = alert.alert_id.clone();
    store
        .commit(&commit_of(vec![(alert, incident)]))
        .await
        .unwrap();
    tamper(&dir, "UPDATE alerts SET body = substr(body, 3)").await;
    let error = store.resume().await.unwrap_err().to_string();
    assert!(error.contains(&id) && error.contains("damaged"), "{error}");
    tamper(&dir, "DELETE FROM alerts").await;
    let error = store.resume().await.unwrap_err().to_string();
    assert!(
        error.contains(&id) && error.contains("not stored"),
        "{error}"
    );
}

async fn triage(store: &SqliteStore, id: &str, change: TriageChange) -> StoredIncident {
    match store.triage(id, &change).await.unwrap() {
        ChangeOutcome::Changed(stored) => *stored,
        other => panic!("{other:?}"),
    }
}

fn by_ann() -> TriageChange {
    TriageChange {
        author: "ann".into(),
        ..TriageChange::default()
    }
}

#[tokio::test]
async fn recomputation_never_loses_what_people_decided() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let (alert, mut incident) = pair("rule-a", "alice", 1_000);
    let id = incident.incident_id.clone();
    store
        .commit(&commit_of(vec![(alert.clone(), incident.clone())]))
        .await
        .unwrap();
    let closed = triage(
        &store,
        &id,
        TriageChange {
            status: Some(IncidentStatus::Closed),
            assignee: Some(Some("bob".into())),
            verdict: Some(Some(Verdict::TruePositive)),
            ..by_ann()
        },
    )
    .await;
    let comment = store
        .add_comment(&id, "ann", "seen")
        .await
        .unwrap()
        .unwrap();

    incident.risk_score = 90;
    let mut again = alert.clone();
    again.revision = 2;
    again.matches = 9;
    store
        .commit(&commit_of(vec![(again.clone(), incident.clone())]))
        .await
        .unwrap();
    let stored = store.incident(&id).await.unwrap().unwrap();
    assert_eq!(stored.incident, incident);
    assert_eq!(stored.triage, closed.triage);
    assert_eq!(stored.triage.assignee.as_deref(), Some("bob"));
    assert_eq!(stored.comment_count, 1);
    assert_eq!(store.comments(&id).await.unwrap(), [comment]);
    assert_eq!(
        store.alerts_by_id(&[alert.alert_id]).await.unwrap(),
        [again]
    );
    assert_eq!(stored.revision, 4, "created, triaged, commented, updated");
    let kinds: Vec<String> = store
        .changes(Some(&id), 0, 10)
        .await
        .unwrap()
        .into_iter()
        .map(|change| format!("{} by {}", change.kind, change.author))
        .collect();
    assert_eq!(
        kinds,
        [
            "created by weir",
            "triaged by ann",
            "commented by ann",
            "updated by weir"
        ]
    );

    // What did not change leaves no trace.
    let mut told = store.subscribe();
    told.mark_unchanged();
    let same = Commit {
        incidents: vec![IncidentWrite::whole(&incident)],
        ..Commit::default()
    };
    store.commit(&same).await.unwrap();
    let unchanged = triage(
        &store,
        &id,
        TriageChange {
            status: Some(IncidentStatus::Closed),
            ..by_ann()
        },
    )
    .await;
    assert_eq!(unchanged.revision, 4);
    assert!(!told.has_changed().unwrap());
}

#[tokio::test]
async fn a_merged_incident_keeps_its_comments_and_hands_over_its_work() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let (late, early) = (
        pair("rule-a", "alice", 2_000),
        pair("rule-a", "alice", 1_000),
    );
    let gone = late.1.incident_id.clone();
    let survivor = early.1.incident_id.clone();
    store.commit(&commit_of(vec![late])).await.unwrap();
    triage(
        &store,
        &gone,
        TriageChange {
            status: Some(IncidentStatus::InProgress),
            assignee: Some(Some("ann".into())),
            ..by_ann()
        },
    )
    .await;
    store.add_comment(&gone, "ann", "mine").await.unwrap();

    let mut commit = commit_of(vec![early]);
    commit.merged = vec![(gone.clone(), survivor.clone())];
    store.commit(&commit).await.unwrap();

    assert_eq!(ids(&list(&store, |_| {}).await), [&survivor]);
    let old = store.incident(&gone).await.unwrap().unwrap();
    assert_eq!(old.merged_into.as_deref(), Some(&*survivor));
    assert_eq!(old.triage.assignee.as_deref(), Some("ann"));
    let new = store.incident(&survivor).await.unwrap().unwrap();
    assert_eq!(new.triage.status, IncidentStatus::InProgress);
    assert_eq!(new.triage.assignee.as_deref(), Some("ann"));
    assert_eq!(new.comment_count, 1);
    for id in [&gone, &survivor] {
        let comments = store.comments(id).await.unwrap();
        assert_eq!(comments.len(), 1);
        assert_eq!(comments[0].incident_id, gone);
    }
    let outcome = store.triage(&gone, &by_ann()).await.unwrap();
    assert_eq!(outcome, ChangeOutcome::Merged(survivor.clone()));
    let comment = store.add_comment(&gone, "bob", "and mine").await.unwrap();
    assert_eq!(comment.unwrap().incident_id, survivor);
    let resume = store.resume().await.unwrap();
    assert_eq!(resume.incidents.len(), 1);
    assert_eq!(resume.incident_count, 1);
}

#[tokio::test]
async fn chains_of_merges_point_at_the_last_survivor_in_any_order() {
    for swapped in [false, true] {
        let dir = TempDir::new().unwrap();
        let store = open(&dir).await;
        let pairs: Vec<_> = (1..=3).map(|n| pair("r", "alice", n * 1_000)).collect();
        let [a, b, c] = [0, 1, 2].map(|n| pairs[n].1.incident_id.clone());
        store.commit(&commit_of(pairs)).await.unwrap();
        let mut merged = vec![(c.clone(), b.clone()), (b.clone(), a.clone())];
        if swapped {
            merged.reverse();
        }
        let commit = Commit {
            merged,
            ..Commit::default()
        };
        store.commit(&commit).await.unwrap();
        for gone in [&b, &c] {
            let stored = store.incident(gone).await.unwrap().unwrap();
            assert_eq!(stored.merged_into.as_deref(), Some(&*a), "{swapped}");
        }
        assert_eq!(ids(&list(&store, |_| {}).await), [&a]);
    }
}

#[tokio::test]
async fn a_finished_decision_is_not_inherited() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let (late, early) = (
        pair("rule-a", "alice", 2_000),
        pair("rule-a", "alice", 1_000),
    );
    let (gone, survivor) = (late.1.incident_id.clone(), early.1.incident_id.clone());
    store.commit(&commit_of(vec![late])).await.unwrap();
    triage(
        &store,
        &gone,
        TriageChange {
            status: Some(IncidentStatus::Closed),
            assignee: Some(Some("ann".into())),
            verdict: Some(Some(Verdict::FalsePositive)),
            ..by_ann()
        },
    )
    .await;
    let mut commit = commit_of(vec![early]);
    commit.merged = vec![(gone, survivor.clone())];
    store.commit(&commit).await.unwrap();
    let new = store.incident(&survivor).await.unwrap().unwrap();
    assert_eq!(new.triage.status, IncidentStatus::New);
    assert_eq!(new.triage.verdict, None);
    assert_eq!(new.triage.assignee.as_deref(), Some("ann"));
}

#[tokio::test]
async fn withdrawn_incidents_leave_lists_and_may_come_back() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let (alert, incident) = pair("rule-a", "alice", 1_000);
    let id = incident.incident_id.clone();
    store
        .commit(&commit_of(vec![(alert, incident.clone())]))
        .await
        .unwrap();
    let withdraw = Commit {
        withdrawn: vec![id.clone()],
        ..Commit::default()
    };
    store.commit(&withdraw).await.unwrap();
    assert!(list(&store, |_| {}).await.is_empty());
    assert!(store.incident(&id).await.unwrap().unwrap().withdrawn);
    assert!(store.resume().await.unwrap().incidents.is_empty());

    let back = Commit {
        incidents: vec![IncidentWrite::whole(&incident)],
        ..Commit::default()
    };
    store.commit(&back).await.unwrap();
    assert_eq!(ids(&list(&store, |_| {}).await), [&id]);
    let kinds: Vec<String> = store
        .changes(Some(&id), 0, 10)
        .await
        .unwrap()
        .into_iter()
        .map(|change| change.kind)
        .collect();
    assert_eq!(kinds, ["created", "withdrawn", "updated"]);
}

#[tokio::test]
async fn pages_are_stable_while_new_incidents_come() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    // One commit: all have the same time, so the id breaks the tie.
    let pairs = (0..25)
        .map(|n| pair("r", &format!("user-{n}"), n))
        .collect();
    store.commit(&commit_of(pairs)).await.unwrap();
    let mut seen = vec![];
    let mut cursor = None;
    loop {
        let page = list(&store, |query| {
            query.limit = 10;
            query.cursor = cursor.clone();
        })
        .await;
        let Some(last) = page.last() else { break };
        cursor = Some((last.updated, last.incident.incident_id.clone()));
        seen.extend(page.iter().map(|i| i.incident.incident_id.clone()));
        let more = vec![pair("r", "late", 1_000 + seen.len() as i64)];
        store.commit(&commit_of(more)).await.unwrap();
    }
    assert_eq!(seen.len(), 25);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 25);

    let mut times = vec![];
    let mut cursor = None;
    loop {
        let query = AlertQuery {
            cursor: cursor.clone(),
            limit: 7,
            to: Some(1_000),
            ..AlertQuery::default()
        };
        let page = store.alerts(&query).await.unwrap();
        let Some(last) = page.last() else { break };
        cursor = Some((last.first_time, last.alert_id.clone()));
        times.extend(page.iter().map(|alert| alert.first_time));
    }
    assert_eq!(times, (0..25).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn the_slower_of_two_analysts_is_told() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let (alert, incident) = pair("rule-a", "alice", 1_000);
    let id = incident.incident_id.clone();
    store
        .commit(&commit_of(vec![(alert, incident)]))
        .await
        .unwrap();
    let change = |status| TriageChange {
        status: Some(status),
        expected_revision: Some(1),
        ..by_ann()
    };
    let faster = change(IncidentStatus::InProgress);
    let slower = change(IncidentStatus::Closed);
    let (one, two) = tokio::join!(store.triage(&id, &faster), store.triage(&id, &slower));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(matches!(&one, ChangeOutcome::Changed(_)) != matches!(&two, ChangeOutcome::Changed(_)));
    assert!([one, two].contains(&ChangeOutcome::Conflict(2)));
    let nobody = store.triage("inc_nobody", &faster).await.unwrap();
    assert_eq!(nobody, ChangeOutcome::NotFound);
}

#[tokio::test]
async fn filters_of_incidents() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let arn = "arn:aws:iam::111122223333:user/bob";
    let (alert_a, mut a) = pair("rule-a", "alice", 1_000);
    let (alert_b, mut b) = pair("rule-b", arn, 5_000);
    a.level = Level::Critical;
    a.last_time = 3_000;
    b.tactics = vec!["impact".into()];
    let (a_id, b_id) = (a.incident_id.clone(), b.incident_id.clone());
    store
        .commit(&commit_of(vec![(alert_a, a), (alert_b, b.clone())]))
        .await
        .unwrap();
    triage(
        &store,
        &a_id,
        TriageChange {
            assignee: Some(Some("ann".into())),
            status: Some(IncidentStatus::OnHold),
            ..by_ann()
        },
    )
    .await;

    type Set = Box<dyn FnOnce(&mut IncidentQuery)>;
    let text = |text: &str| Some(text.to_owned());
    let cases: Vec<(Set, Vec<&str>)> = vec![
        (Box::new(|_| {}), vec![&a_id, &b_id]),
        (
            Box::new(|q| q.status = Some(IncidentStatus::OnHold)),
            vec![&a_id],
        ),
        (
            Box::new(|q| q.status = Some(IncidentStatus::New)),
            vec![&b_id],
        ),
        (Box::new(|q| q.min_level = Some(Level::High)), vec![&a_id]),
        (
            Box::new(|q| q.min_level = Some(Level::Low)),
            vec![&a_id, &b_id],
        ),
        (Box::new(move |q| q.entity = text("alice")), vec![&a_id]),
        (
            Box::new(move |q| q.entity = text("user:alice")),
            vec![&a_id],
        ),
        (Box::new(move |q| q.entity = text("ip:alice")), vec![]),
        (Box::new(move |q| q.entity = text(arn)), vec![&b_id]),
        (
            Box::new(move |q| q.entity = Some(format!("user:{arn}"))),
            vec![&b_id],
        ),
        (
            Box::new(move |q| q.entity = text("192.0.2.7")),
            vec![&a_id, &b_id],
        ),
        (Box::new(move |q| q.entity = text("' OR 1=1 --")), vec![]),
        (Box::new(move |q| q.entity = text("%")), vec![]),
        (Box::new(move |q| q.tactic = text("impact")), vec![&b_id]),
        (Box::new(move |q| q.tactic = text("rule-a")), vec![]),
        (Box::new(move |q| q.rule_id = text("rule-a")), vec![&a_id]),
        (Box::new(move |q| q.assignee = text("ann")), vec![&a_id]),
        (Box::new(|q| q.from = Some(3_000)), vec![&a_id, &b_id]),
        (Box::new(|q| q.from = Some(3_001)), vec![&b_id]),
        (Box::new(|q| q.to = Some(5_000)), vec![&a_id]),
        (Box::new(|q| q.to = Some(5_001)), vec![&a_id, &b_id]),
        (
            Box::new(|q| (q.from, q.to) = (Some(3_001), Some(5_000))),
            vec![],
        ),
        (Box::new(|q| q.limit = 1), vec![&a_id]),
    ];
    for (number, (set, expected)) in cases.into_iter().enumerate() {
        assert_eq!(ids(&list(&store, set).await), expected, "case {number}");
    }

    // Entities, tactics and rules follow the incident when it changes.
    b.entities = vec![entity("role", "admin")];
    b.tactics = vec!["persistence".into()];
    let commit = Commit {
        incidents: vec![IncidentWrite::whole(&b)],
        ..Commit::default()
    };
    store.commit(&commit).await.unwrap();
    assert!(list(&store, |q| q.tactic = text("impact")).await.is_empty());
    assert!(list(&store, |q| q.entity = text(arn)).await.is_empty());
    assert_eq!(
        ids(&list(&store, |q| q.entity = text("role:admin")).await),
        [&b_id]
    );
}

#[tokio::test]
async fn filters_of_alerts() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let mut a = alert("rule-a", "alice", 1_000);
    let mut b = alert("rule-b", "bob", 2_000);
    a.level = Level::High;
    b.state = AlertState::Provisional;
    let commit = Commit {
        alerts: vec![a.clone(), b.clone()],
        ..Commit::default()
    };
    store.commit(&commit).await.unwrap();
    let (a, b) = (a.alert_id, b.alert_id);
    let all = || AlertQuery {
        limit: 10,
        ..AlertQuery::default()
    };
    let text = |text: &str| Some(text.to_owned());
    let cases = [
        (all(), vec![&b, &a]),
        (
            AlertQuery {
                rule_id: text("rule-a"),
                ..all()
            },
            vec![&a],
        ),
        (
            AlertQuery {
                min_level: Some(Level::High),
                ..all()
            },
            vec![&a],
        ),
        (
            AlertQuery {
                entity: text("user:bob"),
                ..all()
            },
            vec![&b],
        ),
        (
            AlertQuery {
                entity: text("ip:192.0.2.7"),
                ..all()
            },
            vec![&b, &a],
        ),
        (
            AlertQuery {
                state: text("provisional"),
                ..all()
            },
            vec![&b],
        ),
        (
            AlertQuery {
                from: Some(1_011),
                ..all()
            },
            vec![&b],
        ),
        (
            AlertQuery {
                to: Some(2_000),
                ..all()
            },
            vec![&a],
        ),
    ];
    for (query, expected) in cases {
        let found = store.alerts(&query).await.unwrap();
        let found: Vec<&String> = found.iter().map(|alert| &alert.alert_id).collect();
        assert_eq!(found, expected, "{query:?}");
    }
    let wanted = [b.clone(), "unknown".to_owned(), a.clone()];
    let found = store.alerts_by_id(&wanted).await.unwrap();
    let found: Vec<&String> = found.iter().map(|alert| &alert.alert_id).collect();
    assert_eq!(found, [&b, &a]);
}

#[tokio::test]
async fn a_second_writer_is_refused_and_a_reader_is_not() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    store
        .commit(&commit_of(vec![pair("rule-a", "alice", 1_000)]))
        .await
        .unwrap();
    let refused = SqliteStore::open(dir.path()).await.unwrap_err().to_string();
    assert!(refused.contains("another weir process"), "{refused}");
    let by_file = SqliteStore::open(&dir.path().join("weir.db")).await;
    assert!(by_file.is_err());

    let reader = SqliteStore::open_read_only(dir.path()).await.unwrap();
    assert_eq!(list(&reader, |_| {}).await.len(), 1);
    let refused = reader.commit(&Commit::default()).await.unwrap_err();
    assert!(refused.to_string().contains("reading only"), "{refused}");

    drop(store);
    drop(open(&dir).await);
    let reader = SqliteStore::open_read_only(dir.path()).await.unwrap();
    assert_eq!(list(&reader, |_| {}).await.len(), 1, "nobody writes");

    let empty = TempDir::new().unwrap();
    let missing = SqliteStore::open_read_only(empty.path()).await.unwrap_err();
    assert!(missing.to_string().contains("no store here"), "{missing}");
}

#[tokio::test]
async fn foreign_and_newer_files_are_refused() {
    let dir = TempDir::new().unwrap();
    drop(open(&dir).await);
    tamper(&dir, "PRAGMA user_version = 7").await;
    let refused = SqliteStore::open(dir.path()).await.unwrap_err().to_string();
    assert!(refused.contains("schema version 7"), "{refused}");
    let refused: Result<_> = SqliteStore::open_read_only(dir.path()).await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("schema version 7")
    );

    tamper(&dir, "PRAGMA application_id = 5").await;
    let refused = SqliteStore::open(dir.path()).await.unwrap_err().to_string();
    assert!(refused.contains("another program"), "{refused}");

    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("weir.db"), "no database at all").unwrap();
    let refused = SqliteStore::open(dir.path()).await.unwrap_err().to_string();
    assert!(refused.contains("not a database"), "{refused}");
}

/// Writes a store of version 2 as the weir of then wrote it: an incident's alerts and entities are in its body.
async fn write_v2(dir: &TempDir, alerts: &[Alert], incidents: &[(Incident, Option<&str>, bool)]) {
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(dir.path().join("weir.db"))
        .create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    let schema = sqlx::raw_sql(include_str!("store_v2.sql"));
    schema.execute(&mut connection).await.unwrap();
    for alert in alerts {
        sqlx::query("INSERT INTO alerts VALUES (?, ?, ?, 'final', ?, ?, 1, 5, 5, ?)")
            .bind(&alert.alert_id)
            .bind(&alert.rule_id)
            .bind(alert.level as i64)
            .bind(alert.first_time)
            .bind(alert.last_time)
            .bind(serde_json::to_string(alert).unwrap())
            .execute(&mut connection)
            .await
            .unwrap();
        for entity in &alert.entities {
            sqlx::query("INSERT INTO alert_entities VALUES (?, ?, ?)")
                .bind(&alert.alert_id)
                .bind(&entity.kind)
                .bind(&entity.value)
                .execute(&mut connection)
                .await
                .unwrap();
        }
    }
    for (number, (incident, merged_into, withdrawn)) in incidents.iter().enumerate() {
        sqlx::query("INSERT INTO incidents VALUES (?, ?, ?, ?, ?, ?, ?, ?, 7, ?, ?, ?)")
            .bind(&incident.incident_id)
            .bind(incident.level as i64)
            .bind(i64::from(incident.risk_score))
            .bind(incident.first_time)
            .bind(incident.last_time)
            .bind(incident.open && merged_into.is_none() && !withdrawn)
            .bind(merged_into)
            .bind(withdrawn)
            .bind(10 + number as i64)
            .bind(20 + number as i64)
            .bind(serde_json::to_string(incident).unwrap())
            .execute(&mut connection)
            .await
            .unwrap();
        for entity in &incident.entities {
            sqlx::query("INSERT INTO incident_entities VALUES (?, ?, ?)")
                .bind(&incident.incident_id)
                .bind(&entity.kind)
                .bind(&entity.value)
                .execute(&mut connection)
                .await
                .unwrap();
        }
        sqlx::query("INSERT INTO incident_labels VALUES (?, 'rule', ?)")
            .bind(&incident.incident_id)
            .bind(&incident.rule_ids[0])
            .execute(&mut connection)
            .await
            .unwrap();
        let change = "INSERT INTO changes (incident_id, kind, time, author, detail) \
                      VALUES (?, 'created', 3, 'weir', '{}')";
        let change = sqlx::query(change).bind(&incident.incident_id);
        change.execute(&mut connection).await.unwrap();
    }
    sqlx::query("INSERT INTO triage VALUES (?, 'in_progress', 'ann', NULL, 4)")
        .bind(&incidents[0].0.incident_id)
        .execute(&mut connection)
        .await
        .unwrap();
    let comment =
        "INSERT INTO comments (incident_id, author, time, text) VALUES (?, 'ann', 4, 'mine')";
    let comment = sqlx::query(comment).bind(&incidents[0].0.incident_id);
    comment.execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_store_of_the_version_before_is_brought_to_this_one() {
    let dir = TempDir::new().unwrap();
    let alerts: Vec<Alert> = (1..=6)
        .map(|n| alert("rule-a", &format!("user-{n}"), n * 1_000))
        .collect();
    let mut open_one = incident(&alerts[..3]);
    // The address is in three alerts, each user in one.
    open_one.entities = vec![
        entity("ip", "192.0.2.7"),
        entity("user", "user-1"),
        entity("user", "user-2"),
        entity("user", "user-3"),
    ];
    open_one.title = "quotes \" and \\ and nul \u{0} and ünïcode".into();
    let mut closed = incident(&alerts[3..5]);
    closed.open = false;
    // Whatever order its lists had, they keep it.
    closed.alert_ids.reverse();
    closed.entities = vec![
        entity("user", "zoe"),
        entity("ip", "192.0.2.7"),
        entity("user", "bob"),
    ];
    let mut merged = incident(&alerts[1..2]);
    merged.incident_id = "inc_merged".into();
    let survivor = open_one.incident_id.clone();
    let mut withdrawn = incident(&alerts[5..]);
    withdrawn.incident_id = "inc_withdrawn".into();
    let old = [
        (open_one.clone(), None, false),
        (closed.clone(), None, false),
        (merged.clone(), Some(survivor.as_str()), false),
        (withdrawn.clone(), None, true),
    ];
    write_v2(&dir, &alerts, &old).await;

    let refused = SqliteStore::open_read_only(dir.path()).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("schema version 2"), "{refused}");
    assert!(refused.contains("weir run"), "{refused}");

    let store = open(&dir).await;
    for (number, (incident, merged_into, is_withdrawn)) in old.iter().enumerate() {
        let stored = store.incident(&incident.incident_id).await.unwrap();
        let stored = stored.unwrap();
        assert_eq!(&stored.incident, incident);
        assert_eq!(stored.merged_into.as_deref(), *merged_into);
        assert_eq!(stored.withdrawn, *is_withdrawn);
        assert_eq!(stored.revision, 7);
        let times = (10 + number as i64, 20 + number as i64);
        assert_eq!((stored.created, stored.updated), times);
    }
    let first = store.incident(&survivor).await.unwrap().unwrap();
    assert_eq!(first.triage.assignee.as_deref(), Some("ann"));
    assert_eq!(first.comment_count, 1);
    let resume = store.resume().await.unwrap();
    assert_eq!(resume.incidents, [open_one.clone()]);
    assert_eq!(resume.alerts, alerts[..3]);
    let found = list(&store, |q| q.entity = Some("user:zoe".into())).await;
    assert_eq!(ids(&found), [&closed.incident_id]);
    let found = list(&store, |q| q.rule_id = Some("rule-a".into())).await;
    assert_eq!(ids(&found), [&closed.incident_id, &survivor]);
    let by_entity = AlertQuery {
        entity: Some("user-2".into()),
        limit: 10,
        ..AlertQuery::default()
    };
    assert_eq!(store.alerts(&by_entity).await.unwrap(), alerts[1..2]);
    let changes = store.changes(None, 0, 10).await.unwrap();
    let names: Vec<&String> = changes.iter().map(|one| &one.incident_id).collect();
    let expected: Vec<&String> = old.iter().map(|(one, ..)| &one.incident_id).collect();
    assert_eq!(names, expected);

    // It is written on: what the engine says of an open incident is a difference to what there was.
    let more = alert("rule-b", "user-3", 9_000);
    let mut now = open_one.clone();
    now.alert_ids.push(more.alert_id.clone());
    now.entities.swap(1, 3);
    now.entities[2..].sort();
    now.last_time = 9_010;
    let write = IncidentWrite {
        is_new: false,
        alert_count: 4,
        joined: vec![(9_000, more.alert_id.clone())],
        entities: vec![
            (entity("ip", "192.0.2.7"), 4),
            (entity("user", "user-3"), 2),
        ],
        ..IncidentWrite::whole(&now)
    };
    let commit = Commit {
        alerts: vec![more],
        incidents: vec![write],
        ..Commit::default()
    };
    store.commit(&commit).await.unwrap();
    let stored = store.incident(&survivor).await.unwrap().unwrap();
    assert_eq!(stored.incident, now);
    assert_eq!(stored.revision, 8);
    store
        .add_comment(&survivor, "bob", "still here")
        .await
        .unwrap();
    drop(store);
    let again = open(&dir).await;
    assert_eq!(again.comments(&survivor).await.unwrap().len(), 2);
}

/// What the engine takes for stored must be: a difference to nothing is refused.
#[tokio::test]
async fn a_change_of_an_incident_that_is_not_stored_is_refused() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let (alert, incident) = pair("rule-a", "alice", 1_000);
    let write = IncidentWrite {
        is_new: false,
        ..IncidentWrite::whole(&incident)
    };
    let commit = Commit {
        alerts: vec![alert],
        incidents: vec![write],
        ..Commit::default()
    };
    let error = store.commit(&commit).await.unwrap_err().to_string();
    assert!(error.contains(&incident.incident_id), "{error}");
    assert!(error.contains("not stored"), "{error}");
}

/// More than one chunk of numbers: what is looked for by value is found in all of them.
#[tokio::test]
async fn values_are_found_in_every_chunk() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let (first, one) = pair("rule-a", "alice", 1_000);
    store
        .commit(&commit_of(vec![(first.clone(), one.clone())]))
        .await
        .unwrap();
    // As if many had come since.
    tamper(
        &dir,
        "UPDATE alerts SET alert_no = 40000; UPDATE alert_entities SET alert_no = 40000, chunk = 2; \
         UPDATE incident_alerts SET incident_no = 40000; UPDATE incident_entities SET incident_no = 40000; \
         UPDATE incident_labels SET incident_no = 40000; UPDATE changes SET incident_no = 40000; \
         UPDATE incidents SET incident_no = 40000",
    )
    .await;
    let (second, two) = pair("rule-a", "alice", 90_000_000);
    store
        .commit(&commit_of(vec![(second.clone(), two.clone())]))
        .await
        .unwrap();
    for value in ["alice", "user:alice"] {
        let found = list(&store, |q| q.entity = Some(value.into())).await;
        assert_eq!(ids(&found), [&two.incident_id, &one.incident_id]);
        let query = AlertQuery {
            entity: Some(value.into()),
            limit: 10,
            ..AlertQuery::default()
        };
        let found = store.alerts(&query).await.unwrap();
        assert_eq!(found, [second.clone(), first.clone()]);
    }
}

#[tokio::test]
async fn subscribers_are_told_the_newest_change() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let mut told = store.subscribe();
    assert_eq!(*told.borrow_and_update(), 0);
    let (alert, incident) = pair("rule-a", "alice", 1_000);
    let id = incident.incident_id.clone();
    store
        .commit(&commit_of(vec![(alert, incident)]))
        .await
        .unwrap();
    assert!(told.has_changed().unwrap());
    let first = *told.borrow_and_update();
    store.add_comment(&id, "ann", "hello").await.unwrap();
    let second = *told.borrow_and_update();
    assert!(second > first);
    let changes = store.changes(None, first, 10).await.unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].seq, &*changes[0].kind), (second, "commented"));

    drop(store);
    assert_eq!(*open(&dir).await.subscribe().borrow(), second);
}

#[tokio::test]
async fn thousands_of_alerts_in_one_commit() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let alerts: Vec<Alert> = (0..5_000)
        .map(|n| alert("rule-a", &format!("user-{n}"), n))
        .collect();
    let incidents = alerts.chunks(5).map(incident);
    let incidents = incidents.map(|one| IncidentWrite::whole(&one)).collect();
    let commit = Commit {
        alerts,
        incidents,
        ..Commit::default()
    };
    store.commit(&commit).await.unwrap();
    store.commit(&commit).await.unwrap();
    assert_eq!(store.resume().await.unwrap().alerts.len(), 5_000);
}
