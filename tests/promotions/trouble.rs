//! Promotions that meet trouble: a full disk, others at work at the same time.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::import;
use crate::harness::{Sandbox, ran};

const LISTS: &str = r#"
[view.production]
gates = ["incomplete", "names", "symlinks", "repodata", "mtime"]

[[view.production.lists]]
directory = ""
name = "all"

[view.staging]
gates = ["names", "mtime"]

[[view.staging.lists]]
directory = ""
name = "all"
"#;

/// A small file system at `dir`; it goes with this.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(dir: &'a Path, size: &str) -> Option<Self> {
        fs::create_dir(dir).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(dir);
        let mounted = ran(&mut command).code == 0;
        if !mounted {
            eprintln!("skipped: no file system can be mounted");
        }
        mounted.then(|| Self(dir))
    }

    /// Leaves so many bytes free.
    fn fill(&self, free_bytes: u64) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        let size = file.metadata().unwrap().len();
        file.set_len(size.saturating_sub(free_bytes)).unwrap();
        path
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = ran(Command::new("umount").arg(self.0));
    }
}

/// Whether the lists of a view are what its tree says, as far as names go.
fn lists_are_right(sandbox: &Sandbox, view: &str) {
    let own = ["fullfilelist", "fullfiletimelist-all", "imagelist-all"];
    let text = sandbox.ok(["ls", "-R", view]);
    let mut paths: Vec<String> =
        text.lines().filter(|path| !own.contains(path)).map(|path| format!("./{path}")).collect();
    paths.sort_unstable();
    let list = sandbox.ok(["cat", &format!("{view}:fullfilelist")]);
    assert_eq!(list.lines().collect::<Vec<_>>(), paths, "{view}");
    let times = sandbox.ok(["cat", &format!("{view}:fullfiletimelist-all")]);
    assert_eq!(times.lines().count(), paths.len() + 8, "{view}");
}

#[test]
fn a_full_disk_refuses_a_promotion_and_loses_nothing() {
    let sandbox = Sandbox::new();
    let store = sandbox.store();
    let Some(small) = Small::mount(&store, "16m") else { return };
    sandbox.write("config.toml", LISTS);
    sandbox.ok(["init"]);
    // Names that make lists of a megabyte out of little.
    let names: Vec<String> = (0..4000).map(|number| format!("{number:0>200}")).collect();
    let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    import(&sandbox, "compose/one", &files);
    sandbox.ok(["promote", "compose/one", "production"]);
    files.truncate(3900);
    files.push(("new", ""));
    import(&sandbox, "compose/two", &files);
    let before = sandbox.snapshot("production");
    let mut refused = 0;
    for free_bytes in [0, 8 << 10, 100 << 10, 600 << 10, 1_200 << 10, 1_700 << 10] {
        let ballast = small.fill(free_bytes);
        let ran = sandbox.run(["promote", "compose/two", "production"]);
        fs::remove_file(ballast).unwrap();
        lists_are_right(&sandbox, "production");
        if ran.code == 0 {
            break;
        }
        refused += 1;
        assert!(ran.code == 3 && ran.stderr.contains("error: "), "{free_bytes}: {ran:?}");
        // SQLite does not always say what it is that keeps it from writing.
        let said = ["No space left", "is full", "disk I/O error"].iter().any(|why| ran.stderr.contains(why));
        assert!(said, "{free_bytes}: {ran:?}");
        assert_eq!(sandbox.snapshot("production"), before, "{free_bytes}");
        assert_eq!(fs::read_dir(store.join("tmp")).unwrap().count(), 1, "{free_bytes}: but the gate");
    }
    assert!(refused >= 4, "{refused}");
    sandbox.ok(["promote", "compose/two", "production"]);
    lists_are_right(&sandbox, "production");
    assert_eq!(sandbox.ok(["ls", "production"]).lines().count(), 3904);
}

#[test]
fn promotions_at_once_leave_every_view_with_its_own_lists() {
    let sandbox = Sandbox::with_config(LISTS);
    for number in 0..4 {
        let name = format!("only-{number}");
        import(&sandbox, &format!("compose/{number}"), &[("same", "1"), (&name, "2")]);
    }
    let promote = |number: usize| {
        let mut command = sandbox.cfs();
        let view = ["production", "staging"][number % 2];
        let place = format!("{view}:{}", ["", "below"][number / 2]);
        command.args(["promote", &format!("compose/{number}"), place.trim_end_matches(':')]);
        command.stdout(Stdio::null()).spawn().unwrap()
    };
    for _ in 0..3 {
        let running: Vec<_> = (0..4).map(promote).collect();
        for mut child in running {
            assert!(child.wait().unwrap().success());
        }
        for view in ["production", "staging"] {
            lists_are_right(&sandbox, view);
        }
    }
}
