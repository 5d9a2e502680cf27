//! How far the reading of all blobs has come, so that the next one goes on there.
//!
//! Always true: the file `run/scrub` says after which blob to go on and which bad ones were found before it; it is
//! replaced by a rename, and a damaged one only means to begin anew. `run/scrub.lock` is locked by who reads.

use std::fmt::Write;
use std::fs::{self, File, OpenOptions};
use std::path::PathBuf;

use cfs_fs::digest::BlobId;
use cfs_fs::store::{Store, StoreError};
use rustix::fs::{FlockOperation, flock};

const HEADER: &str = "cfs-scrub 1";

/// The place of a reading, held by one process at a time.
#[derive(Debug)]
pub(super) struct Cursor {
    path: PathBuf,
    _lock: File,
    /// The last blob of those that were read in order.
    pub(super) after: Option<BlobId>,
    /// Bad blobs among those before it.
    pub(super) bad: Vec<BlobId>,
    /// When it began, seconds since 1970.
    pub(super) began: i64,
}

impl Cursor {
    /// Takes up the last reading, or begins one at `now`. `None` while another process reads.
    pub(super) fn open(store: &Store, now: i64, restart: bool) -> Result<Option<Self>, StoreError> {
        let path = store.run_dir().join("scrub");
        let lock_path = path.with_extension("lock");
        let failed = |source| StoreError::Io { verb: "lock", path: lock_path.clone(), source };
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            locked => locked.map_err(|error| failed(error.into()))?,
        }
        let text = if restart { String::new() } else { fs::read_to_string(&path).unwrap_or_default() };
        let (after, bad, began) = parse(&text).unwrap_or((None, Vec::new(), now));
        Ok(Some(Self { path, _lock: lock, after, bad, began }))
    }

    /// Remembers it.
    pub(super) fn save(&self) -> Result<(), StoreError> {
        let after = self.after.map(|id| id.to_string()).unwrap_or_default();
        let mut text = format!("{HEADER}\nbegan {}\nafter {after}\n", self.began);
        for id in &self.bad {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "bad {id}");
        }
        let new = self.path.with_extension("new");
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &self.path));
        written.map_err(|source| StoreError::Io { verb: "write", path: self.path.clone(), source })
    }

    /// Forgets it: everything was read.
    pub(super) fn finish(self) -> Result<(), StoreError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::Io { verb: "remove", path: self.path, source: error })
            }
            _ => Ok(()),
        }
    }
}

fn parse(text: &str) -> Option<(Option<BlobId>, Vec<BlobId>, i64)> {
    let mut lines = text.lines();
    (lines.next()? == HEADER).then_some(())?;
    let began = lines.next()?.strip_prefix("began ")?.parse().ok()?;
    let after = match lines.next()?.strip_prefix("after ")? {
        "" => None,
        digits => Some(digits.parse().ok()?),
    };
    let bad = lines.map(|line| line.strip_prefix("bad ")?.parse().ok()).collect::<Option<_>>()?;
    Some((after, bad, began))
}
