//! Distance on the globe: `geo_distance_km`.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, Float64Array};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// Mean radius of the Earth (IUGG), km.
const EARTH_RADIUS_KM: f64 = 6_371.008_8;

/// Great-circle distance by the haversine formula, rounded to metres so that the answer does not differ
/// between machines. None when a coordinate is out of range or no number.
fn distance_km(lat1: f64, lon1: f64, lat2: f64, lon2: f64) -> Option<f64> {
    let on_globe =
        |lat: f64, lon: f64| (-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon);
    if !on_globe(lat1, lon1) || !on_globe(lat2, lon2) {
        return None;
    }
    let half_sine = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin();
    let across = lat1.to_radians().cos() * lat2.to_radians().cos();
    let haversine = half_sine(lat1, lat2).powi(2) + across * half_sine(lon1, lon2).powi(2);
    let angle = 2.0 * haversine.clamp(0.0, 1.0).sqrt().asin();
    Some((angle * EARTH_RADIUS_KM * 1e3).round() / 1e3)
}

/// `geo_distance_km(lat1, lon1, lat2, lon2)`, degrees.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct GeoDistanceKm(Signature);

impl GeoDistanceKm {
    pub(super) fn new() -> Self {
        Self(Signature::uniform(
            4,
            vec![DataType::Float64],
            Volatility::Immutable,
        ))
    }
}

impl ScalarUDFImpl for GeoDistanceKm {
    fn name(&self) -> &str {
        "geo_distance_km"
    }
    fn signature(&self) -> &Signature {
        &self.0
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args
            .args
            .iter()
            .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let arrays = args
            .args
            .iter()
            .map(|arg| arg.to_array(rows))
            .collect::<Result<Vec<_>>>()?;
        let columns: Vec<_> = arrays
            .iter()
            .map(|array| array.as_primitive::<Float64Type>())
            .collect();
        let known = |row: usize| columns.iter().all(|column| column.is_valid(row));
        let distances: Float64Array = (0..rows)
            .map(|row| {
                let degrees = |argument: usize| columns[argument].value(row);
                known(row)
                    .then(|| distance_km(degrees(0), degrees(1), degrees(2), degrees(3)))
                    .flatten()
            })
            .collect();
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&distances, 0)?)
        } else {
            ColumnarValue::Array(Arc::new(distances))
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    #[test]
    fn distances_are_those_of_a_sphere() {
        for (from, to, expected) in [
            ((0.0, 0.0), (0.0, 0.0), 0.0),
            ((0.0, 0.0), (0.0, 1.0), 111.195),
            ((90.0, 0.0), (-90.0, 77.0), 20_015.114),
            ((0.0, 180.0), (0.0, -180.0), 0.0),
            ((10.0, 20.0), (-10.0, -160.0), 20_015.114),
            ((51.5074, -0.1278), (40.7128, -74.0060), 5_570.230),
            ((40.7128, -74.0060), (51.5074, -0.1278), 5_570.230),
        ] {
            assert_eq!(
                distance_km(from.0, from.1, to.0, to.1),
                Some(expected),
                "{from:?} {to:?}"
            );
        }
    }

    #[test]
    fn what_is_no_place_has_no_distance() {
        for (lat, lon) in [
            (90.1, 0.0),
            (0.0, -180.5),
            (f64::NAN, 0.0),
            (0.0, f64::INFINITY),
        ] {
            assert_eq!(distance_km(lat, lon, 0.0, 0.0), None);
            assert_eq!(distance_km(0.0, 0.0, lat, lon), None);
        }
    }

    #[tokio::test]
    async fn sql_takes_any_numbers_and_passes_nulls_on() {
        let mut ctx = SessionContext::new();
        crate::functions::register(&mut ctx).unwrap();
        let sql = "SELECT geo_distance_km(lat, 0, 0, 1.0), geo_distance_km(0, 0, 0, 1) FROM (VALUES (0.0), (NULL), (91.0)) AS t(lat)";
        let rows = ctx.sql(sql).await.unwrap().collect().await.unwrap();
        let column = |i: usize| {
            let floats = rows[0].column(i).as_primitive::<Float64Type>();
            floats.iter().collect::<Vec<_>>()
        };
        assert_eq!(column(0), [Some(111.195), None, None]);
        assert_eq!(column(1), [Some(111.195); 3]);
    }
}
