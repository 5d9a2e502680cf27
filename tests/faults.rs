//! Disks that fail, fill up and become read-only, calls that fail at every step, and clocks that jump: what is published
//! stays as it was, the error names what failed, and work goes on when the trouble is over.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use cfs_fs::import::Options;
use cfs_indexer::catalogue::Signer;
use cfs_indexer::depot::Depot;
use cfs_indexer::gc;
use cfs_indexer::import::import_dir;

use crate::crash::Dice;
use crate::disk::{Disk, Failing, Found};
use crate::harness::repo::Repo;
use crate::harness::{Ran, Sandbox, ran};
use crate::powercut::{CONFIG, GC, Told, look, tell};

mod calls;

const SMALL_BYTES: u64 = 64 << 20;

/// A sandbox whose store is on a disk of its own, mounted at `disk`.
fn on_a_disk() -> Option<(Sandbox, Disk)> {
    let sandbox = Sandbox::new();
    let disk = Disk::mount(&sandbox.path("room"), &sandbox.path("disk"), SMALL_BYTES, &[])?;
    fs::create_dir(sandbox.path("disk/store")).unwrap();
    std::os::unix::fs::symlink("disk/store", sandbox.store()).unwrap();
    sandbox.write("config.toml", CONFIG);
    sandbox.ok(["init"]);
    Some((sandbox, disk))
}

/// A store in which something is published.
fn publish(sandbox: &Sandbox) -> Told {
    sandbox.write("tree/file", "first");
    sandbox.ok(["import", "tree", "compose/tree"]);
    sandbox.ok(["promote", "compose/tree", "production"]);
    sandbox.write("tree/file", "second");
    tell(&sandbox.store())
}

/// A command failed with a clear error, and nothing that is published has changed.
#[track_caller]
fn failed_cleanly(sandbox: &Sandbox, done: &Ran, before: &Told, words: &[&str]) {
    assert!([3, 4].contains(&done.code) && done.stderr.starts_with("error: "), "{done:?}");
    assert!(words.iter().any(|word| done.stderr.contains(word)), "{words:?}: {done:?}");
    assert_eq!(&tell(&sandbox.store()), before, "{done:?}");
    look(&sandbox.store(), before).unwrap();
}

#[test]
fn a_full_ext4_refuses_and_goes_on_when_there_is_room() {
    let Some((sandbox, _disk)) = on_a_disk() else { return };
    let mut repo = Repo::with_packages(&sandbox.path("repo"), 5);
    repo.write();
    let from = sandbox.path("repo").display().to_string();
    sandbox.ok(["sync", &from, "compose/repo"]);
    publish(&sandbox);
    let no_room = ["almost full", "No space left", "is full", "disk I/O error"];
    // Imports until the store keeps the rest for itself.
    let mut count = 0_u8;
    let refused = loop {
        sandbox.write("tree/large", vec![count; 1 << 20]);
        let before = tell(&sandbox.store());
        let done = sandbox.run(["import", "tree", "compose/tree"]);
        if done.code != 0 {
            failed_cleanly(&sandbox, &done, &before, &no_room);
            break done;
        }
        count += 1;
        assert!(count < 70, "the disk does not get full");
    };
    assert!(refused.stderr.contains("almost full") && refused.stderr.contains("cfs gc"), "{refused:?}");
    let before = tell(&sandbox.store());
    repo.add("Packages/new.rpm", &vec![1; 1_500_000]);
    repo.write();
    failed_cleanly(&sandbox, &sandbox.run(["sync", &from, "compose/repo"]), &before, &no_room);
    // What was kept is enough to publish what is there, and to take it back.
    sandbox.ok(["promote", "compose/tree", "production"]);
    sandbox.ok(["rollback", "production"]);

    // Somebody else takes the rest.
    let filler = sandbox.path("disk/filler");
    let _ = fs::write(&filler, vec![0; 64 << 20]);
    let before = tell(&sandbox.store());
    for args in [&["import", "tree", "compose/tree"][..], &["sync", &from, "compose/repo"]] {
        failed_cleanly(&sandbox, &sandbox.run(args), &before, &no_room);
    }
    let done = sandbox.run(["promote", "compose/tree", "production"]);
    if done.code != 0 {
        failed_cleanly(&sandbox, &done, &before, &no_room);
    }
    let keeping = ["gc", "--grace=0", "--keep=0", "--keep-generations=1", "--yes", "--emergency"];
    sandbox.ok(keeping);
    let freed = sandbox.json(["gc", "--grace=0", "--keep=0", "--keep-generations=1", "--yes"]);
    assert!(freed[0]["deleted_bytes"].as_u64().unwrap() > 10 << 20, "{freed:?}");
    for args in [&["import", "tree", "compose/tree"][..], &["sync", &from, "compose/repo"]] {
        sandbox.ok(args);
    }
    fs::remove_file(filler).unwrap();
    sandbox.ok(["promote", "compose/tree", "production"]);
    sandbox.ok(GC);
    look(&sandbox.store(), &Told::default()).unwrap();
}

#[test]
fn a_disk_that_cannot_flush_marks_the_store_and_what_came_is_read_back() {
    let Some((sandbox, disk)) = on_a_disk() else { return };
    let before = publish(&sandbox);
    disk.fail(Failing { flushes: true, ..Failing::default() });
    let done = sandbox.run(["import", "tree", "compose/tree"]);
    assert!(disk.fail(Failing::default()) > 0, "nothing failed");
    failed_cleanly(&sandbox, &done, &before, &["Input/output error", "disk I/O error", "Read-only"]);
    // The file system does not trust the disk any more; readers go on.
    assert_eq!(sandbox.ok(["cat", "production:file"]), "first");
    let done = sandbox.run(["import", "tree", "compose/tree"]);
    if done.code != 0 {
        failed_cleanly(
            &sandbox,
            &done,
            &before,
            &["Read-only", "readonly", "Input/output error", "disk I/O"],
        );
    }
    // After the machine came up again.
    let image = disk.image();
    drop(disk);
    let found = Found::mount(&image, &sandbox.path("room"), false).unwrap();
    fs::remove_file(sandbox.store()).unwrap();
    std::os::unix::fs::symlink(found.path("store"), sandbox.store()).unwrap();
    look(&sandbox.store(), &before).unwrap();
    sandbox.ok(["import", "tree", "compose/tree"]);
    sandbox.ok(["promote", "compose/tree", "production"]);
    assert_eq!(sandbox.ok(["cat", "production:file"]), "second");
    assert!(!sandbox.store().join("unclean").exists());
}

#[test]
fn nothing_is_published_on_a_store_that_is_not_whole_after_a_failure() {
    let Some((sandbox, disk)) = on_a_disk() else { return };
    let before = publish(&sandbox);
    sandbox.ok(["import", "tree", "compose/next"]);
    let blob = {
        let depot = Depot::open(&sandbox.store()).unwrap();
        depot.store.blob_path(cfs_fs::digest::BlobId::of(b"first"))
    };
    let told = tell(&sandbox.store());
    fs::write(sandbox.store().join("unclean"), "blobs: Input/output error\n").unwrap();

    // What cannot be read from the disk is not taken from memory.
    rustix::fs::syncfs(fs::File::open(&disk.dir).unwrap()).unwrap();
    disk.fail(Failing { reads: true, ..Failing::default() });
    let done = sandbox.run(["promote", "compose/next", "production"]);
    assert!(disk.fail(Failing::default()) > 0, "nothing was read from the disk: {done:?}");
    failed_cleanly(&sandbox, &done, &told, &["Input/output error"]);
    assert_eq!(done.code, 4, "{done:?}");

    // What is damaged is named.
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, "wrong").unwrap();
    let done = sandbox.run(["promote", "compose/next", "production"]);
    assert!(done.code == 4 && done.stderr.contains("is damaged"), "{done:?}");
    assert_eq!(sandbox.ok(["cat", "compose/next:file"]), "second", "readers go on");
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, "first").unwrap();
    sandbox.ok(["promote", "compose/next", "production"]);
    assert!(!sandbox.store().join("unclean").exists());
    look(&sandbox.store(), &before).unwrap();
}

#[test]
fn a_read_only_file_system_is_refused_and_readers_go_on() {
    let Some((sandbox, disk)) = on_a_disk() else { return };
    let before = publish(&sandbox);
    let remount =
        |how: &str| ran(Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&disk.dir)).code;
    assert_eq!(remount("ro"), 0);
    let refused = ["Read-only file system", "readonly database"];
    for args in [&["import", "tree", "compose/tree"][..], &["promote", "compose/tree", "production:x"], &GC] {
        failed_cleanly(&sandbox, &sandbox.run(args), &before, &refused);
    }
    assert_eq!(sandbox.ok(["cat", "production:file"]), "first");
    assert_eq!(remount("rw"), 0);
    sandbox.ok(["import", "tree", "compose/tree"]);
    sandbox.ok(["promote", "compose/tree", "production"]);
    sandbox.ok(GC);
    look(&sandbox.store(), &before).unwrap();
}

#[test]
fn a_disk_that_cannot_write_loses_nothing_that_was_published() {
    let Some((sandbox, disk)) = on_a_disk() else { return };
    let before = publish(&sandbox);
    disk.fail(Failing { writes: true, ..Failing::default() });
    let mut done = sandbox.run(["import", "tree", "compose/tree"]);
    let failed = disk.fail(Failing::default());
    assert!(failed > 0 && done.code != 0, "{failed} failed: {done:?}");
    failed_cleanly(&sandbox, &done, &before, &["Input/output error", "disk I/O error", "Read-only"]);
    let image = disk.image();
    drop(disk);
    let found = Found::mount(&image, &sandbox.path("room"), true).unwrap();
    fs::remove_file(sandbox.store()).unwrap();
    std::os::unix::fs::symlink(found.path("store"), sandbox.store()).unwrap();
    look(&sandbox.store(), &before).unwrap();
    done = sandbox.run(["import", "tree", "compose/tree"]);
    assert_eq!(done.code, 0, "{done:?}");
}

/// Moves `x` at a time; returns the generation.
fn import_at(depot: &Depot, dir: &Path, now: i64) -> u64 {
    let signer = Signer { actor: "somebody@here".into(), tool: "cfs test".into(), now };
    let options = Options { threads: 2, started_ns: now.saturating_mul(1_000_000_000) };
    let done = import_dir(depot, dir, &"x".parse().unwrap(), &signer, options, ("", &[]), &mut |_| {});
    done.unwrap().1.unwrap().generation
}

/// Years forward, back before 1970, and to the ends of what numbers can say.
#[test]
fn clocks_that_jump_cost_nothing_that_refs_name() {
    let sandbox = Sandbox::with_store();
    let depot = Depot::open(&sandbox.store()).unwrap();
    let now = 1_800_000_000;
    let mut dice = Dice(3);
    let times = [now, now + 400_000_000, now - 800_000_000, 0, -5, 1 << 40, now];
    for (number, time) in (1..).zip(times) {
        sandbox.write("tree/file", format!("{number}"));
        let options = gc::Options { now: time, ..gc::Options::default() };
        assert_eq!(import_at(&depot, &sandbox.path("tree"), time), number, "at {time}");
        for _ in 0..=dice.below(2) {
            gc::collect(&depot, &options, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
        }
        look(&sandbox.store(), &tell(&sandbox.store())).unwrap();
    }
    // Nothing was old enough in generations, whatever the clock said.
    for back in 0..times.len() {
        let said = sandbox.ok(["cat", &format!("x@{{{back}}}:file")]);
        assert_eq!(said, format!("{}", times.len() - back));
    }
}

/// A write that is cut short by a limit is an error as any other.
#[test]
fn a_short_write_is_noticed() {
    let sandbox = Sandbox::with_config(CONFIG);
    let mut before = publish(&sandbox);
    let mut refused = 0;
    for blocks in [1, 2, 3, 5, 7, 64, 100, 256, 400, 1000] {
        sandbox.write("tree/large", vec![u8::try_from(blocks % 251).unwrap(); 200_000]);
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_cfs"), "import", "tree", "compose/tree"]);
        command.current_dir(sandbox.path("")).stdin(Stdio::null()).env("CFS_STORE", sandbox.store());
        let done = ran(command.env("CFS_CONFIG", sandbox.path("config.toml")));
        if done.code == 0 {
            before = tell(&sandbox.store());
        } else {
            failed_cleanly(
                &sandbox,
                &done,
                &before,
                &["File too large", "disk I/O error", "is full", "too big"],
            );
            refused += 1;
        }
    }
    assert!(refused > 3, "{refused} writes were cut short");
    sandbox.ok(["import", "tree", "compose/tree"]);
    look(&sandbox.store(), &before).unwrap();
}
