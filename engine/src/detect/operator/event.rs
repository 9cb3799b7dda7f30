//! Rules over single events: each row is a match.

use async_trait::async_trait;
use datafusion::arrow::array::{RecordBatch, UInt32Array};

use super::{EventPlan, Operator, Scope, matching};
use crate::Result;
use crate::detect::timeline::Place;
use crate::watermark::Watermark;

#[derive(Debug)]
pub struct EventOperator {
    plan: EventPlan,
}

impl EventOperator {
    pub fn new(plan: EventPlan) -> Self {
        Self { plan }
    }
}

#[async_trait]
impl Operator for EventOperator {
    async fn take(
        &mut self,
        events: &RecordBatch,
        rows: &[UInt32Array],
        scope: &mut Scope<'_>,
    ) -> Result<()> {
        matching::take(&self.plan, events, rows, None, scope).await
    }

    async fn advance(
        &mut self,
        _watermark: Watermark,
        _newest: i64,
        _scope: &mut Scope<'_>,
    ) -> Result<()> {
        Ok(())
    }

    fn take_back(&mut self, gone: &[Place], scope: &mut Scope<'_>) -> Vec<(i64, i64)> {
        scope.timelines.remove_all(gone);
        vec![]
    }
}
