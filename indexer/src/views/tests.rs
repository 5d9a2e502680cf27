use std::collections::HashSet;
use std::fs;
use std::sync::Arc;

use cfs_fs::import::Options;
use cfs_fs::store::lease::Gate;
use cfs_fs::view::{self, Answer, Inode, View};

use super::*;
use crate::catalogue::Signer;
use crate::depot::Depot;
use crate::import::import_dir;

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

fn signer(now: i64) -> Signer {
    Signer { actor: "tester@here".into(), tool: "cfs test".into(), now }
}

/// A depot in which `staging` was moved at the seconds 100 and 200.
fn depot() -> (tempfile::TempDir, Depot, [SnapshotId; 2]) {
    let temp = tempfile::tempdir().unwrap();
    let depot = Depot::create(&temp.path().join("store")).unwrap();
    let source = temp.path().join("source");
    fs::create_dir(&source).unwrap();
    let ids = [100, 200].map(|now| {
        fs::write(source.join("file"), format!("content {now}")).unwrap();
        let options = Options { threads: 1, started_ns: 0 };
        let target = "staging".parse().unwrap();
        let done = import_dir(&depot, &source, &target, &signer(now), options, ("", &[]), &mut |_| {});
        done.unwrap().1.unwrap().id
    });
    let (latest, staging) = ("sig/latest".parse().unwrap(), "staging".parse().unwrap());
    depot.catalogue.link(&latest, &staging, &signer(300), "").unwrap();
    (temp, depot, ids)
}

#[test]
fn the_catalogue_answers_what_a_view_asks() {
    let (_temp, depot, [old, new]) = depot();
    let roots: &dyn Roots = &depot.catalogue;
    let staging = roots::Target::Snapshot { id: new, generation: 2 };
    let latest = roots::Target::Symbolic(path("staging"));
    assert_eq!(roots.find(&path("staging")).unwrap(), Some(staging.clone()));
    assert_eq!(roots.find(&path("sig/latest")).unwrap(), Some(latest.clone()));
    for none in ["sig", "production", "a b", ".hidden"] {
        assert_eq!(roots.find(&path(none)).unwrap(), None, "{none}");
    }
    assert_eq!(roots.refs().unwrap(), [(path("sig/latest"), latest), (path("staging"), staging)]);
    assert_eq!(roots.snapshots().unwrap(), [new, old]);
    assert_eq!(roots.snapshot(SnapshotId::of(b"none")).unwrap(), None);
    let at = |time| roots.at(&path("staging"), time).unwrap();
    assert_eq!(
        [at(99), at(100), at(199), at(200), at(i64::MAX)],
        [None, Some(old), Some(old), Some(new), Some(new)]
    );
    assert_eq!(roots.at(&path("sig/latest"), 400).unwrap(), None, "it named no snapshot");
    assert_eq!(roots.at(&path("nowhere"), 400).unwrap(), None);
    let generations = [0, 1, 2, 3].map(|generation| roots.generation(&path("staging"), generation).unwrap());
    assert_eq!(generations, [None, Some(old), Some(new), None]);
    assert_eq!(roots.generation(&path("sig/latest"), 1).unwrap(), None);
    let past = |generation, since, limit| roots.past(&path("staging"), generation, since, limit).unwrap();
    let first = roots::Past { generation: 1, id: old, ended: 200 };
    assert_eq!(past(2, 0, 9), [first]);
    assert_eq!(
        [past(2, 200, 9).len(), past(2, 201, 9).len(), past(1, 0, 9).len(), past(2, 0, 0).len()],
        [1, 0, 0, 0]
    );
    assert_eq!(roots.moves().unwrap(), 3);
}

#[test]
fn a_view_of_the_catalogue_shows_what_was_committed() {
    let (_temp, depot, _) = depot();
    let catalogue = Arc::new(depot.catalogue);
    let options = view::Options::default();
    let view = View::new(Arc::clone(&catalogue), Arc::clone(&catalogue), depot.store, options);
    let mut here = Inode::TOP;
    for name in ["views", "staging", "file"] {
        let Answer::Found(found) = view.lookup(here, name.as_bytes()).unwrap() else { panic!("no {name}") };
        here = found.inode;
    }
    let mut bytes = [0; 64];
    let read = view.read_unopened(here, 0, &mut bytes).unwrap();
    assert_eq!(&bytes[..read], b"content 200");
}

#[test]
fn what_is_shown_is_held_until_nobody_is_in_it_for_a_while() {
    let temp = tempfile::tempdir().unwrap();
    let Depot { store, catalogue } = Depot::create(&temp.path().join("store")).unwrap();
    let held = Held::new(Arc::new(catalogue), store.clone(), 5);
    let living = || Gate::close(&store).unwrap().living().unwrap().remove(0);
    assert_eq!((living().past_seconds, living().holds), (Some(5), vec![]));
    let [used, left] = [&b"used"[..], b"left"].map(SnapshotId::of);
    for id in [used, left, used] {
        assert_eq!(held.snapshot(id).unwrap(), None, "there is none, but that is another question");
    }
    assert_eq!(living().holds, [used, left]);
    let in_use = HashSet::from([used]);
    held.let_go(&in_use).unwrap();
    assert_eq!(living().holds, [used, left], "it was asked for since the last time");
    held.let_go(&in_use).unwrap();
    assert_eq!((living().past_seconds, living().holds), (Some(5), vec![used]));
    drop(held);
    assert!(Gate::close(&store).unwrap().living().unwrap().is_empty());
}
