//! `cfs gc`: what it deletes and what it leaves, with real processes at work, and on a full disk.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::crash::{Dice, check};
use crate::harness::repo::Repo;
use crate::harness::{Sandbox, ran};
use crate::mirrors::http;
use crate::mount::{can_mount, mount};

/// Keeps nothing but what refs name, and waits for nobody.
const AT_ONCE: [&str; 8] = ["gc", "--grace", "0", "--keep", "0", "--keep-generations", "1", "--yes"];

/// Collects until nothing is left to do and returns what was deleted in all.
fn collect(sandbox: &Sandbox) -> u64 {
    (0..3).map(|_| sandbox.json(AT_ONCE)[0]["deleted_bytes"].as_u64().unwrap()).sum()
}

/// A ref with some generations that share a file; each has one of 100 kB of its own.
fn generations(count: u8) -> Sandbox {
    let sandbox = Sandbox::with_store();
    sandbox.write("tree/shared", "the same in all");
    for number in 0..count {
        sandbox.write("tree/own", vec![number; 100_000]);
        sandbox.ok(["import", "tree", "release"]);
    }
    sandbox
}

fn blobs(sandbox: &Sandbox) -> usize {
    let dirs = fs::read_dir(sandbox.store().join("blobs")).unwrap();
    dirs.map(|dir| fs::read_dir(dir.unwrap().path()).unwrap().count()).sum()
}

#[test]
fn what_refs_named_goes_when_it_is_old_and_what_they_name_stays() {
    let sandbox = generations(4);
    let (newest, old) = (sandbox.snapshot("release"), sandbox.snapshot("release@{2}"));
    let listing = sandbox.listing("release");
    let before = blobs(&sandbox);

    let plain = sandbox.json(["gc"]);
    assert_eq!(plain[0]["condemned"]["snapshots"], 0, "history stays for a while: {plain:?}");

    let dry = &sandbox.json(AT_ONCE.into_iter().chain(["--dry-run"]))[0];
    assert_eq!((&dry["condemned"]["snapshots"], &dry["deleted"]["snapshots"]), (&3.into(), &0.into()));
    assert_eq!(sandbox.snapshot("release@{2}"), old, "a dry run changes nothing");

    let first = &sandbox.json(AT_ONCE)[0];
    assert_eq!((&first["condemned"]["snapshots"], &first["deleted"]["blobs"]), (&3.into(), &0.into()));
    assert_eq!((sandbox.snapshot("release@{2}"), blobs(&sandbox)), (old.clone(), before));
    let second = &sandbox.json(AT_ONCE)[0];
    assert_eq!((&second["deleted"]["snapshots"], &second["deleted"]["blobs"]), (&3.into(), &3.into()));
    assert!(second["deleted_bytes"].as_u64().unwrap() > 300_000, "{second}");
    assert_eq!((sandbox.snapshot("release"), sandbox.listing("release")), (newest, listing));
    assert_eq!(blobs(&sandbox), before - 3);
    check(&sandbox.store());

    let gone = sandbox.fails(3, ["show", "release@{2}"]);
    assert!(gone.contains(&old) && gone.contains("collected"), "{gone}");
    assert!(sandbox.ok(["log", "release"]).contains(&old[..12]), "that it was is not forgotten");
    sandbox.write("tree/own", vec![1; 100_000]);
    sandbox.ok(["import", "tree", "release"]);
    assert!(collect(&sandbox) > 100_000, "what came back is there, and what it replaced is not");
    check(&sandbox.store());
}

#[test]
fn what_was_read_of_collected_metadata_is_forgotten() {
    let sandbox = Sandbox::with_store();
    let import = |count: usize| -> Vec<u8> {
        let dir = sandbox.path("repo");
        let primary = Repo::with_packages(&dir, count).write();
        sandbox.ok(["import", "repo", "release"]);
        blake3::hash(&fs::read(dir.join(primary)).unwrap()).as_bytes().to_vec()
    };
    let (gone, kept) = (import(3), import(4));
    let remembers = |metadata: &[u8]| -> bool {
        let cache = rusqlite::Connection::open(sandbox.store().join("cache.db")).unwrap();
        cache.prepare("SELECT 1 FROM extracts WHERE hash = ?").unwrap().exists([metadata]).unwrap()
    };
    assert!(remembers(&gone) && remembers(&kept));
    assert!(collect(&sandbox) > 0);
    assert!(!remembers(&gone) && remembers(&kept));
}

#[test]
fn a_pin_keeps_a_snapshot_until_it_is_taken_back() {
    let sandbox = generations(3);
    let old = sandbox.snapshot("release@{2}");
    sandbox.ok(["pin", "release@{2}", "-m", "release media"]);
    assert!(collect(&sandbox) > 100_000);
    assert!(sandbox.ok(["pin"]).contains("release media"));
    assert_eq!(sandbox.ok(["cat", &format!("{old}:own")]).len(), 100_000);
    sandbox.ok(["unpin", &old]);
    assert!(sandbox.fails(1, ["unpin", &old]).contains("not pinned"));
    assert!(collect(&sandbox) > 100_000);
    sandbox.fails(3, ["pin", &old]);
}

#[test]
fn a_tenth_of_the_store_is_not_deleted_without_a_word() {
    let sandbox = generations(4);
    let without_yes = &AT_ONCE[..7];
    sandbox.ok(without_yes);
    let before = blobs(&sandbox);
    let refused = sandbox.fails(1, without_yes);
    assert!(refused.contains("more than 10 %") && refused.contains("--yes"), "{refused}");
    assert_eq!(blobs(&sandbox), before);
    sandbox.ok(AT_ONCE);
    assert!(blobs(&sandbox) < before);
}

#[test]
fn what_no_commit_ever_named_is_found_on_disk() {
    let sandbox = generations(1);
    let store = sandbox.store();
    let stray = store.join("blobs/00").join("0".repeat(62));
    fs::write(&stray, "left by a crash").unwrap();
    let commit = store.join("commits").join("0".repeat(64));
    fs::write(&commit, "left by a crash").unwrap();
    sandbox.ok(AT_ONCE);
    assert!(stray.exists() && commit.exists(), "they may belong to somebody who is at work");
    sandbox.ok(AT_ONCE);
    assert!(!stray.exists() && !commit.exists());
    check(&store);
}

#[test]
fn whoever_is_inside_a_snapshot_keeps_it() {
    if !can_mount() {
        return;
    }
    let sandbox = generations(3);
    let old = sandbox.snapshot("release@{2}");
    let live = mount(&sandbox, "mnt", &["--grace", "0"]);
    let inside = live.path(&format!("snapshots/{old}"));
    // The shell stands in the directory, and its file is opened only later.
    let mut shell = Command::new("sh");
    shell.args(["-c", "read line; cat own; echo; ls"]).current_dir(&inside);
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    assert!(collect(&sandbox) >= 100_000, "the one that nobody is in goes");
    drop(shell.stdin.take());
    let said = shell.wait_with_output().unwrap();
    assert!(said.status.success(), "{said:?}");
    assert_eq!(said.stdout.len(), 100_000 + "\nown\nshared\n".len());
    sandbox.ok(["umount", "mnt"]);
    assert!(collect(&sandbox) >= 100_000, "nobody is in it any more");
    sandbox.fails(3, ["show", &old]);
}

#[test]
fn what_an_export_shows_of_the_past_stays() {
    let sandbox = generations(3);
    let served = http::serve(&sandbox, &["--view", "release", "--grace", "1"]);
    collect(&sandbox);
    for back in 1..3 {
        sandbox.ok(["show", &format!("release@{{{back}}}")]);
    }
    drop(served);
    collect(&sandbox);
    sandbox.fails(3, ["show", "release@{1}"]);
}

#[test]
fn a_workspace_keeps_what_it_was_opened_on() {
    let sandbox = generations(3);
    if !crate::mount::can_work() {
        return;
    }
    let old = sandbox.snapshot("release@{2}");
    fs::create_dir(sandbox.path("work")).unwrap();
    sandbox.ok(["work", "open", "release@{2}", "work"]);
    sandbox.ok(["work", "close", "work"]);
    collect(&sandbox);
    assert_eq!(sandbox.snapshot(&old), old);
    sandbox.ok(["work", "open", "release@{2}", "work"]);
    assert_eq!(fs::read(sandbox.path("work/own")).unwrap().len(), 100_000);
    sandbox.ok(["work", "discard", "work"]);
}

/// Imports a tree that changes, and promotes it, until `end`; returns how often.
fn import_until(sandbox: &Sandbox, who: u64, end: Instant) -> u64 {
    let mut dice = Dice(who);
    let mut count = 0;
    while Instant::now() < end {
        for file in 0..6 {
            // Few contents, so that some of what is imported was garbage a moment ago.
            let content = vec![u8::try_from(dice.below(100)).unwrap(); 5000];
            sandbox.write(&format!("tree{who}/dir{}/{file}", dice.below(3)), content);
        }
        // What the mount never shows is not held by it.
        let content = vec![u8::try_from(100 + dice.below(100)).unwrap(); 5000];
        sandbox.write(&format!("other{who}/file"), content);
        sandbox.ok(["import", &format!("other{who}"), &format!("other/{who}")]);
        let (tree, target) = (format!("tree{who}"), format!("compose/{who}"));
        sandbox.ok(["import", &tree, &target]);
        sandbox.ok(["promote", &target, "release"]);
        count += 1;
    }
    count
}

/// Imports, promotions, readers of a mount, and collections that wait for nobody, all at once, some of them
/// killed: nobody but the killed ever fails.
#[test]
fn collections_race_with_everybody() {
    let sandbox = &Sandbox::with_store();
    let live = can_mount().then(|| {
        sandbox.write("tree0/file", "first");
        sandbox.ok(["import", "tree0", "compose/0"]);
        sandbox.ok(["promote", "compose/0", "release"]);
        mount(sandbox, "mnt", &["--grace", "0"])
    });
    let end = Instant::now() + Duration::from_secs(8);
    let going = || Instant::now() < end;
    let collector = || {
        let (mut dice, mut deleted, mut killed) = (Dice(9), 0, 0);
        while going() {
            let mut command = sandbox.cfs();
            let mut child =
                command.args(AT_ONCE).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            if dice.below(3) == 0 {
                std::thread::sleep(Duration::from_millis(dice.below(40)));
                let _ = child.kill();
                child.wait().unwrap();
                killed += 1;
            } else {
                assert!(child.wait().unwrap().success());
                let done: Value = sandbox.json(AT_ONCE).remove(0);
                deleted += done["deleted"]["blobs"].as_u64().unwrap();
            }
        }
        (deleted, killed)
    };
    let reader = || {
        let Some(live) = &live else { return 0 };
        let (dir, mut read) = (live.path("views/release"), 0);
        while going() {
            // One that goes through a directory finds everything in it, whatever is promoted and collected.
            let done = ran(Command::new("sh")
                .args(["-ec", "find . -type f -exec cat {} + | wc -c"])
                .current_dir(&dir));
            assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
            read += 1;
        }
        read
    };
    let (imports, (deleted, killed), read) = std::thread::scope(|scope| {
        let importers = [1, 2].map(|who| scope.spawn(move || import_until(sandbox, who, end)));
        let (collector, reader) = (scope.spawn(collector), scope.spawn(reader));
        let imports: u64 = importers.into_iter().map(|importer| importer.join().unwrap()).sum();
        (imports, collector.join().unwrap(), reader.join().unwrap())
    });
    println!(
        "{imports} imports and promotions, {read} readings, {deleted} blobs deleted, {killed} collections killed"
    );
    assert!(imports > 0 && deleted > 0 && killed > 0);
    check(&sandbox.store());
    if live.is_some() {
        sandbox.ok(["umount", "mnt"]);
    }
    collect(sandbox);
    check(&sandbox.store());
}

/// A file system that is gone at the end of the test.
struct Small<'a>(&'a Path);

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).output();
    }
}

#[test]
fn a_full_disk_can_be_made_empty() {
    let sandbox = Sandbox::new();
    let dir = sandbox.store();
    fs::create_dir(&dir).unwrap();
    let mounted = ran(Command::new("mount").args(["-t", "tmpfs", "-o", "size=48m", "none"]).arg(&dir));
    if mounted.code != 0 {
        eprintln!("skipped: no file system can be mounted");
        return;
    }
    let _small = Small(&dir);
    sandbox.ok(["init"]);
    let mut count = 0_u8;
    loop {
        sandbox.write("tree/own", vec![count; 3_000_000]);
        if sandbox.run(["import", "tree", "release"]).code != 0 {
            break;
        }
        count += 1;
        assert!(count < 30, "the disk does not get full");
    }
    // To the last byte.
    let _ = fs::write(dir.join("filler"), vec![0; 48 << 20]);
    let free = || rustix::fs::statvfs(&dir).unwrap().f_bavail;
    assert_eq!(free(), 0);
    let mut args = AT_ONCE.to_vec();
    let refused = sandbox.fails(3, &args);
    assert!(refused.contains("full") || refused.contains("No space"), "{refused}");
    args.push("--emergency");
    sandbox.ok(&args);
    sandbox.ok(&args);
    let freed = free() * rustix::fs::statvfs(&dir).unwrap().f_frsize;
    assert!(freed > u64::from(count - 2) * 3_000_000, "{freed} bytes are free of {count} imports");
    check(&dir);
    fs::remove_file(dir.join("filler")).unwrap();
    sandbox.ok(["import", "tree", "release"]);
    sandbox.ok(["gc"]);
    assert!(dir.join("ballast").exists(), "room is reserved again");
}
