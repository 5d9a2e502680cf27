//! Files of an upstream that is a directory of this host.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use super::{Document, FetchError, Order};
use crate::sync::partial::Partial;

/// Opens a regular file; a pipe or a device would never end.
fn open(path: &Path) -> Result<(File, u64, Option<i64>), FetchError> {
    let gone = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FetchError::NotFound(error.to_string()),
        _ => FetchError::Read(error),
    };
    let meta = std::fs::metadata(path).map_err(gone)?;
    if !meta.is_file() {
        return Err(FetchError::Read(io::Error::other("it is not a regular file")));
    }
    let modified = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified = modified.and_then(|age| i64::try_from(age.as_secs()).ok());
    Ok((File::open(path).map_err(gone)?, meta.len(), modified))
}

/// Reads a small file.
pub(super) fn document(path: &Path, cap_bytes: u64) -> Result<Document, FetchError> {
    let (file, _, modified) = open(path)?;
    let mut bytes = Vec::new();
    file.take(cap_bytes + 1).read_to_end(&mut bytes).map_err(FetchError::Read)?;
    if bytes.len() as u64 > cap_bytes {
        return Err(FetchError::TooLarge { limit_bytes: cap_bytes });
    }
    Ok(Document { bytes, modified })
}

/// Copies a file; what an earlier run left is copied again.
pub(super) fn copy(
    path: &Path,
    order: &Order,
    partial: &mut Partial,
    received: &AtomicU64,
) -> Result<(), FetchError> {
    let (mut file, size_bytes, _) = open(path)?;
    if let Some(declared_bytes) = order.size_bytes.filter(|declared| *declared != size_bytes) {
        return Err(FetchError::Size { found_bytes: size_bytes, declared_bytes });
    }
    if partial.size_bytes() > 0 {
        partial.restart()?;
    }
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = file.read(&mut buffer).map_err(FetchError::Read)?;
        if read == 0 {
            return Ok(());
        }
        if partial.size_bytes() + read as u64 > order.cap_bytes {
            return Err(FetchError::TooLarge { limit_bytes: order.cap_bytes });
        }
        partial.append(&buffer[..read])?;
        received.fetch_add(read as u64, Ordering::Relaxed);
    }
}
