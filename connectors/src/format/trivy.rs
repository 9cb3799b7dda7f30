//! Trivy: scan reports as JSON, of files, images and clusters, the reports of its operator, and CycloneDX documents
//! with vulnerabilities (of any scanner). A report is the state of something at one time; each finding in it
//! becomes a row.
//!
//! Traps: almost every member may be missing, which is not the same as empty; ids, fingerprints and times
//! are only in newer reports; a report may be several megabytes. The id of a finding says artefact, target,
//! package and advisory, not the scan, so that two scans can be compared.

use weir_engine::schema::col;

use super::{Decoded, Stop};
use crate::mapping::{Event, How, LogFormat, SEVERITY};

#[rustfmt::skip]
pub static REPORT: LogFormat = LogFormat {
    name: "Trivy report",
    source: "trivy",
    family: "posture",
    product: "Trivy",
    needs: &[&[("SchemaVersion", &[]), ("ArtifactName", &[]), ("ArtifactType", &[])]],
    uid: &["ArtifactName", "CreatedAt"],
    finding: &["ArtifactName"],
    fields: &[
        ("CreatedAt", col::TIME, How::Time),
        ("Metadata.ImageConfig.created", col::TIME, How::Time),
        ("ArtifactName", col::RESOURCE_NAME, How::Text),
        ("ArtifactID", col::RESOURCE_UID, How::Text),
        ("Metadata.ImageID", col::RESOURCE_UID, How::Text),
        ("ArtifactType", col::RESOURCE_TYPE, How::Text),
        ("Metadata.RepoTags[0]", col::CONTAINER_IMAGE, How::Text),
    ],
    inside: &[("Results", &RESULT)],
    ..LogFormat::NEW
};

/// `trivy k8s --format json`, with all of a resource or its summary. It tells no time by itself: whoever sends it
/// adds `CreatedAt`.
#[rustfmt::skip]
pub static CLUSTER: LogFormat = LogFormat {
    name: "Trivy report of a cluster",
    source: "trivy",
    family: "posture",
    product: "Trivy",
    needs: &[
        &[("ClusterName", &[]), ("Findings", &[]), ("CreatedAt", &[])],
        &[("ClusterName", &[]), ("Resources", &[]), ("CreatedAt", &[])],
    ],
    uid: &["ClusterName", "CreatedAt"],
    finding: &["ClusterName"],
    fields: &[("CreatedAt", col::TIME, How::Time), ("ClusterName", col::K8S_CLUSTER, How::Text)],
    inside: &[("Findings", &RESOURCE), ("Resources", &RESOURCE)],
    ..LogFormat::NEW
};

#[rustfmt::skip]
static RESOURCE: LogFormat = LogFormat {
    uid: &["Namespace", "Kind", "Name"],
    finding: &["Namespace", "Kind", "Name"],
    fields: &[
        ("Namespace", col::K8S_NAMESPACE, How::Text),
        ("Kind", col::RESOURCE_TYPE, How::Text),
        ("Name", col::RESOURCE_NAME, How::Text),
        ("Name", col::K8S_WORKLOAD, How::Text),
        ("Metadata.RepoTags[0]", col::CONTAINER_IMAGE, How::Text),
        ("Metadata[0].RepoTags[0]", col::CONTAINER_IMAGE, How::Text),
    ],
    inside: &[("Results", &RESULT)],
    ..LogFormat::NEW
};

#[rustfmt::skip]
static RESULT: LogFormat = LogFormat {
    uid: &["Target"],
    finding: &["Target"],
    fields: &[("Target", col::FILE_PATH, How::Text), ("Class", col::FINDING_TYPE, How::Text)],
    inside: &[
        ("Vulnerabilities", &VULNERABILITY),
        ("Misconfigurations", &MISCONFIGURATION),
        ("Secrets", &SECRET),
    ],
    ..LogFormat::NEW
};

#[rustfmt::skip]
static VULNERABILITY: LogFormat = LogFormat {
    class: 2002,
    uid: &["VulnerabilityID", "PkgName", "InstalledVersion", "PkgPath"],
    finding: &["VulnerabilityID", "PkgName", "InstalledVersion", "PkgPath"],
    fields: &[
        ("VulnerabilityID", col::CVE, How::Text),
        ("PkgName", col::PACKAGE, How::Text),
        ("InstalledVersion", col::PACKAGE_VERSION, How::Text),
        ("FixedVersion", col::PACKAGE_FIXED, How::Text),
        ("Severity", col::SEVERITY_ID, SEVERITY),
        ("Title", col::FINDING_TITLE, How::Text),
        ("VulnerabilityID", col::FINDING_TITLE, How::Text),
        ("Description", col::FINDING_DESC, How::Text),
        ("CweIDs", col::FINDING_TAGS, How::Json),
    ],
    fixed: &[(col::FINDING_TYPE, "vulnerability"), (col::FINDING_STATUS, "open")],
    ..LogFormat::NEW
};

#[rustfmt::skip]
static MISCONFIGURATION: LogFormat = LogFormat {
    class: 2003,
    uid: &["ID", "Message"],
    finding: &["ID", "Message"],
    fields: &[
        ("ID", col::POLICY_UID, How::Text),
        ("AVDID", col::POLICY_UID, How::Text),
        ("Title", col::POLICY_NAME, How::Text),
        ("Title", col::FINDING_TITLE, How::Text),
        ("Message", col::FINDING_DESC, How::Text),
        ("Severity", col::SEVERITY_ID, SEVERITY),
    ],
    fixed: &[(col::FINDING_TYPE, "misconfiguration"), (col::FINDING_STATUS, "open")],
    reads: &["Status"],
    finish: Some(passed),
    ..LogFormat::NEW
};

/// A check that passed is no finding.
fn passed(event: &mut Event) -> Result<Decoded, Stop> {
    Ok(match event.is(0, "PASS") {
        true => Decoded::Filtered,
        false => Decoded::Row,
    })
}

#[rustfmt::skip]
static SECRET: LogFormat = LogFormat {
    class: 2003,
    uid: &["RuleID", "StartLine"],
    finding: &["RuleID", "StartLine"],
    fields: &[
        ("RuleID", col::POLICY_UID, How::Text),
        ("Title", col::FINDING_TITLE, How::Text),
        ("Severity", col::SEVERITY_ID, SEVERITY),
    ],
    fixed: &[(col::FINDING_TYPE, "secret"), (col::FINDING_STATUS, "open")],
    ..LogFormat::NEW
};

#[rustfmt::skip]
pub static OPERATOR: LogFormat = LogFormat {
    name: "Trivy Operator report",
    source: "trivy",
    family: "posture",
    product: "Trivy",
    needs: &[&[
        ("kind", &["VulnerabilityReport", "ClusterVulnerabilityReport", "ConfigAuditReport", "ClusterConfigAuditReport", "ExposedSecretReport", "RbacAssessmentReport", "ClusterRbacAssessmentReport", "InfraAssessmentReport", "ClusterInfraAssessmentReport"]),
        ("report", &[]),
        ("metadata.name", &[]),
    ]],
    uid: &["metadata.namespace", "metadata.name", "report.updateTimestamp"],
    finding: &["metadata.namespace", "metadata.name"],
    fields: &[
        ("report.updateTimestamp", col::TIME, How::Time),
        ("metadata.creationTimestamp", col::TIME, How::Time),
        ("metadata.namespace", col::K8S_NAMESPACE, How::Text),
        ("metadata.labels.\"trivy-operator.resource.kind\"", col::RESOURCE_TYPE, How::Text),
        ("metadata.labels.\"trivy-operator.resource.name\"", col::RESOURCE_NAME, How::Text),
        ("metadata.labels.\"trivy-operator.resource.name\"", col::K8S_WORKLOAD, How::Text),
        ("metadata.labels.\"trivy-operator.container.name\"", col::CONTAINER_NAME, How::Text),
        ("report.artifact.repository", col::CONTAINER_IMAGE, How::Text),
    ],
    inside: &[
        ("report.vulnerabilities", &OPERATOR_VULNERABILITY),
        ("report.checks", &OPERATOR_CHECK),
        ("report.secrets", &OPERATOR_SECRET),
    ],
    ..LogFormat::NEW
};

#[rustfmt::skip]
static OPERATOR_VULNERABILITY: LogFormat = LogFormat {
    class: 2002,
    uid: &["vulnerabilityID", "resource", "installedVersion"],
    finding: &["vulnerabilityID", "resource", "installedVersion"],
    fields: &[
        ("vulnerabilityID", col::CVE, How::Text),
        ("resource", col::PACKAGE, How::Text),
        ("installedVersion", col::PACKAGE_VERSION, How::Text),
        ("fixedVersion", col::PACKAGE_FIXED, How::Text),
        ("severity", col::SEVERITY_ID, SEVERITY),
        ("title", col::FINDING_TITLE, How::Text),
        ("vulnerabilityID", col::FINDING_TITLE, How::Text),
    ],
    fixed: &[(col::FINDING_TYPE, "vulnerability"), (col::FINDING_STATUS, "open")],
    ..LogFormat::NEW
};

#[rustfmt::skip]
static OPERATOR_CHECK: LogFormat = LogFormat {
    class: 2003,
    uid: &["checkID"],
    finding: &["checkID"],
    fields: &[
        ("checkID", col::POLICY_UID, How::Text),
        ("title", col::POLICY_NAME, How::Text),
        ("title", col::FINDING_TITLE, How::Text),
        ("description", col::FINDING_DESC, How::Text),
        ("messages", col::MESSAGE, How::Json),
        ("severity", col::SEVERITY_ID, SEVERITY),
    ],
    fixed: &[(col::FINDING_TYPE, "misconfiguration"), (col::FINDING_STATUS, "open")],
    reads: &["success"],
    finish: Some(succeeded),
    ..LogFormat::NEW
};

fn succeeded(event: &mut Event) -> Result<Decoded, Stop> {
    Ok(match event.is(0, "true") {
        true => Decoded::Filtered,
        false => Decoded::Row,
    })
}

#[rustfmt::skip]
static OPERATOR_SECRET: LogFormat = LogFormat {
    class: 2003,
    uid: &["ruleID", "target"],
    finding: &["ruleID", "target"],
    fields: &[
        ("ruleID", col::POLICY_UID, How::Text),
        ("target", col::FILE_PATH, How::Text),
        ("title", col::FINDING_TITLE, How::Text),
        ("severity", col::SEVERITY_ID, SEVERITY),
    ],
    fixed: &[(col::FINDING_TYPE, "secret"), (col::FINDING_STATUS, "open")],
    ..LogFormat::NEW
};

/// A document without vulnerabilities is a list of components, and left out like a report without findings.
#[rustfmt::skip]
pub static CYCLONEDX: LogFormat = LogFormat {
    name: "CycloneDX document",
    source: "trivy",
    family: "posture",
    product: "Trivy",
    needs: &[&[("bomFormat", &["CycloneDX"]), ("specVersion", &[])]],
    uid: &["metadata.component.name", "metadata.timestamp"],
    finding: &["metadata.component.name"],
    fields: &[
        ("metadata.timestamp", col::TIME, How::Time),
        ("metadata.tools.components[0].name", col::PRODUCT, SCANNERS),
        ("metadata.tools.components[0].name", col::PRODUCT, How::Text),
        ("metadata.tools[0].name", col::PRODUCT, SCANNERS),
        ("metadata.tools[0].name", col::PRODUCT, How::Text),
        ("metadata.component.name", col::RESOURCE_NAME, How::Text),
        ("metadata.component.bom-ref", col::RESOURCE_UID, How::Text),
        ("metadata.component.type", col::RESOURCE_TYPE, How::Text),
    ],
    inside: &[("vulnerabilities", &CYCLONEDX_VULNERABILITY)],
    ..LogFormat::NEW
};

const SCANNERS: How = How::Names(&[("trivy", "Trivy")]);

/// Of several components that it affects, the first is named.
#[rustfmt::skip]
static CYCLONEDX_VULNERABILITY: LogFormat = LogFormat {
    class: 2002,
    uid: &["id", "affects[0].ref"],
    finding: &["id", "affects[0].ref"],
    fields: &[
        ("id", col::CVE, How::Text),
        ("affects[0].ref", col::PACKAGE, How::Text),
        ("affects[0].versions[0].version", col::PACKAGE_VERSION, How::Text),
        ("ratings[0].severity", col::SEVERITY_ID, SEVERITY),
        ("id", col::FINDING_TITLE, How::Text),
        ("description", col::FINDING_DESC, How::Text),
        ("analysis.state", col::FINDING_STATUS, How::Lower),
    ],
    fixed: &[(col::FINDING_TYPE, "vulnerability"), (col::FINDING_STATUS, "open")],
    ..LogFormat::NEW
};
