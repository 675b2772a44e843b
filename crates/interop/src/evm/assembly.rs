//! Code of the EVM, instruction by instruction.

use super::instructions as op;
use alloy_primitives::U256;

/// Code under construction.
#[derive(Clone, Debug, Default)]
pub struct Code(pub Vec<u8>);

impl Code {
    /// Nothing yet.
    pub fn new() -> Code {
        Code::default()
    }

    /// Adds instructions.
    pub fn op(mut self, ops: &[u8]) -> Code {
        self.0.extend_from_slice(ops);
        self
    }

    /// Adds the shortest push of a value that every fork knows.
    pub fn push(mut self, value: impl TryInto<U256>) -> Code {
        let value = value.try_into().unwrap_or(U256::MAX);
        if value == U256::MAX {
            return self.op(&[op::PUSH1, 0, op::NOT]);
        }
        let bytes = value.to_be_bytes::<32>();
        let zeros = (value.leading_zeros() / 8).min(31);
        self.0.push(op::PUSH1 + u8::try_from(31 - zeros).unwrap_or(0));
        self.0.extend_from_slice(&bytes[zeros..]);
        self
    }

    /// Pushes operands so that the first is on top.
    pub fn operands(self, operands: &[U256]) -> Code {
        operands.iter().rev().fold(self, |code, operand| code.push(*operand))
    }

    /// Stores the top of the stack at a byte offset of memory.
    pub fn store(self, at: usize) -> Code {
        self.push(U256::from(at)).op(&[op::MSTORE])
    }

    /// Returns the first bytes of memory.
    pub fn give(self, bytes: usize) -> Code {
        self.push(U256::from(bytes)).push(U256::ZERO).op(&[op::RETURN])
    }

    /// Returns all of memory.
    pub fn give_memory(self) -> Code {
        self.op(&[op::MSIZE]).push(U256::ZERO).op(&[op::RETURN])
    }

    /// Jumps on to `then` where the top of the stack is not zero, and runs `otherwise` where it is.
    pub fn unless(self, otherwise: &Code, then: Code) -> Code {
        // PUSH2 destination, JUMPI: four bytes before `otherwise`.
        let destination = self.0.len() + 4 + otherwise.0.len();
        let [high, low] = u16::try_from(destination).unwrap_or(u16::MAX).to_be_bytes();
        let code = self.op(&[op::PUSH1 + 1, high, low, op::JUMPI]);
        code.op(&otherwise.0).op(&[op::JUMPDEST]).op(&then.0)
    }
}

/// Creation code that leaves `runtime` as a contract.
pub fn creation(runtime: &[u8]) -> Vec<u8> {
    // PUSH1 11, DUP1, CODESIZE, SUB, DUP1, DUP3, PUSH1 0, CODECOPY, PUSH1 0, RETURN: 13 bytes with the operands.
    let mut code = vec![op::PUSH1, 13, op::DUP1, op::CODESIZE, op::SUB, op::DUP1, op::DUP1 + 2, op::PUSH1, 0, op::CODECOPY];
    code.extend_from_slice(&[op::PUSH1, 0, op::RETURN]);
    debug_assert_eq!(code.len(), 13, "the length is written into the code");
    code.extend_from_slice(runtime);
    code
}
