//! Bounded caches of decoded rows that several heights may read at once.
//!
//! Every entry holds a key's value at the head and since which version (block + 1) it is known to hold. A reader of an
//! older view takes it only if it was already true then. A value read from a view goes in only while that view is still
//! the head: the writer raises the head's version first and then overwrites every key the block changed, so whichever
//! comes last under the shard's lock is right.

use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::map::DefaultHashBuilder;
use lru::LruCache;
use parking_lot::Mutex;

/// Locks per cache, so that readers on many threads seldom wait for each other.
const SHARDS: usize = 8;

/// Bytes an entry costs beside its key and value: links, hash table slot, allocation.
const ENTRY_OVERHEAD: usize = 64;

pub(super) struct Cache<K, V> {
    shards: [Mutex<Shard<K, V>>; SHARDS],
    hasher: DefaultHashBuilder,
    /// Bytes a shard may hold.
    limit: usize,
}

struct Shard<K, V> {
    entries: LruCache<K, Entry<V>, DefaultHashBuilder>,
    bytes: usize,
}

struct Entry<V> {
    value: V,
    since: u64,
    bytes: usize,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    pub fn new(limit: usize) -> Self {
        Cache {
            shards: std::array::from_fn(|_| {
                let entries = LruCache::unbounded_with_hasher(DefaultHashBuilder::default());
                Mutex::new(Shard { entries, bytes: 0 })
            }),
            hasher: DefaultHashBuilder::default(),
            limit: limit / SHARDS,
        }
    }

    fn shard(&self, key: &K) -> &Mutex<Shard<K, V>> {
        // The high bits: the hash table inside the shard uses the low ones.
        &self.shards[(self.hasher.hash_one(key) >> 60) as usize % SHARDS]
    }

    /// The value of `key` in the view of `version`, if it is here.
    pub fn get(&self, key: &K, version: u64) -> Option<V> {
        let mut shard = self.shard(key).lock();
        let entry = shard.entries.get(key)?;
        (entry.since <= version).then(|| entry.value.clone())
    }

    /// Keeps a value that was read in the view of `version`, unless the head has moved on.
    /// `heap` is what the value holds outside itself, in bytes.
    pub fn keep(&self, head: &AtomicU64, version: u64, key: K, value: V, heap: usize) {
        let mut shard = self.shard(&key).lock();
        if head.load(Ordering::SeqCst) == version {
            shard.put(key, value, version, heap, self.limit);
        }
    }

    /// The writer's: sets the value that holds from `version` on, whatever was here.
    pub fn set(&self, version: u64, key: K, value: V, heap: usize) {
        self.shard(&key).lock().put(key, value, version, heap, self.limit);
    }

    /// The writer's: removes one entry.
    pub fn remove(&self, key: &K) {
        let mut shard = self.shard(key).lock();
        if let Some(entry) = shard.entries.pop(key) {
            shard.bytes -= entry.bytes;
        }
    }

    /// The writer's: removes what `gone` names. Looks at every entry.
    pub fn forget(&self, gone: impl Fn(&K) -> bool) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            let shard = &mut *shard;
            let keys = shard.entries.len();
            let kept = LruCache::unbounded_with_hasher(DefaultHashBuilder::default());
            let mut old = std::mem::replace(&mut shard.entries, kept);
            for _ in 0..keys {
                let Some((key, entry)) = old.pop_lru() else { break };
                if gone(&key) {
                    shard.bytes -= entry.bytes;
                } else {
                    shard.entries.put(key, entry);
                }
            }
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().bytes).sum()
    }
}

impl<K: Hash + Eq, V> Shard<K, V> {
    fn put(&mut self, key: K, value: V, since: u64, heap: usize, limit: usize) {
        let bytes = std::mem::size_of::<K>() + std::mem::size_of::<Entry<V>>() + ENTRY_OVERHEAD + heap;
        if let Some(old) = self.entries.put(key, Entry { value, since, bytes }) {
            self.bytes -= old.bytes;
        }
        self.bytes += bytes;
        while self.bytes > limit {
            let Some((_, entry)) = self.entries.pop_lru() else { break };
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_stays_below_its_limit_and_keeps_what_is_used() {
        let cache = Cache::<u64, u64>::new(64 * 1024);
        for key in 0..10_000 {
            cache.set(1, key, key, 0);
            assert!(cache.bytes() <= 64 * 1024);
            assert_eq!(cache.get(&0, 1), Some(0), "used all the time");
        }
        assert_eq!(cache.get(&1, 1), None, "long unused");
        assert_eq!(cache.get(&9_999, 1), Some(9_999));
        cache.forget(|key| *key % 2 == 1);
        assert_eq!(cache.get(&9_999, 1), None);
        assert_eq!(cache.get(&9_998, 1), Some(9_998));
    }

    #[test]
    fn a_view_sees_neither_newer_values_nor_leaves_older_ones() {
        let head = AtomicU64::new(5);
        let cache = Cache::<u8, u8>::new(64 * 1024);
        cache.keep(&head, 5, 1, 10, 0);
        cache.keep(&head, 4, 2, 20, 0);
        assert_eq!(cache.get(&1, 5), Some(10));
        assert_eq!(cache.get(&1, 4), None, "not known to hold then");
        assert_eq!(cache.get(&2, 5), None, "read in a view that is not the head");
        head.store(6, Ordering::SeqCst);
        cache.set(6, 1, 11, 0);
        assert_eq!(cache.get(&1, 5), None);
        assert_eq!(cache.get(&1, 6), Some(11));
    }
}
