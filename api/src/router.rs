//! The table of contents: every route, and the OpenAPI document made from them.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode};
use axum::middleware::{from_fn, from_fn_with_state};
use utoipa::OpenApi as _;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::Components;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::guard::{OPEN, guard, needed};
use crate::masked::masked;
use crate::problem::{MEDIA_TYPE, Problem, ProblemBody};
use crate::routes::{alerts, comments, incidents, operation, rules, sql, stream, timeline};
use crate::state::ApiState;

/// Bodies larger than this are refused; the largest that make sense are comments and queries.
const MAX_BODY: usize = 1 << 20;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Weir",
        description = "Incidents, alerts and rules of a Weir engine. Times are RFC 3339, UTC. Errors are RFC 9457 problem details.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(ProblemBody))
)]
struct Document;

fn table() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(incidents::list))
        .routes(routes!(incidents::get, incidents::patch))
        .routes(routes!(timeline::events))
        .routes(routes!(timeline::timeline))
        .routes(routes!(comments::list, comments::add))
        .routes(routes!(alerts::list))
        .routes(routes!(alerts::get))
        .routes(routes!(rules::list))
        .routes(routes!(rules::get))
        .routes(routes!(sql::run))
        .routes(routes!(stream::stream))
        .routes(routes!(operation::document))
        .routes(routes!(operation::healthz))
        .routes(routes!(operation::readyz))
        .routes(routes!(operation::metrics))
}

/// All routes, behind the guard.
pub fn router(state: ApiState) -> Router {
    let (mut router, _) = table().split_for_parts();
    if state.mask_secrets {
        router = router.layer(from_fn(masked));
    }
    router
        .fallback(|| async {
            let detail = "there is nothing here; see /api/openapi.json";
            Problem::new(StatusCode::NOT_FOUND, "not-found", detail)
        })
        .method_not_allowed_fallback(|method: Method| async move {
            let detail = format!("{method} does not work here; see the Allow header");
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(state.clone(), guard))
        .with_state(state)
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let (_, mut document) = table().split_for_parts();
    complete(&mut document);
    // A document that utoipa built always has a JSON form.
    document.to_pretty_json().unwrap_or_default()
});

/// The OpenAPI 3.1 document.
pub fn openapi_json() -> &'static str {
    &DOCUMENT
}

/// Adds what holds for every operation: security, the role, and how problems look.
fn complete(document: &mut OpenApi) {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    document
        .components
        .get_or_insert_with(Components::new)
        .add_security_scheme("token", SecurityScheme::Http(bearer));
    for (path, item) in &mut document.paths.paths {
        let operations = [
            (Method::GET, &mut item.get),
            (Method::POST, &mut item.post),
            (Method::PATCH, &mut item.patch),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                complete_operation(operation, &method, OPEN.contains(&path.as_str()));
            }
        }
    }
}

fn complete_operation(operation: &mut Operation, method: &Method, open: bool) {
    let problem = || {
        let schema = Ref::from_schema_name("Problem");
        let content = ContentBuilder::new().schema(Some(schema)).build();
        ResponseBuilder::new()
            .description("Problem")
            .content(MEDIA_TYPE, content)
            .build()
    };
    let responses = &mut operation.responses.responses;
    responses.insert("default".to_owned(), problem().into());
    if open {
        operation.security = Some(vec![]);
        return;
    }
    operation.security = Some(vec![SecurityRequirement::new(
        "token",
        Vec::<String>::new(),
    )]);
    let role = ExtensionsBuilder::new()
        .add("x-role", needed(method).as_str())
        .build();
    operation.extensions = Some(role);
}
