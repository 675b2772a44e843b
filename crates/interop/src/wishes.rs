//! Transactions of every form for a lab: types, creations, plain transfers at their exact gas, system contracts.

use crate::evm::assembly::Code;
use crate::evm::executor::VALUE;
use crate::evm::programs::inits;
use crate::evm::{Program, assembly, instructions as op};
use crate::lab::{DELEGATED, DEPOSITS, EMPTY, EXECUTOR, SYSTEM};
use crate::network::key;
use crate::typed::{Carries, Wish, authorized, list};
use alloy_eips::eip2930::AccessList;
use alloy_eips::eip7702::SignedAuthorization;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, b256};
use ipe_types::crypto::NodeKey;
use ipe_types::fork::Fork;

/// First of the key numbers that give code to their accounts.
const AUTHORITIES: usize = 200;
/// How many there are.
const AUTHORITY_COUNT: usize = 6;
/// Gas of a transaction that runs a program: four calls, and the creation.
const PROGRAM_GAS: u64 = 4_000_000;
/// First topic of a deposit (EIP-6110).
const DEPOSIT_TOPIC: B256 = b256!("649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");

fn wish(name: impl Into<String>, to: TxKind, input: impl Into<Bytes>) -> Wish {
    let (name, input) = (name.into(), input.into());
    Wish { name, to, value: U256::ZERO, input, gas: 1_000_000, carries: Carries::Nothing }
}

/// A program, run by the executor.
pub fn run(program: &Program) -> Wish {
    let input = assembly::creation(&program.code);
    let wish = wish(program.name.clone(), TxKind::Call(EXECUTOR), input);
    Wish { value: U256::from(2 * VALUE), gas: PROGRAM_GAS, ..wish }
}

/// Code of the contract that logs what it is sent as a deposit.
pub fn deposits() -> Vec<u8> {
    let copy = Code::new().op(&[op::CALLDATASIZE]).push(0u64).push(0u64).op(&[op::CALLDATACOPY]);
    let topic = U256::from_be_bytes(DEPOSIT_TOPIC.0);
    copy.push(topic).op(&[op::CALLDATASIZE]).push(0u64).op(&[op::LOG0 + 1]).0
}

/// Everything but programs. Those that give code to accounts have to come into blocks in order.
pub fn wishes(fork: Fork, chain_id: u64) -> Result<Vec<Wish>, String> {
    let mut all = Vec::new();
    lists(&mut all);
    creations(&mut all);
    exact(fork, &mut all);
    system(&mut all);
    if fork >= Fork::Prague {
        delegations(chain_id, &mut all)?;
    }
    Ok(all)
}

fn lists(all: &mut Vec<Wish>) {
    let program = Program { name: String::new(), code: vec![op::PUSH1, 1, op::SLOAD, op::PUSH1, 2, op::SSTORE] };
    let (many, none) = (list(&[EXECUTOR, DELEGATED, EXECUTOR, Address::with_last_byte(5)], 4), AccessList::default());
    let long = list(&(0..60).map(Address::with_last_byte).collect::<Vec<_>>(), 3);
    for (name, access) in [("an empty access list", none), ("an access list twice", many), ("a long access list", long)] {
        for carries in [Carries::List(access.clone()), Carries::Fees(access.clone())] {
            let kind = if matches!(carries, Carries::List(_)) { "EIP-2930" } else { "EIP-1559" };
            all.push(Wish { name: format!("{kind} with {name}"), carries: carries.clone(), ..run(&program) });
            let creation = wish(format!("{kind} creation with {name}"), TxKind::Create, assembly::creation(&program.code));
            all.push(Wish { carries, ..creation });
        }
    }
}

fn creations(all: &mut Vec<Wish>) {
    for (name, init) in inits() {
        for value in [0u64, 5] {
            let wish = wish(format!("creation of {name} with {value} wei"), TxKind::Create, init.clone());
            all.push(Wish { value: U256::from(value), gas: 6_000_000, ..wish });
        }
    }
    // At the bound of EIP-3860: all zeros run as STOP.
    all.push(Wish { gas: 2_000_000, ..wish("creation from 49,152 bytes", TxKind::Create, vec![0; 49_152]) });
}

/// Transfers and calls with just the gas that they need, and much input, which costs a floor from Prague on (EIP-7623).
fn exact(fork: Fork, all: &mut Vec<Wish>) {
    let accounts = [
        Address::ZERO,
        Address::with_last_byte(1),
        Address::with_last_byte(9),
        Address::with_last_byte(0x0a),
        EMPTY,
        Address::repeat_byte(0x77),
        EXECUTOR,
        Address::with_last_byte(0xc0),
    ];
    for account in accounts {
        for value in [0u64, 1] {
            let wish = wish(format!("{value} wei to {account}"), TxKind::Call(account), Vec::new());
            all.push(Wish { value: U256::from(value), gas: 90_000, ..wish });
        }
    }
    all.push(Wish { gas: 21_000, ..wish("a transfer of exact gas", TxKind::Call(Address::repeat_byte(0x78)), Vec::new()) });
    for (zeros, others) in [(100usize, 0usize), (0, 100), (3_000, 1_000), (20_000, 0), (0, 20_000)] {
        let input = [vec![0; zeros], vec![1; others]].concat();
        let standard = 21_000 + 4 * zeros + 16 * others;
        let floor = if fork >= Fork::Prague { 21_000 + 10 * zeros + 40 * others } else { 0 };
        let wish = wish(format!("{zeros} zeros and {others} others"), TxKind::Call(Address::repeat_byte(0x79)), input.clone());
        all.push(Wish { gas: standard.max(floor) as u64, ..wish.clone() });
        // Where execution costs more than the floor, and where it does not.
        let program = Wish { gas: 3_000_000, to: TxKind::Call(EXECUTOR), ..wish };
        all.push(Wish { name: format!("{} to the executor", program.name), ..program });
    }
}

/// Calls of the system contracts: questions that are answered, questions that are not, and requests.
fn system(all: &mut Vec<Wish>) {
    let [beacon, history, withdrawals, consolidations] = SYSTEM;
    for (name, contract) in [("beacon roots", beacon), ("block hashes", history)] {
        for (what, input) in [
            ("nothing", Vec::new()),
            ("block 1", U256::from(1).to_be_bytes::<32>().to_vec()),
            ("the far future", U256::MAX.to_be_bytes::<32>().to_vec()),
            ("33 bytes", vec![0; 33]),
        ] {
            all.push(Wish { gas: 200_000, ..wish(format!("{name} asked for {what}"), TxKind::Call(contract), input) });
        }
    }
    let requests = [("withdrawal", withdrawals, 56usize), ("consolidation", consolidations, 96)];
    for (name, contract, length) in requests {
        all.push(Wish { gas: 200_000, ..wish(format!("{name} fee"), TxKind::Call(contract), Vec::new()) });
        for index in 0..24u8 {
            let (value, gas) = (U256::from(if index % 8 == 7 { 0 } else { 1_000 }), 400_000);
            let wish =
                wish(format!("{name} request {index}"), TxKind::Call(contract), vec![index; length - usize::from(index % 8 == 6)]);
            all.push(Wish { value, gas, ..wish });
        }
    }
    for index in 0..12u8 {
        all.push(wish(format!("deposit {index}"), TxKind::Call(DEPOSITS), deposit(index)));
    }
}

/// Data of a deposit's log: five offsets, then each field with its length (EIP-6110).
fn deposit(index: u8) -> Vec<u8> {
    let word = |value: u64| U256::from(value).to_be_bytes::<32>();
    let mut data = [160, 256, 320, 384, 512].map(word).concat();
    for (length, fill) in [(48usize, 1u8), (32, 2), (8, 3), (96, 4), (8, 5)] {
        data.extend(word(length as u64));
        let mut field = vec![fill.wrapping_mul(index + 1); length];
        field.resize(length.next_multiple_of(32), 0);
        data.extend(field);
    }
    data
}

/// Set-code transactions (EIP-7702): authorizations of every outcome, and calls of accounts that have such code.
fn delegations(chain_id: u64, all: &mut Vec<Wish>) -> Result<(), String> {
    let authorities = (0..AUTHORITY_COUNT).map(|at| key(AUTHORITIES + at)).collect::<Result<Vec<NodeKey>, _>>()?;
    let mut nonces = [0u64; AUTHORITY_COUNT];
    let small = run(&Program {
        name: String::new(),
        code: vec![op::ADDRESS, op::PUSH1, 0, op::MSTORE, op::PUSH1, 32, op::PUSH1, 0, op::RETURN],
    });
    let mut push = |name: String, to: Address, codes: Vec<SignedAuthorization>| {
        all.push(Wish { name, to: TxKind::Call(to), carries: Carries::Code(codes), ..small.clone() });
    };
    let targets = [
        EXECUTOR,
        Address::with_last_byte(4),
        authorities[1].address(),
        authorities[0].address(),
        Address::ZERO,
        DELEGATED,
        EXECUTOR,
        SYSTEM[0],
        Address::repeat_byte(0x7a),
    ];
    for (round, target) in targets.into_iter().enumerate() {
        for (at, authority) in authorities.iter().enumerate() {
            let mut give = |chain: u64, ahead: u64, counts: u64| {
                let one = authorized(authority, chain, target, nonces[at] + ahead);
                nonces[at] += counts;
                one
            };
            let codes = match (at + round) % 6 {
                0 => vec![give(chain_id, 0, 1)],
                1 => vec![give(0, 0, 1), give(chain_id, 0, 1)],
                // None of these is taken: another chain, a later nonce, an earlier one.
                2 => vec![give(chain_id + 1, 0, 0), give(chain_id, 5, 0), give(chain_id, 0, 1), give(chain_id, 0, 0).clone()],
                3 => vec![malformed(give(chain_id, 0, 0)), give(chain_id, 0, 1)],
                4 => vec![authorized(authority, chain_id, target, u64::MAX), give(chain_id, 0, 1)],
                _ => vec![give(chain_id, 0, 1), malleable(&authorized(authority, chain_id, target, nonces[at]))],
            };
            push(format!("set-code {round}.{at}"), if round % 2 == 0 { authority.address() } else { EXECUTOR }, codes);
        }
    }
    Ok(())
}

/// The same with a parity that no signature has.
fn malformed(signed: SignedAuthorization) -> SignedAuthorization {
    let (r, s) = (signed.r(), signed.s());
    SignedAuthorization::new_unchecked(signed.strip_signature(), 7, r, s)
}

/// The same with the greater `s`, which EIP-7702 does not take.
fn malleable(signed: &SignedAuthorization) -> SignedAuthorization {
    let order = U256::from_be_bytes(alloy_primitives::hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"));
    let parity = if signed.y_parity() == 0 { 1 } else { 0 };
    SignedAuthorization::new_unchecked(signed.clone().strip_signature(), parity, signed.r(), order - signed.s())
}

/// Blob transactions: from one blob to as many as a transaction may have, to a program that reads their hashes.
pub fn blobs(index: usize) -> Wish {
    let mut code = Code::new();
    for at in 0..8usize {
        code = code.push(at as u64).op(&[op::BLOBHASH]).store(at * 32);
    }
    let code = code.op(&[op::BLOBBASEFEE]).store(256).give(288);
    let count = index % 6 + 1;
    let program = Program { name: format!("{count} blobs, transaction {index}"), code: code.0 };
    Wish { carries: Carries::Blobs(count), ..run(&program) }
}
