//! A read-only file system over refs and snapshots, without a kernel.
//!
//! [`View`] answers what a kernel asks: lookups, attributes, directories, bytes. [`crate::fuse`] carries the
//! questions to it; tests ask them directly. What it shows is described by `docs/semantics.md`.
//!
//! Always true: everything below a snapshot's root belongs to that snapshot, so whoever is inside goes on
//! there whatever refs do; a ref is shown as one generation until [`View::catch_up`] shows the next; bytes that
//! are not what the tree says are never given out.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use crate::digest::{BlobId, SnapshotId};
use crate::name::{NAME_MAX_BYTES, Name, TreePath};
use crate::store::{Store, StoreError};
use crate::tree::{self, Item, Kind, NodeError, Nodes};

pub mod access;
mod content;
mod flips;
pub mod ghosts;
mod handles;
mod identity;
mod inodes;
mod links;
mod listing;
mod places;
pub mod roots;
mod shown;
pub(crate) mod stamp;
mod unopened;

use content::OpenFile;
pub use content::{Content, VERIFY_BYTES};
pub use flips::Stale;
pub use inodes::Inode;
pub use listing::Listed;

use access::{Permit, Rule};
use ghosts::{At, Grace};
use handles::Handles;
use inodes::{Binding, BoundDir, File, Inodes, Known, Link, Shared, Way};
use links::Tallies;
use listing::OpenDir;
use places::{Child, Generation, Place};
use roots::{Root, Roots, RootsError, Target};
use shown::Shown;
use unopened::Contents;

/// The extended attribute of a directory that names its snapshot.
pub const SNAPSHOT_LABEL: &str = "user.cfs.snapshot";
/// How long a snapshot's own name holds: snapshots never change, but old ones may be removed.
const SNAPSHOT_HOLDS: Holds = Holds::For(Duration::from_mins(1));

/// Why a question has no good answer. "No such name" is an answer and not among these.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The number was never given out, or was taken back.
    #[error("inode {0} is unknown")]
    UnknownInode(Inode),
    /// The handle is not open.
    #[error("handle {0} is not open")]
    UnknownHandle(u64),
    /// A question for directories about something else.
    #[error("inode {0} is not a directory")]
    NotADirectory(Inode),
    /// A question for files about a directory.
    #[error("inode {0} is a directory")]
    IsADirectory(Inode),
    /// A question for symlinks about something else.
    #[error("inode {0} is not a symlink")]
    NotASymlink(Inode),
    /// No name is that long.
    #[error("a name of {bytes} bytes is too long")]
    NameTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The ref that is shown at the top of the mount does not exist.
    #[error("ref {name} does not exist")]
    NoSuchRef {
        /// The ref.
        name: TreePath,
    },
    /// A snapshot that a ref names is not in the catalogue.
    #[error("snapshot {id} is missing")]
    NoSuchSnapshot {
        /// The snapshot.
        id: SnapshotId,
    },
    /// A node of a directory cannot be had.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A blob cannot be had, or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A blob has another size than the tree says.
    #[error("blob {blob} is damaged: it has {found_bytes} bytes instead of {expected_bytes}")]
    WrongSize {
        /// The blob.
        blob: BlobId,
        /// Its size according to the tree.
        expected_bytes: u64,
        /// The size of its file.
        found_bytes: u64,
    },
    /// A blob that was opened cannot be read any more.
    #[error("blob {blob} cannot be read at byte {offset}")]
    Read {
        /// The blob.
        blob: BlobId,
        /// Where.
        offset: u64,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The keeper of refs and snapshots failed.
    #[error("{what}: the catalogue cannot be read")]
    Roots {
        /// The ref or snapshot asked for.
        what: String,
        /// The failure there.
        source: RootsError,
    },
}

impl ViewError {
    fn roots(what: impl fmt::Display, source: RootsError) -> Self {
        Self::Roots { what: what.to_string(), source }
    }
}

/// How long an answer may be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// It has to be asked for anew.
    Now,
    /// It holds that long and has to be asked for then.
    For(Duration),
    /// It never changes.
    Forever,
}

/// What kind of thing an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileKind {
    /// A regular file.
    #[default]
    File,
    /// A directory.
    Dir,
    /// A symlink.
    Symlink,
}

/// What `stat` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// The inode number that programs see.
    pub number: u64,
    /// What kind of thing it is.
    pub kind: FileKind,
    /// How many names it has; of a directory always 1, which means "not counted".
    pub links: u32,
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length of the content; 0 for a directory.
    pub size_bytes: u64,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
}

impl Attributes {
    /// Blocks of 512 bytes: the content's length, rounded up.
    pub fn blocks(&self) -> u64 {
        if self.kind == FileKind::File { self.size_bytes.div_ceil(512) } else { 0 }
    }
}

/// Something found by its name. It counts as one lookup, until [`View::forget`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// What the kernel is to call it by.
    pub inode: Inode,
    /// Its attributes; they never change.
    pub attributes: Attributes,
    /// How long the name stands for it.
    pub holds: Holds,
}

/// The answer to a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The name stands for this.
    Found(Found),
    /// There is no such name.
    Absent(Holds),
}

/// What the whole shows and to whom it belongs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Owner of everything.
    pub uid: u32,
    /// Group of everything.
    pub gid: u32,
    /// The one ref to show, or everything.
    pub only: Option<TreePath>,
    /// Equal files at different paths are different files, too, with numbers of their own. An overlay above
    /// needs it: it takes what has one inode for one file, and a change of one would show in all.
    pub no_hardlinks: bool,
    /// How long names that a flip removed are found.
    pub grace: Grace,
    /// Tells the seconds since 1970.
    pub clock: fn() -> i64,
}

impl Default for Options {
    /// Everything, root's, without ghosts.
    fn default() -> Self {
        Self { uid: 0, gid: 0, only: None, no_hardlinks: false, grace: Grace::NONE, clock: || 0 }
    }
}

/// Space of the file system that holds the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Unit of the block counts, in bytes.
    pub block_bytes: u64,
    /// All blocks.
    pub blocks: u64,
    /// Free blocks.
    pub free_blocks: u64,
    /// Free blocks that are not reserved.
    pub available_blocks: u64,
    /// All inodes.
    pub inodes: u64,
    /// Free inodes.
    pub free_inodes: u64,
}

/// A file system over `R`'s refs and snapshots, `N`'s nodes and a store's blobs. Any number of threads may
/// ask at once.
pub struct View<R, N> {
    roots: Shown<R>,
    nodes: N,
    store: Store,
    options: Options,
    top: Place,
    /// What the top shows, where it follows one ref.
    top_shown: RwLock<Option<Generation>>,
    top_kept: Mutex<Option<Arc<BoundDir>>>,
    /// Of those who catch up.
    turn: Mutex<()>,
    inodes: Inodes,
    tallies: Tallies,
    files: Handles<OpenFile>,
    dirs: Handles<OpenDir>,
    contents: Contents,
}

impl<R, N> fmt::Debug for View<R, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("store", &self.store).field("top", &self.top).finish_non_exhaustive()
    }
}

impl<R: Roots, N: Nodes> View<R, N> {
    /// A view of what `roots` names.
    pub fn new(roots: R, nodes: N, store: Store, options: Options) -> Self {
        Self {
            roots: Shown::new(roots),
            nodes,
            store,
            top: options.only.clone().map_or(Place::Top, Place::Followed),
            options,
            top_shown: RwLock::default(),
            top_kept: Mutex::default(),
            turn: Mutex::default(),
            inodes: Inodes::default(),
            tallies: Tallies::default(),
            files: Handles::default(),
            dirs: Handles::default(),
            contents: Contents::default(),
        }
    }

    /// Returns the snapshots that somebody is inside of, with the keeper of roots, who is asked anew from now on
    /// about those that nobody is.
    pub fn snapshots_in_use(&self) -> (HashSet<SnapshotId>, &R) {
        let keeper = self.roots.forget();
        let mut snapshots = self.inodes.snapshots();
        snapshots.extend(self.roots.snapshots_shown());
        snapshots.extend(inodes::lock(&self.top_kept).as_ref().map(|dir| dir.binding.snapshot));
        let shown = self.top_shown.read().unwrap_or_else(PoisonError::into_inner);
        snapshots.extend(shown.as_ref().map(|shown| shown.id));
        (snapshots, keeper)
    }

    /// What stands at `name` of a directory.
    pub fn lookup(&self, parent: Inode, name: &[u8]) -> Result<Answer, ViewError> {
        if name.len() > NAME_MAX_BYTES {
            return Err(ViewError::NameTooLong { bytes: name.len() });
        }
        // A name that cannot be in a tree is in none.
        let Ok(name) = Name::new(name) else { return Ok(Answer::Absent(Holds::Now)) };
        loop {
            let dir = self.directory(parent)?;
            let found = match &dir {
                Directory::Place(place) => self.lookup_place(parent, place, &name)?,
                Directory::Bound(dir, is_top) => self.lookup_bound(parent, dir, *is_top, &name)?,
            };
            // What was found is counted now, so either a flip that comes now finds that the kernel holds it,
            // or it is seen here that one has come before.
            match found {
                Answer::Found(found) if !self.is_shown(&dir, &found)? => self.forget(found.inode, 1),
                answer => return Ok(answer),
            }
        }
    }

    fn lookup_place(&self, parent: Inode, place: &Place, name: &Name) -> Result<Answer, ViewError> {
        let Some(child) = places::child(&self.roots, place, name)? else {
            return Ok(Answer::Absent(if place.is_fixed() { Holds::Forever } else { Holds::Now }));
        };
        // The mount's top keeps what it shows for itself.
        if let (Place::Former, Child::Root(id)) = (place, &child)
            && self.shown_top()?.is_some_and(|shown| shown.id == *id)
        {
            return Ok(Answer::Absent(Holds::Now));
        }
        let holds = match (place, &child) {
            (Place::Top | Place::Former, _) | (_, Child::Generation(_)) => Holds::Forever,
            (Place::Snapshots, _) => SNAPSHOT_HOLDS,
            _ => Holds::Now,
        };
        Ok(Answer::Found(self.found_child(parent, name.clone(), child, holds)?))
    }

    fn lookup_bound(
        &self,
        parent: Inode,
        dir: &BoundDir,
        is_top: bool,
        name: &Name,
    ) -> Result<Answer, ViewError> {
        let item = tree::lookup(&self.nodes, dir.id, name.as_str())?;
        if let Some(item) = item {
            // The top's directories are taken from the kernel by a flip, its files and symlinks are not.
            let holds =
                if is_top && !matches!(item.kind, Kind::Dir(_)) { Holds::Now } else { Holds::Forever };
            return Ok(Answer::Found(self.found_item(parent, dir, name.clone(), &item, holds)));
        }
        if let Some(place) = self.former(parent, name) {
            let place = Child::Place(Place::clone(&place));
            return Ok(Answer::Found(self.found_child(parent, name.clone(), place, Holds::Forever)?));
        }
        if let Some(mut found) = self.ghost(parent, dir, name)? {
            if is_top {
                found.holds = Holds::Now;
            }
            return Ok(Answer::Found(found));
        }
        // Ghosts of a generation only grow fewer.
        Ok(Answer::Absent(if is_top { Holds::Now } else { Holds::Forever }))
    }

    /// What earlier generations had at `name` of `dir`.
    fn ghost(&self, parent: Inode, dir: &BoundDir, name: &Name) -> Result<Option<Found>, ViewError> {
        let Some((of, generation)) = &dir.binding.generation else { return Ok(None) };
        if self.options.grace == Grace::NONE {
            return Ok(None);
        }
        let Ok(path) = TreePath::new(below(&dir.path, name.as_str())) else { return Ok(None) };
        let at = At { name: of, generation: *generation, id: dir.binding.snapshot };
        let now = (self.options.clock)();
        let found = ghosts::find(&self.roots, &self.nodes, &at, &path, now, self.options.grace)?;
        let Some(ghosts::Resolved { item, generation, snapshot, until: Some(until) }) = found else {
            return Ok(None);
        };
        let root = self.roots.snapshot(snapshot).map_err(|source| ViewError::roots(snapshot, source))?;
        let access = root.and_then(|root| root.access);
        let generation = Some((of.clone(), generation));
        let binding = Arc::new(Binding { snapshot, access, generation, links: None, is_ghost: true });
        let dir = BoundDir { binding, ..dir.clone() };
        let left = u64::try_from(until.saturating_sub(now)).unwrap_or(0);
        let holds = Holds::For(Duration::from_secs(left));
        Ok(Some(self.found_item(parent, &dir, name.clone(), &item, holds)))
    }

    /// Whether `found` in `dir` is still what is shown there.
    fn is_shown(&self, dir: &Directory, found: &Found) -> Result<bool, ViewError> {
        match dir {
            Directory::Place(place) if matches!(**place, Place::Refs { .. }) => {
                let Some(Known::Dir(root)) = self.inodes.get(found.inode) else { return Ok(true) };
                let Some((name, number)) = &root.binding.generation else { return Ok(true) };
                let now = self.roots.find(name).map_err(|source| ViewError::roots(name, source))?;
                Ok(matches!(now, Some(Target::Snapshot { generation, .. }) if generation == *number))
            }
            Directory::Bound(dir, true) => {
                Ok(self.shown_top()?.is_some_and(|shown| shown.id == dir.binding.snapshot))
            }
            Directory::Place(_) | Directory::Bound(_, false) => Ok(true),
        }
    }

    /// Waits, at most so long, until a snapshot is entered whose files are not counted, and counts them. Returns
    /// the inodes that the kernel holds with another number of links, or `None` when there was nothing to do.
    pub fn count_links(&self, patience: Duration) -> Result<Option<Vec<Inode>>, ViewError> {
        let Some((id, slot)) = self.tallies.next(patience) else { return Ok(None) };
        let root = self.roots.snapshot(id).map_err(|source| ViewError::roots(id, source))?;
        let root = root.ok_or(ViewError::NoSuchSnapshot { id })?;
        let mut changed = Vec::new();
        self.tallies.count(&self.nodes, root, &slot, &mut |number, links| {
            if self.inodes.set_links(Inode(number), links) {
                changed.push(Inode(number));
            }
        })?;
        Ok(Some(changed))
    }

    /// Takes back `lookups` lookups of an inode.
    pub fn forget(&self, inode: Inode, lookups: u64) {
        self.inodes.forget(inode, lookups);
    }

    /// How many inodes are held by lookups.
    pub fn held_inodes(&self) -> usize {
        self.inodes.len()
    }

    /// Keeps of directories what memory is left beside the inodes that are held: what the kernel holds it does not
    /// ask for.
    pub fn make_room(&self) {
        self.nodes.make_room(self.inodes.len().saturating_mul(inodes::HELD_BYTES));
    }

    /// The attributes of an inode, and how long they hold.
    pub fn attributes(&self, inode: Inode) -> Result<(Attributes, Holds), ViewError> {
        if inode == Inode::TOP {
            let attributes = match self.directory(inode)? {
                Directory::Place(place) => self.place_attributes(&place),
                Directory::Bound(dir, _) => dir_attributes(&dir),
            };
            let holds = if self.top.is_fixed() { Holds::Forever } else { Holds::Now };
            return Ok((attributes, holds));
        }
        let attributes = match self.known(inode)? {
            Known::Dir(dir) => dir_attributes(&dir),
            Known::Shared(Shared::Place(place)) => self.place_attributes(&place),
            Known::Shared(Shared::File(file)) => file_attributes(inode, &file, self.inodes.links(inode)),
            Known::Shared(Shared::Link(link)) => link_attributes(inode, &link),
        };
        Ok((attributes, Holds::Forever))
    }

    /// Where a symlink points.
    pub fn read_link(&self, inode: Inode) -> Result<Box<str>, ViewError> {
        match self.known(inode)? {
            Known::Shared(Shared::Link(link)) => Ok(link.target.clone()),
            _ => Err(ViewError::NotASymlink(inode)),
        }
    }

    /// Opens the content of a file, hashed where that is promised.
    pub fn content(&self, inode: Inode) -> Result<Content, ViewError> {
        let Known::Shared(Shared::File(file)) = self.known(inode)? else {
            return Err(ViewError::IsADirectory(inode));
        };
        let is_verified = self.inodes.is_verified(inode);
        let content = Content::open(&self.store, &file, is_verified)?;
        if !is_verified {
            self.inodes.set_verified(inode);
        }
        Ok(content)
    }

    /// The blob of a file.
    pub fn blob(&self, inode: Inode) -> Result<BlobId, ViewError> {
        match self.known(inode)? {
            Known::Shared(Shared::File(file)) => Ok(file.blob),
            _ => Err(ViewError::IsADirectory(inode)),
        }
    }

    /// The blob of a file whose content was opened and found whole since the kernel got to know it.
    pub fn verified_blob(&self, inode: Inode) -> Option<BlobId> {
        self.inodes.verified_blob(inode)
    }

    /// Keeps a content for questions; the handle is good until [`View::close_file`].
    pub fn keep_open(&self, content: Content) -> u64 {
        self.files.add(OpenFile::Ready(content))
    }

    /// Opens a file, whose blob this is, for somebody who will hardly read it: its content is opened, and hashed, when
    /// that happens. The handle is good until [`View::close_file`].
    pub fn open_unread(&self, inode: Inode, blob: BlobId) -> u64 {
        self.files.add(OpenFile::Unread { inode, blob, content: OnceLock::new() })
    }

    /// Where the blobs come from.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Fills `buffer` from `offset` of an open file on; returns how many bytes there were.
    pub fn read(&self, handle: u64, offset: u64, buffer: &mut [u8]) -> Result<usize, ViewError> {
        let file = self.files.get(handle).ok_or(ViewError::UnknownHandle(handle))?;
        file.content(|inode| self.content(inode))?.read(offset, buffer)
    }

    /// Ends an open file and tells whose content it was.
    pub fn close_file(&self, handle: u64) -> Option<BlobId> {
        self.files.remove(handle).map(|file| file.blob())
    }

    /// Opens a directory as it is now. Returns the handle, good until [`View::close_dir`], and how long the
    /// listing holds for others who open it.
    pub fn open_dir(&self, inode: Inode) -> Result<(u64, Holds), ViewError> {
        let directory = self.directory(inode)?;
        let holds = directory.holds();
        let open = match directory {
            Directory::Place(place) => self.list_place(&place)?,
            // Ghosts are not listed, and neither is what is in them.
            Directory::Bound(dir, _) if dir.binding.is_ghost => OpenDir::dots(dir.number, dir.parent_number),
            Directory::Bound(dir, _) => OpenDir::Bound { inode, dir, holds, leaves: OnceLock::new() },
        };
        Ok((self.dirs.add(open), holds))
    }

    /// Ends an open directory.
    pub fn close_dir(&self, handle: u64) {
        drop(self.dirs.remove(handle));
    }

    /// The extended attributes of an inode, by name.
    pub fn labels(&self, inode: Inode) -> Result<Vec<(String, String)>, ViewError> {
        let label = |name: &str, value: String| (format!("user.cfs.{name}"), value);
        let ghost = |is_ghost: bool| is_ghost.then(|| label("ghost", "1".to_owned()));
        let of_dir = |dir: &BoundDir| {
            let snapshot = (SNAPSHOT_LABEL.to_owned(), dir.binding.snapshot.to_string());
            let ghost = ghost(dir.binding.is_ghost);
            [label("blake3", dir.id.to_string()), snapshot].into_iter().chain(ghost).collect::<Vec<_>>()
        };
        if inode == Inode::TOP {
            return Ok(match self.directory(inode)? {
                Directory::Place(_) => Vec::new(),
                Directory::Bound(dir, _) => of_dir(&dir),
            });
        }
        Ok(match self.known(inode)? {
            Known::Dir(dir) => of_dir(&dir),
            Known::Shared(Shared::File(file)) => {
                let more =
                    self.roots.labels(file.blob).map_err(|source| ViewError::roots(file.blob, source))?;
                let blob = label("blake3", file.blob.to_string());
                [blob].into_iter().chain(more).chain(ghost(file.is_ghost)).collect()
            }
            Known::Shared(Shared::Link(_) | Shared::Place(_)) => Vec::new(),
        })
    }

    /// Space of the file system that holds the store.
    pub fn space(&self) -> Result<Space, ViewError> {
        let root = self.store.root();
        let stat = rustix::fs::statvfs(root).map_err(|errno| StoreError::Io {
            verb: "stat the file system of",
            path: root.to_owned(),
            source: errno.into(),
        })?;
        Ok(Space {
            block_bytes: stat.f_frsize,
            blocks: stat.f_blocks,
            free_blocks: stat.f_bfree,
            available_blocks: stat.f_bavail,
            inodes: stat.f_files,
            free_inodes: stat.f_ffree,
        })
    }

    fn known(&self, inode: Inode) -> Result<Known, ViewError> {
        self.inodes.get(inode).ok_or(ViewError::UnknownInode(inode))
    }

    fn directory(&self, inode: Inode) -> Result<Directory, ViewError> {
        if inode != Inode::TOP {
            return match self.known(inode)? {
                Known::Dir(dir) => Ok(Directory::Bound(dir, false)),
                Known::Shared(Shared::Place(place)) => Ok(Directory::Place(place)),
                Known::Shared(Shared::File(_) | Shared::Link(_)) => Err(ViewError::NotADirectory(inode)),
            };
        }
        let Place::Followed(name) = &self.top else {
            return Ok(Directory::Place(Arc::new(self.top.clone())));
        };
        let shown = self.shown_top()?.ok_or_else(|| ViewError::NoSuchRef { name: name.clone() })?;
        Ok(Directory::Bound(self.top_dir(shown)?, true))
    }

    /// What the top of the mount is while it shows a generation.
    fn top_dir(&self, shown: Generation) -> Result<Arc<BoundDir>, ViewError> {
        let mut kept = inodes::lock(&self.top_kept);
        if let Some(dir) = &*kept
            && dir.binding.snapshot == shown.id
        {
            return Ok(Arc::clone(dir));
        }
        let dir = Arc::new(self.root_dir(shown.id, Some((shown.name, shown.number)), None)?);
        *kept = Some(Arc::clone(&dir));
        Ok(dir)
    }

    /// The top directory of a snapshot, entered as a generation of a ref or not; `parent_number` is that of
    /// the directory it is seen in.
    fn root_dir(
        &self,
        id: SnapshotId,
        generation: Option<(TreePath, u64)>,
        parent_number: Option<u64>,
    ) -> Result<BoundDir, ViewError> {
        let missing = || ViewError::NoSuchSnapshot { id };
        let root = self.roots.snapshot(id).map_err(|source| ViewError::roots(id, source))?;
        let Root { item, access } = root.ok_or_else(missing)?;
        let Kind::Dir(dir) = item.kind else { return Err(missing()) };
        let rule = access.as_ref().map_or(Rule::USUAL, |access| access.rule(String::new));
        let (permit, mtime) = (self.permit(rule, 0o755), item.mtime);
        let number = identity::ruled(identity::of_dir("", dir.id, mtime), rule);
        let parent_number = parent_number.unwrap_or(number);
        let links = (!self.options.no_hardlinks).then(|| self.tallies.slot(id));
        let binding = Arc::new(Binding { snapshot: id, access, generation, links, is_ghost: false });
        Ok(BoundDir { binding, path: "".into(), id: dir.id, mtime, permit, number, parent_number })
    }

    fn found_child(&self, parent: Inode, name: Name, child: Child, holds: Holds) -> Result<Found, ViewError> {
        match child {
            Child::Place(place) => {
                let attributes = self.place_attributes(&place);
                let inode = self.inodes.enter_shared(attributes.number, Shared::Place(Arc::new(place)));
                Ok(Found { inode, attributes, holds })
            }
            Child::Link { number, target } => {
                let permit = self.permit(Rule::USUAL, 0o777);
                let link = Arc::new(Link { target: target.into(), mtime: 0, permit, is_ghost: false });
                let inode = self.inodes.enter_shared(number, Shared::Link(Arc::clone(&link)));
                Ok(Found { inode, attributes: link_attributes(inode, &link), holds })
            }
            Child::Root(snapshot) => {
                let way = if holds == Holds::Now {
                    Way::Dated(parent, name, snapshot)
                } else {
                    Way::Below(parent, name)
                };
                self.found_root(parent, way, snapshot, None, holds)
            }
            Child::Generation(Generation { name, number, id }) => {
                let way = Way::Generation(name.clone(), number);
                self.found_root(parent, way, id, Some((name, number)), holds)
            }
        }
    }

    fn found_root(
        &self,
        parent: Inode,
        way: Way,
        id: SnapshotId,
        generation: Option<(TreePath, u64)>,
        holds: Holds,
    ) -> Result<Found, ViewError> {
        if let Some((inode, dir)) = self.inodes.enter_again(&way) {
            return Ok(Found { inode, attributes: dir_attributes(&dir), holds });
        }
        let (above, _) = self.attributes(parent)?;
        let dir = self.root_dir(id, generation, Some(above.number))?;
        let attributes = dir_attributes(&dir);
        let (inode, _) = self.inodes.enter_dir(way, || dir);
        Ok(Found { inode, attributes, holds })
    }

    /// What `item` of the directory `dir` is to be called by.
    fn found_item(&self, parent: Inode, dir: &BoundDir, name: Name, item: &Item, holds: Holds) -> Found {
        let (mtime, is_ghost) = (item.mtime, dir.binding.is_ghost);
        let path = || below(&dir.path, name.as_str());
        let rule = dir.binding.access.as_ref().map_or(Rule::USUAL, |access| access.rule(path));
        let number = |number| {
            let number = identity::ruled(number, rule);
            if is_ghost { identity::of_ghost(number) } else { number }
        };
        match &item.kind {
            Kind::File { blob, size_bytes, executable } => {
                let is_lone = self.options.no_hardlinks;
                let alike = links::number_of_file(item, path, name.as_str(), rule, is_lone);
                let number = if is_ghost { identity::of_ghost(alike) } else { alike };
                let permit = self.permit(rule, if *executable { 0o755 } else { 0o644 });
                let file = File { blob: *blob, size_bytes: *size_bytes, mtime, permit, is_ghost };
                dir.binding.links.iter().for_each(|slot| self.tallies.want(slot));
                let links = || dir.binding.links.as_ref().map_or(1, |slot| slot.links(number));
                let (inode, links) = self.inodes.enter_file(number, Shared::File(file), links);
                Found { inode, attributes: file_attributes(inode, &file, links), holds }
            }
            Kind::Symlink { target } => {
                let number = number(identity::of_symlink(&path(), target, mtime));
                let permit = self.permit(Rule { mode: None, ..rule }, 0o777);
                let link = Arc::new(Link { target: target.clone(), mtime, permit, is_ghost });
                let inode = self.inodes.enter_shared(number, Shared::Link(Arc::clone(&link)));
                Found { inode, attributes: link_attributes(inode, &link), holds }
            }
            Kind::Dir(below_dir) => {
                let path = path();
                let is_of_top = dir.path.is_empty() && matches!(self.top, Place::Followed(_));
                let snapshot = dir.binding.snapshot;
                let way = match (is_of_top, is_ghost) {
                    (true, false) => Way::OfTop(snapshot, name),
                    (true, true) => Way::Dated(parent, name, snapshot),
                    (false, _) => Way::Below(parent, name),
                };
                let (inode, bound) = self.inodes.enter_dir(way, || BoundDir {
                    number: number(identity::of_dir(&path, below_dir.id, mtime)),
                    binding: Arc::clone(&dir.binding),
                    path: path.into(),
                    id: below_dir.id,
                    mtime,
                    permit: self.permit(rule, 0o755),
                    parent_number: dir.number,
                });
                Found { inode, attributes: dir_attributes(&bound), holds }
            }
        }
    }

    /// Who may do what where `rule` holds and `mode` is usual.
    fn permit(&self, rule: Rule, mode: u16) -> Permit {
        Permit {
            mode: rule.mode.unwrap_or(mode),
            uid: rule.uid.unwrap_or(self.options.uid),
            gid: rule.gid.unwrap_or(self.options.gid),
        }
    }

    fn place_attributes(&self, place: &Place) -> Attributes {
        attributes_of(place.number(), FileKind::Dir, self.permit(Rule::USUAL, 0o755), 0, 0)
    }
}

fn dir_attributes(dir: &BoundDir) -> Attributes {
    attributes_of(dir.number, FileKind::Dir, dir.permit, 0, dir.mtime)
}

fn file_attributes(inode: Inode, file: &File, links: u32) -> Attributes {
    let attributes = attributes_of(inode.0, FileKind::File, file.permit, file.size_bytes, file.mtime);
    Attributes { links, ..attributes }
}

fn link_attributes(inode: Inode, link: &Link) -> Attributes {
    attributes_of(inode.0, FileKind::Symlink, link.permit, link.target.len() as u64, link.mtime)
}

fn attributes_of(number: u64, kind: FileKind, permit: Permit, size_bytes: u64, mtime: i64) -> Attributes {
    let Permit { mode, uid, gid } = permit;
    Attributes { number, kind, links: 1, mode, uid, gid, size_bytes, mtime }
}

/// A directory that is being asked about.
enum Directory {
    Place(Arc<Place>),
    /// A directory of a snapshot, and whether it is what the top of the mount shows now.
    Bound(Arc<BoundDir>, bool),
}

impl Directory {
    /// How long a listing of it holds.
    fn holds(&self) -> Holds {
        match self {
            Self::Place(place) if place.is_fixed() => Holds::Forever,
            Self::Place(_) | Self::Bound(_, true) => Holds::Now,
            Self::Bound(_, false) => Holds::Forever,
        }
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

#[cfg(test)]
mod tests;
