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
const ROUNDS: u32 = 25;
const ROUNDS_VARIABLE: &str = "CFS_TEST_KILL_ROUNDS";

const CONFIG: &str = r#"
[view.production]
gates = ["names", "mtime"]

[[view.production.lists]]
directory = ""
name = "all"
"#;

const GC: [&str; 8] = ["gc", "--grace", "0", "--keep", "0", "--keep-generations", "4", "--yes"];

/// A command at work, and the ref that it moves.
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
    let from = sandbox.path("repo").display().to_string();
    sandbox.write("tree/file", "first");
    sandbox.ok(["import", "tree", "compose/tree"]);
    sandbox.ok(["sync", &from, "compose/repo"]);
    sandbox.ok(["promote", "compose/tree", "production"]);
    let mut dice = Dice(20_261_121);
    let mut kills = [0; 3];
    let mut told = 0;
    let mut running: Option<(Pid, http::Served)> = None;
    for round in 0..rounds {
        let (mount, served) = running.take().unwrap_or_else(|| {
            fs::create_dir_all(sandbox.path("mnt")).ok();
            let process = sandbox.json(["mount", "--grace", "0", "mnt"])[0]["process"].as_i64().unwrap();
            let mount = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
            (mount, http::serve(&sandbox, &["--view", "production"]))
        });
        for file in 0..8 {
            let size = usize::try_from(dice.below(30_000)).unwrap();
            sandbox.write(
                &format!("tree/{}/{file}", dice.below(4)),
                vec![u8::try_from(round % 251).unwrap(); size],
            );
        }
        repo.add(&format!("Packages/r{round}.rpm"), &vec![9; 3000]);
        repo.write();
        let workers: Vec<Worker> = [
            &["import", "tree", "compose/tree"][..],
            &["sync", &from, "compose/repo"],
            &["promote", "compose/tree", "production:tree"],
            &["promote", "compose/repo", "production:repo"],
            &GC,
        ]
        .map(|args| start(&sandbox, args))
        .into();
        std::thread::sleep(Duration::from_micros(dice.below(40_000)));
        let mut moves = Vec::new();
        for mut worker in workers {
            if dice.below(3) > 0 {
                let _ = worker.child.kill();
            }
            let target = worker.args.get(2).cloned().unwrap_or_default();
            match end(worker) {
                None => kills[0] += 1,
                Some(said) => {
                    moves.extend(said["generation"].as_u64().map(|generation| (target, generation)))
                }
            }
        }
        let both = (dice.below(3), dice.below(3));
        if both.0 == 0 {
            kill_process(mount, Signal::KILL).unwrap();
            kills[1] += 1;
        }
        kills[2] += u32::from(both.1 == 0);
        check(&sandbox.store());
        let depot = Depot::open(&sandbox.store()).unwrap();
        for (target, generation) in moves {
            let name = target.split(':').next().unwrap().parse().unwrap();
            let found = depot.catalogue.log_generation(&name, generation).unwrap();
            assert!(found.is_some(), "round {round}: {target} was told to be of generation {generation}");
            told += 1;
        }
        drop(depot);
        if both.0 == 0 || both.1 == 0 {
            // Killed, and made again in the next round, at the same place.
            drop(served);
            kill_process(mount, Signal::KILL).ok();
        } else {
            assert!(read_view(&sandbox) > 1, "round {round}");
            running = Some((mount, served));
        }
    }
    drop(running);
    println!("{rounds} rounds, killed {kills:?} commands, mounts and servers; {told} moves were told of");
    let enough = rounds / 10;
    assert!(kills.iter().all(|kills| *kills >= enough) && told >= enough, "{kills:?} {told}");
    let live = crate::mount::mount(&sandbox, "again", &[]);
    assert!(fs::read_dir(live.path("views/production")).unwrap().count() > 1);
    sandbox.ok(["umount", "again"]);
    let _ = sandbox.run(["umount", "mnt"]);
    sandbox.ok(["import", "tree", "compose/tree"]);
    sandbox.ok(["promote", "compose/tree", "production:tree"]);
    sandbox.ok(GC);
    check(&sandbox.store());
    let left = fs::read_dir(sandbox.store().join("tmp")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name != "gate" && name != "gc").collect();
    assert!(left.is_empty(), "what the dead left is gone: {left:?}");
}
