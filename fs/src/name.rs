//! Names and paths inside trees: validated once, when they enter, and trusted ever after.
//!
//! Always true: a [`Name`] is one component that every mirror, file list and client can carry (UTF-8, no
//! separator, no control character, at most 255 bytes), and a [`TreePath`] is relative, normal and bounded.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

/// Longest name in bytes: what ext4, xfs and NFS allow.
pub const NAME_MAX_BYTES: usize = 255;
/// Longest path in bytes, below Linux's `PATH_MAX` with room for a mount point before it.
pub const PATH_MAX_BYTES: usize = 3072;
/// Deepest path in components; composes stay under 12.
pub const DEPTH_MAX: usize = 64;

/// Why a name or a path cannot enter a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?}: {reason}")]
pub struct NameError {
    /// The offending name or path, lossily decoded where it is not UTF-8.
    pub name: String,
    /// What is wrong with it.
    pub reason: NameFault,
}

/// The rule that a name or a path breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// Zero bytes long, or a path with an empty component.
    #[error("is empty or has an empty component")]
    Empty,
    /// `.` or `..`.
    #[error("is or contains the relative component . or ..")]
    Relative,
    /// A `/` inside a name.
    #[error("contains a separator")]
    Separator,
    /// NUL, newline, tab or another control character.
    #[error("contains a control character")]
    Control,
    /// Not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// Over [`NAME_MAX_BYTES`], [`PATH_MAX_BYTES`] or [`DEPTH_MAX`].
    #[error("is too long or too deep")]
    TooLong,
}

fn fault(bytes: &[u8], reason: NameFault) -> NameError {
    NameError { name: String::from_utf8_lossy(bytes).into_owned(), reason }
}

fn check_name(bytes: &[u8]) -> Result<&str, NameError> {
    let refuse = |reason| Err(fault(bytes, reason));
    match bytes {
        b"" => return refuse(NameFault::Empty),
        b"." | b".." => return refuse(NameFault::Relative),
        _ if bytes.len() > NAME_MAX_BYTES => return refuse(NameFault::TooLong),
        _ => {}
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return refuse(NameFault::NotUtf8) };
    if text.contains('/') {
        return refuse(NameFault::Separator);
    }
    if text.chars().any(char::is_control) {
        return refuse(NameFault::Control);
    }
    Ok(text)
}

/// One valid component of a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

impl Name {
    /// Accepts `bytes` as a name, or says which rule they break.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, NameError> {
        check_name(bytes.as_ref()).map(|text| Self(text.into()))
    }

    /// A component of a [`TreePath`], valid since the path is.
    pub(crate) fn of_component(component: &str) -> Self {
        Self(component.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as bytes, the order in which directories are sorted.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A path inside a tree: names joined by `/`, without a leading or a trailing one. The empty path is the
/// tree's own top directory.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct TreePath(Box<str>);

impl TreePath {
    /// The top of a tree.
    pub fn root() -> Self {
        Self::default()
    }

    /// Accepts `bytes` as a path relative to the top of a tree; no leading, trailing or double separators.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, NameError> {
        let bytes = bytes.as_ref();
        if bytes.is_empty() {
            return Ok(Self::root());
        }
        let mut depth = 0;
        for component in bytes.split(|&b| b == b'/') {
            check_name(component).map_err(|e| fault(bytes, e.reason))?;
            depth += 1;
        }
        if bytes.len() > PATH_MAX_BYTES || depth > DEPTH_MAX {
            return Err(fault(bytes, NameFault::TooLong));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| fault(bytes, NameFault::NotUtf8))?;
        Ok(Self(text.into()))
    }

    /// Whether this is the top of the tree.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path as text; empty for the top.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components from the top down, each a valid [`Name`].
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|component| !component.is_empty())
    }

    /// This path with `name` below it; fails only when the result is too long or too deep.
    pub fn join(&self, name: &Name) -> Result<Self, NameError> {
        self.append(name.as_str())
    }

    /// This path with all of `below` below it.
    pub fn concat(&self, below: &Self) -> Result<Self, NameError> {
        if below.is_root() { Ok(self.clone()) } else { self.append(below.as_str()) }
    }

    fn append(&self, tail: &str) -> Result<Self, NameError> {
        if self.is_root() { Self::new(tail) } else { Self::new(format!("{}/{tail}", self.0)) }
    }

    /// Whether this is `dir` or something in it, at any depth.
    pub fn is_below(&self, dir: &Self) -> bool {
        let rest = self.0.strip_prefix(&*dir.0);
        dir.is_root() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The directory and the last name, or `None` for the top.
    pub fn split_last(&self) -> Option<(Self, Name)> {
        if self.is_root() {
            return None;
        }
        let (parent, last) = self.0.rsplit_once('/').unwrap_or(("", &self.0));
        Some((Self(parent.into()), Name(last.into())))
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Component by component, so that a directory's whole content stands together and in walk order.
impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.components().cmp(other.components())
    }
}

impl FromStr for TreePath {
    type Err = NameError;

    /// As the user types it: one leading and any trailing `/` are forgiven.
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text.strip_prefix('/').unwrap_or(text).trim_end_matches('/'))
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests;
