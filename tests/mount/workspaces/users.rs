//! Workspaces of those for whom the kernel mounts no overlays.

use std::os::unix::fs::chown;

use super::*;

/// What fuse-overlayfs does as the kernel does.
const SCRIPT: &str = "sed -i s/9.6/9.7/ BaseOS/x86_64/os/media.repo; rm BaseOS/x86_64/os/Packages/acl*; rm -r isos/old; mkdir isos/old
    echo new > isos/old/new; ln -s new isos/link; rm tool; echo tool > tool2; cp -al BaseOS copy; mv CHECKSUM isos/SUMS; chmod 755 isos/SUMS";

#[test]
fn fuse_overlayfs_does_where_the_kernel_does_not() {
    if !can_work() || !installed("fuse-overlayfs") {
        return;
    }
    let sandbox = release();
    let work = open(&sandbox, "staging", "work", &["--overlay", "fuse"]);
    let plain = sandbox.path("plain");
    sandbox.ok(["checkout", "staging", "plain"]);
    for dir in [&work.dir, &plain] {
        sh_ok(dir, SCRIPT);
    }
    let shown = contents(&work.dir, false);
    assert_eq!(shown, contents(&plain, false));
    let (code, changed) = work.status();
    assert_eq!(code, 1);
    work.commit("staging");
    assert_eq!(work.status(), (0, Vec::new()));
    sandbox.ok(["checkout", "staging", "out"]);
    assert_eq!(contents(&sandbox.path("out"), false), shown);

    says(
        "In a workspace of fuse-overlayfs a directory of the snapshot cannot be renamed (EXDEV): mv copies it, \
         createrepo_c over old metadata fails; and the time of a directory moves when a file in it is changed.",
    );
    if installed("createrepo_c") {
        let failed = sh(&work.dir, "createrepo_c -q BaseOS/x86_64/os");
        assert!(failed.code != 0, "{failed:?}");
        sh_ok(&work.dir, "rm -rf BaseOS/x86_64/os/.repodata; test -e BaseOS/x86_64/os/repodata/repomd.xml");
    }
    // Its files were only linked.
    assert!(changed.iter().any(|line| line == "C BaseOS/x86_64/os/repodata/"), "{changed:?}");
    let renamed = fs::rename(work.path("BaseOS"), work.path("AppStream")).unwrap_err();
    assert_eq!(renamed.raw_os_error(), Some(rustix::io::Errno::XDEV.raw_os_error()));
    sh_ok(&work.dir, "mv BaseOS AppStream");
    sandbox.ok(["work", "close", "work"]);
    assert!(sandbox.ok(["work", "open", "staging", "work"]).contains("opened again"));
    assert!(work.path("AppStream/x86_64").is_dir() && !work.path("BaseOS").exists());
    work.commit("staging");
    assert_eq!(sandbox.run(["ls", "staging:BaseOS"]).code, 3);
}

#[test]
fn a_user_who_is_not_root_works_in_a_store_of_his_own() {
    let needed = ["fuse-overlayfs", "fusermount3", "setpriv", "unshare"];
    if !can_work() || !needed.into_iter().all(installed) {
        return;
    }
    says("A user who is not root has workspaces in a store of his own, with fuse-overlayfs.");
    let sandbox = Sandbox::new();
    fs::set_permissions(sandbox.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let home = sandbox.path("home");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(65_534), Some(65_534)).unwrap();
    let program = sandbox.path("cfs");
    fs::copy(env!("CARGO_BIN_EXE_cfs"), &program).unwrap();
    // In a mount namespace of its own everyone may open /dev/fuse, which is so on most hosts.
    let script = r#"
        mknod -m 666 "$HOME/../fuse" c 10 229; mount --bind "$HOME/../fuse" /dev/fuse
        exec setpriv --reuid 65534 --regid 65534 --clear-groups sh -euc '
            "$CFS" init; mkdir src work; echo one > src/a; echo two > src/b; mkdir src/dir; echo deep > src/dir/file; find src -exec touch -d @1700000000 {} +
            "$CFS" import src staging; "$CFS" work open staging work
            echo more >> work/a; rm work/b; rm -r work/dir; mkdir work/dir; echo new > work/dir/new
            "$CFS" work status work || test $? = 1
            "$CFS" work commit work staging; "$CFS" ls -R staging; "$CFS" cat staging:a
            "$CFS" work discard work; test -z "$(ls work)"'"#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-euc", script]).current_dir(&home);
    command.env("CFS", &program).env("CFS_STORE", home.join("store")).env("HOME", &home);
    let ran = ran(command.env_remove("CFS_CONFIG"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("C a\nR b\nC dir/\nR dir/file\nA dir/new\nC ./\n"), "{ran:?}");
    assert!(ran.stdout.ends_with("a\ndir\ndir/new\none\nmore\nwork: discarded\n"), "{ran:?}");
}
