//! Forwarding the bytes of one stream, both ways, through buffers of fixed size.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::CarryRefusal;

/// Bytes read at once in each direction: what a stream may have in flight here beyond the sockets' own buffers. Two
/// messages of everyday size; what does not fit waits at its sender.
const BUFFER: usize = 32 * 1024;
/// Time for the other direction to end once one has: a session ends with a Disconnect and nothing after it.
const LINGER: Duration = Duration::from_secs(2);

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// One of the ends closed it.
    Closed,
    /// It was cut for this reason.
    Cut(CarryRefusal),
}

/// Bytes forwarded to and from the validator.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    pub(crate) to_validator: AtomicU64,
    pub(crate) from_validator: AtomicU64,
}

/// Forwards until an end closes, or both are silent for `idle`, or one takes longer than `stall` for what was read at once.
pub(super) async fn pump(validator: TcpStream, remote: TcpStream, meter: &Meter, idle: Duration, stall: Duration) -> End {
    let (mut validator_in, mut validator_out) = validator.into_split();
    let (mut remote_in, mut remote_out) = remote.into_split();
    let start = Instant::now();
    let active = AtomicU64::new(0);
    let clock = Activity { start, active: &active };
    let inward = forward(&mut remote_in, &mut validator_out, &meter.to_validator, clock, stall);
    let outward = forward(&mut validator_in, &mut remote_out, &meter.from_validator, clock, stall);
    let mut inward = std::pin::pin!(inward);
    let mut outward = std::pin::pin!(outward);
    let silent = async {
        loop {
            let quiet = clock.quiet();
            if quiet >= idle {
                return;
            }
            tokio::time::sleep(idle - quiet).await;
        }
    };
    let first = tokio::select! {
        end = &mut inward => (end, true),
        end = &mut outward => (end, false),
        () = silent => return End::Cut(CarryRefusal::Idle),
    };
    match first {
        (End::Closed, true) => tokio::time::timeout(LINGER, outward).await.unwrap_or(End::Closed),
        (End::Closed, false) => tokio::time::timeout(LINGER, inward).await.unwrap_or(End::Closed),
        (cut, _) => cut,
    }
}

/// When a byte last passed, in milliseconds after the start.
#[derive(Clone, Copy)]
struct Activity<'a> {
    start: Instant,
    active: &'a AtomicU64,
}

impl Activity<'_> {
    fn touch(self) {
        let passed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.active.store(passed, Ordering::Relaxed);
    }

    fn quiet(self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.active.load(Ordering::Relaxed)))
    }
}

async fn forward<R, W>(from: &mut R, to: &mut W, bytes: &AtomicU64, clock: Activity<'_>, stall: Duration) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        clock.touch();
        let mut left = &buffer[..read];
        // For all of it: an end that takes a byte now and then is as good as one that takes none.
        let deadline = tokio::time::Instant::now() + stall;
        while !left.is_empty() {
            match tokio::time::timeout_at(deadline, to.write(left)).await {
                Err(_) => return End::Cut(CarryRefusal::Stalled),
                Ok(Ok(0) | Err(_)) => return End::Closed,
                Ok(Ok(written)) => {
                    bytes.fetch_add(written as u64, Ordering::Relaxed);
                    left = &left[written..];
                    clock.touch();
                }
            }
        }
    }
    // The end is passed on; a connection that is gone needs no telling.
    let _ = to.shutdown().await;
    End::Closed
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let dialled = TcpStream::connect(listener.local_addr().expect("an address"));
        let (dialled, accepted) = tokio::join!(dialled, listener.accept());
        (dialled.expect("connected"), accepted.expect("accepted").0)
    }

    fn noise(length: usize) -> Vec<u8> {
        (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    #[tokio::test]
    async fn megabytes_pass_both_ways_unchanged_and_are_counted() {
        let ((validator, ours), (remote, theirs)) = (pair().await, pair().await);
        let meter = std::sync::Arc::new(Meter::default());
        let pumping = tokio::spawn({
            let meter = std::sync::Arc::clone(&meter);
            async move { pump(ours, theirs, &meter, Duration::from_secs(20), Duration::from_secs(20)).await }
        });
        let exchange = |stream: TcpStream, send: usize, expect: usize| async move {
            let (mut read, mut write) = stream.into_split();
            let sending = async {
                write.write_all(&noise(send)).await.expect("written");
                write.shutdown().await.expect("ended");
            };
            let mut got = Vec::new();
            let (_, read) = tokio::join!(sending, read.read_to_end(&mut got));
            read.expect("read to the end");
            assert!(got == noise(expect));
        };
        tokio::join!(exchange(validator, 3 << 20, 5 << 20), exchange(remote, 5 << 20, 3 << 20));
        assert_eq!(pumping.await.expect("no panic"), End::Closed);
        assert_eq!(meter.from_validator.load(Ordering::Relaxed), 3 << 20);
        assert_eq!(meter.to_validator.load(Ordering::Relaxed), 5 << 20);
    }

    #[tokio::test]
    async fn silence_and_an_end_that_reads_nothing_are_cut() {
        let ((_validator, ours), (_remote, theirs)) = (pair().await, pair().await);
        let (idle, stall) = (Duration::from_millis(200), Duration::from_millis(200));
        let end = pump(ours, theirs, &Meter::default(), idle, stall).await;
        assert_eq!(end, End::Cut(CarryRefusal::Idle));

        let ((_validator, ours), (mut remote, theirs)) = (pair().await, pair().await);
        let meter = Meter::default();
        let flood = tokio::spawn(async move {
            let bytes = noise(1 << 20);
            // Until the sockets' buffers are full and the stream is cut.
            while remote.write_all(&bytes).await.is_ok() {}
        });
        let end = pump(ours, theirs, &meter, Duration::from_secs(30), stall).await;
        assert_eq!(end, End::Cut(CarryRefusal::Stalled));
        flood.await.expect("no panic");
    }
}
