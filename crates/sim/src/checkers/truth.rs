//! What a node says of itself is so: who is level is ready, whatever others claim; who has been behind for a while says so.

use ipe_engine::Status;

/// Blocks behind within which a node is ready (Besu's `maxBlocksBehind`).
const MAX_BEHIND: u64 = 2;
/// Blocks behind from which it must know.
const FAR_BEHIND: u64 = 10;

pub(super) fn check(who: &str, status: &Status, head: u64, height: u64, long_behind: bool) -> Result<(), String> {
    // As readiness counts it.
    let highest = status.sync.map_or(status.best_known, |sync| sync.highest.max(status.best_known));
    let ready = highest.saturating_sub(head) <= MAX_BEHIND;
    if head + 1 >= height && !ready {
        return Err(format!("{who} is at block {head} of {height} and says that it is not ready: it believes in block {highest}"));
    }
    if head + FAR_BEHIND < height && long_behind && ready {
        return Err(format!("{who} is at block {head} of {height} and says that it is ready"));
    }
    Ok(())
}

/// Whether a node that far from the height is so far behind that it must know.
pub(super) fn is_far_behind(head: u64, height: u64) -> bool {
    head + FAR_BEHIND < height
}
