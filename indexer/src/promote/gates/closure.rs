//! The gate `closure`: packages find what they require.
//!
//! What is looked at stands in the view's policy: repositories, each with those that it may need beside it. What
//! passed is remembered by the nodes of all of them, so that a promotion that changes none of them costs nothing.
//! With `only-new`, problems that the view has already do not count.

use cfs_fs::digest::Digest;
use cfs_fs::tree::{Dir, Item, Kind, resolve};

use super::{Check, Gate, PromoteError, Scene};
use crate::closure::load::Loader;
use crate::closure::{self, Problem, Question, Repositories};
use crate::config::{Closure, Lookaside};
use crate::repository::documents::{self, RepositoryError};
use crate::repository::with_causes;

/// Dependencies of one package that a finding names.
const NAMED: usize = 3;

/// Runs the gate.
pub(super) fn check(scene: &Scene<'_>) -> Result<Check, PromoteError> {
    let mut check = Check::new(Gate::Closure);
    let Some((old, new)) = scene.change.dirs() else { return Ok(check) };
    if scene.change.policy.closure.is_empty() {
        check.find("the view's policy names no repositories for this gate");
    }
    for wanted in &scene.change.policy.closure {
        let key = key(scene, wanted, old, new)?;
        if scene.memory.knows(&key) {
            continue;
        }
        let findings = findings(scene, wanted, old, new)?;
        if findings.is_empty() {
            scene.passed.borrow_mut().push(key);
        }
        findings.into_iter().for_each(|finding| check.find(finding));
    }
    Ok(check)
}

/// What is checked, and then what may be needed.
fn places(wanted: &Closure) -> Vec<Lookaside> {
    let checked = wanted.repositories.iter().cloned().map(Lookaside::InView);
    checked.chain(wanted.lookaside.iter().cloned()).collect()
}

impl Lookaside {
    /// The directory, in the view whose top is `top` or elsewhere.
    fn dir(&self, scene: &Scene<'_>, top: Dir) -> Result<Option<Dir>, PromoteError> {
        let (top, path) = match self {
            Self::InView(path) => (Item { mtime: 0, kind: Kind::Dir(top) }, path),
            Self::Elsewhere(place) => {
                let (_, snapshot) = scene.depot.catalogue.resolve(&place.revision)?;
                (snapshot.root_item(), &place.path)
            }
        };
        Ok(match resolve(scene, &top, path)? {
            Some(Item { kind: Kind::Dir(dir), .. }) => Some(dir),
            _ => None,
        })
    }
}

/// What the answer depends on.
fn key(scene: &Scene<'_>, wanted: &Closure, old: Dir, new: Dir) -> Result<[u8; 32], PromoteError> {
    let mut text = format!("closure 1 {wanted:?}");
    let tops = if wanted.only_new { vec![new, old] } else { vec![new] };
    for top in tops {
        for place in places(wanted) {
            let node = place.dir(scene, top)?.map_or("none".to_owned(), |dir| dir.id.to_string());
            text.extend([" ", &node]);
        }
    }
    Ok(*Digest::of(text.as_bytes()).as_bytes())
}

fn findings(scene: &Scene<'_>, wanted: &Closure, old: Dir, new: Dir) -> Result<Vec<String>, PromoteError> {
    let mut loader = Loader::new(scene.memory);
    let now = match load(scene, &mut loader, wanted, new, true)? {
        Ok(now) => now,
        Err(finding) => return Ok(vec![finding]),
    };
    let before = if wanted.only_new { load(scene, &mut loader, wanted, old, false)?.ok() } else { None };
    let universe = match loader.finish(scene.depot, scene) {
        Ok(universe) => universe,
        Err(error) => return fault(error).map(|finding| vec![finding]),
    };
    let mut machines: Vec<Option<String>> = wanted.arch.iter().cloned().map(Some).collect();
    if machines.is_empty() {
        machines.extend(closure::machines(&universe, &now.checked).into_iter().map(Some));
    }
    if machines.is_empty() {
        machines.push(None);
    }
    let mut findings = Vec::new();
    for machine in machines {
        let question = Question {
            machine,
            newest: wanted.newest,
            installable: wanted.installable,
            ..Question::default()
        };
        let report = match &before {
            Some(before) => closure::check_since(&universe, before, &now, &question),
            None => closure::check(&universe, &now, &question),
        };
        // No packages are asked for by name.
        findings.extend(report.map(|report| report.problems).unwrap_or_default().iter().map(finding));
    }
    Ok(findings)
}

/// The repositories of one tree; what is wrong with them where they cannot be read.
fn load(
    scene: &Scene<'_>,
    loader: &mut Loader<'_>,
    wanted: &Closure,
    top: Dir,
    must_be: bool,
) -> Result<Result<Repositories, String>, PromoteError> {
    let mut repositories = Repositories::default();
    let checked = wanted.repositories.len();
    for (number, path) in places(wanted).into_iter().enumerate() {
        let is_checked = number < checked;
        let found = match path.dir(scene, top)? {
            Some(dir) => documents::find(scene.depot, scene, dir),
            None => Ok(Vec::new()),
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => return Ok(Err(format!("{path}: {}", fault(error)?))),
        };
        if found.is_empty() && must_be {
            return Ok(Err(format!("{path}: there is no repository at it or below it")));
        }
        for repository in found {
            let name = if repository.path.is_empty() {
                path.to_string()
            } else {
                format!("{path}/{}", repository.path)
            };
            match loader.load(scene.depot, scene, &repository, &name) {
                Ok(number) if is_checked => repositories.checked.push(number),
                Ok(number) => repositories.lookaside.push(number),
                Err(error) => return Ok(Err(format!("{path}: {}", fault(error)?))),
            }
        }
    }
    Ok(Ok(repositories))
}

/// Metadata that cannot be read is a finding; a store that cannot is a failure.
fn fault(error: RepositoryError) -> Result<String, PromoteError> {
    match error {
        RepositoryError::Node(error) => Err(error.into()),
        RepositoryError::Store(error) => Err(error.into()),
        error => Ok(with_causes(&error)),
    }
}

fn finding(problem: &Problem) -> String {
    let Problem { repository, package, unresolved, impossible, .. } = problem;
    if unresolved.is_empty() {
        return format!("{repository}: {package} cannot be installed: {}", impossible.join("; "));
    }
    let named: Vec<&str> = unresolved.iter().take(NAMED).map(|one| one.text.as_str()).collect();
    let more = if unresolved.len() > NAMED { ", …" } else { "" };
    format!("{repository}: {package} requires {}{more}, which cannot be had", named.join(", "))
}
