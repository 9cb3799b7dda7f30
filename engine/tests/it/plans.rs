//! A rule is planned over the columns that it names; planned over all columns, the plan is the same.

use datafusion::physical_plan::{ExecutionPlan, displayable};
use weir_engine::plan::{self, Plan, RowPart};
use weir_engine::rule::{Absence, NewTerms, Pair, Rule, RuleKind};
use weir_engine::time::{DAY, HOUR, MINUTE};
use weir_engine::{Result, Tables};

use crate::events::rule;
use crate::proof::rules::{cases, over_years};

/// All that a plan does, or why there is none.
fn shown(plan: Result<Plan>) -> String {
    let tree = |plan: &dyn ExecutionPlan| {
        format!("{}\n{:?}", displayable(plan).indent(true), plan.schema())
    };
    // How a row part comes to what it returns may differ.
    let rows = |rows: &RowPart| format!("RowPart {:#?}\n{:#?}", rows.predicate, rows.exprs());
    match plan {
        Ok(Plan::Event(plan)) => {
            let joined = plan.joined.then(|| tree(plan.template.as_ref()));
            let remembered = plan.remembered.as_ref().map(rows);
            format!(
                "{}\n{:#?}\n{remembered:#?}\n{joined:#?}",
                rows(&plan.rows),
                plan.output
            )
        }
        Ok(Plan::Window(plan)) => {
            let inputs = plan.inputs.iter().map(|input| {
                let reduce = input.reduce.as_ref();
                let reduce = reduce.map(|r| (tree(r.partial.as_ref()), tree(r.merge.as_ref())));
                format!("{}\n{reduce:#?}", rows(&input.rows))
            });
            let inputs: Vec<_> = inputs.collect();
            let finish = tree(plan.finish.as_ref());
            let parts = (plan.keys, plan.need, plan.conditions);
            format!("{}\n{finish}\n{parts:#?}", inputs.join("\n"))
        }
        Err(error) => error.to_string(),
    }
}

async fn assert_same(rules: &[Rule]) -> Vec<String> {
    let tables = Tables::default().with_declared(rules.iter()).unwrap();
    let session = plan::session(&[], &tables).await.unwrap();
    let mut all = vec![];
    for (rule, plan) in rules
        .iter()
        .zip(plan::all(&session, &rules.iter().collect::<Vec<_>>()))
    {
        let long = shown(Plan::unabridged(&session.state(), rule).await);
        let short = shown(plan);
        assert!(
            short == long,
            "{}\n{}\nplanned over few columns:\n{short}\nover all:\n{long}",
            rule.title,
            rule.query
        );
        all.push(short);
    }
    all
}

#[tokio::test]
async fn rules_that_are_proved() {
    let rules: Vec<Rule> = cases()
        .into_iter()
        .chain(over_years())
        .map(|case| case.rule)
        .collect();
    assert_same(&rules).await;
}

#[tokio::test]
async fn stars_wherever_they_stand() {
    let terms = |query: &str| Rule {
        kind: RuleKind::NewTerms(NewTerms {
            fields: vec!["actor_user_uid".into(), "net".into()],
            history: 30 * DAY,
            warmup: DAY,
        }),
        ..rule("terms", query, None, Some((&["actor_user_uid"], HOUR)))
    };
    let pair = |query: &str| Rule {
        kind: RuleKind::Absence(Absence {
            by: vec!["k8s_pod_name".into()],
            within: HOUR,
            pair: Some(Pair {
                after: "a".into(),
                of: "b".into(),
            }),
        }),
        ..rule("pair", query, None, None)
    };
    let plain = |query: &str| rule("plain", query, None, None);
    let rules = [
        plain("SELECT * FROM events"),
        plain("SELECT * FROM cloud_audit"),
        plain(
            "SELECT * FROM cloud_audit AS e WHERE e.status = 'failure' OR \"api_operation\" IN ('A', 'B')",
        ),
        plain(
            "SELECT *, raw->'a'->>'b' AS b FROM cloud_audit WHERE (raw->'a'->>'b') = 'x' AND TIME > '2026-01-01'",
        ),
        plain(
            "select raw->>'a' as first, *, upper(actor_user_uid) || 'x' from k8s_audit where raw_truncated",
        ),
        plain("SELECT *, family FROM cloud_audit"),
        plain("SELECT *, 1 AS time FROM cloud_audit"),
        plain("SELECT *, 1 AS one, 2 AS one FROM cloud_audit"),
        plain("SELECT *, * FROM cloud_audit"),
        plain("SELECT e.* FROM cloud_audit e WHERE e.status = 'failure'"),
        plain("SELECT * EXCEPT (raw) FROM cloud_audit"),
        plain("SELECT * REPLACE ('x' AS raw) FROM cloud_audit"),
        plain("SELECT DISTINCT * FROM cloud_audit"),
        plain("SELECT * FROM cloud_audit ORDER BY 1"),
        plain("SELECT * FROM cloud_audit LIMIT 3"),
        plain("SELECT * FROM (SELECT * FROM cloud_audit) x"),
        plain("SELECT * FROM (SELECT time, event_uid FROM cloud_audit) x (a, b)"),
        plain("SELECT * FROM cloud_audit e (a, b)"),
        plain("SELECT a FROM cloud_audit e (a, b)"),
        plain("SELECT time FROM cloud_audit NATURAL JOIN k8s_audit"),
        plain("WITH x AS (SELECT * FROM cloud_audit WHERE status = 'failure') SELECT time FROM x"),
        plain("TABLE cloud_audit"),
        plain("SELECT * FROM public.events WHERE family = 'x'"),
        plain("SELECT time FROM public.cloud_audit"),
        terms(
            "SELECT *, split_part(src_endpoint_ip, '.', 1) AS net FROM cloud_audit WHERE status = 'success'",
        ),
        terms("SELECT *, 'x' AS net FROM cloud_audit"),
        terms("SELECT actor_user_uid, src_endpoint_ip AS net FROM cloud_audit"),
        pair(
            "SELECT *, api_operation = 'a' AS a, api_operation = 'b' AS b FROM k8s_audit WHERE api_operation IN ('a', 'b')",
        ),
    ];
    let shown = assert_same(&rules).await;
    let planned = shown.iter().filter(|text| text.contains("RowPart")).count();
    assert!(planned >= 14, "{planned} of {} are planned", rules.len());
}

#[tokio::test]
async fn windows_of_all_shapes() {
    let window = |query: &str| rule("window", query, Some((HOUR, MINUTE)), Some((&["k"], HOUR)));
    assert_same(&[
        window("SELECT actor_user_uid AS k, count(*) AS n FROM cloud_audit GROUP BY 1 HAVING count(*) > 3"),
        window("SELECT actor_user_uid AS k, count(*) FILTER (WHERE status = 'failure') AS n FROM events GROUP BY ALL"),
        window("SELECT family AS k, count(e.*) AS n FROM events e GROUP BY family"),
        window("SELECT src_endpoint_ip AS k FROM (SELECT *, lag(time) OVER (PARTITION BY src_endpoint_ip ORDER BY time, event_uid) AS before FROM cloud_audit) x WHERE before IS NULL"),
        window("SELECT a.src_endpoint_ip AS k FROM cloud_audit a JOIN k8s_audit b USING (src_endpoint_ip)"),
        window("SELECT src_endpoint_ip AS k FROM cloud_audit UNION SELECT src_endpoint_ip FROM k8s_audit"),
        window("SELECT api_operation AS k FROM cloud_audit INTERSECT SELECT * FROM k8s_audit"),
        window("SELECT \"user\" AS k, count(DISTINCT rule_id) AS n FROM alerts GROUP BY \"user\" HAVING count(DISTINCT rule_id) > 2"),
        window("SELECT actor_user_uid AS k FROM cloud_audit WHERE src_endpoint_ip IN (SELECT src_endpoint_ip FROM k8s_audit)"),
        window("SELECT *, actor_user_uid AS k FROM cloud_audit"),
    ])
    .await;
}

#[tokio::test]
async fn tables_beside_events() {
    let declared = |query: &str| Rule {
        tables: [(
            "egress".to_owned(),
            vec!["ip".to_owned(), "family".to_owned()],
        )]
        .into(),
        ..rule("joined", query, None, None)
    };
    assert_same(&[
        declared("SELECT * FROM cloud_audit WHERE src_endpoint_ip NOT IN (SELECT ip FROM egress)"),
        declared("SELECT time, event_uid, ip FROM cloud_audit JOIN egress ON src_endpoint_ip = ip"),
        declared(
            "SELECT time, event_uid, family FROM cloud_audit JOIN egress ON src_endpoint_ip = ip",
        ),
        declared("SELECT * FROM cloud_audit e JOIN egress ON src_endpoint_ip = ip"),
        declared("SELECT * FROM egress"),
    ])
    .await;
}

#[tokio::test]
async fn what_is_refused_is_refused_alike() {
    let plain = |query: &str| rule("refused", query, None, None);
    let shown = assert_same(&[
        plain("SELECT *, actor_user_id FROM cloud_audit"),
        plain("SELECT * FROM cloud_audit WHERE aktor = 'x'"),
        plain("SELECT * FROM cloud"),
        plain("SELECT *, nosuch(raw) FROM cloud_audit"),
        plain("SELECT * FROM cloud_audit WHERE severity_id"),
        plain("SELECT * FROM cloud_audit WHERE now() > time"),
        plain("SELECT * FROM cloud_audit WHERE regexp_like(raw, '(')"),
        plain("SELECT count(*) FROM cloud_audit"),
        plain("SELEC"),
        plain("SELECT 1; SELECT 2"),
        plain("DROP TABLE events"),
        plain("CREATE TABLE x AS SELECT * FROM events"),
        plain("EXPLAIN SELECT * FROM events"),
        rule(
            "refused",
            "SELECT * FROM cloud_audit",
            None,
            Some((&["nosuch"], HOUR)),
        ),
        Rule {
            entities: vec![("user".into(), "nosuch".into())],
            ..plain("SELECT time, raw->>'a' AS a FROM cloud_audit")
        },
    ])
    .await;
    let planned = shown.iter().filter(|text| text.contains("RowPart")).count();
    assert!(planned <= 2, "{planned} are planned");
}
