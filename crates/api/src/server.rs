//! JSON-RPC over HTTP and WebSocket, with its limits.

use crate::access::{Access, Rights};
use crate::allowance::{Allowance, Gone, Queues, Waits};
use crate::answers::{Room, Sent};
use crate::authentication::{self, Authentication, AuthenticationConfig, AuthenticationError, LOGINS, MAX_LOGIN};
use crate::backend::{Api, begun};
use crate::error::RpcError;
use crate::listener::{self, Doors};
use crate::purse::Lease;
use crate::table::{Cost, Groups};
use crate::threads::Threads;
use crate::tls::{Tls, TlsConfig};
use crate::turns::Caller;
use crate::watched::Unusable;
use crate::{health, hosts, origins, subscribe, wire};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, FromRequestParts, Request, State, WebSocketUpgrade};
use axum::http::header::{ALLOW, CONTENT_TYPE, UPGRADE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body::Body as _;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A body that has not arrived completely after this is given up; the largest allowed one passes at 350 kB/s.
const BODY_TIME: Duration = Duration::from_secs(15);

/// Bytes of longer bodies of requests that are being read or answered, of all clients together.
pub(crate) const BODIES: usize = 48 << 20;
/// Bodies of up to so many bytes do not count: each connection has one at most.
const SHORT_BODY: usize = 64 << 10;

/// How often the files of TLS are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Threads for reading files.
const READERS: usize = 4;

/// Batches of light calls up to this length are answered where they were read: handing them to another thread costs more.
const INLINE_BATCH: usize = 16;

/// Where and how to listen.
#[derive(Debug, Clone, Default)]
pub struct ServerConfig {
    /// JSON-RPC over HTTP; it also upgrades to WebSocket on the same port.
    pub http: Option<HttpConfig>,
    /// JSON-RPC over WebSocket on a port of its own.
    pub ws: Option<HttpConfig>,
    /// JSON-RPC over HTTP for operators, on a port that clients do not reach.
    pub operator: Option<HttpConfig>,
}

/// One listener.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Address to bind; port 0 = any free one.
    pub address: SocketAddr,
    /// Enabled method groups.
    pub groups: Groups,
    /// Allowed `Host` names; `*` = any.
    pub host_allowlist: Vec<String>,
    /// Origins whose web pages may ask, by POST and by WebSocket, and read answers; `*` or `all` = any; empty = none.
    pub cors_origins: Vec<String>,
    /// Connections open at once. Whoever comes beyond gets the place of an address that holds at least two more than its
    /// own, or may ask for the node's health only.
    pub max_connections: usize,
    /// Calls in one batch.
    pub max_batch: usize,
    /// Bytes of one request body.
    pub max_body: usize,
    /// Bytes of one WebSocket message, which is in memory before anything of it is read.
    pub max_frame: usize,
    /// Subscriptions of one WebSocket connection.
    pub max_subscriptions: usize,
    /// Who may call what; `None` = everybody everything of the groups.
    pub authentication: Option<AuthenticationConfig>,
    /// TLS; `None` = in clear.
    pub tls: Option<TlsConfig>,
}

impl HttpConfig {
    /// Besu's defaults on the given address.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            groups: Groups::besu_default(),
            host_allowlist: vec!["localhost".into(), "127.0.0.1".into()],
            cors_origins: Vec::new(),
            max_connections: 80,
            max_batch: wire::MAX_BATCH,
            // Besu's `rpc-http-max-request-content-length`.
            max_body: 5 << 20,
            // Besu's `rpc-ws-max-frame-size`.
            max_frame: 1 << 20,
            max_subscriptions: 100,
            authentication: None,
            tls: None,
        }
    }
}

/// Why the API could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port is taken or the address is not ours.
    #[error("could not listen for JSON-RPC on {address}: {source}; choose another address or port, or stop what uses it")]
    Bind {
        /// What was configured.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody could be told from anybody.
    #[error("authentication of {listener}: {source}")]
    Authentication {
        /// Which listener.
        listener: &'static str,
        /// What is wrong.
        source: AuthenticationError,
    },
    /// TLS cannot begin.
    #[error("TLS of {listener}: {source}")]
    Tls {
        /// Which listener.
        listener: &'static str,
        /// What is wrong.
        source: Unusable,
    },
    /// The system gives no threads.
    #[error("could not start the threads of JSON-RPC: {0}")]
    Threads(#[source] io::Error),
}

/// Running listeners. Dropping it stops them.
#[derive(Debug)]
pub struct RunningServer {
    /// Where HTTP really listens.
    pub http: Option<SocketAddr>,
    /// Where WebSocket really listens.
    pub ws: Option<SocketAddr>,
    /// Where operators are really listened to.
    pub operator: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    threads: Option<Threads>,
}

impl RunningServer {
    /// Stops accepting, lets running requests finish for at most `grace`, then cuts them.
    pub async fn shutdown(mut self, grace: Duration) {
        self.stop.send_replace(true);
        for mut task in self.tasks.drain(..) {
            if tokio::time::timeout(grace, &mut task).await.is_err() {
                task.abort();
            }
        }
        if let Some(threads) = self.threads.take() {
            threads.stop(grace).await;
        }
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Starts the configured listeners.
///
/// # Errors
/// [`ServeError::Bind`] when an address cannot be bound; nothing runs then.
pub async fn serve(api: Arc<Api>, config: ServerConfig) -> Result<RunningServer, ServeError> {
    let (stop, stopped) = watch::channel(false);
    // Each request that takes time has a thread, on which it waits for its turn: see [`Api::answer`].
    let threads = Threads::start(begun(api.settings.heavy.max(1)) + LOGINS + READERS).map_err(ServeError::Threads)?;
    let mut running = RunningServer { http: None, ws: None, operator: None, stop, tasks: Vec::new(), threads: None };
    for (of, config) in [(Of::Clients, config.http), (Of::WebSockets, config.ws), (Of::Operators, config.operator)] {
        let Some(config) = config else { continue };
        let (address, task) =
            threads.run(listen(api.clone(), config, of, stopped.clone())).await.map_err(ServeError::Threads)??;
        *match of {
            Of::Clients => &mut running.http,
            Of::WebSockets => &mut running.ws,
            Of::Operators => &mut running.operator,
        } = Some(address);
        running.tasks.push(task);
    }
    running.threads = Some(threads);
    Ok(running)
}

/// Whose a listener is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Clients,
    WebSockets,
    Operators,
}

impl Of {
    const fn name(self) -> &'static str {
        match self {
            Self::Clients => "JSON-RPC over HTTP",
            Self::WebSockets => "JSON-RPC over WebSocket",
            Self::Operators => "JSON-RPC for operators",
        }
    }
}

#[derive(Clone)]
struct Shared {
    api: Arc<Api>,
    config: Arc<HttpConfig>,
    authentication: Option<Arc<Authentication>>,
    /// POST and health are answered; otherwise WebSocket only.
    http: bool,
    stopped: watch::Receiver<bool>,
}

async fn listen(
    api: Arc<Api>,
    config: HttpConfig,
    of: Of,
    mut stopped: watch::Receiver<bool>,
) -> Result<(SocketAddr, JoinHandle<()>), ServeError> {
    let name = of.name();
    let authentication = match config.authentication.clone() {
        Some(settings) => {
            let started = tokio::task::spawn_blocking(move || Authentication::start(&settings)).await;
            let started = started.map_err(|error| ServeError::Threads(io::Error::other(error)))?;
            Some(Arc::new(started.map_err(|source| ServeError::Authentication { listener: name, source })?))
        }
        None => None,
    };
    let tls = match config.tls.clone() {
        Some(settings) => {
            let opened = tokio::task::spawn_blocking(move || Tls::open(settings)).await;
            let opened = opened.map_err(|error| ServeError::Threads(io::Error::other(error)))?;
            Some(opened.map_err(|source| ServeError::Tls { listener: name, source })?)
        }
        None => None,
    };
    let bind = |source| ServeError::Bind { address: config.address, source };
    let listener = TcpListener::bind(config.address).await.map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    let doors = Doors {
        name,
        places: config.max_connections,
        always: |request| request.method() == Method::GET && health::PATHS.contains(&request.uri().path()),
        gauge: (of == Of::Clients).then_some("besu_rpc_active_http_connection_count"),
    };
    let cors = origins::cors(&config.cors_origins);
    let shared = Shared { api, config: Arc::new(config), authentication, http: of != Of::WebSockets, stopped: stopped.clone() };
    let mut router = Router::new().fallback(handle).with_state(shared);
    if let Some(cors) = cors {
        router = router.layer(cors);
    }
    let task = tokio::spawn(async move {
        let until = async move {
            // An error means that the sender is gone, which is a stop too.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let watched = tls.clone();
        let serving = async {
            if let Err(error) = listener::run_with(listener, router, doors, tls, until).await {
                tracing::error!(%address, %error, "the JSON-RPC listener ended");
            }
        };
        tokio::select! {
            () = serving => {}
            () = look_again(watched) => {}
        }
    });
    Ok((address, task))
}

/// Looks at the files of TLS now and then, for ever.
async fn look_again(tls: Option<Arc<Tls>>) {
    let Some(tls) = tls else { return std::future::pending().await };
    loop {
        tokio::time::sleep(LOOK).await;
        let tls = tls.clone();
        // It fails when the runtime ends.
        let _ = tokio::task::spawn_blocking(move || tls.look()).await;
    }
}

async fn handle(State(shared): State<Shared>, Extension(caller): Extension<Caller>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    if !hosts::allowed(&parts.headers, &parts.uri, &shared.config.host_allowlist) {
        return hosts::refusal();
    }
    let upgrade = parts.headers.contains_key(UPGRADE);
    if (upgrade || parts.method == Method::POST) && !origins::allowed(&parts.headers, &shared.config.cors_origins) {
        return origins::refusal();
    }
    if upgrade {
        let Some(access) = shared.access(&parts.headers).filter(|access| access.permits_something()) else { return unauthorized() };
        return match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
            Ok(upgrade) => {
                let max = shared.config.max_frame;
                upgrade.max_message_size(max).max_frame_size(max).on_upgrade(move |socket| {
                    subscribe::connection(shared.api, shared.config, access, shared.stopped, caller, socket)
                })
            }
            Err(refused) => refused.into_response(),
        };
    }
    if parts.method == Method::POST && parts.uri.path() == "/login" {
        return login(&shared, caller, body).await;
    }
    if !shared.http {
        return (StatusCode::UPGRADE_REQUIRED, "this port speaks WebSocket only").into_response();
    }
    match (&parts.method, parts.uri.path()) {
        (&Method::POST, "/") if !origins::is_json(&parts.headers) => origins::not_json(),
        (&Method::POST, "/") => match shared.access(&parts.headers) {
            Some(access) => post(&shared, caller, access, body).await,
            None => unauthorized(),
        },
        (_, "/") => (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "POST")], "").into_response(),
        (&Method::GET, path) => health::answer(&shared.api, path, parts.uri.query().unwrap_or(""))
            .unwrap_or_else(|| (StatusCode::NOT_FOUND, "Not Found").into_response()),
        _ => (StatusCode::NOT_FOUND, "Not Found").into_response(),
    }
}

impl Shared {
    /// What a request with these headers may call; `None` when that is nothing, whatever it asks.
    fn access(&self, headers: &HeaderMap) -> Option<Access> {
        let rights = match &self.authentication {
            Some(authentication) => authentication.rights(headers)?,
            None => Rights::All,
        };
        Some(Access::new(self.config.groups, rights))
    }
}

/// Besu's answer to a request without a token.
fn unauthorized() -> Response {
    let body = wire::failure(None, &RpcError::UNAUTHORIZED);
    (StatusCode::UNAUTHORIZED, [(CONTENT_TYPE, "application/json")], body).into_response()
}

async fn login(shared: &Shared, caller: Caller, body: Body) -> Response {
    let Some(authentication) = &shared.authentication else { return authentication::disabled() };
    match tokio::time::timeout(BODY_TIME, read(shared, caller, body, MAX_LOGIN)).await {
        Ok(Ok((body, _held))) => authentication.login(&shared.api.desk, caller, body.into()).await,
        Ok(Err(refused)) => refused,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "Request Timeout").into_response(),
    }
}

/// Reads a body of at most `limit` bytes. What is long counts as it arrives, so that slow senders of much leave room for others.
async fn read(shared: &Shared, caller: Caller, mut body: Body, limit: usize) -> Result<(Vec<u8>, Lease), Response> {
    let mut held = shared.api.bodies.lease(caller.from);
    let mut all = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        // The client is gone, or has sent what is not HTTP.
        let Ok(frame) = frame else { return Err(StatusCode::BAD_REQUEST.into_response()) };
        let Some(piece) = frame.data_ref() else { continue };
        let length = all.len() + piece.len();
        if length > limit {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large").into_response());
        }
        if length > SHORT_BODY && length > held.bytes() && !held.grow((length - held.bytes()).next_multiple_of(SHORT_BODY)) {
            let text = "Other requests of this size are being read; try again later, or send a shorter one";
            return Err((StatusCode::SERVICE_UNAVAILABLE, text).into_response());
        }
        all.extend_from_slice(piece);
    }
    Ok((all, held))
}

async fn post(shared: &Shared, caller: Caller, access: Access, body: Body) -> Response {
    let (body, held) = match tokio::time::timeout(BODY_TIME, read(shared, caller, body, shared.config.max_body)).await {
        Ok(Ok(read)) => read,
        Ok(Err(refused)) => return refused,
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "Request Timeout").into_response(),
    };
    let answer = shared.api.answer(caller, body.into(), access, shared.config.max_batch).await;
    drop(held);
    let status = match (answer.malformed, answer.unauthorized) {
        (true, _) => StatusCode::BAD_REQUEST,
        (_, true) => StatusCode::UNAUTHORIZED,
        _ => StatusCode::OK,
    };
    let body = Sent { bytes: answer.body.into(), _room: answer.room };
    (status, [(CONTENT_TYPE, "application/json")], Body::new(body)).into_response()
}

/// What to send back.
pub struct Answer {
    /// JSON text; empty when there were only notifications.
    pub body: Vec<u8>,
    /// Besu answers HTTP 400 when the body was no request.
    pub malformed: bool,
    /// Besu answers HTTP 401 when the one call was not permitted.
    pub unauthorized: bool,
    /// Held until it is sent.
    pub(crate) room: Room,
}

impl Answer {
    /// One that takes no room.
    fn small(body: Vec<u8>) -> Self {
        Self { body, malformed: false, unauthorized: false, room: None }
    }
}

impl Api {
    /// Answers one request body. Never fails: whatever goes wrong is inside the answer. When the future is dropped, because the
    /// connection was closed, what it began ends soon.
    pub(crate) async fn answer(self: &Arc<Self>, caller: Caller, body: Bytes, access: Access, max_batch: usize) -> Answer {
        // A long body costs time before anything of it is known: it is read on a thread, in a turn.
        if body.len() <= SHORT_BODY {
            match wire::split(&body, max_batch) {
                Err(body) => return Answer { malformed: true, ..Answer::small(body) },
                Ok(wire::Frame::One(call)) => {
                    let Some(id) = call.id else { return Answer::small(Vec::new()) };
                    if self.cost(&call) == Cost::Light {
                        let answer = self.call(&call, &access, &self.allowance().of(caller.from));
                        let mut out = Vec::with_capacity(128);
                        wire::respond(&mut out, Some(id), &answer);
                        return Answer { unauthorized: answer == Err(RpcError::UNAUTHORIZED), ..Answer::small(out) };
                    }
                }
                Ok(wire::Frame::Batch(calls)) => {
                    if calls.len() <= INLINE_BATCH && calls.iter().flatten().all(|call| self.cost(call) == Cost::Light) {
                        return self.carry_out(&body, &access, max_batch, &self.allowance());
                    }
                }
            }
        }
        // What may execute contracts, search logs, read blocks or wait for the node has a thread, on which it waits for a turn
        // for each piece of its work: what only reads does not wait for what executes, and nobody for one who asks much.
        let busy_body = body.clone();
        let Some(begun) = self.waiting.take(caller.from, 1) else { return Answer::small(busy(&busy_body, max_batch)) };
        let waits = Waits(Gone::default());
        let memory = self.memory.lease(caller.from);
        let queues = Queues { caller, heavy: self.heavy.clone(), reading: self.reading.clone(), memory };
        let allowance = self.allowance().queued(waits.0.clone(), queues);
        let api = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _begun = begun;
            let answer = api.carry_out(&body, &access, max_batch, &allowance);
            // What it held is free when it has its room, so that no more answers are held than there is room for.
            let room = api.answers.room(caller.from, answer.body.len());
            drop(allowance);
            (answer, room)
        });
        match work.await {
            Ok((answer, Ok(room))) => Answer { room, ..answer },
            Ok((_, Err(()))) => Answer::small(busy(&busy_body, max_batch)),
            Err(error) => Answer::small(wire::failure(None, &RpcError::internal(error))),
        }
    }

    /// Answers one request body on the calling thread, whatever it costs, without waiting for turns. Not for async threads.
    pub fn answer_here(&self, body: &[u8], groups: Groups, max_batch: usize) -> Answer {
        self.carry_out(body, &Access::new(groups, Rights::All), max_batch, &self.allowance())
    }

    fn carry_out(&self, body: &[u8], access: &Access, max_batch: usize, allowance: &Allowance) -> Answer {
        if body.len() > SHORT_BODY
            && let Err(error) = allowance.begin(Cost::Block)
        {
            return Answer::small(wire::failure(None, &error));
        }
        match wire::split(body, max_batch) {
            Err(body) => Answer { malformed: true, ..Answer::small(body) },
            Ok(wire::Frame::One(call)) => {
                if call.id.is_none() {
                    return Answer::small(Vec::new());
                }
                let mut out = Vec::new();
                let answer = self.call(&call, access, allowance);
                wire::respond(&mut out, call.id, &answer);
                Answer { unauthorized: answer == Err(RpcError::UNAUTHORIZED), ..Answer::small(out) }
            }
            Ok(wire::Frame::Batch(calls)) => {
                let mut out = vec![b'['];
                for call in &calls {
                    let (id, answer) = match call {
                        Ok(call) if call.id.is_none() => continue,
                        Ok(call) => (call.id, self.call(call, access, allowance)),
                        Err(id) => (*id, Err(RpcError::INVALID_REQUEST)),
                    };
                    if out.len() > 1 {
                        out.push(b',');
                    }
                    let before = out.len();
                    // The sum of a batch obeys the same bounds as one answer.
                    let answer = answer.and_then(|answer| {
                        if answer.len() > allowance.room() {
                            return Err(RpcError::RESPONSE_SIZE);
                        }
                        // It grows by doubling.
                        allowance.hold(2 * answer.len()).map(|()| answer)
                    });
                    if answer == Err(RpcError::GONE) {
                        return Answer::small(Vec::new());
                    }
                    wire::respond(&mut out, id, &answer);
                    allowance.spend_bytes(out.len() - before);
                }
                if out.len() == 1 {
                    return Answer::small(Vec::new());
                }
                out.push(b']');
                Answer::small(out)
            }
        }
    }
}

/// The refusal of every call in a body that found no place to wait; one for all when it is long.
fn busy(body: &[u8], max_batch: usize) -> Vec<u8> {
    if body.len() > SHORT_BODY {
        return wire::failure(None, &RpcError::BUSY);
    }
    match wire::split(body, max_batch) {
        Ok(wire::Frame::One(call)) => wire::failure(call.id, &RpcError::BUSY),
        Ok(wire::Frame::Batch(calls)) => {
            let mut out = vec![b'['];
            for call in calls {
                if out.len() > 1 {
                    out.push(b',');
                }
                wire::respond(&mut out, call.map_or_else(|id| id, |c| c.id), &Err(RpcError::BUSY));
            }
            out.push(b']');
            out
        }
        Err(body) => body,
    }
}
