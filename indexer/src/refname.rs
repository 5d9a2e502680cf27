//! Names of refs: `compose/9/Rocky-9.7-20251124.0`, `staging`, `production`.

use std::fmt;
use std::str::FromStr;

use cfs_fs::name::{NAME_MAX_BYTES, TreePath};

/// Why a text names no ref.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} cannot name a ref: {reason}")]
pub struct RefNameError {
    /// The text as given.
    pub name: String,
    /// The rule it breaks.
    pub reason: String,
}

/// A ref's name: path components without white space and without what revisions need for themselves
/// (`@ : { }`), none beginning with `-` or `.`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(TreePath);

impl RefName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The name as a path of directories, as a mount shows it.
    pub fn as_path(&self) -> &TreePath {
        &self.0
    }
}

impl FromStr for RefName {
    type Err = RefNameError;

    fn from_str(text: &str) -> Result<Self, RefNameError> {
        let refuse = |reason: &str| RefNameError { name: text.to_owned(), reason: reason.to_owned() };
        let path = TreePath::new(text).map_err(|error| refuse(&error.reason.to_string()))?;
        if path.is_root() {
            return Err(refuse("is empty"));
        }
        if text.len() > NAME_MAX_BYTES {
            return Err(refuse("is too long"));
        }
        if text.contains(|c: char| c.is_whitespace() || "@:{}\\".contains(c)) {
            return Err(refuse("contains white space or one of @ : { } \\"));
        }
        if path.components().any(|component| component.starts_with(['-', '.'])) {
            return Err(refuse("a component begins with - or ."));
        }
        Ok(Self(path))
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
