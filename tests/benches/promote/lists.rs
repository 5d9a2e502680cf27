//! File lists: from scratch against a generator that walks the same tree on ext4, and after a change.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cfs_fs::digest::BlobId;
use cfs_fs::name::Name;
use cfs_fs::tree::{Entry, Item, Kind, NodeMap, Stage};
use cfs_indexer::catalogue::{CatalogueError, Draft, Signer, Taken};
use cfs_indexer::config;
use cfs_indexer::depot::Depot;
use cfs_indexer::filelist::published::{Before, Written, derive};
use cfs_indexer::filelist::{Modes, State};

const FILES_PER_DIR: usize = 200;
const CHANGED_DIRS: usize = 50;
const CHANGED_FILES: usize = 10;

/// What generators do that walk a tree: `lstat` everything, write a line for each, and all paths to a second list.
const WALK: &str = r#"
import os
def walk(path):
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from walk(entry.path)
            yield entry
with open("../timelist", "w") as times, open("../filelist", "w") as paths:
    times.write("[Version]\n2\n\n[Files]\n")
    for entry in walk("."):
        stat = entry.stat(follow_symlinks=False)
        kind = "l" if entry.is_symlink() else "d" if entry.is_dir() else "f"
        times.write("%d\t%s\t%d\t%s\n" % (max(stat.st_mtime, stat.st_ctime), kind, stat.st_size, entry.path[2:]))
        paths.write(entry.path + "\n")
    times.write("\n[Checksums SHA1]\n\n[End]\n")
"#;

pub fn run(dir: &Path, files: usize) {
    println!("\nlists: {files} files in {} directories", files / FILES_PER_DIR);
    let depot = Depot::create(&dir.join("store")).unwrap();
    let text = "[[view.x.lists]]\ndirectory = \"\"\nname = \"rocky\"\n";
    let lists = config::parse(text).unwrap().views[&"x".parse().unwrap()].lists.clone();
    let modes = Modes::default();
    let (old, new) = (commit(&depot, files, false), commit(&depot, files, true));
    drop(depot);
    let depot = Depot::open(&dir.join("store")).unwrap();
    let with_lists = |root: &Item, before: Option<Before<'_>>, now: i64| {
        let mut stage = Stage::new(&depot.catalogue);
        let started = Instant::now();
        let mut written = Written::default();
        let states = (before, State { root, modes: &modes });
        let derived = derive(&depot, &mut stage, &mut written, &lists, states, now).unwrap();
        written.publish(&depot).unwrap();
        (started.elapsed(), derived, stage.into_new_nodes())
    };

    let (mut anew, mut changed, mut same) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..5 {
        let (took, first, nodes) = with_lists(&old, None, 1_800_000_000 + round);
        anew.push(took);
        keep(&depot, &first.root, nodes);
        let before = Before { state: State { root: &first.root, modes: &modes }, made: &first.made };
        let (took, second, nodes) = with_lists(&new, Some(before), 1_900_000_000 + round);
        changed.push(took);
        assert_ne!(first.root, second.root);
        keep(&depot, &second.root, nodes);
        let before = Before { state: State { root: &second.root, modes: &modes }, made: &second.made };
        let (took, third, _) = with_lists(&new, Some(before), 1_950_000_000);
        same.push(took);
        assert_eq!(third.root, second.root);
    }
    let Kind::Dir(top) = old.kind else { return };
    println!("  {} paths", top.sums.files + top.sums.dirs);
    let (anew, changed, same) = (median(&anew), median(&changed), median(&same));
    let replaced = CHANGED_DIRS * CHANGED_FILES;
    println!("  from scratch {anew:?} (aim 1 s)");
    println!("  {replaced} files replaced {changed:?}  nothing changed {same:?}");

    let tree = dir.join("tree");
    write_files(&tree, files);
    let walk = || {
        let started = Instant::now();
        assert!(Command::new("python3").args(["-c", WALK]).current_dir(&tree).status().unwrap().success());
        started.elapsed()
    };
    let warm = median(&[walk(), walk(), walk()]);
    // Inodes and names from the disk, where that is permitted: the state of a tree that nobody has just walked.
    let _ = Command::new("sync").status();
    let dropped = fs::write("/proc/sys/vm/drop_caches", "3").is_ok();
    let cold = walk();
    let ratio = |walk: Duration, lists: Duration| walk.as_secs_f64() / lists.as_secs_f64();
    println!(
        "  walk of ext4: warm {warm:?} ({:.1} times from scratch, {:.0} times after a change)",
        ratio(warm, anew),
        ratio(warm, changed)
    );
    if dropped {
        let (scratch, change) = (ratio(cold, anew), ratio(cold, changed));
        println!(
            "                cold {cold:?} ({scratch:.1} times from scratch, {change:.0} times after a change; aim 20)"
        );
    }
}

/// A tree of small packages; in fifty directories ten files are replaced by others of other names.
fn commit(depot: &Depot, files: usize, changed: bool) -> Item {
    let base = NodeMap::new();
    let mut stage = Stage::new(&base);
    let mut blobs = Vec::with_capacity(files);
    let mut tops = Vec::new();
    for dir in 0..files / FILES_PER_DIR {
        let mut entries: Vec<Entry> = (0..FILES_PER_DIR)
            .map(|file| {
                let is_new = changed && dir < CHANGED_DIRS && file < CHANGED_FILES;
                let name = name(dir, file, if is_new { 7 } else { 4 });
                let blob = BlobId::of(name.as_bytes());
                blobs.push((blob, 100_000, &[][..]));
                let kind = Kind::File { blob, size_bytes: 100_000, executable: false };
                let mtime = 1_700_000_000 + i64::try_from(dir * 7919 % 40_000_000).unwrap();
                Entry { name: Name::new(name).unwrap(), item: Item { mtime, kind } }
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let kind = Kind::Dir(stage.write_dir(&entries));
        let name = Name::new(format!("repo{dir:05}")).unwrap();
        tops.push(Entry { name, item: Item { mtime: 1_700_000_000, kind } });
    }
    let root = Item { mtime: 1_700_000_000, kind: Kind::Dir(stage.write_dir(&tops)) };
    depot.catalogue.record_blobs(blobs).unwrap();
    keep(depot, &root, stage.into_new_nodes());
    root
}

/// Makes a tree a snapshot.
fn keep(depot: &Depot, root: &Item, nodes: NodeMap) {
    let mut draft = Some(Draft {
        root: root.clone(),
        nodes,
        taken: Taken::default(),
        parents: Vec::new(),
        access: None,
        meta: std::collections::BTreeMap::new(),
        message: String::new(),
        reason: "bench".into(),
    });
    let signer = Signer { actor: "bench".into(), tool: "bench".into(), now: 1_764_000_000 };
    let name = "x".parse().unwrap();
    depot
        .catalogue
        .update_ref(&depot.store, &name, &signer, |_| Ok::<_, CatalogueError>(draft.take()))
        .unwrap();
}

fn name(dir: usize, file: usize, release: usize) -> String {
    let word = BlobId::of(&(dir * FILES_PER_DIR + file).to_le_bytes()).to_string();
    format!("libreoffice-{}-{}.{}-{release}.el9.x86_64.rpm", &word[..8], dir % 9, file % 37)
}

fn write_files(tree: &Path, files: usize) {
    for dir in 0..files / FILES_PER_DIR {
        let repo = tree.join(format!("repo{dir:05}"));
        fs::create_dir_all(&repo).unwrap();
        for file in 0..FILES_PER_DIR {
            fs::write(repo.join(name(dir, file, 4)), "").unwrap();
        }
    }
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}
