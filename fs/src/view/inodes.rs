//! What the kernel knows, by the numbers it knows it by.
//!
//! A directory of a snapshot is known by a number of its own for every place it was reached from, since the
//! kernel lets a directory have one name only: `views/staging/x` and `snapshots/<id>/x` are two, and so are
//! `views/staging/x` before and after a promotion. Files, symlinks and places have no such limit and are
//! known by the number that programs see, so an unchanged file keeps its cached pages over a promotion.
//!
//! Always true: an inode stays as long as the kernel holds it, that is until as many lookups were taken back
//! as were counted; and nothing else is kept here, so memory follows what the kernel holds.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::access::{Access, Permit};
use super::identity::LOWEST;
use super::places::Place;
use crate::digest::{BlobId, SnapshotId};
use crate::name::Name;
use crate::tree::Dir;

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

/// A directory of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BoundDir {
    pub(super) snapshot: SnapshotId,
    /// Inside the snapshot.
    pub(super) path: Box<str>,
    pub(super) dir: Dir,
    pub(super) mtime: i64,
    pub(super) permit: Permit,
    /// Rules of the snapshot.
    pub(super) access: Option<Arc<Access>>,
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
}

/// A symlink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) target: Box<str>,
    pub(super) mtime: i64,
    pub(super) permit: Permit,
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

/// How a directory of a snapshot was reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Way {
    pub(super) parent: Inode,
    pub(super) snapshot: SnapshotId,
    pub(super) name: Name,
}

const SHARDS: usize = 16;

/// Everything the kernel holds, except the top.
#[derive(Debug, Default)]
pub(super) struct Inodes {
    shared: [Mutex<HashMap<u64, Counted>>; SHARDS],
    dirs: Mutex<Dirs>,
}

#[derive(Debug)]
struct Counted {
    shared: Shared,
    lookups: u64,
    /// Of a file: its blob was found whole since the kernel got to know it.
    verified: bool,
}

#[derive(Debug, Default)]
struct Dirs {
    by_way: HashMap<Way, u64>,
    by_number: HashMap<u64, CountedDir>,
    last: u64,
}

#[derive(Debug)]
struct CountedDir {
    dir: Arc<BoundDir>,
    way: Way,
    lookups: u64,
}

impl Inodes {
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
        let dir = Arc::new(make());
        dirs.by_way.insert(way.clone(), number);
        dirs.by_number.insert(number, CountedDir { dir: Arc::clone(&dir), way, lookups: 1 });
        (Inode(number), dir)
    }

    /// Counts a lookup of something whose number ought to be `number`, and returns the inode that it has:
    /// the next free one when another thing has the number.
    pub(super) fn enter_shared(&self, number: u64, shared: Shared) -> Inode {
        let mut number = number;
        loop {
            let mut known = self.shard(number);
            match known.get_mut(&number) {
                None => {
                    known.insert(number, Counted { shared, lookups: 1, verified: false });
                    return Inode(number);
                }
                Some(counted) if counted.shared == shared => {
                    counted.lookups += 1;
                    return Inode(number);
                }
                Some(_) => number = (number + 1).max(LOWEST),
            }
        }
    }

    pub(super) fn get(&self, inode: Inode) -> Option<Known> {
        if inode.0 < LOWEST {
            let dirs = lock(&self.dirs);
            dirs.by_number.get(&inode.0).map(|counted| Known::Dir(Arc::clone(&counted.dir)))
        } else {
            self.shard(inode.0).get(&inode.0).map(|counted| Known::Shared(counted.shared.clone()))
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
            }
        } else {
            let mut known = self.shard(inode.0);
            let Some(counted) = known.get_mut(&inode.0) else { return };
            counted.lookups = counted.lookups.saturating_sub(lookups);
            if counted.lookups == 0 {
                known.remove(&inode.0);
            }
        }
    }

    /// Whether the file's blob was found whole since the kernel got to know the file.
    pub(super) fn is_verified(&self, inode: Inode) -> bool {
        self.shard(inode.0).get(&inode.0).is_some_and(|counted| counted.verified)
    }

    /// The file's blob, if it was found whole since the kernel got to know the file.
    pub(super) fn verified_blob(&self, inode: Inode) -> Option<BlobId> {
        match self.shard(inode.0).get(&inode.0) {
            Some(Counted { shared: Shared::File(file), verified: true, .. }) => Some(file.blob),
            _ => None,
        }
    }

    pub(super) fn set_verified(&self, inode: Inode) {
        if let Some(counted) = self.shard(inode.0).get_mut(&inode.0) {
            counted.verified = true;
        }
    }

    /// How many inodes the kernel holds.
    pub(super) fn len(&self) -> usize {
        let shared: usize = self.shared.iter().map(|shard| lock(shard).len()).sum();
        shared + lock(&self.dirs).by_number.len()
    }

    fn shard(&self, number: u64) -> MutexGuard<'_, HashMap<u64, Counted>> {
        // Any bits are as good as random.
        lock(&self.shared[usize::from(number.to_le_bytes()[0]) % SHARDS])
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
        Shared::File(File { blob, size_bytes: 1, mtime: 0, permit: PERMIT })
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
            snapshot,
            path: "x".into(),
            dir: Dir { id: crate::digest::NodeId::of(b"x"), sums: crate::tree::Sums::default() },
            mtime: 0,
            permit: PERMIT,
            access: None,
            number: LOWEST,
            parent_number: LOWEST,
        };
        let way = |parent, snapshot| Way { parent, snapshot, name: Name::new("x").unwrap() };
        let (one, two) = (SnapshotId::of(b"1"), SnapshotId::of(b"2"));
        let enter = |parent, snapshot| inodes.enter_dir(way(Inode(parent), snapshot), || dir(snapshot)).0;
        let first = enter(5, one);
        assert_eq!(enter(5, one), first);
        assert_ne!(enter(5, two), first);
        assert_ne!(enter(6, one), first);
        inodes.forget(first, 2);
        assert!(inodes.get(first).is_none());
        assert_ne!(enter(5, one), first, "a number is used once");
    }
}
