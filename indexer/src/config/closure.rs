//! Which repositories of a view must be closed.

use cfs_fs::name::TreePath;
use serde::Deserialize;

/// Repositories whose packages must find what they require, for the gate `closure`.
///
/// ```toml
/// [[view.production.closure]]
/// repositories = ["pub/rocky/9/AppStream/x86_64/os"]
/// lookaside = ["pub/rocky/9/BaseOS/x86_64/os"]
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Closure {
    /// Directories of the view: all repositories at and below them.
    pub repositories: Vec<TreePath>,
    /// The same of those that may be needed beside them.
    pub lookaside: Vec<TreePath>,
    /// The machines [default: all that the packages are for].
    pub arch: Vec<String>,
    /// Of each name and architecture in a repository, only the newest counts.
    pub newest: bool,
    /// Packages must be installable, whatever conflicts or is obsoleted.
    pub installable: bool,
    /// Problems that the view has already do not count.
    pub only_new: bool,
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
        let (repositories, lookaside) = (paths(repositories)?, paths(lookaside)?);
        Ok(Self { repositories, lookaside, arch, newest, installable, only_new })
    }
}
