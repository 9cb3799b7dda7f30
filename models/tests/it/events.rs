//! The whole way: events, history, feature query, training, an attack.

use std::collections::BTreeMap;
use std::ops::Range;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use datafusion::prelude::SessionContext;
use weir_engine::builder::EventBuilder;
use weir_engine::schema::col;
use weir_engine::score::Score;
use weir_models::spec::CLOUDTRAIL_IDENTITY_HOUR as SPEC;
use weir_models::{History, Model, TrainOptions, WindowRows, train};

use super::support::{HOUR, Random};

/// time, identity, service, operation, status, read-only
type Call = (
    i64,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    bool,
);

fn events(calls: &[Call]) -> RecordBatch {
    let mut builder = EventBuilder::new(Buffer::from(b"" as &[u8]));
    for (number, (time, identity, service, operation, status, read_only)) in
        calls.iter().enumerate()
    {
        builder.begin();
        builder.int(col::TIME, *time);
        builder.text(col::EVENT_UID, &format!("event-{number}"));
        builder.text(col::FAMILY, "cloud_audit");
        builder.text(col::PRODUCT, "CloudTrail");
        builder.text(col::LOG_NAME, "test");
        builder.text(col::RAW, "{}");
        builder.text(col::ACTOR_UID, identity);
        builder.text(col::API_SERVICE, service);
        builder.text(col::API_OPERATION, operation);
        builder.text(col::STATUS, status);
        builder.bool(col::IS_READ_ONLY, *read_only);
        builder.text(col::CLOUD_REGION, "eu-central-1");
        builder.text(col::SRC_IP, "192.0.2.10");
        builder.keep();
    }
    builder.finish().unwrap()
}

async fn answer(events: RecordBatch, query: &str, history: &History) -> RecordBatch {
    let ctx = SessionContext::new();
    for function in history.functions() {
        ctx.register_udf(function);
    }
    ctx.register_batch("cloud_audit", events).unwrap();
    let batches = ctx.sql(query).await.unwrap().collect().await.unwrap();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

fn int(rows: &RecordBatch, name: &str) -> i64 {
    let column = rows.column_by_name(name).unwrap();
    column.as_primitive::<Int64Type>().value(0)
}

fn float(rows: &RecordBatch, name: &str) -> f64 {
    let column = rows.column_by_name(name).unwrap();
    column.as_primitive::<Float64Type>().value(0)
}

#[tokio::test]
async fn the_feature_query_counts_what_it_says() {
    let past = events(&[
        (
            10,
            "alice",
            "s3.amazonaws.com",
            "GetObject",
            "success",
            true,
        ),
        (
            99,
            "alice",
            "iam.amazonaws.com",
            "CreateUser",
            "success",
            false,
        ),
        (10, "bob", "iam.amazonaws.com", "ListUsers", "success", true),
    ]);
    // CreateUser is behind the end of the history, ListUsers was another identity's.
    let history = History::collect([&past], 0..50).unwrap();
    assert_eq!(history.identities(), 2);
    let now = events(&[
        (
            60,
            "alice",
            "s3.amazonaws.com",
            "GetObject",
            "success",
            true,
        ),
        (
            61,
            "alice",
            "s3.amazonaws.com",
            "GetObject",
            "failure",
            true,
        ),
        (
            62,
            "alice",
            "iam.amazonaws.com",
            "CreateUser",
            "failure",
            false,
        ),
        (
            63,
            "alice",
            "iam.amazonaws.com",
            "ListUsers",
            "success",
            true,
        ),
        (
            64,
            "alice",
            "iam.amazonaws.com",
            "ListUsers",
            "success",
            true,
        ),
        (
            65,
            "alice",
            "s3.amazonaws.com",
            "ListUsers",
            "success",
            true,
        ),
    ]);
    let rows = answer(now, SPEC.query, &history).await;
    assert_eq!(rows.num_rows(), 1);
    for (name, value) in [
        ("calls", 6),
        ("operations", 3),
        ("services", 2),
        ("regions", 1),
        ("addresses", 1),
        ("never_seen_operations", 2),
    ] {
        assert_eq!(int(&rows, name), value, "{name}");
    }
    assert_eq!(float(&rows, "error_ratio"), 0.3333);
    assert_eq!(float(&rows, "read_only_ratio"), 0.8333);
}

#[test]
fn history_takes_cloudtrail_calls_of_its_span_only_and_is_the_same_in_parts() {
    let mut random = Random(5);
    let names = ["GetObject", "PutObject", "ListBuckets", "CreateUser"];
    let calls: Vec<Call> = (0..100)
        .map(|time| {
            let name = names[random.below(4) as usize];
            let identity = ["alice", "bob"][random.below(2) as usize];
            (time, identity, "s3.amazonaws.com", name, "success", true)
        })
        .collect();
    let all = events(&calls);
    let whole = History::collect([&all], 10..90).unwrap();
    let mut parts = History::collect([&all.slice(0, 37)], 10..90).unwrap();
    parts.merge(History::collect([&all.slice(37, 63)], 10..90).unwrap());
    assert_eq!(whole, parts);
    assert_eq!(
        History::collect([&all], 200..300).unwrap(),
        History::default()
    );
    let narrow = all.project(&[col::TIME, col::EVENT_UID]).unwrap();
    let error = History::collect([&narrow], 0..1).unwrap_err();
    assert!(error.to_string().contains("family"), "{error}");
}

/// Operations that each identity uses now and then; some for the first time in the second week.
const RARE: [&str; 12] = [
    "ListBuckets",
    "HeadBucket",
    "ListTagsForResource",
    "DescribeRegions",
    "DescribeVpcs",
    "DescribeSubnets",
    "DescribeAlarms",
    "ListMetrics",
    "DescribeLogGroups",
    "DescribeTasks",
    "DescribeImages",
    "DescribeClusters",
];

/// What an identity ordinarily calls.
fn ordinary_call(time: i64, identity: &'static str, random: &mut Random) -> Call {
    let (service, operation, read_only) = match (identity, random.below(5)) {
        _ if random.below(300) == 0 => {
            ("other.amazonaws.com", RARE[random.below(12) as usize], true)
        }
        ("alice", 0 | 1) => ("s3.amazonaws.com", "ListObjects", true),
        ("alice", 2) => ("ec2.amazonaws.com", "DescribeInstances", true),
        ("alice", _) => ("s3.amazonaws.com", "GetObject", true),
        (_, 0 | 1) => ("ecr.amazonaws.com", "PutImage", false),
        (_, 2) => ("ecs.amazonaws.com", "UpdateService", false),
        _ => ("ecs.amazonaws.com", "DescribeServices", true),
    };
    let failed = random.below(50) == 0;
    let status = if failed { "failure" } else { "success" };
    (time, identity, service, operation, status, read_only)
}

/// Two weeks of two identities, in event time order.
fn two_weeks() -> (Vec<Call>, Range<i64>) {
    let mut random = Random(0x5EED);
    let mut calls: Vec<Call> = vec![];
    for hour in 0..14 * 24 {
        for (identity, usual) in [("alice", 12), ("deployer", 60)] {
            for _ in 0..random.about(usual) as u64 {
                let time = hour * HOUR + random.below(HOUR as u64) as i64;
                calls.push(ordinary_call(time, identity, &mut random));
            }
        }
    }
    calls.sort();
    (calls, 0..14 * 24 * HOUR)
}

#[tokio::test]
async fn a_stolen_key_stands_out_from_two_ordinary_weeks() {
    let (calls, span) = two_weeks();
    let all = events(&calls);
    let (first, second) = SPEC.halves(&span).unwrap();
    let early = History::collect([&all], first).unwrap();
    let mut by_window: BTreeMap<i64, Vec<Call>> = BTreeMap::new();
    for call in calls.iter().filter(|call| second.contains(&call.0)) {
        by_window
            .entry(call.0.div_euclid(HOUR) * HOUR)
            .or_default()
            .push(*call);
    }
    let mut windows = vec![];
    for (start, calls) in by_window {
        windows.push(WindowRows {
            start,
            rows: answer(events(&calls), SPEC.query, &early).await,
        });
    }
    let whole = History::collect([&all], span.clone()).unwrap();
    let artefact = train(
        &SPEC,
        &windows,
        whole,
        span.clone(),
        &TrainOptions::default(),
    )
    .unwrap();
    assert_eq!(artefact.evaluation.windows, 2 * 7 * 24);
    let holdout = artefact.evaluation.holdout.clone().unwrap();
    assert!(holdout.flagged_share < 0.1, "{holdout:?}");
    let model = Model::new(artefact).unwrap();

    // alice's keys try out what they may do; the deployer works on.
    let mut now: Vec<Call> = vec![];
    let tried = [
        ("iam.amazonaws.com", "ListUsers"),
        ("iam.amazonaws.com", "ListRoles"),
        ("iam.amazonaws.com", "CreateAccessKey"),
        ("sts.amazonaws.com", "GetCallerIdentity"),
        ("secretsmanager.amazonaws.com", "ListSecrets"),
        ("secretsmanager.amazonaws.com", "GetSecretValue"),
        ("ssm.amazonaws.com", "DescribeParameters"),
        ("lambda.amazonaws.com", "ListFunctions"),
    ];
    for (second, (service, operation)) in tried.into_iter().enumerate() {
        let time = span.end + second as i64;
        now.push((time, "alice", service, operation, "failure", true));
    }
    let mut random = Random(0xDE9);
    for second in 0..60 {
        now.push(ordinary_call(span.end + second, "deployer", &mut random));
    }
    let rule = model.rule();
    let rows = answer(events(&now), &rule.query, &model.artefact().history).await;
    let found = model.score(&rows).unwrap();
    let keys = rows
        .column_by_name("actor_user_uid")
        .unwrap()
        .as_string_view();
    let who: Vec<&str> = found.iter().map(|a| keys.value(a.row)).collect();
    assert_eq!(who, ["alice"], "{found:#?}");
    let reasons: Vec<&str> = found[0]
        .reasons
        .iter()
        .map(|r| r.feature.as_str())
        .collect();
    assert!(
        reasons[..2].contains(&"never_seen_operations") && reasons[..2].contains(&"error_ratio"),
        "{:?}",
        found[0]
    );
}
