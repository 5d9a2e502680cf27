//! Bytes of a small store, flipped one after the other: each is found, or is none that says anything.

use std::hash::{BuildHasher, RandomState};

use super::*;
use crate::catalogue::tamper::dump;

/// Of so many bytes of the catalogue that say something, one is flipped in a run of the tests; which, is drawn anew.
/// The other files are flipped byte by byte.
const ONE_IN: usize = 10;
/// Of so many findings in the catalogue and in commit files, one is mended, which takes longer than to find it.
const MEND_ONE_IN: usize = 60;

fn copy_tree(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

/// Writes a file of the database; what SQLite keeps beside it goes.
fn write_database(root: &Path, name: &str, bytes: &[u8], other: &[(&str, Vec<u8>)]) {
    for name in ["catalogue.db-wal", "catalogue.db-shm"] {
        let _ = fs::remove_file(root.join(name));
    }
    for (name, bytes) in other {
        fs::write(root.join(name), bytes).unwrap();
    }
    fs::write(root.join(name), bytes).unwrap();
}

/// The flips of a file: single bytes, and whole runs of zeros at once, of which most are room.
fn flips(bytes: &[u8], one_in: usize, seed: u64) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let zeros = bytes[at..].iter().take_while(|byte| **byte == 0).count();
        if zeros >= 32 {
            found.push(at..at + zeros);
            at += zeros;
        } else {
            if (at as u64).wrapping_add(seed).is_multiple_of(one_in as u64) {
                found.push(at..at + 1);
            }
            at += 1;
        }
    }
    found
}

/// Flips parts of one database file in `root`; returns how many were found, mended, and said nothing.
fn flip_database(root: &Path, name: &str, copy: &Path, one_in: usize, part: usize) -> [usize; 3] {
    let seed = RandomState::new().hash_one("cfs");
    let names = ["catalogue.db", "catalogue.db-wal", "reflog"];
    let other: Vec<(&str, Vec<u8>)> = names
        .into_iter()
        .filter(|other| *other != name)
        .filter_map(|other| Some((other, fs::read(root.join(other)).ok()?)))
        .collect();
    let good = fs::read(root.join(name)).unwrap();
    let meaning = dump(root);
    let mut counts = [0; 3];
    for (number, range) in flips(&good, one_in, seed).into_iter().enumerate().filter(|(n, _)| n % 2 == part) {
        let mut bad = good.clone();
        for at in range.clone() {
            bad[at] ^= 1 << (at % 8);
        }
        write_database(root, name, &bad, &other);
        let found = look_at(root, Level::Data);
        if found.is_empty() {
            assert_eq!(dump(root), meaning, "{name}: bytes {range:?} of {} were changed unseen", good.len());
            counts[2] += 1;
            continue;
        }
        counts[0] += 1;
        let judged = found[0].object != Object::Path(TOO_NEW.into());
        if number % MEND_ONE_IN == part && judged {
            let repaired = mend(root, &found, copy);
            assert_eq!(look_at(root, Level::Data), [], "{name}: {range:?}: {found:?}, {repaired:?}");
            let refs = Depot::open(root).unwrap().catalogue.refs().unwrap();
            assert_eq!(refs, Depot::open(copy).unwrap().catalogue.refs().unwrap());
            counts[1] += 1;
        }
    }
    write_database(root, name, &good, &other);
    counts
}

/// In two threads, each with a store of its own.
fn flip_in_two(root: &Path, name: &str, copy: &Path, one_in: usize) -> [usize; 3] {
    let second = root.with_extension("second");
    copy_tree(root, &second);
    let (a, b) = std::thread::scope(|scope| {
        let other = scope.spawn(|| flip_database(&second, name, copy, one_in, 1));
        (flip_database(root, name, copy, one_in, 0), other.join().unwrap())
    });
    fs::remove_dir_all(second).unwrap();
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

#[test]
fn no_byte_of_the_catalogue_changes_unseen() {
    let (_temp, root, copy) = small_and_copy();
    Depot::open(&root).unwrap().catalogue.checkpoint().unwrap();
    let counts = flip_in_two(&root, "catalogue.db", &copy, ONE_IN);
    println!(
        "catalogue.db: {} flips were found, {} of them mended, {} say nothing",
        counts[0], counts[1], counts[2]
    );
    assert!(counts[0] > 500 && counts[1] > 5);
}

#[test]
fn no_byte_of_the_write_ahead_log_changes_unseen() {
    let (_temp, root, copy) = small_and_copy();
    assert!(fs::metadata(root.join("catalogue.db-wal")).unwrap().len() > 100_000);
    let counts = flip_in_two(&root, "catalogue.db-wal", &copy, ONE_IN * 50);
    println!("catalogue.db-wal: {} flips were found, {} say nothing", counts[0], counts[2]);
    assert!(counts[0] > 100);
}

#[test]
fn every_byte_of_every_other_file_is_watched_and_mended() {
    let (_temp, root, copy) = small_and_copy();
    Depot::open(&root).unwrap().catalogue.checkpoint().unwrap();
    let store = Store::open(&root).unwrap();
    let mut files = vec![(root.join("reflog"), MEND_ONE_IN)];
    files.extend(sweep_commits(&root).into_iter().map(|id| (store.commit_path(id), MEND_ONE_IN)));
    for byte in 0..=u8::MAX {
        files.extend(
            cfs_fs::sweep::blobs(&store, byte).unwrap().into_iter().map(|id| (store.blob_path(id), 1)),
        );
    }
    let (mut found, mut mended) = (0, 0);
    for (path, one_in) in files {
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            replace(&path, &bad);
            let findings = look(&root);
            assert!(!findings.is_empty(), "{}: byte {at} was changed unseen", path.display());
            found += 1;
            if at % one_in == 0 {
                let repaired = mend(&root, &findings, &copy);
                assert_eq!(look(&root), [], "{}: byte {at}: {findings:?}, {repaired:?}", path.display());
                mended += 1;
            }
            replace(&path, &good);
        }
    }
    println!("{found} bytes were flipped and found, {mended} of them mended");
    assert!(found > 1000 && mended > 30);
    // The word that says what a store is.
    let format = root.join("FORMAT");
    let good = fs::read(&format).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&format, bad).unwrap();
        assert!(Depot::open(&root).is_err(), "FORMAT: byte {at}");
    }
}
