//! A small exact solver for questions of the form "can this be installed?".
//!
//! Variables are things that may be installed; a clause says that one of its literals is true. Every clause must
//! hold when nothing at all is installed, so what is left open counts as not installed, and the search ends as
//! soon as everything that installed things need is there: its cost follows what one thing needs, not how much
//! there is. It learns from conflicts (first unique implication points, two watched literals), remembers what
//! each learned clause follows from, and names the clauses that make a thing impossible.

use std::collections::{BTreeSet, HashMap};

/// Something that may be installed.
pub(super) type Var = u32;

/// A variable, or its contrary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Lit(u32);

impl Lit {
    pub(super) fn yes(var: Var) -> Self {
        Self(var << 1)
    }

    pub(super) fn no(var: Var) -> Self {
        Self(var << 1 | 1)
    }

    pub(super) fn var(self) -> Var {
        self.0 >> 1
    }

    pub(super) fn is_no(self) -> bool {
        self.0 & 1 == 1
    }

    fn contrary(self) -> Self {
        Self(self.0 ^ 1)
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug, Clone, Copy)]
struct Clause {
    start: u32,
    end: u32,
    /// Where it comes from, in the caller's numbers; for learned clauses nothing.
    source: u32,
}

/// No clause; no source.
const NONE: u32 = u32::MAX;

/// Clauses, and what is known to follow from them.
#[derive(Debug, Default)]
pub(super) struct Solver {
    literals: Vec<Lit>,
    clauses: Vec<Clause>,
    /// What a learned clause follows from.
    follows_from: HashMap<u32, Vec<u32>>,
    /// For each literal, the clauses to look at when it becomes false.
    watches: Vec<Vec<u32>>,
    /// For each variable, the clauses that may need something else when it is installed.
    needs: Vec<Vec<u32>>,
    /// Lower is taken first.
    ranks: Vec<u32>,
    values: Vec<Option<bool>>,
    levels: Vec<u32>,
    reasons: Vec<u32>,
    trail: Vec<Lit>,
    /// For each level, where it begins in the trail, and how far needs had been looked at before.
    level_starts: Vec<(usize, usize)>,
    propagated: usize,
    satisfied: usize,
    seen: Vec<bool>,
}

impl Solver {
    /// Adds a variable; of several that would do, the one with the lowest rank is taken first.
    pub(super) fn add_var(&mut self, rank: u32) -> Var {
        let var = self.ranks.len();
        self.ranks.push(rank);
        self.values.push(None);
        self.levels.push(0);
        self.reasons.push(NONE);
        self.needs.push(Vec::new());
        self.seen.push(false);
        self.watches.extend([Vec::new(), Vec::new()]);
        u32::try_from(var).unwrap_or(NONE)
    }

    /// Adds a clause, which has a literal that is a contrary; `source` is the caller's name for it. Nothing is
    /// installed afterwards.
    pub(super) fn add_clause(&mut self, literals: &[Lit], source: u32) {
        self.back_to(0);
        let mut literals = literals.to_vec();
        literals.sort_unstable();
        literals.dedup();
        let holds_anyway = literals.windows(2).any(|two| two[0].contrary() == two[1]);
        if holds_anyway {
            return;
        }
        let clause = self.keep(&mut literals, source);
        let (triggers, helps): (Vec<Lit>, Vec<Lit>) = literals.iter().partition(|lit| lit.is_no());
        if !helps.is_empty() {
            triggers.iter().for_each(|lit| self.needs[lit.var() as usize].push(clause));
        }
    }

    /// The clauses that came from `source` are those of these numbers.
    pub(super) fn clause_count(&self) -> u32 {
        u32::try_from(self.clauses.len()).unwrap_or(NONE)
    }

    /// The literals of a clause.
    pub(super) fn clause(&self, number: u32) -> &[Lit] {
        let clause = self.clauses[number as usize];
        &self.literals[clause.start as usize..clause.end as usize]
    }

    /// Keeps a clause, watches it, and draws the conclusion from it if there is one already.
    fn keep(&mut self, literals: &mut [Lit], source: u32) -> u32 {
        // What may still become true stands in front; among false literals, what became false last.
        literals.sort_by_key(|lit| match self.value(*lit) {
            Some(false) => (1, NONE - self.levels[lit.var() as usize]),
            _ => (0, 0),
        });
        let number = self.clause_count();
        let start = u32::try_from(self.literals.len()).unwrap_or(NONE);
        self.literals.extend_from_slice(literals);
        let end = u32::try_from(self.literals.len()).unwrap_or(NONE);
        self.clauses.push(Clause { start, end, source });
        if let [first, second, ..] = literals {
            self.watches[first.index()].push(number);
            self.watches[second.index()].push(number);
        }
        let others_false = literals[1..].iter().all(|lit| self.value(*lit) == Some(false));
        if others_false && self.value(literals[0]).is_none() {
            self.assign(literals[0], number);
        }
        number
    }

    fn value(&self, lit: Lit) -> Option<bool> {
        self.values[lit.var() as usize].map(|value| value != lit.is_no())
    }

    fn level(&self) -> usize {
        self.level_starts.len()
    }

    fn assign(&mut self, lit: Lit, reason: u32) {
        let var = lit.var() as usize;
        self.values[var] = Some(!lit.is_no());
        self.levels[var] = u32::try_from(self.level()).unwrap_or(NONE);
        self.reasons[var] = reason;
        self.trail.push(lit);
    }

    fn decide(&mut self, lit: Lit) {
        self.level_starts.push((self.trail.len(), self.satisfied));
        self.assign(lit, NONE);
    }

    fn back_to(&mut self, level: usize) {
        let Some((start, satisfied)) = self.level_starts.get(level).copied() else { return };
        for lit in self.trail.drain(start..) {
            self.values[lit.var() as usize] = None;
            self.reasons[lit.var() as usize] = NONE;
        }
        self.level_starts.truncate(level);
        self.propagated = self.propagated.min(start);
        self.satisfied = satisfied;
    }

    /// Draws all conclusions; returns a clause that became false.
    fn propagate(&mut self) -> Option<u32> {
        while let Some(lit) = self.trail.get(self.propagated).copied() {
            self.propagated += 1;
            let falsified = lit.contrary();
            let mut watching = std::mem::take(&mut self.watches[falsified.index()]);
            let mut conflict = None;
            watching.retain(|number| {
                if conflict.is_some() {
                    return true;
                }
                match self.look_at(*number, falsified) {
                    Look::Elsewhere => false,
                    Look::Fine => true,
                    Look::Conflict => {
                        conflict = Some(*number);
                        true
                    }
                }
            });
            // A clause never moves its watch to the literal that has just become false.
            self.watches[falsified.index()] = watching;
            if conflict.is_some() {
                return conflict;
            }
        }
        None
    }

    fn look_at(&mut self, number: u32, falsified: Lit) -> Look {
        let Clause { start, end, .. } = self.clauses[number as usize];
        let (start, end) = (start as usize, end as usize);
        if self.literals[start] == falsified {
            self.literals.swap(start, start + 1);
        }
        let first = self.literals[start];
        if self.value(first) == Some(true) {
            return Look::Fine;
        }
        for at in start + 2..end {
            let other = self.literals[at];
            if self.value(other) != Some(false) {
                self.literals.swap(start + 1, at);
                self.watches[other.index()].push(number);
                return Look::Elsewhere;
            }
        }
        if self.value(first) == Some(false) {
            return Look::Conflict;
        }
        self.assign(first, number);
        Look::Fine
    }

    /// What a conflict above level 0 teaches: a clause whose first literal was decided too late, and the level
    /// where it would have been known.
    fn analyse(&mut self, conflict: u32) -> (Vec<Lit>, usize, Vec<u32>) {
        let level = u32::try_from(self.level()).unwrap_or(NONE);
        let mut learned = vec![Lit(0)];
        let mut follows_from = Vec::new();
        let mut marked = Vec::new();
        let (mut open, mut at, mut clause) = (0_usize, self.trail.len(), conflict);
        let mut resolved: Option<Lit> = None;
        loop {
            follows_from.push(clause);
            let Clause { start, end, .. } = self.clauses[clause as usize];
            for place in start..end {
                let lit = self.literals[place as usize];
                let var = lit.var() as usize;
                if Some(lit) == resolved || self.seen[var] || self.levels[var] == 0 {
                    continue;
                }
                self.seen[var] = true;
                marked.push(var);
                if self.levels[var] == level {
                    open += 1;
                } else {
                    learned.push(lit);
                }
            }
            // The next one that was concluded at this level, from the end.
            while at > 0 {
                at -= 1;
                if self.seen[self.trail[at].var() as usize] {
                    break;
                }
            }
            let lit = self.trail[at];
            open = open.saturating_sub(1);
            if open == 0 {
                learned[0] = lit.contrary();
                break;
            }
            resolved = Some(lit);
            clause = self.reasons[lit.var() as usize];
        }
        marked.into_iter().for_each(|var| self.seen[var] = false);
        let back = learned[1..].iter().map(|lit| self.levels[lit.var() as usize]).max().unwrap_or(0);
        (learned, back as usize, follows_from)
    }

    fn learn(&mut self, learned: &mut [Lit], follows_from: Vec<u32>) {
        let number = self.keep(learned, NONE);
        self.follows_from.insert(number, follows_from);
    }

    /// Something that an installed thing needs and that is not there yet.
    fn next_need(&mut self) -> Option<Lit> {
        while let Some(lit) = self.trail.get(self.satisfied).copied() {
            if !lit.is_no() {
                for number in &self.needs[lit.var() as usize] {
                    if let Some(choice) = self.choice(*number) {
                        return Some(choice);
                    }
                }
            }
            self.satisfied += 1;
        }
        None
    }

    /// What to install for a clause that does not hold if everything open stays away.
    fn choice(&self, number: u32) -> Option<Lit> {
        let mut best: Option<Lit> = None;
        for lit in self.clause(number) {
            match (self.value(*lit), lit.is_no()) {
                (Some(true), _) | (None, true) => return None,
                (Some(false), _) => {}
                (None, false) => {
                    let rank = |lit: Lit| self.ranks[lit.var() as usize];
                    if best.is_none_or(|best| rank(*lit) < rank(best)) {
                        best = Some(*lit);
                    }
                }
            }
        }
        best
    }

    /// Installs `var` and what it needs, beside nothing else. When that cannot be, the sources of the clauses that
    /// forbid it.
    pub(super) fn solve(&mut self, var: Var) -> Result<(), BTreeSet<u32>> {
        self.back_to(0);
        loop {
            if self.level() == 0 {
                // At level 0 there are only consequences of all clauses, which hold when nothing is installed.
                let conflict = self.propagate();
                debug_assert!(conflict.is_none());
                match self.value(Lit::yes(var)) {
                    Some(false) => return Err(self.core(self.reasons[var as usize])),
                    Some(true) => {}
                    None => self.decide(Lit::yes(var)),
                }
            }
            if let Some(conflict) = self.propagate() {
                let (mut learned, back, follows_from) = self.analyse(conflict);
                self.back_to(back);
                self.learn(&mut learned, follows_from);
            } else if let Some(need) = self.next_need() {
                self.decide(need);
            } else {
                return Ok(());
            }
        }
    }

    /// Installs `var` and what it needs beside what is installed, if that goes without taking anything back.
    pub(super) fn solve_beside(&mut self, var: Var) -> bool {
        let base = self.level();
        if self.propagate().is_some() {
            return false; // cannot be: what is installed has been propagated before
        }
        match self.value(Lit::yes(var)) {
            Some(value) => return value,
            None => self.decide(Lit::yes(var)),
        }
        loop {
            if let Some(conflict) = self.propagate() {
                let (mut learned, back, follows_from) = self.analyse(conflict);
                self.back_to(back.max(base));
                self.learn(&mut learned, follows_from);
                if back <= base {
                    return false;
                }
            } else if let Some(need) = self.next_need() {
                self.decide(need);
            } else {
                return true;
            }
        }
    }

    /// Takes everything back.
    pub(super) fn clear(&mut self) {
        self.back_to(0);
    }

    /// What is installed.
    pub(super) fn installed(&self) -> impl Iterator<Item = Var> + '_ {
        self.trail.iter().filter(|lit| !lit.is_no()).map(|lit| lit.var())
    }

    /// The sources of all clauses that a clause and what is known at level 0 follow from.
    fn core(&self, clause: u32) -> BTreeSet<u32> {
        let mut sources = BTreeSet::new();
        let mut visited = BTreeSet::new();
        let mut open = vec![clause];
        while let Some(number) = open.pop() {
            if number == NONE || !visited.insert(number) {
                continue;
            }
            let Clause { start, end, source } = self.clauses[number as usize];
            if source == NONE {
                open.extend(self.follows_from.get(&number).into_iter().flatten());
            } else {
                sources.insert(source);
            }
            for lit in &self.literals[start as usize..end as usize] {
                let var = lit.var() as usize;
                if self.values[var].is_some() && self.levels[var] == 0 {
                    open.push(self.reasons[var]);
                }
            }
        }
        sources
    }
}

enum Look {
    Fine,
    Elsewhere,
    Conflict,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VARS: u32 = 8;

    /// Clauses with a contrary each, as sets of literals.
    fn clauses() -> impl Strategy<Value = Vec<Vec<Lit>>> {
        let lit =
            (0..VARS, any::<bool>()).prop_map(|(var, no)| if no { Lit::no(var) } else { Lit::yes(var) });
        let clause = (0..VARS, prop::collection::vec(lit, 0..4)).prop_map(|(var, mut more)| {
            more.push(Lit::no(var));
            more
        });
        prop::collection::vec(clause, 0..24)
    }

    fn holds(clauses: &[Vec<Lit>], installed: u32) -> bool {
        let is_true = |lit: &Lit| (installed >> lit.var() & 1 == 1) != lit.is_no();
        clauses.iter().all(|clause| clause.iter().any(is_true))
    }

    fn can_be(clauses: &[Vec<Lit>], var: Var) -> bool {
        (0..1 << VARS).any(|installed: u32| installed >> var & 1 == 1 && holds(clauses, installed))
    }

    fn solver(clauses: &[Vec<Lit>], ranks: &[u32]) -> Solver {
        let mut solver = Solver::default();
        for rank in ranks {
            solver.add_var(*rank);
        }
        for (number, clause) in (0..).zip(clauses) {
            solver.add_clause(clause, number);
        }
        solver
    }

    fn installed(solver: &Solver) -> u32 {
        solver.installed().map(|var| 1 << var).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn it_says_what_trying_everything_says(
            clauses in clauses(),
            ranks in prop::collection::vec(0..100_u32, VARS as usize),
        ) {
            let mut solver = solver(&clauses, &ranks);
            for var in (0..VARS).chain(0..VARS) {
                match solver.solve(var) {
                    Ok(()) => {
                        let set = installed(&solver);
                        prop_assert!(set >> var & 1 == 1 && holds(&clauses, set), "{var}: {set:b}");
                    }
                    Err(core) => {
                        prop_assert!(!can_be(&clauses, var), "{var} can be installed");
                        let core: Vec<Vec<Lit>> =
                            core.into_iter().map(|number| clauses[number as usize].clone()).collect();
                        prop_assert!(!can_be(&core, var), "{var}: the core allows it");
                    }
                }
            }
        }

        #[test]
        fn what_is_installed_beside_the_rest_goes_with_it(
            clauses in clauses(),
            order in Just((0..VARS).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut solver = solver(&clauses, &[0; VARS as usize]);
            let mut all = 0;
            for var in order {
                let beside = solver.solve_beside(var);
                let set = installed(&solver);
                prop_assert!(holds(&clauses, set) && set & all == all && (!beside || set >> var & 1 == 1));
                all = set;
            }
            for var in 0..VARS {
                prop_assert_eq!(solver.solve(var).is_ok(), can_be(&clauses, var));
            }
        }
    }
}
