//! `promote`: trees of some refs become paths of others, all of them in one compare-and-swap.
//!
//! Always true: [`plan`] changes nothing and [`apply`] does what a plan made of the same states says; a
//! promotion moves pointers, so its cost follows the difference and never the size.
//!
//! What a promotion goes through, each step a file of this room:
//!
//! 1. [`shape`]: a request's steps and the present trees become new trees, one [`flip::Change`] a view.
//! 2. [`times`]: content that changed at a path gets a later time, and directories get theirs.
//! 3. [`gates`]: what is about to be shown is checked, and the promotion refused if a gate says no;
//!    meanwhile, [`derive`]: the lists of the new tree's files are made.
//! 4. [`ask`]: hooks may refuse it.
//! 5. [`flip`]: all views move in one transaction of the catalogue; when one of them was moved by somebody
//!    else meanwhile, everything begins again with the new state.
//!
//! Whatever else gives a view a new state (a rollback, a policy) makes a [`flip::Change`] of its own and goes
//! through 2 to 5 with [`flip::commit`]; a plan ends after the gates ([`flip::plan`]).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use cfs_fs::edit::EditError;
use cfs_fs::name::TreePath;
use cfs_fs::store::StoreError;
use cfs_fs::tree::NodeError;

use crate::catalogue::{CatalogueError, Current, RefUpdate, Signer};
use crate::config::{Config, Gate};
use crate::depot::Depot;
use crate::filelist::FilelistError;
use crate::hooks::HookError;
use crate::refname::RefName;
use crate::revision::{RefPath, RevPath};

mod ask;
pub mod derive;
pub mod flip;
pub mod gates;
pub mod packages;
mod pattern;
mod shape;
mod times;

use flip::{Change, Flip, Rules};
pub use pattern::{Pattern, PatternError};

/// What is to be promoted where.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// What becomes what, in order.
    pub steps: Vec<Step>,
    /// Symlinks in the views, and what they are to say.
    pub links: BTreeMap<RefPath, String>,
    /// Why, in the user's words.
    pub message: String,
    /// How gates are to be taken.
    pub gates: gates::Wishes,
}

/// Trees that become a place.
#[derive(Debug, Clone)]
pub struct Step {
    /// The trees, laid over each other; no two may say different things of one path.
    pub from: Vec<RevPath>,
    /// The place that becomes them.
    pub to: RefPath,
    /// What the place has and the trees lack stays.
    pub keep: bool,
    /// What is neither taken from the trees nor removed from the place.
    pub exclude: Vec<Pattern>,
    /// What stays as it is in the place, if it is there.
    pub protect: Vec<Pattern>,
}

impl Step {
    /// One tree that becomes one place as it is.
    pub fn plain(from: RevPath, to: RefPath) -> Self {
        Self { from: vec![from], to, keep: false, exclude: Vec::new(), protect: Vec::new() }
    }
}

/// Why a promotion is not made.
#[derive(Debug, thiserror::Error)]
pub enum PromoteError {
    /// The source has nothing at the path.
    #[error("{source_path}: there is nothing to promote")]
    NoSource {
        /// What was to be promoted.
        source_path: RevPath,
    },
    /// A file cannot become the top of a ref.
    #[error("{source_path}: is not a directory, and the top of {} must be one", target.name)]
    NotADirectory {
        /// What was to be promoted.
        source_path: RevPath,
        /// Where it was to go.
        target: RefPath,
    },
    /// No symlink can say that.
    #[error("{at}: no symlink can say {target:?}")]
    Link {
        /// Where it was to stand.
        at: RefPath,
        /// What it was to say.
        target: String,
    },
    /// Trees that are to be one say different things.
    #[error("{target}: {} of the trees say different things of {}", paths.len(), paths.join(", "))]
    Conflict {
        /// Where they were to go.
        target: RefPath,
        /// Below it.
        paths: Vec<String>,
    },
    /// The keys of a view cannot be had.
    #[error("{}: {reason}", path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Gates refuse it.
    #[error("{}: refused by {}", names.join(", "), gates.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Refused {
        /// The views.
        names: Vec<String>,
        /// The gates.
        gates: Vec<Gate>,
        /// What was planned, with what the gates found.
        plan: Box<Plan>,
    },
    /// The view demands signatures, and there is no key to sign with.
    #[error("{name}: its moves must be signed")]
    Unsigned {
        /// The view.
        name: RefName,
    },
    /// The move cannot be signed so that it counts.
    #[error("{name}: the signature of the move {source}")]
    Signature {
        /// The view.
        name: RefName,
        /// Why not.
        source: crate::sshsig::SignError,
    },
    /// A hook says no.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// It cannot be put at its path.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// A file list cannot be made.
    #[error(transparent)]
    Filelist(#[from] FilelistError),
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

impl From<NodeError> for PromoteError {
    fn from(error: NodeError) -> Self {
        Self::Edit(error.into())
    }
}

impl From<StoreError> for PromoteError {
    fn from(error: StoreError) -> Self {
        Self::Catalogue(error.into())
    }
}

/// A promotion that could be applied.
pub type Plan = Flip;

/// Plans a promotion of the present states; changes nothing but what is remembered of earlier checks. A plan
/// that gates refuse is an error that holds it.
pub fn plan(
    depot: &Depot,
    config: &Config,
    request: &Request,
    signer: &Signer,
) -> Result<Plan, PromoteError> {
    let names = views(request);
    let current = names.iter().map(|name| depot.catalogue.current(name)).collect::<Result<Vec<_>, _>>()?;
    let mut flip = shape(depot, config, request, signer, &names, &current)?;
    flip::plan(depot, &mut flip, &request.gates, signer)?;
    Ok(flip)
}

/// Applies a promotion. Returns the plan that was carried out, and the moves of the views that changed.
pub fn apply(
    depot: &Depot,
    config: &Config,
    request: &Request,
    signer: &Signer,
) -> Result<(Plan, Vec<RefUpdate>), PromoteError> {
    let names = views(request);
    flip::commit(depot, config, &names, signer, |current| {
        let flip = shape(depot, config, request, signer, &names, current)?;
        Ok((flip, request.gates.clone()))
    })
}

/// The views that a request is about, each once, in the order in which they are named.
fn views(request: &Request) -> Vec<RefName> {
    let named = request.steps.iter().map(|step| &step.to.name).chain(request.links.keys().map(|at| &at.name));
    let mut seen = BTreeSet::new();
    named.filter(|name| seen.insert((*name).clone())).cloned().collect()
}

/// The flip that a request means, without what follows from it.
fn shape(
    depot: &Depot,
    config: &Config,
    request: &Request,
    signer: &Signer,
    names: &[RefName],
    current: &[Option<Current>],
) -> Result<Plan, PromoteError> {
    let mut flip = Flip::begin(depot, config, names, current, signer);
    for step in &request.steps {
        shape::step(depot, &mut flip, step, signer.now)?;
    }
    for (at, target) in &request.links {
        shape::link(depot, &mut flip, at, target, signer.now)?;
    }
    for change in &mut flip.changes {
        change.message.clone_from(&request.message);
        change.reason = reason(change);
    }
    Ok(flip)
}

fn reason(change: &Change) -> String {
    let from: Vec<String> = change
        .arrivals
        .iter()
        .map(|arrival| match arrival.snapshot {
            Some(id) => format!("{} ({})", arrival.source, id.short()),
            None => arrival.source.to_string(),
        })
        .collect();
    if from.is_empty() { "move links".to_owned() } else { format!("promote {}", from.join(", ")) }
}

/// The rules that hold in a view after a promotion: its own, and owner and group from its policy.
fn rules(before: &Rules, owner: Option<u32>, group: Option<u32>) -> Rules {
    let mut rules = before.clone();
    if owner.is_some() || group.is_some() {
        let top = rules.entry(TreePath::root()).or_default();
        (top.owner, top.group) = (owner.or(top.owner), group.or(top.group));
    }
    rules
}
