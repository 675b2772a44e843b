//! One attack on one network: what it is measured by, and what the attacker has in hand.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipe_types::{NodeKey, Role};
use serde_json::json;
use tokio::sync::watch;

use crate::forge::Head;
use crate::lab::{Lab, Node, Wanted};
use crate::peer::{Claim, Manner, Peer, Target};
use crate::rpc;
use crate::work::{Cores, Look};

/// How often heights and readiness are asked for.
const LOOK: Duration = Duration::from_millis(100);
/// How long the honest nodes may take to stand at one height once the attack is over.
const TOGETHER: Duration = Duration::from_secs(15);

/// The attacker's place.
pub struct Siege {
    pub lab: Arc<Lab>,
    pub head: watch::Receiver<Option<Head>>,
    /// What was sent, by the case's own count.
    pub sent: Arc<AtomicU64>,
}

/// What an attack did.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Blocks a second while it lasted.
    pub pace: f64,
    /// Answers of `/readiness` that said DOWN at a node that was not behind, of all.
    pub false_answers: (u64, u64),
    /// From its end to the next block at the highest honest node.
    pub next_block: Duration,
    /// From its end until every honest node stood at one height.
    pub together: Duration,
    /// Messages that the attacker got rid of.
    pub sent: u64,
    /// Processor time while it lasted.
    pub cores: Cores,
}

/// An attack: runs until it is dropped.
pub type Attack = fn(Arc<Siege>) -> std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

impl Siege {
    /// Keys of the attacker's nodes of a role.
    pub fn keys(&self, role: Role) -> Result<Vec<NodeKey>, String> {
        self.lab.nodes.iter().filter(|node| node.hostile && node.role == role).map(|node| self.lab.key(&node.name)).collect()
    }

    /// A connection with each key to every honest node that listens to it.
    pub fn connect(&self, role: Role, claim: Claim) -> Result<Vec<Peer>, String> {
        self.connect_as(role, claim, Manner::Usual)
    }

    /// The same, in another manner.
    pub fn connect_as(&self, role: Role, claim: Claim, manner: Manner) -> Result<Vec<Peer>, String> {
        let mut peers = Vec::new();
        for key in self.keys(role)? {
            for target in self.targets(role) {
                let (address, node) = self.listener(target)?;
                let from = std::net::Ipv4Addr::LOCALHOST;
                peers.push(Peer::start(Target { address, node, key: key.clone(), from, claim, manner }));
            }
        }
        Ok(peers)
    }

    /// As the boot in a sentry network; in a mesh as the validator as well.
    pub fn connect_core(&self) -> Result<Vec<Peer>, String> {
        let mut peers = self.connect(Role::Boot, Claim::Same)?;
        if self.lab.wanted.topology == "mesh" {
            peers.extend(self.connect(Role::Validator, Claim::Same)?);
        }
        Ok(peers)
    }

    fn targets(&self, role: Role) -> impl Iterator<Item = &Node> {
        let victim = match (self.lab.wanted.topology, role) {
            ("mesh", Role::Validator) => Role::Validator,
            _ => Role::Boot,
        };
        self.lab.honest_of(victim)
    }

    /// Where an honest node listens, and its key.
    pub fn listener(&self, node: &Node) -> Result<(std::net::SocketAddr, ipe_types::NodeId), String> {
        let planned = self.lab.plan.nodes.iter().find(|planned| planned.slot.name == node.name);
        let planned = planned.ok_or_else(|| format!("{} is not in the plan", node.name))?;
        Ok(((std::net::Ipv4Addr::LOCALHOST, planned.enode.tcp).into(), planned.identity.node_id))
    }

    /// The head now.
    pub fn head(&self) -> Option<Head> {
        self.head.borrow().clone()
    }
}

/// Brings a network up, lets the attack run for so long, and measures.
pub async fn measure(ipe: &Path, dir: &Path, wanted: Wanted, attack: Attack, lasting: Duration) -> Result<Measured, String> {
    let (ipe, dir) = (ipe.to_owned(), dir.to_owned());
    let lab = Arc::new(blocking(move || Lab::up(&ipe, &dir, wanted)).await?);
    let outcome = besiege(Arc::clone(&lab), attack, lasting).await;
    blocking(move || end(lab)).await?;
    outcome
}

async fn besiege(lab: Arc<Lab>, attack: Attack, lasting: Duration) -> Result<Measured, String> {
    let seized = Arc::clone(&lab);
    blocking(move || seized.seize()).await?;
    let (told, head) = watch::channel(None);
    let watcher = tokio::task::spawn_blocking({
        let lab = Arc::clone(&lab);
        move || watch_head(&lab, &told)
    });
    let siege = Arc::new(Siege { lab: Arc::clone(&lab), head, sent: Arc::default() });
    let attacking = tokio::spawn(attack(Arc::clone(&siege)));
    let stop = Arc::new(AtomicBool::new(false));
    let looking = tokio::task::spawn_blocking({
        let (lab, stop) = (Arc::clone(&lab), Arc::clone(&stop));
        move || look(&lab, &stop)
    });
    let before = Look::now(&lab);
    tokio::time::sleep(lasting).await;
    let cores = before.since(&lab);
    stop.store(true, Ordering::Relaxed);
    let failed = |error: tokio::task::JoinError| format!("the measurement broke off: {error}");
    let (pace, false_answers) = looking.await.map_err(failed)?;
    if attacking.is_finished() {
        attacking.await.map_err(failed)??;
    } else {
        attacking.abort();
    }
    let sent = siege.sent.load(Ordering::Relaxed);
    drop(siege);
    let after = Arc::clone(&lab);
    let (next_block, together) = blocking(move || aftermath(&after)).await?;
    drop(lab);
    watcher.await.map_err(failed)?;
    Ok(Measured { pace, false_answers, next_block, together, sent, cores })
}

/// Takes the network down once nobody uses it any more: the next one is brought up in the same folder.
fn end(mut lab: Arc<Lab>) -> Result<(), String> {
    let began = Instant::now();
    loop {
        match Arc::try_unwrap(lab) {
            Ok(last) => break drop(last),
            Err(shared) => lab = shared,
        }
        if began.elapsed() > TOGETHER {
            return Err("the attack does not let go of the network".to_owned());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Runs what blocks away from the runtime's threads.
pub async fn blocking<T: Send + 'static>(what: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(what).await.map_err(|error| format!("it broke off: {error}"))?
}

fn watch_head(lab: &Arc<Lab>, told: &watch::Sender<Option<Head>>) {
    let Some(node) = lab.honest_of(Role::Validator).next().cloned() else { return };
    let mut last = None;
    // Over when the case has let go of the head.
    while !told.is_closed() {
        let header = rpc::ask(node.rpc, "debug_getRawHeader", json!(["latest"])).ok();
        let header = header.as_ref().and_then(|value| hex::decode(value.as_str()?.trim_start_matches("0x")).ok());
        if let Some(header) = header.filter(|header| last.as_ref() != Some(header)) {
            told.send_replace(Head::read(&header));
            last = Some(header);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Pace, and answers of readiness that were false of how many.
fn look(lab: &Lab, stop: &AtomicBool) -> (f64, (u64, u64)) {
    let (began, first) = (Instant::now(), lab.highest());
    let (mut wrong, mut all) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let highest = lab.highest();
        for node in lab.honest() {
            all += 1;
            let said = rpc::get(node.rpc, "/readiness").map(|(code, _)| code);
            // A node that nobody is connected to is not ready, and says so.
            wrong +=
                u64::from(said != Ok(200) && rpc::height(node.rpc).is_some_and(|height| height + 2 >= highest) && has_peers(node));
        }
        std::thread::sleep(LOOK);
    }
    let pace = lab.highest().saturating_sub(first) as f64 / began.elapsed().as_secs_f64();
    (pace, (wrong, all))
}

fn has_peers(node: &Node) -> bool {
    rpc::ask(node.rpc, "net_peerCount", json!([])).is_ok_and(|count| count != "0x0")
}

/// How long the next block takes, and until all honest nodes are together.
fn aftermath(lab: &Lab) -> Result<(Duration, Duration), String> {
    let at = lab.highest();
    let next = lab.until("a block after the attack", TOGETHER, || lab.highest() > at)?;
    let mut together = next;
    together += lab.until("all honest nodes at one height after the attack", TOGETHER, || {
        let highest = lab.highest();
        lab.lowest() + 1 >= highest && highest > at
    })?;
    Ok((next, together))
}
