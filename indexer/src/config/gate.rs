//! The names of the gates.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// A check that a promotion must pass. What each demands stands with the code that does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// No sync that failed stands behind what is promoted.
    Incomplete,
    /// Every name can be carried by every mirror, list and client.
    Names,
    /// Symlinks are relative, stay inside and lead somewhere.
    Symlinks,
    /// Not more is removed than anybody could have meant.
    Deletes,
    /// Repositories hold what their metadata says.
    Repodata,
    /// Packages and metadata are signed with the view's keys.
    Signatures,
    /// Packages find what they require.
    Closure,
    /// Enough of those who may have approved of what is promoted.
    Approvals,
    /// Content that changes at a path gets a later time.
    Mtime,
}

impl Gate {
    /// All gates, in the order in which they are checked.
    pub const ALL: [Self; 9] = [
        Self::Incomplete,
        Self::Names,
        Self::Symlinks,
        Self::Deletes,
        Self::Repodata,
        Self::Signatures,
        Self::Closure,
        Self::Approvals,
        Self::Mtime,
    ];

    /// The name, as people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Names => "names",
            Self::Symlinks => "symlinks",
            Self::Deletes => "deletes",
            Self::Repodata => "repodata",
            Self::Signatures => "signatures",
            Self::Closure => "closure",
            Self::Approvals => "approvals",
            Self::Mtime => "mtime",
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Gate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|gate| gate.name() == text);
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.into_iter().map(Self::name).collect();
            format!("no gate is called {text:?}; there are {}", names.join(", "))
        })
    }
}
