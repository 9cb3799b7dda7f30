//! The OpenAPI document is a contract: a change of it is a decision, seen in review.

use std::path::Path;

use serde_json::Value;
use weir_api::openapi_json;

/// Compares with a file of the repository; `WEIR_UPDATE=1` writes it.
pub fn snapshot(file: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("WEIR_UPDATE").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{file} differs from what the program says; if that is meant, run \
         `WEIR_UPDATE=1 cargo test -p weir-api` and commit the file. Now:\n{actual}"
    );
}

#[test]
fn the_document_is_the_one_checked_in() {
    snapshot("openapi.json", &format!("{}\n", openapi_json()));
}

#[test]
fn the_document_is_whole() {
    let document: Value = serde_json::from_str(openapi_json()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let schemas = document["components"]["schemas"].as_object().unwrap();
    // Every reference leads somewhere.
    let mut rest = openapi_json();
    let mut references = 0;
    while let Some((_, after)) = rest.split_once("#/components/schemas/") {
        let (name, after) = after.split_once('"').unwrap();
        assert!(schemas.contains_key(name), "{name} is not defined");
        references += 1;
        rest = after;
    }
    assert!(references > 30, "{references}");
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let problem = &operation["responses"]["default"]["content"]["application/problem+json"];
            assert!(problem.is_object(), "{method} {path}");
            let security = operation["security"].as_array().unwrap();
            let open = ["/healthz", "/readyz"].contains(&path.as_str());
            assert_eq!(security.is_empty(), open, "{method} {path}");
        }
    }
}
