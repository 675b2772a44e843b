//! Whose web pages may ask: the CORS list, held against requests and upgrades to WebSocket before anything is carried out.
//!
//! CORS alone keeps a page from reading an answer, not from asking: a POST without a preflight and an upgrade arrive whatever the
//! answer's headers say. Browsers name the page's origin in both, and no page can leave it out.

use axum::http::header::{CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

/// Whether any origin is allowed.
fn any(list: &[String]) -> bool {
    list.iter().any(|origin| origin == "*" || origin == "all")
}

/// Whether the request comes from no web page, or from one of an origin in the list; `*` and `all` allow any.
pub(crate) fn allowed(headers: &HeaderMap, list: &[String]) -> bool {
    any(list)
        || headers
            .get_all(ORIGIN)
            .iter()
            .all(|origin| list.iter().any(|listed| listed.as_bytes().eq_ignore_ascii_case(origin.as_bytes())))
}

/// The answer to a page whose origin is not in the list.
pub(crate) fn refusal() -> Response {
    let body = r#"{"message":"Origin not authorized. Add it to rpc-http-cors-origins to let its pages call."}"#;
    (StatusCode::FORBIDDEN, [(CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response()
}

/// The headers that let pages of listed origins read answers; none for an empty list.
pub(crate) fn cors(list: &[String]) -> Option<CorsLayer> {
    if list.is_empty() {
        return None;
    }
    let layer = CorsLayer::new().allow_methods([Method::POST, Method::GET]).allow_headers(Any);
    Some(if any(list) {
        layer.allow_origin(Any)
    } else {
        layer.allow_origin(AllowOrigin::list(list.iter().filter_map(|o| HeaderValue::from_str(o).ok())))
    })
}

/// Whether the body is said to be JSON, which no page can say across origins without asking first (a preflight). Parameters such
/// as a charset are allowed.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let essence = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        text.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
    };
    types.next().is_some_and(essence) && types.next().is_none()
}

/// The answer to a body that is not said to be JSON.
pub(crate) fn not_json() -> Response {
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, "JSON-RPC is taken with the header Content-Type: application/json only").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: axum::http::HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), value.parse().expect("header"))).collect()
    }

    #[test]
    fn only_pages_of_listed_origins_ask() {
        let asked = |origins: &[&str], list: &[&str]| {
            allowed(&with(ORIGIN, origins), &list.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert!(asked(&[], &[]), "no web page");
        assert!(asked(&["http://app.example"], &["http://app.example"]));
        assert!(asked(&["null"], &["*"]));
        for other in ["null", "http://app.example:8080", "https://app.example", "http://app.example.evil", ""] {
            assert!(!asked(&[other], &["http://app.example"]), "{other}");
            assert!(!asked(&[other], &[]), "{other}");
        }
        assert!(!asked(&["http://app.example", "http://evil.example"], &["http://app.example"]));
    }

    #[test]
    fn only_json_is_json() {
        let said = |types: &[&str]| is_json(&with(CONTENT_TYPE, types));
        assert!(said(&["application/json"]) && said(&["Application/JSON; charset=utf-8"]) && said(&["application/json ;x=y"]));
        for other in
            ["text/plain", "text/plain;application/json", "application/x-www-form-urlencoded", "multipart/form-data", "json", ""]
        {
            assert!(!said(&[other]), "{other}");
        }
        assert!(!said(&[]) && !said(&["application/json", "text/plain"]));
    }
}
