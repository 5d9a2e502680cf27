//! Directories as Merkle trees of packed nodes.
//!
//! A directory is a sorted list of [`Entry`]s. Up to [`CHUNK_ABOVE`] of them form one leaf node; more are cut
//! into content-defined chunks below index nodes, so that one change in a directory of 10,000 entries writes
//! one chunk and a lookup reads one chunk. `docs/format.md` gives the bytes.
//!
//! Always true: a tree's identity is a pure function of its entries, whatever its history; the entry of a
//! directory carries the sums of everything below it; nothing here knows where nodes are kept.

use std::collections::HashMap;
use std::sync::Arc;

use crate::digest::{BlobId, NodeId};
use crate::name::{Name, TreePath};

pub mod cache;
mod chunking;
mod encoding;

pub use chunking::CHUNK_ABOVE;

/// What stands at one name of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, unique in its directory.
    pub name: Name,
    /// The file, directory or symlink there.
    pub item: Item,
}

/// A file, directory or symlink without its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Modification time in whole seconds since 1970.
    pub mtime: i64,
    /// What it is.
    pub kind: Kind,
}

/// What an item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Its content.
        blob: BlobId,
        /// Length of the content.
        size_bytes: u64,
        /// Mode 0755 instead of 0644: the only part of a mode that a tree keeps.
        executable: bool,
    },
    /// A directory.
    Dir(Dir),
    /// A symbolic link.
    Symlink {
        /// Where it points, as written.
        target: Box<str>,
    },
}

/// A whole directory: its top node and what is below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dir {
    /// The top node.
    pub id: NodeId,
    /// What is below, itself not counted.
    pub sums: Sums,
}

/// Counts of everything below a directory, at any depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sums {
    /// Regular files (paths, not distinct contents).
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Logical bytes of the regular files.
    pub bytes: u64,
}

impl Sums {
    /// Counts each of `entries` and what is below it.
    pub fn of(entries: &[Entry]) -> Self {
        let mut sums = Self::default();
        entries.iter().for_each(|entry| sums.add(&entry.item));
        sums
    }

    /// Counts `item` and what is below it.
    pub fn add(&mut self, item: &Item) {
        match &item.kind {
            Kind::File { size_bytes, .. } => {
                self.files += 1;
                self.bytes = self.bytes.saturating_add(*size_bytes);
            }
            Kind::Symlink { .. } => self.symlinks += 1,
            Kind::Dir(dir) => {
                self.files = self.files.saturating_add(dir.sums.files);
                self.dirs = self.dirs.saturating_add(dir.sums.dirs).saturating_add(1);
                self.symlinks = self.symlinks.saturating_add(dir.sums.symlinks);
                self.bytes = self.bytes.saturating_add(dir.sums.bytes);
            }
        }
    }
}

/// One decoded node: part of a directory, or all of a small one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Entries in byte order of their names.
    Leaf(Vec<Entry>),
    /// The nodes one level below, in order.
    Index(Vec<Chunk>),
}

/// A node below an index node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The first name in it.
    pub first: Name,
    /// The node.
    pub id: NodeId,
}

/// Something that a node names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// A node right below: of a directory, or a chunk.
    Node(NodeId),
    /// The blob of a file, and its size.
    Blob(BlobId, u64),
}

/// Encoded nodes by name.
pub type NodeMap = HashMap<NodeId, Vec<u8>>;

/// Why a node cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Nobody has it.
    #[error("node {id} is missing")]
    Missing {
        /// The node asked for.
        id: NodeId,
    },
    /// Its bytes are not what its name says, or say something impossible.
    #[error("node {id} is damaged: {reason}")]
    Damaged {
        /// The node asked for.
        id: NodeId,
        /// What was found.
        reason: String,
    },
    /// The place that keeps nodes failed.
    #[error("node {id} cannot be read")]
    Backend {
        /// The node asked for.
        id: NodeId,
        /// The failure there.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Where nodes are read from. Implemented by the catalogue, by [`Stage`] and by maps in tests.
pub trait Nodes {
    /// Returns the decoded node called `id`; [`Node::verified`] is how an implementation decodes.
    fn node(&self, id: NodeId) -> Result<Arc<Node>, NodeError>;

    /// Says that so many bytes of memory serve the same purpose elsewhere; what is kept here for speed alone can be
    /// less by as much. What is not kept in memory has nothing to do.
    fn make_room(&self, _bytes: usize) {}
}

impl<N: Nodes + ?Sized> Nodes for &N {
    fn node(&self, id: NodeId) -> Result<Arc<Node>, NodeError> {
        (**self).node(id)
    }

    fn make_room(&self, bytes: usize) {
        (**self).make_room(bytes);
    }
}

impl<N: Nodes + ?Sized> Nodes for Arc<N> {
    fn node(&self, id: NodeId) -> Result<Arc<Node>, NodeError> {
        (**self).node(id)
    }

    fn make_room(&self, bytes: usize) {
        (**self).make_room(bytes);
    }
}

impl Nodes for NodeMap {
    fn node(&self, id: NodeId) -> Result<Arc<Node>, NodeError> {
        let bytes = self.get(&id).ok_or(NodeError::Missing { id })?;
        Node::verified(id, bytes).map(Arc::new)
    }
}

impl Node {
    /// Decodes `bytes` after checking that they are what `id` names.
    pub fn verified(id: NodeId, bytes: &[u8]) -> Result<Self, NodeError> {
        let damaged = |reason| NodeError::Damaged { id, reason };
        if NodeId::of(bytes) != id {
            return Err(damaged(format!("its bytes hash to {}", NodeId::of(bytes))));
        }
        encoding::decode(bytes).map_err(damaged)
    }

    /// The nodes right below: of its directories, or its chunks.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        let (entries, chunks): (&[Entry], &[Chunk]) = match self {
            Self::Leaf(entries) => (entries, &[]),
            Self::Index(chunks) => (&[], chunks),
        };
        let dirs = entries.iter().filter_map(|entry| match entry.item.kind {
            Kind::Dir(dir) => Some(dir.id),
            _ => None,
        });
        dirs.chain(chunks.iter().map(|chunk| chunk.id))
    }

    /// The blobs of its files, with their sizes.
    pub fn blobs(&self) -> impl Iterator<Item = (BlobId, u64)> {
        let entries: &[Entry] = match self {
            Self::Leaf(entries) => entries,
            Self::Index(_) => &[],
        };
        entries.iter().filter_map(|entry| match entry.item.kind {
            Kind::File { blob, size_bytes, .. } => Some((blob, size_bytes)),
            _ => None,
        })
    }
}

/// New nodes on top of those already kept: what an edit writes, and what a commit then stores.
pub struct Stage<'a> {
    base: &'a dyn Nodes,
    new: NodeMap,
}

impl std::fmt::Debug for Stage<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage").field("new", &self.new.len()).finish_non_exhaustive()
    }
}

impl Nodes for Stage<'_> {
    fn node(&self, id: NodeId) -> Result<Arc<Node>, NodeError> {
        if self.new.contains_key(&id) { self.new.node(id) } else { self.base.node(id) }
    }
}

impl<'a> Stage<'a> {
    /// An empty stage over `base`.
    pub fn new(base: &'a dyn Nodes) -> Self {
        Self { base, new: HashMap::new() }
    }

    /// Adds nodes that were written elsewhere.
    pub fn adopt(&mut self, nodes: NodeMap) {
        if self.new.is_empty() {
            self.new = nodes;
        } else {
            self.new.extend(nodes);
        }
    }

    /// Whether a node was written here.
    pub fn wrote(&self, id: NodeId) -> bool {
        self.new.contains_key(&id)
    }

    /// The nodes written here, by name. Some may be kept in the base already.
    pub fn into_new_nodes(self) -> NodeMap {
        self.new
    }

    /// Writes a directory of `entries`, which must be sorted by name without a duplicate.
    ///
    /// # Panics
    /// When they are not: an invalid directory must not get a name.
    pub fn write_dir(&mut self, entries: &[Entry]) -> Dir {
        assert!(entries.is_sorted_by(|a, b| a.name < b.name), "entries of a directory are sorted and unique");
        let sums = Sums::of(entries);
        if entries.len() <= CHUNK_ABOVE {
            return Dir { id: self.put(encoding::leaf(entries)), sums };
        }
        let mut level: Vec<Chunk> = chunking::chunks(entries, |entry| &entry.name)
            .map(|chunk| Chunk { first: chunk[0].name.clone(), id: self.put(encoding::leaf(chunk)) })
            .collect();
        let mut height = 1;
        while level.len() > CHUNK_ABOVE {
            level = chunking::chunks(&level, |chunk| &chunk.first)
                .map(|chunks| Chunk {
                    first: chunks[0].first.clone(),
                    id: self.put(encoding::index(height, chunks)),
                })
                .collect();
            height += 1;
        }
        Dir { id: self.put(encoding::index(height, &level)), sums }
    }

    fn put(&mut self, bytes: Vec<u8>) -> NodeId {
        let id = NodeId::of(&bytes);
        self.new.entry(id).or_insert(bytes);
        id
    }
}

/// Returns all entries of the directory whose top node is `id`, in order.
pub fn read_dir(nodes: &(impl Nodes + ?Sized), id: NodeId) -> Result<Vec<Entry>, NodeError> {
    let mut entries = Vec::new();
    for_each_entry(nodes, id, &mut |entry| {
        entries.push(entry.clone());
        Ok::<(), NodeError>(())
    })?;
    Ok(entries)
}

/// Calls `visit` with every entry of one directory, in order, without copying them.
pub fn for_each_entry<E: From<NodeError>>(
    nodes: &(impl Nodes + ?Sized),
    id: NodeId,
    visit: &mut impl FnMut(&Entry) -> Result<(), E>,
) -> Result<(), E> {
    match &*nodes.node(id)? {
        Node::Leaf(entries) => entries.iter().try_for_each(visit),
        Node::Index(chunks) => chunks.iter().try_for_each(|chunk| for_each_entry(nodes, chunk.id, visit)),
    }
}

/// Returns what stands at `name` in the directory whose top node is `id`; reads one node a level.
pub fn lookup(nodes: &(impl Nodes + ?Sized), id: NodeId, name: &str) -> Result<Option<Item>, NodeError> {
    let mut id = id;
    loop {
        match &*nodes.node(id)? {
            Node::Leaf(entries) => {
                let found = entries.binary_search_by(|entry| entry.name.as_str().cmp(name));
                return Ok(found.ok().map(|at| entries[at].item.clone()));
            }
            Node::Index(chunks) => {
                let after = chunks.partition_point(|chunk| chunk.first.as_str() <= name);
                let Some(chunk) = after.checked_sub(1).map(|at| &chunks[at]) else {
                    return Ok(None);
                };
                id = chunk.id;
            }
        }
    }
}

/// Returns what stands at `path` below `root`, symlinks not followed. The top itself is `root`.
pub fn resolve(
    nodes: &(impl Nodes + ?Sized),
    root: &Item,
    path: &TreePath,
) -> Result<Option<Item>, NodeError> {
    let mut item = root.clone();
    for name in path.components() {
        let Kind::Dir(dir) = item.kind else { return Ok(None) };
        match lookup(nodes, dir.id, name)? {
            Some(below) => item = below,
            None => return Ok(None),
        }
    }
    Ok(Some(item))
}

/// What nodes name: what must be stored before these nodes may be committed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Named {
    /// The blobs, with their sizes, sorted, each once.
    pub blobs: Vec<(BlobId, u64)>,
    /// The nodes that are not among those that name them, sorted, each once.
    pub nodes: Vec<NodeId>,
}

/// Returns what `nodes` name that is not among them. They were made by this process: [`Node::verified`] would accept
/// them.
pub fn named_by(nodes: &NodeMap) -> Result<Named, NodeError> {
    let mut named = Named::default();
    for (id, bytes) in nodes {
        for_each_link(*id, bytes, &mut |link| match link {
            Link::Blob(blob, size_bytes) => named.blobs.push((blob, size_bytes)),
            Link::Node(below) if !nodes.contains_key(&below) => named.nodes.push(below),
            Link::Node(_) => {}
        })?;
    }
    named.blobs.sort_unstable();
    named.blobs.dedup();
    named.nodes.sort_unstable();
    named.nodes.dedup();
    Ok(named)
}

/// Calls `visit` with everything that a node names, in order; several times faster than decoding it. For bytes that
/// are known to be those of a node.
pub fn for_each_link(id: NodeId, bytes: &[u8], visit: &mut impl FnMut(Link)) -> Result<(), NodeError> {
    encoding::links(bytes, visit).map_err(|reason| NodeError::Damaged { id, reason })
}

#[cfg(test)]
mod tests;
