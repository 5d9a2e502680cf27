//! How a mount begins and ends.

use std::fs;
use std::process::Stdio;

use rustix::process::{Signal, kill_process};

use super::*;

fn world() -> Sandbox {
    let sandbox = Sandbox::with_store();
    import(&sandbox, "source", "staging", &[("dir/file", "content")]);
    sandbox
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

#[test]
fn mount_and_umount() {
    if !can_mount() {
        return;
    }
    let sandbox = world();
    fs::create_dir(sandbox.path("mnt")).unwrap();
    let mut live = Live { dir: sandbox.path("mnt"), daemon: None };
    says(
        "`cfs mount` returns when the mount answers, and says which process serves it and where its log is.",
    );
    let said = sandbox.json(["mount", "mnt"]);
    assert_eq!(fs::read_to_string(live.path("views/staging/dir/file")).unwrap(), "content");
    let process = said[0]["process"].as_u64().unwrap();
    assert!(fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap().contains("mount"));
    assert_eq!(fs::read_to_string(said[0]["log"].as_str().unwrap()).unwrap(), "");

    says("A mount point must be an empty directory; a live mount of cfs is refused, too.");
    let refused = sandbox.fails(3, ["mount", "mnt"]);
    assert!(refused.contains("is a cfs mount already") && refused.contains("cfs umount"), "{refused}");
    assert!(sandbox.fails(3, ["mount", "source"]).contains("is not empty"));
    assert!(sandbox.fails(3, ["mount", "nowhere"]).contains("nowhere"));
    let file = sandbox.write("file", "");
    assert!(sandbox.fails(3, ["mount", file.to_str().unwrap()]).contains("file"));

    says("`cfs umount` returns when the process has ended.");
    live.daemon = Pid::from_raw(i32::try_from(process).unwrap());
    sandbox.ok(["umount", "mnt"]);
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    assert!(stat.is_err() || stat.unwrap().contains(") Z "));
    assert!(is_empty(&live.dir));
    assert!(sandbox.fails(3, ["umount", "mnt"]).contains("is not a cfs mount"));
    assert!(sandbox.fails(3, ["umount", "source"]).contains("is not a cfs mount"));
}

#[test]
fn a_mount_in_use_is_not_unmounted_unless_lazily() {
    if !can_mount() {
        return;
    }
    let sandbox = world();
    let live = mount(&sandbox, "mnt", &[]);
    let inside = fs::File::open(live.path("views/staging/dir/file")).unwrap();
    says("`cfs umount` of a mount that is in use is refused; with `--lazy` its name is free at once.");
    let refused = sandbox.fails(3, ["umount", "mnt"]);
    assert!(refused.contains("in use") && refused.contains("--lazy"), "{refused}");
    assert_eq!(fs::read_to_string(live.path("views/staging/dir/file")).unwrap(), "content");
    sandbox.ok(["umount", "--lazy", "mnt"]);
    assert!(is_empty(&live.dir));
    assert!(!inside.metadata().unwrap().is_dir());
    drop(inside);
    assert!(live.daemon_has_ended());
}

#[test]
fn the_end_of_a_lazily_unmounted_mount_leaves_the_next_one_alone() {
    if !can_mount() {
        return;
    }
    for told_to_end in [false, true] {
        let sandbox = world();
        let old = mount(&sandbox, "mnt", &[]);
        let inside = fs::File::open(old.path("views/staging/dir/file")).unwrap();
        sandbox.ok(["umount", "--lazy", "mnt"]);
        let new = mount(&sandbox, "mnt", &[]);
        if told_to_end {
            kill_process(old.daemon.unwrap(), Signal::TERM).unwrap();
        } else {
            drop(inside);
        }
        assert!(old.daemon_has_ended());
        assert_eq!(fs::read_to_string(new.path("views/staging/dir/file")).unwrap(), "content");
    }
}

#[test]
fn of_several_that_mount_at_one_place_one_succeeds() {
    if !can_mount() {
        return;
    }
    let sandbox = world();
    fs::create_dir(sandbox.path("mnt")).unwrap();
    let live = Live { dir: sandbox.path("mnt"), daemon: None };
    let start =
        |_| sandbox.cfs().args(["mount", "mnt"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let children: Vec<_> = (0..4).map(start).collect();
    let done =
        children.into_iter().filter_map(|mut child| child.wait().unwrap().success().then_some(())).count();
    assert_eq!(done, 1);
    assert_eq!(fs::read_to_string(live.path("views/staging/dir/file")).unwrap(), "content");
    sandbox.ok(["umount", "mnt"]);
}

#[test]
fn of_several_that_recover_a_dead_mount_one_succeeds() {
    if !can_mount() {
        return;
    }
    let sandbox = world();
    let dead = mount(&sandbox, "mnt", &[]);
    kill_process(dead.daemon(), Signal::KILL).unwrap();
    assert!(dead.daemon_has_ended());
    let start =
        |_| sandbox.cfs().args(["mount", "mnt"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let children: Vec<_> = (0..4).map(start).collect();
    let done = children.into_iter().filter_map(|mut child| child.wait().unwrap().success().then_some(()));
    assert_eq!(done.count(), 1);
    assert_eq!(fs::read_to_string(dead.path("views/staging/dir/file")).unwrap(), "content");
    sandbox.ok(["umount", "mnt"]);
    assert!(is_empty(&dead.dir));
}

#[test]
fn signals_end_a_mount_cleanly() {
    if !can_mount() {
        return;
    }
    says("SIGTERM and SIGINT unmount and leave an empty directory and no process.");
    let sandbox = world();
    for signal in [Signal::TERM, Signal::INT] {
        let live = mount(&sandbox, "mnt", &[]);
        assert!(!is_empty(&live.dir));
        kill_process(live.daemon(), signal).unwrap();
        assert!(live.daemon_has_ended());
        assert!(is_empty(&live.dir));
    }
    // Somebody inside does not keep it.
    let live = mount(&sandbox, "mnt", &[]);
    let inside = fs::File::open(live.path("views/staging")).unwrap();
    kill_process(live.daemon(), Signal::TERM).unwrap();
    assert!(live.daemon_has_ended());
    assert!(is_empty(&live.dir));
    drop(inside);

    // In the foreground, too.
    let mut daemon =
        sandbox.cfs().args(["mount", "mnt", "--foreground"]).stderr(Stdio::null()).spawn().unwrap();
    while is_empty(&live.dir) {
        assert!(daemon.try_wait().unwrap().is_none(), "the mount ended");
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&daemon), Signal::INT).unwrap();
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
    assert!(is_empty(&live.dir));
}

#[test]
fn a_killed_mount_is_dead_and_never_empty() {
    if !can_mount() {
        return;
    }
    let sandbox = world();
    for more in [&[][..], &["--view", "staging"]] {
        let live = mount(&sandbox, "mnt", more);
        assert!(!is_empty(&live.dir));
        kill_process(live.daemon(), Signal::KILL).unwrap();
        assert!(live.daemon_has_ended());
        says(
            "The end of the process by SIGKILL leaves a mount point that cannot be listed (ENOTCONN), never an \
             empty directory that a mirror could take for a reason to delete.",
        );
        // A question that was on its way when the process ended comes back as ECONNABORTED.
        let number = || fs::read_dir(&live.dir).unwrap_err().raw_os_error().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while number() != rustix::io::Errno::NOTCONN.raw_os_error() {
            assert!(Instant::now() < deadline, "the mount point is not dead");
        }
        if installed("rsync") {
            let copy = sandbox.write("copy/precious", "kept").parent().unwrap().to_owned();
            let ran = ran(Command::new("rsync")
                .args(["-a", "--delete", "mnt/", "copy/"])
                .current_dir(sandbox.path("")));
            assert_ne!(ran.code, 0);
            assert!(copy.join("precious").exists(), "{ran:?}");
        }

        says("`cfs mount` on a mount point whose process has died mounts it again.");
        let again = mount(&sandbox, "mnt", more);
        assert!(!is_empty(&again.dir));
        sandbox.ok(["umount", "mnt"]);
        assert!(is_empty(&again.dir), "the dead mount below is gone, too");

        // A dead mount can be unmounted, too.
        let live = mount(&sandbox, "mnt", more);
        kill_process(live.daemon(), Signal::KILL).unwrap();
        assert!(live.daemon_has_ended());
        sandbox.ok(["umount", "mnt"]);
        assert!(is_empty(&live.dir));
    }
}

#[test]
fn a_mount_that_cannot_be_made_says_why() {
    let sandbox = world();
    fs::create_dir(sandbox.path("mnt")).unwrap();
    assert!(sandbox.fails(3, ["mount", "mnt", "--view", "nosuch"]).contains("nosuch"));
    assert_eq!(sandbox.run(["mount", "mnt", "--owner", "root"]).code, 2);
    let other = Sandbox::new();
    let refused = other.fails(3, ["mount", "mnt"]);
    assert!(refused.contains("is not a cfs store") && refused.contains("cfs init"), "{refused}");
    if !Path::new("/dev/fuse").exists() {
        assert!(sandbox.fails(3, ["mount", "mnt"]).contains("/dev/fuse"));
    }
    assert!(is_empty(&sandbox.path("mnt")));
}
