//! Kubernetes audit events of about 1.1 KB.

use super::Event;
use super::text::{Rng, push_time, push_uuid};

/// Text prepared per identity and per request.
#[derive(Debug)]
pub struct Templates {
    /// From `user` to the end of the user agent.
    callers: Vec<Vec<u8>>,
    ordinary: Vec<Request>,
    attacks: Vec<Request>,
}

#[derive(Debug)]
struct Request {
    /// After `auditID`'s value up to `user`.
    head: Vec<u8>,
    /// After the user agent up to `requestReceivedTimestamp`'s value.
    tail: Vec<u8>,
    /// After `stageTimestamp`'s value to the end.
    end: Vec<u8>,
}

/// Verb, path, `objectRef` without braces, code, `requestObject`.
type Row = (&'static str, &'static str, &'static str, u16, &'static str);

const ORDINARY: &[Row] = &[
    (
        "get",
        "/api/v1/namespaces/shop/configmaps/feature-flags",
        r#""resource":"configmaps","namespace":"shop","name":"feature-flags","apiVersion":"v1""#,
        200,
        "",
    ),
    (
        "list",
        "/api/v1/pods?limit=500&resourceVersion=0",
        r#""resource":"pods","apiVersion":"v1""#,
        200,
        "",
    ),
    (
        "watch",
        "/api/v1/namespaces/shop/endpoints?allowWatchBookmarks=true&timeoutSeconds=443&watch=true",
        r#""resource":"endpoints","namespace":"shop","apiVersion":"v1""#,
        200,
        "",
    ),
    (
        "update",
        "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler",
        r#""resource":"leases","namespace":"kube-system","name":"kube-scheduler","uid":"0f6f7056-c9d9-42c1-9e8a-2e6080027728","apiGroup":"coordination.k8s.io","apiVersion":"v1","resourceVersion":"271128""#,
        200,
        "",
    ),
    (
        "patch",
        "/api/v1/nodes/ip-10-20-3-47.ec2.internal/status?timeout=10s",
        r#""resource":"nodes","name":"ip-10-20-3-47.ec2.internal","apiVersion":"v1","subresource":"status""#,
        200,
        "",
    ),
    (
        "get",
        "/apis/apps/v1/namespaces/shop/deployments/orders-worker",
        r#""resource":"deployments","namespace":"shop","name":"orders-worker","apiGroup":"apps","apiVersion":"v1""#,
        404,
        "",
    ),
];

const ATTACKS: &[Row] = &[
    (
        "list",
        "/api/v1/secrets?limit=500",
        r#""resource":"secrets","apiVersion":"v1""#,
        200,
        "",
    ),
    (
        "create",
        "/api/v1/namespaces/shop/pods/storefront-7d9c5b6f48-x2m7q/exec?command=sh&stdin=true&stdout=true&tty=true",
        r#""resource":"pods","namespace":"shop","name":"storefront-7d9c5b6f48-x2m7q","apiVersion":"v1","subresource":"exec""#,
        101,
        "",
    ),
    (
        "create",
        "/api/v1/namespaces/kube-system/pods",
        r#""resource":"pods","namespace":"kube-system","name":"node-health","apiVersion":"v1""#,
        201,
        r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"node-health","namespace":"kube-system","creationTimestamp":null},"spec":{"volumes":[{"name":"root","hostPath":{"path":"/","type":""}}],"containers":[{"name":"health","image":"alpine:3.20","resources":{},"volumeMounts":[{"name":"root","mountPath":"/host"}],"securityContext":{"privileged":true}}],"hostNetwork":true,"hostPID":true},"status":{}}"#,
    ),
    (
        "create",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        r#""resource":"clusterrolebindings","name":"node-health","apiGroup":"rbac.authorization.k8s.io","apiVersion":"v1""#,
        201,
        r#"{"kind":"ClusterRoleBinding","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"node-health","creationTimestamp":null},"subjects":[{"kind":"ServiceAccount","name":"deployer","namespace":"shop"}],"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"}}"#,
    ),
    (
        "list",
        "/api/v1/nodes?limit=500",
        r#""resource":"nodes","apiVersion":"v1""#,
        403,
        "",
    ),
];

impl Templates {
    pub fn new(identities: u32) -> Self {
        Self {
            callers: (0..identities).map(caller).collect(),
            ordinary: ORDINARY.iter().map(request).collect(),
            attacks: ATTACKS.iter().map(request).collect(),
        }
    }

    pub fn append(&self, out: &mut Vec<u8>, event: &Event, rng: &mut Rng) {
        let requests = if event.is_attack {
            &self.attacks
        } else {
            &self.ordinary
        };
        let request = rng.pick(requests);
        out.extend_from_slice(
            br#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":""#,
        );
        push_uuid(out, rng);
        out.extend_from_slice(&request.head);
        let caller: &Vec<u8> = rng.pick(&self.callers);
        out.extend_from_slice(caller);
        out.extend_from_slice(&request.tail);
        push_time(out, event.time_us - rng.below(40_000) as i64, 6, 0);
        out.extend_from_slice(br#"","stageTimestamp":""#);
        push_time(out, event.time_us, 6, 0);
        out.extend_from_slice(&request.end);
    }
}

fn caller(number: u32) -> Vec<u8> {
    let mut ids = Rng::new(u64::from(number) << 24);
    let mut json = format!(
        r#""user":{{"username":"system:serviceaccount:team-{:03}:app-{number:06}","uid":""#,
        number % 200
    )
    .into_bytes();
    push_uuid(&mut json, &mut ids);
    let rest = format!(
        r#"","groups":["system:serviceaccounts","system:serviceaccounts:team-{:03}","system:authenticated"],"extra":{{"authentication.kubernetes.io/pod-name":["app-{number:06}-5f7c8d9b6d-lq2xk"],"authentication.kubernetes.io/node-name":["ip-10-20-3-47.ec2.internal"]}}}},"sourceIPs":["10.{}.{}.{}"],"userAgent":"app/v4.18.2 (linux/amd64) kubernetes/4c9f8c9""#,
        number % 200,
        number / 62_500 % 256,
        number / 250 % 250,
        number % 250 + 1
    );
    json.extend_from_slice(rest.as_bytes());
    json
}

fn request(&(verb, path, object, code, body): &Row) -> Request {
    let head = format!(r#"","stage":"ResponseComplete","requestURI":"{path}","verb":"{verb}","#);
    let status = match code {
        403 => {
            r#""status":"Failure","reason":"Forbidden","message":"forbidden: not allowed at the cluster scope","#
        }
        404 => r#""status":"Failure","reason":"NotFound","message":"not found","#,
        _ => "",
    };
    let body = if body.is_empty() {
        String::new()
    } else {
        format!(r#","requestObject":{body}"#)
    };
    let tail = format!(
        r#","objectRef":{{{object}}},"responseStatus":{{"metadata":{{}},{status}"code":{code}}}{body},"requestReceivedTimestamp":""#
    );
    let decision = if code == 403 { "forbid" } else { "allow" };
    let end = format!(
        r#"","annotations":{{"authorization.k8s.io/decision":"{decision}","authorization.k8s.io/reason":""}}}}"#
    );
    Request {
        head: head.into_bytes(),
        tail: tail.into_bytes(),
        end: end.into_bytes(),
    }
}
