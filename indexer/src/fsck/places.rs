//! Where refs show what is bad, since nobody knows a file by its hash.

use std::collections::{HashMap, HashSet};

use cfs_fs::digest::{BlobId, NodeId};
use cfs_fs::tree::{Kind as ItemKind, Node, Nodes};

use super::finding::{Finding, Object};
use crate::catalogue::Target;
use crate::depot::Depot;

/// Places that are named for one object.
const PLACES_MAX: usize = 3;

/// Adds places to findings. What cannot be read on the way is left out.
pub(super) fn name(depot: &Depot, findings: &mut [Finding]) {
    let mut search = Search { depot, blobs: HashMap::new(), nodes: HashMap::new(), seen: HashSet::new() };
    for finding in findings.iter() {
        match finding.object {
            Object::Blob(id) => drop(search.blobs.insert(id, Vec::new())),
            Object::Node(id) => drop(search.nodes.insert(id, Vec::new())),
            _ => {}
        }
    }
    if search.blobs.is_empty() && search.nodes.is_empty() {
        return;
    }
    for found in depot.catalogue.refs().unwrap_or_default() {
        let Target::Snapshot(id) = found.target else { continue };
        if let Ok(Some(snapshot)) = depot.catalogue.snapshot(id) {
            search.visit(snapshot.root.id, &mut format!("{}:", found.name));
        }
    }
    for finding in findings {
        let places = match finding.object {
            Object::Blob(id) => search.blobs.get(&id),
            Object::Node(id) => search.nodes.get(&id),
            _ => None,
        };
        finding.places = places.cloned().unwrap_or_default();
    }
}

struct Search<'a> {
    depot: &'a Depot,
    blobs: HashMap<BlobId, Vec<String>>,
    nodes: HashMap<NodeId, Vec<String>>,
    /// Refs share most of their nodes; one place is enough.
    seen: HashSet<NodeId>,
}

impl Search<'_> {
    /// Looks at a node of the directory at `path`.
    fn visit(&mut self, id: NodeId, path: &mut String) {
        if let Some(places) = self.nodes.get_mut(&id) {
            add(places, path);
        }
        if !self.seen.insert(id) {
            return;
        }
        let Ok(node) = self.depot.catalogue.node(id) else { return };
        match &*node {
            Node::Index(chunks) => chunks.iter().for_each(|chunk| self.visit(chunk.id, path)),
            Node::Leaf(entries) => {
                for entry in entries {
                    let length = path.len();
                    if !path.ends_with(':') {
                        path.push('/');
                    }
                    path.push_str(entry.name.as_str());
                    match entry.item.kind {
                        ItemKind::Dir(dir) => self.visit(dir.id, path),
                        ItemKind::File { blob, .. } => {
                            if let Some(places) = self.blobs.get_mut(&blob) {
                                add(places, path);
                            }
                        }
                        ItemKind::Symlink { .. } => {}
                    }
                    path.truncate(length);
                }
            }
        }
    }
}

fn add(places: &mut Vec<String>, path: &str) {
    if places.len() < PLACES_MAX {
        places.push(path.to_owned());
    }
}
