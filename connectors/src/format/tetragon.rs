//! Tetragon events (the JSON export of its agent).
//!
//! Traps: what happened is the name of the one key that holds a process; `auid` 4294967295 means unset; an
//! exec and its exit tell of the same process, so the id is made of more than its `exec_id`.

use weir_engine::schema::col;

use super::{Decoded, Stop};
use crate::mapping::{Event, How, LogFormat};

/// The columns of an event under one key.
macro_rules! event {
    ($name:ident, $kind:literal, $action:literal) => {
        #[rustfmt::skip]
        pub static $name: LogFormat = LogFormat {
            name: concat!("Tetragon ", $kind),
            source: "tetragon",
            family: "agent_alerts",
            product: "Tetragon",
            class: 1007,
            needs: &[&[(concat!($kind, ".process"), &[])]],
            fields: &[
                ("time", col::TIME, How::Time),
                (concat!($kind, ".process.start_time"), col::TIME, How::Time),
                ("node_name", col::HOSTNAME, How::Text),
                ("cluster_name", col::K8S_CLUSTER, How::Text),
                (concat!($kind, ".policy_name"), col::POLICY_NAME, How::Text),
                (concat!($kind, ".policy_name"), col::FINDING_TITLE, How::Text),
                (concat!($kind, ".message"), col::MESSAGE, How::Text),
                (concat!($kind, ".tags"), col::FINDING_TAGS, How::Json),
                (concat!($kind, ".function_name"), col::API_OPERATION, How::Text),
                // Of a tracepoint.
                (concat!($kind, ".event"), col::API_OPERATION, How::Text),
                (concat!($kind, ".action"), col::ACTION, How::Lower),
                (concat!($kind, ".signal"), col::STATUS_DETAIL, How::Text),
                (concat!($kind, ".status"), col::STATUS_CODE, How::Text),
                (concat!($kind, ".process.exec_id"), col::PROCESS_UID, How::Text),
                (concat!($kind, ".process.pid"), col::PROCESS_PID, How::Int),
                (concat!($kind, ".process.uid"), col::ACTOR_UID, How::Text),
                (concat!($kind, ".process.binary"), col::PROCESS_EXE, How::Text),
                (concat!($kind, ".process.pod.namespace"), col::K8S_NAMESPACE, How::Text),
                (concat!($kind, ".process.pod.name"), col::K8S_POD, How::Text),
                (concat!($kind, ".process.pod.workload"), col::K8S_WORKLOAD, How::Text),
                (concat!($kind, ".process.pod.container.id"), col::CONTAINER_UID, How::Text),
                (concat!($kind, ".process.pod.container.name"), col::CONTAINER_NAME, How::Text),
                (concat!($kind, ".process.pod.container.image.name"), col::CONTAINER_IMAGE, How::Text),
                (concat!($kind, ".process.docker"), col::CONTAINER_UID, How::Text),
                (concat!($kind, ".args[0].file_arg.path"), col::FILE_PATH, How::Text),
                (concat!($kind, ".args[0].path_arg.path"), col::FILE_PATH, How::Text),
                (concat!($kind, ".args[0].sock_arg.saddr"), col::SRC_IP, How::Address),
                (concat!($kind, ".args[0].sock_arg.sport"), col::SRC_PORT, How::Int),
                (concat!($kind, ".args[0].sock_arg.daddr"), col::DST_IP, How::Address),
                (concat!($kind, ".args[0].sock_arg.dport"), col::DST_PORT, How::Int),
                (concat!($kind, ".args[0].sock_arg.protocol"), col::PROTOCOL, How::Text),
                (concat!($kind, ".source_ip"), col::SRC_IP, How::Address),
                (concat!($kind, ".source_port"), col::SRC_PORT, How::Int),
                (concat!($kind, ".destination_ip"), col::DST_IP, How::Address),
                (concat!($kind, ".destination_port"), col::DST_PORT, How::Int),
                (concat!($kind, ".destination_names[0]"), col::DST_DOMAIN, How::Text),
                (concat!($kind, ".protocol"), col::PROTOCOL, How::Text),
            ],
            fixed: &[(col::ACTIVITY, $action)],
            reads: &[
                concat!($kind, ".process.binary"),
                concat!($kind, ".process.arguments"),
                concat!($kind, ".parent.binary"),
            ],
            finish: Some(finish),
            ..LogFormat::NEW
        };
    };
}

event!(EXEC, "process_exec", "exec");
event!(EXIT, "process_exit", "exit");
event!(KPROBE, "process_kprobe", "kprobe");
event!(TRACEPOINT, "process_tracepoint", "tracepoint");
event!(LSM, "process_lsm", "lsm");
event!(CONNECT, "process_connect", "connect");
event!(CLOSE, "process_close", "close");
event!(LISTEN, "process_listen", "listen");

fn finish(event: &mut Event) -> Result<Decoded, Stop> {
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    if let Some(binary) = event.text(0) {
        event.set(col::PROCESS_NAME, &name(&binary));
        let arguments = event.text(1).unwrap_or_default();
        let line = format!("{binary} {arguments}");
        event.set(col::PROCESS_CMD_LINE, line.trim_end());
    }
    if let Some(parent) = event.text(2) {
        event.set(col::PROCESS_PARENT_NAME, &name(&parent));
    }
    Ok(Decoded::Row)
}
