//! Machines of the account: nodes, autoscaler, workloads, and AWS services calling on its behalf.

use crate::demo::Day;
use crate::demo::clock::{HOUR, MINUTE, SECOND};
use crate::demo::cloudtrail::{Call, Trail, expiration, key_resource};
use crate::demo::company::{
    APPS, App, NAT, NODE_ROLE, NODES, Node, SDK_GO, SSM_AGENT, service_role,
};
use crate::demo::identity::{Role, Session, access_key};
use crate::demo::rng::Rng;

const OIDC: &str = "oidc.eks.us-east-1.amazonaws.com/id/7C1E5D0B9A3F4E62B8D4A6F0C2E91735";

pub fn run(day: &mut Day, seed: u64) {
    for node in NODES {
        node_day(day, seed, node);
    }
    autoscaler(day, seed);
    for app in APPS {
        app_day(day, seed, app);
    }
    services(day, seed);
    backup(day, seed);
}

/// Times from the day's start on, `every` apart, give or take a tenth.
fn ticks(day: &Day, rng: &mut Rng, every: i64) -> Vec<i64> {
    let mut times = Vec::new();
    let mut time = day.start() + rng.below(every as u64) as i64;
    while time < day.end() {
        times.push(time);
        time += every + rng.between(-every / 10, every / 10);
    }
    times
}

/// A node's Systems Manager agent reports every five minutes; its kubelet fetches a registry token.
fn node_day(day: &mut Day, seed: u64, node: &Node) {
    let mut rng = Rng::new(seed, node.name, day.index as u64);
    let role = Role::new(NODE_ROLE);
    let report = format!(
        r#"{{"instanceId":"{}","agentVersion":"3.3.3270.0","agentStatus":"Active","platformType":"Linux","platformName":"Amazon Linux","platformVersion":"2023","iPAddress":"{}","computerName":"{}","agentName":"amazon-ssm-agent","availabilityZone":"us-east-1a","availabilityZoneId":"use1-az4"}}"#,
        node.instance, node.ip, node.name
    );
    let mut session = node_session(&role, node, day.start());
    let mut renewed = day.start();
    for (count, time) in ticks(day, &mut rng, 5 * MINUTE).into_iter().enumerate() {
        if time - renewed > 6 * HOUR {
            renewed = time;
            session = node_session(&role, node, time);
            let ec2 = Session::service("ec2.amazonaws.com");
            assume(&mut day.trail, time, &ec2, &role, node.instance);
        }
        let call = Call::write("ssm", "UpdateInstanceInformation", &report, "null");
        day.trail.call(time, &session, &call);
        if count % 12 == 3 {
            let call = Call::read("ecr", "GetAuthorizationToken", "null");
            day.trail.call(time + 2 * SECOND, &session, &call);
        }
    }
}

pub fn node_session(role: &Role, node: &Node, created: i64) -> Session {
    Session::role(role, node.instance, created, NAT, SSM_AGENT)
}

/// `AssumeRole` by a service for itself.
fn assume(trail: &mut Trail, time: i64, service: &Session, role: &Role, session: &str) {
    let arn = role.arn();
    let request =
        format!(r#"{{"roleArn":"{arn}","roleSessionName":"{session}","durationSeconds":3600}}"#);
    let response = format!(
        r#"{{"credentials":{{"accessKeyId":"{}","sessionToken":"HIDDEN_DUE_TO_SECURITY_REASONS","expiration":"{}"}},"assumedRoleUser":{{"assumedRoleId":"AROAEXAMPLEROLEID0000:{session}","arn":"{}"}}}}"#,
        access_key("ASIA", &format!("{session}/{time}")),
        expiration(time),
        role.session_arn(session)
    );
    let resources =
        format!(r#"[{{"accountId":"111122223333","type":"AWS::IAM::Role","ARN":"{arn}"}}]"#);
    let call = Call {
        read_only: true,
        resources: &resources,
        ..Call::write("sts", "AssumeRole", &request, &response)
    };
    trail.call(time, service, &call);
}

/// `AssumeRoleWithWebIdentity` by a workload of the cluster; returns its session.
fn assume_with_token(trail: &mut Trail, time: i64, role: &Role, subject: &str) -> Session {
    let caller = Session::web_identity(OIDC, subject, NAT, SDK_GO);
    let (arn, name) = (role.arn(), &role.name);
    let request =
        format!(r#"{{"roleArn":"{arn}","roleSessionName":"{name}","durationSeconds":3600}}"#);
    let response = format!(
        r#"{{"subjectFromWebIdentityToken":"{subject}","assumedRoleUser":{{"assumedRoleId":"AROAEXAMPLEROLEID0001:{name}","arn":"{}"}},"provider":"arn:aws:iam::111122223333:oidc-provider/{OIDC}","credentials":{{"accessKeyId":"{}","sessionToken":"HIDDEN_DUE_TO_SECURITY_REASONS","expiration":"{}"}},"audience":"sts.amazonaws.com"}}"#,
        role.session_arn(name),
        role.session_key(name, time),
        expiration(time)
    );
    let call = Call {
        read_only: true,
        ..Call::write("sts", "AssumeRoleWithWebIdentity", &request, &response)
    };
    trail.call(time, &caller, &call);
    Session::role(role, name, time, NAT, SDK_GO)
}

/// The cluster autoscaler looks every two and a half minutes and is sometimes told to slow down.
fn autoscaler(day: &mut Day, seed: u64) {
    let mut rng = Rng::new(seed, "autoscaler", day.index as u64);
    let role = Role::new("aldertree-prod-autoscaler");
    let subject = "system:serviceaccount:kube-system:cluster-autoscaler";
    let begin = day.start() + SECOND;
    let mut session = assume_with_token(&mut day.trail, begin, &role, subject);
    let groups = r#"{"autoScalingGroupNames":["eks-general-3ac4f9c2-51b0-4be7-8a36-6b7c1fd0aa10"],"maxRecords":100}"#;
    let looks = [
        ("autoscaling", "DescribeAutoScalingGroups", groups),
        (
            "autoscaling",
            "DescribeScalingActivities",
            r#"{"autoScalingGroupName":"eks-general-3ac4f9c2-51b0-4be7-8a36-6b7c1fd0aa10"}"#,
        ),
        (
            "ec2",
            "DescribeLaunchTemplateVersions",
            r#"{"DescribeLaunchTemplateVersionsRequest":{"LaunchTemplateId":"lt-0d3adb33fcafe0001","LaunchTemplateVersion":{"tag":1,"content":7}}}"#,
        ),
        (
            "eks",
            "DescribeNodegroup",
            r#"{"name":"aldertree-prod","nodegroupName":"general"}"#,
        ),
    ];
    for (count, time) in ticks(day, &mut rng, 150 * SECOND).into_iter().enumerate() {
        if count % 22 == 21 {
            session = assume_with_token(&mut day.trail, time - SECOND, &role, subject);
        }
        for (nth, &(service, operation, request)) in looks.iter().enumerate() {
            if nth > 0 && !rng.percent(70) {
                continue;
            }
            let call = Call::read(service, operation, request);
            let call = if rng.below(400) == 0 {
                call.failed("Throttling", "Rate exceeded")
            } else {
                call
            };
            day.trail
                .call(time + nth as i64 * SECOND / 3, &session, &call);
        }
        if rng.percent(1) {
            let request = r#"{"autoScalingGroupName":"eks-general-3ac4f9c2-51b0-4be7-8a36-6b7c1fd0aa10","desiredCapacity":7,"honorCooldown":false}"#;
            let call = Call::write("autoscaling", "SetDesiredCapacity", request, "null");
            day.trail.call(time + 4 * SECOND, &session, &call);
        }
    }
}

/// A workload: a fresh session an hour, its secrets, and its own few calls.
fn app_day(day: &mut Day, seed: u64, app: &App) {
    let mut rng = Rng::new(seed, app.name, day.index as u64);
    let role = Role::new(app.name);
    let subject = format!("system:serviceaccount:{}:{}", app.namespace, app.name);
    for begin in ticks(day, &mut rng, 55 * MINUTE) {
        let session = assume_with_token(&mut day.trail, begin, &role, &subject);
        for (nth, secret) in app.secrets.iter().enumerate() {
            day.trail
                .secret(begin + (nth as i64 + 1) * SECOND, &session, secret);
        }
        for _ in 0..app.calls {
            let time = begin + rng.between(5, 50 * 60) * SECOND;
            if time < day.end() {
                app_call(day, &mut rng, &session, time);
            }
        }
    }
}

fn app_call(day: &mut Day, rng: &mut Rng, session: &Session, time: i64) {
    if rng.percent(50) {
        let request = r#"{"encryptionContext":{"service":"orders","table":"payments"},"encryptionAlgorithm":"SYMMETRIC_DEFAULT"}"#;
        let resources = key_resource();
        let call = Call {
            resources: &resources,
            ..Call::read("kms", "Decrypt", request)
        };
        day.trail.call(time, session, &call);
        return;
    }
    let calls = [
        ("sqs", "GetQueueUrl", r#"{"queueName":"orders"}"#),
        ("dynamodb", "DescribeTable", r#"{"tableName":"sessions"}"#),
        ("sts", "GetCallerIdentity", "null"),
        (
            "logs",
            "DescribeLogStreams",
            r#"{"logGroupName":"/aldertree/prod","limit":1}"#,
        ),
    ];
    let &(service, operation, request) = rng.pick(&calls);
    day.trail
        .call(time, session, &Call::read(service, operation, request));
}

/// Config, Lambda, the load balancer and others calling in the account's name.
fn services(day: &mut Day, seed: u64) {
    let mut rng = Rng::new(seed, "services", day.index as u64);
    let helpers = [
        (
            "lambda.amazonaws.com",
            Role::new("thumbnailer"),
            "thumbnailer",
        ),
        (
            "config.amazonaws.com",
            service_role(
                "AWSServiceRoleForConfig",
                "/aws-service-role/config.amazonaws.com/",
            ),
            "AWSConfig-Describe",
        ),
        (
            "elasticloadbalancing.amazonaws.com",
            service_role(
                "AWSServiceRoleForElasticLoadBalancing",
                "/aws-service-role/elasticloadbalancing.amazonaws.com/",
            ),
            "ElasticLoadBalancing",
        ),
        (
            "eks.amazonaws.com",
            service_role(
                "AWSServiceRoleForAmazonEKS",
                "/aws-service-role/eks.amazonaws.com/",
            ),
            "AmazonEKS",
        ),
    ];
    let looks = [
        (
            "ec2",
            "DescribeInstances",
            r#"{"instancesSet":{},"filterSet":{}}"#,
        ),
        (
            "ec2",
            "DescribeNetworkInterfaces",
            r#"{"networkInterfaceIdSet":{},"filterSet":{}}"#,
        ),
        (
            "ec2",
            "DescribeSecurityGroups",
            r#"{"securityGroupSet":{},"securityGroupIdSet":{},"filterSet":{}}"#,
        ),
        (
            "ec2",
            "DescribeSubnets",
            r#"{"subnetSet":{},"filterSet":{}}"#,
        ),
        (
            "s3",
            "GetBucketAcl",
            r#"{"bucketName":"aldertree-logs","acl":"","Host":"aldertree-logs.s3.us-east-1.amazonaws.com"}"#,
        ),
    ];
    for time in ticks(day, &mut rng, 4 * MINUTE) {
        let (service, role, session) = rng.pick(&helpers);
        assume(
            &mut day.trail,
            time,
            &Session::service(service),
            role,
            session,
        );
        if *service == "lambda.amazonaws.com" {
            let function = Session::role(role, session, time, NAT, SDK_GO);
            let request = r#"{"logGroupName":"/aws/lambda/thumbnailer","logStreamName":"2026/11/[$LATEST]5f1c"}"#;
            let call = Call::write("logs", "CreateLogStream", request, "null");
            day.trail.call(time + SECOND, &function, &call);
            continue;
        }
        let working = Session::role_of_service(role, session, time, service);
        for nth in 0..rng.between(1, 4) {
            let entry = *rng.pick(&looks);
            super::catalogued(
                &mut day.trail,
                &mut rng,
                time + (nth + 1) * SECOND,
                &working,
                &entry,
            );
        }
    }
}

/// AWS Backup copies the volumes at five in the morning.
fn backup(day: &mut Day, seed: u64) {
    let mut rng = Rng::new(seed, "backup", day.index as u64);
    let role = service_role("AWSBackupDefaultServiceRole", "/service-role/");
    let begin = day.start() + 5 * HOUR;
    let session = Session::role_of_service(
        &role,
        "AWSBackup-AWSBackupDefaultServiceRole",
        begin,
        "backup.amazonaws.com",
    );
    for nth in 0..12 {
        let time = begin + nth * 20 * SECOND + rng.between(0, 9) * SECOND;
        let (volume, snapshot) = (rng.hex(17), rng.hex(17));
        let request = format!(
            r#"{{"volumeId":"vol-{volume}","description":"This snapshot is created by the AWS Backup service.","tagSpecificationSet":{{"items":[{{"resourceType":"snapshot","tags":[{{"key":"aws:backup:source-resource","value":"vol-{volume}"}}]}}]}}}}"#
        );
        let response = format!(
            r#"{{"requestId":"{}","snapshotId":"snap-{snapshot}","volumeId":"vol-{volume}","status":"pending","startTime":{},"progress":"","ownerId":"111122223333","volumeSize":"100","encrypted":true}}"#,
            rng.uuid(),
            time / 1_000
        );
        day.trail.call(
            time,
            &session,
            &Call::write("ec2", "CreateSnapshot", &request, &response),
        );
    }
}
