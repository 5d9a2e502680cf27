//! The store belongs to one user; what others may, policies say.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use super::{as_nobody, bring, store_with};
use crate::harness::Sandbox;

#[test]
fn a_store_is_open_to_its_owner_and_read_by_his_group() {
    let mode = |sandbox: &Sandbox| fs::metadata(sandbox.store()).unwrap().permissions().mode() & 0o7777;
    let sandbox = Sandbox::with_store();
    assert_eq!(mode(&sandbox), 0o750);
    // What is stricter stays so.
    let strict = Sandbox::new();
    fs::create_dir(strict.store()).unwrap();
    fs::set_permissions(strict.store(), fs::Permissions::from_mode(0o700)).unwrap();
    strict.ok(["init"]);
    assert_eq!(mode(&strict), 0o700);

    let sandbox = store_with("");
    for command in ["refs", "ls compose/9/one", "promote compose/9/one production", "init", "gc", "mount mnt"]
    {
        let Some(ran) = as_nobody(&sandbox, &format!("$CFS {command}")) else { return };
        assert!(ran.code == 3, "{command}: {ran:?}");
        assert!(ran.stderr.contains("is not open to user 65534") || command == "init", "{command}: {ran:?}");
    }
    assert!(!sandbox.ok(["refs"]).contains("production"));
}

#[test]
fn root_does_not_write_in_a_store_of_somebody_else() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let sandbox = store_with("");
    let taken = Sandbox::new();
    fs::create_dir(taken.store()).unwrap();
    chown(taken.store(), Some(65_534), Some(65_534)).unwrap();
    let error = taken.fails(3, ["init"]);
    assert!(error.contains("belongs to user 65534"), "{error}");
    chown(sandbox.store(), Some(65_534), Some(65_534)).unwrap();
    let error = sandbox.fails(1, ["promote", "compose/9/one", "production"]);
    assert!(error.contains("belongs to nobody") && error.contains("runuser -u nobody"), "{error}");
    assert!(sandbox.ok(["refs"]).contains("compose/9/one"), "reading is no harm");
}

#[test]
fn everything_that_moves_or_deletes_is_up_to_a_policy() {
    let closed = "who-may = { users = [\"none\"] }\n";
    let sandbox = store_with("");
    sandbox.ok(["promote", "compose/9/one", "production"]);
    sandbox.ok(["pin", "production"]);
    sandbox.ok(["link", "latest", "production"]);
    bring(&sandbox, "compose/9/one", "2");
    sandbox.ok(["promote", "compose/9/one", "production"]);
    sandbox.write(
        "config.toml",
        format!("[view.production]\n{closed}[view.latest]\n{closed}[view.repo]\n{closed}[gc]\n{closed}"),
    );
    let refs = sandbox.ok(["refs"]);
    for (command, refusal) in [
        ("promote compose/9/one production", "may not promote into it"),
        ("promote compose/9/one production --dry-run", "may not promote into it"),
        ("promote compose/9/one staging --link production:x=y", "may not promote into it"),
        ("rollback production", "may not promote into it"),
        ("policy set production --mode 0700", "may not promote into it"),
        ("policy unset production", "may not promote into it"),
        ("link latest compose/9/one", "may not promote into it"),
        ("import tree production", "may not promote into it"),
        ("sync tree production", "may not promote into it"),
        ("repodata build repo", "may not promote into it"),
        ("gc", "may not say what is deleted"),
        ("pin compose/9/one", "may not say what is deleted"),
        ("unpin production@{1}", "may not say what is deleted"),
        ("compose prune", "may not say what is deleted"),
    ] {
        let error = sandbox.fails(1, command.split(' '));
        assert!(error.contains(refusal) && error.contains("who may: none"), "{command}: {error}");
    }
    assert_eq!(sandbox.ok(["refs"]), refs);
    assert_eq!(sandbox.ok(["pin"]).lines().count(), 1);
}

#[test]
fn who_was_at_work_is_told_by_the_kernel() {
    let sandbox = store_with("");
    let mut command = sandbox.cfs();
    command.args(["promote", "compose/9/one", "production"]).env("USER", "mallory").env("LOGNAME", "mallory");
    assert_eq!(crate::harness::ran(command.env("SUDO_USER", "al;ice")).code, 0);
    let log = sandbox.ok(["log", "production"]);
    assert!(!log.contains("mallory") && !log.contains("ice"), "{log}");
    sandbox.write("tree/file", "3");
    let mut command = sandbox.cfs();
    assert_eq!(
        crate::harness::ran(command.args(["import", "tree", "staging"]).env("SUDO_USER", "alice")).code,
        0
    );
    let log = sandbox.ok(["log", "staging"]);
    assert!(log.contains("(sudo: alice)"), "{log}");
}
