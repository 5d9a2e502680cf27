//! Who may do what: the store and its owner, policies, a keeper for everybody else, approvals and signatures.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Ran, Sandbox, ran};

mod approvals;
mod keeper;
mod owners;
mod signatures;

/// A store with this configuration, in which `compose/9/one` is.
fn store_with(config: &str) -> Sandbox {
    let sandbox = Sandbox::with_config(config);
    bring(&sandbox, "compose/9/one", "1");
    sandbox
}

/// Makes `name` a tree of one file that says `content`.
fn bring(sandbox: &Sandbox, name: &str, content: &str) {
    sandbox.write("tree/file", content);
    sandbox.ok(["import", "tree", name]);
}

/// Runs `cfs` as the store's owner does for somebody else.
fn as_user(sandbox: &Sandbox, uid: u32, args: &[&str]) -> Ran {
    ran(sandbox.cfs().env("CFS_WORKS_FOR", format!("{uid}:{uid}")).args(args))
}

#[track_caller]
fn ok_as(sandbox: &Sandbox, uid: u32, args: &[&str]) -> String {
    let ran = as_user(sandbox, uid, args);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.stdout
}

/// Runs a script as a user of the host who has nothing; `$CFS` is the program. `None` (and a word) where that cannot be.
fn as_nobody(sandbox: &Sandbox, script: &str) -> Option<Ran> {
    use std::os::unix::fs::PermissionsExt;
    if !rustix::process::geteuid().is_root() || !crate::harness::installed("setpriv") {
        eprintln!("skipped: only root can be somebody else");
        return None;
    }
    std::fs::set_permissions(sandbox.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    // The directory of the build may be closed to others.
    let program: PathBuf = sandbox.path("cfs");
    if !program.exists() {
        std::fs::copy(env!("CARGO_BIN_EXE_cfs"), &program).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-ec", script]);
    command.current_dir(sandbox.path("")).env("CFS", &program).env("CFS_STORE", sandbox.store());
    Some(ran(command.env("CFS_CONFIG", sandbox.path("config.toml")).env_remove("SUDO_USER")))
}
