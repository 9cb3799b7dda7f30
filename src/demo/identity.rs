//! Callers as CloudTrail names them: IAM users, roles' sessions, services, web identities.

use super::clock;
use super::cloudtrail::ACCOUNT;
use super::rng::Rng;

/// A caller: the `userIdentity` object and what stays the same from call to call.
#[derive(Debug, Clone)]
pub struct Session {
    pub identity: String,
    /// What an error message names as the caller.
    pub arn: String,
    pub ip: String,
    pub agent: String,
    /// The call came through the console with the session's credentials.
    pub console: bool,
    /// A service calls: no TLS details, and its name stands where the address would.
    pub service: bool,
}

/// `AKIA…` and its kin: a stable made-up id that says EXAMPLE, as AWS's own documentation does.
pub fn access_key(prefix: &str, owner: &str) -> String {
    let random = Rng::new(0, owner, 0).text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 9);
    format!("{prefix}{random}EXAMPLE")
}

/// `AIDA…` or `AROA…`: a stable made-up unique id.
pub fn unique_id(prefix: &str, owner: &str) -> String {
    let random = Rng::new(1, owner, 0).text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 17);
    format!("{prefix}{random}")
}

pub fn user_arn(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:user/{name}")
}

fn user_head(name: &str) -> String {
    let principal = unique_id("AIDA", name);
    let arn = user_arn(name);
    format!(r#""type":"IAMUser","principalId":"{principal}","arn":"{arn}","accountId":"{ACCOUNT}""#)
}

fn attributes(created: i64, mfa: bool) -> String {
    let created = clock::seconds(created);
    format!(r#""attributes":{{"creationDate":"{created}","mfaAuthenticated":"{mfa}"}}"#)
}

impl Session {
    fn new(identity: String, arn: String, ip: &str, agent: &str) -> Self {
        Self {
            identity,
            arn,
            ip: ip.to_owned(),
            agent: agent.to_owned(),
            console: false,
            service: false,
        }
    }

    /// An IAM user's long-lived access key.
    pub fn user_key(name: &str, key: &str, ip: &str, agent: &str) -> Self {
        let head = user_head(name);
        let identity = format!(r#"{{{head},"accessKeyId":"{key}","userName":"{name}"}}"#);
        Self::new(identity, user_arn(name), ip, agent)
    }

    /// An IAM user before the console has given him credentials, as in `ConsoleLogin`.
    pub fn user_at_sign_in(name: &str, ip: &str, agent: &str) -> Self {
        let head = user_head(name);
        let identity = format!(r#"{{{head},"userName":"{name}"}}"#);
        Self::new(identity, user_arn(name), ip, agent)
    }

    /// An IAM user whose sign-in failed: AWS leaves out the ARN and the key.
    pub fn user_refused(name: &str, ip: &str, agent: &str) -> Self {
        let principal = unique_id("AIDA", name);
        let identity = format!(
            r#"{{"type":"IAMUser","principalId":"{principal}","accountId":"{ACCOUNT}","accessKeyId":"","userName":"{name}"}}"#
        );
        Self::new(identity, user_arn(name), ip, agent)
    }

    /// A sign-in under a name that the account does not have; AWS hides what was typed.
    pub fn unknown_at_sign_in(ip: &str, agent: &str) -> Self {
        let identity = format!(
            r#"{{"type":"IAMUser","accountId":"{ACCOUNT}","accessKeyId":"","userName":"HIDDEN_DUE_TO_SECURITY_REASONS"}}"#
        );
        Self::new(identity, String::new(), ip, agent)
    }

    /// An IAM user in the console: temporary credentials of a session that began at `created`.
    pub fn user_in_console(
        name: &str,
        key: &str,
        created: i64,
        mfa: bool,
        ip: &str,
        agent: &str,
    ) -> Self {
        let head = user_head(name);
        let attributes = attributes(created, mfa);
        let identity = format!(
            r#"{{{head},"accessKeyId":"{key}","userName":"{name}","sessionContext":{{"sessionIssuer":{{}},"webIdFederationData":{{}},{attributes}}}}}"#
        );
        Self {
            console: true,
            ..Self::new(identity, user_arn(name), ip, agent)
        }
    }

    /// A role's session. `path` is the role's, with its slashes (`/` for most).
    pub fn role(role: &Role, session: &str, created: i64, ip: &str, agent: &str) -> Self {
        let identity = role.identity(session, created, "");
        Self::new(identity, role.session_arn(session), ip, agent)
    }

    /// A service that calls with a role's credentials, as service-linked roles do.
    pub fn role_of_service(role: &Role, session: &str, created: i64, service: &str) -> Self {
        let invoked = format!(r#","invokedBy":"{service}""#);
        let identity = role.identity(session, created, &invoked);
        Self {
            service: true,
            ..Self::new(identity, role.session_arn(session), service, service)
        }
    }

    /// A service in its own name.
    pub fn service(service: &str) -> Self {
        let identity = format!(r#"{{"type":"AWSService","invokedBy":"{service}"}}"#);
        Self {
            service: true,
            ..Self::new(identity, String::new(), service, service)
        }
    }

    /// A workload that trades its OIDC token for a role: the identity of `AssumeRoleWithWebIdentity`.
    pub fn web_identity(provider: &str, subject: &str, ip: &str, agent: &str) -> Self {
        let identity = format!(
            r#"{{"type":"WebIdentityUser","principalId":"arn:aws:iam::{ACCOUNT}:oidc-provider/{provider}:sts.amazonaws.com:{subject}","userName":"{subject}","identityProvider":"arn:aws:iam::{ACCOUNT}:oidc-provider/{provider}"}}"#
        );
        Self::new(identity, String::new(), ip, agent)
    }

    /// Somebody who comes from single sign-on with a SAML assertion.
    pub fn saml(email: &str, ip: &str) -> Self {
        let provider = "aldertree/AWSSSO_3f9c1a5be27d4680_DO_NOT_DELETE";
        let identity = format!(
            r#"{{"type":"SAMLUser","principalId":"{provider}:{email}","userName":"{email}","identityProvider":"{provider}"}}"#
        );
        Self::new(
            identity,
            String::new(),
            ip,
            "aws-internal/3 aws-sdk-java/1.12.790",
        )
    }

    /// The same caller when a service calls on for it, as Secrets Manager calls KMS.
    pub fn through(&self, service: &str) -> Self {
        let mut identity = self.identity.clone();
        identity.pop();
        identity.push_str(r#","invokedBy":""#);
        identity.push_str(service);
        identity.push_str("\"}");
        Self {
            service: true,
            ..Self::new(identity, self.arn.clone(), service, service)
        }
    }
}

/// An IAM role.
#[derive(Debug, Clone)]
pub struct Role {
    pub name: String,
    pub path: &'static str,
    pub mfa: bool,
}

impl Role {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            path: "/",
            mfa: false,
        }
    }

    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{ACCOUNT}:role{}{}", self.path, self.name)
    }

    pub fn session_arn(&self, session: &str) -> String {
        format!(
            "arn:aws:sts::{ACCOUNT}:assumed-role/{}/{session}",
            self.name
        )
    }

    /// The temporary access key of a session.
    pub fn session_key(&self, session: &str, created: i64) -> String {
        access_key("ASIA", &format!("{}/{session}/{created}", self.name))
    }

    fn identity(&self, session: &str, created: i64, invoked: &str) -> String {
        let principal = unique_id("AROA", &self.name);
        let key = self.session_key(session, created);
        let (arn, issuer, name) = (self.session_arn(session), self.arn(), &self.name);
        let attributes = attributes(created, self.mfa);
        format!(
            r#"{{"type":"AssumedRole","principalId":"{principal}:{session}","arn":"{arn}","accountId":"{ACCOUNT}","accessKeyId":"{key}","sessionContext":{{"sessionIssuer":{{"type":"Role","principalId":"{principal}","arn":"{issuer}","accountId":"{ACCOUNT}","userName":"{name}"}},"webIdFederationData":{{}},{attributes}}}{invoked}}}"#
        )
    }
}
