//! CloudTrail records of 1.2 to 1.9 KB, keys in the vendor's order.

use std::fmt::Write;

use super::Event;
use super::text::{Rng, base32, push_time, push_uuid};

/// Text prepared per identity and per operation.
#[derive(Debug)]
pub struct Templates {
    /// From the record's start to the opening quote of `eventTime`'s value, and from the source address
    /// to the end of the user agent.
    callers: Vec<(Vec<u8>, Vec<u8>)>,
    ordinary: Vec<Operation>,
    attacks: Vec<Operation>,
}

/// One operation: what stands between the changing parts.
#[derive(Debug)]
struct Operation {
    /// After `eventTime`'s value up to `sourceIPAddress`.
    head: Vec<u8>,
    /// After the user agent up to `requestID`'s value.
    middle: Vec<u8>,
    /// After `eventID`'s value to the record's end.
    tail: Vec<u8>,
}

const ACCOUNT: &str = "111122223333";

const AGENTS: [&str; 4] = [
    "APN/1.0 HashiCorp/1.0 Terraform/1.13.4 (+https://www.terraform.io) terraform-provider-aws/6.18.0 (+https://registry.terraform.io/providers/hashicorp/aws) aws-sdk-go-v2/1.39.3 ua/2.1 os/linux lang/go#1.24.6 md/GOOS#linux md/GOARCH#amd64 api/ec2#1.254.1 m/b,e,i",
    "aws-cli/2.31.18 md/awscrt#0.27.6 ua/2.1 os/macos#25.0.0 md/arch#arm64 lang/python#3.13.7 md/pyimpl#CPython m/Z,E,b cfg/retry-mode#standard md/installer#exe md/prompt#off md/command#ec2.describe-instances",
    "Boto3/1.40.55 md/Botocore#1.40.55 ua/2.1 os/linux#6.12.55 md/arch#x86_64 lang/python#3.12.11 md/pyimpl#CPython m/Z,b,e cfg/retry-mode#legacy Botocore/1.40.55",
    "aws-sdk-go-v2/1.39.3 ua/2.1 os/linux lang/go#1.24.6 md/GOOS#linux md/GOARCH#amd64 api/secretsmanager#1.39.7 m/E,h,n",
];

/// Service, operation, request, response, error code, error message.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const ORDINARY: &[Row] = &[
    (
        "ec2",
        "DescribeInstances",
        r#"{"maxResults":100,"instancesSet":{},"filterSet":{"items":[{"name":"instance-state-name","valueSet":{"items":[{"value":"running"},{"value":"pending"}]}},{"name":"tag:eks:cluster-name","valueSet":{"items":[{"value":"aldertree-prod"}]}}]}}"#,
        "null",
        "",
        "",
    ),
    (
        "ec2",
        "DescribeSecurityGroups",
        r#"{"securityGroupSet":{},"securityGroupIdSet":{"items":[{"groupId":"sg-0b5e1c2d3f4a59687"},{"groupId":"sg-0aa77bb66cc55dd44"}]},"filterSet":{}}"#,
        "null",
        "",
        "",
    ),
    (
        "sts",
        "AssumeRole",
        r#"{"roleArn":"arn:aws:iam::111122223333:role/orders-api","roleSessionName":"orders-api","durationSeconds":3600}"#,
        r#"{"credentials":{"accessKeyId":"ASIAIOSFODNN7EXAMPLE","sessionToken":"HIDDEN_DUE_TO_SECURITY_REASONS","expiration":"Nov 9, 2026, 4:00:00 AM"},"assumedRoleUser":{"assumedRoleId":"AROAEXAMPLEROLEID0000:orders-api","arn":"arn:aws:sts::111122223333:assumed-role/orders-api/orders-api"}}"#,
        "",
        "",
    ),
    (
        "kms",
        "Decrypt",
        r#"{"encryptionContext":{"SecretARN":"arn:aws:secretsmanager:us-east-1:111122223333:secret:prod/orders/db-Ab12Cd","SecretVersionId":"37368180-f62c-4965-b7e0-7393421e7ec2"},"encryptionAlgorithm":"SYMMETRIC_DEFAULT"}"#,
        "null",
        "",
        "",
    ),
    (
        "secretsmanager",
        "GetSecretValue",
        r#"{"secretId":"arn:aws:secretsmanager:us-east-1:111122223333:secret:prod/orders/db-Ab12Cd","versionStage":"AWSCURRENT"}"#,
        "null",
        "",
        "",
    ),
    (
        "s3",
        "GetBucketAcl",
        r#"{"bucketName":"aldertree-logs","acl":"","Host":"aldertree-logs.s3.us-east-1.amazonaws.com"}"#,
        "null",
        "",
        "",
    ),
    (
        "ssm",
        "UpdateInstanceInformation",
        r#"{"instanceId":"i-0f614b2d9e83a7c55","agentVersion":"3.3.3270.0","agentStatus":"Active","platformType":"Linux","platformName":"Amazon Linux","platformVersion":"2023","iPAddress":"10.20.3.47","computerName":"ip-10-20-3-47.ec2.internal","agentName":"amazon-ssm-agent","availabilityZone":"us-east-1a"}"#,
        "null",
        "",
        "",
    ),
    (
        "autoscaling",
        "DescribeAutoScalingGroups",
        r#"{"autoScalingGroupNames":["eks-general-3ac4f9c2-51b0-4be7-8a36-6b7c1fd0aa10"],"maxRecords":100}"#,
        "null",
        "",
        "",
    ),
    (
        "logs",
        "CreateLogStream",
        r#"{"logGroupName":"/aws/lambda/thumbnailer","logStreamName":"2026/11/09/[$LATEST]5f1c0d5b7a7e4f6c9d1b"}"#,
        "null",
        "",
        "",
    ),
    (
        "iam",
        "GetRole",
        r#"{"roleName":"orders-worker"}"#,
        "null",
        "NoSuchEntityException",
        "The role with name orders-worker cannot be found.",
    ),
    (
        "lambda",
        "GetFunction20150331v2",
        r#"{"functionName":"arn:aws:lambda:us-east-1:111122223333:function:thumbnailer"}"#,
        "null",
        "",
        "",
    ),
    (
        "ec2",
        "CreateTags",
        r#"{"resourcesSet":{"items":[{"resourceId":"i-0f614b2d9e83a7c55"}]},"tagSet":{"items":[{"key":"Name","value":"general"},{"key":"owner","value":"platform"},{"key":"cost-centre","value":"4711"}]}}"#,
        r#"{"requestId":"2177f0f9-57f3-45f3-9656-d297ae8d8b96","_return":true}"#,
        "",
        "",
    ),
];

const ATTACKS: &[Row] = &[
    (
        "iam",
        "CreateAccessKey",
        r#"{"userName":"svc-backup"}"#,
        r#"{"accessKey":{"userName":"svc-backup","accessKeyId":"AKIAIOSFODNN7EXAMPLE","status":"Active","createDate":"Nov 9, 2026, 3:00:00 AM"}}"#,
        "",
        "",
    ),
    (
        "iam",
        "AttachUserPolicy",
        r#"{"userName":"svc-backup","policyArn":"arn:aws:iam::aws:policy/AdministratorAccess"}"#,
        "null",
        "",
        "",
    ),
    (
        "cloudtrail",
        "StopLogging",
        r#"{"name":"arn:aws:cloudtrail:us-east-1:111122223333:trail/aldertree-main"}"#,
        "null",
        "",
        "",
    ),
    (
        "s3",
        "PutBucketPolicy",
        r#"{"bucketPolicy":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::aldertree-customer-exports/*"]}]},"bucketName":"aldertree-customer-exports","Host":"aldertree-customer-exports.s3.us-east-1.amazonaws.com","policy":""}"#,
        "null",
        "",
        "",
    ),
    (
        "ec2",
        "AuthorizeSecurityGroupIngress",
        r#"{"groupId":"sg-0f9e8d7c6b5a41230","ipPermissions":{"items":[{"ipProtocol":"tcp","fromPort":22,"toPort":22,"groups":{},"ipRanges":{"items":[{"cidrIp":"0.0.0.0/0"}]},"ipv6Ranges":{},"prefixListIds":{}}]}}"#,
        r#"{"requestId":"30f339b8-9c7f-4033-931e-55afb53986a6","_return":true}"#,
        "",
        "",
    ),
    (
        "iam",
        "ListUsers",
        "null",
        "null",
        "AccessDenied",
        "User: arn:aws:iam::111122223333:user/intruder is not authorized to perform: iam:ListUsers on resource: arn:aws:iam::111122223333:user/ because no identity-based policy allows the iam:ListUsers action",
    ),
    (
        "ec2",
        "DescribeSnapshots",
        r#"{"snapshotSet":{},"ownersSet":{"items":[{"owner":"self"}]},"sharedUsersSet":{},"filterSet":{}}"#,
        "null",
        "Client.UnauthorizedOperation",
        "You are not authorized to perform this operation. User: arn:aws:iam::111122223333:user/intruder is not authorized to perform: ec2:DescribeSnapshots because no identity-based policy allows the ec2:DescribeSnapshots action",
    ),
];

impl Templates {
    pub fn new(identities: u32) -> Self {
        Self {
            callers: (0..identities).map(caller).collect(),
            ordinary: ORDINARY.iter().map(operation).collect(),
            attacks: ATTACKS.iter().map(operation).collect(),
        }
    }

    pub fn append(&self, out: &mut Vec<u8>, event: &Event, rng: &mut Rng) {
        let (head, from) = rng.pick(&self.callers);
        let operations = if event.is_attack {
            &self.attacks
        } else {
            &self.ordinary
        };
        let operation = rng.pick(operations);
        out.extend_from_slice(head);
        push_time(out, event.time_us, 0, 0);
        out.extend_from_slice(&operation.head);
        out.extend_from_slice(from);
        out.extend_from_slice(&operation.middle);
        push_uuid(out, rng);
        out.extend_from_slice(br#"","eventID":""#);
        push_uuid(out, rng);
        out.extend_from_slice(&operation.tail);
    }
}

/// Two of three callers are sessions of roles, the third is a user with a key.
fn caller(number: u32) -> (Vec<u8>, Vec<u8>) {
    let mut rng = Rng::new(u64::from(number) << 20);
    let mut head = String::from(r#"{"eventVersion":"1.11","userIdentity":"#);
    let written = if number % 3 == 2 {
        let (id, key) = (base32(&mut rng, 17), base32(&mut rng, 9));
        write!(
            head,
            r#"{{"type":"IAMUser","principalId":"AIDA{id}","arn":"arn:aws:iam::{ACCOUNT}:user/user-{number:06}","accountId":"{ACCOUNT}","accessKeyId":"AKIA{key}EXAMPLE","userName":"user-{number:06}"}}"#
        )
    } else {
        let (id, key) = (base32(&mut rng, 17), base32(&mut rng, 9));
        write!(
            head,
            r#"{{"type":"AssumedRole","principalId":"AROA{id}:session-{number:06}","arn":"arn:aws:sts::{ACCOUNT}:assumed-role/role-{number:06}/session-{number:06}","accountId":"{ACCOUNT}","accessKeyId":"ASIA{key}EXAMPLE","sessionContext":{{"sessionIssuer":{{"type":"Role","principalId":"AROA{id}","arn":"arn:aws:iam::{ACCOUNT}:role/role-{number:06}","accountId":"{ACCOUNT}","userName":"role-{number:06}"}},"webIdFederationData":{{}},"attributes":{{"creationDate":"2026-11-08T23:58:12Z","mfaAuthenticated":"false"}}}}}}"#
        )
    };
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
    head.push_str(r#","eventTime":""#);
    let agent = rng.pick(&AGENTS);
    let from = format!(
        "198.51.{}.{}\",\"userAgent\":\"{agent}",
        number / 250 % 256,
        number % 250 + 1
    );
    (head.into_bytes(), from.into_bytes())
}

fn operation(&(service, name, request, response, code, message): &Row) -> Operation {
    let head = format!(
        r#"","eventSource":"{service}.amazonaws.com","eventName":"{name}","awsRegion":"us-east-1","sourceIPAddress":""#
    );
    let error = if code.is_empty() {
        String::new()
    } else {
        format!(r#","errorCode":"{code}","errorMessage":"{message}""#)
    };
    let additional = if service == "s3" {
        r#","additionalEventData":{"SignatureVersion":"SigV4","CipherSuite":"TLS_AES_128_GCM_SHA256","bytesTransferredIn":0,"AuthenticationMethod":"AuthHeader","x-amz-id-2":"iLSYQkdKw4rf7ZZg8tXT+KPAizpCe+HBi9eN/P3BD7YtTfO01cmKt0Xd6QICW5EVUUWvcyVh688=","bytesTransferredOut":552}"#
    } else {
        ""
    };
    let middle = format!(
        r#""{error},"requestParameters":{request},"responseElements":{response}{additional},"requestID":""#
    );
    let read_only = ["Get", "List", "Describe", "Decrypt", "AssumeRole"]
        .iter()
        .any(|verb| name.starts_with(verb));
    let tail = format!(
        r#"","readOnly":{read_only},"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"{ACCOUNT}","eventCategory":"Management","tlsDetails":{{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":"{service}.us-east-1.amazonaws.com"}}}}"#
    );
    Operation {
        head: head.into_bytes(),
        middle: middle.into_bytes(),
        tail: tail.into_bytes(),
    }
}
