//! Alerts of Microsoft's Defenders: entities that refer to each other, and pieces of evidence.

use serde_json::Value;
use weir_engine::schema::col;

use super::Seen;
use crate::format::azure::NOTHING;
use crate::slow::columns::{address, int};

pub fn alert(seen: &mut Seen) {
    let id = [
        seen.any(&["systemAlertId", "properties.systemAlertId"]),
        seen.any(&["status", "properties.status"]),
        seen.any(&["processingEndTime", "properties.processingEndTimeUtc"]),
        seen.any(&["endTimeUtc", "properties.endTimeUtc", "endTime"]),
    ];
    let id: Vec<_> = id.into_iter().flatten().collect();
    seen.set(col::EVENT_UID, &id.join("/"));
    match seen.text("productName").as_deref() {
        Some("Azure Sentinel" | "Microsoft Sentinel") => {
            seen.set(col::PRODUCT, "Microsoft Sentinel")
        }
        None | Some("Azure Security Center" | "Microsoft Defender for Cloud") => {}
        Some(_) => seen.set(col::PRODUCT, "Defender XDR"),
    }
    let resource = seen
        .text("azureResourceId")
        .unwrap_or_default()
        .to_lowercase();
    let parts: Vec<_> = resource.split('/').collect();
    if let ["", "subscriptions", subscription, ..] = parts.as_slice() {
        seen.set(col::CLOUD_ACCOUNT, subscription);
    }
    for path in ["entities", "properties.entities"] {
        let text = seen.value(path).map(|value| {
            let inside = value.scalar();
            inside.unwrap_or_else(|| value.raw().to_owned())
        });
        let list = text.map(|text| serde_json::from_str(&text));
        if let Some(Ok(Value::Array(all))) = list {
            for one in all.iter().filter_map(|one| meant(&all, one)) {
                entity(seen, &all, one);
            }
        }
    }
}

/// The entity itself, or the first one in the list, from the outside in, whose id it names.
fn meant<'a>(all: &'a [Value], one: &'a Value) -> Option<&'a Value> {
    fn find<'a>(value: &'a Value, id: &str, depth: usize) -> Option<&'a Value> {
        if value["$id"] == id {
            return Some(value);
        }
        let members = value.as_object().filter(|_| depth > 0)?;
        members
            .values()
            .find_map(|inner| find(inner, id, depth - 1))
    }
    match one["$ref"].as_str() {
        Some(id) => all.iter().find_map(|value| find(value, id, 8)),
        None => Some(one),
    }
}

fn entity(seen: &mut Seen, all: &[Value], one: &Value) {
    let member = |of: &Value, name: &str| {
        let small = name[..1].to_lowercase() + &name[1..];
        let mut values = [of[name].clone(), of[small].clone()].into_iter();
        values.find(|value| !value.is_null()).unwrap_or_default()
    };
    let text = |of: &Value, name: &str| {
        let text = member(of, name).as_str().unwrap_or_default().to_owned();
        if NOTHING.contains(&&*text) {
            String::new()
        } else {
            text
        }
    };
    let other = |name: &str| meant(all, &member(one, name)).cloned().unwrap_or_default();
    let own = |name: &str| text(one, name);
    let columns = match own("Type").to_lowercase().as_str() {
        "ip" => vec![(col::SRC_IP, address(&own("Address")).unwrap_or_default())],
        "account" => {
            let host = text(&other("Host"), "HostName");
            seen.late.push((col::HOSTNAME, host));
            let suffix = own("UPNSuffix");
            let upn = match suffix.is_empty() {
                true => String::new(),
                false => format!("{}@{suffix}", own("Name")).to_lowercase(),
            };
            let name = if suffix.is_empty() {
                own("Name").to_lowercase()
            } else {
                upn.clone()
            };
            seen.late.push((col::ACTOR_UID, name.clone()));
            vec![
                (col::ACTOR_NAME, name),
                (col::ACTOR_EMAIL, upn),
                (col::ACTOR_UID, own("AadUserId").to_lowercase()),
                (col::ACTOR_UID, own("Sid").to_lowercase()),
            ]
        }
        "host" => vec![(col::HOSTNAME, own("HostName"))],
        "process" => {
            let number = own("ProcessId");
            let number = number.trim_start_matches("0x");
            if let Ok(number) = i64::from_str_radix(number, 16) {
                seen.columns.set(col::PROCESS_PID, number);
            }
            vec![
                (col::PROCESS_CMD_LINE, own("CommandLine")),
                (col::PROCESS_NAME, text(&other("ImageFile"), "Name")),
            ]
        }
        "file" => vec![(col::FILE_PATH, own("Name"))],
        "k8s-cluster" => {
            let cluster = text(&other("CloudResource"), "ResourceId");
            let name = cluster.split('/').next_back().unwrap_or_default();
            vec![(col::K8S_CLUSTER, name.to_owned())]
        }
        "k8s-namespace" => vec![(col::K8S_NAMESPACE, own("Name"))],
        "k8s-pod" => vec![(col::K8S_POD, own("Name"))],
        "container" => vec![(col::CONTAINER_UID, own("ContainerId"))],
        "container-image" => vec![(col::CONTAINER_IMAGE, own("ImageId"))],
        _ => vec![],
    };
    for (column, text) in columns {
        seen.set(column, &text);
    }
}

/// The account that an alert is about: of the user's own evidence, of other evidence, or at a device.
fn account(seen: &mut Seen) {
    let all = seen.list("evidence");
    let is_user = |one: &&Value| {
        let kind = one["@odata.type"].as_str().unwrap_or_default();
        kind == "userEvidence" || kind.ends_with(".userEvidence")
    };
    let own = all.iter().filter(is_user).map(|one| &one["userAccount"]);
    let other = all.iter().filter(|one| !is_user(one));
    let other = other.map(|one| &one["userAccount"]);
    let devices = all.iter().filter_map(|one| one["loggedOnUsers"].as_array());
    let mut accounts = own.chain(other).chain(devices.flatten());
    let told = |account: &Value, name: &str| {
        let text = account[name].as_str().unwrap_or_default();
        if NOTHING.contains(&text) {
            String::new()
        } else {
            text.to_lowercase()
        }
    };
    let ids = [
        "azureAdUserId",
        "userSid",
        "userPrincipalName",
        "accountName",
    ];
    let account = accounts.find(|account| ids.iter().any(|id| !told(account, id).is_empty()));
    if let Some(account) = account {
        for id in ids {
            seen.set(col::ACTOR_UID, &told(account, id));
        }
        let mail = told(account, "userPrincipalName");
        seen.set(col::ACTOR_NAME, &mail);
        seen.set(col::ACTOR_NAME, &told(account, "accountName"));
        seen.set(col::ACTOR_EMAIL, &mail);
    }
}

pub fn xdr(seen: &mut Seen) {
    account(seen);
    for one in seen.list("evidence") {
        let text = |path: &[&str]| {
            let value = path.iter().fold(&one, |value, key| &value[key]);
            value.as_str().unwrap_or_default().to_owned()
        };
        let kind = text(&["@odata.type"]);
        let kind = kind.split('.').next_back().unwrap_or_default();
        let columns = match kind {
            "ipEvidence" => {
                let found = address(&text(&["ipAddress"]));
                vec![(col::SRC_IP, found.unwrap_or_default())]
            }
            "deviceEvidence" => vec![
                (col::HOSTNAME, text(&["deviceDnsName"])),
                (col::HOSTNAME, text(&["hostName"])),
            ],
            "processEvidence" => {
                let number = match &one["processId"] {
                    Value::String(text) => int(text),
                    number => int(&number.to_string()),
                };
                if let Some(number) = number {
                    seen.columns.set(col::PROCESS_PID, number);
                }
                let file = |name: &str| text(&["imageFile", name]);
                vec![
                    (col::PROCESS_CMD_LINE, text(&["processCommandLine"])),
                    (col::PROCESS_NAME, file("fileName")),
                    (col::PROCESS_EXE, file("filePath")),
                    (col::PROCESS_HASH, file("sha256")),
                ]
            }
            "fileEvidence" => vec![(col::FILE_PATH, text(&["fileDetails", "fileName"]))],
            "azureResourceEvidence" => vec![
                (col::RESOURCE_UID, text(&["resourceId"])),
                (col::RESOURCE_NAME, text(&["resourceName"])),
            ],
            "amazonResourceEvidence" => vec![
                (col::RESOURCE_UID, text(&["amazonResourceId"])),
                (col::RESOURCE_NAME, text(&["resourceName"])),
            ],
            "kubernetesPodEvidence" => vec![
                (col::K8S_POD, text(&["name"])),
                (col::K8S_NAMESPACE, text(&["namespace", "name"])),
            ],
            "containerEvidence" => vec![
                (col::CONTAINER_UID, text(&["containerId"])),
                (col::CONTAINER_NAME, text(&["name"])),
                (col::CONTAINER_IMAGE, text(&["image", "imageId"])),
            ],
            _ => vec![],
        };
        for (column, text) in columns {
            seen.set(column, &text);
        }
    }
}
