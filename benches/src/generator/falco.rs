//! Falco alerts of about 1.4 KB, as Falcosidekick forwards them.

use super::Event;
use super::text::{Rng, push_time, push_uuid};

/// Text prepared per container and per rule.
#[derive(Debug)]
pub struct Templates {
    containers: Vec<Container>,
    ordinary: Vec<Rule>,
    attacks: Vec<Rule>,
}

#[derive(Debug)]
struct Container {
    /// End of the `output` text.
    text: Vec<u8>,
    /// Output fields.
    fields: Vec<u8>,
    /// `hostname` and its value.
    host: Vec<u8>,
}

#[derive(Debug)]
struct Rule {
    /// Output text after the clock.
    text: Vec<u8>,
    /// From the end of `output` to `time`'s value.
    head: Vec<u8>,
    /// Output fields of the process.
    fields: Vec<u8>,
    /// `tags` and the end.
    tail: Vec<u8>,
}

/// Name, priority, message, process, command line, tags.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const ORDINARY: &[Row] = &[
    (
        "Contact K8S API Server From Container",
        "Notice",
        "Unexpected connection to K8s API Server from container",
        "operator",
        "operator --leader-elect",
        r#""T1565","container","k8s","maturity_stable","mitre_discovery","network""#,
    ),
    (
        "Launch Package Management Process in Container",
        "Error",
        "Package management process launched in container",
        "apt-get",
        "apt-get install -y libpq-dev",
        r#""T1505","container","maturity_incubating","mitre_persistence","process","software_mgmt""#,
    ),
];

const ATTACKS: &[Row] = &[
    (
        "Terminal shell in container",
        "Notice",
        "A shell was spawned in a container with an attached terminal",
        "bash",
        "bash -i",
        r#""T1059","container","maturity_stable","mitre_execution","shell""#,
    ),
    (
        "Read sensitive file untrusted",
        "Warning",
        "Sensitive file opened for reading by non-trusted program",
        "cat",
        "cat /etc/shadow",
        r#""T1555","container","filesystem","host","maturity_stable","mitre_credential_access""#,
    ),
    (
        "Drop and execute new binary in container",
        "Critical",
        "Executing binary not part of base image",
        "kworkerds",
        "kworkerds -o 192.0.2.77:3333",
        r#""PCI_DSS_11.5.1","TA0003","container","maturity_stable","mitre_persistence","process""#,
    ),
];

impl Templates {
    pub fn new(identities: u32) -> Self {
        Self {
            containers: (0..identities).map(container).collect(),
            ordinary: ORDINARY.iter().map(rule).collect(),
            attacks: ATTACKS.iter().map(rule).collect(),
        }
    }

    pub fn append(&self, out: &mut Vec<u8>, event: &Event, rng: &mut Rng) {
        let rules = if event.is_attack {
            &self.attacks
        } else {
            &self.ordinary
        };
        let rule = rng.pick(rules);
        let container = rng.pick(&self.containers);
        let nanos = rng.below(1_000);
        out.extend_from_slice(br#"{"uuid":""#);
        push_uuid(out, rng);
        out.extend_from_slice(br#"","output":""#);
        let start = out.len();
        push_time(out, event.time_us, 9, nanos);
        // Falco's text has the clock only.
        out.drain(start..start + "2026-11-09T".len());
        out.pop();
        out.extend_from_slice(&rule.text);
        out.extend_from_slice(&container.text);
        out.extend_from_slice(&rule.head);
        push_time(out, event.time_us, 9, nanos);
        out.extend_from_slice(br#"","source":"syscall","output_fields":{"#);
        out.extend_from_slice(&container.fields);
        out.extend_from_slice(format!("{}{nanos:03}", event.time_us).as_bytes());
        out.extend_from_slice(&rule.fields);
        out.extend_from_slice(&container.host);
        out.extend_from_slice(&rule.tail);
    }
}

fn container(number: u32) -> Container {
    let (id, node) = (
        format!("{:012x}", u64::from(number) * 0x9e37_79b9),
        number % 500,
    );
    let (pod, team) = (format!("app-{number:06}-5f7c8d9b6d-lq2xk"), number % 200);
    Container {
        text: format!(
            " container_id={id} container_name=app container_image_repository=registry.aldertree.example/app container_image_tag=4.18.2 k8s_pod_name={pod} k8s_ns_name=team-{team:03}"
        )
        .into_bytes(),
        fields: format!(
            r#""container.id":"{id}","container.image.repository":"registry.aldertree.example/app","container.image.tag":"4.18.2","container.name":"app","k8s.ns.name":"team-{team:03}","k8s.pod.name":"{pod}","evt.time":"#
        )
        .into_bytes(),
        host: format!(r#"}},"hostname":"ip-10-20-{}-{}.ec2.internal""#, node / 250, node % 250).into_bytes(),
    }
}

fn rule(&(name, priority, message, process, command, tags): &Row) -> Rule {
    Rule {
        text: format!(
            ": {priority} {message} | evt_type=execve user=root user_uid=0 user_loginuid=-1 process={process} proc_exepath=/usr/bin/{process} parent=containerd-shim command={command} terminal=34816"
        )
        .into_bytes(),
        head: format!(r#"","priority":"{priority}","rule":"{name}","time":""#).into_bytes(),
        fields: format!(
            r#","evt.type":"execve","proc.cmdline":"{command}","proc.exepath":"/usr/bin/{process}","proc.name":"{process}","proc.pname":"containerd-shim","proc.tty":34816,"user.loginuid":-1,"user.name":"root","user.uid":0"#
        )
        .into_bytes(),
        tail: format!(r#","tags":[{tags}]}}"#).into_bytes(),
    }
}
