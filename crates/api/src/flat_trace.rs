//! Flat traces in Besu's form of Parity's.

use crate::execution::halt_words;
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use ipe_types::Header;
use revm::context::result::{HaltReason, OutOfGasError};
use revm::interpreter::InstructionResult as R;
use revm_inspectors::tracing::CallTraceArena;
use revm_inspectors::tracing::types::{CallKind, CallTraceNode};
use serde::Serialize;

#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum Action {
    #[serde(rename_all = "camelCase")]
    Call { call_type: &'static str, from: Address, gas: U64, input: Bytes, to: Address, value: U256 },
    #[serde(rename_all = "camelCase")]
    Create { creation_method: &'static str, from: Address, gas: U64, init: Bytes, value: U256 },
    #[serde(rename_all = "camelCase")]
    Suicide { address: Address, balance: U256, refund_address: Address },
    #[serde(rename_all = "camelCase")]
    Reward { author: Address, reward_type: &'static str, value: U256 },
}

impl Action {
    /// Sender side of `trace_filter`.
    pub(crate) fn from(&self) -> Option<Address> {
        match self {
            Self::Call { from, .. } | Self::Create { from, .. } => Some(*from),
            Self::Suicide { address, .. } => Some(*address),
            Self::Reward { .. } => None,
        }
    }

    /// Receiver side of `trace_filter`; a creation's is in its result.
    pub(crate) fn to(&self) -> Option<Address> {
        match self {
            Self::Call { to, .. } => Some(*to),
            Self::Suicide { refund_address, .. } => Some(*refund_address),
            Self::Reward { author, .. } => Some(*author),
            Self::Create { .. } => None,
        }
    }
}

#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum Outcome {
    #[serde(rename_all = "camelCase")]
    Call { gas_used: U64, output: Bytes },
    #[serde(rename_all = "camelCase")]
    Create { address: Address, code: Bytes, gas_used: U64 },
    /// `null`
    Nothing,
}

/// One flat trace with its place in the chain.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FlatTrace {
    pub action: Action,
    block_hash: B256,
    block_number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revert_reason: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Outcome>,
    subtraces: usize,
    pub trace_address: Vec<usize>,
    transaction_hash: Option<B256>,
    transaction_position: Option<usize>,
    r#type: &'static str,
}

impl FlatTrace {
    /// Whether it concerns one of the senders and one of the receivers; empty lists match all.
    pub(crate) fn concerns(&self, from: &[Address], to: &[Address]) -> bool {
        let receiver = match &self.result {
            Some(Outcome::Create { address, .. }) => Some(*address),
            _ => self.action.to(),
        };
        let hit = |list: &[Address], who: Option<Address>| list.is_empty() || who.is_some_and(|w| list.contains(&w));
        hit(from, self.action.from()) && hit(to, receiver)
    }
}

impl FlatTrace {
    /// Bytes of what it carries.
    pub(crate) fn data(&self) -> usize {
        let input = match &self.action {
            Action::Call { input, .. } => input.len(),
            Action::Create { init, .. } => init.len(),
            Action::Suicide { .. } | Action::Reward { .. } => 0,
        };
        let output = match &self.result {
            Some(Outcome::Call { output, .. }) => output.len(),
            Some(Outcome::Create { code, .. }) => code.len(),
            Some(Outcome::Nothing) | None => 0,
        };
        input + output
    }
}

/// The reward of a block; also shown when it is zero, as Besu does.
pub(crate) fn reward(hash: B256, header: &Header, author: Address, value: U256) -> FlatTrace {
    FlatTrace {
        action: Action::Reward { author, reward_type: "block", value },
        block_hash: hash,
        block_number: header.number,
        error: None,
        revert_reason: None,
        result: Some(Outcome::Nothing),
        subtraces: 0,
        trace_address: Vec::new(),
        transaction_hash: None,
        transaction_position: None,
        r#type: "reward",
    }
}

/// The traces of one transaction, parents before children.
pub(crate) fn flatten(arena: &CallTraceArena, hash: B256, number: u64, transaction: B256, position: usize) -> Vec<FlatTrace> {
    let mut out = Vec::new();
    let nodes = arena.nodes();
    let mut todo: Vec<(usize, Vec<usize>)> = vec![(0, Vec::new())];
    while let Some((index, address)) = todo.pop() {
        let Some(node) = nodes.get(index) else { continue };
        let base = FlatTrace {
            action: action(node),
            block_hash: hash,
            block_number: number,
            error: None,
            revert_reason: None,
            result: None,
            subtraces: 0,
            trace_address: address.clone(),
            transaction_hash: Some(transaction),
            transaction_position: Some(position),
            r#type: if node.trace.kind.is_any_create() { "create" } else { "call" },
        };
        // Calls of precompiles are not shown.
        let children: Vec<usize> =
            node.children.iter().copied().filter(|c| nodes.get(*c).is_some_and(|n| !n.is_precompile())).collect();
        let suicide = node.trace.is_selfdestruct();
        let failed = node.trace.status.is_some_and(|s| !s.is_ok());
        let mut trace = base.clone();
        trace.subtraces = children.len() + usize::from(suicide);
        if failed {
            let (error, reverted) = words(node.trace.status);
            trace.error = Some(error);
            if reverted && index == 0 {
                trace.revert_reason = Some(node.trace.output.clone());
            }
        } else {
            let gas_used = U64::from(node.trace.gas_used);
            trace.result = Some(if node.trace.kind.is_any_create() {
                Outcome::Create { address: node.trace.address, code: node.trace.output.clone(), gas_used }
            } else {
                Outcome::Call { gas_used, output: node.trace.output.clone() }
            });
        }
        out.push(trace);
        let below = |nth: usize| {
            let mut place = address.clone();
            place.push(nth);
            place
        };
        if suicide {
            let refund = node.trace.selfdestruct_refund_target.unwrap_or_default();
            let gone = node.trace.selfdestruct_address.unwrap_or(node.trace.address);
            let balance = node.trace.selfdestruct_transferred_value.unwrap_or_default();
            out.push(FlatTrace {
                action: Action::Suicide { address: gone, balance, refund_address: refund },
                result: Some(Outcome::Nothing),
                trace_address: below(children.len()),
                r#type: "suicide",
                ..base
            });
        }
        for (nth, child) in children.iter().enumerate().rev() {
            todo.push((*child, below(nth)));
        }
    }
    // A destruction after calls was written before them; the order is that of the addresses.
    out.sort_by(|a, b| a.trace_address.cmp(&b.trace_address));
    out
}

fn action(node: &CallTraceNode) -> Action {
    let trace = &node.trace;
    let gas = U64::from(trace.gas_limit);
    let call =
        |call_type, value| Action::Call { call_type, from: trace.caller, gas, input: trace.data.clone(), to: trace.address, value };
    match trace.kind {
        CallKind::Call => call("call", trace.value),
        CallKind::CallCode => call("callcode", trace.value),
        CallKind::StaticCall => call("staticcall", U256::ZERO),
        CallKind::DelegateCall => call("delegatecall", U256::ZERO),
        CallKind::Create | CallKind::Create2 => Action::Create {
            creation_method: if trace.kind == CallKind::Create2 { "create2" } else { "create" },
            from: trace.caller,
            gas,
            init: trace.data.clone(),
            value: trace.value,
        },
        _ => call("call", trace.value),
    }
}

/// Besu's word for a failure, and whether it is a revert.
fn words(status: Option<R>) -> (String, bool) {
    let reason = match status {
        Some(R::Revert) | None => return ("Reverted".into(), true),
        Some(R::OpcodeNotFound | R::InvalidFEOpcode | R::NotActivated) => return ("Bad instruction".into(), false),
        Some(R::InvalidJump) => HaltReason::InvalidJump,
        Some(R::StackUnderflow) => HaltReason::StackUnderflow,
        Some(R::StackOverflow) => HaltReason::StackOverflow,
        Some(R::OutOfOffset) => HaltReason::OutOfOffset,
        Some(R::StateChangeDuringStaticCall | R::CallNotAllowedInsideStatic) => HaltReason::StateChangeDuringStaticCall,
        Some(R::CreateContractSizeLimit | R::CreateInitCodeSizeLimit) => HaltReason::CreateContractSizeLimit,
        Some(R::CreateContractStartingWithEF) => HaltReason::CreateContractStartingWithEF,
        Some(R::PrecompileError) => HaltReason::PrecompileError,
        Some(R::CreateCollision) => HaltReason::CreateCollision,
        Some(R::OutOfFunds) => HaltReason::OutOfFunds,
        Some(R::CallTooDeep) => HaltReason::CallTooDeep,
        Some(_) => HaltReason::OutOfGas(OutOfGasError::Basic),
    };
    (halt_words(&reason, 0), false)
}
