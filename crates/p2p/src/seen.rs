//! Under which addresses known nodes see this one: what they say in their Pongs, of the packets that reach them from here.
//!
//! Anybody can say anything, so that what one node says proves nothing: whoever asks counts institutions
//! ([`crate::NetworkHandle::seen_as`]). Hello tells no address. Only known nodes are listened to, one word of each.

use std::collections::HashMap;
use std::net::IpAddr;

use ipe_types::NodeId;
use parking_lot::Mutex;

/// Nodes whose words are kept: more than a directory has that answer.
const MOST: usize = 1024;

/// The latest word of each.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    by: Mutex<HashMap<NodeId, IpAddr>>,
}

impl Seen {
    /// A known node says that it sees us at `ip`.
    pub(crate) fn say(&self, node: NodeId, ip: IpAddr) {
        let ip = ip.to_canonical();
        if ip.is_unspecified() || ip.is_multicast() {
            return;
        }
        let mut by = self.by.lock();
        if by.len() < MOST || by.contains_key(&node) {
            by.insert(node, ip);
        }
    }

    /// Every word.
    pub(crate) fn words(&self) -> Vec<(NodeId, IpAddr)> {
        self.by.lock().iter().map(|(node, ip)| (*node, *ip)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_one_word_and_no_word_is_no_address() {
        let seen = Seen::default();
        let id = |n: u32| {
            let mut id = NodeId::ZERO;
            id[..4].copy_from_slice(&n.to_be_bytes());
            id
        };
        for n in 0..2 * MOST as u32 {
            seen.say(id(n), IpAddr::from([192, 0, 2, 1]));
        }
        assert_eq!(seen.words().len(), MOST);
        seen.say(id(1), "::ffff:192.0.2.9".parse().expect("an address"));
        seen.say(id(1), IpAddr::from([0, 0, 0, 0]));
        seen.say(id(1), IpAddr::from([224, 0, 0, 1]));
        assert_eq!(seen.words().into_iter().find(|(node, _)| *node == id(1)), Some((id(1), IpAddr::from([192, 0, 2, 9]))));
    }
}
