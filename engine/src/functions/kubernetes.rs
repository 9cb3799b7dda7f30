//! Bodies of Kubernetes requests and answers, one spelling for every form of the audit event: `k8s_request`,
//! `k8s_response`.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray, StringViewArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use datafusion_functions_json::udfs::json_get_json_udf;

/// `k8s_request(raw)` or `k8s_response(raw)`: JSON text of the body. `audit.k8s.io` has it at the top of the
/// event, GKE in the payload of the log entry. Null where the audit level leaves it out.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Body {
    signature: Signature,
    name: &'static str,
    /// In the form of `audit.k8s.io`.
    native: &'static str,
    /// Under `protoPayload`.
    google: &'static str,
}

impl Body {
    pub(super) fn request() -> Self {
        Self::new("k8s_request", "requestObject", "request")
    }

    pub(super) fn response() -> Self {
        Self::new("k8s_response", "responseObject", "response")
    }

    fn new(name: &'static str, native: &'static str, google: &'static str) -> Self {
        let texts = vec![DataType::Utf8View, DataType::Utf8, DataType::LargeUtf8];
        Self {
            signature: Signature::uniform(1, texts, Volatility::Immutable),
            name,
            native,
            google,
        }
    }
}

/// The JSON at a path of keys, row by row.
fn at(args: &ScalarFunctionArgs, json: ArrayRef, path: &[&str]) -> Result<ArrayRef> {
    let mut args = args.clone();
    let rows = json.len();
    args.args = vec![ColumnarValue::Array(json)];
    let key = |key: &&str| ColumnarValue::Scalar(ScalarValue::Utf8(Some((*key).to_owned())));
    args.args.extend(path.iter().map(key));
    args.number_rows = rows;
    let found = json_get_json_udf().inner().invoke_with_args(args)?;
    Ok(cast(&found.into_array(rows)?, &DataType::Utf8)?)
}

impl ScalarUDFImpl for Body {
    fn name(&self) -> &str {
        self.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = matches!(args.args.as_slice(), [ColumnarValue::Scalar(_)]);
        let rows = if constant { 1 } else { args.number_rows };
        let raw = match args.args.first() {
            Some(value) => cast(&value.to_array(rows)?, &DataType::Utf8View)?,
            None => Arc::new(StringViewArray::new_null(rows)),
        };
        let native = at(&args, raw.clone(), &[self.native])?;
        // Most events have no body in either form: only entries of Google's log are looked at again.
        let entries = raw.as_string_view().iter().enumerate().map(|(row, text)| {
            let text = text.filter(|_| native.is_null(row));
            text.filter(|text| text.contains("\"protoPayload\""))
        });
        let entries: StringViewArray = entries.collect();
        let bodies: ArrayRef = match entries.null_count() == rows {
            true => native,
            false => {
                let google = at(&args, Arc::new(entries), &["protoPayload", self.google])?;
                let both = native.as_string::<i32>().iter();
                let both = both.zip(google.as_string::<i32>().iter());
                let either: StringArray = both.map(|(native, google)| native.or(google)).collect();
                Arc::new(either)
            }
        };
        Ok(match constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&bodies, 0)?),
            false => ColumnarValue::Array(bodies),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    #[tokio::test]
    async fn a_body_is_found_in_either_form() {
        let mut ctx = SessionContext::new();
        crate::functions::register(&mut ctx).unwrap();
        let sql = r#"
            SELECT k8s_request(raw)->'spec'->>'hostPID', k8s_response(raw)->'metadata'->>'name',
                   k8s_request('{"requestObject":{"a":1}}')
            FROM (VALUES
                ('{"requestObject":{"spec":{"hostPID":true}},"responseObject":{"metadata":{"name":"n"}}}'),
                ('{"protoPayload":{"request":{"spec":{"hostPID":true}},"response":{"metadata":{"name":"n"}}}}'),
                ('{"auditID":"a","requestURI":"/\"protoPayload\""}'),
                (NULL)) AS t(raw)"#;
        let rows = ctx.sql(sql).await.unwrap().collect().await.unwrap();
        let column = |place: usize| {
            let texts = cast(rows[0].column(place), &DataType::Utf8).unwrap();
            let texts = texts.as_string::<i32>().iter();
            texts
                .map(|text| text.map(str::to_owned))
                .collect::<Vec<_>>()
        };
        let known = |text: &str| vec![Some(text.to_owned()), Some(text.to_owned()), None, None];
        assert_eq!(column(0), known("true"));
        assert_eq!(column(1), known("n"));
        assert_eq!(column(2)[0].as_deref(), Some(r#"{"a":1}"#));
    }
}
