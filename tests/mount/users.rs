//! Mounts of users who are not root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use super::*;

/// Every system has this user.
const NOBODY: u32 = 65_534;

#[test]
fn a_user_mounts_a_store_of_his_own() {
    if !can_mount() || !installed("fusermount3") || !installed("setpriv") {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: the other tests are those of a user who is not root");
        return;
    }
    let sandbox = Sandbox::new();
    fs::set_permissions(sandbox.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let home = sandbox.path("home");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
    // The directory of the build may be closed to others.
    let program = sandbox.path("cfs");
    fs::copy(env!("CARGO_BIN_EXE_cfs"), &program).unwrap();
    let user = |script: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-ec", script]);
        command.current_dir(&home).env("CFS", &program).env("CFS_STORE", home.join("store"));
        ran(command.env("HOME", &home).env_remove("CFS_CONFIG"))
    };
    let user_ok = |script: &str| {
        let ran = user(script);
        assert_eq!(ran.code, 0, "{script}: {ran:?}");
        ran.stdout
    };
    if user("exec 3<> /dev/fuse").code != 0 {
        eprintln!("skipped: /dev/fuse is closed to users who are not root");
        return;
    }
    user_ok("\"$CFS\" init; mkdir src mnt; echo mine > src/file; \"$CFS\" import src staging");
    let mut live = Live { dir: home.join("mnt"), daemon: None };
    says("A user who is not root mounts a store of his own with fusermount3, and only he sees the mount.");
    user_ok("\"$CFS\" mount mnt");
    assert_eq!(
        user_ok("cat mnt/views/staging/file; stat -c %u:%g mnt/views/staging/file"),
        "mine\n65534:65534\n"
    );
    let error = fs::read_dir(&live.dir).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::ACCESS.raw_os_error()));
    user_ok("echo more > src/file; \"$CFS\" import src staging");
    assert_eq!(user_ok("cat mnt/views/staging/file"), "more\n");

    let busy = user("cd mnt/views; exec 3< staging/file; cd /; \"$CFS\" umount \"$HOME/mnt\"");
    assert!(busy.code == 3 && busy.stderr.contains("in use") && busy.stderr.contains("--lazy"), "{busy:?}");
    user_ok("\"$CFS\" umount mnt; test -z \"$(ls mnt)\"");

    // Killed, recovered, told to end.
    let process = user_ok("\"$CFS\" --json mount mnt | sed 's/.*\"process\":\\([0-9]*\\).*/\\1/'");
    user_ok(&format!("kill -9 {process}"));
    // A question that was on its way when the process ended comes back as "connection abort".
    let dead = user("until ls mnt 2>&1 | grep -q 'not connected'; do :; done; ls mnt");
    assert!(dead.code != 0 && dead.stderr.contains("not connected"), "{dead:?}");
    let process = user_ok("\"$CFS\" --json mount mnt | sed 's/.*\"process\":\\([0-9]*\\).*/\\1/'");
    assert_eq!(user_ok("cat mnt/views/staging/file"), "more\n");
    user_ok(&format!("kill -TERM {process}"));
    live.daemon = Pid::from_raw(process.trim().parse().unwrap());
    assert!(live.daemon_has_ended());
    user_ok("test -z \"$(ls mnt)\"");
    let refused = user("\"$CFS\" mount mnt --allow-other");
    assert!(refused.code == 0 || refused.stderr.contains("user_allow_other"), "{refused:?}");
}
