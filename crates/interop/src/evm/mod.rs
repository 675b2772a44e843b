//! Programs for the EVM, made from a fork's list of instructions and precompiled contracts: what a mixed network runs so
//! that any difference between two clients shows in a root.

pub mod assembly;
pub mod executor;
pub mod instructions;
pub mod precompiles;
pub mod programs;
pub mod random;

/// A program: code of a contract. Its name says what it is about.
#[derive(Clone, Debug)]
pub struct Program {
    /// `SDIV 3`, `precompile 0x05 cut 2`.
    pub name: String,
    /// Runtime code, at most some kilobytes.
    pub code: Vec<u8>,
}

/// All programs of a fork, the same in every run.
pub fn all(fork: ipe_types::fork::Fork, native: bool) -> Vec<Program> {
    let mut all = programs::programs(fork, native);
    all.extend(precompiles::programs(fork, native));
    all
}

#[cfg(test)]
mod tests;
