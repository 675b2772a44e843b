//! The threads that answer JSON-RPC: their own, and after the rest of the node. A client that asks for all that it may slows
//! down other clients; consensus, relaying and synchronisation go on.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// Threads that read requests and answer the cheap ones.
const WORKERS: usize = 2;
/// Bytes of a thread's stack, of which only what is used takes memory.
const STACK: usize = 4 << 20;
/// How much later than other threads they get a processor that somebody else wants as well: a tenth of the time is theirs.
const NICE: i32 = 10;

/// A runtime of its own, let go of without waiting when dropped, which a runtime itself does not bear on an async thread.
#[derive(Debug)]
pub(crate) struct Threads(Option<Runtime>);

impl Threads {
    /// Starts them. `blocking`: requests that are carried out at once on threads of theirs.
    pub(crate) fn start(blocking: usize) -> io::Result<Threads> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(blocking)
            // Nested calls are written as nested JSON.
            .thread_stack_size(STACK)
            .thread_name("rpc")
            .on_thread_start(give_way)
            .enable_all()
            .build()?;
        Ok(Threads(Some(runtime)))
    }

    /// Carries out `work` on them.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
        let Some(runtime) = &self.0 else { return Err(io::ErrorKind::NotConnected.into()) };
        runtime.spawn(work).await.map_err(io::Error::other)
    }

    /// Waits for at most `grace` for what is being answered.
    pub(crate) async fn stop(mut self, grace: Duration) {
        if let Some(runtime) = self.0.take() {
            // It fails when the caller's runtime ends as well; then nobody waits.
            let _ = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(grace)).await;
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// On Linux a priority belongs to a thread.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
        tracing::debug!(%error, "JSON-RPC has the priority of the rest of the node");
    }
}
