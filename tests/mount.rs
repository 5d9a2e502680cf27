//! The mount as programs see it: every sentence of `docs/semantics.md` has a test that quotes it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Pid;

use crate::harness::{Ran, Sandbox, installed, ran};

mod attributes;
mod builders;
mod damage;
mod deleted;
mod flips;
mod ghosts;
mod life;
mod modes;
mod namespace;
mod promotions;
mod stores;
mod users;
mod workspaces;

pub use workspaces::can_work;

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/semantics.md");
    one_line(&fs::read_to_string(path).unwrap())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Quotes the document; a sentence that it does not say fails the test.
#[track_caller]
pub fn says(sentence: &str) {
    assert!(document().contains(sentence), "docs/semantics.md does not say: {sentence}");
}

#[test]
fn every_sentence_has_a_test_that_quotes_it() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
    let mut dirs = vec![tests.join("mount"), tests.join("mirrors/http")];
    let mut tests = String::new();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                // A string that goes on in the next line is one string.
                tests += &fs::read_to_string(path).unwrap().replace("\\\n", "");
            }
        }
    }
    let tests = one_line(&tests);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/semantics.md");
    let text = fs::read_to_string(path).unwrap();
    let mut count = 0;
    for item in text.split("\n- ").skip(1) {
        let item = one_line(item.split("\n\n").next().unwrap());
        let quoted = format!("\"{}\"", item.replace('"', "\\\""));
        assert!(tests.contains(&quoted), "no test quotes: {item}");
        count += 1;
    }
    assert!(count > 25, "only {count} sentences found");
}

/// Whether this host mounts at all; says so when not.
pub fn can_mount() -> bool {
    let there = Path::new("/dev/fuse").exists();
    if !there {
        eprintln!("skipped: no /dev/fuse");
    }
    there && (rustix::process::geteuid().is_root() || installed("fusermount3"))
}

/// A mount that is gone at the end of the test, however that ends.
pub struct Live {
    dir: PathBuf,
    daemon: Option<Pid>,
}

impl Drop for Live {
    fn drop(&mut self) {
        // Most tests unmount by themselves; what is left after a failed one is in nobody's way.
        for program in ["umount", "fusermount3"] {
            let flags: &[&str] = if program == "umount" { &["-l"] } else { &["-u", "-z"] };
            let _ = Command::new(program).args(flags).arg(&self.dir).output();
        }
        if std::thread::panicking()
            && let Some(daemon) = self.daemon
        {
            let _ = rustix::process::kill_process(daemon, rustix::process::Signal::KILL);
        }
    }
}

impl Live {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The process that serves it.
    pub fn daemon(&self) -> Pid {
        self.daemon.expect("the mount has said which process serves it")
    }

    /// Whether the process that serves the mount exists; a moment is given to a process that is ending.
    fn daemon_has_ended(&self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        let stat = format!("/proc/{}/stat", self.daemon().as_raw_nonzero());
        loop {
            // A process that nobody has waited for is a zombie.
            let gone = fs::read_to_string(&stat).map_or(true, |text| text.contains(") Z "));
            if gone || Instant::now() > deadline {
                return gone;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Mounts the sandbox's store at `name`, with more arguments for `cfs mount`.
#[track_caller]
pub fn mount(sandbox: &Sandbox, name: &str, more: &[&str]) -> Live {
    let dir = sandbox.path(name);
    // A dead mount may be there.
    let _ = fs::create_dir(&dir);
    let mut live = Live { dir, daemon: None };
    let mut args = vec!["mount", live.dir.to_str().unwrap()];
    args.extend(more);
    let said = sandbox.json(args);
    let process = i32::try_from(said[0]["process"].as_i64().unwrap()).unwrap();
    live.daemon = Pid::from_raw(process);
    live
}

/// Runs a shell script in `dir`.
fn sh(dir: &Path, script: &str) -> Ran {
    ran(Command::new("sh").args(["-ec", script]).current_dir(dir))
}

/// Runs a shell script in `dir` and returns its standard output; it must succeed.
#[track_caller]
pub fn sh_ok(dir: &Path, script: &str) -> String {
    let ran = sh(dir, script);
    assert_eq!(ran.code, 0, "{script}: {ran:?}");
    ran.stdout
}

/// Writes a tree of files below `name` with modes and times as they are kept, and imports it into `target`.
pub fn import(sandbox: &Sandbox, name: &str, target: &str, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = sandbox.write(&format!("{name}/{path}"), content);
        let mode = if content.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + content.len() as u64);
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }
    sandbox.ok(["import", name, target]);
}

/// What the mounts of the sandbox have logged.
fn logs(sandbox: &Sandbox) -> String {
    let all = fs::read_dir(sandbox.store().join("run")).unwrap().map(|entry| entry.unwrap().path());
    let logs = all.filter(|path| path.extension().is_some_and(|ending| ending == "log"));
    logs.map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// Everything below a directory, as `find` tells it.
#[track_caller]
fn listing(dir: &Path) -> BTreeMap<String, String> {
    // Directories have times of their own, so theirs are left out.
    let text = sh_ok(dir, r"find . -type d -printf '%P %y %m\n' -o -printf '%P %y %m %s %T@ %l\n'");
    let line = |line: &str| line.split_once(' ').map(|(path, rest)| (path.to_owned(), rest.to_owned()));
    text.lines().filter_map(line).collect()
}
