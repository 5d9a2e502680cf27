use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::diff::{Change, diff};
use crate::digest::{BlobId, NodeId};
use crate::tree::{Dir, resolve};
use crate::walk::walk;

type Model = BTreeMap<String, Item>;

fn file(content: u8, mtime: i64) -> Item {
    let kind = Kind::File { blob: BlobId::of(&[content]), size_bytes: 1, executable: false };
    Item { mtime, kind }
}

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

fn dir_of(item: &Item) -> Dir {
    let Kind::Dir(dir) = item.kind else { panic!("{item:?} is no directory") };
    dir
}

fn build_model(stage: &mut Stage<'_>, model: &Model) -> Item {
    let items = model.iter().map(|(p, item)| (path(p), item.clone()));
    build(stage, items, &mut |_, _| 5).unwrap()
}

/// The files of a tree, by path.
fn files(stage: &Stage<'_>, root: &Item) -> Model {
    let mut found = Model::new();
    walk(stage, dir_of(root), "", &mut |path, item| {
        if !matches!(item.kind, Kind::Dir(_)) {
            found.insert(path.to_owned(), item.clone());
        }
        Ok::<(), NodeError>(())
    })
    .unwrap();
    found
}

#[test]
fn a_graft_moves_only_the_times_it_must() {
    let base: HashMap<NodeId, Vec<u8>> = HashMap::new();
    let mut stage = Stage::new(&base);
    let model = Model::from([("pub/9/a".into(), file(1, 1)), ("pub/8/b".into(), file(2, 1))]);
    let root = build_model(&mut stage, &model);
    let other = build_model(&mut stage, &Model::from([("c".into(), file(3, 1))]));

    let replaced = graft(&mut stage, &root, &path("pub/9"), other.clone(), 100).unwrap();
    let time = |stage: &Stage<'_>, root: &Item, p| resolve(stage, root, &path(p)).unwrap().unwrap().mtime;
    assert_eq!(replaced.mtime, 5, "pub is still the only child");
    assert_eq!(time(&stage, &replaced, "pub"), 5, "9 was and is a directory");
    assert_eq!(time(&stage, &replaced, "pub/9"), other.mtime);

    let added = graft(&mut stage, &root, &path("pub/10/os"), other, 100).unwrap();
    assert_eq!(time(&stage, &added, "pub"), 100, "10 is new in pub");
    assert_eq!(time(&stage, &added, "pub/10"), 100);
    assert_eq!(added.mtime, 5);

    let onto_file = graft(&mut stage, &root, &path("pub/9/a/x"), file(1, 1), 100);
    assert!(matches!(onto_file, Err(EditError::NotADirectory { path }) if path.as_str() == "pub/9/a"));
}

#[test]
fn one_path_cannot_be_two_things() {
    let base: HashMap<NodeId, Vec<u8>> = HashMap::new();
    let mut stage = Stage::new(&base);
    for pair in [["a", "a/b"], ["a/b", "a"], ["a", "a"]] {
        let items = pair.iter().zip([1, 2]).map(|(p, n)| (path(p), file(n, 1)));
        let built = build(&mut stage, items, &mut |_, _| 0);
        assert!(matches!(built, Err(EditError::Twice { .. })), "{pair:?}");
    }
}

fn any_model() -> impl Strategy<Value = Model> {
    let item = (0..4_u8, 0..3_i64).prop_map(|(content, mtime)| file(content, mtime));
    // Leaves are called f…, directories d…, so that no file stands where a directory must; the wide
    // directory is chunked.
    let narrow = proptest::collection::btree_map("(d[a-c]/){0,3}f[a-c]", item.clone(), 0..40);
    let wide = proptest::collection::btree_map("w/f[a-z]{2}", item, 0..400);
    (narrow, wide).prop_map(|(mut narrow, wide)| {
        narrow.extend(wide);
        narrow
    })
}

proptest! {
    #[test]
    fn trees_edits_and_differences_agree_with_maps(old in any_model(), new in any_model()) {
        let base: HashMap<NodeId, Vec<u8>> = HashMap::new();
        let mut stage = Stage::new(&base);
        let (a, b) = (build_model(&mut stage, &old), build_model(&mut stage, &new));
        prop_assert_eq!(files(&stage, &a), old.clone());
        prop_assert_eq!(dir_of(&a).sums.files, old.len() as u64);

        let mut patched = old.clone();
        diff(&stage, dir_of(&a), dir_of(&b), &mut |path, change| {
            match change {
                Change::Added(item) | Change::Changed(_, item) if !matches!(item.kind, Kind::Dir(_)) => {
                    patched.insert(path.to_owned(), item.clone());
                }
                Change::Removed(_) => { patched.remove(path); }
                _ => {}
            }
            Ok::<(), NodeError>(())
        }).unwrap();
        prop_assert_eq!(patched, new);
    }
}
