//! Marking: what can be reached.
//!
//! Always true: what is marked has everything below it marked, so nothing is visited twice, however many roots
//! show it; marks only grow.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use cfs_fs::digest::{BlobId, NodeId};
use cfs_fs::tree::{NodeError, Nodes};

/// What can be reached.
#[derive(Debug, Default)]
pub(super) struct Marks {
    nodes: HashSet<NodeId>,
    /// The first eight bytes of each blob's name. Two blobs that share them are both kept.
    blobs: HashSet<u64, BuildHasherDefault<Plain>>,
}

impl Marks {
    /// Marks a node with everything below it. `visit` is called for every node that was not marked before; an
    /// error leaves marks of which nothing can be said.
    pub(super) fn mark<E: From<NodeError>>(
        &mut self,
        nodes: &dyn Nodes,
        top: NodeId,
        visit: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut open = vec![top];
        while let Some(id) = open.pop() {
            if !self.nodes.insert(id) {
                continue;
            }
            let node = nodes.node(id)?;
            self.blobs.extend(node.blobs().map(|(id, _)| prefix(id)));
            open.extend(node.nodes().filter(|below| !self.nodes.contains(below)));
            visit()?;
        }
        Ok(())
    }

    /// Whether a node is marked.
    pub(super) fn has_node(&self, id: NodeId) -> bool {
        self.nodes.contains(&id)
    }

    /// Whether a blob is marked, or one whose name begins like its own.
    pub(super) fn has_blob(&self, id: BlobId) -> bool {
        self.blobs.contains(&prefix(id))
    }

    /// How many nodes are marked.
    pub(super) fn nodes(&self) -> u64 {
        self.nodes.len() as u64
    }
}

fn prefix(id: BlobId) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&id.as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// Hashes are as good as random already.
#[derive(Debug, Default)]
pub(super) struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}
