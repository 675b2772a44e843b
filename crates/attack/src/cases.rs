//! The attacks. Each has all the keys of its institution, or says which it does without.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ipe_types::eth::{Announced, BlockHashNumber, EthMessage, HeadersQuery, HeadersStart};
use ipe_types::message::Kind;
use ipe_types::{B256, Role, keccak256};

use crate::forge;
use crate::lab::Wanted;
use crate::peer::{Claim, Peer};
use crate::rlp::{self, Item};
use crate::siege::{Attack, Siege};

/// Bytes that pad a message to the largest that is read.
const PADDING: usize = 10 * 1024 * 1024 - 4096;

/// One attack.
pub struct Case {
    pub name: &'static str,
    /// What the attacker does, and with which keys.
    pub what: &'static str,
    pub wanted: Wanted,
    pub attack: Attack,
}

/// All of them; the first is the measure of the others.
pub fn all() -> Vec<Case> {
    let case = |name, what, attack: Attack| Case { name, what, wanted: Wanted::USUAL, attack };
    vec![
        case("gone", "its institution is simply not there", |siege| Box::pin(gone(siege))),
        case("proposals", "proposals in its turns, each with one item of block or header wrong, soundly signed", |siege| Box::pin(proposals(siege))),
        case("votes", "votes of every kind, each with one item wrong, soundly signed", |siege| Box::pin(votes(siege))),
        case("spoiled copies", "no validator key: copies of others' messages with a spoiled remainder", |siege| Box::pin(spoiled(siege))),
        case("padded future", "proposals of 10 MiB of zeros for heights to come, whoever's turn it is", |siege| Box::pin(padded(siege, true))),
        case("padded past", "proposals of 10 MiB of zeros for heights long decided", |siege| Box::pin(padded(siege, false))),
        case("future votes", "votes for the next ten heights and a thousand rounds", |siege| Box::pin(future(siege))),
        case("ceiling", "asks for round 1000, proposes nothing, votes for nothing", |siege| Box::pin(ceiling(siege))),
        case("claims", "no validator key: claims far heights and answers nothing", |siege| Box::pin(claims(siege))),
        case("announcements", "no validator key: announces transactions that do not exist", |siege| Box::pin(announcements(siege))),
        case("questions", "no validator key: asks for headers and bodies as fast as it can", |siege| Box::pin(questions(siege))),
        case("doors", "no key of the network: connections that stop at every step of a handshake", |siege| Box::pin(doors(siege))),
    ]
}

async fn gone(_: Arc<Siege>) -> Result<(), String> {
    std::future::pending().await
}

/// Sends to everybody and counts.
async fn tell(siege: &Siege, peers: &[Peer], kind: Kind, payload: &[u8]) {
    for peer in peers {
        peer.consensus(kind.code(), payload).await;
        siege.sent.fetch_add(1, Ordering::Relaxed);
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
            .map(|index| Announced { hash: keccak256([salt.to_be_bytes(), u64::to_be_bytes(index)].concat()), kind: Some((2, 110)) })
            .collect();
        salt += 1;
        for peer in &peers {
            peer.eth(&EthMessage::NewPooledTransactionHashes(announced.clone())).await;
            siege.sent.fetch_add(1, Ordering::Relaxed);
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
                    && crate::rpc::ask(rpc, "net_peerCount", serde_json::json!([])).is_ok_and(|count| count != "0x0")
            })
        })
        .await?;
    }
}
