//! The host allow-list: a defence against DNS rebinding by web pages.

use axum::http::header::HOST;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

/// Whether the request's `Host` (or the authority of an absolute URI) is allowed. `*` allows all; comparison is by host
/// name without port and without regard to case.
pub fn allowed(headers: &HeaderMap, uri: &Uri, list: &[String]) -> bool {
    if list.iter().any(|h| h == "*" || h == "all") {
        return true;
    }
    let host = headers.get(HOST).and_then(|h| h.to_str().ok()).or_else(|| uri.authority().map(|a| a.as_str()));
    let Some(host) = host else { return false };
    let name = name(host);
    list.iter().any(|h| h.eq_ignore_ascii_case(name))
}

/// Host name of `host[:port]` or `[v6][:port]`.
fn name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    host.split(':').next().unwrap_or(host)
}

/// Besu's answer to a host that is not allowed.
pub fn refusal() -> Response {
    (
        StatusCode::FORBIDDEN,
        [(axum::http::header::CONTENT_TYPE, "application/json; charset=utf-8")],
        r#"{"message":"Host not authorized."}"#,
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(host: &str, list: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().expect("header"));
        allowed(&headers, &Uri::from_static("/"), &list.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn only_listed_hosts_pass() {
        assert!(asked("localhost:8545", &["localhost", "127.0.0.1"]));
        assert!(asked("LOCALHOST", &["localhost"]));
        assert!(asked("[::1]:8545", &["::1"]));
        assert!(!asked("evil.example:8545", &["localhost"]));
        assert!(asked("evil.example", &["*"]));
        assert!(!allowed(&HeaderMap::new(), &Uri::from_static("/"), &["localhost".into()]));
    }
}
