//! CloudTrail records: one [`Call`] of a [`Session`], written with the vendor's keys in the
//! vendor's order.
//!
//! Invariant: a record has every key that AWS writes for its kind of call, so the demo goes through the
//! same decoder paths as a real trail.

use super::clock::{self, HOUR, SECOND};
use super::identity::Session;
use super::log::{Delivery, Log};
use super::rng::Rng;

pub const ACCOUNT: &str = "111122223333";
/// Where the company runs.
pub const HOME: &str = "us-east-1";

/// One API call. The JSON fields hold JSON text; an empty one is left out where AWS leaves it out.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Without `.amazonaws.com`.
    pub service: &'a str,
    pub operation: &'a str,
    pub read_only: bool,
    pub region: &'a str,
    pub request: &'a str,
    pub response: &'a str,
    pub error: Option<(&'a str, &'a str)>,
    pub resources: &'a str,
    pub additional: &'a str,
}

impl<'a> Call<'a> {
    pub fn read(service: &'a str, operation: &'a str, request: &'a str) -> Self {
        Self {
            service,
            operation,
            read_only: true,
            region: HOME,
            request,
            response: "null",
            error: None,
            resources: "",
            additional: "",
        }
    }

    pub fn write(
        service: &'a str,
        operation: &'a str,
        request: &'a str,
        response: &'a str,
    ) -> Self {
        Self {
            read_only: false,
            response,
            ..Self::read(service, operation, request)
        }
    }

    pub fn failed(self, code: &'a str, message: &'a str) -> Self {
        Self {
            error: Some((code, message)),
            response: "null",
            ..self
        }
    }
}

/// The day's trail.
#[derive(Debug)]
pub struct Trail {
    pub log: Log,
    rng: Rng,
}

impl Trail {
    pub fn new(seed: u64, day: u64) -> Self {
        Self {
            log: Log::new(Delivery::CLOUDTRAIL, Rng::new(seed, "trail delivery", day)),
            rng: Rng::new(seed, "trail ids", day),
        }
    }

    /// Records one call and returns its `eventID`.
    pub fn call(&mut self, time: i64, session: &Session, call: &Call) -> String {
        let event_id = self.rng.uuid();
        let request_id = self.rng.uuid();
        self.log.push(time, |out| {
            write_record(out, time, session, call, &event_id, &request_id);
        });
        event_id
    }

    /// A call that the caller's permissions do not allow.
    pub fn denied(&mut self, time: i64, session: &Session, call: Call) -> String {
        let (service, operation, arn) = (call.service, call.operation, &session.arn);
        if service == "ec2" {
            let encoded = self.rng.text(
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
                220,
            );
            let message = format!(
                "You are not authorized to perform this operation. User: {arn} is not authorized to perform: ec2:{operation} because no identity-based policy allows the ec2:{operation} action. Encoded authorization failure message: {encoded}"
            );
            return self.call(
                time,
                session,
                &call.failed("Client.UnauthorizedOperation", &message),
            );
        }
        let action = operation.trim_end_matches(|digit: char| digit.is_ascii_digit());
        let message = format!(
            "User: {arn} is not authorized to perform: {service}:{action} on resource: arn:aws:{service}:{}:{ACCOUNT}:* because no identity-based policy allows the {service}:{action} action",
            call.region
        );
        // Services with the older query protocol name the error without `Exception`.
        let code = match service {
            "autoscaling" | "iam" | "rds" | "s3" | "ses" | "sns" | "sts" => "AccessDenied",
            _ => "AccessDeniedException",
        };
        self.call(time, session, &call.failed(code, &message))
    }

    /// A secret read: the call, and the decryption that Secrets Manager does for it.
    pub fn secret(&mut self, time: i64, session: &Session, secret: &str) -> String {
        let arn = secret_arn(secret);
        let request = format!(r#"{{"secretId":"{arn}"}}"#);
        let id = self.call(
            time,
            session,
            &Call::read("secretsmanager", "GetSecretValue", &request),
        );
        let context = format!(
            r#"{{"encryptionContext":{{"SecretARN":"{arn}","SecretVersionId":"{}"}},"encryptionAlgorithm":"SYMMETRIC_DEFAULT"}}"#,
            self.rng.uuid()
        );
        let resources = key_resource();
        let decrypt = Call {
            resources: &resources,
            ..Call::read("kms", "Decrypt", &context)
        };
        self.call(
            time,
            &session.through("secretsmanager.amazonaws.com"),
            &decrypt,
        );
        id
    }

    /// A console sign-in, after the question for the second factor where one is used.
    pub fn sign_in(&mut self, time: i64, session: &Session, how: SignIn) -> String {
        let mut used = String::from(r#""MFAUsed":"No""#);
        if let SignIn::WithMfa(user) = how {
            let check = Call {
                additional: r#"{"MfaType":"Virtual MFA"}"#,
                ..Call::write("signin", "CheckMfa", "null", r#"{"CheckMfa":"Success"}"#)
            };
            self.call(time - 9 * SECOND, session, &check);
            used =
                format!(r#""MFAIdentifier":"arn:aws:iam::{ACCOUNT}:mfa/{user}","MFAUsed":"Yes""#);
        }
        let additional = format!(
            r#"{{"LoginTo":"https://console.aws.amazon.com/console/home?hashArgs=%23&isauthcode=true&state=hashArgsFromTB_us-east-1","MobileVersion":"No",{used}}}"#
        );
        let (response, error) = match how {
            // AWS gives a failed sign-in a message but no code.
            SignIn::Failure(message) => (r#"{"ConsoleLogin":"Failure"}"#, Some(("", message))),
            _ => (r#"{"ConsoleLogin":"Success"}"#, None),
        };
        let call = Call {
            additional: &additional,
            error,
            ..Call::write("signin", "ConsoleLogin", "null", response)
        };
        self.call(time, session, &call)
    }
}

/// How a console sign-in went.
#[derive(Debug, Clone, Copy)]
pub enum SignIn<'a> {
    /// With the virtual device of this user.
    WithMfa(&'a str),
    WithoutMfa,
    /// Refused with this message.
    Failure(&'a str),
}

pub fn secret_arn(name: &str) -> String {
    let suffix = Rng::new(2, name, 0).text(
        b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789",
        6,
    );
    format!("arn:aws:secretsmanager:{HOME}:{ACCOUNT}:secret:{name}-{suffix}")
}

/// The `resources` of a call that uses the company's key.
pub fn key_resource() -> String {
    format!(
        r#"[{{"accountId":"{ACCOUNT}","type":"AWS::KMS::Key","ARN":"arn:aws:kms:{HOME}:{ACCOUNT}:key/6b1f0c52-4a7e-4d0e-9d53-2f1c7a9be001"}}]"#
    )
}

/// The `resources` of a call on a bucket.
pub fn bucket_resource(bucket: &str) -> String {
    format!(
        r#"[{{"accountId":"{ACCOUNT}","type":"AWS::S3::Bucket","ARN":"arn:aws:s3:::{bucket}"}}]"#
    )
}

/// What S3 adds to its records.
pub fn bucket_additional(rng: &mut Rng, bytes_in: u64, bytes_out: u64) -> String {
    let id = rng.text(
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        75,
    );
    format!(
        r#"{{"SignatureVersion":"SigV4","CipherSuite":"TLS_AES_128_GCM_SHA256","bytesTransferredIn":{bytes_in},"AuthenticationMethod":"AuthHeader","x-amz-id-2":"{id}=","bytesTransferredOut":{bytes_out}}}"#
    )
}

/// When temporary credentials given at `time` expire, as STS answers it.
pub fn expiration(time: i64) -> String {
    clock::long(time + HOUR)
}

fn write_record(
    out: &mut String,
    time: i64,
    session: &Session,
    call: &Call,
    event_id: &str,
    request_id: &str,
) {
    let sign_in = call.service == "signin";
    out.push_str(r#"{"eventVersion":"1.11","userIdentity":"#);
    out.push_str(&session.identity);
    out.push_str(r#","eventTime":""#);
    clock::push_seconds(out, time);
    out.push_str(r#"","eventSource":""#);
    out.push_str(call.service);
    out.push_str(r#".amazonaws.com","eventName":""#);
    out.push_str(call.operation);
    out.push_str(r#"","awsRegion":""#);
    out.push_str(call.region);
    out.push_str(r#"","sourceIPAddress":""#);
    out.push_str(&session.ip);
    // S3 wraps the agent in brackets.
    let (open, close) = if call.service == "s3" && !session.service {
        ("[", "]")
    } else {
        ("", "")
    };
    out.push_str(r#"","userAgent":""#);
    out.push_str(open);
    out.push_str(&session.agent);
    out.push_str(close);
    out.push('"');
    if let Some((code, message)) = call.error {
        if !code.is_empty() {
            out.push_str(r#","errorCode":""#);
            out.push_str(code);
            out.push('"');
        }
        out.push_str(r#","errorMessage":""#);
        out.push_str(message);
        out.push('"');
    }
    out.push_str(r#","requestParameters":"#);
    out.push_str(call.request);
    out.push_str(r#","responseElements":"#);
    out.push_str(call.response);
    if !call.additional.is_empty() {
        out.push_str(r#","additionalEventData":"#);
        out.push_str(call.additional);
    }
    if !sign_in {
        out.push_str(r#","requestID":""#);
        out.push_str(request_id);
        out.push('"');
    }
    out.push_str(r#","eventID":""#);
    out.push_str(event_id);
    out.push_str(r#"","readOnly":"#);
    out.push_str(if call.read_only { "true" } else { "false" });
    if !call.resources.is_empty() {
        out.push_str(r#","resources":"#);
        out.push_str(call.resources);
    }
    out.push_str(r#","eventType":""#);
    out.push_str(if sign_in {
        "AwsConsoleSignIn"
    } else {
        "AwsApiCall"
    });
    out.push_str(r#"","managementEvent":true,"recipientAccountId":""#);
    out.push_str(ACCOUNT);
    out.push_str(r#"","eventCategory":"Management""#);
    if !session.service {
        out.push_str(r#","tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":""#);
        push_host(out, call, sign_in);
        out.push_str("\"}");
    }
    if session.console && !sign_in {
        out.push_str(r#","sessionCredentialFromConsole":"true""#);
    }
    out.push('}');
}

fn push_host(out: &mut String, call: &Call, sign_in: bool) {
    if sign_in {
        out.push_str("signin.aws.amazon.com");
        return;
    }
    out.push_str(call.service);
    if call.service != "iam" {
        out.push('.');
        out.push_str(call.region);
    }
    out.push_str(".amazonaws.com");
}
