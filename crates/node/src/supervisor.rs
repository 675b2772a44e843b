//! Messages to the supervisor that started this process, when it left a socket in `NOTIFY_SOCKET` (sd_notify(3)). Nothing is sent
//! otherwise, and a message that cannot be sent changes nothing in the node.

use sd_notify::NotifyState;

/// Everything is open and the replica runs.
pub(crate) fn ready() {
    send(&NotifyState::Ready);
}

/// The process is well. A supervisor that hears nothing more for as long as it was told to wait starts the process again.
pub(crate) fn alive() {
    send(&NotifyState::Watchdog);
}

/// The process ends in order.
pub(crate) fn stopping() {
    send(&NotifyState::Stopping);
}

fn send(state: &NotifyState) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        tracing::debug!(%error, "the supervisor could not be told");
    }
}
