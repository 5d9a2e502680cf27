//! From one generation to the next.
//!
//! Names that stand for refs are the kernel's to keep, like all others, so a flip has to take them from it.
//! To invalidate a directory's name costs what the kernel remembers below it: seconds for large trees. But a
//! directory has one name in the kernel. Looked up by another ([`Stale::kept`]), the old root moves there with
//! everything below, and with everybody inside, at the cost of a lookup; the next lookup of the view's own name
//! finds the new root.
//!
//! Always true: a lookup that began before a flip and ended after it does not bring the old root back unseen:
//! either [`View::catch_up`] finds that the kernel holds it, or the lookup finds that it has to begin again.

use std::sync::{Arc, PoisonError};

use super::inodes::{Inode, Way};
use super::places::{self, FORMER, Generation, Place, shown_at};
use super::roots::{Roots, Target};
use super::{View, ViewError};
use crate::digest::SnapshotId;
use crate::name::Name;
use crate::tree::{Kind, Nodes, for_each_entry};

/// A name under which the kernel may hold what is shown no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// Path of the mount that leads, or led, to the old directory.
    pub path: String,
    /// Path of the mount by which it is found from now on.
    pub kept: String,
    /// The snapshot that it belongs to.
    pub snapshot: SnapshotId,
    /// The directory that holds the name.
    pub parent: Inode,
    /// The name in it.
    pub name: Name,
}

impl<R: Roots, N: Nodes> View<R, N> {
    /// Shows refs as they are now. Returns the names that the kernel may hold for what was shown before: until
    /// it has let go of them, it shows that.
    pub fn catch_up(&self) -> Result<Vec<Stale>, ViewError> {
        // One after the other, so that none misses what another one found.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = self.roots.advance().map_err(|source| ViewError::roots("refs", source))?;
        for Generation { name, id, .. } in &gone {
            if let Ok(Some(Target::Snapshot { id: next, .. })) = self.roots.find(name) {
                self.tallies.expect(*id, next);
            }
        }
        match &self.top {
            Place::Followed(_) => self.move_top(),
            _ => Ok(gone.into_iter().filter_map(|gone| self.stale_root(gone)).collect()),
        }
    }

    /// A number that grows with every move of any ref.
    pub fn moves(&self) -> Result<u64, ViewError> {
        self.roots.moves().map_err(|source| ViewError::roots("refs", source))
    }

    fn stale_root(&self, gone: Generation) -> Option<Stale> {
        let Generation { name, number, id } = gone;
        if !self.inodes.holds_dir(&Way::Generation(name.clone(), number)) {
            return None;
        }
        let (place, last) = Place::showing(&name)?;
        Some(Stale {
            path: shown_at(&name),
            kept: format!("generations/{name}/{number}"),
            snapshot: id,
            parent: self.inodes.find_place(place.number(), &place)?,
            name: last,
        })
    }

    /// What the top of the mount shows, of the ref that it follows.
    pub(super) fn shown_top(&self) -> Result<Option<Generation>, ViewError> {
        let Place::Followed(name) = &self.top else { return Ok(None) };
        if let Some(shown) = &*self.top_shown.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Some(shown.clone()));
        }
        let mut shown = self.top_shown.write().unwrap_or_else(PoisonError::into_inner);
        if shown.is_none() {
            *shown = places::follow(&self.roots, name)?;
        }
        Ok(shown.clone())
    }

    /// The mount's own top cannot move, so each directory in it does.
    fn move_top(&self) -> Result<Vec<Stale>, ViewError> {
        let Place::Followed(name) = &self.top else { return Ok(Vec::new()) };
        let next = places::follow(&self.roots, name)?;
        let old = {
            let mut shown = self.top_shown.write().unwrap_or_else(PoisonError::into_inner);
            if shown.is_none() || *shown == next {
                return Ok(Vec::new());
            }
            std::mem::replace(&mut *shown, next)
        };
        let Some(Generation { id, .. }) = old else { return Ok(Vec::new()) };
        let root = self.root_dir(id, None, None)?;
        let mut stale = Vec::new();
        for_each_entry(&self.nodes, root.id, &mut |entry| {
            let name = &entry.name;
            let is_dir = matches!(entry.item.kind, Kind::Dir(_));
            if is_dir && self.inodes.holds_dir(&Way::OfTop(id, name.clone())) {
                stale.push(Stale {
                    path: name.to_string(),
                    kept: format!("{FORMER}/{id}/{name}"),
                    snapshot: id,
                    parent: Inode::TOP,
                    name: name.clone(),
                });
            }
            Ok::<(), ViewError>(())
        })?;
        Ok(stale)
    }

    /// The place that keeps what the top showed, where the mount shows one ref.
    pub(super) fn former(&self, parent: Inode, name: &Name) -> Option<Arc<Place>> {
        let is_top = parent == Inode::TOP && matches!(self.top, Place::Followed(_));
        (is_top && name.as_str() == FORMER).then(|| Arc::new(Place::Former))
    }
}
