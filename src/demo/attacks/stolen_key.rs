//! Thursday night: a developer's access key, leaked somewhere, is used from Bucharest.
//!
//! Recon with many refusals, a key for a service user and administrator rights for it, then with that
//! key: logging stopped, every secret read, a bucket opened to the world, a snapshot shared outside.
//! The account's own trail is what gets stopped; these records come from the organisation's trail.

use super::Teller;
use crate::demo::clock::{at, long};
use crate::demo::cloudtrail::{ACCOUNT, Call, Trail, bucket_additional, bucket_resource};
use crate::demo::company::{AUDIT_TRAIL, SECRETS};
use crate::demo::identity::{Session, access_key, user_arn};
use crate::demo::rng::Rng;
use crate::demo::{AttackStory, Day};

const VICTIM: &str = "priya.raman";
const PUPPET: &str = "svc-backup";
const FROM: &str = "203.0.113.24";
const RELAY: &str = "203.0.113.201";
const BUCKET: &str = "aldertree-customer-exports";
const OUTSIDE_ACCOUNT: &str = "999988887777";
const AGENT: &str =
    "aws-cli/2.15.30 Python/3.11.8 Linux/6.6.9-amd64 exe/x86_64.kali.2024 prompt/off command/";

pub fn hide(day: &mut Day) -> AttackStory {
    let mut rng = Rng::new(41, "stolen key", 3);
    let mut teller = Teller::new(at(3, 6, 58, 12));
    let stolen = access_key("AKIA", VICTIM);
    let made = access_key("AKIA", "svc-backup/second");
    let trail = &mut day.trail;
    let agent = |command: &str| format!("{AGENT}{command}");
    let victim = Session::user_key(VICTIM, &stolen, FROM, &agent("sts.get-caller-identity"));
    let time = teller.after(0);
    let id = trail.call(
        time,
        &victim,
        &Call::read("sts", "GetCallerIdentity", "null"),
    );
    teller.note("the stolen key asks who it is", id);
    look_around(trail, &mut teller, &mut rng, &victim);
    raise(trail, &mut teller, &victim, &made);
    let puppet = Session::user_key(PUPPET, &made, FROM, &agent("sts.get-caller-identity"));
    blind(trail, &mut teller, &puppet);
    let relayed = Session::user_key(
        PUPPET,
        &made,
        RELAY,
        &agent("secretsmanager.get-secret-value"),
    );
    take(trail, &mut teller, &mut rng, &puppet, &relayed);
    teller.end(
        "a developer's stolen access key",
        vec![
            user_arn(VICTIM),
            user_arn(PUPPET),
            stolen,
            made,
            FROM.to_owned(),
            RELAY.to_owned(),
        ],
    )
}

/// Enumeration: most of it is refused.
fn look_around(trail: &mut Trail, teller: &mut Teller, rng: &mut Rng, victim: &Session) {
    let tried = [
        ("iam", "ListUsers", "null"),
        ("iam", "ListRoles", "null"),
        ("iam", "GetAccountAuthorizationDetails", "null"),
        (
            "iam",
            "ListAttachedUserPolicies",
            r#"{"userName":"priya.raman"}"#,
        ),
        ("iam", "ListGroupsForUser", r#"{"userName":"priya.raman"}"#),
        ("iam", "GetAccountSummary", "null"),
        (
            "ec2",
            "DescribeSnapshots",
            r#"{"snapshotSet":{},"ownersSet":{"items":[{"owner":"self"}]},"sharedUsersSet":{},"filterSet":{}}"#,
        ),
        (
            "ec2",
            "DescribeVpnConnections",
            r#"{"vpnConnectionSet":{},"filterSet":{}}"#,
        ),
        ("ec2", "DescribeKeyPairs", r#"{"keySet":{},"filterSet":{}}"#),
        ("rds", "DescribeDBInstances", "null"),
        ("rds", "DescribeDBSnapshots", "null"),
        ("sns", "ListTopics", "null"),
        ("autoscaling", "DescribeLaunchConfigurations", "null"),
        ("ses", "GetSendQuota", "null"),
        ("lambda", "ListFunctions20150331", "null"),
        ("organizations", "DescribeOrganization", "null"),
        ("ssm", "DescribeParameters", "null"),
        ("kms", "ListKeys", "null"),
        ("dynamodb", "ListTables", "null"),
        ("guardduty", "ListDetectors", "null"),
        ("bedrock", "ListFoundationModels", "null"),
    ];
    for (service, operation, request) in tried {
        let time = teller.after(rng.between(4, 14));
        let id = trail.denied(time, victim, Call::read(service, operation, request));
        teller.note(&format!("{operation} is refused"), id);
    }
    let allowed = [
        (
            "s3",
            "ListBuckets",
            r#"{"Host":"s3.us-east-1.amazonaws.com"}"#,
        ),
        (
            "ec2",
            "DescribeInstances",
            r#"{"instancesSet":{},"filterSet":{}}"#,
        ),
        ("secretsmanager", "ListSecrets", r#"{"maxResults":100}"#),
    ];
    for (service, operation, request) in allowed {
        let time = teller.after(rng.between(5, 20));
        let additional = bucket_additional(rng, 0, 2_310);
        let call = Call {
            additional: if service == "s3" { &additional } else { "" },
            ..Call::read(service, operation, request)
        };
        let id = trail.call(time, victim, &call);
        teller.note(&format!("{operation} works"), id);
    }
    for region in ["eu-north-1", "ap-southeast-1", "sa-east-1"] {
        let time = teller.after(rng.between(3, 9));
        let call = Call {
            region,
            ..Call::read(
                "ec2",
                "DescribeInstances",
                r#"{"instancesSet":{},"filterSet":{}}"#,
            )
        };
        let id = trail.call(time, victim, &call);
        teller.note(&format!("DescribeInstances in {region}"), id);
    }
}

/// A policy that lets developers look after their own keys was written with `Resource: *`.
fn raise(trail: &mut Trail, teller: &mut Teller, victim: &Session, made: &str) {
    let time = teller.after(184);
    let user = format!(r#"{{"userName":"{PUPPET}"}}"#);
    let created = format!(
        r#"{{"accessKey":{{"userName":"{PUPPET}","accessKeyId":"{made}","status":"Active","createDate":"{}"}}}}"#,
        long(time)
    );
    let id = trail.call(
        time,
        victim,
        &Call::write("iam", "CreateAccessKey", &user, &created),
    );
    teller.note("an access key is made for svc-backup", id);
    let time = teller.after(21);
    let request = format!(
        r#"{{"userName":"{PUPPET}","policyArn":"arn:aws:iam::aws:policy/AdministratorAccess"}}"#
    );
    let call = Call::write("iam", "AttachUserPolicy", &request, "null");
    let id = trail.call(time, victim, &call);
    teller.note("svc-backup becomes administrator", id);
}

/// With the new key: no more logs, and a way back in.
fn blind(trail: &mut Trail, teller: &mut Teller, puppet: &Session) {
    let time = teller.after(46);
    let id = trail.call(
        time,
        puppet,
        &Call::read("sts", "GetCallerIdentity", "null"),
    );
    teller.note("the new key asks who it is", id);
    let time = teller.after(17);
    let request =
        format!(r#"{{"name":"arn:aws:cloudtrail:us-east-1:{ACCOUNT}:trail/{AUDIT_TRAIL}"}}"#);
    let id = trail.call(
        time,
        puppet,
        &Call::write("cloudtrail", "StopLogging", &request, "null"),
    );
    teller.note("the trail is stopped", id);
    let time = teller.after(33);
    let request =
        r#"{"DeleteFlowLogsRequest":{"FlowLogId":{"tag":1,"content":"fl-0a1b2c3d4e5f60718"}}}"#;
    let response = r#"{"DeleteFlowLogsResponse":{"xmlns":"http://ec2.amazonaws.com/doc/2016-11-15/","unsuccessful":"","requestId":"8f1f5f6d-2b3c-4d5e-8f90-a1b2c3d4e5f6"}}"#;
    let id = trail.call(
        time,
        puppet,
        &Call::write("ec2", "DeleteFlowLogs", request, response),
    );
    teller.note("flow logs are deleted", id);
    let time = teller.after(60);
    let request = r#"{"userName":"svc-backup","policyName":"backup-extra","policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}]}"}"#;
    let id = trail.call(
        time,
        puppet,
        &Call::write("iam", "PutUserPolicy", request, "null"),
    );
    teller.note("a wildcard policy is put on svc-backup", id);
}

/// Secrets, the customers' exports, a disk.
fn take(
    trail: &mut Trail,
    teller: &mut Teller,
    rng: &mut Rng,
    puppet: &Session,
    relayed: &Session,
) {
    teller.after(140);
    for secret in SECRETS {
        let time = teller.after(rng.between(2, 5));
        let id = trail.secret(time, relayed, secret);
        teller.note(&format!("secret {secret} is read"), id);
    }
    let resources = bucket_resource(BUCKET);
    let host = format!("{BUCKET}.s3.us-east-1.amazonaws.com");
    let open = format!(
        r#"{{"bucketName":"{BUCKET}","Host":"{host}","publicAccessBlock":"","PublicAccessBlockConfiguration":{{"BlockPublicAcls":false,"IgnorePublicAcls":false,"BlockPublicPolicy":false,"RestrictPublicBuckets":false}}}}"#
    );
    let policy = format!(
        r#"{{"bucketPolicy":{{"Version":"2012-10-17","Statement":[{{"Sid":"PublicRead","Effect":"Allow","Principal":"*","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::{BUCKET}","arn:aws:s3:::{BUCKET}/*"]}}]}},"bucketName":"{BUCKET}","Host":"{host}","policy":""}}"#
    );
    for (operation, request, what) in [
        (
            "PutBucketPublicAccessBlock",
            open,
            "the guard against public access is taken off the exports",
        ),
        (
            "PutBucketPolicy",
            policy,
            "the customers' exports become public",
        ),
    ] {
        let time = teller.after(rng.between(20, 50));
        let additional = bucket_additional(rng, 412, 0);
        let call = Call {
            resources: &resources,
            additional: &additional,
            ..Call::write("s3", operation, &request, "null")
        };
        let id = trail.call(time, puppet, &call);
        teller.note(what, id);
    }
    let time = teller.after(95);
    let request = format!(
        r#"{{"snapshotId":"snap-04c1f7a9be63d2580","createVolumePermission":{{"add":{{"items":[{{"userId":"{OUTSIDE_ACCOUNT}"}}]}}}},"attributeType":"CREATE_VOLUME_PERMISSION"}}"#
    );
    let response = r#"{"requestId":"aec7452d-8665-41b5-a627-c6dba47e13bb","_return":true}"#;
    let call = Call::write("ec2", "ModifySnapshotAttribute", &request, response);
    let id = trail.call(time, puppet, &call);
    teller.note("a snapshot is shared with a foreign account", id);
}
