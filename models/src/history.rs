//! What each identity did before: the operations that are not new for it.
//!
//! Operations are kept as 64-bit hashes (xxh3 of `service`, a NUL and `operation`), per identity, sorted:
//! eight bytes per operation, and the same file for the same events. A hash collision would make one new
//! operation look known; with a thousand operations per identity its chance is below 10⁻¹⁶ per lookup.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datafusion::arrow::array::{
    Array, AsArray, BooleanArray, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::{Error, Result};

/// Operations by identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    by_identity: BTreeMap<String, BTreeSet<u64>>,
}

impl History {
    /// History of the events with a time in `span` (µs). Batches are in the event schema.
    pub fn collect<'a>(
        batches: impl IntoIterator<Item = &'a RecordBatch>,
        span: Range<i64>,
    ) -> Result<Self> {
        let mut history = Self::default();
        for batch in batches {
            history.add(batch, span.clone())?;
        }
        Ok(history)
    }

    /// Adds the CloudTrail calls of a batch (in the event schema; further columns may be missing) with a
    /// time in `span`.
    pub fn add(&mut self, events: &RecordBatch, span: Range<i64>) -> Result<()> {
        let missing = |name: &str| Error::Events(name.to_owned());
        let text = |name: &str| -> Result<&StringViewArray> {
            let column = events.column_by_name(name);
            column
                .and_then(|column| column.as_string_view_opt())
                .ok_or_else(|| missing(name))
        };
        let times: &TimestampMicrosecondArray = events
            .column_by_name("time")
            .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
            .ok_or_else(|| missing("time"))?;
        let family = text("family")?;
        let (identity, service, operation) = (
            text("actor_user_uid")?,
            text("api_service_name")?,
            text("api_operation")?,
        );
        for row in 0..events.num_rows() {
            let known = |column: &StringViewArray| column.is_valid(row);
            if !span.contains(&times.value(row))
                || family.value(row) != "cloud_audit"
                || ![identity, service, operation].into_iter().all(known)
            {
                continue;
            }
            let hash = operation_hash(service.value(row), operation.value(row));
            let identity = identity.value(row);
            match self.by_identity.get_mut(identity) {
                Some(operations) => operations.insert(hash),
                None => self
                    .by_identity
                    .entry(identity.to_owned())
                    .or_default()
                    .insert(hash),
            };
        }
        Ok(())
    }

    pub fn merge(&mut self, other: Self) {
        for (identity, operations) in other.by_identity {
            self.by_identity
                .entry(identity)
                .or_default()
                .extend(operations);
        }
    }

    pub fn identities(&self) -> usize {
        self.by_identity.len()
    }

    /// The functions that feature queries use, bound to this history. An empty history serves for
    /// planning only: everything is new to it.
    pub fn functions(&self) -> Vec<ScalarUDF> {
        vec![ScalarUDF::from(SeenInTraining::new(self))]
    }
}

fn operation_hash(service: &str, operation: &str) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(service.as_bytes());
    hash.update(&[0]);
    hash.update(operation.as_bytes());
    hash.digest()
}

/// In the artefact: identity → base64 of its sorted hashes, little endian.
impl Serialize for History {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.by_identity.iter().map(|(identity, operations)| {
            let bytes: Vec<u8> = operations.iter().flat_map(|o| o.to_le_bytes()).collect();
            (identity, STANDARD.encode(bytes))
        }))
    }
}

impl<'de> Deserialize<'de> for History {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = |identity: &str| {
            serde::de::Error::custom(format!(
                "history of {identity:?} is not base64 of 8-byte hashes"
            ))
        };
        let text = BTreeMap::<String, String>::deserialize(deserializer)?;
        let mut by_identity = BTreeMap::new();
        for (identity, encoded) in text {
            let bytes = STANDARD.decode(encoded).map_err(|_| wrong(&identity))?;
            let (hashes, rest) = bytes.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(wrong(&identity));
            }
            let operations = hashes.iter().map(|hash| u64::from_le_bytes(*hash));
            by_identity.insert(identity, operations.collect());
        }
        Ok(Self { by_identity })
    }
}

/// `seen_in_training(identity, service, operation)`: whether the identity called the operation in the
/// history. Null when an argument is null.
#[derive(Debug)]
struct SeenInTraining {
    operations: Arc<HashMap<String, HashSet<u64>>>,
    /// Identifies the history: functions are equal when their histories are.
    fingerprint: u64,
    signature: Signature,
}

impl SeenInTraining {
    fn new(history: &History) -> Self {
        let copy = |(identity, operations): (&String, &BTreeSet<u64>)| {
            (identity.clone(), operations.iter().copied().collect())
        };
        let text = serde_json::to_string(history).unwrap_or_default();
        Self {
            operations: Arc::new(history.by_identity.iter().map(copy).collect()),
            fingerprint: xxh3_64(text.as_bytes()),
            signature: Signature::exact(vec![DataType::Utf8View; 3], Volatility::Immutable),
        }
    }
}

impl PartialEq for SeenInTraining {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}
impl Eq for SeenInTraining {}
impl Hash for SeenInTraining {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

impl ScalarUDFImpl for SeenInTraining {
    fn name(&self) -> &str {
        "seen_in_training"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(DataType::Boolean)
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let [identity, service, operation] = [0, 1, 2].map(|i| columns[i].as_string_view());
        let seen = |row: usize| {
            if identity.is_null(row) || service.is_null(row) || operation.is_null(row) {
                return None;
            }
            let known = self.operations.get(identity.value(row));
            let hash = || operation_hash(service.value(row), operation.value(row));
            Some(known.is_some_and(|operations| operations.contains(&hash())))
        };
        let answer: BooleanArray = (0..identity.len()).map(seen).collect();
        Ok(ColumnarValue::Array(Arc::new(answer)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn history(entries: &[(&str, &str, &str)]) -> History {
        let mut history = History::default();
        for (identity, service, operation) in entries {
            history
                .by_identity
                .entry((*identity).to_owned())
                .or_default()
                .insert(operation_hash(service, operation));
        }
        history
    }

    #[test]
    fn a_history_survives_its_file() {
        let history = history(&[
            ("a", "s3", "GetObject"),
            ("a", "s3", "Put"),
            ("b", "x", "y"),
        ]);
        let text = serde_json::to_string(&history).unwrap();
        assert_eq!(serde_json::from_str::<History>(&text).unwrap(), history);
        for damaged in [r#"{"a":"!"}"#, r#"{"a":"AAA="}"#] {
            let error = serde_json::from_str::<History>(damaged).unwrap_err();
            assert!(error.to_string().contains("history of \"a\""), "{error}");
        }
    }

    #[test]
    fn service_and_operation_do_not_run_into_each_other() {
        assert_ne!(operation_hash("ab", "c"), operation_hash("a", "bc"));
    }

    #[test]
    fn functions_over_different_histories_are_different() {
        let one = SeenInTraining::new(&history(&[("a", "s3", "GetObject")]));
        let two = SeenInTraining::new(&history(&[("b", "s3", "GetObject")]));
        assert!(one != two && one == SeenInTraining::new(&history(&[("a", "s3", "GetObject")])));
    }
}
