//! Who did it: the identity of an event, under one id however the event spells it.

use weir_engine::schema::col;

use super::{Event, first};
use crate::format::Row;
use crate::json::{Error, Scanner, Text};

/// What AWS writes for a name that may be a password typed into the wrong field.
pub(super) const HIDDEN: &[u8] = b"HIDDEN_DUE_TO_SECURITY_REASONS";

#[derive(Default)]
pub(super) struct Identity {
    kind: Option<Text>,
    principal: Option<Text>,
    arn: Option<Text>,
    invoked_by: Option<Text>,
    name: Option<Text>,
    account: Option<Text>,
    access_key: Option<Text>,
    credential: Option<Text>,
    provider: Option<Text>,
    on_behalf_of: Option<Text>,
    store: Option<Text>,
    issuer_arn: Option<Text>,
    issuer_name: Option<Text>,
}

pub(super) fn identity(s: &mut Scanner, row: &mut Row) -> Result<Identity, Error> {
    let mut identity = Identity::default();
    let i = &mut identity;
    s.object(|s, key| {
        match key {
            b"type" => first(&mut i.kind, s)?,
            b"principalId" => shown(&mut i.principal, s)?,
            b"arn" => first(&mut i.arn, s)?,
            b"userName" => shown(&mut i.name, s)?,
            b"invokedBy" => first(&mut i.invoked_by, s)?,
            b"accountId" => {
                let account = account(s, row, col::ACTOR_ACCOUNT)?;
                i.account = i.account.or(account);
            }
            b"accessKeyId" => first(&mut i.access_key, s)?,
            b"credentialId" => first(&mut i.credential, s)?,
            b"identityProvider" => first(&mut i.provider, s)?,
            b"onBehalfOf" => s.object_or_skip(|s, key| match key {
                b"userId" => first(&mut i.on_behalf_of, s),
                b"identityStoreArn" => first(&mut i.store, s),
                _ => s.skip(),
            })?,
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

/// The first name that AWS does not hide.
pub(super) fn shown(place: &mut Option<Text>, s: &mut Scanner) -> Result<(), Error> {
    let text = s.text()?;
    if place.is_none() {
        *place = text.filter(|text| !text.is_empty() && *s.value(*text) != *HIDDEN);
    }
    Ok(())
}

/// An account's number, which some exports write as a number: twelve digits.
pub(super) fn account(
    s: &mut Scanner,
    row: &mut Row,
    column: usize,
) -> Result<Option<Text>, Error> {
    if s.peek() == b'"' {
        let text = s.text()?.filter(|text| !text.is_empty());
        if let Some(text) = text {
            row.text(s, column, text);
        }
        return Ok(text);
    }
    if let Some(number) = s.int()?.filter(|number| *number >= 0) {
        row.builder.text(column, &format!("{number:012}"));
    }
    Ok(None)
}

fn set(s: &Scanner, row: &mut Row, column: usize, text: Option<Text>) {
    if let Some(text) = text {
        row.text(s, column, text);
    }
}

pub(super) fn actor(s: &Scanner, row: &mut Row, event: &Event, identity: &Identity, sign_in: bool) {
    let i = identity;
    let kind = i.kind.map(|kind| s.value(kind)).unwrap_or_default();
    set(s, row, col::ACTOR_TYPE, i.kind);
    set(s, row, col::ACTOR_INVOKED_BY, i.invoked_by);
    set(s, row, col::ACTOR_CREDENTIAL, i.access_key.or(i.credential));
    if &*kind == b"AssumedRole" {
        let own = i.arn.or(i.invoked_by).or(i.on_behalf_of);
        set(s, row, col::ACTOR_UID, i.issuer_arn);
        set(s, row, col::ACTOR_NAME, i.issuer_name.or(i.name));
        if i.issuer_arn.is_none() || i.issuer_name.is_none() {
            role(s, row, i);
        }
        set(s, row, col::ACTOR_UID, own);
        set(s, row, col::ACTOR_SESSION_UID, i.arn);
        return;
    }
    let issuer = match &*kind {
        b"FederatedUser" => i.issuer_arn,
        _ => i.provider.or(i.store),
    };
    set(s, row, col::ACTOR_ISSUER, issuer);
    // Of a sign-in the name may stand beside the identity.
    let portal = event
        .source
        .is_some_and(|source| *s.value(source) == *b"sso.amazonaws.com");
    let [additional, details, request] = event.users;
    let beside = match &*kind {
        _ if sign_in || portal => additional.or(details).or(request),
        b"IdentityCenterUser" | b"Unknown" | b"" => additional,
        _ => None,
    };
    let name = i.name.or(beside);
    set(s, row, col::ACTOR_NAME, name);
    let whole = matches!(&*kind, b"Root" | b"AWSAccount");
    // Of the portal's older events the principal is the account.
    let value = |text: Option<Text>| text.map(|text| s.value(text));
    let account = i.account.filter(|_| whole);
    let principal = i
        .principal
        .filter(|_| whole || value(i.principal) != value(i.account));
    if &*kind == b"IAMUser" && i.arn.is_none() && user_arn(s, row, event, i) {
        return;
    }
    if &*kind == b"Root" && i.arn.is_none() {
        root_arn(s, row, event, i);
    }
    let person = i.on_behalf_of.filter(|_| &*kind == b"IdentityCenterUser");
    let uid = person
        .or(i.arn)
        .or(principal)
        .or(i.on_behalf_of)
        .or(i.invoked_by)
        .or(name)
        .or(event.pool_user)
        .or(i.provider)
        .or(account);
    set(s, row, col::ACTOR_UID, uid);
    if matches!(&*kind, b"IAMUser" | b"FederatedUser")
        && let Some(arn) = value(i.arn)
        && let Some(at) = arn.iter().rposition(|byte| *byte == b'/')
        && let Ok(name) = std::str::from_utf8(&arn[at + 1..])
        && !name.is_empty()
    {
        row.builder.text(col::ACTOR_NAME, name);
    }
}

/// Sets the role that a session without its issuer is of: each session has an ARN and a principal of its own, which name
/// the role, `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION` and `AROA…:SESSION`.
fn role(s: &Scanner, row: &mut Row, identity: &Identity) {
    if let Some(arn) = owned(s, identity.arn) {
        let parts: Vec<_> = arn.splitn(6, ':').collect();
        if let ["arn", partition, "sts", _, account, session] = parts[..]
            && let Some((name, _)) = session
                .strip_prefix("assumed-role/")
                .and_then(|session| session.split_once('/'))
            && !name.is_empty()
        {
            let arn = format!("arn:{partition}:iam::{account}:role/{name}");
            row.builder.text(col::ACTOR_UID, &arn);
            row.builder.text(col::ACTOR_NAME, name);
        }
    } else if let Some(principal) = owned(s, identity.principal) {
        let role = principal.split(':').next().unwrap_or_default();
        if !role.is_empty() {
            row.builder.text(col::ACTOR_UID, role);
        }
    }
}

/// A failed sign-in of the root user names the account alone.
fn root_arn(s: &Scanner, row: &mut Row, event: &Event, identity: &Identity) {
    let is_number =
        |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let account = owned(s, identity.account).filter(is_number);
    let account = account.or_else(|| owned(s, identity.principal).filter(is_number));
    if let Some(account) = account {
        let arn = format!("arn:{}:iam::{account}:root", partition(s, event));
        row.builder.text(col::ACTOR_UID, &arn);
    }
}

fn owned(s: &Scanner, text: Option<Text>) -> Option<String> {
    String::from_utf8(s.value(text?).into_owned()).ok()
}

/// The partition of AWS that the event's region is in.
fn partition(s: &Scanner, event: &Event) -> &'static str {
    match owned(s, event.region).as_deref() {
        Some(region) if region.starts_with("cn-") => "aws-cn",
        Some(region) if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// A failed sign-in names the user without its ARN: the user gets the same id as ever. False if the parts are
/// not there.
fn user_arn(s: &Scanner, row: &mut Row, event: &Event, identity: &Identity) -> bool {
    let (Some(account), Some(name)) = (owned(s, identity.account), owned(s, identity.name)) else {
        return false;
    };
    let arn = format!("arn:{}:iam::{account}:user/{name}", partition(s, event));
    row.builder.text(col::ACTOR_UID, &arn);
    true
}
