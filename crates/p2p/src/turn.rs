//! Of several connections to one node only one at a time says Hello, so that the other end never has two to choose from.
//!
//! Two nodes that have each other in their static nodes dial at the same moment again and again. Besu takes a connection
//! into its books when it reads our Hello, and goes wrong when there are two and one of them ends early: in 25.5 its
//! first request, lost with that connection, makes it end the other one five seconds later (`USELESS_PEER`); from 25.6 on
//! it counts the Status of any connection for the one that it took in first, never uses the other, and ends it half a
//! minute later (`ALREADY_CONNECTED`). So whoever comes second waits, without a Hello of ours, until the first is open or
//! has failed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipe_types::NodeId;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::link::Link;
use crate::network::Shared;

/// How long a connection that was dialled to us may hold others up without a word of its own: its first packet may be
/// another's, recorded and played again. An honest node says Hello at once.
pub(crate) const UNHEARD: Duration = Duration::from_secs(2);

/// A connection that has said Hello and is not open yet.
#[derive(Debug)]
pub(crate) struct Claim {
    inbound: bool,
    since: Instant,
    heard: AtomicBool,
    give_way: Notify,
    over: watch::Sender<bool>,
}

impl Claim {
    fn new(inbound: bool) -> Arc<Self> {
        Arc::new(Claim {
            inbound,
            since: Instant::now(),
            heard: AtomicBool::new(false),
            give_way: Notify::new(),
            over: watch::Sender::new(false),
        })
    }

    /// Waits until the connection is open or has failed.
    pub(crate) async fn over(&self) {
        let mut receiver = self.over.subscribe();
        // An error would mean that the sender is gone, which `self` owns.
        let _ = receiver.wait_for(|over| *over).await;
    }

    /// When others need wait no longer; none while the connection has proved that it is the node's.
    pub(crate) fn patience(&self) -> Option<Instant> {
        (self.inbound && !self.heard.load(Ordering::Acquire)).then(|| self.since + UNHEARD)
    }

    /// Asks the connection to fail, unless the other's Hello has come on it, when it was dialled by `node` and we are the
    /// lower of the two, or the reverse: two nodes of this rule may each wait for the other's Hello on the connection that
    /// it dialled, and both know by this which one stays.
    pub(crate) fn ask_to_give_way(&self, own: &NodeId, node: &NodeId, inbound: bool) {
        let dialler = |inbound| if inbound { node } else { own };
        if self.inbound != inbound && dialler(inbound) < dialler(self.inbound) {
            self.give_way.notify_one();
        }
    }
}

/// Why it is not a connection's turn.
#[derive(Debug)]
pub(crate) enum Busy {
    /// Another one is open, or was a moment ago.
    Open(Arc<Link>),
    /// Another one has said Hello.
    Greeting(Arc<Claim>),
}

/// Whose turn it is, by node: at most one entry for each connection that has not finished Status.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    claims: Mutex<HashMap<NodeId, Arc<Claim>>>,
}

/// The right to say Hello to a node; dropping it is passing it on.
#[derive(Debug)]
pub(crate) struct Turn {
    shared: Arc<Shared>,
    node: NodeId,
    claim: Arc<Claim>,
}

impl Turn {
    /// Takes the turn when no other connection to the node is open or about to be.
    pub(crate) fn take(shared: &Arc<Shared>, node: NodeId, inbound: bool) -> Result<Turn, Busy> {
        let mut claims = shared.turns.claims.lock();
        match claims.entry(node) {
            Entry::Occupied(other) => Err(Busy::Greeting(Arc::clone(other.get()))),
            Entry::Vacant(place) => match shared.registry.link_of(&node) {
                Some(link) => Err(Busy::Open(link)),
                None => {
                    let claim = Arc::clone(place.insert(Claim::new(inbound)));
                    Ok(Turn { shared: Arc::clone(shared), node, claim })
                }
            },
        }
    }

    /// Takes the turn from whoever has it. Of two that both go on the registry keeps one.
    pub(crate) fn seize(shared: &Arc<Shared>, node: NodeId, inbound: bool) -> Turn {
        let claim = Claim::new(inbound);
        shared.turns.claims.lock().insert(node, Arc::clone(&claim));
        Turn { shared: Arc::clone(shared), node, claim }
    }

    /// The other's Hello has come: others wait for this connection's fate.
    pub(crate) fn hear(&self) {
        self.claim.heard.store(true, Ordering::Release);
    }

    /// Waits until another connection asks for the turn.
    pub(crate) async fn asked_to_give_way(&self) {
        self.claim.give_way.notified().await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut claims = self.shared.turns.claims.lock();
        if claims.get(&self.node).is_some_and(|claim| Arc::ptr_eq(claim, &self.claim)) {
            claims.remove(&self.node);
        }
        drop(claims);
        self.claim.over.send_replace(true);
    }
}
