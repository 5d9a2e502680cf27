//! How long composes stay.

use serde::Deserialize;

use super::Age;

/// How long composes stay, for `cfs compose prune`. Full composes, promoted ones, pinned ones and what a symbolic
/// ref names stay for ever.
///
/// ```toml
/// [retention]
/// updates = "7d"
/// finished-updates = "90d"
/// unfinished = "30d"
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Retention {
    /// Composes of updates that are not finished, since they changed last [default: 7d].
    pub updates: Option<Age>,
    /// Composes of updates that are finished [default: they stay].
    pub finished_updates: Option<Age>,
    /// Full runs that did not end [default: they stay].
    pub unfinished: Option<Age>,
}

impl Retention {
    /// [`Retention::updates`], or the default.
    pub fn updates(&self) -> Age {
        self.updates.unwrap_or(Age { seconds: 7 * 86_400 })
    }
}
