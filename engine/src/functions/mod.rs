//! SQL functions that rules and people use beside DataFusion's own and the JSON operators.

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::common::Result;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::prelude::SessionContext;

pub mod distinct;
mod geo;
mod ip;
mod kubernetes;
mod sequence;

pub use ip::{Cidr, is_public};

/// Registers every function of this module and the JSON operators (`->`, `->>`, `?`).
pub fn register(ctx: &mut SessionContext) -> Result<()> {
    datafusion_functions_json::register_all(ctx)?;
    ctx.register_udf(ScalarUDF::new_from_impl(ip::IpInCidr::new()));
    ctx.register_udf(ScalarUDF::new_from_impl(ip::IsPublicIp::new()));
    ctx.register_udf(ScalarUDF::new_from_impl(geo::GeoDistanceKm::new()));
    ctx.register_udf(ScalarUDF::new_from_impl(kubernetes::Body::request()));
    ctx.register_udf(ScalarUDF::new_from_impl(kubernetes::Body::response()));
    ctx.register_udf(ScalarUDF::new_from_impl(sequence::Within::new()));
    ctx.register_udf(ScalarUDF::new_from_impl(sequence::Without::new()));
    ctx.register_udaf(AggregateUDF::new_from_impl(sequence::SequenceMatch::new()));
    Ok(())
}

/// Rows in which a condition is true; null is not true.
pub(crate) fn true_rows(condition: &ArrayRef) -> BooleanBuffer {
    let condition = condition.as_boolean();
    match condition.nulls() {
        Some(nulls) => condition.values() & nulls.inner(),
        None => condition.values().clone(),
    }
}
