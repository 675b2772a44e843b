//! One transaction: checked, shown, signed, sent, and waited for.

use super::decoded::{Call, value};
use super::explain;
use super::link::{Link, Unanswered, address as address_of_json, hash, quantity, refused};
use super::network::{Generation, Network, Reach, address};
use super::signer::Signer;
use super::simulate;
use super::text::{clean, print_json};
use crate::failure::{Failure, Outcome};
use crate::rpc::CallError;
use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex, keccak256};
use clap::Args;
use ipe_rules::abi::Governance;
use ipe_rules::catalogue::{self, Decoded};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Time between two looks for a receipt.
const LOOK: Duration = Duration::from_millis(500);

/// How a transaction is made.
#[derive(Args, Clone)]
pub struct Sending {
    #[command(flatten)]
    pub reach: Reach,
    /// File with the key that signs: one line of 64 hex digits, or an encrypted keystore (version 3).
    #[arg(long, value_name = "FILE", env = "IPE_SIGNER_KEY")]
    pub key: Option<PathBuf>,
    /// File whose first line is the keystore's password.
    #[arg(long, value_name = "FILE", env = "IPE_SIGNER_PASSWORD_FILE")]
    pub password_file: Option<PathBuf>,
    /// Show the transaction, its gas and what it would change; send nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run and without --key: the account that would send it.
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub from: Option<Address>,
    /// Seconds to wait for the block; 0 does not wait.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub wait: u64,
    /// Wei for each unit of gas [default: the newest block's base fee, 0 without one].
    #[arg(long, value_name = "WEI")]
    pub gas_price: Option<u128>,
    /// Most gas [default: a quarter more than the node estimates].
    #[arg(long, value_name = "GAS")]
    pub gas_limit: Option<u64>,
    /// Send it although the simulation says that the network would lose its quorum or its links, or a call of a proposal fails.
    #[arg(long)]
    pub anyway: bool,
}

/// What came of it.
pub struct Sent {
    pub hash: B256,
    pub block: u64,
    pub events: Vec<Decoded>,
}

impl Sending {
    /// The account that would send.
    pub fn account(&self) -> Result<Address, Failure> {
        Ok(self.signer()?.map_or(self.from.unwrap_or_default(), |signer| signer.address()))
    }

    fn signer(&self) -> Result<Option<Signer>, Failure> {
        match (&self.key, self.dry_run, self.from) {
            (Some(file), _, _) => Signer::open(file, self.password_file.as_ref()).map(Some),
            (None, true, Some(_)) => Ok(None),
            (None, true, None) => {
                Err(Failure::Usage("--dry-run needs --key, or --from with the account that would send it".to_owned()))
            }
            (None, false, _) => Err(Failure::Usage("--key: name the file of the key that signs".to_owned())),
        }
    }
}

/// Checks a call, and sends it unless it is a dry run. What it would change is simulated before: as governance would make `inner`
/// when it is a proposal of these calls.
pub fn send(network: &Network, sending: &Sending, to: Address, data: Vec<u8>, inner: Option<&[(Address, Vec<u8>)]>) -> Outcome {
    let signer = sending.signer()?;
    let from = match (&signer, sending.from) {
        (Some(signer), Some(from)) if signer.address() != from => {
            return Err(Failure::Usage(format!("--from {from}: the key of --key is that of {}", signer.address())));
        }
        (Some(signer), _) => signer.address(),
        (None, from) => from.unwrap_or_default(),
    };
    let link = &network.link;
    let call = Call::of(network, to, &data);
    if let Some(refusal) = explain::sender_refused(network, from, Some(to))? {
        return Err(Failure::Failed(format!(
            "not sent: the rules do not allow a transaction of {from} to {}\n  rule: {}\n  next: {}",
            network.label(to),
            refusal.because.join("; "),
            refusal.change.join("; ")
        )));
    }
    let output = link.execute(from, to, &data, link.head).map_err(|error| match error {
        Unanswered::Reverted(reason) => {
            Failure::Failed(format!("not sent: {} refuses it: {}", network.label(to), refused(&reason)))
        }
        other => Failure::Failed(format!("not sent: {other}")),
    })?;
    late_vote(&call, &output)?;
    let effects = match inner {
        Some(calls) => simulate::effects(network, simulate::Caller::Governance { executor: from }, calls)?,
        None => simulate::effects(network, simulate::Caller::Account(from), &[(to, data.clone())])?,
    };
    if let Some(danger) = effects.danger().filter(|_| !sending.anyway && !sending.dry_run) {
        return Err(Failure::Failed(format!("not sent: {danger}\n  next: change it, or send it with --anyway")));
    }
    let gas = match sending.gas_limit {
        Some(gas) => gas,
        None => estimate(link, from, to, &data)?,
    };
    let price = sending.gas_price.map_or_else(|| base_fee(link), Ok)?;
    let nonce = link.quantity("eth_getTransactionCount", json!([from, "pending"]))?;
    let shown = json!({
        "from": from, "to": to, "nonce": nonce, "gas": gas, "gasPrice": price.to_string(), "data": hex::encode_prefixed(&data),
    });
    if !sending.reach.json {
        match inner {
            Some(calls) => {
                for line in simulate::lines(network, calls) {
                    println!("proposes {line}");
                }
            }
            None => println!("call   {}", call.line(network)),
        }
        println!("from   {from}, nonce {nonce}, at most {gas} gas at {price} wei");
        println!("to     {} on chain {}", network.label(to), link.chain_id);
    }
    let Some(signer) = signer.filter(|_| !sending.dry_run) else {
        if sending.reach.json {
            print_json(&json!({
                "network": network.json(), "dryRun": true, "transaction": shown, "call": call.json(network), "effects": effects.json(network),
            }));
            return Ok(());
        }
        effects.print(network);
        println!("dry run: nothing was sent");
        return Ok(());
    };
    let transaction = TxLegacy {
        chain_id: Some(link.chain_id),
        nonce,
        gas_price: price,
        gas_limit: gas,
        to: TxKind::Call(to),
        value: U256::ZERO,
        input: data.into(),
    };
    let signature = signer.sign(transaction.signature_hash());
    let raw = ipe_types::Transaction::from(transaction.into_signed(signature)).encoded_2718();
    let sent = deliver(network, sending, from, &raw)?;
    let Some(sent) = sent else {
        let hash = keccak256(&raw);
        if sending.reach.json {
            print_json(
                &json!({ "network": network.json(), "dryRun": false, "transaction": shown, "call": call.json(network), "hash": hash, "block": null }),
            );
        } else {
            println!("sent   {hash}");
        }
        return Ok(());
    };
    if sending.reach.json {
        let events: Vec<Value> = sent
            .events
            .iter()
            .map(|event| {
                let values: serde_json::Map<String, Value> =
                    event.arguments.iter().map(|argument| (argument.name.clone(), value(&argument.value))).collect();
                json!({ "event": event.name, "contract": event.contract.name(), "values": values })
            })
            .collect();
        print_json(&json!({
            "network": network.json(), "dryRun": false, "transaction": shown, "call": call.json(network), "hash": sent.hash,
            "block": sent.block, "events": events, "proposal": created(&sent.events),
        }));
        return Ok(());
    }
    println!("done   in block {}, transaction {}", sent.block, sent.hash);
    for event in &sent.events {
        let values: Vec<String> = event
            .arguments
            .iter()
            .filter(|argument| !matches!(argument.kind.as_str(), "bytes[]" | "address[]"))
            .map(|argument| format!("{}: {}", argument.name, super::history::shown(network, &argument.name, &argument.value)))
            .collect();
        println!("event  {}({})", event.name, values.join(", "));
    }
    if let Some(id) = created(&sent.events) {
        println!("next   the others look at it with `ipe proposal show {id}` and vote with `ipe proposal vote {id} yes`");
    }
    Ok(())
}

/// Number of the proposal that was made.
fn created(events: &[Decoded]) -> Option<u64> {
    events.iter().find(|event| event.name == "ProposalCreated").and_then(|event| super::history::uint(event, "proposalId"))
}

/// A vote that comes too late goes through and does not count: the function says so, its receipt does not.
fn late_vote(call: &Call, output: &Bytes) -> Outcome {
    use alloy_sol_types::SolCall;
    let votes = call.decoded.as_ref().is_ok_and(|decoded| decoded.name == "castVote");
    if votes && Governance::castVoteCall::abi_decode_returns(output).is_ok_and(|counted| !counted) {
        return Err(Failure::Failed(
            "not sent: the vote would not count, the proposal's time is over\n  next: propose it again".to_owned(),
        ));
    }
    Ok(())
}

fn estimate(link: &Link, from: Address, to: Address, data: &[u8]) -> Result<u64, Failure> {
    let params = json!([{ "from": from, "to": to, "data": hex::encode_prefixed(data) }]);
    let answer = link.ask("eth_estimateGas", params).map_err(|error| match &error {
        CallError::Refused { code, message, data } => match super::link::reverted(*code, message, data.as_deref()) {
            Some(reason) => Failure::Failed(format!("not sent: it would fail: {}", refused(&reason))),
            None => Failure::Failed(link.sentence("eth_estimateGas", error)),
        },
        CallError::Unreached(_) => Failure::Failed(link.sentence("eth_estimateGas", error)),
    })?;
    let estimated = quantity(&answer).ok_or_else(|| link.wrong("eth_estimateGas", &answer, "an amount of gas"))?;
    let newest = newest(link)?;
    let limit = quantity(&newest["gasLimit"])
        .ok_or_else(|| link.wrong("eth_getBlockByNumber", &newest["gasLimit"], "the block's gas limit"))?;
    if estimated > limit {
        return Err(Failure::Failed(format!("not sent: it takes {estimated} gas, a block has {limit}\n  next: split it")));
    }
    Ok(estimated.saturating_add(estimated / 4).min(limit))
}

fn base_fee(link: &Link) -> Result<u128, Failure> {
    let newest = newest(link)?;
    match &newest["baseFeePerGas"] {
        Value::Null => Ok(0),
        fee => quantity(fee).map(u128::from).ok_or_else(|| link.wrong("eth_getBlockByNumber", fee, "a base fee")),
    }
}

fn newest(link: &Link) -> Result<Value, Failure> {
    let block = link.must("eth_getBlockByNumber", json!(["latest", false]))?;
    if block.is_object() { Ok(block) } else { Err(link.wrong("eth_getBlockByNumber", &block, "a block")) }
}

/// Sends and waits for the receipt; `None` when nobody waits.
fn deliver(network: &Network, sending: &Sending, from: Address, raw: &[u8]) -> Result<Option<Sent>, Failure> {
    let link = &network.link;
    let own = keccak256(raw);
    let answer = link.must("eth_sendRawTransaction", json!([hex::encode_prefixed(raw)]))?;
    if hash(&answer) != Some(own) {
        return Err(link.wrong("eth_sendRawTransaction", &answer, &format!("the transaction's hash {own}")));
    }
    if sending.wait == 0 {
        return Ok(None);
    }
    let began = Instant::now();
    let receipt = loop {
        let receipt = link.must("eth_getTransactionReceipt", json!([own]))?;
        if !receipt.is_null() {
            break receipt;
        }
        if began.elapsed() >= Duration::from_secs(sending.wait) {
            return Err(Failure::Unfinished(format!(
                "the transaction {own} was sent and is in no block after {} seconds; it may still come into one: `ipe tx why {own}`",
                sending.wait
            )));
        }
        std::thread::sleep(LOOK);
    };
    let form = || link.wrong("eth_getTransactionReceipt", &receipt, &format!("the receipt of {own}"));
    let block = quantity(&receipt["blockNumber"]).filter(|_| hash(&receipt["transactionHash"]) == Some(own)).ok_or_else(form)?;
    if address_of_json(&receipt["from"]) != Some(from) {
        return Err(form());
    }
    match quantity(&receipt["status"]) {
        Some(1) => {}
        Some(0) => {
            return Err(Failure::Failed(format!(
                "the transaction {own} is in block {block} and failed: the contracts changed between check and block\n  next: look at them and try again"
            )));
        }
        _ => return Err(form()),
    }
    let mut events = Vec::new();
    for log in receipt["logs"].as_array().into_iter().flatten().take(1_000) {
        let topics: Vec<B256> = log["topics"].as_array().into_iter().flatten().take(4).filter_map(hash).collect();
        let data = log["data"].as_str().and_then(|data| data.parse::<Bytes>().ok()).unwrap_or_default();
        if let Ok(Some(event)) = catalogue::event(&topics, &data) {
            events.push(event);
        }
    }
    Ok(Some(Sent { hash: own, block, events }))
}

/// The same call with a reason that our contracts keep.
pub fn with_reason(generation: Generation, reason: Option<&str>, call: Vec<u8>) -> Result<Vec<u8>, Failure> {
    use alloy_sol_types::SolCall;
    match reason {
        None => Ok(call),
        Some(reason) if generation == Generation::Ipe => {
            Ok(ipe_rules::abi::Accounts::withReasonCall { reason: reason.to_owned(), call: call.into() }.abi_encode())
        }
        Some(_) => Err(Failure::Failed("--reason: contracts of this generation keep no reason".to_owned())),
    }
}

/// How a proposal is made.
#[derive(Args, Clone)]
pub struct Proposing {
    /// Text of the proposal [default: its calls in words].
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Blocks in which votes count.
    #[arg(long, value_name = "BLOCKS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub duration: u64,
    /// Print the call as ADDRESS:DATA, for `ipe proposal propose --call`, and send nothing.
    #[arg(long)]
    pub print_call: bool,
    /// Make the call oneself, as a master administrator, without a proposal.
    #[arg(long)]
    pub as_master: bool,
}

/// A call that only governance makes: proposed, printed, or made by a master administrator.
pub fn governed(network: &Network, sending: &Sending, proposing: &Proposing, to: Address, data: Vec<u8>) -> Outcome {
    if proposing.print_call {
        println!("{to}:{}", hex::encode_prefixed(&data));
        return Ok(());
    }
    if proposing.as_master {
        return send(network, sending, to, data, None);
    }
    propose(network, sending, proposing, &[(to, data)])
}

/// Proposes calls.
pub fn propose(network: &Network, sending: &Sending, proposing: &Proposing, calls: &[(Address, Vec<u8>)]) -> Outcome {
    use alloy_sol_types::SolCall;
    let governance = network.need_governance()?;
    let described = || {
        let lines: Vec<String> = calls.iter().map(|(to, data)| Call::of(network, *to, data).line(network)).collect();
        clean(&lines.join("; "))
    };
    let create = Governance::createProposalCall {
        targets: calls.iter().map(|(to, _)| *to).collect(),
        calldatas: calls.iter().map(|(_, data)| Bytes::copy_from_slice(data)).collect(),
        blocksDuration: U256::from(proposing.duration),
        description: proposing.description.clone().unwrap_or_else(described),
    };
    send(network, sending, governance, create.abi_encode(), Some(calls))
}
