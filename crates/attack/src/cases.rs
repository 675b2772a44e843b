//! The attacks. Each has all the keys of its institution, or says which it does without.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use alloy_primitives::U256;
use ipe_types::eth::{Announced, BlockHashNumber, EthMessage, HeadersQuery, HeadersStart};
use ipe_types::header::{commit_hash, digest, with_round_and_seals};
use ipe_types::message::{
    CommitPayload, Kind, Message, Payload as _, PreparePayload, Proposal, RoundChange, RoundChangePayload, Signed,
};
use ipe_types::{B256, Block, ExtraData, Role, keccak256};
use serde_json::json;

use crate::lab::Wanted;
use crate::peer::{Claim, Manner, Peer};
use crate::rlp::{self, Item};
use crate::siege::{Attack, Siege};
use crate::{dear, forge, history};

/// Bytes that pad a message to the largest that is read.
const PADDING: usize = 10 * 1024 * 1024 - 4096;

/// Longest time from an honest client's transfer to its receipt.
const SOON: Duration = Duration::from_secs(3);

/// Whole seconds between blocks, where timestamps count.
const SECONDS: Wanted = Wanted { period_ms: 1_000, ..Wanted::USUAL };

/// Ten blocks a second, where there has to be something to catch up with.
const FAST: Wanted = Wanted { period_ms: 100, ..Wanted::USUAL };

/// The gas limit that Besu recommends where gas is free.
const FREE_GAS: Wanted = Wanted { gas_limit: 0x1f_ffff_ffff_ffff, ..Wanted::USUAL };

/// One attack.
pub struct Case {
    pub name: &'static str,
    /// What the attacker does, and with which keys.
    pub what: &'static str,
    pub wanted: Wanted,
    pub beside: Beside,
    pub attack: Attack,
}

/// What the pace is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Beside {
    /// The attacker's institution is not there: its turns are left soon.
    Gone,
    /// It is heard of and lets its turns pass: each costs the others a request timeout, which is its own to lose.
    Mute,
    /// It is not there, and another's boot loses its disk and comes back, again and again: its validator is needed.
    Returning,
}

/// What the others are measured by.
pub fn measure(beside: Beside) -> Case {
    let case = |name, what, attack: Attack| Case { name, what, wanted: Wanted::USUAL, beside: Beside::Gone, attack };
    match beside {
        Beside::Gone => case("gone", "its institution is simply not there", |_| Box::pin(std::future::pending())),
        Beside::Returning => {
            case("returning", "its institution is not there; another's boot loses its disk every few seconds", |siege| {
                Box::pin(history::returning(siege))
            })
        }
        Beside::Mute => case("mute", "a word at each height and nothing else: its turns are waited for in full", |siege| {
            Box::pin(turns(siege, Turn::Mute))
        }),
    }
}

/// All of them.
pub fn all() -> Vec<Case> {
    let case = |name, what, attack: Attack| Case { name, what, wanted: Wanted::USUAL, beside: Beside::Gone, attack };
    let losing = |name, what, attack: Attack| Case { beside: Beside::Mute, ..case(name, what, attack) };
    vec![
        case("proposals", "proposals in its turns, each with one item of block or header wrong, soundly signed", |siege| {
            Box::pin(proposals(siege))
        }),
        case("votes", "votes of every kind, each with one item wrong, soundly signed", |siege| Box::pin(votes(siege))),
        case("spoiled copies", "no validator key: copies of others' messages with a spoiled remainder", |siege| {
            Box::pin(spoiled(siege))
        }),
        losing("padded future", "proposals of 10 MiB of zeros for heights to come, whoever's turn it is", |siege| {
            Box::pin(padded(siege, true))
        }),
        case("padded past", "proposals of 10 MiB of zeros for heights long decided", |siege| Box::pin(padded(siege, false))),
        losing("future votes", "votes for the next ten heights and a thousand rounds", |siege| Box::pin(future(siege))),
        losing("ceiling", "asks for round 1000, proposes nothing, votes for nothing", |siege| Box::pin(ceiling(siege))),
        case("claims", "no validator key: claims far heights and answers nothing", |siege| Box::pin(claims(siege))),
        case("announcements", "no validator key: announces transactions that do not exist", |siege| Box::pin(announcements(siege))),
        case("questions", "no validator key: asks for headers and bodies as fast as it can", |siege| Box::pin(questions(siege))),
        case("late", "sound blocks in its turns, shortly before the others' patience is over", |siege| {
            Box::pin(turns(siege, Turn::Late))
        }),
        losing("equivocation", "in its turns another sound block for each boot", |siege| Box::pin(turns(siege, Turn::Double))),
        losing("withheld", "its sound blocks, and its votes, to one boot alone, late", |siege| {
            Box::pin(turns(siege, Turn::OneBoot))
        }),
        Case {
            wanted: SECONDS,
            ..case("ahead", "its blocks as far ahead of the clock as they may be, a block every second", |siege| {
                Box::pin(turns(siege, Turn::Ahead))
            })
        },
        losing("half votes", "votes in the rounds that matter, for another block at each boot, with seals of nothing", |siege| {
            Box::pin(half_votes(siege))
        }),
        losing("true certificates", "RoundChanges with what was truly prepared, for many rounds, at every height", |siege| {
            Box::pin(certificates(siege))
        }),
        case("old words", "no validator key: what others said at earlier heights, again and again", |siege| {
            Box::pin(old_words(siege))
        }),
        case("new blocks", "no validator key: the newest block with other seals, round or body, and blocks to come", |siege| {
            Box::pin(new_blocks(siege))
        }),
        case(
            "strange transactions",
            "no validator key: transactions of senders that do not exist, small and of 128 KiB, while an honest client sends transfers",
            |siege| Box::pin(strange_transactions(siege)),
        ),
        case(
            "flooding writer",
            "no validator key: sound transactions of fresh accounts that use all the gas they reserve, up to whole blocks, and two bodies for a nonce; an honest client's are in one of the next three blocks",
            |siege| Box::pin(flooding_writer(siege)),
        ),
        case(
            "dear transactions",
            "no key of the network: transactions of accounts without funds that run for seconds, each with all gas of a block; an honest client's are in one of the next three blocks",
            |siege| Box::pin(dear_transactions(siege)),
        ),
        Case {
            wanted: FREE_GAS,
            ..case(
                "endless transactions",
                "the same where a block has the gas that Besu recommends for free gas: many never end",
                |siege| Box::pin(dear_transactions(siege)),
            )
        },
        case("deaf", "no validator key: asks for all it can and reads nothing", |siege| Box::pin(deaf(siege))),
        case("crumbs", "no validator key: each byte by itself", |siege| Box::pin(crumbs(siege))),
        case("in and out", "all its keys: is let in, leaves, and comes again at once", |siege| Box::pin(in_and_out(siege))),
        losing(
            "split",
            "in its turns one block for the first boot and another for all others, and votes for the other to one alone",
            |siege| Box::pin(split(siege)),
        ),
        case("doors", "no key of the network: connections that stop at every step of a handshake", |siege| Box::pin(doors(siege))),
        Case {
            beside: Beside::Returning,
            wanted: FAST,
            ..case(
                "false history",
                "no validator key: another's boot loses its disk every few seconds, and is answered with a true header, false ones that continue it, and bodies late or of other blocks",
                |siege| Box::pin(history::untrue(siege)),
            )
        },
        Case {
            beside: Beside::Returning,
            wanted: FAST,
            ..case("slow history", "the same with true headers and bodies, each as late as it may be", |siege| {
                Box::pin(history::slow(siege))
            })
        },
    ]
}

/// What is done with a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Mute,
    Late,
    Double,
    OneBoot,
    Ahead,
}

async fn turns(siege: Arc<Siege>, how: Turn) -> Result<(), String> {
    let peers = siege.connect_core()?;
    let keys = siege.keys(Role::Validator)?;
    let wanted = siege.lab.wanted;
    let mut heads = siege.head.clone();
    loop {
        heads.changed().await.map_err(|_| "nobody tells the head")?;
        let Some(head) = siege.head() else { continue };
        let height = head.header.number + 1;
        for key in &keys {
            let word = forge::payload_tree(Kind::Prepare, height, 0, B256::ZERO, key);
            tell(&siege, &peers, Kind::Prepare, &forge::message(Kind::Prepare, &word, key)).await;
        }
        let Some(key) = keys.iter().find(|key| key.address() == head.proposer(0)) else { continue };
        let wait_ms = match how {
            Turn::Mute => continue,
            Turn::Late | Turn::OneBoot => wanted.period_ms + wanted.timeout_s * 900,
            Turn::Double | Turn::Ahead => wanted.period_ms,
        };
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        let Some(mut block) = head.next_block(key.address(), 0, wanted.period_ms / 1_000) else { continue };
        if how == Turn::Ahead {
            block.header.timestamp += 1;
        }
        for (index, peer) in peers.iter().enumerate() {
            if how == Turn::Double {
                block.header.timestamp = head.header.timestamp + index as u64;
            }
            if how != Turn::OneBoot || index == 0 {
                let tree = Item::parse(&block.to_rlp());
                tell(&siege, std::slice::from_ref(peer), Kind::Proposal, &forge::proposal(height, 0, tree, key)).await;
            }
        }
    }
}

/// Most validators decide what the others have never heard of.
async fn split(siege: Arc<Siege>) -> Result<(), String> {
    let peers = siege.connect_core()?;
    let keys = siege.keys(Role::Validator)?;
    let wanted = siege.lab.wanted;
    let mut heads = siege.head.clone();
    loop {
        heads.changed().await.map_err(|_| "nobody tells the head")?;
        let Some(head) = siege.head() else { continue };
        let height = head.header.number + 1;
        let Some(key) = keys.iter().find(|key| key.address() == head.proposer(0)) else { continue };
        tokio::time::sleep(Duration::from_millis(wanted.period_ms)).await;
        let Some(mut block) = head.next_block(key.address(), 0, wanted.period_ms / 1_000) else { continue };
        for (index, peer) in peers.iter().enumerate() {
            block.header.timestamp = head.header.timestamp + u64::from(index > 0);
            let peer = std::slice::from_ref(peer);
            tell(&siege, peer, Kind::Proposal, &forge::proposal(height, 0, Item::parse(&block.to_rlp()), key)).await;
        }
        let Some(last) = peers.last().map(std::slice::from_ref) else { continue };
        let (Ok(digest), Ok(sealed)) = (digest(&block.header), commit_hash(&block.header, 0)) else { continue };
        let commit = CommitPayload { height, round: 0, digest, seal: key.sign(sealed) };
        for (kind, payload) in [
            (Kind::Prepare, forge::payload_tree(Kind::Prepare, height, 0, digest, key)),
            (Kind::Commit, Item::parse(&commit.encode_payload())),
        ] {
            tell(&siege, last, kind, &forge::message(kind, &payload, key)).await;
        }
    }
}

async fn half_votes(siege: Arc<Siege>) -> Result<(), String> {
    let peers = siege.connect_core()?;
    let keys = siege.keys(Role::Validator)?;
    let mut heads = siege.head.clone();
    loop {
        heads.changed().await.map_err(|_| "nobody tells the head")?;
        let Some(head) = siege.head() else { continue };
        let height = head.header.number + 1;
        for key in &keys {
            for round in 0..4 {
                for (index, peer) in peers.iter().enumerate() {
                    let digest = keccak256([height.to_be_bytes(), (index as u64).to_be_bytes()].concat());
                    for kind in [Kind::Prepare, Kind::Commit, Kind::RoundChange] {
                        let payload = forge::payload_tree(kind, height, round, digest, key);
                        tell(&siege, std::slice::from_ref(peer), kind, &forge::message(kind, &payload, key)).await;
                    }
                }
            }
        }
    }
}

async fn certificates(siege: Arc<Siege>) -> Result<(), String> {
    let peers = siege.connect_core()?;
    let keys = siege.keys(Role::Validator)?;
    let mut proposed: Option<Proposal> = None;
    let mut prepares = Vec::new();
    loop {
        for heard in peers.iter().flat_map(Peer::take_heard) {
            match Message::decode(heard.code, &heard.bytes) {
                Ok(Message::Proposal(proposal))
                    if proposed.as_ref().is_none_or(|known| known.signed.height() < proposal.signed.height()) =>
                {
                    prepares.clear();
                    proposed = Some(*proposal);
                }
                Ok(Message::Prepare(prepare)) => prepares.push(prepare),
                _ => {}
            }
            let Some(signed) = proposed.as_ref().map(|proposal| &proposal.signed) else { continue };
            let at = (signed.height(), signed.round());
            prepares.retain(|prepare: &Signed<PreparePayload>| (prepare.height(), prepare.round()) == at);
            prepares.sort_by_key(Signed::author);
            prepares.dedup_by_key(|prepare| prepare.author());
            let Some(digest) = prepares.first().map(|prepare| prepare.payload().digest).filter(|_| prepares.len() == 3) else {
                continue;
            };
            for key in &keys {
                for round in 1..64 {
                    let payload = RoundChangePayload { height: at.0, round, prepared: Some((at.1, digest)) };
                    let Ok(wish) = Signed::sign_with(payload, |hash| key.sign(hash)) else { continue };
                    let block = Some(signed.payload().block.clone());
                    let change = RoundChange { signed: wish, block, access_list: None, prepares: prepares.clone() };
                    tell(&siege, &peers, Kind::RoundChange, &Message::RoundChange(Box::new(change)).encode()).await;
                }
            }
            proposed = None;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn old_words(siege: Arc<Siege>) -> Result<(), String> {
    let peers = siege.connect_core()?;
    let mut words = Vec::new();
    let mut next = 0usize;
    loop {
        for heard in peers.iter().flat_map(Peer::take_heard) {
            if words.len() < 2_000 {
                words.push(heard);
            }
        }
        for _ in 0..16 {
            next += 1;
            let Some(word) = words.get(next % words.len().max(1)) else { break };
            for peer in &peers {
                let said = peer.consensus(word.code, &word.bytes).await;
                siege.sent.fetch_add(u64::from(said), Ordering::Relaxed);
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn new_blocks(siege: Arc<Siege>) -> Result<(), String> {
    let mut peers = siege.connect(Role::Boot, Claim::Same)?;
    peers.extend(siege.connect(Role::Writer, Claim::Same)?);
    let stranger = siege.keys(Role::Boot)?.into_iter().next().ok_or("no boot")?;
    let mut heads = siege.head.clone();
    loop {
        heads.changed().await.map_err(|_| "nobody tells the head")?;
        let Some(head) = siege.head() else { continue };
        let Ok(extra) = ExtraData::decode(&head.header.extra_data) else { continue };
        let Some(block) = head.next_block(head.proposer(0), 0, 0) else { continue };
        let mut blocks = Vec::new();
        for (round, seals) in [
            (extra.round, vec![stranger.sign(B256::ZERO); 3]),
            (extra.round + 1, extra.seals.clone()),
            (extra.round, [extra.seals.clone(), extra.seals.clone()].concat()),
        ] {
            if let Ok(header) = with_round_and_seals(&head.header, round, seals.clone()) {
                blocks.push(Block { header, body: block.body.clone() });
            }
            for above in 0..8 {
                let mut header = block.header.clone();
                header.number += above;
                if let Ok(header) = with_round_and_seals(&header, round, seals.clone()) {
                    blocks.push(Block { header, body: block.body.clone() });
                }
            }
        }
        for block in blocks {
            for peer in &peers {
                let total_difficulty = U256::from(block.header.number + 1);
                let said = peer.eth(&EthMessage::NewBlock { block: Box::new(block.clone()), total_difficulty }).await;
                siege.sent.fetch_add(u64::from(said), Ordering::Relaxed);
            }
        }
    }
}

/// Payload of Transactions: the same signature under any other nonce is somebody else's.
fn of_strangers(salt: u64, count: u64, input: usize) -> Vec<u8> {
    let field = |byte: u8| Item::Bytes(vec![byte; 32]);
    let one = |nonce: u64| {
        let to = Item::Bytes(vec![1; 20]);
        let price = Item::number(0);
        Item::List(vec![
            Item::number(nonce),
            price,
            Item::number(8_000_000),
            to,
            Item::number(0),
            Item::Bytes(vec![7; input]),
            Item::number(27),
            field(0x11),
            field(0x22),
        ])
    };
    Item::List((0..count).map(|index| one(salt * 100_000 + index)).collect()).encode()
}

/// An honest client's transfers, one after the other: each has to be in a block soon.
async fn transfers(siege: Arc<Siege>) -> Result<(), String> {
    let rpc = siege.lab.honest_of(Role::Writer).next().ok_or("no writer")?.rpc;
    let key = siege.lab.account()?;
    let chain_id = crate::rpc::quantity(&crate::rpc::ask(rpc, "eth_chainId", json!([]))?).ok_or("no chain id")?;
    let mut nonce = 0;
    loop {
        let raw = format!("0x{}", hex::encode(forge::transfer(nonce, chain_id, &key)));
        let lab = Arc::clone(&siege.lab);
        crate::siege::blocking(move || {
            let hash = crate::rpc::ask(rpc, "eth_sendRawTransaction", json!([raw]))?;
            lab.until("an honest transfer is in a block", SOON, || {
                crate::rpc::ask(rpc, "eth_getTransactionReceipt", json!([hash])).is_ok_and(|receipt| !receipt.is_null())
            })
        })
        .await?;
        nonce += 1;
    }
}

async fn strange_transactions(siege: Arc<Siege>) -> Result<(), String> {
    tokio::select! {
        ended = transfers(Arc::clone(&siege)) => ended,
        ended = flood_of_transactions(siege) => ended,
    }
}

async fn flood_of_transactions(siege: Arc<Siege>) -> Result<(), String> {
    let mut peers = siege.connect(Role::Boot, Claim::Same)?;
    peers.extend(siege.connect(Role::Writer, Claim::Same)?);
    let mut salt = 0;
    loop {
        salt += 1;
        let payload = if salt % 2 == 0 { of_strangers(salt, 4_000, 0) } else { of_strangers(salt, 7, 128 * 1024) };
        for peer in &peers {
            let said = peer.eth_bytes(0x02, &payload).await;
            siege.sent.fetch_add(u64::from(said), Ordering::Relaxed);
        }
    }
}

async fn dear_transactions(siege: Arc<Siege>) -> Result<(), String> {
    tokio::select! {
        ended = soon_mined(Arc::clone(&siege)) => ended,
        ended = dear::transactions(siege) => ended,
    }
}

async fn flooding_writer(siege: Arc<Siege>) -> Result<(), String> {
    tokio::select! {
        ended = soon_mined(Arc::clone(&siege)) => ended,
        ended = flood_of_gas(siege) => ended,
    }
}

/// An honest client's transfers, one after the other: of a hundred 99 are in one of the next three blocks.
async fn soon_mined(siege: Arc<Siege>) -> Result<(), String> {
    let rpc = siege.lab.honest_of(Role::Writer).next().ok_or("no writer")?.rpc;
    let key = siege.lab.account()?;
    let quantity = move |method: &str| {
        crate::rpc::quantity(&crate::rpc::ask(rpc, method, json!([]))?).ok_or(format!("{method} has no answer"))
    };
    let chain_id = quantity("eth_chainId")?;
    let (mut sent, mut late) = (0u64, 0u64);
    loop {
        let raw = format!("0x{}", hex::encode(forge::transfer(sent, chain_id, &key)));
        let lab = Arc::clone(&siege.lab);
        let waited = crate::siege::blocking(move || {
            let before = quantity("eth_blockNumber")?;
            let hash = crate::rpc::ask(rpc, "eth_sendRawTransaction", json!([raw]))?;
            let receipt =
                || crate::rpc::ask(rpc, "eth_getTransactionReceipt", json!([hash])).ok().filter(|receipt| !receipt.is_null());
            let mined = lab.until("an honest transfer is in a block", 2 * SOON, || receipt().is_some());
            mined.map_err(|late| format!("{late}; {}", why_not(&lab, &hash)))?;
            let block =
                receipt().and_then(|receipt| crate::rpc::quantity(&receipt["blockNumber"])).ok_or("a receipt without a block")?;
            Ok(block - before)
        })
        .await?;
        sent += 1;
        // The writer may not have the newest block yet when it is asked.
        late += u64::from(waited > 3 + 1);
        if late * 100 > sent.max(100) {
            return Err(format!(
                "{late} of {sent} honest transfers were not in one of the next three blocks, the last after {waited}"
            ));
        }
    }
}

/// What each honest node says about a transaction.
fn why_not(lab: &crate::lab::Lab, hash: &serde_json::Value) -> String {
    let why = |node: &crate::lab::Node| {
        let answer = crate::rpc::ask(node.rpc, "ipe_whyNotMined", json!([hash]));
        format!("{}: {}", node.name, answer.map_or_else(|error| error, |answer| answer["english"].to_string()))
    };
    lab.honest().map(why).collect::<Vec<_>>().join("; ")
}

async fn flood_of_gas(siege: Arc<Siege>) -> Result<(), String> {
    let mut peers = siege.connect(Role::Boot, Claim::Same)?;
    peers.extend(siege.connect(Role::Writer, Claim::Same)?);
    let rpc = siege.lab.honest_of(Role::Writer).next().ok_or("no writer")?.rpc;
    let chain_id = crate::rpc::quantity(&crate::rpc::ask(rpc, "eth_chainId", json!([]))?).ok_or("no chain id")?;
    let whole = loop {
        if let Some(head) = siege.head() {
            break head.header.gas_limit;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let mut salt = 0u64;
    let mut fresh = || {
        salt += 1;
        ipe_types::NodeKey::from_bytes(keccak256(salt.to_be_bytes()).0).map_err(|error| error.to_string())
    };
    for act in 0u64.. {
        let mut transactions = Vec::new();
        for _ in 0..if act == 0 { 300 } else { 1 } {
            transactions.push(forge::burning(0, chain_id, &fresh()?, 0, whole, 0));
        }
        for _ in 0..100 {
            transactions.push(forge::burning(0, chain_id, &fresh()?, 0, whole / 100, 0));
        }
        let twice = fresh()?;
        transactions.extend((0..8).map(|body| forge::burning(0, chain_id, &twice, 0, 100_000, body)));
        let payload = Item::List(transactions.iter().map(|bytes| Item::parse(bytes)).collect()).encode();
        for peer in &peers {
            let said = peer.eth_bytes(0x02, &payload).await;
            siege.sent.fetch_add(u64::from(said), Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn deaf(siege: Arc<Siege>) -> Result<(), String> {
    let mut peers = siege.connect_as(Role::Boot, Claim::Same, Manner::Deaf)?;
    peers.extend(siege.connect_as(Role::Writer, Claim::Same, Manner::Deaf)?);
    let mut request_id = 0;
    loop {
        request_id += 1;
        for peer in &peers {
            let query = HeadersQuery { start: HeadersStart::Number(0), limit: 512, skip: request_id % 3, reverse: false };
            peer.try_eth(&EthMessage::GetBlockHeaders { request_id, query });
            siege.sent.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn crumbs(siege: Arc<Siege>) -> Result<(), String> {
    let mut peers = siege.connect_as(Role::Boot, Claim::Same, Manner::Crumbs)?;
    peers.extend(siege.connect_as(Role::Writer, Claim::Same, Manner::Crumbs)?);
    loop {
        for peer in &peers {
            let said = peer.eth(&EthMessage::NewPooledTransactionHashes(Vec::new())).await;
            siege.sent.fetch_add(u64::from(said), Ordering::Relaxed);
        }
    }
}

async fn in_and_out(siege: Arc<Siege>) -> Result<(), String> {
    let mut peers = Vec::new();
    for role in [Role::Validator, Role::Boot, Role::Writer] {
        peers.extend(siege.connect_as(role, Claim::Same, Manner::Brief)?);
    }
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        siege.sent.store(peers.iter().map(Peer::left).sum(), Ordering::Relaxed);
    }
}

/// Sends to everybody and counts.
async fn tell(siege: &Siege, peers: &[Peer], kind: Kind, payload: &[u8]) {
    for peer in peers {
        let said = peer.consensus(kind.code(), payload).await;
        siege.sent.fetch_add(u64::from(said), Ordering::Relaxed);
    }
}

async fn proposals(siege: Arc<Siege>) -> Result<(), String> {
    let peers = siege.connect_core()?;
    let keys = siege.keys(Role::Validator)?;
    let mut heads = siege.head.clone();
    let mut next = 0;
    loop {
        heads.changed().await.map_err(|_| "nobody tells the head")?;
        let Some(head) = siege.head() else { continue };
        let height = head.header.number + 1;
        let Some(key) = keys.iter().find(|key| key.address() == head.proposer(0)) else { continue };
        let period_s = siege.lab.wanted.period_ms / 1000;
        let Some(block) = head.next_block(key.address(), 0, period_s) else { continue };
        let all = rlp::mutations(&forge::block_tree(&block));
        // As many as a validator judges of one proposer in one round, and one more.
        for _ in 0..4 {
            let (_, tree) = &all[next % all.len()];
            next += 1;
            tell(&siege, &peers, Kind::Proposal, &forge::proposal(height, 0, forge::seal_extra(tree.clone()), key)).await;
        }
    }
}

async fn votes(siege: Arc<Siege>) -> Result<(), String> {
    let peers = siege.connect_core()?;
    let keys = siege.keys(Role::Validator)?;
    let mut next = 0;
    loop {
        let Some(head) = siege.head() else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let height = head.header.number + 1;
        for key in &keys {
            for kind in [Kind::Prepare, Kind::Commit, Kind::RoundChange] {
                let all = rlp::mutations(&forge::payload_tree(kind, height, 0, keccak256(height.to_be_bytes()), key));
                let (_, payload) = &all[next % all.len()];
                next += 1;
                tell(&siege, &peers, kind, &forge::message(kind, payload, key)).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn spoiled(siege: Arc<Siege>) -> Result<(), String> {
    let peers = siege.connect_core()?;
    let stranger = siege.keys(Role::Boot)?.into_iter().next().ok_or("no boot")?;
    let mut salt = 0;
    loop {
        for peer in &peers {
            for heard in peer.take_heard() {
                let Some(kind) = Kind::from_code(heard.code) else { continue };
                for _ in 0..100 {
                    salt += 1;
                    for copy in forge::spoiled(kind, &heard.bytes, &stranger, salt) {
                        tell(&siege, &peers, kind, &copy).await;
                    }
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn padded(siege: Arc<Siege>, future: bool) -> Result<(), String> {
    let peers = siege.connect_core()?;
    let keys = siege.keys(Role::Validator)?;
    let mut salt = 0u64;
    loop {
        let Some(head) = siege.head() else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        for key in &keys {
            salt += 1;
            let height = match future {
                true => head.header.number + 2 + salt % 9,
                false => 1 + salt % head.header.number.max(1),
            };
            let Some(mut block) = head.next_block(key.address(), 0, 1) else { continue };
            block.header.number = height;
            block.header.nonce = salt.to_be_bytes().into();
            let mut tree = Item::parse(&block.to_rlp());
            if let Item::List(items) = &mut tree
                && let Some(Item::List(transactions)) = items.get_mut(1)
            {
                // A legacy transaction with an input of zeros: snappy makes half a megabyte of it.
                let [one, v] = [Item::number(1), Item::number(27)];
                let to = Item::Bytes(vec![1; 20]);
                let input = Item::Bytes(vec![0; PADDING]);
                let fields = [one.clone(), Item::number(0), Item::number(21_000), to, Item::number(0), input, v, one.clone(), one];
                transactions.push(Item::List(fields.to_vec()));
            }
            tell(&siege, &peers, Kind::Proposal, &forge::proposal(height, 0, tree, key)).await;
        }
    }
}

async fn future(siege: Arc<Siege>) -> Result<(), String> {
    let peers = siege.connect_core()?;
    let keys = siege.keys(Role::Validator)?;
    let mut salt = 0u64;
    loop {
        let Some(head) = siege.head() else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        for key in &keys {
            salt += 1;
            let (height, round) = (head.header.number + 1 + salt % 10, u32::try_from(salt % 1_000).unwrap_or(0));
            let kind = [Kind::Prepare, Kind::Commit, Kind::RoundChange][usize::try_from(salt % 3).unwrap_or(0)];
            let payload = forge::payload_tree(kind, height, round, keccak256(salt.to_be_bytes()), key);
            tell(&siege, &peers, kind, &forge::message(kind, &payload, key)).await;
        }
    }
}

async fn ceiling(siege: Arc<Siege>) -> Result<(), String> {
    let peers = siege.connect_core()?;
    let keys = siege.keys(Role::Validator)?;
    loop {
        if let Some(head) = siege.head() {
            for key in &keys {
                let payload = forge::payload_tree(Kind::RoundChange, head.header.number + 1, 999, B256::ZERO, key);
                tell(&siege, &peers, Kind::RoundChange, &forge::message(Kind::RoundChange, &payload, key)).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn claims(siege: Arc<Siege>) -> Result<(), String> {
    let far = siege.head().map_or(0, |head| head.header.number) + 1_000_000;
    let peers = siege.connect(Role::Boot, Claim::Height(far))?;
    let mut salt = 0u64;
    loop {
        salt += 1;
        let hash = keccak256(salt.to_be_bytes());
        let latest = if salt.is_multiple_of(3) { u64::MAX } else { far + salt };
        for peer in &peers {
            peer.eth(&EthMessage::BlockRangeUpdate { earliest: 0, latest, latest_hash: hash }).await;
            peer.eth(&EthMessage::NewBlockHashes(vec![BlockHashNumber { hash, number: latest }])).await;
            siege.sent.fetch_add(2, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn announcements(siege: Arc<Siege>) -> Result<(), String> {
    let peers = siege.connect(Role::Boot, Claim::Same)?;
    let mut salt = 0u64;
    loop {
        let announced: Vec<Announced> = (0..4_096)
            .map(|index| Announced {
                hash: keccak256([salt.to_be_bytes(), u64::to_be_bytes(index)].concat()),
                kind: Some((2, 110)),
            })
            .collect();
        salt += 1;
        for peer in &peers {
            let said = peer.eth(&EthMessage::NewPooledTransactionHashes(announced.clone())).await;
            siege.sent.fetch_add(u64::from(said), Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn questions(siege: Arc<Siege>) -> Result<(), String> {
    let peers = siege.connect(Role::Boot, Claim::Same)?;
    let mut request_id = 0;
    loop {
        request_id += 1;
        for peer in &peers {
            let query = HeadersQuery { start: HeadersStart::Number(0), limit: 512, skip: 0, reverse: false };
            peer.eth(&EthMessage::GetBlockHeaders { request_id, query }).await;
            peer.eth(&EthMessage::GetBlockBodies { request_id, hashes: vec![B256::ZERO; 1024] }).await;
            peer.eth(&EthMessage::GetReceipts { request_id, hashes: vec![B256::ZERO; 1024] }).await;
            siege.sent.fetch_add(3, Ordering::Relaxed);
        }
        tokio::task::yield_now().await;
    }
}

/// From a hundred addresses: TCP alone, half a handshake, keys without Hello. One honest validator is killed and started
/// every few seconds, and has to get in.
async fn doors(siege: Arc<Siege>) -> Result<(), String> {
    let boots: Vec<_> = siege.lab.honest_of(Role::Boot).cloned().collect();
    let mut storm = tokio::task::JoinSet::new();
    for index in 0..240u8 {
        let from = std::net::Ipv4Addr::new(127, 0, 7, 1 + index % 120);
        let boot = &boots[usize::from(index) % boots.len()];
        let (address, node) = siege.listener(boot)?;
        let sent = Arc::clone(&siege.sent);
        storm.spawn(async move {
            let key = ipe_types::NodeKey::from_bytes([index.max(1); 32]);
            let secret = key.ok().and_then(|key| secp256k1::SecretKey::from_byte_array(*key.secret_bytes()).ok());
            loop {
                let Ok(mut stream) = crate::peer::connect(from, address).await else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                sent.fetch_add(1, Ordering::Relaxed);
                if let Some(secret) = secret.filter(|_| index.is_multiple_of(2)) {
                    let _ = ipe_p2p::handshake::initiate(&mut stream, &secret, &node).await;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
    }
    let validator = siege.lab.honest_of(Role::Validator).next().cloned().ok_or("no validator")?;
    loop {
        tokio::time::sleep(Duration::from_secs(4)).await;
        let (lab, name) = (Arc::clone(&siege.lab), validator.name.clone());
        crate::siege::blocking(move || lab.run(&["kill", &name]).and_then(|()| lab.run(&["start", &name]))).await?;
        let (lab, rpc) = (Arc::clone(&siege.lab), validator.rpc);
        crate::siege::blocking(move || {
            lab.until("the killed validator is back at its boot", Duration::from_secs(10), || {
                crate::rpc::height(rpc).is_some_and(|height| height + 2 >= lab.highest())
                    && crate::rpc::ask(rpc, "net_peerCount", json!([])).is_ok_and(|count| count != "0x0")
            })
        })
        .await?;
    }
}
