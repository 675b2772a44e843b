//! The contract that runs programs: it creates one from what it is called with, calls it in all four ways, and logs what
//! came of each.

use super::assembly::Code;
use super::instructions as op;

/// Gas of each call of a program: enough for every precompiled contract with the inputs here.
const CALL_GAS: u64 = 400_000;
/// Wei that a call with value sends; a transaction brings as much as two calls need.
pub const VALUE: u64 = 3;
/// Bytes of a program's answer that are kept.
const KEPT: u64 = 2048;
/// Memory of one call: success, gas, size of the answer, hash of what is kept, and what is kept.
pub const SLOT: u64 = 128 + KEPT;
/// Where the creation code is put.
const INPUT: u64 = 9216;
/// The calls, in order. The last writes into the executor's own storage.
const CALLS: [u8; 4] = [op::STATICCALL, op::CALL, op::CALLCODE, op::DELEGATECALL];

/// Its code. Called with the creation code of a program; gives what it logged, with the answers.
pub fn executor() -> Code {
    let mut code = Code::new()
        .op(&[op::CALLDATASIZE])
        .push(0u64)
        .push(INPUT)
        .op(&[op::CALLDATACOPY, op::CALLDATASIZE])
        .push(INPUT)
        .push(0u64)
        .op(&[op::CREATE]);
    for (at, call) in (0u64..).zip(CALLS) {
        let slot = at * SLOT;
        // What was called is given 36 bytes of input, and no room for its answer.
        code = code.op(&[op::GAS]).push(slot + 32).op(&[op::MSTORE]).push(0u64).push(0u64).push(36u64).push(INPUT);
        let with_value = matches!(call, op::CALL | op::CALLCODE);
        if with_value {
            code = code.push(VALUE);
        }
        let address = op::DUP1 + if with_value { 5 } else { 4 };
        code = code.op(&[address]).push(CALL_GAS).op(&[call]);
        code = code.op(&[op::GAS]).push(slot + 32).op(&[op::MLOAD, op::SUB]).push(slot + 32).op(&[op::MSTORE]);
        code = code.push(slot).op(&[op::MSTORE, op::RETURNDATASIZE]).push(slot + 64).op(&[op::MSTORE]);
        // The smaller of KEPT and the size: KEPT ^ ((KEPT ^ size) & -(size < KEPT)).
        code = code.push(KEPT).op(&[op::RETURNDATASIZE, op::DUP1 + 1, op::DUP1 + 1, op::LT]).push(0u64);
        code = code.op(&[op::SUB, op::SWAP1, op::DUP1 + 2, op::XOR, op::AND, op::XOR]);
        code = code.op(&[op::DUP1]).push(0u64).push(slot + 128).op(&[op::RETURNDATACOPY]);
        code = code.push(slot + 128).op(&[op::KECCAK256]).push(slot + 96).op(&[op::MSTORE]);
        code = code.push(u64::from(call)).push(128u64).push(slot).op(&[op::LOG0 + 1]);
    }
    code.push(SLOT * 4).push(0u64).op(&[op::RETURN])
}
