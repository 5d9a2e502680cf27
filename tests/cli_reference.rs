//! `docs/cli.md` is what `cfs --help` says, all verbs together. `CFS_REGENERATE=1 cargo test` writes it anew.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::harness::Sandbox;

fn help(sandbox: &Sandbox, args: &[&str]) -> String {
    let text = sandbox.ok(args.iter().copied().chain(["--help"]));
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_end().to_owned()
}

/// The verbs that a help text lists.
fn verbs(help: &str) -> Vec<String> {
    let Some(list) = help.split("Commands:\n").nth(1) else { return Vec::new() };
    let lines = list.split("\n\n").next().unwrap().lines();
    lines
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .map(str::to_owned)
        .collect()
}

/// Writes the help of a verb and of those below it.
fn write_verb(text: &mut String, sandbox: &Sandbox, words: &[&str]) {
    let said = help(sandbox, words);
    write!(text, "\n## cfs {}\n\n```text\n{said}\n```\n", words.join(" ")).unwrap();
    for verb in verbs(&said) {
        write_verb(text, sandbox, &[words, &[verb.as_str()]].concat());
    }
}

#[test]
fn the_reference_is_what_the_command_says() {
    let sandbox = Sandbox::new();
    let top = help(&sandbox, &[]);
    let all = verbs(&top);
    assert!(all.len() > 10, "{all:?}");
    let mut text =
        format!("# The command line\n\nGenerated from `cfs --help`; do not edit.\n\n```text\n{top}\n```\n");
    for verb in &all {
        write_verb(&mut text, &sandbox, &[verb]);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    #[expect(clippy::disallowed_methods, reason = "tests read the environment")]
    if std::env::var("CFS_REGENERATE").is_ok() {
        fs::write(&path, &text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "docs/cli.md is out of date: run the tests with CFS_REGENERATE=1");
}
