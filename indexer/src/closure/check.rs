//! Which requirements of packages cannot be met.

use std::collections::HashMap;

use super::Missing;
use super::install::skipped;
use super::rich::Atom;
use super::solver::{Lit, Solver, Var};
use super::universe::{PackageId, RelationId, Said};
use super::world::{Logic, Wording, World};
use crate::arch;
use crate::repodata::relation::{Evr, Kind, Relation};

/// Versions of something that are named where another one is missing.
const VERSIONS_NAMED: usize = 5;

/// How requirements are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reading {
    /// As they are meant.
    #[default]
    Exact,
    /// As `dnf repoclosure` reads them: a rich dependency is met when one of the packages it is about is there.
    Dnf,
}

/// The relations of a package that cannot be met, each text once.
pub(super) fn unresolved(
    world: &World<'_>,
    package: PackageId,
    reading: Reading,
    weak: bool,
) -> Vec<RelationId> {
    let universe = world.universe;
    let mut found: Vec<(Said, RelationId)> = Vec::new();
    for relation in universe.relations(package) {
        let said = universe.said(relation);
        let counts = match said.kind {
            Kind::Requires => true,
            Kind::Recommends | Kind::Suggests => weak,
            _ => false,
        };
        if !counts || skipped(universe.texts.get(said.name)) {
            continue;
        }
        let known = found.iter().any(|(known, _)| *known == said);
        if !known && !is_met(world, package, &said, reading) {
            found.push((said, relation));
        }
    }
    found.into_iter().map(|(_, relation)| relation).collect()
}

/// Whether a requirement of `package` can be met at all, whatever else it asks for.
fn is_met(world: &World<'_>, package: PackageId, said: &Said, reading: Reading) -> bool {
    match (reading, world.wording(said.name)) {
        (_, Wording::Plain) => !world.providers(said.name, said.comparison, said.evr).is_empty(),
        (Reading::Exact, Wording::Malformed) => false,
        // A resolver passes over what it cannot read.
        (Reading::Dnf, Wording::Malformed) => true,
        (Reading::Dnf, Wording::Rich(formula)) => !world.provider_set(&formula).is_empty(),
        (Reading::Exact, Wording::Rich(_)) => {
            let logic = world.logic(said, false);
            if logic.forbids() { can_hold(&logic, package) } else { logic.is_possible() }
        }
    }
}

/// Whether some set of packages that has `package` in it makes the logic true.
fn can_hold(logic: &Logic, package: PackageId) -> bool {
    let mut question = Question { solver: Solver::default(), vars: HashMap::new() };
    let var = question.var(package);
    question.demand(logic, Lit::no(var));
    question.solver.solve(var).is_ok()
}

struct Question {
    solver: Solver,
    vars: HashMap<PackageId, Var>,
}

impl Question {
    fn var(&mut self, package: PackageId) -> Var {
        *self.vars.entry(package).or_insert_with(|| self.solver.add_var(0))
    }

    /// `unless` holds, or the logic does.
    fn demand(&mut self, logic: &Logic, unless: Lit) {
        match logic {
            Logic::All(all) => all.iter().for_each(|one| self.demand(one, unless)),
            Logic::Any(packages) => {
                let mut clause = vec![unless];
                clause.extend(packages.iter().map(|package| Lit::yes(self.var(*package))));
                self.solver.add_clause(&clause, 0);
            }
            Logic::None(packages) => {
                for package in packages {
                    let clause = [unless, Lit::no(self.var(*package))];
                    self.solver.add_clause(&clause, 0);
                }
            }
            Logic::Either(any) => {
                let mut clause = vec![unless];
                for one in any {
                    let part = self.solver.add_var(1);
                    clause.push(Lit::yes(part));
                    self.demand(one, Lit::no(part));
                }
                self.solver.add_clause(&clause, 0);
            }
        }
    }
}

/// What is known of a relation that cannot be met: the names in it that nobody provides, or not in that version.
pub(super) fn missing(world: &World<'_>, said: &Said) -> Vec<Missing> {
    let universe = world.universe;
    let mut missing = Vec::new();
    match world.wording(said.name) {
        Wording::Plain => {
            let (name, evr) = (universe.texts.get(said.name), universe.texts.get(said.evr));
            let written = Relation { name, comparison: said.comparison, evr: Evr::parse(evr) };
            missing.push(Missing { text: written.to_string(), there: versions(world, name) });
        }
        Wording::Malformed => {}
        Wording::Rich(formula) => formula.atoms(&mut |atom| {
            if world.atom(atom).is_empty() {
                let Atom { name, comparison, evr } = atom;
                let written = Relation { name, comparison: *comparison, evr: Evr::parse(evr) };
                missing.push(Missing { text: written.to_string(), there: versions(world, name) });
            }
        }),
    }
    missing.dedup();
    missing
}

/// The versions in which something is provided.
fn versions(world: &World<'_>, name: &str) -> Vec<String> {
    let universe = world.universe;
    let Some(name) = universe.texts.find(name) else { return Vec::new() };
    let givers = universe.givers(name).iter().filter(|giver| world.is_usable(giver.package));
    let mut versions: Vec<String> =
        givers.filter_map(|giver| universe.version_given(*giver)).map(str::to_owned).collect();
    versions.sort_unstable();
    versions.dedup();
    versions.truncate(VERSIONS_NAMED);
    versions
}

/// Whether packages of this architecture are looked at.
pub(super) fn is_looked_at(machine: Option<&str>, arch: &str, sources: bool) -> bool {
    if arch::is_source(arch) {
        return sources;
    }
    match machine {
        Some(machine) => arch::rank(machine, arch).is_some(),
        None => arch == "noarch",
    }
}
