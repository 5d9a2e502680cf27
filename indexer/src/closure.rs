//! Whether repositories are closed: whether everything that their packages require is there.
//!
//! - [`universe`], [`texts`]: all packages with their relations, in few bytes. `world`: those of them that are
//!   there at one time, on one machine.
//! - [`rich`]: rich dependencies. `check`: requirements that cannot be met. `install`, `solver`: packages that
//!   cannot be installed. `since`: what a change can have broken.
//! - [`load`], [`places`]: from repositories in snapshots to a universe; only they know where things are kept.
//!   `extract`: what they have read before.
//!
//! Always true: an answer is a pure function of the packages' relations; it is exact, by the rules of rpm, and
//! names every problem. Packages of modules count as any other.

use std::collections::{BTreeSet, HashMap};

use crate::arch;
use crate::repodata::relation::Kind;

mod check;
mod extract;
mod install;
pub mod load;
pub mod places;
pub mod rich;
mod select;
mod since;
mod solver;
pub mod texts;
pub mod universe;
mod world;

pub use check::Reading;

use install::Install;
use universe::{PackageId, Universe};
use world::World;

/// What is asked of some repositories.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub struct Question {
    /// The architecture of the machine; without one, only packages for all machines count.
    pub machine: Option<String>,
    /// Of each name and architecture in a repository, only the newest counts.
    pub newest: bool,
    /// Weak dependencies count like others.
    pub weak: bool,
    /// Whether packages can be installed is asked too.
    pub installable: bool,
    /// Source packages are looked at too: whether they can be built.
    pub sources: bool,
    /// Only these packages are looked at; all of them when this is empty.
    pub packages: Vec<String>,
    /// How requirements are read.
    pub reading: Reading,
}

/// Repositories at one time, by their numbers in a universe.
#[derive(Debug, Clone, Default)]
pub struct Repositories {
    /// Those whose packages are looked at.
    pub checked: Vec<usize>,
    /// Those that may be needed beside them.
    pub lookaside: Vec<usize>,
}

/// A package that has problems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its repository.
    pub repository: String,
    /// Its name, epoch, version, release and architecture.
    pub package: String,
    /// The machine it is for.
    pub machine: Option<String>,
    /// What it asks for and cannot have.
    pub unresolved: Vec<Unresolved>,
    /// Why it cannot be installed, although it has what it asks for; empty when it can, or when that is not asked.
    pub impossible: Vec<String>,
}

/// A requirement that cannot be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// The requirement as written.
    pub text: String,
    /// The list that it is in.
    pub kind: Kind,
    /// The names in it that nobody provides; none when it contradicts itself.
    pub missing: Vec<Missing>,
}

/// A name that nobody provides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The name, with its version.
    pub text: String,
    /// Other versions in which it is provided, a few of them.
    pub there: Vec<String>,
}

/// A package that was asked for by name is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no package matches {0:?}")]
pub struct NoSuchPackage(pub String);

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// How many packages were looked at.
    pub checked: usize,
    /// Those with problems, by name, version, architecture and repository.
    pub problems: Vec<Problem>,
}

/// The machines that the packages of some repositories are for.
pub fn machines(universe: &Universe, repositories: &[usize]) -> Vec<String> {
    let archs: BTreeSet<&str> = universe
        .packages()
        .filter(|id| repositories.contains(&(universe.package(*id).repository as usize)))
        .map(|id| universe.arch(id))
        .collect();
    arch::machines(archs.iter().copied())
}

/// Checks repositories.
pub fn check(
    universe: &Universe,
    repositories: &Repositories,
    question: &Question,
) -> Result<Report, NoSuchPackage> {
    let side = Side::new(universe, repositories, question);
    let targets = select::named(universe, &side.targets, &question.packages)?;
    Ok(Report { checked: targets.len(), problems: side.problems(&targets) })
}

/// Checks only what can have been broken since `old`: the problems that are not there in `old`. A problem is the
/// same when package, repository and requirement are.
pub fn check_since(
    universe: &Universe,
    old: &Repositories,
    new: &Repositories,
    question: &Question,
) -> Result<Report, NoSuchPackage> {
    let (old, new) = (Side::new(universe, old, question), Side::new(universe, new, question));
    let targets = select::named(universe, &new.targets, &question.packages)?;
    let changed = since::changed(universe, &old.there(), &new.there());
    let targets = since::may_be_broken(&new.world, &changed, &targets, question.installable);
    let problems = new.problems(&targets);
    let names: BTreeSet<(&str, &str)> =
        problems.iter().map(|problem| (&*problem.repository, &*problem.package)).collect();
    let before: Vec<PackageId> = old
        .targets
        .iter()
        .copied()
        .filter(|id| names.contains(&(universe.repository(*id), &*universe.nevra(*id))))
        .collect();
    let known = old.problems(&before);
    Ok(Report { checked: targets.len(), problems: new_problems(problems, &known) })
}

/// The problems that are not among those known before.
pub fn new_problems(problems: Vec<Problem>, known: &[Problem]) -> Vec<Problem> {
    let mut before: HashMap<(&str, &str), Vec<&Problem>> = HashMap::new();
    for problem in known {
        before.entry((&problem.repository, &problem.package)).or_default().push(problem);
    }
    let mut new = Vec::new();
    for mut problem in problems {
        if let Some(known) = before.get(&(&*problem.repository, &*problem.package)) {
            let is_known = |text: &str| {
                known.iter().flat_map(|known| &known.unresolved).any(|unresolved| unresolved.text == text)
            };
            problem.unresolved.retain(|unresolved| !is_known(&unresolved.text));
            // What lacked something could not be installed either.
            let lacks = |known: &&Problem| known.unresolved.iter().any(|one| one.kind == Kind::Requires);
            if known.iter().any(|known| !known.impossible.is_empty() || lacks(known)) {
                problem.impossible.clear();
            }
        }
        if !problem.unresolved.is_empty() || !problem.impossible.is_empty() {
            new.push(problem);
        }
    }
    new
}

/// Repositories at one time.
struct Side<'u, 'q> {
    world: World<'u>,
    /// What may be looked at.
    targets: Vec<PackageId>,
    question: &'q Question,
}

impl<'u, 'q> Side<'u, 'q> {
    fn new(universe: &'u Universe, repositories: &Repositories, question: &'q Question) -> Self {
        let machine = question.machine.as_deref();
        let all: Vec<usize> = repositories.checked.iter().chain(&repositories.lookaside).copied().collect();
        let world = World::new(universe, &all, machine, question.newest);
        let is_target = |id: &PackageId| {
            repositories.checked.contains(&(universe.package(*id).repository as usize))
                && check::is_looked_at(machine, universe.arch(*id), question.sources)
        };
        let mut targets: Vec<PackageId> = universe.packages().filter(is_target).collect();
        if question.newest {
            let old: BTreeSet<PackageId> =
                world::outdated(universe, |id| is_target(&id)).into_iter().collect();
            targets.retain(|id| !old.contains(id));
        }
        Self { world, targets, question }
    }

    /// All packages that matter.
    fn there(&self) -> Vec<PackageId> {
        let mut there = self.targets.clone();
        there.extend(self.world.universe.packages().filter(|id| self.world.is_usable(*id)));
        there
    }

    fn problems(&self, targets: &[PackageId]) -> Vec<Problem> {
        let universe = self.world.universe;
        let mut problems: Vec<(PackageId, Problem)> = Vec::new();
        let mut whole = Vec::new();
        for id in targets {
            let relations = check::unresolved(&self.world, *id, self.question.reading, self.question.weak);
            if relations.iter().all(|relation| universe.said(*relation).kind != Kind::Requires) {
                whole.push(*id);
            }
            if !relations.is_empty() {
                let unresolved = relations.iter().map(|relation| {
                    let said = universe.said(*relation);
                    let missing = check::missing(&self.world, &said);
                    Unresolved { text: universe.text(*relation), kind: said.kind, missing }
                });
                problems.push((*id, self.problem(*id, unresolved.collect(), Vec::new())));
            }
        }
        if self.question.installable {
            let mut install = Install::new(&self.world, self.question.machine.as_deref());
            for (id, reasons) in install.impossible(&whole) {
                match problems.iter_mut().find(|(other, _)| *other == id) {
                    Some((_, problem)) => problem.impossible = reasons,
                    None => problems.push((id, self.problem(id, Vec::new(), reasons))),
                }
            }
        }
        problems.sort_by(|(a, _), (b, _)| {
            let by_name = universe.name(*a).cmp(universe.name(*b));
            let by_evr = || universe.evr_of(*a).compare(&universe.evr_of(*b));
            let by_arch = || universe.arch(*a).cmp(universe.arch(*b));
            by_name.then_with(by_evr).then_with(by_arch).then_with(|| a.cmp(b))
        });
        problems.into_iter().map(|(_, problem)| problem).collect()
    }

    fn problem(&self, id: PackageId, unresolved: Vec<Unresolved>, impossible: Vec<String>) -> Problem {
        let universe = self.world.universe;
        Problem {
            repository: universe.repository(id).to_owned(),
            package: universe.nevra(id),
            machine: self.question.machine.clone(),
            unresolved,
            impossible,
        }
    }
}

#[cfg(test)]
mod tests;
