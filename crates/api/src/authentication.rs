//! Authentication of one listener, as Besu's: `POST /login` gives a token for a name and a password of the file of users, or
//! somebody else signs tokens with a key whose public half is configured. What a token permits is held against each call.
//!
//! A login costs the processor up to a second. Logins are carried out one at a time for all listeners, on threads of their own, in
//! turns by address: a flood of them delays whoever floods, and delays no call.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::access::Rights;
use crate::allowance::{Gone, Waits};
use crate::backend::Api;
use crate::credentials::Credentials;
use crate::listener::Line;
use crate::purse::Purse;
use crate::table::is_method;
use crate::token::{Algorithm, Signer, Verifier};
use crate::turns::{Caller, Turns};
use crate::watched::{Unusable, Watched};

/// Logins at once, one of which is carried out; an address may have three quarters of them.
pub(crate) const LOGINS: usize = 32;
/// Bytes of the body of a login.
pub(crate) const MAX_LOGIN: usize = 4 << 10;
/// How long a login waits for its turn.
const LOGIN_TIME: Duration = Duration::from_secs(30);
/// Bytes of a file with a public key.
const MAX_KEY: u64 = 64 << 10;

/// Who may call what of a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthenticationConfig {
    /// File of users in Besu's format; without it nobody can log in.
    pub credentials_file: Option<PathBuf>,
    /// PEM file with the public key of whoever signs tokens, and how they are signed. With it nobody can log in.
    pub public_key: Option<(PathBuf, Algorithm)>,
    /// Methods that everybody may call.
    pub open_methods: Vec<String>,
}

/// Why a listener that asks for authentication cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] Unusable),
    /// Neither a file of users nor a public key.
    #[error("it is on without a credentials file or a JWT public key file; give one of them, or nobody could call anything")]
    Nothing,
    /// A method that does not exist is to be open.
    #[error("the method {0:?}, to be open to everybody, does not exist; expected names such as net_version (docs/rpc.md)")]
    Method(String),
    /// The system gives no randomness.
    #[error("could not make a key to sign tokens with: the system gives no randomness")]
    Randomness,
}

/// How often logins were refused, for the log.
static REFUSED: Mutex<Line> = Mutex::new(Line::new());

/// The authentication of one listener.
#[derive(Debug)]
pub(crate) struct Authentication {
    keys: Keys,
    open: Arc<BTreeSet<String>>,
}

#[derive(Debug)]
enum Keys {
    /// Tokens are given here, to these users.
    Own(Box<Signer>, Arc<Credentials>),
    /// Tokens are somebody else's.
    External(Verifier),
}

/// What can be logged in with.
#[derive(Deserialize)]
struct Login {
    username: String,
    #[serde(deserialize_with = "secret")]
    password: Zeroizing<String>,
}

fn secret<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(from).map(Zeroizing::new)
}

impl Authentication {
    /// Reads the files, and makes a key. Takes some tenths of a second: not for async threads.
    ///
    /// # Errors
    /// A file cannot be used, a method does not exist, or the configuration lets nobody in.
    pub(crate) fn start(config: &AuthenticationConfig) -> Result<Self, AuthenticationError> {
        if let Some(unknown) = config.open_methods.iter().find(|method| !is_method(method)) {
            return Err(AuthenticationError::Method(unknown.clone()));
        }
        let keys = match (&config.public_key, &config.credentials_file) {
            (Some((path, algorithm)), credentials) => {
                if let Some(credentials) = credentials {
                    tracing::warn!(file = %credentials.display(), "with a JWT public key file nobody logs in: this file of users has no effect");
                }
                let mut file = Watched::new("JWT public key", vec![(path.clone(), MAX_KEY)]);
                Keys::External(file.first(|contents| Verifier::from_pem(&contents[0], *algorithm))?)
            }
            (None, Some(credentials)) => {
                let credentials = Arc::new(Credentials::open(credentials)?);
                Keys::Own(Box::new(Signer::new().ok_or(AuthenticationError::Randomness)?), credentials)
            }
            (None, None) => return Err(AuthenticationError::Nothing),
        };
        Ok(Self { keys, open: Arc::new(config.open_methods.iter().cloned().collect()) })
    }

    /// What a request with these headers may call. `None` when it has no token and nothing is open: Besu answers without reading
    /// on.
    pub(crate) fn rights(&self, headers: &HeaderMap) -> Option<Rights> {
        let token = bearer(headers);
        if token.is_none() && self.open.is_empty() {
            return None;
        }
        let verifier = match &self.keys {
            Keys::Own(signer, _) => signer.verifier(),
            Keys::External(verifier) => verifier,
        };
        let user = token.and_then(|token| match verifier.read(token, Api::now_ms() / 1000) {
            Ok(permitted) => Some(Arc::new(permitted)),
            Err(error) => {
                tracing::debug!(%error, "a token is refused");
                None
            }
        });
        Some(Rights::Of { open: Arc::clone(&self.open), user })
    }

    /// Answers a login with this body, as Besu.
    pub(crate) async fn login(&self, desk: &Desk, caller: Caller, body: Zeroizing<Vec<u8>>) -> Response {
        let Keys::Own(signer, credentials) = &self.keys else { return disabled() };
        let Ok(login) = serde_json::from_slice::<Login>(&body) else {
            count("malformed");
            return (StatusCode::BAD_REQUEST, "Authentication failed: username and password are required.").into_response();
        };
        drop(body);
        let busy = || {
            count("busy");
            (StatusCode::SERVICE_UNAVAILABLE, "Other logins are being carried out; try again later").into_response()
        };
        let Some(place) = desk.places.take(caller.from, 1) else { return busy() };
        let (gone, turns, credentials) = (Gone::default(), Arc::clone(&desk.turns), Arc::clone(credentials));
        let _waits = Waits(gone.clone());
        let until = Instant::now() + LOGIN_TIME;
        let work = tokio::task::spawn_blocking(move || {
            let _place = place;
            let wanted = || !gone.load(std::sync::atomic::Ordering::Relaxed) && Instant::now() < until;
            let _turn = turns.take(caller, wanted)?;
            let permissions = credentials.users().check(&login.username, &login.password).map(<[String]>::to_vec);
            Some((login.username, permissions))
        });
        match work.await {
            Ok(Some((username, Some(permissions)))) => match signer.token(&username, &permissions, Api::now_ms() / 1000) {
                Some(token) => {
                    count("accepted");
                    tracing::debug!(username, "logged in");
                    let body = serde_json::json!({ "token": token }).to_string();
                    (StatusCode::OK, [(CONTENT_TYPE, "application/json")], body).into_response()
                }
                None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            },
            Ok(Some((_, None))) => {
                count("refused");
                if let Some(times) = REFUSED.lock().due() {
                    // Not the name: people type passwords there.
                    tracing::warn!(from = %caller.from, times, "a login to JSON-RPC was refused: no such user, or another password");
                }
                (StatusCode::UNAUTHORIZED, "Authentication failed: the username or password is incorrect.").into_response()
            }
            Ok(None) => busy(),
            Err(error) => {
                tracing::error!(%error, "a login failed inside the node");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

/// Besu's answer to a login where nobody can log in; its reason stands in the status line there.
pub(crate) fn disabled() -> Response {
    (StatusCode::BAD_REQUEST, "Authentication not enabled").into_response()
}

/// Where logins of all listeners wait.
pub(crate) struct Desk {
    turns: Arc<Turns>,
    places: Arc<Purse>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self { turns: Turns::new(1), places: Purse::new(LOGINS) }
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("ipe_rpc_logins_total", "outcome" => outcome).increment(1);
}

/// The token of the one header `Authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (one, more) = (all.next()?, all.next());
    if more.is_some() {
        return None;
    }
    one.to_str().ok()?.strip_prefix("Bearer ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_is_taken_from_one_header() {
        let of = |values: &[&str]| {
            let headers: HeaderMap = values.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect();
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(of(&["Bearer a.b.c"]).as_deref(), Some("a.b.c"));
        for none in [&["Basic a.b.c"][..], &["bearer a.b.c"], &["a.b.c"], &[], &["Bearer a", "Bearer b"]] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_configuration_that_lets_nobody_in_or_names_no_method_does_not_start() {
        let start = |config: AuthenticationConfig| Authentication::start(&config).unwrap_err().to_string();
        assert!(start(AuthenticationConfig::default()).contains("without a credentials file"));
        let open_methods = vec!["net_version".to_owned(), "net_versoin".to_owned()];
        assert!(start(AuthenticationConfig { open_methods, ..AuthenticationConfig::default() }).contains("net_versoin"));
        let missing = AuthenticationConfig { credentials_file: Some("/no/such".into()), ..AuthenticationConfig::default() };
        assert!(start(missing).contains("/no/such"));
    }
}
