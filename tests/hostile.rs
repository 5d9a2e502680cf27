//! Attacks: every one that is known of stores like this has a row in `docs/hostile-input.md`, and the tests that the row
//! names exist. Those that are about nothing else are here; others stand beside what they are about.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "fuzz/bodies.rs"]
#[expect(clippy::expect_used, reason = "a body says what must hold")]
mod bodies;
mod corpus;
mod files;
mod fuzz;
mod mounts;
mod upstreams;
mod web;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The names of all tests of the project.
pub fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut dirs: Vec<PathBuf> =
        ["fs/src", "indexer/src", "cli/src", "tests"].map(|dir| root().join(dir)).into();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(path).unwrap();
                for block in text.split("#[test]").skip(1) {
                    let name = block.split("fn ").nth(1).unwrap_or_default();
                    found.insert(name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
                }
                // proptest's tests stand in a macro, with arguments.
                let in_macro = text.split("proptest! {").skip(1).flat_map(|block| block.split("fn ").skip(1));
                found.extend(in_macro.map(|rest| {
                    rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
                }));
            }
        }
    }
    found
}

#[test]
fn every_attack_has_its_tests() {
    let text = fs::read_to_string(root().join("docs/hostile-input.md")).unwrap();
    let tests = tests();
    let mut numbers = Vec::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, number, _, _, named, _] = cells[..] else { continue };
        let Ok(number) = number.parse::<u32>() else { continue };
        numbers.push(number);
        let named: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "attack {number} has no test");
        for name in named {
            assert!(tests.contains(name), "attack {number}: there is no test {name}");
        }
    }
    assert_eq!(numbers, (1..=20).collect::<Vec<u32>>());
}
