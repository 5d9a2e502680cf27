//! Reading files that nobody opened.
//!
//! Where all reads are questions, the kernel need not ask before it opens a file: that halves what a small file
//! costs the first time, and spares all of it while the kernel has its bytes. A read then names the file only.
//!
//! Always true: bytes come from a content that was opened, and hashed where that is promised, since the kernel got
//! to know the file; no more than [`KEPT`] are open.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use lru::LruCache;

use super::content::Content;
use super::inodes::{Inode, lock};
use super::roots::Roots;
use super::{View, ViewError};
use crate::digest::BlobId;
use crate::tree::Nodes;

/// Contents that are kept open for the next read.
const KEPT: NonZeroUsize = NonZeroUsize::new(256).expect("it is not zero");

/// The contents that were read last.
#[derive(Debug)]
pub(super) struct Contents(Mutex<LruCache<BlobId, Arc<Content>>>);

impl Default for Contents {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(KEPT)))
    }
}

impl<R: Roots, N: Nodes> View<R, N> {
    /// Fills `buffer` from `offset` of a file on; returns how many bytes there were.
    pub fn read_unopened(&self, inode: Inode, offset: u64, buffer: &mut [u8]) -> Result<usize, ViewError> {
        let kept = self.verified_blob(inode).and_then(|blob| lock(&self.contents.0).get(&blob).cloned());
        if let Some(content) = kept {
            return content.read(offset, buffer);
        }
        let content = Arc::new(self.content(inode)?);
        let read = content.read(offset, buffer);
        // What is closed for it is closed when the lock is free again.
        let gone = lock(&self.contents.0).push(content.blob(), content);
        drop(gone);
        read
    }
}
