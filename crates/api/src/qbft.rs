//! `qbft_*` (`qbft.md` 12).

use crate::allowance::Allowance;
use crate::backend::Api;
use crate::error::RpcError;
use crate::params::{BlockTag, Params};
use crate::wire::json;
use alloy_primitives::{Address, U64};
use ipe_chain::read::ValidatorsError;
use ipe_engine::control::VoteError;
use ipe_engine::{Control, VoteControl};
use ipe_types::transition::Selection;
use serde::Serialize;
use serde_json::{Map, Value};

/// Blocks that `qbft_getSignerMetrics` counts when no range is given, as Besu.
const DEFAULT_RANGE: u64 = 100;
/// Headers that are read between two looks at what the request may still cost.
const HEADERS: u64 = 256;
/// Most blocks one `qbft_getSignerMetrics` reads: a second or two of one core.
const MAX_RANGE: u64 = 100_000;

type Answer = Result<Vec<u8>, RpcError>;

impl From<ValidatorsError> for RpcError {
    fn from(error: ValidatorsError) -> Self {
        match error {
            ValidatorsError::Contract(error) => Self::said(-32603, format!("Internal error: {error}")),
            ValidatorsError::Ledger(error) => error.into(),
        }
    }
}

fn validators(api: &Api, number: Option<u64>) -> Answer {
    let set = match number {
        Some(number) => api.backend.ledger.validators_for(number)?,
        None => None,
    };
    json(&set.map(|set| set.iter().copied().collect::<Vec<Address>>()), api.settings.response_limit)
}

/// Who Besu names for a block: in contract mode the contract's list on the state *after* the block, else the header's.
fn validators_of(api: &Api, number: u64) -> Answer {
    let header = api.header(number)?;
    let ledger = &api.backend.ledger;
    let Selection::Contract(contract) = ledger.spec().qbft_at(number, header.timestamp).selection else {
        return validators(api, Some(number));
    };
    let set = ledger.ask_validators(number, contract)?;
    json(&set.map(|set| set.iter().copied().collect::<Vec<Address>>()), api.settings.response_limit)
}

pub(crate) fn validators_by_number(api: &Api, params: &Params<'_>) -> Answer {
    let tag = params.block(0, &RpcError::BLOCK_NUMBER)?;
    if tag == BlockTag::Pending {
        return validators(api, Some(api.backend.ledger.head().number + 1));
    }
    match api.number(tag)? {
        Some(number) => validators_of(api, number),
        None => Ok(b"null".to_vec()),
    }
}

pub(crate) fn validators_by_hash(api: &Api, params: &Params<'_>) -> Answer {
    let hash = params.hash(0, &RpcError::BLOCK_HASH)?;
    match api.backend.ledger.number_of(&hash)? {
        Some(number) => validators_of(api, number),
        None => Ok(b"null".to_vec()),
    }
}

fn vote(api: &Api, make: impl FnOnce(ipe_engine::Reply<Result<(), VoteError>>) -> VoteControl) -> Answer {
    let head = api.backend.ledger.head();
    let next = api.backend.ledger.spec().qbft_at(head.number + 1, head.header.timestamp);
    if matches!(next.selection, Selection::Contract(_)) {
        return Err(RpcError::METHOD_NOT_ENABLED);
    }
    match api.ask(|reply| Control::Vote(make(reply)))? {
        Ok(()) => Ok(b"true".to_vec()),
        Err(VoteError::ContractMode) => Err(RpcError::METHOD_NOT_ENABLED),
        Err(error @ VoteError::TooMany) => Err(RpcError::said(-32000, error.to_string())),
    }
}

pub(crate) fn propose_vote(api: &Api, params: &Params<'_>) -> Answer {
    let recipient = params.address(0, &RpcError::ADDRESS)?;
    let bad = RpcError::new(-32602, "Invalid vote type params");
    if params.raw(1).is_none() {
        return Err(bad);
    }
    let add = params.flag(1, &bad)?;
    vote(api, |reply| VoteControl::Propose(recipient, add, reply))
}

pub(crate) fn discard_vote(api: &Api, params: &Params<'_>) -> Answer {
    let recipient = params.address(0, &RpcError::ADDRESS)?;
    vote(api, |reply| VoteControl::Discard(recipient, reply))
}

pub(crate) fn pending_votes(api: &Api, _: &Params<'_>) -> Answer {
    let votes = api.ask(|reply| Control::Vote(VoteControl::Pending(reply)))?;
    let map: Map<String, Value> = votes.into_iter().map(|(address, add)| (format!("{address:#x}"), Value::from(add))).collect();
    json(&map, api.settings.response_limit)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Signer {
    address: Address,
    proposed_block_count: U64,
    last_proposed_block_number: U64,
}

pub(crate) fn signer_metrics(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let head = api.backend.ledger.head().number;
    let bad_from = RpcError::new(-32602, "Invalid start block params");
    let bad_to = RpcError::new(-32602, "Invalid end block params");
    let number = |index: usize, bad: &RpcError| -> Result<Option<u64>, RpcError> {
        match params.raw(index) {
            None => Ok(None),
            Some(_) => match params.block(index, bad)? {
                BlockTag::Number(number) => Ok(Some(number)),
                tag => api.number(tag),
            },
        }
    };
    let to = number(1, &bad_to)?.unwrap_or(head).min(head);
    let from = number(0, &bad_from)?.unwrap_or_else(|| to.saturating_sub(DEFAULT_RANGE));
    if from >= to && !(from == 0 && to == 0) {
        return Err(RpcError::INVALID_PARAMS);
    }
    if to - from > MAX_RANGE {
        return Err(RpcError::RANGE);
    }
    let mut signers: Vec<(Address, u64, u64)> = Vec::new();
    for number in from..to {
        if number % HEADERS == 0 {
            allowance.pause()?;
        }
        let proposer = api.header(number)?.beneficiary;
        match signers.iter_mut().find(|(address, ..)| *address == proposer) {
            Some((_, count, last)) => {
                *count += 1;
                *last = number;
            }
            None => signers.push((proposer, 1, number)),
        }
    }
    // Every validator after the last counted block is listed, with zeros if it proposed none.
    if let Some(set) = api.backend.ledger.validators_after(to.saturating_sub(1))? {
        for address in set.iter() {
            if !signers.iter().any(|(known, ..)| known == address) {
                signers.push((*address, 0, 0));
            }
        }
    }
    let list: Vec<Signer> = signers
        .into_iter()
        .map(|(address, count, last)| Signer {
            address,
            proposed_block_count: U64::from(count),
            last_proposed_block_number: U64::from(last),
        })
        .collect();
    allowance.json(&list)
}

pub(crate) fn request_timeout(api: &Api, _: &Params<'_>) -> Answer {
    let head = api.backend.ledger.head();
    let params = api.backend.ledger.spec().qbft_at(head.number + 1, head.header.timestamp);
    json(&(params.request_timeout_ms / 1000), 64)
}
