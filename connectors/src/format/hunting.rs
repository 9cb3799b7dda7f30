//! Tables of advanced hunting in Defender XDR: as its streaming interface writes them (under `properties`, with a
//! category `AdvancedHunting-…`), and as rows of the tables of Sentinel.
//!
//! Traps: `FileName` is the new process, the file or the loaded module, as the table says; the process that did it
//! is then `InitiatingProcess…`; `RemoteIP` is the target of an outgoing connection and the source of a
//! logon; `ReportId` counts anew on each device. Inventories are no events and are left out.

use weir_engine::schema::col;

use super::azure::NOTHING;
use super::entra::set_sign_in_status;
use super::{Decoded, Stop};
use crate::mapping::{Event, How, LogFormat, SEVERITY};

const STREAMED: &[&str] = &[
    "AdvancedHunting-DeviceProcessEvents",
    "AdvancedHunting-DeviceNetworkEvents",
    "AdvancedHunting-DeviceFileEvents",
    "AdvancedHunting-DeviceRegistryEvents",
    "AdvancedHunting-DeviceLogonEvents",
    "AdvancedHunting-DeviceImageLoadEvents",
    "AdvancedHunting-DeviceEvents",
    "AdvancedHunting-DeviceFileCertificateInfo",
    "AdvancedHunting-DeviceInfo",
    "AdvancedHunting-DeviceNetworkInfo",
    "AdvancedHunting-IdentityLogonEvents",
    "AdvancedHunting-IdentityQueryEvents",
    "AdvancedHunting-IdentityDirectoryEvents",
    "AdvancedHunting-IdentityInfo",
    "AdvancedHunting-AADSignInEventsBeta",
    "AdvancedHunting-AADSpnSignInEventsBeta",
    "AdvancedHunting-EntraIdSignInEvents",
    "AdvancedHunting-EntraIdSpnSignInEvents",
    "AdvancedHunting-CloudAppEvents",
    "AdvancedHunting-CloudAuditEvents",
    "AdvancedHunting-CloudProcessEvents",
    "AdvancedHunting-EmailEvents",
    "AdvancedHunting-EmailUrlInfo",
    "AdvancedHunting-EmailAttachmentInfo",
    "AdvancedHunting-EmailPostDeliveryEvents",
    "AdvancedHunting-UrlClickEvents",
    "AdvancedHunting-AlertInfo",
    "AdvancedHunting-AlertEvidence",
    "AdvancedHunting-BehaviorInfo",
    "AdvancedHunting-BehaviorEntities",
];

const ROWS: &[&str] = &[
    "DeviceProcessEvents",
    "DeviceNetworkEvents",
    "DeviceFileEvents",
    "DeviceRegistryEvents",
    "DeviceLogonEvents",
    "DeviceImageLoadEvents",
    "DeviceEvents",
    "DeviceFileCertificateInfo",
    "DeviceInfo",
    "DeviceNetworkInfo",
    "IdentityLogonEvents",
    "IdentityQueryEvents",
    "IdentityDirectoryEvents",
    "IdentityInfo",
    "AADSignInEventsBeta",
    "AADSpnSignInEventsBeta",
    "EntraIdSignInEvents",
    "EntraIdSpnSignInEvents",
    "CloudAppEvents",
    "CloudAuditEvents",
    "CloudProcessEvents",
    "EmailEvents",
    "EmailUrlInfo",
    "EmailAttachmentInfo",
    "EmailPostDeliveryEvents",
    "UrlClickEvents",
    "AlertInfo",
    "AlertEvidence",
    "BehaviorInfo",
    "BehaviorEntities",
];

/// What `finish` reads, by its place.
const TABLE: usize = 0;
const NAME: usize = 1;
const FOLDER: usize = 2;
const PID: usize = 3;
const COMMAND: usize = 4;
const HASH: usize = 5;
const OWN: [usize; 5] = [NAME, FOLDER, PID, COMMAND, HASH];
/// The same of the process that did it, and its parent.
const BY: [usize; 5] = [6, 7, 8, 9, 10];
const PARENT: usize = 11;
const ACTION: usize = 12;
const REMOTE: [usize; 2] = [13, 14];
const LOCAL: [usize; 2] = [15, 16];
const CODE: usize = 17;

/// The columns of a record, whose own stand under `$under`.
macro_rules! hunting {
    ($name:ident, $called:literal, $under:literal, $table:literal, $needs:expr, $uid:expr, $times:expr) => {
        #[rustfmt::skip]
        pub static $name: LogFormat = LogFormat {
            name: $called,
            source: "defender",
            family: "agent_alerts",
            product: "Defender XDR",
            needs: $needs,
            nothing: NOTHING,
            uid: $uid,
            fields: &[
                (concat!($under, "Timestamp"), col::TIME, How::Utc),
                (concat!($under, "AlertId"), col::CORRELATION_UID, How::Text),
                (concat!($under, "CorrelationId"), col::CORRELATION_UID, How::Text),
                (concat!($under, "NetworkMessageId"), col::CORRELATION_UID, How::Text),
                (concat!($under, "ActionType"), col::ACTIVITY, How::Text),
                (concat!($under, "EvidenceRole"), col::ACTIVITY, How::Text),
                (concat!($under, "OperationName"), col::API_OPERATION, How::Text),
                (concat!($under, "Severity"), col::SEVERITY_ID, SEVERITY),
                (concat!($under, "AlertId"), col::FINDING_UID, How::Text),
                (concat!($under, "BehaviorId"), col::FINDING_UID, How::Text),
                (concat!($under, "Title"), col::FINDING_TITLE, How::Text),
                (concat!($under, "Description"), col::FINDING_DESC, How::Text),
                (concat!($under, "Category"), col::FINDING_TYPE, How::Text),
                (concat!($under, "Categories"), col::FINDING_TYPE, How::Text),
                (concat!($under, "AttackTechniques"), col::FINDING_ATTACKS, How::Json),
                (concat!($under, "DetectionSource"), col::POLICY_NAME, How::Text),
                (concat!($under, "AccountObjectId"), col::ACTOR_UID, How::Lower),
                (concat!($under, "AccountSid"), col::ACTOR_UID, How::Lower),
                (concat!($under, "AccountUpn"), col::ACTOR_UID, How::Lower),
                (concat!($under, "ServicePrincipalId"), col::ACTOR_UID, How::Lower),
                (concat!($under, "SenderFromAddress"), col::ACTOR_UID, How::Lower),
                (concat!($under, "AccountId"), col::ACTOR_UID, How::Lower),
                (concat!($under, "AccountName"), col::ACTOR_UID, How::Lower),
                (concat!($under, "InitiatingProcessAccountObjectId"), col::ACTOR_UID, How::Lower),
                (concat!($under, "InitiatingProcessAccountSid"), col::ACTOR_UID, How::Lower),
                (concat!($under, "InitiatingProcessAccountUpn"), col::ACTOR_UID, How::Lower),
                (concat!($under, "InitiatingProcessAccountName"), col::ACTOR_UID, How::Lower),
                (concat!($under, "AccountUpn"), col::ACTOR_NAME, How::Lower),
                (concat!($under, "SenderFromAddress"), col::ACTOR_NAME, How::Lower),
                (concat!($under, "AccountName"), col::ACTOR_NAME, How::Lower),
                (concat!($under, "ServicePrincipalName"), col::ACTOR_NAME, How::Lower),
                (concat!($under, "AccountDisplayName"), col::ACTOR_NAME, How::Lower),
                (concat!($under, "InitiatingProcessAccountUpn"), col::ACTOR_NAME, How::Lower),
                (concat!($under, "InitiatingProcessAccountName"), col::ACTOR_NAME, How::Lower),
                (concat!($under, "AccountUpn"), col::ACTOR_EMAIL, How::Lower),
                (concat!($under, "SenderFromAddress"), col::ACTOR_EMAIL, How::Lower),
                (concat!($under, "InitiatingProcessAccountUpn"), col::ACTOR_EMAIL, How::Lower),
                (concat!($under, "AccountType"), col::ACTOR_TYPE, How::Text),
                (concat!($under, "AccountDomain"), col::ACTOR_ACCOUNT, How::Text),
                (concat!($under, "InitiatingProcessAccountDomain"), col::ACTOR_ACCOUNT, How::Text),
                (concat!($under, "SessionId"), col::ACTOR_SESSION_UID, How::Text),
                (concat!($under, "ApplicationId"), col::ACTOR_APP_UID, How::Lower),
                (concat!($under, "Application"), col::ACTOR_APP_NAME, How::Text),
                (concat!($under, "ErrorCode"), col::STATUS_CODE, How::Text),
                (concat!($under, "FailureReason"), col::STATUS_DETAIL, How::Text),
                (concat!($under, "LogonType"), col::AUTH_PROTOCOL, How::Text),
                (concat!($under, "RiskLevelDuringSignIn"), col::RISK_LEVEL, How::Lower),
                (concat!($under, "TargetAccountObjectId"), col::USER_UID, How::Lower),
                (concat!($under, "RecipientObjectId"), col::USER_UID, How::Lower),
                (concat!($under, "TargetAccountUpn"), col::USER_NAME, How::Lower),
                (concat!($under, "TargetAccountDisplayName"), col::USER_NAME, How::Lower),
                (concat!($under, "RecipientEmailAddress"), col::USER_NAME, How::Lower),
                (concat!($under, "IPAddress"), col::SRC_IP, How::Address),
                (concat!($under, "SenderIPv4"), col::SRC_IP, How::Address),
                (concat!($under, "SenderIPv6"), col::SRC_IP, How::Address),
                (concat!($under, "DestinationIPAddress"), col::DST_IP, How::Address),
                (concat!($under, "DestinationPort"), col::DST_PORT, How::Int),
                (concat!($under, "RemoteUrl"), col::DST_DOMAIN, How::Text),
                (concat!($under, "DestinationDeviceName"), col::DST_DOMAIN, How::Text),
                (concat!($under, "City"), col::SRC_CITY, How::Text),
                (concat!($under, "CountryCode"), col::SRC_COUNTRY, How::Text),
                (concat!($under, "Country"), col::SRC_COUNTRY, How::Text),
                (concat!($under, "Protocol"), col::PROTOCOL, How::Lower),
                (concat!($under, "UserAgent"), col::USER_AGENT, How::Text),
                (concat!($under, "Url"), col::URL, How::Text),
                (concat!($under, "RequestUri"), col::URL, How::Text),
                (concat!($under, "DeviceName"), col::HOSTNAME, How::Lower),
                (concat!($under, "DeviceId"), col::DEVICE_INSTANCE, How::Text),
                (concat!($under, "ObjectId"), col::RESOURCE_UID, How::Text),
                (concat!($under, "ResourceId"), col::RESOURCE_UID, How::Text),
                (concat!($under, "AzureResourceId"), col::RESOURCE_UID, How::Text),
                (concat!($under, "ObjectName"), col::RESOURCE_NAME, How::Text),
                (concat!($under, "ResourceDisplayName"), col::RESOURCE_NAME, How::Text),
                (concat!($under, "RegistryKey"), col::RESOURCE_NAME, How::Text),
                (concat!($under, "Subject"), col::RESOURCE_NAME, How::Text),
                (concat!($under, "ObjectType"), col::RESOURCE_TYPE, How::Text),
                (concat!($under, "EntityType"), col::RESOURCE_TYPE, How::Text),
                (concat!($under, "DeliveryAction"), col::ACTION, How::Lower),
                ($times, col::TIME, How::Utc),
                ("tenantId", col::CLOUD_ORG, How::Lower),
                ("TenantId", col::CLOUD_ORG, How::Lower),
            ],
            fixed: &[(col::CLOUD_PROVIDER, "Azure")],
            reads: &[
                $table,
                concat!($under, "FileName"),
                concat!($under, "FolderPath"),
                concat!($under, "ProcessId"),
                concat!($under, "ProcessCommandLine"),
                concat!($under, "SHA256"),
                concat!($under, "InitiatingProcessFileName"),
                concat!($under, "InitiatingProcessFolderPath"),
                concat!($under, "InitiatingProcessId"),
                concat!($under, "InitiatingProcessCommandLine"),
                concat!($under, "InitiatingProcessSHA256"),
                concat!($under, "InitiatingProcessParentFileName"),
                concat!($under, "ActionType"),
                concat!($under, "RemoteIP"),
                concat!($under, "RemotePort"),
                concat!($under, "LocalIP"),
                concat!($under, "LocalPort"),
                concat!($under, "ErrorCode"),
            ],
            finish: Some(finish),
            ..LogFormat::NEW
        };
    };
}

hunting!(
    EVENT,
    "Defender XDR hunting record",
    "properties.",
    "category",
    &[&[("category", STREAMED)]],
    &[
        "properties.ReportId",
        "properties.DeviceId",
        "properties.Timestamp",
        "category"
    ],
    "time"
);
hunting!(
    ROW,
    "Defender XDR hunting row of Sentinel",
    "",
    "Type",
    &[&[("Type", ROWS)]],
    &["ReportId", "DeviceId", "Timestamp", "Type"],
    "TimeGenerated"
);

/// Family and class of a table; nothing for an inventory.
fn kind(table: &str) -> Option<(&'static str, i64)> {
    Some(match table {
        "DeviceInfo" | "DeviceNetworkInfo" | "DeviceFileCertificateInfo" | "IdentityInfo" => {
            return None;
        }
        "DeviceFileEvents" => ("agent_alerts", 1001),
        "DeviceImageLoadEvents" => ("agent_alerts", 1005),
        "DeviceNetworkEvents" => ("agent_alerts", 4001),
        "DeviceLogonEvents" => ("agent_alerts", 3002),
        "EmailEvents" | "EmailUrlInfo" | "EmailAttachmentInfo" | "EmailPostDeliveryEvents" => {
            ("agent_alerts", 4009)
        }
        "UrlClickEvents" => ("agent_alerts", 4002),
        "AlertInfo" | "AlertEvidence" | "BehaviorInfo" | "BehaviorEntities" => {
            ("agent_alerts", 2004)
        }
        "CloudAppEvents" | "CloudAuditEvents" => ("cloud_audit", 6003),
        "IdentityDirectoryEvents" => ("identity", 3001),
        "IdentityQueryEvents" => ("identity", 6003),
        table if table.starts_with("Identity") || table.contains("SignIn") => ("identity", 3002),
        _ => ("agent_alerts", 1007),
    })
}

fn finish(event: &mut Event) -> Result<Decoded, Stop> {
    let table = event.text(TABLE).unwrap_or_default();
    let table = table.strip_prefix("AdvancedHunting-").unwrap_or(&table);
    let Some((family, class)) = kind(table) else {
        return Ok(Decoded::Filtered);
    };
    event.set(col::FAMILY, family);
    event.set_int(col::CLASS_UID, class);
    let action = event.text(ACTION).unwrap_or_default();
    // What ran: the new process, or the one that did it.
    let is_new = matches!(table, "DeviceProcessEvents" | "CloudProcessEvents");
    set_process(event, if is_new { OWN } else { BY });
    if is_new {
        let parent = event.text(BY[0]).unwrap_or_default();
        event.set(col::PROCESS_PARENT_NAME, &parent);
    } else {
        let parent = event.text(PARENT).unwrap_or_default();
        event.set(col::PROCESS_PARENT_NAME, &parent);
        let name = event.text(NAME).unwrap_or_default();
        let path = path(&event.text(FOLDER).unwrap_or_default(), &name);
        event.set(col::FILE_PATH, &path);
    }
    let outgoing = table == "DeviceNetworkEvents" && !action.starts_with("Inbound");
    let (source, target) = match outgoing {
        true => (LOCAL, REMOTE),
        false => (REMOTE, LOCAL),
    };
    for ([address, port], [address_column, port_column]) in [
        (source, [col::SRC_IP, col::SRC_PORT]),
        (target, [col::DST_IP, col::DST_PORT]),
    ] {
        event.set_address(address_column, address);
        if let Some(port) = event.int(port) {
            event.set_int(port_column, port);
        }
    }
    match &*action {
        "LogonSuccess" | "ConnectionSuccess" => event.row.status(false),
        "LogonFailed" | "ConnectionFailed" => event.row.status(true),
        _ => {}
    }
    if let Some(code) = event.text(CODE).filter(|_| table.contains("SignIn")) {
        set_sign_in_status(event, &code);
    }
    if class == 2004 {
        event.set_late(col::FINDING_TITLE, &action);
    }
    Ok(Decoded::Row)
}

fn set_process(event: &mut Event, [name, folder, pid, command, hash]: [usize; 5]) {
    let own = event.text(name).unwrap_or_default();
    let path = path(&event.text(folder).unwrap_or_default(), &own);
    let hash = event.text(hash).unwrap_or_default();
    let command = event.text(command).unwrap_or_default();
    event.set(col::PROCESS_NAME, &own);
    event.set(col::PROCESS_EXE, &path);
    event.set(col::PROCESS_CMD_LINE, &command);
    event.set(col::PROCESS_HASH, &hash);
    if let Some(pid) = event.int(pid) {
        event.set_int(col::PROCESS_PID, pid);
    }
}

/// A file in its folder; the folder may name the file already.
fn path(folder: &str, name: &str) -> String {
    let named = folder.to_lowercase().ends_with(&name.to_lowercase());
    match (folder.is_empty(), named) {
        (true, _) => name.to_owned(),
        (false, true) => folder.to_owned(),
        (false, false) if folder.contains('/') => {
            format!("{}/{name}", folder.trim_end_matches('/'))
        }
        (false, false) => format!("{}\\{name}", folder.trim_end_matches('\\')),
    }
}
