//! A read-only file system over refs and snapshots, without a kernel.
//!
//! [`View`] answers what a kernel asks: lookups, attributes, directories, bytes. [`crate::fuse`] carries the
//! questions to it; tests ask them directly. What it shows is described by `docs/semantics.md`.
//!
//! Always true: everything below a snapshot's root belongs to that snapshot, so whoever is inside goes on
//! there whatever refs do; a name that stands for a ref is looked up anew every time; bytes that are not what
//! the tree says are never given out.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::digest::{BlobId, SnapshotId};
use crate::name::{NAME_MAX_BYTES, Name, TreePath};
use crate::store::{Store, StoreError};
use crate::tree::{self, Item, Kind, NodeError, Nodes};

pub mod access;
mod content;
pub mod ghosts;
mod handles;
mod identity;
mod inodes;
mod listing;
mod places;
pub mod roots;
pub(crate) mod stamp;

pub use content::{Content, VERIFY_BYTES};
pub use inodes::Inode;
pub use listing::Listed;

use access::{Permit, Rule};
use handles::Handles;
use inodes::{BoundDir, File, Inodes, Known, Link, Shared, Way};
use listing::OpenDir;
use places::{Child, Place};
use roots::{Kept, Root, Roots, RootsError};

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
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Owner of everything.
    pub uid: u32,
    /// Group of everything.
    pub gid: u32,
    /// The one ref to show, or everything.
    pub only: Option<TreePath>,
    /// Extended attributes of the top directory beside its own.
    pub labels: Vec<(String, String)>,
    /// Equal files at different paths are different files, too, with numbers of their own. An overlay above needs it: it takes
    /// what has one inode for one file, and a change of one would show in all.
    pub no_hardlinks: bool,
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
    roots: Kept<R>,
    nodes: N,
    store: Store,
    options: Options,
    top: Place,
    inodes: Inodes,
    files: Handles<Content>,
    dirs: Handles<OpenDir>,
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
            roots: Kept::new(roots),
            nodes,
            store,
            top: options.only.clone().map_or(Place::Top, Place::Followed),
            options,
            inodes: Inodes::default(),
            files: Handles::default(),
            dirs: Handles::default(),
        }
    }

    /// What stands at `name` of a directory.
    pub fn lookup(&self, parent: Inode, name: &[u8]) -> Result<Answer, ViewError> {
        if name.len() > NAME_MAX_BYTES {
            return Err(ViewError::NameTooLong { bytes: name.len() });
        }
        let dir = self.directory(parent)?;
        let holds = dir.holds();
        // A name that cannot be in a tree is in none.
        let Ok(name) = Name::new(name) else { return Ok(Answer::Absent(holds)) };
        let found = match &dir {
            Directory::Place(place) => match places::child(&self.roots, place, &name)? {
                Some(child) => Some(self.found_child(parent, name, child, holds)?),
                None => None,
            },
            Directory::Bound(dir, _) => tree::lookup(&self.nodes, dir.dir.id, name.as_str())?
                .map(|item| self.found_item(parent, dir, name, &item, holds)),
        };
        Ok(found.map_or(Answer::Absent(holds), Answer::Found))
    }

    /// Takes back `lookups` lookups of an inode.
    pub fn forget(&self, inode: Inode, lookups: u64) {
        self.inodes.forget(inode, lookups);
    }

    /// How many inodes are held by lookups.
    pub fn held_inodes(&self) -> usize {
        self.inodes.len()
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
            Known::Shared(Shared::File(file)) => file_attributes(inode, &file),
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

    /// Opens a file; the handle is good until [`View::close_file`].
    pub fn open_file(&self, inode: Inode) -> Result<u64, ViewError> {
        Ok(self.keep_open(self.content(inode)?))
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

    /// The blob of a file whose content was opened and found whole since the kernel got to know it.
    pub fn verified_blob(&self, inode: Inode) -> Option<BlobId> {
        self.inodes.verified_blob(inode)
    }

    /// Keeps a content for questions; the handle is good until [`View::close_file`].
    pub fn keep_open(&self, content: Content) -> u64 {
        self.files.add(content)
    }

    /// Where the blobs come from.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Fills `buffer` from `offset` of an open file on; returns how many bytes there were.
    pub fn read(&self, handle: u64, offset: u64, buffer: &mut [u8]) -> Result<usize, ViewError> {
        self.files.get(handle).ok_or(ViewError::UnknownHandle(handle))?.read(offset, buffer)
    }

    /// Ends an open file and tells whose content it was.
    pub fn close_file(&self, handle: u64) -> Option<BlobId> {
        self.files.remove(handle).map(|content| content.blob())
    }

    /// Opens a directory as it is now. Returns the handle, good until [`View::close_dir`], and how long the
    /// listing holds for others who open it.
    pub fn open_dir(&self, inode: Inode) -> Result<(u64, Holds), ViewError> {
        let directory = self.directory(inode)?;
        let holds = directory.holds();
        let open = match directory {
            Directory::Place(place) => self.list_place(&place)?,
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
        let of_dir = |dir: &BoundDir| {
            vec![label("blake3", dir.dir.id.to_string()), label("snapshot", dir.snapshot.to_string())]
        };
        if inode == Inode::TOP {
            let mut labels = match self.directory(inode)? {
                Directory::Place(_) => Vec::new(),
                Directory::Bound(dir, _) => of_dir(&dir),
            };
            labels.extend(self.options.labels.iter().cloned());
            return Ok(labels);
        }
        Ok(match self.known(inode)? {
            Known::Dir(dir) => of_dir(&dir),
            Known::Shared(Shared::File(file)) => vec![label("blake3", file.blob.to_string())],
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
                Known::Dir(dir) => Ok(Directory::Bound(dir, Holds::Forever)),
                Known::Shared(Shared::Place(place)) => Ok(Directory::Place(place)),
                Known::Shared(Shared::File(_) | Shared::Link(_)) => Err(ViewError::NotADirectory(inode)),
            };
        }
        let Place::Followed(name) = &self.top else {
            return Ok(Directory::Place(Arc::new(self.top.clone())));
        };
        let followed = places::follow(&self.roots, name)?;
        let (_, id) = followed.ok_or_else(|| ViewError::NoSuchRef { name: name.clone() })?;
        Ok(Directory::Bound(Arc::new(self.root_dir(id, None)?), Holds::Now))
    }

    /// The top directory of a snapshot; `parent_number` is that of the directory it is seen in.
    fn root_dir(&self, id: SnapshotId, parent_number: Option<u64>) -> Result<BoundDir, ViewError> {
        let missing = || ViewError::NoSuchSnapshot { id };
        let root = self.roots.snapshot(id).map_err(|source| ViewError::roots(id, source))?;
        let Root { item, access } = root.ok_or_else(missing)?;
        let Kind::Dir(dir) = item.kind else { return Err(missing()) };
        let rule = access.as_ref().map_or(Rule::USUAL, |access| access.rule(String::new));
        let (permit, mtime) = (self.permit(rule, 0o755), item.mtime);
        let number = identity::ruled(identity::of_dir("", dir.id, mtime), rule);
        let parent_number = parent_number.unwrap_or(number);
        Ok(BoundDir { snapshot: id, path: "".into(), dir, mtime, permit, access, number, parent_number })
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
                let link = Arc::new(Link { target: target.into(), mtime: 0, permit });
                let inode = self.inodes.enter_shared(number, Shared::Link(Arc::clone(&link)));
                Ok(Found { inode, attributes: link_attributes(inode, &link), holds })
            }
            Child::Root(id) => {
                let (above, _) = self.attributes(parent)?;
                let dir = self.root_dir(id, Some(above.number))?;
                let attributes = dir_attributes(&dir);
                let (inode, _) = self.inodes.enter_dir(Way { parent, snapshot: id, name }, || dir);
                Ok(Found { inode, attributes, holds })
            }
        }
    }

    /// What `item` of the directory `dir` is to be called by.
    fn found_item(&self, parent: Inode, dir: &BoundDir, name: Name, item: &Item, holds: Holds) -> Found {
        let mtime = item.mtime;
        let path = || below(&dir.path, name.as_str());
        let rule = dir.access.as_ref().map_or(Rule::USUAL, |access| access.rule(path));
        match &item.kind {
            Kind::File { blob, size_bytes, executable } => {
                let number = identity::of_file(*blob, *size_bytes, *executable, mtime);
                let number =
                    if self.options.no_hardlinks { identity::at_path(number, &path()) } else { number };
                let permit = self.permit(rule, if *executable { 0o755 } else { 0o644 });
                let file = File { blob: *blob, size_bytes: *size_bytes, mtime, permit };
                let inode = self.inodes.enter_shared(identity::ruled(number, rule), Shared::File(file));
                Found { inode, attributes: file_attributes(inode, &file), holds }
            }
            Kind::Symlink { target } => {
                let rule = Rule { mode: None, ..rule };
                let number = identity::ruled(identity::of_symlink(&path(), target, mtime), rule);
                let permit = self.permit(rule, 0o777);
                let link = Arc::new(Link { target: target.clone(), mtime, permit });
                let inode = self.inodes.enter_shared(number, Shared::Link(Arc::clone(&link)));
                Found { inode, attributes: link_attributes(inode, &link), holds }
            }
            Kind::Dir(below_dir) => {
                let path = path();
                let (snapshot, parent_number) = (dir.snapshot, dir.number);
                let (inode, bound) = self.inodes.enter_dir(Way { parent, snapshot, name }, || BoundDir {
                    snapshot,
                    number: identity::ruled(identity::of_dir(&path, below_dir.id, mtime), rule),
                    path: path.into(),
                    dir: *below_dir,
                    mtime,
                    permit: self.permit(rule, 0o755),
                    access: dir.access.clone(),
                    parent_number,
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

fn file_attributes(inode: Inode, file: &File) -> Attributes {
    attributes_of(inode.0, FileKind::File, file.permit, file.size_bytes, file.mtime)
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
    /// A directory of a snapshot, and how long its inode stands for it.
    Bound(Arc<BoundDir>, Holds),
}

impl Directory {
    /// How long names in it stand for the same things.
    fn holds(&self) -> Holds {
        match self {
            Self::Place(place) if place.is_fixed() => Holds::Forever,
            Self::Place(_) => Holds::Now,
            Self::Bound(_, holds) => *holds,
        }
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

#[cfg(test)]
mod tests;
