//! Permissions as lists tell them.
//!
//! Always true: a path without a rule has the usual mode of what stands there; a rule is for its path alone.

use std::collections::{BTreeMap, BTreeSet};

use cfs_fs::name::TreePath;
use cfs_fs::tree::{Item, Kind};

use crate::snapshot::Rules;

const READABLE_BY_GROUP: u16 = 0o040;
const READABLE_BY_ALL: u16 = 0o004;

/// The permission bits of the paths of a snapshot that have others than usual.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Modes(BTreeMap<Box<str>, u16>);

impl From<&Rules> for Modes {
    fn from(rules: &Rules) -> Self {
        rules.iter().filter_map(|(path, rule)| Some((path.clone(), rule.mode?))).collect()
    }
}

impl FromIterator<(TreePath, u16)> for Modes {
    fn from_iter<T: IntoIterator<Item = (TreePath, u16)>>(rules: T) -> Self {
        Self(rules.into_iter().map(|(path, mode)| (path.as_str().into(), mode & 0o777)).collect())
    }
}

impl Modes {
    /// The permission bits of `item` at `path` of the snapshot.
    pub fn of(&self, path: &str, item: &Item) -> u16 {
        let usual = match item.kind {
            Kind::Symlink { .. } => return 0o777,
            Kind::File { executable: false, .. } => 0o644,
            Kind::File { executable: true, .. } | Kind::Dir(_) => 0o755,
        };
        self.0.get(path).copied().unwrap_or(usual)
    }

    /// The permission bits of a directory at `path`.
    pub(super) fn of_dir(&self, path: &str) -> u16 {
        self.0.get(path).copied().unwrap_or(0o755)
    }

    /// The paths whose rule differs between the two.
    pub(super) fn differing<'a>(&'a self, other: &'a Self) -> BTreeSet<&'a str> {
        let rules = self.0.iter().filter(|(path, mode)| other.0.get(*path) != Some(*mode));
        let others = other.0.iter().filter(|(path, mode)| self.0.get(*path) != Some(*mode));
        rules.chain(others).map(|(path, _)| &**path).collect()
    }

    /// Whether a walker of the group finds nothing at a path with this mode.
    pub(super) fn hides(mode: u16) -> bool {
        mode & READABLE_BY_GROUP == 0
    }

    /// Whether not everybody may read what has this mode.
    pub(super) fn restricts(mode: u16) -> bool {
        mode & READABLE_BY_ALL == 0
    }
}
