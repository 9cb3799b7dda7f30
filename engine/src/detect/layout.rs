//! By what layout and plan the state of a rule was written. What panes keep are states of the plan's aggregates, and counts of
//! conditions by their number: under another plan, or another version of DataFusion, they would mean something else.

use datafusion::DATAFUSION_VERSION;
use datafusion::physical_plan::displayable;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::plan::{Plan, WindowPlan};
use crate::schema;

/// Part of a rule's state that says it.
pub const PART: &str = "layout";

/// Of the pieces of all parts; raised when one of them is written otherwise.
///
/// | format | since it was raised |
/// |---|---|
/// | 1 | – |
/// | 2 | ids of evidence in panes are bytes, most of them 17 (`window/uid.rs`), no longer texts |
const FORMAT: u32 = 2;
/// The earliest that is still read.
const EARLIEST: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    format: u32,
    /// Hash of the plan as far as the state depends on it; of a rule without a window it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
}

impl Layout {
    pub fn of(plan: &Plan) -> Self {
        let hash = |plan: &WindowPlan| format!("{:016x}", xxh3_64(described(plan).as_bytes()));
        Self {
            format: FORMAT,
            plan: match plan {
                Plan::Event(_) => None,
                Plan::Window(plan) => Some(hash(plan)),
            },
        }
    }

    /// Whether `earlier` is this very layout.
    pub fn is(&self, earlier: &[u8]) -> bool {
        serde_json::from_slice::<Self>(earlier).is_ok_and(|earlier| earlier == *self)
    }

    /// Why a state that was written by `earlier` cannot be read; nothing if it can.
    pub fn refuses(&self, earlier: &[u8]) -> Option<String> {
        let earlier: Self = match serde_json::from_slice(earlier) {
            Ok(earlier) => earlier,
            Err(error) => return Some(format!("what it was written by is not known: {error}")),
        };
        if !(EARLIEST..=FORMAT).contains(&earlier.format) {
            let was = earlier.format;
            return Some(format!(
                "it was written in format {was}, this version reads {EARLIEST} to {FORMAT}"
            ));
        }
        (earlier.plan != self.plan)
            .then(|| "this version plans the rule's query in another way".to_owned())
    }
}

/// What the state of panes depends on.
fn described(plan: &WindowPlan) -> String {
    let mut text = DATAFUSION_VERSION.to_owned();
    for input in &plan.inputs {
        text += &format!("\ninput {:?}", input.rows.columns);
        if let Some(reduce) = &input.reduce {
            text += &displayable(reduce.partial.as_ref())
                .indent(false)
                .to_string();
            for field in reduce.partial.schema().fields() {
                text += &format!("{}: {}\n", field.name(), field.data_type());
            }
        }
    }
    for (key, name) in &plan.keys {
        text += &format!("\nkey {key} {name}");
        // Keys of these were written otherwise once.
        let kind = key.data_type(&schema::events());
        if kind.is_ok_and(|kind| {
            kind.is_temporal() || kind.is_floating() || kind.is_decimal() || kind.is_nested()
        }) {
            text += " as JSON";
        }
    }
    for condition in &plan.conditions {
        text += &format!("\ncondition {condition}");
    }
    text
}
