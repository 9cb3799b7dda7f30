//! The rules that are proved: each kind, each with what the oracle needs to answer it in its own way.

use weir_engine::rule::{Absence, NewTerms, Pair, Rule, Suppress};

use super::stream::{DAY, MINUTE, SECOND};
use crate::events::rule;

/// A windowed GROUP BY in its parts, from which the rule's query and the oracle's are put together.
#[derive(Debug, Clone, Copy)]
pub struct Grouped {
    /// Expression and name.
    pub keys: &'static [(&'static str, &'static str)],
    pub select: &'static str,
    pub from: &'static str,
    pub filter: &'static str,
    pub having: &'static str,
}

/// A step of a sequence.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    Then(&'static str),
    /// At most this long after the step before, µs.
    Within(&'static str, i64),
    /// No such row between the steps around it.
    Without(&'static str),
}

#[derive(Debug, Clone)]
pub enum Kind {
    Event,
    Grouped(Grouped),
    /// `having` of the group is left to the oracle's loop over the steps.
    Sequence(Grouped, &'static [Step]),
    WindowSql,
    NewTerms,
    Absence,
    /// Over the alerts of the others: each of them, or a window of them.
    Alerts,
}

#[derive(Debug, Clone)]
pub struct Case {
    pub rule: Rule,
    pub kind: Kind,
}

impl Case {
    fn by(mut self, columns: &[&str], length: i64) -> Self {
        let by = columns.iter().map(|c| (*c).to_owned()).collect();
        self.rule.suppress = Some(Suppress {
            by,
            length,
            gap: None,
        });
        self
    }
    fn gap(mut self, gap: i64) -> Self {
        self.rule.suppress.as_mut().unwrap().gap = Some(gap);
        self
    }
    fn entities(mut self, entities: &[(&str, &str)]) -> Self {
        let owned = entities
            .iter()
            .map(|(kind, column)| ((*kind).to_owned(), (*column).to_owned()));
        self.rule.entities = owned.collect();
        self
    }
    fn new_terms(mut self, fields: &[&str], history: i64, warmup: i64) -> Self {
        let fields = fields.iter().map(|f| (*f).to_owned()).collect();
        self.rule.kind = weir_engine::rule::RuleKind::NewTerms(NewTerms {
            fields,
            history,
            warmup,
        });
        self.kind = Kind::NewTerms;
        self
    }
    fn absence(mut self, by: &[&str], within: i64, pair: Option<(&str, &str)>) -> Self {
        let by = by.iter().map(|c| (*c).to_owned()).collect();
        let pair = pair.map(|(after, of)| Pair {
            after: after.into(),
            of: of.into(),
        });
        self.rule.kind = weir_engine::rule::RuleKind::Absence(Absence { by, within, pair });
        self.kind = Kind::Absence;
        self
    }
}

fn event(title: &str, query: &str) -> Case {
    Case {
        rule: rule(title, query, None, None),
        kind: Kind::Event,
    }
}

fn window_sql(title: &str, window: (i64, i64), query: &str) -> Case {
    let rule = rule(title, query, Some(window), None);
    Case {
        rule,
        kind: Kind::WindowSql,
    }
}

impl Grouped {
    /// The query; `lead` is one more column to select and to group by.
    pub fn query(&self, lead: Option<&str>) -> String {
        let named = |(expr, name): &(&str, &str)| match expr == name {
            true => (*name).to_owned(),
            false => format!("{expr} AS {name}"),
        };
        let lead = lead.map(str::to_owned);
        let select = lead
            .iter()
            .cloned()
            .chain(self.keys.iter().map(named))
            .chain([self.select.to_owned()]);
        let group = lead
            .iter()
            .cloned()
            .chain(self.keys.iter().map(|(expr, _)| (*expr).to_owned()));
        let mut query = format!("SELECT {} FROM {}", join(select), self.from);
        if !self.filter.is_empty() {
            query += &format!(" WHERE {}", self.filter);
        }
        query += &format!(" GROUP BY {}", join(group));
        if !self.having.is_empty() {
            query += &format!(" HAVING {}", self.having);
        }
        query
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn grouped(title: &str, window: (i64, i64), parts: Grouped) -> Case {
    let rule = rule(title, &parts.query(None), Some(window), None);
    Case {
        rule,
        kind: Kind::Grouped(parts),
    }
}

/// `having` of the parts is the sequence as the engine is asked for it.
fn sequence(title: &str, window: (i64, i64), parts: Grouped, steps: &'static [Step]) -> Case {
    let rule = rule(title, &parts.query(None), Some(window), None);
    let kind = Kind::Sequence(
        Grouped {
            having: "",
            ..parts
        },
        steps,
    );
    Case { rule, kind }
}

pub fn cases() -> Vec<Case> {
    let mut cases = events();
    cases.extend(counts());
    cases.extend(sums());
    cases.extend(negations());
    cases.extend(sequences());
    cases.extend(windows());
    cases.extend(memories());
    cases.extend(over_alerts());
    cases
}

const WHO: &[(&str, &str)] = &[("actor_user_uid", "actor_user_uid")];
const TUMBLING: (i64, i64) = (5 * MINUTE, 5 * MINUTE);
const SLIDING: (i64, i64) = (5 * MINUTE, MINUTE);
/// Slides that do not divide the size.
const UNEVEN: (i64, i64) = (10 * MINUTE, 4 * MINUTE);
const ODD: (i64, i64) = (7 * MINUTE, 3 * MINUTE);
const LONG: (i64, i64) = (15 * MINUTE, 5 * MINUTE);

fn events() -> Vec<Case> {
    vec![
        event("every event", "SELECT * FROM cloud_audit WHERE api_operation = 'StopLogging'")
            .entities(&[("user", "actor_user_uid"), ("ip", "src_endpoint_ip")]),
        event("any family", "SELECT time, event_uid, family, severity_id FROM events WHERE severity_id >= 6"),
        event(
            "suppressed by one",
            "SELECT actor_user_uid, src_endpoint_ip, api_operation FROM cloud_audit WHERE api_operation IN ('CreateUser', 'PutBucketPolicy')",
        )
        .by(&["actor_user_uid"], 3 * MINUTE)
        .entities(&[("user", "actor_user_uid"), ("ip", "src_endpoint_ip")]),
        event(
            "suppressed by two, with nulls",
            "SELECT actor_user_uid, src_endpoint_ip, status FROM cloud_audit WHERE status = 'failure'",
        )
        .by(&["actor_user_uid", "src_endpoint_ip"], 10 * MINUTE),
        event(
            "suppressed by a computed key",
            "SELECT split_part(src_endpoint_ip, '.', 3) AS net, event_uid FROM cloud_audit WHERE api_operation = 'GetObject'",
        )
        .by(&["net"], 4 * MINUTE),
        event(
            "reach into the original",
            "SELECT actor_user_uid, raw->'requestParameters'->>'bucketName' AS bucket, raw->'requestParameters'->'ids'->>0 AS id FROM cloud_audit WHERE (raw->'requestParameters'->>'bucketName') IN ('secrets', 'b é')",
        )
        .by(&["bucket"], 7 * MINUTE)
        .entities(&[("bucket", "bucket"), ("instance", "id")]),
        event(
            "not in, null included",
            "SELECT cloud_region, actor_user_uid FROM cloud_audit WHERE coalesce(cloud_region, '') NOT IN ('eu-central-1', 'us-east-1') AND status = 'failure'",
        )
        .by(&["cloud_region"], 15 * MINUTE),
        event(
            "address ranges",
            "SELECT src_endpoint_ip, is_public_ip(src_endpoint_ip) AS public, time FROM events WHERE ip_in_cidr(src_endpoint_ip, '10.0.0.0/8') OR ip_in_cidr(src_endpoint_ip, '2001:db8::/32')",
        )
        .by(&["src_endpoint_ip"], 2 * MINUTE),
        event(
            "one of two families",
            "SELECT family, coalesce(k8s_pod_name, 'none') AS pod, time FROM events WHERE (family = 'k8s_audit' AND api_operation = 'delete') OR finding_info_title = 'Shell in container'",
        )
        .by(&["pod"], 5 * MINUTE)
        .entities(&[("pod", "pod")]),
        event(
            "pattern and case",
            "SELECT CASE WHEN severity_id > 3 THEN 'high' ELSE 'low' END AS height, device_hostname FROM agent_alerts WHERE finding_info_title LIKE '%i%n%' AND severity_id IS NOT NULL",
        )
        .by(&["height"], MINUTE),
        event(
            "numbers",
            "SELECT src_endpoint_location_lat / 3.0 AS third, src_endpoint_port FROM cloud_audit WHERE src_endpoint_location_lat > 45.0 AND src_endpoint_port % 2 = 0",
        ),
        event("a length of one microsecond", "SELECT actor_user_uid FROM k8s_audit WHERE api_operation = 'get'")
            .by(&["actor_user_uid"], 1),
        event("session", "SELECT actor_user_uid, api_operation FROM cloud_audit WHERE status = 'failure'")
            .by(&["actor_user_uid"], 60 * MINUTE)
            .gap(2 * MINUTE),
        event("session with an end", "SELECT actor_user_uid, time FROM k8s_audit WHERE api_operation IN ('list', 'exec')")
            .by(&["actor_user_uid"], 6 * MINUTE)
            .gap(3 * MINUTE),
        event("session of equal times", "SELECT family FROM events WHERE family IN ('agent_alerts', 'k8s_audit')")
            .by(&["family"], 20 * MINUTE)
            .gap(0),
    ]
}

const FAILURES: Grouped = Grouped {
    keys: WHO,
    select: "count(*) AS n, array_agg(DISTINCT src_endpoint_ip) AS ips",
    from: "cloud_audit",
    filter: "status = 'failure' AND actor_user_uid IS NOT NULL",
    having: "count(*) >= 5",
};
const USER_AND_IPS: &[(&str, &str)] = &[("user", "actor_user_uid"), ("ip", "ips")];

fn counts() -> Vec<Case> {
    let all = Grouped {
        filter: "actor_user_uid IS NOT NULL",
        ..FAILURES
    };
    vec![
        grouped("threshold, tumbling", TUMBLING, FAILURES).entities(USER_AND_IPS),
        grouped("threshold, sliding", SLIDING, FAILURES).entities(USER_AND_IPS),
        grouped("threshold, suppressed", SLIDING, FAILURES).by(&["actor_user_uid"], 20 * MINUTE).entities(USER_AND_IPS),
        grouped("threshold, suppressed shortly", SLIDING, FAILURES).by(&["actor_user_uid"], MINUTE).entities(USER_AND_IPS),
        grouped("threshold, uneven", UNEVEN, FAILURES).entities(USER_AND_IPS),
        grouped("threshold, session", SLIDING, FAILURES).by(&["actor_user_uid"], 60 * MINUTE).gap(MINUTE),
        grouped(
            "distinct addresses, tumbling",
            TUMBLING,
            Grouped { select: "count(DISTINCT src_endpoint_ip) AS n", having: "count(DISTINCT src_endpoint_ip) >= 3", ..all },
        ),
        grouped(
            "distinct operations, odd",
            ODD,
            Grouped { select: "count(DISTINCT api_operation) AS n", having: "count(DISTINCT api_operation) > 4", ..all },
        ),
        grouped(
            "several distinct counts",
            UNEVEN,
            Grouped {
                select: "count(DISTINCT api_operation) AS ops, count(DISTINCT cloud_region) AS regions, count(*) AS n",
                having: "count(DISTINCT api_operation) >= 4 AND count(DISTINCT cloud_region) >= 3",
                ..all
            },
        )
        .by(&["actor_user_uid"], 12 * MINUTE),
        grouped(
            "distinct inside the original",
            ODD,
            Grouped {
                select: "count(DISTINCT raw->'requestParameters'->>'bucketName') AS buckets, array_agg(DISTINCT raw->'requestParameters'->>'bucketName') AS names",
                having: "count(DISTINCT raw->'requestParameters'->>'bucketName') >= 3",
                ..all
            },
        )
        .by(&["actor_user_uid"], 9 * MINUTE)
        .entities(&[("bucket", "names")]),
        grouped(
            "two keys",
            TUMBLING,
            Grouped {
                keys: &[("actor_user_uid", "who"), ("src_endpoint_ip", "ip")],
                select: "count(*) AS n",
                having: "count(*) >= 3",
                ..all
            },
        )
        .entities(&[("user", "who"), ("ip", "ip")]),
        grouped(
            "two keys, suppressed by one",
            SLIDING,
            Grouped {
                keys: &[("api_operation", "operation"), ("actor_user_uid", "who")],
                select: "count(*) AS n, max(time) AS newest",
                having: "count(*) >= 2",
                ..all
            },
        )
        .by(&["who"], 10 * MINUTE)
        .entities(&[("user", "who")]),
        grouped(
            "a computed key",
            ODD,
            Grouped {
                keys: &[("split_part(src_endpoint_ip, '.', 1)", "net"), ("status", "status")],
                select: "count(*) AS n, min(api_operation) AS first",
                filter: "src_endpoint_ip IS NOT NULL",
                having: "count(*) BETWEEN 6 AND 9",
                ..all
            },
        ),
        grouped(
            "a key that may be null",
            LONG,
            Grouped { keys: &[("cloud_region", "region")], select: "count(*) AS n", filter: "", having: "count(*) > 8", ..all },
        ),
        grouped(
            "all families",
            TUMBLING,
            Grouped { keys: &[("family", "family")], select: "count(*) AS n", from: "events", filter: "", having: "" },
        ),
    ]
}

fn sums() -> Vec<Case> {
    let base = Grouped {
        keys: WHO,
        select: "",
        from: "cloud_audit",
        filter: "actor_user_uid IS NOT NULL",
        having: "",
    };
    vec![
        grouped(
            "sum of integers",
            UNEVEN,
            Grouped {
                select: "sum(src_endpoint_port) AS ports, max(src_endpoint_port) AS top",
                having: "sum(src_endpoint_port) > 20000",
                ..base
            },
        ),
        grouped(
            "sum of floats",
            SLIDING,
            Grouped {
                select: "sum(CAST(raw->>'mb' AS DOUBLE)) AS mb, avg(CAST(raw->>'mb' AS DOUBLE)) AS mean",
                having: "sum(CAST(raw->>'mb' AS DOUBLE)) > 120.05",
                ..base
            },
        )
        .by(&["actor_user_uid"], 8 * MINUTE),
        grouped(
            "spread of floats",
            LONG,
            Grouped {
                select: "stddev(src_endpoint_location_lat) AS spread, min(time) AS first, max(time) AS last",
                having: "count(*) >= 6 AND stddev(src_endpoint_location_lat) > 20.0",
                ..base
            },
        ),
        grouped(
            "exact percentile",
            UNEVEN,
            Grouped {
                select: "percentile_cont(0.9) WITHIN GROUP (ORDER BY CAST(src_endpoint_port AS DOUBLE)) AS p90, count(*) AS n",
                having: "percentile_cont(0.9) WITHIN GROUP (ORDER BY CAST(src_endpoint_port AS DOUBLE)) > 3500.25",
                ..base
            },
        ),
        grouped(
            "median",
            ODD,
            Grouped {
                keys: &[("api_operation", "operation")],
                select: "median(severity_id) AS middle, count(severity_id) AS n",
                having: "count(severity_id) >= 4 AND median(severity_id) >= 4",
                ..base
            },
        ),
        grouped(
            "share of failures",
            LONG,
            Grouped {
                select: "sum(CASE WHEN status = 'failure' THEN 1 ELSE 0 END) * 100 / count(*) AS percent, count(*) AS n",
                having: "count(*) >= 8 AND sum(CASE WHEN status = 'failure' THEN 1 ELSE 0 END) * 100 / count(*) >= 50",
                ..base
            },
        ),
        grouped(
            "list with repeats",
            TUMBLING,
            Grouped {
                keys: &[("k8s_namespace_name", "namespace")],
                select: "array_agg(api_operation) AS verbs, bool_or(status = 'failure') AS refused, max(k8s_pod_name) AS pod",
                from: "k8s_audit",
                filter: "",
                having: "bool_or(api_operation = 'exec')",
            },
        )
        .entities(&[("pod", "pod")]),
    ]
}

fn negations() -> Vec<Case> {
    let base = Grouped {
        keys: WHO,
        select: "count(*) AS n",
        from: "cloud_audit",
        filter: "actor_user_uid IS NOT NULL",
        having: "count(*) < 3",
    };
    vec![
        grouped("fewer than", TUMBLING, base),
        grouped(
            "fewer than, sliding",
            UNEVEN,
            Grouped {
                from: "k8s_audit",
                ..base
            },
        )
        .by(&["actor_user_uid"], 30 * MINUTE),
        grouped(
            "some, but none that succeeded",
            SLIDING,
            Grouped {
                having: "count(*) >= 3 AND count(*) FILTER (WHERE status = 'success') = 0",
                ..base
            },
        )
        .by(&["actor_user_uid"], 6 * MINUTE),
        grouped(
            "many or from many",
            ODD,
            Grouped {
                select: "count(*) AS n, count(DISTINCT src_endpoint_ip) AS ips",
                having: "count(*) >= 11 OR count(DISTINCT src_endpoint_ip) >= 5",
                ..base
            },
        ),
        grouped(
            "neither many nor one",
            TUMBLING,
            Grouped {
                having: "NOT (count(*) > 4 OR count(*) = 1) AND max(severity_id) IS NOT NULL",
                ..base
            },
        ),
        grouped(
            "many or nearly none",
            LONG,
            Grouped {
                keys: &[("k8s_pod_name", "pod")],
                from: "events",
                filter: "k8s_pod_name IS NOT NULL",
                having: "6 <= count(*) OR 2 > count(*)",
                ..base
            },
        )
        .entities(&[("pod", "pod")]),
    ]
}

fn sequences() -> Vec<Case> {
    let base = Grouped {
        keys: WHO,
        select: "count(*) AS n",
        from: "cloud_audit",
        filter: "actor_user_uid IS NOT NULL AND api_operation IN ('ConsoleLogin', 'CreateUser', 'DeleteUser', 'AttachUserPolicy')",
        having: "",
    };
    const LOGIN: &str = "api_operation = 'ConsoleLogin'";
    const CREATE: &str = "api_operation = 'CreateUser'";
    const DELETE: &str = "api_operation = 'DeleteUser'";
    const ATTACH: &str = "api_operation = 'AttachUserPolicy'";
    const REFUSED: &str = "status = 'failure'";
    const ANY: &str = "api_operation <> 'DeleteUser'";
    vec![
        sequence(
            "three steps",
            LONG,
            Grouped {
                having: "sequence_match(time, api_operation = 'ConsoleLogin', within(api_operation = 'CreateUser', '3m'), api_operation = 'AttachUserPolicy')",
                ..base
            },
            &[Step::Then(LOGIN), Step::Within(CREATE, 3 * MINUTE), Step::Then(ATTACH)],
        ),
        sequence(
            "a step that undoes",
            UNEVEN,
            Grouped {
                having: "sequence_match(time, api_operation = 'CreateUser', without(api_operation = 'DeleteUser'), api_operation = 'AttachUserPolicy')",
                ..base
            },
            &[Step::Then(CREATE), Step::Without(DELETE), Step::Then(ATTACH)],
        )
        .by(&["actor_user_uid"], 20 * MINUTE),
        sequence(
            "steps that overlap",
            ODD,
            Grouped {
                having: "sequence_match(time, status = 'failure', within(api_operation <> 'DeleteUser', '40s'), without(api_operation = 'ConsoleLogin'), within(api_operation <> 'DeleteUser', '170s'))",
                ..base
            },
            &[Step::Then(REFUSED), Step::Within(ANY, 40 * SECOND), Step::Without(LOGIN), Step::Within(ANY, 170 * SECOND)],
        ),
    ]
}

fn over_alerts() -> Vec<Case> {
    let over = |title: &str, window: Option<(i64, i64)>, query: &str| Case {
        rule: rule(title, query, window, None),
        kind: Kind::Alerts,
    };
    vec![
        over(
            "three rules about one user",
            Some(SLIDING),
            "SELECT \"user\", count(*) AS alerts, count(DISTINCT rule_title) AS rules, array_agg(DISTINCT ip) AS ips FROM alerts WHERE \"user\" IS NOT NULL GROUP BY \"user\" HAVING count(DISTINCT rule_title) >= 3",
        )
        .by(&["user"], 10 * MINUTE)
        .entities(&[("user", "user"), ("ip", "ips")]),
        over(
            "one rule, then another",
            Some(LONG),
            "SELECT \"user\", count(*) AS alerts FROM alerts WHERE \"user\" IS NOT NULL GROUP BY \"user\" HAVING sequence_match(time, rule_title = 'every event', rule_title = 'suppressed by one')",
        )
        .by(&["user"], 5 * MINUTE),
        over(
            "the rule before",
            Some(UNEVEN),
            "SELECT * FROM (SELECT \"user\", rule_title, time, lag(rule_title) OVER (PARTITION BY \"user\" ORDER BY time, rule_title) AS before FROM alerts WHERE \"user\" IS NOT NULL AND rule_title IN ('every event', 'suppressed by one', 'region new to an identity')) t WHERE before <> rule_title",
        )
        .by(&["user"], 10 * MINUTE),
        over(
            "alerts of a user",
            None,
            "SELECT \"user\", time FROM alerts WHERE \"user\" IS NOT NULL AND level = 'medium'",
        )
        .by(&["user"], 7 * MINUTE)
        .entities(&[("user", "user")]),
        over(
            "each alert",
            None,
            "SELECT rule_title, \"user\", time, output FROM alerts WHERE rule_title IN ('every event', 'suppressed by one')",
        ),
    ]
}

fn windows() -> Vec<Case> {
    vec![
        window_sql(
            "refused here, at work there",
            TUMBLING,
            "SELECT c.actor_user_uid AS who, k.k8s_namespace_name AS namespace, count(*) AS pairs FROM cloud_audit c JOIN k8s_audit k ON c.src_endpoint_ip = k.src_endpoint_ip WHERE c.status = 'failure' AND k.api_operation IN ('exec', 'delete', 'create') AND c.actor_user_uid IS NOT NULL GROUP BY c.actor_user_uid, k.k8s_namespace_name",
        )
        .by(&["who", "namespace"], 10 * MINUTE)
        .entities(&[("user", "who"), ("namespace", "namespace")]),
        window_sql(
            "pod changed and alarmed",
            UNEVEN,
            "SELECT k.k8s_pod_name AS pod, k.api_operation AS verb, a.finding_info_title AS finding, k.time, a.event_uid FROM k8s_audit k JOIN agent_alerts a ON k.k8s_pod_name = a.k8s_pod_name AND a.time > k.time WHERE a.severity_id >= 3",
        )
        .by(&["pod"], 10 * MINUTE)
        .entities(&[("pod", "pod")]),
        window_sql(
            "what came before",
            LONG,
            "SELECT * FROM (SELECT actor_user_uid, api_operation, time, event_uid, lag(api_operation) OVER (PARTITION BY actor_user_uid ORDER BY time, event_uid) AS before FROM cloud_audit WHERE actor_user_uid IS NOT NULL) t WHERE before = 'CreateUser' AND api_operation <> 'CreateUser'",
        )
        .by(&["actor_user_uid"], 15 * MINUTE),
        window_sql(
            "impossible travel",
            LONG,
            "SELECT actor_user_uid, time, event_uid, round(geo_distance_km(lat1, lon1, lat, lon)) AS km FROM (SELECT actor_user_uid, time, event_uid, src_endpoint_location_lat AS lat, src_endpoint_location_long AS lon, lag(src_endpoint_location_lat) OVER w AS lat1, lag(src_endpoint_location_long) OVER w AS lon1, lag(time) OVER w AS before FROM cloud_audit WHERE actor_user_uid IS NOT NULL AND src_endpoint_location_lat IS NOT NULL WINDOW w AS (PARTITION BY actor_user_uid ORDER BY time, event_uid)) t WHERE lat1 IS NOT NULL AND geo_distance_km(lat1, lon1, lat, lon) > 5000",
        )
        .by(&["actor_user_uid"], 15 * MINUTE),
        window_sql(
            "twice the mean",
            UNEVEN,
            "WITH each AS (SELECT actor_user_uid, count(*) AS n FROM cloud_audit WHERE actor_user_uid IS NOT NULL GROUP BY actor_user_uid) SELECT actor_user_uid, n FROM each WHERE n > 2 * (SELECT avg(n) FROM each)",
        )
        .by(&["actor_user_uid"], 10 * MINUTE),
        window_sql(
            "never succeeded",
            TUMBLING,
            "SELECT DISTINCT f.actor_user_uid AS who FROM cloud_audit f WHERE f.status = 'failure' AND NOT EXISTS (SELECT 1 FROM cloud_audit s WHERE s.status = 'success' AND s.actor_user_uid = f.actor_user_uid) AND f.actor_user_uid IS NOT NULL",
        )
        .by(&["who"], 5 * MINUTE),
        window_sql(
            "the three busiest",
            TUMBLING,
            "SELECT actor_user_uid, count(*) AS n, rank() OVER (ORDER BY count(*) DESC, actor_user_uid) AS place FROM events WHERE actor_user_uid IS NOT NULL GROUP BY actor_user_uid ORDER BY place LIMIT 3",
        )
        .by(&["actor_user_uid"], 5 * MINUTE),
    ]
}

fn memories() -> Vec<Case> {
    vec![
        event("operation new to an identity", "SELECT actor_user_uid, api_operation FROM cloud_audit WHERE status = 'success'")
            .new_terms(&["actor_user_uid", "api_operation"], 20 * MINUTE, 10 * MINUTE),
        event("region new to an identity", "SELECT actor_user_uid, cloud_region, time FROM cloud_audit WHERE family = 'cloud_audit'")
            .new_terms(&["actor_user_uid", "cloud_region"], 6 * MINUTE, 0)
            .by(&["actor_user_uid"], 5 * MINUTE)
            .entities(&[("user", "actor_user_uid")]),
        event("finding new to all", "SELECT finding_info_title, k8s_pod_name AS pod FROM agent_alerts WHERE severity_id >= 2")
            .new_terms(&["pod"], 5 * MINUTE, 3 * MINUTE),
        event("host fell silent", "SELECT device_hostname, time FROM agent_alerts WHERE finding_info_title = 'Heartbeat'")
            .absence(&["device_hostname"], 4 * MINUTE, None)
            .by(&["device_hostname"], 10 * MINUTE)
            .entities(&[("host", "device_hostname")]),
        event("identity fell silent", "SELECT actor_user_uid, api_operation FROM k8s_audit WHERE api_operation <> 'get'")
            .absence(&["actor_user_uid"], 9 * MINUTE, None)
            .by(&["actor_user_uid"], 1),
        event(
            "change without review",
            "SELECT actor_user_uid, k8s_namespace_name AS namespace, api_operation = 'patch' AS changed, api_operation = 'review' AS reviewed FROM k8s_audit WHERE api_operation IN ('patch', 'review')",
        )
        .absence(&["actor_user_uid", "namespace"], 5 * MINUTE, Some(("changed", "reviewed")))
        .by(&["actor_user_uid"], 8 * MINUTE),
        event(
            "creation without deletion",
            "SELECT actor_user_uid AS who, api_operation = 'CreateUser' AS made, api_operation IN ('DeleteUser', 'AttachUserPolicy') AS used FROM cloud_audit WHERE api_operation IN ('CreateUser', 'DeleteUser', 'AttachUserPolicy') AND actor_user_uid IS NOT NULL",
        )
        .absence(&["who"], 3 * MINUTE, Some(("made", "used")))
        .by(&["who"], 1),
    ]
}

/// Rules that remember for months.
pub fn over_years() -> Vec<Case> {
    let all = "SELECT actor_user_uid, api_operation, cloud_region, time FROM cloud_audit";
    vec![
        event("identity new in a quarter", all).new_terms(&["actor_user_uid"], 90 * DAY, 7 * DAY),
        event("operation new to an identity in a month", all).new_terms(
            &["actor_user_uid", "api_operation"],
            30 * DAY,
            30 * DAY,
        ),
        event("region new in ten days", all)
            .new_terms(&["cloud_region"], 10 * DAY, DAY)
            .by(&["cloud_region"], 20 * DAY),
        event("region new to an identity in a quarter", all).new_terms(
            &["actor_user_uid", "cloud_region"],
            90 * DAY,
            60 * MINUTE,
        ),
    ]
}
