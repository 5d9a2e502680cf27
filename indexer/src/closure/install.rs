//! Which packages can be installed, and why others cannot.
//!
//! The rules are those that rpm checks and dnf's resolver solves: everything required is there, nothing that
//! conflicts is, nobody is installed beside what he obsoletes, and one name is installed once (but for the two
//! word lengths of a machine). That a resolver might not *choose* an architecture plays no part. A package's
//! conflict with what it provides itself is none.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Range;

use super::solver::{Lit, Solver, Var};
use super::texts::TextId;
use super::universe::{PackageId, RelationId, Said, Universe};
use super::world::{Logic, Wording, World};
use crate::arch;
use crate::repodata::relation::{Comparison, Evr, Kind, Relation};

/// Reasons that are tried one by one for whether they are needed.
const REASONS_TRIED_MAX: usize = 400;
/// Providers that an explanation names.
const PROVIDERS_NAMED: usize = 5;

/// Where a clause comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A requirement, conflict or obsoletion of a package.
    Relation(PackageId, RelationId),
    /// Two packages of one name.
    SameName(PackageId, PackageId),
}

/// The question of what can be installed in a world.
pub(super) struct Install<'w, 'u> {
    world: &'w World<'u>,
    solver: Solver,
    /// For each package its variable.
    vars: HashMap<PackageId, Var>,
    /// For each variable its package; none for those that stand for a part of a rich dependency.
    packages: Vec<Option<PackageId>>,
    encoded: BTreeSet<PackageId>,
    queue: VecDeque<PackageId>,
    sources: Vec<(Source, Range<u32>)>,
    by_name: HashMap<TextId, Vec<PackageId>>,
    machine: &'w str,
}

impl<'w, 'u> Install<'w, 'u> {
    pub(super) fn new(world: &'w World<'u>, machine: Option<&'w str>) -> Self {
        let mut by_name: HashMap<TextId, Vec<PackageId>> = HashMap::new();
        for package in world.universe.packages().filter(|package| world.is_usable(*package)) {
            by_name.entry(world.universe.package(package).name).or_default().push(package);
        }
        Self {
            world,
            solver: Solver::default(),
            vars: HashMap::new(),
            packages: Vec::new(),
            encoded: BTreeSet::new(),
            queue: VecDeque::new(),
            sources: Vec::new(),
            by_name,
            machine: machine.unwrap_or("noarch"),
        }
    }

    /// Those of `targets` that cannot be installed, each with the reasons.
    pub(super) fn impossible(&mut self, targets: &[PackageId]) -> Vec<(PackageId, Vec<String>)> {
        for target in targets {
            self.encode_all(*target);
        }
        let mut proved = vec![false; self.packages.len()];
        let mut left = Vec::new();
        for target in targets {
            let var = self.vars[target];
            if !self.solver.solve_beside(var) {
                left.push(*target);
            }
        }
        self.solver.installed().for_each(|var| proved[var as usize] = true);
        let mut found = Vec::new();
        for target in left {
            let var = self.vars[&target];
            if proved[var as usize] {
                continue;
            }
            match self.solver.solve(var) {
                Ok(()) => self.solver.installed().for_each(|var| proved[var as usize] = true),
                Err(core) => found.push((target, self.explain(target, &core))),
            }
        }
        self.solver.clear();
        found
    }

    fn universe(&self) -> &'u Universe {
        self.world.universe
    }

    fn var(&mut self, package: PackageId) -> Var {
        if let Some(var) = self.vars.get(&package) {
            return *var;
        }
        let rank = arch::rank(self.machine, self.universe().arch(package)).unwrap_or(usize::MAX);
        let var = self.solver.add_var(u32::try_from(rank).unwrap_or(u32::MAX));
        self.packages.push(Some(package));
        self.vars.insert(package, var);
        var
    }

    /// Adds the clauses of a package and of everything that it may need.
    fn encode_all(&mut self, package: PackageId) {
        self.queue.push_back(package);
        while let Some(package) = self.queue.pop_front() {
            if self.encoded.insert(package) {
                self.encode(package);
            }
        }
    }

    fn encode(&mut self, package: PackageId) {
        let var = self.var(package);
        let universe = self.universe();
        for relation in universe.relations(package) {
            let said = universe.said(relation);
            let from = self.solver.clause_count();
            match said.kind {
                Kind::Requires if skipped(universe.texts.get(said.name)) => {}
                Kind::Requires if matches!(self.world.wording(said.name), Wording::Malformed) => {}
                Kind::Requires => {
                    let logic = self.world.logic(&said, false);
                    self.demand(&logic, &[Lit::no(var)], self.number_of_sources());
                }
                Kind::Conflicts => self.conflict(package, &said),
                Kind::Obsoletes => self.obsolete(package, &said),
                _ => {}
            }
            self.end_source(Source::Relation(package, relation), from);
        }
        if arch::is_source(universe.arch(package)) {
            return;
        }
        let name = universe.package(package).name;
        let namesakes = self.by_name.get(&name).cloned().unwrap_or_default();
        for other in namesakes.into_iter().filter(|other| *other != package) {
            // The other one has said so already, if its turn has come.
            let is_said = self.encoded.contains(&other);
            if !is_said && arch::exclude(universe.arch(package), universe.arch(other)) {
                let from = self.solver.clause_count();
                let other_var = self.var(other);
                self.solver.add_clause(&[Lit::no(var), Lit::no(other_var)], self.number_of_sources());
                self.end_source(Source::SameName(package, other), from);
            }
        }
    }

    fn number_of_sources(&self) -> u32 {
        u32::try_from(self.sources.len()).unwrap_or(u32::MAX)
    }

    fn end_source(&mut self, source: Source, from: u32) {
        let end = self.solver.clause_count();
        if end > from {
            self.sources.push((source, from..end));
        }
    }

    fn conflict(&mut self, package: PackageId, said: &Said) {
        let var = self.vars[&package];
        match self.world.wording(said.name) {
            Wording::Malformed => {}
            Wording::Rich(_) => {
                let logic = without(self.world.logic(said, true), package);
                self.demand(&logic, &[Lit::no(var)], self.number_of_sources());
            }
            Wording::Plain => {
                let others = self.world.providers(said.name, said.comparison, said.evr);
                for other in others.iter().filter(|other| **other != package) {
                    let other = self.var(*other);
                    self.solver.add_clause(&[Lit::no(var), Lit::no(other)], self.number_of_sources());
                }
            }
        }
    }

    /// A package obsoletes others by their names, never by what they provide.
    fn obsolete(&mut self, package: PackageId, said: &Said) {
        let (universe, var) = (self.universe(), self.vars[&package]);
        let evr = Evr::parse(universe.texts.get(said.evr));
        let named = self.by_name.get(&said.name).cloned().unwrap_or_default();
        for other in named.into_iter().filter(|other| *other != package) {
            let has = universe.evr_of(other);
            if Relation::is_met_by((said.comparison, &evr), (Comparison::EQUAL, &has)) {
                let other = self.var(other);
                self.solver.add_clause(&[Lit::no(var), Lit::no(other)], self.number_of_sources());
            }
        }
    }

    /// Adds the clauses for: one of `unless` holds, or `logic` does.
    fn demand(&mut self, logic: &Logic, unless: &[Lit], source: u32) {
        match logic {
            Logic::All(all) => all.iter().for_each(|one| self.demand(one, unless, source)),
            Logic::None(packages) => {
                for package in packages {
                    let var = self.var(*package);
                    let clause: Vec<Lit> = unless.iter().copied().chain([Lit::no(var)]).collect();
                    self.solver.add_clause(&clause, source);
                }
            }
            Logic::Any(_) | Logic::Either(_) => {
                let mut clause = unless.to_vec();
                let mut parts = Vec::new();
                flatten(logic, &mut parts);
                let (mut forbids_one, mut rest) = (None, Vec::new());
                for part in parts {
                    match part {
                        Logic::Any(packages) => {
                            for package in packages {
                                clause.push(Lit::yes(self.var(*package)));
                                self.queue.push_back(*package);
                            }
                        }
                        Logic::None(packages) if packages.is_empty() => return, // holds anyway
                        part @ Logic::None(_) if forbids_one.is_none() => forbids_one = Some(part),
                        part => rest.push(part),
                    }
                }
                for part in rest {
                    // Stands for the part: when it is installed, the part must hold.
                    let var = self.solver.add_var(u32::MAX);
                    self.packages.push(None);
                    clause.push(Lit::yes(var));
                    self.demand(part, &[Lit::no(var)], source);
                }
                match forbids_one {
                    Some(part) => self.demand(part, &clause, source),
                    None => self.solver.add_clause(&clause, source),
                }
            }
        }
    }

    /// Why a package cannot be installed: as few reasons as possible, from the package on.
    fn explain(&self, target: PackageId, core: &BTreeSet<u32>) -> Vec<String> {
        let mut needed: Vec<u32> = core.iter().copied().collect();
        if needed.len() <= REASONS_TRIED_MAX {
            for source in core {
                let fewer: Vec<u32> = needed.iter().copied().filter(|other| other != source).collect();
                if let Err(core) = self.again(target, &fewer) {
                    needed = core.into_iter().collect();
                }
            }
        }
        self.in_order(target, &needed).iter().map(|source| self.sentence(*source)).collect()
    }

    /// Solves with the clauses of some sources only.
    fn again(&self, target: PackageId, sources: &[u32]) -> Result<(), BTreeSet<u32>> {
        let mut small = Solver::default();
        let mut vars: HashMap<Var, Var> = HashMap::new();
        let target = self.vars[&target];
        vars.insert(target, small.add_var(0));
        for source in sources {
            for number in self.sources[*source as usize].1.clone() {
                let mut clause = Vec::new();
                for lit in self.solver.clause(number) {
                    let var = *vars.entry(lit.var()).or_insert_with(|| small.add_var(0));
                    clause.push(if lit.is_no() { Lit::no(var) } else { Lit::yes(var) });
                }
                small.add_clause(&clause, *source);
            }
        }
        small.solve(vars[&target])
    }

    /// The reasons in the order in which they come to mind: those of the package, of what it needs, and so on.
    fn in_order(&self, target: PackageId, sources: &[u32]) -> Vec<Source> {
        let mut ordered = Vec::new();
        let mut left: Vec<Source> = sources.iter().map(|number| self.sources[*number as usize].0).collect();
        let (mut known, mut queue) = (BTreeSet::from([target]), VecDeque::from([target]));
        while let Some(package) = queue.pop_front() {
            let (now, later): (Vec<Source>, Vec<Source>) =
                left.into_iter().partition(|source| match source {
                    Source::Relation(owner, _) => *owner == package,
                    Source::SameName(a, b) => known.contains(a) && known.contains(b),
                });
            left = later;
            for source in now {
                if let Source::Relation(_, relation) = source {
                    let said = self.universe().said(relation);
                    if said.kind == Kind::Requires {
                        let mut named = Vec::new();
                        packages_in(&self.world.logic(&said, false), &mut named);
                        queue.extend(named.into_iter().filter(|package| known.insert(*package)));
                    }
                }
                ordered.push(source);
            }
        }
        ordered.extend(left);
        ordered
    }

    fn sentence(&self, source: Source) -> String {
        let universe = self.universe();
        match source {
            Source::SameName(a, b) => {
                let (first, second) = (universe.nevra(a.min(b)), universe.nevra(a.max(b)));
                format!("{first} and {second} cannot be installed together")
            }
            Source::Relation(package, relation) => {
                let said = universe.said(relation);
                let (who, what) = (universe.nevra(package), universe.text(relation));
                let mut named = Vec::new();
                match said.kind {
                    Kind::Obsoletes => named.extend(self.by_name.get(&said.name).into_iter().flatten()),
                    Kind::Conflicts => packages_in(&self.world.logic(&said, true), &mut named),
                    _ => packages_in(&self.world.logic(&said, false), &mut named),
                }
                named.retain(|other| *other != package || said.kind == Kind::Requires);
                let verb = match said.kind {
                    Kind::Conflicts => "conflicts with",
                    Kind::Obsoletes => "obsoletes",
                    _ => "requires",
                };
                format!("{who} {verb} {what}: {}", self.provided_by(named))
            }
        }
    }

    fn provided_by(&self, mut packages: Vec<PackageId>) -> String {
        packages.sort_unstable();
        packages.dedup();
        if packages.is_empty() {
            return "nothing provides it".to_owned();
        }
        let named: Vec<String> =
            packages.iter().take(PROVIDERS_NAMED).map(|package| self.universe().nevra(*package)).collect();
        let more = match packages.len().saturating_sub(PROVIDERS_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{}{more}", named.join(", "))
    }
}

/// What rpm itself provides, or a resolver.
pub(super) fn skipped(name: &str) -> bool {
    name.starts_with("rpmlib(") || name.starts_with("solvable:")
}

/// The alternatives of a logic, through alternatives inside alternatives.
fn flatten<'a>(logic: &'a Logic, parts: &mut Vec<&'a Logic>) {
    match logic {
        Logic::Either(any) => any.iter().for_each(|one| flatten(one, parts)),
        // One part of one thing is the thing.
        Logic::All(all) if all.len() == 1 => all.iter().for_each(|one| flatten(one, parts)),
        other => parts.push(other),
    }
}

fn packages_in(logic: &Logic, found: &mut Vec<PackageId>) {
    match logic {
        Logic::Any(packages) | Logic::None(packages) => found.extend(packages),
        Logic::All(all) | Logic::Either(all) => all.iter().for_each(|one| packages_in(one, found)),
    }
}

/// What a package's rich conflict asks for, but for the parts that are about the package alone.
fn without(logic: Logic, package: PackageId) -> Logic {
    match logic {
        Logic::None(packages) => {
            Logic::None(packages.into_iter().filter(|other| *other != package).collect())
        }
        Logic::All(all) => Logic::All(all.into_iter().map(|one| without(one, package)).collect()),
        Logic::Either(any) => {
            let mut possible: Vec<Logic> = any.into_iter().filter(Logic::is_possible).collect();
            match possible.pop() {
                Some(only) if possible.is_empty() => without(only, package),
                last => Logic::Either(possible.into_iter().chain(last).collect()),
            }
        }
        Logic::Any(packages) => Logic::Any(packages),
    }
}
