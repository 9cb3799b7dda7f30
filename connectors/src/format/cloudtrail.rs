//! AWS CloudTrail events ("CloudTrail record contents" in the AWS CloudTrail User Guide).
//!
//! Traps: `mfaAuthenticated` is the string `"false"`; `requestParameters` and `responseElements` change
//! their shape from call to call, so only a few names of the request are taken and the rest is left to
//! `raw`; `sourceIPAddress` may be a service name or `AWS Internal`; `userIdentity` may lack any member;
//! a sign-in tells its outcome in `responseElements` or `serviceEventDetails`, a service event often not at
//! all; other clouds write the same keys; forwarders make JSON in text of objects, which is then read as an export
//! ([`exports`](crate::envelope::exports)).

mod actor;
mod outcome;

use weir_engine::schema::col;

use self::actor::{HIDDEN, Identity, account, actor, identity, shown};
use self::outcome::{answer, foreign, outcome};
use super::{Decoded, Row, Stop, fault, missing, wrong_type};
use crate::envelope::exports;
use crate::json::{Error, Mark, Scanner, Text};
use crate::mapping::{Keys, LogFormat, Program, Read};

#[rustfmt::skip]
pub static EVENT: LogFormat = LogFormat {
    name: "CloudTrail event",
    source: "cloudtrail",
    family: "cloud_audit",
    product: "CloudTrail",
    // Any two make it worth while to read the object; `decode` then looks closer.
    needs: &[
        &[("eventName", &[]), ("eventSource", &[])],
        &[("eventName", &[]), ("eventTime", &[])],
        &[("eventSource", &[]), ("eventTime", &[])],
    ],
    read: Read::Program(Program {
        decode,
        required: "eventName, eventSource and eventTime",
    }),
    reads: &[
        "additionalEventData", "awsRegion", "errorCode", "errorMessage", "eventCategory", "eventID", "eventName",
        "eventSource", "eventTime", "eventType", "eventVersion", "managementEvent", "readOnly", "recipientAccountId",
        "requestID", "requestParameters", "resources", "responseElements", "serviceEventDetails", "sourceIPAddress",
        "tlsDetails", "userAgent", "userIdentity",
    ],
    ..LogFormat::NEW
};

const API_ACTIVITY: i64 = 6003;
const AUTHENTICATION: i64 = 3002;

/// Keys of `requestParameters` that name the object acted upon, the most telling first.
const NAMES: [&[u8]; 8] = [
    b"bucketName",
    b"userName",
    b"roleName",
    b"instanceId",
    b"secretId",
    b"functionName",
    b"name",
    b"groupId",
];

/// Without these it is no event; their places in [`Event::wrong`].
const REQUIRED: [&str; 3] = ["eventName", "eventSource", "eventTime"];
const NAME: usize = 0;
const SOURCE: usize = 1;
const TIME: usize = 2;

/// What is known of the event before all of it was read.
#[derive(Default)]
struct Event {
    name: Option<Text>,
    source: Option<Text>,
    time: Option<Text>,
    /// Required keys that hold no string.
    wrong: [bool; 3],
    kind: Option<Text>,
    region: Option<Text>,
    address: Option<Text>,
    /// An S3 notification, which has a name, source and time as well.
    notification: bool,
    /// Has a key that only another cloud writes.
    foreign: bool,
    /// A member that is an object stands in a text.
    textual: bool,
    failed: bool,
    uid: bool,
    identity: Option<Identity>,
    /// `responseElements` and `serviceEventDetails`, if a member may tell the outcome.
    answers: [Option<Mark>; 2],
    /// `additionalEventData.UserName`, and the user in `serviceEventDetails` and `requestParameters`.
    users: [Option<Text>; 3],
    /// `additionalEventData.sub`: the user of a pool.
    pool_user: Option<Text>,
    /// `additionalEventData.MFAUsed`, the answer of console sign-ins.
    mfa_used: Option<bool>,
    resources: bool,
    request: bool,
    response: bool,
    details: bool,
}

fn decode(s: &mut Scanner, row: &mut Row) -> Result<Decoded, Stop> {
    let mut event = Event::default();
    s.object(|s, key| member(s, row, key, &mut event))?;
    if event.textual {
        return Ok(Decoded::NotThis);
    }
    let present = [
        event.name.is_some(),
        event.source.is_some(),
        event.time.is_some(),
    ];
    let all = (0..3).all(|at| present[at] || event.wrong[at]);
    if all && let Some(whose) = foreign(s, &event) {
        let detail = format!("an audit event of {whose}, not of AWS CloudTrail");
        return Err(Stop::Event(fault("unknown_format", detail)));
    }
    let time = match present {
        [true, true, true] => event.time,
        // The other two make it a CloudTrail event all the same.
        [false, true, true] if event.wrong[NAME] => return Err(wrong_type(REQUIRED[NAME])),
        [true, false, true] if event.wrong[SOURCE] => return Err(wrong_type(REQUIRED[SOURCE])),
        [true, true, false] if event.wrong[TIME] => return Err(wrong_type(REQUIRED[TIME])),
        [true, true, false] if event.uid => return Err(missing(REQUIRED[TIME])),
        _ => None,
    };
    let Some(time) = time else {
        return Ok(Decoded::NotThis);
    };
    if event.notification {
        let detail = "an S3 notification, not the CloudTrail object that it announces";
        return Err(Stop::Event(fault("unknown_format", detail)));
    }
    row.time(s, time)?;
    finish(s, row, &event)?;
    Ok(Decoded::Row)
}

#[inline(always)]
fn member(s: &mut Scanner, row: &mut Row, key: &[u8], event: &mut Event) -> Result<(), Stop> {
    match key {
        b"eventTime" => match s.text()? {
            Some(text) => drop(event.time.get_or_insert(text)),
            None => event.wrong[TIME] = true,
        },
        b"eventName" => match s.text()? {
            Some(text) => {
                event.name.get_or_insert(text);
                row.text(s, col::API_OPERATION, text);
            }
            None => event.wrong[NAME] = true,
        },
        b"eventSource" => match s.text()? {
            Some(text) => {
                event.source.get_or_insert(text);
                row.text(s, col::API_SERVICE, text);
            }
            None => event.wrong[SOURCE] = true,
        },
        b"eventID" => {
            if let Some(text) = s.text()? {
                event.uid = true;
                row.text(s, col::EVENT_UID, text);
            }
        }
        b"awsRegion" => {
            first(&mut event.region, s)?;
            if let Some(region) = event.region {
                row.text(s, col::CLOUD_REGION, region);
            }
        }
        b"eventType" => first(&mut event.kind, s)?,
        b"userAgent" => row.string(s, col::USER_AGENT)?,
        b"requestID" => row.string(s, col::API_REQUEST_UID)?,
        b"recipientAccountId" => {
            account(s, row, col::CLOUD_ACCOUNT)?;
        }
        b"sourceIPAddress" => first(&mut event.address, s)?,
        b"readOnly" => {
            if let Some(value) = s.bool()? {
                row.builder.bool(col::IS_READ_ONLY, value);
            }
        }
        b"errorCode" => {
            if let Some(text) = s.text()? {
                event.failed |= !text.is_empty();
                row.text(s, col::STATUS_CODE, text);
            }
        }
        b"errorMessage" => {
            if let Some(text) = s.text()? {
                event.failed |= !text.is_empty();
                row.text(s, col::STATUS_DETAIL, text);
            }
        }
        b"userIdentity"
        | b"requestParameters"
        | b"responseElements"
        | b"serviceEventDetails"
        | b"additionalEventData"
        | b"resources"
            if s.peek() == b'"' =>
        {
            event.textual |= holds_members(s)?;
        }
        b"userIdentity" if event.identity.is_none() && s.peek() == b'{' => {
            event.identity = Some(identity(s, row)?);
        }
        b"requestParameters" if !event.request && s.peek() == b'{' => {
            event.request = true;
            request(s, row, &mut event.users[2])?;
        }
        b"responseElements" if !event.response && s.peek() == b'{' => {
            event.response = true;
            let mark = s.mark();
            let mut tells = false;
            s.object(|s, _| {
                tells |= s.text()?.is_some_and(|text| answer(s, text).is_some());
                Ok::<_, Error>(())
            })?;
            event.answers[0] = tells.then_some(mark);
        }
        b"serviceEventDetails" if !event.details && s.peek() == b'{' => {
            event.details = true;
            event.answers[1] = Some(s.mark());
            s.object(|s, key| match key {
                b"UserName" | b"userName" | b"username" | b"user_name" => {
                    shown(&mut event.users[1], s)
                }
                _ => s.skip(),
            })?;
        }
        b"additionalEventData" => {
            s.object_or_skip(|s, key| match key {
                b"MFAUsed" if event.mfa_used.is_none() => {
                    event.mfa_used = s.text()?.and_then(|text| match &*s.value(text) {
                        b"Yes" => Some(true),
                        b"No" => Some(false),
                        _ => None,
                    });
                    Ok::<_, Error>(())
                }
                b"UserName" | b"userName" => shown(&mut event.users[0], s),
                b"sub" => shown(&mut event.pool_user, s),
                _ => s.skip(),
            })?;
        }
        b"resources" if !event.resources && s.peek() == b'[' => {
            event.resources = true;
            resources(s, row)?;
        }
        // Known, frequent and not wanted: not looked at again below.
        b"eventVersion" | b"eventCategory" | b"managementEvent" | b"tlsDetails" => {
            s.skip()?;
        }
        _ => other(s, row.rivals.keys, key, event)?,
    }
    Ok(())
}

/// Whether the text at the scanner is an object or an array.
#[cold]
#[inline(never)]
fn holds_members(s: &mut Scanner) -> Result<bool, Error> {
    let text = s.text()?;
    let value = text.map(|text| s.value(text)).unwrap_or_default();
    Ok(exports::holds_members(&value))
}

#[inline(never)]
fn other(s: &mut Scanner, rivals: &Keys, key: &[u8], event: &mut Event) -> Result<(), Stop> {
    if rivals.has(key) {
        return Err(Stop::NotThis);
    }
    event.notification |= key == b"s3";
    event.foreign |= matches!(key, b"acsRegion" | b"eventRW");
    Ok(s.skip()?)
}

#[inline]
fn first(place: &mut Option<Text>, s: &mut Scanner) -> Result<(), Error> {
    let text = s.text()?;
    if place.is_none() {
        *place = text.filter(|text| !text.is_empty());
    }
    Ok(())
}

fn request(s: &mut Scanner, row: &mut Row, user: &mut Option<Text>) -> Result<(), Error> {
    let mut best: Option<(usize, Text)> = None;
    s.object(|s, key| {
        if matches!(key, b"UserName" | b"username") {
            return shown(user, s);
        }
        let Some(rank) = NAMES.iter().position(|name| *name == key) else {
            return s.skip();
        };
        let text = s.text()?.filter(|text| !text.is_empty());
        let Some(text) = text.filter(|text| *s.value(*text) != *HIDDEN) else {
            return Ok(());
        };
        if key == b"userName" {
            user.get_or_insert(text);
        }
        if best.is_none_or(|(best, _)| rank < best) {
            best = Some((rank, text));
        }
        Ok(())
    })?;
    if let Some((_, text)) = best {
        row.text(s, col::RESOURCE_NAME, text);
    }
    Ok(())
}

/// The first of the resources.
fn resources(s: &mut Scanner, row: &mut Row) -> Result<(), Error> {
    let mut index = 0;
    s.array(|s| {
        index += 1;
        if index > 1 {
            return s.skip();
        }
        s.object_or_skip(|s, key| match key {
            b"ARN" | b"arn" => row.string(s, col::RESOURCE_UID),
            b"type" => row.string(s, col::RESOURCE_TYPE),
            _ => s.skip(),
        })
    })
}

const SIGN_IN: &[u8] = b"signin.amazonaws.com";

/// Sets what depends on more than one member.
fn finish(s: &Scanner, row: &mut Row, event: &Event) -> Result<(), Error> {
    let is = |text: Option<Text>, word: &[u8]| text.is_some_and(|text| *s.value(text) == *word);
    let sign_in = is(event.source, SIGN_IN);
    let class = if sign_in {
        AUTHENTICATION
    } else {
        API_ACTIVITY
    };
    row.builder.int(col::CLASS_UID, class);
    row.label(col::CLOUD_PROVIDER, row.labels.aws);
    if let Some(failed) = outcome(s, event)? {
        row.status(failed);
    }
    if let Some(address) = event.address {
        row.address(s, address, col::SRC_IP, Some(col::SRC_DOMAIN));
    }
    if let Some(used) = event.mfa_used {
        row.builder.bool(col::ACTOR_SESSION_MFA, used);
    }
    let none = Identity::default();
    let identity = event.identity.as_ref().unwrap_or(&none);
    actor(s, row, event, identity, sign_in);
    Ok(())
}
