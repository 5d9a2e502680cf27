use std::collections::{BTreeMap, HashMap};

use cfs_fs::digest::NodeId;
use cfs_fs::store::Store;
use cfs_fs::tree::{Entry, Item, Kind, Nodes, Stage, read_dir};

use super::*;
use crate::checksum::{Algorithm, Checksum};
use crate::depot::Depot;
use crate::revision::RevPath;

fn signer(now: i64) -> Signer {
    Signer { actor: "tester@here".into(), tool: "cfs test".into(), now }
}

fn name(text: &str) -> RefName {
    text.parse().unwrap()
}

fn depot() -> (tempfile::TempDir, Depot) {
    let temp = tempfile::tempdir().unwrap();
    let depot = Depot::create(&temp.path().join("store")).unwrap();
    (temp, depot)
}

/// A draft whose tree holds one file with `content`.
fn draft(content: &str) -> Draft {
    let blob = BlobId::of(content.as_bytes());
    let kind = Kind::File { blob, size_bytes: content.len() as u64, executable: false };
    let entry = Entry { name: cfs_fs::name::Name::new("file").unwrap(), item: Item { mtime: 1, kind } };
    let base: HashMap<NodeId, Vec<u8>> = HashMap::new();
    let mut stage = Stage::new(&base);
    let root = Item { mtime: 2, kind: Kind::Dir(stage.write_dir(&[entry])) };
    let nodes = stage.into_new_nodes();
    let (meta, message) = (BTreeMap::new(), String::new());
    Draft {
        root,
        nodes,
        taken: Taken::default(),
        parents: Vec::new(),
        access: None,
        meta,
        message,
        reason: format!("test {content}"),
    }
}

/// Moves a ref to a tree with `content`, which is recorded as if it were stored.
fn commit(depot: &Depot, name: &RefName, content: &str, now: i64) -> RefUpdate {
    depot.catalogue.record_blobs([(BlobId::of(content.as_bytes()), content.len() as u64, &[][..])]).unwrap();
    let update = depot
        .catalogue
        .update_ref(&depot.store, name, &signer(now), |_| Ok::<_, CatalogueError>(Some(draft(content))));
    update.unwrap().unwrap()
}

#[test]
fn a_commit_is_there_after_reopening() {
    let (_temp, depot) = depot();
    let first = commit(&depot, &name("production"), "a", 100);
    let second = commit(&depot, &name("production"), "b", 200);
    assert_eq!((first.generation, second.generation), (1, 2));
    assert_eq!(second.snapshot.parents, [first.id]);
    let root = depot.store.root().to_owned();
    drop(depot);

    let depot = Depot::open(&root).unwrap();
    let (found, id) = depot.catalogue.follow_ref(&name("production")).unwrap();
    assert_eq!((id, found.generation, found.updated), (second.id, 2, 200));
    let snapshot = depot.catalogue.snapshot(id).unwrap().unwrap();
    assert_eq!(snapshot, second.snapshot);
    depot.catalogue.node(snapshot.root.id).unwrap();
    let file = std::fs::read(root.join("commits").join(id.to_string())).unwrap();
    assert!(file.starts_with(b"cfs-commit 1\nrecord "));
    assert_eq!(depot.catalogue.verify_reflog().unwrap(), 2);
    assert!(matches!(Depot::create(&root), Err(CatalogueError::Store(StoreError::Exists { .. }))));
}

#[test]
fn a_tree_with_a_blob_that_is_not_stored_is_refused_whole() {
    let (_temp, depot) = depot();
    let result = depot.catalogue.update_ref(&depot.store, &name("x"), &signer(1), |_| {
        Ok::<_, CatalogueError>(Some(draft("never stored")))
    });
    assert!(matches!(result, Err(CatalogueError::MissingBlob { id }) if id == BlobId::of(b"never stored")));
    assert_eq!(depot.catalogue.refs().unwrap(), []);
    assert_eq!(depot.catalogue.totals().unwrap(), Totals::default());
}

#[test]
fn files_taken_over_stand_on_a_directory_that_is_there() {
    let (_temp, depot) = depot();
    commit(&depot, &name("staging"), "a", 100);
    let top = |draft: &Draft| match draft.root.kind {
        Kind::Dir(dir) => dir.id,
        _ => unreachable!("a top is a directory"),
    };
    let taken_from = |content: &str| {
        let mut draft = draft("a");
        let entries = read_dir(&draft.nodes, top(&draft)).unwrap();
        draft.taken.add(top(&self::draft(content)), &entries);
        draft
    };
    let publish = |draft: Draft| {
        let mut draft = Some(draft);
        depot.catalogue.update_ref(&depot.store, &name("production"), &signer(200), |_| {
            Ok::<_, CatalogueError>(draft.take())
        })
    };
    let gone = publish(taken_from("never committed")).unwrap_err();
    assert!(matches!(gone, CatalogueError::Vanished { .. }), "{gone}");
    assert!(depot.catalogue.find_ref(&name("production")).unwrap().is_none());
    assert!(publish(taken_from("a")).unwrap().is_some());
}

#[test]
fn of_two_movers_nobody_is_lost() {
    let (_temp, depot) = depot();
    let production = name("production");
    commit(&depot, &production, "start", 1);
    commit(&depot, &name("other"), "meanwhile", 1);
    let mut calls = 0;
    let update = depot
        .catalogue
        .update_ref(&depot.store, &production, &signer(3), |current| {
            calls += 1;
            if calls == 1 {
                commit(&depot, &production, "meanwhile", 2);
            } else {
                assert_eq!(current.unwrap().generation, 2, "drafted anew on the new state");
            }
            Ok::<_, CatalogueError>(Some(draft("start")))
        })
        .unwrap()
        .unwrap();
    assert_eq!((calls, update.generation), (2, 3));

    let threads = 4;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let depot = Depot::open(depot.store.root()).unwrap();
            let production = production.clone();
            scope.spawn(move || {
                (0..5).for_each(|n| drop(commit(&depot, &production, &format!("{thread} {n}"), 9)));
            });
        }
    });
    let (found, _) = depot.catalogue.follow_ref(&production).unwrap();
    assert_eq!(found.generation, 3 + 5 * threads);
    let log = depot.catalogue.log(&production).unwrap();
    for pair in log.windows(2) {
        assert_eq!(
            Some(pair[0].old),
            Some(match pair[1].new {
                Some(Target::Snapshot(id)) => Some(id),
                Some(Target::Symbolic(_)) | None => None,
            }),
            "every move starts where the last one ended"
        );
    }
}

#[test]
fn several_refs_move_together_or_not_at_all() {
    let (_temp, depot) = depot();
    let names = [name("a"), name("b"), name("still")];
    for each in &names {
        commit(&depot, each, "start", 1);
    }
    let mut calls = 0;
    let updates = depot.catalogue.update_refs(&depot.store, &names, &signer(2), |current| {
        calls += 1;
        assert!(current.iter().all(Option::is_some));
        if calls == 1 {
            // Not one that is to move; that it is where it was is part of the bargain.
            commit(&depot, &names[2], "meanwhile", 2);
            commit(&depot, &name("blobs"), "next", 2);
        }
        Ok::<_, CatalogueError>(vec![Some(draft("next")), Some(draft("next")), None])
    });
    let updates = updates.unwrap();
    assert_eq!((calls, updates.iter().flatten().count(), updates[2].is_none()), (2, 2, true));
    assert!(updates[..2].iter().flatten().all(|update| update.generation == 2));
    let result = depot.catalogue.update_refs(&depot.store, &names, &signer(3), |_| {
        Ok::<_, CatalogueError>(vec![Some(draft("start")), Some(draft("never stored")), None])
    });
    assert!(matches!(result, Err(CatalogueError::MissingBlob { .. })));
    assert!(names.iter().all(|each| depot.catalogue.follow_ref(each).unwrap().0.generation == 2));
}

#[test]
fn history_is_addressed_by_count_time_and_id() {
    let (_temp, depot) = depot();
    let production = name("production");
    let ids: Vec<SnapshotId> = [("a", 100), ("b", 200), ("c", 300)]
        .map(|(text, at)| commit(&depot, &production, text, at).id)
        .into();
    depot.catalogue.link(&name("latest"), &production, &signer(400), "").unwrap();
    let resolve =
        |text: &str| depot.catalogue.resolve(&text.parse::<RevPath>().unwrap().revision).map(|r| r.0);
    assert_eq!(resolve("production").unwrap(), ids[2]);
    assert_eq!(resolve("production@{2}").unwrap(), ids[0]);
    assert_eq!(resolve("latest@{1}").unwrap(), ids[1]);
    assert_eq!(resolve("production@1970-01-01T00:04:59Z").unwrap(), ids[1]);
    assert_eq!(resolve("production@1970-01-01").unwrap(), ids[2]);
    assert_eq!(resolve(&ids[1].to_string()).unwrap(), ids[1]);
    assert_eq!(resolve(&ids[1].to_string()[..16]).unwrap(), ids[1]);
    for none in ["production@{3}", "production@1970-01-01T00:01Z", "nothing", "0000", "latest@{9}"] {
        assert!(resolve(none).is_err(), "{none}");
    }
    assert!(matches!(resolve("nothing@{1}"), Err(CatalogueError::NoSuchRef { .. })));
}

#[test]
fn a_deleted_ref_keeps_its_past_and_its_generations() {
    let (_temp, depot) = depot();
    let (one, two, latest) = (name("compose/one"), name("compose/two"), name("compose/latest"));
    let ids: Vec<SnapshotId> =
        [("a", 100), ("b", 200)].map(|(text, at)| commit(&depot, &one, text, at).id).into();
    commit(&depot, &two, "c", 200);
    depot.catalogue.link(&latest, &two, &signer(200), "").unwrap();
    let delete = |doomed: &[(&RefName, u64)]| {
        let doomed: Vec<_> = doomed.iter().map(|(name, seen)| ((*name).clone(), *seen)).collect();
        depot.catalogue.delete_refs(&doomed, &signer(300), "prune")
    };
    assert!(matches!(delete(&[(&one, 1)]), Err(CatalogueError::RefMoved { .. })));
    let error = delete(&[(&one, 2), (&two, 1)]).unwrap_err();
    assert!(matches!(error, CatalogueError::Named { by, .. } if by == latest));
    assert!(depot.catalogue.find_ref(&one).unwrap().is_some(), "all or none");

    delete(&[(&one, 2)]).unwrap();
    assert_eq!(depot.catalogue.find_ref(&one).unwrap(), None);
    let log = depot.catalogue.log(&one).unwrap();
    assert_eq!((log[0].generation, log[0].old, &log[0].new), (3, Some(ids[1]), &None));
    let resolve =
        |text: &str| depot.catalogue.resolve(&text.parse::<RevPath>().unwrap().revision).map(|r| r.0);
    assert_eq!(resolve("compose/one@{1}").unwrap(), ids[1]);
    assert_eq!(resolve("compose/one@{2}").unwrap(), ids[0]);
    assert_eq!(resolve("compose/one@1970-01-01T00:02Z").unwrap(), ids[0]);
    for none in ["compose/one", "compose/one@{0}", "compose/one@1970-01-01", "compose/one@{3}"] {
        assert!(matches!(resolve(none), Err(CatalogueError::NoSuchRevision { .. })), "{none}");
    }
    assert!(matches!(delete(&[(&one, 3)]), Err(CatalogueError::NoSuchRef { .. })));

    let again = commit(&depot, &one, "d", 400);
    assert_eq!((again.generation, again.old), (4, None));
    assert_eq!(resolve("compose/one@{2}").unwrap(), ids[1]);
    delete(&[(&one, 4)]).unwrap();
    assert_eq!(depot.catalogue.link(&one, &two, &signer(500), "").unwrap(), 6);
    assert_eq!(depot.catalogue.verify_reflog().unwrap(), 8);

    // What it named is needed as long as the reflog keeps it.
    let kept = |since| {
        let retention = super::Retention { since, generations: 0 };
        depot.catalogue.kept_snapshots(retention).unwrap().0.contains(&ids[1])
    };
    assert!(kept(300) && !kept(301));
}

#[test]
fn refs_that_would_hide_each_other_are_refused() {
    let (_temp, depot) = depot();
    commit(&depot, &name("a/b"), "x", 1);
    for bad in ["a", "a/b/c"] {
        let result = depot
            .catalogue
            .update_ref(&depot.store, &name(bad), &signer(1), |_| Ok::<_, CatalogueError>(Some(draft("x"))));
        assert!(matches!(result, Err(CatalogueError::RefConflict { other, .. }) if other == name("a/b")));
        assert!(depot.catalogue.link(&name(bad), &name("a/b"), &signer(1), "").is_err());
    }
    commit(&depot, &name("a/bc"), "x", 1);
    commit(&depot, &name("a-b"), "x", 1);
}

#[test]
fn symbolic_refs_are_followed_moved_and_protected() {
    let (_temp, depot) = depot();
    let update = commit(&depot, &name("compose/9/one"), "x", 1);
    commit(&depot, &name("compose/9/two"), "x2", 1);
    let latest = name("compose/9/latest");
    let link = |to: &str| depot.catalogue.link(&latest, &name(to), &signer(2), "new compose");
    assert_eq!(link("compose/9/one").unwrap(), 1);
    assert_eq!(link("compose/9/one").unwrap(), 1, "nothing moved");
    assert_eq!(depot.catalogue.follow_ref(&latest).unwrap().1, update.id);
    assert_eq!(link("compose/9/two").unwrap(), 2);
    assert!(matches!(depot.catalogue.current(&latest), Err(CatalogueError::Symbolic { .. })));
    assert!(matches!(
        depot.catalogue.link(&name("compose/9/one"), &latest, &signer(2), ""),
        Err(CatalogueError::NotSymbolic { .. })
    ));
}

#[test]
fn a_symbolic_ref_never_leads_to_itself() {
    let (_temp, depot) = depot();
    let update = commit(&depot, &name("x"), "x", 1);
    let link = |from: &str, to: &str| depot.catalogue.link(&name(from), &name(to), &signer(2), "");
    assert!(matches!(link("l0", "l0"), Err(CatalogueError::SymbolicLoop { .. })));
    link("l0", "x").unwrap();
    for n in 1..20 {
        link(&format!("l{n}"), &format!("l{}", n - 1)).unwrap();
    }
    for to in ["l0", "l1", "l19"] {
        assert!(matches!(link("l0", to), Err(CatalogueError::SymbolicLoop { .. })), "{to}");
    }
    assert_eq!(depot.catalogue.follow_ref(&name("l19")).unwrap().1, update.id, "a long way is no loop");
}

#[test]
fn the_reflog_cannot_be_changed_and_shows_when_it_was() {
    let (_temp, depot) = depot();
    for n in 0..3 {
        commit(&depot, &name("production"), &n.to_string(), n);
    }
    let connection = Connection::open(depot.store.root().join("catalogue.db")).unwrap();
    for sql in ["UPDATE reflog SET actor = 'eve'", "DELETE FROM reflog"] {
        assert!(connection.execute(sql, []).unwrap_err().to_string().contains("append-only"));
    }
    connection.execute_batch("DROP TRIGGER reflog_keeps").unwrap();
    connection.execute("UPDATE reflog SET actor = 'eve' WHERE number = 2", []).unwrap();
    let error = depot.catalogue.verify_reflog().unwrap_err().to_string();
    assert!(error.contains("reflog entry 2"), "{error}");
}

#[test]
fn the_chain_says_what_was_changed_dropped_or_cut_off() {
    let faults = |tamper: &str| {
        let (_temp, depot) = depot();
        for n in 0..3 {
            commit(&depot, &name("production"), &n.to_string(), n);
        }
        depot.catalogue.link(&name("latest"), &name("production"), &signer(3), "").unwrap();
        let connection = Connection::open(depot.store.root().join("catalogue.db")).unwrap();
        connection.execute_batch("DROP TRIGGER reflog_keeps; DROP TRIGGER reflog_stays").unwrap();
        connection.execute_batch(tamper).unwrap();
        let chain = depot.catalogue.verify_chain().unwrap();
        chain.faults.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(faults(""), [""; 0]);
    assert_eq!(faults("UPDATE reflog SET reason = 'x' WHERE number = 2"), ["reflog entry 2: was changed"]);
    let dropped = faults("DELETE FROM reflog WHERE number = 2");
    assert_eq!(dropped[0], "reflog entry 3: does not follow the entry before it");
    let cut = faults("DELETE FROM reflog WHERE number > 2");
    assert_eq!(
        cut,
        [
            "ref latest: is in no entry of the reflog",
            "ref production: is not what its last move, to generation 2, has made it",
        ]
    );
    assert_eq!(faults("UPDATE refs SET updated = 9 WHERE name = 'latest'").len(), 1);
    let lost = faults("DELETE FROM refs WHERE name = 'latest'");
    assert_eq!(lost, ["ref latest: is in the reflog and not among the refs"]);
    let unreadable = faults("UPDATE reflog SET ref = 'a//b' WHERE number = 1");
    assert!(unreadable[0].starts_with("reflog entry 1: cannot be read"), "{unreadable:?}");
}

#[test]
fn digests_find_only_live_blobs() {
    let (_temp, depot) = depot();
    let blob = BlobId::of(b"content");
    let checksum = Checksum::new(Algorithm::Sha256, &[7; 32]).unwrap();
    assert_eq!(depot.catalogue.blob_by_checksum(&checksum).unwrap(), None);
    depot.catalogue.record_blobs([(blob, 7, &[checksum][..])]).unwrap();
    assert_eq!(depot.catalogue.blob_by_checksum(&checksum).unwrap(), Some((blob, 7)));
    let other = Checksum::new(Algorithm::Sha512, &[7; 64]).unwrap();
    assert_eq!(depot.catalogue.blob_by_checksum(&other).unwrap(), None);
}

#[test]
fn a_catalogue_of_the_future_or_of_others_is_not_touched() {
    let (temp, depot) = depot();
    let path = depot.store.root().join("catalogue.db");
    drop(depot);
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Catalogue::open(&path), Err(CatalogueError::TooNew { found: 99, .. })));
    let foreign = temp.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
    assert!(matches!(Catalogue::open(&foreign), Err(CatalogueError::Unusable { .. })));
    let _ = Store::open(temp.path());
}
