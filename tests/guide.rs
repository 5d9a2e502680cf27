//! The guide is executed: every `console` block of `docs/guide/*.md` is run, and what it prints is compared.
//!
//! A file is one bash session in an empty directory, with `cfs` in the path and `CFS_STORE` set. Lines that begin
//! with `$ ` are commands, those with `> ` right behind one its further lines, others their output, in which `[..]` stands for anything in a line and a line
//! `...` for any lines. A file whose first line is `<!-- needs: mount createrepo_c -->` is skipped where something
//! of that is missing.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{Sandbox, installed, ran};

/// One command with what it should print.
struct Step {
    line: usize,
    command: String,
    expected: Vec<String>,
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if inside {
            if let Some(step) = steps.last_mut()
                && step.expected.is_empty()
                && (line.starts_with("> ") || line == ">")
            {
                step.command.push('\n');
                step.command.push_str(line.get(2..).unwrap_or(""));
                continue;
            }
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => {
                    steps.push(Step { line: number + 1, command: command.to_owned(), expected: Vec::new() });
                }
                (None, Some(step)) => step.expected.push(line.to_owned()),
                (None, None) => panic!("line {}: output before a command", number + 1),
            }
        }
    }
    steps
}

fn line_matches(expected: &str, printed: &str) -> bool {
    let mut rest = printed;
    let parts: Vec<&str> = expected.split("[..]").collect();
    for (index, part) in parts.iter().enumerate() {
        let found = if index == 0 { rest.starts_with(part).then_some(0) } else { rest.find(part) };
        let Some(at) = found else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || parts.len() > 1 && parts.last() == Some(&"")
}

fn lines_match(expected: &[String], printed: &[&str]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=printed.len()).any(|n| lines_match(rest, &printed[n..]))
        }
        Some((first, rest)) => printed
            .split_first()
            .is_some_and(|(line, more)| line_matches(first, line) && lines_match(rest, more)),
    }
}

fn available(need: &str) -> bool {
    match need {
        "mount" => {
            let found = Path::new("/dev/fuse").exists();
            if !found {
                eprintln!("skipped: no /dev/fuse");
            }
            found
        }
        "overlay" => crate::mount::can_work(),
        program => installed(program),
    }
}

fn run_guide(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let needs = text.strip_prefix("<!-- needs: ").and_then(|rest| rest.split_once(" -->"));
    if needs.is_some_and(|(needs, _)| !needs.split_whitespace().all(available)) {
        return;
    }
    let sandbox = Sandbox::new();
    let steps = steps(&text);
    let mut script = String::from("exec 2>&1\n");
    for (index, step) in steps.iter().enumerate() {
        writeln!(script, "{}\necho \"@@{index}@@\"", step.command).unwrap();
    }
    let bin = Path::new(env!("CARGO_BIN_EXE_cfs")).parent().unwrap().display().to_string();
    #[expect(clippy::disallowed_methods, reason = "tests read the environment")]
    let search = format!("{bin}:{}", std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell.args(["-c", &script]).current_dir(sandbox.path("")).env("PATH", search).env("LC_ALL", "C.UTF-8");
    shell.env("CFS_STORE", sandbox.store());
    let printed = ran(&mut shell).stdout;
    let mut rest = printed.as_str();
    for (index, step) in steps.iter().enumerate() {
        let mark = format!("@@{index}@@\n");
        let (output, more) =
            rest.split_once(&mark).unwrap_or_else(|| panic!("no mark {index} in:\n{printed}"));
        rest = more;
        let lines: Vec<&str> = output.lines().collect();
        let Step { line, command, expected } = step;
        let (file, wanted) = (path.display(), expected.join("\n"));
        assert!(
            lines_match(expected, &lines),
            "{file}:{line}: `{command}` printed\n{output}\ninstead of\n{wanted}"
        );
    }
}

#[test]
fn the_guide_does_what_it_says() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide");
    let mut chapters: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    chapters.sort();
    assert!(!chapters.is_empty());
    chapters.iter().for_each(|chapter| run_guide(chapter));
}

#[test]
fn patterns_match_what_they_should_and_nothing_else() {
    for (expected, printed, matches) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a[..]", "abc", true),
        ("[..]c", "abc", true),
        ("a[..]c[..]", "abcd", true),
        ("a[..]x", "abc", false),
        ("b[..]", "abc", false),
    ] {
        assert_eq!(line_matches(expected, printed), matches, "{expected} {printed}");
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(lines_match(&lines("a\n...\nc"), &["a", "b", "b", "c"]));
    assert!(!lines_match(&lines("a\n...\nc"), &["a", "b"]));
    assert!(!lines_match(&lines("a"), &["a", "b"]));
}
