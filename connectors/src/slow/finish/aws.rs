//! Hooks of what AWS finds.

use serde_json::Value;
use weir_engine::schema::col;

use super::Seen;
use crate::slow::Json;
use crate::slow::columns::address;

pub fn guardduty(seen: &mut Seen) {
    if let Some((purpose, _)) = seen.text("type").unwrap_or_default().split_once(':') {
        seen.set(col::FINDING_ATTACKS, purpose);
    }
    let first = "service.detection.sequence.actors[0]";
    let mut mfa = seen.text(&format!("{first}.session.mfaStatus"));
    let has_user = seen.has_any(
        &[&format!("{first}.user.uid"), &format!("{first}.user.name")]
            .each_ref()
            .map(|path| path.as_str()),
    );
    if !has_user {
        mfa = sequence_user(seen).or(mfa);
    }
    if seen
        .text("service.detection.sequence.endpoints[0].ip")
        .is_none()
    {
        for endpoint in seen.list("service.detection.sequence.endpoints") {
            if let Some(address) = address(&either(&endpoint, "ip")) {
                seen.late.push((col::SRC_IP, address));
                break;
            }
        }
    }
    match mfa.as_deref() {
        Some("ENABLED") => seen.columns.set(col::ACTOR_SESSION_MFA, true),
        Some("DISABLED") => seen.columns.set(col::ACTOR_SESSION_MFA, false),
        _ => {}
    }
    let archived = seen.is("service.archived", "true");
    seen.set(
        col::FINDING_STATUS,
        if archived { "archived" } else { "active" },
    );
    let connection = "service.action.networkConnectionAction";
    let outbound = seen.is(&format!("{connection}.connectionDirection"), "OUTBOUND");
    for (side, is_source) in [("local", outbound), ("remote", !outbound)] {
        let (address, port) = match is_source {
            true => (col::SRC_IP, col::SRC_PORT),
            false => (col::DST_IP, col::DST_PORT),
        };
        for version in ["V4", "V6"] {
            // Of this end AWS names the older kind of address alone.
            if side == "remote" || version == "V4" {
                let value = seen.value(&format!("{connection}.{side}IpDetails.ipAddress{version}"));
                seen.columns.address(address, value.and_then(Json::string));
            }
        }
        if let Some(number) = seen.int(&format!("{connection}.{side}PortDetails.port")) {
            seen.columns.set(port, number);
        }
    }
}

/// The text of a member that may begin with a capital.
fn either(of: &Value, name: &str) -> String {
    let text = object(of, name).as_str().unwrap_or_default().to_owned();
    match text == "HIDDEN_DUE_TO_SECURITY_REASONS" {
        true => String::new(),
        false => text,
    }
}

fn object(of: &Value, name: &str) -> Value {
    let capital = name[..1].to_uppercase() + &name[1..];
    let found = of.get(name).filter(|value| !value.is_null());
    found.or(of.get(&capital)).cloned().unwrap_or_default()
}

/// The first actor of an attack sequence that has a user, and the second factor of its session.
fn sequence_user(seen: &mut Seen) -> Option<String> {
    for actor in seen.list("service.detection.sequence.actors") {
        let (user, session) = (object(&actor, "user"), object(&actor, "session"));
        let (uid, name) = (either(&user, "uid"), either(&user, "name"));
        if uid.is_empty() && name.is_empty() {
            continue;
        }
        for (column, text) in [
            (col::ACTOR_UID, uid),
            (col::ACTOR_UID, name.clone()),
            (col::ACTOR_NAME, name),
            (col::ACTOR_TYPE, either(&user, "type")),
            (col::ACTOR_CREDENTIAL, either(&user, "credentialUid")),
            (col::ACTOR_ACCOUNT, either(&object(&user, "account"), "uid")),
            (col::ACTOR_SESSION_UID, either(&session, "uid")),
            (col::ACTOR_ISSUER, either(&session, "issuer")),
        ] {
            seen.late.push((column, text));
        }
        return Some(either(&session, "mfaStatus"));
    }
    None
}

pub fn security_hub(seen: &mut Seen) {
    if let Some(status) = seen.text("Compliance.Status") {
        seen.set(col::FAMILY, "posture");
        seen.columns.set(col::CLASS_UID, 2003);
        if status == "PASSED" || status == "FAILED" {
            seen.columns.status(status == "FAILED");
        }
    } else if seen.value("Vulnerabilities[0].Id").is_some() {
        seen.set(col::FAMILY, "posture");
        seen.columns.set(col::CLASS_UID, 2002);
    }
    let kind = seen.text("Types[0]").unwrap_or_default();
    let parts: Vec<_> = kind.split('/').collect();
    if let ["TTPs", tactic, ..] = parts.as_slice() {
        seen.set(col::FINDING_ATTACKS, tactic);
    }
}
