use std::fs;

use super::*;
use crate::commands::demo::upstream::Upstream;

/// An upstream in a directory of its own.
fn published() -> (tempfile::TempDir, Upstream, Vec<TreePath>) {
    let dir = tempfile::tempdir().unwrap();
    let mut upstream = Upstream::new(dir.path());
    upstream.publish_first(1_700_000_000, 2).unwrap();
    let paths = Upstream::repositories().iter().map(|path| path.parse().unwrap()).collect();
    (dir, upstream, paths)
}

fn pass(dir: &Path, paths: &[TreePath]) -> Result<Pass, PassError> {
    Pass::over(&PlainDir::open(dir).unwrap(), paths, &|| false)
}

#[test]
fn a_pass_reads_everything_and_notices_every_change() {
    let (dir, mut upstream, paths) = published();
    let first = pass(dir.path(), &paths).unwrap();
    assert_eq!(first.packages, 72);
    assert_eq!(first.manifest.len(), 72 + 2 * 4);
    assert_eq!(fingerprint(&first.manifest), fingerprint(&pass(dir.path(), &paths).unwrap().manifest));

    fs::write(dir.path().join("BaseOS/extra"), "").unwrap();
    let more = pass(dir.path(), &paths).unwrap();
    assert_ne!(fingerprint(&first.manifest), fingerprint(&more.manifest));
    fs::remove_file(dir.path().join("BaseOS/extra")).unwrap();

    let package = dir.path().join("BaseOS/x86_64/os/Packages/elm-1.0-1.demo9.x86_64.rpm");
    let mut bytes = fs::read(&package).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&package, bytes).unwrap();
    let error = pass(dir.path(), &paths).unwrap_err();
    assert!(matches!(&error, PassError::Differs { path, .. } if path.contains("elm")), "{error}");
    fs::remove_file(&package).unwrap();
    let error = pass(dir.path(), &paths).unwrap_err();
    assert!(matches!(&error, PassError::Read { path, .. } if path.contains("elm")), "{error}");

    upstream.publish_update(1_700_000_100, 2).unwrap();
    assert!(matches!(pass(dir.path(), &paths), Err(PassError::Read { .. })));
}

#[test]
fn a_mixture_of_two_states_does_not_pass() {
    let (dir, mut upstream, paths) = published();
    let repodata = dir.path().join("BaseOS/x86_64/os/repodata");
    let old = fs::read(repodata.join("repomd.xml")).unwrap();
    upstream.publish_update(1_700_000_100, 2).unwrap();
    pass(dir.path(), &paths).unwrap();
    fs::write(repodata.join("repomd.xml"), old).unwrap();
    let error = pass(dir.path(), &paths).unwrap_err();
    assert!(matches!(&error, PassError::Read { path, .. } if path.contains("repodata/")), "{error}");
}

#[test]
fn a_directory_that_is_held_stays_the_same_when_its_name_moves() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["old", "new"] {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join("file"), name).unwrap();
    }
    let held = PlainDir::open(&dir.path().join("old")).unwrap();
    fs::rename(dir.path().join("old"), dir.path().join("gone")).unwrap();
    fs::rename(dir.path().join("new"), dir.path().join("old")).unwrap();
    let mut bytes = Vec::new();
    held.read("file", &mut |part| bytes.extend_from_slice(part)).unwrap();
    assert_eq!(bytes, b"old");
}

#[test]
fn a_pass_ends_when_it_is_told_to() {
    let (dir, _, paths) = published();
    let stopped = Pass::over(&PlainDir::open(dir.path()).unwrap(), &paths, &|| true);
    assert!(matches!(stopped, Err(PassError::Stopped)));
}
