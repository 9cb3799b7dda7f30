//! People at work: they sign in, click through the console, type commands, mistype, and go home.

use super::{catalogue, catalogued};
use crate::demo::Day;
use crate::demo::clock::{HOUR, MINUTE, SECOND};
use crate::demo::cloudtrail::{Call, SignIn, expiration};
use crate::demo::company::{Access, BROWSER, CLI, Job, OFFICE, PEOPLE, Person, WORKDAY, sso_role};
use crate::demo::identity::{Role, Session, access_key};
use crate::demo::rng::Rng;

/// Everybody's day.
pub fn work(day: &mut Day, seed: u64) {
    for person in PEOPLE {
        let mut rng = Rng::new(seed, person.name, day.index as u64);
        if day.is_weekend() && !works_on_weekend(person, &mut rng) {
            continue;
        }
        let away = rng.percent(person.at_home) || day.is_weekend();
        let ip = if away { person.home } else { OFFICE };
        let starts = day.start() + person.starts * HOUR + rng.between(-30, 40) * MINUTE;
        work_day(day, &mut rng, person, ip, starts);
    }
    if day.index == 2 {
        night_call(day, seed);
    }
}

fn works_on_weekend(person: &Person, rng: &mut Rng) -> bool {
    matches!(person.job, Job::Developer | Job::Operations) && rng.percent(15)
}

fn work_day(day: &mut Day, rng: &mut Rng, person: &Person, ip: &str, starts: i64) {
    let console = sign_in(day, rng, person, ip, starts);
    let shell = command_line(person, ip, starts);
    let usual = usual_calls(person.job);
    let bursts = match person.job {
        Job::Developer | Job::Operations => rng.between(18, 28),
        Job::Data | Job::Security => rng.between(12, 18),
        Job::Finance => rng.between(4, 8),
    };
    let hours = if day.is_weekend() {
        WORKDAY / 4
    } else {
        WORKDAY
    };
    for _ in 0..bursts {
        let begin = starts + 2 * MINUTE + rng.below(hours as u64) as i64;
        let typed = shell.is_some() && rng.percent(45);
        let session = if typed {
            shell.as_ref().unwrap_or(&console)
        } else {
            &console
        };
        let pause = if typed { 20 } else { 6 };
        burst(day, rng, session, usual, begin, pause);
    }
    if matches!(person.job, Job::Operations) && rng.percent(60) {
        let begin = starts + rng.between(1, 7) * HOUR;
        routine_change(day, rng, &console, begin);
    }
}

/// A few calls in a row: mostly the job's own, some of the console's furniture.
fn burst(
    day: &mut Day,
    rng: &mut Rng,
    session: &Session,
    usual: &[catalogue::Entry],
    begin: i64,
    pause: i64,
) {
    let mut time = begin;
    for _ in 0..rng.between(4, 18) {
        time += rng.between(SECOND / 5, pause * SECOND);
        if time >= day.end() {
            return;
        }
        let from = if session.console && rng.percent(40) {
            catalogue::CONSOLE
        } else {
            usual
        };
        let entry = rng.pick(from);
        if rng.percent(1) {
            ordinary_failure(day, rng, session, time);
        } else {
            catalogued(&mut day.trail, rng, time, session, entry);
        }
    }
}

fn usual_calls(job: Job) -> &'static [catalogue::Entry] {
    match job {
        Job::Developer => catalogue::DEVELOPER,
        Job::Operations => catalogue::OPERATIONS,
        Job::Finance => catalogue::FINANCE,
        Job::Security => catalogue::SECURITY,
        Job::Data => catalogue::DATA,
    }
}

/// Signs in to the console and returns its session. Now and then the password is mistyped first.
fn sign_in(day: &mut Day, rng: &mut Rng, person: &Person, ip: &str, time: i64) -> Session {
    match person.access {
        // His password is a leftover that he never uses; somebody else will.
        Access::User { mfa: false } => Session::user_key(person.name, &person.key(), ip, CLI),
        Access::User { mfa: true } => {
            let trail = &mut day.trail;
            if rng.percent(8) {
                let refused = Session::user_refused(person.name, ip, BROWSER);
                let failure = SignIn::Failure("Failed authentication");
                trail.sign_in(time - 25 * SECOND, &refused, failure);
            }
            let at_door = Session::user_at_sign_in(person.name, ip, BROWSER);
            trail.sign_in(time, &at_door, SignIn::WithMfa(person.name));
            let key = access_key("ASIA", &format!("{}/{time}", person.name));
            Session::user_in_console(person.name, &key, time, true, ip, BROWSER)
        }
        Access::SingleSignOn { permission_set } => {
            let role = sso_role(permission_set);
            let email = person.email();
            assume_with_saml(day, &role, &email, ip, time);
            let session = Session {
                console: true,
                ..Session::role(&role, &email, time, ip, BROWSER)
            };
            // The second factor was asked for by the identity provider; AWS says No here.
            day.trail
                .sign_in(time + SECOND, &session, SignIn::WithoutMfa);
            session
        }
    }
}

fn assume_with_saml(day: &mut Day, role: &Role, email: &str, ip: &str, time: i64) {
    let caller = Session::saml(email, ip);
    let request = format!(
        r#"{{"sAMLAssertionID":"_{}","roleSessionName":"{email}","durationSeconds":43200,"roleArn":"{}","principalArn":"arn:aws:iam::111122223333:saml-provider/AWSSSO_3f9c1a5be27d4680_DO_NOT_DELETE"}}"#,
        Rng::new(time as u64, email, 0).uuid(),
        role.arn()
    );
    let response = format!(
        r#"{{"subjectType":"persistent","issuer":"https://portal.sso.us-east-1.amazonaws.com/saml/assertion/aldertree","credentials":{{"accessKeyId":"{}","sessionToken":"HIDDEN_DUE_TO_SECURITY_REASONS","expiration":"{}"}},"subject":"{email}"}}"#,
        role.session_key(email, time),
        expiration(time)
    );
    let call = Call {
        read_only: true,
        ..Call::write("sts", "AssumeRoleWithSAML", &request, &response)
    };
    day.trail.call(time, &caller, &call);
}

/// The credentials that the person's shell uses: a user's key, or single sign-on's.
fn command_line(person: &Person, ip: &str, starts: i64) -> Option<Session> {
    if matches!(person.job, Job::Finance) {
        return None;
    }
    Some(match person.sso_role() {
        Some(role) => Session::role(&role, &person.email(), starts, ip, CLI),
        None => Session::user_key(person.name, &person.key(), ip, CLI),
    })
}

/// What goes wrong every day: a stale id, a missing right, too many calls at once.
fn ordinary_failure(day: &mut Day, rng: &mut Rng, session: &Session, time: i64) {
    let trail = &mut day.trail;
    match rng.below(4) {
        0 => {
            let id = format!("i-0{}", rng.hex(16));
            let request = format!(
                r#"{{"instancesSet":{{"items":[{{"instanceId":"{id}"}}]}},"filterSet":{{}}}}"#
            );
            let message = format!("The instance ID '{id}' does not exist");
            let call = Call::read("ec2", "DescribeInstances", &request);
            trail.call(
                time,
                session,
                &call.failed("Client.InvalidInstanceID.NotFound", &message),
            );
        }
        1 => {
            let call = Call::read("iam", "GetRole", r#"{"roleName":"orders-worker"}"#);
            let message = "The role with name orders-worker cannot be found.";
            trail.call(
                time,
                session,
                &call.failed("NoSuchEntityException", message),
            );
        }
        2 => {
            let call = Call::read(
                "logs",
                "DescribeLogStreams",
                r#"{"logGroupName":"/aws/lambda/thumbnailer"}"#,
            );
            trail.call(
                time,
                session,
                &call.failed("ThrottlingException", "Rate exceeded"),
            );
        }
        _ => {
            let forbidden = [
                ("iam", "ListAccessKeys", r#"{"userName":"svc-backup"}"#),
                ("ec2", "DescribeReservedInstances", r#"{"filterSet":{}}"#),
                ("organizations", "DescribeOrganization", "null"),
            ];
            let &(service, operation, request) = rng.pick(&forbidden);
            trail.denied(time, session, Call::read(service, operation, request));
        }
    }
}

/// Changes that operations make every other day and that are nobody's business.
const ROUTINE: &[(&str, &str, &str, &str)] = &[
    (
        "ssm",
        "StartSession",
        r#"{"target":"i-0182dd67c4e9b3fa6"}"#,
        r#"{"sessionId":"platform-0b9d8c7e6f5a41230","tokenValue":"Value hidden due to security reasons.","streamUrl":"wss://ssmmessages.us-east-1.amazonaws.com/v1/data-channel/platform-0b9d8c7e6f5a41230"}"#,
    ),
    (
        "ec2",
        "AuthorizeSecurityGroupIngress",
        r#"{"groupId":"sg-0b5e1c2d3f4a59687","ipPermissions":{"items":[{"ipProtocol":"tcp","fromPort":5432,"toPort":5432,"groups":{},"ipRanges":{"items":[{"cidrIp":"10.20.0.0/16","description":"cluster to database"}]},"ipv6Ranges":{},"prefixListIds":{}}]}}"#,
        r#"{"requestId":"0d5c7a31-51a0-4a6f-a6a6-0e2f6a1f0f11","_return":true,"securityGroupRuleSet":{"items":[{"groupOwnerId":"111122223333","groupId":"sg-0b5e1c2d3f4a59687","securityGroupRuleId":"sgr-0e1f2a3b4c5d6e7f8","isEgress":false,"ipProtocol":"tcp","fromPort":5432,"toPort":5432,"cidrIpv4":"10.20.0.0/16","description":"cluster to database"}]}}"#,
    ),
    (
        "ec2",
        "ModifyInstanceAttribute",
        r#"{"instanceId":"i-0182dd67c4e9b3fa6","disableApiTermination":{"value":true}}"#,
        r#"{"requestId":"2177f0f9-57f3-45f3-9656-d297ae8d8b96","_return":true}"#,
    ),
    (
        "ec2",
        "RebootInstances",
        r#"{"instancesSet":{"items":[{"instanceId":"i-0182dd67c4e9b3fa6"}]}}"#,
        r#"{"requestId":"6e4f3b3e-9a4e-4f4a-8f65-7d0b6a4a9e10","_return":true}"#,
    ),
];

fn routine_change(day: &mut Day, rng: &mut Rng, session: &Session, time: i64) {
    let &(service, operation, request, response) = rng.pick(ROUTINE);
    let call = Call::write(service, operation, request, response);
    day.trail.call(time, session, &call);
}

/// Wednesday, three in the morning in Boston: the orders database is full and grace is on call.
fn night_call(day: &mut Day, seed: u64) {
    let Some(grace) = PEOPLE.iter().find(|person| person.name == "grace.muller") else {
        return;
    };
    let mut rng = Rng::new(seed, "night call", 2);
    let begin = day.start() + 8 * HOUR + 4 * MINUTE;
    let console = sign_in(day, &mut rng, grace, grace.home, begin);
    for minutes in [1, 4, 9, 16, 30] {
        burst(
            day,
            &mut rng,
            &console,
            catalogue::OPERATIONS,
            begin + minutes * MINUTE,
            12,
        );
    }
    let request = r#"{"dBInstanceIdentifier":"orders","allocatedStorage":800,"applyImmediately":true,"allowMajorVersionUpgrade":false}"#;
    let response = r#"{"dBInstanceIdentifier":"orders","dBInstanceClass":"db.r6g.xlarge","engine":"postgres","dBInstanceStatus":"available","allocatedStorage":500,"pendingModifiedValues":{"allocatedStorage":800},"multiAZ":true,"storageEncrypted":true,"publiclyAccessible":false}"#;
    let call = Call::write("rds", "ModifyDBInstance", request, response);
    day.trail.call(begin + 21 * MINUTE, &console, &call);
}
