//! Falco alerts as Falcosidekick forwards them: one JSON object a line, `uuid` first.

use super::clock;
use super::log::{Delivery, Log};
use super::rng::Rng;

/// A rule of Falco's own rule set.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    pub name: &'static str,
    pub priority: &'static str,
    pub message: &'static str,
    /// JSON array.
    pub tags: &'static str,
}

pub const TERMINAL_SHELL: Rule = Rule {
    name: "Terminal shell in container",
    priority: "Notice",
    message: "A shell was spawned in a container with an attached terminal",
    tags: r#"["T1059","container","maturity_stable","mitre_execution","shell"]"#,
};
pub const SENSITIVE_FILE: Rule = Rule {
    name: "Read sensitive file untrusted",
    priority: "Warning",
    message: "Sensitive file opened for reading by non-trusted program",
    tags: r#"["T1555","container","filesystem","host","maturity_stable","mitre_credential_access"]"#,
};
pub const CONTACT_API: Rule = Rule {
    name: "Contact K8S API Server From Container",
    priority: "Notice",
    message: "Unexpected connection to K8s API Server from container",
    tags: r#"["T1565","container","k8s","maturity_stable","mitre_discovery","network"]"#,
};
pub const REDIRECT: Rule = Rule {
    name: "Redirect STDOUT/STDIN to Network Connection in Container",
    priority: "Notice",
    message: "Redirect stdout/stdin to network connection",
    tags: r#"["T1059","container","maturity_stable","mitre_execution","network","process"]"#,
};
pub const SHELL_UNTRUSTED: Rule = Rule {
    name: "Run shell untrusted",
    priority: "Notice",
    message: "Shell spawned by untrusted binary",
    tags: r#"["T1059.004","container","host","maturity_stable","mitre_execution","process","shell"]"#,
};
pub const NEW_BINARY: Rule = Rule {
    name: "Drop and execute new binary in container",
    priority: "Critical",
    message: "Executing binary not part of base image",
    tags: r#"["PCI_DSS_11.5.1","TA0003","container","maturity_stable","mitre_persistence","process"]"#,
};
pub const FIND_KEYS: Rule = Rule {
    name: "Search Private Keys or Passwords",
    priority: "Warning",
    message: "Grep private keys or passwords activities found",
    tags: r#"["T1552.001","container","filesystem","host","maturity_stable","mitre_credential_access","process"]"#,
};
pub const PRIVILEGED: Rule = Rule {
    name: "Launch Privileged Container",
    priority: "Informational",
    message: "Privileged container started",
    tags: r#"["PCI_DSS_10.2.5","T1610","cis","container","maturity_incubating","mitre_execution"]"#,
};
pub const MINER_PORT: Rule = Rule {
    name: "Detect outbound connections to common miner pool ports",
    priority: "Critical",
    message: "Outbound connection to IP/Port flagged by https://cryptoioc.ch",
    tags: r#"["T1496","container","host","maturity_sandbox","mitre_impact","network"]"#,
};
pub const PACKAGE_MANAGER: Rule = Rule {
    name: "Launch Package Management Process in Container",
    priority: "Error",
    message: "Package management process launched in container",
    tags: r#"["T1505","container","maturity_incubating","mitre_persistence","process","software_mgmt"]"#,
};

/// Where an alert comes from.
#[derive(Debug, Clone, Copy)]
pub struct Container<'a> {
    pub node: &'a str,
    pub id: &'a str,
    pub name: &'a str,
    pub image: &'a str,
    pub tag: &'a str,
    pub namespace: &'a str,
    pub pod: &'a str,
}

/// A process, as nearly every rule prints it.
#[derive(Debug, Clone, Copy)]
pub struct Process<'a> {
    pub name: &'a str,
    pub path: &'a str,
    pub parent: &'a str,
    pub command: &'a str,
    /// 0 where there is none.
    pub terminal: u32,
    pub event: &'a str,
}

/// The day's alerts.
#[derive(Debug)]
pub struct Alerts {
    pub log: Log,
    rng: Rng,
}

impl Alerts {
    pub fn new(seed: u64, day: u64) -> Self {
        Self {
            log: Log::new(Delivery::FALCO, Rng::new(seed, "falco delivery", day)),
            rng: Rng::new(seed, "falco ids", day),
        }
    }

    /// One alert; `more` are output fields beyond those of the container and the process, as
    /// `(field, name in the text, JSON value)`. Returns its `uuid`.
    pub fn alert(
        &mut self,
        time: i64,
        rule: &Rule,
        container: &Container,
        process: &Process,
        more: &[(&str, &str, &str)],
    ) -> String {
        let uuid = self.rng.uuid();
        let nanos = self.rng.between(0, 999);
        let quoted = |text: &str| format!("\"{text}\"");
        let evt_time = format!("{time}{nanos:03}");
        let terminal = process.terminal.to_string();
        let strings = [
            quoted(process.event),
            quoted(process.name),
            quoted(process.path),
            quoted(process.parent),
            quoted(process.command),
            quoted(container.id),
            quoted(container.name),
            quoted(container.image),
            quoted(container.tag),
            quoted(container.pod),
            quoted(container.namespace),
        ];
        let mut fields: Vec<(&str, &str, &str)> = more.to_vec();
        fields.extend([
            ("evt.type", "evt_type", strings[0].as_str()),
            ("user.name", "user", r#""root""#),
            ("user.uid", "user_uid", "0"),
            ("user.loginuid", "user_loginuid", "-1"),
            ("proc.name", "process", &strings[1]),
            ("proc.exepath", "proc_exepath", &strings[2]),
            ("proc.pname", "parent", &strings[3]),
            ("proc.cmdline", "command", &strings[4]),
            ("proc.tty", "terminal", &terminal),
            ("container.id", "container_id", &strings[5]),
            ("container.name", "container_name", &strings[6]),
            (
                "container.image.repository",
                "container_image_repository",
                &strings[7],
            ),
            ("container.image.tag", "container_image_tag", &strings[8]),
            ("k8s.pod.name", "k8s_pod_name", &strings[9]),
            ("k8s.ns.name", "k8s_ns_name", &strings[10]),
        ]);
        let mut text = format!("{} |", rule.message);
        for (_, name, value) in &fields {
            text.push(' ');
            text.push_str(name);
            text.push('=');
            text.push_str(value.trim_matches('"'));
        }
        fields.push(("evt.time", "", &evt_time));
        fields.sort_unstable_by_key(|(field, _, _)| *field);
        self.log.push(time, |out| {
            write_alert(
                out,
                (time, nanos),
                &uuid,
                rule,
                container.node,
                &text,
                &fields,
                "syscall",
            );
        });
        uuid
    }

    /// Falco's hourly report about itself.
    pub fn metrics(&mut self, time: i64, node: &str, events: u64) {
        let uuid = self.rng.uuid();
        let nanos = self.rng.between(0, 999);
        let rule = Rule {
            name: "Falco internal: metrics snapshot",
            priority: "Informational",
            message: "",
            tags: "[]",
        };
        let evt_time = format!("{time}{nanos:03}");
        let host = format!("\"{node}\"");
        let count = events.to_string();
        let rate = (events / 3_600).to_string();
        let fields = [
            ("evt.hostname", "", host.as_str()),
            ("evt.source", "", r#""syscall""#),
            ("evt.time", "", &evt_time),
            ("falco.duration_sec", "", "3600"),
            ("falco.evts_rate_sec", "", &rate),
            ("falco.host_num_cpus", "", "8"),
            (
                "falco.kernel_release",
                "",
                r#""6.12.55-74.119.amzn2023.x86_64""#,
            ),
            ("falco.num_evts", "", &count),
            ("falco.outputs_queue_num_drops", "", "0"),
            ("falco.version", "", r#""0.42.1""#),
            ("scap.engine_name", "", r#""modern_bpf""#),
            ("scap.n_drops", "", "0"),
            ("scap.n_drops_perc", "", "0.0"),
        ];
        self.log.push(time, |out| {
            write_alert(
                out,
                (time, nanos),
                &uuid,
                &rule,
                node,
                "Falco metrics snapshot",
                &fields,
                "internal",
            );
        });
    }
}

#[allow(clippy::too_many_arguments)]
fn write_alert(
    out: &mut String,
    (time, nanos): (i64, i64),
    uuid: &str,
    rule: &Rule,
    node: &str,
    text: &str,
    fields: &[(&str, &str, &str)],
    source: &str,
) {
    out.push_str(r#"{"uuid":""#);
    out.push_str(uuid);
    out.push_str(r#"","output":""#);
    if source == "syscall" {
        clock::push_clock_nanos(out, time, nanos);
        out.push_str(": ");
        out.push_str(rule.priority);
        out.push(' ');
    }
    out.push_str(text);
    out.push_str(r#"","priority":""#);
    out.push_str(rule.priority);
    out.push_str(r#"","rule":""#);
    out.push_str(rule.name);
    out.push_str(r#"","time":""#);
    clock::push_nanos(out, time, nanos);
    out.push_str(r#"","source":""#);
    out.push_str(source);
    out.push_str(r#"","output_fields":{"#);
    for (index, (field, _, value)) in fields.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push('"');
        out.push_str(field);
        out.push_str("\":");
        out.push_str(value);
    }
    out.push_str(r#"},"hostname":""#);
    out.push_str(node);
    out.push_str(r#"","tags":"#);
    out.push_str(rule.tags);
    out.push('}');
}
