//! Lines of the log about nodes that come and go. Each node has a ration of its own: one that is let in, leaves and comes again
//! as fast as it can would otherwise fill the disk.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ipe_types::NodeId;
use parking_lot::Mutex;

use crate::bucket::{Bucket, Rate};

/// Sessions of one node that are told: at once, and then three a minute.
const SESSIONS: Rate = Rate::new(8.0, 0.05);
/// Nodes that are remembered; with more of them, those not seen for [`FORGOTTEN`] are forgotten.
const MOST: usize = 1_024;
/// After this time a ration is whole again.
const FORGOTTEN: Duration = Duration::from_secs(160);

/// The rations of all nodes that we dial or know.
#[derive(Debug, Default)]
pub(crate) struct Rations(Mutex<HashMap<NodeId, Ration>>);

#[derive(Debug)]
struct Ration {
    left: Bucket,
    /// Sessions that were not told.
    suppressed: u32,
}

impl Rations {
    /// Whether a session of this node is told; then how many were not since the last one that was.
    pub(crate) fn allow(&self, node: &NodeId, now: Instant) -> Option<u32> {
        let mut rations = self.0.lock();
        if rations.len() >= MOST && !rations.contains_key(node) {
            rations.retain(|_, ration| now.saturating_duration_since(ration.left.used()) < FORGOTTEN);
            if rations.len() >= MOST {
                return None;
            }
        }
        let fresh = || Ration { left: Bucket::full(SESSIONS, now), suppressed: 0 };
        let ration = rations.entry(*node).or_insert_with(fresh);
        if ration.left.take(SESSIONS, now) {
            return Some(std::mem::take(&mut ration.suppressed));
        }
        ration.suppressed += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use ipe_types::NodeKey;

    use super::*;

    #[test]
    fn a_node_that_comes_and_goes_as_fast_as_it_can_writes_a_bounded_number_of_lines() {
        let node = |byte: u8| NodeKey::from_bytes([byte; 32]).expect("a key").node_id();
        let (rations, began) = (Rations::default(), Instant::now());
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let told = (0..100_000).filter(|_| rations.allow(&node(1), at(0)).is_some()).count();
        assert_eq!(told, 8);
        assert_eq!(rations.allow(&node(2), at(0)), Some(0), "others are told all the same");
        assert_eq!(rations.allow(&node(1), at(20)), Some(99_992));
        assert_eq!(rations.allow(&node(1), at(20)), None);
    }
}
