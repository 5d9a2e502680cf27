//! Downloads that are not finished yet: files in the store's `partial/`, kept when a run breaks off.
//!
//! Each upstream has a directory there, called by the hash of its address and locked in the kernel by the
//! sync that uses it; a file in it is called by the checksum its upstream declares. Nothing that an upstream
//! says becomes part of a path. Always true: what is found in such a file counts only after it was hashed
//! again, and a file leaves the directory only when its bytes are the declared ones.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cfs_fs::store::{Store, StoreError};
use rustix::fs::{FlockOperation, flock};

use crate::address::Address;
use crate::checksum::{Checksum, Hashed, Hasher};

/// An upstream's directory of unfinished downloads, locked.
#[derive(Debug)]
pub(super) struct PartialDir {
    dir: PathBuf,
    _lock: File,
}

impl PartialDir {
    /// Opens and locks the directory of `address`; waits while another sync of the same address runs, after
    /// calling `wait` once.
    pub(super) fn lock(store: &Store, address: &Address, wait: &mut dyn FnMut()) -> Result<Self, StoreError> {
        let name = blake3::hash(address.to_string().as_bytes()).to_hex();
        let dir = store.partial_dir().join(&name[..32]);
        let path = dir.join("lock");
        let fail = |verb| {
            let path = path.clone();
            move |source: io::Error| StoreError::Io { verb, path, source }
        };
        loop {
            fs::create_dir_all(&dir).map_err(fail("create the directory of"))?;
            let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
            let lock = match opened {
                // Its last user has just removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(fail("open"))?,
            };
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                wait();
                flock(&lock, FlockOperation::LockExclusive).map_err(|error| fail("lock")(error.into()))?;
            }
            // Whoever held the lock before may have removed the directory, and the lock with it.
            let held = lock.metadata().map_err(fail("look at"))?;
            if fs::metadata(&path).is_ok_and(|now| (now.dev(), now.ino()) == (held.dev(), held.ino())) {
                return Ok(Self { dir, _lock: lock });
            }
        }
    }

    /// Opens what there is of the file with this checksum.
    pub(super) fn open(&self, checksum: &Checksum) -> Result<Partial, StoreError> {
        let path = self.dir.join(format!("{}-{}", checksum.algorithm(), checksum.to_hex()));
        Partial::open(path, checksum)
    }

    /// Removes the directory with all that is left in it: everything was downloaded.
    pub(super) fn remove(self) {
        // The lock comes last, and a directory that somebody has entered since is not empty and stays. What
        // cannot be removed now, the next sync uses or removes.
        let lock = self.dir.join("lock");
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if entry.path() != lock {
                let _ = fs::remove_file(entry.path());
            }
        }
        let _ = fs::remove_file(lock);
        let _ = fs::remove_dir(&self.dir);
    }
}

/// One unfinished download.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    /// Whether an earlier run finished it. It may have become a blob under another name since.
    is_sealed: bool,
}

impl Partial {
    fn open(path: PathBuf, checksum: &Checksum) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = match options.open(&path) {
            // A whole file is read-only; the run that finished it ended before it was taken.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(&path),
            opened => opened,
        };
        let file = file.map_err(|source| failed("open", &path, source))?;
        let found = file.metadata().map_err(|source| failed("look at", &path, source))?;
        let is_sealed = found.permissions().readonly();
        let mut partial = Self { path, file, hasher: Hasher::new(checksum.algorithm()), is_sealed };
        partial.rehash().map_err(|source| failed("read", &partial.path, source))?;
        Ok(partial)
    }

    fn rehash(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 17];
        loop {
            match self.file.read(&mut buffer)? {
                0 => return Ok(()),
                read => self.hasher.update(&buffer[..read]),
            }
        }
    }

    /// How many bytes are there.
    pub(super) fn size_bytes(&self) -> u64 {
        self.hasher.size_bytes()
    }

    /// Whether an earlier run finished the file: nothing may be added to it.
    pub(super) fn is_sealed(&self) -> bool {
        self.is_sealed
    }

    /// Adds the next bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(|source| failed("write", &self.path, source))
    }

    /// Throws away what is there.
    pub(super) fn restart(&mut self) -> Result<(), StoreError> {
        let Self { path, file, hasher, is_sealed } = self;
        let restart = (|| {
            // A new file rather than the old one shortened: the old one may be read-only.
            fs::remove_file(&*path)?;
            *file = OpenOptions::new().read(true).write(true).create_new(true).open(&*path)?;
            file.seek(SeekFrom::Start(0))
        })();
        *hasher = Hasher::new(hasher.algorithm());
        *is_sealed = false;
        restart.map(drop).map_err(|source| failed("restart", path, source))
    }

    /// The digests of what is there.
    pub(super) fn hashed(&self) -> Hashed {
        self.hasher.clone().finish()
    }

    /// Makes the file read-only for all, as a blob is, and returns its path.
    pub(super) fn finish(self) -> Result<PathBuf, StoreError> {
        let sealed = self.file.set_permissions(Permissions::from_mode(0o444));
        sealed.map_err(|source| failed("seal", &self.path, source))?;
        Ok(self.path)
    }

    /// Removes the file: its bytes are of no use.
    pub(super) fn discard(self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn failed(verb: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { verb, path: path.to_owned(), source }
}
