//! The committed contracts on our own ledger.
//!
//! `IPE_GEN02_ARTIFACTS=<folder> cargo test -p ipe-chain --test contracts safety` runs the safety rules on RBB's second
//! generation instead (the folder is Hardhat's `artifacts/contracts`), where every one of them has to be broken.
#![allow(clippy::unwrap_used, clippy::panic)]

mod abi;
mod artifacts;
mod bed;
mod decisions;
mod enforced;
mod gas;
#[path = "../support/order.rs"]
mod order;
mod probes;
mod random;
mod records;
mod rules;
mod safety;
mod selection;
