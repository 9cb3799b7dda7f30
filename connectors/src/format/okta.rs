//! Okta System Log (`LogEvent`).
//!
//! Traps: `target` is a list of things of any type; the zone of a client may be the text `"null"`; JSON
//! stands in strings of `debugData`; the kind of event decides about the OCSF class; who signs in under a name that Okta
//! does not know has the id `unknown`.

use weir_engine::schema::col;

use super::{Decoded, Stop};
use crate::mapping::{Event, How, LogFormat};

const SEVERITY: How = How::Words(&[("DEBUG", 1), ("INFO", 1), ("WARN", 3), ("ERROR", 4)]);

const RESULT: How = How::Names(&[
    ("SUCCESS", "success"),
    ("ALLOW", "success"),
    ("FAILURE", "failure"),
    ("DENY", "failure"),
]);

#[rustfmt::skip]
pub static LOG_EVENT: LogFormat = LogFormat {
    name: "Okta System Log event",
    source: "okta",
    family: "identity",
    product: "Okta",
    class: 6003,
    needs: &[&[("eventType", &[]), ("published", &[]), ("actor", &[]), ("outcome", &[])],
             &[("eventType", &[]), ("published", &[]), ("actor", &[]), ("uuid", &[])]],
    nothing: &["null", "unknown"],
    uid: &["uuid"],
    fields: &[
        ("published", col::TIME, How::Time),
        ("severity", col::SEVERITY_ID, SEVERITY),
        ("displayMessage", col::MESSAGE, How::Text),
        ("eventType", col::API_OPERATION, How::Text),
        ("transaction.id", col::CORRELATION_UID, How::Text),
        ("debugContext.debugData.requestId", col::API_REQUEST_UID, How::Text),
        ("debugContext.debugData.requestUri", col::URL, How::Text),
        ("debugContext.debugData.authnRequestId", col::API_REQUEST_UID, How::Text),
        ("outcome.result", col::STATUS, RESULT),
        ("outcome.result", col::STATUS_CODE, How::Text),
        ("outcome.reason", col::STATUS_DETAIL, How::Text),
        ("actor.id", col::ACTOR_UID, How::Text),
        ("actor.alternateId", col::ACTOR_UID, How::Text),
        ("actor.displayName", col::ACTOR_UID, How::Text),
        ("actor.alternateId", col::ACTOR_NAME, How::Text),
        ("actor.displayName", col::ACTOR_NAME, How::Text),
        ("actor.alternateId", col::ACTOR_EMAIL, How::Text),
        ("actor.type", col::ACTOR_TYPE, How::Text),
        ("authenticationContext.externalSessionId", col::ACTOR_SESSION_UID, How::Text),
        ("authenticationContext.rootSessionId", col::ACTOR_SESSION_UID, How::Text),
        ("authenticationContext.issuer.id", col::ACTOR_ISSUER, How::Text),
        ("authenticationContext.credentialType", col::AUTH_PROTOCOL, How::Text),
        ("authenticationContext.credentialProvider", col::AUTH_PROTOCOL, How::Text),
        ("client.ipAddress", col::SRC_IP, How::Address),
        ("request.ipChain[0].ip", col::SRC_IP, How::Address),
        ("client.geographicalContext.city", col::SRC_CITY, How::Text),
        ("securityContext.asNumber", col::SRC_ASN, How::Int),
        ("securityContext.asOrg", col::SRC_AS_NAME, How::Text),
        ("securityContext.domain", col::SRC_DOMAIN, How::Text),
        ("client.geographicalContext.geolocation.lat", col::SRC_LAT, How::Float),
        ("client.geographicalContext.geolocation.lon", col::SRC_LONG, How::Float),
        ("client.userAgent.rawUserAgent", col::USER_AGENT, How::Text),
        ("device.id", col::DEVICE_INSTANCE, How::Text),
        ("device.name", col::HOSTNAME, How::Text),
        ("target[0].id", col::RESOURCE_UID, How::Text),
        ("target[0].alternateId", col::RESOURCE_NAME, How::Text),
        ("target[0].displayName", col::RESOURCE_NAME, How::Text),
        ("target[0].type", col::RESOURCE_TYPE, How::Text),
    ],
    reads: &["eventType", "target", "debugContext.debugData.logOnlySecurityData", "debugContext.debugData.risk"],
    finish: Some(finish),
    ..LogFormat::NEW
};

fn finish(event: &mut Event) -> Result<Decoded, Stop> {
    const TYPE: usize = 0;
    const TARGETS: usize = 1;
    const SECURITY: usize = 2;
    const RISK: usize = 3;
    let kind = event.text(TYPE).unwrap_or_default();
    let mut parts = kind.split('.');
    let class = match [parts.next(), parts.next()] {
        [Some("user"), Some("session" | "authentication" | "mfa")] => 3002,
        [Some("policy"), Some("evaluate_sign_on")] if parts.next().is_none() => 3002,
        [
            Some("user" | "group"),
            Some("lifecycle" | "account" | "user_membership" | "privilege"),
        ] => 3001,
        [Some("security"), Some("threat" | "attack")] => 2004,
        _ => 6003,
    };
    event.set_int(col::CLASS_UID, class);
    if class == 2004 {
        event.set(col::FINDING_TYPE, &kind);
    }
    let targets = event.strings(TARGETS, ["type", "id", "alternateId", "displayName"]);
    for [kind, id, alternate, name] in targets {
        let [id, alternate, name] = [id, alternate, name].map(Option::unwrap_or_default);
        match kind.as_deref() {
            Some("User" | "AppUser" | "UserGroup") => {
                event.set(col::USER_UID, &id);
                event.set(col::USER_NAME, &alternate);
            }
            Some("AppInstance") => {
                event.set(col::ACTOR_APP_UID, &id);
                event.set(col::ACTOR_APP_NAME, &name);
            }
            _ => {}
        }
    }
    // `{"risk":{"level":"LOW"},…}`, or `{reasons=…, level=LOW}`.
    let security = event.text(SECURITY).unwrap_or_default();
    let security: serde_json::Value = serde_json::from_str(&security).unwrap_or_default();
    if let Some(level) = security["risk"]["level"].as_str() {
        event.set(col::RISK_LEVEL, &level.to_lowercase());
    }
    if let Some(risk) = event.text(RISK)
        && let Some((_, level)) = risk.split_once("level=")
    {
        let level: String = level
            .chars()
            .take_while(|c| c.is_ascii_alphabetic())
            .collect();
        event.set(col::RISK_LEVEL, &level.to_lowercase());
    }
    Ok(Decoded::Row)
}
