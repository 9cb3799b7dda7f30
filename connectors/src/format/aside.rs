//! What lies beside the events and is no event: recognised, counted and left out; or refused by its name.

use super::{Decoded, Stop, fault};
use crate::mapping::{Event, LogFormat};

/// CloudTrail Insights: a summary of calls that are events of their own.
pub static INSIGHT: LogFormat = LogFormat {
    name: "CloudTrail Insights event",
    source: "cloudtrail",
    product: "CloudTrail",
    needs: &[&[("insightDetails", &[]), ("eventTime", &[])]],
    finish: Some(leave_out),
    ..LogFormat::NEW
};

/// CloudTrail digest files: hashes of the files that hold events.
pub static DIGEST: LogFormat = LogFormat {
    name: "CloudTrail digest",
    source: "cloudtrail",
    product: "CloudTrail",
    needs: &[&[("digestStartTime", &[]), ("digestS3Object", &[])]],
    finish: Some(leave_out),
    ..LogFormat::NEW
};

fn leave_out(_: &mut Event) -> Result<Decoded, Stop> {
    Ok(Decoded::Filtered)
}

/// SPDX documents: lists of packages, as Trivy and others write them.
pub static SPDX: LogFormat = LogFormat {
    name: "SPDX document",
    source: "trivy",
    family: "posture",
    product: "Trivy",
    needs: &[&[("spdxVersion", &[]), ("SPDXID", &[])]],
    finish: Some(refuse_packages),
    ..LogFormat::NEW
};

fn refuse_packages(_: &mut Event) -> Result<Decoded, Stop> {
    let detail = "an SPDX document lists packages and no findings; have the scanner write its own JSON, or CycloneDX with vulnerabilities";
    Err(Stop::Event(fault("unknown_format", detail)))
}
