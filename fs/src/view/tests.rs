use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::sync::RwLock;

use super::access::Access;
use super::ghosts::{self, At, Grace};
use super::roots::{Past, Target};
use super::*;
use crate::digest::NodeId;
use crate::edit::build;
use crate::tree::{Node, Stage};

mod model;

/// Refs and snapshots in memory; a time is the number of the generation that was made then.
#[derive(Default)]
struct Map {
    nodes: RwLock<HashMap<NodeId, Vec<u8>>>,
    refs: RwLock<BTreeMap<TreePath, Vec<Target>>>,
    snapshots: RwLock<BTreeMap<SnapshotId, Root>>,
    lists: std::sync::atomic::AtomicUsize,
}

impl Nodes for Map {
    fn node(&self, id: NodeId) -> Result<Arc<Node>, NodeError> {
        self.nodes.read().unwrap().node(id)
    }
}

impl Roots for Map {
    fn find(&self, name: &TreePath) -> Result<Option<Target>, RootsError> {
        Ok(self.refs.read().unwrap().get(name).and_then(|log| log.last().cloned()))
    }

    fn refs(&self) -> Result<Vec<(TreePath, Target)>, RootsError> {
        let refs = self.refs.read().unwrap();
        Ok(refs.iter().map(|(name, log)| (name.clone(), log.last().unwrap().clone())).collect())
    }

    fn snapshot(&self, id: SnapshotId) -> Result<Option<Root>, RootsError> {
        Ok(self.snapshots.read().unwrap().get(&id).cloned())
    }

    fn snapshots(&self) -> Result<Vec<SnapshotId>, RootsError> {
        self.lists.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(self.snapshots.read().unwrap().keys().copied().collect())
    }

    fn at(&self, name: &TreePath, time: i64) -> Result<Option<SnapshotId>, RootsError> {
        let refs = self.refs.read().unwrap();
        let log = refs.get(name).map_or(&[][..], |log| log);
        let count = usize::try_from(time).unwrap_or(0).min(log.len());
        Ok(log[..count].last().and_then(|target| match target {
            Target::Snapshot { id, .. } => Some(*id),
            Target::Symbolic(_) => None,
        }))
    }

    fn generation(&self, name: &TreePath, generation: u64) -> Result<Option<SnapshotId>, RootsError> {
        let refs = self.refs.read().unwrap();
        let log = refs.get(name).into_iter().flatten();
        Ok(log.rev().find_map(|target| match target {
            Target::Snapshot { id, generation: of } if *of == generation => Some(*id),
            _ => None,
        }))
    }

    fn past(
        &self,
        name: &TreePath,
        generation: u64,
        since: i64,
        limit: usize,
    ) -> Result<Vec<Past>, RootsError> {
        let length = self.refs.read().unwrap().get(name).map_or(0, |log| log.len() as u64);
        let past = (1..generation.min(length + 1)).rev().filter_map(|generation| {
            let id = self.generation(name, generation).unwrap()?;
            let ended = i64::try_from(generation).unwrap() + 1;
            (ended >= since).then_some(Past { generation, id, ended })
        });
        Ok(past.take(limit).collect())
    }

    fn moves(&self) -> Result<u64, RootsError> {
        Ok(self.refs.read().unwrap().values().map(|log| log.len() as u64).sum())
    }

    fn labels(&self, _: BlobId) -> Result<Vec<(String, String)>, RootsError> {
        Ok(Vec::new())
    }
}

/// A store in a temporary directory with refs in memory.
struct World {
    _dir: tempfile::TempDir,
    store: Store,
    map: Arc<Map>,
}

/// Paths with the content of the file there.
type Files = BTreeMap<String, String>;

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

fn files<const N: usize>(of: [(&str, &str); N]) -> Files {
    of.into_iter().map(|(path, content)| (path.to_owned(), content.to_owned())).collect()
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(&dir.path().join("store")).unwrap();
        Self { _dir: dir, store, map: Arc::default() }
    }

    fn view(&self, options: Options) -> Kernel {
        let view = View::new(Arc::clone(&self.map), Arc::clone(&self.map), self.store.clone(), options);
        Kernel { view, lookups: RefCell::default() }
    }

    /// Makes a snapshot; a file whose content begins with `->` is a symlink.
    fn snapshot(&self, files: &Files) -> SnapshotId {
        let items = files.iter().map(|(at, content)| {
            let kind = if let Some(target) = content.strip_prefix("->") {
                Kind::Symlink { target: target.into() }
            } else {
                let blob = BlobId::of(content.as_bytes());
                fs::write(self.store.blob_path(blob), content).unwrap();
                let (size_bytes, executable) = (content.len() as u64, content.starts_with("#!"));
                Kind::File { blob, size_bytes, executable }
            };
            (path(at), Item { mtime: 1_700_000_000, kind })
        });
        let nodes = self.map.nodes.read().unwrap().clone();
        let mut stage = Stage::new(&nodes);
        let root = build(&mut stage, items, &mut |_, _| 1_700_000_001).unwrap();
        let Kind::Dir(dir) = root.kind else { panic!("{root:?}") };
        let id = SnapshotId::of(dir.id.as_bytes());
        let new = stage.into_new_nodes();
        self.map.nodes.write().unwrap().extend(new);
        self.map.snapshots.write().unwrap().insert(id, root.into());
        id
    }

    fn point(&self, name: &str, target: Target) {
        self.map.refs.write().unwrap().entry(path(name)).or_default().push(target);
    }

    /// Moves a ref to a snapshot of `files`.
    fn flip(&self, name: &str, files: &Files) -> SnapshotId {
        let id = self.snapshot(files);
        let generation = self.map.refs.read().unwrap().get(&path(name)).map_or(0, Vec::len) as u64 + 1;
        self.point(name, Target::Snapshot { id, generation });
        id
    }
}

/// A view, asked as a kernel asks: it counts its lookups.
struct Kernel {
    view: View<Arc<Map>, Arc<Map>>,
    lookups: RefCell<HashMap<Inode, u64>>,
}

impl std::ops::Deref for Kernel {
    type Target = View<Arc<Map>, Arc<Map>>;

    fn deref(&self) -> &Self::Target {
        &self.view
    }
}

impl Kernel {
    fn count(&self, found: Found) {
        *self.lookups.borrow_mut().entry(found.inode).or_default() += 1;
    }

    /// Takes all lookups back, except those of `kept`.
    fn forget_all(&self, kept: &[Inode]) {
        self.lookups.borrow_mut().retain(|inode, count| {
            let keep = kept.contains(inode);
            if !keep {
                self.view.forget(*inode, *count);
            }
            keep
        });
    }

    /// Goes on to what refs name now and lets go of what is shown no more, as a mount does: what the kernel
    /// knew by a name of a ref is looked up by another.
    fn follow(&self) {
        for stale in self.catch_up().unwrap() {
            let (above, name) = (self.inode_at(&stale.path), self.inode_at(&stale.kept));
            assert_ne!(above, name, "{stale:?}");
            let labels = self.labels(name.unwrap()).unwrap();
            assert!(labels.contains(&("user.cfs.snapshot".to_owned(), stale.snapshot.to_string())));
        }
    }

    fn inode_at(&self, path: &str) -> Option<Inode> {
        self.top(path).map(|found| found.inode)
    }

    fn at(&self, from: Inode, path: &str) -> Option<Found> {
        let mut found = None;
        let mut here = from;
        for name in path.split('/') {
            match self.lookup(here, name.as_bytes()).unwrap() {
                Answer::Found(next) => {
                    self.count(next);
                    (here, found) = (next.inode, Some(next));
                }
                Answer::Absent(_) => return None,
            }
        }
        found
    }

    fn top(&self, path: &str) -> Option<Found> {
        self.at(Inode::TOP, path)
    }

    fn lines(&self, handle: u64, plus: bool) -> Vec<(String, u64, FileKind)> {
        let mut lines = Vec::new();
        self.read_dir(handle, 0, plus, &mut |line| {
            line.found.into_iter().for_each(|found| self.count(found));
            lines.push((line.name.to_owned(), line.number, line.kind));
            true
        })
        .unwrap();
        lines
    }

    fn names(&self, dir: Inode) -> Vec<String> {
        let (handle, _) = self.open_dir(dir).unwrap();
        let names = self.lines(handle, false).into_iter().map(|(name, ..)| name);
        let names = names.filter(|name| name != "." && name != "..").collect();
        self.close_dir(handle);
        names
    }

    fn open_file(&self, inode: Inode) -> Result<u64, ViewError> {
        Ok(self.view.keep_open(self.view.content(inode)?))
    }

    fn content(&self, handle: u64) -> String {
        let mut bytes = vec![0; 1 << 16];
        let len = self.read(handle, 0, &mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    }

    /// Everything below a directory, by lookups and listings only.
    fn walk(&self, dir: Inode) -> Files {
        let mut files = Files::new();
        for name in self.names(dir) {
            let found = self.at(dir, &name).unwrap();
            match found.attributes.kind {
                FileKind::Dir => {
                    let below = self.walk(found.inode);
                    files.extend(below.into_iter().map(|(at, content)| (format!("{name}/{at}"), content)));
                }
                FileKind::Symlink => {
                    let target = self.read_link(found.inode).unwrap();
                    files.insert(name, format!("->{target}"));
                }
                FileKind::File => {
                    let handle = self.open_file(found.inode).unwrap();
                    files.insert(name, self.content(handle));
                    self.close_file(handle);
                }
            }
        }
        files
    }
}

#[test]
fn the_namespace_is_made_of_refs() {
    let world = World::new();
    let old = world.flip("staging", &files([("a", "1")]));
    let new = world.flip("staging", &files([("a", "2")]));
    let core = world.flip("sig/9/core", &files([("c", "core")]));
    let compose = world.flip("compose/9/Rocky-9.7", &files([("r", "rocky")]));
    world.point("compose/9/latest", Target::Symbolic(path("compose/9/Rocky-9.7")));
    world.point("newest", Target::Symbolic(path("compose/9/latest")));
    world.point("dangling", Target::Symbolic(path("nowhere")));
    let view = world.view(Options::default());

    assert_eq!(view.names(Inode::TOP), ["at", "compose", "current", "generations", "snapshots", "views"]);
    let names = |at: &str| view.names(view.top(at).unwrap().inode);
    assert_eq!(names("views"), ["dangling", "newest", "sig", "staging"]);
    assert_eq!(names("views/sig"), ["9"]);
    assert_eq!(names("views/sig/9"), ["core"]);
    assert_eq!(names("views/sig/9/core"), ["c"]);
    assert_eq!(names("compose"), ["9"]);
    assert_eq!(names("compose/9"), ["Rocky-9.7", "latest"]);
    assert_eq!(names("current"), ["newest", "sig", "staging"]);
    assert_eq!(names("current/sig/9"), ["core"]);
    assert_eq!(names("at"), ["dangling", "newest", "sig", "staging"]);
    assert_eq!(names("at/sig/9/core"), [""; 0]);
    assert_eq!(names("generations"), ["compose", "sig", "staging"]);
    assert_eq!(names("generations/staging"), [""; 0]);

    let link = |at: &str| view.read_link(view.top(at).unwrap().inode).unwrap().into_string();
    assert_eq!(link("compose/9/latest"), "Rocky-9.7");
    assert_eq!(link("views/newest"), "../compose/9/latest");
    assert_eq!(link("views/dangling"), "nowhere");
    assert_eq!(link("current/staging"), format!("../snapshots/{new}"));
    assert_eq!(link("current/newest"), format!("../snapshots/{compose}"));
    assert_eq!(link("current/sig/9/core"), format!("../../../snapshots/{core}"));

    let walk = |at: &str| view.walk(view.top(at).unwrap().inode);
    assert_eq!(walk("views/staging"), files([("a", "2")]));
    assert_eq!(walk(&format!("snapshots/{old}")), files([("a", "1")]));
    assert_eq!(link("generations/staging/2"), "../../views/staging");
    assert_eq!(link("generations/compose/9/Rocky-9.7/1"), "../../../../compose/9/Rocky-9.7");
    assert_eq!(walk("generations/staging/1"), files([("a", "1")]));
    assert_eq!(walk("at/staging/19700101T000001Z"), files([("a", "1")]));
    assert_eq!(walk("at/staging/20260130T203000Z"), files([("a", "2")]));
    assert_eq!(walk("at/newest/20260130T203000Z"), files([("r", "rocky")]));
    for absent in [
        "other",
        "views/compose",
        "views/nowhere",
        "views/sig/8",
        "compose/staging",
        "current/dangling",
        "at/staging/19700101T000000Z",
        "at/staging/2026-01-30",
        "at/dangling/20260130T203000Z",
        "generations/staging/0",
        "generations/staging/01",
        "generations/staging/+1",
        "generations/staging/3",
        "generations/newest",
        "generations/other/1",
        "snapshots/0123",
        "snapshots/0000000000000000000000000000000000000000000000000000000000000000",
        "views/staging/b",
        "views/staging/\n",
    ] {
        assert!(view.top(absent).is_none(), "{absent}");
    }
}

#[test]
fn a_snapshot_is_found_without_listing_all() {
    let world = World::new();
    let id = world.flip("x", &files([("a", "1")]));
    let view = world.view(Options::default());
    assert!(view.top(&format!("snapshots/{id}/a")).is_some());
    assert_eq!(world.map.lists.load(std::sync::atomic::Ordering::Relaxed), 0);
    assert_eq!(view.names(view.top("snapshots").unwrap().inode), [id.to_string()]);
}

#[test]
fn names_hold_until_a_flip_takes_them_back_or_for_a_moment() {
    let world = World::new();
    world.flip("sig/core", &files([("d/a", "1")]));
    world.point("link", Target::Symbolic(path("sig/core")));
    let view = world.view(Options::default());
    for (at, holds) in [
        ("views", Holds::Forever),
        ("views/sig", Holds::Now),
        ("views/sig/core", Holds::Forever),
        ("views/link", Holds::Now),
        ("current/link", Holds::Now),
        ("views/sig/core/d", Holds::Forever),
        ("views/sig/core/d/a", Holds::Forever),
    ] {
        assert_eq!(view.top(at).unwrap().holds, holds, "{at}");
    }
    let absent = |at: &str| {
        let (parent, name) = at.rsplit_once('/').unwrap();
        view.lookup(view.top(parent).unwrap().inode, name.as_bytes()).unwrap()
    };
    assert_eq!(absent("views/none"), Answer::Absent(Holds::Now));
    assert_eq!(absent("views/sig/core/none"), Answer::Absent(Holds::Forever));
    let (handle, holds) = view.open_dir(view.top("views/sig/core").unwrap().inode).unwrap();
    assert_eq!(holds, Holds::Forever);
    view.close_dir(handle);
    assert!(matches!(view.read_dir(handle, 0, true, &mut |_| true), Err(ViewError::UnknownHandle(_))));
}

#[test]
fn attributes_are_those_of_the_tree() {
    let world = World::new();
    let tree = files([("run", "#! /bin/sh"), ("data", "12345"), ("dir/link", "->../data")]);
    let first = world.flip("a", &tree);
    let view = world.view(Options { uid: 10_004, gid: 10_005, ..Options::default() });
    let get = |at: &str| view.top(&format!("views/a/{at}")).unwrap().attributes;
    for (at, kind, mode, size_bytes, blocks) in [
        ("run", FileKind::File, 0o755, 10, 1),
        ("data", FileKind::File, 0o644, 5, 1),
        ("dir", FileKind::Dir, 0o755, 0, 0),
        ("dir/link", FileKind::Symlink, 0o777, 7, 0),
    ] {
        let found = get(at);
        assert_eq!(
            (found.kind, found.mode, found.size_bytes, found.blocks()),
            (kind, mode, size_bytes, blocks)
        );
        assert_eq!((found.uid, found.gid), (10_004, 10_005));
        assert_eq!(found.mtime, 1_700_000_000 + i64::from(kind == FileKind::Dir), "{at}");
        let inode = view.top(&format!("views/a/{at}")).unwrap().inode;
        assert_eq!(view.attributes(inode).unwrap(), (found, Holds::Forever));
    }
    let labels = |at: &str| view.labels(view.top(at).unwrap().inode).unwrap();
    let blob = BlobId::of(b"12345").to_string();
    assert_eq!(labels("views/a/data"), [("user.cfs.blake3".to_owned(), blob)]);
    assert_eq!(labels("views/a/dir")[1], ("user.cfs.snapshot".to_owned(), first.to_string()));
    assert_eq!(labels("views"), []);

    // Another host, another mount: the same numbers. Listings agree with lookups.
    let other = world.view(Options::default());
    for at in ["", "/run", "/data", "/dir", "/dir/link"] {
        let number = |view: &Kernel, top: &str| view.top(&format!("{top}{at}")).unwrap().attributes.number;
        let snapshot = format!("snapshots/{first}");
        assert_eq!(number(&view, "views/a"), number(&other, &snapshot), "{at}");
    }
    for (at, plus) in [("views/a", true), ("views/a/dir", false), ("views", true), ("", false)] {
        let inode = if at.is_empty() { Inode::TOP } else { view.top(at).unwrap().inode };
        let (handle, _) = view.open_dir(inode).unwrap();
        let lines = view.lines(handle, plus);
        assert_eq!(lines[0].1, view.attributes(inode).unwrap().0.number);
        for (name, number, kind) in &lines[2..] {
            let found = view.at(inode, name).unwrap().attributes;
            assert_eq!((found.number, found.kind), (*number, *kind), "{at}/{name}");
        }
    }
}

#[test]
fn rules_change_owners_and_modes_of_their_paths() {
    let world = World::new();
    let tree = files([("open/file", "1"), ("shut/file", "1"), ("shut/run", "#!"), ("shut/link", "->file")]);
    let plain = world.flip("plain", &tree);
    let ruled = world.flip(
        "ruled",
        &files([("open/file", "1"), ("shut/file", "1"), ("shut/run", "#!2"), ("shut/link", "->file")]),
    );
    let rule = |mode, gid| access::Rule { mode, uid: None, gid };
    let of_paths = [
        (path("shut"), rule(Some(0o4750), Some(10_005))),
        (path("shut/link"), rule(Some(0o600), None)),
        (path("open/file"), rule(Some(0o640), None)),
    ];
    let access = Arc::new(Access::new(Some(10_004), None, of_paths));
    world.map.snapshots.write().unwrap().get_mut(&ruled).unwrap().access = Some(access);
    let view = world.view(Options { uid: 1, gid: 2, ..Options::default() });
    let get = |at: &str| view.top(&format!("snapshots/{at}")).unwrap().attributes;
    for (at, mode, gid) in [
        ("", 0o755, 2),
        ("/shut", 0o750, 10_005),
        ("/shut/file", 0o644, 2),
        ("/shut/run", 0o755, 2),
        ("/shut/link", 0o777, 2),
        ("/open", 0o755, 2),
        ("/open/file", 0o640, 2),
    ] {
        let (usual, special) = (get(&format!("{plain}{at}")), get(&format!("{ruled}{at}")));
        assert_eq!((special.mode, special.uid, special.gid), (mode, 10_004, gid), "{at}");
        assert_eq!((usual.uid, usual.gid), (1, 2), "{at}");
        assert_ne!(usual.number, special.number, "{at}");
    }
    assert_ne!(get(&format!("{ruled}/open/file")).number, get(&format!("{ruled}/shut/file")).number);
    assert_eq!(get(&format!("{plain}/open/file")).number, get(&format!("{plain}/shut/file")).number);
}

#[test]
fn a_removed_path_is_found_in_the_newest_generation_that_had_it() {
    let world = World::new();
    world.flip("v", &files([("d/gone", "1"), ("d/stays", "1"), ("dir/deep/a", "1"), ("was", "1")]));
    world.flip("v", &files([("d/gone", "2"), ("d/stays", "2"), ("dir/deep/a", "2"), ("was", "2")]));
    world.flip("v", &files([("d/stays", "3"), ("was/file", "3")]));
    let id = world.flip("v", &files([("d/stays", "4"), ("was/file", "4")]));
    let name = path("v");
    let at = At { name: &name, generation: 4, id };
    // The map's generation n ends at the second n + 1.
    let ask = |at_path: &str, now, grace| {
        let found = ghosts::resolve(&world.map, &world.map, &at, &path(at_path), now, grace).unwrap();
        found.map(|found| (found.generation, found.until))
    };
    let grace = Grace { seconds: 10, generations: 10 };
    assert_eq!(ask("d/stays", 4, grace), Some((4, None)));
    assert_eq!(ask("d/gone", 4, grace), Some((2, Some(13))));
    assert_eq!(ask("dir", 4, grace), Some((2, Some(13))));
    assert_eq!(ask("dir/deep/a", 12, grace), Some((2, Some(13))));
    assert_eq!(ask("dir/deep/a", 13, grace), None, "its time is over");
    assert_eq!(ask("dir/deep/b", 4, grace), None);
    assert_eq!(ask("was/file/x", 4, grace), None);
    assert_eq!(ask("d/gone", 4, Grace { generations: 1, ..grace }), None, "no further than that");
    assert_eq!(ask("d/gone", 4, Grace::NONE), None);
    assert_eq!(ask("", 4, grace), Some((4, None)));
    world.flip("v", &files([("d/gone", "5")]));
    let at = At { generation: 5, ..at };
    let found = ghosts::find(&world.map, &world.map, &at, &path("was"), 5, grace).unwrap().unwrap();
    assert_eq!((found.generation, found.until, found.snapshot), (4, Some(15), id));
    assert!(matches!(found.item.kind, Kind::Dir(_)));
}

#[test]
fn what_did_not_change_keeps_its_number_and_files_keep_their_inode() {
    let world = World::new();
    world.flip("v", &files([("same/file", "1"), ("other/file", "1"), ("link", "->same")]));
    let view = world.view(Options::default());
    let paths = ["same", "other", "same/file", "link"];
    let all = || paths.map(|at| view.top(&format!("views/v/{at}")).unwrap());
    let before = all();
    world.flip("v", &files([("same/file", "1"), ("other/file", "2"), ("link", "->same")]));
    assert_eq!(all(), before, "until it is told");
    view.follow();
    let after = all();
    let numbers = |of: &[Found; 4]| of.map(|found| found.attributes.number);
    assert_eq!(numbers(&before)[0], numbers(&after)[0], "a directory with the same content");
    assert_ne!(numbers(&before)[1], numbers(&after)[1], "a directory with another content");
    assert_eq!(before[2].inode, after[2].inode, "a file keeps its cached pages");
    assert_eq!(before[3].inode, after[3].inode);
    assert_ne!(before[0].inode, after[0].inode, "whoever is inside the old directory stays there");
    let kept = paths.map(|at| view.top(&format!("generations/v/1/{at}")).unwrap());
    assert_eq!(kept, before, "what the kernel knows moves there");
}

#[test]
fn one_ref_at_the_top() {
    let world = World::new();
    let options = Options { only: Some(path("latest")), ..Options::default() };
    let view = world.view(options);
    assert!(
        matches!(view.attributes(Inode::TOP), Err(ViewError::NoSuchRef { name }) if name == path("latest"))
    );
    let old = files([("d/a", "1"), ("gone", "x")]);
    world.flip("r", &old);
    world.point("latest", Target::Symbolic(path("r")));
    assert_eq!(view.walk(Inode::TOP), old);
    let (_, holds) = view.attributes(Inode::TOP).unwrap();
    assert_eq!(holds, Holds::Now);
    let inside = view.top("d").unwrap();
    assert_eq!((inside.holds, view.top("gone").unwrap().holds), (Holds::Forever, Holds::Now));
    let former = world.map.refs.read().unwrap()[&path("r")][0].clone();
    let Target::Snapshot { id: former, .. } = former else { panic!("{former:?}") };
    assert!(view.top(&format!(".cfs-former/{former}/d")).is_none(), "it is shown");
    let (handle, holds) = view.open_dir(Inode::TOP).unwrap();
    assert_eq!(holds, Holds::Now);

    let new = files([("d/a", "2"), ("d/b", "3")]);
    world.flip("r", &new);
    assert_eq!(view.walk(Inode::TOP), old);
    view.follow();
    assert_eq!(view.walk(Inode::TOP), new);
    assert_eq!(view.inode_at(&format!(".cfs-former/{former}/d")), Some(inside.inode));
    world.flip("other", &old);
    world.point("latest", Target::Symbolic(path("other")));
    view.follow();
    assert_eq!(view.walk(Inode::TOP), old);
    world.point("latest", Target::Symbolic(path("r")));
    view.follow();
    assert_eq!(view.walk(Inode::TOP), new);
    assert_eq!(view.walk(inside.inode), files([("a", "1")]));
    let names: Vec<String> = view.lines(handle, true).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, [".", "..", "d", "gone"], "an open directory lists what it held");
}

#[test]
fn damage_is_an_error_that_names_it() {
    let world = World::new();
    let large = "x".repeat(70_000);
    world.flip("v", &files([("missing", "m"), ("cut", "cut me"), ("bent", "bend me"), ("late", &large)]));
    let view = world.view(Options::default());
    let open = |at: &str| view.open_file(view.top(&format!("views/v/{at}")).unwrap().inode);
    let blob = |content: &str| world.store.blob_path(BlobId::of(content.as_bytes()));
    let late = open("late").unwrap();

    fs::remove_file(blob("m")).unwrap();
    fs::write(blob("cut me"), "cut").unwrap();
    fs::write(blob("bend me"), "bent me").unwrap();
    fs::write(blob(&large), "x").unwrap();
    assert!(
        matches!(open("missing"), Err(ViewError::Store(StoreError::Missing { id })) if id == BlobId::of(b"m"))
    );
    assert!(matches!(open("cut"), Err(ViewError::WrongSize { expected_bytes: 6, found_bytes: 3, .. })));
    assert!(
        matches!(open("bent"), Err(ViewError::Store(StoreError::Damaged { found, .. })) if found == BlobId::of(b"bent me"))
    );
    let mut buffer = vec![0; 4096];
    assert!(matches!(view.read(late, 4096, &mut buffer), Err(ViewError::WrongSize { found_bytes: 1, .. })));

    // Repaired, it is served again; then the directory's node goes.
    fs::write(blob("bend me"), "bend me").unwrap();
    assert_eq!(view.content(open("bent").unwrap()), "bend me");
    let unopened = |at: &str, buffer: &mut [u8]| {
        view.read_unopened(view.top(&format!("views/v/{at}")).unwrap().inode, 5, buffer)
    };
    assert!(matches!(unopened("cut", &mut buffer), Err(ViewError::WrongSize { found_bytes: 3, .. })));
    assert!(matches!(unopened("missing", &mut buffer), Err(ViewError::Store(StoreError::Missing { .. }))));
    for _ in 0..2 {
        assert_eq!(unopened("bent", &mut buffer).unwrap(), 2);
        assert_eq!(&buffer[..2], b"me");
    }
    world.map.nodes.write().unwrap().clear();
    let top = view.top("views/v").unwrap();
    assert!(matches!(view.lookup(top.inode, b"bent"), Err(ViewError::Node(NodeError::Missing { .. }))));
    world.map.snapshots.write().unwrap().clear();
    let fresh = world.view(Options::default());
    let views = fresh.top("views").unwrap();
    assert!(matches!(fresh.lookup(views.inode, b"v"), Err(ViewError::NoSuchSnapshot { .. })));
    assert_eq!(fresh.names(views.inode), ["v"], "one lost snapshot does not hide the others");
}

#[test]
fn questions_of_the_wrong_kind_are_refused() {
    let world = World::new();
    world.flip("v", &files([("f", "1"), ("l", "->f")]));
    let view = world.view(Options::default());
    let inode = |at: &str| view.top(at).unwrap().inode;
    let (file, link, dir) = (inode("views/v/f"), inode("views/v/l"), inode("views/v"));
    assert!(matches!(view.lookup(file, b"x"), Err(ViewError::NotADirectory(_))));
    assert!(matches!(view.open_dir(link), Err(ViewError::NotADirectory(_))));
    assert!(matches!(view.open_file(dir), Err(ViewError::IsADirectory(_))));
    assert!(matches!(view.read_link(file), Err(ViewError::NotASymlink(_))));
    assert!(matches!(view.lookup(dir, &[b'a'; 256]), Err(ViewError::NameTooLong { bytes: 256 })));
    assert!(matches!(view.attributes(Inode(999)), Err(ViewError::UnknownInode(Inode(999)))));
    assert!(matches!(view.read(999, 0, &mut []), Err(ViewError::UnknownHandle(999))));
    assert!(view.space().unwrap().blocks > 0);
}

#[test]
fn a_large_directory_is_read_in_pieces_from_any_offset() {
    let world = World::new();
    let tree: Files = (0..3000).map(|n| (format!("f{n:05}"), String::new())).collect();
    world.flip("v", &tree);
    let view = world.view(Options::default());
    let (handle, _) = view.open_dir(view.top("views/v").unwrap().inode).unwrap();
    let whole = view.lines(handle, false);
    assert_eq!(whole.len(), 3002);
    let held = view.held_inodes();
    for (room, plus) in [(1, false), (7, true), (100, true)] {
        let (mut seen, mut offset, mut refused) = (Vec::new(), 0, 0);
        loop {
            let before = seen.len();
            view.read_dir(handle, offset, plus, &mut |line| {
                if seen.len() - before == room {
                    refused += 1;
                    return false;
                }
                assert_eq!(line.found.is_some(), plus && line.name.starts_with('f'));
                seen.push(line.name.to_owned());
                offset = line.next;
                true
            })
            .unwrap();
            if seen.len() == before {
                break;
            }
        }
        assert!(refused > 0);
        assert!(seen.iter().eq(whole.iter().map(|(name, ..)| name)), "room for {room}");
    }
    // The empty files are one file: 3,000 lines, twice, are as many lookups of one inode.
    assert_eq!(view.held_inodes(), held + 1);
    let file = view.top("views/v/f00000").unwrap().inode;
    view.forget(file, 6001);
    assert!(view.attributes(file).is_err());
}

#[test]
fn equal_files_of_a_snapshot_are_links_once_they_are_counted() {
    let world = World::new();
    let count = |view: &Kernel| while view.count_links(Duration::ZERO).unwrap().is_some() {};
    let links = |view: &Kernel, at: &str| view.top(&format!("views/v/{at}")).unwrap().attributes.links;
    let first = files([
        ("a/x", "same"),
        ("b/x", "same"),
        ("c", "same"),
        ("run", "#!same"),
        ("one", "1"),
        ("a/repomd.xml", "equal"),
        ("b/repomd.xml", "equal"),
    ]);
    world.flip("v", &first);
    let view = world.view(Options::default());
    let early = view.top("views/v/a/x").unwrap();
    assert_eq!(early.attributes.links, 1, "not counted");
    let changed = view.count_links(Duration::ZERO).unwrap().unwrap();
    assert_eq!(changed, [early.inode], "the kernel has been told another number");
    assert_eq!(view.attributes(early.inode).unwrap().0.links, 3);
    for (at, expected) in [("a/x", 3), ("b/x", 3), ("c", 3), ("run", 1), ("one", 1), ("a/repomd.xml", 1)] {
        assert_eq!(links(&view, at), expected, "{at}");
    }
    let number = |at: &str| view.top(&format!("views/v/{at}")).unwrap().attributes.number;
    assert_eq!(number("a/x"), number("c"));
    assert_ne!(number("a/repomd.xml"), number("b/repomd.xml"), "they are replaced in place");

    // From one generation to the next, by the difference.
    let mut second = first.clone();
    second.remove("c");
    second.extend(files([("d/one", "1"), ("d/e/one", "1"), ("run", "same")]));
    world.flip("v", &second);
    view.follow();
    let _ = view.top("views/v/run");
    count(&view);
    let fresh = world.view(Options::default());
    let _ = fresh.top("views/v/run");
    count(&fresh);
    for (at, expected) in [("a/x", 3), ("run", 3), ("one", 3), ("d/e/one", 3), ("b/repomd.xml", 1)] {
        assert_eq!((links(&view, at), links(&fresh, at)), (expected, expected), "{at}");
    }
    assert_eq!(view.top("generations/v/1/c").unwrap().attributes.links, 3, "a count is that of its snapshot");

    let without = world.view(Options { no_hardlinks: true, ..Options::default() });
    assert_eq!((links(&without, "a/x"), without.count_links(Duration::ZERO).unwrap()), (1, None));
}
