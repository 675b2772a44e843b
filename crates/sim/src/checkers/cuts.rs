//! Honest nodes do not cut each other for breaking the protocol, whatever villains do in between.

pub(super) fn check(who: &str, whom: &str, why: &str) -> Result<(), String> {
    Err(format!("{who} cut {whom}, which is honest: {why}"))
}
