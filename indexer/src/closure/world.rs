//! The packages of a universe that are there at one time on one machine, and what they can do for each other.
//!
//! Always true: only usable packages give anything; a rich dependency becomes a [`Logic`], which is exact.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::rich::{self, Atom, Formula};
use super::texts::TextId;
use super::universe::{PackageId, Said, Universe};
use crate::arch;
use crate::repodata::relation::{Comparison, Evr};

/// What must be true of a set of installed packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Logic {
    /// One of these is installed.
    Any(Vec<PackageId>),
    /// None of these is installed.
    None(Vec<PackageId>),
    /// All of it.
    All(Vec<Logic>),
    /// One of it.
    Either(Vec<Logic>),
}

impl Logic {
    /// Whether something in it must not be installed.
    pub(super) fn forbids(&self) -> bool {
        match self {
            Self::Any(_) => false,
            Self::None(_) => true,
            Self::All(all) | Self::Either(all) => all.iter().any(Self::forbids),
        }
    }

    /// Whether it is true when everything is installed that can be; right for what forbids nothing.
    pub(super) fn is_possible(&self) -> bool {
        match self {
            Self::Any(packages) => !packages.is_empty(),
            Self::None(_) => true,
            Self::All(all) => all.iter().all(Self::is_possible),
            Self::Either(any) => any.iter().any(Self::is_possible),
        }
    }
}

/// What the name of a relation is.
#[derive(Debug, Clone)]
pub(super) enum Wording {
    /// A name or a path.
    Plain,
    /// A rich dependency.
    Rich(Rc<Formula>),
    /// What begins as a rich dependency and is none.
    Malformed,
}

/// What is asked for: a name, and perhaps a version.
type Asked = (TextId, Comparison, TextId);

/// Which packages of a universe are usable.
#[derive(Debug)]
pub(super) struct World<'u> {
    pub(super) universe: &'u Universe,
    usable: Vec<bool>,
    rich: RefCell<HashMap<TextId, Wording>>,
    found: RefCell<HashMap<Asked, Rc<[PackageId]>>>,
}

impl<'u> World<'u> {
    /// The packages of some repositories that `machine` can install; with `newest` only the newest of each name
    /// and architecture in each repository.
    pub(super) fn new(
        universe: &'u Universe,
        repositories: &[usize],
        machine: Option<&str>,
        newest: bool,
    ) -> Self {
        let mut there = vec![false; universe.repositories.len()];
        repositories.iter().for_each(|repository| there[*repository] = true);
        let can = |arch: &str| match machine {
            Some(machine) => arch::rank(machine, arch).is_some(),
            None => arch == "noarch",
        };
        let mut usable: Vec<bool> = universe
            .packages()
            .map(|id| there[universe.package(id).repository as usize] && can(universe.arch(id)))
            .collect();
        if newest {
            let old = outdated(universe, |id| usable[id.index()]);
            old.into_iter().for_each(|id| usable[id.index()] = false);
        }
        Self { universe, usable, rich: RefCell::default(), found: RefCell::default() }
    }

    pub(super) fn is_usable(&self, package: PackageId) -> bool {
        self.usable[package.index()]
    }

    /// The usable packages that give this, each once.
    pub(super) fn providers(&self, name: TextId, comparison: Comparison, evr: TextId) -> Rc<[PackageId]> {
        if let Some(known) = self.found.borrow().get(&(name, comparison, evr)) {
            return Rc::clone(known);
        }
        let found: Rc<[PackageId]> = self.search(name, comparison, self.universe.texts.get(evr)).into();
        self.found.borrow_mut().insert((name, comparison, evr), Rc::clone(&found));
        found
    }

    fn search(&self, name: TextId, comparison: Comparison, evr: &str) -> Vec<PackageId> {
        let evr = Evr::parse(evr);
        let givers = self.universe.givers(name).iter();
        let mut found: Vec<PackageId> = givers
            .filter(|giver| self.is_usable(giver.package) && self.universe.meets(**giver, comparison, &evr))
            .map(|giver| giver.package)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// What the name of a relation is.
    pub(super) fn wording(&self, name: TextId) -> Wording {
        let text = self.universe.texts.get(name);
        if !text.starts_with('(') {
            return Wording::Plain;
        }
        let read = || rich::parse(text).map_or(Wording::Malformed, |formula| Wording::Rich(Rc::new(formula)));
        self.rich.borrow_mut().entry(name).or_insert_with(read).clone()
    }

    /// What a relation asks for, or its contrary. A malformed rich dependency asks for what nobody gives.
    pub(super) fn logic(&self, said: &Said, contrary: bool) -> Logic {
        match self.wording(said.name) {
            Wording::Plain => {
                let packages = self.providers(said.name, said.comparison, said.evr).to_vec();
                if contrary { Logic::None(packages) } else { Logic::Any(packages) }
            }
            Wording::Malformed if contrary => Logic::None(Vec::new()),
            Wording::Malformed => Logic::Any(Vec::new()),
            Wording::Rich(formula) => self.logic_of(&formula, contrary),
        }
    }

    fn logic_of(&self, formula: &Formula, contrary: bool) -> Logic {
        let part = |formula: &Formula, turned: bool| self.logic_of(formula, contrary != turned);
        let join = |is_and: bool, parts: Vec<Logic>| {
            if is_and == contrary { Logic::Either(parts) } else { Logic::All(parts) }
        };
        match formula {
            Formula::Atom(_) | Formula::With(..) | Formula::Without(..) => {
                let packages = self.provider_set(formula);
                if contrary { Logic::None(packages) } else { Logic::Any(packages) }
            }
            Formula::And(all) => join(true, all.iter().map(|one| part(one, false)).collect()),
            Formula::Or(any) => join(false, any.iter().map(|one| part(one, false)).collect()),
            Formula::If(then, condition, otherwise) => {
                let then = join(false, vec![part(then, false), part(condition, true)]);
                match otherwise {
                    None => then,
                    Some(other) => {
                        join(true, vec![then, join(false, vec![part(other, false), part(condition, false)])])
                    }
                }
            }
            Formula::Unless(then, condition, otherwise) => {
                let then = join(true, vec![part(then, false), part(condition, true)]);
                match otherwise {
                    None => then,
                    Some(other) => {
                        join(false, vec![then, join(true, vec![part(other, false), part(condition, false)])])
                    }
                }
            }
        }
    }

    /// The packages that a rich dependency is about when it is taken as one set, as resolvers take it inside `with`
    /// and `without`, and as `dnf repoclosure` takes all of it.
    pub(super) fn provider_set(&self, formula: &Formula) -> Vec<PackageId> {
        let union = |all: &mut dyn Iterator<Item = &Formula>| {
            let mut found: Vec<PackageId> = all.flat_map(|one| self.provider_set(one)).collect();
            found.sort_unstable();
            found.dedup();
            found
        };
        match formula {
            Formula::Atom(atom) => self.atom(atom),
            Formula::And(all) | Formula::Or(all) => union(&mut all.iter()),
            Formula::With(a, b) => {
                let (mut a, b) = (self.provider_set(a), self.provider_set(b));
                a.retain(|package| b.binary_search(package).is_ok());
                a
            }
            Formula::Without(a, b) => {
                let (mut a, b) = (self.provider_set(a), self.provider_set(b));
                a.retain(|package| b.binary_search(package).is_err());
                a
            }
            Formula::If(then, _, otherwise) | Formula::Unless(then, _, otherwise) => {
                union(&mut std::iter::once(&**then).chain(otherwise.as_deref()))
            }
        }
    }

    pub(super) fn atom(&self, atom: &Atom) -> Vec<PackageId> {
        match self.universe.texts.find(&atom.name) {
            Some(name) => self.search(name, atom.comparison, &atom.evr),
            None => Vec::new(),
        }
    }
}

/// The packages of which there is a newer one of the same name and architecture in the same repository.
pub(super) fn outdated(universe: &Universe, counts: impl Fn(PackageId) -> bool) -> Vec<PackageId> {
    let mut newest: BTreeMap<(u32, TextId, TextId), PackageId> = BTreeMap::new();
    let key = |id: PackageId| {
        let package = universe.package(id);
        (package.repository, package.name, package.arch)
    };
    let counted: Vec<PackageId> = universe.packages().filter(|id| counts(*id)).collect();
    for id in &counted {
        let best = newest.entry(key(*id)).or_insert(*id);
        if universe.evr_of(*id).compare(&universe.evr_of(*best)).is_gt() {
            *best = *id;
        }
    }
    let is_old = |id: &PackageId| {
        let best = newest[&key(*id)];
        universe.evr_of(*id).compare(&universe.evr_of(best)).is_lt()
    };
    counted.into_iter().filter(is_old).collect()
}
