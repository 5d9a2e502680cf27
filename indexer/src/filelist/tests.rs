use std::collections::{BTreeMap, BTreeSet};

use cfs_fs::digest::BlobId;
use cfs_fs::edit::build;
use cfs_fs::name::{Name, TreePath};
use cfs_fs::tree::{Entry, NodeMap, Nodes, Stage, resolve};
use proptest::prelude::*;

use super::change::{changes, rewrite};
use super::line::Sha1;
use super::scan::Scope;
use super::splice::{ReadAt, Source, apply};
use super::write::{Outs, write};
use super::*;

/// What stands at a path: the model of a tree.
#[derive(Debug, Clone, PartialEq)]
enum Thing {
    File { content: String, mtime: i64 },
    Link { target: String, mtime: i64 },
    Dir { mtime: i64 },
}

/// A tree, every directory named, and the modes of some paths.
#[derive(Debug, Clone, Default)]
struct Tree {
    things: BTreeMap<String, Thing>,
    modes: BTreeMap<String, u16>,
}

impl Tree {
    fn item(&self, stage: &mut Stage<'_>) -> Item {
        let items = self.things.iter().filter_map(|(path, thing)| {
            let item = match thing {
                Thing::File { content, mtime } => {
                    let blob = BlobId::of(content.as_bytes());
                    let size_bytes = content.len() as u64;
                    Item { mtime: *mtime, kind: Kind::File { blob, size_bytes, executable: false } }
                }
                Thing::Link { target, mtime } => {
                    Item { mtime: *mtime, kind: Kind::Symlink { target: target.as_str().into() } }
                }
                Thing::Dir { .. } => return None,
            };
            Some((TreePath::new(path).unwrap(), item))
        });
        let things = &self.things;
        build(stage, items, &mut |path: &TreePath, _: &[Entry]| match things.get(path.as_str()) {
            Some(Thing::Dir { mtime }) => *mtime,
            _ => 1,
        })
        .unwrap()
    }

    fn rules(&self) -> Modes {
        self.modes.iter().map(|(path, mode)| (TreePath::new(path).unwrap(), *mode)).collect()
    }

    fn mode(&self, path: &str) -> u16 {
        let usual = if matches!(self.things.get(path), Some(Thing::File { .. })) { 0o644 } else { 0o755 };
        self.modes.get(path).copied().unwrap_or(usual)
    }

    /// What a walker without any right of root that is in the group sees: type and size by path.
    fn seen(&self, directory: &str, own: &[&str]) -> BTreeMap<String, (String, u64)> {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let mut seen = BTreeMap::new();
        for (path, thing) in &self.things {
            let Some(below) = path.strip_prefix(&prefix) else { continue };
            let parents: Vec<&str> =
                below.match_indices('/').map(|(at, _)| &path[..prefix.len() + at]).collect();
            let names: Vec<&str> = below.split('/').collect();
            let hidden = parents.iter().any(|parent| self.mode(parent) & 0o40 == 0)
                || names.iter().any(|name| *name == ".~tmp~" || name.starts_with(".nfs"))
                || own.contains(&names[0]);
            let (kind, size, mode) = match thing {
                Thing::File { content, .. } => ("f", content.len(), self.mode(path)),
                Thing::Dir { .. } => ("d", 0, self.mode(path)),
                Thing::Link { target, .. } => {
                    // Targets here are names beside the link.
                    let parent =
                        path.rsplit_once('/').map_or(String::new(), |(parent, _)| format!("{parent}/"));
                    let mut at = format!("{parent}{target}");
                    for _ in 0..40 {
                        if let Some(Thing::Link { target, .. }) = self.things.get(&at) {
                            at = format!("{parent}{target}");
                        }
                    }
                    let found = self.things.get(&at).filter(|found| !matches!(found, Thing::Link { .. }));
                    if found.is_none() || self.mode(&at) & 0o40 == 0 {
                        continue;
                    }
                    ("l", target.len(), 0o777)
                }
            };
            if hidden || mode & 0o40 == 0 {
                continue;
            }
            let below_restricted = parents.iter().any(|parent| self.mode(parent) & 4 == 0);
            let shade = if mode & 4 == 0 {
                "-"
            } else if below_restricted {
                "*"
            } else {
                ""
            };
            seen.insert(below.to_owned(), (format!("{kind}{shade}"), size as u64));
        }
        seen
    }

    fn mtime(&self, path: &str) -> i64 {
        match self.things[path] {
            Thing::File { mtime, .. } | Thing::Link { mtime, .. } | Thing::Dir { mtime } => mtime,
        }
    }

    /// Makes the directories above every path, with the time of what changed last in them.
    fn complete(&mut self, now: i64, before: Option<&Tree>) {
        let paths: Vec<String> = self.things.keys().cloned().collect();
        for path in paths {
            for (at, _) in path.match_indices('/') {
                self.things.entry(path[..at].to_owned()).or_insert(Thing::Dir { mtime: now });
            }
        }
        self.things.retain(|path, thing| !matches!(thing, Thing::Dir { .. }) || !path.is_empty());
        let children = |tree: &Tree, dir: &str| -> Vec<(String, Option<Thing>)> {
            let prefix = format!("{dir}/");
            let below = tree.things.iter().filter_map(|(path, thing)| {
                let name = path.strip_prefix(&prefix).filter(|name| !name.contains('/'))?;
                let thing = if matches!(thing, Thing::Dir { .. }) { None } else { Some(thing.clone()) };
                Some((name.to_owned(), thing))
            });
            below.collect()
        };
        let Some(before) = before else { return };
        let dirs: Vec<String> = self.things.keys().cloned().collect();
        for dir in dirs {
            let (Some(Thing::Dir { .. }), Some(Thing::Dir { mtime })) =
                (self.things.get(&dir), before.things.get(&dir))
            else {
                continue;
            };
            let mtime = if children(self, &dir) == children(before, &dir) { *mtime } else { now };
            self.things.insert(dir, Thing::Dir { mtime });
        }
    }
}

/// The lists of one state, with everything that makes the next ones.
struct Lists {
    timelist: Vec<u8>,
    filelist: Vec<u8>,
    imagelist: Vec<u8>,
}

fn scope(directory: &str, own: &[&str]) -> Scope {
    let own: BTreeSet<Name> = own.iter().map(|name| Name::new(name).unwrap()).collect();
    Scope { directory: TreePath::new(directory).unwrap(), own }
}

fn sha1_of_id(blob: BlobId) -> String {
    // Not a SHA-1, but as different.
    blob.to_string()[..40].to_owned()
}

fn lists(work: impl FnOnce(&mut Sha1<'_>, &mut Outs<'_>)) -> Lists {
    let mut lists = Lists { timelist: Vec::new(), filelist: Vec::new(), imagelist: Vec::new() };
    let mut outs = Outs {
        timelist: Some(&mut lists.timelist),
        filelist: Some(&mut lists.filelist),
        imagelist: Some(&mut lists.imagelist),
    };
    work(&mut |blob| Ok(sha1_of_id(blob)), &mut outs);
    lists
}

fn anew(nodes: &dyn Nodes, root: &Item, modes: &Modes, scope: &Scope, now: i64) -> Lists {
    lists(|sha1, outs| write(nodes, State { root, modes }, scope, &mut |_, _| Ok(now), sha1, outs).unwrap())
}

/// The lines of a timelist by path: type, size and time.
fn read(timelist: &[u8]) -> BTreeMap<String, (String, u64, i64)> {
    let text = std::str::from_utf8(timelist).unwrap();
    let lines = text.strip_prefix("[Version]\n2\n\n[Files]\n").unwrap();
    let (lines, rest) = lines.split_once("\n[Checksums SHA1]\n").unwrap_or_else(|| panic!("{text}"));
    assert!(rest.ends_with("\n[End]\n") || rest == "\n[End]\n");
    let paths: Vec<&str> = lines.lines().map(|line| line.splitn(4, '\t').nth(3).unwrap()).collect();
    assert!(paths.is_sorted_by(|a, b| a.as_bytes() < b.as_bytes()), "{text}");
    let fields = |line: &str| {
        let fields: Vec<&str> = line.splitn(4, '\t').collect();
        let [time, kind, size, path] = fields[..] else { panic!("{line}") };
        (path.to_owned(), (kind.to_owned(), size.parse().unwrap(), time.parse().unwrap()))
    };
    lines.lines().map(fields).collect()
}

fn file(content: &str, mtime: i64) -> Thing {
    Thing::File { content: content.into(), mtime }
}

#[test]
fn the_bytes_are_those_of_version_2() {
    let base = NodeMap::new();
    let mut stage = Stage::new(&base);
    let things = BTreeMap::from([
        ("latest".into(), Thing::Link { target: "8".into(), mtime: 7 }),
        ("8".into(), Thing::Dir { mtime: 5 }),
        ("8/readme".into(), file("hello", 2_000_000_000)),
        ("9/secret/f".into(), file("ab", 9)),
        ("9/BaseOS/x86_64/os/repodata/repomd.xml".into(), file("0123456789", 11)),
        ("9-beta/x.iso".into(), file("i", 1)),
        ("dangling".into(), Thing::Link { target: "nowhere".into(), mtime: 7 }),
        ("fullfilelist".into(), file("old", 7)),
        (".nfs0001".into(), file("old", 7)),
    ]);
    let mut tree = Tree { things, modes: BTreeMap::new() };
    tree.complete(5, None);
    tree.modes.insert("9/secret".into(), 0o750);
    let root = tree.item(&mut stage);
    let own = ["fullfilelist", "fullfiletimelist-rocky"];
    let lists = anew(&stage, &root, &tree.rules(), &scope("", &own), 1000);
    let sum = sha1_of_id(BlobId::of(b"0123456789"));
    let expected = format!(
        "[Version]\n2\n\n[Files]\n\
         1000\td\t0\t8\n\
         2000000000\tf\t5\t8/readme\n\
         1000\td\t0\t9\n\
         1000\td\t0\t9-beta\n\
         1000\tf\t1\t9-beta/x.iso\n\
         1000\td\t0\t9/BaseOS\n\
         1000\td\t0\t9/BaseOS/x86_64\n\
         1000\td\t0\t9/BaseOS/x86_64/os\n\
         1000\td\t0\t9/BaseOS/x86_64/os/repodata\n\
         1000\tf\t10\t9/BaseOS/x86_64/os/repodata/repomd.xml\n\
         1000\td-\t0\t9/secret\n\
         1000\tf*\t2\t9/secret/f\n\
         1000\tl\t1\tlatest\n\
         \n[Checksums SHA1]\n\
         {sum}\t9/BaseOS/x86_64/os/repodata/repomd.xml\n\
         \n[End]\n"
    );
    assert_eq!(String::from_utf8(lists.timelist).unwrap(), expected);
    assert_eq!(String::from_utf8(lists.imagelist).unwrap(), "./9-beta/x.iso\n");
    let filelist = String::from_utf8(lists.filelist).unwrap();
    assert!(filelist.starts_with("./8\n./8/readme\n./9\n./9-beta\n"), "{filelist}");
    assert_eq!(filelist.lines().count(), 13);
    // Of a directory.
    let lists = anew(&stage, &root, &tree.rules(), &scope("9/secret", &[]), 1000);
    let expected = "[Version]\n2\n\n[Files]\n1000\tf\t2\tf\n\n[Checksums SHA1]\n\n[End]\n";
    assert_eq!(String::from_utf8(lists.timelist).unwrap(), expected);
}

#[test]
fn names_of_images_are_known_by_their_endings() {
    for (path, expected) in [
        ("isos/Rocky-9.7-x86_64-dvd.iso", true),
        ("images/x.tar.xz", true),
        ("images/x.vagrant-libvirt.box", true),
        ("images/x.box", false),
        ("iso", false),
        ("a.iso/file", false),
        ("a.iso.CHECKSUM", false),
        ("miso", false),
        ("x.qcow2", true),
    ] {
        assert_eq!(super::line::is_image(path), expected, "{path}");
    }
}

#[test]
fn a_list_that_is_none_is_refused() {
    let base = NodeMap::new();
    let mut stage = Stage::new(&base);
    let mut tree = Tree::default();
    tree.things.insert("a".into(), file("1", 1));
    let old = tree.item(&mut stage);
    tree.things.insert("b".into(), file("1", 1));
    let new = tree.item(&mut stage);
    let modes = Modes::default();
    let (old, new) = (State { root: &old, modes: &modes }, State { root: &new, modes: &modes });
    let good = anew(&stage, old.root, &modes, &scope("", &[]), 5).timelist;
    let with = |from: &str, to: &str| String::from_utf8(good.clone()).unwrap().replace(from, to).into_bytes();
    for bytes in [
        Vec::new(),
        good[1..].to_vec(),
        good[..good.len() - 1].to_vec(),
        with("[Checksums SHA1]", "[Checksums MD5]"),
        with("\ta\n", " a\n"),
        with("\ta\n", &format!("\t{}\n", "a".repeat(9_000))),
    ] {
        let bytes = &bytes[..];
        let source = Source { name: "list", bytes: &bytes };
        let found = changes(&stage, (old, new), &scope("", &[]), source, 9, &mut |blob| Ok(sha1_of_id(blob)));
        assert!(matches!(found, Err(FilelistError::Damaged { .. })), "{found:?}");
    }
}

impl ReadAt for &[u8] {
    fn size_bytes(&self) -> u64 {
        (**self).size_bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        (**self).read_at(offset, buffer)
    }
}

/// Paths that sort badly: `a-b` before `a/b`, names that begin with others.
const PATHS: [&str; 16] = [
    "a",
    "a-b",
    "a-b/x",
    "a.iso",
    "a/b",
    "a/b-c",
    "a/b/c",
    "a/repomd.xml",
    "ab/repomd.xml",
    "b/.nfs1",
    "b/link",
    "b/x",
    "link",
    "pub/fullfilelist",
    "pub/x/fullfilelist",
    "pub/y",
];

#[derive(Debug, Clone)]
enum Step {
    Put(usize, u8),
    Link(usize, usize),
    Remove(usize),
    Mode(usize, u16),
}

fn step() -> impl Strategy<Value = Step> {
    let path = 0..PATHS.len();
    prop_oneof![
        6 => (path.clone(), any::<u8>()).prop_map(|(path, content)| Step::Put(path, content)),
        2 => (path.clone(), path.clone()).prop_map(|(path, target)| Step::Link(path, target)),
        3 => path.clone().prop_map(Step::Remove),
        1 => (path, prop::sample::select(vec![0o755, 0o750, 0o700, 0o644, 0o640]))
            .prop_map(|(path, mode)| Step::Mode(path, mode)),
    ]
}

fn take(tree: &mut Tree, step: &Step, now: i64) {
    let mut place = |path: &str, thing: Option<Thing>| {
        // Whatever stands in the way goes, above and below.
        tree.things.retain(|other, found| {
            let above = path.starts_with(&format!("{other}/")) && !matches!(found, Thing::Dir { .. });
            other != path && !above && !other.starts_with(&format!("{path}/"))
        });
        if let Some(thing) = thing {
            tree.things.insert(path.to_owned(), thing);
        }
        // A directory without anything goes, too.
        let all: Vec<String> = (tree.things.iter())
            .filter(|(_, thing)| !matches!(thing, Thing::Dir { .. }))
            .map(|(path, _)| path.clone())
            .collect();
        tree.things.retain(|path, thing| {
            !matches!(thing, Thing::Dir { .. })
                || all.iter().any(|other| other.starts_with(&format!("{path}/")))
        });
    };
    match step {
        // Later content has a later time, as promotions see to it; not always later than the list's.
        Step::Put(path, content) => {
            place(
                PATHS[*path],
                Some(file(&"x".repeat(usize::from(content % 5)), now - i64::from(content % 2) * 7)),
            );
        }
        Step::Link(path, target) => {
            let target = PATHS[*target].split('/').next().unwrap().to_owned();
            place(PATHS[*path], Some(Thing::Link { target, mtime: now }));
        }
        Step::Remove(path) => place(PATHS[*path], None),
        Step::Mode(path, mode) => {
            if tree.modes.remove(PATHS[*path]).is_none() {
                tree.modes.insert(PATHS[*path].to_owned(), *mode);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Lists made from the lists before are those of a walk that remembers when it saw what first.
    #[test]
    fn lists_follow_any_history(rounds in prop::collection::vec(prop::collection::vec(step(), 0..4), 1..8)) {
        for (directory, own) in [("", &[][..]), ("pub", &["fullfilelist"][..])] {
            let base = NodeMap::new();
            let mut stage = Stage::new(&base);
            let scope = scope(directory, own);
            let mut old = Tree::default();
            old.things.insert("pub/always".into(), file("x", 1));
            old.complete(1, None);
            let mut old_root = old.item(&mut stage);
            let mut now = 1000;
            let mut entered: BTreeMap<String, i64> = old.seen(directory, own).into_keys().map(|path| (path, now)).collect();
            let mut list = anew(&stage, &old_root, &old.rules(), &scope, now);
            for steps in &rounds {
                now += 5;
                let mut new = old.clone();
                steps.iter().for_each(|step| take(&mut new, step, now));
                new.complete(now, Some(&old));
                let new_root = new.item(&mut stage);

                // The model: a line that says something else, or of something else, is new now.
                let (before, after) = (old.seen(directory, own), new.seen(directory, own));
                let whole = |path: &str| if directory.is_empty() { path.to_owned() } else { format!("{directory}/{path}") };
                entered.retain(|path, _| after.contains_key(path));
                for (path, said) in &after {
                    let same = before.get(path) == Some(said) && old.things.get(&whole(path)) == new.things.get(&whole(path));
                    if !same {
                        entered.insert(path.clone(), now);
                    }
                }
                let expected: BTreeMap<_, _> = after.iter().map(|(path, (kind, size))| {
                    (path.clone(), (kind.clone(), *size, new.mtime(&whole(path)).max(entered[path])))
                }).collect();

                let (old_rules, new_rules) = (old.rules(), new.rules());
                let states = (State { root: &old_root, modes: &old_rules }, State { root: &new_root, modes: &new_rules });
                let bytes = &list.timelist[..];
                let source = Source { name: "list", bytes: &bytes };
                let rewritten = lists(|sha1, outs| {
                    rewrite(&stage, states, &scope, source, now, sha1, outs).unwrap();
                });
                prop_assert_eq!(read(&rewritten.timelist), expected);
                if old.modes == new.modes {
                    let found = changes(&stage, states, &scope, source, now, &mut |blob| Ok(sha1_of_id(blob))).unwrap();
                    let mut spliced = Vec::new();
                    let mut source_bytes = Vec::new();
                    apply(source, &found.timelist, &mut |bytes| source_bytes.extend_from_slice(bytes), &mut spliced).unwrap();
                    prop_assert_eq!(&source_bytes, &list.timelist);
                    prop_assert_eq!(String::from_utf8(spliced).unwrap(), String::from_utf8(rewritten.timelist.clone()).unwrap());
                    prop_assert_eq!(found.is_empty(), list.timelist == rewritten.timelist);
                    let names: Vec<_> = found.names.iter().filter(|(_, comes)| *comes).map(|(path, _)| path).collect();
                    let comes: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
                    prop_assert_eq!(names, comes);
                }
                let from_scratch = anew(&stage, &new_root, &new_rules, &scope, now);
                prop_assert_eq!(&from_scratch.filelist, &rewritten.filelist);
                list = rewritten;
                old = new;
                old_root = new_root;
                prop_assert!(resolve(&stage, &old_root, &TreePath::root()).unwrap().is_some());
            }
        }
    }
}
