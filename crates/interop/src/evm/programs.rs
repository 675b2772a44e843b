//! Programs for every instruction of a fork: edge operands, failures, and what little gas does.

use super::Program;
use super::assembly::{Code, creation};
use super::instructions::{self as op, Instruction, Kind};
use super::precompiles::needs_library;
use super::random::Random;
use alloy_primitives::{U256, address};
use ipe_types::fork::Fork;

/// Evaluations in one program: what they give fits what the executor keeps.
const CHUNK: usize = 60;

/// Operands at the edges of what instructions tell apart.
pub fn edges() -> Vec<U256> {
    let mut edges: Vec<U256> = [0u64, 1, 2, 3, 31, 32, 255, 256, u64::MAX].map(U256::from).to_vec();
    let top = U256::from(1) << 255;
    edges.extend([U256::from(1) << 64, U256::from(1) << 128, top - U256::from(1), top, top + U256::from(1)]);
    edges.extend([U256::MAX - U256::from(1), U256::MAX]);
    edges.push(U256::from_be_bytes(alloy_primitives::keccak256("an ordinary word").0));
    edges
}

/// Accounts of every kind: none, precompiled contracts, system contracts, the executor, those that transactions use, and one
/// with more bits than an address has. Those that need a library only where all clients have one.
pub fn accounts(fork: Fork, native: bool) -> Vec<U256> {
    let mut accounts: Vec<U256> = (0u64..=0x12).chain([0x100, 0x101, 0xffff, 0xdead_beef]).map(U256::from).collect();
    accounts.retain(|account| native || !needs_library(fork, *account));
    let named = [
        address!("0x000F3df6D732807Ef1319fB7B8bB8522d0Beac02"),
        address!("0x0000F90827F1C53a10cb7A02335B175320002935"),
        crate::lab::EXECUTOR,
        crate::lab::DELEGATED,
        crate::lab::EMPTY,
    ];
    accounts.extend(named.iter().map(|address| U256::from_be_slice(address.as_slice())));
    accounts.push((U256::from(7) << 160) | U256::from_be_slice(crate::lab::EXECUTOR.as_slice()));
    accounts
}

/// Everything for a fork.
pub fn programs(fork: Fork, native: bool) -> Vec<Program> {
    let (mut all, accounts) = (Vec::new(), accounts(fork, native));
    for instruction in op::of(fork) {
        values(instruction, &accounts, &mut all);
        memory(instruction, &mut all);
        if instruction.takes > 0 {
            let code = (1..instruction.takes).fold(Code::new(), |code, operand| code.push(U256::from(operand)));
            all.push(Program { name: format!("{} without operands", instruction.name), code: code.op(&[instruction.byte]).0 });
        }
        all.push(little_gas(instruction));
    }
    for byte in (0..=u8::MAX).filter(|byte| !op::has(fork, *byte)) {
        all.push(Program { name: format!("no instruction {byte:#04x}"), code: vec![byte, 1, 1] });
    }
    stack(&mut all);
    jumps(&mut all);
    storage(fork, &mut all);
    copies(&accounts, &mut all);
    calls(fork, &accounts, &mut all);
    creations(fork, &mut all);
    destructions(&accounts, &mut all);
    all
}

/// What an instruction gives for words at the edges.
fn values(instruction: &Instruction, accounts: &[U256], all: &mut Vec<Program>) {
    let edges = edges();
    let tuples: Vec<Code> = match (instruction.kind, instruction.takes) {
        (Kind::Environment, _) => vec![Code::new(), Code::new()],
        (Kind::Words, 1) => edges.iter().map(|edge| Code::new().push(*edge)).collect(),
        (Kind::Words, 2) => {
            let pairs = edges.iter().flat_map(|a| edges.iter().map(move |b| [*a, *b]));
            pairs.map(|pair| Code::new().operands(&pair)).collect()
        }
        (Kind::Words, _) => {
            let mut random = Random(u64::from(instruction.byte));
            (0..CHUNK * 3).map(|_| Code::new().operands(&[0; 3].map(|_| random.pick(&edges)))).collect()
        }
        (Kind::Lookup, _) => match instruction.byte {
            op::BALANCE | op::EXTCODESIZE | op::EXTCODEHASH => {
                let own = [op::ADDRESS, op::CALLER, op::ORIGIN, op::COINBASE].map(|byte| Code::new().op(&[byte]));
                accounts.iter().map(|account| Code::new().push(*account)).chain(own).collect()
            }
            op::BLOCKHASH => {
                let back = [0u64, 1, 2, 5, 255, 256, 257, 300].map(|back| Code::new().push(back).op(&[op::NUMBER, op::SUB]));
                let ahead = Code::new().push(1u64).op(&[op::NUMBER, op::ADD]);
                edges.iter().map(|edge| Code::new().push(*edge)).chain(back).chain([ahead]).collect()
            }
            // Each twice: the second time it is warm.
            _ => edges.iter().chain(&edges).map(|edge| Code::new().push(*edge)).collect(),
        },
        _ => return,
    };
    for (part, chunk) in tuples.chunks(CHUNK).enumerate() {
        let code = chunk
            .iter()
            .enumerate()
            .fold(Code::new(), |code, (at, tuple)| code.op(&tuple.0).op(&[instruction.byte]).store(at * 32));
        all.push(Program { name: format!("{} {part}", instruction.name), code: code.give(chunk.len() * 32).0 });
    }
}

/// Offsets and sizes, most of which a memory can have.
fn extent(random: &mut Random) -> U256 {
    let sizes = [0u64, 1, 2, 31, 32, 33, 64, 100, 1_000, 65_537];
    match random.below(10) {
        0 => random.pick(&[U256::from(u32::MAX), U256::from(u64::MAX), U256::from(1) << 64, U256::MAX]),
        _ => U256::from(random.pick(&sizes)),
    }
}

/// Two words of something in memory, so that copies show.
fn filled() -> Code {
    let word = U256::from_be_bytes::<32>(std::array::from_fn(|at| u8::try_from(at + 1).unwrap_or(0)));
    Code::new().push(word).store(0).push(U256::MAX - word).store(32)
}

/// An instruction that works on memory, and all of memory afterwards.
fn memory(instruction: &Instruction, all: &mut Vec<Program>) {
    if instruction.kind != Kind::Memory {
        return;
    }
    let mut random = Random(0x6d65_6d00 + u64::from(instruction.byte));
    for index in 0..6 * instruction.takes {
        let mut operands: Vec<U256> = (0..instruction.takes).map(|_| extent(&mut random)).collect();
        if index == 0 {
            operands = vec![U256::MAX; instruction.takes];
            operands[instruction.takes - 1] = U256::ZERO;
        }
        // RETURNDATACOPY finds the 64 bytes that the identity contract gave.
        let code = filled().operands(&[U256::from(50_000), U256::from(4), U256::ZERO, U256::from(64), U256::ZERO, U256::ZERO]);
        let code = code.op(&[op::STATICCALL, op::POP]).operands(&operands).op(&[instruction.byte]);
        let code = if instruction.gives > 0 { code.op(&[op::MSIZE, op::MSTORE]) } else { code };
        all.push(Program { name: format!("{} in memory {index}", instruction.name), code: code.give_memory().0 });
    }
}

/// An instruction with so much gas and no more: which amounts are enough.
fn little_gas(instruction: &Instruction) -> Program {
    let operands: Vec<U256> = match instruction.byte {
        op::JUMP | op::JUMPI => vec![U256::from(7), U256::from(1)],
        op::CREATE => vec![U256::ZERO; 3],
        op::CREATE2 => vec![U256::ZERO; 4],
        op::CALL | op::CALLCODE | op::DELEGATECALL | op::STATICCALL => {
            let mut operands = vec![U256::ZERO; instruction.takes];
            operands[1] = U256::from(0xbeef);
            operands
        }
        _ => (0..instruction.takes).map(|at| U256::from(at + 1)).collect(),
    };
    let body = Code::new().operands(&operands).op(&[instruction.byte]);
    let gases = [
        0u64, 1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 14, 16, 17, 18, 21, 26, 29, 36, 42, 60, 66, 100, 103, 106, 112, 400, 700, 800, 1_000,
        2_106, 2_203, 2_306, 2_310, 2_603, 2_630, 3_000, 5_006, 7_603, 20_106, 22_106, 32_009, 32_012,
    ];
    let then = gases.iter().enumerate().fold(Code::new(), |code, (at, gas)| {
        let code = code.push(0u64).push(0u64).push(0u64).push(0u64).push(0u64);
        code.op(&[op::ADDRESS]).push(*gas).op(&[op::CALL]).store(at * 32)
    });
    // The executor gives 36 bytes of input; the program calls itself with none.
    let code = Code::new().op(&[op::CALLDATASIZE]).unless(&body.op(&[op::STOP]), then.give(gases.len() * 32));
    Program { name: format!("{} with little gas", instruction.name), code: code.0 }
}

fn stack(all: &mut Vec<Program>) {
    let pushes = (1..=17u64).fold(Code::new(), |code, value| code.push(value));
    let (mut dups, mut swaps, mut words) = (Code::new(), Code::new(), Code::new());
    for n in 0..16u8 {
        let drop = [op::POP; 17];
        dups = dups.op(&pushes.0).op(&[op::DUP1 + n]).store(usize::from(n) * 32).op(&drop);
        swaps = swaps.op(&pushes.0).op(&[op::SWAP1 + n]).store(usize::from(n) * 32).op(&drop[1..]);
    }
    for n in 0..32u8 {
        words = words.op(&[op::PUSH1 + n]).op(&vec![0xa0 + n; usize::from(n) + 1]).store(usize::from(n) * 32);
        all.push(Program { name: format!("PUSH{} at the end", n + 1), code: vec![op::PUSH1 + n; usize::from(n / 2) + 1] });
    }
    let mut push = |name: &str, code: Code| all.push(Program { name: name.to_owned(), code: code.0 });
    push("DUP1 to DUP16", dups.give(512));
    push("SWAP1 to SWAP16", swaps.give(512));
    push("PUSH1 to PUSH32", words.give(1024));
    let (push_one, jump) = ([op::PUSH1, 1], [op::PUSH1, 0, op::JUMP]);
    push("1,024 words and one more", Code::new().op(&[op::JUMPDEST]).op(&push_one).op(&jump));
    for (name, over) in [("1,024 words", op::STOP), ("1,024 words and DUP1", op::DUP1), ("1,024 words and ADDRESS", op::ADDRESS)] {
        push(name, Code(std::iter::repeat_n(push_one, 1024).flatten().collect()).op(&[over]));
    }
    push("nothing", Code::new());
    push("INVALID", Code::new().op(&[op::INVALID]));
}

fn jumps(all: &mut Vec<Program>) {
    let mut push = |name: &str, code: Code| all.push(Program { name: name.to_owned(), code: code.0 });
    // The destination of PUSH1 d, JUMP is 3: an instruction, a byte of a push, the end, beyond.
    let bodies: [(&str, &[u8]); 4] =
        [("JUMPDEST", &[op::JUMPDEST]), ("no JUMPDEST", &[op::ADD]), ("the end", &[]), ("push data", &[op::PUSH1, op::JUMPDEST])];
    for (name, body) in bodies {
        let destination = if name == "push data" { 4 } else { 3 };
        push(&format!("JUMP to {name}"), Code::new().op(&[op::PUSH1, destination, op::JUMP]).op(body));
        for condition in [U256::ZERO, U256::from(1), U256::MAX, U256::from(1) << 255] {
            let mut code = Code::new().push(condition);
            let destination = u8::try_from(code.0.len()).unwrap_or(0) + destination;
            code = code.op(&[op::PUSH1, destination, op::JUMPI]).op(body);
            push(&format!("JUMPI {condition:#x} to {name}"), code);
        }
    }
    for (at, far) in edges().into_iter().enumerate() {
        push(&format!("JUMP to edge {at}"), Code::new().push(far).op(&[op::JUMP]));
    }
    // Low bytes of the destination that would be a JUMPDEST.
    for shift in [8, 16, 32, 64, 128] {
        let destination = (U256::from(1) << shift) + U256::from(2 + shift / 8);
        push(&format!("JUMP past {shift} bits"), Code::new().push(destination).op(&[op::JUMP, op::JUMPDEST]));
    }
}

/// Every sequence of three values in a slot, in storage and in transient storage, with the gas of each step.
fn storage(fork: Fork, all: &mut Vec<Program>) {
    for sequence in 0..27u64 {
        let values = [sequence / 9, sequence / 3 % 3, sequence % 3];
        for (name, write, read) in [("SSTORE", op::SSTORE, op::SLOAD), ("TSTORE", op::TSTORE, op::TLOAD)] {
            if !op::has(fork, write) {
                continue;
            }
            let mut code = Code::new();
            for (at, value) in values.iter().enumerate() {
                code = code.op(&[op::GAS]).push(*value).push(sequence % 4).op(&[write, op::GAS, op::SWAP1, op::SUB]);
                code = code.store(at * 64).push(sequence % 4).op(&[read]).store(at * 64 + 32);
            }
            all.push(Program { name: format!("{name} {values:?}"), code: code.give(192).0 });
        }
    }
    if op::has(fork, op::TSTORE) {
        // Transient storage in a call to itself, and after one that fails.
        let body = Code::new().push(9u64).push(1u64).op(&[op::TSTORE, op::CALLER, op::ADDRESS, op::EQ, op::POP, op::INVALID]);
        let then = Code::new().push(5u64).push(1u64).op(&[op::TSTORE]).push(0u64).push(0u64).push(0u64).push(0u64).push(0u64);
        let then = then.op(&[op::ADDRESS]).push(50_000u64).op(&[op::CALL]).store(0).push(1u64).op(&[op::TLOAD]).store(32).give(64);
        let code = Code::new().op(&[op::CALLDATASIZE]).unless(&body, then);
        all.push(Program { name: "TSTORE taken back".to_owned(), code: code.0 });
    }
}

/// EXTCODECOPY, LOG, RETURN and REVERT at the edges of memory.
fn copies(accounts: &[U256], all: &mut Vec<Program>) {
    let mut random = Random(0x0063_6f70);
    for index in 0..30 {
        let code = filled().operands(&[random.pick(accounts), extent(&mut random), extent(&mut random), extent(&mut random)]);
        all.push(Program { name: format!("EXTCODECOPY {index}"), code: code.op(&[op::EXTCODECOPY]).give_memory().0 });
    }
    for topics in 0..5u8 {
        for index in 0..5 {
            let code = (0..topics).fold(filled(), |code, topic| code.push(U256::MAX - U256::from(topic)));
            let code = code.operands(&[extent(&mut random), extent(&mut random)]).op(&[op::LOG0 + topics]);
            all.push(Program { name: format!("LOG{topics} {index}"), code: code.give_memory().0 });
        }
    }
    for (name, byte) in [("RETURN", op::RETURN), ("REVERT", op::REVERT)] {
        for index in 0..12 {
            let code = filled().operands(&[extent(&mut random), extent(&mut random)]).op(&[byte]);
            all.push(Program { name: format!("{name} {index}"), code: code.0 });
        }
    }
}

fn calls(fork: Fork, accounts: &[U256], all: &mut Vec<Program>) {
    let mut random = Random(0x6361_6c6c);
    for call in op::of(fork).filter(|known| matches!(known.byte, op::CALL | op::CALLCODE | op::DELEGATECALL | op::STATICCALL)) {
        // Twice each account: cold, then warm.
        for (part, chunk) in accounts.chunks(8).enumerate() {
            let mut code = filled();
            for (at, account) in chunk.iter().chain(chunk).enumerate() {
                let mut operands = vec![U256::from(20_000), *account];
                if call.takes == 7 {
                    operands.push(U256::from(u8::from(at % 3 == 0)));
                }
                let sizes = [0u64, 0, 32, 33, 64].map(U256::from);
                operands.extend([random.pick(&sizes), random.pick(&sizes), random.pick(&sizes), random.pick(&sizes)]);
                code = code.op(&[op::GAS]).operands(&operands).op(&[call.byte, op::GAS]).op(&[op::SWAP1 + 1, op::SUB]);
                code = code.store(256 + at * 96).store(256 + at * 96 + 32).op(&[op::RETURNDATASIZE]).store(256 + at * 96 + 64);
            }
            all.push(Program { name: format!("{} of accounts {part}", call.name), code: code.give_memory().0 });
        }
        for index in 0..24 {
            let mut operands = vec![random.pick(&edges()), random.pick(accounts)];
            if call.takes == 7 {
                operands.push(random.pick(&[U256::ZERO, U256::from(1), U256::from(3), U256::from(4), U256::MAX]));
            }
            operands.extend([(); 4].map(|()| extent(&mut random)));
            let code = filled().op(&[op::GAS]).operands(&operands).op(&[call.byte]).store(64);
            all.push(Program { name: format!("{} {index}", call.name), code: code.op(&[op::MSIZE]).store(96).give(128).0 });
        }
        // Itself, as deep as gas or 1,024 calls allow; each level writes how deep it came.
        let mut operands = vec![U256::MAX, U256::ZERO];
        operands.extend(vec![U256::ZERO; call.takes - 2]);
        let mut code = (2..call.takes).fold(Code::new(), |code, _| code.push(0u64)).op(&[op::ADDRESS, op::GAS, call.byte]);
        code = code.op(&[op::GAS]).store(0).store(32);
        all.push(Program { name: format!("{} of itself", call.name), code: code.give(64).0 });
    }
}

/// Stores bytes at the start of memory.
fn laid(bytes: &[u8]) -> Code {
    bytes.chunks(32).enumerate().fold(Code::new(), |code, (at, chunk)| {
        let mut word = [0u8; 32];
        word[..chunk.len()].copy_from_slice(chunk);
        code.push(U256::from_be_bytes(word)).store(at * 32)
    })
}

/// Creation codes of every outcome.
pub fn inits() -> Vec<(&'static str, Vec<u8>)> {
    let returns = |size: U256| Code::new().push(size).push(U256::ZERO).op(&[op::RETURN]).0;
    vec![
        ("nothing", Vec::new()),
        ("STOP", vec![op::STOP]),
        ("a contract", creation(&[op::ADDRESS, op::SELFDESTRUCT])),
        ("a contract with storage", Code::new().push(7u64).push(1u64).op(&[op::SSTORE]).op(&creation(&[op::STOP])).0),
        ("a revert with data", Code::new().push(3u64).store(0).push(32u64).push(0u64).op(&[op::REVERT]).0),
        ("INVALID", vec![op::INVALID]),
        ("0xef", laid(&[0xef]).give(1).0),
        ("0xef00", laid(&[0xef, 0]).give(2).0),
        ("0xef0100", laid(&[0xef, 1, 0]).give(23).0),
        ("0xfe", laid(&[0xfe]).give(1).0),
        ("1,000 bytes", returns(U256::from(1_000))),
        ("24,576 bytes", returns(U256::from(24_576))),
        ("24,577 bytes", returns(U256::from(24_577))),
        ("very many bytes", returns(U256::MAX)),
        ("its own end", vec![op::CALLER, op::SELFDESTRUCT]),
        ("its own end to itself", vec![op::ADDRESS, op::SELFDESTRUCT]),
        ("a log", Code::new().push(0u64).push(0u64).op(&[op::LOG0]).0),
        ("a creation", Code::new().push(0u64).push(0u64).push(0u64).op(&[op::CREATE, op::POP]).0),
    ]
}

fn creations(fork: Fork, all: &mut Vec<Program>) {
    for (name, create) in [("CREATE", op::CREATE), ("CREATE2", op::CREATE2)].into_iter().filter(|(_, byte)| op::has(fork, *byte)) {
        for (what, init) in inits() {
            let mut code = laid(&init);
            // Twice with the same salt: the second time something is there. What was made is called, and called again.
            for at in 0..2usize {
                if create == op::CREATE2 {
                    code = code.push(77u64);
                }
                code = code.push(init.len() as u64).push(0u64).push(at as u64).op(&[create, op::DUP1, op::DUP1]);
                code = code.store(512 + at * 160);
                code = code.op(&[op::RETURNDATASIZE]).store(544 + at * 160).op(&[op::EXTCODEHASH]).store(576 + at * 160);
                for _ in 0..4 {
                    code = code.push(0u64);
                }
                code = code.push(1u64).op(&[op::DUP1 + 5]).push(40_000u64).op(&[op::CALL]).store(608 + at * 160);
                code = code.op(&[op::BALANCE]).store(640 + at * 160);
            }
            all.push(Program { name: format!("{name} of {what}"), code: code.give(1024).0 });
        }
        for (what, size, value) in [
            ("too much value", U256::ZERO, U256::MAX),
            ("49,152 bytes", U256::from(49_152), U256::ZERO),
            ("49,153 bytes", U256::from(49_153), U256::ZERO),
            ("very many bytes", U256::MAX, U256::ZERO),
        ] {
            let code = if create == op::CREATE2 { Code::new().push(1u64) } else { Code::new() };
            let code = code.push(size).push(0u64).push(value).op(&[create]).store(0).op(&[op::MSIZE]).store(32).give(64);
            all.push(Program { name: format!("{name} with {what}"), code: code.0 });
        }
    }
}

/// SELFDESTRUCT to every account, of an old contract and of one made in the same transaction.
fn destructions(accounts: &[U256], all: &mut Vec<Program>) {
    for (at, &account) in accounts.iter().enumerate() {
        all.push(Program {
            name: format!("SELFDESTRUCT to account {at}"),
            code: Code::new().push(account).op(&[op::SELFDESTRUCT]).0,
        });
        let init = Code::new().push(account).op(&[op::SELFDESTRUCT]).0;
        let code = laid(&init).push(init.len() as u64).push(0u64).push(1u64).op(&[op::CREATE, op::GAS]).store(0);
        let code = code.op(&[op::DUP1]).store(32).op(&[op::BALANCE]).store(64).push(account).op(&[op::BALANCE]).store(96);
        all.push(Program { name: format!("SELFDESTRUCT in creation to account {at}"), code: code.give(128).0 });
    }
    for (name, to) in
        [("itself", op::ADDRESS), ("its caller", op::CALLER), ("the origin", op::ORIGIN), ("the proposer", op::COINBASE)]
    {
        all.push(Program { name: format!("SELFDESTRUCT to {name}"), code: vec![to, op::SELFDESTRUCT] });
    }
}
