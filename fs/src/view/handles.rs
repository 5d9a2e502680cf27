//! Things that are open, by a number for each.
//!
//! Always true: a number is given out once, so a handle that was closed finds nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::inodes::lock;

const SHARDS: usize = 16;

/// Open things of one kind.
#[derive(Debug)]
pub(super) struct Handles<T> {
    open: [Mutex<HashMap<u64, Arc<T>>>; SHARDS],
    next: AtomicU64,
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self { open: std::array::from_fn(|_| Mutex::default()), next: AtomicU64::new(1) }
    }
}

impl<T> Handles<T> {
    pub(super) fn add(&self, thing: T) -> u64 {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        lock(self.shard(handle)).insert(handle, Arc::new(thing));
        handle
    }

    pub(super) fn get(&self, handle: u64) -> Option<Arc<T>> {
        lock(self.shard(handle)).get(&handle).cloned()
    }

    pub(super) fn remove(&self, handle: u64) -> Option<Arc<T>> {
        lock(self.shard(handle)).remove(&handle)
    }

    fn shard(&self, handle: u64) -> &Mutex<HashMap<u64, Arc<T>>> {
        &self.open[usize::from(handle.to_le_bytes()[0]) % SHARDS]
    }
}
