//! Functions over internet addresses: `ip_in_cidr`, `is_public_ip`.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, BooleanBuilder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// An address range such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    network: u128,
    mask: u128,
    v4: bool,
}

fn bits(ip: IpAddr) -> (u128, bool) {
    match ip.to_canonical() {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)), true),
        IpAddr::V6(ip) => (u128::from(ip), false),
    }
}

impl FromStr for Cidr {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not an address range such as 10.0.0.0/8 or 2001:db8::/32");
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let (network, v4) = bits(address.parse().map_err(|_| wrong())?);
        let length: u32 = length.parse().map_err(|_| wrong())?;
        let width = if v4 { 32 } else { 128 };
        if length > width {
            return Err(wrong());
        }
        let all = if v4 { u128::from(u32::MAX) } else { u128::MAX };
        let mask = if length == 0 {
            0
        } else {
            all & (all << (width - length))
        };
        Ok(Self {
            network: network & mask,
            mask,
            v4,
        })
    }
}

impl Cidr {
    /// The range of a single address.
    fn one(ip: IpAddr) -> Self {
        let (network, v4) = bits(ip);
        let mask = if v4 { u128::from(u32::MAX) } else { u128::MAX };
        Self { network, mask, v4 }
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        let (address, v4) = bits(ip);
        v4 == self.v4 && address & self.mask == self.network
    }
}

/// Whether an address is routed on the internet: not private, loopback, link-local, shared (RFC 6598),
/// multicast or reserved. Documentation ranges count as public, because examples and tests use them.
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            let reserved = ip.octets()[0] >= 240 || ip.octets()[0] == 0;
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || shared
                || reserved)
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unique_local()
                || ip.is_unicast_link_local())
        }
    }
}

/// Applies `test` to each text that is an address; null for null and for what is no address.
fn map_ips(
    value: &ColumnarValue,
    rows: usize,
    test: impl Fn(IpAddr) -> bool,
) -> Result<ColumnarValue> {
    let array: ArrayRef = cast(&value.to_array(rows)?, &DataType::Utf8View)?;
    let texts = array.as_string_view();
    let result: BooleanArray = texts
        .iter()
        .map(|text| text.and_then(|text| text.parse::<IpAddr>().ok()).map(&test))
        .collect();
    Ok(match value {
        ColumnarValue::Scalar(_) if !result.is_empty() => {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)
        }
        _ => ColumnarValue::Array(Arc::new(result)),
    })
}

/// Row by row, for ranges of a reference table; null where either is none. A plain address is a range of one.
fn in_cidrs(addresses: &ColumnarValue, ranges: &ArrayRef) -> Result<ColumnarValue> {
    let addresses = cast(&addresses.to_array(ranges.len())?, &DataType::Utf8View)?;
    let ranges = cast(ranges, &DataType::Utf8View)?;
    let mut result = BooleanBuilder::with_capacity(ranges.len());
    // The same range or address often stands in many rows one after another.
    let (mut last_range, mut last_address) = (("", None), ("", None));
    for (address, range) in addresses
        .as_string_view()
        .iter()
        .zip(ranges.as_string_view())
    {
        let (Some(address), Some(range)) = (address, range) else {
            result.append_null();
            continue;
        };
        if last_range.0 != range {
            let one = || range.parse::<IpAddr>().ok().map(Cidr::one);
            last_range = (range, range.parse::<Cidr>().ok().or_else(one));
        }
        if last_address.0 != address {
            last_address = (address, address.parse::<IpAddr>().ok());
        }
        let inside = last_range.1.zip(last_address.1);
        result.append_option(inside.map(|(range, address): (Cidr, _)| range.contains(address)));
    }
    Ok(ColumnarValue::Array(Arc::new(result.finish())))
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct IpInCidr(Signature);

impl IpInCidr {
    pub(super) fn new() -> Self {
        Self(Signature::string(2, Volatility::Immutable))
    }
}

impl ScalarUDFImpl for IpInCidr {
    fn name(&self) -> &str {
        "ip_in_cidr"
    }
    fn signature(&self) -> &Signature {
        &self.0
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let range = match &args.args[1] {
            ColumnarValue::Scalar(range) => range,
            ColumnarValue::Array(ranges) => return in_cidrs(&args.args[0], ranges),
        };
        let Some(Some(text)) = range.try_as_str() else {
            return exec_err!("ip_in_cidr: the range must be text such as '10.0.0.0/8'");
        };
        match text.parse::<Cidr>() {
            Ok(cidr) => map_ips(&args.args[0], args.number_rows, |ip| cidr.contains(ip)),
            Err(reason) => exec_err!("ip_in_cidr: {reason}"),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct IsPublicIp(Signature);

impl IsPublicIp {
    pub(super) fn new() -> Self {
        Self(Signature::string(1, Volatility::Immutable))
    }
}

impl ScalarUDFImpl for IsPublicIp {
    fn name(&self) -> &str {
        "is_public_ip"
    }
    fn signature(&self) -> &Signature {
        &self.0
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        map_ips(&args.args[0], args.number_rows, is_public)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;
    use crate::functions::register;

    #[test]
    fn ranges_contain_their_own() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(
            "10.0.0.0/8"
                .parse::<Cidr>()
                .unwrap()
                .contains(ip("10.255.0.1"))
        );
        assert!(
            !"10.0.0.0/8"
                .parse::<Cidr>()
                .unwrap()
                .contains(ip("11.0.0.1"))
        );
        assert!(
            "0.0.0.0/0"
                .parse::<Cidr>()
                .unwrap()
                .contains(ip("203.0.113.1"))
        );
        assert!(
            !"0.0.0.0/0"
                .parse::<Cidr>()
                .unwrap()
                .contains(ip("2001:db8::1"))
        );
        assert!(
            "10.0.0.0/8"
                .parse::<Cidr>()
                .unwrap()
                .contains(ip("::ffff:10.1.1.1"))
        );
        assert!(
            "2001:db8::/32"
                .parse::<Cidr>()
                .unwrap()
                .contains(ip("2001:db8:1::1"))
        );
        for wrong in ["10.0.0.0", "10.0.0.0/33", "x/8", "2001:db8::/129", ""] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn functions_answer_null_for_what_is_no_address() {
        let mut ctx = SessionContext::new();
        register(&mut ctx).unwrap();
        let sql = "SELECT is_public_ip(ip), ip_in_cidr(ip, '10.0.0.0/8') FROM (VALUES ('10.1.2.3'), ('8.8.8.8'), ('AWS Internal'), (NULL)) AS t(ip)";
        let rows = ctx.sql(sql).await.unwrap().collect().await.unwrap();
        let column = |i: usize| rows[0].column(i).as_boolean().iter().collect::<Vec<_>>();
        assert_eq!(column(0), [Some(false), Some(true), None, None]);
        assert_eq!(column(1), [Some(true), Some(false), None, None]);
    }
}
