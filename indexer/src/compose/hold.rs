//! Runs of one compose, one at a time.
//!
//! Always true: whoever gathers or finishes a compose holds its lock, which the kernel drops with the process. The
//! lock's file is called by a hash of the compose's name and goes with the lock.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use cfs_fs::digest::Digest;
use cfs_fs::store::{Store, StoreError};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::ComposeError;
use crate::catalogue::CatalogueError;
use crate::refname::RefName;

/// The lock of a compose.
#[derive(Debug)]
pub(super) struct Hold {
    path: PathBuf,
    _file: File,
}

impl Hold {
    /// Takes the lock of the compose `name`; `None` while somebody else has it.
    pub(super) fn try_take(store: &Store, name: &RefName) -> Result<Option<Self>, ComposeError> {
        let hash = Digest::of(name.as_str().as_bytes()).to_string();
        let path = store.root().join("tmp").join(format!("compose-{}", &hash[..32]));
        let failed = |source: io::Error| {
            let error = StoreError::Io { verb: "lock", path: path.clone(), source };
            ComposeError::from(CatalogueError::from(error))
        };
        loop {
            let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
            let file = opened.map_err(failed)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => return Ok(None),
                locked => locked.map_err(|error| failed(error.into()))?,
            }
            // Whoever had it before may have removed the file.
            let held = file.metadata().map_err(failed)?;
            if fs::metadata(&path).is_ok_and(|now| (now.dev(), now.ino()) == (held.dev(), held.ino())) {
                return Ok(Some(Self { path, _file: file }));
            }
        }
    }

    /// Takes the lock, or says who is to be waited for.
    pub(super) fn take(store: &Store, name: &RefName) -> Result<Self, ComposeError> {
        Self::try_take(store, name)?.ok_or_else(|| ComposeError::Busy { name: name.clone() })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // What stays behind is taken again by the next one.
        let _ = fs::remove_file(&self.path);
    }
}
