//! Everything under `CFS_TEST_DATA` (or `../shared/data`): real files, and files that others have damaged, through every
//! reader. What cannot be used is an error that names it; nothing panics, and real metadata stays below the caps.

use std::fs;
use std::path::{Path, PathBuf};

use super::bodies;
use crate::harness::{Sandbox, real_data};

/// All files below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Whether a program said what it did, instead of breaking.
#[track_caller]
fn said_so(what: &Path, ran: &crate::harness::Ran) {
    let good = [0, 1, 3].contains(&ran.code) && !ran.stderr.contains("panicked");
    assert!(good, "{}: {ran:?}", what.display());
    assert!(ran.code == 0 || ran.stderr.contains("error: "), "{}: {ran:?}", what.display());
}

#[test]
fn every_damaged_file_is_a_value_or_an_error() {
    let Some(data) = real_data() else { return };
    let mut tried = 0;
    for path in files(&data) {
        let bytes = fs::read(&path).unwrap();
        // Whatever a file is called, somebody may bring it as something else.
        for (name, body) in bodies::ALL {
            if bytes.len() <= 4 << 20 || name == "primary" || name == "rpm_header" {
                body(&bytes[..bytes.len().min(32 << 20)]);
            }
        }
        tried += 1;
    }
    assert!(tried > 100, "only {tried} files");
}

#[test]
fn every_repository_is_synced_or_refused_by_name() {
    let Some(data) = real_data() else { return };
    let sandbox = Sandbox::with_store();
    let (mut synced, mut refused) = (0, 0);
    let all = files(&data);
    for path in all.iter().filter(|path| path.ends_with("repodata/repomd.xml")) {
        let dir = path.parent().unwrap().parent().unwrap();
        let target = format!("r{}", synced + refused);
        let ran = sandbox.run(["sync", dir.to_str().unwrap(), &target, "--allow-weak-checksums"]);
        said_so(path, &ran);
        assert!(!ran.stderr.contains("larger than"), "a cap is too tight for real metadata: {ran:?}");
        if ran.code == 0 { synced += 1 } else { refused += 1 }
    }
    assert!(synced + refused > 3, "{synced} and {refused}");
}

#[test]
fn every_directory_of_packages_is_imported_and_read() {
    let Some(data) = real_data() else { return };
    let sandbox = Sandbox::with_store();
    let ran = sandbox.run(["import", data.to_str().unwrap(), "corpus"]);
    said_so(&data, &ran);
    if ran.code != 0 {
        return;
    }
    let ran = sandbox.run(["repodata", "build", "corpus"]);
    said_so(&data, &ran);
    let ran = sandbox.run(["repodata", "build", "corpus", "--skip-broken"]);
    assert_ne!(ran.code, 101, "{ran:?}");
}
