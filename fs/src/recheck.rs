//! Reads back from the disk what came into a store lately, after the disk has failed.
//!
//! Always true: what is checked are the bytes on the disk, not those that the kernel remembers.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

use crate::digest::BlobId;
use crate::store::unclean::Mark;
use crate::store::{Context, Store, StoreError};
use crate::sweep;

/// Reads every blob that the failure could have affected; how many there are. The first that is not whole is the
/// error.
pub fn recheck(store: &Store, mark: &Mark) -> Result<u64, StoreError> {
    let mut checked = 0;
    for byte in 0..=u8::MAX {
        for id in sweep::blobs(store, byte)? {
            let late = fs::metadata(store.blob_path(id)).is_ok_and(|meta| mark.affects(meta.ctime()));
            checked += u64::from(late && read_back(store, id)?);
        }
    }
    Ok(checked)
}

/// Makes the kernel forget what it remembers of a file.
pub fn forget_pages(path: &Path) -> Result<(), StoreError> {
    let file = File::open(path).context("open", path)?;
    fadvise(&file, 0, None, Advice::DontNeed).context("forget the pages of", path)
}

/// Checks one blob on the disk; whether it is still there.
fn read_back(store: &Store, id: BlobId) -> Result<bool, StoreError> {
    let path = store.blob_path(id);
    match forget_pages(&path).and_then(|()| store.copy_blob(id, &mut io::sink())) {
        Ok(_) => Ok(true),
        // Collected meanwhile.
        Err(_) if !path.exists() => Ok(false),
        Err(error) => Err(error),
    }
}
