//! The cluster's ordinary traffic: kubelets, controllers, workloads, probes, deployments, people.

use crate::demo::Day;
use crate::demo::clock::{HOUR, MINUTE, SECOND};
use crate::demo::company::{APPS, App, CI_RUNNER, Job, NODES, OFFICE, PEOPLE, Person, sso_role};
use crate::demo::identity::Role;
use crate::demo::k8s::{PodIdentity, Request, User};
use crate::demo::rng::Rng;

pub fn run(day: &mut Day, seed: u64) {
    let mut rng = Rng::new(seed, "cluster", day.index as u64);
    kubelets(day, &mut rng);
    controllers(day, &mut rng);
    workloads(day, &mut rng);
    probes(day, &mut rng);
    cron_jobs(day, &mut rng);
    deployments(day, &mut rng);
    people(day, seed);
}

/// Calls `act` about every `every` microseconds of the day.
fn each(day: &mut Day, rng: &mut Rng, every: i64, mut act: impl FnMut(&mut Day, &mut Rng, i64)) {
    let mut time = day.start() + rng.below(every as u64) as i64;
    while time < day.end() {
        act(day, rng, time);
        time += every + rng.between(-every / 8, every / 8);
    }
}

/// The service account of a pod outside the applications.
fn component(
    namespace: &str,
    account: &str,
    pod: &str,
    node: usize,
    ip: &str,
    agent: &str,
) -> User {
    let identity = PodIdentity {
        namespace,
        account,
        pod,
        node: NODES[node].name,
    };
    User::account(identity, ip, agent)
}

fn kubelets(day: &mut Day, rng: &mut Rng) {
    for node in NODES {
        let user = User::node(node.name, node.ip);
        each(day, rng, 6 * MINUTE, |day, rng, time| {
            let status = Request::core("patch", "nodes", "", node.name).sub("status");
            day.audit.request(time, &user, &status.query("timeout=10s"));
            if rng.percent(40) {
                let app = rng.pick(APPS);
                let get = Request::core("get", "pods", app.namespace, app.pod);
                day.audit.request(time + SECOND, &user, &get);
            }
            if rng.percent(25) {
                let app = rng.pick(APPS);
                let token = Request::core("create", "serviceaccounts", app.namespace, app.name);
                day.audit
                    .request(time + 2 * SECOND, &user, &token.sub("token"));
            }
            if rng.percent(30) {
                let map = Request::core("watch", "configmaps", "kube-system", "")
                    .query("allowWatchBookmarks=true&fieldSelector=metadata.name%3Dkube-root-ca.crt&timeoutSeconds=443&watch=true");
                day.audit.request(time + 3 * SECOND, &user, &map);
            }
        });
    }
}

fn controllers(day: &mut Day, rng: &mut Rng) {
    let replicas = User::controller("replicaset-controller");
    let endpoints = User::controller("endpointslice-controller");
    let collector = User::controller("generic-garbage-collector");
    each(day, rng, 2 * MINUTE, |day, rng, time| {
        let app = rng.pick(APPS);
        let slice = format!("{}-8kx2v", app.name);
        let update = Request::grouped(
            "update",
            "discovery.k8s.io",
            "endpointslices",
            app.namespace,
            &slice,
        );
        day.audit.request(time, &endpoints, &update);
        if rng.percent(40) {
            let set = app.pod.rsplit_once('-').map_or(app.pod, |(set, _)| set);
            let status = Request::grouped("update", "apps", "replicasets", app.namespace, set);
            day.audit
                .request(time + SECOND, &replicas, &status.sub("status"));
        }
        if rng.percent(20) {
            let list = Request::path("/apis/apps/v1").query("timeout=32s");
            day.audit.request(time + 2 * SECOND, &collector, &list);
        }
    });
    let scheduler = User::system(
        "system:kube-scheduler",
        r#""system:authenticated""#,
        "10.20.0.12",
        "kube-scheduler/v1.33.5 (linux/amd64) kubernetes/4c9f8c9/scheduler",
    );
    each(day, rng, 4 * MINUTE, |day, _, time| {
        let lease = Request::grouped(
            "update",
            "coordination.k8s.io",
            "leases",
            "kube-system",
            "kube-scheduler",
        );
        day.audit.request(time, &scheduler, &lease);
    });
}

/// Workloads with their own service accounts, and the operators that read secrets for a living.
fn workloads(day: &mut Day, rng: &mut Rng) {
    for app in APPS {
        let user = app_user(app);
        each(day, rng, 5 * MINUTE, |day, rng, time| {
            let request = if rng.percent(60) {
                Request::core("get", "configmaps", app.namespace, "feature-flags")
            } else {
                Request::core("list", "endpoints", app.namespace, "")
                    .query("limit=500&resourceVersion=0")
            };
            day.audit.request(time, &user, &request);
        });
    }
    let prometheus = component(
        "monitoring",
        "prometheus",
        "prometheus-0",
        1,
        "10.20.1.120",
        "prometheus/3.7.1",
    );
    each(day, rng, 140 * SECOND, |day, rng, time| {
        let resource = *rng.pick(&["pods", "services", "endpoints", "nodes"]);
        let list = Request::core("list", resource, "", "").query("limit=500&resourceVersion=0");
        day.audit.request(time, &prometheus, &list);
    });
    let argo = component(
        "argocd",
        "argocd-application-controller",
        "argocd-application-controller-0",
        3,
        "10.20.2.77",
        "argocd-application-controller/v3.1.8",
    );
    each(day, rng, 150 * SECOND, |day, rng, time| {
        let app = rng.pick(APPS);
        let (verb, resource) = *rng.pick(&[
            ("get", "deployments"),
            ("list", "replicasets"),
            ("patch", "deployments"),
        ]);
        let name = if verb == "list" { "" } else { app.name };
        let request = Request::grouped(verb, "apps", resource, app.namespace, name);
        day.audit.request(time, &argo, &request);
    });
    let secrets = component(
        "external-secrets",
        "external-secrets",
        "external-secrets-6d4b75cb6d-tt8zn",
        5,
        "10.20.3.19",
        "external-secrets/v0.20.3 (linux/amd64)",
    );
    each(day, rng, 10 * MINUTE, |day, rng, time| {
        let app = rng.pick(APPS);
        let name = format!("{}-env", app.name);
        let get = Request::core("get", "secrets", app.namespace, &name);
        day.audit.request(time, &secrets, &get);
        day.audit.request(
            time + SECOND,
            &secrets,
            &Request::core("update", "secrets", app.namespace, &name),
        );
    });
}

pub fn app_user(app: &App) -> User {
    let agent = format!("{}/v4.18.2 (linux/amd64) kubernetes/$Format", app.name);
    component(app.namespace, app.name, app.pod, app.node, app.ip, &agent)
}

/// Load balancers ask for health without a name; the internet asks for more and is refused.
fn probes(day: &mut Day, rng: &mut Rng) {
    let balancer = User::anonymous("10.20.0.5", "ELB-HealthChecker/2.0");
    each(day, rng, 5 * MINUTE, |day, _, time| {
        day.audit
            .request(time, &balancer, &Request::path("/readyz"));
    });
    each(day, rng, 150 * MINUTE, |day, rng, time| {
        let ip = format!("192.0.2.{}", 3 + rng.below(50));
        let stranger = User::anonymous(&ip, "Mozilla/5.0 zgrab/0.x");
        let request = match rng.below(3) {
            0 => Request::path("/version"),
            1 => Request::core("list", "pods", "", "")
                .query("limit=500")
                .forbidden(),
            _ => Request::path("/.env").forbidden(),
        };
        day.audit.request(time, &stranger, &request);
    });
}

/// A job every ten minutes: the controller makes it, its pod is bound, runs and is deleted.
fn cron_jobs(day: &mut Day, rng: &mut Rng) {
    let cron = User::controller("cronjob-controller");
    let jobs = User::controller("job-controller");
    each(day, rng, 10 * MINUTE, |day, rng, time| {
        let job = format!("cache-warmer-{}", 29_900_000 + (time / MINUTE) % 100_000);
        let pod = format!("{job}-{}", rng.text(b"bcdfghjklmnpqrstvwxz2456789", 5));
        let create = Request::grouped("create", "batch", "jobs", "shop", &job);
        day.audit.request(time, &cron, &create);
        let body = pod_body(
            &job,
            "cache-warmer",
            "registry.aldertree.example/cache-warmer:1.9.0",
        );
        let create = Request::core("create", "pods", "shop", &pod).body(&body);
        day.audit.request(time + SECOND / 4, &jobs, &create);
        let status = Request::grouped("update", "batch", "jobs", "shop", &job).sub("status");
        day.audit.request(time + 20 * SECOND, &jobs, &status);
        let delete = Request::core("delete", "pods", "shop", &pod);
        day.audit.request(time + 21 * SECOND, &jobs, &delete);
    });
}

/// A modest pod, as a controller sends it.
fn pod_body(generate: &str, container: &str, image: &str) -> String {
    format!(
        r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"generateName":"{generate}-","creationTimestamp":null,"labels":{{"app":"{container}"}}}},"spec":{{"containers":[{{"name":"{container}","image":"{image}","resources":{{"limits":{{"memory":"256Mi"}},"requests":{{"cpu":"50m","memory":"128Mi"}}}},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent","securityContext":{{"runAsNonRoot":true,"allowPrivilegeEscalation":false}}}}],"restartPolicy":"Never","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"{container}","securityContext":{{}},"schedulerName":"default-scheduler"}},"status":{{}}}}"#
    )
}

/// CI rolls out new images, with Helm's habit of listing its secrets.
fn deployments(day: &mut Day, rng: &mut Rng) {
    let ci = User::aws_role(
        &Role::new("ci-deploy"),
        "deploy",
        "platform:deployers",
        CI_RUNNER,
    )
    .with_agent("Helm/3.19.0");
    let replicas = User::controller("replicaset-controller");
    let count = if day.is_weekend() { 2 } else { 22 };
    for _ in 0..count {
        let time = day.start() + rng.between(9 * 60, 23 * 60) * MINUTE;
        let app = rng.pick(APPS);
        let list = Request::core("list", "secrets", app.namespace, "")
            .query("labelSelector=name%3Dstorefront%2Cowner%3Dhelm");
        day.audit.request(time, &ci, &list);
        let patch = Request::grouped("patch", "apps", "deployments", app.namespace, app.name);
        day.audit
            .request(time + 2 * SECOND, &ci, &patch.query("fieldManager=helm"));
        let image = format!("registry.aldertree.example/{}:4.18.2", app.name);
        for nth in 0..3 {
            let pod = format!(
                "{}-{}-{}",
                app.name,
                rng.text(b"bcdf456789", 10),
                rng.text(b"bcdfghjklm", 5)
            );
            let body = pod_body(app.name, app.name, &image);
            let create = Request::core("create", "pods", app.namespace, &pod).body(&body);
            day.audit
                .request(time + (4 + nth) * SECOND, &replicas, &create);
        }
        for nth in 0..8 {
            let get = Request::grouped("get", "apps", "deployments", app.namespace, app.name);
            day.audit.request(time + (5 + 3 * nth) * SECOND, &ci, &get);
        }
    }
}

/// People with kubectl: looking mostly, now and then into a staging pod.
fn people(day: &mut Day, seed: u64) {
    for person in PEOPLE {
        let mut rng = Rng::new(seed, &format!("{} kubectl", person.name), day.index as u64);
        let uses = matches!(person.job, Job::Developer | Job::Operations);
        if !uses || (day.is_weekend() && !rng.percent(10)) {
            continue;
        }
        let user = kubectl_user(
            person,
            if rng.percent(person.at_home) {
                person.home
            } else {
                OFFICE
            },
        );
        for _ in 0..rng.between(4, 9) {
            let begin = day.start() + person.starts * HOUR + rng.between(20, 8 * 60) * MINUTE;
            look_around(day, &mut rng, &user, begin);
        }
    }
}

/// Kubernetes sees people as sessions of their role; IAM users take the developers' one.
pub fn kubectl_user(person: &Person, ip: &str) -> User {
    let role = person
        .sso_role()
        .unwrap_or_else(|| sso_role("DeveloperAccess"));
    let group = if person.job == Job::Operations {
        "platform:admins"
    } else {
        "platform:developers"
    };
    User::aws_role(&role, &person.email(), group, ip)
}

fn look_around(day: &mut Day, rng: &mut Rng, user: &User, begin: i64) {
    let mut time = begin;
    let app = rng.pick(APPS);
    for _ in 0..rng.between(4, 14) {
        time += rng.between(2, 40) * SECOND;
        if time >= day.end() {
            return;
        }
        let request = match rng.below(7) {
            0 => Request::grouped("list", "apps", "deployments", app.namespace, "")
                .query("limit=500"),
            1 => Request::core("get", "pods", app.namespace, app.pod),
            2 => Request::core("get", "pods", app.namespace, app.pod)
                .sub("log")
                .query("follow=true&tailLines=100"),
            3 => Request::core("list", "events", app.namespace, "").query("limit=500"),
            4 => Request::core("list", "services", app.namespace, "").query("limit=500"),
            5 => Request::grouped("get", "apps", "deployments", app.namespace, app.name),
            _ => Request::core("list", "pods", app.namespace, "").query("limit=500"),
        };
        day.audit.request(time, user, &request);
    }
    if rng.percent(4) && user.name.contains("Developer") {
        let request =
            Request::core("get", "secrets", "kube-system", "bootstrap-token-07401b").forbidden();
        day.audit.request(time + SECOND, user, &request);
    }
}
