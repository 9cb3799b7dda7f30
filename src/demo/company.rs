//! Aldertree, the invented company of the demo: its people, machines, workloads and networks.
//!
//! Addresses outside are documentation ranges (RFC 5737, RFC 3849); `scripts/geo/networks.csv` says
//! where each of them lies.

use super::clock::HOUR;
use super::identity::{Role, access_key};

/// The office's way out.
pub const OFFICE: &str = "198.51.100.10";
/// The clusters' and the virtual private clouds' way out.
pub const NAT: &str = "198.51.100.132";
/// The CI service that runs outside the company's accounts.
pub const CI_RUNNER: &str = "192.0.2.141";
pub const SCANNER: &str = "198.51.100.230";
pub const AUDIT_TRAIL: &str = "aldertree-main";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    Developer,
    Operations,
    Finance,
    Security,
    Data,
}

/// How somebody gets into AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// An IAM user with a password and a long-lived key. Who has no second factor works from his shell.
    User { mfa: bool },
    /// A permission set of the company's single sign-on.
    SingleSignOn { permission_set: &'static str },
}

#[derive(Debug, Clone, Copy)]
pub struct Person {
    pub name: &'static str,
    pub job: Job,
    pub access: Access,
    /// The address at home, used on days away from the office.
    pub home: &'static str,
    /// First hour of his working day, UTC.
    pub starts: i64,
    /// Chance of a day at home, percent.
    pub at_home: u64,
}

const fn person(
    name: &'static str,
    job: Job,
    access: Access,
    home: &'static str,
    starts: i64,
    at_home: u64,
) -> Person {
    Person {
        name,
        job,
        access,
        home,
        starts,
        at_home,
    }
}

const MFA: Access = Access::User { mfa: true };
const NO_MFA: Access = Access::User { mfa: false };
const DEVELOPERS: Access = Access::SingleSignOn {
    permission_set: "DeveloperAccess",
};
const ADMINISTRATORS: Access = Access::SingleSignOn {
    permission_set: "AdministratorAccess",
};
const AUDITORS: Access = Access::SingleSignOn {
    permission_set: "SecurityAudit",
};

/// Everybody. Boston begins at 14:00 UTC, Lisbon at 9:00.
pub const PEOPLE: &[Person] = &[
    person("priya.raman", Job::Developer, MFA, "198.51.100.41", 14, 40),
    person("tom.okafor", Job::Developer, MFA, "198.51.100.43", 13, 20),
    person("jonas.weber", Job::Developer, MFA, "198.51.100.101", 9, 100),
    person(
        "marta.lindqvist",
        Job::Developer,
        MFA,
        "198.51.100.45",
        14,
        60,
    ),
    person(
        "sam.adeyemi",
        Job::Operations,
        NO_MFA,
        "198.51.100.70",
        14,
        50,
    ),
    person("lucia.ferro", Job::Finance, MFA, "198.51.100.103", 9, 100),
    person("peter.novak", Job::Finance, MFA, "198.51.100.47", 14, 10),
    person("dana.cohen", Job::Data, MFA, "198.51.100.49", 15, 30),
    person("rui.tavares", Job::Data, MFA, "198.51.100.105", 10, 100),
    person(
        "amy.chen",
        Job::Developer,
        DEVELOPERS,
        "198.51.100.51",
        14,
        30,
    ),
    person(
        "bilal.khan",
        Job::Developer,
        DEVELOPERS,
        "2001:db8:a::1f",
        14,
        70,
    ),
    person(
        "chloe.martin",
        Job::Developer,
        DEVELOPERS,
        "198.51.100.53",
        15,
        20,
    ),
    person(
        "erik.sand",
        Job::Operations,
        ADMINISTRATORS,
        "198.51.100.55",
        13,
        40,
    ),
    person(
        "grace.muller",
        Job::Operations,
        ADMINISTRATORS,
        "198.51.100.72",
        16,
        50,
    ),
    person(
        "ines.duarte",
        Job::Security,
        AUDITORS,
        "198.51.100.107",
        10,
        100,
    ),
];

impl Person {
    pub fn key(&self) -> String {
        access_key("AKIA", self.name)
    }

    /// His role in single sign-on, where he has one.
    pub fn sso_role(&self) -> Option<Role> {
        let Access::SingleSignOn { permission_set } = self.access else {
            return None;
        };
        Some(sso_role(permission_set))
    }

    pub fn email(&self) -> String {
        format!("{}@aldertree.example", self.name)
    }
}

pub fn sso_role(permission_set: &str) -> Role {
    Role {
        name: format!("AWSReservedSSO_{permission_set}_3f9c1a5be27d4680"),
        path: "/aws-reserved/sso.amazonaws.com/",
        mfa: false,
    }
}

/// A role that an AWS service brought along.
pub fn service_role(name: &str, path: &'static str) -> Role {
    Role {
        path,
        ..Role::new(name)
    }
}

/// A worker node of the cluster.
#[derive(Debug, Clone, Copy)]
pub struct Node {
    pub name: &'static str,
    pub ip: &'static str,
    pub instance: &'static str,
}

pub const NODES: &[Node] = &[
    Node {
        name: "ip-10-20-1-18.ec2.internal",
        ip: "10.20.1.18",
        instance: "i-0a41c7be92d35f018",
    },
    Node {
        name: "ip-10-20-1-93.ec2.internal",
        ip: "10.20.1.93",
        instance: "i-0b7720f4ce1a98d21",
    },
    Node {
        name: "ip-10-20-2-27.ec2.internal",
        ip: "10.20.2.27",
        instance: "i-03d98a11fb5c46e72",
    },
    Node {
        name: "ip-10-20-2-140.ec2.internal",
        ip: "10.20.2.140",
        instance: "i-0ce5f2088a7b1934d",
    },
    Node {
        name: "ip-10-20-3-47.ec2.internal",
        ip: "10.20.3.47",
        instance: "i-0f614b2d9e83a7c55",
    },
    Node {
        name: "ip-10-20-3-201.ec2.internal",
        ip: "10.20.3.201",
        instance: "i-0182dd67c4e9b3fa6",
    },
];
pub const NODE_ROLE: &str = "aldertree-prod-node";

/// A workload of the cluster that calls AWS or the API server with its own identity.
#[derive(Debug, Clone, Copy)]
pub struct App {
    pub name: &'static str,
    pub namespace: &'static str,
    pub pod: &'static str,
    pub ip: &'static str,
    /// Index in [`NODES`].
    pub node: usize,
    pub secrets: &'static [&'static str],
    /// Calls to AWS an hour, about.
    pub calls: i64,
}

pub const APPS: &[App] = &[
    App {
        name: "orders-api",
        namespace: "shop",
        pod: "orders-api-5f7c8d9b6d-lq2xk",
        ip: "10.20.1.66",
        node: 0,
        secrets: &["prod/orders/db", "prod/orders/stripe"],
        calls: 14,
    },
    App {
        name: "storefront",
        namespace: "shop",
        pod: "storefront-7d9c5b6f48-x2m7q",
        ip: "10.20.3.112",
        node: 4,
        secrets: &["prod/storefront/session"],
        calls: 8,
    },
    App {
        name: "billing-worker",
        namespace: "billing",
        pod: "billing-worker-6b8f6c5d77-9wz4t",
        ip: "10.20.2.31",
        node: 2,
        secrets: &["prod/billing/db", "prod/billing/sftp"],
        calls: 10,
    },
    App {
        name: "reporting",
        namespace: "data",
        pod: "reporting-84cc9f7b95-j6hnd",
        ip: "10.20.2.188",
        node: 3,
        secrets: &["prod/warehouse/reader"],
        calls: 9,
    },
    App {
        name: "mailer",
        namespace: "shop",
        pod: "mailer-7f5d68c4b9-2kd8p",
        ip: "10.20.3.205",
        node: 5,
        secrets: &["prod/mailer/smtp"],
        calls: 6,
    },
];
pub const STOREFRONT: &App = &APPS[1];

/// Every secret of the account; the thief reads them all.
pub const SECRETS: &[&str] = &[
    "prod/orders/db",
    "prod/orders/stripe",
    "prod/storefront/session",
    "prod/billing/db",
    "prod/billing/sftp",
    "prod/warehouse/reader",
    "prod/warehouse/admin",
    "prod/mailer/smtp",
    "prod/search/api",
    "prod/cache/auth",
    "prod/maps/api",
    "prod/tax/api",
    "prod/fraud/api",
    "prod/crm/oauth",
    "prod/hr/export",
    "prod/datadog/api",
    "prod/pagerduty/token",
    "prod/github/app",
    "prod/vpn/psk",
    "staging/orders/db",
    "staging/billing/db",
    "staging/storefront/session",
];
pub const BUCKETS: &[&str] = &[
    "aldertree-artifacts",
    "aldertree-customer-exports",
    "aldertree-data-lake",
    "aldertree-logs",
    "aldertree-static",
    "aldertree-terraform-state",
    "aldertree-invoices",
];

/// When a person works: office hours from `starts`, nine of them.
pub const WORKDAY: i64 = 9 * HOUR;

pub const BROWSER: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
pub const CLI: &str = "aws-cli/2.31.18 md/awscrt#0.27.6 ua/2.1 os/macos#25.0.0 md/arch#arm64 lang/python#3.13.7 md/pyimpl#CPython m/Z,E,b cfg/retry-mode#standard md/installer#exe md/prompt#off";
pub const TERRAFORM: &str = "APN/1.0 HashiCorp/1.0 Terraform/1.13.4 (+https://www.terraform.io) terraform-provider-aws/6.18.0 (+https://registry.terraform.io/providers/hashicorp/aws) aws-sdk-go-v2/1.39.3 ua/2.1 os/linux lang/go#1.24.6 md/GOOS#linux md/GOARCH#amd64 api/ec2#1.254.1 m/b,e,i";
pub const BOTO: &str = "Boto3/1.40.55 md/Botocore#1.40.55 ua/2.1 os/linux#6.12.55 md/arch#x86_64 lang/python#3.12.11 md/pyimpl#CPython m/Z,b,e cfg/retry-mode#legacy Botocore/1.40.55";
pub const SDK_GO: &str =
    "aws-sdk-go-v2/1.39.3 ua/2.1 os/linux lang/go#1.24.6 md/GOOS#linux md/GOARCH#amd64 m/E,h,n";
pub const SSM_AGENT: &str =
    "aws-sdk-go/1.55.5 (go1.23.4; linux; amd64) amazon-ssm-agent/3.3.3270.0";
