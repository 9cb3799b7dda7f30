//! What lies beside the events and is no event: recognised, counted and left out.

use super::{Decoded, Stop};
use crate::mapping::{Event, Mapping};

/// CloudTrail Insights: a summary of calls that are events of their own.
pub static INSIGHT: Mapping = Mapping {
    name: "CloudTrail Insights event",
    source: "cloudtrail",
    product: "CloudTrail",
    needs: &[&[("insightDetails", &[]), ("eventTime", &[])]],
    finish: Some(leave_out),
    ..Mapping::NEW
};

/// CloudTrail digest files: hashes of the files that hold events.
pub static DIGEST: Mapping = Mapping {
    name: "CloudTrail digest",
    source: "cloudtrail",
    product: "CloudTrail",
    needs: &[&[("digestStartTime", &[]), ("digestS3Object", &[])]],
    finish: Some(leave_out),
    ..Mapping::NEW
};

fn leave_out(_: &mut Event) -> Result<Decoded, Stop> {
    Ok(Decoded::Filtered)
}
