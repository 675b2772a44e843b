//! Before the load: what chain is it, who sends, who pays, which contract is called.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_consensus::TxLegacy;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use ipe_types::NodeKey;
use serde_json::{Value, json};
use thiserror::Error;

use crate::http::{Connection, Url};
use crate::lane::{self, Recipe, Signed, code};
use crate::plan::{Kind, LoadPlan, PlanError};
use crate::report::Progress;
use crate::rpc::{Reply, RpcError, form, quantity};

/// Longest time for one step of the preparation to be mined.
const PATIENCE: Duration = Duration::from_secs(180);
/// Transactions of the preparation that are on their way at once.
const WINDOW: usize = 64;
/// Senders that get tokens in one transaction: 26,000 gas each.
const MINT_AT_ONCE: usize = 100;

/// The preparation failed.
#[derive(Debug, Error)]
pub enum SetupError {
    /// An endpoint does not answer as a node does.
    #[error("preparing the load: {0}")]
    Rpc(#[from] RpcError),
    /// Endpoints are on different chains.
    #[error("{endpoint} is on chain {got}, the first endpoint on chain {expected}")]
    OtherChain {
        /// Which.
        endpoint: String,
        /// Its chain id.
        got: u64,
        /// Chain id of the first endpoint.
        expected: u64,
    },
    /// Secrets cannot be read from the file.
    #[error("key file {file}: {what}")]
    KeyFile {
        /// The file.
        file: PathBuf,
        /// What is wrong, with the line.
        what: String,
    },
    /// The funder's secret is none.
    #[error("the funder's key is not a secret of 32 bytes in hex")]
    Funder,
    /// Senders lack wei and nobody pays.
    #[error(
        "{count} of the senders have less than the {need} wei that they need (gas price {gas_price}); \
         give the secret of a rich account with --funder, or a gas price of 0 where the network takes it"
    )]
    Unfunded {
        /// How many.
        count: usize,
        /// Wei each needs.
        need: U256,
        /// Wei per gas.
        gas_price: u128,
    },
    /// The payer has less than is needed.
    #[error("the funder {funder} has {balance} wei, funding the senders takes {need}")]
    FunderPoor {
        /// Who.
        funder: Address,
        /// What there is.
        balance: U256,
        /// What it takes.
        need: U256,
    },
    /// A transaction of the preparation was refused for good.
    #[error("{what} was refused: {reason}")]
    Refused {
        /// Which step.
        what: &'static str,
        /// The node's words.
        reason: String,
    },
    /// A step of the preparation was not mined.
    #[error("{what} was not mined within {} s: does the network make blocks?", PATIENCE.as_secs())]
    NotMined {
        /// Which step.
        what: &'static str,
    },
    /// A contract has no code after its deployment.
    #[error("the contract was not created: the deployment failed when executed (gas limit of blocks too small?)")]
    NoContract,
    /// Found while preparing.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// Everything the load needs.
pub(crate) struct Stage {
    pub(crate) urls: Vec<Url>,
    pub(crate) keys: Arc<Vec<NodeKey>>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) nonces: Vec<u64>,
    pub(crate) recipe: Recipe,
}

struct Payer {
    key: NodeKey,
    address: Address,
    nonce: u64,
}

/// Makes everything ready; takes some blocks when senders have to be funded or a contract deployed.
pub(crate) async fn prepare(plan: &LoadPlan, progress: &mut dyn FnMut(&Progress)) -> Result<Stage, SetupError> {
    let mut tell = |stage: &str| progress(&Progress { stage: stage.into(), ..Progress::default() });
    let urls: Vec<Url> = plan
        .endpoints
        .iter()
        .map(|endpoint| Url::parse(endpoint).ok_or_else(|| PlanError::Endpoint(endpoint.clone())))
        .collect::<Result<_, _>>()?;
    let mut chain_id = None;
    for url in &urls {
        let got: u64 = Connection::new(url.clone()).quantity("eth_chainId", json!([])).await?.saturating_to();
        let expected = *chain_id.get_or_insert(got);
        if got != expected {
            return Err(SetupError::OtherChain { endpoint: url.to_string(), got, expected });
        }
    }
    let chain_id = chain_id.ok_or(PlanError::NoEndpoint)?;
    let mut node = Connection::new(urls[0].clone());
    let gas_price = match plan.gas_price {
        Some(price) => price,
        None => asked_price(&mut node).await?,
    };

    tell("keys");
    let keys = match &plan.key_file {
        Some(file) => read_keys(file, plan.senders)?,
        None => (0..plan.senders).map(|index| lane::derived_key(&plan.seed, index)).collect(),
    };
    let addresses: Vec<Address> = keys.iter().map(NodeKey::address).collect();
    let recipe = Recipe {
        kind: plan.kind,
        chain_id,
        gas_price,
        value: plan.value,
        contract: Address::ZERO,
        document: plan.document,
        recipients: plan.recipients,
        seed: keccak256(plan.seed.as_bytes()),
    };

    let value = if plan.kind == Kind::Transfer { plan.value } else { U256::ZERO };
    let each = U256::from(gas_price) * U256::from(recipe.gas_limit()) + value;
    // The first sender deploys the contract when nobody else pays.
    let need = each.saturating_mul(U256::from(plan.per_sender()));
    let funder = plan.funder.as_deref().map(parse_key).transpose().map_err(|()| SetupError::Funder)?;
    let mut payer = match funder {
        Some(key) => {
            let address = key.address();
            let nonce = node.nonces(&[address], "pending").await?[0];
            Some(Payer { key, address, nonce })
        }
        None => None,
    };
    if !need.is_zero() {
        tell("balances");
        let balances = node.balances(&addresses).await?;
        let poor: Vec<(Address, U256)> = addresses
            .iter()
            .zip(&balances)
            .filter(|(_, balance)| **balance < need)
            .map(|(address, balance)| (*address, need - *balance))
            .collect();
        if !poor.is_empty() {
            let Some(payer) = &mut payer else {
                return Err(SetupError::Unfunded { count: poor.len(), need, gas_price });
            };
            tell("funding");
            fund(&mut node, payer, &poor, &recipe).await?;
        }
    }

    let mut stage = Stage { urls, keys: Arc::new(keys), addresses, nonces: Vec::new(), recipe };
    if matches!(plan.kind, Kind::Erc20 | Kind::Store) {
        tell("contract");
        let mut payer = match payer {
            Some(payer) => payer,
            None => {
                let nonce = node.nonces(&stage.addresses[..1], "pending").await?[0];
                Payer { key: stage.keys[0].clone(), address: stage.addresses[0], nonce }
            }
        };
        deploy(&mut node, &mut payer, &mut stage).await?;
    }
    tell("nonces");
    // Every endpoint must have come to the height at which the preparation ended.
    let height = node.quantity("eth_blockNumber", json!([])).await?;
    for url in &stage.urls {
        let mut other = Connection::new(url.clone());
        let began = Instant::now();
        while other.quantity("eth_blockNumber", json!([])).await? < height {
            if began.elapsed() > PATIENCE {
                return Err(SetupError::NotMined { what: "the preparation's last block at every endpoint" });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    stage.nonces = node.nonces(&stage.addresses, "pending").await?;
    Ok(stage)
}

/// What the node wants: twice the base fee where there is one, else its gas price.
async fn asked_price(node: &mut Connection) -> Result<u128, SetupError> {
    let block = node.call("eth_getBlockByNumber", json!(["latest", false])).await?;
    let base_fee = block.get("baseFeePerGas").and_then(quantity).unwrap_or_default();
    if base_fee.is_zero() {
        return Ok(node.quantity("eth_gasPrice", json!([])).await?.saturating_to());
    }
    Ok((base_fee * U256::from(2) + U256::from(1_000_000_000)).saturating_to())
}

fn parse_key(text: &str) -> Result<NodeKey, ()> {
    let text = text.trim();
    let mut secret = [0u8; 32];
    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut secret).map_err(|_| ())?;
    NodeKey::from_bytes(secret).map_err(|_| ())
}

fn read_keys(file: &PathBuf, most: usize) -> Result<Vec<NodeKey>, SetupError> {
    let fault = |what: String| SetupError::KeyFile { file: file.clone(), what };
    let text = std::fs::read_to_string(file).map_err(|error| fault(error.to_string()))?;
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // The line itself is a secret and is not repeated.
        let key = parse_key(line).map_err(|()| fault(format!("line {} is not a secret of 32 bytes in hex", index + 1)))?;
        keys.push(key);
        if keys.len() == most {
            break;
        }
    }
    if keys.is_empty() { Err(fault("no key in it, expected one in hex a line".into())) } else { Ok(keys) }
}

async fn fund(node: &mut Connection, payer: &mut Payer, poor: &[(Address, U256)], recipe: &Recipe) -> Result<(), SetupError> {
    let fee = U256::from(recipe.gas_price) * U256::from(21_000);
    let need = poor.iter().fold(U256::ZERO, |sum, (_, missing)| sum.saturating_add(*missing).saturating_add(fee));
    let balance = node.balances(&[payer.address]).await?[0];
    if balance < need {
        return Err(SetupError::FunderPoor { funder: payer.address, balance, need });
    }
    let signed: Vec<Signed> = poor
        .iter()
        .enumerate()
        .map(|(index, (to, missing))| {
            let nonce = payer.nonce + index as u64;
            let to = TxKind::Call(*to);
            let (chain_id, gas_price) = (Some(recipe.chain_id), recipe.gas_price);
            let tx = TxLegacy { chain_id, nonce, gas_price, gas_limit: 21_000, to, value: *missing, input: Bytes::new() };
            lane::sign(&payer.key, tx)
        })
        .collect();
    send_all(node, payer, &signed, "a transfer that funds a sender").await
}

async fn deploy(node: &mut Connection, payer: &mut Payer, stage: &mut Stage) -> Result<(), SetupError> {
    let recipe = &stage.recipe;
    let input = code::bytes(if recipe.kind == Kind::Erc20 { code::TOKEN } else { code::STORE });
    let contract = payer.address.create(payer.nonce);
    let make = |nonce, gas_limit, to, input| {
        let (chain_id, gas_price) = (Some(recipe.chain_id), recipe.gas_price);
        lane::sign(&payer.key, TxLegacy { chain_id, nonce, gas_price, gas_limit, to, value: U256::ZERO, input })
    };
    let deployment = make(payer.nonce, 800_000, TxKind::Create, input);
    let mints: Vec<Signed> = if recipe.kind == Kind::Erc20 {
        let chunks = stage.addresses.chunks(MINT_AT_ONCE).enumerate();
        chunks
            .map(|(index, some)| {
                let gas = 60_000 + 32_000 * some.len() as u64;
                let input = lane::mint(some, U256::from(1_000_000_000_000_000_000_u64));
                make(payer.nonce + 1 + index as u64, gas, TxKind::Call(contract), input)
            })
            .collect()
    } else {
        Vec::new()
    };
    send_all(node, payer, &[deployment], "the contract's deployment").await?;
    let code = node.call("eth_getCode", json!([contract, "latest"])).await?;
    if code.as_str().is_none_or(|code| code.len() <= 2) {
        return Err(SetupError::NoContract);
    }
    send_all(node, payer, &mints, "the first balances of tokens").await?;
    stage.recipe.contract = contract;
    Ok(())
}

/// Sends consecutive transactions of one account, as many at once as the node takes, and waits for all of them.
async fn send_all(node: &mut Connection, payer: &mut Payer, signed: &[Signed], what: &'static str) -> Result<(), SetupError> {
    let first = payer.nonce;
    let end = first + signed.len() as u64;
    let (mut mined, mut sent) = (first, first);
    let mut moved = Instant::now();
    while mined < end {
        let until = end.min(mined + WINDOW as u64);
        let (from, to) = ((sent - first) as usize, (until - first) as usize);
        let batch = &signed[from..to];
        let replies = node.call_many("eth_sendRawTransaction", batch.iter().map(|tx| json!([&*tx.raw]))).await?;
        for reply in replies {
            match reply {
                Reply::Result(_) => sent += 1,
                // Some nodes hold a few ahead only: the rest goes when these are mined.
                Reply::Error { code, message } => match Verdict::of(code, &message) {
                    Verdict::Known | Verdict::NonceUsed => sent += 1,
                    Verdict::Later => break,
                    Verdict::Never if sent > mined => break,
                    Verdict::Never => return Err(SetupError::Refused { what, reason: message }),
                },
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = node.nonces(&[payer.address], "latest").await?[0].min(end);
        if now > mined {
            mined = now;
            sent = sent.max(mined);
            moved = Instant::now();
        } else if moved.elapsed() > PATIENCE {
            return Err(SetupError::NotMined { what });
        } else if moved.elapsed() > Duration::from_secs(15) {
            // Something was lost: offer it again.
            sent = mined;
        }
    }
    payer.nonce = end;
    Ok(())
}

/// What a refusal of a transaction means for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The node has it.
    Known,
    /// The nonce is used up.
    NonceUsed,
    /// The same may be taken later.
    Later,
    /// It will not be taken.
    Never,
}

impl Verdict {
    /// By the words of Besu, geth, GoQuorum, anvil and ourselves.
    pub(crate) fn of(code: i64, message: &str) -> Self {
        let message = message.to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
        if says(&["known transaction", "already known", "already imported"]) {
            Verdict::Known
        } else if code == -32001 || says(&["nonce too low"]) {
            Verdict::NonceUsed
        } else if code == -32005
            || says(&["too distant", "too high", "pool is full", "txpool is full", "capacity", "limit", "try again"])
        {
            Verdict::Later
        } else {
            Verdict::Never
        }
    }
}

/// The hashes and figures of one block, from `eth_getBlockByNumber` without full transactions.
pub(crate) fn read_block(method: &str, value: &Value) -> Result<Option<(u64, u64, Vec<B256>)>, RpcError> {
    if value.is_null() {
        return Ok(None);
    }
    let bad = || form(method, value.to_string().as_bytes());
    let number = value.get("number").and_then(quantity).ok_or_else(bad)?;
    let gas = value.get("gasUsed").and_then(quantity).ok_or_else(bad)?;
    let list = value.get("transactions").and_then(Value::as_array).ok_or_else(bad)?;
    let hashes = list.iter().map(|hash| hash.as_str().and_then(crate::rpc::hash)).collect::<Option<_>>().ok_or_else(bad)?;
    Ok(Some((number.saturating_to(), gas.saturating_to(), hashes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_several_clients() {
        for (code, message, verdict) in [
            (-32000, "Known transaction", Verdict::Known),
            (-32000, "already known", Verdict::Known),
            (-32001, "Nonce too low", Verdict::NonceUsed),
            (-32000, "nonce too low: next nonce 3, tx nonce 2", Verdict::NonceUsed),
            (-32003, "nonce too low", Verdict::NonceUsed),
            (-32000, "Transaction nonce is too distant from current sender nonce", Verdict::Later),
            (-32000, "txpool is full", Verdict::Later),
            (-32005, "Node is at capacity: 9 transactions wait", Verdict::Later),
            (-32004, "Upfront cost exceeds account balance", Verdict::Never),
            (-32000, "insufficient funds for gas * price + value", Verdict::Never),
        ] {
            assert_eq!(Verdict::of(code, message), verdict, "{message}");
        }
    }
}
