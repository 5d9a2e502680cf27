//! Which files of the store the kernel reads itself.
//!
//! The kernel takes a file of the store as the backing of an open file of the mount and gives it a number.
//! From then on reads go there without a question, into the page cache that the store's file has anyway.
//!
//! Always true: a blob has one backing at most, and as long as an inode is open through it, it stays; an inode
//! is open either through its backing or through questions, never both at once, since the kernel refuses to
//! mix them. Backings that nobody has open are bounded in number.

use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use rustix::io::Errno;

use super::kernel;
use crate::digest::BlobId;
use crate::view::Inode;

/// Backings that nobody has open; each pins a file of the store in the kernel.
const IDLE_MAX: usize = 4096;
/// Parts with a lock of their own.
const SHARDS: u64 = 16;
/// Marks handles of files that are read through their backing; the view counts its own from 1.
const MARK: u64 = 1 << 63;

/// Open through a backing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Backed {
    pub(super) handle: u64,
    /// The kernel's number of the backing.
    pub(super) backing: i32,
}

/// How a file was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Reads go to its backing.
    Backed(Backed),
    /// Reads are questions: there are others already, or (with a reason) no backing can be had.
    Asked(Option<Errno>),
}

/// Takes files and gives numbers: the kernel, or a stand-in.
pub(super) trait Registry: Send + Sync {
    fn open(&self, file: BorrowedFd<'_>) -> Result<i32, Errno>;
    fn close(&self, backing: i32);
}

/// The kernel, through the connection of a mount.
#[derive(Debug)]
pub(super) struct Kernel(pub(super) Arc<OwnedFd>);

impl Registry for Kernel {
    fn open(&self, file: BorrowedFd<'_>) -> Result<i32, Errno> {
        kernel::open_backing(&self.0, file)
    }

    fn close(&self, backing: i32) {
        // It can only fail when the mount is gone, and the backing with it.
        let _ = kernel::close_backing(&self.0, backing);
    }
}

/// The backings of a mount.
#[derive(Debug)]
pub(super) struct Backings<K = Kernel> {
    registry: K,
    shards: Vec<Mutex<Shard>>,
    idle_max: usize,
    opens: AtomicU64,
}

#[derive(Debug)]
struct Shard {
    slots: HashMap<BlobId, Slot>,
    /// What is open through its backing, by handle.
    open: HashMap<u64, BlobId>,
    last_handle: u64,
    /// Backings that nobody has open.
    idle: LruCache<BlobId, ()>,
    /// Inodes that are open by questions, and how often.
    asked: HashMap<Inode, usize>,
}

#[derive(Debug)]
struct Slot {
    backing: i32,
    opens: usize,
}

impl<K: Registry> Backings<K> {
    pub(super) fn new(registry: K) -> Self {
        Self::with_idle(registry, IDLE_MAX)
    }

    fn with_idle(registry: K, idle_max: usize) -> Self {
        let shard = |number| Shard {
            slots: HashMap::new(),
            open: HashMap::new(),
            last_handle: MARK | number,
            idle: LruCache::unbounded(),
            asked: HashMap::new(),
        };
        let shards = (0..SHARDS).map(|number| Mutex::new(shard(number))).collect();
        Self { registry, shards, idle_max: idle_max.div_ceil(16), opens: AtomicU64::new(0) }
    }

    /// Opens `inode` through the backing that its blob has already, if it has one.
    pub(super) fn open_again(&self, inode: Inode, blob: BlobId) -> Option<Backed> {
        let mut shard = self.shard(blob);
        if shard.asked.contains_key(&inode) {
            return None;
        }
        self.enter(&mut shard, blob)
    }

    /// Opens `inode`, whose blob was just opened as `file` and, with `is_fresh`, hashed.
    pub(super) fn open(&self, inode: Inode, blob: BlobId, file: BorrowedFd<'_>, is_fresh: bool) -> Way {
        let mut shard = self.shard(blob);
        if let Some(asked) = shard.asked.get_mut(&inode) {
            *asked += 1;
            return Way::Asked(None);
        }
        if is_fresh && shard.idle.pop(&blob).is_some() {
            // It may be a file that was replaced since, and this one is known to be good.
            self.give_back(&mut shard, blob);
        }
        if let Some(backed) = self.enter(&mut shard, blob) {
            return Way::Backed(backed);
        }
        match self.registry.open(file) {
            Ok(backing) => {
                shard.slots.insert(blob, Slot { backing, opens: 0 });
                self.enter(&mut shard, blob).map_or(Way::Asked(None), Way::Backed)
            }
            Err(errno) => {
                shard.asked.insert(inode, 1);
                Way::Asked(Some(errno))
            }
        }
    }

    /// Opens `inode` for somebody who will hardly read it: through the backing that its blob has already, or else by
    /// questions.
    pub(super) fn open_unread(&self, inode: Inode, blob: BlobId) -> Way {
        let mut shard = self.shard(blob);
        if !shard.asked.contains_key(&inode)
            && let Some(backed) = self.enter(&mut shard, blob)
        {
            return Way::Backed(backed);
        }
        *shard.asked.entry(inode).or_insert(0) += 1;
        Way::Asked(None)
    }

    /// Whether a handle is one of a file that is open through its backing.
    pub(super) fn is_backed(handle: u64) -> bool {
        handle & MARK != 0
    }

    /// Ends a file that is open through its backing.
    pub(super) fn close_backed(&self, handle: u64) {
        let mut shard = lock(&self.shards[at(handle)]);
        let Some(blob) = shard.open.remove(&handle) else { return };
        let Some(slot) = shard.slots.get_mut(&blob) else { return };
        slot.opens -= 1;
        if slot.opens == 0 {
            shard.idle.put(blob, ());
        }
        while shard.idle.len() > self.idle_max {
            let Some((oldest, ())) = shard.idle.pop_lru() else { break };
            self.give_back(&mut shard, oldest);
        }
    }

    /// Ends a file that is open by questions.
    pub(super) fn close_asked(&self, inode: Inode, blob: BlobId) {
        let mut shard = self.shard(blob);
        if let Some(asked) = shard.asked.get_mut(&inode) {
            *asked -= 1;
            if *asked == 0 {
                shard.asked.remove(&inode);
            }
        }
    }

    /// How many backings the kernel holds.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).slots.len()).sum()
    }

    /// How many files were opened through a backing.
    pub(super) fn opens(&self) -> u64 {
        self.opens.load(Ordering::Relaxed)
    }

    fn enter(&self, shard: &mut Shard, blob: BlobId) -> Option<Backed> {
        let slot = shard.slots.get_mut(&blob)?;
        if slot.opens == 0 {
            shard.idle.pop(&blob);
        }
        slot.opens += 1;
        // Every shard has the numbers that lead back to it.
        shard.last_handle += SHARDS;
        shard.open.insert(shard.last_handle, blob);
        self.opens.fetch_add(1, Ordering::Relaxed);
        Some(Backed { handle: shard.last_handle, backing: slot.backing })
    }

    fn give_back(&self, shard: &mut Shard, blob: BlobId) {
        if let Some(slot) = shard.slots.remove(&blob) {
            self.registry.close(slot.backing);
        }
    }

    fn shard(&self, blob: BlobId) -> MutexGuard<'_, Shard> {
        lock(&self.shards[at(u64::from(blob.as_bytes()[0]))])
    }
}

/// The shard of a handle, or of any number.
fn at(number: u64) -> usize {
    usize::from(number.to_le_bytes()[0]) % 16
}

/// A thread that panicked left every single change whole.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::sync::atomic::AtomicBool;

    use proptest::prelude::*;

    use super::*;

    /// Gives numbers in order, and remembers which are taken.
    #[derive(Debug, Default)]
    struct Desk {
        taken: Mutex<(i32, HashSet<i32>)>,
        refuses: AtomicBool,
    }

    impl Registry for Arc<Desk> {
        fn open(&self, _file: BorrowedFd<'_>) -> Result<i32, Errno> {
            if self.refuses.load(Ordering::Relaxed) {
                return Err(Errno::NFILE);
            }
            let mut taken = self.taken.lock().unwrap();
            taken.0 += 1;
            let number = taken.0;
            taken.1.insert(number);
            Ok(number)
        }

        fn close(&self, backing: i32) {
            assert!(self.taken.lock().unwrap().1.remove(&backing), "{backing} is closed once");
        }
    }

    /// Two inodes for each blob.
    fn blob_of(inode: u64) -> BlobId {
        BlobId::of(&(inode / 2).to_ne_bytes())
    }

    proptest! {
        /// What the kernel demands, for any order of opens and closes while it refuses now and then.
        #[test]
        fn an_inode_is_open_one_way_and_by_one_number(
            steps in prop::collection::vec((0_u8..9, 0_u64..12, 0_usize..64), 1..200)
        ) {
            let desk = Arc::new(Desk::default());
            let backings = Backings::with_idle(Arc::clone(&desk), 16);
            let file = File::open("/dev/null").unwrap();
            let mut open: Vec<(u64, Way)> = Vec::new();
            for (kind, inode, which) in steps {
                let (node, blob) = (Inode(inode), blob_of(inode));
                match kind {
                    0..=2 => open.push((inode, backings.open(node, blob, file.as_fd(), kind == 0))),
                    3..=4 => open.extend(backings.open_again(node, blob).map(|way| (inode, Way::Backed(way)))),
                    5 => open.push((inode, backings.open_unread(node, blob))),
                    6 => desk.refuses.store(which % 2 == 0, Ordering::Relaxed),
                    _ if open.is_empty() => {}
                    _ => match open.swap_remove(which % open.len()) {
                        (_, Way::Backed(way)) => {
                            prop_assert!(Backings::<Arc<Desk>>::is_backed(way.handle));
                            backings.close_backed(way.handle);
                        }
                        (inode, Way::Asked(_)) => backings.close_asked(Inode(inode), blob_of(inode)),
                    },
                }
                let taken = desk.taken.lock().unwrap().1.clone();
                prop_assert_eq!(taken.len(), backings.len());
                let mut handles = HashSet::new();
                for (inode, way) in &open {
                    for (other, other_way) in &open {
                        let mixed = matches!((way, other_way), (Way::Backed(_), Way::Asked(_)));
                        prop_assert!(inode != other || !mixed, "inode {} is open both ways", inode);
                        if let (Way::Backed(a), Way::Backed(b)) = (way, other_way) {
                            prop_assert_eq!(blob_of(*inode) == blob_of(*other), a.backing == b.backing);
                        }
                    }
                    if let Way::Backed(way) = way {
                        prop_assert!(taken.contains(&way.backing), "an open backing was given back");
                        prop_assert!(handles.insert(way.handle), "a handle is given once");
                    }
                }
            }
        }
    }

    #[test]
    fn backings_that_nobody_uses_are_bounded() {
        let desk = Arc::new(Desk::default());
        let backings = Backings::with_idle(Arc::clone(&desk), 32);
        let file = File::open("/dev/null").unwrap();
        for inode in 0..2000 {
            let Way::Backed(way) = backings.open(Inode(inode), blob_of(inode), file.as_fd(), false) else {
                panic!("{inode} has a backing");
            };
            backings.close_backed(way.handle);
        }
        assert!(backings.len() <= 32, "{}", backings.len());
        assert_eq!(backings.opens(), 2000);
    }
}
