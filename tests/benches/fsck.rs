//! `cargo bench --bench fsck [-- PART…] [--quick]`: checks of a million files, and the marking of garbage.
//!
//! Parts: check (the levels quick and tree, with a file for every blob, each of the right size and without bytes), mark
//! (what 200 snapshots of the tree show). Medians of one run. `--quick` uses a tenth of the files.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops when it cannot go on"
)]

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cfs_fs::digest::BlobId;
use cfs_fs::name::Name;
use cfs_fs::tree::{Entry, Item, Kind, NodeMap, Stage};
use cfs_indexer::catalogue::{CatalogueError, Draft, Signer, Taken};
use cfs_indexer::depot::Depot;
use cfs_indexer::fsck::{self, Level};
use cfs_indexer::gc;

const FILES_PER_DIR: usize = 200;
const SNAPSHOTS: usize = 200;
/// Files that change from one snapshot to the next, in a hundredth of the directories.
const CHANGES: usize = 500;

fn main() {
    #[expect(clippy::disallowed_methods, reason = "a benchmark works where it is told to")]
    let base = std::env::var("CFS_BENCH_DIR").map_or_else(|_| std::env::temp_dir(), PathBuf::from);
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let dirs = if args.iter().any(|arg| arg == "--quick") { 500 } else { 5_000 };
    let parts: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|arg| *arg == part);
    let temp = tempfile::Builder::new().prefix("cfs-bench-").tempdir_in(base).unwrap();
    let root = temp.path().join("store");
    let depot = Depot::create(&root).unwrap();
    println!("{} files in {}", dirs * FILES_PER_DIR, temp.path().display());
    let mut tree = Tree { versions: vec![0; dirs * FILES_PER_DIR], dirs: Vec::new() };
    tree.commit(&depot, 0..dirs);
    if wanted("check") {
        check(&depot, &tree);
    }
    if wanted("mark") {
        mark(&depot, &mut tree);
    }
}

fn check(depot: &Depot, tree: &Tree) {
    let started = Instant::now();
    for (number, version) in tree.versions.iter().enumerate() {
        let (id, size_bytes) = blob(number, *version);
        let path = depot.store.blob_path(id);
        let file = File::create(&path).unwrap();
        file.set_len(size_bytes).unwrap();
        file.set_permissions(fs::Permissions::from_mode(0o444)).unwrap();
    }
    println!("  files made in {:?}", started.elapsed());
    for (level, aim) in [(Level::Quick, "2 s"), (Level::Tree, "10 s")] {
        let options = fsck::Options { level, now: 0, rate_bytes: None, restart: true };
        let took = median_of(5, || {
            let report = fsck::check(depot, &options, &mut |_| ControlFlow::Continue(())).unwrap();
            assert_eq!(report.findings, []);
        });
        println!("  fsck {level:?} {took:?} (aim {aim})");
    }
}

fn mark(depot: &Depot, tree: &mut Tree) {
    let dirs = tree.versions.len() / FILES_PER_DIR;
    for snapshot in 1..SNAPSHOTS {
        let touched = (dirs / 100).max(1);
        let first = snapshot * 37 % (dirs - touched);
        for change in 0..CHANGES {
            let file = (first + change % touched) * FILES_PER_DIR + change / touched * 7 % FILES_PER_DIR;
            tree.versions[file] = snapshot;
        }
        tree.commit(depot, first..first + touched);
    }
    let all = gc::Options { now: 2, keep_seconds: 1 << 40, dry_run: true, ..gc::Options::default() };
    let mut marking = Vec::new();
    let whole = median_of(5, || {
        let started = Instant::now();
        let mut marked = None;
        gc::collect(depot, &all, &mut |progress| {
            if progress.phase != gc::Phase::Marking {
                marked.get_or_insert(started.elapsed());
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        marking.push(marked.unwrap());
    });
    println!(
        "  marking of {SNAPSHOTS} snapshots {:?} (aim 5 s); the whole dry run {whole:?}",
        median(&marking)
    );
    let nodes = depot.catalogue.totals().unwrap().nodes;
    println!("  they have {nodes} nodes");
}

fn blob(number: usize, version: usize) -> (BlobId, u64) {
    (BlobId::of(format!("{number} {version}").as_bytes()), 100_000 + number as u64 % 1000)
}

/// A tree of packages; what changes gets another version.
struct Tree {
    versions: Vec<usize>,
    dirs: Vec<Entry>,
}

impl Tree {
    /// Commits what is in these directories now, and the others as they were.
    fn commit(&mut self, depot: &Depot, changed: std::ops::Range<usize>) {
        let none = NodeMap::new();
        let mut stage = Stage::new(&none);
        let mut blobs = Vec::new();
        for dir in changed {
            let mut entries: Vec<Entry> = (0..FILES_PER_DIR)
                .map(|file| {
                    let number = dir * FILES_PER_DIR + file;
                    let (blob, size_bytes) = blob(number, self.versions[number]);
                    blobs.push((blob, size_bytes, &[][..]));
                    let word = BlobId::of(&number.to_le_bytes()).to_string();
                    let name = format!("package-{}-1.{}-2.el9.x86_64.rpm", &word[..10], number % 37);
                    entry(&name, Kind::File { blob, size_bytes, executable: false })
                })
                .collect();
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            let made = entry(&format!("repo{dir:05}"), Kind::Dir(stage.write_dir(&entries)));
            if dir < self.dirs.len() { self.dirs[dir] = made } else { self.dirs.push(made) }
        }
        let root = stage.write_dir(&self.dirs);
        depot.catalogue.record_blobs(blobs).unwrap();
        let mut draft = Some(Draft {
            root: Item { mtime: 1_700_000_000, kind: Kind::Dir(root) },
            nodes: stage.into_new_nodes(),
            taken: Taken::default(),
            parents: Vec::new(),
            access: None,
            meta: std::collections::BTreeMap::new(),
            message: String::new(),
            reason: "bench".into(),
        });
        let signer = Signer { actor: "bench".into(), tool: "bench".into(), now: 1 };
        let update = depot.catalogue.update_ref(&depot.store, &"x".parse().unwrap(), &signer, |_| {
            Ok::<_, CatalogueError>(draft.take())
        });
        update.unwrap().unwrap();
    }
}

fn entry(name: &str, kind: Kind) -> Entry {
    Entry { name: Name::new(name).unwrap(), item: Item { mtime: 1_700_000_000, kind } }
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}

fn median_of(rounds: usize, mut work: impl FnMut()) -> Duration {
    let time = |_| {
        let started = Instant::now();
        work();
        started.elapsed()
    };
    median(&(0..rounds).map(time).collect::<Vec<_>>())
}
