//! Whoever floods keeps nobody else waiting: transactions that the writers of other institutions acknowledged are in one of
//! the next blocks.

/// Blocks within which 99 of 100 are mined.
const MOST: u64 = 3;

/// `waits` are blocks from the acknowledgement to the inclusion, those of an institution with a villain left out.
pub(super) fn check(mut waits: Vec<u64>) -> Result<(), String> {
    waits.sort_unstable();
    let Some(p99) = waits.get(waits.len() * 99 / 100).copied() else { return Ok(()) };
    if p99 <= MOST {
        return Ok(());
    }
    Err(format!(
        "of {} transactions of institutions that flood nobody, one in a hundred waited {p99} blocks or more, at most {MOST} are promised; the median waited {}, the last {}",
        waits.len(),
        waits[waits.len() / 2],
        waits[waits.len() - 1]
    ))
}
