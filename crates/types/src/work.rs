//! How much was done: kinds of work whose cost grows with what others send, counted in the thread that does them.
//!
//! Counting costs an addition. A simulator, where no time passes while a replica works, lets its clock go on by what the
//! counts cost on a real machine; so a simulated network slows down where a real one would.

use std::cell::Cell;

/// What a thread has done since it was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Public keys recovered from signatures.
    pub recoveries: u64,
    /// Signatures made.
    pub signatures: u64,
    /// Bytes hashed.
    pub hashed: u64,
    /// Bytes of messages decoded.
    pub decoded: u64,
    /// Gas executed.
    pub gas: u64,
    /// Time that precompiled contracts take beyond what their gas stands for, by the worst rate of each, ns.
    pub precompiled_ns: u64,
}

thread_local! {
    static DONE: Cell<Done> = const { Cell::new(Done { recoveries: 0, signatures: 0, hashed: 0, decoded: 0, gas: 0, precompiled_ns: 0 }) };
}

/// Counts something: `work::count(|done| done.gas += gas)`.
#[inline]
pub fn count(add: impl FnOnce(&mut Done)) {
    let mut done = DONE.get();
    add(&mut done);
    DONE.set(done);
}

/// What this thread has done since the last call. Counts wrap.
pub fn take() -> Done {
    DONE.take()
}

/// Keccak-256 of `bytes`, counted.
#[inline]
pub fn keccak256(bytes: impl AsRef<[u8]>) -> alloy_primitives::B256 {
    let bytes = bytes.as_ref();
    count(|done| done.hashed = done.hashed.wrapping_add(bytes.len() as u64));
    alloy_primitives::keccak256(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{HighS, NodeKey, recover_address};

    #[test]
    fn a_thread_counts_what_it_does_and_nothing_else() {
        let key = NodeKey::from_bytes([5; 32]).unwrap();
        take();
        let hash = keccak256([1; 300]);
        let signature = key.sign(hash);
        for _ in 0..2 {
            recover_address(hash, &signature, HighS::Rejected).unwrap();
        }
        std::thread::spawn(|| keccak256([0; 1_000])).join().unwrap();
        let done = take();
        assert_eq!((done.hashed, done.signatures, done.recoveries), (300, 1, 2));
        assert_eq!(take(), Done::default());
    }
}
