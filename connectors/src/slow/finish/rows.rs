//! Hooks of rows of Log Analytics and of the tables of advanced hunting.

use serde_json::Value;
use weir_engine::schema::col;

use super::{Seen, azure, saas};
use crate::format::azure::NOTHING;
use crate::slow::columns::{address, int};

/// JSON of an object or array, or of the text that holds it.
fn inner(seen: &Seen, path: &str) -> Value {
    let text = seen.value(path).map(|value| match value.string() {
        Some(text) => text,
        None => value.raw().to_owned(),
    });
    let value = text.and_then(|text| serde_json::from_str(&text).ok());
    value.unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub fn sign_in(seen: &mut Seen) {
    let status = inner(seen, "Status");
    let code = seen.text("ResultType").or(match &status["errorCode"] {
        Value::String(code) => Some(code.clone()),
        Value::Number(code) => int(&code.to_string()).map(|code| code.to_string()),
        _ => None,
    });
    if let Some(code) = code {
        saas::sign_in_status(seen, &code);
        seen.late.push((col::STATUS_CODE, code));
    }
    let (location, device) = (inner(seen, "LocationDetails"), inner(seen, "DeviceDetail"));
    for (column, value) in [
        (col::STATUS_DETAIL, &status["failureReason"]),
        (col::MESSAGE, &status["additionalDetails"]),
        (col::SRC_CITY, &location["city"]),
        (col::SRC_COUNTRY, &location["countryOrRegion"]),
        (col::HOSTNAME, &device["displayName"]),
    ] {
        seen.late.push((column, text(value)));
    }
    let requirement = seen.text("AuthenticationRequirement");
    match requirement.as_deref() {
        Some("multiFactorAuthentication") => seen.columns.set(col::ACTOR_SESSION_MFA, true),
        Some("singleFactorAuthentication") => seen.columns.set(col::ACTOR_SESSION_MFA, false),
        _ => {}
    }
}

pub fn audit(seen: &mut Seen) {
    let by = inner(seen, "InitiatedBy");
    let says = |value: &Value| {
        let text = text(value);
        if NOTHING.contains(&text.as_str()) {
            String::new()
        } else {
            text
        }
    };
    let (user, app) = (&by["user"], &by["app"]);
    let kind = if app.is_object() {
        "Application"
    } else {
        "User"
    };
    seen.set(col::ACTOR_TYPE, kind);
    let identity = seen.text("Identity").unwrap_or_default();
    let upn = says(&user["userPrincipalName"]).to_lowercase();
    for uid in [
        says(&user["id"]),
        says(&app["servicePrincipalId"]),
        upn.clone(),
        says(&app["appId"]),
        says(&app["displayName"]),
        says(&app["servicePrincipalName"]),
        says(&user["displayName"]),
        identity.clone(),
    ] {
        seen.set(col::ACTOR_UID, &uid.to_lowercase());
    }
    for name in [
        upn.clone(),
        says(&user["displayName"]),
        says(&app["displayName"]),
        says(&app["servicePrincipalName"]),
        identity,
    ] {
        seen.set(col::ACTOR_NAME, &name);
    }
    seen.set(col::ACTOR_EMAIL, &upn);
    seen.set(col::ACTOR_APP_UID, &says(&app["appId"]));
    seen.set(col::ACTOR_APP_NAME, &says(&app["displayName"]));
    seen.set(
        col::SRC_IP,
        &address(&says(&user["ipAddress"])).unwrap_or_default(),
    );
    let targets = inner(seen, "TargetResources");
    let first = &targets[0];
    seen.set(col::RESOURCE_UID, &says(&first["id"]));
    seen.set(col::RESOURCE_NAME, &says(&first["displayName"]));
    seen.set(col::RESOURCE_NAME, &says(&first["userPrincipalName"]));
    seen.set(col::RESOURCE_TYPE, &says(&first["type"]));
    let targets = targets.as_array().cloned().unwrap_or_default();
    let changed = targets.iter().find(|target| {
        let kind = text(&target["type"]);
        ["User", "Group", "ServicePrincipal"].contains(&kind.as_str())
    });
    if let Some(target) = changed {
        seen.set(col::USER_UID, &says(&target["id"]));
        seen.set(col::USER_NAME, &says(&target["userPrincipalName"]));
        seen.set(col::USER_NAME, &says(&target["displayName"]));
    }
    for detail in inner(seen, "AdditionalDetails")
        .as_array()
        .into_iter()
        .flatten()
    {
        if detail["key"] == "User-Agent" {
            seen.set(col::USER_AGENT, &says(&detail["value"]));
        }
    }
}

pub fn resource(seen: &mut Seen) {
    azure::outcome(
        seen,
        vec![],
        &[
            "httpStatusCode_d",
            "HttpStatusCode",
            "StatusCode",
            "ResponseCode",
        ],
        &[
            "ActivitySubstatusValue",
            "ResultSignature",
            "StatusText",
            "ResultType",
            "ActivityStatusValue",
            "succeeded_s",
        ],
        &["ResultType", "ActivityStatusValue"],
    );
    for path in ["Claims", "Claims_d"] {
        let claims = inner(seen, path);
        let claim = |name: &str| text(&claims[name]);
        let id = claim("http://schemas.microsoft.com/identity/claims/objectidentifier");
        let upn = claim("http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn");
        seen.set(col::ACTOR_UID, &id.to_lowercase());
        seen.set(col::ACTOR_NAME, &upn.to_lowercase());
        seen.set(col::ACTOR_APP_UID, &claim("appid").to_lowercase());
        seen.set(col::ACTOR_TYPE, &claim("idtyp"));
    }
    let identity = inner(seen, "Identity");
    match (identity.is_object(), seen.text("Identity")) {
        (true, _) => azure::identity(seen, &identity),
        (false, Some(name)) => {
            seen.late.push((col::ACTOR_UID, name.to_lowercase()));
            seen.late.push((col::ACTOR_NAME, name));
        }
        (false, None) => {}
    }
    for path in [
        "identity_claim_upn_s",
        "server_principal_name_s",
        "Caller",
        "RequesterAppId",
        "identity_claim_appid_g",
    ] {
        let name = seen.text(path).unwrap_or_default();
        seen.late.push((col::ACTOR_UID, name.to_lowercase()));
    }
    let operation = seen
        .text("OperationNameValue")
        .unwrap_or_default()
        .to_lowercase();
    if operation.contains('/') {
        seen.columns
            .set(col::IS_READ_ONLY, operation.ends_with("/read"));
    }
}

pub fn risk(seen: &mut Seen) {
    let table = seen.any(&["Type", "TableName"]).unwrap_or_default();
    if ["AADRiskyUsers", "AADRiskyServicePrincipals"].contains(&table.as_str()) {
        let id = seen.text("Id").unwrap_or_default();
        seen.late.push((col::ACTOR_UID, id.to_lowercase()));
    }
}

/// A call of Microsoft Graph, whose keys begin like this.
pub fn call(seen: &mut Seen, codes: &[&str], method: &str) {
    let code = seen.any(codes).and_then(|code| azure::http_code(&code));
    if let Some(code) = code.filter(|code| *code >= 200) {
        seen.columns.status(code >= 400);
    }
    if let Some(method) = seen.text(method) {
        seen.columns
            .set(col::IS_READ_ONLY, method == "GET" || method == "HEAD");
    }
}

/// Says whether the record is left out.
pub fn hunting(seen: &mut Seen, table: &str, under: &str) -> bool {
    let table = seen
        .text(table)
        .unwrap_or_default()
        .replacen("AdvancedHunting-", "", 1);
    let own = |seen: &Seen, name: &str| seen.text(&format!("{under}{name}")).unwrap_or_default();
    let table = table.as_str();
    let (family, class) = match table {
        "DeviceInfo" | "DeviceNetworkInfo" | "DeviceFileCertificateInfo" | "IdentityInfo" => {
            return true;
        }
        "AlertInfo" | "AlertEvidence" | "BehaviorInfo" | "BehaviorEntities" => {
            ("agent_alerts", 2004)
        }
        "CloudAppEvents" | "CloudAuditEvents" => ("cloud_audit", 6003),
        "DeviceFileEvents" => ("agent_alerts", 1001),
        "DeviceImageLoadEvents" => ("agent_alerts", 1005),
        "DeviceNetworkEvents" => ("agent_alerts", 4001),
        "DeviceLogonEvents" => ("agent_alerts", 3002),
        "UrlClickEvents" => ("agent_alerts", 4002),
        "IdentityDirectoryEvents" => ("identity", 3001),
        "IdentityQueryEvents" => ("identity", 6003),
        table if table.starts_with("Email") => ("agent_alerts", 4009),
        "IdentityLogonEvents" => ("identity", 3002),
        table if table.contains("SignIn") => ("identity", 3002),
        _ => ("agent_alerts", 1007),
    };
    seen.set(col::FAMILY, family);
    seen.columns.set(col::CLASS_UID, class);
    let new = ["DeviceProcessEvents", "CloudProcessEvents"].contains(&table);
    let by = if new { "" } else { "InitiatingProcess" };
    let file = |seen: &Seen, by: &str| {
        let (folder, name) = (
            own(seen, &format!("{by}FolderPath")),
            own(seen, &format!("{by}FileName")),
        );
        if folder.is_empty() {
            name
        } else if folder.to_lowercase().ends_with(&name.to_lowercase()) {
            folder
        } else {
            let slash = if folder.contains('/') { "/" } else { "\\" };
            format!("{}{slash}{name}", folder.trim_end_matches(slash))
        }
    };
    let command = if new {
        "ProcessCommandLine"
    } else {
        "InitiatingProcessCommandLine"
    };
    let pid = if new {
        "ProcessId"
    } else {
        "InitiatingProcessId"
    };
    for (column, value) in [
        (col::PROCESS_NAME, own(seen, &format!("{by}FileName"))),
        (col::PROCESS_EXE, file(seen, by)),
        (col::PROCESS_CMD_LINE, own(seen, command)),
        (col::PROCESS_HASH, own(seen, &format!("{by}SHA256"))),
    ] {
        seen.set(column, &value);
    }
    if let Some(pid) = seen.int(&format!("{under}{pid}")) {
        seen.columns.set(col::PROCESS_PID, pid);
    }
    if new {
        seen.set(
            col::PROCESS_PARENT_NAME,
            &own(seen, "InitiatingProcessFileName"),
        );
    } else {
        seen.set(
            col::PROCESS_PARENT_NAME,
            &own(seen, "InitiatingProcessParentFileName"),
        );
        seen.set(col::FILE_PATH, &file(seen, ""));
    }
    let action = own(seen, "ActionType");
    let outgoing = table == "DeviceNetworkEvents" && !action.starts_with("Inbound");
    let sides = if outgoing {
        ["Local", "Remote"]
    } else {
        ["Remote", "Local"]
    };
    for (side, ip, port) in [
        (sides[0], col::SRC_IP, col::SRC_PORT),
        (sides[1], col::DST_IP, col::DST_PORT),
    ] {
        let found = seen
            .value(&format!("{under}{side}IP"))
            .and_then(|value| value.string());
        seen.columns.address(ip, found);
        if let Some(number) = seen.int(&format!("{under}{side}Port")) {
            seen.columns.set(port, number);
        }
    }
    if [
        "LogonSuccess",
        "ConnectionSuccess",
        "LogonFailed",
        "ConnectionFailed",
    ]
    .contains(&action.as_str())
    {
        seen.columns.status(action.ends_with("Failed"));
    }
    let code = seen.text(&format!("{under}ErrorCode"));
    if let Some(code) = code.filter(|_| table.contains("SignIn")) {
        saas::sign_in_status(seen, &code);
    }
    if class == 2004 {
        seen.late.push((col::FINDING_TITLE, action));
    }
    false
}
