//! Bounded memory of what was seen lately.

use std::collections::VecDeque;

use alloy_primitives::map::{HashMap, HashSet};
use ipe_types::B256;

/// A set of hashes that remembers at least the last `capacity` and at most twice as many.
///
/// Two generations: when the young one is full the old one is thrown away, so that forgetting costs nothing and memory
/// is bounded whatever a peer sends. A hash is kept as its first eight bytes: hitting one by chance among 2¹⁷ entries
/// has a probability of 2⁻⁴⁷, and its cost is one message not passed on once.
#[derive(Debug)]
pub struct Recent {
    young: HashSet<u64>,
    old: HashSet<u64>,
    capacity: usize,
}

impl Recent {
    /// Remembers at least the last `capacity` hashes.
    pub fn new(capacity: usize) -> Self {
        Self { young: HashSet::default(), old: HashSet::default(), capacity: capacity.max(1) }
    }

    /// Adds a hash; `false` when it was known.
    pub fn insert(&mut self, hash: &B256) -> bool {
        let key = key(hash);
        if self.young.contains(&key) {
            return false;
        }
        let fresh = !self.old.contains(&key);
        if self.young.len() >= self.capacity {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key);
        fresh
    }

    /// Whether the hash is remembered.
    pub fn contains(&self, hash: &B256) -> bool {
        let key = key(hash);
        self.young.contains(&key) || self.old.contains(&key)
    }

    /// Hashes held, of which some may be counted twice.
    pub fn held(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Forgets a hash.
    pub fn remove(&mut self, hash: &B256) {
        let key = key(hash);
        self.young.remove(&key);
        self.old.remove(&key);
    }
}

fn key(hash: &B256) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_be_bytes(first)
}

/// What a costly function answered lately, by a hash that covers all of its input.
///
/// Two generations, as in [`Recent`]. The whole hash is the key: a wrong answer would be believed.
#[derive(Debug)]
pub struct Answers<V> {
    young: HashMap<B256, V>,
    old: HashMap<B256, V>,
    capacity: usize,
}

impl<V: Copy> Answers<V> {
    /// Remembers at least the last `capacity` answers, and at most twice as many.
    pub fn new(capacity: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), capacity: capacity.max(1) }
    }

    /// The answer, when it is remembered.
    pub fn get(&self, hash: &B256) -> Option<V> {
        self.young.get(hash).or_else(|| self.old.get(hash)).copied()
    }

    /// Remembers an answer.
    pub fn insert(&mut self, hash: B256, answer: V) {
        if self.young.len() >= self.capacity {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, answer);
    }
}

/// A budget that refills with time: what a peer or an author may cost us.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Thousandths of a token.
    level: u64,
    at_ms: u64,
    capacity: u64,
    per_second: u64,
}

impl Budget {
    /// Starts full with `capacity` tokens and gains `per_second`.
    pub fn new(now_ms: u64, capacity: u64, per_second: u64) -> Self {
        Self { level: capacity * 1000, at_ms: now_ms, capacity, per_second }
    }

    fn refill(&mut self, now_ms: u64) {
        let passed = now_ms.saturating_sub(self.at_ms);
        self.at_ms = self.at_ms.max(now_ms);
        self.level = self.level.saturating_add(passed.saturating_mul(self.per_second)).min(self.capacity * 1000);
    }

    /// Takes `tokens`; `false`, and nothing taken, when there are not so many.
    pub fn take(&mut self, now_ms: u64, tokens: u64) -> bool {
        self.refill(now_ms);
        match self.level.checked_sub(tokens.saturating_mul(1000)) {
            Some(left) => {
                self.level = left;
                true
            }
            None => false,
        }
    }

    /// Whether there are `tokens`; nothing is taken.
    pub fn has(&mut self, now_ms: u64, tokens: u64) -> bool {
        self.refill(now_ms);
        self.level >= tokens.saturating_mul(1000)
    }

    /// Takes `tokens`, or what is left of them when there are not so many; `false` then.
    pub fn drain(&mut self, now_ms: u64, tokens: u64) -> bool {
        let enough = self.has(now_ms, tokens);
        self.level = self.level.saturating_sub(tokens.saturating_mul(1000));
        enough
    }

    /// Gives `tokens` back.
    pub fn give(&mut self, tokens: u64) {
        self.level = (self.level + tokens * 1000).min(self.capacity * 1000);
    }

    /// Whether nothing has been spent, or all of it is back.
    pub fn is_full(&mut self, now_ms: u64) -> bool {
        self.refill(now_ms);
        self.level == self.capacity * 1000
    }
}

/// A first-in first-out map of bounded size, for small tables whose keys come from peers.
#[derive(Debug)]
pub struct BoundedMap<K, V> {
    entries: VecDeque<(K, V)>,
    capacity: usize,
}

impl<K: PartialEq, V> BoundedMap<K, V> {
    /// Holds at most `capacity` entries; the oldest leaves first.
    pub fn new(capacity: usize) -> Self {
        Self { entries: VecDeque::new(), capacity: capacity.max(1) }
    }

    /// The value of `key`, made when absent.
    pub fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let index = match self.entries.iter().position(|(known, _)| *known == key) {
            Some(index) => index,
            None => {
                if self.entries.len() >= self.capacity {
                    self.entries.pop_front();
                }
                self.entries.push_back((key, make()));
                self.entries.len() - 1
            }
        };
        &mut self.entries[index].1
    }

    /// The value of `key`.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.iter_mut().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// All entries, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// Removes `key`.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let index = self.entries.iter().position(|(known, _)| known == key)?;
        self.entries.remove(index).map(|(_, value)| value)
    }

    /// Keeps what the test likes.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.entries.retain_mut(|(key, value)| keep(key, value));
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> B256 {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        B256::new(bytes)
    }

    #[test]
    fn the_last_capacity_hashes_are_remembered_and_memory_is_bounded() {
        let mut recent = Recent::new(10);
        for n in 0..1_000 {
            assert!(recent.insert(&hash(n)));
            assert!(!recent.insert(&hash(n)));
            for back in n.saturating_sub(9)..=n {
                assert!(recent.contains(&hash(back)), "{back} at {n}");
            }
            assert!(recent.young.len() + recent.old.len() <= 20);
        }
        assert!(!recent.contains(&hash(0)));
    }

    #[test]
    fn a_budget_refills_with_time_and_never_above_its_capacity() {
        let mut budget = Budget::new(0, 10, 2);
        assert!(budget.take(0, 10));
        assert!(!budget.take(0, 1));
        assert!(budget.take(500, 1));
        assert!(!budget.take(500, 1));
        assert!(!budget.is_full(2_000));
        assert!(budget.is_full(1_000_000));
        assert!(!budget.take(1_000_000, 11));
        // A clock that steps back neither panics nor pays.
        assert!(budget.take(0, 10));
        assert!(!budget.take(0, 1));
    }
}
