//! What a mount lets nobody do.

use std::fs;

use crate::harness::Sandbox;
use crate::mount::{can_mount, import, mount};

#[test]
fn a_mount_is_checked_by_the_kernel_and_gives_no_rights() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_store();
    import(&sandbox, "tree", "staging", &[("a", "x")]);
    let mounted = mount(&sandbox, "mnt", &["--allow-other"]);
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table
        .lines()
        .find(|line| line.contains(mounted.path("").to_str().map(|dir| dir.trim_end_matches('/')).unwrap()))
        .unwrap();
    for option in ["ro", "nosuid", "nodev", "default_permissions"] {
        assert!(line.split([',', ' ']).any(|found| found == option), "{option}: {line}");
    }
    if rustix::process::geteuid().is_root() {
        let pid = mounted.daemon().as_raw_nonzero();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    }
}
