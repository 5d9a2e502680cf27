use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cfs_fs::digest::{BlobId, NodeId, SnapshotId};
use cfs_fs::name::Name;
use cfs_fs::store::Store;
use cfs_fs::tree::{Entry, Item, Kind as ItemKind, NodeMap, Stage};

use super::*;
use crate::backup::{Blobs, backup};
use crate::catalogue::tamper::{BELOW, sql};
use crate::catalogue::{CatalogueError, Condemned, Draft, HookRun, Signer, Taken, Upstream};
use crate::checksum::{Algorithm, Hasher};
use crate::reindex::reindex;

mod flips;

/// What stands for a catalogue that nobody can judge.
const TOO_NEW: &str = "too new";

/// A place where syncing costs nothing, if there is one.
pub(super) fn place() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    place.unwrap()
}

fn signer(now: i64) -> Signer {
    Signer { actor: "tester@here".into(), tool: "test 1".into(), now }
}

fn entry(name: &str, kind: ItemKind) -> Entry {
    Entry { name: Name::new(name).unwrap(), item: Item { mtime: 1_000, kind } }
}

/// Commits `files` (name, content) in a directory `pub`.
fn commit(depot: &Depot, name: &str, files: &[(&str, &str)], now: i64) -> SnapshotId {
    let contents: Vec<&[u8]> = files.iter().map(|(_, content)| content.as_bytes()).collect();
    let blobs = depot.add_blobs(&contents).unwrap();
    let none = NodeMap::new();
    let mut stage = Stage::new(&none);
    let mut entries: Vec<Entry> = files
        .iter()
        .zip(blobs)
        .map(|((name, _), (blob, size_bytes))| {
            entry(name, ItemKind::File { blob, size_bytes, executable: false })
        })
        .collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let dir = stage.write_dir(&entries);
    let link = entry("link", ItemKind::Symlink { target: "pub".into() });
    let root = stage.write_dir(&[link, entry("pub", ItemKind::Dir(dir))]);
    let mut draft = Some(Draft {
        root: Item { mtime: 1_000, kind: ItemKind::Dir(root) },
        nodes: stage.into_new_nodes(),
        taken: Taken::default(),
        parents: Vec::new(),
        access: None,
        meta: BTreeMap::new(),
        message: "m".into(),
        reason: "import x".into(),
    });
    let update = depot.catalogue.update_ref(&depot.store, &name.parse().unwrap(), &signer(now), |_| {
        Ok::<_, CatalogueError>(draft.take())
    });
    update.unwrap().unwrap().id
}

/// A store with rows in every table: two snapshots of `compose`, one of `other`, a symbolic ref.
pub(super) fn small(root: &Path) -> Depot {
    let depot = Depot::create(root).unwrap();
    let first = commit(&depot, "compose", &[("a", "content of a"), ("b", "b")], 10);
    commit(&depot, "compose", &[("a", "content of a"), ("c", "see")], 20);
    commit(&depot, "other", &[("d", "dee")], 30);
    let catalogue = &depot.catalogue;
    catalogue.link(&"latest".parse().unwrap(), &"compose".parse().unwrap(), &signer(40), "link").unwrap();
    let digests = [Algorithm::Sha256, Algorithm::Sha1].map(|algorithm| {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(b"content of a");
        hasher.finish().checksum
    });
    catalogue.record_stored(&depot.store, [(BlobId::of(b"content of a"), 12, &digests[..])]).unwrap();
    let upstream = Upstream {
        url: "http://upstream/".into(),
        repomd: BlobId::of(b"b"),
        tree: NodeId::of(b"x"),
        policy: "1".into(),
        synced: 5,
    };
    catalogue.record_upstream(&"compose:pub".parse().unwrap(), &upstream).unwrap();
    catalogue.record_unfinished(&"other:pub".parse().unwrap(), 6, "no").unwrap();
    catalogue.begin_hook("tell").unwrap();
    let run = HookRun { hook: "tell".into(), entry: 1, at: 7, succeeded: true, output: "said".into() };
    catalogue.record_hook_run(&run).unwrap();
    catalogue.pin(first, &signer(8), "why").unwrap();
    let number = catalogue.begin_collection(9).unwrap();
    catalogue.set_leases(number, &["1-1".to_owned()]).unwrap();
    catalogue
        .hold_still("condemn", |moment| {
            moment.condemn(Condemned::Commit(SnapshotId::of(b"never")), number)?;
            moment.condemn(Condemned::Blob(BlobId::of(b"nothing")), number)
        })
        .unwrap();
    depot
}

fn options(level: Level) -> Options {
    Options { level, now: 100, rate_bytes: None, restart: true }
}

/// What a check at the highest level that reads everything finds; one of the catalogue's opening counts.
pub(super) fn look(root: &Path) -> Vec<Finding> {
    look_at(root, Level::Data)
}

fn look_at(root: &Path, level: Level) -> Vec<Finding> {
    match Depot::open(root) {
        // Nobody touches what a newer cfs has made, or seems to have made.
        Err(error @ CatalogueError::TooNew { .. }) => {
            vec![Finding::new(Kind::CatalogueUnreadable, Object::Path(TOO_NEW.into()), error.to_string())]
        }
        Err(error) => vec![unreadable(&error).unwrap_or_else(|| panic!("{error}"))],
        Ok(depot) => check(&depot, &options(level), &mut |_| ControlFlow::Continue(())).unwrap().findings,
    }
}

/// Repairs with the help of another store.
pub(super) fn mend(root: &Path, findings: &[Finding], other: &Path) -> Repaired {
    let sources = Sources { stores: vec![Store::open(other).unwrap()], upstreams: None };
    repair(root, findings, &sources, 200).unwrap()
}

/// A small store and a copy of it with everything.
fn small_and_copy() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let temp = place();
    let (root, copy) = (temp.path().join("s"), temp.path().join("copy"));
    let depot = small(&root);
    let report = backup(&depot, &copy, Blobs::Copy, false, &mut |_, _| ControlFlow::Continue(())).unwrap();
    assert_eq!((report.blobs, report.commits, report.bad.len()), (4, 3, 0));
    (temp, root, copy)
}

/// Replaces a file of the store, which may be read-only.
pub(super) fn replace(path: &Path, bytes: &[u8]) {
    let mode = fs::metadata(path).map_or(0o644, |meta| meta.permissions().mode());
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_whole_store_has_no_findings_at_any_level_and_what_was_not_looked_at_is_said() {
    let temp = place();
    let depot = small(&temp.path().join("s"));
    for level in [Level::Quick, Level::Tree, Level::Data, Level::Upstream] {
        let report = check(&depot, &options(level), &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(report.findings, [], "{level:?}");
        assert!(!report.is_damaged() && !report.unchecked.is_empty());
        let Checked { refs, moves, snapshots, nodes, blobs, read_bytes, .. } = report.checked;
        assert_eq!((refs, moves, snapshots), (3, 4, 3));
        assert_eq!(nodes > 0, level > Level::Quick);
        assert_eq!(
            (blobs, read_bytes),
            match level {
                Level::Quick => (0, 0),
                Level::Data => (4, 19),
                _ => (4, 0),
            }
        );
    }
}

/// What is done to a store.
type Tamper = fn(&Path);

fn blob(root: &Path, content: &str) -> PathBuf {
    Store::open(root).unwrap().blob_path(BlobId::of(content.as_bytes()))
}

/// Damage of the catalogue and of what repeats it.
fn damage_of_the_catalogue() -> Vec<(Kind, Level, Tamper)> {
    vec![
        (Kind::CatalogueUnreadable, Level::Quick, |root| {
            fs::remove_file(root.join("catalogue.db-wal")).unwrap();
            replace(&root.join("catalogue.db"), b"nothing");
        }),
        (Kind::CatalogueSchema, Level::Quick, |root| sql(root, "DROP TRIGGER reflog_keeps")),
        (Kind::CatalogueRow, Level::Quick, |root| {
            sql(root, "DROP TRIGGER pins_seal_update; UPDATE pins SET reason = 'because'");
        }),
        (Kind::Reflog, Level::Quick, |root| {
            sql(root, "DROP TRIGGER reflog_keeps; UPDATE reflog SET actor = 'eve' WHERE number = 2");
        }),
        (Kind::ReflogAhead, Level::Quick, |root| {
            sql(
                root,
                "DROP TRIGGER reflog_stays; DELETE FROM reflog WHERE number = 4;
                 DELETE FROM refs WHERE name = 'latest'",
            );
        }),
        (Kind::ReflogCopy, Level::Quick, |root| {
            let mut bytes = fs::read(root.join("reflog")).unwrap();
            bytes[40] ^= 1;
            replace(&root.join("reflog"), &bytes);
        }),
        (Kind::ReflogBehind, Level::Quick, |root| fs::remove_file(root.join("reflog")).unwrap()),
        (Kind::SnapshotDamaged, Level::Quick, |root| sql(root, "UPDATE snapshots SET created = created + 1")),
        (Kind::SnapshotMissing, Level::Quick, |root| {
            sql(root, "PRAGMA foreign_keys = OFF; DELETE FROM snapshots WHERE created = 20");
        }),
    ]
}

/// Damage of nodes, commit files and blobs.
fn damage_of_the_store() -> Vec<(Kind, Level, Tamper)> {
    vec![
        (Kind::NodeMissing, Level::Tree, |root| sql(root, &format!("DELETE FROM nodes WHERE {BELOW}"))),
        (Kind::NodeDamaged, Level::Tree, |root| {
            sql(root, &format!("UPDATE nodes SET data = CAST(data || 'x' AS BLOB) WHERE {BELOW}"));
        }),
        (Kind::CommitMissing, Level::Tree, |root| {
            for id in sweep_commits(root) {
                fs::remove_file(Store::open(root).unwrap().commit_path(id)).unwrap();
            }
        }),
        (Kind::CommitDamaged, Level::Tree, |root| {
            for id in sweep_commits(root) {
                let path = Store::open(root).unwrap().commit_path(id);
                let mut bytes = fs::read(&path).unwrap();
                bytes.pop();
                replace(&path, &bytes);
            }
        }),
        (Kind::BlobUnrecorded, Level::Tree, |root| sql(root, "DELETE FROM objects WHERE size = 1")),
        (Kind::BlobMissing, Level::Tree, |root| fs::remove_file(blob(root, "see")).unwrap()),
        (Kind::BlobSize, Level::Tree, |root| replace(&blob(root, "see"), b"se")),
        (Kind::BlobMode, Level::Tree, |root| {
            fs::set_permissions(blob(root, "see"), fs::Permissions::from_mode(0o644)).unwrap();
        }),
        (Kind::BlobDamaged, Level::Data, |root| replace(&blob(root, "see"), b"sea")),
        (Kind::DigestWrong, Level::Data, |root| {
            sql(root, "UPDATE digests SET digest = zeroblob(32) WHERE algorithm = 4");
        }),
    ]
}

/// Every kind of damage is found by the lowest level that should, and mended from what there is.
#[test]
fn each_kind_of_damage_is_found_and_mended() {
    for (kind, level, tamper) in damage_of_the_catalogue().into_iter().chain(damage_of_the_store()) {
        let (_temp, root, copy) = small_and_copy();
        tamper(&root);
        let below = match level {
            Level::Data => look_at(&root, Level::Tree),
            Level::Tree => look_at(&root, Level::Quick),
            _ => Vec::new(),
        };
        assert!(below.iter().all(|finding| finding.kind != kind), "{kind}: {below:?}");
        let found = look_at(&root, level);
        assert!(found.iter().any(|finding| finding.kind == kind), "{kind}: {found:?}");
        let repaired = mend(&root, &found, &copy);
        // Pins and the like stand in the catalogue only.
        let lost = usize::from(matches!(kind, Kind::CatalogueUnreadable | Kind::CatalogueRow));
        assert_eq!(repaired.left.len(), lost, "{kind}: {repaired:?}");
        assert_eq!(look(&root), [], "{kind}: {repaired:?}");
        let depot = Depot::open(&root).unwrap();
        assert_eq!(depot.catalogue.refs().unwrap().len(), 3, "{kind}");
        assert_eq!(depot.store.read_blob(BlobId::of(b"see")).unwrap(), b"see", "{kind}");
    }
}

fn sweep_commits(root: &Path) -> Vec<SnapshotId> {
    cfs_fs::sweep::commits(&Store::open(root).unwrap()).unwrap()
}

#[test]
fn what_has_no_source_is_told_and_goes_to_quarantine() {
    let temp = place();
    let root = temp.path().join("s");
    drop(small(&root));
    let store = Store::open(&root).unwrap();
    replace(&store.blob_path(BlobId::of(b"see")), b"sea");
    let found = look(&root);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].places, ["compose:pub/c"]);
    let repaired = mend(&root, &found, &root);
    assert!(repaired.left[0].contains("not to be had"), "{repaired:?}");
    let kept: Vec<_> = fs::read_dir(store.quarantine_dir()).unwrap().collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(fs::read(kept[0].as_ref().unwrap().path()).unwrap(), b"sea");
    assert_eq!(look(&root)[0].kind, Kind::BlobMissing);
}

#[test]
fn a_lost_catalogue_is_rebuilt_from_the_store_alone() {
    let (_temp, root, _) = small_and_copy();
    let before = Depot::open(&root).unwrap();
    let (refs, history) = (before.catalogue.refs().unwrap(), before.catalogue.history().unwrap());
    let snapshots = before.catalogue.all_snapshots().unwrap();
    drop(before);
    // A commit file that was never committed is nobody's snapshot.
    for name in ["catalogue.db", "catalogue.db-wal", "catalogue.db-shm"] {
        let _ = fs::remove_file(root.join(name));
    }
    let dry = reindex(&root, 300, true, &mut |_, _| ControlFlow::Continue(())).unwrap();
    assert!(!root.join("catalogue.db").exists() && !root.join("catalogue.new.db").exists());
    let report = reindex(&root, 300, false, &mut |_, _| ControlFlow::Continue(())).unwrap();
    assert_eq!((report.refs, report.moves, report.snapshots, report.whole), (3, 4, 3, 3));
    assert_eq!((dry.refs, dry.nodes, dry.blobs), (report.refs, report.nodes, report.blobs));
    assert_eq!(report.lost, [""; 0]);
    let after = Depot::open(&root).unwrap();
    assert_eq!(after.catalogue.refs().unwrap(), refs);
    assert_eq!(after.catalogue.history().unwrap(), history);
    assert_eq!(after.catalogue.all_snapshots().unwrap(), snapshots);
    assert_eq!(look(&root), []);
    commit(&after, "compose", &[("a", "content of a")], 400);
    assert_eq!(look(&root), []);
}

#[test]
fn a_catalogue_from_yesterday_has_lost_moves_and_gets_them_back() {
    let (_temp, root, copy) = small_and_copy();
    let depot = Depot::open(&root).unwrap();
    let newest = commit(&depot, "compose", &[("e", "new")], 50);
    drop(depot);
    for name in ["catalogue.db-wal", "catalogue.db-shm"] {
        let _ = fs::remove_file(root.join(name));
    }
    fs::copy(copy.join("catalogue.db"), root.join("catalogue.db")).unwrap();
    let found = look(&root);
    assert_eq!(
        found.iter().map(|finding| finding.kind).collect::<Vec<_>>(),
        [Kind::ReflogAhead],
        "{found:?}"
    );
    let report = reindex(&root, 300, false, &mut |_, _| ControlFlow::Continue(())).unwrap();
    assert_eq!((report.lost, report.kept.len()), (Vec::new(), 7));
    assert_eq!(look(&root), []);
    let depot = Depot::open(&root).unwrap();
    assert_eq!(depot.catalogue.current(&"compose".parse().unwrap()).unwrap().unwrap().id, newest);
    assert_eq!(depot.catalogue.pins().unwrap().len(), 1, "what only the catalogue had was taken over");
}

#[test]
fn a_snapshot_that_is_committed_twice_keeps_its_nodes() {
    let temp = place();
    let root = temp.path().join("s");
    let depot = Depot::create(&root).unwrap();
    let files = [("a", "content of a")];
    let first = commit(&depot, "one", &files, 10);
    assert_eq!(commit(&depot, "other", &files, 10), first, "nothing tells them apart");
    drop(depot);
    assert_eq!(look(&root), []);
    fs::remove_file(root.join("catalogue.db")).unwrap();
    fs::remove_file(root.join("catalogue.db-wal")).unwrap();
    let report = reindex(&root, 300, false, &mut |_, _| ControlFlow::Continue(())).unwrap();
    assert_eq!((report.whole, report.refs), (1, 2));
    assert_eq!(look(&root), []);
}

#[test]
fn a_catalogue_is_not_rebuilt_under_anybody() {
    let temp = place();
    let depot = small(&temp.path().join("s"));
    let lease = cfs_fs::store::lease::Lease::take(&depot.store).unwrap();
    let root = depot.store.root().to_owned();
    let again = || reindex(&root, 300, false, &mut |_, _| ControlFlow::Continue(()));
    assert!(matches!(again(), Err(crate::reindex::ReindexError::InUse { .. })));
    drop(lease);
    again().unwrap();
}

#[test]
fn a_backup_goes_on_where_it_was_and_deletes_nothing() {
    let (_temp, root, copy) = small_and_copy();
    let depot = Depot::open(&root).unwrap();
    commit(&depot, "compose", &[("e", "new")], 50);
    let run = |how, dry| backup(&depot, &copy, how, dry, &mut |_, _| ControlFlow::Continue(())).unwrap();
    assert_eq!(run(Blobs::Copy, true).blobs, 1);
    let report = run(Blobs::Link, false);
    assert_eq!((report.blobs, report.known, report.commits), (1, 4, 1));
    assert_eq!(look(&copy), []);
    let other = Depot::open(&copy).unwrap();
    assert_eq!(other.catalogue.refs().unwrap(), depot.catalogue.refs().unwrap());
    drop(other);
    let inside = backup(&depot, &root.join("in"), Blobs::Copy, false, &mut |_, _| ControlFlow::Continue(()));
    assert!(matches!(inside, Err(crate::backup::BackupError::Same { .. })));
    // A bad blob is told, and not copied.
    replace(&depot.store.blob_path(BlobId::of(b"see")), b"sea");
    let third = copy.with_extension("3");
    let report = backup(&depot, &third, Blobs::Copy, false, &mut |_, _| ControlFlow::Continue(())).unwrap();
    assert_eq!(report.bad, [BlobId::of(b"see")]);
    assert!(!Store::open(&third).unwrap().blob_path(BlobId::of(b"see")).exists());
}

#[test]
fn a_reading_that_is_stopped_goes_on_and_forgets_nothing() {
    let temp = place();
    let root = temp.path().join("s");
    let depot = small(&root);
    let mut ids: Vec<BlobId> = ["content of a", "b", "see", "dee"].map(|c| BlobId::of(c.as_bytes())).into();
    ids.sort_unstable();
    replace(&depot.store.blob_path(ids[0]), b"bad");
    let going_on = Options { restart: false, ..options(Level::Data) };
    let mut blobs = 0;
    let stopped = read_blobs(&depot, &going_on, &mut |progress| {
        blobs += u64::from(progress.phase == Phase::Data);
        // A byte and an end for each blob.
        if blobs > 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(FsckError::Stopped)));
    let report = read_blobs(&depot, &going_on, &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(report.resumed.is_some());
    assert!(report.checked.read_blobs < 4, "{:?}", report.checked);
    assert_eq!(report.findings.len(), 1, "what was found before the stop is not forgotten");
    let report = read_blobs(&depot, &going_on, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((report.resumed, report.checked.read_blobs), (None, 4), "the next one begins anew");
}
