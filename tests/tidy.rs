//! Rules of the house that a machine can hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// All files below the workspace's own directories, with their content.
fn sources(ending: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut dirs: Vec<PathBuf> = ["fs", "indexer", "cli", "tests", "docs"].map(|dir| root().join(dir)).into();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(!found.is_empty(), "no {ending} files found");
    found
}

/// The arrows that `docs/architecture.md` allows: module → modules it may use.
fn allowed_arrows() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let block = text.split("```arrows\n").nth(1).expect("an arrows block").split("```").next().unwrap();
    let line = |line: &str| {
        let (from, to) = line.split_once("->").expect("an arrow");
        (from.trim().to_owned(), to.split_whitespace().map(str::to_owned).collect())
    };
    block.lines().filter(|text| !text.trim().is_empty()).map(line).collect()
}

/// The modules that a file uses, as `crate::x` (of its own crate) and `cfs_fs::`, `cfs_indexer::`.
fn used(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    // What stands in comments and tests is no dependency.
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    for rest in code.split("crate::").skip(1) {
        let module: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        found.insert(module);
    }
    for (krate, short) in [("cfs_fs::", "fs"), ("cfs_indexer::", "indexer")] {
        if code.contains(krate) {
            found.insert(short.to_owned());
        }
    }
    found
}

#[test]
fn the_arrows_of_the_architecture_are_those_of_the_code() {
    let allowed = allowed_arrows();
    let mut seen = BTreeMap::<String, BTreeSet<String>>::new();
    for (name, text) in sources(".rs") {
        let Some((krate, path)) = name.split_once("/src/") else { continue };
        let module = path.split(['/', '.']).next().unwrap();
        if module == "lib" || module == "main" || path.ends_with("tests.rs") || krate == "cli" {
            continue;
        }
        let mut uses = used(&text);
        uses.remove(module);
        // Macros are exported at the top of a crate.
        uses.remove("id_type");
        seen.entry(format!("{krate}::{module}")).or_default().extend(uses);
    }
    assert_eq!(seen, allowed, "the code's arrows (left) and the document's (right) differ");
}

#[test]
fn the_fs_crate_knows_no_sql_and_no_indexer() {
    for (name, text) in sources(".rs") {
        let sql = ["SELECT ", "INSERT INTO", "rusqlite"].iter().any(|word| text.contains(word));
        let room = name.starts_with("indexer/src/catalogue");
        assert!(!sql || room || name.starts_with("tests/"), "{name}: SQL outside the catalogue");
        assert!(!name.starts_with("fs/") || !text.contains("cfs_indexer"), "{name}: fs uses the indexer");
    }
}

#[test]
fn only_the_rims_say_unsafe_and_tokio() {
    for (name, text) in sources(".rs") {
        let says =
            |word: &str| text.lines().any(|line| line.contains(word) && !line.trim_start().starts_with("//"));
        let rim = name == "indexer/src/sync/fetch.rs" || name.starts_with("indexer/src/sync/fetch/");
        assert!(
            rim || name.starts_with("tests/") || !says("tokio::") && !says("async fn"),
            "{name}: async outside the network"
        );
        let rim = name == "fs/src/fuse/kernel.rs" || name.starts_with("tests/");
        assert!(rim || !says("unsafe {") && !says("unsafe_code"), "{name}: unsafe code");
    }
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    for (name, text) in sources(".rs") {
        let lines = text.lines().count();
        assert!(lines <= 800, "{name}: {lines} lines");
        assert!(!name.ends_with("/mod.rs"), "{name}: mod.rs");
        for word in ["util", "common", "helpers", "misc"] {
            assert!(!name.split(['/', '.']).any(|part| part == word), "{name}: a room called {word}");
        }
        assert!(name.ends_with("tests.rs") || text.starts_with("//!"), "{name}: does not say what it is for");
    }
}

#[test]
fn the_project_speaks_of_itself_alone() {
    let words = ["/work/", ".library", "crates.io", "pypi.org", "static.rust-lang"];
    for ending in [".rs", ".md", ".toml", "run"] {
        for (name, text) in sources(ending) {
            for word in words {
                assert!(name == "tests/tidy.rs" || !text.contains(word), "{name}: says {word}");
            }
        }
    }
}
