//! GitHub audit log of organisations and enterprises.
//!
//! Traps: times are milliseconds as numbers; the repository is `repo` or `repository`; entries are flat and
//! their keys differ from action to action; the address is there only if the organisation asked for it; a failed sign-in has
//! no actor, but the user.

use weir_engine::schema::col;

use super::{Decoded, Stop};
use crate::mapping::{Event, How, LogFormat};

/// Who signs in is the user, whom some of these name alone.
const SIGN_INS: &[&str] = &[
    "user.login",
    "user.failed_login",
    "org.sso_response",
    "business.sso_response",
];

#[rustfmt::skip]
pub static AUDIT: LogFormat = LogFormat {
    name: "GitHub audit log entry",
    source: "github",
    product: "GitHub",
    class: 6003,
    needs: &[
        &[("action", &[]), ("@timestamp", &[]), ("actor", &[])],
        &[("action", &[]), ("@timestamp", &[]), ("_document_id", &[])],
        &[("action", &[]), ("created_at", &[]), ("actor", &[]), ("_document_id", &[])],
        &[("action", &[]), ("created_at", &[]), ("actor", &[]), ("actor_ip", &[])],
        &[("action", SIGN_INS), ("@timestamp", &[])],
        &[("action", SIGN_INS), ("created_at", &[])],
    ],
    nothing: &["(hidden)"],
    uid: &["_document_id"],
    fields: &[
        ("@timestamp", col::TIME, How::Time),
        ("created_at", col::TIME, How::Time),
        ("action", col::API_OPERATION, How::Text),
        ("operation_type", col::ACTIVITY, How::Text),
        ("request_id", col::API_REQUEST_UID, How::Text),
        ("actor", col::ACTOR_NAME, How::Text),
        // The id of a user is told in some entries only, the name in all.
        ("actor", col::ACTOR_UID, How::Text),
        ("actor_id", col::ACTOR_UID, How::Text),
        ("external_identity_nameid", col::ACTOR_UID, How::Text),
        ("external_identity_username", col::ACTOR_UID, How::Text),
        ("oauth_application_name", col::ACTOR_UID, How::Text),
        ("application_name", col::ACTOR_UID, How::Text),
        ("external_identity_username", col::ACTOR_NAME, How::Text),
        ("oauth_application_name", col::ACTOR_NAME, How::Text),
        ("application_name", col::ACTOR_NAME, How::Text),
        ("external_identity_nameid", col::ACTOR_EMAIL, How::Text),
        ("external_identity_username", col::ACTOR_EMAIL, How::Text),
        ("hashed_token", col::ACTOR_CREDENTIAL, How::Text),
        ("token_id", col::ACTOR_CREDENTIAL, How::Text),
        ("programmatic_access_type", col::AUTH_PROTOCOL, How::Text),
        ("transport_protocol_name", col::PROTOCOL, How::Text),
        ("actor_ip", col::SRC_IP, How::Address),
        ("actor_location.country_code", col::SRC_COUNTRY, How::Text),
        ("user_agent", col::USER_AGENT, How::Text),
        ("url_path", col::URL, How::Text),
        ("request_method", col::HTTP_METHOD, How::Text),
        ("status_code", col::HTTP_CODE, How::Int),
        ("oauth_application_id", col::ACTOR_APP_UID, How::Text),
        ("oauth_application_name", col::ACTOR_APP_NAME, How::Text),
        ("application_name", col::ACTOR_APP_NAME, How::Text),
        ("user", col::USER_NAME, How::Text),
        ("user_id", col::USER_UID, How::Text),
        ("team", col::USER_NAME, How::Text),
        ("repo", col::RESOURCE_NAME, How::Text),
        ("repository", col::RESOURCE_NAME, How::Text),
        ("repo_id", col::RESOURCE_UID, How::Text),
        ("repository_id", col::RESOURCE_UID, How::Text),
        ("org", col::CLOUD_ACCOUNT, How::Text),
        ("business", col::CLOUD_ORG, How::Text),
        ("permission", col::ACTOR_ROLE, How::Text),
        ("message", col::MESSAGE, How::Text),
        ("explanation", col::MESSAGE, How::Text),
    ],
    reads: &["action", "repo", "repository", "actor_is_bot", "status_code", "conclusion", "actor", "user"],
    finish: Some(finish),
    ..LogFormat::NEW
};

fn finish(event: &mut Event) -> Result<Decoded, Stop> {
    // `org.add_member`: what was acted upon, and how.
    let action = event.text(0).unwrap_or_default();
    let kind = action.split('.').next().unwrap_or_default();
    event.set(col::API_SERVICE, kind);
    if event.value(1).is_some() || event.value(2).is_some() {
        event.set(col::RESOURCE_TYPE, "repository");
    }
    event.set(col::RESOURCE_TYPE, kind);
    let bot = event.is(3, "true");
    event.set(col::ACTOR_TYPE, if bot { "Bot" } else { "User" });
    let class = match &*action {
        action if SIGN_INS.contains(&action) => 3002,
        "org.add_member" | "org.remove_member" | "org.update_member" | "org.invite_member"
        | "team.add_member" | "team.remove_member" | "repo.add_member" | "repo.remove_member" => {
            3006
        }
        _ => 6003,
    };
    event.set_int(col::CLASS_UID, class);
    if class == 3002 && event.text(6).is_none() {
        let user = event.text(7).unwrap_or_default();
        event.set(col::ACTOR_UID, &user);
        event.set(col::ACTOR_NAME, &user);
    }
    // Few entries say how it ended.
    let code = event.int(4).filter(|code| (200..600).contains(code));
    match (&*action, event.text(5).as_deref(), code) {
        ("user.login", ..) | (_, Some("success"), _) => event.row.status(false),
        (_, Some("failure"), _) => event.row.status(true),
        (action, ..) if action.ends_with("failed_login") || action.contains(".rejected_") => {
            event.row.status(true);
        }
        (_, _, Some(code)) => event.row.status(code >= 400),
        _ => {}
    }
    Ok(Decoded::Row)
}
