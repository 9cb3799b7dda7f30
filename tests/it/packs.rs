//! The packs that ship: each rule's own tests, and all rules over real traces.
//!
//! The traces live outside the repository (`WEIR_SHARED_DATA`, or `shared/data` beside the workspace); without
//! them that suite says so and stops.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use datafusion::arrow::array::{AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::compute::filter_record_batch;
use serde_json::Value;
use weir_connectors::{Decoder, DecoderConfig, Record};
use weir_detections::{embedded, reads_alerts, run_case};
use weir_engine::batch::Partition;
use weir_engine::detect::{run_all, run_all_with};
use weir_engine::schema::col;
use weir_engine::{Alert, Rule, Tables};

/// Lines of bytes to one batch of events; lines that do not decode are left out.
pub fn decode(bytes: &[u8]) -> Result<RecordBatch, String> {
    let mut records = vec![];
    let mut start = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let text = line.trim_ascii_end();
        if !text.is_empty() {
            records.push(Record {
                range: start..start + text.len(),
                position: start as i64,
            });
        }
        start += line.len();
    }
    let mut decoder = Decoder::new(DecoderConfig::new("test"));
    let partition = Partition::new("test", "test");
    decoder
        .decode(&partition, Buffer::from(bytes), &records, start as i64)
        .map(|batch| batch.events)
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn every_rule_passes_its_tests() {
    let packs = embedded().unwrap();
    let all: Vec<Rule> = packs.iter().map(|loaded| loaded.rule.clone()).collect();
    // A rule over alerts needs the rules that raise them.
    let alerts_of = async |one: &[Rule], events: &[RecordBatch], tables: &Tables| {
        if !one.iter().any(|rule| reads_alerts(&rule.query)) {
            return run_all_with(one, events, tables).await;
        }
        let mut alerts = run_all_with(&all, events, tables).await?;
        alerts.retain(|alert| one.iter().any(|rule| rule.id == alert.rule_id));
        Ok(alerts)
    };
    let (mut run, mut failed) = (0, vec![]);
    for loaded in &packs {
        for case in &loaded.tests {
            let result = run_case(&loaded.rule, case, &decode, &alerts_of).await;
            run += 1;
            if !result.passed() {
                failed.push(result.to_string());
            }
        }
    }
    assert!(run > 0);
    assert!(
        failed.is_empty(),
        "{} of {run}:\n{}",
        failed.len(),
        failed.join("\n")
    );
    println!("{run} cases passed");
}

fn shared() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let path = std::env::var_os("WEIR_SHARED_DATA").map_or_else(beside, PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    println!("SKIPPED: no real traces at {}", path.display());
    None
}

fn bytes(path: PathBuf) -> Vec<u8> {
    let raw = std::fs::read(&path).unwrap();
    if path.extension().is_none_or(|extension| extension != "gz") {
        return raw;
    }
    let mut text = vec![];
    flate2::read::GzDecoder::new(raw.as_slice())
        .read_to_end(&mut text)
        .unwrap();
    text
}

/// What all rules say about one file.
struct Replay {
    file: String,
    events: RecordBatch,
    rules: Vec<Rule>,
    alerts: Vec<Alert>,
    /// Rule id → file name without extension.
    names: BTreeMap<String, String>,
}

impl Replay {
    async fn new(shared: &Path, file: &str) -> Self {
        let rules: Vec<Rule> = embedded()
            .unwrap()
            .into_iter()
            .map(|loaded| loaded.rule)
            .collect();
        let name = |rule: &Rule| {
            let stem = Path::new(&rule.path).file_stem().unwrap();
            (rule.id.clone(), stem.to_str().unwrap().to_owned())
        };
        let names = rules.iter().map(name).collect();
        let events = decode(&bytes(shared.join(file))).unwrap();
        let alerts = run_all(&rules, std::slice::from_ref(&events))
            .await
            .unwrap();
        let replay = Self {
            file: file.to_owned(),
            events,
            rules,
            alerts,
            names,
        };
        println!(
            "{file}: {} events, {} alerts {:?}",
            replay.events.num_rows(),
            replay.alerts.len(),
            replay.by_rule()
        );
        replay
    }

    fn by_rule(&self) -> BTreeMap<&str, usize> {
        let mut count = BTreeMap::new();
        for alert in &self.alerts {
            *count
                .entry(self.names[&alert.rule_id].as_str())
                .or_default() += 1;
        }
        count
    }

    /// Ids of the events of one request.
    fn of_request(&self, uid: &str) -> BTreeSet<String> {
        let [ids, requests] = [col::EVENT_UID, col::API_REQUEST_UID]
            .map(|column| self.events.column(column).as_string_view());
        let all = ids.iter().zip(requests.iter());
        let of_it = all.filter(|(_, request)| *request == Some(uid));
        of_it.filter_map(|(id, _)| id.map(str::to_owned)).collect()
    }

    /// Rules with an alert whose evidence holds one of these events.
    fn rules_on(&self, events: &BTreeSet<String>) -> BTreeSet<&str> {
        let speaks = |alert: &&Alert| alert.evidence.iter().any(|e| events.contains(&e.event_uid));
        let alerts = self.alerts.iter().filter(speaks);
        alerts
            .map(|alert| self.names[&alert.rule_id].as_str())
            .collect()
    }

    /// Alerts of one rule over these events alone.
    async fn alone(&self, rule: &str, events: &BTreeSet<String>) -> usize {
        let rule = self
            .rules
            .iter()
            .find(|candidate| self.names[&candidate.id] == rule);
        let uids = self.events.column(col::EVENT_UID).as_string_view();
        let wanted: BooleanArray = uids
            .iter()
            .map(|uid| uid.map(|uid| events.contains(uid)))
            .collect();
        let events = filter_record_batch(&self.events, &wanted).unwrap();
        let alerts = run_all(std::slice::from_ref(rule.unwrap()), &[events]).await;
        alerts.unwrap().len()
    }
}

/// Detonation events by technique, from a labels file without quoted commas.
fn labels(path: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let place = |name| header.iter().position(|column| *column == name);
    let (id, technique, phase) = (
        place("eventID").unwrap(),
        place("stratus_technique").unwrap(),
        place("phase"),
    );
    let mut events = BTreeMap::<_, BTreeSet<_>>::new();
    for line in lines.filter(|line| phase.is_none_or(|phase| line[phase] == "detonate")) {
        let technique = line[technique].trim_start_matches("aws.").to_owned();
        events
            .entry(technique)
            .or_default()
            .insert(line[id].to_owned());
    }
    events
}

/// Techniques of both labelled CloudTrail traces and the rule that must alert on each.
const TECHNIQUES: &[(&str, &str)] = &[
    (
        "credential-access.ec2-get-password-data",
        "password_data_bulk",
    ),
    (
        "credential-access.ec2-steal-instance-credentials",
        "instance_credentials_elsewhere",
    ),
    (
        "credential-access.secretsmanager-batch-retrieve-secrets",
        "secrets_bulk",
    ),
    (
        "credential-access.secretsmanager-retrieve-secrets",
        "secrets_bulk",
    ),
    (
        "credential-access.ssm-retrieve-securestring-parameters",
        "parameters_bulk",
    ),
    ("defense-evasion.cloudtrail-delete", "trail_stopped"),
    (
        "defense-evasion.cloudtrail-event-selectors",
        "trail_weakened",
    ),
    (
        "defense-evasion.cloudtrail-lifecycle-rule",
        "bucket_expires_quickly",
    ),
    ("defense-evasion.cloudtrail-stop", "trail_stopped"),
    ("defense-evasion.organizations-leave", "organization_left"),
    ("defense-evasion.vpc-remove-flow-logs", "flow_logs_deleted"),
    ("discovery.ec2-download-user-data", "user_data_download"),
    ("discovery.ec2-enumerate-from-instance", "remote_command"),
    (
        "execution.ec2-launch-unusual-instances",
        "unusual_instances",
    ),
    ("execution.ec2-user-data", "instance_user_data_changed"),
    (
        "exfiltration.ec2-security-group-open-port-22-ingress",
        "security_group_open",
    ),
    ("exfiltration.ec2-share-ami", "snapshot_shared"),
    ("exfiltration.ec2-share-ebs-snapshot", "snapshot_shared"),
    ("exfiltration.rds-share-snapshot", "snapshot_shared"),
    (
        "exfiltration.s3-backdoor-bucket-policy",
        "bucket_policy_foreign_account",
    ),
    ("impact.bedrock-invoke-model", "model_access_enabled"),
    (
        "initial-access.console-login-without-mfa",
        "console_login_without_mfa",
    ),
    (
        "lateral-movement.ec2-instance-connect",
        "instance_key_pushed",
    ),
    (
        "lateral-movement.ec2-serial-console-send-ssh-public-key",
        "instance_key_pushed",
    ),
    (
        "persistence.iam-backdoor-role",
        "role_trusts_foreign_account",
    ),
    ("persistence.iam-backdoor-user", "access_key_for_other"),
    ("persistence.iam-create-admin-user", "new_user_armed"),
    (
        "persistence.iam-create-backdoor-role",
        "role_trusts_foreign_account",
    ),
    (
        "persistence.iam-create-user-login-profile",
        "login_profile_for_other",
    ),
    (
        "persistence.lambda-backdoor-function",
        "lambda_open_permission",
    ),
    ("persistence.lambda-layer-extension", "lambda_code_replaced"),
    ("persistence.lambda-overwrite-code", "lambda_code_replaced"),
    (
        "persistence.rolesanywhere-create-trust-anchor",
        "trust_anchor_created",
    ),
    (
        "privilege-escalation.iam-update-user-login-profile",
        "login_profile_for_other",
    ),
];

#[tokio::test]
async fn labelled_cloudtrail_attacks_are_alerted() {
    let Some(shared) = shared() else { return };
    for (file, labels_file) in [
        (
            "cloudtrail/invictus_stratus_2023.ndjson.gz",
            "cloudtrail/invictus_stratus_2023.labels.csv",
        ),
        (
            "cloudtrail/stratus_detonation.ndjson",
            "cloudtrail/stratus_detonation.labels.csv",
        ),
    ] {
        let replay = Replay::new(&shared, file).await;
        let labels = labels(&shared.join(labels_file));
        let mut missed = vec![];
        for (technique, events) in &labels {
            println!("  {technique}: {:?}", replay.rules_on(events));
            let expected = TECHNIQUES.iter().find(|(name, _)| name == technique);
            let Some((_, rule)) = expected else {
                missed.push(format!("{technique}: no rule is named for it"));
                continue;
            };
            // Among everything else, and because of these very events: a burst's alert begins before them.
            let among = replay.by_rule().contains_key(rule);
            let alone = replay.alone(rule, events).await;
            if !among || alone == 0 {
                missed.push(format!(
                    "{technique}: {rule} alerts among all: {among}, alone: {alone}"
                ));
            }
        }
        assert!(missed.is_empty(), "{file}: {missed:#?}");
        println!("{}: {} techniques, all alerted", replay.file, labels.len());
    }
}

/// Kubernetes traces and the rules that must, and no others may, alert on each.
const TRACES: &[(&str, &[&str])] = &[
    (
        "k8s_audit/anonymous_creates_namespace_foo",
        &["anonymous_access"],
    ),
    ("k8s_audit/create_cluster_role_pod_exec", &["exec_role"]),
    (
        "k8s_audit/create_cluster_role_wildcard_resources",
        &["wildcard_role"],
    ),
    (
        "k8s_audit/create_cluster_role_wildcard_verbs",
        &["wildcard_role"],
    ),
    (
        "k8s_audit/create_nginx_pod_privileged_2nd_container",
        &["privileged_pod"],
    ),
    (
        "k8s_audit/create_nginx_pod_sensitive_mount",
        &["host_path_pod"],
    ),
    (
        "k8s_audit/create_nginx_service_nodeport",
        &["nodeport_service"],
    ),
    (
        "k8s_audit/create_pod_kube_public_namespace",
        &["system_namespace_workload"],
    ),
    (
        "k8s_audit/delete_cluster_role_kube_aggregator",
        &["system_role_changed"],
    ),
    ("psp/host_network", &["host_namespace_pod"]),
    ("psp/mount_etc_using_host_path", &["host_path_pod"]),
    ("psp/privileged", &["privileged_pod"]),
];

#[tokio::test]
async fn kubernetes_attack_traces_are_alerted_and_their_twins_are_not() {
    let Some(shared) = shared() else { return };
    let replay = Replay::new(&shared, "k8s_audit/falco_traces.ndjson").await;
    let labels =
        std::fs::read_to_string(shared.join("k8s_audit/falco_traces.labels.ndjson")).unwrap();
    // Some traces hold the same event.
    let mut expected = BTreeMap::<String, (BTreeSet<&str>, Vec<String>)>::new();
    for label in labels.lines() {
        let label: Value = serde_json::from_str(label).unwrap();
        let (trace, Some(audit_id)) = (label["trace"].as_str().unwrap(), label["auditID"].as_str())
        else {
            continue;
        };
        let (rules, traces) = expected.entry(audit_id.to_owned()).or_default();
        let named = TRACES.iter().find(|(name, _)| *name == trace);
        rules.extend(named.map_or(&[][..], |(_, rules)| rules));
        traces.push(trace.to_owned());
    }
    let mut wrong = vec![];
    for (audit_id, (rules, traces)) in &expected {
        let mut got = replay.rules_on(&replay.of_request(audit_id));
        // The traces are hours and months apart, and after each of them the cluster is silent.
        got.remove("cluster_silent");
        if got != *rules {
            wrong.push(format!("{traces:?}: expected {rules:?}, got {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let known: Vec<_> = expected.values().flat_map(|(_, traces)| traces).collect();
    for (trace, _) in TRACES {
        assert!(
            known.iter().any(|known| known == trace),
            "{trace} is not among the traces"
        );
    }
}

/// One real event of each of these kinds is among the examples; nothing says so but its name.
#[tokio::test]
async fn real_examples_are_alerted() {
    let Some(shared) = shared() else { return };
    let replay = Replay::new(&shared, "cloudtrail/api_examples.ndjson").await;
    let by_rule = replay.by_rule();
    for rule in [
        "access_key_for_other",
        "bucket_expires_quickly",
        "bucket_made_public",
        "guardduty_disabled",
        "iam_wildcard_policy",
        "login_profile_for_other",
        "mfa_removed",
        "root_used",
        "snapshot_shared",
        "trail_stopped",
    ] {
        assert!(by_rule.contains_key(rule), "{rule}: {by_rule:?}");
    }
}

#[tokio::test]
async fn real_falco_alerts_are_alerted() {
    let Some(shared) = shared() else { return };
    let replay = Replay::new(&shared, "falco/alerts.ndjson").await;
    let by_rule = replay.by_rule();
    for rule in [
        "shell_in_container",
        "sensitive_file_read",
        "persistence_on_disk",
    ] {
        assert!(by_rule.contains_key(rule), "{rule}: {by_rule:?}");
    }
}

/// Ordinary work must stay quiet: the bounds are what was seen, and what it was is written beside them.
#[tokio::test]
async fn benign_traces_stay_quiet() {
    let Some(shared) = shared() else { return };
    for (file, bound) in [
        ("cloudtrail/posture_scan_2021.ndjson.gz", 1),
        ("k8s_audit/perfspec_2023_rebuilt.ndjson.gz", 0),
    ] {
        let replay = Replay::new(&shared, file).await;
        assert!(
            replay.events.num_rows() > 500,
            "{file}: {} events decoded",
            replay.events.num_rows()
        );
        assert!(
            replay.alerts.len() <= bound,
            "{file}: {:?}",
            replay.by_rule()
        );
    }
}

#[test]
fn the_decoder_of_these_tests_reads_every_line() {
    let line = br#"{"eventVersion":"1.10","eventTime":"2026-10-14T09:00:00Z","eventSource":"s3.amazonaws.com","eventName":"ListBuckets","eventID":"a"}"#;
    let two = [line.as_slice(), b"\n\n", line.as_slice()].concat();
    let events = decode(&two).unwrap();
    assert_eq!(events.num_rows(), 2);
    assert_eq!(
        events.column(col::API_OPERATION).as_string_view().value(1),
        "ListBuckets"
    );
}
