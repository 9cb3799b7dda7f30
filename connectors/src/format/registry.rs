//! The formats, and what is known of each without reading an event.

use std::sync::LazyLock;

use super::{
    Decoded, Reject, Row, Stop, aside, azure, azure_flow, cloudtrail, defender, entra, envoy,
    falco, gatekeeper, gcp, gcp_flow, github, graph, guardduty, hunting, k8s_audit, log_analytics,
    ocsf, okta, prisma, tetragon, trivy, vpc_flow, ztunnel,
};
use crate::json::Scanner;
use crate::mapping::{Compiled, Mapping, Need, Value};

/// A log format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    CloudTrail,
    K8sAudit,
    Falco,
    /// By its place in [`MAPPINGS`].
    Mapped(usize),
    /// The mapping of the configuration.
    Custom,
}

/// Formats that are data, in the order in which they are tried.
pub static MAPPINGS: &[&Mapping] = &[
    &guardduty::FINDING,
    &guardduty::SECURITY_HUB,
    &gcp::AUDIT,
    &gcp_flow::FLOW,
    &entra::SIGN_IN,
    &entra::AUDIT,
    &entra::RISK,
    &entra::PROVISIONING,
    &entra::CALL,
    &graph::SIGN_IN,
    &graph::AUDIT,
    &azure_flow::NSG,
    &azure_flow::VNET,
    &azure_flow::TRAFFIC,
    &azure_flow::TUPLE,
    &azure::ACTIVITY,
    &defender::ALERT,
    &graph::ALERT,
    &hunting::EVENT,
    &hunting::ROW,
    &log_analytics::SIGN_IN,
    &log_analytics::AUDIT,
    &log_analytics::RESOURCE,
    &log_analytics::RISK,
    &log_analytics::CALL,
    &log_analytics::INCIDENT,
    &okta::LOG_EVENT,
    &github::AUDIT,
    &vpc_flow::FLOW,
    &envoy::ACCESS,
    &ztunnel::ACCESS,
    &tetragon::EXEC,
    &tetragon::EXIT,
    &tetragon::KPROBE,
    &tetragon::TRACEPOINT,
    &tetragon::LSM,
    &tetragon::CONNECT,
    &tetragon::CLOSE,
    &tetragon::LISTEN,
    &gatekeeper::VIOLATION,
    &gatekeeper::EXPORT,
    &prisma::ALERT,
    &prisma::INCIDENT,
    &trivy::REPORT,
    &trivy::CLUSTER,
    &trivy::OPERATOR,
    &trivy::CYCLONEDX,
    &ocsf::EVENT,
    &aside::INSIGHT,
    &aside::DIGEST,
    &aside::SPDX,
];

static TREES: LazyLock<Vec<Compiled>> = LazyLock::new(|| {
    let trees = MAPPINGS.iter().map(|mapping| Compiled::new(mapping));
    trees
        .collect::<Result<_, _>>()
        .expect("paths of built-in formats are tested")
});

/// Names and needs of the formats that are programs: name, source, family, product.
const PROGRAMS: [[&str; 4]; 3] = [
    [
        "CloudTrail event",
        "cloudtrail",
        "cloud_audit",
        "CloudTrail",
    ],
    [
        "Kubernetes audit event",
        "k8s_audit",
        "k8s_audit",
        "Kubernetes",
    ],
    ["Falco alert", "falco", "agent_alerts", "Falco"],
];

impl Format {
    /// How many there are, that of the configuration among them.
    pub(crate) const COUNT: usize = PROGRAMS.len() + MAPPINGS.len() + 1;

    /// Every format but that of the configuration.
    pub fn all() -> impl Iterator<Item = Format> {
        let programs = [Format::CloudTrail, Format::K8sAudit, Format::Falco];
        programs
            .into_iter()
            .chain((0..MAPPINGS.len()).map(Format::Mapped))
    }

    /// The format of a built-in mapping.
    pub(crate) fn of(mapping: &Mapping<'static>) -> Self {
        let place = MAPPINGS.iter().position(|one| std::ptr::eq(*one, mapping));
        place.map_or(Format::Custom, Format::Mapped)
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Format::CloudTrail => 0,
            Format::K8sAudit => 1,
            Format::Falco => 2,
            Format::Mapped(place) => PROGRAMS.len() + place,
            Format::Custom => PROGRAMS.len() + MAPPINGS.len(),
        }
    }

    /// The mapping, if the format is one.
    pub(crate) fn tree(self, custom: Option<&Compiled>) -> Option<&Compiled> {
        match self {
            Format::Mapped(place) => TREES.get(place),
            Format::Custom => custom,
            _ => None,
        }
    }

    /// The mapping, if an object of the format holds many events.
    pub(crate) fn report(self) -> Option<&'static Compiled> {
        let Format::Mapped(place) = self else {
            return None;
        };
        TREES.get(place).filter(|tree| !tree.inside.is_empty())
    }

    pub fn name(self) -> &'static str {
        match self {
            Format::Mapped(place) => MAPPINGS[place].name,
            Format::Custom => "event of the configured mapping",
            program => PROGRAMS[program.index()][0],
        }
    }

    /// What the configuration calls it; formats of one vendor share a name.
    pub fn source(self) -> &'static str {
        match self {
            Format::Mapped(place) => MAPPINGS[place].source,
            Format::Custom => "mapped",
            program => PROGRAMS[program.index()][1],
        }
    }

    /// `family` and `metadata_product_name`.
    pub(crate) fn labels(self, custom: Option<&Compiled>) -> [&str; 2] {
        match self.tree(custom) {
            Some(tree) => [&tree.family, &tree.product],
            None => match PROGRAMS.get(self.index()) {
                Some([_, _, family, product]) => [family, product],
                None => ["", ""],
            },
        }
    }

    /// Top-level keys by which it is recognised: all of any one line.
    pub(crate) fn needs(self) -> &'static [&'static [Need<'static>]] {
        match self {
            Format::CloudTrail => cloudtrail::NEEDS,
            Format::K8sAudit => &[&[("auditID", &[])]],
            Format::Falco => falco::NEEDS,
            Format::Mapped(place) => MAPPINGS[place].needs,
            Format::Custom => &[],
        }
    }

    pub(crate) fn either_case(self) -> bool {
        matches!(self, Format::Mapped(place) if MAPPINGS[place].either_case)
    }

    /// What makes an object this format.
    pub(crate) fn required(self, custom: Option<&Compiled>) -> &str {
        match self {
            Format::CloudTrail => "eventName, eventSource and eventTime",
            Format::K8sAudit => "auditID, and kind Event or requestURI or verb",
            Format::Falco => "rule, priority, and output or output_fields",
            Format::Mapped(_) | Format::Custom => {
                self.tree(custom).map_or("", |tree| &tree.required)
            }
        }
    }

    pub(crate) fn decode(
        self,
        s: &mut Scanner,
        row: &mut Row,
        custom: Option<&Compiled>,
        found: &mut Vec<Option<Value>>,
    ) -> Result<Decoded, Reject> {
        let decoded = match self {
            Format::CloudTrail => cloudtrail::decode(s, row),
            Format::K8sAudit => k8s_audit::decode(s, row),
            Format::Falco => falco::decode(s, row),
            Format::Mapped(_) | Format::Custom => match self.tree(custom) {
                Some(tree) => tree.decode(s, row, found),
                None => Ok(Decoded::NotThis),
            },
        };
        match decoded {
            Err(Stop::NotThis) => Ok(Decoded::NotThis),
            decoded => decoded.map_err(Stop::reject),
        }
    }
}
