//! Senders, and the transactions they sign ahead.

use std::collections::VecDeque;
use std::sync::{Arc, mpsc};

use alloy_consensus::{EthereumTxEnvelope, SignableTransaction, TxEip4844, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use ipe_types::NodeKey;
use tokio::sync::mpsc as async_mpsc;

use crate::plan::Kind;

/// A signed transaction, ready to be put into a request.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) hash: B256,
    /// `0x…` of the raw bytes.
    pub(crate) raw: Arc<str>,
}

/// What all transactions of a measurement have in common.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) kind: Kind,
    pub(crate) chain_id: u64,
    pub(crate) gas_price: u128,
    pub(crate) value: U256,
    /// Token or store.
    pub(crate) contract: Address,
    pub(crate) document: usize,
    pub(crate) recipients: usize,
    pub(crate) seed: B256,
}

/// Creation code of the two contracts of `contracts/Load.sol` (solc 0.8.28, EVM version berlin, optimizer 10,000 runs, no
/// metadata).
pub(crate) mod code {
    pub(crate) const TOKEN: &str = include_str!("../contracts/LoadToken.hex");
    pub(crate) const STORE: &str = include_str!("../contracts/LoadStore.hex");

    pub(crate) fn bytes(text: &str) -> super::Bytes {
        super::Bytes::from(hex::decode(text.trim()).expect("the committed file is hex"))
    }
}

/// `transfer(address,uint256)`.
const TRANSFER: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];
/// `mint(address[],uint256)`.
const MINT: [u8; 4] = [0xea, 0x66, 0x69, 0x6c];
/// `put(uint256,bytes)`.
const PUT: [u8; 4] = [0x52, 0xb4, 0x82, 0x87];

/// A secret derived from a text: the same text and index give the same account everywhere.
pub(crate) fn derived_key(seed: &str, index: usize) -> NodeKey {
    let mut hash = keccak256(format!("{seed}/{index}"));
    loop {
        if let Ok(key) = NodeKey::from_bytes(hash.0) {
            return key;
        }
        hash = keccak256(hash);
    }
}

/// Signs a legacy transaction with replay protection: every client and fork since Spurious Dragon takes it.
pub(crate) fn sign(key: &NodeKey, tx: TxLegacy) -> Signed {
    let signature = key.sign(tx.signature_hash());
    let bytes = signature.as_slice();
    let signature = Signature::new(U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]), bytes[64] == 1);
    let tx: EthereumTxEnvelope<TxEip4844> = tx.into_signed(signature).into();
    let mut raw = Vec::with_capacity(256);
    tx.encode_2718(&mut raw);
    Signed { hash: *tx.tx_hash(), raw: format!("0x{}", hex::encode(&raw)).into() }
}

impl Recipe {
    /// The transaction with this nonce of this sender; the same arguments give the same transaction.
    pub(crate) fn make(&self, key: &NodeKey, lane: usize, nonce: u64) -> Signed {
        let (gas_limit, to, value, input) = match self.kind {
            Kind::Transfer => (self.gas_limit(), TxKind::Call(self.recipient(lane, nonce)), self.value, Bytes::new()),
            Kind::Erc20 => {
                let mut input = Vec::with_capacity(68);
                input.extend_from_slice(&TRANSFER);
                input.extend_from_slice(self.recipient(lane, nonce).into_word().as_slice());
                input.extend_from_slice(&U256::from(1).to_be_bytes::<32>());
                (self.gas_limit(), TxKind::Call(self.contract), U256::ZERO, input.into())
            }
            Kind::Store => {
                let key = self.mix(lane, nonce);
                let mut input = Vec::with_capacity(132 + self.document);
                input.extend_from_slice(&PUT);
                input.extend_from_slice(key.as_slice());
                input.extend_from_slice(&U256::from(64).to_be_bytes::<32>());
                input.extend_from_slice(&U256::from(self.document).to_be_bytes::<32>());
                let mut block = key;
                while input.len() < 100 + self.document {
                    block = keccak256(block);
                    let missing = 100 + self.document - input.len();
                    input.extend_from_slice(&block[..missing.min(32)]);
                }
                input.resize(100 + self.document.next_multiple_of(32), 0);
                (self.gas_limit(), TxKind::Call(self.contract), U256::ZERO, input.into())
            }
            Kind::Deploy => (self.gas_limit(), TxKind::Create, U256::ZERO, code::bytes(code::TOKEN)),
        };
        sign(key, TxLegacy { chain_id: Some(self.chain_id), nonce, gas_price: self.gas_price, gas_limit, to, value, input })
    }

    /// Gas limit of each transaction: enough under every fork, the floor price of call data (EIP-7623) included.
    pub(crate) fn gas_limit(&self) -> u64 {
        match self.kind {
            Kind::Transfer => 21_000,
            Kind::Erc20 => 80_000,
            Kind::Store => {
                let bytes = self.document.next_multiple_of(32) as u64 + 132;
                (21_000 + 16 * bytes + 45_000 + bytes).max(21_000 + 40 * bytes)
            }
            Kind::Deploy => 800_000,
        }
    }

    fn mix(&self, lane: usize, nonce: u64) -> B256 {
        let mut bytes = [0u8; 48];
        bytes[..32].copy_from_slice(self.seed.as_slice());
        bytes[32..40].copy_from_slice(&(lane as u64).to_be_bytes());
        bytes[40..].copy_from_slice(&nonce.to_be_bytes());
        keccak256(bytes)
    }

    fn recipient(&self, lane: usize, nonce: u64) -> Address {
        // An odd multiplier walks through all recipients in an order that looks random.
        let index = (lane as u64).wrapping_mul(0x9e37_79b9).wrapping_add(nonce.wrapping_mul(0x85eb_ca6b));
        let index = index % self.recipients as u64;
        let mut address = Address::from_slice(&self.seed[..20]);
        address.0[12..].copy_from_slice(&index.wrapping_add(1).to_be_bytes());
        address
    }
}

/// Call data that gives each of `to` some tokens.
pub(crate) fn mint(to: &[Address], each: U256) -> Bytes {
    let mut input = Vec::with_capacity(4 + 32 * (3 + to.len()));
    input.extend_from_slice(&MINT);
    input.extend_from_slice(&U256::from(64).to_be_bytes::<32>());
    input.extend_from_slice(&each.to_be_bytes::<32>());
    input.extend_from_slice(&U256::from(to.len()).to_be_bytes::<32>());
    for address in to {
        input.extend_from_slice(address.into_word().as_slice());
    }
    input.into()
}

/// One sender.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) address: Address,
    /// Which endpoint it talks to: always the same, so its nonces arrive in order.
    pub(crate) endpoint: usize,
    /// Signed and not offered, or offered and refused; consecutive nonces.
    pub(crate) ready: VecDeque<Signed>,
    /// Nonce after the last one signed or asked for.
    pub(crate) asked_until: u64,
    /// Nonce of the first in `ready`.
    pub(crate) next: u64,
    /// More has been asked of the signers.
    pub(crate) waiting: bool,
    /// Counts resets, so that what was signed before one is thrown away.
    pub(crate) generation: u32,
}

/// Work for a signer.
struct Job {
    lane: usize,
    from: u64,
    count: u64,
    generation: u32,
}

/// What a signer made.
pub(crate) struct Made {
    pub(crate) lane: usize,
    pub(crate) generation: u32,
    pub(crate) signed: Vec<Signed>,
}

/// Threads that sign ahead.
pub(crate) struct Signers {
    jobs: Vec<mpsc::Sender<Job>>,
    turn: usize,
}

impl Signers {
    pub(crate) fn start(
        threads: usize,
        recipe: &Recipe,
        keys: &Arc<Vec<NodeKey>>,
    ) -> std::io::Result<(Self, async_mpsc::UnboundedReceiver<Made>)> {
        let (made, results) = async_mpsc::unbounded_channel();
        let mut jobs = Vec::new();
        for index in 0..threads {
            let (sender, receiver) = mpsc::channel::<Job>();
            let (recipe, keys, made) = (recipe.clone(), keys.clone(), made.clone());
            std::thread::Builder::new().name(format!("sign-{index}")).spawn(move || {
                while let Ok(job) = receiver.recv() {
                    let Some(key) = keys.get(job.lane) else { continue };
                    let signed = (job.from..job.from + job.count).map(|nonce| recipe.make(key, job.lane, nonce)).collect();
                    if made.send(Made { lane: job.lane, generation: job.generation, signed }).is_err() {
                        return;
                    }
                }
            })?;
            jobs.push(sender);
        }
        Ok((Self { jobs, turn: 0 }, results))
    }

    /// Asks for more of a lane's transactions.
    pub(crate) fn ask(&mut self, lane_index: usize, lane: &mut Lane, count: u64) {
        let job = Job { lane: lane_index, from: lane.asked_until, count, generation: lane.generation };
        lane.asked_until += count;
        lane.waiting = true;
        self.turn = (self.turn + 1) % self.jobs.len();
        // A signer that has ended leaves the lane waiting; its transactions show up as not offered.
        let _ = self.jobs[self.turn].send(job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_eips::eip2718::Decodable2718;
    use ipe_types::Transaction;

    fn recipe(kind: Kind) -> Recipe {
        Recipe {
            kind,
            chain_id: 7,
            gas_price: 0,
            value: U256::ZERO,
            contract: Address::repeat_byte(0xcc),
            document: 100,
            recipients: 50,
            seed: B256::repeat_byte(0x11),
        }
    }

    #[test]
    fn every_kind_is_signed_by_its_sender_and_repeatable() {
        let key = derived_key("test", 3);
        for kind in [Kind::Transfer, Kind::Erc20, Kind::Store, Kind::Deploy] {
            let one = recipe(kind).make(&key, 3, 9);
            let raw = hex::decode(&one.raw[2..]).unwrap();
            let tx = Transaction::decode_2718(&mut &raw[..]).unwrap();
            assert_eq!(*tx.tx_hash(), one.hash);
            assert_eq!(tx.recover_signer().unwrap(), key.address());
            assert_eq!((tx.nonce(), tx.chain_id()), (9, Some(7)));
            assert_eq!(recipe(kind).make(&key, 3, 9).raw, one.raw);
            assert_ne!(recipe(kind).make(&key, 3, 10).hash, one.hash);
        }
    }

    #[test]
    fn selectors_are_those_of_the_signatures() {
        for (selector, signature) in
            [(TRANSFER, "transfer(address,uint256)"), (MINT, "mint(address[],uint256)"), (PUT, "put(uint256,bytes)")]
        {
            assert_eq!(selector, keccak256(signature)[..4]);
        }
        assert!(code::bytes(code::TOKEN).len() > 1_000 && code::bytes(code::STORE).len() > 200);
    }

    #[test]
    fn recipients_spread() {
        let recipe = recipe(Kind::Transfer);
        let seen: std::collections::BTreeSet<_> =
            (0..100).flat_map(|lane| (0..10).map(move |nonce| (lane, nonce))).map(|(l, n)| recipe.recipient(l, n)).collect();
        assert!(seen.len() > 40 && seen.len() <= 50, "{}", seen.len());
    }
}
