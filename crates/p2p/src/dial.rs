//! Staying connected to a static node: dial, wait, dial again, for ever.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipe_types::Enode;
use rand::Rng;
use tokio::net::{TcpStream, lookup_host};

use crate::carry;
use crate::config::{Candidate, Path};
use crate::counters::Outcome;
use crate::link::short;
use crate::network::Shared;
use crate::session::{self, Ended, Origin};

/// First pause, short so that a network that starts together is connected within a second.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause while nobody answers at the address: an attempt costs a packet, and of a name a question to its server.
/// Where this is a validator's only boot, and the validator is needed for a quorum, the chain waits for as long as the node that
/// comes back is not found.
const LONGEST_UNANSWERED: Duration = Duration::from_secs(1);
/// Longest pause after the node answered and there was no session: each attempt costs both sides a handshake.
const LONGEST_REFUSED: Duration = Duration::from_secs(10);
/// A session that lasted this long ended for no fault of the handshake: the next pause is the first again.
const GOOD_SESSION: Duration = Duration::from_secs(3);
/// Time for a name server to answer.
const LOOKUP: Duration = Duration::from_secs(5);
/// Time for a host to accept.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);
/// Addresses tried of one host: a member's name has one or two.
const MAX_ADDRESSES: usize = 8;

/// Dials `enode`, by ourselves or through a boot that carries, whenever there is no session with it, until the task is
/// aborted or the network stops.
pub(crate) async fn keep(shared: Arc<Shared>, enode: Enode, carried: bool) {
    tokio::select! {
        () = shared.stopped() => {}
        () = dial_for_ever(&shared, &enode, carried) => {}
    }
}

async fn dial_for_ever(shared: &Arc<Shared>, enode: &Enode, carried: bool) {
    let mut pause = FIRST_PAUSE;
    let mut failures = 0u64;
    loop {
        let mut outcome = Outcome::Connected;
        if let Some(link) = shared.registry.link_of(&enode.id) {
            link.finished().await;
            if link.age() >= GOOD_SESSION {
                (pause, failures) = (FIRST_PAUSE, 0);
            }
        } else if let Some(left) = shared.registry.banned(&enode.id) {
            tokio::time::sleep(left).await;
            continue;
        } else {
            let ended = if carried { carry::validator::dial(shared, enode).await } else { dial(shared, enode).await };
            outcome = ended.outcome;
            if ended.lasted.is_some_and(|lasted| lasted >= GOOD_SESSION) {
                (pause, failures) = (FIRST_PAUSE, 0);
            } else if ended.outcome != Outcome::Connected && ended.outcome != Outcome::Refused {
                failures += 1;
                // The first failure and then ever rarer ones are told: a member that is down is worth a line, not a flood.
                if failures.is_power_of_two() {
                    tracing::info!(peer = %short(enode.id), failures, "static node {} not reached: {}", hosts(enode), ended.why);
                }
            }
        }
        let longest = longest_pause(outcome);
        tokio::time::sleep(jitter(pause.min(longest))).await;
        pause = (pause * 2).min(longest);
    }
}

/// Longest pause after a dial that ended so.
const fn longest_pause(outcome: Outcome) -> Duration {
    match outcome {
        Outcome::Unreachable | Outcome::TimedOut => LONGEST_UNANSWERED,
        Outcome::Connected
        | Outcome::Incompatible
        | Outcome::RefusedByPeer
        | Outcome::Malformed
        | Outcome::Refused
        | Outcome::Evicted
        | Outcome::Throttled => LONGEST_REFUSED,
    }
}

/// Between 80 % and 120 %, so that nodes that stopped together do not dial together.
fn jitter(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.8..1.2))
}

fn hosts(enode: &Enode) -> String {
    format!("{}:{}", enode.hosts.join(","), enode.tcp)
}

/// Tries the enode's hosts in order; names are resolved anew each time. Ends with the session, or with the last failure.
pub(crate) async fn dial(shared: &Arc<Shared>, enode: &Enode) -> Ended {
    let mut last = Ended { outcome: Outcome::Unreachable, lasted: None, why: "it has no host".into() };
    for host in &enode.hosts {
        let addresses = match resolve(host, enode.tcp).await {
            Ok(addresses) => addresses,
            Err(why) => {
                last = Ended { outcome: Outcome::Unreachable, lasted: None, why };
                continue;
            }
        };
        for address in addresses {
            let ended = dial_address(shared, enode, address).await;
            let elsewhere = matches!(ended.outcome, Outcome::Unreachable | Outcome::TimedOut | Outcome::Malformed);
            if !elsewhere || ended.lasted.is_some() {
                return ended;
            }
            last = ended;
        }
    }
    last
}

pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    match tokio::time::timeout(LOOKUP, lookup_host((host, port))).await {
        Err(_) => Err(format!("no name server answered for {host} within {LOOKUP:?}")),
        Ok(Err(error)) => Err(format!("the name {host} has no address: {error}")),
        Ok(Ok(found)) => Ok(found.take(MAX_ADDRESSES).collect()),
    }
}

async fn dial_address(shared: &Arc<Shared>, enode: &Enode, address: SocketAddr) -> Ended {
    let candidate = Candidate {
        node: enode.id,
        role: shared.registry.role(&enode.id),
        remote: address,
        listen_port: enode.tcp,
        inbound: false,
        is_static: shared.registry.is_static(&enode.id),
        path: Path::Direct,
    };
    if let Err(refusal) = shared.registry.judge(&candidate) {
        shared.counters.outcome(false, Outcome::Refused);
        return Ended { outcome: Outcome::Refused, lasted: None, why: refusal.why };
    }
    shared.counters.dial(!candidate.is_static);
    let connected = tokio::time::timeout(CONNECT.min(shared.limits.handshake), TcpStream::connect(address)).await;
    let failed = |outcome, why| {
        shared.counters.outcome(false, outcome);
        Ended { outcome, lasted: None, why }
    };
    match connected {
        Err(_) => failed(Outcome::TimedOut, format!("{address} did not accept in time")),
        Ok(Err(error)) => failed(Outcome::Unreachable, format!("{address}: {error}")),
        // A task of its own: whoever stops dialling must not cut the session short without a word to either side.
        Ok(Ok(stream)) => tokio::spawn(session::run(Arc::clone(shared), stream, address, Origin::Outbound(enode.id)))
            .await
            .unwrap_or_else(|error| failed(Outcome::Malformed, format!("the session's task failed: {error}"))),
    }
}
