//! A listener that bears whoever connects: a number of places that no address can keep to itself, an end to connections on
//! which nothing is said, and answers about the node's health even when all places are taken.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};
use tokio_rustls::Accept;
use tokio_rustls::server::TlsStream;

use crate::handshakes;
use crate::places::{GUEST_TIME, Place, Places};
use crate::tls::Tls;
use crate::turns::Caller;

/// A connection on which nothing was sent to the client for this long is closed: what a client dribbles in does not count,
/// so a slow loris holds its place no longer than an idle keep-alive connection.
const QUIET: Duration = Duration::from_secs(90);
/// Pause after the system refused a connection, usually because the process has no more file descriptors.
const REFUSED: Duration = Duration::from_millis(100);
/// Least time between two lines of the log of one kind.
const LINE: Duration = Duration::from_secs(60);

/// What one listener is for.
#[derive(Debug, Clone, Copy)]
pub struct Doors {
    /// Its name in the log.
    pub name: &'static str,
    /// Connections at once; a few more for questions about health.
    pub places: usize,
    /// What is answered to whoever comes when all places are taken.
    pub always: fn(&Request) -> bool,
    /// Name of the gauge of open connections, if they are counted.
    pub gauge: Option<&'static str>,
}

/// Serves until `until` is ready, and then what was begun.
///
/// # Errors
/// The runtime's, of which none is known: failing to accept a connection is told in the log and tried again.
pub async fn run(
    listener: TcpListener,
    router: Router,
    doors: Doors,
    until: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    run_with(listener, router, doors, None, until).await
}

/// The same, with TLS.
pub(crate) async fn run_with(
    listener: TcpListener,
    router: Router,
    doors: Doors,
    tls: Option<Arc<Tls>>,
    until: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let accepting = Accepting { listener, places: Places::new(doors.places), doors, tls, refused: Line::new(), full: Line::new() };
    let router = router.layer(axum::middleware::from_fn_with_state(doors, guests));
    axum::serve(accepting, router.into_make_service_with_connect_info::<Guest>()).with_graceful_shutdown(until).await
}

/// Whether a request's connection found all places taken.
#[derive(Debug, Clone)]
struct Guest {
    guest: bool,
    asks: Arc<AtomicBool>,
    caller: Caller,
}

impl Connected<IncomingStream<'_, Accepting>> for Guest {
    fn connect_info(stream: IncomingStream<'_, Accepting>) -> Self {
        let place = &stream.io().place;
        Guest { guest: place.guest, asks: Arc::clone(&place.asks), caller: place.caller() }
    }
}

/// Says whose a request is, and notes that a question is being answered; of a guest one, if it is one that is always answered.
async fn guests(
    State(doors): State<Doors>,
    ConnectInfo(Guest { guest, asks, caller }): ConnectInfo<Guest>,
    mut request: Request,
    next: Next,
) -> Response {
    request.extensions_mut().insert(caller);
    asks.store(true, Ordering::Relaxed);
    if !guest {
        let response = next.run(request).await;
        asks.store(false, Ordering::Relaxed);
        return response;
    }
    let mut response = if (doors.always)(&request) {
        next.run(request).await
    } else {
        let text = format!("all {} connections of this listener are taken", doors.places);
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    };
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A line of the log that comes once in [`LINE`], with how often it would have come.
#[derive(Debug)]
pub(crate) struct Line {
    said: Option<Instant>,
    times: u64,
}

impl Line {
    pub(crate) const fn new() -> Self {
        Self { said: None, times: 0 }
    }

    /// How often since the last line, if it is time for one.
    pub(crate) fn due(&mut self) -> Option<u64> {
        self.times += 1;
        if self.said.is_some_and(|said| said.elapsed() < LINE) {
            return None;
        }
        self.said = Some(Instant::now());
        Some(std::mem::take(&mut self.times))
    }
}

struct Accepting {
    listener: TcpListener,
    places: Arc<Places>,
    doors: Doors,
    tls: Option<Arc<Tls>>,
    refused: Line,
    full: Line,
}

impl axum::serve::Listener for Accepting {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let listener = self.doors.name;
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let place = self.places.take(address.ip());
                    if place.guest
                        && let Some(times) = self.full.due()
                        && let Some((busiest, held)) = self.places.busiest()
                    {
                        let places = self.doors.places;
                        tracing::warn!(
                            listener, places, %busiest, held, times,
                            "all connections are taken: only questions about health are answered to others; \
                             allow more, or see what that client does"
                        );
                    }
                    // Answers are small; waiting to fill a packet would only add latency.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%address, %error, "could not set TCP_NODELAY");
                    }
                    let wire = match &self.tls {
                        None => Wire::Plain(stream),
                        Some(tls) => Wire::begin(stream, tls, &place),
                    };
                    return (Connection::new(wire, place, self.doors.gauge.map(Open::new)), address);
                }
                Err(error) => {
                    if let Some(times) = self.refused.due() {
                        tracing::warn!(
                            listener, %error, times,
                            "the system gives no connection; where it is out of file descriptors, raise the limit (ulimit -n)"
                        );
                    }
                    tokio::time::sleep(REFUSED).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// What carries a connection's bytes.
enum Wire {
    Plain(TcpStream),
    /// TLS begins: with the first byte that is wanted, on the thread that reads requests, and not where connections are accepted.
    Begins(Box<Begins>),
    /// With how often the clients that are let in had changed when it began.
    Tls(Box<TlsStream<TcpStream>>, u64, Arc<Tls>),
    /// TLS never came about.
    Over,
}

/// A handshake, and the wait before it.
struct Begins {
    tls: Arc<Tls>,
    /// Set as long as the address has to wait.
    wait: Option<(Pin<Box<Sleep>>, TcpStream)>,
    accept: Option<(Accept<TcpStream>, u64)>,
    until: Pin<Box<Sleep>>,
}

/// How often a handshake failed, for the log.
static FAILED: Mutex<Line> = Mutex::new(Line::new());

impl Wire {
    fn begin(stream: TcpStream, tls: &Arc<Tls>, place: &Place) -> Wire {
        let Some(wait) = tls.handshakes.begin(place.from(), Instant::now()) else {
            count("throttled");
            return Wire::Over;
        };
        let until = Box::pin(tokio::time::sleep(handshakes::TIME));
        let wait = Some((Box::pin(tokio::time::sleep(wait)), stream));
        Wire::Begins(Box::new(Begins { tls: tls.clone(), wait, accept: None, until }))
    }

    /// Ready once bytes of the client can be read and written.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Wire::Plain(_) | Wire::Tls(..) => Poll::Ready(Ok(())),
            Wire::Over => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            Wire::Begins(begins) => {
                let done = std::task::ready!(begins.poll(cx));
                let tls = begins.tls.clone();
                *self = match done {
                    Ok((stream, generation)) => {
                        count("completed");
                        Wire::Tls(Box::new(stream), generation, tls)
                    }
                    Err(error) => {
                        count(if error.kind() == io::ErrorKind::TimedOut { "slow" } else { "failed" });
                        if let Some(times) = FAILED.lock().due() {
                            tracing::warn!(%error, times, "a TLS handshake failed: the client speaks no TLS, trusts another certificate, or has none that is let in");
                        }
                        Wire::Over
                    }
                };
                self.poll_open(cx)
            }
        }
    }

    /// The clients that are let in have changed since this one was.
    fn is_outdated(&self) -> bool {
        matches!(self, Wire::Tls(_, generation, tls) if *generation != tls.generation())
    }
}

impl Begins {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TlsStream<TcpStream>, u64)>> {
        if self.until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if let Some((mut wait, stream)) = self.wait.take() {
            if wait.as_mut().poll(cx).is_pending() {
                self.wait = Some((wait, stream));
                return Poll::Pending;
            }
            let (acceptor, generation) = self.tls.acceptor();
            self.accept = Some((acceptor.accept(stream), generation));
        }
        let Some((accept, generation)) = &mut self.accept else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        Pin::new(accept).poll(cx).map_ok(|stream| (stream, *generation))
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("ipe_rpc_tls_handshakes_total", "outcome" => outcome).increment(1);
}

/// A TCP stream that gives its place back when dropped, and ends when its place is another's, after [`QUIET`] without
/// anything sent to the client, and a guest's after [`GUEST_TIME`].
struct Connection {
    wire: Wire,
    place: Place,
    alarm: Pin<Box<Sleep>>,
    /// The place is another's.
    cut: bool,
    _open: Option<Open>,
}

/// A connection that is counted as long as it lives.
struct Open(&'static str);

impl Open {
    fn new(gauge: &'static str) -> Self {
        metrics::gauge!(gauge).increment(1.0);
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!(self.0).decrement(1.0);
    }
}

impl Connection {
    fn new(wire: Wire, place: Place, open: Option<Open>) -> Self {
        let time = if place.guest { GUEST_TIME } else { QUIET };
        Self { alarm: Box::pin(tokio::time::sleep_until(place.since() + time)), wire, place, cut: false, _open: open }
    }

    /// Ready with an error once the connection is over.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.cut = self.cut || self.wire.is_outdated() || Pin::new(&mut self.place.cut).poll(cx).is_ready();
        if self.cut {
            return Poll::Ready(io::ErrorKind::ConnectionAborted.into());
        }
        while self.alarm.as_mut().poll(cx).is_ready() {
            let until = self.place.since() + QUIET;
            if self.place.guest || until <= Instant::now() {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            self.alarm.as_mut().reset(until);
        }
        Poll::Pending
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>, sent: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match sent {
            Poll::Ready(done) => {
                self.place.spoke();
                Poll::Ready(done)
            }
            Poll::Pending => self.poll_over(cx).map(Err),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Whoever always has something to say is cut as well.
        if let Poll::Ready(error) = self.poll_over(cx) {
            return Poll::Ready(Err(error));
        }
        std::task::ready!(self.wire.poll_open(cx))?;
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Wire::Tls(stream, ..) => Pin::new(stream).poll_read(cx, buf),
            Wire::Begins(_) | Wire::Over => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        std::task::ready!(self.wire.poll_open(cx))?;
        let sent = match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Wire::Tls(stream, ..) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Wire::Begins(_) | Wire::Over => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        };
        self.poll_sent(cx, sent)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream, ..) => {
                let flushed = Pin::new(stream).poll_flush(cx);
                // What TLS holds back for a client that does not read is over when the connection is.
                if flushed.is_pending() { self.poll_over(cx).map(Err) } else { flushed }
            }
            Wire::Begins(_) | Wire::Over => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream, ..) => {
                let closed = Pin::new(stream).poll_shutdown(cx);
                if closed.is_pending() { self.poll_over(cx).map(Err) } else { closed }
            }
            Wire::Begins(_) | Wire::Over => Poll::Ready(Ok(())),
        }
    }
}
