//! Decoded nodes kept in memory, bounded in bytes.
//!
//! Always true: nodes never change, so nothing here can be stale; what is kept is at most the limit (plus the
//! one node just asked for), and an error is never kept.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::{Chunk, Entry, Kind, Node, NodeError, Nodes};
use crate::digest::NodeId;

/// What a mount keeps unless told otherwise: the nodes of about 500,000 files.
pub const CACHE_BYTES: usize = 64 << 20;
/// This part of the limit stays, whoever else needs memory: the directories in use right now.
const LEAST_PART: usize = 4;
/// Parts with a lock of their own, so that threads seldom wait for each other.
const SHARDS: usize = 16;

/// `N`, with the nodes used last kept decoded.
pub struct CachedNodes<N> {
    nodes: N,
    shards: [Mutex<Shard>; SHARDS],
    limit_bytes: usize,
    /// Of each shard, now.
    shard_bytes: AtomicUsize,
    hits: AtomicU64,
    misses: AtomicU64,
}

struct Shard {
    kept: LruCache<NodeId, Arc<Node>>,
    bytes: usize,
}

impl<N: fmt::Debug> fmt::Debug for CachedNodes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("CachedNodes");
        text.field("nodes", &self.nodes).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl<N> CachedNodes<N> {
    /// Keeps up to `limit_bytes` of what `nodes` gives.
    pub fn new(nodes: N, limit_bytes: usize) -> Self {
        let shards = std::array::from_fn(|_| Mutex::new(Shard { kept: LruCache::unbounded(), bytes: 0 }));
        let shard_bytes = (limit_bytes / SHARDS).into();
        Self { nodes, shards, limit_bytes, shard_bytes, hits: 0.into(), misses: 0.into() }
    }

    /// What the kept nodes take in memory, about.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).bytes).sum()
    }

    /// How often a node was asked for that was kept, and how often one that was not.
    pub fn hits_and_misses(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    fn shard(&self, id: NodeId) -> MutexGuard<'_, Shard> {
        lock(&self.shards[usize::from(id.as_bytes()[0]) % SHARDS])
    }
}

impl<N: Nodes> Nodes for CachedNodes<N> {
    fn node(&self, id: NodeId) -> Result<Arc<Node>, NodeError> {
        if let Some(node) = self.shard(id).kept.get(&id) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(Arc::clone(node));
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        // Two threads may fetch one node at once; that costs less than one waiting for the other's disk.
        let node = self.nodes.node(id)?;
        self.shard(id).keep(id, Arc::clone(&node), self.shard_bytes.load(Ordering::Relaxed));
        Ok(node)
    }

    fn make_room(&self, bytes: usize) {
        let left = self.limit_bytes.saturating_sub(bytes).max(self.limit_bytes / LEAST_PART);
        let shard_bytes = left / SHARDS;
        if self.shard_bytes.swap(shard_bytes, Ordering::Relaxed) > shard_bytes {
            self.shards.iter().for_each(|shard| lock(shard).shorten(shard_bytes));
        }
    }
}

impl Shard {
    fn keep(&mut self, id: NodeId, node: Arc<Node>, limit_bytes: usize) {
        self.bytes += memory_bytes(&node);
        if let Some(before) = self.kept.put(id, node) {
            self.bytes -= memory_bytes(&before);
        }
        self.shorten(limit_bytes);
    }

    fn shorten(&mut self, limit_bytes: usize) {
        while self.bytes > limit_bytes {
            let Some((_, node)) = self.kept.pop_lru() else { break };
            self.bytes -= memory_bytes(&node);
        }
    }
}

/// What a decoded node takes: its elements, the text they own, and what the allocator adds to each text.
fn memory_bytes(node: &Node) -> usize {
    const ALLOCATION: usize = 16;
    let text = |text: &str| text.len() + ALLOCATION;
    let own = 2 * ALLOCATION + size_of::<Node>();
    own + match node {
        Node::Leaf(entries) => entries
            .iter()
            .map(|entry| {
                let target = match &entry.item.kind {
                    Kind::Symlink { target } => text(target),
                    Kind::File { .. } | Kind::Dir(_) => 0,
                };
                size_of::<Entry>() + text(entry.name.as_str()) + target
            })
            .sum::<usize>(),
        Node::Index(chunks) => {
            chunks.iter().map(|chunk| size_of::<Chunk>() + text(chunk.first.as_str())).sum::<usize>()
        }
    }
}

/// A thread that panicked in between left at most a wrong count of bytes.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
