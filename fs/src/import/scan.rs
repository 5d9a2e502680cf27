//! Lists a host directory without reading a file.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{ImportError, Refusal, Stamp};
use crate::digest::BlobId;
use crate::name::Name;
use crate::tree::{Item, Kind};

/// Longest target of a symlink: what Linux can follow.
const TARGET_MAX_BYTES: usize = 4095;

/// A scanned directory.
pub(super) struct Scan {
    pub(super) root: HostDir,
    pub(super) files: Vec<HostFile>,
}

/// A host directory with its entries in tree order.
pub(super) struct HostDir {
    pub(super) mtime: i64,
    pub(super) entries: Vec<(Name, HostItem)>,
}

/// An entry of a host directory; a file is an index into the list of all files.
pub(super) enum HostItem {
    File(usize),
    Symlink { mtime: i64, target: Box<str> },
    Dir(HostDir),
}

/// A regular file on the host.
pub(super) struct HostFile {
    pub(super) path: PathBuf,
    pub(super) stamp: Stamp,
    pub(super) executable: bool,
    /// Its content, once it is known.
    pub(super) blob: Option<BlobId>,
    /// The file in the list that is the same inode and comes before this one.
    pub(super) same_as: Option<usize>,
}

impl HostFile {
    /// The finished file as an item of a tree; called when all contents are known.
    pub(super) fn item(&self) -> Item {
        let blob = self.blob.unwrap_or_else(|| BlobId::of(b""));
        debug_assert!(self.blob.is_some(), "{} was never read", self.path.display());
        let kind = Kind::File { blob, size_bytes: self.stamp.size_bytes, executable: self.executable };
        Item { mtime: self.stamp.mtime_ns.div_euclid(1_000_000_000), kind }
    }
}

/// What stat(2) says, in a tree's terms.
pub(super) fn stamp_of(meta: &Metadata) -> Stamp {
    let ns = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    Stamp {
        device: meta.dev(),
        inode: meta.ino(),
        size_bytes: meta.len(),
        mtime_ns: ns(meta.mtime(), meta.mtime_nsec()),
        ctime_ns: ns(meta.ctime(), meta.ctime_nsec()),
    }
}

/// Whether a file may be executed by its owner.
pub(super) fn is_executable(meta: &Metadata) -> bool {
    meta.mode() & 0o100 != 0
}

/// Lists everything below `dir`, symlinks not followed; fails with all refusals when there are any.
pub(super) fn scan(dir: &Path) -> Result<Scan, ImportError> {
    let meta = fs::metadata(dir).map_err(|e| io_error("look at", dir, e))?;
    let mut scanner = Scanner { files: Vec::new(), refusals: Vec::new(), links: HashMap::new() };
    let root = scanner.dir(dir, &meta)?;
    if scanner.refusals.is_empty() {
        Ok(Scan { root, files: scanner.files })
    } else {
        scanner.refusals.sort_by(|a, b| a.path.cmp(&b.path));
        Err(ImportError::Refused { dir: dir.to_owned(), refusals: scanner.refusals })
    }
}

pub(super) fn io_error(verb: &'static str, path: &Path, source: std::io::Error) -> ImportError {
    ImportError::Io { verb, path: path.to_owned(), source }
}

struct Scanner {
    files: Vec<HostFile>,
    refusals: Vec<Refusal>,
    /// Files with several links, by device and inode.
    links: HashMap<(u64, u64), usize>,
}

impl Scanner {
    fn dir(&mut self, path: &Path, meta: &Metadata) -> Result<HostDir, ImportError> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path).map_err(|e| io_error("list", path, e))? {
            let entry = entry.map_err(|e| io_error("list", path, e))?;
            let below = entry.path();
            let meta = entry.metadata().map_err(|e| io_error("look at", &below, e))?;
            let name = match Name::new(entry.file_name().as_bytes()) {
                Ok(name) => Some(name),
                Err(error) => {
                    self.refuse(&below, &format!("its name {}", error.reason));
                    None
                }
            };
            // What is below a refused name is looked at all the same, for a complete list.
            let item = self.item(&below, &meta)?;
            entries.extend(name.zip(item));
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(HostDir { mtime: meta.mtime(), entries })
    }

    fn item(&mut self, path: &Path, meta: &Metadata) -> Result<Option<HostItem>, ImportError> {
        let kind = meta.file_type();
        if kind.is_dir() {
            return Ok(Some(HostItem::Dir(self.dir(path, meta)?)));
        }
        if kind.is_file() {
            return Ok(Some(HostItem::File(self.file(path, meta))));
        }
        if kind.is_symlink() {
            let target = fs::read_link(path).map_err(|e| io_error("read the link", path, e))?;
            return Ok(self.symlink(path, &target, meta.mtime()));
        }
        let what = if kind.is_socket() {
            "is a socket"
        } else if kind.is_fifo() {
            "is a named pipe"
        } else {
            "is a device"
        };
        self.refuse(path, what);
        Ok(None)
    }

    fn file(&mut self, path: &Path, meta: &Metadata) -> usize {
        let index = self.files.len();
        let same_as = if meta.nlink() > 1 {
            let first = *self.links.entry((meta.dev(), meta.ino())).or_insert(index);
            (first != index).then_some(first)
        } else {
            None
        };
        self.files.push(HostFile {
            path: path.to_owned(),
            stamp: stamp_of(meta),
            executable: is_executable(meta),
            blob: None,
            same_as,
        });
        index
    }

    fn symlink(&mut self, path: &Path, target: &Path, mtime: i64) -> Option<HostItem> {
        let bytes = target.as_os_str().as_bytes();
        let text = std::str::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control));
        match text {
            Some(text) if bytes.len() <= TARGET_MAX_BYTES => {
                Some(HostItem::Symlink { mtime, target: text.into() })
            }
            _ => {
                self.refuse(
                    path,
                    "is a symlink whose target is too long, not UTF-8 or has control characters",
                );
                None
            }
        }
    }

    fn refuse(&mut self, path: &Path, reason: &str) {
        self.refusals.push(Refusal { path: path.to_owned(), reason: reason.to_owned() });
    }
}
