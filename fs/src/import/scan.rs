//! Lists a host directory without reading a file.

use std::collections::HashMap;
use std::fs::{self, FileType, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{ImportError, Refusal, Stamp};
use crate::digest::BlobId;
use crate::name::{DEPTH_MAX, Name, PATH_MAX_BYTES};
use crate::tree::{Item, Kind};

/// Longest target of a symlink: what Linux can follow.
const TARGET_MAX_BYTES: usize = 4095;
/// Why a symlink is refused.
pub(crate) const BAD_TARGET: &str =
    "is a symlink whose target is too long, not UTF-8 or has control characters";

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
#[derive(Debug, Clone)]
pub(crate) struct HostFile {
    pub(crate) path: PathBuf,
    pub(crate) stamp: Stamp,
    pub(crate) executable: bool,
    /// Its content, once it is known.
    pub(crate) blob: Option<BlobId>,
    /// The file in the list that is the same inode and comes before this one.
    pub(crate) same_as: Option<usize>,
}

impl HostFile {
    /// The file at `path`, of which nothing is read yet.
    pub(crate) fn new(path: PathBuf, meta: &Metadata) -> Self {
        Self { path, stamp: stamp_of(meta), executable: is_executable(meta), blob: None, same_as: None }
    }

    /// The finished file as an item of a tree; called when all contents are known.
    pub(crate) fn item(&self) -> Item {
        let blob = self.blob.unwrap_or_else(|| BlobId::of(b""));
        debug_assert!(self.blob.is_some(), "{} was never read", self.path.display());
        let kind = Kind::File { blob, size_bytes: self.stamp.size_bytes, executable: self.executable };
        Item { mtime: self.stamp.mtime_ns.div_euclid(1_000_000_000), kind }
    }
}

/// What stat(2) says, in a tree's terms.
pub(crate) fn stamp_of(meta: &Metadata) -> Stamp {
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
pub(crate) fn is_executable(meta: &Metadata) -> bool {
    meta.mode() & 0o100 != 0
}

/// The target of a symlink as a tree keeps it; `None` when it is empty, too long, not UTF-8 or has control characters.
pub fn symlink_target(target: &Path) -> Option<Box<str>> {
    let bytes = target.as_os_str().as_bytes();
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control));
    text.filter(|_| (1..=TARGET_MAX_BYTES).contains(&bytes.len())).map(Into::into)
}

/// What is refused, as a reason.
pub(crate) fn foreign(kind: FileType) -> &'static str {
    if kind.is_socket() {
        "is a socket"
    } else if kind.is_fifo() {
        "is a named pipe"
    } else {
        "is a device"
    }
}

/// Lists everything below `dir` with `threads` threads, symlinks not followed; fails with all refusals when
/// there are any.
pub(super) fn scan(dir: &Path, threads: usize) -> Result<Scan, ImportError> {
    let meta = fs::metadata(dir).map_err(|e| io_error("look at", dir, e))?;
    let top_bytes = dir.as_os_str().len();
    let queue = Queue { top_bytes, top_depth: depth_of(dir), ..Queue::default() };
    queue.push(dir.to_owned());
    let listed = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(|| queue.work())).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect::<Vec<_>>()
    });
    if let Some(error) = queue.take_error() {
        return Err(error);
    }
    let mut scanner = Assembler { dirs: HashMap::new(), files: FileList::default(), refusals: Vec::new() };
    for (number, listed) in listed.into_iter().flatten() {
        scanner.refusals.extend(listed.refusals);
        scanner.dirs.insert(number, listed.entries);
    }
    let root = scanner.dir(0, meta.mtime());
    if scanner.refusals.is_empty() {
        Ok(Scan { root, files: scanner.files.into_files() })
    } else {
        scanner.refusals.sort_by(|a, b| a.path.cmp(&b.path));
        Err(ImportError::Refused { dir: dir.to_owned(), refusals: scanner.refusals })
    }
}

pub(crate) fn io_error(verb: &'static str, path: &Path, source: std::io::Error) -> ImportError {
    ImportError::Io { verb, path: path.to_owned(), source }
}

/// Directories to be listed. Each has a number, in the order in which they were found.
#[derive(Default)]
struct Queue {
    /// Length and depth of the top directory's path, which are not part of the tree.
    top_bytes: usize,
    top_depth: usize,
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    waiting: Vec<(usize, PathBuf)>,
    found: usize,
    /// Directories that are being listed now and may have others below.
    busy: usize,
    error: Option<ImportError>,
}

/// One listed directory; those below it are numbers.
#[derive(Default)]
struct Listed {
    entries: Vec<(Name, ListedItem)>,
    refusals: Vec<Refusal>,
}

enum ListedItem {
    File { file: HostFile, links: u64 },
    Symlink { mtime: i64, target: Box<str> },
    Dir { number: usize, mtime: i64 },
}

fn depth_of(path: &Path) -> usize {
    path.components().count()
}

impl Queue {
    /// Whether a tree can have this path below its top; one that is too long could be neither named nor
    /// checked out.
    fn has_room_for(&self, path: &Path) -> bool {
        // With the separator behind the top, so a byte less than a path may have.
        let bytes = path.as_os_str().len().saturating_sub(self.top_bytes);
        bytes <= PATH_MAX_BYTES && depth_of(path) - self.top_depth <= DEPTH_MAX
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, path: PathBuf) -> usize {
        let mut state = self.lock();
        let number = state.found;
        state.found += 1;
        state.waiting.push((number, path));
        self.changed.notify_one();
        number
    }

    fn take_error(&self) -> Option<ImportError> {
        self.lock().error.take()
    }

    /// Takes the next directory; `None` when all are listed or one failed.
    fn next(&self) -> Option<(usize, PathBuf)> {
        let mut state = self.lock();
        loop {
            if state.error.is_some() {
                return None;
            }
            if let Some(next) = state.waiting.pop() {
                state.busy += 1;
                return Some(next);
            }
            if state.busy == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lists directories until there are none left.
    fn work(&self) -> Vec<(usize, Listed)> {
        let mut all = Vec::new();
        while let Some((number, path)) = self.next() {
            // Whatever ends this, the others are told.
            let _busy = Busy(self);
            let mut listed = Listed::default();
            let result = listed.read(&path, self);
            let mut state = self.lock();
            state.error = state.error.take().or(result.err());
            drop(state);
            all.push((number, listed));
        }
        all
    }
}

/// One that lists a directory.
struct Busy<'a>(&'a Queue);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.lock().busy -= 1;
        self.0.changed.notify_all();
    }
}

impl Listed {
    fn read(&mut self, path: &Path, queue: &Queue) -> Result<(), ImportError> {
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
            if !queue.has_room_for(&below) {
                // Nothing below it could be taken either.
                self.refuse(&below, "its path is too long or too deep");
                continue;
            }
            // What is below a refused name is looked at all the same, for a complete list.
            let item = self.item(below, &meta, queue)?;
            self.entries.extend(name.zip(item));
        }
        self.entries.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(())
    }

    fn item(
        &mut self,
        path: PathBuf,
        meta: &Metadata,
        queue: &Queue,
    ) -> Result<Option<ListedItem>, ImportError> {
        let kind = meta.file_type();
        if kind.is_dir() {
            return Ok(Some(ListedItem::Dir { number: queue.push(path), mtime: meta.mtime() }));
        }
        if kind.is_file() {
            let file = HostFile::new(path, meta);
            return Ok(Some(ListedItem::File { file, links: meta.nlink() }));
        }
        if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(|e| io_error("read the link", &path, e))?;
            return Ok(self.symlink(&path, &target, meta.mtime()));
        }
        self.refuse(&path, foreign(kind));
        Ok(None)
    }

    fn symlink(&mut self, path: &Path, target: &Path, mtime: i64) -> Option<ListedItem> {
        let target = symlink_target(target);
        if target.is_none() {
            self.refuse(path, BAD_TARGET);
        }
        Some(ListedItem::Symlink { mtime, target: target? })
    }

    fn refuse(&mut self, path: &Path, reason: &str) {
        self.refusals.push(Refusal { path: path.to_owned(), reason: reason.to_owned() });
    }
}

/// A list of host files, in which every inode is to be read once.
#[derive(Default)]
pub(crate) struct FileList {
    files: Vec<HostFile>,
    /// Files with several links, by device and inode.
    links: HashMap<(u64, u64), usize>,
}

impl FileList {
    /// Appends a file that has this many links, and returns its index.
    pub(crate) fn add(&mut self, mut file: HostFile, links: u64) -> usize {
        let index = self.files.len();
        if links > 1 {
            let key = (file.stamp.device, file.stamp.inode);
            let first = *self.links.entry(key).or_insert(index);
            file.same_as = (first != index).then_some(first);
        }
        self.files.push(file);
        index
    }

    /// All files, in the order in which they came.
    pub(crate) fn into_files(self) -> Vec<HostFile> {
        self.files
    }
}

/// Puts the listed directories together.
struct Assembler {
    dirs: HashMap<usize, Vec<(Name, ListedItem)>>,
    files: FileList,
    refusals: Vec<Refusal>,
}

impl Assembler {
    fn dir(&mut self, number: usize, mtime: i64) -> HostDir {
        let listed = self.dirs.remove(&number).unwrap_or_default();
        let mut entries = Vec::with_capacity(listed.len());
        for (name, item) in listed {
            let item = match item {
                ListedItem::File { file, links } => HostItem::File(self.file(file, links)),
                ListedItem::Symlink { mtime, target } => HostItem::Symlink { mtime, target },
                ListedItem::Dir { number, mtime } => HostItem::Dir(self.dir(number, mtime)),
            };
            entries.push((name, item));
        }
        HostDir { mtime, entries }
    }

    fn file(&mut self, file: HostFile, links: u64) -> usize {
        self.files.add(file, links)
    }
}
