//! File lists against a plain walk of the mount, which remembers what it saw when.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{can_serve, ok, put, rsyncd};
use crate::harness::Sandbox;
use crate::harness::repo::Repo;
use crate::mount::{Live, can_mount, mount};

const CONFIG: &str = r#"
[view.production]
gates = ["mtime"]

[[view.production.lists]]
directory = ""
name = "root"

[[view.production.lists]]
directory = "pub/rocky"
name = "rocky"
aliases = ["fullfiletimelist", "fullfiletimelist-rocky-linux"]
previous = "fullfiletimelist-rocky-old"

[[view.production.lists]]
directory = "pub/sig"
name = "sig"
aliases = ["fullfiletimelist"]
"#;
/// The directories with lists, and the names that those have there.
const LISTED: [(&str, &str, &[&str]); 3] = [
    (
        "pub/rocky",
        "rocky",
        &["fullfiletimelist", "fullfiletimelist-rocky-linux", "fullfiletimelist-rocky-old"],
    ),
    ("pub/sig", "sig", &["fullfiletimelist"]),
    ("", "root", &[]),
];

/// What `lstat` says of a path: type with its mark, size, and time.
type Said = (String, u64, i64);

/// Everything that a member of the group finds below a directory of the mount.
fn walk(dir: &Path, top: &[String]) -> BTreeMap<String, Said> {
    let mut found = BTreeMap::new();
    let mut open = vec![(dir.to_owned(), String::new(), false)];
    while let Some((dir, prefix, restricted)) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
            let name = name.into_string().unwrap();
            if name == ".~tmp~" || name.starts_with(".nfs") || prefix.is_empty() && top.contains(&name) {
                continue;
            }
            // What a symlink leads to must be there, and readable for the group.
            let Ok(followed) = fs::metadata(&path) else { continue };
            if followed.permissions().mode() & 0o040 == 0 {
                continue;
            }
            let meta = fs::symlink_metadata(&path).unwrap();
            let kind = if meta.is_dir() {
                "d"
            } else if meta.is_symlink() {
                "l"
            } else {
                "f"
            };
            let closed = meta.permissions().mode() & 0o004 == 0;
            let mark = if closed {
                "-"
            } else if restricted {
                "*"
            } else {
                ""
            };
            found.insert(format!("{prefix}{name}"), (format!("{kind}{mark}"), meta.len(), meta.mtime()));
            if meta.is_dir() {
                open.push((path, format!("{prefix}{name}/"), restricted || closed));
            }
        }
    }
    found
}

/// A list's lines by path, and its checksums.
fn read(list: &Path) -> (BTreeMap<String, Said>, Vec<String>) {
    let text = fs::read_to_string(list).unwrap();
    let body = text.strip_prefix("[Version]\n2\n\n[Files]\n").unwrap().strip_suffix("\n[End]\n").unwrap();
    let (files, sums) = body.split_once("\n[Checksums SHA1]\n").unwrap();
    let line = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [time, kind, size, path] = fields[..] else { panic!("{line}") };
        (path.to_owned(), (kind.to_owned(), size.parse().unwrap(), time.parse().unwrap()))
    };
    assert!(
        files.lines().map(|text| line(text).0).is_sorted_by(|a, b| a.as_bytes() < b.as_bytes()),
        "sorted, each path once"
    );
    (files.lines().map(line).collect(), sums.lines().map(str::to_owned).collect())
}

/// A mirror manager's memory: when it saw first what it sees now.
#[derive(Default)]
struct Memory(BTreeMap<(usize, String), (Said, i64)>);

impl Memory {
    /// Compares all lists of the view with what is seen, and remembers that.
    fn check(&mut self, live: &Live) {
        for (number, (directory, name, others)) in LISTED.iter().enumerate() {
            let dir = live.path("views/production").join(directory);
            let mut own: Vec<String> = others.iter().map(|name| (*name).to_owned()).collect();
            let timelist = format!("fullfiletimelist-{name}");
            own.extend([timelist.clone(), "fullfilelist".into(), format!("imagelist-{name}")]);
            let made = fs::metadata(dir.join(&timelist)).unwrap().mtime();
            let seen = walk(&dir, &own);
            let mut expected = BTreeMap::new();
            let before = std::mem::take(&mut self.0);
            self.0 = before
                .into_iter()
                .filter(|((of, path), _)| *of != number || seen.contains_key(path))
                .collect();
            for (path, said) in &seen {
                let key = (number, path.clone());
                if self.0.get(&key).is_none_or(|(before, _)| before != said) {
                    self.0.insert(key.clone(), (said.clone(), made));
                }
                let time = said.2.max(self.0[&key].1);
                expected.insert(path.clone(), (said.0.clone(), said.1, time));
            }
            let (found, sums) = read(&dir.join(&timelist));
            assert_eq!(found, expected, "{directory}");

            let repomds = seen.keys().filter(|path| path.ends_with("/repomd.xml"));
            let expected: Vec<String> = repomds
                .map(|path| {
                    let said = ok(Command::new("sha1sum").arg(path).current_dir(&dir));
                    format!("{}\t{path}", said.split_whitespace().next().unwrap())
                })
                .collect();
            assert_eq!(sums, expected, "{directory}");

            let paths: String = seen.keys().flat_map(|path| ["./", path, "\n"]).collect();
            assert_eq!(fs::read_to_string(dir.join("fullfilelist")).unwrap(), paths, "{directory}");
            let images = paths.lines().filter(|path| path.rsplit('.').next() == Some("iso"));
            let images: String = images.flat_map(|path| [path, "\n"]).collect();
            assert_eq!(
                fs::read_to_string(dir.join(format!("imagelist-{name}"))).unwrap(),
                images,
                "{directory}"
            );
            for alias in others.iter().filter(|alias| !alias.ends_with("-old")) {
                assert_eq!(fs::read(dir.join(alias)).unwrap(), fs::read(dir.join(&timelist)).unwrap());
                assert_eq!(fs::metadata(dir.join(alias)).unwrap().mtime(), made);
            }
        }
    }
}

/// A release with a repository, an image and links; what differs between states is told by `n`.
fn release(sandbox: &Sandbox, name: &str, n: u64) {
    let dir = sandbox.path(name);
    let file = |path: &str, content: &str, time: u64| put(&dir.join(path), content, 1_700_000_000 + time);
    file("pub/rocky/9.7/BaseOS/x86_64/os/repodata/repomd.xml", &format!("repomd {n}"), 100 + n);
    file(&format!("pub/rocky/9.7/BaseOS/x86_64/os/repodata/{n}-primary.xml.gz"), "primary", 100 + n);
    file("pub/rocky/9.7/BaseOS/x86_64/os/Packages/b/bash-5.1-1.rpm", "bash", 1);
    file(&format!("pub/rocky/9.7/BaseOS/x86_64/os/Packages/b/bash-5.2-{n}.rpm"), "bash", 2);
    file("pub/rocky/9.7/isos/x86_64/Rocky-9.7-x86_64-boot.iso", "iso", 3);
    file("pub/rocky/9.7-beta/x", "beta", 4);
    file("pub/rocky/RPM-GPG-KEY", "key", 5);
    file("pub/sig/9/core/x86_64/core-common/repodata/repomd.xml", "sig repomd", 6);
    let link = |at: &str, target: &str| std::os::unix::fs::symlink(target, dir.join(at)).unwrap();
    link("pub/rocky/9", "9.7");
    link("pub/rocky/9.7/isos/x86_64/Rocky-9-latest-x86_64-boot.iso", "Rocky-9.7-x86_64-boot.iso");
    // Leads somewhere in every other state only.
    link("pub/rocky/newest", &format!("9.7/BaseOS/x86_64/os/repodata/{}-primary.xml.gz", n / 2 * 2));
    // Times of directories are those of the test's run; they need not be the list's.
    sandbox.ok(["import", name, &format!("compose/{name}")]);
}

struct Shown {
    live: Live,
    sandbox: Sandbox,
}

fn shown() -> Shown {
    let sandbox = Sandbox::with_config(CONFIG);
    for n in 0..3 {
        release(&sandbox, &format!("r{n}"), n);
    }
    sandbox.ok(["promote", "compose/r0", "production"]);
    // A list is of what the snapshot has; a symlink on the mount leads to a ghost as well.
    let live = mount(&sandbox, "mnt", &["--grace", "0"]);
    Shown { live, sandbox }
}

fn stamp(path: PathBuf) -> (i64, u64, u64) {
    let meta = fs::metadata(path).unwrap();
    (meta.mtime(), meta.len(), meta.ino())
}

#[test]
fn lists_are_what_a_walk_of_the_mount_finds() {
    if !can_mount() {
        return;
    }
    let shown = shown();
    let mut memory = Memory::default();
    memory.check(&shown.live);
    let list = |name: &str| shown.live.path("views/production/pub").join(name);
    let rocky = || stamp(list("rocky/fullfiletimelist-rocky"));
    let first = rocky();
    assert_eq!(read(&list("rocky/fullfiletimelist-rocky")).1.len(), 1, "a repository");
    assert!(!list("rocky/fullfiletimelist-rocky-old").exists(), "there was none before");

    shown.sandbox.ok(["promote", "compose/r1", "production"]);
    memory.check(&shown.live);
    assert!(rocky().0 > first.0, "{first:?} {:?}", rocky());
    assert_eq!(stamp(list("rocky/fullfiletimelist-rocky-old")).0, first.0);
    // Nothing in there changed.
    let sig = stamp(list("sig/fullfiletimelist-sig"));
    let (second, snapshot) = (rocky(), shown.sandbox.snapshot("production"));
    shown.sandbox.ok(["promote", "compose/r1", "production"]);
    assert_eq!(shown.sandbox.snapshot("production"), snapshot, "nothing changed");
    shown.sandbox.ok(["promote", "compose/r2", "production"]);
    memory.check(&shown.live);
    assert!(rocky().0 > second.0);
    assert_eq!(stamp(list("sig/fullfiletimelist-sig")), sig);
    // Only a part of the view.
    shown.sandbox.ok(["promote", "compose/r0:pub/rocky/9.7", "production:pub/rocky/9.7"]);
    memory.check(&shown.live);

    // Printed as they are, or made for any other directory.
    let printed = shown.sandbox.ok(["filelist", "production:pub/rocky"]);
    assert_eq!(printed, fs::read_to_string(list("rocky/fullfiletimelist-rocky")).unwrap());
    let images = shown.sandbox.ok(["filelist", "production:pub/rocky/9.7/isos", "--format", "imagelist"]);
    assert_eq!(images, "./x86_64/Rocky-9-latest-x86_64-boot.iso\n./x86_64/Rocky-9.7-x86_64-boot.iso\n");
    shown.sandbox.fails(3, ["filelist", "production:pub/rocky/RPM-GPG-KEY"]);
    let closed = Command::new("sh")
        .args(["-c", "\"$0\" filelist production:pub | head -n 1 | cat", env!("CARGO_BIN_EXE_cfs")])
        .env("CFS_STORE", shown.sandbox.store())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(closed.stdout).unwrap(), "[Version]\n");
    assert_eq!(String::from_utf8(closed.stderr).unwrap(), "");
}

#[test]
fn what_is_brought_straight_into_a_view_gets_into_its_lists() {
    if !can_mount() {
        return;
    }
    let shown = shown();
    let mut memory = Memory::default();
    memory.check(&shown.live);
    let list = || stamp(shown.live.path("views/production/pub/rocky/fullfiletimelist-rocky"));
    let first = list();
    shown.sandbox.ok(["import", "r1/pub/rocky/9.7", "production:pub/rocky/9.7"]);
    memory.check(&shown.live);
    let second = list();
    assert!(second.0 > first.0);
    // All of it, without the lists, which are nobody's to bring.
    shown.sandbox.write("r2/pub/rocky/fullfilelist", "another's");
    shown.sandbox.ok(["import", "r2", "production"]);
    memory.check(&shown.live);
    let (third, snapshot) = (list(), shown.sandbox.snapshot("production"));
    assert!(third.0 > second.0);
    shown.sandbox.ok(["import", "r2", "production"]);
    assert_eq!((list(), shown.sandbox.snapshot("production")), (third, snapshot), "nothing changed");

    let repo = Repo::with_packages(&shown.sandbox.path("repo"), 3);
    repo.write();
    shown.sandbox.ok(["sync", "repo", "production:pub/rocky/9.7/extras/x86_64/os"]);
    memory.check(&shown.live);
    assert!(list().0 > third.0);
}

#[test]
fn the_lists_of_an_embargoed_release_say_so() {
    if !can_mount() {
        return;
    }
    let shown = shown();
    let mut memory = Memory::default();
    memory.check(&shown.live);
    let line = |path: &str| {
        let list = shown.live.path("views/production/pub/rocky/fullfiletimelist-rocky");
        read(&list).0.get(path).map(|(kind, ..)| kind.clone())
    };
    let place = "production:pub/rocky/9.7";
    shown.sandbox.ok(["policy", "set", place, "--mode", "0750", "--group", "10005"]);
    memory.check(&shown.live);
    let package = "9.7/BaseOS/x86_64/os/Packages/b/bash-5.1-1.rpm";
    assert_eq!((line("9.7").as_deref(), line(package).as_deref()), (Some("d-"), Some("f*")));
    assert_eq!(line("RPM-GPG-KEY").as_deref(), Some("f"));
    // A promotion in between is another state of the embargoed release.
    shown.sandbox.ok(["promote", "compose/r1", "production"]);
    memory.check(&shown.live);
    assert_eq!(line("9.7").as_deref(), Some("d-"));
    shown.sandbox.ok(["policy", "unset", place]);
    memory.check(&shown.live);
    assert_eq!((line("9.7").as_deref(), line(package).as_deref()), (Some("d"), Some("f")));
    // Nobody but the owner.
    shown.sandbox.ok(["policy", "set", place, "--mode", "0700"]);
    memory.check(&shown.live);
    assert_eq!((line("9.7"), line(package), line("9")), (None, None, None));
}

#[test]
fn the_trigger_of_mirrors_fires_when_something_changed() {
    if !can_serve() {
        return;
    }
    let shown = shown();
    let (_daemon, address) = rsyncd(&shown.sandbox, &["--module", "rocky=pub/rocky"], "rocky");
    let (from, to) =
        (format!("{address}fullfiletimelist-rocky"), shown.sandbox.path("fullfiletimelist-rocky"));
    let fires = || {
        let mut command = Command::new("rsync");
        let said = ok(command.args(["--no-motd", "--dry-run", "--out-format=%n"]).arg(&from).arg(&to));
        if said == "fullfiletimelist-rocky\n" {
            ok(Command::new("rsync").arg("-t").arg(&from).arg(&to));
        }
        said
    };
    assert_eq!(fires(), "fullfiletimelist-rocky\n", "the mirror has none yet");
    assert_eq!(fires(), "");
    for (compose, expected) in
        [("r1", true), ("r1", false), ("r2", true), ("r0", true), ("r1", true), ("r1", false)]
    {
        shown.sandbox.ok(["promote", &format!("compose/{compose}"), "production"]);
        assert_eq!(fires(), if expected { "fullfiletimelist-rocky\n" } else { "" }, "{compose}");
        assert_eq!(fires(), "", "{compose}");
    }
    // Elsewhere in the view.
    shown.sandbox.write("more/x", "x");
    shown.sandbox.ok(["import", "more", "compose/more"]);
    shown.sandbox.ok(["promote", "compose/more", "production:pub/sig/more"]);
    assert_eq!(fires(), "");
    shown.sandbox.ok(["rollback", "production", "--to", "production@{3}"]);
    assert_eq!(fires(), "fullfiletimelist-rocky\n", "a rollback goes forward");
}
