//! The gates: what a promotion must pass before readers see it. Each is a file of this room.
//!
//! Always true: a gate changes nothing; it looks at what changed, and at all the rest only if that was not
//! looked at before with the same demands (what passed is remembered by the name of its node, so no state can
//! be mistaken for another); what it finds is recorded in the snapshot, and so is who overruled it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use cfs_fs::diff::differing_entries;
use cfs_fs::digest::{Digest, NodeId};
use cfs_fs::name::Name;
use cfs_fs::tree::cache::{CACHE_BYTES, CachedNodes};
use cfs_fs::tree::{Dir, Entry, Kind, Node, NodeError, Nodes, read_dir};

use super::PromoteError;
use super::flip::{Change, Flip, FlipNodes};
use crate::catalogue::{Checked, Signer};
pub use crate::config::Gate;
use crate::depot::Depot;

mod approvals;
mod closure;
mod deletes;
mod incomplete;
mod names;
mod repodata;
mod signatures;
mod symlinks;

/// Findings of a gate that are named; all are counted.
const FINDINGS_NAMED: usize = 100;
/// Findings and bumped paths that a snapshot's record names.
const FINDINGS_RECORDED: usize = 3;

/// How the user wants gates to be taken.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Gates that are overruled.
    pub force: BTreeSet<Gate>,
    /// So many removals are meant.
    pub allow_deletes: Option<u64>,
    /// Gates that the policy does not ask for.
    pub also: BTreeSet<Gate>,
    /// Only these gates, whatever the policy says.
    pub only: Option<BTreeSet<Gate>>,
}

impl Wishes {
    /// No gates: for a flip whose tree has been shown before.
    pub fn none() -> Self {
        Self { only: Some(BTreeSet::new()), ..Self::default() }
    }
}

/// What a gate found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The gate.
    pub gate: Gate,
    /// What is wrong, as far as it is named.
    pub findings: Vec<String>,
    /// How much is wrong.
    pub count: u64,
    /// Who overruled it.
    pub forced_by: Option<String>,
    /// What it has to say even when nothing is wrong.
    pub said: Option<String>,
}

impl Check {
    fn new(gate: Gate) -> Self {
        Self { gate, findings: Vec::new(), count: 0, forced_by: None, said: None }
    }

    fn find(&mut self, what: impl Into<String>) {
        self.count += 1;
        if self.findings.len() < FINDINGS_NAMED {
            self.findings.push(what.into());
        }
    }

    /// Whether it found nothing.
    pub fn passed(&self) -> bool {
        self.count == 0
    }

    /// Whether it refuses the promotion.
    pub fn refuses(&self) -> bool {
        !self.passed() && self.forced_by.is_none()
    }
}

/// What a gate looks at.
struct Scene<'a> {
    depot: &'a Depot,
    nodes: &'a CachedNodes<FlipNodes<'a>>,
    memory: &'a Checked,
    change: &'a Change,
    wishes: &'a Wishes,
    /// What passed in this run and may be remembered once nothing was found.
    passed: RefCell<Vec<[u8; 32]>>,
}

impl Nodes for Scene<'_> {
    fn node(&self, id: NodeId) -> Result<std::sync::Arc<Node>, NodeError> {
        self.nodes.node(id)
    }
}

/// The gates that a change must pass, in the order of checking.
pub(super) fn wanted(change: &Change, wishes: &Wishes) -> Vec<Gate> {
    if let Some(only) = &wishes.only {
        return only.iter().copied().collect();
    }
    let mut gates: BTreeSet<Gate> = change.policy.gates().into_iter().collect();
    gates.extend(&wishes.also);
    gates.into_iter().collect()
}

/// Runs the gates of every view of a flip; what they found, view by view.
pub(super) fn check(
    depot: &Depot,
    flip: &Flip,
    wishes: &Wishes,
    signer: &Signer,
) -> Result<Vec<Vec<Check>>, PromoteError> {
    let quick = |gate: &Gate| matches!(gate, Gate::Incomplete | Gate::Approvals | Gate::Mtime);
    let all_quick = flip.changes.iter().all(|change| wanted(change, wishes).iter().all(quick));
    let memory = if all_quick { Checked::nothing() } else { depot.checked() };
    let nodes = CachedNodes::new(flip.nodes(depot), CACHE_BYTES);
    let mut all = Vec::new();
    for change in &flip.changes {
        let mut checks = Vec::new();
        for gate in wanted(change, wishes) {
            let passed = RefCell::default();
            let scene = Scene { depot, nodes: &nodes, memory: &memory, change, wishes, passed };
            let mut check = run(gate, &scene, signer)?;
            if check.passed() {
                memory.remember(&scene.passed.take());
            } else if wishes.force.contains(&gate) && gate != Gate::Approvals {
                check.forced_by = Some(signer.actor.clone());
            }
            checks.push(check);
        }
        all.push(checks);
    }
    Ok(all)
}

fn run(gate: Gate, scene: &Scene<'_>, signer: &Signer) -> Result<Check, PromoteError> {
    match gate {
        Gate::Incomplete => incomplete::check(scene),
        Gate::Names => names::check(scene),
        Gate::Symlinks => symlinks::check(scene),
        Gate::Deletes => deletes::check(scene),
        // Of times nothing is refused: they have been moved on.
        Gate::Repodata => repodata::check(scene),
        Gate::Signatures => signatures::check(scene, signer.now),
        Gate::Closure => closure::check(scene),
        Gate::Approvals => approvals::check(scene, signer),
        Gate::Mtime => Ok(Check::new(gate)),
    }
}

/// Writes into a change what its snapshot says of the gates.
pub(super) fn record(change: &mut Change) {
    let named = |texts: &[String], count: u64| {
        let named: Vec<&str> = texts.iter().take(FINDINGS_RECORDED).map(String::as_str).collect();
        let more = if count > named.len() as u64 { ", …" } else { "" };
        format!("{}{more}", named.join(", "))
    };
    for check in &change.checks {
        let bumped = change.bumped.len() as u64;
        let text = match &check.forced_by {
            Some(who) => {
                format!("forced by {who}: {} found: {}", check.count, named(&check.findings, check.count))
            }
            None if check.gate == Gate::Mtime && bumped > 0 => {
                format!("passed: {bumped} moved on: {}", named(&change.bumped, bumped))
            }
            None => match &check.said {
                Some(said) => format!("passed: {said}"),
                None => "passed".to_owned(),
            },
        };
        change.meta.insert(format!("gate.{}", check.gate), text);
    }
}

/// What a gate finds wrong with one directory. `entries` are those that may not have been looked at.
type LookAt<'a> = dyn FnMut(&Place<'_>, &[Entry]) -> Result<Vec<String>, PromoteError> + 'a;

/// A directory that a gate looks at.
struct Place<'a> {
    path: &'a str,
    dir: Dir,
    /// What stood there before, when that has passed.
    old: Option<Dir>,
}

/// Shows `look` every directory of the new tree that has not passed `gate` with `demands`, and of those that
/// were something else before, and passed then, only the entries that may differ.
fn walk(
    scene: &Scene<'_>,
    gate: Gate,
    demands: &str,
    check: &mut Check,
    look: &mut LookAt<'_>,
) -> Result<(), PromoteError> {
    let Some((old, new)) = scene.change.dirs() else { return Ok(()) };
    let walk = Walk { scene, key: format!("{gate} {demands}") };
    walk.visit("", Some(old), new, check, look).map(drop)
}

struct Walk<'a> {
    scene: &'a Scene<'a>,
    key: String,
}

impl Walk<'_> {
    fn key_of(&self, id: NodeId) -> [u8; 32] {
        *Digest::of(format!("{} {id}", self.key).as_bytes()).as_bytes()
    }

    /// Returns whether nothing was found in the directory and below. `before` is what stood there.
    fn visit(
        &self,
        path: &str,
        before: Option<Dir>,
        dir: Dir,
        check: &mut Check,
        look: &mut LookAt<'_>,
    ) -> Result<bool, PromoteError> {
        let key = self.key_of(dir.id);
        if self.scene.memory.knows(&key) {
            return Ok(true);
        }
        let old = before.filter(|old| self.scene.memory.knows(&self.key_of(old.id)));
        let (there, mut entries) = match before {
            None => (Vec::new(), read_dir(self.scene, dir.id)?),
            Some(before) if old.is_none() => {
                (read_dir(self.scene, before.id)?, read_dir(self.scene, dir.id)?)
            }
            Some(before) => differing_entries(self.scene, before.id, dir.id)?,
        };
        if old.is_some() {
            entries.retain(|entry| {
                let found = there.binary_search_by(|other| other.name.cmp(&entry.name));
                !found.is_ok_and(|at| there[at].item == entry.item)
            });
        }
        let before: BTreeMap<Name, Dir> = there
            .into_iter()
            .filter_map(|entry| match entry.item.kind {
                Kind::Dir(dir) => Some((entry.name, dir)),
                _ => None,
            })
            .collect();
        let findings = look(&Place { path, dir, old }, &entries)?;
        let mut clean = findings.is_empty();
        findings.into_iter().for_each(|finding| check.find(finding));
        for entry in &entries {
            let Kind::Dir(dir) = entry.item.kind else { continue };
            let before = before.get(&entry.name).copied();
            clean &= self.visit(&join(path, entry.name.as_str()), before, dir, check, look)?;
        }
        if clean {
            self.scene.passed.borrow_mut().push(key);
        }
        Ok(clean)
    }
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}
