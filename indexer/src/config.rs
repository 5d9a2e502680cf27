//! The configuration file: text in, values out.
//!
//! Always true: nothing here reads the environment, and nothing but [`load`] reads a file; an unknown key is an error, since a misspelt
//! policy must not be silently off; an error says the line, and the word that was probably meant. Each kind of
//! section is a file of this room and a field of [`Config`]: a new one needs no more than that.
//!
//! ```toml
//! store = "/var/lib/cfs"
//!
//! [view.production]              # the policy of a ref
//! owner = 10004
//! group = 10005
//!
//! [promotion.prod-9]             # `cfs promote prod-9`
//! from = "staging:pub/rocky/9.7-RC2"
//! to = "production:pub/rocky/9.7"
//! links = { "production:pub/rocky/9" = "9.7" }
//!
//! [gc]                           # what `cfs gc` leaves
//! keep = "90d"
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;

use self::fault::Fault;
use self::lines::line_at;
use self::release::check;
use crate::refname::RefName;

mod closure;
mod collection;
pub mod empanadas;
mod fault;
mod fetch;
mod gate;
mod hook;
mod include;
mod lines;
mod lists;
mod promotion;
mod release;
mod retention;
mod suggestion;
mod text;
mod view;

pub use closure::{Closure, Lookaside};
pub use collection::{Age, AgeError, Collection};
pub use fetch::Fetch;
pub use gate::Gate;
pub use hook::{Hook, When};
pub use include::{LoadError, load};
pub use lists::{Lists, ListsError};
pub use promotion::{Promotion, Step};
pub use release::{ExtraFiles, Iso, Release, Repository, Sig, Strong, Upstream};
pub use retention::Retention;
pub use suggestion::nearest;
pub use text::OneOrMore;
pub use view::{View, WhoMay};

/// Everything that a configuration file says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Files, and directories of files, that belong to it.
    #[serde(default)]
    pub include: OneOrMore<PathBuf>,
    /// Directory of the store.
    pub store: Option<PathBuf>,
    /// The socket of the keeper, who works for users who may not write to the store.
    pub keeper: Option<PathBuf>,
    /// The SSH key that moves of views are signed with.
    pub signing_key: Option<PathBuf>,
    /// Policies of refs.
    #[serde(rename = "view", default)]
    pub views: BTreeMap<RefName, View>,
    /// Promotions that have a name.
    #[serde(rename = "promotion", default)]
    pub promotions: BTreeMap<String, Promotion>,
    /// Releases that composes are made of, by profile.
    #[serde(rename = "release", default)]
    pub releases: BTreeMap<String, Release>,
    /// What special interest groups add to releases: by group, then by profile.
    #[serde(rename = "sig", default)]
    pub sigs: BTreeMap<String, BTreeMap<String, Sig>>,
    /// Programs that are run about promotions.
    #[serde(rename = "hook", default)]
    pub hooks: BTreeMap<String, Hook>,
    /// What a collection of garbage leaves.
    #[serde(default)]
    pub gc: Collection,
    /// How long composes stay.
    #[serde(default)]
    pub retention: Retention,
    /// What holds for everything that is downloaded.
    #[serde(default)]
    pub fetch: Fetch,
}

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ConfigError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

/// Reads a configuration.
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    let config: Config = read(text)?;
    check(&config).map_err(|fault| fault.in_file(text))?;
    Ok(config)
}

/// Reads a file that is one promotion and nothing else.
pub fn parse_promotion(text: &str) -> Result<Promotion, ConfigError> {
    let promotion: Promotion = read(text)?;
    match promotion.fault() {
        None => Ok(promotion),
        Some(fault) => {
            Err(ConfigError { line: 1, message: format!("the promotion {fault}"), suggestion: None })
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let message = error.message().to_owned();
        let suggestion = suggestion::of(&message);
        ConfigError { line: line_at(text, at), message, suggestion }
    })
}

/// What no single value tells.
fn check(config: &Config) -> Result<(), Fault> {
    for (name, promotion) in &config.promotions {
        if let Some(fault) = promotion.fault() {
            return Err(Fault::at(&["promotion", name], format!("promotion {name:?} {fault}")));
        }
    }
    for (profile, release) in &config.releases {
        check::release(profile, release).map_err(|fault| fault.under(&["release", profile]))?;
    }
    for (group, releases) in &config.sigs {
        for (profile, sig) in releases {
            check::sig(group, profile, sig).map_err(|fault| fault.under(&["sig", group, profile]))?;
        }
    }
    for (name, view) in &config.views {
        let mut seen = BTreeSet::new();
        if let Some(number) = view.lists.iter().position(|lists| !seen.insert(lists.directory.as_str())) {
            let directory = &view.lists[number].directory;
            let message = format!("view {name} has lists for \"{directory}\" twice");
            return Err(Fault::at(&["view", name.as_str(), "lists", &number.to_string()], message));
        }
        for (number, closure) in view.closure.iter().enumerate() {
            let path = ["view", name.as_str(), "closure", &number.to_string(), "arch"];
            check::arches(&path, &closure.arch).map_err(|fault| fault.of(&format!("view {name}")))?;
        }
        if let Some(fault) = view.fault(name.as_str() == "*") {
            return Err(Fault::at(&["view", name.as_str()], format!("view {name} {fault}")));
        }
    }
    for (name, hook) in &config.hooks {
        if hook.command.is_empty() {
            let message = format!("hook {name:?} has an empty `command`");
            return Err(Fault::at(&["hook", name], message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
