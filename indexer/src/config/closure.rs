//! Which repositories of a view must be closed.

use std::fmt;
use std::str::FromStr;

use cfs_fs::name::TreePath;
use serde::Deserialize;

use crate::revision::{RevPath, RevisionError};

/// Repositories whose packages must find what they require, for the gate `closure`.
///
/// ```toml
/// [[view.production.closure]]
/// repositories = ["pub/rocky/9/AppStream/x86_64/os"]
/// lookaside = ["pub/rocky/9/BaseOS/x86_64/os", "production:pub/rocky/9/CRB/x86_64/os"]
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Closure {
    /// Directories of the view: all repositories at and below them.
    pub repositories: Vec<TreePath>,
    /// The same of those that may be needed beside them; `REV:PATH` is one that is not in the view.
    pub lookaside: Vec<Lookaside>,
    /// The machines [default: all that the packages are for].
    pub arch: Vec<String>,
    /// Of each name and architecture in a repository, only the newest counts.
    pub newest: bool,
    /// Packages must be installable, whatever conflicts or is obsoleted.
    pub installable: bool,
    /// Problems that the view has already do not count.
    pub only_new: bool,
}

/// A directory whose repositories may be needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookaside {
    /// One of the view, as it is after the promotion.
    InView(TreePath),
    /// One elsewhere.
    Elsewhere(RevPath),
}

impl fmt::Display for Lookaside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InView(path) => path.fmt(f),
            Self::Elsewhere(place) => place.fmt(f),
        }
    }
}

impl FromStr for Lookaside {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(':') {
            return text.parse().map(Self::Elsewhere).map_err(|error: RevisionError| error.to_string());
        }
        text.parse().map(Self::InView).map_err(|error| format!("{text:?}: {error}"))
    }
}

/// As it stands in the configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    repositories: Vec<String>,
    #[serde(default)]
    lookaside: Vec<String>,
    #[serde(default)]
    arch: Vec<String>,
    #[serde(default)]
    newest: bool,
    #[serde(default)]
    installable: bool,
    #[serde(default)]
    only_new: bool,
}

impl TryFrom<Written> for Closure {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { repositories, lookaside, arch, newest, installable, only_new } = written;
        let paths = |texts: Vec<String>| -> Result<Vec<TreePath>, String> {
            let parse = |text: String| text.parse::<TreePath>().map_err(|error| format!("{text:?}: {error}"));
            texts.into_iter().map(parse).collect()
        };
        if repositories.is_empty() {
            return Err("a closure needs repositories".to_owned());
        }
        let repositories = paths(repositories)?;
        let lookaside = lookaside.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        Ok(Self { repositories, lookaside, arch, newest, installable, only_new })
    }
}
