//! What the examples share: numbers, clocks, what the operating system counts, and a chain with a token.
#![allow(dead_code, reason = "each example uses a part")]

use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, hex, keccak256};
use ipe_chain::kv::{Batch, Store};
use ipe_chain::state::{State, StateChanges};
use ipe_store::FjallStore;
use ipe_types::crypto::NodeKey;
use ipe_types::extra::ExtraData;

/// Deterministic numbers: splitmix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The time at `per_mille` of all, in milliseconds.
pub fn percentile(times: &mut [Duration], per_mille: usize) -> f64 {
    times.sort();
    times.get(times.len() * per_mille / 1000).or(times.last()).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

/// Resident memory of this process, now and at most.
pub fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
}

fn counted(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
}

/// Bytes that this process asked the operating system to read.
pub fn bytes_read() -> u64 {
    counted("rchar:")
}

/// Bytes that this process handed to the operating system to write.
pub fn bytes_written() -> u64 {
    counted("wchar:")
}

/// Time that all threads of this process spent on a processor, background work included.
pub fn cpu() -> Duration {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    let nanos = |task: std::fs::DirEntry| -> Option<u64> {
        std::fs::read_to_string(task.path().join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    Duration::from_nanos(tasks.filter_map(|task| nanos(task.ok()?)).sum())
}

/// Waits until background work of the engine has ended: until a second passes in which next to nothing is read and written.
pub fn quiet() {
    let count = || bytes_read() + bytes_written();
    let start = Instant::now();
    let mut before = count();
    while start.elapsed() < Duration::from_secs(600) {
        std::thread::sleep(Duration::from_secs(1));
        let now = count();
        if now - before < 8192 {
            return;
        }
        before = now;
    }
}

/// One block of `changes` on the head, committed.
pub fn block(store: &FjallStore, state: &State, changes: &StateChanges) {
    let number = state.position().map_or(0, |(number, _)| number + 1);
    let prepared = state.prepare(changes).expect("prepares");
    let mut batch = Batch::new();
    state.apply(number, &prepared, &mut batch).expect("applies");
    store.commit(batch).expect("commits");
    state.committed(number, &prepared).expect("is the head");
}

pub const CHAIN_ID: u64 = 1337;
/// Where [`token`] is.
pub const TOKEN: &str = "0x00000000000000000000000000000000000e2c20";
/// Where [`slots`] is.
pub const SLOTS: &str = "0x00000000000000000000000000000000000510f5";
/// Slots that a call of [`slots`] sets.
pub const SLOTS_A_CALL: usize = 16;

/// The key of a sender; of validators from 1,000,000 on.
pub fn key(n: usize) -> NodeKey {
    NodeKey::from_bytes(keccak256(format!("sender {n}")).0).expect("a key")
}

/// The four validators.
pub fn validators() -> Vec<NodeKey> {
    (0..4).map(|n| key(1_000_000 + n)).collect()
}

/// Code of a token whose balances are a mapping at slot 0: the caller's balance down, the receiver's up, the event, true. It
/// reads every call as `transfer(address,uint256)`.
fn token() -> Vec<u8> {
    const BODY: [&str; 8] = [
        "336000526040600020",               // slot of the caller's balance                 [from]
        "8054602435",                       // balance and amount                           [from, balance, amount]
        "80821060ff57",                     // revert when balance < amount                 (destination filled in below)
        "8091038255",                       // store balance - amount                       [from, amount]
        "60043560005260406000208054820190", // slot and new balance of `to`  [from, amount, balance + amount, to]
        "55600052",                         // store it; amount to memory                   [from]
        "600435337fddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef60206000a3", // event
        "600160005260206000f3",
    ];
    let mut code = hex::decode(BODY.concat()).expect("hex");
    let revert = code.len() as u8;
    code.extend(hex::decode("5b600080fd").expect("hex"));
    let at = code.windows(2).position(|pair| pair == [0x60, 0xff]).expect("is there");
    code[at + 1] = revert;
    code
}

/// Code that sets [`SLOTS_A_CALL`] slots to 1, from the one that the call names on.
fn slots() -> String {
    format!("600035{}00", "60018155600101".repeat(SLOTS_A_CALL))
}

fn balance_slot(of: Address) -> B256 {
    keccak256([of.into_word().0, [0u8; 32]].concat())
}

/// A genesis of four validators, the two contracts, and `senders` that have coins and tokens.
pub fn genesis(senders: usize) -> String {
    let mut addresses: Vec<Address> = validators().iter().map(NodeKey::address).collect();
    addresses.sort();
    let extra = ExtraData::genesis(addresses).encode();
    let senders: Vec<Address> = (0..senders).map(|n| key(n).address()).collect();
    let tokens: Vec<String> = senders.iter().map(|of| format!("\"{}\":\"0xffffffffffff\"", balance_slot(*of))).collect();
    let coins: Vec<String> = senders.iter().map(|of| format!("\"{of}\":{{\"balance\":\"0xffffffffffff\"}}")).collect();
    format!(
        r#"{{"config":{{"chainId":{CHAIN_ID},"berlinBlock":0,"contractSizeLimit":2147483647,"qbft":{{"blockperiodseconds":1,"epochlength":30000,"requesttimeoutseconds":2}}}},
"nonce":"0x0","timestamp":"0x58ee40ba","gasLimit":"0x5f5e100","difficulty":"0x1","mixHash":"0x63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365",
"coinbase":"0x0000000000000000000000000000000000000000","extraData":"{extra}",
"alloc":{{"{TOKEN}":{{"balance":"0","code":"0x{}","storage":{{{}}}}},"{SLOTS}":{{"balance":"0","code":"0x{}"}},{}}}}}"#,
        hex::encode(token()),
        tokens.join(","),
        slots(),
        coins.join(",")
    )
}
