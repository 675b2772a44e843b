//! What is said to a node that has lost its disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use alloy_rlp::Decodable as _;
use ipe_types::eth::{EthMessage, HeadersQuery, HeadersStart};
use ipe_types::header::block_hash;
use ipe_types::{B256, Block, Header, Role, keccak256};
use serde_json::json;

use crate::forge;
use crate::peer::{Claim, Peer};
use crate::rlp::Item;
use crate::siege::{Siege, blocking};

/// Time between two losses: some blocks, so that there is something to catch up with.
const APART: Duration = Duration::from_secs(4);
/// How long the node may take, with what starting a process costs.
const PATIENCE: Duration = Duration::from_secs(12);
/// Height that is claimed.
const FAR: u64 = 1_000_000;
/// Headers of one answer, most of them false.
const CHAIN: u64 = 192;
/// How late an answer is: shortly before it would be given up.
const LATE: Duration = Duration::from_millis(4_600);
/// Code of BlockBodies.
const BODIES: u8 = 6;

/// One honest institution's boot is wiped and started every few seconds.
pub async fn returning(siege: Arc<Siege>) -> Result<(), String> {
    let boot = siege.lab.honest_of(Role::Boot).last().cloned().ok_or("no boot")?;
    loop {
        let (lab, name, rpc) = (Arc::clone(&siege.lab), boot.name.clone(), boot.rpc);
        blocking(move || {
            lab.run(&["wipe", &name])?;
            lab.run(&["start", &name])?;
            lab.until("the wiped boot has caught up", PATIENCE, || {
                crate::rpc::height(rpc).is_some_and(|height| height + 2 >= lab.highest())
            })
        })
        .await?;
        tokio::time::sleep(APART).await;
    }
}

/// The boot comes back, and is told a history that is not true.
pub async fn untrue(siege: Arc<Siege>) -> Result<(), String> {
    tokio::try_join!(returning(Arc::clone(&siege)), answers(siege, false)).map(|_| ())
}

/// The boot comes back, and is told the truth as late as may be.
pub async fn slow(siege: Arc<Siege>) -> Result<(), String> {
    tokio::try_join!(returning(Arc::clone(&siege)), answers(siege, true)).map(|_| ())
}

/// Answers all questions about headers and bodies, with all keys that are no validator's.
async fn answers(siege: Arc<Siege>, truth: bool) -> Result<(), String> {
    let mut peers = siege.connect(Role::Boot, Claim::Height(FAR))?;
    peers.extend(siege.connect(Role::Writer, Claim::Height(FAR))?);
    let peers: Vec<Arc<Peer>> = peers.into_iter().map(Arc::new).collect();
    let source = siege.lab.honest_of(Role::Validator).next().cloned().ok_or("no validator")?;
    let mut chain: BTreeMap<u64, Block> = BTreeMap::new();
    loop {
        let have = chain.last_key_value().map_or(0, |(number, _)| number + 1);
        if siege.head().is_some_and(|head| head.header.number >= have) {
            let raw = blocking(move || crate::rpc::ask(source.rpc, "debug_getRawBlock", json!([format!("{have:#x}")]))).await?;
            let raw = raw.as_str().and_then(|text| hex::decode(text.trim_start_matches("0x")).ok());
            let block = raw
                .and_then(|raw| Block::decode(&mut raw.as_slice()).ok())
                .ok_or_else(|| format!("block {have} does not decode"))?;
            chain.insert(have, block);
        }
        for peer in &peers {
            for question in peer.take_asked() {
                siege.sent.fetch_add(1, Ordering::Relaxed);
                match question {
                    EthMessage::GetBlockHeaders { request_id, query } => {
                        let headers = headers(&chain, &query, truth);
                        let answer = EthMessage::BlockHeaders { request_id, headers };
                        later(peer, if truth { LATE } else { Duration::ZERO }, move |peer| async move { peer.eth(&answer).await });
                    }
                    EthMessage::GetBlockBodies { request_id, hashes } => {
                        let genuine =
                            |hash: &B256| chain.values().find(|block| block_hash(&block.header).is_ok_and(|own| own == *hash));
                        let bodies: Option<Vec<_>> =
                            hashes.iter().map(|hash| genuine(hash).map(|block| block.body.clone())).collect();
                        match bodies {
                            Some(bodies) => {
                                let answer = EthMessage::BlockBodies { request_id, bodies };
                                later(peer, LATE, move |peer| async move { peer.eth(&answer).await });
                            }
                            None => {
                                let answer = of_other_blocks(request_id, hashes.len(), &siege)?;
                                later(peer, Duration::ZERO, move |peer| async move { peer.eth_bytes(BODIES, &answer).await });
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn later<F: Future<Output = bool> + Send + 'static>(
    peer: &Arc<Peer>,
    wait: Duration,
    say: impl FnOnce(Arc<Peer>) -> F + Send + 'static,
) {
    let peer = Arc::clone(peer);
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        say(peer).await;
    });
}

/// The headers asked for; if they are not to be true, those after the first are made up, each on the one before.
fn headers(chain: &BTreeMap<u64, Block>, query: &HeadersQuery, truth: bool) -> Vec<Header> {
    let start = match query.start {
        HeadersStart::Number(number) => number,
        HeadersStart::Hash(hash) => match chain.values().find(|block| block_hash(&block.header).is_ok_and(|own| own == hash)) {
            Some(block) => block.header.number,
            None => return Vec::new(),
        },
    };
    let step = query.skip.saturating_add(1);
    let most = query.limit.min(CHAIN);
    if truth || query.reverse {
        let at = |index: u64| match query.reverse {
            true => start.checked_sub(index.saturating_mul(step)),
            false => start.checked_add(index.saturating_mul(step)),
        };
        return (0..most).map_while(|index| Some(chain.get(&at(index)?)?.header.clone())).collect();
    }
    let Some(first) = chain.get(&start).or_else(|| chain.values().next_back()) else { return Vec::new() };
    let mut headers = vec![first.header.clone()];
    while (headers.len() as u64) < most
        && let Some(last) = headers.last()
        && let Ok(parent_hash) = block_hash(last)
    {
        let number = last.number + 1;
        let root = keccak256(number.to_be_bytes());
        headers.push(Header { parent_hash, number, timestamp: last.timestamp + 1, transactions_root: root, ..last.clone() });
    }
    headers
}

/// BlockBodies with a transaction in each.
fn of_other_blocks(request_id: u64, count: usize, siege: &Siege) -> Result<Vec<u8>, String> {
    let transfer = Item::parse(&forge::transfer(0, 1, &siege.lab.account()?));
    let body = Item::List(vec![Item::List(vec![transfer]), Item::List(Vec::new())]);
    Ok(Item::List(vec![Item::number(request_id), Item::List(vec![body; count])]).encode())
}
