//! Blocks and consensus messages as an attacker makes them: from trees that anything may be done to, signed with its own key.

use alloy_rlp::Decodable;
use ipe_types::block::Body;
use ipe_types::header::block_hash;
use ipe_types::message::{CommitPayload, Kind, Payload as _, PreparePayload, ProposalPayload, RoundChangePayload, Signed};
use ipe_types::{Address, Block, Bytes, ExtraData, Header, NodeKey, ValidatorSet};

use crate::rlp::Item;

/// The head as an honest node tells it.
#[derive(Clone, Debug)]
pub struct Head {
    pub header: Header,
    pub validators: ValidatorSet,
}

impl Head {
    /// Of a header's RLP.
    pub fn read(bytes: &[u8]) -> Option<Head> {
        let header = Header::decode(&mut &bytes[..]).ok()?;
        let validators = ExtraData::decode(&header.extra_data).ok()?.validators;
        Some(Head { validators: ValidatorSet::new(validators), header })
    }

    /// Whose turn a round of the next height is.
    pub fn proposer(&self, round: u32) -> Address {
        self.validators.proposer(self.header.beneficiary, round).unwrap_or_default()
    }

    /// An empty block on it, as an honest proposer would make it now.
    pub fn next_block(&self, coinbase: Address, round: u32, period_s: u64) -> Option<Block> {
        let extra = ExtraData {
            vanity: Bytes::from(vec![0; 32]),
            validators: self.validators.as_slice().to_vec(),
            vote: None,
            round,
            seals: Vec::new(),
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
        let parent = &self.header;
        let header = Header {
            parent_hash: block_hash(parent).ok()?,
            number: parent.number + 1,
            beneficiary: coinbase,
            timestamp: now.max(parent.timestamp + period_s),
            extra_data: extra.encode(),
            gas_used: 0,
            transactions_root: ipe_types::header::EMPTY_ROOT,
            receipts_root: ipe_types::header::EMPTY_ROOT,
            logs_bloom: alloy_primitives::Bloom::ZERO,
            ..parent.clone()
        };
        let withdrawals = header.withdrawals_root.map(|_| Vec::new());
        Some(Block { header, body: Body { transactions: Vec::new(), withdrawals } })
    }
}

/// The block's RLP as a tree, with the items of the extra data in place of the bytes that hold them: see [`seal_extra`].
pub fn block_tree(block: &Block) -> Item {
    let mut tree = Item::parse(&block.to_rlp());
    if let Item::List(items) = &mut tree
        && let Some(Item::List(header)) = items.first_mut()
        && let Some(extra) = header.get_mut(EXTRA)
    {
        *extra = Item::parse(&block.header.extra_data);
    }
    tree
}

/// Where the extra data stands in a header.
const EXTRA: usize = 12;

/// Puts the extra data of a tree back into one string.
pub fn seal_extra(mut tree: Item) -> Item {
    if let Item::List(items) = &mut tree
        && let Some(Item::List(header)) = items.first_mut()
        && let Some(extra @ Item::List(_)) = header.get_mut(EXTRA)
    {
        *extra = Item::Bytes(extra.encode());
    }
    tree
}

/// The tree of a payload.
pub fn payload_tree(kind: Kind, height: u64, round: u32, digest: alloy_primitives::B256, key: &NodeKey) -> Item {
    let raw = match kind {
        Kind::Prepare => PreparePayload { height, round, digest }.encode_payload(),
        Kind::Commit => CommitPayload { height, round, digest, seal: key.sign(digest) }.encode_payload(),
        Kind::Proposal | Kind::RoundChange => RoundChangePayload { height, round: round + 1, prepared: None }.encode_payload(),
    };
    Item::parse(&raw)
}

/// `[payload, signature]` with a sound signature over whatever the payload is.
pub fn signed(kind: Kind, payload: &Item, key: &NodeKey) -> Item {
    let raw = payload.encode();
    let hash = match kind {
        Kind::Proposal => Signed::<ProposalPayload>::signing_hash(&raw),
        Kind::Prepare => Signed::<PreparePayload>::signing_hash(&raw),
        Kind::Commit => Signed::<CommitPayload>::signing_hash(&raw),
        Kind::RoundChange => Signed::<RoundChangePayload>::signing_hash(&raw),
    };
    Item::List(vec![Item::Raw(raw), Item::Bytes(key.sign(hash).as_slice().to_vec())])
}

/// A Proposal in round 0 of a block that may be anything.
pub fn proposal(height: u64, round: u32, block: Item, key: &NodeKey) -> Vec<u8> {
    let payload = Item::List(vec![Item::number(height), Item::number(round.into()), block]);
    let nothing = Item::List(vec![Item::List(Vec::new()), Item::List(Vec::new())]);
    Item::List(vec![signed(Kind::Proposal, &payload, key), nothing]).encode()
}

/// An honest transfer without a price.
pub fn transfer(nonce: u64, chain_id: u64, key: &NodeKey) -> Vec<u8> {
    legacy(
        nonce,
        chain_id,
        key,
        [Item::number(0), Item::number(21_000), Item::Bytes(vec![1; 20]), Item::number(0), Item::Bytes(Vec::new())],
    )
}

/// A creation at a price in wei that uses all of its gas with its first instruction, which is none; `body` tells one from
/// another of the same nonce.
pub fn burning(nonce: u64, chain_id: u64, key: &NodeKey, price: u64, gas: u64, body: u8) -> Vec<u8> {
    let code = Item::Bytes(vec![0xfe, body]);
    legacy(nonce, chain_id, key, [Item::number(price), Item::number(gas), Item::Bytes(Vec::new()), Item::number(0), code])
}

/// A creation without a price.
pub fn creation(nonce: u64, chain_id: u64, key: &NodeKey, gas: u64, code: &[u8]) -> Vec<u8> {
    let code = Item::Bytes(code.to_vec());
    legacy(nonce, chain_id, key, [Item::number(0), Item::number(gas), Item::Bytes(Vec::new()), Item::number(0), code])
}

/// Of price, gas, receiver, value and input.
fn legacy(nonce: u64, chain_id: u64, key: &NodeKey, fields: [Item; 5]) -> Vec<u8> {
    let none = Item::number(0);
    let body: Vec<Item> = std::iter::once(Item::number(nonce)).chain(fields).collect();
    let with = |more: [Item; 3]| Item::List([body.as_slice(), more.as_slice()].concat()).encode();
    let hash = alloy_primitives::keccak256(with([Item::number(chain_id), none.clone(), none]));
    let signature = key.sign(hash);
    let short = |bytes: &[u8]| Item::Bytes(bytes.iter().copied().skip_while(|byte| *byte == 0).collect());
    let [r, s] = [&signature.as_slice()[..32], &signature.as_slice()[32..64]].map(short);
    with([Item::number(35 + 2 * chain_id + u64::from(signature.as_slice()[64] % 27)), r, s])
}

/// The message of another kind, in the legacy dialect.
pub fn message(kind: Kind, payload: &Item, key: &NodeKey) -> Vec<u8> {
    let signed = signed(kind, payload, key);
    match kind {
        Kind::RoundChange => Item::List(vec![signed, Item::List(Vec::new()), Item::List(Vec::new())]).encode(),
        Kind::Proposal | Kind::Prepare | Kind::Commit => signed.encode(),
    }
}

/// Copies of somebody else's message whose signed part is sound and whose rest is not.
pub fn spoiled(kind: Kind, bytes: &[u8], key: &NodeKey, salt: u64) -> Vec<Vec<u8>> {
    let Item::List(items) = Item::parse(bytes) else { return Vec::new() };
    // A Prepare of our own about nothing that anybody proposed, different in every copy.
    let digest = alloy_primitives::keccak256(salt.to_be_bytes());
    let foreign = signed(Kind::Prepare, &payload_tree(Kind::Prepare, salt % 1_000, 0, digest, key), key);
    let with = |at: usize, new: Item| {
        let mut items = items.clone();
        if at < items.len() {
            items[at] = new;
        } else {
            items.push(new);
        }
        Item::List(items).encode()
    };
    match kind {
        Kind::Proposal => vec![
            with(1, Item::List(vec![Item::List(Vec::new()), Item::List(vec![foreign.clone()])])),
            with(1, Item::List(vec![Item::List(vec![foreign.clone()]), Item::List(Vec::new())])),
            with(2, foreign),
        ],
        Kind::RoundChange => {
            let last = items.len() - 1;
            vec![with(last, Item::List(vec![foreign.clone()])), with(1, foreign.clone()), with(items.len(), foreign)]
        }
        // The signature is what can be changed: s for n - s is refused, any other is somebody else's.
        Kind::Prepare | Kind::Commit => {
            vec![with(2, Item::number(salt)), with(1, Item::Bytes(key.sign(digest).as_slice().to_vec()))]
        }
    }
}
