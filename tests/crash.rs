//! `kill -9` at random points: afterwards every ref resolves, every file reads back with its hash, the reflog's
//! chain holds, and the next run completes.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use cfs_fs::tree::Kind;
use cfs_fs::walk::walk;
use cfs_indexer::catalogue::Target;
use cfs_indexer::depot::Depot;

use crate::harness::Sandbox;
use crate::harness::repo::Repo;

mod everybody;

/// Views with lists and hooks, so that a promotion has every step that it can have.
const CONFIG: &str = r#"
[view.production]
gates = ["incomplete", "names", "symlinks", "repodata", "mtime"]

[[view.production.lists]]
directory = ""
name = "all"
aliases = ["fullfiletimelist"]
previous = "fullfiletimelist-all-old"

[hook.ask]
when = "pre-promote"
command = ["sh", "-c", "cat > /dev/null"]

[hook.tell]
when = "post-promote"
command = ["sh", "-c", "cat >> told; echo >> told"]
views = ["production"]
"#;

/// Rounds, divided among the verbs.
const ROUNDS: u32 = 100;

/// A small generator of numbers that look random (Knuth's MMIX constants), so that a failure can be repeated.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}

/// Everything that must be true of a store at any time. Returns how many files were read.
pub fn check(store: &Path) -> u64 {
    let depot = Depot::open(store).unwrap();
    depot.catalogue.verify_reflog().unwrap();
    let mut files = 0;
    for found in depot.catalogue.refs().unwrap() {
        let Target::Snapshot(id) = found.target else { continue };
        let newest = depot.catalogue.log(&found.name).unwrap().remove(0);
        assert_eq!(
            (newest.generation, newest.new),
            (found.generation, Some(Target::Snapshot(id))),
            "{}",
            found.name
        );
        let snapshot = depot.catalogue.snapshot(id).unwrap().unwrap();
        let (mut paths, mut list) = (Vec::new(), None);
        walk(&depot.catalogue, snapshot.root, "", &mut |path, item| {
            if let Kind::File { blob, size_bytes, .. } = item.kind {
                let bytes =
                    depot.store.read_blob(blob).unwrap_or_else(|e| panic!("{}:{path}: {e}", found.name));
                assert_eq!(bytes.len() as u64, size_bytes, "{}:{path}", found.name);
                files += 1;
                if path == "fullfilelist" {
                    list = Some(String::from_utf8(bytes).unwrap());
                }
            }
            if !path.starts_with("fullfile") && path != "imagelist-all" {
                paths.push(format!("./{path}"));
            }
            Ok::<(), cfs_fs::tree::NodeError>(())
        })
        .unwrap();
        assert_eq!(list.is_some(), found.name.as_str() == "production");
        if let Some(list) = list {
            paths.sort_unstable();
            assert_eq!(list.lines().collect::<Vec<_>>(), paths, "the list is of another snapshot");
        }
    }
    files
}

/// Kills a child after a while; returns whether it was still at work.
fn kill_after(mut child: Child, delay: Duration) -> bool {
    std::thread::sleep(delay);
    let _ = child.kill();
    child.wait().unwrap().signal() == Some(9)
}

#[test]
fn a_killed_import_sync_or_promotion_loses_nothing() {
    let seed = 20_260_130;
    let mut dice = Dice(seed);
    let sandbox = Sandbox::with_config(CONFIG);
    let mut repo = Repo::with_packages(&sandbox.path("repo"), 20);
    repo.write();
    let repo_path = sandbox.path("repo").display().to_string();
    let mut took = [Duration::from_millis(60); 3];
    let (mut killed, mut read) = ([0; 3], 0);
    for round in 0..ROUNDS {
        let verb = (round % 3) as usize;
        let target = format!("production:{}", round % 4);
        let args: Vec<&str> = match verb {
            0 => {
                change_tree(&sandbox, &mut dice, round);
                vec!["import", "tree", "compose/tree"]
            }
            1 => {
                for n in 0..4 {
                    let size = usize::try_from(dice.below(200_000)).unwrap();
                    repo.add(&format!("Packages/r{round}-{n}.rpm"), &vec![n; size]);
                }
                repo.write();
                vec!["sync", &repo_path, "compose/repo"]
            }
            _ => vec!["promote", ["compose/tree", "compose/repo"][(round / 3 % 2) as usize], &target],
        };
        let mut command = sandbox.cfs();
        let child = command.args(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let limit = u64::try_from(took[verb].as_micros()).unwrap();
        if kill_after(child, Duration::from_micros(dice.below(limit))) {
            killed[verb] += 1;
        }
        read += check(&sandbox.store());

        let started = Instant::now();
        sandbox.ok(&args);
        took[verb] = started.elapsed().max(Duration::from_millis(5));
        read += check(&sandbox.store());
    }
    // A test of crashes proves nothing unless there were some, in each verb.
    assert!(killed.iter().all(|killed| *killed >= 5), "killed {killed:?} of {ROUNDS}, seed {seed}");
    assert!(read > 10_000, "{read} files read");
    let names = |dir: &str| fs::read_dir(sandbox.store().join(dir)).unwrap().count();
    assert_eq!(names("tmp"), 1, "what the dead left is gone, but the gate");
    sandbox.ok(["hooks", "run"]);
    check_told(&sandbox);
    sandbox.ok(["checkout", "compose/tree", "out"]);
    for entry in fs::read_dir(sandbox.path("tree")).unwrap() {
        let path = entry.unwrap().path();
        let copy = sandbox.path("out").join(path.file_name().unwrap());
        assert_eq!(fs::read(&path).unwrap(), fs::read(copy).unwrap(), "{}", path.display());
    }
}

/// Every move of the view was told to the hook in order, some of them twice.
fn check_told(sandbox: &Sandbox) {
    let text = fs::read_to_string(sandbox.path("told")).unwrap();
    let mut told: Vec<u64> = Vec::new();
    // Of a promotion that was killed before it said anything, an empty line is left.
    for line in text.lines().filter(|line| !line.is_empty()) {
        let one: serde_json::Value = serde_json::from_str(line).unwrap();
        told.push(one["generation"].as_u64().unwrap());
    }
    told.dedup();
    let moves = sandbox.json(["log", "production"]).len() as u64;
    assert_eq!(told, (1..=moves).collect::<Vec<_>>());
}

/// Adds files, one of them large, changes one, and removes one.
fn change_tree(sandbox: &Sandbox, dice: &mut Dice, round: u32) {
    for n in 0..30_u8 {
        let size = if n == 0 { 1_200_000 } else { dice.below(20_000) };
        let content = vec![n ^ u8::try_from(round % 251).unwrap(); usize::try_from(size).unwrap()];
        sandbox.write(&format!("tree/{}-{n}", round % 9), content);
    }
    if round > 9 {
        fs::remove_file(sandbox.path(format!("tree/{}-1", (round - 3) % 9))).unwrap();
    }
}
