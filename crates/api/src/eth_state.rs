//! Accounts and storage of `eth_*`.

use crate::allowance::Allowance;
use crate::backend::Api;
use crate::error::RpcError;
use crate::eth_blocks::LATEST;
use crate::object::Pairs;
use crate::params::{BlockRef, BlockTag, Params, address, word};
use crate::wire::json;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U64, U256, hex};
use ipe_chain::state::StateAt;
use serde::Serialize;
use std::collections::BTreeMap;

/// Most slots of one proof.
const MAX_PROOF_SLOTS: usize = 1024;

type Answer = Result<Vec<u8>, RpcError>;

/// The state that the block parameter names. Besu 25 demands the parameter and says so if it is missing; 26 takes the head.
/// For a block that does not exist 25 gives an error and 26 answers `null` (`Ok(None)`).
pub(crate) fn state(api: &Api, params: &Params<'_>, index: usize) -> Result<Option<StateAt>, RpcError> {
    let block = match params.block_or_hash(index, &RpcError::BLOCK_PARAM)? {
        Some(block) => block,
        None if api.besu26() => LATEST,
        None => return Err(RpcError::BLOCK_PARAM),
    };
    if matches!(block, BlockRef::Tag(BlockTag::Latest | BlockTag::Pending)) {
        return Ok(Some(api.head_state()));
    }
    match api.number_of(block)? {
        Some(number) => api.state_at(number).map(Some),
        None if api.besu26() => Ok(None),
        None => Err(RpcError::BLOCK_NOT_FOUND),
    }
}

const NULL: &[u8] = b"null";

pub(crate) fn balance(api: &Api, params: &Params<'_>) -> Answer {
    let address = params.address(0, &RpcError::ADDRESS)?;
    let Some(state) = state(api, params, 1)? else { return Ok(NULL.to_vec()) };
    json(&state.account(address)?.map_or(U256::ZERO, |a| a.balance), 128)
}

pub(crate) fn code(api: &Api, params: &Params<'_>) -> Answer {
    let address = params.address(0, &RpcError::ADDRESS)?;
    let Some(state) = state(api, params, 1)? else { return Ok(NULL.to_vec()) };
    json(&code_of(&state, address)?, api.settings.response_limit)
}

fn code_of(state: &StateAt, address: Address) -> Result<Bytes, RpcError> {
    let Some(account) = state.account(address)? else { return Ok(Bytes::new()) };
    if account.code_hash == KECCAK256_EMPTY {
        return Ok(Bytes::new());
    }
    Ok(state.code(account.code_hash)?.map(|c| c.original_bytes()).unwrap_or_default())
}

pub(crate) fn storage_at(api: &Api, params: &Params<'_>) -> Answer {
    let address = params.address(0, &RpcError::ADDRESS)?;
    let bad = RpcError::new(-32602, "Invalid position params");
    let slot = params.text(1).and_then(word).ok_or(bad)?;
    let Some(state) = state(api, params, 2)? else { return Ok(NULL.to_vec()) };
    json(&B256::from(state.slot(address, slot)?), 128)
}

pub(crate) fn transaction_count(api: &Api, params: &Params<'_>) -> Answer {
    let address = params.address(0, &RpcError::ADDRESS)?;
    let block = params.block_or_hash(1, &RpcError::BLOCK_PARAM)?;
    if block == Some(BlockRef::Tag(BlockTag::Pending))
        && let Some(nonce) = api.backend.pool.lock().pending_nonce(&address)
    {
        return json(&U64::from(nonce), 64);
    }
    let Some(state) = state(api, params, 1)? else { return Ok(NULL.to_vec()) };
    json(&U64::from(state.account(address)?.map_or(0, |a| a.nonce)), 64)
}

/// Most slots of one `eth_getStorageValues`, as Besu.
const MAX_STORAGE_VALUES: usize = 1024;

/// Slots of many accounts at once.
pub(crate) fn storage_values(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let bad = RpcError::INVALID_PARAMS;
    let Some(state) = state(api, params, 1)? else { return Ok(NULL.to_vec()) };
    // An account may be named in several ways; the last one counts, as for Besu.
    let asked: Pairs<Option<Vec<String>>, MAX_STORAGE_VALUES> = params.required(0, &bad)?;
    let mut wanted = BTreeMap::new();
    let mut total = 0;
    for (whom, keys) in asked.0 {
        let whom = address(&whom).ok_or_else(|| bad.clone())?;
        let Some(keys) = keys else { return Err(RpcError { data: Some("null slot list".to_owned()), ..bad }) };
        total += keys.len();
        if total > MAX_STORAGE_VALUES {
            return Err(RpcError::said(-32602, format!("too many slots (max {MAX_STORAGE_VALUES})")));
        }
        let keys: Vec<U256> = keys.iter().map(|key| loose_word(key)).collect::<Option<_>>().ok_or_else(|| bad.clone())?;
        wanted.insert(whom, keys);
    }
    if total == 0 {
        return Err(RpcError::new(-32602, "empty request"));
    }
    let mut found = BTreeMap::new();
    for (whom, keys) in wanted {
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            allowance.pause()?;
            values.push(B256::from(state.slot(whom, key)?));
        }
        found.insert(format!("{whom:#x}"), values);
    }
    allowance.json(&found)
}

/// A word with or without `0x`.
fn loose_word(text: &str) -> Option<U256> {
    word(&format!("0x{}", text.strip_prefix("0x").unwrap_or(text)))
}

#[derive(Serialize)]
struct StorageProof {
    key: String,
    value: U256,
    proof: Vec<Bytes>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AccountProof {
    account_proof: Vec<Bytes>,
    address: Address,
    balance: U256,
    code_hash: B256,
    nonce: U64,
    storage_hash: B256,
    storage_proof: Vec<StorageProof>,
}

/// Besu writes a slot in as few bytes as it needs, zero as `0x0`.
fn key_text(slot: U256) -> String {
    if slot.is_zero() {
        return "0x0".to_owned();
    }
    format!("0x{}", hex::encode(slot.to_be_bytes_trimmed_vec()))
}

pub(crate) fn proof(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let address = params.address(0, &RpcError::ADDRESS)?;
    let bad = RpcError::new(-32602, "Invalid account storage keys params");
    let keys: Vec<String> = params.optional(1, &bad)?.unwrap_or_default();
    if keys.len() > MAX_PROOF_SLOTS {
        return Err(RpcError::said(-32602, format!("Too many storage keys: {} asked, at most {MAX_PROOF_SLOTS}", keys.len())));
    }
    let slots: Vec<U256> = keys.iter().map(|k| word(k)).collect::<Option<_>>().ok_or(bad)?;
    let Some(state) = state(api, params, 2)? else { return Ok(NULL.to_vec()) };
    let found = state.proof(address, &slots)?;
    let account = match found.account {
        Some(account) => account,
        None if api.besu26() => ipe_chain::state::Account::default(),
        None => return Err(RpcError::new(-32000, "Account not found")),
    };
    // 26 says nothing about the slots of an account that does not exist.
    let slots = if found.account.is_some() { found.slots } else { Vec::new() };
    let shape = AccountProof {
        account_proof: found.nodes,
        address,
        balance: account.balance,
        code_hash: account.code_hash,
        nonce: U64::from(account.nonce),
        storage_hash: found.storage_root,
        storage_proof: slots.into_iter().map(|s| StorageProof { key: key_text(s.slot), value: s.value, proof: s.nodes }).collect(),
    };
    allowance.json(&shape)
}
