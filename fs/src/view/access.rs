//! To whom a snapshot's files belong and who may read them, where that is not as usual.
//!
//! Usual are the owner that the mount was given, 0644 for files, 0755 for directories and programs. Rules are
//! part of a snapshot, so they change with a flip and never below somebody's feet.
//!
//! Always true: the rule of a path is for that path alone (a directory that only its group may enter hides
//! what is below without changing it); only owner and group can be set for everything.

use std::collections::BTreeMap;

use crate::name::TreePath;

/// What is not as usual at one path; nothing below inherits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rule {
    /// Permission bits, such as 0750; those beyond 0777 are left out. A symlink has none of its own.
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

impl Rule {
    /// The rule where everything is as usual.
    pub const USUAL: Self = Self { mode: None, uid: None, gid: None };
}

/// The rules of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Owner and group of every path.
    everywhere: Rule,
    paths: BTreeMap<Box<str>, Rule>,
}

impl Access {
    /// Everything belongs to `uid` and `gid`, and single paths of the snapshot have rules besides, of which
    /// the last one of a path counts. The top is the empty path.
    pub fn new(
        uid: Option<u32>,
        gid: Option<u32>,
        paths: impl IntoIterator<Item = (TreePath, Rule)>,
    ) -> Self {
        let everywhere = Rule { mode: None, uid, gid };
        let paths = paths.into_iter().map(|(path, rule)| (path.as_str().into(), rule)).collect();
        Self { everywhere, paths }
    }

    /// The rule of the path that `path` returns, which is asked only when it matters.
    pub(crate) fn rule(&self, path: impl FnOnce() -> String) -> Rule {
        if self.paths.is_empty() {
            return self.everywhere;
        }
        let own = self.paths.get(path().as_str()).copied().unwrap_or_default();
        Rule {
            mode: own.mode.map(|mode| mode & 0o777),
            uid: own.uid.or(self.everywhere.uid),
            gid: own.gid.or(self.everywhere.gid),
        }
    }
}

/// Owner and permissions as `stat` tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Permit {
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
}
