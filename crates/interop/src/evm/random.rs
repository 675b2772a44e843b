//! Pseudo-random numbers that are the same in every run, and programs made of them.

use super::Program;
use super::assembly::{Code, creation};
use super::instructions::{self as op, Instruction, Kind};
use super::programs::{accounts, edges};
use alloy_primitives::U256;
use ipe_types::fork::Fork;

/// SplitMix64 (Steele, Lea, Flood 2014): enough for choosing, the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % bound.max(1) as u64).unwrap_or(0)
    }

    /// One of a list that is not empty.
    pub fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    fn word(&mut self) -> U256 {
        U256::from_limbs(std::array::from_fn(|_| self.number()))
    }
}

/// Instructions of one program.
const LENGTH: usize = 70;
/// Deepest stack that a program builds.
const DEEP: usize = 40;

/// Program `index` of a fork: instructions of every kind on operands that are mostly small, with a call, a creation or a jump now
/// and then.
pub fn program(fork: Fork, native: bool, index: u64) -> Program {
    let mut random = Random(0x1983 ^ index.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let known: Vec<&Instruction> = op::of(fork).filter(|known| known.kind != Kind::Own).collect();
    let (edges, accounts) = (edges(), accounts(fork, native));
    let (mut code, mut depth) = (Code::new(), 0usize);
    for _ in 0..LENGTH {
        let choice = random.below(100);
        let wanted = match choice {
            0..=54 => random.pick(&known),
            _ => {
                let before = code.0.len();
                code = own(code, &mut random, choice, depth, &accounts);
                if code.0.len() == before {
                    code = code.push(random.pick(&edges));
                }
                depth = grown(depth, &code.0[before..]);
                continue;
            }
        };
        while depth < wanted.takes || (wanted.kind == Kind::Memory && random.below(4) > 0 && depth < DEEP) {
            let operand = match (wanted.kind, random.below(12)) {
                (Kind::Memory, 0) | (Kind::Words, 0..=3) => random.pick(&edges),
                (Kind::Words, 4..=6) => random.word(),
                (Kind::Lookup, 0..=5) => random.pick(&accounts),
                _ => U256::from(random.below(100)),
            };
            code = code.push(operand);
            depth += 1;
            if wanted.kind == Kind::Memory && depth >= wanted.takes {
                break;
            }
        }
        code = code.op(&[wanted.byte]);
        depth = depth - wanted.takes + wanted.gives;
        if depth > DEEP {
            code = code.push(U256::from(random.below(256))).op(&[op::MSTORE, op::POP]);
            depth -= 2;
        }
    }
    for at in 0..depth.min(8) {
        code = code.store(1024 + at * 32);
    }
    let ended = match random.below(20) {
        0 => code.push(U256::from(1280)).push(U256::ZERO).op(&[op::REVERT]),
        1 => code.push(random.pick(&accounts)).op(&[op::SELFDESTRUCT]),
        _ => code.push(U256::from(1280)).push(U256::ZERO).op(&[op::RETURN]),
    };
    Program { name: format!("random {index}"), code: ended.0 }
}

/// Instructions that need more than operands of any value.
fn own(code: Code, random: &mut Random, choice: usize, depth: usize, accounts: &[U256]) -> Code {
    let small = |random: &mut Random| U256::from(random.below(200));
    match choice {
        55..=61 => {
            let (slot, value) = (random.below(4), random.below(3));
            code.push(U256::from(value)).push(U256::from(slot)).op(&[op::SSTORE])
        }
        62..=65 => {
            let (slot, value) = (random.below(4), random.below(3));
            code.push(U256::from(value)).push(U256::from(slot)).op(&[op::TSTORE])
        }
        66..=69 => {
            let topics = random.below(5);
            let code = (0..topics).fold(code, |code, topic| code.push(U256::from(topic * 7 + 1)));
            code.push(small(random)).push(small(random)).op(&[op::LOG0 + u8::try_from(topics).unwrap_or(0)])
        }
        70..=80 => {
            let call = random.pick(&[op::CALL, op::CALLCODE, op::DELEGATECALL, op::STATICCALL]);
            let mut code = code;
            for _ in 0..4 {
                code = code.push(small(random));
            }
            if matches!(call, op::CALL | op::CALLCODE) {
                code = code.push(U256::from(random.below(2)));
            }
            let gas = random.pick(&[0u64, 100, 2_300, 9_000, 30_000]);
            code.push(random.pick(accounts)).push(U256::from(gas)).op(&[call])
        }
        81..=84 => {
            let runtime = [[op::CALLER, op::SELFDESTRUCT], [op::INVALID, op::STOP], [op::PUSH1, 0]];
            let contract = creation(&random.pick(&runtime));
            let init = random.pick(&[contract, vec![op::ADDRESS, op::SELFDESTRUCT], vec![0xef]]);
            let mut word = [0u8; 32];
            word[..init.len()].copy_from_slice(&init);
            let code = code.push(U256::from_be_bytes(word)).push(U256::ZERO).op(&[op::MSTORE]);
            let create2 = random.below(2) == 0;
            let code = if create2 { code.push(U256::from(random.below(2))) } else { code };
            let code = code.push(U256::from(init.len())).push(U256::ZERO).push(U256::from(random.below(2)));
            code.op(&[if create2 { op::CREATE2 } else { op::CREATE }])
        }
        85..=88 if depth > 0 => code.op(&[op::DUP1 + u8::try_from(random.below(depth.min(16))).unwrap_or(0)]),
        89..=92 if depth > 1 => code.op(&[op::SWAP1 + u8::try_from(random.below((depth - 1).min(16))).unwrap_or(0)]),
        93..=94 => {
            // Over two bytes that no fork runs.
            let otherwise = Code::new().op(&[op::INVALID, op::INVALID]);
            code.push(U256::from(1)).unless(&otherwise, Code::new())
        }
        95 if depth > 0 => code.op(&[op::POP]),
        _ => code,
    }
}

/// Depth of the stack after these instructions, all of which are known here.
fn grown(mut depth: usize, code: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&byte) = code.get(at) {
        at += 1;
        match byte {
            0x60..=0x7f => {
                depth += 1;
                at += usize::from(byte - 0x5f);
            }
            0x80..=0x8f => depth += 1,
            0x90..=0x9f | op::JUMPDEST | op::INVALID => {}
            0xa0..=0xa4 => depth -= 2 + usize::from(byte - 0xa0),
            other => {
                if let Some(known) = op::INSTRUCTIONS.iter().find(|known| known.byte == other) {
                    depth = depth - known.takes + known.gives;
                }
            }
        }
    }
    depth
}
