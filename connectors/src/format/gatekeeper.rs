//! OPA Gatekeeper: violations in its audit log, in its admission log, and as it exports them.
//!
//! Traps: only lines with `semantic` true are meant to be read; an audit tells every violation again in
//! each run, so the id of the finding is that of constraint, object and message, not of the run (one constraint
//! may have several things to say about one object); a request that was refused is no state but an event; in
//! the export form `kind` and `name` are those of the constraint.

use weir_engine::schema::col;

use super::{Decoded, Stop};
use crate::mapping::{Event, How, LogFormat};

const ACTIONS: How = How::Names(&[
    ("deny", "denied"),
    ("warn", "warned"),
    ("dryrun", "audited"),
]);

#[rustfmt::skip]
pub static VIOLATION: LogFormat = LogFormat {
    name: "Gatekeeper log line",
    source: "gatekeeper",
    family: "posture",
    product: "Gatekeeper",
    class: 2003,
    needs: &[&[("process", &["audit", "admission"]), ("event_type", &[]), ("ts", &[])]],
    uid: &["audit_id", "constraint_kind", "constraint_name", "resource_kind", "resource_namespace", "resource_name", "msg"],
    fields: &[
        ("ts", col::TIME, How::Time),
        ("msg", col::FINDING_DESC, How::Text),
        ("event_type", col::ACTIVITY, How::Text),
        ("audit_id", col::CORRELATION_UID, How::Text),
        ("constraint_kind", col::FINDING_TYPE, How::Text),
        ("constraint_kind", col::POLICY_UID, How::Text),
        ("constraint_name", col::FINDING_TITLE, How::Text),
        ("constraint_name", col::POLICY_NAME, How::Text),
        ("constraint_action", col::ACTION, ACTIONS),
        ("request_username", col::ACTOR_UID, How::Text),
        ("request_username", col::ACTOR_NAME, How::Text),
        ("resource_kind", col::RESOURCE_TYPE, How::Text),
        ("resource_namespace", col::K8S_NAMESPACE, How::Text),
        ("resource_name", col::RESOURCE_NAME, How::Text),
    ],
    fixed: &[(col::FINDING_STATUS, "open")],
    reads: &["semantic", "constraint_kind", "constraint_name", "resource_kind", "resource_namespace", "resource_name", "msg", "event_type", "constraint_action"],
    finish: Some(finish),
    ..LogFormat::NEW
};

#[rustfmt::skip]
pub static EXPORT: LogFormat = LogFormat {
    name: "Gatekeeper export message",
    source: "gatekeeper",
    family: "posture",
    product: "Gatekeeper",
    class: 2003,
    needs: &[&[("eventType", &["violation_audited", "violation"]), ("enforcementAction", &[]), ("resourceKind", &[])]],
    uid: &["id", "kind", "name", "resourceKind", "resourceNamespace", "resourceName", "message"],
    fields: &[
        ("id", col::TIME, How::Time),
        ("id", col::CORRELATION_UID, How::Text),
        ("message", col::FINDING_DESC, How::Text),
        ("eventType", col::ACTIVITY, How::Text),
        ("kind", col::FINDING_TYPE, How::Text),
        ("kind", col::POLICY_UID, How::Text),
        ("name", col::FINDING_TITLE, How::Text),
        ("name", col::POLICY_NAME, How::Text),
        ("enforcementAction", col::ACTION, ACTIONS),
        ("resourceKind", col::RESOURCE_TYPE, How::Text),
        ("resourceNamespace", col::K8S_NAMESPACE, How::Text),
        ("resourceName", col::RESOURCE_NAME, How::Text),
    ],
    fixed: &[(col::FINDING_STATUS, "open")],
    reads: &["eventType", "kind", "name", "resourceKind", "resourceNamespace", "resourceName", "message", "eventType", "enforcementAction"],
    finish: Some(finish),
    ..LogFormat::NEW
};

fn finish(event: &mut Event) -> Result<Decoded, Stop> {
    const SEMANTIC: usize = 0;
    const TYPE: usize = 7;
    const ACTION: usize = 8;
    let is_violation = event
        .text(TYPE)
        .is_some_and(|kind| kind.starts_with("violation"));
    // The export form has no `semantic`, and its event type stands in that place.
    if !is_violation || event.is(SEMANTIC, "false") {
        return Ok(Decoded::Filtered);
    }
    let parts: Vec<_> = (1..TYPE)
        .map(|at| event.text(at).unwrap_or_default())
        .collect();
    event.set(col::FINDING_UID, &parts.join("/"));
    // An audited object fails its check; a request fails only if it was denied.
    let request = event.is(TYPE, "violation");
    if request {
        event.set_int(col::CLASS_UID, 2004);
    }
    if !request || event.is(ACTION, "deny") {
        event.row.status(true);
    }
    if event.is(3, "Pod") {
        event.set(col::K8S_POD, &parts[4]);
    }
    Ok(Decoded::Row)
}
