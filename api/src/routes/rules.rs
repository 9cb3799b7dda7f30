//! Rules, and how they do.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::extract::Id;
use crate::problem::Problem;
use crate::state::ApiState;
use crate::view::{RuleDetail, RuleSummary};

#[derive(Debug, Serialize, ToSchema)]
pub struct Rules {
    items: Vec<RuleSummary>,
}

/// All loaded rules with their health.
#[utoipa::path(get, path = "/api/v1/rules", tag = "rules",
    responses((status = 200, body = Rules, description = "The rules")))]
pub async fn list(State(state): State<ApiState>) -> Json<Rules> {
    let rules = state.rules.borrow().clone();
    let health = state.health.snapshot().rules;
    let summary = |rule| {
        let health = health.get(rule_id(rule));
        RuleSummary::new(rule, health)
    };
    Json(Rules {
        items: rules.iter().map(summary).collect(),
    })
}

fn rule_id(rule: &weir_engine::Rule) -> &str {
    &rule.id
}

/// One rule with its query.
#[utoipa::path(get, path = "/api/v1/rules/{id}", tag = "rules", params(("id" = String, Path)),
    responses((status = 200, body = RuleDetail, description = "The rule")))]
pub async fn get(State(state): State<ApiState>, Id(id): Id) -> Result<Json<RuleDetail>, Problem> {
    let rules = state.rules.borrow().clone();
    let rule = rules
        .iter()
        .find(|rule| rule.id == id)
        .ok_or_else(|| Problem::not_found("rule", &id))?;
    let health = state.health.snapshot().rules;
    Ok(Json(RuleDetail::new(rule, health.get(&id))))
}
