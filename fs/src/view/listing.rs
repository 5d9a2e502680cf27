//! Directories being read.
//!
//! Always true: an open directory lists what it held when it was opened, and an offset means the same place
//! in it however often it is used: 0 is before `.`, 1 before `..`, n + 2 before the n-th entry.

use std::sync::{Arc, OnceLock};

use super::inodes::BoundDir;
use super::places::{self, Child, Generation, Place};
use super::roots::Roots;
use super::{FileKind, Found, Holds, Inode, View, ViewError};
use crate::digest::NodeId;
use crate::tree::{Entry, Kind, Node, NodeError, Nodes};

/// One line of a directory.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// The name.
    pub name: &'a str,
    /// The number that programs see.
    pub number: u64,
    /// What kind of thing it is.
    pub kind: FileKind,
    /// The offset to go on at after this line.
    pub next: u64,
    /// The inode, counted as a lookup, where asked for and where the name holds.
    pub found: Option<Found>,
}

/// An open directory.
#[derive(Debug)]
pub(super) enum OpenDir {
    /// Of a snapshot: its entries are read when they are asked for.
    Bound {
        /// What the kernel calls it by; the inodes of its directories follow from it.
        inode: Inode,
        dir: Arc<BoundDir>,
        holds: Holds,
        leaves: OnceLock<Leaves>,
    },
    /// Of a place: `.`, `..` and what stood there.
    Place(Vec<(String, u64, FileKind)>),
}

impl OpenDir {
    /// A directory that lists nothing.
    pub(super) fn dots(number: u64, parent_number: u64) -> Self {
        Self::Place(dots(number, parent_number))
    }
}

fn dots(number: u64, parent_number: u64) -> Vec<(String, u64, FileKind)> {
    vec![(".".to_owned(), number, FileKind::Dir), ("..".to_owned(), parent_number, FileKind::Dir)]
}

/// The leaf nodes of a directory in order, each with the number of entries before it.
#[derive(Debug)]
pub(super) struct Leaves {
    leaves: Vec<(usize, NodeId)>,
}

impl Leaves {
    fn of(nodes: &impl Nodes, top: NodeId) -> Result<Self, NodeError> {
        let (mut leaves, mut before) = (Vec::new(), 0);
        // What is still to be opened, the first last.
        let mut waiting = vec![top];
        while let Some(id) = waiting.pop() {
            match &*nodes.node(id)? {
                Node::Leaf(entries) => {
                    leaves.push((before, id));
                    before += entries.len();
                }
                Node::Index(chunks) => waiting.extend(chunks.iter().rev().map(|chunk| chunk.id)),
            }
        }
        Ok(Self { leaves })
    }

    /// Calls `visit(index, entry)` for every entry from the `from`th on, until it answers false.
    fn visit(
        &self,
        nodes: &impl Nodes,
        from: usize,
        visit: &mut dyn FnMut(usize, &Entry) -> bool,
    ) -> Result<(), NodeError> {
        let first = self.leaves.partition_point(|(before, _)| *before <= from).saturating_sub(1);
        for (before, id) in &self.leaves[first..] {
            let node = nodes.node(*id)?;
            let Node::Leaf(entries) = &*node else { continue };
            for (at, entry) in entries.iter().enumerate().skip(from.saturating_sub(*before)) {
                if !visit(before + at, entry) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl<R: Roots, N: Nodes> View<R, N> {
    /// Calls `visit` with the lines of an open directory from `offset` on until it answers that it has no
    /// room for one. With `plus`, lines carry inodes; the lookup of the line refused is taken back.
    pub fn read_dir(
        &self,
        handle: u64,
        offset: u64,
        plus: bool,
        visit: &mut dyn FnMut(&Listed<'_>) -> bool,
    ) -> Result<(), ViewError> {
        let open = self.dirs.get(handle).ok_or(ViewError::UnknownHandle(handle))?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        match &*open {
            OpenDir::Place(lines) => {
                for (at, (name, number, kind)) in lines.iter().enumerate().skip(from) {
                    let next = at as u64 + 1;
                    if !visit(&Listed { name, number: *number, kind: *kind, next, found: None }) {
                        break;
                    }
                }
                Ok(())
            }
            OpenDir::Bound { inode, dir, holds, leaves } => {
                let dots = [(".", dir.number), ("..", dir.parent_number)];
                for (at, (name, number)) in dots.into_iter().enumerate().skip(from) {
                    let next = at as u64 + 1;
                    if !visit(&Listed { name, number, kind: FileKind::Dir, next, found: None }) {
                        return Ok(());
                    }
                }
                if leaves.get().is_none() {
                    // Whoever is faster, both found the same.
                    let _ = leaves.set(Leaves::of(&self.nodes, dir.id)?);
                }
                let Some(leaves) = leaves.get() else { return Ok(()) };
                // A name that may stand for something else in a moment is not worth an inode.
                let plus = plus && *holds == Holds::Forever;
                leaves.visit(&self.nodes, from.saturating_sub(2), &mut |at, entry| {
                    self.visit_entry(*inode, dir, at as u64 + 3, entry, plus, visit)
                })?;
                Ok(())
            }
        }
    }

    fn visit_entry(
        &self,
        inode: Inode,
        dir: &BoundDir,
        next: u64,
        entry: &Entry,
        plus: bool,
        visit: &mut dyn FnMut(&Listed<'_>) -> bool,
    ) -> bool {
        let name = entry.name.as_str();
        // Without an inode to keep, the lookup only tells the number.
        let found = self.found_item(inode, dir, entry.name.clone(), &entry.item, Holds::Forever);
        let kind = match entry.item.kind {
            Kind::File { .. } => FileKind::File,
            Kind::Dir(_) => FileKind::Dir,
            Kind::Symlink { .. } => FileKind::Symlink,
        };
        let number = found.attributes.number;
        let taken = visit(&Listed { name, number, kind, next, found: plus.then_some(found) });
        if !taken || !plus {
            self.forget(found.inode, 1);
        }
        taken
    }

    /// What stands in a place now.
    pub(super) fn list_place(&self, place: &Place) -> Result<OpenDir, ViewError> {
        let mut lines = dots(place.number(), place.parent_number());
        for (name, child) in places::children(&self.roots, place)? {
            let (number, kind) = match child {
                Child::Place(below) => (below.number(), FileKind::Dir),
                Child::Link { number, .. } => (number, FileKind::Symlink),
                // A snapshot that cannot be had does not hide the others; looking it up tells.
                Child::Root(id) | Child::Generation(Generation { id, .. }) => {
                    let number =
                        self.root_dir(id, None, None).map_or_else(|_| place.number(), |dir| dir.number);
                    (number, FileKind::Dir)
                }
            };
            lines.push((name, number, kind));
        }
        Ok(OpenDir::Place(lines))
    }
}
