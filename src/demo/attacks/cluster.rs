//! Saturday night: the storefront's pod is broken into, and from it the cluster.
//!
//! A reverse shell, files and the service account's token; from outside with that token the secrets of
//! the namespace, among them a stronger account's token; with that one a binding to cluster-admin, a
//! privileged pod on the node's file system, a miner, and at last the node's own AWS credentials used
//! from the intruder's machine.

use super::Teller;
use super::pod::{self, NEW_POD};
use crate::demo::clock::at;
use crate::demo::cloudtrail::Call;
use crate::demo::company::{NODE_ROLE, NODES, STOREFRONT};
use crate::demo::identity::{Role, Session};
use crate::demo::k8s::{PodIdentity, Request, User};
use crate::demo::{AttackStory, Day};

const FROM: &str = "203.0.113.77";
const POOL: &str = "192.0.2.77";
const KUBECTL: &str = "kubectl/v1.28.4 (linux/amd64) kubernetes/bae2c62";

pub fn hide(day: &mut Day) -> AttackStory {
    let mut teller = Teller::new(at(5, 2, 11, 38));
    pod::break_in(day, &mut teller);
    ask_from_inside(day, &mut teller);
    let storefront_user = account("storefront", STOREFRONT.pod, FROM, KUBECTL);
    let deployer = account("deployer", "deployer-token", FROM, KUBECTL);
    steal_token(day, &mut teller, &storefront_user);
    take_cluster(day, &mut teller, &deployer);
    pod::mine(day, &mut teller);
    use_node(day, &mut teller);
    teller.end(
        "a compromised pod and the cluster behind it",
        vec![
            STOREFRONT.pod.to_owned(),
            NEW_POD.to_owned(),
            storefront_user.name,
            deployer.name,
            FROM.to_owned(),
            POOL.to_owned(),
            NODES[STOREFRONT.node].name.to_owned(),
        ],
    )
}

fn account(name: &str, pod: &str, ip: &str, agent: &str) -> User {
    let identity = PodIdentity {
        namespace: "shop",
        account: name,
        pod,
        node: NODES[STOREFRONT.node].name,
    };
    User::account(identity, ip, agent)
}

/// From inside the pod, the API server refuses and answers what the token may do.
fn ask_from_inside(day: &mut Day, teller: &mut Teller) {
    let inside = account("storefront", STOREFRONT.pod, STOREFRONT.ip, "curl/7.88.1");
    let time = teller.after(1);
    let list = Request::core("list", "secrets", "shop", "").forbidden();
    let id = day.audit.request(time, &inside, &list);
    teller.note("the list of secrets is refused", id);
    let time = teller.after(26);
    let rules = Request::grouped(
        "create",
        "authorization.k8s.io",
        "selfsubjectrulesreviews",
        "",
        "",
    );
    let id = day.audit.request(time, &inside, &rules);
    teller.note("the token asks what it may do", id);
}

/// The token is used from outside: names of secrets can be guessed, and one holds a better token.
fn steal_token(day: &mut Day, teller: &mut Teller, user: &User) {
    teller.after(210);
    let ask = |day: &mut Day, teller: &mut Teller, seconds, request: &Request, what: &str| {
        let time = teller.after(seconds);
        let id = day.audit.request(time, user, request);
        teller.note(what, id);
    };
    let pods = Request::core("list", "pods", "shop", "").query("limit=500");
    ask(
        day,
        teller,
        0,
        &pods,
        "pods are listed with the stolen token from outside",
    );
    for (group, resource, namespace) in [
        ("", "secrets", ""),
        ("", "nodes", ""),
        ("", "namespaces", ""),
        ("", "configmaps", "kube-system"),
        ("", "secrets", "kube-system"),
        ("apps", "daemonsets", ""),
        ("batch", "cronjobs", "billing"),
        ("", "secrets", "billing"),
        ("", "secrets", "data"),
        ("rbac.authorization.k8s.io", "clusterroles", ""),
        ("rbac.authorization.k8s.io", "clusterrolebindings", ""),
    ] {
        let list = Request::grouped("list", group, resource, namespace, "").query("limit=500");
        let what = format!("listing {resource} is refused");
        ask(day, teller, 4, &list.forbidden(), &what);
    }
    for name in [
        "storefront-env",
        "orders-api-env",
        "mailer-env",
        "stripe-webhook",
        "registry-pull",
        "tls-storefront",
        "session-signing",
        "newrelic-license",
        "redis-auth",
        "maps-api",
        "tax-api",
        "fraud-api",
        "crm-oauth",
        "search-api",
        "sentry-dsn",
        "smtp-relay",
        "webhook-signing",
        "deployer-token",
    ] {
        let get = Request::core("get", "secrets", "shop", name);
        ask(day, teller, 5, &get, &format!("secret {name} is read"));
    }
}

/// The deployer's token may bind roles: that is cluster-admin in two steps.
fn take_cluster(day: &mut Day, teller: &mut Teller, deployer: &User) {
    teller.after(320);
    let ask = |day: &mut Day, teller: &mut Teller, seconds, request: &Request, what: &str| {
        let time = teller.after(seconds);
        let id = day.audit.request(time, deployer, request);
        teller.note(what, id);
    };
    let binding = r#"{"kind":"ClusterRoleBinding","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"system:node-health","creationTimestamp":null},"subjects":[{"kind":"ServiceAccount","name":"deployer","namespace":"shop"}],"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"}}"#;
    let bind = Request::grouped(
        "create",
        "rbac.authorization.k8s.io",
        "clusterrolebindings",
        "",
        "system:node-health",
    )
    .query("fieldManager=kubectl-create")
    .body(binding);
    ask(
        day,
        teller,
        0,
        &bind,
        "the deployer's account is bound to cluster-admin",
    );
    let back = Request::core("create", "pods", "shop", STOREFRONT.pod)
        .sub("exec")
        .query("command=sh&container=storefront&stdin=true&stdout=true");
    ask(
        day,
        teller,
        19,
        &back,
        "the storefront's pod is entered through the API",
    );
    let secrets = Request::core("list", "secrets", "", "").query("limit=500");
    ask(
        day,
        teller,
        48,
        &secrets,
        "the secrets of all namespaces are listed",
    );
    let pod = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"node-health-7c4f9","namespace":"shop","creationTimestamp":null,"labels":{"app":"node-health"}},"spec":{"volumes":[{"name":"root","hostPath":{"path":"/","type":""}}],"containers":[{"name":"health","image":"docker.io/library/alpine:3.20","command":["sleep","infinity"],"resources":{},"volumeMounts":[{"name":"root","mountPath":"/host"}],"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent","securityContext":{"privileged":true}}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","nodeName":"ip-10-20-3-47.ec2.internal","hostNetwork":true,"hostPID":true,"securityContext":{},"schedulerName":"default-scheduler"},"status":{}}"#;
    let create = Request::core("create", "pods", "shop", NEW_POD)
        .query("fieldManager=kubectl-client-side-apply")
        .body(pod);
    ask(
        day,
        teller,
        75,
        &create,
        "a privileged pod with the node's file system is created",
    );
    let exec = Request::core("create", "pods", "shop", NEW_POD)
        .sub("exec")
        .query("command=chroot&command=%2Fhost&command=bash&container=health&stdin=true&stdout=true&tty=true");
    ask(day, teller, 31, &exec, "a shell is opened in it");
}

/// The node's credentials, read from its metadata service, are tried from the intruder's machine.
fn use_node(day: &mut Day, teller: &mut Teller) {
    let node = &NODES[STOREFRONT.node];
    let role = Role::new(NODE_ROLE);
    let agent = "aws-cli/2.15.30 Python/3.11.8 Linux/6.6.9-amd64 exe/x86_64.kali.2024 prompt/off";
    teller.after(410);
    let created = teller.time;
    let session = Session::role(&role, node.instance, created, FROM, agent);
    let time = teller.after(0);
    let id = day.trail.call(
        time,
        &session,
        &Call::read("sts", "GetCallerIdentity", "null"),
    );
    teller.note("the node's credentials are used from outside", id);
    let tried = [
        (
            "s3",
            "ListBuckets",
            r#"{"Host":"s3.us-east-1.amazonaws.com"}"#,
        ),
        ("iam", "ListRoles", "null"),
        ("secretsmanager", "ListSecrets", r#"{"maxResults":100}"#),
    ];
    for (service, operation, request) in tried {
        let time = teller.after(12);
        let id = day
            .trail
            .denied(time, &session, Call::read(service, operation, request));
        teller.note(&format!("{operation} is refused to the node"), id);
    }
}
