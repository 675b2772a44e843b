//! JSON-RPC over HTTP and WebSocket, with its limits.

use crate::answers::{Room, Sent};
use crate::backend::Api;
use crate::error::RpcError;
use crate::listener::{self, Doors};
use crate::table::{Cost, Groups};
use crate::threads::Threads;
use crate::{health, hosts, origins, subscribe, wire};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Request, State, WebSocketUpgrade};
use axum::http::header::{ALLOW, CONTENT_TYPE, UPGRADE};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A body that has not arrived completely after this is given up; the largest allowed one passes at 350 kB/s.
const BODY_TIME: Duration = Duration::from_secs(15);

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
    /// Bytes of one request body or WebSocket message.
    pub max_body: usize,
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
    // Requests that run, and those that wait for the node: see [`Api::answer`].
    let threads = Threads::start(2 * api.settings.heavy.max(1)).map_err(ServeError::Threads)?;
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

async fn handle(State(shared): State<Shared>, request: Request) -> Response {
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
                let max = shared.config.max_body;
                upgrade
                    .max_message_size(max)
                    .max_frame_size(max)
                    .on_upgrade(move |socket| subscribe::connection(shared.api, shared.config, shared.stopped, socket))
            }
            Err(refused) => refused.into_response(),
        };
    }
    if !shared.http {
        return (StatusCode::UPGRADE_REQUIRED, "this port speaks WebSocket only").into_response();
    }
    match (&parts.method, parts.uri.path()) {
        (&Method::POST, "/") if !origins::is_json(&parts.headers) => origins::not_json(),
        (&Method::POST, "/") => post(&shared, body).await,
        (_, "/") => (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "POST")], "").into_response(),
        (&Method::GET, path) => health::answer(&shared.api, path, parts.uri.query().unwrap_or(""))
            .unwrap_or_else(|| (StatusCode::NOT_FOUND, "Not Found").into_response()),
        _ => (StatusCode::NOT_FOUND, "Not Found").into_response(),
    }
}

async fn post(shared: &Shared, body: Body) -> Response {
    let read = tokio::time::timeout(BODY_TIME, axum::body::to_bytes(body, shared.config.max_body)).await;
    let body = match read {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return (StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large").into_response(),
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "Request Timeout").into_response(),
    };
    let answer = shared.api.answer(body, shared.config.groups, shared.config.max_batch).await;
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

impl Api {
    /// Answers one request body. Never fails: whatever goes wrong is inside the answer.
    pub async fn answer(self: &Arc<Self>, body: Bytes, groups: Groups, max_batch: usize) -> Answer {
        let cost = match wire::split(&body, max_batch) {
            Err(body) => return Answer { body, malformed: true, room: None },
            Ok(wire::Frame::One(call)) => {
                let Some(id) = call.id else { return Answer { body: Vec::new(), malformed: false, room: None } };
                let cost = self.cost(&call);
                if cost == Cost::Light {
                    let answer = self.call(&call.method, call.params, groups);
                    let mut out = Vec::with_capacity(128);
                    wire::respond(&mut out, Some(id), &answer);
                    return Answer { body: out, malformed: false, room: None };
                }
                cost
            }
            Ok(wire::Frame::Batch(calls)) => {
                let cost = calls.iter().flatten().map(|call| self.cost(call)).max().unwrap_or(Cost::Light);
                if cost == Cost::Light && calls.len() <= INLINE_BATCH {
                    return self.answer_here(&body, groups, max_batch);
                }
                cost
            }
        };
        // What may execute contracts, search logs, read blocks or wait for the node runs on a blocking thread, a bounded number
        // at once: what only reads does not wait for what executes.
        let busy_body = body.clone();
        let Ok(_place) = self.waiting.clone().try_acquire_owned() else {
            return Answer { body: busy(&busy_body, max_batch), malformed: false, room: None };
        };
        let turns = if cost <= Cost::Block { &self.reading } else { &self.heavy };
        let Ok(turn) = turns.clone().acquire_owned().await else {
            return Answer { body: wire::failure(None, &RpcError::NODE_BUSY), malformed: false, room: None };
        };
        let api = self.clone();
        let work = tokio::task::spawn_blocking(move || (api.answer_here(&body, groups, max_batch), turn));
        match work.await {
            // The turn is over when it has its room, so that no more answers are held than there is room for.
            Ok((answer, _turn)) => match self.answers.room(answer.body.len()) {
                Ok(room) => Answer { room, ..answer },
                Err(()) => Answer { body: busy(&busy_body, max_batch), malformed: false, room: None },
            },
            Err(error) => Answer { body: wire::failure(None, &RpcError::internal(error)), malformed: false, room: None },
        }
    }

    /// Answers one request body on the calling thread, whatever it costs. Not for async threads.
    pub fn answer_here(&self, body: &[u8], groups: Groups, max_batch: usize) -> Answer {
        match wire::split(body, max_batch) {
            Err(body) => Answer { body, malformed: true, room: None },
            Ok(wire::Frame::One(call)) => {
                let mut out = Vec::new();
                if call.id.is_some() {
                    wire::respond(&mut out, call.id, &self.call(&call.method, call.params, groups));
                }
                Answer { body: out, malformed: false, room: None }
            }
            Ok(wire::Frame::Batch(calls)) => {
                let mut out = vec![b'['];
                for call in &calls {
                    let (id, answer) = match call {
                        Ok(call) if call.id.is_none() => continue,
                        // The sum of a batch obeys the same bound as one answer.
                        Ok(call) if out.len() > self.settings.response_limit => (call.id, Err(RpcError::RESPONSE_SIZE)),
                        Ok(call) => (call.id, self.call(&call.method, call.params, groups)),
                        Err(id) => (*id, Err(RpcError::INVALID_REQUEST)),
                    };
                    if out.len() > 1 {
                        out.push(b',');
                    }
                    wire::respond(&mut out, id, &answer);
                }
                if out.len() == 1 {
                    return Answer { body: Vec::new(), malformed: false, room: None };
                }
                out.push(b']');
                Answer { body: out, malformed: false, room: None }
            }
        }
    }
}

/// The refusal of every call in a body that found no place to wait.
fn busy(body: &[u8], max_batch: usize) -> Vec<u8> {
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
