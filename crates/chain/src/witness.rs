//! Who watches a rules contract answer, so that its answer can be kept: which fields of the block it looked at.

use revm::interpreter::Interpreter;
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_types::Jumps;

/// What an evaluation looked at.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    of_the_block: bool,
}

impl Witness {
    /// Whether it looked at what every block changes.
    pub(crate) fn of_the_block(&self) -> bool {
        self.of_the_block
    }

    /// Sees an instruction before it is executed.
    pub(crate) fn before(&mut self, interpreter: &Interpreter<EthInterpreter>) {
        // BLOCKHASH to GASLIMIT; the base fee and the price of blobs are 0 in every question.
        self.of_the_block |= matches!(interpreter.bytecode.opcode(), 0x40..=0x45);
    }
}
