//! What programs see while refs move.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{Mode, OFlags, openat};

use super::*;

/// The content of the file `name` in an open directory, looked up there.
pub(super) fn read_in(dir: &File, name: &str) -> String {
    let mut text = String::new();
    let file = openat(dir, name, OFlags::RDONLY, Mode::empty()).unwrap();
    File::from(file).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn every_mount_shows_the_new_snapshot_when_the_command_returns() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_store();
    for n in 0..4 {
        import(&sandbox, &n.to_string(), &format!("compose/{n}"), &[("dir/file", &format!("content {n}"))]);
    }
    sandbox.ok(["promote", "compose/0", "staging"]);
    let mounts =
        [mount(&sandbox, "a", &[]), mount(&sandbox, "b", &[]), mount(&sandbox, "c", &["--view", "staging"])];
    says(
        "When `cfs promote`, `cfs rollback` or `cfs import` has returned, every path that is then walked \
         through a ref's name leads to the new snapshot, in all mounts of the store on the host.",
    );
    says("Any number of mounts of one store exist at a time.");
    let paths = [
        mounts[0].path("views/staging/dir/file"),
        mounts[0].path("current/staging/dir/file"),
        mounts[1].path("views/staging/dir/file"),
        mounts[1].path("at/staging/29991231T235959Z/dir/file"),
        mounts[2].path("dir/file"),
    ];
    let show = |expected: &str| {
        for path in &paths {
            assert_eq!(fs::read_to_string(path).unwrap(), expected, "{}", path.display());
        }
    };
    show("content 0");
    for round in 0..12 {
        let n = (round + 1) % 4;
        sandbox.ok(["promote", &format!("compose/{n}"), "staging"]);
        show(&format!("content {n}"));
    }
    sandbox.ok(["rollback", "staging"]);
    show("content 3");
    import(&sandbox, "4", "staging", &[("dir/file", "imported")]);
    show("imported");
    // A ref that did not exist.
    assert!(fs::metadata(mounts[0].path("views/production")).is_err());
    sandbox.ok(["promote", "staging", "production"]);
    assert_eq!(fs::read_to_string(mounts[0].path("views/production/dir/file")).unwrap(), "imported");
}

#[test]
fn whoever_is_inside_stays_inside() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_store();
    let old =
        [("dir/seen", "old seen"), ("dir/unseen", "old unseen"), ("dir/sub/deep", "old deep"), ("same", "s")];
    import(&sandbox, "old", "staging", &old);
    import(&sandbox, "new", "compose/new", &[("dir/seen", "new"), ("dir/fresh", "new"), ("same", "s")]);
    let live = mount(&sandbox, "mnt", &[]);
    let dir = File::open(live.path("views/staging/dir")).unwrap();
    assert_eq!(read_in(&dir, "seen"), "old seen");
    let mut file = File::open(live.path("views/staging/dir/seen")).unwrap();
    let mut listing = fs::read_dir(live.path("views/staging/dir")).unwrap();
    let before = sandbox.snapshot("staging");
    let inode = fs::metadata(live.path("views/staging/same")).unwrap().ino();
    // A shell whose working directory is inside, and who goes on when it reads a line.
    let mut shell = Command::new("sh")
        .args(["-c", "read go; cat unseen sub/deep; ls; ls .. ; test -e fresh || echo no fresh"])
        .current_dir(live.path("views/staging/dir"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();

    sandbox.ok(["promote", "compose/new", "staging"]);
    assert_eq!(fs::read_to_string(live.path("views/staging/dir/seen")).unwrap(), "new");
    says(
        "A process whose working directory or open directory is inside the old snapshot goes on there, including \
         names that it has not looked up before.",
    );
    says(
        "Whoever entered through `views/` is below `generations/` after a promotion, and `getcwd` says so; `..` \
         leads to the old snapshot.",
    );
    let cwd = fs::read_link(format!("/proc/{}/cwd", shell.id())).unwrap();
    assert_eq!(cwd, live.path("generations/staging/1/dir"));
    std::io::Write::write_all(&mut shell.stdin.take().unwrap(), b"go\n").unwrap();
    let said = shell.wait_with_output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said, "old unseenold deepseen\nsub\nunseen\ndir\nsame\nno fresh\n");
    assert_eq!(read_in(&dir, "unseen"), "old unseen");
    assert_eq!(read_in(&dir, "sub/deep"), "old deep");
    assert_eq!(read_in(&dir, "../dir/seen"), "old seen");
    assert!(openat(&dir, "fresh", OFlags::RDONLY, Mode::empty()).is_err());

    says("An open file keeps its content.");
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "old seen");

    says("A directory that is open lists what it held when it was opened.");
    let mut names: Vec<_> = listing.by_ref().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["seen", "sub", "unseen"]);

    says("The old snapshot stays at snapshots/ and at/.");
    assert_eq!(fs::read_to_string(live.path(&format!("snapshots/{before}/dir/seen"))).unwrap(), "old seen");

    says("An unchanged file keeps its inode over a promotion, so its cached pages stay good.");
    assert_eq!(fs::metadata(live.path("views/staging/same")).unwrap().ino(), inode);
}

#[test]
fn whoever_is_below_the_top_of_one_ref_stays_inside() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_store();
    import(&sandbox, "one", "staging", &[("dir/sub/file", "one"), ("other/file", "one"), ("top", "one")]);
    import(&sandbox, "two", "compose/two", &[("dir/sub/file", "two"), ("dir/new", "two"), ("top", "two")]);
    let live = mount(&sandbox, "mnt", &["--view", "staging"]);
    assert_eq!(fs::read_to_string(live.path("other/file")).unwrap(), "one");
    assert_eq!(fs::read_to_string(live.path("top")).unwrap(), "one");
    assert!(fs::metadata(live.path("dir/new")).is_err());
    let dir = File::open(live.path("dir")).unwrap();
    let before = sandbox.snapshot("staging");
    sandbox.ok(["promote", "compose/two", "staging"]);
    says(
        "With `--view REF` that holds for whoever is in a directory below the mount's top, and the top itself \
         follows.",
    );
    for (path, expected) in [("dir/sub/file", "two"), ("dir/new", "two"), ("top", "two")] {
        assert_eq!(fs::read_to_string(live.path(path)).unwrap(), expected, "{path}");
    }
    assert_eq!(read_in(&dir, "sub/file"), "one");
    assert_eq!(read_in(&dir, "../top"), "one");
    assert_eq!(read_in(&dir, "../other/file"), "one");
    let place = fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&dir))).unwrap();
    assert_eq!(place, live.path(&format!(".cfs-former/{before}/dir")));
    assert_eq!(sh_ok(&live.dir, "ls -A"), "dir\ntop\n");
}

#[test]
fn mounts_that_are_not_told_look_by_themselves() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_store();
    import(&sandbox, "old", "staging", &[("file", "old")]);
    import(&sandbox, "new", "compose/new", &[("file", "new")]);
    let live = mount(&sandbox, "mnt", &[]);
    let file = live.path("views/staging/file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    for entry in fs::read_dir(sandbox.store().join("run")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "bell") {
            fs::remove_file(path).unwrap();
        }
    }
    says("A mount notices a move of a ref within a second even when nobody tells it, as on other hosts.");
    sandbox.ok(["promote", "compose/new", "staging"]);
    let began = Instant::now();
    while fs::read_to_string(&file).unwrap() == "old" {
        assert!(began.elapsed() < Duration::from_mins(1), "it never notices");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "new");
}

#[test]
fn dead_and_stopped_mounts_do_not_keep_a_promotion_waiting() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_store();
    import(&sandbox, "one", "staging", &[("file", "one")]);
    import(&sandbox, "two", "compose/two", &[("file", "two")]);
    let [dead, stopped, live] = ["dead", "stopped", "live"].map(|name| mount(&sandbox, name, &[]));
    for live in [&dead, &stopped, &live] {
        assert_eq!(fs::read_to_string(live.path("views/staging/file")).unwrap(), "one");
    }
    rustix::process::kill_process(dead.daemon(), rustix::process::Signal::KILL).unwrap();
    assert!(dead.daemon_has_ended());
    rustix::process::kill_process(stopped.daemon(), rustix::process::Signal::STOP).unwrap();
    let ran = sandbox.run(["promote", "compose/two", "staging"]);
    rustix::process::kill_process(stopped.daemon(), rustix::process::Signal::CONT).unwrap();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stderr.matches("may still show the old snapshot").count(), 1, "{ran:?}");
    assert_eq!(fs::read_to_string(live.path("views/staging/file")).unwrap(), "two");
    let began = Instant::now();
    while fs::read_to_string(stopped.path("views/staging/file")).unwrap() == "one" {
        assert!(began.elapsed() < Duration::from_mins(1), "it never notices");
    }
    let ran = sandbox.run(["rollback", "staging"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert_eq!(fs::read_to_string(stopped.path("views/staging/file")).unwrap(), "one");
}

#[test]
fn a_mount_that_its_path_does_not_reach_goes_on_too() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_store();
    import(&sandbox, "zero", "staging", &[("dir/file", "0")]);
    import(&sandbox, "one", "compose/1", &[("dir/file", "1")]);
    import(&sandbox, "two", "compose/2", &[("dir/file", "2")]);
    let live = mount(&sandbox, "mnt", &[]);
    let over = sandbox.path("over");
    fs::create_dir(&over).unwrap();
    let top = File::open(&live.dir).unwrap();
    assert_eq!(read_in(&top, "views/staging/dir/file"), "0");
    // Hidden by another mount, where this host permits that.
    let is_hidden = ran(Command::new("mount").arg("--bind").args([&over, &live.dir])).code == 0;
    sandbox.ok(["promote", "compose/1", "staging"]);
    assert_eq!(read_in(&top, "views/staging/dir/file"), "1");
    if is_hidden {
        assert_eq!(ran(Command::new("umount").arg(&live.dir)).code, 0);
    }
    sandbox.ok(["umount", "--lazy", "mnt"]);
    sandbox.ok(["promote", "compose/2", "staging"]);
    assert_eq!(read_in(&top, "views/staging/dir/file"), "2");
    drop(top);
    assert!(live.daemon_has_ended());
}

#[test]
fn a_path_through_current_stays_valid() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_store();
    import(&sandbox, "old", "staging", &[("dir/file", "old")]);
    import(&sandbox, "new", "compose/new", &[("dir/file", "new")]);
    let live = mount(&sandbox, "mnt", &[]);
    let script = "cd current/staging/dir; read go; pwd -P; cat \"$(pwd -P)/file\"";
    let mut shell = Command::new("sh")
        .args(["-ec", script])
        .current_dir(&live.dir)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // It may still be on its way in; wait until it is there.
    let cwd = format!("/proc/{}/cwd", shell.id());
    while !fs::read_link(&cwd).unwrap().ends_with("dir") {
        std::thread::yield_now();
    }
    let inside = live.path(&format!("snapshots/{}/dir", sandbox.snapshot("staging")));
    sandbox.ok(["promote", "compose/new", "staging"]);
    assert_eq!(fs::read_to_string(live.path("current/staging/dir/file")).unwrap(), "new");
    std::io::Write::write_all(&mut shell.stdin.take().unwrap(), b"go\n").unwrap();
    let said = String::from_utf8(shell.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(said, format!("{}\nold", inside.display()));
}

pub(super) const DIRS: usize = 12;
pub(super) const FILES: usize = 8;
pub(super) const GENERATIONS: usize = 5;

/// Reads every file below an open directory by steps from it, and returns the words found.
pub(super) fn words_below(dir: &File) -> Vec<String> {
    let mut words = Vec::new();
    for n in 0..DIRS {
        let below = openat(dir, format!("d{n}"), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let below = File::from(below);
        words.extend((0..FILES).map(|m| read_in(&below, &format!("f{m}"))));
    }
    words
}

/// One walk of the ref `staging` in the way of the `reader`th reader; the content of every file seen.
pub(super) fn walk(live: &Live, reader: usize) -> Vec<String> {
    let script = match reader % 4 {
        0 => {
            let dir = File::open(live.path("views/staging")).unwrap();
            return words_below(&dir);
        }
        1 => "cd views/staging && find . -type f -exec cat {} + | tr ' ' '\\n'",
        2 => "cd current/staging/ && grep -rh . . | tr ' ' '\\n'",
        _ => "tar cf - --hard-dereference -C views/staging . | tar xOf - | tr ' ' '\\n'",
    };
    sh_ok(&live.dir, script).lines().filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Makes the refs `compose/g0`, `compose/g1` … whose files all tell the generation.
pub(super) fn generations(sandbox: &Sandbox) {
    for generation in 0..GENERATIONS {
        let files: Vec<(String, String)> = (0..DIRS)
            .flat_map(|d| (0..FILES).map(move |f| (format!("d{d}/f{f}"), format!("g{generation} "))))
            .collect();
        let files: Vec<(&str, &str)> =
            files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        import(sandbox, &format!("g{generation}"), &format!("compose/g{generation}"), &files);
    }
}

#[test]
fn a_mount_that_hangs_keeps_nobody_from_promoting() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_store();
    for n in 0..3 {
        import(&sandbox, &n.to_string(), &format!("compose/{n}"), &[("file", &format!("content {n}"))]);
    }
    sandbox.ok(["promote", "compose/0", "staging"]);
    let (hangs, lives) = (mount(&sandbox, "hangs", &[]), mount(&sandbox, "lives", &[]));
    rustix::process::kill_process(hangs.daemon(), rustix::process::Signal::STOP).unwrap();
    for n in 1..3 {
        let ran = sandbox.run(["promote", &format!("compose/{n}"), "staging"]);
        assert!(ran.code == 0 && ran.stderr.contains("may still show the old snapshot"), "{ran:?}");
        assert_eq!(fs::read_to_string(lives.path("views/staging/file")).unwrap(), format!("content {n}"));
    }
    rustix::process::kill_process(hangs.daemon(), rustix::process::Signal::CONT).unwrap();
    // Those who rang have gone; it looks by itself.
    while fs::read_to_string(hangs.path("views/staging/file")).unwrap() != "content 2" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
