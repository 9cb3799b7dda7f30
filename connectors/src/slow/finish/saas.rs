//! Hooks of services that know people: Entra ID, Okta, GitHub; and of OCSF.

use serde_json::Value;
use weir_engine::schema::col;

use super::Seen;
use crate::slow::Json;
use crate::slow::columns::int;

pub fn sign_in(name: &str, seen: &mut Seen) {
    let graph = name.ends_with("Graph");
    let (code, requirement) = match graph {
        true => (
            seen.text("status.errorCode"),
            seen.text("authenticationRequirement"),
        ),
        false => (
            seen.any(&["resultType", "properties.status.errorCode"]),
            seen.text("properties.authenticationRequirement"),
        ),
    };
    if let Some(code) = code {
        sign_in_status(seen, &code);
    }
    match requirement.as_deref() {
        Some("multiFactorAuthentication") => seen.columns.set(col::ACTOR_SESSION_MFA, true),
        Some("singleFactorAuthentication") => seen.columns.set(col::ACTOR_SESSION_MFA, false),
        _ => {}
    }
}

/// The outcome that an error code of a sign-in tells.
pub fn sign_in_status(seen: &mut Seen, code: &str) {
    let interrupted = |code| crate::format::entra::INTERRUPTS.contains(&code);
    match int(code) {
        Some(0) => seen.columns.status(false),
        Some(code) if interrupted(code) => seen.set(col::STATUS, "interrupted"),
        Some(_) => seen.columns.status(true),
        None => match code.to_lowercase().as_str() {
            "success" | "succeeded" => seen.columns.status(false),
            "failure" | "failed" => seen.columns.status(true),
            _ => {}
        },
    }
}

pub fn entra_audit(seen: &mut Seen, under: &str) {
    let app = seen
        .value(&format!("{under}initiatedBy.app"))
        .is_some_and(Json::is_object);
    seen.set(col::ACTOR_TYPE, if app { "Application" } else { "User" });
    let targets = seen.objects(&format!("{under}targetResources"));
    let target = targets.into_iter().find(|target| {
        let kind = last(*target, "type").unwrap_or_default();
        ["User", "Group", "ServicePrincipal"].contains(&kind.as_str())
    });
    if let Some(target) = target {
        seen.set(col::USER_UID, &last(target, "id").unwrap_or_default());
        let name = last(target, "userPrincipalName").or(last(target, "displayName"));
        seen.set(col::USER_NAME, &name.unwrap_or_default());
    }
    for detail in seen.objects(&format!("{under}additionalDetails")) {
        if last(detail, "key").as_deref() == Some("User-Agent") {
            let agent = last(detail, "value").unwrap_or_default();
            seen.late.push((col::USER_AGENT, agent));
        }
    }
}

/// The string under a key; of a key that comes back, the last value counts.
fn last(object: Json, key: &str) -> Option<String> {
    object.under(key).last()?.string()
}

pub fn okta(seen: &mut Seen) {
    let kind = seen.text("eventType").unwrap_or_default();
    let begins = |prefix: &str| kind == prefix || kind.starts_with(&format!("{prefix}."));
    let any = |prefixes: &[&str]| prefixes.iter().any(|prefix| begins(prefix));
    let class = if any(&["user.session", "user.authentication", "user.mfa"])
        || kind == "policy.evaluate_sign_on"
    {
        3002
    } else if ["user", "group"].iter().any(|subject| {
        let about = ["lifecycle", "account", "user_membership", "privilege"];
        about
            .iter()
            .any(|about| begins(&format!("{subject}.{about}")))
    }) {
        3001
    } else if any(&["security.threat", "security.attack"]) {
        2004
    } else {
        6003
    };
    seen.columns.set(col::CLASS_UID, class);
    if class == 2004 {
        seen.set(col::FINDING_TYPE, &kind);
    }
    for target in seen.objects("target") {
        let text = |name: &str| last(target, name).unwrap_or_default();
        match last(target, "type").as_deref() {
            Some("User" | "AppUser" | "UserGroup") => {
                seen.set(col::USER_UID, &text("id"));
                seen.set(col::USER_NAME, &text("alternateId"));
            }
            Some("AppInstance") => {
                seen.set(col::ACTOR_APP_UID, &text("id"));
                seen.set(col::ACTOR_APP_NAME, &text("displayName"));
            }
            _ => {}
        }
    }
    let security = seen.text("debugContext.debugData.logOnlySecurityData");
    let security = security.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    if let Some(level) = security.unwrap_or_default()["risk"]["level"].as_str() {
        seen.set(col::RISK_LEVEL, &level.to_lowercase());
    }
    let risk = seen.text("debugContext.debugData.risk").unwrap_or_default();
    if let Some((_, level)) = risk.split_once("level=") {
        let end = level.find(|character: char| !character.is_ascii_alphabetic());
        seen.set(
            col::RISK_LEVEL,
            &level[..end.unwrap_or(level.len())].to_lowercase(),
        );
    }
}

pub fn github(seen: &mut Seen) {
    let action = seen.text("action").unwrap_or_default();
    let kind = action.split('.').next().unwrap_or_default();
    seen.set(col::API_SERVICE, kind);
    let repository = seen.value("repo").or(seen.value("repository")).is_some();
    seen.set(
        col::RESOURCE_TYPE,
        if repository { "repository" } else { kind },
    );
    let bot = seen.is("actor_is_bot", "true");
    seen.set(col::ACTOR_TYPE, if bot { "Bot" } else { "User" });
    let class = match action.as_str() {
        "user.login" | "user.failed_login" | "org.sso_response" | "business.sso_response" => 3002,
        "org.add_member" | "org.remove_member" | "org.update_member" | "org.invite_member" => 3006,
        "team.add_member" | "team.remove_member" | "repo.add_member" | "repo.remove_member" => 3006,
        _ => 6003,
    };
    seen.columns.set(col::CLASS_UID, class);
    let signs_in = class == 3002 && seen.value("actor").and_then(Json::scalar).is_none();
    if let Some(user) = seen.text("user").filter(|_| signs_in) {
        seen.set(col::ACTOR_UID, &user);
        seen.set(col::ACTOR_NAME, &user);
    }
    let conclusion = seen.text("conclusion").unwrap_or_default();
    let code = seen
        .int("status_code")
        .filter(|code| (200..600).contains(code));
    let failed = if action == "user.login" || conclusion == "success" {
        Some(false)
    } else if conclusion == "failure"
        || action.ends_with("failed_login")
        || action.contains(".rejected_")
    {
        Some(true)
    } else {
        code.map(|code| code >= 400)
    };
    if let Some(failed) = failed {
        seen.columns.status(failed);
    }
}

/// A text, or a whole number.
fn told(user: &Value, id: &str) -> String {
    match &user[id] {
        Value::String(text) => text.clone(),
        Value::Number(number) => {
            int(&number.to_string()).map_or(String::new(), |number| number.to_string())
        }
        _ => String::new(),
    }
}

/// The first user with an id among the actors of the evidence.
fn evident(seen: &Seen, ids: &[&str]) -> Option<Value> {
    for one in seen.list("evidences") {
        for user in [&one["actor"]["user"], &one["actor"]["process"]["user"]] {
            if ids.iter().any(|id| !told(user, id).is_empty()) {
                return Some(user.clone());
            }
        }
    }
    None
}

pub fn ocsf(seen: &mut Seen) {
    let class = seen.int("class_uid").unwrap_or_default();
    let family = match (class.div_euclid(1000), class) {
        (1, _) | (_, 2004 | 2005) => "agent_alerts",
        (2, _) => "posture",
        (3, _) => "identity",
        (4, _) => "network_flows",
        _ => "cloud_audit",
    };
    seen.set(col::FAMILY, family);
    let status = seen.text("status").unwrap_or_default().to_lowercase();
    let code = seen.int("status_id");
    if class.div_euclid(1000) == 2 {
        seen.set(col::FINDING_STATUS, &status);
        let state = match code {
            Some(1) => "new",
            Some(2) => "in progress",
            Some(3) => "suppressed",
            Some(4) => "resolved",
            Some(5) => "archived",
            Some(6) => "deleted",
            _ => "",
        };
        seen.set(col::FINDING_STATUS, state);
        let check = seen.text("compliance.status").unwrap_or_default();
        match (
            check.to_lowercase().as_str(),
            seen.int("compliance.status_id"),
        ) {
            ("pass", _) | ("", Some(1)) => seen.columns.status(false),
            ("fail", _) | ("", Some(3)) => seen.columns.status(true),
            _ => {}
        }
    } else if ["success", "failure"].contains(&status.as_str()) {
        seen.columns.status(status == "failure");
    } else if let Some(code @ (1 | 2)) = code {
        seen.columns.status(code == 2);
    }
    let ids = ["uid", "uid_alt", "email_addr", "name", "full_name"];
    let users = ["actor.user", "actor.process.user"];
    let named = users.iter().any(|user| {
        ids.iter()
            .any(|id| seen.text(&format!("{user}.{id}")).is_some())
    });
    if !named && let Some(user) = evident(seen, &ids) {
        for id in ids {
            seen.late.push((col::ACTOR_UID, told(&user, id)));
        }
        for (column, id) in [
            (col::ACTOR_NAME, "name"),
            (col::ACTOR_NAME, "full_name"),
            (col::ACTOR_EMAIL, "email_addr"),
        ] {
            seen.late.push((column, told(&user, id)));
        }
    }
    if class == 3002 {
        let columns = ids.map(|id| (col::ACTOR_UID, id)).into_iter().chain([
            (col::ACTOR_NAME, "name"),
            (col::ACTOR_NAME, "full_name"),
            (col::ACTOR_EMAIL, "email_addr"),
        ]);
        for (column, id) in columns {
            let text = seen.text(&format!("user.{id}")).unwrap_or_default();
            seen.late.push((column, text));
        }
    }
    for path in ["actor.app_uid", "actor.app_name", "actor.invoked_by"] {
        let app = seen.text(path).unwrap_or_default();
        seen.late.push((col::ACTOR_UID, app));
    }
    let id = (
        seen.text("metadata.uid"),
        seen.text("finding_info.modified_time"),
    );
    if let (Some(uid), Some(modified)) = id {
        seen.set(col::EVENT_UID, &format!("{uid}/{modified}"));
    }
}
