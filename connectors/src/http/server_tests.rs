#![allow(clippy::unwrap_used)]

use super::*;

fn with(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, value.parse().unwrap());
    headers
}

#[test]
fn a_token_is_taken_as_bearer_or_as_password_of_the_url() {
    let hash = |token: &str| -> [u8; 32] { Sha256::digest(token).into() };
    let hashes = [hash("old"), hash("se:cret")];
    let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
    for right in [
        "Bearer se:cret",
        "bearer old",
        &basic("weir:se:cret"),
        &basic(":old"),
    ] {
        admit(&hashes, &with(right)).unwrap();
    }
    for wrong in [
        "Bearer",
        "Bearer ",
        "Bearer secret",
        "old",
        "Digest old",
        "Basic old",
        &basic("old"),
        &basic("old:"),
        &format!("Bearer {}", BASE64_STANDARD.encode("old")),
    ] {
        let refused = admit(&hashes, &with(wrong)).unwrap_err();
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    let mut twice = with("Bearer old");
    twice.append(AUTHORIZATION, "Bearer old".parse().unwrap());
    assert!(admit(&hashes, &twice).is_err());
    assert!(admit(&hashes, &HeaderMap::new()).is_err());
}

#[test]
fn without_a_token_a_web_page_is_no_sender() {
    admit(&[], &HeaderMap::new()).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(ORIGIN, "http://localhost:8081".parse().unwrap());
    assert_eq!(
        admit(&[], &headers).unwrap_err().status,
        StatusCode::FORBIDDEN
    );
}

#[test]
fn memory_for_bodies_is_bounded_and_given_back() {
    let shared = Shared {
        inboxes: BTreeMap::new(),
        in_flight: AtomicUsize::new(0),
        unpacking: Semaphore::new(1),
    };
    let mut one = Held {
        shared: &shared,
        bytes: 0,
    };
    one.more(IN_FLIGHT).unwrap();
    let refused = Held {
        shared: &shared,
        bytes: 0,
    }
    .more(1)
    .unwrap_err();
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        refused
            .into_response()
            .headers()
            .contains_key("retry-after")
    );
    drop(one);
    Held {
        shared: &shared,
        bytes: 0,
    }
    .more(1)
    .unwrap();
    assert_eq!(shared.in_flight.load(Ordering::Relaxed), 0);
}
