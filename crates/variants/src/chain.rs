//! The chains that variants are made on: one for each fork and way of pricing, with two good blocks.

use std::sync::Arc;

use alloy_consensus::{SignableTransaction, Signed};
use alloy_primitives::{Address, Bytes, Signature, U256, address, hex};
use ipe_chain::kv::MemoryStore;
use ipe_chain::{Bound, BuildOrder, Candidate, Feedback, InvalidBlock, Ledger};
use ipe_types::block::{Block, Transaction};
use ipe_types::crypto::NodeKey;
use ipe_types::extra::ExtraData;
use ipe_types::fork::Fork;
use ipe_types::header::{commit_hash, with_round_and_seals};
use ipe_types::spec::ChainSpec;

/// Unix seconds of block 1; block 0 is a second older.
pub const FIRST: u64 = 1_700_000_000;
/// EIP-155 id of every chain here.
pub const CHAIN_ID: u64 = 5;
/// Wei per gas that ordinary transactions pay: above every base fee here.
pub const PRICE: u128 = 2_000_000_000;
/// `min-gas-price` where the base fee is fixed.
pub const FIXED_FEE: u64 = 7;

/// Key number of an account with 2^200 wei.
pub const RICH: u8 = 9;
/// Key number of one with 2^256 − 1 wei, more than half of all that there can be.
pub const WHALE: u8 = 10;
/// Key number of one that has code (EIP-3607).
pub const CODED: u8 = 11;
/// Key number of one with 10^15 wei.
pub const POOR: u8 = 12;
/// Key number of one that has sent five transactions.
pub const USED: u8 = 13;

/// Has 2^256 − 1 wei and no key: nobody can pay it anything.
pub const FULL: Address = address!("00000000000000000000000000000000000f0f0f");
/// Writes BLOBBASEFEE into slot 0.
pub const BLOB_READER: Address = address!("0000000000000000000000000000000000c00001");
/// Passes its value on to the address in its input.
pub const FORWARDER: Address = address!("0000000000000000000000000000000000c00002");
/// Destroys itself in favour of the address in its input.
pub const DESTROYER: Address = address!("0000000000000000000000000000000000c00003");
/// Creates an empty contract with its value.
pub const CREATOR: Address = address!("0000000000000000000000000000000000c00004");
/// Logs its input under the topic of deposits: the deposit contract where there is one.
pub const LOGGER: Address = address!("0000000000000000000000000000000000c00005");
/// The withdrawal request contract where there is one: counts its calls and answers nothing.
pub const WITHDRAWALS: Address = address!("0000000000000000000000000000000000c00006");
/// The consolidation request contract where there is one: answers a byte.
pub const CONSOLIDATIONS: Address = address!("0000000000000000000000000000000000c00007");

/// How a chain chooses base fees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fees {
    /// EIP-1559; before London there is no base fee.
    Market,
    /// `zeroBaseFee`.
    Zero,
    /// `fixedBaseFee`.
    Fixed,
}

impl Fees {
    /// As in the names of chains.
    pub fn name(self) -> &'static str {
        match self {
            Fees::Market => "market",
            Fees::Zero => "zero",
            Fees::Fixed => "fixed",
        }
    }
}

/// The chain's secrets, by number; 1 to 4 are the validators.
pub fn key(number: u8) -> NodeKey {
    NodeKey::from_bytes([number; 32]).unwrap_or_else(|error| unreachable!("32 small bytes are a key: {error}"))
}

/// Signs by a key of this chain.
pub fn signed<T: SignableTransaction<Signature>>(from: u8, tx: T) -> Transaction
where
    Transaction: From<Signed<T>>,
{
    let hash = tx.signature_hash();
    tx.into_signed(signature(from, hash)).into()
}

/// A key's signature of a hash.
pub fn signature(from: u8, hash: alloy_primitives::B256) -> Signature {
    let signed = key(from).sign(hash);
    let bytes = signed.as_slice();
    Signature::new(U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]), bytes[64] == 1)
}

/// What a genesis file says beside what all have.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// All forks up to this one from block 0 on.
    pub fork: Fork,
    /// Base fees.
    pub fees: Fees,
    /// More of `config`, with a comma in front.
    pub config: &'a str,
    /// More of `config.qbft`, with a comma in front.
    pub qbft: &'a str,
    /// More accounts of `alloc`, with a comma in front.
    pub alloc: &'a str,
}

/// The genesis file in Besu's format.
pub fn genesis(plan: Plan<'_>) -> String {
    let mut validators: Vec<Address> = (1..=4).map(|n| key(n).address()).collect();
    validators.sort();
    let extra = ExtraData::genesis(validators).encode();
    let mut keys = String::from("\"berlinBlock\":0");
    for (from, name) in [
        (Fork::London, "londonBlock"),
        (Fork::Shanghai, "shanghaiTime"),
        (Fork::Cancun, "cancunTime"),
        (Fork::Prague, "pragueTime"),
        (Fork::Osaka, "osakaTime"),
    ] {
        if plan.fork >= from {
            keys.push_str(&format!(",\"{name}\":0"));
        }
    }
    keys.push_str(match plan.fees {
        Fees::Market => "",
        Fees::Zero => ",\"zeroBaseFee\":true",
        Fees::Fixed => ",\"fixedBaseFee\":true",
    });
    let most = U256::MAX;
    let mut alloc = format!(
        r#""{}":{{"balance":"{:#x}"}},"{}":{{"balance":"{most:#x}"}},"{}":{{"balance":"{most:#x}"}},"{}":{{"balance":"0xde0b6b3a7640000","code":"0x00"}},"{}":{{"balance":"0x38d7ea4c68000"}},"{}":{{"balance":"0xde0b6b3a7640000","nonce":"0x5"}},"{}":{{"balance":"{most:#x}"}}"#,
        key(RICH).address(),
        U256::from(1) << 200,
        key(WHALE).address(),
        FULL,
        key(CODED).address(),
        key(POOR).address(),
        key(USED).address(),
        CREATOR.create(1),
    );
    let topic = "649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5";
    for (address, nonce, code) in [
        (BLOB_READER, 0, "4a600055".to_owned()),
        (FORWARDER, 0, "6000600060006000346000355af100".to_owned()),
        (DESTROYER, 0, "600035ff".to_owned()),
        (CREATOR, 1, "6000600034f000".to_owned()),
        (LOGGER, 0, format!("3660006000377f{topic}366000a100")),
        (WITHDRAWALS, 0, "6000546001016000 5500".replace(' ', "")),
        (CONSOLIDATIONS, 0, "600160005360016000f3".to_owned()),
    ] {
        alloc.push_str(&format!(r#","{address}":{{"balance":"0x64","nonce":"{nonce:#x}","code":"0x{code}"}}"#));
    }
    let (config, qbft, more) = (plan.config, plan.qbft, plan.alloc);
    format!(
        r#"{{"config":{{"chainId":{CHAIN_ID},{keys}{config},"qbft":{{"blockperiodseconds":1,"requesttimeoutseconds":600{qbft}}}}},"gasLimit":"0x11e1a300","difficulty":"0x1","mixHash":"0x63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365","timestamp":"{:#x}","extraData":"{extra}","alloc":{{{alloc}{more}}}}}"#,
        FIRST - 1
    )
}

/// A chain with one good block, on which blocks are made.
pub struct Chain {
    /// Its genesis file.
    pub genesis: String,
    /// Block 1, sealed.
    pub first: Bytes,
    ledger: Ledger,
    fees: Fees,
}

impl Chain {
    /// Opens it without a block.
    pub fn at_genesis(genesis: String, fees: Fees) -> Self {
        Self { ledger: open(&genesis), genesis, first: Bytes::new(), fees }
    }

    /// Opens it and makes block 1, which is empty.
    pub fn new(genesis: String, fees: Fees) -> Self {
        let mut chain = Self::at_genesis(genesis, fees);
        let (built, _) = chain.built(Vec::new());
        let sealed = Arc::new(sealed(built, 0));
        let now_ms = sealed.header.timestamp.saturating_mul(1000);
        let checked = chain.ledger.check_sealed(Arc::clone(&sealed), now_ms, &|_| None);
        let checked = checked.unwrap_or_else(|error| unreachable!("an honest block is good: {error}"));
        chain.first = sealed.to_rlp().into();
        let imported = chain.ledger.import(checked, sealed);
        imported.unwrap_or_else(|error| unreachable!("an honest block is imported: {error}"));
        chain
    }

    /// The ledger with block 1.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What an honest proposer makes of these transactions on the head, and whether it took them all.
    pub fn built(&self, transactions: Vec<Transaction>) -> (Block, bool) {
        self.try_build(transactions).unwrap_or_else(|| unreachable!("a block can be built"))
    }

    /// The same where the chain may have no next block at all.
    pub fn try_build(&self, transactions: Vec<Transaction>) -> Option<(Block, bool)> {
        let wanted = transactions.len();
        let candidates: Vec<_> = transactions.into_iter().filter_map(|tx| Candidate::recover(tx).ok()).map(Arc::new).collect();
        let mut queue = candidates.into_iter();
        let head = self.ledger.head();
        let order = BuildOrder {
            timestamp: head.header.timestamp + 1,
            coinbase: head.validators_next.proposer(head.header.beneficiary, 0).unwrap_or_default(),
            round: 0,
            vanity: Bytes::from(vec![0; 32]),
            vote: None,
            min_gas_price: self.min_gas_price(),
            target_gas_limit: None,
        };
        let mut next = |_: Feedback| queue.next();
        let built = self.ledger.build(&order, &mut next, Bound::NONE).ok()?;
        let block = (**built.block()).clone();
        let all = block.body.transactions.len() == wanted;
        Some((block, all))
    }

    /// A block of exactly `bytes` of RLP without seals, filled by transactions with zeros in their input.
    pub fn filled(&self, bytes: usize) -> Block {
        const MOST: usize = 1_600_000;
        let envelope = 128;
        let mut sizes = vec![MOST; bytes / (MOST + envelope)];
        sizes.push(bytes.saturating_sub(sizes.len() * (MOST + envelope) + 1_000));
        loop {
            let fill = |(nonce, size): (usize, &usize)| {
                let (size, floor) = (*size, 21_000 + 10 * *size as u64);
                crate::transactions::filler(nonce as u64, floor.max(30_000), vec![0; size].into())
            };
            let body: Vec<Transaction> = sizes.iter().enumerate().map(fill).collect();
            let (empty, _) = self.built(Vec::new());
            let draft = crate::draft::Draft::of(&empty).with_transactions(body.iter().map(crate::draft::rlp).collect());
            let length = draft.proposal().len();
            if length != bytes {
                let last = sizes.len() - 1;
                sizes[last] = (sizes[last] + bytes).saturating_sub(length);
                continue;
            }
            return self.executed(&empty, body);
        }
    }

    /// The block with transactions that ours would not build, and with what executing them gives.
    fn executed(&self, empty: &Block, transactions: Vec<Transaction>) -> Block {
        let mut block = empty.clone();
        block.header.transactions_root = alloy_consensus::proofs::calculate_transaction_root(&transactions);
        block.body.transactions = transactions;
        loop {
            let judged = self.ledger.check_sealed(Arc::new(sealed(block.clone(), 0)), u64::MAX / 2, &|_| None);
            match judged {
                Err(InvalidBlock::GasUsed { computed, .. }) => block.header.gas_used = computed,
                Err(InvalidBlock::ReceiptsRoot { computed, .. }) => block.header.receipts_root = computed,
                Err(InvalidBlock::StateRoot { computed, .. }) => block.header.state_root = computed,
                // Larger than what is imported: its roots stay as they are.
                _ => return block,
            }
        }
    }

    /// The node's `min-gas-price`.
    pub fn min_gas_price(&self) -> u64 {
        if self.fees == Fees::Fixed { FIXED_FEE } else { 0 }
    }
}

/// A ledger with block 0 only.
pub fn open(genesis: &str) -> Ledger {
    let spec = ChainSpec::parse(genesis).unwrap_or_else(|error| unreachable!("our own genesis is read: {error}"));
    let ledger = Ledger::open(Arc::new(MemoryStore::new()), Arc::new(spec));
    ledger.unwrap_or_else(|error| unreachable!("an empty store is opened: {error}"))
}

/// The block with three seals at `round`.
pub fn sealed(mut block: Block, round: u32) -> Block {
    let hash = commit_hash(&block.header, round).unwrap_or_default();
    let seals = (1..=3).map(|n| key(n).sign(hash)).collect();
    if let Ok(header) = with_round_and_seals(&block.header, round, seals) {
        block.header = header;
    }
    block
}

/// Bytes of hex that are written here.
pub fn bytes(text: &str) -> Bytes {
    hex::decode(text).unwrap_or_default().into()
}
