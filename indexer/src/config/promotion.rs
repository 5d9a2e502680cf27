//! Promotions that have a name.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::text::OneOrMore;
use crate::revision::{RefPath, RevPath};

/// What `cfs promote NAME` does: one step written into the promotion itself, or several.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Promotion {
    /// Why, unless the user says it.
    #[serde(default)]
    pub message: String,
    /// See [`Step::from`].
    #[serde(default)]
    pub from: OneOrMore<RevPath>,
    /// See [`Step::to`].
    pub to: Option<RefPath>,
    /// See [`Step::keep`].
    #[serde(default)]
    pub keep: bool,
    /// See [`Step::exclude`].
    #[serde(default)]
    pub exclude: Vec<String>,
    /// See [`Step::protect`].
    #[serde(default)]
    pub protect: Vec<String>,
    /// Steps, in order; all of them are one flip.
    #[serde(default)]
    pub step: Vec<Step>,
    /// Symlinks that move in the same flip: where they are, and what they say.
    #[serde(default)]
    pub links: BTreeMap<RefPath, String>,
}

/// One tree that becomes one path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Step {
    /// The trees, laid over each other; two of them may not say different things of one path.
    pub from: OneOrMore<RevPath>,
    /// The place that becomes them.
    pub to: RefPath,
    /// What the place has and the trees lack stays.
    #[serde(default)]
    pub keep: bool,
    /// Patterns of what is neither taken from the trees nor removed from the place.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Patterns of what stays as it is in the place, if it is there.
    #[serde(default)]
    pub protect: Vec<String>,
}

impl Promotion {
    /// What is wrong with it, if anything.
    pub(super) fn fault(&self) -> Option<&'static str> {
        match (self.from.is_empty(), &self.to, self.step.is_empty()) {
            (true, None, true) if self.links.is_empty() => {
                Some("needs `from` and `to`, or `step`s that have them")
            }
            (true, None, _) | (false, Some(_), true) => None,
            (true, Some(_), true) => Some("lacks `from`"),
            (false, None, true) => Some("lacks `to`"),
            (_, _, false) => Some("has `from` or `to` beside its `step`s"),
        }
    }

    /// The steps, the one written into the promotion itself included.
    pub fn steps(&self) -> Vec<Step> {
        let own = self.to.clone().map(|to| Step {
            from: self.from.clone(),
            to,
            keep: self.keep,
            exclude: self.exclude.clone(),
            protect: self.protect.clone(),
        });
        own.into_iter().chain(self.step.iter().cloned()).collect()
    }
}
