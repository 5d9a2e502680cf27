//! Releases and groups as nobody should write them.

use crate::config::{ConfigError, parse};

/// A release whose every line has a number that tests can name.
const LINES: [&str; 16] = [
    "[release.9]",
    "name = 'Rocky Linux'",
    "short = 'Rocky'",
    "version = '9.7'",
    "arches = ['x86_64', 'aarch64']",
    "renames = { all = 'devel' }",
    "multilib = ['all']",
    "[release.9.upstream]",
    "url = 'https://host/$hashed$repo/$basearch'",
    "repositories = ['all', 'BaseOS',",
    "  'AppStream']",
    "[release.9.upstream.repository.BaseOS]",
    "sources = false",
    "[release.9.comps]",
    "all = 'comps-$repo.xml'",
    "[release.9.closure]",
];

/// What is wrong when a line, from 1, is another.
fn wrong(line: usize, other: &str) -> ConfigError {
    let mut lines = LINES;
    lines[line - 1] = other;
    parse(&lines.join("\n")).unwrap_err()
}

fn check(cases: &[(usize, &str, &str, Option<&str>)]) {
    assert!(parse(&LINES.join("\n")).is_ok());
    for (line, other, message, suggestion) in cases {
        let error = wrong(*line, other);
        assert!(error.message.contains(message), "{other}: {error}");
        assert_eq!(error.suggestion.as_deref(), *suggestion, "{other}: {error}");
        let within = *line..*line + other.lines().count();
        assert!(within.contains(&error.line), "{other}: {error}");
    }
}

#[test]
fn two_repositories_in_one_place_are_refused() {
    check(&[
        (
            6,
            "renames = { all = 'BaseOS' }",
            "in one place: \"all\" and \"BaseOS\" are both \"BaseOS\" in composes",
            None,
        ),
        (6, "renames = { all = 'x', AppStream = 'x' }", "\"all\" and \"AppStream\" are both \"x\"", None),
        (11, "  'AppStream', 'BaseOS']", "has the repository \"BaseOS\" twice", None),
        (5, "arches = ['x86_64', 'x86_64']", "has the architecture \"x86_64\" twice", None),
    ]);
    let sig = "[sig.core.9.upstream]\nurl = '/srv/$repo'\nrepositories = [\n'a',\n'a-debug']\n";
    let error = parse(sig).unwrap_err();
    assert_eq!(error.line, 5, "{error}");
    assert!(error.message.contains("\"a-debug\" and the debug packages of \"a\""), "{error}");
    assert!(parse(&sig.replace("url", "debug = false\nurl")).is_ok());
}

#[test]
fn repositories_that_a_release_does_not_have_are_told_with_what_was_meant() {
    let base = Some("BaseOS");
    check(&[
        (12, "[release.9.upstream.repository.BaesOS]", "\"BaesOS\", which is not in `repositories`", base),
        (6, "renames = {\n al = 'devel' }", "repository \"al\", which it does not have", Some("all")),
        (7, "multilib = ['BaesOS']", "the repository \"BaesOS\"", base),
        (15, "BaesOS = 'comps.xml'", "the repository \"BaesOS\"", base),
        (16, "[release.9.closure]\nBaesOS = []", "the repository \"BaesOS\"", base),
        (16, "[release.9.closure]\nBaseOS = []\nAppStream = ['BaesOS']", "the repository \"BaesOS\"", base),
        (
            16,
            "[release.9.iso.dvd]\nvariant = 'a'\nrepositories = ['BaesOS']",
            "the repository \"BaesOS\"",
            base,
        ),
        (16, "[release.9.closure]\nxyzzy = []", "the repository \"xyzzy\"", None),
    ]);
    // The line is that of the key, not of its table.
    let text =
        [&LINES[..15], &["[release.9.closure]\nBaseOS = []\nAppStream = [\n'all',\n'devle']"]].concat();
    let error = parse(&text.join("\n")).unwrap_err();
    assert_eq!((error.line, error.suggestion.as_deref()), (20, Some("devel")), "{error}");
    // Without `repositories` the tables say which there are.
    let tables = LINES.map(|line| if line.starts_with("rep") || line.contains("  'A") { "" } else { line });
    let tables =
        tables.join("\n").replace("all = 'devel'", "").replace("['all']", "[]").replace("all =", "BaseOS =");
    assert_eq!(parse(&tables).unwrap().releases["9"].upstream.names(), ["BaseOS"]);
}

#[test]
fn what_no_sync_would_take_is_refused() {
    let long = "a".repeat(300);
    let such = "names are letters, digits and _ - +";
    check(&[
        (2, "name = \"Rocky\\nLinux\"", "must be a line of text", None),
        (2, "name = ''", "must be a line of text", None),
        (3, &format!("short = '{long}'"), "aaa\"… (300 bytes); more than 64 bytes are too many", None),
        (3, "short = 'a/b'", such, None),
        (4, "version = '9.7.'", "versions are such as \"9.7\"", None),
        (4, "version = '../../x'", "versions are such as \"9.7\"", None),
        (4, "version = 'x/../y'", "versions are such as \"9.7\"", None),
        (5, "arches = ['../evil']", "architecture \"../evil\", which is unknown", None),
        (5, "arches = [\n'x86_64',\n'arch64']", "architecture \"arch64\"", Some("aarch64")),
        (6, "renames = { all = '../x' }", such, None),
        (9, "url = 'https://host/$repo/$basearhc'", "$basearhc\" stands for nothing", Some("$basearch")),
        (9, "url = 'https://host/$repository'", "\"$repository\" stands for nothing", None),
        (9, "url = 'https://host/$repo/$'", "stands for nothing", None),
        (9, "url = 'ftp://host/$repo'", "ftp: is not understood; http, https and file are", None),
        (2, "name = 'a'\nchecksum = 'md5'", "cfs writes sha256 checksums, and not \"md5\"", None),
        (2, "name = 'a'\nchecksum = 'sha512'", "cfs writes sha256 checksums, and not \"sha512\"", None),
        (9, "url = '/$repo'\nhashed = true", "has `hashed`, and `$hashed` is in no address", None),
        (9, "url = 'x/$repo'", "are, and whole paths of directories", None),
        (9, "url = \"https://host/\\n$repo\"", "control character", None),
        (9, "url = 'https://host/x'", "without `$repo`", None),
        (9, "url = 'https://$repo'\ndebug-url = 'http:///'", "empty host", None),
        (10, "gpg-keys = ['key', 'htp://key']\nrepositories = ['all', 'BaseOS',", "htp: is not", None),
        (11, &format!("  'AppStream', '{long}']"), "more than 64 bytes", None),
        (13, "source-url = 'ftp://host/$repo'", "ftp: is not understood", None),
        (13, "arches = ['x86-64']", "architecture \"x86-64\"", Some("x86_64")),
        (15, "all = 'comps-$rpeo.xml'", "\"$rpeo\" stands for nothing", Some("$repo")),
        (
            16,
            "[release.9.upstream.extra-files]\nurl = 'x'\nfiles = ['../y']",
            "the extra file \"../y\"",
            None,
        ),
    ]);
    let refs = format!("refs = '{}'\nmultilib = []", "a".repeat(81));
    check(&[(7, &refs, "more than 80 bytes", None)]);
    let sig =
        "[sig.core.9]\ndirectories = ['../x']\n[sig.core.9.upstream]\nurl = '/srv'\nrepositories = ['a']\n";
    for (text, line, message) in [
        (LINES.join("\n").replace("release.9", "release.'../x'"), 1, "is called \"../x\"; names"),
        (LINES.join("\n").replace("release.9", &format!("release.{long}")), 1, "more than 64 bytes"),
        (sig.to_owned(), 2, "has the directory \"../x\""),
        (sig.replace("../x", "x").replace("core", "'a b'"), 1, "has a group called \"a b\""),
        (sig.replace("../x", "x").replace("/srv", "srv"), 4, "whole paths of directories"),
        (sig.replace("../x", "x").replace('9', "'../9'"), 1, "a release called \"../9\""),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(error.message.contains(message) && error.line == line, "{text}: {error}");
    }
}
