//! AWS CloudTrail events ("CloudTrail record contents" in the AWS CloudTrail User Guide).
//!
//! Traps: `mfaAuthenticated` is the string `"false"`; `requestParameters` and `responseElements` change
//! their shape from call to call, so only a few names of the request are taken and the rest is left to
//! `raw`; `sourceIPAddress` may be a service name or `AWS Internal`; `userIdentity` may lack any member.

use weir_engine::schema::col;

use super::{Decoded, Row, Stop, fault, is_envelope_key, missing, wrong_type};
use crate::json::{Error, Scanner, Text};
use crate::mapping::Need;

/// Any two make it worth while to read the object; [`decode`] then looks closer.
pub(super) const NEEDS: &[&[Need]] = &[
    &[("eventName", &[]), ("eventSource", &[])],
    &[("eventName", &[]), ("eventTime", &[])],
    &[("eventSource", &[]), ("eventTime", &[])],
];

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
    name: bool,
    source: Option<Text>,
    time: Option<Text>,
    /// Required keys that hold no string.
    wrong: [bool; 3],
    address: Option<Text>,
    /// An S3 notification, which has a name, source and time as well.
    notification: bool,
    failed: bool,
    uid: bool,
    identity: Option<Identity>,
    /// `responseElements.ConsoleLogin`: `Success` or `Failure`.
    console_login: Option<Text>,
    /// `additionalEventData.MFAUsed`, the answer of console sign-ins.
    mfa_used: Option<bool>,
    resources: bool,
    request: bool,
    response: bool,
}

#[derive(Default)]
struct Identity {
    kind: Option<Text>,
    principal: Option<Text>,
    arn: Option<Text>,
    invoked_by: Option<Text>,
    name: Option<Text>,
    issuer_arn: Option<Text>,
    issuer_name: Option<Text>,
}

pub(super) fn decode(s: &mut Scanner, row: &mut Row) -> Result<Decoded, Stop> {
    let mut event = Event::default();
    s.object(|s, key| member(s, row, key, &mut event))?;
    let time = match [event.name, event.source.is_some(), event.time.is_some()] {
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
    finish(s, row, &event);
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
                event.name = true;
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
        b"awsRegion" => row.string(s, col::CLOUD_REGION)?,
        b"userAgent" => row.string(s, col::USER_AGENT)?,
        b"requestID" => row.string(s, col::API_REQUEST_UID)?,
        b"recipientAccountId" => row.string(s, col::CLOUD_ACCOUNT)?,
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
        b"errorMessage" => row.string(s, col::STATUS_DETAIL)?,
        b"userIdentity" if event.identity.is_none() && s.peek() == b'{' => {
            event.identity = Some(identity(s, row)?);
        }
        b"requestParameters" if !event.request && s.peek() == b'{' => {
            event.request = true;
            request(s, row)?;
        }
        b"responseElements" if !event.response && s.peek() == b'{' => {
            event.response = true;
            s.object(|s, key| match key {
                b"ConsoleLogin" => first(&mut event.console_login, s),
                _ => s.skip(),
            })?;
        }
        b"additionalEventData" => {
            s.object_or_skip(|s, key| {
                if key != b"MFAUsed" || event.mfa_used.is_some() {
                    return s.skip();
                }
                event.mfa_used = s.text()?.and_then(|text| match &*s.value(text) {
                    b"Yes" => Some(true),
                    b"No" => Some(false),
                    _ => None,
                });
                Ok::<_, Error>(())
            })?;
        }
        b"resources" if !event.resources && s.peek() == b'[' => {
            event.resources = true;
            resources(s, row)?;
        }
        // Known, frequent and not wanted: not looked at again below.
        b"eventVersion" | b"eventType" | b"eventCategory" | b"managementEvent" | b"tlsDetails" => {
            s.skip()?;
        }
        _ => other(s, key, event)?,
    }
    Ok(())
}

#[inline(never)]
fn other(s: &mut Scanner, key: &[u8], event: &mut Event) -> Result<(), Stop> {
    if is_envelope_key(key) {
        return Err(Stop::NotThis);
    }
    event.notification |= key == b"s3";
    Ok(s.skip()?)
}

fn identity(s: &mut Scanner, row: &mut Row) -> Result<Identity, Error> {
    let mut identity = Identity::default();
    let i = &mut identity;
    s.object(|s, key| {
        match key {
            b"type" => first(&mut i.kind, s)?,
            b"principalId" => first(&mut i.principal, s)?,
            b"arn" => first(&mut i.arn, s)?,
            b"userName" => first(&mut i.name, s)?,
            b"invokedBy" => first(&mut i.invoked_by, s)?,
            b"accountId" => row.string(s, col::ACTOR_ACCOUNT)?,
            b"accessKeyId" => row.string(s, col::ACTOR_CREDENTIAL)?,
            b"sessionContext" => s.object_or_skip(|s, key| match key {
                b"sessionIssuer" => s.object_or_skip(|s, key| match key {
                    b"arn" => first(&mut i.issuer_arn, s),
                    b"userName" => first(&mut i.issuer_name, s),
                    _ => s.skip(),
                }),
                b"attributes" => s.object_or_skip(|s, key| {
                    if key != b"mfaAuthenticated" {
                        return s.skip();
                    }
                    if let Some(value) = s.bool()? {
                        row.builder.bool(col::ACTOR_SESSION_MFA, value);
                    }
                    Ok(())
                }),
                _ => s.skip(),
            })?,
            _ => s.skip()?,
        }
        Ok::<_, Error>(())
    })?;
    Ok(identity)
}

#[inline]
fn first(place: &mut Option<Text>, s: &mut Scanner) -> Result<(), Error> {
    let text = s.text()?;
    if place.is_none() {
        *place = text.filter(|text| !text.is_empty());
    }
    Ok(())
}

fn request(s: &mut Scanner, row: &mut Row) -> Result<(), Error> {
    let mut best: Option<(usize, Text)> = None;
    s.object(|s, key| {
        let Some(rank) = NAMES.iter().position(|name| *name == key) else {
            return s.skip();
        };
        if let Some(text) = s.text()?.filter(|text| !text.is_empty())
            && best.is_none_or(|(best, _)| rank < best)
        {
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

/// Sets what depends on more than one member.
fn finish(s: &Scanner, row: &mut Row, event: &Event) {
    let is = |text: Option<Text>, word: &[u8]| text.is_some_and(|text| *s.value(text) == *word);
    let sign_in = is(event.source, b"signin.amazonaws.com");
    let class = if sign_in {
        AUTHENTICATION
    } else {
        API_ACTIVITY
    };
    row.builder.int(col::CLASS_UID, class);
    row.label(col::CLOUD_PROVIDER, row.labels.aws);
    row.status(event.failed || is(event.console_login, b"Failure"));
    if let Some(address) = event.address {
        row.address(s, address, col::SRC_IP, Some(col::SRC_DOMAIN));
    }
    if let Some(used) = event.mfa_used {
        row.builder.bool(col::ACTOR_SESSION_MFA, used);
    }
    let Some(identity) = &event.identity else {
        return;
    };
    let assumed = is(identity.kind, b"AssumedRole");
    let set = |row: &mut Row, column, text: Option<Text>| {
        if let Some(text) = text {
            row.text(s, column, text);
        }
    };
    set(row, col::ACTOR_TYPE, identity.kind);
    set(row, col::ACTOR_INVOKED_BY, identity.invoked_by);
    let own = identity.arn.or(identity.principal).or(identity.invoked_by);
    if assumed {
        set(row, col::ACTOR_UID, identity.issuer_arn.or(own));
        set(row, col::ACTOR_SESSION_UID, identity.arn);
        set(row, col::ACTOR_NAME, identity.issuer_name.or(identity.name));
    } else {
        set(row, col::ACTOR_UID, own);
        set(row, col::ACTOR_NAME, identity.name);
    }
}
