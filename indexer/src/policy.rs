//! `policy`: who may read what in a view, as part of its snapshots.
//!
//! Always true: a rule comes and goes with a flip of its own, on the tree as it is; later promotions inherit it.

use cfs_fs::tree::resolve;

use crate::catalogue::{RefUpdate, Signer};
use crate::config::Config;
use crate::depot::Depot;
use crate::promote::flip::{self, Flip};
use crate::promote::gates::Wishes;
use crate::promote::{Plan, PromoteError};
use crate::revision::RefPath;
use crate::snapshot::Rule;

/// A rule that is to be.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where.
    pub place: RefPath,
    /// What is to hold there; parts that are not given stay as they are. `None` takes the rule away.
    pub rule: Option<Rule>,
    /// Why, in the user's words.
    pub message: String,
}

/// Why a rule is not made.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Nothing stands there.
    #[error("{place}: there is no such path")]
    NoSuchPath {
        /// Where.
        place: RefPath,
    },
    /// The view cannot get its new state.
    #[error(transparent)]
    Promote(#[from] PromoteError),
}

/// Plans a rule; changes nothing.
pub fn plan(depot: &Depot, config: &Config, request: &Request, signer: &Signer) -> Result<Plan, PolicyError> {
    check(depot, request)?;
    let current = depot.catalogue.current(&request.place.name).map_err(PromoteError::from)?;
    let mut flip = shape(depot, config, request, signer, &[current]);
    flip::plan(depot, &mut flip, &Wishes::none(), signer)?;
    Ok(flip)
}

/// Makes a rule hold. Returns the view's move, unless it holds already.
pub fn apply(
    depot: &Depot,
    config: &Config,
    request: &Request,
    signer: &Signer,
) -> Result<Option<RefUpdate>, PolicyError> {
    check(depot, request)?;
    let names = std::slice::from_ref(&request.place.name);
    let (_, mut updates) = flip::commit(depot, config, names, signer, |current| {
        Ok::<_, PromoteError>((shape(depot, config, request, signer, current), Wishes::none()))
    })?;
    Ok(updates.pop())
}

/// A rule for what is not there would wait unseen for something to come.
fn check(depot: &Depot, request: &Request) -> Result<(), PolicyError> {
    let place = &request.place;
    let current = depot.catalogue.current(&place.name).map_err(PromoteError::from)?;
    let missing = || PolicyError::NoSuchPath { place: place.clone() };
    let root = current.ok_or_else(missing)?.snapshot.root_item();
    let found = resolve(&depot.catalogue, &root, &place.path).map_err(PromoteError::from)?;
    // A rule that is left over may always be taken away.
    if found.is_none() && request.rule.is_some() { Err(missing()) } else { Ok(()) }
}

/// The flip that a request means.
fn shape(
    depot: &Depot,
    config: &Config,
    request: &Request,
    signer: &Signer,
    current: &[Option<crate::catalogue::Current>],
) -> Flip {
    let mut flip = Flip::begin(depot, config, std::slice::from_ref(&request.place.name), current, signer);
    let path = &request.place.path;
    for change in &mut flip.changes {
        match request.rule {
            None => drop(change.access.remove(path)),
            Some(rule) => {
                let there = change.access.entry(path.clone()).or_default();
                there.mode = rule.mode.or(there.mode);
                there.owner = rule.owner.or(there.owner);
                there.group = rule.group.or(there.group);
            }
        }
        change.message.clone_from(&request.message);
        let verb = if request.rule.is_some() { "set" } else { "unset" };
        change.reason = format!("policy {verb} /{path}");
    }
    flip
}
