//! All kinds of processes at once, killed at random, again and again.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::time::Duration;

use cfs_indexer::depot::Depot;
use rustix::process::{Pid, Signal, kill_process};

use super::{Dice, check};
use crate::harness::Sandbox;
use crate::harness::repo::Repo;
use crate::mirrors::http;
use crate::mount::can_mount;

/// Rounds, unless the environment says otherwise.
const ROUNDS: u32 = 200;
const ROUNDS_VARIABLE: &str = "CFS_TEST_KILL_ROUNDS";

const CONFIG: &str = r#"
[view.production]
gates = ["names", "mtime"]

[[view.production.lists]]
directory = ""
name = "all"
"#;

const GC: [&str; 8] = ["gc", "--grace", "0", "--keep", "0", "--keep-generations", "4", "--yes"];

/// A command at work.
struct Worker {
    args: Vec<String>,
    child: Child,
}

fn start(sandbox: &Sandbox, args: &[&str]) -> Worker {
    let mut command = sandbox.cfs();
    command.arg("--json").args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    Worker { args: args.iter().map(|arg| (*arg).to_owned()).collect(), child: command.spawn().unwrap() }
}

/// What a command said that succeeded; `None` when it was killed. Anything else is a failure.
fn end(worker: Worker) -> Option<serde_json::Value> {
    let done = worker.child.wait_with_output().unwrap();
    if done.status.signal() == Some(9) {
        return None;
    }
    let errors = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{:?}: {errors}", worker.args);
    let text = String::from_utf8(done.stdout).unwrap();
    Some(text.lines().last().map(|line| serde_json::from_str(line).unwrap()).unwrap_or_default())
}

/// Every file of the view, through the mount.
fn read_view(sandbox: &Sandbox) -> usize {
    let mut dirs = vec![sandbox.path("mnt/views/production")];
    let mut files = 0;
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            } else {
                fs::read(entry.path()).unwrap();
                files += 1;
            }
        }
    }
    files
}

/// What lives from round to round, until it is killed.
struct Daemons {
    mount: Pid,
    served: http::Served,
}

impl Daemons {
    /// Mounts at a place where a dead mount may be, and serves.
    fn start(sandbox: &Sandbox) -> Self {
        let _ = fs::create_dir(sandbox.path("mnt"));
        let process = sandbox.json(["mount", "--grace", "0", "mnt"])[0]["process"].as_i64().unwrap();
        let mount = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
        Self { mount, served: http::serve(sandbox, &["--view", "production"]) }
    }

    fn kill(self) {
        let _ = kill_process(self.mount, Signal::KILL);
        drop(self.served);
    }
}

/// How many commands and pairs of daemons were killed, and how many moves were told of.
#[derive(Debug, Default)]
struct Counts {
    commands: u32,
    daemons: u32,
    told: u32,
}

/// Changes what is imported and synced.
fn change(sandbox: &Sandbox, repo: &mut Repo, dice: &mut Dice, round: u32) {
    for file in 0..8 {
        let size = usize::try_from(dice.below(30_000)).unwrap();
        let content = vec![u8::try_from(round % 251).unwrap(); size];
        sandbox.write(&format!("tree/{}/{file}", dice.below(4)), content);
    }
    repo.add(&format!("Packages/r{round}.rpm"), &vec![9; 3000]);
    repo.write();
}

/// Everybody at once, most of them killed; what was told of moves that were made is true.
fn work(sandbox: &Sandbox, dice: &mut Dice, counts: &mut Counts) {
    let from = sandbox.path("repo").display().to_string();
    let all = [
        &["import", "tree", "compose/tree"][..],
        &["sync", &from, "compose/repo"],
        &["promote", "compose/tree", "production:tree"],
        &["promote", "compose/repo", "production:repo"],
        &GC,
    ];
    let workers = all.map(|args| start(sandbox, args));
    std::thread::sleep(Duration::from_micros(dice.below(40_000)));
    let mut moves = Vec::new();
    for mut worker in workers {
        if dice.below(3) > 0 {
            let _ = worker.child.kill();
        }
        let target = worker.args.get(2).cloned().unwrap_or_default();
        match end(worker) {
            None => counts.commands += 1,
            Some(said) => moves.extend(said["generation"].as_u64().map(|generation| (target, generation))),
        }
    }
    let depot = Depot::open(&sandbox.store()).unwrap();
    for (target, generation) in moves {
        let name = target.split(':').next().unwrap().parse().unwrap();
        let found = depot.catalogue.log_generation(&name, generation).unwrap();
        assert!(found.is_some(), "{target} was told to be of generation {generation}");
        counts.told += 1;
    }
}

#[test]
fn whoever_is_killed_nothing_is_lost() {
    if !can_mount() {
        return;
    }
    #[expect(clippy::disallowed_methods, reason = "tests read the environment")]
    let said = std::env::var(ROUNDS_VARIABLE).ok().and_then(|text| text.parse().ok());
    let rounds: u32 = said.unwrap_or(ROUNDS);
    let sandbox = Sandbox::with_config(CONFIG);
    let mut repo = Repo::with_packages(&sandbox.path("repo"), 8);
    repo.write();
    sandbox.write("tree/file", "first");
    sandbox.ok(["import", "tree", "compose/tree"]);
    sandbox.ok(["sync", sandbox.path("repo").to_str().unwrap(), "compose/repo"]);
    sandbox.ok(["promote", "compose/tree", "production"]);
    let (mut dice, mut counts) = (Dice(20_261_121), Counts::default());
    let mut running: Option<Daemons> = None;
    for round in 0..rounds {
        let daemons = running.take().unwrap_or_else(|| Daemons::start(&sandbox));
        change(&sandbox, &mut repo, &mut dice, round);
        work(&sandbox, &mut dice, &mut counts);
        check(&sandbox.store());
        if dice.below(2) == 0 {
            daemons.kill();
            counts.daemons += 1;
        } else {
            assert!(read_view(&sandbox) > 1, "round {round}");
            running = Some(daemons);
        }
    }
    running.unwrap_or_else(|| Daemons::start(&sandbox)).kill();
    println!("{rounds} rounds: {counts:?}");
    assert!(
        counts.commands >= rounds && counts.daemons >= rounds / 5 && counts.told >= rounds / 5,
        "{counts:?}"
    );

    let last = Daemons::start(&sandbox);
    assert!(read_view(&sandbox) > 1);
    sandbox.ok(["umount", "mnt"]);
    drop(last);
    sandbox.ok(["import", "tree", "compose/tree"]);
    sandbox.ok(["promote", "compose/tree", "production:tree"]);
    sandbox.ok(GC);
    check(&sandbox.store());
    let left = fs::read_dir(sandbox.store().join("tmp")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name != "gate" && name != "gc").collect();
    assert!(left.is_empty(), "what the dead left is gone: {left:?}");
}
