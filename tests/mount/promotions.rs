//! What programs see while refs move.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

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

const DIRS: usize = 12;
const FILES: usize = 8;
const GENERATIONS: usize = 5;

/// Reads every file below an open directory by steps from it, and returns the words found.
fn words_below(dir: &File) -> Vec<String> {
    let mut words = Vec::new();
    for n in 0..DIRS {
        let below = openat(dir, format!("d{n}"), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let below = File::from(below);
        words.extend((0..FILES).map(|m| read_in(&below, &format!("f{m}"))));
    }
    words
}

/// One walk of the ref `staging` in the way of the `reader`th reader; the content of every file seen.
fn walk(live: &Live, reader: usize) -> Vec<String> {
    let script = match reader % 4 {
        0 => {
            let dir = File::open(live.path("views/staging")).unwrap();
            return words_below(&dir);
        }
        1 => "cd views/staging && find . -type f -exec cat {} + | tr ' ' '\\n'",
        2 => "cd current/staging/ && grep -rh . . | tr ' ' '\\n'",
        _ => "tar cf - -C views/staging . | tar xOf - | tr ' ' '\\n'",
    };
    sh_ok(&live.dir, script).lines().filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[test]
fn eight_readers_during_fifty_promotions_see_one_generation_each_time() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_store();
    for generation in 0..GENERATIONS {
        // A few directories are shared by generations, so that unchanged ones are met, too.
        let files: Vec<(String, String)> = (0..DIRS)
            .flat_map(|d| (0..FILES).map(move |f| (format!("d{d}/f{f}"), format!("g{generation} "))))
            .collect();
        let files: Vec<(&str, &str)> =
            files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        import(&sandbox, &format!("g{generation}"), &format!("compose/g{generation}"), &files);
    }
    sandbox.ok(["promote", "compose/g0", "staging"]);
    let live = mount(&sandbox, "mnt", &[]);
    says(
        "A walk that begins in a directory of a snapshot and stays in it sees exactly one generation, however \
         many promotions happen meanwhile.",
    );
    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..8)
            .map(|reader| {
                let (live, done) = (&live, &done);
                scope.spawn(move || {
                    let mut seen = Vec::new();
                    while !done.load(Ordering::Relaxed) || seen.is_empty() {
                        let words = walk(live, reader);
                        assert_eq!(words.len(), DIRS * FILES, "reader {reader}");
                        let first = words[0].trim().to_owned();
                        assert!(words.iter().all(|word| word.trim() == first), "reader {reader}: {words:?}");
                        seen.push(first);
                    }
                    seen
                })
            })
            .collect();
        for flip in 1..=50 {
            let ran = sandbox.run(["promote", &format!("compose/g{}", flip % GENERATIONS), "staging"]);
            if ran.code != 0 {
                done.store(true, Ordering::Relaxed);
                panic!("{ran:?}");
            }
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect::<Vec<_>>()
    });
    let different: std::collections::BTreeSet<&String> = seen.iter().collect();
    assert!(different.len() > 1, "{} walks saw only {different:?}", seen.len());
    let logs = fs::read_dir(sandbox.store().join("run")).unwrap();
    for log in logs.map(|entry| entry.unwrap().path()) {
        assert_eq!(fs::read_to_string(&log).unwrap(), "", "nothing went wrong: {}", log.display());
    }
}
