//! Policies of refs.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Closure, Gate, Lists};
use crate::refname::RefName;

/// Removals in one promotion that nobody means.
const MAX_DELETES: u64 = 40_000;
/// The same in percent of what was there.
const MAX_DELETES_PERCENT: u64 = 10;

/// What the section is called that holds for every ref without one of its own.
const ALL: &str = "*";

/// What holds for a ref that readers see. A ref without a section has that of `[view."*"]`; without one of those it
/// has no policy but that a promotion must not surprise a mirror: the gates `incomplete` and `mtime`. More than
/// that cannot be asked of a ref of which nobody said that it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct View {
    /// The user that everything in it belongs to, by number.
    pub owner: Option<u32>,
    /// The group, by number.
    pub group: Option<u32>,
    /// What promotions into it must pass [default: all, `signatures` only with `keys`, `closure` only with `closure`].
    pub gates: Option<Vec<Gate>>,
    /// Files with the keys that packages and metadata must be signed with.
    #[serde(default)]
    pub keys: Vec<PathBuf>,
    /// The most files that a promotion may remove.
    pub max_deletes: Option<u64>,
    /// The most that it may remove in percent of what the places it goes to had.
    pub max_deletes_percent: Option<u64>,
    /// Who may promote into it [default: everybody who may write to the store].
    pub who_may: Option<WhoMay>,
    /// How many must have approved of what is promoted into it, besides who promotes it.
    pub approvals: Option<u32>,
    /// Who may approve.
    pub approvers: Option<WhoMay>,
    /// A file of allowed signers, as ssh-keygen reads it; approvals must be signed by them.
    pub signers: Option<PathBuf>,
    /// Its moves must be signed by them, too.
    #[serde(default)]
    pub signed_moves: bool,
    /// The file lists of its directories.
    #[serde(default)]
    pub lists: Vec<Lists>,
    /// What must be closed.
    #[serde(default)]
    pub closure: Vec<Closure>,
}

/// Users and groups, by name or by number.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhoMay {
    /// Users.
    #[serde(default)]
    pub users: Vec<String>,
    /// Groups.
    #[serde(default)]
    pub groups: Vec<String>,
}

impl View {
    /// The policy of a ref that has no section.
    pub fn unconfigured() -> Self {
        Self { gates: Some(vec![Gate::Incomplete, Gate::Mtime]), ..Self::default() }
    }

    /// What no single value tells: what the view asks for and nobody can give. `of_all` is for the section of all refs.
    pub(super) fn fault(&self, of_all: bool) -> Option<&'static str> {
        match (self.approvals, &self.approvers) {
            (Some(_), _) if of_all => {
                Some("holds for composes too, which nothing approved could come into: name the views")
            }
            (Some(0), _) => Some("needs 0 approvals: leave `approvals` out"),
            (Some(_), None) => Some("needs `approvals`, and `approvers` does not say whose"),
            (Some(needed), Some(who)) if who.groups.is_empty() && who.users.len() < needed as usize => {
                Some("needs more `approvals` than it has `approvers`")
            }
            _ if self.signed_moves && self.signers.is_none() => {
                Some("has `signed-moves`, and `signers` does not say whose signatures count")
            }
            _ => None,
        }
    }

    /// The gates that promotions into the view must pass, in the order of checking.
    pub fn gates(&self) -> Vec<Gate> {
        let wanted = |gate: &Gate| match &self.gates {
            Some(gates) => gates.contains(gate),
            None => match gate {
                Gate::Signatures => !self.keys.is_empty(),
                Gate::Closure => !self.closure.is_empty(),
                _ => true,
            },
        };
        // Approvals are no matter of `gates`: who demands them means it.
        let wanted = |gate: &Gate| match gate {
            Gate::Approvals => self.approvals.is_some(),
            gate => wanted(gate),
        };
        Gate::ALL.into_iter().filter(wanted).collect()
    }

    /// See [`View::max_deletes`].
    pub fn max_deletes(&self) -> u64 {
        self.max_deletes.unwrap_or(MAX_DELETES)
    }

    /// See [`View::max_deletes_percent`].
    pub fn max_deletes_percent(&self) -> u64 {
        self.max_deletes_percent.unwrap_or(MAX_DELETES_PERCENT)
    }
}

impl super::Config {
    /// The policy of a ref.
    pub fn view(&self, name: &RefName) -> View {
        let of_all = || self.views.iter().find(|(name, _)| name.as_str() == ALL).map(|(_, view)| view);
        self.views.get(name).or_else(of_all).cloned().unwrap_or_else(View::unconfigured)
    }
}
