//! Stores in places that are not like others.

use std::fs;

use super::*;

/// What is mounted at a directory for a test, gone at its end.
struct Base(PathBuf);

impl Base {
    /// Mounts with these arguments of mount(8) at a new directory; `None`, and a word, where that is not permitted.
    fn mount(sandbox: &Sandbox, name: &str, args: &[&str]) -> Option<Self> {
        let dir = sandbox.path(name);
        fs::create_dir(&dir).unwrap();
        let ran = ran(Command::new("mount").args(args).arg(&dir));
        if ran.code != 0 {
            eprintln!("skipped: {}", ran.stderr.trim());
            return None;
        }
        Some(Self(dir))
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// Mounts the store at `store` of the sandbox at `mnt`, and returns what is said.
fn mount_of(sandbox: &Sandbox, store: &Path) -> (Live, serde_json::Value) {
    let dir = sandbox.path("mnt");
    fs::create_dir(&dir).unwrap();
    let mut live = Live { dir, daemon: None };
    let store = store.to_str().unwrap();
    let said = sandbox.json(["--store", store, "mount", live.dir.to_str().unwrap()]).remove(0);
    live.daemon = Pid::from_raw(i32::try_from(said["process"].as_i64().unwrap()).unwrap());
    (live, said)
}

#[test]
fn a_store_on_a_stacked_file_system_is_read_by_questions() {
    if !can_mount() || !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| {
        let dir = sandbox.path(name);
        fs::create_dir(&dir).unwrap();
        dir.display().to_string()
    });
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let Some(base) = Base::mount(&sandbox, "over", &["-t", "overlay", "overlay", "-o", &options]) else {
        return;
    };
    let store = base.0.join("store");
    let at = store.to_str().unwrap();
    sandbox.ok(["--store", at, "init"]);
    let large = "0123456789abcdef".repeat(100_000);
    sandbox.write("source/large", &large);
    sandbox.ok(["--store", at, "import", "source", "staging"]);
    says(
        "Where the kernel does not take the store's files, as on a stacked file system or in a user namespace, reads \
         are answered instead, and `cfs mount` says why.",
    );
    let (live, said) = mount_of(&sandbox, &store);
    assert_eq!(said["passthrough"], false, "{said}");
    assert_eq!(fs::read_to_string(live.path("views/staging/large")).unwrap(), large);
    sandbox.ok(["umount", "mnt"]);
    let text = sandbox.ok(["--store", at, "mount", "mnt"]);
    assert!(text.contains("no passthrough: "), "{text}");
    sandbox.ok(["umount", "mnt"]);
}

#[test]
fn a_store_that_cannot_be_written_is_mounted_all_the_same() {
    if !can_mount() || !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = Sandbox::with_store();
    import(&sandbox, "one", "staging", &[("file", "one")]);
    import(&sandbox, "two", "compose/two", &[("file", "two")]);
    says(
        "A store that cannot be written is mounted all the same: the log is in the directory for temporary files, \
         and promotions do not wait for the mount.",
    );
    let store = sandbox.store();
    let Some(base) = Base::mount(&sandbox, "ro", &["--bind", store.to_str().unwrap()]) else { return };
    let remounted = ran(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(&base.0));
    assert_eq!(remounted.code, 0, "{remounted:?}");
    assert!(fs::write(base.0.join("x"), "").is_err());
    let (live, said) = mount_of(&sandbox, &base.0);
    let log = PathBuf::from(said["log"].as_str().unwrap());
    let file = live.path("views/staging/file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "one");
    assert!(fs::read_to_string(&log).unwrap().contains("promotions do not wait for this mount"));
    // Somebody else writes it, elsewhere.
    sandbox.ok(["promote", "compose/two", "staging"]);
    let began = Instant::now();
    while fs::read_to_string(&file).unwrap() == "one" {
        assert!(began.elapsed() < Duration::from_mins(1), "it never notices");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "two");
    sandbox.ok(["umount", "mnt"]);
    fs::remove_file(log).unwrap();
}

#[test]
fn a_store_without_a_log_of_writes_is_read_where_it_cannot_be_written() {
    if !can_mount() || !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = Sandbox::with_store();
    import(&sandbox, "one", "staging", &[("file", "one")]);
    // As a copy that was made while nobody wrote: everything is in the database itself.
    cfs_indexer::depot::Depot::open(&sandbox.store()).unwrap().catalogue.checkpoint().unwrap();
    for name in ["catalogue.db-wal", "catalogue.db-shm"] {
        fs::remove_file(sandbox.store().join(name)).unwrap();
    }
    let store = sandbox.store();
    let Some(base) = Base::mount(&sandbox, "ro", &["--bind", store.to_str().unwrap()]) else { return };
    assert_eq!(ran(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(&base.0)).code, 0);
    let listed = sandbox.ok(["--store", base.0.to_str().unwrap(), "ls", "staging"]);
    assert!(listed.contains("file"), "{listed}");
    let (live, said) = mount_of(&sandbox, &base.0);
    assert_eq!(fs::read_to_string(live.path("views/staging/file")).unwrap(), "one");
    sandbox.ok(["umount", "mnt"]);
    fs::remove_file(said["log"].as_str().unwrap()).unwrap();
}

#[test]
fn a_mount_in_a_user_namespace() {
    if !can_mount() || !installed("unshare") {
        return;
    }
    let sandbox = Sandbox::with_store();
    import(&sandbox, "one", "staging", &[("dir/file", "one")]);
    fs::create_dir(sandbox.path("mnt")).unwrap();
    let inside = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-ec", script]);
        command.current_dir(sandbox.path("")).env("CFS", env!("CARGO_BIN_EXE_cfs"));
        ran(command.env("CFS_STORE", sandbox.store()).env_remove("CFS_CONFIG"))
    };
    let plain = inside("exec 3<> /dev/fuse");
    if plain.code != 0 {
        eprintln!("skipped: {}", plain.stderr.trim());
        return;
    }
    let ran = inside(
        "\"$CFS\" mount mnt; cat mnt/views/staging/dir/file; stat -c ' %u' mnt/views/staging; \"$CFS\" umount mnt; \
         ls -A mnt",
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("no passthrough: ") && ran.stdout.contains("one 0\n"), "{ran:?}");
}
