//! JSON-RPC over HTTP and WebSocket, with its limits.

use crate::allowance::{Allowance, Gone, Queues, Waits};
use crate::answers::{Room, Sent};
use crate::backend::{Api, begun};
use crate::error::RpcError;
use crate::listener::{self, Doors};
use crate::purse::Lease;
use crate::table::{Cost, Groups};
use crate::threads::Threads;
use crate::turns::Caller;
use crate::{health, hosts, origins, subscribe, wire};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, FromRequestParts, Request, State, WebSocketUpgrade};
use axum::http::header::{ALLOW, CONTENT_TYPE, UPGRADE};
use axum::http::{Method, StatusCode};
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

/// Batches of light calls up to this length are answered where they were read: handing them to another thread costs more.
const INLINE_BATCH: usize = 16;

/// Where and how to listen.
#[derive(Debug, Clone, Default)]
pub struct ServerConfig {
    /// JSON-RPC over HTTP; it also upgrades to WebSocket on the same port.
    pub http: Option<HttpConfig>,
    /// JSON-RPC over WebSocket on a port of its own.
    pub ws: Option<HttpConfig>,
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
        }
    }
}

/// Why the API could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port is taken or the address is not ours.
    #[error(
        "could not listen for JSON-RPC on {address}: {source}; choose another address or port, or stop what uses it"
    )]
    Bind {
        /// What was configured.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
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
    let threads = Threads::start(begun(api.settings.heavy.max(1))).map_err(ServeError::Threads)?;
    let mut running = RunningServer { http: None, ws: None, stop, tasks: Vec::new(), threads: None };
    if let Some(config) = config.http {
        let (address, task) = threads.run(listen(api.clone(), config, true, stopped.clone())).await.map_err(ServeError::Threads)??;
        running.http = Some(address);
        running.tasks.push(task);
    }
    if let Some(config) = config.ws {
        let (address, task) = threads.run(listen(api, config, false, stopped)).await.map_err(ServeError::Threads)??;
        running.ws = Some(address);
        running.tasks.push(task);
    }
    running.threads = Some(threads);
    Ok(running)
}

#[derive(Clone)]
struct Shared {
    api: Arc<Api>,
    config: Arc<HttpConfig>,
    /// POST and health are answered; otherwise WebSocket only.
    http: bool,
    stopped: watch::Receiver<bool>,
}

async fn listen(
    api: Arc<Api>,
    config: HttpConfig,
    http: bool,
    mut stopped: watch::Receiver<bool>,
) -> Result<(SocketAddr, JoinHandle<()>), ServeError> {
    let bind = |source| ServeError::Bind { address: config.address, source };
    let listener = TcpListener::bind(config.address).await.map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    let doors = Doors {
        name: if http { "JSON-RPC over HTTP" } else { "JSON-RPC over WebSocket" },
        places: config.max_connections,
        always: |request| request.method() == Method::GET && health::PATHS.contains(&request.uri().path()),
        gauge: http.then_some("besu_rpc_active_http_connection_count"),
    };
    let cors = origins::cors(&config.cors_origins);
    let shared = Shared { api, config: Arc::new(config), http, stopped: stopped.clone() };
    let mut router = Router::new().fallback(handle).with_state(shared);
    if let Some(cors) = cors {
        router = router.layer(cors);
    }
    let task = tokio::spawn(async move {
        let until = async move {
            // An error means that the sender is gone, which is a stop too.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        if let Err(error) = listener::run(listener, router, doors, until).await {
            tracing::error!(%address, %error, "the JSON-RPC listener ended");
        }
    });
    Ok((address, task))
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
        return match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
            Ok(upgrade) => {
                let max = shared.config.max_frame;
                upgrade
                    .max_message_size(max)
                    .max_frame_size(max)
                    .on_upgrade(move |socket| subscribe::connection(shared.api, shared.config, shared.stopped, caller, socket))
            }
            Err(refused) => refused.into_response(),
        };
    }
    if !shared.http {
        return (StatusCode::UPGRADE_REQUIRED, "this port speaks WebSocket only").into_response();
    }
    match (&parts.method, parts.uri.path()) {
        (&Method::POST, "/") if !origins::is_json(&parts.headers) => origins::not_json(),
        (&Method::POST, "/") => post(&shared, caller, body).await,
        (_, "/") => (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "POST")], "").into_response(),
        (&Method::GET, path) => health::answer(&shared.api, path, parts.uri.query().unwrap_or(""))
            .unwrap_or_else(|| (StatusCode::NOT_FOUND, "Not Found").into_response()),
        _ => (StatusCode::NOT_FOUND, "Not Found").into_response(),
    }
}

/// Reads a body. What is long counts as it arrives, so that slow senders of much leave room for others.
async fn read(shared: &Shared, caller: Caller, mut body: Body) -> Result<(Vec<u8>, Lease), Response> {
    let mut held = shared.api.bodies.lease(caller.from);
    let mut all = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        // The client is gone, or has sent what is not HTTP.
        let Ok(frame) = frame else { return Err(StatusCode::BAD_REQUEST.into_response()) };
        let Some(piece) = frame.data_ref() else { continue };
        let length = all.len() + piece.len();
        if length > shared.config.max_body {
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

async fn post(shared: &Shared, caller: Caller, body: Body) -> Response {
    let (body, held) = match tokio::time::timeout(BODY_TIME, read(shared, caller, body)).await {
        Ok(Ok(read)) => read,
        Ok(Err(refused)) => return refused,
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "Request Timeout").into_response(),
    };
    let answer = shared.api.answer(caller, body.into(), shared.config.groups, shared.config.max_batch).await;
    drop(held);
    let status = if answer.malformed { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let body = Sent { bytes: answer.body.into(), _room: answer.room };
    (status, [(CONTENT_TYPE, "application/json")], Body::new(body)).into_response()
}

/// What to send back.
pub struct Answer {
    /// JSON text; empty when there were only notifications.
    pub body: Vec<u8>,
    /// Besu answers HTTP 400 when the body was no request.
    pub malformed: bool,
    /// Held until it is sent.
    pub(crate) room: Room,
}

impl Answer {
    /// One that takes no room.
    fn small(body: Vec<u8>) -> Self {
        Self { body, malformed: false, room: None }
    }
}

impl Api {
    /// Answers one request body. Never fails: whatever goes wrong is inside the answer. When the future is dropped, because the
    /// connection was closed, what it began ends soon.
    pub(crate) async fn answer(self: &Arc<Self>, caller: Caller, body: Bytes, groups: Groups, max_batch: usize) -> Answer {
        // A long body costs time before anything of it is known: it is read on a thread, in a turn.
        if body.len() <= SHORT_BODY {
            match wire::split(&body, max_batch) {
                Err(body) => return Answer { malformed: true, ..Answer::small(body) },
                Ok(wire::Frame::One(call)) => {
                    let Some(id) = call.id else { return Answer::small(Vec::new()) };
                    if self.cost(&call) == Cost::Light {
                        let answer = self.call(&call, groups, &self.allowance().of(caller.from));
                        let mut out = Vec::with_capacity(128);
                        wire::respond(&mut out, Some(id), &answer);
                        return Answer::small(out);
                    }
                }
                Ok(wire::Frame::Batch(calls)) => {
                    if calls.len() <= INLINE_BATCH && calls.iter().flatten().all(|call| self.cost(call) == Cost::Light) {
                        return self.answer_here(&body, groups, max_batch);
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
            let answer = api.carry_out(&body, groups, max_batch, &allowance);
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
        self.carry_out(body, groups, max_batch, &self.allowance())
    }

    fn carry_out(&self, body: &[u8], groups: Groups, max_batch: usize, allowance: &Allowance) -> Answer {
        if body.len() > SHORT_BODY
            && let Err(error) = allowance.begin(Cost::Block)
        {
            return Answer::small(wire::failure(None, &error));
        }
        match wire::split(body, max_batch) {
            Err(body) => Answer { malformed: true, ..Answer::small(body) },
            Ok(wire::Frame::One(call)) => {
                let mut out = Vec::new();
                if call.id.is_some() {
                    wire::respond(&mut out, call.id, &self.call(&call, groups, allowance));
                }
                Answer::small(out)
            }
            Ok(wire::Frame::Batch(calls)) => {
                let mut out = vec![b'['];
                for call in &calls {
                    let (id, answer) = match call {
                        Ok(call) if call.id.is_none() => continue,
                        Ok(call) => (call.id, self.call(call, groups, allowance)),
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
