//! Makes CloudTrail-shaped events: the vendor's keys in the vendor's order, identities, calls and sizes that
//! vary, about 1.4 KB each. The same seed gives the same bytes.

use std::io::Write;

/// A small random generator (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
    fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len() as u64) as usize]
    }
    fn uuid(&mut self) -> String {
        let part =
            |random: &mut Self| (random.below(1 << 31) << 31 | random.below(1 << 31)) & 0xFFFF_FFFF;
        let (a, b, c, d) = (part(self), part(self), part(self), part(self));
        format!(
            "{a:08x}-{:04x}-4{:03x}-{:04x}-{:04x}{d:08x}",
            b >> 16,
            b & 0xFFF,
            c >> 16,
            c & 0xFFFF
        )
    }
}

/// Service, operation, whether it only reads, and its parameters; `#` is replaced by a number.
const CALLS: &[(&str, &str, bool, &str)] = &[
    (
        "ec2.amazonaws.com",
        "DescribeInstances",
        true,
        r#"{"instancesSet":{"items":[{"instanceId":"i-0abc#de"},{"instanceId":"i-0bcd#ef"}]},"filterSet":{"items":[{"name":"tag:Name","valueSet":{"items":[{"value":"web-#"}]}}]}}"#,
    ),
    (
        "s3.amazonaws.com",
        "GetBucketAcl",
        true,
        r#"{"bucketName":"data-#","Host":"data-#.s3.eu-central-1.amazonaws.com","acl":""}"#,
    ),
    (
        "sts.amazonaws.com",
        "AssumeRole",
        true,
        r#"{"roleArn":"arn:aws:iam::111122223333:role/deploy-#","roleSessionName":"session-#","durationSeconds":3600}"#,
    ),
    (
        "iam.amazonaws.com",
        "CreateAccessKey",
        false,
        r#"{"userName":"user-#"}"#,
    ),
    (
        "iam.amazonaws.com",
        "PutRolePolicy",
        false,
        r#"{"roleName":"role-#","policyName":"inline-#","policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::data-#/*\"}]}"}"#,
    ),
    (
        "secretsmanager.amazonaws.com",
        "GetSecretValue",
        true,
        r#"{"secretId":"arn:aws:secretsmanager:eu-central-1:111122223333:secret:db-#"}"#,
    ),
    (
        "kms.amazonaws.com",
        "Decrypt",
        true,
        r#"{"encryptionContext":{"aws:s3:arn":"arn:aws:s3:::data-#/report-#.parquet","SecretVersionId":"8c2f#"},"encryptionAlgorithm":"SYMMETRIC_DEFAULT"}"#,
    ),
    (
        "lambda.amazonaws.com",
        "Invoke20150331",
        false,
        r#"{"functionName":"arn:aws:lambda:eu-central-1:111122223333:function:job-#","invocationType":"Event","logType":"None"}"#,
    ),
    (
        "ec2.amazonaws.com",
        "AuthorizeSecurityGroupIngress",
        false,
        r#"{"groupId":"sg-0#","ipPermissions":{"items":[{"ipProtocol":"tcp","fromPort":443,"toPort":443,"groups":{},"ipRanges":{"items":[{"cidrIp":"10.#.0.0/16"}]},"ipv6Ranges":{},"prefixListIds":{}}]}}"#,
    ),
    (
        "ssm.amazonaws.com",
        "DescribeInstanceInformation",
        true,
        r#"{"maxResults":50,"filters":[{"key":"PingStatus","valueSet":["Online"]}]}"#,
    ),
];

const AGENTS: &[&str] = &[
    "aws-cli/2.15.30 Python/3.11.8 Linux/6.1.79-99.164.amzn2023.x86_64 exe/x86_64.amzn.2023 prompt/off",
    "Boto3/1.34.69 md/Botocore#1.34.69 ua/2.0 os/linux#5.10.210 md/arch#x86_64 lang/python#3.12.2",
    "APN/1.0 HashiCorp/1.0 Terraform/1.7.5 (+https://www.terraform.io) terraform-provider-aws/5.42.0",
    "AWS Internal",
];

const REGIONS: &[&str] = &["eu-central-1", "us-east-1", "us-west-2", "ap-southeast-1"];

/// Appends `count` events, one per line.
pub fn write(text: &mut Vec<u8>, count: usize, seed: u64) {
    let mut random = Random(seed | 1 << 63);
    for index in 0..count {
        event(text, &mut random, index as u64);
        text.push(b'\n');
    }
}

fn event(text: &mut Vec<u8>, random: &mut Random, index: u64) {
    let (source, name, read_only, parameters) = CALLS[random.below(CALLS.len() as u64) as usize];
    let (identity, account) = identity(random);
    let parameters = parameters.replace('#', &random.below(10_000).to_string());
    let (second, minute, hour) = (index % 60, index / 60 % 60, index / 3600 % 24);
    let address = format!("203.0.{}.{}", random.below(114), random.below(256));
    let (agent, region) = (random.one_of(AGENTS), random.one_of(REGIONS));
    let (request, event) = (random.uuid(), random.uuid());
    let failed = random.below(10) == 0;
    let error = match failed {
        true => {
            r#""errorCode":"AccessDenied","errorMessage":"User is not authorized to perform this action because no identity-based policy allows it","#
        }
        false => "",
    };
    let response = match failed || read_only {
        true => "null".to_owned(),
        false => format!(
            r#"{{"requestId":"{request}","_return":true,"items":[{{"id":"r-{}","state":"active"}}]}}"#,
            random.below(1 << 30)
        ),
    };
    // Writing to memory cannot fail.
    let _ = write!(
        text,
        r#"{{"eventVersion":"1.09","userIdentity":{identity},"eventTime":"2026-01-02T{hour:02}:{minute:02}:{second:02}Z","eventSource":"{source}","eventName":"{name}","awsRegion":"{region}","sourceIPAddress":"{address}","userAgent":"{agent}",{error}"requestParameters":{parameters},"responseElements":{response},"requestID":"{request}","eventID":"{event}","readOnly":{read_only},"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"{account}","eventCategory":"Management","tlsDetails":{{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":"{source}"}}}}"#
    );
}

/// A `userIdentity` and its account.
fn identity(random: &mut Random) -> (String, u64) {
    let account = 111_122_223_000 + random.below(5);
    let (number, key) = (random.below(400), random.below(1 << 31));
    let identity = match random.below(10) {
        0 => r#"{"type":"AWSService","invokedBy":"autoscaling.amazonaws.com"}"#.to_owned(),
        1..=3 => format!(
            r#"{{"type":"IAMUser","principalId":"AIDAZEXAMPLE{number:09}","arn":"arn:aws:iam::{account}:user/user-{number}","accountId":"{account}","accessKeyId":"AKIAZ{key:015}","userName":"user-{number}"}}"#
        ),
        _ => format!(
            r#"{{"type":"AssumedRole","principalId":"AROAZEXAMPLE{number:09}:session-{number}","arn":"arn:aws:sts::{account}:assumed-role/role-{number}/session-{number}","accountId":"{account}","accessKeyId":"ASIAZ{key:015}","sessionContext":{{"sessionIssuer":{{"type":"Role","principalId":"AROAZEXAMPLE{number:09}","arn":"arn:aws:iam::{account}:role/role-{number}","accountId":"{account}","userName":"role-{number}"}},"webIdFederationData":{{}},"attributes":{{"creationDate":"2026-01-02T02:59:31Z","mfaAuthenticated":"false"}}}}}}"#
        ),
    };
    (identity, account)
}
