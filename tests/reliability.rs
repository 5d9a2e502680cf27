//! `docs/reliability.md` names tests that exist.

use std::fs;
use std::path::Path;

use crate::hostile::tests;

#[test]
fn every_invariant_has_its_tests() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reliability.md");
    let text = fs::read_to_string(path).unwrap();
    let invariants = text.split("## Invariants").nth(1).unwrap().split("## What a crash").next().unwrap();
    let tests = tests();
    let mut numbers = Vec::new();
    for line in invariants.lines() {
        if let Some((Ok(number), _)) =
            line.split_once(". ").map(|(number, rest)| (number.parse::<u32>(), rest))
        {
            numbers.push(number);
        }
    }
    let all: Vec<u32> = (1..).take(numbers.len()).collect();
    assert_eq!(numbers, all, "invariants are numbered one after the other");
    for number in &numbers {
        let start = format!("\n{number}. ");
        let rest = invariants.split(&start).nth(1).unwrap();
        let end = format!("\n{}. ", number + 1);
        let words = rest.split(&end).next().unwrap().split('`').skip(1).step_by(2);
        let named: Vec<&str> = words.filter(|word| word.matches('_').count() > 2).collect();
        assert!(!named.is_empty(), "invariant {number} has no test");
        for name in named {
            assert!(tests.contains(name), "invariant {number}: no test is called {name}");
        }
    }
    assert!(numbers.len() >= 20);
}
