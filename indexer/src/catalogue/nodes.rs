//! Nodes: the packed pieces of directories, by name.

use std::collections::HashSet;
use std::sync::Arc;

use cfs_fs::digest::NodeId;
use cfs_fs::tree::{Node, NodeError, NodeMap, Nodes};
use rusqlite::OptionalExtension;

use super::{Catalogue, CatalogueError, Tx};

/// Every node is verified against its name when it is read.
impl Nodes for Catalogue {
    fn node(&self, id: NodeId) -> Result<Arc<Node>, NodeError> {
        let found = self.read("read a node", |connection| {
            let mut statement = connection.prepare_cached("SELECT data FROM nodes WHERE hash = ?")?;
            statement
                .query_row([id.as_bytes()], |row| Ok(Node::verified(id, row.get_ref(0)?.as_blob()?)))
                .optional()
        });
        let backend = |source| NodeError::Backend { id, source: Box::new(source) };
        found.map_err(backend)?.ok_or(NodeError::Missing { id })?.map(Arc::new)
    }
}

impl Catalogue {
    /// The bytes of nodes, sorted by name; those that are not there are left out.
    pub fn encoded_nodes(&self, ids: &HashSet<NodeId>) -> Result<Vec<(NodeId, Vec<u8>)>, CatalogueError> {
        self.read("read nodes", |connection| {
            let mut statement = connection.prepare_cached("SELECT data FROM nodes WHERE hash = ?")?;
            let mut found = Vec::with_capacity(ids.len());
            for id in ids {
                let data = statement.query_row([id.as_bytes()], |row| row.get(0)).optional()?;
                found.extend(data.map(|data| (*id, data)));
            }
            found.sort_unstable_by_key(|(id, _)| *id);
            Ok(found)
        })
    }

    /// Drops from `nodes` those that the catalogue has, and returns these.
    pub(super) fn retain_unknown_nodes(
        &self,
        nodes: &mut NodeMap,
    ) -> Result<HashSet<NodeId>, CatalogueError> {
        self.read("look for nodes", |connection| {
            let mut statement = connection.prepare_cached("SELECT 1 FROM nodes WHERE hash = ?")?;
            let mut known = HashSet::new();
            for id in nodes.keys() {
                if statement.exists([id.as_bytes()])? {
                    known.insert(*id);
                }
            }
            for id in &known {
                nodes.remove(id);
            }
            Ok(known)
        })
    }
}

/// Adds nodes; those that are there already stay as they are. `nodes` should be sorted: the index of names
/// is then written in order, ten times faster than at random.
pub(super) fn insert(tx: &Tx<'_>, nodes: &[(NodeId, Vec<u8>)]) -> Result<(), CatalogueError> {
    tx.run(|connection| {
        let mut statement = connection
            .prepare_cached("INSERT INTO nodes(hash, data) VALUES (?, ?) ON CONFLICT(hash) DO NOTHING")?;
        for (id, data) in nodes {
            statement.execute((id.as_bytes(), data))?;
        }
        Ok(())
    })
}

/// The first of `ids` that the catalogue does not have.
pub(super) fn first_missing(tx: &Tx<'_>, ids: &[NodeId]) -> Result<Option<NodeId>, CatalogueError> {
    tx.run(|connection| {
        let mut statement = connection.prepare_cached("SELECT 1 FROM nodes WHERE hash = ?")?;
        for id in ids {
            if !statement.exists([id.as_bytes()])? {
                return Ok(Some(*id));
            }
        }
        Ok(None)
    })
}
