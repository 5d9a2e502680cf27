//! Reads an upper directory (the kernel's `Documentation/filesystems/overlayfs.rst`; fuse-overlayfs's files
//! `.wh.…` are those of the OCI image layers).

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::lgetxattr;
use rustix::io::Errno;

use super::mounting::READABLE;
use super::{Changed, ChangedDir, ChangedFile, Changes, Driver, OverlayError, shown};
use crate::digest::BlobId;
use crate::import::scan::{BAD_TARGET, FileList, HostFile, foreign, io_error, is_executable, symlink_target};
use crate::import::{ImportError, Refusal};
use crate::name::{Name, TreePath};
use crate::tree::{Dir, Item, Kind, Nodes, lookup, resolve};

/// What fuse-overlayfs puts before the name of a file that is gone.
const GONE_PREFIX: &[u8] = b".wh.";
/// Its files which say that a directory hides what is below.
const OPAQUE_FILES: [&[u8]; 2] = [b".wh..wh..opq", b".wh..opq"];
/// Longer values are none of an overlay's: `PATH_MAX`.
const VALUE_MAX_BYTES: usize = 4096;

/// Reads the directory `upper`, which `driver` keeps over the tree `base`. `workspace` is where the overlay is seen:
/// what cannot enter a tree is refused by its path there, all of it at once.
pub fn scan(
    upper: &Path,
    driver: Driver,
    nodes: &dyn Nodes,
    base: Dir,
    workspace: &Path,
) -> Result<Changes, OverlayError> {
    let meta = fs::metadata(upper).map_err(|error| io_error("look at", upper, error))?;
    if driver == Driver::Kernel && lgetxattr(upper, READABLE, &mut [0; 8]).is_err() {
        return Err(OverlayError::Unreadable { upper: upper.to_owned() });
    }
    let mut scanner = Scanner {
        driver,
        nodes,
        base: Item { mtime: 0, kind: Kind::Dir(base) },
        workspace,
        files: FileList::default(),
        below: Vec::new(),
        refusals: Vec::new(),
    };
    let root = scanner.dir(upper, &TreePath::root(), &meta, Some(base))?;
    if !scanner.refusals.is_empty() {
        scanner.refusals.sort_by(|a, b| a.path.cmp(&b.path));
        let dir = workspace.to_owned();
        return Err(ImportError::Refused { dir, refusals: scanner.refusals }.into());
    }
    let hosts = scanner.files.into_files().into_iter();
    let files = hosts.zip(scanner.below).map(|(host, below)| ChangedFile { host, below }).collect();
    Ok(Changes { root, files, known: false })
}

struct Scanner<'a> {
    driver: Driver,
    nodes: &'a dyn Nodes,
    base: Item,
    workspace: &'a Path,
    files: FileList,
    /// For every file the content at its name below.
    below: Vec<Option<(BlobId, u64)>>,
    refusals: Vec<Refusal>,
}

/// What one name of an upper directory is about.
enum Entry {
    /// The name is gone.
    Gone(Vec<u8>),
    /// The directory hides what is below.
    Opaque,
    /// There is something.
    There,
}

impl Scanner<'_> {
    fn dir(
        &mut self,
        host: &Path,
        path: &TreePath,
        meta: &Metadata,
        below: Option<Dir>,
    ) -> Result<ChangedDir, OverlayError> {
        let mut list = Vec::new();
        let mut opaque = self.attribute(host, "opaque")?.is_some_and(|value| value == b"y");
        for entry in fs::read_dir(host).map_err(|error| io_error("list", host, error))? {
            let entry = entry.map_err(|error| io_error("list", host, error))?;
            let below = entry.path();
            let meta = entry.metadata().map_err(|error| io_error("look at", &below, error))?;
            match self.entry(&entry.file_name(), &meta) {
                Entry::Opaque => opaque = true,
                Entry::Gone(name) => list.push((name, None)),
                Entry::There => list.push((entry.file_name().as_bytes().to_vec(), Some((below, meta)))),
            }
        }
        let below = below.filter(|_| !opaque);
        // Where fuse-overlayfs leaves both a mark and what came after it, the latter counts.
        list.sort_by(|a, b| (&a.0, a.1.is_none()).cmp(&(&b.0, b.1.is_none())));
        list.dedup_by(|later, first| later.0 == first.0);
        let mut entries = Vec::with_capacity(list.len());
        for (bytes, there) in list {
            let Some((host, meta)) = there else {
                // What cannot be a name was not there.
                entries.extend(Name::new(&bytes).ok().map(|name| (name, Changed::Gone)));
                continue;
            };
            let seen = shown(self.workspace, path.as_str()).join(OsStr::from_bytes(&bytes));
            let name = Name::new(&bytes).map_err(|error| format!("its name {}", error.reason));
            let placed = name.and_then(|name| match path.join(&name) {
                Ok(path) => Ok((name, path)),
                Err(_) => Err("its path is too long or too deep".to_owned()),
            });
            match placed {
                Ok((name, path)) => {
                    let changed = self.item(&host, &path, &name, &meta, below)?;
                    entries.extend(changed.map(|changed| (name, changed)));
                }
                Err(reason) => self.refusals.push(Refusal { path: seen, reason }),
            }
        }
        Ok(ChangedDir { mtime: meta.mtime(), below, entries })
    }

    fn entry(&self, name: &OsStr, meta: &Metadata) -> Entry {
        let bytes = name.as_bytes();
        if self.driver == Driver::Fuse {
            if OPAQUE_FILES.contains(&bytes) {
                return Entry::Opaque;
            }
            if let Some(gone) = bytes.strip_prefix(GONE_PREFIX) {
                return Entry::Gone(gone.to_vec());
            }
        }
        if meta.file_type().is_char_device() && meta.rdev() == 0 {
            return Entry::Gone(bytes.to_vec());
        }
        Entry::There
    }

    /// What stands at `name`, of which `below` is the directory's counterpart.
    fn item(
        &mut self,
        host: &Path,
        path: &TreePath,
        name: &Name,
        meta: &Metadata,
        below: Option<Dir>,
    ) -> Result<Option<Changed>, OverlayError> {
        let kind = meta.file_type();
        if kind.is_dir() {
            let counterpart = match self.origin(host, name, below)? {
                Some(Item { kind: Kind::Dir(dir), .. }) => Some(dir),
                _ => None,
            };
            return Ok(Some(Changed::Dir(self.dir(host, path, meta, counterpart)?)));
        }
        if kind.is_symlink() {
            let target = fs::read_link(host).map_err(|error| io_error("read the link", host, error))?;
            let target = symlink_target(&target);
            if target.is_none() {
                self.refuse(path, BAD_TARGET);
            }
            let item = |target| Item { mtime: meta.mtime(), kind: Kind::Symlink { target } };
            return Ok(target.map(|target| Changed::Known(item(target))));
        }
        if !kind.is_file() {
            self.refuse(path, foreign(kind));
            return Ok(None);
        }
        if self.attribute(host, "metacopy")?.is_some() {
            return self.attributes_only(host, path, name, meta, below);
        }
        let counterpart = match below {
            Some(below) => lookup(self.nodes, below.id, name.as_str())?,
            None => None,
        };
        let content = match counterpart.map(|item| item.kind) {
            Some(Kind::File { blob, size_bytes, .. }) => Some((blob, size_bytes)),
            _ => None,
        };
        self.below.push(content);
        Ok(Some(Changed::File(self.files.add(HostFile::new(host.to_owned(), meta), meta.nlink()))))
    }

    /// A file of which only attributes, names or links have changed: the content is still that below.
    fn attributes_only(
        &mut self,
        host: &Path,
        path: &TreePath,
        name: &Name,
        meta: &Metadata,
        below: Option<Dir>,
    ) -> Result<Option<Changed>, OverlayError> {
        let Some(Item { kind: Kind::File { blob, size_bytes, .. }, .. }) = self.origin(host, name, below)?
        else {
            self.refuse(path, "stands for a file that the snapshot below does not have");
            return Ok(None);
        };
        let kind = Kind::File { blob, size_bytes, executable: is_executable(meta) };
        Ok(Some(Changed::Known(Item { mtime: meta.mtime(), kind })))
    }

    /// What the item at `host` was in the tree below: what a rename says, else what has its name there.
    fn origin(&self, host: &Path, name: &Name, below: Option<Dir>) -> Result<Option<Item>, OverlayError> {
        let Some(redirect) = self.attribute(host, "redirect")? else {
            return Ok(match below {
                Some(below) => lookup(self.nodes, below.id, name.as_str())?,
                None => None,
            });
        };
        let Ok(redirect) = std::str::from_utf8(&redirect) else { return Ok(None) };
        if let Some(whole) = redirect.strip_prefix('/') {
            let Ok(path) = TreePath::new(whole) else { return Ok(None) };
            return Ok(resolve(self.nodes, &self.base, &path)?);
        }
        // Renamed inside its directory.
        match below {
            Some(below) => Ok(lookup(self.nodes, below.id, redirect)?),
            None => Ok(None),
        }
    }

    /// An attribute that the overlay keeps for itself.
    fn attribute(&self, host: &Path, name: &str) -> Result<Option<Vec<u8>>, OverlayError> {
        let spaces: &[&str] = match self.driver {
            Driver::Kernel => &["trusted.overlay."],
            Driver::Fuse => &["trusted.overlay.", "user.overlay.", "user.fuseoverlayfs."],
        };
        for space in spaces {
            let mut value = vec![0; VALUE_MAX_BYTES];
            match lgetxattr(host, format!("{space}{name}"), &mut value) {
                Ok(len) => {
                    value.truncate(len);
                    return Ok(Some(value));
                }
                Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(error) => return Err(io_error("read the attributes of", host, error.into()).into()),
            }
        }
        Ok(None)
    }

    fn refuse(&mut self, path: &TreePath, reason: &str) {
        let path = shown(self.workspace, path.as_str());
        self.refusals.push(Refusal { path, reason: reason.to_owned() });
    }
}
