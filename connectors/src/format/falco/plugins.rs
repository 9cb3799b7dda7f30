//! Fields of Falco's plugins, which read audit trails: cloudtrail (`ct`), k8saudit (`ka`), okta, github and
//! gcpaudit (`gcp`).

use std::net::IpAddr;

use weir_engine::schema::col;

use crate::format::Row;
use crate::json::{Error, Scanner, Text, int};

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Text,
    /// Only what has an `@`.
    Mail,
    /// The last of a list of addresses, perhaps in brackets; a word that is none is the name of the source.
    Address,
    Bool,
    /// An HTTP code, which also tells the outcome.
    Code,
    /// `SUCCESS`, `ALLOW`, `FAILURE`, `DENY`; other words tell none.
    Outcome,
}

/// Field, column and how; of the fields of a column the first one counts.
#[rustfmt::skip]
static FIELDS: [(&str, usize, How); 85] = [
    ("ct.user.arn", col::ACTOR_UID, How::Text),
    ("ct.user.principalid", col::ACTOR_UID, How::Text),
    ("ct.user", col::ACTOR_UID, How::Text),
    ("ka.user.name", col::ACTOR_UID, How::Text),
    ("okta.actor.id", col::ACTOR_UID, How::Text),
    ("okta.actor.alternateid", col::ACTOR_UID, How::Text),
    ("okta.actor.name", col::ACTOR_UID, How::Text),
    ("github.user", col::ACTOR_UID, How::Text),
    ("gcp.user", col::ACTOR_UID, How::Text),
    ("ct.user", col::ACTOR_NAME, How::Text),
    ("ka.user.name", col::ACTOR_NAME, How::Text),
    ("okta.actor.alternateid", col::ACTOR_NAME, How::Text),
    ("okta.actor.name", col::ACTOR_NAME, How::Text),
    ("github.user", col::ACTOR_NAME, How::Text),
    ("gcp.user", col::ACTOR_NAME, How::Text),
    ("ct.user.identitytype", col::ACTOR_TYPE, How::Text),
    ("okta.actor.Type", col::ACTOR_TYPE, How::Text),
    ("okta.actor.type", col::ACTOR_TYPE, How::Text),
    ("okta.actor.alternateid", col::ACTOR_EMAIL, How::Mail),
    ("gcp.user", col::ACTOR_EMAIL, How::Mail),
    ("ct.user.accountid", col::ACTOR_ACCOUNT, How::Text),
    ("ka.impuser.name", col::ACTOR_IMPERSONATED, How::Text),
    ("ct.srcip", col::SRC_IP, How::Address),
    ("ka.sourceips", col::SRC_IP, How::Address),
    ("okta.client.ip", col::SRC_IP, How::Address),
    ("gcp.callerIP", col::SRC_IP, How::Address),
    ("ct.useragent", col::USER_AGENT, How::Text),
    ("ka.useragent", col::USER_AGENT, How::Text),
    ("okta.useragent.raw", col::USER_AGENT, How::Text),
    ("gcp.userAgent", col::USER_AGENT, How::Text),
    ("ka.uri", col::URL, How::Text),
    ("okta.requesturi", col::URL, How::Text),
    ("ct.src", col::API_SERVICE, How::Text),
    ("gcp.serviceName", col::API_SERVICE, How::Text),
    ("ct.name", col::API_OPERATION, How::Text),
    ("ka.verb", col::API_OPERATION, How::Text),
    ("okta.evt.type", col::API_OPERATION, How::Text),
    ("github.action", col::API_OPERATION, How::Text),
    ("github.type", col::API_OPERATION, How::Text),
    ("gcp.methodName", col::API_OPERATION, How::Text),
    ("ct.requestid", col::API_REQUEST_UID, How::Text),
    ("ka.auditid", col::API_REQUEST_UID, How::Text),
    ("ct.readonly", col::IS_READ_ONLY, How::Bool),
    ("ct.error", col::STATUS_CODE, How::Text),
    ("ka.response.code", col::HTTP_CODE, How::Code),
    ("okta.result", col::STATUS, How::Outcome),
    ("ct.errormessage", col::STATUS_DETAIL, How::Text),
    ("ka.response.reason", col::STATUS_DETAIL, How::Text),
    ("okta.reason", col::STATUS_DETAIL, How::Text),
    ("ct.recipientaccountid", col::CLOUD_ACCOUNT, How::Text),
    ("ct.user.accountid", col::CLOUD_ACCOUNT, How::Text),
    ("gcp.projectId", col::CLOUD_ACCOUNT, How::Text),
    ("github.org", col::CLOUD_ACCOUNT, How::Text),
    ("github.owner", col::CLOUD_ACCOUNT, How::Text),
    ("ct.region", col::CLOUD_REGION, How::Text),
    ("gcp.location", col::CLOUD_REGION, How::Text),
    ("gcp.resourceName", col::RESOURCE_UID, How::Text),
    ("ka.target.resource", col::RESOURCE_TYPE, How::Text),
    ("gcp.resourceType", col::RESOURCE_TYPE, How::Text),
    ("ka.target.name", col::RESOURCE_NAME, How::Text),
    ("s3.bucket", col::RESOURCE_NAME, How::Text),
    ("ec2.name", col::RESOURCE_NAME, How::Text),
    ("ct.request.bucketname", col::RESOURCE_NAME, How::Text),
    ("ct.request.functionname", col::RESOURCE_NAME, How::Text),
    ("ct.request.rolename", col::RESOURCE_NAME, How::Text),
    ("ct.request.username", col::RESOURCE_NAME, How::Text),
    ("ct.request.instanceid", col::RESOURCE_NAME, How::Text),
    ("ct.request.groupname", col::RESOURCE_NAME, How::Text),
    ("ct.request.name", col::RESOURCE_NAME, How::Text),
    ("github.repo.name", col::RESOURCE_NAME, How::Text),
    ("gcp.storage.bucket", col::RESOURCE_NAME, How::Text),
    ("gcp.cloudfunctions.function", col::RESOURCE_NAME, How::Text),
    ("gcp.cloudsql.databaseId", col::RESOURCE_NAME, How::Text),
    ("gcp.compute.instanceId", col::RESOURCE_NAME, How::Text),
    ("gcp.iam.serviceAccount", col::RESOURCE_NAME, How::Text),
    ("gcp.logging.sink", col::RESOURCE_NAME, How::Text),
    ("gcp.dns.zone", col::RESOURCE_NAME, How::Text),
    ("okta.target.user.id", col::USER_UID, How::Text),
    ("okta.target.user.alternateid", col::USER_NAME, How::Text),
    ("okta.target.user.name", col::USER_NAME, How::Text),
    ("github.collaborator.name", col::USER_NAME, How::Text),
    ("ka.target.namespace", col::K8S_NAMESPACE, How::Text),
    ("ka.target.pod.name", col::K8S_POD, How::Text),
    ("ka.target.subresource", col::K8S_SUBRESOURCE, How::Text),
    ("ka.cluster.name", col::K8S_CLUSTER, How::Text),
];

/// The fields that were found.
pub(super) struct Plugins {
    /// By place in [`FIELDS`].
    found: [Option<Text>; FIELDS.len()],
    any: bool,
}

impl Default for Plugins {
    fn default() -> Self {
        Self {
            found: [None; FIELDS.len()],
            any: false,
        }
    }
}

impl Plugins {
    /// Reads the value of a field, whosever it is.
    pub fn field(&mut self, s: &mut Scanner, key: &[u8]) -> Result<(), Error> {
        // Authors of rules leave blanks behind a field's name.
        let key = key.trim_ascii();
        let plugin = key.split(|byte| *byte == b'.').next();
        if !matches!(
            plugin,
            Some(b"ct" | b"ka" | b"okta" | b"github" | b"gcp" | b"s3" | b"ec2")
        ) {
            return s.skip();
        }
        let Some(text) = scalar(s)? else {
            return Ok(());
        };
        for (place, (name, ..)) in self.found.iter_mut().zip(&FIELDS) {
            if name.as_bytes() == key && place.is_none() {
                *place = Some(text);
                self.any = true;
            }
        }
        Ok(())
    }

    /// Sets the columns that no other field has set.
    pub fn fill(&self, s: &Scanner, row: &mut Row) {
        if !self.any {
            return;
        }
        for (text, (name, column, how)) in self.found.iter().zip(&FIELDS) {
            if let Some(text) = text {
                set(s, row, *text, *column, *how);
                if *name == "ct.error" {
                    row.status(true);
                }
            }
        }
        let of = |plugin: &str| {
            let mut found = self.found.iter().zip(&FIELDS);
            found.any(|(text, (name, ..))| text.is_some() && name.starts_with(plugin))
        };
        if of("ct.") {
            row.label(col::CLOUD_PROVIDER, row.labels.aws);
        } else if of("gcp.") {
            row.builder.text(col::CLOUD_PROVIDER, "GCP");
        }
    }
}

fn is_actor(column: usize) -> bool {
    matches!(column, col::ACTOR_UID | col::ACTOR_NAME)
}

fn set(s: &Scanner, row: &mut Row, text: Text, column: usize, how: How) {
    let value = s.value(text);
    // Numbers and truth values are the text of no column.
    let quoted = s.bytes().get(text.range().end) == Some(&b'"');
    match how {
        // Okta's word for somebody whom it does not know.
        How::Text if *value == *b"unknown" && is_actor(column) => {}
        How::Text if quoted => row.text(s, column, text),
        How::Mail if quoted && value.contains(&b'@') => row.text(s, column, text),
        How::Address if quoted => {
            let last = value
                .rsplit(|byte| *byte == b',')
                .next()
                .unwrap_or_default();
            let last = String::from_utf8_lossy(last);
            let word = last.trim_matches(|one: char| one.is_whitespace() || "()[]\"".contains(one));
            match word.parse::<IpAddr>() {
                Ok(address) => {
                    let canonical = address.to_canonical().to_string();
                    row.builder.text(column, &canonical);
                }
                Err(_) if word.is_empty() => {}
                Err(_) => row.builder.text(col::SRC_DOMAIN, word),
            }
        }
        How::Bool => match &*value {
            b"true" => row.builder.bool(column, true),
            b"false" => row.builder.bool(column, false),
            _ => {}
        },
        How::Code => {
            if let Some(code) = int(&value).filter(|code| *code > 0) {
                row.builder.int(column, code);
                row.builder.text(col::STATUS_CODE, &code.to_string());
                row.status(code >= 400);
            }
        }
        How::Outcome => match &*value {
            b"SUCCESS" | b"ALLOW" => row.status(false),
            b"FAILURE" | b"DENY" => row.status(true),
            _ => {}
        },
        _ => {}
    }
}

/// The string, number or truth value at the scanner, if it says anything.
fn scalar(s: &mut Scanner) -> Result<Option<Text>, Error> {
    if s.peek() == b'"' {
        return super::value(s);
    }
    let first = s.peek();
    let range = s.range()?;
    let scalar = !matches!(first, b'{' | b'[' | b'n');
    Ok(scalar.then(|| Text::new(range.start, range.end, false)))
}
