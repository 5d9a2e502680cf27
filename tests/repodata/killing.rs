//! Builds that come to no end.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::repomd;
use crate::harness::Sandbox;
use crate::harness::packages::package;

const PACKAGES: usize = 80;
const ROUNDS: u32 = 24;

/// What is known of packages is forgotten, so that they are read again.
fn forget(sandbox: &Sandbox) {
    for name in ["cache.db", "cache.db-wal", "cache.db-shm"] {
        let _ = fs::remove_file(sandbox.store().join(name));
    }
}

#[test]
fn a_build_that_is_killed_or_stopped_moves_nothing_and_is_made_again() {
    let sandbox = Sandbox::with_store();
    for number in 0..PACKAGES {
        package(&sandbox.path("in/os/Packages"), &format!("p{number:02}"), "1");
    }
    sandbox.ok(["import", "in", "repo"]);
    forget(&sandbox);
    let began = Instant::now();
    sandbox.ok(["repodata", "build", "repo:os", "whole"]);
    let took = began.elapsed();
    let expected = repomd(&sandbox, "whole:");
    let mut ended_early = 0;
    for round in 0..ROUNDS {
        forget(&sandbox);
        let target = format!("other/{round}");
        let mut command = sandbox.cfs();
        command.args(["repodata", "build", "repo:os", &target]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(took * (round + 1) / (ROUNDS + 4));
        let signal = if round % 2 == 0 { Signal::KILL } else { Signal::INT };
        // It may have ended before.
        let _ = kill_process(Pid::from_child(&child), signal);
        let status = child.wait().unwrap();
        assert!(matches!(status.code(), Some(0 | 3)) || status.signal().is_some(), "{status}");
        ended_early += u32::from(!status.success());
        if sandbox.ok(["refs"]).contains(&target) {
            assert_eq!(repomd(&sandbox, &format!("{target}:")), expected, "{round}");
        }
        let report = sandbox.json(["repodata", "build", "repo:os", &target]).remove(0);
        assert_eq!(report["packages"], PACKAGES);
        assert!(report["packages_read"].as_u64().unwrap() <= PACKAGES as u64);
        assert_eq!(repomd(&sandbox, &format!("{target}:")), expected, "{round}");
    }
    assert!(ended_early > 0, "no build was ended before its end");
}
