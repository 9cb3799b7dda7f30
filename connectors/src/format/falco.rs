//! Falco alerts in JSON (formats.cpp of Falco), as Falco, Falcosidekick or a forwarder hand them on.
//!
//! Traps: keys of `output_fields` hold dots and are not paths, but some forwarders turn them into nested
//! objects; the set of fields differs from rule to rule; every member but the rule, the priority and the
//! time can be switched off; `<NA>` means nothing; `Rule` and `Priority` occur with a capital; plugins read
//! audit trails and have fields of their own ([`plugins`]).

mod plugins;

use std::io::Write;

use weir_engine::schema::col;

use self::plugins::Plugins;
use super::{Decoded, Row, Stop, missing, unescaped, wrong_type};
use crate::json::{Error, Scanner, Text};
use crate::mapping::{LogFormat, Program, Read};

#[rustfmt::skip]
pub static ALERT: LogFormat = LogFormat {
    name: "Falco alert",
    source: "falco",
    family: "agent_alerts",
    product: "Falco",
    needs: &[
        &[("rule", &[]), ("priority", &[])],
        &[("Rule", &[]), ("Priority", &[])],
        &[("rule", &[]), ("Priority", &[])],
        &[("Rule", &[]), ("priority", &[])],
    ],
    read: Read::Program(Program {
        decode,
        required: "rule, priority, and output or output_fields",
    }),
    reads: &[
        "Output", "OutputFields", "Priority", "Rule", "hostname", "output", "output_fields", "priority", "rule", "tags",
        "time", "uuid",
    ],
    ..LogFormat::NEW
};

const DETECTION_FINDING: i64 = 2004;

/// Deepest nesting of `output_fields` that is followed.
const NESTED: usize = 4;

#[derive(Default)]
struct Alert {
    rule: bool,
    priority: Option<Text>,
    /// The rule, the priority is there, but no string.
    wrong: [bool; 2],
    output: bool,
    time: Option<Text>,
    fields: Fields,
    in_fields: bool,
}

/// Fields that come to a column only together or only if nothing better is there.
#[derive(Default)]
struct Fields {
    image: Option<Text>,
    tag: Option<Text>,
    server: Option<Text>,
    remote: Option<Text>,
    server_port: Option<i64>,
    remote_port: Option<i64>,
    host: Option<Text>,
    /// Name and number of the user at the host, and the name under which they logged in.
    user: Option<Text>,
    user_number: Option<i64>,
    login: Option<Text>,
    plugins: Plugins,
}

fn decode(s: &mut Scanner, row: &mut Row) -> Result<Decoded, Stop> {
    let mut alert = Alert::default();
    s.object(|s, key| member(s, row, key, &mut alert))?;
    let present = [alert.rule, alert.priority.is_some(), alert.output];
    match present {
        [true, true, true] => {}
        [false, true, true] if alert.wrong[0] => return Err(wrong_type("rule")),
        [true, false, true] if alert.wrong[1] => return Err(wrong_type("priority")),
        _ => return Ok(Decoded::NotThis),
    }
    let time = alert.time.ok_or_else(|| missing("time"))?;
    row.time(s, time)?;
    row.builder.int(col::CLASS_UID, DETECTION_FINDING);
    let severity = alert.priority.and_then(|text| severity(&s.value(text)));
    if let Some(severity) = severity {
        row.builder.int(col::SEVERITY_ID, severity);
    }
    finish(s, row, &alert.fields);
    Ok(Decoded::Row)
}

fn member(s: &mut Scanner, row: &mut Row, key: &[u8], alert: &mut Alert) -> Result<(), Stop> {
    match key {
        b"time" => first(&mut alert.time, s)?,
        b"rule" | b"Rule" => match s.text()? {
            Some(text) => {
                alert.rule = true;
                row.text(s, col::FINDING_TITLE, text);
            }
            None => alert.wrong[0] = true,
        },
        b"priority" | b"Priority" => match s.text()? {
            Some(text) => drop(alert.priority.get_or_insert(text)),
            None => alert.wrong[1] = true,
        },
        b"output" | b"Output" => {
            alert.output = true;
            row.string(s, col::FINDING_DESC)?;
        }
        b"uuid" => row.string(s, col::EVENT_UID)?,
        b"hostname" => row.string(s, col::HOSTNAME)?,
        b"tags" => row.array(s, col::FINDING_TAGS)?,
        b"output_fields" | b"OutputFields" => {
            alert.output = true;
            if alert.in_fields || s.peek() != b'{' {
                return Ok(s.skip()?);
            }
            alert.in_fields = true;
            s.object(|s, key| field(s, row, key, &mut alert.fields, 1))?;
        }
        _ if row.rivals.keys.has(key) => return Err(Stop::NotThis),
        _ => s.skip()?,
    }
    Ok(())
}

/// One field; if its value is an object, the fields in it under `key.`.
fn field(
    s: &mut Scanner,
    row: &mut Row,
    key: &[u8],
    fields: &mut Fields,
    depth: usize,
) -> Result<(), Error> {
    if s.peek() == b'{' && depth <= NESTED {
        let mut path = [key, b"."].concat();
        return s.object(|s, inner| {
            path.truncate(key.len() + 1);
            path.extend_from_slice(inner);
            field(s, row, &path, fields, depth + 1)
        });
    }
    match key {
        b"user.name" => keep(&mut fields.user, value(s)?),
        b"user.uid" => keep(&mut fields.user_number, s.int()?),
        b"user.loginname" => keep(&mut fields.login, value(s)?),
        b"proc.name" => set(s, row, col::PROCESS_NAME)?,
        b"proc.cmdline" => set(s, row, col::PROCESS_CMD_LINE)?,
        b"proc.pname" => set(s, row, col::PROCESS_PARENT_NAME)?,
        b"container.id" => set(s, row, col::CONTAINER_UID)?,
        b"container.name" => set(s, row, col::CONTAINER_NAME)?,
        b"container.image.repository" => keep(&mut fields.image, value(s)?),
        b"container.image.tag" => keep(&mut fields.tag, value(s)?),
        b"k8s.ns.name" => set(s, row, col::K8S_NAMESPACE)?,
        b"k8s.pod.name" => set(s, row, col::K8S_POD)?,
        // The same field holds the two ends of a connection; only a path starts with a slash.
        b"fd.name" => {
            if let Some(text) = value(s)?.filter(|text| s.value(*text).starts_with(b"/")) {
                row.text(s, col::FILE_PATH, text);
            }
        }
        b"fd.sip" => keep(&mut fields.server, value(s)?),
        b"fd.rip" => keep(&mut fields.remote, value(s)?),
        b"fd.sport" => keep(&mut fields.server_port, s.int()?),
        b"fd.rport" => keep(&mut fields.remote_port, s.int()?),
        b"evt.hostname" => keep(&mut fields.host, value(s)?),
        _ => fields.plugins.field(s, key)?,
    }
    Ok(())
}

fn first(place: &mut Option<Text>, s: &mut Scanner) -> Result<(), Error> {
    keep(place, s.text()?);
    Ok(())
}

fn keep<T>(place: &mut Option<T>, value: Option<T>) {
    if place.is_none() {
        *place = value;
    }
}

/// The string at the scanner, if it says anything.
fn value(s: &mut Scanner) -> Result<Option<Text>, Error> {
    let text = s.text()?;
    Ok(text.filter(|text| !matches!(&*s.value(*text), b"" | b"<NA>")))
}

fn set(s: &mut Scanner, row: &mut Row, column: usize) -> Result<(), Error> {
    if let Some(text) = value(s)? {
        row.text(s, column, text);
    }
    Ok(())
}

/// What the kernel writes for a user that is not set.
const UNSET: i64 = u32::MAX as i64;

/// Sets the user at the host, by number as Tetragon does, unless an audit trail names who it was.
fn user(s: &Scanner, row: &mut Row, fields: &Fields) {
    let name = fields.user.or(fields.login);
    if let Some(name) = name {
        row.text(s, col::ACTOR_NAME, name);
    }
    match (fields.user_number, name) {
        (Some(number @ 0..UNSET), _) => {
            row.scratch.clear();
            let _ = write!(row.scratch, "{number}");
            if let Ok(number) = std::str::from_utf8(row.scratch) {
                row.builder.text(col::ACTOR_UID, number);
            }
        }
        (_, Some(name)) => row.text(s, col::ACTOR_UID, name),
        (_, None) => {}
    }
}

fn finish(s: &Scanner, row: &mut Row, fields: &Fields) {
    fields.plugins.fill(s, row);
    user(s, row, fields);
    if let Some(host) = fields.host {
        row.text(s, col::HOSTNAME, host);
    }
    match (fields.image, fields.tag) {
        (Some(image), Some(tag)) => {
            let (mut one, mut two) = (vec![], vec![]);
            if let (Some(image), Some(tag)) =
                (unescaped(s, image, &mut one), unescaped(s, tag, &mut two))
            {
                let name = format!("{image}:{tag}");
                row.builder.text(col::CONTAINER_IMAGE, &name);
            }
        }
        (Some(image), None) => row.text(s, col::CONTAINER_IMAGE, image),
        (None, _) => {}
    }
    let (address, port) = match fields.server {
        Some(_) => (fields.server, fields.server_port),
        None => (fields.remote, fields.remote_port.or(fields.server_port)),
    };
    if let Some(address) = address {
        row.address(s, address, col::DST_IP, None);
    }
    if let Some(port) = port.filter(|port| (0..=65_535).contains(port)) {
        row.builder.int(col::DST_PORT, port);
    }
}

/// OCSF `severity_id` of a Falco priority.
fn severity(priority: &[u8]) -> Option<i64> {
    const LEVELS: [(&[u8], i64); 9] = [
        (b"Debug", 1),
        (b"Informational", 1),
        (b"Info", 1),
        (b"Notice", 2),
        (b"Warning", 3),
        (b"Error", 4),
        (b"Critical", 5),
        (b"Alert", 5),
        (b"Emergency", 6),
    ];
    let level = LEVELS
        .iter()
        .find(|(n, _)| n.eq_ignore_ascii_case(priority));
    level.map(|(_, severity)| *severity)
}
