//! A small store with a model beside it: what must be there, whatever happens in which order.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use cfs_fs::digest::{BlobId, NodeId, SnapshotId};
use cfs_fs::edit::{EditError, empty_dir, graft};
use cfs_fs::name::{Name, TreePath};
use cfs_fs::store::lease::Lease;
use cfs_fs::tree::{Dir, Entry, Item, Kind, NodeMap, Nodes, Stage, resolve};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::*;
use crate::catalogue::{Draft, Signer, Taken};
use crate::checksum::{Algorithm, Hasher};
use crate::refname::RefName;

/// What refs named in so many seconds before must be there, …
const KEEP: i64 = 60;
/// … and so many generations.
const GENERATIONS: usize = 2;
/// How many different files there are.
const CONTENTS: u8 = 200;
/// What is told of the way to a failure.
const TRACE: usize = 80;

/// Paths of three steps, and which content stands there.
type Tree = BTreeMap<[u8; 3], u8>;

/// What a ref's tree becomes, with the nodes that may be new.
type Sketch<'a> = dyn FnMut(Option<&Item>) -> Result<(Item, NodeMap), EditError> + 'a;

/// What went wrong.
pub(super) type Failure = String;

pub(super) struct World {
    depot: Arc<Depot>,
    rng: StdRng,
    now: i64,
    broken: Option<Broken>,
    /// Each with the snapshots that it named, and since when.
    refs: Vec<(RefName, Vec<(SnapshotId, i64)>)>,
    /// Every snapshot that was ever made.
    trees: BTreeMap<SnapshotId, Tree>,
    pins: BTreeSet<SnapshotId>,
    holds: Vec<(Lease, SnapshotId)>,
    ingests: Vec<Ingest>,
    promotions: Vec<(SnapshotId, Item)>,
    collecting: bool,
    failure: Option<Failure>,
    trace: VecDeque<String>,
    pub(super) operations: u64,
    pub(super) deleted: Amount,
    pub(super) stopped: u64,
    _dir: tempfile::TempDir,
}

/// An import or a sync that is under way.
struct Ingest {
    lease: Lease,
    tree: Tree,
    /// What is still to be stored.
    left: Vec<u8>,
    /// Known by digest, as a sync does, instead of by name.
    by_digest: bool,
}

fn content(number: u8) -> Vec<u8> {
    format!("content {number}").into_bytes()
}

fn text(error: impl std::fmt::Debug) -> Failure {
    format!("{error:?}")
}

impl World {
    pub(super) fn new(seed: u64, broken: Option<Broken>) -> Self {
        // In memory, where syncing costs nothing; this test is not about power cuts.
        let memory = Path::new("/dev/shm");
        let builder = || tempfile::Builder::new().prefix("cfs-gc-").to_owned();
        let dir = builder().tempdir_in(memory).or_else(|_| builder().tempdir()).unwrap();
        let depot = Arc::new(Depot::create(&dir.path().join("store")).unwrap());
        let name = |number| format!("ref/{number}").parse().unwrap();
        Self {
            depot,
            rng: StdRng::seed_from_u64(seed),
            now: 1_000_000,
            broken,
            refs: (0..4).map(|number| (name(number), Vec::new())).collect(),
            trees: BTreeMap::new(),
            pins: BTreeSet::new(),
            holds: Vec::new(),
            ingests: Vec::new(),
            promotions: Vec::new(),
            collecting: false,
            failure: None,
            trace: VecDeque::new(),
            operations: 0,
            deleted: Amount::default(),
            stopped: 0,
            _dir: dir,
        }
    }

    pub(super) fn trace(&self) -> String {
        Vec::from(self.trace.clone()).join("\n")
    }

    fn note(&mut self, line: String) {
        self.trace.push_back(line);
        if self.trace.len() > TRACE {
            self.trace.pop_front();
        }
    }

    /// Does one thing.
    pub(super) fn step(&mut self) -> Result<(), Failure> {
        self.operations += 1;
        self.now += i64::from(self.rng.gen_ratio(1, 4)) * self.rng.gen_range(0..20);
        match self.rng.gen_range(0..100) {
            0..=7 => self.begin_ingest(),
            8..=33 => self.go_on(),
            34..=43 => self.finish_ingest(),
            44..=45 => self.crash_ingest(),
            46..=50 => self.begin_promotion(),
            51..=56 => self.finish_promotion(),
            57..=60 => self.graft(),
            61..=63 => self.pin(),
            64..=66 => self.hold(),
            67..=94 => self.read(),
            _ if self.collecting => self.read(),
            _ => self.collect(),
        }
    }

    fn signer(&self) -> Signer {
        Signer { actor: "tester@here".into(), tool: "cfs test".into(), now: self.now }
    }

    /// A tree that differs a little from one that was there, or a new one.
    fn some_tree(&mut self) -> Tree {
        let mut tree = match self.some_snapshot() {
            Some(id) if self.rng.gen_ratio(2, 3) => self.trees[&id].clone(),
            _ => Tree::new(),
        };
        for _ in 0..self.rng.gen_range(1..8) {
            let path = [0; 3].map(|_| self.rng.gen_range(0..4));
            if self.rng.gen_ratio(1, 4) {
                tree.remove(&path);
            } else {
                tree.insert(path, self.rng.gen_range(0..CONTENTS));
            }
        }
        tree
    }

    /// Any snapshot, mostly a newer one.
    fn some_snapshot(&mut self) -> Option<SnapshotId> {
        let number = self.rng.gen_range(0..self.refs.len());
        let history = &self.refs[number].1;
        let back = self.rng.gen_range(0..6.min(history.len().max(1)));
        history.len().checked_sub(back + 1).map(|at| history[at].0)
    }

    fn begin_ingest(&mut self) -> Result<(), Failure> {
        if self.ingests.len() >= 3 {
            return self.finish_ingest();
        }
        let tree = self.some_tree();
        let lease = Lease::take(&self.depot.store).map_err(text)?;
        let left: Vec<u8> = tree.values().copied().collect::<BTreeSet<_>>().into_iter().collect();
        self.note(format!("ingest {left:?} begins with lease {}", lease.name()));
        let by_digest = self.rng.gen_ratio(1, 2);
        self.ingests.push(Ingest { lease, tree, left, by_digest });
        Ok(())
    }

    /// Some ingest stores some of what it needs.
    fn go_on(&mut self) -> Result<(), Failure> {
        let Some(number) = self.some(self.ingests.len()) else { return self.begin_ingest() };
        let most = self.rng.gen_range(1..12);
        self.store_some(number, most)
    }

    fn store_some(&mut self, number: usize, most: usize) -> Result<(), Failure> {
        let Ingest { lease, left, by_digest, .. } = &mut self.ingests[number];
        let mut stored = Vec::new();
        for content in left.split_off(left.len().saturating_sub(most)) {
            stored.push((content, store(&self.depot, lease, content, *by_digest)?));
        }
        let name = lease.name();
        self.note(format!("{name} stores (content, was there) {stored:?}"));
        Ok(())
    }

    /// With everything stored under a lease, a commit cannot fail.
    fn finish_ingest(&mut self) -> Result<(), Failure> {
        let Some(number) = self.some(self.ingests.len()) else { return Ok(()) };
        self.store_some(number, usize::MAX)?;
        let Ingest { lease, tree, .. } = self.ingests.swap_remove(number);
        let (root, nodes) = build(&tree);
        let made = self.commit(None, &lease.name(), &mut |_| Ok((root.clone(), nodes.clone())))?;
        made.map(|id| drop(self.trees.insert(id, tree))).map_err(text)
    }

    /// Some ingest ends without a commit.
    fn crash_ingest(&mut self) -> Result<(), Failure> {
        let Some(number) = self.some(self.ingests.len()) else { return self.begin_ingest() };
        let gone = self.ingests.swap_remove(number);
        self.note(format!("{} crashes", gone.lease.name()));
        Ok(())
    }

    /// Somebody reads an old state, to promote it some time later.
    fn begin_promotion(&mut self) -> Result<(), Failure> {
        let Some(id) = self.some_snapshot() else { return Ok(()) };
        let found = self.depot.catalogue.snapshot(id).map_err(text)?;
        if found.is_none() && self.roots().contains(&id) {
            return Err(format!("{id:?} is needed and cannot be had"));
        }
        if let Some(found) = found {
            self.note(format!("a promotion of {id:?} begins"));
            self.promotions.push((id, found.root_item()));
        }
        if self.promotions.len() > 4 { self.finish_promotion() } else { Ok(()) }
    }

    /// The promoted tree may have been collected meanwhile; then nothing must happen at all.
    fn finish_promotion(&mut self) -> Result<(), Failure> {
        let Some(number) = self.some(self.promotions.len()) else { return self.begin_promotion() };
        let (source, root) = self.promotions.swap_remove(number);
        let made = self.commit(Some(source), "promotion", &mut |_| Ok((root.clone(), NodeMap::new())))?;
        if let Ok(id) = made {
            self.trees.insert(id, self.trees[&source].clone());
        }
        Ok(())
    }

    /// A directory of an old snapshot becomes one of a ref's tree, so new nodes name old ones.
    fn graft(&mut self) -> Result<(), Failure> {
        let Some(source) = self.some_snapshot() else { return Ok(()) };
        let number = self.rng.gen_range(0..self.refs.len());
        let (step, to) = (self.rng.gen_range(0..4_u8), self.rng.gen_range(0..4_u8));
        let path: TreePath = step.to_string().parse().unwrap();
        let depot = Arc::clone(&self.depot);
        let Some(found) = depot.catalogue.snapshot(source).map_err(text)? else { return Ok(()) };
        let Some(item) = resolve(&depot.catalogue, &found.root_item(), &path).map_err(text)? else {
            return Ok(());
        };
        let target: TreePath = to.to_string().parse().unwrap();
        let mut tree = self.refs[number].1.last().map(|(id, _)| self.trees[id].clone()).unwrap_or_default();
        let old = self.trees[&source].clone();
        tree.retain(|[first, ..], _| *first != to);
        tree.extend(
            old.iter().filter(|([first, ..], _)| *first == step).map(|([_, b, c], n)| ([to, *b, *c], *n)),
        );
        let made = self.commit_to(number, Some(source), "graft", &mut |current| {
            let mut stage = Stage::new(&depot.catalogue);
            let top = match current {
                Some(top) => top.clone(),
                None => empty_dir(&mut stage, 0),
            };
            // The model knows no times: everything is as old as the rest.
            let new = graft(&mut stage, &top, &target, item.clone(), 0)?;
            Ok((Item { mtime: 0, ..new }, stage.into_new_nodes()))
        })?;
        if let Ok(id) = made {
            self.trees.insert(id, tree);
        }
        Ok(())
    }

    fn commit(
        &mut self,
        source: Option<SnapshotId>,
        who: &str,
        draft: &mut Sketch<'_>,
    ) -> Result<Result<SnapshotId, Failure>, Failure> {
        let number = self.rng.gen_range(0..self.refs.len());
        self.commit_to(number, source, who, draft)
    }

    /// Moves a ref. The inner failure is one that may be: the `source` was not needed by anybody and has gone.
    fn commit_to(
        &mut self,
        number: usize,
        source: Option<SnapshotId>,
        who: &str,
        draft: &mut Sketch<'_>,
    ) -> Result<Result<SnapshotId, Failure>, Failure> {
        let signer = self.signer();
        let (depot, name) = (Arc::clone(&self.depot), self.refs[number].0.clone());
        let done = depot.catalogue.update_ref(&depot.store, &name, &signer, |current| {
            let top = current.map(|current| current.snapshot.root_item());
            let (root, nodes) =
                draft(top.as_ref()).map_err(|error| CatalogueError::Damaged { what: text(error) })?;
            Ok::<_, CatalogueError>(Some(Draft {
                root,
                nodes,
                taken: Taken::default(),
                parents: Vec::new(),
                access: None,
                meta: BTreeMap::new(),
                message: String::new(),
                reason: "test".into(),
            }))
        });
        match done {
            Ok(update) => {
                let id = update.unwrap().id;
                self.note(format!("{who} makes {name} {id:?}"));
                self.refs[number].1.push((id, self.now));
                Ok(Ok(id))
            }
            Err(error) => {
                self.note(format!("{who} fails: {error:?}"));
                let needed = source.is_none_or(|source| self.roots().contains(&source));
                if needed {
                    Err(format!("{who} cannot move {name}: {error:?}"))
                } else {
                    Ok(Err(text(error)))
                }
            }
        }
    }

    fn pin(&mut self) -> Result<(), Failure> {
        if self.pins.len() > 3 {
            let id = *self.pins.iter().next().unwrap();
            self.pins.remove(&id);
            self.depot.catalogue.unpin(id).map_err(text)?;
            self.note(format!("unpin {id:?}"));
            return Ok(());
        }
        let Some(id) = self.some_snapshot() else { return Ok(()) };
        match self.depot.catalogue.pin(id, &self.signer(), "test") {
            Ok(()) => {
                self.pins.insert(id);
                self.note(format!("pin {id:?}"));
                Ok(())
            }
            Err(CatalogueError::Collected { .. }) if !self.roots().contains(&id) => Ok(()),
            Err(error) => Err(text(error)),
        }
    }

    /// A mount comes to show a snapshot, or one ends.
    fn hold(&mut self) -> Result<(), Failure> {
        if self.holds.len() > 2 {
            let (lease, id) = self.holds.remove(0);
            self.note(format!("{} lets go of {id:?}", lease.name()));
            return Ok(());
        }
        let Some(id) = self.some_snapshot() else { return Ok(()) };
        let lease = Lease::take(&self.depot.store).map_err(text)?;
        lease.hold(&self.depot.store, id).map_err(text)?;
        if self.depot.catalogue.snapshot(id).map_err(text)?.is_some() {
            self.note(format!("{} holds {id:?}", lease.name()));
            self.holds.push((lease, id));
        } else if self.roots().contains(&id) {
            return Err(format!("{id:?} is needed and cannot be held"));
        }
        Ok(())
    }

    /// Reads a file of something that must be there.
    fn read(&mut self) -> Result<(), Failure> {
        let roots: Vec<SnapshotId> = self.roots().into_iter().collect();
        let Some(number) = self.some(roots.len()) else { return Ok(()) };
        let (id, tree) = (roots[number], &self.trees[&roots[number]]);
        let paths: Vec<&[u8; 3]> = tree.keys().collect();
        let number = if paths.is_empty() { return Ok(()) } else { self.rng.gen_range(0..paths.len()) };
        let [a, b, c] = paths[number];
        let path: TreePath = format!("{a}/{b}/{c}").parse().unwrap();
        let lost = |what: &str| format!("{path} of {id:?} cannot be read: {what}");
        let found =
            self.depot.catalogue.snapshot(id).map_err(text)?.ok_or_else(|| lost("it is collected"))?;
        match resolve(&self.depot.catalogue, &found.root_item(), &path).map_err(|error| lost(&text(error)))? {
            Some(Item { kind: Kind::File { blob, .. }, .. }) => {
                let bytes = self.depot.store.read_blob(blob).map_err(|error| lost(&text(error)))?;
                if bytes == content(tree[paths[number]]) { Ok(()) } else { Err(lost("it is another one")) }
            }
            _ => Err(lost("it is not there")),
        }
    }

    /// A collection, with others at work all the while; sometimes it is stopped.
    fn collect(&mut self) -> Result<(), Failure> {
        let options = Options {
            now: self.now,
            keep_seconds: KEEP,
            keep_generations: GENERATIONS as u64,
            grace_seconds: [0, 0, 0, 15][self.rng.gen_range(0..4)],
            dry_run: self.rng.gen_ratio(1, 12),
            confirmed: true,
            batch: self.rng.gen_range(1..6),
            broken: self.broken,
        };
        self.collecting = true;
        let depot = Arc::clone(&self.depot);
        let busy = self.rng.gen_ratio(2, 3);
        self.note(format!("a collection begins: {options:?}"));
        let done = collect(&depot, &options, &mut |at| self.meanwhile(at, busy));
        self.collecting = false;
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        match done {
            Ok(report) => {
                let Amount { snapshots, nodes, blobs, files, .. } = report.deleted;
                self.note(format!("it has deleted {:?}", report.deleted));
                if !options.dry_run {
                    self.deleted.snapshots += snapshots;
                    self.deleted.nodes += nodes;
                    self.deleted.blobs += blobs;
                    self.deleted.files += files;
                }
            }
            Err(GcError::Stopped) => {
                self.note("it is stopped".into());
                self.stopped += 1;
            }
            Err(error) => return Err(format!("the collection failed: {error:?}")),
        }
        self.check()
    }

    fn meanwhile(&mut self, at: Progress, busy: bool) -> ControlFlow<()> {
        // A looking collection asks 256 times.
        let often = if at.phase == Phase::Looking { 150 } else { 2 };
        if busy && self.rng.gen_ratio(1, often) {
            self.note(format!("meanwhile, at {at:?}"));
            let failure = (0..self.rng.gen_range(1..5)).find_map(|_| self.step().err());
            self.failure =
                failure.or_else(|| if self.rng.gen_ratio(1, 8) { self.check().err() } else { None });
        }
        let stopped = self.rng.gen_ratio(1, 30 * often);
        if stopped || self.failure.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// What must be there.
    fn roots(&self) -> BTreeSet<SnapshotId> {
        let mut roots = self.pins.clone();
        roots.extend(self.holds.iter().map(|(_, id)| *id));
        for (_, history) in &self.refs {
            for (at, (id, _)) in history.iter().enumerate() {
                let ended = history.get(at + 1).map(|(_, ended)| *ended);
                if ended.is_none_or(|ended| ended > self.now - KEEP) || at + GENERATIONS >= history.len() {
                    roots.insert(*id);
                }
            }
        }
        roots
    }

    /// Everything that must be there is, and everything that is there is whole.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let catalogue = &self.depot.catalogue;
        let mut nodes = HashSet::new();
        catalogue
            .node_ids(&mut |id| {
                nodes.insert(id);
            })
            .map_err(text)?;
        let mut blobs = HashSet::new();
        for byte in 0..=u8::MAX {
            blobs.extend(catalogue.blobs_beginning(byte).map_err(text)?);
        }
        for id in &nodes {
            let node = catalogue.node(*id).map_err(text)?;
            if let Some(lost) = node.nodes().find(|below| !nodes.contains(below)) {
                return Err(format!("node {id:?} names node {lost:?}, which is not there"));
            }
            if let Some((lost, _)) = node.blobs().find(|blob| !blobs.contains(blob)) {
                return Err(format!("node {id:?} names blob {lost:?}, which is not live"));
            }
        }
        if let Some((lost, _)) = blobs.iter().find(|(id, size)| !self.depot.store.has_blob(*id, *size)) {
            return Err(format!("blob {lost:?} is live and has no file"));
        }
        for id in catalogue.whole_snapshots().map_err(text)? {
            let found = catalogue.snapshot(id).map_err(text)?.unwrap();
            if !nodes.contains(&found.root.id) {
                return Err(format!("{id:?} is not collected and has no top"));
            }
        }
        for id in self.roots() {
            let found = catalogue.snapshot(id).map_err(text)?;
            let Some(found) = found else { return Err(format!("{id:?} is needed and was collected")) };
            let expected = build(&self.trees[&id]).0;
            if found.root_item() != expected {
                return Err(format!("{id:?} shows another tree"));
            }
        }
        Ok(())
    }

    /// When everybody has gone and nothing is kept but refs, two collections leave nothing else.
    pub(super) fn end(mut self) -> Result<Self, Failure> {
        self.broken = None;
        (self.ingests, self.promotions, self.holds) = (Vec::new(), Vec::new(), Vec::new());
        for id in std::mem::take(&mut self.pins) {
            self.depot.catalogue.unpin(id).map_err(text)?;
        }
        self.now += 10 * KEEP;
        for _ in 0..3 {
            self.now += 1;
            let options = Options {
                now: self.now,
                keep_seconds: 0,
                keep_generations: 0,
                grace_seconds: 0,
                confirmed: true,
                ..Options::default()
            };
            collect(&self.depot, &options, &mut |_| ControlFlow::Continue(())).map_err(text)?;
        }
        let kept: BTreeSet<SnapshotId> = self.refs.iter().filter_map(|(_, h)| Some(h.last()?.0)).collect();
        let whole: BTreeSet<SnapshotId> =
            self.depot.catalogue.whole_snapshots().map_err(text)?.into_iter().collect();
        if whole != kept {
            return Err(format!("{} snapshots are left instead of {}", whole.len(), kept.len()));
        }
        let (mut blobs, mut nodes) = (BTreeSet::new(), BTreeSet::<NodeId>::new());
        for id in &kept {
            let (_, below) = build(&self.trees[id]);
            nodes.extend(below.keys());
            blobs.extend(self.trees[id].values().map(|number| BlobId::of(&content(*number))));
        }
        let mut left = BTreeSet::new();
        self.depot
            .catalogue
            .node_ids(&mut |id| {
                left.insert(id);
            })
            .map_err(text)?;
        let mut files = BTreeSet::new();
        for byte in 0..=u8::MAX {
            files.extend(cfs_fs::sweep::blobs(&self.depot.store, byte).map_err(text)?);
        }
        if (&left, &files) != (&nodes, &blobs) {
            return Err(format!(
                "{} nodes and {} blobs are left instead of {} and {}",
                left.len(),
                files.len(),
                nodes.len(),
                blobs.len()
            ));
        }
        self.check_commits(&nodes)?;
        Ok(self)
    }

    /// A lost catalogue could be rebuilt: every node is in a commit file, and none has nodes that are gone.
    fn check_commits(&self, nodes: &BTreeSet<NodeId>) -> Result<(), Failure> {
        let mut found = BTreeSet::new();
        for id in cfs_fs::sweep::commits(&self.depot.store).map_err(text)? {
            let bytes = fs::read(self.depot.store.commit_path(id)).map_err(text)?;
            let file = crate::commitfile::decode(id, &bytes).map_err(text)?;
            found.extend(file.nodes.iter().map(|(id, _)| *id));
        }
        if found == *nodes { Ok(()) } else { Err("commit files hold other nodes than the catalogue".into()) }
    }

    fn some(&mut self, len: usize) -> Option<usize> {
        (len > 0).then(|| self.rng.gen_range(0..len))
    }
}

/// Stores a content as an import or a sync does; returns whether it was there.
fn store(depot: &Depot, lease: &Lease, number: u8, by_digest: bool) -> Result<bool, Failure> {
    let bytes = content(number);
    let (id, size) = (BlobId::of(&bytes), bytes.len() as u64);
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(&bytes);
    let checksum = hasher.finish().checksum;
    if by_digest {
        let found = depot.catalogue.blob_by_checksum(&checksum).map_err(text)?;
        if found.is_some_and(|(id, size)| depot.store.has_blob(id, size)) {
            return Ok(true);
        }
    } else {
        depot.catalogue.revive(&depot.store, &[id]).map_err(text)?;
        if depot.store.has_blob(id, size) {
            return Ok(true);
        }
    }
    let (mut file, path) = lease.temporary().map_err(text)?;
    file.write_all(&bytes).map_err(text)?;
    fs::rename(&path, depot.store.blob_path(id)).map_err(text)?;
    if by_digest {
        depot.catalogue.record_stored(&depot.store, [(id, size, &[checksum][..])]).map_err(text)?;
    }
    Ok(false)
}

/// A tree with its nodes.
fn build(tree: &Tree) -> (Item, NodeMap) {
    let nothing = NodeMap::new();
    let mut stage = Stage::new(&nothing);
    let name = |number: u8| Name::new(number.to_string()).unwrap();
    let dir = |dir: Dir| Item { mtime: 0, kind: Kind::Dir(dir) };
    let mut top: BTreeMap<u8, BTreeMap<u8, Vec<Entry>>> = BTreeMap::new();
    for ([a, b, c], number) in tree {
        let bytes = content(*number);
        let kind = Kind::File { blob: BlobId::of(&bytes), size_bytes: bytes.len() as u64, executable: false };
        let entry = Entry { name: name(*c), item: Item { mtime: 0, kind } };
        top.entry(*a).or_default().entry(*b).or_default().push(entry);
    }
    let mut entries = Vec::new();
    for (a, below) in top {
        let below: Vec<Entry> = below
            .into_iter()
            .map(|(b, files)| Entry { name: name(b), item: dir(stage.write_dir(&files)) })
            .collect();
        entries.push(Entry { name: name(a), item: dir(stage.write_dir(&below)) });
    }
    let top = dir(stage.write_dir(&entries));
    (top, stage.into_new_nodes())
}
