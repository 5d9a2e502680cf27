//! Writable directories over a tree: overlay mounts, and what their upper directories say has changed.
//!
//! An overlay shows a read-only directory below and keeps in an upper directory of its own what is written:
//! new and changed files whole, marks for what is gone, directories for what is on the way. [`scan`] reads
//! such an upper directory, [`Changes::apply`] makes the tree that the overlay shows.
//!
//! Always true: only the upper directory is read, never what is below, so the cost follows the change; a tree
//! comes out only when everything in it could be taken; nothing here writes to the upper directory.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::BlobId;
use crate::import::read::read_files;
use crate::import::scan::{HostFile, io_error};
use crate::import::{ImportError, Options, Progress, Recall, Stamp};
use crate::name::Name;
use crate::store::Store;
use crate::store::publish::Record;
use crate::tree::{Dir, Entry, Item, Kind, NodeError, Stage, read_dir};

mod mounting;
mod upper;

pub use mounting::{Layers, OverlayMountError, attach, is_attached, prepare};
pub use upper::scan;

/// Who keeps the upper directory, and thereby how it says what is gone and what was renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// The kernel's overlayfs: character devices 0:0 and attributes `trusted.overlay.*`.
    Kernel,
    /// The program fuse-overlayfs: the same where it may, and files called `.wh.…`.
    Fuse,
}

/// Why an upper directory cannot be read as changes.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// A file cannot be read or taken.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A node of the tree below cannot be read.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The marks of what is gone are the kernel's, and not for this process.
    #[error("{upper}: what has changed can be read only by root with CAP_SYS_ADMIN")]
    Unreadable {
        /// The upper directory.
        upper: PathBuf,
    },
}

/// What an upper directory says has changed.
#[derive(Debug)]
pub struct Changes {
    root: ChangedDir,
    files: Vec<ChangedFile>,
    known: bool,
}

/// A directory of the upper layer.
#[derive(Debug)]
struct ChangedDir {
    mtime: i64,
    /// The directory below that it is merged with.
    below: Option<Dir>,
    /// What differs from there, sorted by name.
    entries: Vec<(Name, Changed)>,
}

/// What the upper layer has at one name.
#[derive(Debug)]
enum Changed {
    Gone,
    /// A symlink, or a file whose content is that of a file below.
    Known(Item),
    /// An index into the list of files.
    File(usize),
    Dir(ChangedDir),
}

/// A file of the upper layer with content of its own.
#[derive(Debug)]
struct ChangedFile {
    host: HostFile,
    /// The content at its name in the tree below.
    below: Option<(BlobId, u64)>,
}

impl Changes {
    /// Files in the upper directory that have content of their own.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Takes the content of the changed files into `store`, as an import does.
    pub fn take(
        &mut self,
        store: &Store,
        options: Options,
        recall: &dyn Recall,
        record: Box<Record<'_, Option<Stamp>>>,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Progress, ImportError> {
        let mut hosts: Vec<HostFile> = self.files.iter().map(|file| file.host.clone()).collect();
        let done = read_files(store, &mut hosts, options, recall, record, progress)?;
        for (file, host) in self.files.iter_mut().zip(hosts) {
            file.host = host;
        }
        self.known = true;
        Ok(done)
    }

    /// Finds out which files differ from those below without storing anything, and returns how many had to be
    /// read. With `only_below`, the content of a file whose size says already that it differs stays unread, so a
    /// tree made after this is good for comparing with the tree below, and with no other.
    pub fn compare(&mut self, recall: &dyn Recall, only_below: bool) -> Result<u64, ImportError> {
        let stamps: Vec<Stamp> = self.files.iter().map(|file| file.host.stamp).collect();
        let mut read = 0;
        for (index, recalled) in recall.recall(&stamps).into_iter().enumerate() {
            let file = &self.files[index];
            let size_bytes = file.host.stamp.size_bytes;
            let alike = !only_below || file.below.is_some_and(|(_, below_bytes)| below_bytes == size_bytes);
            let blob = match (recalled, file.host.same_as) {
                (Some(blob), _) => blob,
                (None, Some(first)) if !alike => self.files[first].host.blob.unwrap_or_else(|| unread(file)),
                (None, _) if alike => {
                    read += 1;
                    hash(&file.host.path)?
                }
                (None, _) => unread(file),
            };
            self.files[index].host.blob = Some(blob);
        }
        self.known = true;
        Ok(read)
    }

    /// Writes the tree that the overlay shows into `stage`, whose base has the tree below, and returns its top with
    /// the top's time in seconds.
    ///
    /// # Panics
    /// When the content of the files is not known yet: [`Changes::take`] or [`Changes::compare`] come first.
    pub fn apply(&self, stage: &mut Stage<'_>) -> Result<(Dir, i64), NodeError> {
        assert!(self.known, "the content of changed files is known before a tree is made of them");
        Ok((self.apply_dir(stage, &self.root)?, self.root.mtime))
    }

    fn apply_dir(&self, stage: &mut Stage<'_>, dir: &ChangedDir) -> Result<Dir, NodeError> {
        let below = match dir.below {
            Some(below) => read_dir(stage, below.id)?,
            None => Vec::new(),
        };
        let mut entries = Vec::with_capacity(below.len() + dir.entries.len());
        let mut below = below.into_iter().peekable();
        for (name, changed) in &dir.entries {
            while let Some(entry) = below.next_if(|entry| entry.name < *name) {
                entries.push(entry);
            }
            below.next_if(|entry| entry.name == *name);
            let item = match changed {
                Changed::Gone => continue,
                Changed::Known(item) => item.clone(),
                Changed::File(index) => self.files[*index].host.item(),
                Changed::Dir(below) => {
                    Item { mtime: below.mtime, kind: Kind::Dir(self.apply_dir(stage, below)?) }
                }
            };
            entries.push(Entry { name: name.clone(), item });
        }
        entries.extend(below);
        Ok(stage.write_dir(&entries))
    }
}

/// Stands for content that nobody has read: a name that no content has, different for different files.
fn unread(file: &ChangedFile) -> BlobId {
    let stamp = file.host.stamp;
    BlobId::of(format!("unread {}:{} {}", stamp.device, stamp.inode, stamp.ctime_ns).as_bytes())
}

fn hash(path: &Path) -> Result<BlobId, ImportError> {
    let file = open(path).map_err(|error| io_error("open", path, error))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(|error| io_error("read", path, error))?;
    Ok(crate::digest::Digest::from(hasher.finalize()).into())
}

/// Opens a regular file; what has become a symlink or a pipe meanwhile neither leads away nor hangs.
fn open(path: &Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    std::fs::OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Where an upper directory and the paths in it stand, for people.
fn shown(workspace: &Path, path: &str) -> PathBuf {
    if path.is_empty() { workspace.to_owned() } else { workspace.join(path) }
}

#[cfg(test)]
mod tests;
