//! CI, Terraform and the posture scanner: machines whose work looks like an attack.

use super::{catalogued, inventory};
use crate::demo::Day;
use crate::demo::clock::{HOUR, MINUTE, SECOND};
use crate::demo::cloudtrail::{Call, expiration};
use crate::demo::company::{BOTO, CI_RUNNER, SCANNER, SDK_GO, TERRAFORM, service_role};
use crate::demo::identity::{Role, Session, access_key};
use crate::demo::rng::Rng;

pub fn run(day: &mut Day, seed: u64) {
    let mut rng = Rng::new(seed, "pipelines", day.index as u64);
    let weekday = !day.is_weekend();
    for _ in 0..if weekday { 26 } else { 3 } {
        let time = day.start() + rng.between(9 * 60, 23 * 60) * MINUTE;
        deploy(day, &mut rng, time);
    }
    for _ in 0..if weekday { 7 } else { 1 } {
        let time = day.start() + rng.between(10 * 60, 22 * 60) * MINUTE;
        plan(day, &mut rng, time);
    }
    if day.index == 0 {
        look_alike(day, &mut rng);
    }
    scan(day, &mut rng);
}

/// A role's session opened by the CI service with its own OIDC token.
fn ci_session(day: &mut Day, role: &Role, run: &str, agent: &str, time: i64) -> Session {
    let provider = "token.actions.githubusercontent.com";
    let subject = "repo:aldertree/platform:ref:refs/heads/main";
    let caller = Session::web_identity(provider, subject, CI_RUNNER, agent);
    let request = format!(
        r#"{{"roleArn":"{}","roleSessionName":"{run}","durationSeconds":3600}}"#,
        role.arn()
    );
    let response = format!(
        r#"{{"subjectFromWebIdentityToken":"{subject}","assumedRoleUser":{{"assumedRoleId":"AROAEXAMPLEROLEID0002:{run}","arn":"{}"}},"provider":"arn:aws:iam::111122223333:oidc-provider/{provider}","credentials":{{"accessKeyId":"{}","sessionToken":"HIDDEN_DUE_TO_SECURITY_REASONS","expiration":"{}"}},"audience":"sts.amazonaws.com"}}"#,
        role.session_arn(run),
        role.session_key(run, time),
        expiration(time)
    );
    let call = Call {
        read_only: true,
        ..Call::write("sts", "AssumeRoleWithWebIdentity", &request, &response)
    };
    day.trail.call(time, &caller, &call);
    Session::role(role, run, time, CI_RUNNER, agent)
}

/// A deployment: push the image, tell the cluster.
fn deploy(day: &mut Day, rng: &mut Rng, begin: i64) {
    let run = format!("deploy-{}", 8_000_000 + rng.below(900_000));
    let session = ci_session(day, &Role::new("ci-deploy"), &run, SDK_GO, begin);
    let steps = [
        ("sts", "GetCallerIdentity", "null", "null"),
        ("ecr", "GetAuthorizationToken", "null", "null"),
        (
            "ecr",
            "BatchCheckLayerAvailability",
            r#"{"repositoryName":"storefront","layerDigests":["sha256:4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1"]}"#,
            "null",
        ),
        (
            "ecr",
            "InitiateLayerUpload",
            r#"{"repositoryName":"storefront","registryId":"111122223333"}"#,
            r#"{"partSize":20971520,"uploadId":"a3c0e2d4-7f51-4c7b-8f6e-1b1a0c9d8e77"}"#,
        ),
        (
            "ecr",
            "CompleteLayerUpload",
            r#"{"repositoryName":"storefront","registryId":"111122223333","uploadId":"a3c0e2d4-7f51-4c7b-8f6e-1b1a0c9d8e77","layerDigests":["sha256:4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1"]}"#,
            r#"{"registryId":"111122223333","repositoryName":"storefront","uploadId":"a3c0e2d4-7f51-4c7b-8f6e-1b1a0c9d8e77","layerDigest":"sha256:4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1"}"#,
        ),
        (
            "ecr",
            "PutImage",
            r#"{"repositoryName":"storefront","registryId":"111122223333","imageTag":"4.18.2","imageManifestMediaType":"application/vnd.oci.image.manifest.v1+json"}"#,
            r#"{"image":{"registryId":"111122223333","repositoryName":"storefront","imageId":{"imageDigest":"sha256:0d1a45d60b4b6e0a3c0e2e9c4c9bd5a8c7e5f8c36f1f9b6c2a52c3b3a3b1f0ab","imageTag":"4.18.2"}}}"#,
        ),
        (
            "eks",
            "DescribeCluster",
            r#"{"name":"aldertree-prod"}"#,
            "null",
        ),
        (
            "cloudfront",
            "CreateInvalidation",
            r#"{"distributionId":"E2EXAMPLE1DIST","invalidationBatch":{"paths":{"quantity":1,"items":["/*"]},"callerReference":"deploy"}}"#,
            r#"{"invalidation":{"id":"I2EXAMPLE0INVAL","status":"InProgress"}}"#,
        ),
    ];
    let mut time = begin;
    for (service, operation, request, response) in steps {
        time += rng.between(1, 25) * SECOND;
        let repeats = if operation.contains("Layer") {
            rng.between(2, 6)
        } else {
            1
        };
        for _ in 0..repeats {
            let mut call = Call::write(service, operation, request, response);
            call.read_only = response == "null";
            day.trail.call(time, &session, &call);
            time += SECOND;
        }
    }
}

/// A Terraform plan: hundreds of reads in a minute or two.
fn plan(day: &mut Day, rng: &mut Rng, begin: i64) {
    let run = format!("terraform-{}", 3_000 + rng.below(900));
    let session = ci_session(day, &Role::new("terraform-apply"), &run, TERRAFORM, begin);
    let mut time = begin;
    for _ in 0..rng.between(90, 160) {
        time += rng.between(SECOND / 10, SECOND);
        let entry = *rng.pick(inventory::TERRAFORM);
        catalogued(&mut day.trail, rng, time, &session, &entry);
    }
}

/// Monday's apply of a new public endpoint: a role with a policy, a port open to the world, and a key
/// for a service user. All of it reviewed, none of it an attack.
fn look_alike(day: &mut Day, rng: &mut Rng) {
    let begin = day.start() + 16 * HOUR + 20 * MINUTE;
    let session = ci_session(
        day,
        &Role::new("terraform-apply"),
        "terraform-3991",
        TERRAFORM,
        begin,
    );
    let key = access_key("AKIA", "svc-metrics");
    let created = format!(
        r#"{{"accessKey":{{"userName":"svc-metrics","accessKeyId":"{key}","status":"Active","createDate":"Nov 9, 2026, 4:21:44 PM"}}}}"#
    );
    let steps = [
        (
            "iam",
            "CreateRole",
            r#"{"path":"/","roleName":"status-page","assumeRolePolicyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"lambda.amazonaws.com\"},\"Action\":\"sts:AssumeRole\"}]}","maxSessionDuration":3600}"#,
            r#"{"role":{"path":"/","roleName":"status-page","roleId":"AROAEXAMPLESTATUSPAGE","arn":"arn:aws:iam::111122223333:role/status-page","createDate":"Nov 9, 2026, 4:20:31 PM"}}"#,
        ),
        (
            "iam",
            "PutRolePolicy",
            r#"{"roleName":"status-page","policyName":"read-health","policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":[\"cloudwatch:GetMetricData\"],\"Resource\":\"*\"}]}"}"#,
            "null",
        ),
        (
            "iam",
            "AttachRolePolicy",
            r#"{"roleName":"status-page","policyArn":"arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"}"#,
            "null",
        ),
        (
            "ec2",
            "CreateSecurityGroup",
            r#"{"groupName":"status-page","groupDescription":"public status page","vpcId":"vpc-0c1d2e3f4a5b6c7d8"}"#,
            r#"{"requestId":"5c6f0a3e-2f3b-4b84-9f6a-30d1d9c0b1aa","_return":true,"groupId":"sg-0aa77bb66cc55dd44"}"#,
        ),
        (
            "ec2",
            "AuthorizeSecurityGroupIngress",
            r#"{"groupId":"sg-0aa77bb66cc55dd44","ipPermissions":{"items":[{"ipProtocol":"tcp","fromPort":443,"toPort":443,"groups":{},"ipRanges":{"items":[{"cidrIp":"0.0.0.0/0","description":"https"}]},"ipv6Ranges":{},"prefixListIds":{}}]}}"#,
            r#"{"requestId":"0b1c2d3e-4f50-4a6b-8c7d-9e0f1a2b3c4d","_return":true,"securityGroupRuleSet":{"items":[{"groupOwnerId":"111122223333","groupId":"sg-0aa77bb66cc55dd44","securityGroupRuleId":"sgr-0123456789abcdef0","isEgress":false,"ipProtocol":"tcp","fromPort":443,"toPort":443,"cidrIpv4":"0.0.0.0/0","description":"https"}]}}"#,
        ),
        (
            "iam",
            "CreateAccessKey",
            r#"{"userName":"svc-metrics"}"#,
            created.as_str(),
        ),
    ];
    let mut time = begin + 10 * SECOND;
    for (service, operation, request, response) in steps {
        time += rng.between(2, 20) * SECOND;
        day.trail.call(
            time,
            &session,
            &Call::write(service, operation, request, response),
        );
    }
}

/// The posture scanner reads everything every night and lacks a few rights.
fn scan(day: &mut Day, rng: &mut Rng) {
    let begin = day.start() + 3 * HOUR;
    let role = service_role("NimbusPostureScanner", "/");
    let session = Session::role(&role, "nimbus-scan", begin, SCANNER, BOTO);
    let mut time = begin;
    for _ in 0..1_700 {
        time += rng.between(SECOND / 4, 2 * SECOND);
        let from = if rng.percent(50) {
            inventory::SCANNER
        } else {
            inventory::TERRAFORM
        };
        let entry = *rng.pick(from);
        if rng.percent(2) {
            let lacking = [
                ("kms", "ListGrants"),
                ("lambda", "GetFunction20150331v2"),
                ("ses", "ListIdentities"),
            ];
            let &(service, operation) = rng.pick(&lacking);
            day.trail
                .denied(time, &session, Call::read(service, operation, "null"));
        } else if rng.percent(2) {
            let request = r#"{"bucketName":"aldertree-static","policy":"","Host":"aldertree-static.s3.us-east-1.amazonaws.com"}"#;
            let call = Call::read("s3", "GetBucketPolicy", request);
            day.trail.call(
                time,
                &session,
                &call.failed("NoSuchBucketPolicy", "The bucket policy does not exist"),
            );
        } else {
            catalogued(&mut day.trail, rng, time, &session, &entry);
        }
    }
}
