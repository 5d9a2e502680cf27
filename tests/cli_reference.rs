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

#[test]
fn the_reference_is_what_the_command_says() {
    let sandbox = Sandbox::new();
    let top = help(&sandbox, &[]);
    let verbs = top.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let verbs: Vec<&str> = verbs
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .collect();
    assert!(verbs.len() > 10, "{verbs:?}");
    let mut text =
        format!("# The command line\n\nGenerated from `cfs --help`; do not edit.\n\n```text\n{top}\n```\n");
    for verb in verbs {
        write!(text, "\n## cfs {verb}\n\n```text\n{}\n```\n", help(&sandbox, &[verb])).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    #[expect(clippy::disallowed_methods, reason = "tests read the environment")]
    if std::env::var("CFS_REGENERATE").is_ok() {
        fs::write(&path, &text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "docs/cli.md is out of date: run the tests with CFS_REGENERATE=1");
}
