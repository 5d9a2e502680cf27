use std::collections::BTreeMap;

use super::*;
use crate::digest::BlobId;
use crate::name::Name;
use crate::tree::{Dir, Entry, NodeMap, Stage};
use crate::view::access::Rule;
use crate::view::roots::Past;

const NOW: i64 = 1_000_000;

/// One ref `r` whose generations are snapshots, the last one named now; each flip was ten seconds after the one
/// before, the last one at [`NOW`].
struct Roots1 {
    generations: Vec<(SnapshotId, Root)>,
}

impl Roots for Roots1 {
    fn find(&self, name: &TreePath) -> Result<Option<Target>, RootsError> {
        let generation = self.generations.len() as u64;
        let newest = self.generations.last().filter(|_| name.as_str() == "r");
        Ok(newest.map(|(id, _)| Target::Snapshot { id: *id, generation }))
    }

    fn refs(&self) -> Result<Vec<(TreePath, Target)>, RootsError> {
        let name = TreePath::new("r")?;
        Ok(self.find(&name)?.map(|target| (name, target)).into_iter().collect())
    }

    fn snapshot(&self, id: SnapshotId) -> Result<Option<Root>, RootsError> {
        Ok(self.generations.iter().find(|(known, _)| *known == id).map(|(_, root)| root.clone()))
    }

    fn snapshots(&self) -> Result<Vec<SnapshotId>, RootsError> {
        Ok(self.generations.iter().map(|(id, _)| *id).collect())
    }

    fn at(&self, _: &TreePath, _: i64) -> Result<Option<SnapshotId>, RootsError> {
        Ok(None)
    }

    fn generation(&self, _: &TreePath, generation: u64) -> Result<Option<SnapshotId>, RootsError> {
        let at = usize::try_from(generation)?.checked_sub(1);
        Ok(at.and_then(|at| self.generations.get(at)).map(|(id, _)| *id))
    }

    fn past(&self, _: &TreePath, generation: u64, since: i64, limit: usize) -> Result<Vec<Past>, RootsError> {
        let count = self.generations.len() as u64;
        let past = (1..generation).rev().map(|generation| {
            let ended = NOW - 10 * i64::try_from(count - generation - 1).unwrap_or(0);
            let id = self.generations[usize::try_from(generation - 1).unwrap_or(0)].0;
            Past { generation, id, ended }
        });
        Ok(past.filter(|past| past.ended >= since).take(limit).collect())
    }

    fn moves(&self) -> Result<u64, RootsError> {
        Ok(self.generations.len() as u64)
    }

    fn labels(&self, _: BlobId) -> Result<Vec<(String, String)>, RootsError> {
        Ok(Vec::new())
    }
}

/// Writes a tree of files whose content is their path, and of symlinks (`path -> target`).
fn tree(nodes: &mut NodeMap, paths: &[&str]) -> Item {
    fn dir(stage: &mut Stage<'_>, items: &BTreeMap<Vec<String>, Item>, above: &[String]) -> Dir {
        let mut entries: BTreeMap<String, Item> = BTreeMap::new();
        for (path, item) in items.iter().filter(|(path, _)| path.starts_with(above)) {
            let name = &path[above.len()];
            if path.len() == above.len() + 1 {
                entries.insert(name.clone(), item.clone());
                continue;
            }
            let below = [above, std::slice::from_ref(name)].concat();
            entries.entry(name.clone()).or_insert_with(|| {
                let kind = Kind::Dir(dir(stage, items, &below));
                Item { mtime: 0, kind }
            });
        }
        let entry = |(name, item): (String, Item)| Entry { name: Name::new(name).unwrap(), item };
        stage.write_dir(&entries.into_iter().map(entry).collect::<Vec<_>>())
    }
    let base = nodes.clone();
    let mut stage = Stage::new(&base);
    let items: BTreeMap<Vec<String>, Item> = paths
        .iter()
        .map(|line| {
            let file = |path: &str| {
                let blob = BlobId::of(path.as_bytes());
                Kind::File { blob, size_bytes: path.len() as u64, executable: false }
            };
            let (path, kind) = line.split_once(" -> ").map_or_else(
                || (*line, file(line)),
                |(path, target)| (path, Kind::Symlink { target: target.into() }),
            );
            (path.split('/').map(str::to_owned).collect(), Item { mtime: 0, kind })
        })
        .collect();
    let top = dir(&mut stage, &items, &[]);
    nodes.extend(stage.into_new_nodes());
    Item { mtime: 0, kind: Kind::Dir(top) }
}

/// Paths, and modes of some.
type Generation<'a> = (&'a [&'a str], &'a [(&'a str, u16)]);

/// A site of the ref `r` with a generation for each list of paths.
fn site(generations: &[Generation<'_>], seconds: u32) -> Site {
    let mut nodes = NodeMap::new();
    let root = |(number, (paths, modes)): (usize, &Generation<'_>)| {
        let rule = |(path, mode): &(&str, u16)| {
            (TreePath::new(path).unwrap(), Rule { mode: Some(*mode), ..Rule::USUAL })
        };
        let access = (!modes.is_empty()).then(|| Access::new(None, None, modes.iter().map(rule)).into());
        (SnapshotId::of(&[u8::try_from(number).unwrap()]), Root { item: tree(&mut nodes, paths), access })
    };
    let generations = generations.iter().enumerate().map(root).collect();
    let only = TreePath::new("r").unwrap();
    Site::new(Roots1 { generations }, nodes, Some(only), Grace { seconds, ..Grace::default() })
}

/// What stands at a path, in a word: the path whose content it is, or what else.
fn found(site: &Site, path: &str) -> String {
    let as_dir = path.ends_with('/');
    let found = site.find(&path.parse().unwrap(), as_dir, NOW + 1).unwrap();
    match found.thing {
        Thing::Absent => "absent".to_owned(),
        Thing::Forbidden => "forbidden".to_owned(),
        Thing::File { blob, .. } => {
            let all = ["a", "b", "d/a", "d/e/f", "d/x"];
            let name = all.iter().find(|name| BlobId::of(name.as_bytes()) == blob).unwrap();
            if found.ghost_until.is_some() { format!("ghost {name}") } else { (*name).to_owned() }
        }
        Thing::Dir { page: None, .. } => "dir".to_owned(),
        Thing::Dir { page: Some(page), .. } => {
            let text = String::from_utf8(page.to_vec()).unwrap();
            let names = text.split("href=\"").skip(1).map(|part| part.split('"').next().unwrap());
            names.filter(|name| *name != "../").collect::<Vec<_>>().join(" ")
        }
    }
}

#[test]
fn symlinks_lead_inside_or_nowhere() {
    let links = [
        "a",
        "d/a",
        "d/e/f",
        "l -> a",
        "d/up -> ../a",
        "dir -> d/e",
        "d/dots -> ./e/.././/a",
        "chain -> l",
        "circle -> circle2",
        "circle2 -> circle",
        "out -> ../a",
        "d/out -> ../../a",
        "abs -> /a",
        "gone -> x",
        "through -> a/b",
        "empty -> d/",
    ];
    let site = site(&[(&links, &[])], 0);
    for (path, expected) in [
        ("l", "a"),
        ("d/up", "a"),
        ("dir", "dir"),
        ("dir/", "f"),
        ("dir/f", "d/e/f"),
        ("d/dots", "d/a"),
        ("chain", "a"),
        ("empty/a", "d/a"),
        ("circle", "absent"),
        ("circle/x", "absent"),
        ("out", "absent"),
        ("d/out", "absent"),
        ("abs", "absent"),
        ("gone", "absent"),
        ("through", "absent"),
        ("a/b", "absent"),
        // Links are listed as what they lead to, and not at all when that is nothing.
        ("/", "a chain d/ dir/ empty/ l"),
    ] {
        assert_eq!(found(&site, path), expected, "{path}");
    }
}

#[test]
fn what_others_may_not_read_is_forbidden_with_all_below() {
    let paths = ["a", "b", "d/a", "d/e/f", "l -> d/a", "x/d -> ../d"];
    for (modes, path, expected) in [
        (&[("d", 0o750)][..], "d", "forbidden"),
        (&[("d", 0o750)], "d/", "forbidden"),
        (&[("d", 0o750)], "d/a", "forbidden"),
        (&[("d", 0o750)], "d/e/f", "forbidden"),
        // Whether something is there is not told either.
        (&[("d", 0o750)], "d/nothing", "forbidden"),
        (&[("d", 0o750)], "l", "forbidden"),
        (&[("d", 0o750)], "x/d/a", "forbidden"),
        (&[("d", 0o750)], "/", "a b x/"),
        (&[("d", 0o750)], "a", "a"),
        (&[("a", 0o640)], "a", "forbidden"),
        (&[("a", 0o640)], "/", "b d/ l x/"),
        (&[("d", 0o711)], "d/a", "d/a"),
        (&[("d", 0o711)], "d/", "forbidden"),
        (&[("", 0o700)], "a", "forbidden"),
        (&[("", 0o700)], "/", "forbidden"),
        (&[("d/e", 0o750)], "d/", "a"),
        (&[("d", 0o755)], "d/a", "d/a"),
    ] {
        let site = site(&[(&paths, modes)], 0);
        assert_eq!(found(&site, path), expected, "{path} with {modes:?}");
    }
}

#[test]
fn removed_files_are_ghosts_and_hidden_ones_stay_hidden() {
    let old: &[&str] = &["a", "b", "d/a", "d/e/f", "l -> d"];
    let new: &[&str] = &["b", "d/x", "l -> d"];
    let hidden: &[(&str, u16)] = &[("d", 0o750)];
    for (generations, seconds, path, expected) in [
        ([(old, &[][..]), (new, &[][..])], 60, "a", "ghost a"),
        ([(old, &[]), (new, &[])], 60, "d/a", "ghost d/a"),
        ([(old, &[]), (new, &[])], 60, "d/e/f", "ghost d/e/f"),
        ([(old, &[]), (new, &[])], 60, "l/a", "ghost d/a"),
        ([(old, &[]), (new, &[])], 60, "d/x", "d/x"),
        ([(old, &[]), (new, &[])], 60, "d/", "x"),
        ([(old, &[]), (new, &[])], 60, "d/e", "absent"),
        ([(old, &[]), (new, &[])], 60, "d/e/", "absent"),
        ([(old, &[]), (new, &[])], 1, "a", "absent"),
        ([(old, &[]), (new, &[])], 0, "a", "absent"),
        ([(old, hidden), (new, &[])], 60, "d/a", "forbidden"),
        ([(old, &[]), (new, hidden)], 60, "d/a", "forbidden"),
        ([(old, hidden), (new, &[])], 60, "a", "ghost a"),
    ] {
        assert_eq!(found(&site(&generations, seconds), path), expected, "{path} {generations:?}");
    }
    // History is as it was.
    let site = site(&[(old, &[]), (new, &[])], 60);
    let id = |number: u8| SnapshotId::of(&[number]);
    assert_eq!(found(&site, &format!("snapshots/{}/a", id(0))), "a");
    assert_eq!(found(&site, &format!("snapshots/{}/a", id(1))), "absent");
    assert_eq!(found(&site, &format!("snapshots/{}/a", id(9))), "absent");
}
