//! Random operations, made in a workspace and on ext4.

use std::fs::{File, FileTimes, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::symlink;

use super::*;

/// A sequence of numbers that is the same in every run (Knuth's MMIX constants).
struct Numbers(u64);

impl Numbers {
    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }

    fn of<'a>(&mut self, list: &'a [String]) -> &'a str {
        list.get(self.below(list.len())).map_or("none", String::as_str)
    }
}

/// One operation on a tree, by paths in it.
#[derive(Debug)]
enum Step {
    Write(String, usize),
    Append(String),
    Truncate(String),
    Remove(String),
    RemoveAll(String),
    Rename(String, String),
    Link(String, String),
    Symlink(String),
    Mode(String, u32),
    MakeDir(String),
    Time(String, u64),
    Copy(String, String),
}

impl Step {
    /// Chooses from what is in `dir` now. Few names, so that what is gone comes again.
    fn choose(numbers: &mut Numbers, dir: &Path) -> Self {
        let found = sh_ok(dir, r"find . -printf '%y %P\n' | LC_ALL=C sort");
        let list = |kinds: &str| -> Vec<String> {
            let lines = found.lines().filter_map(|line| line.split_once(' '));
            lines.filter(|line| kinds.contains(line.0)).map(|line| line.1.to_owned()).collect()
        };
        let (files, dirs) = (list("f"), list("d"));
        let mut all = list("fdl");
        all.retain(|path| !path.is_empty());
        let some_dir = numbers.of(&dirs).to_owned();
        let slash = if some_dir.is_empty() { "" } else { "/" };
        let new = format!("{some_dir}{slash}{}", ["a", "b", "c", "d", "e"][numbers.below(5)]);
        let (file, any) = (numbers.of(&files).to_owned(), numbers.of(&all).to_owned());
        match numbers.below(16) {
            0 | 1 => Self::Write(new, numbers.below(5000)),
            2 => Self::Append(file),
            3 => Self::Truncate(file),
            4 => Self::Remove(any),
            5 => Self::RemoveAll(any),
            6..=9 => Self::Rename(any, new),
            10 => Self::Link(file, new),
            11 => Self::Symlink(new),
            12 => Self::Mode(any, [0o644, 0o755][numbers.below(2)]),
            13 => Self::MakeDir(new),
            14 => Self::Time(any, 1_600_000_000 + numbers.below(1000) as u64),
            _ => Self::Copy(file, new),
        }
    }

    fn make(&self, dir: &Path) -> io::Result<()> {
        let at = |path: &str| dir.join(path);
        match self {
            Self::Write(path, len) => fs::write(at(path), path.repeat(*len)),
            Self::Append(path) => File::options().append(true).open(at(path))?.write_all(b"more"),
            Self::Truncate(path) => {
                let file = File::options().write(true).open(at(path))?;
                file.set_len(file.metadata()?.len() / 2)
            }
            Self::Remove(path) => fs::remove_file(at(path)).or_else(|_| fs::remove_dir(at(path))),
            Self::RemoveAll(path) => fs::remove_dir_all(at(path)),
            Self::Rename(from, to) => fs::rename(at(from), at(to)),
            Self::Link(from, to) => fs::hard_link(at(from), at(to)),
            Self::Symlink(path) => symlink("../somewhere", at(path)),
            // A directory's mode is not kept.
            Self::Mode(path, _) if at(path).is_dir() || at(path).is_symlink() => Ok(()),
            Self::Mode(path, mode) => fs::set_permissions(at(path), Permissions::from_mode(*mode)),
            Self::MakeDir(path) => fs::create_dir(at(path)),
            Self::Time(path, second) => {
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(*second);
                File::open(at(path))?.set_times(FileTimes::new().set_modified(time))
            }
            Self::Copy(from, to) => fs::copy(at(from), at(to)).map(drop),
        }
    }
}

#[test]
fn random_operations_are_committed_as_ext4_has_them() {
    if !can_work() {
        return;
    }
    let sandbox = Sandbox::with_store();
    let mut files = Vec::new();
    for top in ["a", "b", "c", "x"] {
        for path in ["a/a", "a/b/c", "b", "c/d/e/f", "c/d/g", "e"] {
            files.push((format!("{top}/{path}"), format!("{top} {path}\n").repeat(200)));
        }
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    import(&sandbox, "source", "staging", &files);
    for seed in 0..4 {
        let mut numbers = Numbers(seed);
        let work = open(&sandbox, "staging", "work", &[]);
        let plain = sandbox.path(format!("plain-{seed}"));
        sandbox.ok(["checkout", "staging", plain.to_str().unwrap()]);
        let mut done = Vec::new();
        for part in 0..4 {
            for _ in 0..40 {
                let step = Step::choose(&mut numbers, &plain);
                let (here, there) = (step.make(&plain), step.make(&work.dir));
                done.push(format!("{step:?}: {}", here.is_ok()));
                assert_eq!(here.is_ok(), there.is_ok(), "{here:?} {there:?} {done:#?}");
            }
            let shown = contents(&work.dir, true);
            assert_eq!(contents(&work.dir, false), contents(&plain, false), "{done:#?}");
            let target = format!("compose/{seed}");
            if part == 1 {
                sandbox.ok(["work", "close", "work"]);
            }
            work.commit(&target);
            assert_eq!(work.status(), (0, Vec::new()));
            if part == 1 {
                sandbox.ok(["work", "open", "staging", "work"]);
                assert_eq!(contents(&work.dir, true), shown, "{done:#?}");
            }
            let out = sandbox.path(format!("out-{seed}-{part}"));
            sandbox.ok(["checkout", &target, out.to_str().unwrap()]);
            assert_eq!(contents(&out, true), shown, "{done:#?}");
        }
    }
}
