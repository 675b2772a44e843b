//! Accepting connections.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::counters::Outcome;
use crate::door;
use crate::network::Shared;
use crate::session::{self, Origin};

/// Pause after the system refuses to accept (out of descriptors): connections that end meanwhile free some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
        let entered = door::enter(&shared, remote.ip().to_canonical(), |place| {
            let shared = Arc::clone(&shared);
            let serving = async move {
                session::run(shared, stream, remote, Origin::Inbound(place)).await;
            };
            tokio::spawn(serving).abort_handle()
        });
        if !entered {
            shared.counters.outcome(true, Outcome::Throttled);
        }
    }
}
