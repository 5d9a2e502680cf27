//! What the server makes of the bytes of a request, without a server: for tests that try hostile ones.

use std::ops::Range;

use super::head;
use super::ranges::{self, Wanted};
use super::target::Target;
use crate::name::TreePath;

/// A request as it is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Bytes of its head.
    pub head_bytes: usize,
    /// The path that it asks for; an inner `None` for one that no tree can hold, an outer for what is no path.
    pub path: Option<Option<TreePath>>,
}

/// Reads the request at the beginning of `bytes`: `Ok(None)` while it is not whole, or the status of the refusal.
pub fn request(bytes: &[u8]) -> Result<Option<Asked>, u16> {
    let found = head::parse(bytes).map_err(head::HeadError::status)?;
    Ok(found.map(|(request, head_bytes)| Asked {
        head_bytes,
        path: request.target.ok().map(|target| target.path),
    }))
}

/// The path that a target asks for; an inner `None` for one that no tree can hold, an outer for what is no path.
pub fn path(target: &str) -> Option<Option<TreePath>> {
    Target::parse(target).ok().map(|target| target.path)
}

/// The parts of a content of `size_bytes` that a header `Range` asks for: none for all of it.
pub fn ranges(header: &[u8], size_bytes: u64) -> Option<Vec<Range<u64>>> {
    match ranges::parse(header, size_bytes) {
        Wanted::Whole => None,
        Wanted::Parts(parts) => Some(parts),
        Wanted::Nothing => Some(Vec::new()),
    }
}
