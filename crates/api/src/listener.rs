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
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};

use crate::places::{GUEST_TIME, Place, Places};
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
pub async fn run(listener: TcpListener, router: Router, doors: Doors, until: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    let accepting = Accepting { listener, places: Places::new(doors.places), doors, refused: Line::default(), full: Line::default() };
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
async fn guests(State(doors): State<Doors>, ConnectInfo(Guest { guest, asks, caller }): ConnectInfo<Guest>, mut request: Request, next: Next) -> Response {
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
#[derive(Default)]
struct Line {
    said: Option<Instant>,
    times: u64,
}

impl Line {
    /// How often since the last line, if it is time for one.
    fn due(&mut self) -> Option<u64> {
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
                    return (Connection::new(stream, place, self.doors.gauge.map(Open::new)), address);
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

/// A TCP stream that gives its place back when dropped, and ends when its place is another's, after [`QUIET`] without
/// anything sent to the client, and a guest's after [`GUEST_TIME`].
struct Connection {
    stream: TcpStream,
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
    fn new(stream: TcpStream, place: Place, open: Option<Open>) -> Self {
        let time = if place.guest { GUEST_TIME } else { QUIET };
        Self { alarm: Box::pin(tokio::time::sleep_until(place.since() + time)), stream, place, cut: false, _open: open }
    }

    /// Ready with an error once the connection is over.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.cut = self.cut || Pin::new(&mut self.place.cut).poll(cx).is_ready();
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
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.poll_sent(cx, sent)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.poll_sent(cx, sent)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
