//! `interop votes`: the variants of `ipe-variants` proposed to a live Besu, one of four validators whose other keys are held
//! here, and whether it prepares each written into `fixtures/verdicts`.
//!
//! A variant is proposed in a round whose proposer is its coinbase, with round changes of the three other validators. Besu goes to
//! that round if it takes the proposal, and stays where it is otherwise; so only a Prepare uses up a round.
//!
//! Besu's timers double with each round until they overflow: `timeout × 2^round` in 64 bits, where the power ends at 2^63 − 1. With a
//! timeout of −600 s the first 44 rounds end at once, and from round 63 on each lasts 600 s, so one start is enough for any number
//! of rounds.

use crate::children;
use crate::client::{Client, Kind};
use crate::network::{PATIENCE, enode, free_port};
use crate::verdicts::{importer, in_order, not_for};
use alloy_primitives::{Address, Bytes};
use ipe_p2p::{Admit, ChainIdentity, Core, Limits, LocalHead, NetEvent, Network, NetworkConfig, NetworkHandle, PeerId, Protocol};
use ipe_types::block::Block;
use ipe_types::eth::{EthMessage, EthVersion, HeadersStart};
use ipe_types::message::{Dialect, Kind as MessageKind, Message, Payload, RoundChangePayload, Signed};
use ipe_types::spec::ChainSpec;
use ipe_types::{B256, Header, NodeKey, U256};
use ipe_variants::chain::key;
use ipe_variants::draft::{list, rlp};
use ipe_variants::recorded;
use ipe_variants::{Scenario, Variant};
use nix::sys::signal::Signal;
use std::collections::{BTreeMap, HashMap};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Validators of every chain, by key number.
const VALIDATORS: std::ops::RangeInclusive<u8> = 1..=4;
/// First round that Besu is asked about.
const FIRST_ROUND: u32 = 64;
/// What the chains' genesis files say of timeouts, and what is said here; it is not under the hash.
const TIMEOUTS: [&str; 2] = [r#""requesttimeoutseconds":600"#, r#""requesttimeoutseconds":-600"#];
/// Pause between two looks at the log.
const LOOK: Duration = Duration::from_millis(10);
/// Longest wait at once for a connection.
const A_WHILE: Duration = Duration::from_secs(1);
/// What Besu writes when it has begun and its first rounds are over.
const BEGUN: &str = "Moved to round 44 ";
/// What Besu writes of a proposal by another than the proposer: each variant is followed by one, which says that Besu is done with it.
const MARK: &str = "proposal created by non-proposer";
/// Rounds of the marks begin here.
const MARKS: u32 = 1_000_000;

/// Asks every Besu to vote for every variant that was put to it by `interop verdicts`, on the chains whose name contains one of
/// `wanted`.
///
/// Errors: a Besu does not start, does not answer, or the fixture cannot be written.
pub fn run(others: &[Client], folder: &Path, wanted: &[String]) -> Result<(), String> {
    let scenarios = ipe_variants::all();
    let mut failed = 0;
    for besu in others.iter().filter(|other| other.kind == Kind::Besu) {
        let mut lines = recorded::read(&besu.name())?;
        for scenario in
            scenarios.iter().filter(|made| wanted.iter().any(|words| made.name.contains(words)) && not_for(besu, made).is_none())
        {
            let began = Instant::now();
            let votes = match asked(besu, &folder.join(format!("votes-{}", besu.name())), scenario) {
                Ok(votes) => votes,
                Err(why) => {
                    println!("{}: {}: FAILED: {why}", besu.name(), scenario.name);
                    failed += 1;
                    continue;
                }
            };
            let (cast, all) = (votes.values().filter(|vote| **vote).count(), votes.len());
            println!("{}: {}: {cast} of {all} voted for, {} s", besu.name(), scenario.name, began.elapsed().as_secs());
            for variant in &scenario.variants {
                let line = lines.get_mut(&(scenario.name.clone(), variant.name.clone())).filter(|line| line.id == variant.id());
                if let (Some(line), Some(vote)) = (line, votes.get(variant.name.as_str())) {
                    line.vote = Some(*vote);
                }
            }
            recorded::write(&besu.name(), in_order(&scenarios, &lines))?;
        }
        println!("{}: {} votes recorded", besu.name(), lines.values().filter(|line| line.vote.is_some()).count());
    }
    if failed == 0 { Ok(()) } else { Err(format!("{failed} chains were not asked to their end")) }
}

/// A proposal whose block stands in it as bytes, whether they can be read or not.
struct Raw {
    height: u64,
    round: u32,
    block: Bytes,
    dialect: Dialect,
}

impl Payload for Raw {
    const KIND: MessageKind = MessageKind::Proposal;

    fn height(&self) -> u64 {
        self.height
    }

    fn round(&self) -> u32 {
        self.round
    }

    fn encode_payload(&self) -> Vec<u8> {
        let mut items = vec![rlp(self.height), rlp(self.round), self.block.clone()];
        if self.dialect == Dialect::Besu26 {
            items.push(Bytes::from_static(&[alloy_rlp::EMPTY_STRING_CODE]));
        }
        list(&items).to_vec()
    }

    fn decode_items(_: &mut &[u8]) -> Result<Self, alloy_rlp::Error> {
        Err(alloy_rlp::Error::Custom("is only written"))
    }
}

fn envelope<P: Payload>(payload: P, by: &NodeKey) -> Result<Bytes, String> {
    let signed = Signed::sign_with(payload, |hash| by.sign(hash)).map_err(|error| error.to_string())?;
    Ok(list(&[signed.raw().clone(), rlp(signed.signature().as_slice())]))
}

/// The chain that is asked about.
struct Place {
    besu: Client,
    folder: PathBuf,
    spec: ChainSpec,
    /// Good blocks, block 0 in front without a body.
    headers: Vec<Header>,
    blocks: Vec<Block>,
    /// In the order in which they take turns.
    validators: Vec<NodeKey>,
    /// Whose turn round 0 is, by place.
    first: usize,
    /// Besu's key, by place.
    theirs: usize,
    min_gas_price: u64,
}

impl Place {
    fn height(&self) -> u64 {
        self.blocks.len() as u64 + 1
    }

    /// Who proposes a block with this coinbase: the validator itself, or for strangers the one whose turn round 0 is.
    fn author(&self, coinbase: Option<Address>) -> usize {
        self.validators.iter().position(|one| Some(one.address()) == coinbase).unwrap_or(self.first)
    }

    /// First round from `least` on whose proposer is `author`.
    fn round(&self, author: usize, least: u32) -> u32 {
        let turns = self.validators.len();
        (least..).find(|round| (self.first + *round as usize) % turns == author).unwrap_or(u32::MAX)
    }

    /// The good block in a round in which its author is not the proposer.
    fn mark(&self, good: &Variant, round: u32) -> Result<Bytes, String> {
        let others = |place: &usize| *place != self.theirs && self.round(*place, round) != round;
        let author = (0..self.validators.len()).find(others).ok_or("there are four validators")?;
        self.proposal(good, author, round)
    }

    fn proposal(&self, variant: &Variant, author: usize, round: u32) -> Result<Bytes, String> {
        let height = self.height();
        let raw = Raw { height, round, block: variant.proposal_in(round), dialect: self.besu.dialect };
        let mut changes = Vec::new();
        for (place, by) in self.validators.iter().enumerate() {
            if round > 0 && place != self.theirs {
                changes.push(envelope(RoundChangePayload { height, round, prepared: None }, by)?);
            }
        }
        Ok(list(&[envelope(raw, &self.validators[author])?, list(&[list(&changes), list(&[])])]))
    }
}

/// Whether Besu votes for each variant, by name.
fn asked<'a>(besu: &Client, folder: &Path, scenario: &'a Scenario) -> Result<BTreeMap<&'a str, bool>, String> {
    let folder = folder.join(scenario.name.replace(' ', "-"));
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(failed)?;
    }
    std::fs::create_dir_all(&folder).map_err(failed)?;
    std::fs::write(folder.join("genesis.json"), scenario.genesis.replace(TIMEOUTS[0], TIMEOUTS[1])).map_err(failed)?;
    let spec = ChainSpec::parse(&scenario.genesis).map_err(|error| error.to_string())?;
    let mut blocks = Vec::new();
    for raw in &scenario.good {
        blocks.push(<Block as alloy_rlp::Decodable>::decode(&mut &raw[..]).map_err(|error| error.to_string())?);
    }
    if !blocks.is_empty() {
        std::fs::write(folder.join("good.rlp"), scenario.good.concat()).map_err(failed)?;
        let output = importer(besu, &folder)?.arg("good.rlp").current_dir(&folder).stdin(Stdio::null()).output().map_err(failed)?;
        if !output.status.success() {
            return Err(format!("{}: {}: the good blocks were not imported", besu.name(), scenario.name));
        }
    }
    let mut validators: Vec<NodeKey> = VALIDATORS.map(key).collect();
    validators.sort_by_key(NodeKey::address);
    let good = scenario.variants.first().ok_or("a chain has variants")?;
    let first = validators
        .iter()
        .position(|one| Some(one.address()) == good.coinbase())
        .ok_or("an honest block has a validator's coinbase")?;
    let theirs = (first + 1) % validators.len();
    std::fs::write(folder.join("key"), format!("0x{}", hex::encode(validators[theirs].secret_bytes()))).map_err(failed)?;
    let headers = std::iter::once(spec.genesis_header().clone()).chain(blocks.iter().map(|block| block.header.clone())).collect();
    let place = Place {
        besu: besu.clone(),
        folder,
        spec,
        headers,
        blocks,
        validators,
        first,
        theirs,
        min_gas_price: scenario.min_gas_price,
    };
    let runtime = tokio::runtime::Handle::current();
    let votes = runtime.block_on(async {
        let mut session = Session::start(&place, good).await?;
        let mut votes: BTreeMap<&str, bool> = BTreeMap::new();
        // Variants that differ in their seals alone are one proposal, which Besu does not look at twice.
        let mut known: HashMap<&Bytes, bool> = HashMap::new();
        for variant in &scenario.variants {
            let vote = match known.get(&variant.proposal) {
                Some(vote) => *vote,
                None => session.vote(&place, good, variant).await.map_err(|why| format!("{}: {why}", variant.name))?,
            };
            known.insert(&variant.proposal, vote);
            votes.insert(&variant.name, vote);
        }
        session.end().await.map(|()| votes)
    })?;
    let _ = std::fs::remove_dir_all(place.folder.join("data"));
    Ok(votes)
}

/// A Besu that runs, and a connection to it.
struct Session {
    child: Child,
    log: Log,
    handle: NetworkHandle,
    events: mpsc::Receiver<NetEvent>,
    peer: PeerId,
    eth: EthVersion,
    /// First round in which it can be asked.
    next: u32,
    /// Round of the next mark.
    mark: u32,
    _head: watch::Sender<LocalHead>,
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = children::end(&mut self.child, Signal::SIGKILL);
        }
    }
}

/// What is written at the end of a file.
struct Log {
    path: PathBuf,
    read: u64,
}

impl Log {
    /// What is new, in whole lines.
    fn lines(&mut self) -> Result<String, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.path.display());
        let mut file = std::fs::File::open(&self.path).map_err(failed)?;
        file.seek(SeekFrom::Start(self.read)).map_err(failed)?;
        let mut new = Vec::new();
        file.read_to_end(&mut new).map_err(failed)?;
        new.truncate(new.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        self.read += new.len() as u64;
        Ok(String::from_utf8_lossy(&new).into_owned())
    }
}

impl Session {
    /// Starts Besu and waits until it votes for the good block.
    async fn start(place: &Place, good: &Variant) -> Result<Self, String> {
        let (port, failed) = (free_port()?, |error: std::io::Error| format!("{}: {error}", place.folder.display()));
        let path = place.folder.join("live.log");
        let log = std::fs::File::create(&path).map_err(failed)?;
        let mut command = Command::new(&place.besu.program);
        command
            .args([
                "--data-path=data",
                "--genesis-file=genesis.json",
                "--data-storage-format=FOREST",
                "--logging=INFO",
                "--color-enabled=false",
            ])
            .args(["--node-private-key-file=key", "--p2p-host=127.0.0.1", "--p2p-interface=127.0.0.1", "--discovery-enabled=false"])
            .args(["--nat-method=NONE", "--sync-mode=FULL", "--sync-min-peers=1"])
            .arg(format!("--p2p-port={port}"))
            .arg(format!("--min-gas-price={}", place.min_gas_price))
            .current_dir(&place.folder)
            .stdin(Stdio::null())
            .stderr(Stdio::from(log.try_clone().map_err(failed)?))
            .stdout(Stdio::from(log));
        if std::env::var_os("JAVA_OPTS").is_none() && std::env::var_os("BESU_OPTS").is_none() {
            command.env("JAVA_OPTS", "-Xmx512m -XX:TieredStopAtLevel=1");
        }
        let child = command.spawn().map_err(|error| format!("{} did not start: {error}", place.besu.program.display()))?;
        children::started(&child);
        let number = place.blocks.len() as u64;
        let header = &place.headers[place.blocks.len()];
        let hash = place.blocks.last().map_or(Ok(place.spec.genesis_hash()), Block::hash).map_err(|error| error.to_string())?;
        let head = LocalHead { number, timestamp: header.timestamp, hash, total_difficulty: U256::from(number + 1), earliest: 0 };
        let (keep, head) = watch::channel(head);
        let them = &place.validators[place.theirs];
        let us = &place.validators[(place.theirs + 1) % place.validators.len()];
        let node = enode(them.node_id(), port).parse().map_err(|error| format!("Besu's enode: {error}"))?;
        let genesis = place.spec.genesis();
        let (handle, events) = Network::start(NetworkConfig {
            key: us.clone(),
            client: concat!("ipe/v", env!("CARGO_PKG_VERSION")).to_owned(),
            listen: None,
            advertised: Vec::new(),
            discovery: None,
            chain: ChainIdentity {
                network_id: place.spec.chain_id(),
                genesis: place.spec.genesis_hash(),
                fork_ids: ipe_types::fork_id::ForkIds::new(place.spec.genesis_hash(), genesis.timestamp, &genesis.forks),
            },
            head,
            eth_versions: EthVersion::ALL.to_vec(),
            istanbul: true,
            ipe: None,
            static_nodes: vec![node],
            carried_nodes: Vec::new(),
            carrier: None,
            directory: HashMap::new(),
            admit: Admit::everybody(),
            core: Core::default(),
            known_hosts: Vec::new(),
            limits: Limits::default(),
        })
        .await
        .map_err(|error| format!("no node of ours: {error}"))?;
        let log = Log { path, read: 0 };
        let mut session =
            Self { child, log, handle, events, peer: PeerId(0), eth: EthVersion::V68, next: FIRST_ROUND, mark: MARKS, _head: keep };
        session.connected(place).await?;
        // Before that it drops what it is sent.
        session.begun(place).await?;
        match session.vote(place, good, good).await? {
            true => Ok(session),
            false => Err(format!("Besu does not vote for the good block; see {}", session.log.path.display())),
        }
    }

    /// Waits until Besu's first rounds are over.
    async fn begun(&mut self, place: &Place) -> Result<(), String> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Ok(Some(NetEvent::Message(message))) = tokio::time::timeout(LOOK, self.events.recv()).await
                && message.protocol == Protocol::Eth
            {
                self.answer(place, message.code, &message.payload);
            }
            if self.log.lines()?.contains(BEGUN) {
                return Ok(());
            }
        }
        Err(format!("Besu has not begun; see {}", self.log.path.display()))
    }

    /// Waits for the connection.
    async fn connected(&mut self, place: &Place) -> Result<(), String> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let Ok(Some(event)) = tokio::time::timeout(A_WHILE, self.events.recv()).await else { continue };
            if let NetEvent::Connected(info) = event {
                (self.peer, self.eth) = (info.id, info.eth);
                return Ok(());
            }
        }
        Err(format!("no connection to Besu; see {}", place.folder.display()))
    }

    /// Proposes a variant and says whether Besu votes for it: a new round in the log and a Prepare in it, before the mark.
    async fn vote(&mut self, place: &Place, good: &Variant, variant: &Variant) -> Result<bool, String> {
        let author = place.author(variant.coinbase());
        let round = place.round(author, self.next);
        let (began, theirs) = (Instant::now(), place.validators[place.theirs].address());
        for proposal in [place.proposal(variant, author, round)?, place.mark(good, self.mark)?] {
            self.handle.send(self.peer, Protocol::Istanbul, MessageKind::Proposal.code(), proposal);
        }
        self.mark += 1;
        let (mut moved, mut marked, mut prepared) = (false, false, false);
        while began.elapsed() < PATIENCE {
            match tokio::time::timeout(LOOK, self.events.recv()).await {
                Ok(None) => return Err("our node has ended".to_owned()),
                Ok(Some(NetEvent::Disconnected { reason, .. })) => return Err(format!("Besu ended the connection: {reason:?}")),
                Ok(Some(NetEvent::Message(message))) if message.protocol == Protocol::Eth => {
                    self.answer(place, message.code, &message.payload)
                }
                Ok(Some(NetEvent::Message(message))) => {
                    let read = Message::decode(message.code, &message.payload);
                    prepared |= matches!(read, Ok(Message::Prepare(one)) if one.author() == theirs && one.round() == round);
                }
                Ok(Some(NetEvent::Connected(_))) | Err(_) => {}
            }
            let lines = self.log.lines()?;
            moved |= lines.contains(&format!("Moved to round {round} "));
            marked |= lines.contains(MARK);
            match (marked, moved, prepared) {
                (true, false, _) => return Ok(false),
                (true, true, true) => {
                    self.next = round + 1;
                    return Ok(true);
                }
                _ => {}
            }
        }
        Err(format!("no end of what Besu makes of it; see {}", self.log.path.display()))
    }

    /// Answers what Besu asks of a chain's head before it trusts a peer.
    fn answer(&self, place: &Place, code: u8, payload: &[u8]) {
        let reply = match EthMessage::decode(self.eth, code, payload) {
            Ok(EthMessage::GetBlockHeaders { request_id, query }) => {
                let hash_of = |number: usize| match number.checked_sub(1).and_then(|at| place.blocks.get(at)) {
                    Some(block) => block.hash().unwrap_or_default(),
                    None => place.spec.genesis_hash(),
                };
                let found = match query.start {
                    HeadersStart::Number(number) => usize::try_from(number).ok(),
                    HeadersStart::Hash(hash) => (0..place.headers.len()).find(|number| hash_of(*number) == hash),
                };
                let headers = found.and_then(|at| place.headers.get(at)).cloned().into_iter().collect();
                EthMessage::BlockHeaders { request_id, headers }
            }
            Ok(EthMessage::GetBlockBodies { request_id, hashes }) => {
                let of = |hash: &B256| place.blocks.iter().find(|block| block.hash().is_ok_and(|own| own == *hash));
                EthMessage::BlockBodies {
                    request_id,
                    bodies: hashes.iter().filter_map(of).map(|block| block.body.clone()).collect(),
                }
            }
            _ => return,
        };
        let (code, payload) = reply.encode(self.eth);
        self.handle.send(self.peer, Protocol::Eth, code, payload);
    }

    async fn end(mut self) -> Result<(), String> {
        self.handle.shutdown().await;
        children::end(&mut self.child, Signal::SIGTERM).map(drop)
    }
}
