//! Falco's ordinary noise: reports about itself, an operator that talks to the API server, a build that
//! installs packages, somebody looking into a staging pod.

use super::cluster::kubectl_user;
use crate::demo::Day;
use crate::demo::clock::{HOUR, MINUTE, SECOND};
use crate::demo::company::{Job, NODES, OFFICE, PEOPLE};
use crate::demo::falco::{
    CONTACT_API, Container, PACKAGE_MANAGER, Process, REDIRECT, SENSITIVE_FILE, TERMINAL_SHELL,
};
use crate::demo::k8s::Request;
use crate::demo::rng::Rng;

pub fn report(day: &mut Day, seed: u64) {
    let mut rng = Rng::new(seed, "falco noise", day.index as u64);
    for node in NODES {
        let first = day.start() + rng.between(0, 59) * MINUTE;
        for hour in 0..23 {
            let events = 6_000_000 + rng.below(2_000_000);
            day.alerts.metrics(first + hour * HOUR, node.name, events);
        }
    }
    for _ in 0..70 {
        let time = day.start() + rng.between(60, 86_000) * SECOND;
        noise(day, &mut rng, time);
    }
    if !day.is_weekend() {
        for _ in 0..rng.between(1, 2) {
            let time = day.start() + rng.between(15 * 60, 21 * 60) * MINUTE;
            staging_shell(day, &mut rng, time);
        }
    }
}

/// What fires all day in a healthy cluster.
fn noise(day: &mut Day, rng: &mut Rng, time: i64) {
    let node = rng.pick(NODES);
    let id = rng.hex(12);
    let container = Container {
        node: node.name,
        id: &id,
        name: "builder",
        image: "registry.aldertree.example/ci-builder",
        tag: "2026.10",
        namespace: "ci",
        pod: "runner-9k2vq-builder",
    };
    let port = 30_000 + rng.below(20_000);
    match rng.below(100) {
        0..97 => {
            let operator = Container {
                node: NODES[3].name,
                id: "9b1e44d07c5a",
                name: "argocd-application-controller",
                image: "quay.io/argoproj/argocd",
                tag: "v3.1.8",
                namespace: "argocd",
                pod: "argocd-application-controller-0",
            };
            let process = Process {
                name: "argocd-applicat",
                path: "/usr/local/bin/argocd",
                parent: "tini",
                command: "argocd-application-controller",
                terminal: 0,
                event: "connect",
            };
            let connection = format!("\"10.20.2.77:{port}->172.20.0.1:443\"");
            let fields = [
                ("fd.name", "connection", connection.as_str()),
                ("fd.rport", "rport", "443"),
            ];
            day.alerts
                .alert(time, &CONTACT_API, &operator, &process, &fields);
        }
        97..99 => {
            let process = Process {
                name: "apt-get",
                path: "/usr/bin/apt-get",
                parent: "sh",
                command: "apt-get install -y --no-install-recommends libpq-dev",
                terminal: 0,
                event: "execve",
            };
            day.alerts
                .alert(time, &PACKAGE_MANAGER, &container, &process, &[]);
        }
        _ => {
            let process = Process {
                name: "node-exporter-t",
                path: "/opt/textfile/collect",
                parent: "systemd",
                command: "collect --shadow-age /etc/shadow",
                terminal: 0,
                event: "openat",
            };
            let host = Container {
                id: "host",
                name: "host",
                image: "",
                tag: "",
                namespace: "",
                pod: "",
                ..container
            };
            let fields = [("fd.name", "file", r#""/etc/shadow""#)];
            day.alerts
                .alert(time, &SENSITIVE_FILE, &host, &process, &fields);
        }
    }
}

/// A developer opens a shell in a staging pod: the API server sees the exec (a `get`, as kubectl has used
/// WebSockets since 1.31), Falco the shell.
fn staging_shell(day: &mut Day, rng: &mut Rng, time: i64) {
    let person = PEOPLE
        .iter()
        .filter(|person| person.job == Job::Developer)
        .nth(rng.below(4) as usize);
    let Some(person) = person else { return };
    let user = kubectl_user(person, OFFICE);
    let pod = "orders-api-staging-6c9d9b8f7c-p4q2m";
    let exec = Request::core("get", "pods", "staging", pod)
        .sub("exec")
        .query("command=sh&container=orders-api&stdin=true&stdout=true&tty=true");
    day.audit.request(time, &user, &exec);
    let node = rng.pick(NODES);
    let id = rng.hex(12);
    let container = Container {
        node: node.name,
        id: &id,
        name: "orders-api",
        image: "registry.aldertree.example/orders-api",
        tag: "4.19.0-rc1",
        namespace: "staging",
        pod,
    };
    let process = Process {
        name: "sh",
        path: "/bin/busybox",
        parent: "containerd-shim",
        command: "sh",
        terminal: 34_816,
        event: "execve",
    };
    let fields = [(
        "evt.arg.flags",
        "exe_flags",
        r#""EXE_WRITABLE|EXE_LOWER_LAYER""#,
    )];
    day.alerts.alert(
        time + SECOND / 2,
        &TERMINAL_SHELL,
        &container,
        &process,
        &fields,
    );
    if rng.percent(30) {
        let curl = Process {
            name: "nc",
            path: "/usr/bin/nc",
            parent: "sh",
            command: "nc -zv orders-db.staging 5432",
            event: "dup2",
            ..process
        };
        let fields = [(
            "fd.name",
            "connection",
            r#""10.20.1.71:41022->10.20.8.14:5432""#,
        )];
        day.alerts
            .alert(time + 40 * SECOND, &REDIRECT, &container, &curl, &fields);
    }
}
