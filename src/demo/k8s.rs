//! Kubernetes audit events (`audit.k8s.io/v1`) of one cluster, as its API servers log them.

use super::clock;
use super::cloudtrail::ACCOUNT;
use super::identity::{Role, access_key, unique_id};
use super::log::{Delivery, Log};
use super::rng::Rng;

pub const CLUSTER: &str = "aldertree-prod";
const KUBECTL: &str = "kubectl/v1.33.2 (darwin/arm64) kubernetes/a57b6f7";

/// A caller of the API server: the `user` object and what stays the same from call to call.
#[derive(Debug, Clone)]
pub struct User {
    pub name: String,
    json: String,
    pub ip: String,
    pub agent: String,
    /// Why the authorizer lets him in.
    reason: String,
}

/// A pod whose service account calls.
#[derive(Debug, Clone, Copy)]
pub struct PodIdentity<'a> {
    pub namespace: &'a str,
    pub account: &'a str,
    pub pod: &'a str,
    pub node: &'a str,
}

impl User {
    /// A system component or another user without extras.
    pub fn system(name: &str, groups: &str, ip: &str, agent: &str) -> Self {
        Self {
            name: name.to_owned(),
            json: format!(r#"{{"username":"{name}","groups":[{groups}]}}"#),
            ip: ip.to_owned(),
            agent: agent.to_owned(),
            reason: format!(
                r#"RBAC: allowed by ClusterRoleBinding \"{name}\" of ClusterRole \"{name}\" to User \"{name}\""#
            ),
        }
    }

    pub fn controller(name: &str) -> Self {
        let agent = format!(
            "kube-controller-manager/v1.33.5 (linux/amd64) kubernetes/4c9f8c9/system:serviceaccount:kube-system:{name}"
        );
        let groups = r#""system:serviceaccounts","system:serviceaccounts:kube-system","system:authenticated""#;
        Self::system(
            &format!("system:serviceaccount:kube-system:{name}"),
            groups,
            "10.20.0.11",
            &agent,
        )
    }

    pub fn node(node: &str, ip: &str) -> Self {
        Self::system(
            &format!("system:node:{node}"),
            r#""system:nodes","system:authenticated""#,
            ip,
            "kubelet/v1.33.5 (linux/amd64) kubernetes/4c9f8c9",
        )
    }

    pub fn anonymous(ip: &str, agent: &str) -> Self {
        Self::system("system:anonymous", r#""system:unauthenticated""#, ip, agent)
    }

    /// A service account with the token of one of its pods.
    pub fn account(identity: PodIdentity, ip: &str, agent: &str) -> Self {
        let PodIdentity {
            namespace,
            account,
            pod,
            node,
        } = identity;
        let mut ids = Rng::new(3, pod, 0);
        let (token, pod_uid, node_uid, uid) = (
            ids.uuid(),
            ids.uuid(),
            Rng::new(3, node, 0).uuid(),
            Rng::new(3, account, 0).uuid(),
        );
        let name = format!("system:serviceaccount:{namespace}:{account}");
        Self {
            json: format!(
                r#"{{"username":"{name}","uid":"{uid}","groups":["system:serviceaccounts","system:serviceaccounts:{namespace}","system:authenticated"],"extra":{{"authentication.kubernetes.io/credential-id":["JTI={token}"],"authentication.kubernetes.io/node-name":["{node}"],"authentication.kubernetes.io/node-uid":["{node_uid}"],"authentication.kubernetes.io/pod-name":["{pod}"],"authentication.kubernetes.io/pod-uid":["{pod_uid}"]}}}}"#
            ),
            reason: format!(
                r#"RBAC: allowed by RoleBinding \"{account}/{namespace}\" of Role \"{account}\" to ServiceAccount \"{account}/{namespace}\""#
            ),
            name,
            ip: ip.to_owned(),
            agent: agent.to_owned(),
        }
    }

    /// A person, or CI, through an AWS role.
    pub fn aws_role(role: &Role, session: &str, group: &str, ip: &str) -> Self {
        let arn = role.session_arn(session);
        let (canonical, principal) = (role.arn(), unique_id("AROA", &role.name));
        let key = access_key("ASIA", &format!("{}/{session}/eks", role.name));
        Self {
            json: format!(
                r#"{{"username":"{arn}","uid":"aws-iam-authenticator:{ACCOUNT}:{principal}","groups":["{group}","system:authenticated"],"extra":{{"accessKeyId":["{key}"],"arn":["{arn}"],"canonicalArn":["{canonical}"],"principalId":["{principal}"],"sessionName":["{session}"]}}}}"#
            ),
            name: arn,
            ip: ip.to_owned(),
            agent: KUBECTL.to_owned(),
            reason: format!(
                r#"RBAC: allowed by ClusterRoleBinding \"{group}\" of ClusterRole \"{group}\" to Group \"{group}\""#
            ),
        }
    }

    pub fn with_agent(mut self, agent: &str) -> Self {
        agent.clone_into(&mut self.agent);
        self
    }
}

/// What a request is about. Empty fields are left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Object<'a> {
    pub resource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub group: &'a str,
    pub subresource: &'a str,
}

/// One request to the API server.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub verb: &'a str,
    pub object: Object<'a>,
    /// Without the leading `?`.
    pub query: &'a str,
    pub code: u16,
    /// JSON of the object sent; the level becomes `Request` when there is one.
    pub body: &'a str,
    /// Set for paths that are no resource, such as `/healthz`.
    pub path: &'a str,
}

impl<'a> Request<'a> {
    pub fn new(verb: &'a str, object: Object<'a>) -> Self {
        let code = match (verb, object.subresource) {
            (_, "exec") => 101,
            ("create", _) => 201,
            _ => 200,
        };
        Self {
            verb,
            object,
            query: "",
            code,
            body: "",
            path: "",
        }
    }

    pub fn core(verb: &'a str, resource: &'a str, namespace: &'a str, name: &'a str) -> Self {
        Self::new(
            verb,
            Object {
                resource,
                namespace,
                name,
                ..Object::default()
            },
        )
    }

    pub fn grouped(
        verb: &'a str,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> Self {
        Self::new(
            verb,
            Object {
                resource,
                namespace,
                name,
                group,
                subresource: "",
            },
        )
    }

    pub fn sub(self, subresource: &'a str) -> Self {
        let object = Object {
            subresource,
            ..self.object
        };
        Self {
            query: self.query,
            body: self.body,
            ..Self::new(self.verb, object)
        }
    }

    pub fn query(self, query: &'a str) -> Self {
        Self { query, ..self }
    }

    pub fn body(self, body: &'a str) -> Self {
        Self { body, ..self }
    }

    pub fn forbidden(self) -> Self {
        Self { code: 403, ..self }
    }

    /// A request for a path that is no resource.
    pub fn path(path: &'a str) -> Self {
        Self {
            path,
            ..Self::new("get", Object::default())
        }
    }
}

/// The day's audit log.
#[derive(Debug)]
pub struct Audit {
    pub log: Log,
    rng: Rng,
}

impl Audit {
    pub fn new(seed: u64, day: u64) -> Self {
        Self {
            log: Log::new(Delivery::KUBERNETES, Rng::new(seed, "audit delivery", day)),
            rng: Rng::new(seed, "audit ids", day),
        }
    }

    /// Logs one request and returns its `auditID` with the stage, which is its unique id.
    pub fn request(&mut self, time: i64, user: &User, request: &Request) -> String {
        let audit_id = self.rng.uuid();
        let took = self.rng.between(900, 40_000);
        self.log.push(time, |out| {
            write_event(out, time, took, user, request, &audit_id);
        });
        format!("{audit_id}/{STAGE}")
    }
}

fn write_event(
    out: &mut String,
    time: i64,
    took: i64,
    user: &User,
    request: &Request,
    audit_id: &str,
) {
    let allowed = request.code != 403;
    let level = if request.body.is_empty() {
        "Metadata"
    } else {
        "Request"
    };
    out.push_str(r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":""#);
    out.push_str(level);
    out.push_str(r#"","auditID":""#);
    out.push_str(audit_id);
    out.push_str(r#"","stage":""#);
    out.push_str(STAGE);
    out.push_str(r#"","requestURI":""#);
    push_uri(out, request);
    out.push_str(r#"","verb":""#);
    out.push_str(request.verb);
    out.push_str(r#"","user":"#);
    out.push_str(&user.json);
    out.push_str(r#","sourceIPs":[""#);
    out.push_str(&user.ip);
    out.push_str(r#""],"userAgent":""#);
    out.push_str(&user.agent);
    out.push('"');
    let object = &request.object;
    if request.path.is_empty() {
        out.push_str(r#","objectRef":{"resource":""#);
        out.push_str(object.resource);
        for (key, value) in [
            ("namespace", object.namespace),
            ("name", object.name),
            ("apiGroup", object.group),
        ] {
            push_field(out, key, value);
        }
        out.push_str(r#"","apiVersion":"v1"#);
        push_field(out, "subresource", object.subresource);
        out.push_str("\"}");
    }
    out.push_str(r#","responseStatus":{"metadata":{}"#);
    if !allowed {
        push_refusal(out, user, request);
    }
    out.push_str(r#","code":"#);
    out.push_str(&request.code.to_string());
    out.push('}');
    if !request.body.is_empty() {
        out.push_str(r#","requestObject":"#);
        out.push_str(request.body);
    }
    out.push_str(r#","requestReceivedTimestamp":""#);
    clock::push_micros(out, time);
    out.push_str(r#"","stageTimestamp":""#);
    clock::push_micros(out, time + took);
    out.push_str(r#"","annotations":{"authorization.k8s.io/decision":""#);
    out.push_str(if allowed { "allow" } else { "forbid" });
    out.push_str(r#"","authorization.k8s.io/reason":""#);
    if allowed {
        out.push_str(&user.reason);
    }
    out.push_str("\"}}");
}

/// The only stage this cluster's audit policy keeps.
pub const STAGE: &str = "ResponseComplete";

/// Continues an object whose last string is still open.
fn push_field(out: &mut String, key: &str, value: &str) {
    if !value.is_empty() {
        out.push_str("\",\"");
        out.push_str(key);
        out.push_str("\":\"");
        out.push_str(value);
    }
}

fn push_uri(out: &mut String, request: &Request) {
    let object = &request.object;
    if request.path.is_empty() {
        if object.group.is_empty() {
            out.push_str("/api/v1");
        } else {
            out.push_str("/apis/");
            out.push_str(object.group);
            out.push_str("/v1");
        }
        if !object.namespace.is_empty() {
            out.push_str("/namespaces/");
            out.push_str(object.namespace);
        }
        out.push('/');
        out.push_str(object.resource);
        // A new object is posted to its collection; only its subresources have its name before them.
        if !object.name.is_empty() && (request.verb != "create" || !object.subresource.is_empty()) {
            out.push('/');
            out.push_str(object.name);
        }
        if !object.subresource.is_empty() {
            out.push('/');
            out.push_str(object.subresource);
        }
    } else {
        out.push_str(request.path);
    }
    if !request.query.is_empty() {
        out.push('?');
        out.push_str(request.query);
    }
}

fn push_refusal(out: &mut String, user: &User, request: &Request) {
    let object = &request.object;
    let place = if object.namespace.is_empty() {
        " at the cluster scope".to_owned()
    } else {
        format!(r#" in the namespace \"{}\""#, object.namespace)
    };
    out.push_str(&format!(
        r#","status":"Failure","message":"{resource} is forbidden: User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"{group}\"{place}","reason":"Forbidden","details":{{"kind":"{resource}"}}"#,
        resource = object.resource,
        user = user.name,
        verb = request.verb,
        group = object.group,
    ));
}
