//! Records of packages against those of `createrepo_c`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::checkout;
use crate::harness::repo::{TIME, put};
use crate::harness::{Sandbox, installed, ran, real_data};

/// Copies all packages below `dir`, named by their whole paths, and returns how many.
fn gather(root: &Path, dir: &Path, to: &Path) -> usize {
    let mut count = 0;
    let mut entries: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            count += gather(root, &path, to);
        } else if path.extension().is_some_and(|ending| ending == "rpm") {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().replace('/', "_");
            put(&to.join("Packages").join(name), &fs::read(&path).unwrap(), TIME + count as u64);
            count += 1;
        }
    }
    count
}

/// Whether a difference is one of those that the document lists, with their reasons.
fn is_meant(line: &str) -> bool {
    // A control character in a changelog makes no package unusable.
    let kept = line.contains("rpmlint_binary_ruby2.6-rubygem-fast_gettext")
        || line.contains(" ruby2.6-rubygem-fast_gettext:");
    // The size of the payload of packages of the sixth format is known.
    let sixth = line.starts_with("primary")
        && line.contains(" size {")
        && (line.contains("_v6_") || line.contains("-v6-"));
    // Needed by scripts of a transaction is needed before; createrepo_c says so since 1.0.
    let transaction = line.contains("Archer-3.4.5-6") && (line.contains("'foog'") || line.contains("'fooh'"));
    // Letters of ISO 8859-1 are letters, those from 0x80 to 0xbf too.
    let letters = line.contains("balicek-iso88592") || line.contains("rpm-with-non-utf-8-1-1");
    let letters =
        letters && [" summary {", " description {", " changelog {"].iter().any(|part| line.contains(part));
    kept && line.ends_with("only in the first") || sixth || transaction || letters
}

#[test]
fn records_of_all_real_packages_are_those_of_createrepo_c() {
    let Some(data) = real_data() else { return };
    if !["createrepo_c", "python3", "zstd"].iter().all(|program| installed(program)) {
        return;
    }
    let sandbox = Sandbox::with_store();
    let upstream = sandbox.path("upstream");
    let count = gather(&data, &data, &upstream);
    assert!(count > 100, "{count}");
    sandbox.ok(["import", "upstream", "repo"]);
    let report = sandbox.json(["repodata", "build", "repo", "--skip-broken"]).remove(0);
    let broken: BTreeSet<&str> =
        report["broken"].as_array().unwrap().iter().map(|broken| broken["path"].as_str().unwrap()).collect();
    // Control characters in the names of dependencies.
    assert!(broken.len() <= 2 && broken.iter().all(|path| path.contains("rpmlint")), "{broken:?}");
    // The same file under two names is read once.
    let read = report["packages_read"].as_u64().unwrap();
    assert!((100..=count as u64).contains(&read), "{read} of {count}");
    let ours = checkout(&sandbox, "repo", "ours");
    // What it cannot read it leaves out and reports with a non-zero status.
    let made =
        ran(Command::new("createrepo_c").env("LC_ALL", "C").args(["-q", "--no-database"]).arg(&upstream));
    assert!(upstream.join("repodata/repomd.xml").exists(), "{made:?}");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/compare_repodata.py");
    let compared = ran(Command::new("python3").arg(script).arg(&ours).arg(&upstream));
    assert_eq!(compared.code, 0, "{compared:?}");
    let not_meant: Vec<&str> = compared.stdout.lines().filter(|line| !is_meant(line)).collect();
    assert!(not_meant.is_empty(), "{}\n{}", not_meant.join("\n"), compared.stderr);
    assert!(compared.stderr.contains("compared 1"), "{}", compared.stderr);
}
