//! Accepting connections, with a bound on those that have proved nothing yet.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::counters::Outcome;
use crate::network::Shared;
use crate::session::{self, Origin};

/// Pause after the system refuses to accept (out of descriptors): connections that end meanwhile free some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Unproven {
    ticket: u64,
    ip: IpAddr,
    task: AbortHandle,
}

/// Inbound connections that have not finished Status. When it is full the oldest goes: an honest peer needs
/// milliseconds, and who waits longest is the likeliest to be idle on purpose.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    list: Mutex<(u64, VecDeque<Unproven>)>,
}

/// A connection's place in [`Pending`]; leaving is dropping it.
#[derive(Debug)]
pub(crate) struct Place {
    shared: Arc<Shared>,
    ticket: u64,
}

impl Place {
    /// The connection has finished Status. `false` when it was dropped for newer ones at this very moment.
    pub(crate) fn prove(&self) -> bool {
        self.shared.pending.remove(self.ticket)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.pending.remove(self.ticket);
    }
}

impl Pending {
    fn remove(&self, ticket: u64) -> bool {
        let mut list = self.list.lock();
        let at = list.1.iter().position(|unproven| unproven.ticket == ticket);
        at.and_then(|at| list.1.remove(at)).is_some()
    }
}

/// Accepts until the network stops.
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let mut stopped = std::pin::pin!(shared.stopped());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stopped => return,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if let Some(suppressed) = shared.log.allow() {
                    tracing::warn!(suppressed, "cannot accept a connection: {error}");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let ip = remote.ip().to_canonical();
        // Held until the entry is in, so that the task cannot leave before it.
        let mut list = shared.pending.list.lock();
        make_room(&shared, &mut list.1, ip);
        list.0 += 1;
        let ticket = list.0;
        let place = Place { shared: Arc::clone(&shared), ticket };
        let task = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                session::run(shared, stream, remote, Origin::Inbound(place)).await;
            }
        });
        list.1.push_back(Unproven { ticket, ip, task: task.abort_handle() });
    }
}

fn make_room(shared: &Shared, list: &mut VecDeque<Unproven>, ip: IpAddr) {
    let from_same = list.iter().filter(|unproven| unproven.ip == ip).count();
    let oldest = if !ip.is_loopback() && from_same >= shared.limits.unproven_per_ip {
        list.iter().position(|unproven| unproven.ip == ip)
    } else if list.len() >= shared.limits.unproven {
        Some(0)
    } else {
        None
    };
    if let Some(unproven) = oldest.and_then(|at| list.remove(at)) {
        unproven.task.abort();
        shared.counters.outcome(true, Outcome::Evicted);
        if let Some(suppressed) = shared.log.allow() {
            tracing::info!(from = %unproven.ip, suppressed, "dropped the oldest unproven connection: {} wait", list.len() + 1);
        }
    }
}
