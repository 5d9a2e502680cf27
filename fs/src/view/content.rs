//! Blobs as open files.
//!
//! Always true: a blob of up to [`VERIFY_BYTES`] was read and hashed before its first byte is given out, and
//! again when the kernel had forgotten the file; a larger one has at least the size that the tree states.
//! What fails either check is not opened at all.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use super::ViewError;
use super::inodes::{File, Inode};
use crate::digest::{BlobId, Digest};
use crate::store::{Store, StoreError};

/// Blobs of up to this size are hashed when they are opened first: some 20 ms for the largest, and a thousand
/// times less for a typical file of a repository. Hashing an image of a DVD would delay its first byte by
/// seconds, so that is left to a check of the whole store.
pub const VERIFY_BYTES: u64 = 64 << 20;

/// The content of a file of a view, open.
#[derive(Debug)]
pub struct Content {
    file: fs::File,
    blob: BlobId,
    size_bytes: u64,
}

/// A file that is open by a handle.
#[derive(Debug)]
pub(super) enum OpenFile {
    /// For reading.
    Ready(Content),
    /// By somebody who will hardly read it.
    Unread {
        /// The file.
        inode: Inode,
        /// Its blob.
        blob: BlobId,
        /// There once it has been read all the same.
        content: OnceLock<Content>,
    },
}

impl OpenFile {
    /// Whose bytes they are.
    pub(super) fn blob(&self) -> BlobId {
        match self {
            Self::Ready(content) => content.blob,
            Self::Unread { blob, .. } => *blob,
        }
    }

    /// The content, which `open` opens if that is to be done yet.
    pub(super) fn content(
        &self,
        open: impl FnOnce(Inode) -> Result<Content, ViewError>,
    ) -> Result<&Content, ViewError> {
        let (inode, content) = match self {
            Self::Ready(content) => return Ok(content),
            Self::Unread { inode, content, .. } => (*inode, content),
        };
        if let Some(content) = content.get() {
            return Ok(content);
        }
        let opened = open(inode)?;
        // Somebody else may have done it meanwhile.
        Ok(content.get_or_init(|| opened))
    }
}

impl AsFd for Content {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Content {
    /// Whose bytes they are.
    pub fn blob(&self) -> BlobId {
        self.blob
    }

    /// Opens the content of `file`; hashes it unless it `is_verified` or too large.
    pub(super) fn open(store: &Store, file: &File, is_verified: bool) -> Result<Self, ViewError> {
        let opened = store.open_blob(file.blob)?;
        let path = store.blob_path(file.blob);
        let failed = |source| ViewError::Store(StoreError::Io { verb: "read", path: path.clone(), source });
        let meta = opened.metadata().map_err(failed)?;
        let content = Self { file: opened, blob: file.blob, size_bytes: file.size_bytes };
        if !meta.is_file() || meta.len() != file.size_bytes {
            return Err(content.wrong_size(meta.len()));
        }
        if !is_verified && file.size_bytes <= VERIFY_BYTES {
            let found = content.hash().map_err(failed)?;
            if found != file.blob {
                return Err(StoreError::Damaged { id: file.blob, found }.into());
            }
        }
        Ok(content)
    }

    /// Fills `buffer` from `offset` on, as far as the file goes; returns how many bytes that are.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, ViewError> {
        let left = usize::try_from(self.size_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        match self.file.read_exact_at(&mut buffer[..wanted], offset) {
            Ok(()) => Ok(wanted),
            // The file was whole when it was opened.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.wrong_size(self.file.metadata().map_or(0, |meta| meta.len())))
            }
            Err(source) => Err(ViewError::Read { blob: self.blob, offset, source }),
        }
    }

    fn wrong_size(&self, found_bytes: u64) -> ViewError {
        ViewError::WrongSize { blob: self.blob, expected_bytes: self.size_bytes, found_bytes }
    }

    fn hash(&self) -> io::Result<BlobId> {
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; usize::try_from(self.size_bytes).unwrap_or(usize::MAX).clamp(1, 1 << 18)];
        let mut offset = 0;
        loop {
            let read = self.file.read_at(&mut buffer, offset)?;
            if read == 0 {
                return Ok(Digest::from(hasher.finalize()).into());
            }
            hasher.update(&buffer[..read]);
            offset += read as u64;
        }
    }
}
