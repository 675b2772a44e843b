//! What work costs: virtual time for what a replica did, so that a simulated network slows down where a real one would.
//!
//! The counts come from [`ipe_types::work`]. The times are estimates for a processor of a server, not measurements: `ipe sim
//! costs` measures each on the machine at hand and shows it beside the estimate. One processor of a simulated node
//! runs the replica's jobs and another does everything else, network and recovery of senders included: a real one has at least two,
//! and most work is theirs to share, so what holds here holds there.

use ipe_types::work::Done;

/// Recovery of a public key, ns.
pub const RECOVERY_NS: u64 = 40_000;
/// A signature, ns.
pub const SIGNATURE_NS: u64 = 30_000;
/// Hashing of 1 KiB, ns.
pub const HASHED_KIB_NS: u64 = 2_500;
/// Decompressing, decoding and copying 1 KiB of a message, ns.
pub const DECODED_KIB_NS: u64 = 1_000;
/// Execution of 1,000 gas, with the roots that follow from it, ns; hashing in a contract costs more.
pub const KILOGAS_NS: u64 = 6_000;
/// A durable write, µs.
pub const WRITE_US: u64 = 400;
/// Writing 1 KiB, ns.
pub const WRITTEN_KIB_NS: u64 = 2_000;
/// What every input costs whatever it is, ns.
pub const INPUT_NS: u64 = 5_000;

/// Time of what was done, ns.
pub(crate) fn nanos(done: &Done) -> u64 {
    let kib = |bytes: u64, price: u64| bytes.saturating_mul(price) / 1_024;
    let signed = done.recoveries * RECOVERY_NS + done.signatures * SIGNATURE_NS;
    signed
        + kib(done.hashed, HASHED_KIB_NS)
        + kib(done.decoded, DECODED_KIB_NS)
        + done.gas.saturating_mul(KILOGAS_NS) / 1_000
        + done.precompiled_ns
}

/// Time of a durable write of so many bytes, µs.
pub(crate) fn write_us(bytes: usize) -> u64 {
    WRITE_US + bytes as u64 * WRITTEN_KIB_NS / 1_024 / 1_000
}
