//! Who seals the next block (spec/qbft.md 5): votes in headers, epochs, forced sets, and sets that a contract answers.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_rlp::{Decodable, Encodable, Header as RlpHeader};
use imbl::OrdMap;
use ipe_types::extra::{ExtraData, ExtraDataError, MAX_VALIDATORS, Vote};
use ipe_types::genesis::GenesisFormat;
use ipe_types::header::Header;
use ipe_types::planted::{self, Bug};
use ipe_types::spec::ChainSpec;
use ipe_types::transition::Selection;
use ipe_types::validators::ValidatorSet;
use revm::context::TxEnv;
use revm::context::result::ExecutionResult;
use revm::handler::MainnetContext;
use revm::{ExecuteEvm, MainBuilder};

use crate::env::Env;
use crate::overlay::{BlockHashes, Overlay};
use crate::state::StateAt;

/// Validators and open votes after a block.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tally {
    /// Those who seal the next block in header mode.
    pub validators: ValidatorSet,
    /// By recipient; an entry without votes is not kept. Besu bounds neither recipients nor votes within an epoch, so this may
    /// hold one entry for each block of it; the tallies of successive blocks share all entries but those that changed.
    pub votes: OrdMap<Address, Ballots>,
}

/// Open votes about one address.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Ballots {
    /// Validators that want it in.
    pub add: BTreeSet<Address>,
    /// Validators that want it out.
    pub drop: BTreeSet<Address>,
}

/// The validators of one height could not be asked from their contract.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// No code, revert or out of gas.
    #[error("getValidators() of {contract} failed on the state of block {parent}: {reason}")]
    Call {
        /// The validator contract.
        contract: Address,
        /// Block whose state was asked.
        parent: u64,
        /// What the EVM said.
        reason: String,
    },
    /// Not an ABI `address[]`.
    #[error("getValidators() of {contract} on the state of block {parent} did not answer address[]: {reason}")]
    Answer {
        /// The validator contract.
        contract: Address,
        /// Block whose state was asked.
        parent: u64,
        /// What is wrong with the bytes.
        reason: &'static str,
    },
}

impl Ballots {
    fn holds(&self, voter: &Address) -> bool {
        self.add.contains(voter) || self.drop.contains(voter)
    }
}

impl Tally {
    /// A set without votes: after an epoch block, or forced.
    pub fn of(validators: impl IntoIterator<Item = Address>) -> Self {
        Self { validators: validators.into_iter().collect(), votes: OrdMap::new() }
    }

    /// The tally after block 0.
    ///
    /// # Errors
    /// The genesis' extra data does not decode.
    pub fn genesis(spec: &ChainSpec) -> Result<Self, ExtraDataError> {
        let extra = ExtraData::decode(&spec.genesis_header().extra_data)?;
        match spec.validators_override(0) {
            // GoQuorum: those of config.qbft, or of a transition at block 0, go before the extra data's.
            Some(named) if is_goquorum(spec) => Ok(Self::of(named.iter().copied())),
            _ => Ok(Self::of(extra.validators).forced(spec, 0)),
        }
    }

    /// The tally after `header`, which follows the block of this tally.
    ///
    /// # Errors
    /// The header's extra data does not decode.
    pub fn after(&self, spec: &ChainSpec, header: &Header) -> Result<Self, ExtraDataError> {
        let extra = ExtraData::decode(&header.extra_data)?;
        Ok(self.after_extra(spec, header, &extra))
    }

    /// As [`Tally::after`], with the extra data already decoded.
    pub fn after_extra(&self, spec: &ChainSpec, header: &Header, extra: &ExtraData) -> Self {
        let epoch = spec.qbft_at(header.number, header.timestamp).is_epoch(header.number);
        if is_goquorum(spec) {
            return self.after_goquorum(spec, header, extra, epoch);
        }
        let next = if epoch && !planted::is(Bug::EpochVotesKept) {
            Self::of(extra.validators.iter().copied())
        } else {
            let mut next = self.clone();
            if let Some(vote) = extra.vote {
                next.apply(header.beneficiary, vote);
            }
            next
        };
        next.forced(spec, header.number)
    }

    /// GoQuorum: an epoch block forgets votes but its own counts; a vote that would change nothing is ignored; a forced set
    /// comes a block later and leaves votes standing.
    fn after_goquorum(&self, spec: &ChainSpec, header: &Header, extra: &ExtraData, epoch: bool) -> Self {
        let mut next = self.clone();
        if epoch {
            next.votes.clear();
        }
        if let Some(vote) = extra.vote.filter(|vote| vote.add != next.validators.contains(&vote.recipient)) {
            next.apply(header.beneficiary, vote);
        }
        if let Some(forced) = spec.validators_override(header.number) {
            next.validators = forced.iter().copied().collect();
        }
        next
    }

    /// `transitions[].validators` replaces the computed set for the block with that number.
    fn forced(self, spec: &ChainSpec, number: u64) -> Self {
        match spec.validators_override(number.saturating_add(1)) {
            Some(forced) if !is_goquorum(spec) => Self::of(forced.iter().copied()),
            _ => self,
        }
    }

    /// One vote; a majority changes the set, forgets the votes about the recipient and those that a dropped one cast.
    fn apply(&mut self, proposer: Address, vote: Vote) {
        let limit = self.validators.len() / 2 + usize::from(!planted::is(Bug::MajorityOffByOne));
        let ballots = self.votes.entry(vote.recipient).or_default();
        if vote.add {
            ballots.drop.remove(&proposer);
            ballots.add.insert(proposer);
        } else {
            ballots.add.remove(&proposer);
            ballots.drop.insert(proposer);
        }
        let (added, dropped) = (ballots.add.len() >= limit, ballots.drop.len() >= limit);
        if added {
            self.votes.remove(&vote.recipient);
            self.validators = self.validators.iter().copied().chain([vote.recipient]).collect();
        } else if dropped {
            self.votes.remove(&vote.recipient);
            self.validators = self.validators.iter().copied().filter(|v| *v != vote.recipient).collect();
            // A validator leaves by a majority's vote: rare, and the only block that looks at every open vote.
            let cast: Vec<Address> =
                self.votes.iter().filter(|(_, ballots)| ballots.holds(&vote.recipient)).map(|(to, _)| *to).collect();
            for recipient in cast {
                let Some(ballots) = self.votes.get_mut(&recipient) else { continue };
                ballots.add.remove(&vote.recipient);
                ballots.drop.remove(&vote.recipient);
                if ballots.add.is_empty() && ballots.drop.is_empty() {
                    self.votes.remove(&recipient);
                }
            }
        }
    }

    /// The disk form.
    pub fn encode(&self) -> Vec<u8> {
        let mut items = Vec::new();
        self.validators.as_slice().to_vec().encode(&mut items);
        for (recipient, ballots) in &self.votes {
            recipient.encode(&mut items);
            ballots.add.iter().copied().collect::<Vec<_>>().encode(&mut items);
            ballots.drop.iter().copied().collect::<Vec<_>>().encode(&mut items);
        }
        let mut out = Vec::with_capacity(items.len() + 3);
        RlpHeader { list: true, payload_length: items.len() }.encode(&mut out);
        out.extend_from_slice(&items);
        out
    }

    /// Reads what [`Tally::encode`] wrote.
    ///
    /// # Errors
    /// Bytes that it cannot have written.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, alloy_rlp::Error> {
        let mut items = RlpHeader::decode_bytes(&mut bytes, true)?;
        let mut tally = Self::of(Vec::<Address>::decode(&mut items)?);
        while !items.is_empty() {
            let recipient = Address::decode(&mut items)?;
            let add = Vec::<Address>::decode(&mut items)?.into_iter().collect();
            let drop = Vec::<Address>::decode(&mut items)?.into_iter().collect();
            tally.votes.insert(recipient, Ballots { add, drop });
        }
        Ok(tally)
    }
}

/// The vote that `voter` casts next, of what its operator wants (recipient → add), or none that is useful against the
/// tally: dropping a validator it has not voted out yet, adding a stranger it has not voted in yet, or taking back its own
/// open vote. `turn` counts this node's votes, so that several wishes take turns (spec/qbft.md 5.1).
///
/// The only validator never votes itself out, whatever its operator wants: its vote would take effect at once and no block could
/// follow. Besu does it; a block that does is valid.
pub fn vote_choice(intents: &BTreeMap<Address, bool>, tally: &Tally, voter: Address, turn: u64) -> Option<Vote> {
    let useful: Vec<Vote> = intents
        .iter()
        .map(|(recipient, add)| Vote { recipient: *recipient, add: *add })
        .filter(|vote| {
            let ballots = tally.votes.get(&vote.recipient);
            let added = ballots.is_some_and(|b| b.add.contains(&voter));
            let dropped = ballots.is_some_and(|b| b.drop.contains(&voter));
            let member = tally.validators.contains(&vote.recipient);
            if !vote.add && member && tally.validators.len() == 1 {
                return false;
            }
            if vote.add { (!member && !added) || dropped } else { (member && !dropped) || added }
        })
        .collect();
    let index = usize::try_from(turn.checked_rem(useful.len() as u64)?).ok()?;
    useful.get(index).copied()
}

/// Selector of `getValidators()`.
pub const GET_VALIDATORS: [u8; 4] = [0xb7, 0xab, 0x4d, 0xb5];

/// Gas that `getValidators()` may use. It bounds the work of a contract that went wrong; a set of [`MAX_VALIDATORS`] read
/// from storage costs about 1.2 million.
const CALL_GAS: u64 = 100_000_000;

/// Asks the validator contract on the state of `parent` (spec/qbft.md 5.2): default caller, no balance check.
///
/// # Errors
/// No contract, a failing one, or an answer that is not `address[]`.
pub fn ask_contract(
    spec: &ChainSpec,
    parent: &Header,
    contract: Address,
    state: &StateAt,
    hashes: BlockHashes<'_>,
) -> Result<ValidatorSet, ContractError> {
    let failed = |reason: String| ContractError::Call { contract, parent: parent.number, reason };
    let mut env = Env::of(spec, parent, None);
    env.cfg.disable_balance_check = true;
    env.cfg.disable_base_fee = true;
    env.cfg.disable_block_gas_limit = true;
    env.cfg.disable_nonce_check = true;
    env.cfg.disable_eip3607 = true;
    env.cfg.tx_gas_limit_cap = Some(u64::MAX);
    let overlay = Overlay::new(state, hashes, env.fork);
    let mut evm = MainnetContext::new(overlay, env.cfg.spec).with_cfg(env.cfg).with_block(env.block).build_mainnet();
    crate::net_gas::set_instruction(env.fork, &mut evm.instruction);
    let tx = TxEnv {
        caller: Address::ZERO,
        gas_limit: CALL_GAS,
        gas_price: 0,
        kind: TxKind::Call(contract),
        value: U256::ZERO,
        data: Bytes::from_static(&GET_VALIDATORS),
        chain_id: None,
        ..TxEnv::default()
    };
    let result = evm.transact_one(tx).map_err(|error| failed(error.to_string()))?;
    match result {
        ExecutionResult::Success { output, .. } => {
            let addresses = decode_addresses(output.data()).map_err(|reason| ContractError::Answer {
                contract,
                parent: parent.number,
                reason,
            })?;
            Ok(ValidatorSet::new(addresses))
        }
        ExecutionResult::Revert { output, .. } => Err(failed(format!("reverted with {output}"))),
        ExecutionResult::Halt { reason, .. } => Err(failed(format!("halted: {reason:?}"))),
    }
}

/// ABI `address[]`: offset, length, words.
fn decode_addresses(data: &[u8]) -> Result<Vec<Address>, &'static str> {
    let word = |at: usize| -> Result<&[u8], &'static str> {
        let end = at.checked_add(32).ok_or("an offset beyond the data")?;
        data.get(at..end).ok_or("fewer bytes than the array needs (no contract there?)")
    };
    let small = |bytes: &[u8]| -> Result<usize, &'static str> {
        let value = U256::from_be_slice(bytes);
        usize::try_from(value).ok().filter(|value| *value <= data.len()).ok_or("an offset or length beyond the data")
    };
    let start = small(word(0)?)?;
    let count = small(word(start)?)?;
    if count > MAX_VALIDATORS {
        return Err("more validators than a header may list (512)");
    }
    (0..count)
        .map(|index| {
            let item = word(start + 32 + index * 32)?;
            if item[..12] != [0u8; 12] {
                return Err("a word that is no address");
            }
            Ok(Address::from_slice(&item[12..]))
        })
        .collect()
}

/// Whether the chain follows GoQuorum's rules where they differ from Besu's (spec/qbft.md 5.1, 5.2).
pub fn is_goquorum(spec: &ChainSpec) -> bool {
    spec.genesis().format == GenesisFormat::GoQuorum
}

/// How the validators of the block after `parent` are selected. A transition that is keyed by time is judged by `timestamp`,
/// the new block's, in seconds. GoQuorum looks the mode up with the parent's number, so that a switch comes a block later.
pub fn selection(spec: &ChainSpec, parent: &Header, timestamp: u64) -> Selection {
    if is_goquorum(spec) {
        return spec.qbft_at(parent.number, parent.timestamp).selection;
    }
    spec.qbft_at(parent.number.saturating_add(1), timestamp).selection
}

/// Whether a block's extra data may carry a vote: in header mode, and in GoQuorum's chains always.
pub fn may_vote(spec: &ChainSpec, selection: Selection) -> bool {
    selection == Selection::Header || is_goquorum(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a(byte: u8) -> Address {
        Address::with_last_byte(byte)
    }

    fn vote(recipient: u8, add: bool) -> Vote {
        Vote { recipient: a(recipient), add }
    }

    /// GoQuorum `Backend.snapshot`: the set of `config.qbft.validators` goes before that of the extra data.
    #[test]
    fn goquorums_genesis_may_name_its_validators_outside_of_the_extra_data() {
        let file = |qbft: &str| {
            format!(
                r#"{{"config":{{"chainId":10,"berlinBlock":0,"isQuorum":true,"qbft":{{{qbft}}}}},"difficulty":"0x1","gasLimit":"0xE0000000","alloc":{{}},
                "extraData":"0xe5a00000000000000000000000000000000000000000000000000000000000000000c0c080c0"}}"#
            )
        };
        let tally = |qbft: &str| Tally::genesis(&ChainSpec::parse(&file(qbft)).expect("a chain")).expect("extra data");
        assert!(tally("\"epochlength\":5").validators.is_empty());
        let named = tally(r#""validators":["0x0000000000000000000000000000000000000007"]"#);
        assert!(named.validators.contains(&a(7)));
    }

    #[test]
    fn a_majority_adds_and_a_dropped_validators_votes_go_with_it() {
        let mut tally = Tally::of([a(1), a(2), a(3), a(4)]);
        tally.apply(a(1), vote(9, true));
        tally.apply(a(1), vote(9, true));
        tally.apply(a(2), vote(9, true));
        assert!(!tally.validators.contains(&a(9)));
        tally.apply(a(3), vote(9, true));
        assert!(tally.validators.contains(&a(9)) && tally.votes.is_empty());

        tally.apply(a(4), vote(8, true));
        for voter in [1, 2, 3] {
            tally.apply(a(voter), vote(4, false));
        }
        assert!(!tally.validators.contains(&a(4)) && tally.votes.is_empty());
    }

    #[test]
    fn the_only_validator_does_not_vote_itself_out() {
        let intents = BTreeMap::from([(a(1), false), (a(9), true)]);
        let alone = Tally::of([a(1)]);
        assert_eq!(vote_choice(&intents, &alone, a(1), 0), Some(vote(9, true)));
        assert_eq!(vote_choice(&intents, &alone, a(1), 1), Some(vote(9, true)));
        assert_eq!(vote_choice(&intents, &Tally::of([a(1), a(2)]), a(1), 0), Some(vote(1, false)));
    }

    #[test]
    fn a_vote_can_be_taken_back() {
        let mut tally = Tally::of([a(1), a(2), a(3), a(4)]);
        tally.apply(a(1), vote(9, true));
        tally.apply(a(1), vote(9, false));
        let ballots = &tally.votes[&a(9)];
        assert!(ballots.add.is_empty() && ballots.drop.contains(&a(1)));
        assert_eq!(Tally::decode(&tally.encode()), Ok(tally));
    }

    #[test]
    fn only_useful_votes_are_cast_in_turn() {
        let mut tally = Tally::of([a(1), a(2), a(3)]);
        let intents: BTreeMap<_, _> = [(a(2), false), (a(3), true), (a(8), true), (a(9), false)].into();
        assert_eq!(vote_choice(&intents, &tally, a(1), 0), Some(vote(2, false)));
        assert_eq!(vote_choice(&intents, &tally, a(1), 1), Some(vote(8, true)));
        assert_eq!(vote_choice(&intents, &tally, a(1), 2), Some(vote(2, false)));
        tally.apply(a(1), vote(2, false));
        tally.apply(a(1), vote(8, true));
        assert_eq!(vote_choice(&intents, &tally, a(1), 0), None);
        // What was voted the other way is reversed.
        tally.apply(a(1), vote(9, true));
        assert_eq!(vote_choice(&intents, &tally, a(1), 0), Some(vote(9, false)));
    }

    #[test]
    fn answers_of_the_contract_are_read_strictly() {
        let mut data = vec![0u8; 96];
        data[31] = 32;
        data[63] = 1;
        data[95] = 7;
        assert_eq!(decode_addresses(&data), Ok(vec![a(7)]));
        data[63] = 2;
        assert!(decode_addresses(&data).is_err());
        assert!(decode_addresses(&[]).is_err());
        data[63] = 1;
        data[64] = 1;
        assert!(decode_addresses(&data).is_err());
        data[0] = 0xff;
        assert!(decode_addresses(&data).is_err());
    }
}
