//! What a change can have broken.
//!
//! Whether a requirement can be met depends on nothing but who provides the names in it. So only packages that
//! came, and packages that ask for a name that a package which came or went provides, can have problems that
//! were not there before; for installing, also all packages that may need one of those, by whatever way.

use std::collections::{HashMap, HashSet, VecDeque};

use super::texts::TextId;
use super::universe::{PackageId, Universe};
use super::world::{Logic, Wording, World};
use crate::repodata::relation::Kind;

/// What is the same package at two times.
pub(super) type Identity<'u> = (&'u str, TextId, TextId, TextId, u128);

pub(super) fn identity(universe: &Universe, id: PackageId) -> Identity<'_> {
    let package = universe.package(id);
    (universe.repository(id), package.name, package.evr, package.arch, package.id)
}

/// Packages that are there before or after, and not both times.
pub(super) fn changed(universe: &Universe, old: &[PackageId], new: &[PackageId]) -> HashSet<PackageId> {
    let ids = |packages: &[PackageId]| -> HashSet<PackageId> { packages.iter().copied().collect() };
    let (old_ids, new_ids) = (ids(old), ids(new));
    let only = |all: &HashSet<PackageId>, others: &HashSet<PackageId>| -> HashMap<Identity<'_>, PackageId> {
        all.difference(others).map(|id| (identity(universe, *id), *id)).collect()
    };
    let (gone, come) = (only(&old_ids, &new_ids), only(&new_ids, &old_ids));
    let lone = |some: &HashMap<Identity<'_>, PackageId>, others: &HashMap<Identity<'_>, PackageId>| {
        let alone = some.iter().filter(|(identity, _)| !others.contains_key(*identity));
        alone.map(|(_, id)| *id).collect::<Vec<_>>()
    };
    lone(&gone, &come).into_iter().chain(lone(&come, &gone)).collect()
}

/// Which of `targets` may have problems that were not there before.
pub(super) fn may_be_broken(
    world: &World<'_>,
    changed: &HashSet<PackageId>,
    targets: &[PackageId],
    installable: bool,
) -> Vec<PackageId> {
    let universe = world.universe;
    let mut names = vec![false; universe.texts.count()];
    changed.iter().for_each(|id| universe.given(*id, &mut |name| names[name.index()] = true));
    let is_named = |name: &str| universe.texts.find(name).is_some_and(|name| names[name.index()]);
    let is_touched = |id: PackageId| {
        changed.contains(&id)
            || universe.relations(id).any(|relation| {
                let said = universe.said(relation);
                if said.kind == Kind::Provides {
                    return false;
                }
                match world.wording(said.name) {
                    Wording::Plain | Wording::Malformed => names[said.name.index()],
                    Wording::Rich(formula) => {
                        let mut touched = false;
                        formula.atoms(&mut |atom| touched |= is_named(&atom.name));
                        touched
                    }
                }
            })
    };
    if !installable {
        return targets.iter().copied().filter(|id| is_touched(*id)).collect();
    }
    let reached = reach(world, is_touched);
    targets.iter().copied().filter(|id| reached[id.index()]).collect()
}

/// The packages that are touched, and those that may need one of them.
fn reach(world: &World<'_>, is_touched: impl Fn(PackageId) -> bool) -> Vec<bool> {
    let universe = world.universe;
    let mut needed_by: HashMap<PackageId, Vec<PackageId>> = HashMap::new();
    let mut reached = vec![false; universe.len()];
    let mut queue = VecDeque::new();
    for id in universe.packages() {
        for relation in universe.relations(id) {
            let said = universe.said(relation);
            if said.kind == Kind::Requires {
                let mut needs = |packages: &[PackageId]| {
                    packages.iter().for_each(|needed| needed_by.entry(*needed).or_default().push(id));
                };
                each_package(&world.logic(&said, false), &mut needs);
            }
        }
        if is_touched(id) {
            reached[id.index()] = true;
            queue.push_back(id);
        }
    }
    while let Some(id) = queue.pop_front() {
        for needs in needed_by.get(&id).into_iter().flatten() {
            if !std::mem::replace(&mut reached[needs.index()], true) {
                queue.push_back(*needs);
            }
        }
    }
    reached
}

fn each_package(logic: &Logic, visit: &mut dyn FnMut(&[PackageId])) {
    match logic {
        Logic::Any(packages) => visit(packages),
        Logic::None(_) => {}
        Logic::All(all) | Logic::Either(all) => all.iter().for_each(|one| each_package(one, visit)),
    }
}
