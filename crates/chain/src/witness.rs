//! Who watches a rules contract answer, so that its answer can be kept: which fields of the block it looked at, and whether what it
//! was told of the transaction's value, prices, gas and payload had any part in the answer.
//!
//! RBB's contracts, as most, hand these on from one contract to the next and never look at them. The witness follows them through
//! stack, memory and calls, byte by byte. As long as they only move, the evaluation goes the same way, reads the same and
//! answers the same whatever they are; as soon as one decides about anything (a jump, a place, a length, an address, a hash, a
//! price, the answer), or the witness does not know what an instruction makes of it, the answer holds for this very input.
//!
//! What they are does change the gas that a call has left, for a byte that is not zero costs more. So the answer holds for others only
//! when every frame ended with more gas to spare than that can be, and what an evaluation saw of its gas went nowhere but into calls,
//! unchanged.

use std::ops::Range;

use revm::interpreter::Interpreter;
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_types::Jumps;

/// Bytes of memory that are followed; a rules contract that needs more is not worth it.
const MOST_MEMORY: usize = 1 << 20;
/// Gas that a byte of input can cost more than another, and that a transaction must name for it (68 before Istanbul, EIP-7623's
/// 40), with room.
const BYTE_GAS: u64 = 100;

/// What is known of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// The same for all inputs alike.
    Same,
    /// What GAS said.
    Gas,
    /// It may differ.
    Other,
}

#[derive(Debug, Default)]
struct Frame {
    stack: Vec<Mark>,
    /// Whether a byte may differ; what is beyond the end is the same.
    memory: Vec<bool>,
    input: Vec<bool>,
    returned: Vec<bool>,
    /// What it ends with.
    output: Vec<bool>,
    /// Where that goes in its caller's memory.
    place: Range<usize>,
}

/// A call that begins.
#[derive(Debug, Default)]
struct Call {
    input: Vec<bool>,
    /// Where its output goes in the caller's memory.
    output: Range<usize>,
}

/// What an evaluation looked at.
#[derive(Debug)]
pub(crate) struct Witness {
    of_the_block: bool,
    /// What it was told had no part so far.
    alike: bool,
    frames: Vec<Frame>,
    call: Call,
    immediate: bool,
    /// Whether the first frame has ended, and not one of which nothing was seen.
    done: bool,
    /// Gas that every frame must have to spare.
    spare: u64,
}

/// An instruction of which nothing is known, or which a word decided about.
struct Decides;

impl Witness {
    /// Watches an evaluation with an input of so many bytes, of which these may differ.
    pub(crate) fn new(bytes: usize, differ: &[Range<usize>]) -> Self {
        let input = (0..bytes).map(|at| differ.iter().any(|range| range.contains(&at))).collect();
        let call = Call { input, output: 0..0 };
        let spare = BYTE_GAS.saturating_mul(bytes as u64);
        Self { of_the_block: false, alike: !differ.is_empty(), frames: Vec::new(), call, immediate: false, done: false, spare }
    }

    /// Whether it looked at what every block changes.
    pub(crate) fn of_the_block(&self) -> bool {
        self.of_the_block
    }

    /// Whether every input that differs only where it may gets this answer. Never of a question that did not begin: what it costs to
    /// begin is by the input's bytes.
    pub(crate) fn is_alike(&self) -> bool {
        self.alike && self.done
    }

    /// A call has begun: a frame of its own, or an answer at once (no code, a precompiled contract, a refusal).
    pub(crate) fn begun(&mut self, frame: bool) {
        self.immediate = !frame;
        if frame {
            let Call { input, output } = std::mem::take(&mut self.call);
            self.frames.push(Frame { input, place: output, ..Frame::default() });
        } else if self.call.input.contains(&true) {
            self.alike = false;
        }
    }

    /// A call has ended: a frame, unless it was answered at once. `gas` is what it had left, `None` when it failed.
    pub(crate) fn ended(&mut self, gas: Option<u64>) {
        self.alike &= gas.is_some_and(|gas| gas >= self.spare);
        let (output, place) = if std::mem::take(&mut self.immediate) {
            (Vec::new(), 0..0)
        } else {
            let frame = self.frames.pop().unwrap_or_default();
            (frame.output, frame.place)
        };
        if !self.alike {
            return;
        }
        let Some(caller) = self.frames.last_mut() else {
            self.alike &= !output.contains(&true);
            self.done = true;
            return;
        };
        let length = place.len().min(output.len());
        if write(&mut caller.memory, place.start, output.get(..length).unwrap_or_default()).is_err() {
            self.alike = false;
        }
        caller.returned = output;
        caller.stack.push(Mark::Same);
    }

    /// Sees an instruction before it is executed.
    pub(crate) fn before(&mut self, interpreter: &Interpreter<EthInterpreter>) {
        let code = interpreter.bytecode.opcode();
        // BLOCKHASH to GASLIMIT; the base fee and the price of blobs are 0 in every question.
        self.of_the_block |= matches!(code, 0x40..=0x45);
        if self.alike && self.follow(code, interpreter).is_err() {
            self.alike = false;
        }
    }
}

impl Witness {
    fn follow(&mut self, code: u8, interpreter: &Interpreter<EthInterpreter>) -> Result<(), Decides> {
        let Self { frames, call, .. } = self;
        let frame = frames.last_mut().ok_or(Decides)?;
        let word = |at: usize| interpreter.stack.peek(at).map_err(|_| Decides);
        let place = |at: usize| usize::try_from(word(at)?).ok().filter(|place| *place <= MOST_MEMORY).ok_or(Decides);
        match code {
            // STOP, INVALID
            0x00 | 0xfe => {}
            // Arithmetic, comparison and bits of two words; the price of EXP is by its exponent.
            0x01..=0x07 | 0x0b | 0x10..=0x14 | 0x16..=0x18 | 0x1a..=0x1d => frame.combine(2)?,
            0x08 | 0x09 => frame.combine(3)?,
            0x0a => {
                let base = frame.pop()?;
                frame.same(1)?;
                frame.push(if base == Mark::Same { Mark::Same } else { Mark::Other });
            }
            // ISZERO, NOT
            0x15 | 0x19 => frame.combine(1)?,
            // KECCAK256
            0x20 => {
                let range = place(0)?..place(0)? + place(1)?;
                frame.same(2)?;
                let mark = mark(&frame.memory, range);
                frame.push(mark);
            }
            // What is about the account at hand, the caller, the block, and the code: for all alike.
            0x30 | 0x32..=0x34 | 0x36 | 0x38 | 0x3a | 0x3d | 0x41..=0x48 | 0x4a | 0x58 | 0x59 | 0x5f => frame.push(Mark::Same),
            // BALANCE, EXTCODESIZE, EXTCODEHASH, BLOCKHASH, BLOBHASH, SLOAD, TLOAD
            0x31 | 0x3b | 0x3f | 0x40 | 0x49 | 0x54 | 0x5c => {
                frame.same(1)?;
                frame.push(Mark::Same);
            }
            // CALLDATALOAD: an offset beyond the input is a word of zeros.
            0x35 => {
                let at = usize::try_from(word(0)?).unwrap_or(usize::MAX);
                frame.same(1)?;
                let mark = mark(&frame.input, at..at.saturating_add(32));
                frame.push(mark);
            }
            // CALLDATACOPY, CODECOPY, RETURNDATACOPY
            0x37 | 0x39 | 0x3e => {
                let (to, length) = (place(0)?, place(2)?);
                let from = usize::try_from(word(1)?).unwrap_or(usize::MAX);
                frame.same(3)?;
                let bytes = match code {
                    0x37 => cut(&frame.input, from, length),
                    0x3e => cut(&frame.returned, from, length),
                    _ => vec![false; length],
                };
                write(&mut frame.memory, to, &bytes)?;
            }
            // EXTCODECOPY
            0x3c => {
                let (to, length) = (place(1)?, place(3)?);
                frame.same(4)?;
                write(&mut frame.memory, to, &vec![false; length])?;
            }
            // MCOPY
            0x5e => {
                let (to, from, length) = (place(0)?, place(1)?, place(2)?);
                frame.same(3)?;
                let bytes = cut(&frame.memory, from, length);
                write(&mut frame.memory, to, &bytes)?;
            }
            // POP
            0x50 => {
                frame.pop()?;
            }
            // MLOAD
            0x51 => {
                let at = place(0)?;
                frame.same(1)?;
                let mark = mark(&frame.memory, at..at + 32);
                frame.push(mark);
            }
            // MSTORE, MSTORE8
            0x52 | 0x53 => {
                let at = place(0)?;
                frame.same(1)?;
                let other = frame.pop()? != Mark::Same;
                write(&mut frame.memory, at, &[other; 32][..if code == 0x52 { 32 } else { 1 }])?;
            }
            // SSTORE, TSTORE: what is stored may be loaded again.
            0x55 | 0x5d => frame.same(2)?,
            // JUMP, JUMPI
            0x56 => frame.same(1)?,
            0x57 => frame.same(2)?,
            // GAS
            0x5a => frame.push(Mark::Gas),
            // JUMPDEST
            0x5b => {}
            0x60..=0x7f => frame.push(Mark::Same),
            0x80..=0x8f => {
                let from = frame.stack.len().checked_sub(usize::from(code) - 0x7f).ok_or(Decides)?;
                frame.push(frame.stack[from]);
            }
            0x90..=0x9f => {
                let top = frame.stack.len().checked_sub(1).ok_or(Decides)?;
                let other = top.checked_sub(usize::from(code) - 0x8f).ok_or(Decides)?;
                frame.stack.swap(top, other);
            }
            // CALL, CALLCODE; DELEGATECALL, STATICCALL: the gas that is named has to be all there is.
            0xf1 | 0xf2 | 0xf4 | 0xfa => {
                let first = if code <= 0xf2 { 3 } else { 2 };
                let (from, length, to, room) = (place(first)?, place(first + 1)?, place(first + 2)?, place(first + 3)?);
                if frame.pop()? != Mark::Gas {
                    return Err(Decides);
                }
                frame.same(first + 3)?;
                *call = Call { input: cut(&frame.memory, from, length), output: to..to + room };
            }
            // RETURN, REVERT
            0xf3 | 0xfd => {
                let (from, length) = (place(0)?, place(1)?);
                frame.same(2)?;
                frame.output = cut(&frame.memory, from, length);
            }
            // Logs and creations, SELFDESTRUCT, and what is not known here: not what rules do.
            _ => return Err(Decides),
        }
        Ok(())
    }
}

impl Frame {
    fn pop(&mut self) -> Result<Mark, Decides> {
        self.stack.pop().ok_or(Decides)
    }

    fn push(&mut self, mark: Mark) {
        self.stack.push(mark);
    }

    /// Takes words that decide about something.
    fn same(&mut self, words: usize) -> Result<(), Decides> {
        for _ in 0..words {
            if self.pop()? != Mark::Same {
                return Err(Decides);
            }
        }
        Ok(())
    }

    /// Makes one word of several.
    fn combine(&mut self, words: usize) -> Result<(), Decides> {
        let mut mark = Mark::Same;
        for _ in 0..words {
            if self.pop()? != Mark::Same {
                mark = Mark::Other;
            }
        }
        self.push(mark);
        Ok(())
    }
}

/// The mark of a word that these bytes are part of.
fn mark(bytes: &[bool], range: Range<usize>) -> Mark {
    let end = range.end.min(bytes.len());
    let some = bytes.get(range.start..end).is_some_and(|bytes| bytes.contains(&true));
    if some { Mark::Other } else { Mark::Same }
}

/// So many of these bytes from a place on; what is beyond the end is the same.
fn cut(bytes: &[bool], from: usize, length: usize) -> Vec<bool> {
    let mut cut: Vec<bool> = bytes.get(from..).unwrap_or_default().iter().copied().take(length).collect();
    cut.resize(length, false);
    cut
}

fn write(memory: &mut Vec<bool>, at: usize, bytes: &[bool]) -> Result<(), Decides> {
    let end = at.checked_add(bytes.len()).filter(|end| *end <= 2 * MOST_MEMORY).ok_or(Decides)?;
    if bytes.is_empty() {
        return Ok(());
    }
    if memory.len() < end {
        // Nothing has to be remembered of what is the same.
        if !bytes.contains(&true) && memory.len() <= at {
            return Ok(());
        }
        memory.resize(end, false);
    }
    memory[at..end].copy_from_slice(bytes);
    Ok(())
}
