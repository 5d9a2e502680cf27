//! What the kernel knows, by the numbers it knows it by.
//!
//! A directory of a snapshot is known by a number of its own for every [`Way`] of reaching it, since the kernel
//! lets a directory have one name only: `views/staging/x` and `snapshots/<id>/x` are two, and so are
//! `views/staging/x` before and after a promotion. Files, symlinks and places have no such limit and are
//! known by the number that programs see, so an unchanged file keeps its cached pages over a promotion.
//!
//! Always true: an inode stays as long as the kernel holds it, that is until as many lookups were taken back
//! as were counted; and nothing else is kept here, so memory follows what the kernel holds.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::packed::{PackedFile, Permits};
use self::table::{ROOM_MIN, Table};
use super::access::{Access, Permit};
use super::identity::LOWEST;
use super::links::Slot;
use super::places::Place;
use crate::digest::{BlobId, NodeId, SnapshotId};
use crate::name::{Name, TreePath};

mod packed;
mod table;

/// A number that the kernel knows something by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Inode(pub u64);

impl Inode {
    /// The top of the mount, which the kernel knows from the start.
    pub const TOP: Self = Self(1);
}

impl fmt::Display for Inode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What everything below a root has in common.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) snapshot: SnapshotId,
    /// Rules of the snapshot.
    pub(super) access: Option<Arc<Access>>,
    /// The generation that it was entered as, where it was entered through a ref.
    pub(super) generation: Option<(TreePath, u64)>,
    /// How many names its files have.
    pub(super) links: Option<Arc<Slot>>,
    /// It is no part of the generation shown, but a ghost.
    pub(super) is_ghost: bool,
}

/// A directory of a snapshot.
#[derive(Debug, Clone)]
pub(super) struct BoundDir {
    pub(super) binding: Arc<Binding>,
    /// Inside the snapshot.
    pub(super) path: Box<str>,
    pub(super) id: NodeId,
    pub(super) mtime: i64,
    pub(super) permit: Permit,
    /// What programs see.
    pub(super) number: u64,
    /// What programs see as the number of `..`.
    pub(super) parent_number: u64,
}

/// A regular file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct File {
    pub(super) blob: BlobId,
    pub(super) size_bytes: u64,
    pub(super) mtime: i64,
    pub(super) permit: Permit,
    pub(super) is_ghost: bool,
}

/// A symlink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) target: Box<str>,
    pub(super) mtime: i64,
    pub(super) permit: Permit,
    pub(super) is_ghost: bool,
}

/// What is known by the number that programs see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shared {
    File(File),
    Link(Arc<Link>),
    Place(Arc<Place>),
}

/// What is known by some number.
#[derive(Debug, Clone)]
pub(super) enum Known {
    Dir(Arc<BoundDir>),
    Shared(Shared),
}

/// How a directory of a snapshot is reached. What is reached in the same way is the same directory, though
/// the kernel may know it by another name than before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Way {
    /// The root of a generation of a ref.
    Generation(TreePath, u64),
    /// A directory at the top of a snapshot which the top of the mount shows or showed.
    OfTop(SnapshotId, Name),
    /// By its name in a directory that is bound to a snapshot, or in one where names never change.
    Below(Inode, Name),
    /// By a name that stands for this snapshot now.
    Dated(Inode, Name, SnapshotId),
}

const SHARDS: usize = 16;
/// What a file that the kernel holds takes here, about.
pub(super) const HELD_BYTES: usize = 72;

/// Everything the kernel holds, except the top.
#[derive(Debug, Default)]
pub(super) struct Inodes {
    shared: [Mutex<Shard>; SHARDS],
    permits: Permits,
    dirs: Mutex<Dirs>,
}

/// What is known by the number that programs see. A number is in one of both.
#[derive(Debug, Default)]
struct Shard {
    /// Files, which are nearly everything.
    files: Table<PackedFile>,
    others: HashMap<u64, Counted>,
}

#[derive(Debug)]
struct Counted {
    shared: Shared,
    lookups: u64,
    /// How many names it has in the snapshot in which it was looked up last.
    links: u32,
    /// Of a file: its blob was found whole since the kernel got to know it.
    verified: bool,
}

#[derive(Debug, Default)]
struct Dirs {
    by_way: HashMap<Arc<Way>, u64>,
    by_number: HashMap<u64, CountedDir>,
    last: u64,
}

#[derive(Debug)]
struct CountedDir {
    dir: Arc<BoundDir>,
    way: Arc<Way>,
    lookups: u64,
}

impl Inodes {
    /// Counts a lookup of a directory that the kernel holds already, and returns it.
    pub(super) fn enter_again(&self, way: &Way) -> Option<(Inode, Arc<BoundDir>)> {
        let mut dirs = lock(&self.dirs);
        let number = dirs.by_way.get(way).copied()?;
        let counted = dirs.by_number.get_mut(&number)?;
        counted.lookups += 1;
        Some((Inode(number), Arc::clone(&counted.dir)))
    }

    /// Counts a lookup of a directory and returns its inode.
    pub(super) fn enter_dir(&self, way: Way, make: impl FnOnce() -> BoundDir) -> (Inode, Arc<BoundDir>) {
        let mut dirs = lock(&self.dirs);
        if let Some(number) = dirs.by_way.get(&way).copied()
            && let Some(counted) = dirs.by_number.get_mut(&number)
        {
            counted.lookups += 1;
            return (Inode(number), Arc::clone(&counted.dir));
        }
        // Numbers are never used again, so a late question about a forgotten one finds nothing.
        dirs.last = dirs.last.max(Inode::TOP.0) + 1;
        let number = dirs.last;
        let (dir, way) = (Arc::new(make()), Arc::new(way));
        dirs.by_way.insert(Arc::clone(&way), number);
        dirs.by_number.insert(number, CountedDir { dir: Arc::clone(&dir), way, lookups: 1 });
        (Inode(number), dir)
    }

    /// Counts a lookup of something with one name whose number ought to be `number`, and returns the inode that
    /// it has: the next free one when another thing has the number.
    pub(super) fn enter_shared(&self, number: u64, shared: Shared) -> Inode {
        self.enter_file(number, shared, || 1).0
    }

    /// The same for what has as many names as `links` tells of whatever has the number.
    pub(super) fn enter_file(&self, number: u64, thing: Shared, links: impl Fn() -> u32) -> (Inode, u32) {
        let wanted = number;
        let (mut number, mut thing) = (number, thing);
        loop {
            let mut shard = self.shard(number);
            // Told under the lock: whoever counts meanwhile finds what is entered here, or is seen here.
            let links = if number == wanted { links() } else { 1 };
            match shard.enter(number, thing, links, &self.permits) {
                Ok(()) => return (Inode(number), links),
                Err(refused) => (number, thing) = ((number + 1).max(LOWEST), refused),
            }
        }
    }

    /// The inode of a place, if the kernel holds it.
    pub(super) fn find_place(&self, number: u64, place: &Place) -> Option<Inode> {
        let mut number = number;
        loop {
            match self.shard(number).get(number, &self.permits)? {
                Shared::Place(found) if *found == *place => return Some(Inode(number)),
                _ => number = (number + 1).max(LOWEST),
            }
        }
    }

    /// Whether the kernel holds the directory that is reached so.
    pub(super) fn holds_dir(&self, way: &Way) -> bool {
        lock(&self.dirs).by_way.contains_key(way)
    }

    pub(super) fn get(&self, inode: Inode) -> Option<Known> {
        if inode.0 < LOWEST {
            let dirs = lock(&self.dirs);
            dirs.by_number.get(&inode.0).map(|counted| Known::Dir(Arc::clone(&counted.dir)))
        } else {
            self.shard(inode.0).get(inode.0, &self.permits).map(Known::Shared)
        }
    }

    /// Takes back `lookups` lookups.
    pub(super) fn forget(&self, inode: Inode, lookups: u64) {
        if inode.0 < LOWEST {
            let mut dirs = lock(&self.dirs);
            let Some(counted) = dirs.by_number.get_mut(&inode.0) else { return };
            counted.lookups = counted.lookups.saturating_sub(lookups);
            if counted.lookups == 0
                && let Some(gone) = dirs.by_number.remove(&inode.0)
            {
                dirs.by_way.remove(&gone.way);
                shrink(&mut dirs.by_number);
                shrink(&mut dirs.by_way);
            }
        } else {
            self.shard(inode.0).forget(inode.0, lookups);
        }
    }

    /// How many names the file was said to have last.
    pub(super) fn links(&self, inode: Inode) -> u32 {
        let shard = self.shard(inode.0);
        let of_file = shard.files.get(inode.0).map(PackedFile::links);
        of_file.or_else(|| Some(shard.others.get(&inode.0)?.links)).unwrap_or(1)
    }

    /// Says how many names a file has; returns whether the kernel has been told another number.
    pub(super) fn set_links(&self, inode: Inode, links: u32) -> bool {
        let mut shard = self.shard(inode.0);
        if let Some(file) = shard.files.get_mut(inode.0) {
            return file.set_links(links);
        }
        match shard.others.get_mut(&inode.0) {
            Some(counted) if counted.links != links => {
                counted.links = links;
                true
            }
            _ => false,
        }
    }

    /// Whether the file's blob was found whole since the kernel got to know the file.
    pub(super) fn is_verified(&self, inode: Inode) -> bool {
        self.verified_blob(inode).is_some()
    }

    /// The file's blob, if it was found whole since the kernel got to know the file.
    pub(super) fn verified_blob(&self, inode: Inode) -> Option<BlobId> {
        let shard = self.shard(inode.0);
        if let Some(file) = shard.files.get(inode.0) {
            return file.verified_blob();
        }
        match shard.others.get(&inode.0) {
            Some(Counted { shared: Shared::File(file), verified: true, .. }) => Some(file.blob),
            _ => None,
        }
    }

    pub(super) fn set_verified(&self, inode: Inode) {
        let mut shard = self.shard(inode.0);
        if let Some(file) = shard.files.get_mut(inode.0) {
            file.set_verified();
        } else if let Some(counted) = shard.others.get_mut(&inode.0) {
            counted.verified = true;
        }
    }

    /// The snapshots of the directories that the kernel holds. It holds the directory of every file that it holds.
    pub(super) fn snapshots(&self) -> HashSet<SnapshotId> {
        lock(&self.dirs).by_number.values().map(|counted| counted.dir.binding.snapshot).collect()
    }

    /// How many inodes the kernel holds.
    pub(super) fn len(&self) -> usize {
        let shared: usize = self.shared.iter().map(|shard| lock(shard).len()).sum();
        shared + lock(&self.dirs).by_number.len()
    }

    fn shard(&self, number: u64) -> MutexGuard<'_, Shard> {
        // Any bits are as good as random.
        lock(&self.shared[usize::from(number.to_le_bytes()[4]) % SHARDS])
    }
}

impl Shard {
    /// Counts a lookup of `shared`, or gives it back when another thing has the number.
    fn enter(&mut self, number: u64, shared: Shared, links: u32, permits: &Permits) -> Result<(), Shared> {
        if let Some(known) = self.files.get_mut(number) {
            if Shared::File(known.file(permits)) != shared {
                return Err(shared);
            }
            known.enter(links);
            return Ok(());
        }
        if let Some(known) = self.others.get_mut(&number) {
            if known.shared != shared {
                return Err(shared);
            }
            known.lookups += 1;
            known.links = links;
            return Ok(());
        }
        let packed = match &shared {
            Shared::File(file) => PackedFile::pack(file, links, permits),
            Shared::Link(_) | Shared::Place(_) => None,
        };
        if packed.is_none_or(|packed| self.files.insert(number, packed).is_err()) {
            self.others.insert(number, Counted { shared, lookups: 1, links, verified: false });
        }
        Ok(())
    }

    fn get(&self, number: u64, permits: &Permits) -> Option<Shared> {
        let of_file = self.files.get(number).map(|file| Shared::File(file.file(permits)));
        of_file.or_else(|| Some(self.others.get(&number)?.shared.clone()))
    }

    fn forget(&mut self, number: u64, lookups: u64) {
        if let Some(file) = self.files.get_mut(number) {
            if file.forget(lookups) {
                self.files.remove(number);
            }
        } else if let Some(counted) = self.others.get_mut(&number) {
            counted.lookups = counted.lookups.saturating_sub(lookups);
            if counted.lookups == 0 {
                self.others.remove(&number);
                shrink(&mut self.others);
            }
        }
    }

    fn len(&self) -> usize {
        self.files.len() + self.others.len()
    }
}

/// Gives room back that most of a map's entries have left.
fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > ROOM_MIN && map.len() < map.capacity() / 8 {
        map.shrink_to(map.len() * 2);
    }
}

/// Whatever a thread that panicked was doing, every single change here is whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERMIT: Permit = Permit { mode: 0o644, uid: 0, gid: 0 };

    fn file(content: u8) -> Shared {
        let blob = BlobId::of(&[content]);
        Shared::File(File { blob, size_bytes: 1, mtime: 0, permit: PERMIT, is_ghost: false })
    }

    #[test]
    fn two_things_with_one_number_are_told_apart() {
        let inodes = Inodes::default();
        let number = LOWEST + 77;
        let a = inodes.enter_shared(number, file(1));
        let b = inodes.enter_shared(number, file(2));
        assert_eq!((a, b), (Inode(number), Inode(number + 1)));
        assert_eq!(inodes.enter_shared(number, file(2)), b);
        for (inode, content) in [(a, 1), (b, 2)] {
            assert!(matches!(inodes.get(inode), Some(Known::Shared(shared)) if shared == file(content)));
        }
        inodes.forget(a, 1);
        inodes.forget(b, 1);
        assert!(inodes.get(a).is_none() && inodes.get(b).is_some());
        inodes.forget(b, 1);
        assert_eq!(inodes.len(), 0);
    }

    #[test]
    fn a_directory_is_another_by_another_way() {
        let inodes = Inodes::default();
        let dir = |snapshot| BoundDir {
            binding: Arc::new(Binding {
                snapshot,
                access: None,
                generation: None,
                links: None,
                is_ghost: false,
            }),
            path: "x".into(),
            id: NodeId::of(b"x"),
            mtime: 0,
            permit: PERMIT,
            number: LOWEST,
            parent_number: LOWEST,
        };
        let (one, two) = (SnapshotId::of(b"1"), SnapshotId::of(b"2"));
        let way = |parent, snapshot| Way::Dated(Inode(parent), Name::new("x").unwrap(), snapshot);
        let enter = |parent, snapshot| inodes.enter_dir(way(parent, snapshot), || dir(snapshot)).0;
        let first = enter(5, one);
        assert_eq!(enter(5, one), first);
        assert_ne!(enter(5, two), first);
        assert_ne!(enter(6, one), first);
        assert!(inodes.holds_dir(&way(5, one)) && !inodes.holds_dir(&way(6, two)));
        inodes.forget(first, 2);
        assert!(inodes.get(first).is_none());
        assert_ne!(enter(5, one), first, "a number is used once");
    }
}
