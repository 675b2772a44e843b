//! What an operator should look after although the node runs: told once in the log when it begins, and in `/health` and
//! `ipe_status` for as long as it lasts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipe_p2p::NetworkHandle;
use ipe_types::NodeId;
use parking_lot::Mutex;

use crate::key_file;

/// How often the words of other nodes are counted.
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// How often names among `p2p-host` are looked up.
const LOOK_UP_EVERY: Duration = Duration::from_secs(60);

/// Who speaks for whom: an institution has one voice, however many nodes it runs. A node that no directory knows, and that
/// the operator or the chain names, is a voice of its own. `None`: nobody, or this node's own institution.
pub(crate) type Voice = Arc<dyn Fn(&NodeId) -> Option<String> + Send + Sync>;

/// What is to be looked after.
pub(crate) struct Advice {
    key_files: BTreeSet<PathBuf>,
    /// About the address that others see.
    address: Mutex<Option<String>>,
}

impl Advice {
    pub(crate) fn new(key_files: BTreeSet<PathBuf>) -> Self {
        Self { key_files, address: Mutex::new(None) }
    }

    /// All of it, without paths: whoever reaches `/health` reads it.
    pub(crate) fn all(&self) -> Vec<String> {
        let modes = self.key_files.iter().filter_map(|file| key_file::exposed(file));
        let keys =
            modes.map(|mode| format!("the key file can be used by other users of this machine (mode {mode:04o}): chmod 600"));
        keys.chain(self.address.lock().clone()).collect()
    }
}

/// The address at which most of the others see this node: more than half of all voices say the same, and two at least. An
/// institution whose nodes contradict each other says what most of them say.
fn agreed(words: &[(NodeId, IpAddr)], voice: &Voice) -> Option<(IpAddr, usize, usize)> {
    let mut voices: HashMap<String, BTreeMap<IpAddr, usize>> = HashMap::new();
    for (node, ip) in words {
        if let Some(name) = voice(node) {
            *voices.entry(name).or_default().entry(*ip).or_default() += 1;
        }
    }
    let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for said in voices.values() {
        let most = said.values().max().copied().unwrap_or(0);
        let mut loudest = said.iter().filter(|(_, count)| **count == most);
        if let (Some((ip, _)), None) = (loudest.next(), loudest.next()) {
            *counts.entry(*ip).or_default() += 1;
        }
    }
    let (ip, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    (count >= 2 && 2 * count > voices.len()).then_some((ip, count, voices.len()))
}

/// What to say of `p2p-host` (as written, and the addresses that its hosts have) when others see this node at `ip`.
fn contradicts(hosts: &[String], addresses: &[IpAddr], (ip, count, of): (IpAddr, usize, usize)) -> Option<String> {
    (!addresses.contains(&ip)).then(|| {
        format!(
            "{count} of {of} institutions (or known nodes outside the directory) see this node at {ip}, p2p-host says {}: others dial what \
             p2p-host says. If they reach this node at {ip}, as behind a container's NAT with its port published, set p2p-host to it",
            hosts.join(", ")
        )
    })
}

/// Counts what others say until the network is gone, and says in the log what begins to be wrong.
pub(crate) async fn watch(advice: Arc<Advice>, network: NetworkHandle, hosts: Vec<String>, voice: Voice) {
    let mut tick = tokio::time::interval(COUNT_EVERY);
    let mut looked_up: Option<(Instant, Vec<IpAddr>)> = None;
    loop {
        tick.tick().await;
        let Some(agreed) = agreed(&network.seen_as(), &voice) else { continue };
        let fresh = looked_up.take().filter(|(at, _)| at.elapsed() < LOOK_UP_EVERY);
        let (at, addresses) = match fresh {
            Some(fresh) => fresh,
            None => (Instant::now(), addresses_of(&hosts).await),
        };
        let said = contradicts(&hosts, &addresses, agreed);
        looked_up = Some((at, addresses));
        let before = std::mem::replace(&mut *advice.address.lock(), said.clone());
        if let Some(said) = said.filter(|said| before.as_ref() != Some(said)) {
            tracing::warn!("{said}");
        }
    }
}

/// Addresses of hosts; a name that cannot be looked up has none.
async fn addresses_of(hosts: &[String]) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for host in hosts {
        match host.parse::<IpAddr>() {
            Ok(ip) => all.push(ip.to_canonical()),
            Err(_) => {
                if let Ok(found) = tokio::net::lookup_host((host.as_str(), 0)).await {
                    all.extend(found.map(|address| address.ip().to_canonical()));
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> NodeId {
        NodeId::repeat_byte(n)
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// Nodes 10 to 19 are of institution 1, and so on; those below 10 are nobody's.
    fn voice() -> Voice {
        Arc::new(|node: &NodeId| (node[0] >= 10).then(|| format!("institution {}", node[0] / 10)))
    }

    #[test]
    fn neither_one_node_nor_one_institution_is_believed() {
        let seen = |words: &[(u8, u8)]| agreed(&words.iter().map(|(node, at)| (id(*node), ip(*at))).collect::<Vec<_>>(), &voice());
        assert_eq!(seen(&[]), None);
        assert_eq!(seen(&[(10, 1)]), None);
        assert_eq!(seen(&[(10, 1), (11, 1), (12, 1), (13, 1)]), None, "one institution, however many nodes");
        assert_eq!(seen(&[(1, 1), (2, 1), (3, 1)]), None, "strangers");
        assert_eq!(seen(&[(10, 1), (20, 1)]), Some((ip(1), 2, 2)));
        assert_eq!(seen(&[(10, 1), (20, 1), (30, 2), (40, 2)]), None, "no majority");
        assert_eq!(seen(&[(10, 1), (20, 1), (30, 9), (31, 9), (32, 9), (33, 9)]), Some((ip(1), 2, 3)), "a liar with many nodes");
        assert_eq!(seen(&[(10, 1), (11, 2), (20, 1), (30, 1)]), Some((ip(1), 2, 3)), "who contradicts himself says nothing");
    }

    #[test]
    fn only_a_contradiction_is_told() {
        let hosts = ["10.0.0.5".to_owned(), "node.example".to_owned()];
        assert_eq!(contradicts(&hosts, &[IpAddr::from([10, 0, 0, 5]), ip(1)], (ip(1), 3, 4)), None);
        let told = contradicts(&hosts, &[IpAddr::from([10, 0, 0, 5])], (ip(1), 3, 4)).expect("told");
        assert!(told.contains("3 of 4") && told.contains("192.0.2.1") && told.contains("10.0.0.5, node.example"), "{told}");
    }

    #[test]
    fn an_exposed_key_is_told_without_its_path_for_as_long_as_it_is() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("key");
        key_file::write_new(&path, &key_file::generate()).expect("written");
        let advice = Advice::new([path.clone()].into());
        assert_eq!(advice.all(), Vec::<String>::new());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("set");
        let said = advice.all();
        assert!(said.len() == 1 && said[0].contains("0644") && !said[0].contains(&folder.path().display().to_string()), "{said:?}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
        assert_eq!(advice.all(), Vec::<String>::new());
    }
}
