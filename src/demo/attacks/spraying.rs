//! Tuesday morning: one address tries a few passwords over all users of the console and gets in.
//!
//! sam.adeyemi has no second factor. From his session: a port opened to the world, a machine stopped,
//! given a new start script and started, a command sent to another, and a password for a service user
//! that the intruder then signs in with.

use super::Teller;
use crate::demo::clock::{at, long};
use crate::demo::cloudtrail::{Call, SignIn, Trail};
use crate::demo::company::{Access, NODES, PEOPLE};
use crate::demo::identity::{Session, access_key, user_arn};
use crate::demo::rng::Rng;
use crate::demo::{AttackStory, Day};

const FROM: &str = "203.0.113.140";
const VICTIM: &str = "sam.adeyemi";
const PUPPET: &str = "svc-metrics";
const MACHINE: &str = "i-07be31d94f2ac5806";
const AGENT: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0";

pub fn hide(day: &mut Day) -> AttackStory {
    let mut rng = Rng::new(42, "spraying", 1);
    let mut teller = Teller::new(at(1, 5, 41, 3));
    let trail = &mut day.trail;
    spray(trail, &mut teller, &mut rng);
    let at_door = Session::user_at_sign_in(VICTIM, FROM, AGENT);
    let time = teller.after(11);
    let id = trail.sign_in(time, &at_door, SignIn::WithoutMfa);
    teller.note("sam.adeyemi's password fits; no second factor is asked", id);
    let key = access_key("ASIA", "sam.adeyemi/intruder");
    let session = Session::user_in_console(VICTIM, &key, time, false, FROM, AGENT);
    look_around(trail, &mut teller, &mut rng, &session);
    run_code(trail, &mut teller, &session);
    stay(trail, &mut teller, &session);
    teller.end(
        "password spraying of the console",
        vec![
            FROM.to_owned(),
            user_arn(VICTIM),
            user_arn(PUPPET),
            key,
            MACHINE.to_owned(),
        ],
    )
}

/// Three rounds over the users that the account has, and some that it has not.
fn spray(trail: &mut Trail, teller: &mut Teller, rng: &mut Rng) {
    let users = PEOPLE
        .iter()
        .filter(|person| matches!(person.access, Access::User { .. }))
        .map(|person| person.name);
    for round in 0..3 {
        for name in users.clone() {
            let time = teller.after(rng.between(6, 17));
            let session = Session::user_refused(name, FROM, AGENT);
            let id = trail.sign_in(time, &session, SignIn::Failure("Failed authentication"));
            teller.note(&format!("a password is tried for {name}"), id);
        }
        for _ in 0..3 {
            let time = teller.after(rng.between(6, 17));
            let session = Session::unknown_at_sign_in(FROM, AGENT);
            let message = "No username found in supplied account";
            let id = trail.sign_in(time, &session, SignIn::Failure(message));
            teller.note("a password is tried for a user who does not exist", id);
        }
        if round < 2 {
            teller.after(rng.between(120, 200));
        }
    }
}

fn look_around(trail: &mut Trail, teller: &mut Teller, rng: &mut Rng, session: &Session) {
    let looks = [
        (
            "ec2",
            "DescribeInstances",
            r#"{"maxResults":100,"instancesSet":{},"filterSet":{}}"#,
        ),
        (
            "ec2",
            "DescribeSecurityGroups",
            r#"{"maxResults":200,"securityGroupSet":{},"securityGroupIdSet":{},"filterSet":{}}"#,
        ),
        ("iam", "ListUsers", r#"{"maxItems":100}"#),
        ("iam", "ListMFADevices", r#"{"userName":"sam.adeyemi"}"#),
        ("iam", "GetLoginProfile", r#"{"userName":"svc-metrics"}"#),
        (
            "ec2",
            "DescribeInstanceAttribute",
            r#"{"instanceId":"i-07be31d94f2ac5806","attribute":"userData"}"#,
        ),
    ];
    for (service, operation, request) in looks {
        let time = teller.after(rng.between(7, 30));
        let call = Call::read(service, operation, request);
        let id = if operation == "GetLoginProfile" {
            let message = "Login Profile for User svc-metrics cannot be found.";
            trail.call(
                time,
                session,
                &call.failed("NoSuchEntityException", message),
            )
        } else {
            trail.call(time, session, &call)
        };
        teller.note(&format!("{operation} from the stolen session"), id);
    }
}

/// A way in over the network, and code on two machines.
fn run_code(trail: &mut Trail, teller: &mut Teller, session: &Session) {
    let open = r#"{"groupId":"sg-0f9e8d7c6b5a41230","ipPermissions":{"items":[{"ipProtocol":"tcp","fromPort":22,"toPort":22,"groups":{},"ipRanges":{"items":[{"cidrIp":"0.0.0.0/0"}]},"ipv6Ranges":{},"prefixListIds":{}}]}}"#;
    let opened = r#"{"requestId":"30f339b8-9c7f-4033-931e-55afb53986a6","_return":true,"securityGroupRuleSet":{"items":[{"groupOwnerId":"111122223333","groupId":"sg-0f9e8d7c6b5a41230","securityGroupRuleId":"sgr-0a11552a7d225f5c7","isEgress":false,"ipProtocol":"tcp","fromPort":22,"toPort":22,"cidrIpv4":"0.0.0.0/0"}]}}"#;
    let set = format!(r#"{{"instancesSet":{{"items":[{{"instanceId":"{MACHINE}"}}]}}}}"#);
    let stopped = format!(
        r#"{{"requestId":"088dba72-717e-4502-a3c5-5c95f22f87c1","instancesSet":{{"items":[{{"instanceId":"{MACHINE}","currentState":{{"code":64,"name":"stopping"}},"previousState":{{"code":16,"name":"running"}}}}]}}}}"#
    );
    let script = format!(r#"{{"instanceId":"{MACHINE}","userData":"<sensitiveDataRemoved>"}}"#);
    let scripted = r#"{"requestId":"2f1b8c77-5d5e-4f0a-9a43-6a1d7c0b2e10","_return":true}"#;
    let started = format!(
        r#"{{"requestId":"0c9bbf8a-a6f6-4e64-8396-78017a647f26","instancesSet":{{"items":[{{"instanceId":"{MACHINE}","currentState":{{"code":0,"name":"pending"}},"previousState":{{"code":80,"name":"stopped"}}}}]}}}}"#
    );
    let target = NODES[1].instance;
    let send = format!(
        r#"{{"instanceIds":["{target}"],"documentName":"AWS-RunShellScript","parameters":"HIDDEN_DUE_TO_SECURITY_REASONS","interactive":false}}"#
    );
    let sent = format!(
        r#"{{"command":{{"commandId":"bbf52fc0-1a25-4020-b1b4-1872ff8edd12","documentName":"AWS-RunShellScript","documentVersion":"$DEFAULT","comment":"","parameters":"HIDDEN_DUE_TO_SECURITY_REASONS","instanceIds":["{target}"],"targets":[],"status":"Pending","statusDetails":"Pending","outputS3BucketName":"","maxConcurrency":"50","maxErrors":"0","targetCount":1,"completedCount":0,"errorCount":0,"interactive":false,"timeoutSeconds":3600}}}}"#
    );
    for (seconds, service, operation, request, response, what) in [
        (
            64,
            "ec2",
            "AuthorizeSecurityGroupIngress",
            open,
            opened,
            "port 22 is opened to the world",
        ),
        (
            41,
            "ec2",
            "StopInstances",
            &set,
            &stopped,
            "a machine is stopped",
        ),
        (
            49,
            "ec2",
            "ModifyInstanceAttribute",
            &script,
            scripted,
            "it gets a new start script",
        ),
        (
            12,
            "ec2",
            "StartInstances",
            &set,
            &started,
            "it is started again",
        ),
        (
            88,
            "ssm",
            "SendCommand",
            &send,
            &sent,
            "a command is sent to a node of the cluster",
        ),
    ] {
        let time = teller.after(seconds);
        let id = trail.call(
            time,
            session,
            &Call::write(service, operation, request, response),
        );
        teller.note(what, id);
    }
}

/// A password for a user that never had one, and a sign-in with it.
fn stay(trail: &mut Trail, teller: &mut Teller, session: &Session) {
    let time = teller.after(130);
    let request = format!(r#"{{"userName":"{PUPPET}","passwordResetRequired":false}}"#);
    let response = format!(
        r#"{{"loginProfile":{{"userName":"{PUPPET}","createDate":"{}","passwordResetRequired":false}}}}"#,
        long(time)
    );
    let call = Call::write("iam", "CreateLoginProfile", &request, &response);
    let id = trail.call(time, session, &call);
    teller.note("svc-metrics gets a password", id);
    let time = teller.after(24);
    let request = format!(r#"{{"groupName":"administrators","userName":"{PUPPET}"}}"#);
    let id = trail.call(
        time,
        session,
        &Call::write("iam", "AddUserToGroup", &request, "null"),
    );
    teller.note("svc-metrics becomes an administrator", id);
    let time = teller.after(75);
    let puppet = Session::user_at_sign_in(PUPPET, FROM, AGENT);
    let id = trail.sign_in(time, &puppet, SignIn::WithoutMfa);
    teller.note("svc-metrics signs in from the same address", id);
}
