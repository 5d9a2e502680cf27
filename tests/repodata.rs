//! Metadata made by cfs: what it says, when it is made anew, and what real clients make of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::packages::package;
use crate::harness::{Sandbox, ran};

mod building;
mod clients;
mod injecting;
mod killing;
mod listing;
mod records;

/// A sandbox whose ref `repo` holds, below `os`, the packages ant, bee and cat in version 1.
fn with_packages(config: &str) -> Sandbox {
    let sandbox = Sandbox::with_config(config);
    for name in ["ant", "bee", "cat"] {
        package(&sandbox.path("in/os/Packages"), name, "1");
    }
    sandbox.ok(["import", "in", "repo"]);
    sandbox
}

/// A fresh copy of what stands at a place.
fn checkout(sandbox: &Sandbox, place: &str, name: &str) -> PathBuf {
    let out = sandbox.path(name);
    let _ = fs::remove_dir_all(&out);
    sandbox.ok(["checkout", place, out.to_str().unwrap()]);
    out
}

fn repomd(sandbox: &Sandbox, place: &str) -> String {
    sandbox.ok(["cat", &format!("{place}/repodata/repomd.xml")])
}

/// What a metadata file holds uncompressed, whichever way it is compressed.
fn plain(path: &Path) -> String {
    let script =
        "case $0 in *.gz) zcat \"$0\";; *.xz) xzcat \"$0\";; *.zst) zstdcat \"$0\";; *) cat \"$0\";; esac";
    let done = ran(Command::new("sh").args(["-c", script]).arg(path));
    assert_eq!(done.code, 0, "{done:?}");
    done.stdout
}

/// The file of `repodata/` whose name holds `part`.
fn metadata(repository: &Path, part: &str) -> PathBuf {
    let names = fs::read_dir(repository.join("repodata")).unwrap();
    let mut found: Vec<PathBuf> = names
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().contains(part))
        .collect();
    found.sort();
    assert_eq!(found.len(), 1, "{part}: {found:?}");
    found.remove(0)
}
