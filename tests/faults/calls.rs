//! Every call that a command makes to the kernel fails once: the first write, the second, and so on.

use std::fs;
use std::process::{Command, Stdio};

use super::{CONFIG, GC, look, tell};
use crate::harness::repo::Repo;
use crate::harness::{Ran, Sandbox, installed, ran};

/// Calls, and how they fail.
const CALLS: [(&str, &str); 8] = [
    ("write,pwrite64", "ENOSPC"),
    ("write,pwrite64", "EIO"),
    ("fsync,fdatasync,syncfs", "EIO"),
    ("rename,renameat,renameat2", "EIO"),
    ("ftruncate,fallocate", "ENOSPC"),
    ("mkdir,mkdirat", "ENOSPC"),
    ("openat", "EMFILE"),
    ("read,pread64", "EIO"),
];
/// Which of them: the first ones, then fewer.
const WHICH: [u32; 14] = [1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 28, 37, 49, 65];

/// Runs a command whose `number`th call of a kind fails in each of its threads; with the lines of `strace` about it.
fn run(sandbox: &Sandbox, args: &[&str], calls: &str, error: &str, number: u32) -> (Ran, Vec<String>) {
    let trace = sandbox.path("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-qq", "-o"]).arg(&trace).args(["-e", &format!("trace={calls}")]);
    command.args(["-e", &format!("inject={calls}:error={error}:when={number}")]);
    command.arg(env!("CARGO_BIN_EXE_cfs")).args(args).current_dir(sandbox.path("")).stdin(Stdio::null());
    command.env("CFS_STORE", sandbox.store()).env("CFS_CONFIG", sandbox.path("config.toml"));
    let done = ran(&mut command);
    let text = fs::read_to_string(trace).unwrap();
    (done, text.lines().filter(|line| line.contains("(INJECTED)")).map(str::to_owned).collect())
}

/// Lets every kind of call fail in a command that moves a ref, or in one that does not.
fn fail_in(sandbox: &Sandbox, args: &[&str], moves: bool, mut prepare: impl FnMut(u32)) {
    let (mut failed, mut marked) = (0, 0);
    let mut round = 0;
    for (calls, error) in CALLS {
        for number in WHICH {
            round += 1;
            prepare(round);
            let before = tell(&sandbox.store());
            let (done, injected) = run(sandbox, args, calls, error, number);
            let after = tell(&sandbox.store());
            let what = || format!("{args:?}, {calls} {number} {error}: {done:?}\n{injected:#?}");
            look(&sandbox.store(), &before).unwrap_or_else(|wrong| panic!("{wrong}: {}", what()));
            let told = injected.iter().any(|line| line.contains("(1<") || line.contains("(2<"));
            if done.code == 0 {
                assert_eq!(after.moves > before.moves, moves, "{}", what());
            } else {
                failed += 1;
                // A program that cannot even be loaded says so in the words of the loader.
                let clear = [3, 4].contains(&done.code) && done.stderr.contains("error: ");
                assert!(clear || told || done.code == 127, "{}", what());
                // Whether a commit that could not be made durable stands is for the disk to say.
                let log = injected.iter().any(|line| line.contains("catalogue.db"));
                assert!(after == before || told || log, "it failed and something was published: {}", what());
            }
            // What has no name yet is simply given up, and the cache is only a cache.
            let harmless = |line: &String| line.contains("cache.db") || line.contains("/store/tmp/");
            let synced = injected.iter().any(|line| line.contains("sync") && !harmless(line));
            let marks = synced && done.code != 0;
            assert!(!marks || sandbox.store().join("unclean").exists(), "{}", what());
            marked += u32::from(marks);
            if moves {
                prepare(round + 1_000_000);
            }
            sandbox.ok(args);
            assert!(!moves || !sandbox.store().join("unclean").exists(), "looked after: {}", what());
            if injected.is_empty() {
                break;
            }
        }
    }
    eprintln!("{args:?}: {failed} of {round} runs failed, {marked} left the mark");
    assert!(failed > 30, "{failed} failed");
    look(&sandbox.store(), &tell(&sandbox.store())).unwrap();
}

#[test]
fn an_import_of_which_any_call_fails() {
    if installed("strace") {
        let sandbox = Sandbox::with_config(CONFIG);
        fail_in(&sandbox, &["import", "tree", "compose/tree"], true, |round| {
            for file in 0..4 {
                sandbox.write(&format!("tree/{file}"), format!("{round} {file}").repeat(50));
            }
        });
    }
}

#[test]
fn a_promotion_of_which_any_call_fails() {
    if installed("strace") {
        let sandbox = Sandbox::with_config(CONFIG);
        sandbox.write("tree/file", "first");
        sandbox.ok(["import", "tree", "compose/tree"]);
        fail_in(&sandbox, &["promote", "compose/tree", "production"], true, |round| {
            sandbox.write("tree/file", round.to_string());
            sandbox.ok(["import", "tree", "compose/tree"]);
        });
    }
}

#[test]
fn a_sync_of_which_any_call_fails() {
    if installed("strace") {
        let sandbox = Sandbox::with_config(CONFIG);
        let mut repo = Repo::with_packages(&sandbox.path("repo"), 3);
        let from = sandbox.path("repo").display().to_string();
        fail_in(&sandbox, &["sync", &from, "compose/repo"], true, |round| {
            repo.packages.truncate(3);
            repo.add(&format!("Packages/r{round}.rpm"), round.to_string().repeat(300).as_bytes());
            repo.write();
        });
    }
}

#[test]
fn a_collection_of_which_any_call_fails() {
    if installed("strace") {
        let sandbox = Sandbox::with_config(CONFIG);
        let mut args = GC.to_vec();
        args.retain(|arg| *arg != "--keep-generations" && *arg != "2");
        args.push("--keep-generations=1");
        fail_in(&sandbox, &args, false, |round| {
            if round < 1_000_000 {
                sandbox.write("tree/file", round.to_string());
                sandbox.ok(["import", "tree", "compose/tree"]);
            }
        });
    }
}
