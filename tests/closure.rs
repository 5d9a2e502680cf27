//! `cfs closure`: its answers, and whether a resolver and `dnf repoclosure` give the same ones.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cfs_indexer::closure::load::read_primary;
use cfs_indexer::closure::universe::Universe;
use cfs_indexer::closure::{self, Question, Repositories};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::harness::{Ran, Sandbox, installed, ran, real_data};

mod made;

use made::Made;

const GOALS: &str = include_str!("closure/goals.py");

/// A sandbox whose ref `r` has one repository of each name.
fn sandbox(repositories: &[(&str, &[Made])]) -> Sandbox {
    let sandbox = Sandbox::with_store();
    for (name, packages) in repositories {
        made::write(&sandbox.path("host").join(name), packages);
    }
    sandbox.ok(["import", "host", "r"]);
    sandbox
}

fn app_and_base() -> (Vec<Made>, Vec<Made>) {
    let app = vec![
        Made::new("app").requires("lib >= 2").requires("/usr/share/data").requires("(missing and lib)"),
        Made::new("fine").requires("/usr/bin/tool").requires("(gone if absent)").requires("rpmlib(X) <= 1"),
        Made::new("torn").requires("fine").requires("left").requires("right"),
    ];
    let base = vec![
        Made::new("lib"),
        Made::new("tool").file("/usr/bin/tool", true).file("/usr/share/data", false),
        Made::new("left").with("conflicts", "right"),
        Made::new("right").requires("nothing"),
        Made::new("right").version("2"),
    ];
    (app, base)
}

#[test]
fn closure_names_what_is_missing_and_why() {
    let (app, base) = app_and_base();
    let sandbox = sandbox(&[("app", &app), ("base", &base)]);
    let found = sandbox.run(["closure", "r:app", "--lookaside", "r:base"]);
    assert_eq!(found.code, 1, "{found:?}");
    assert_eq!(
        found.stdout,
        "app-1-1.x86_64 in app\n  \
         requires lib >= 2: nothing provides it (there is 1-1)\n  \
         requires (missing and lib): nothing provides missing\n"
    );
    assert_eq!(found.stderr, "1 of 3 packages have problems\n");
    let found = sandbox.run(["closure", "r:app", "--lookaside", "r:base", "--installable", "--pkg", "torn"]);
    assert_eq!(found.code, 1, "{found:?}");
    assert_eq!(
        found.stdout,
        "torn-1-1.x86_64 in app\n  cannot be installed:\n    \
         torn-1-1.x86_64 requires left: left-1-1.x86_64\n    \
         torn-1-1.x86_64 requires right: right-1-1.x86_64, right-2-1.x86_64\n    \
         left-1-1.x86_64 conflicts with right: right-1-1.x86_64, right-2-1.x86_64\n"
    );
    let alone = sandbox.run(["--json", "closure", "r:app", "--arch", "x86_64"]);
    let first: serde_json::Value = serde_json::from_str(alone.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(first["package"], "app-1-1.x86_64");
    assert_eq!((&first["repository"], &first["arch"]), (&"app".into(), &"x86_64".into()));
    assert_eq!(first["unresolved"][0]["dependency"], "lib >= 2");
    assert_eq!(first["unresolved"][2]["missing"][1]["name"], "lib");
    assert_eq!(alone.stdout.lines().count(), 3);
    // All of a compose at once, and a part of it that is closed.
    let whole = sandbox.run(["-q", "closure", "r"]);
    assert_eq!(whole.stdout.matches(" in ").count(), 2, "{whole:?}");
    assert_eq!(sandbox.ok(["closure", "r", "--pkg", "fine", "--pkg", "lib"]), "");
    assert!(sandbox.fails(3, ["closure", "r", "--pkg", "nobody"]).contains("no package matches \"nobody\""));
    for (arch, hint) in [("x86_46", "is \"x86_64\" meant?"), ("nobody-knows", "there are aarch64, alpha, ")] {
        let error = sandbox.fails(2, ["closure", "r:app", "--arch", "x86_64", "--arch", arch]);
        assert!(
            error.contains(&format!("no architecture is called {arch:?}")) && error.contains(hint),
            "{error}"
        );
    }
    assert!(sandbox.fails(3, ["closure", "r:app/repodata"]).contains("no repository"));
}

#[test]
fn the_answer_does_not_depend_on_what_is_remembered() {
    let (app, mut base) = app_and_base();
    base.push(Made::new("asking").requires("/usr/share/other"));
    base.push(Made::new("giving").file("/usr/share/other", false));
    let sandbox = sandbox(&[("app", &app), ("base", &base)]);
    let answer = || sandbox.run(["--json", "closure", "r:app", "--lookaside", "r:base", "--installable"]);
    let cache = sandbox.store().join("cache.db");
    let forget = || {
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", cache.display()));
        }
    };
    let expected = answer();
    assert!(expected.code == 1 && expected.stdout.contains("torn"), "{expected:?}");
    let is_same = |what: &str| {
        let found = answer();
        assert_eq!(
            (found.code, &found.stdout, &found.stderr),
            (1, &expected.stdout, &expected.stderr),
            "{what}"
        );
    };
    is_same("with all of it remembered");
    let extracts = |what: &str| -> u64 {
        let cache = rusqlite::Connection::open(&cache).unwrap();
        let sql = format!("SELECT count(*) FROM extracts WHERE {what}");
        cache.query_row(&sql, [], |row| row.get(0)).unwrap()
    };

    forget();
    sandbox.ok(["closure", "r:base", "--pkg", "asking"]);
    is_same("with some of it remembered, and other files asked for");
    assert_eq!(extracts("true"), 4, "packages and owners of files of two repositories");
    let spoil = rusqlite::Connection::open(&cache).unwrap();
    spoil.execute("UPDATE extracts SET extract = x'28b52ffd00ff'", []).unwrap();
    drop(spoil);
    is_same("with damaged memories");
    assert_eq!(extracts("length(extract) = 6"), 0, "they are mended");
    forget();
    fs::write(&cache, "no database").unwrap();
    is_same("with a damaged memory");
    forget();
    fs::create_dir(&cache).unwrap();
    is_same("without any");
}

#[test]
fn closure_since_a_revision_finds_what_is_new() {
    let (mut app, mut base) = app_and_base();
    let sandbox = sandbox(&[("app", &app), ("base", &base)]);
    base.remove(1);
    app.push(Made::new("late").requires("later"));
    made::write(&sandbox.path("host/app"), &app);
    made::write(&sandbox.path("host/base"), &base);
    sandbox.ok(["import", "host", "r"]);
    let since = |args: &[&str]| -> Vec<String> {
        let mut all = vec!["--json", "closure", "r:app", "--lookaside", "r:base", "--since", "r@{1}"];
        all.extend(args);
        let found = sandbox.run(all);
        let problem = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let texts = value["unresolved"].as_array().unwrap().iter().map(|one| one["dependency"].clone());
            format!("{} {:?}", value["package"], texts.map(|text| text.to_string()).collect::<Vec<_>>())
        };
        let lines: Vec<String> = found.stdout.lines().map(problem).collect();
        assert_eq!(found.code, i32::from(!lines.is_empty()), "{found:?}");
        lines
    };
    let expected = [
        r#""app-1-1.x86_64" ["\"/usr/share/data\""]"#,
        r#""fine-1-1.x86_64" ["\"/usr/bin/tool\""]"#,
        r#""late-1-1.x86_64" ["\"later\""]"#,
    ];
    assert_eq!(since(&[]), expected);
    assert_eq!(since(&["--installable"]), expected);
    assert_eq!(sandbox.ok(["closure", "r:app", "--since", "r"]), "");
}

#[test]
fn the_gate_takes_lookasides_from_elsewhere() {
    let config = "[view.production]\ngates = [\"closure\"]\n[[view.production.closure]]\n\
                  repositories = [\"app\"]\nlookaside = [\"elsewhere:base\"]\n";
    let sandbox = Sandbox::with_config(config);
    made::write(&sandbox.path("host/app"), &[Made::new("app").requires("lib")]);
    sandbox.ok(["import", "host", "compose"]);
    let base = |package: Made| {
        made::write(&sandbox.path("other/base"), &[package]);
        sandbox.ok(["import", "other", "elsewhere"]);
        sandbox.run(["promote", "compose", "production", "--dry-run"])
    };
    let broken = base(Made::new("other"));
    assert!(broken.code == 1 && broken.stderr.contains("requires lib, which cannot be had"), "{broken:?}");
    // That the view's own repositories are the same does not hide what has changed elsewhere.
    assert_eq!(base(Made::new("lib")).code, 0);
    assert_eq!(base(Made::new("other")).code, 1);
    sandbox.ok(["config", "show"]);
}

#[test]
fn the_gate_refuses_what_would_break_a_view() {
    for only_new in [false, true] {
        let config = format!(
            "[view.production]\ngates = [\"closure\"]\n[[view.production.closure]]\n\
             repositories = [\"app\"]\nlookaside = [\"base\"]\nonly-new = {only_new}\n"
        );
        let sandbox = Sandbox::with_config(&config);
        let promote = |app: &[Made], base: &[Made], args: &[&str]| {
            made::write(&sandbox.path("host/app"), app);
            made::write(&sandbox.path("host/base"), base);
            sandbox.ok(["import", "host", "compose"]);
            sandbox.run(["promote", "compose", "production"].iter().chain(args))
        };
        let app = [Made::new("app").requires("lib")];
        let lib = [Made::new("lib")];
        assert_eq!(promote(&app, &lib, &[]).code, 0, "closed");
        let broken = promote(&app, &[Made::new("other")], &[]);
        assert_eq!(broken.code, 1, "{broken:?}");
        assert!(broken.stderr.contains("refused by closure\n"), "{broken:?}");
        assert!(
            broken.stderr.contains("app: app-1-1.x86_64 requires lib, which cannot be had"),
            "{broken:?}"
        );
        let forced = promote(&app, &[Made::new("other")], &["--force", "closure", "-m", "it is known"]);
        assert_eq!(forced.code, 0, "{forced:?}");
        // What is broken already is passed over only if that is wanted.
        let still = promote(&app, &[Made::new("another")], &[]);
        assert_eq!(still.code, i32::from(!only_new), "{still:?}");
        let worse = [Made::new("app").requires("lib"), Made::new("more").requires("missing")];
        let worse = promote(&worse, &[], &[]);
        assert_eq!(worse.code, 1, "{worse:?}");
        assert_eq!(worse.stderr.contains("requires lib"), !only_new, "{worse:?}");
        assert!(worse.stderr.contains("more-1-1.x86_64 requires missing"), "{worse:?}");
    }
    let sandbox = Sandbox::with_config("[view.production]\ngates = [\"closure\"]\n");
    sandbox.write("host/file", "1");
    sandbox.ok(["import", "host", "compose"]);
    assert!(sandbox.fails(1, ["promote", "compose", "production"]).contains("names no repositories"));
}

#[test]
fn packages_are_found_by_what_they_provide_and_require() {
    let (app, base) = app_and_base();
    let sandbox = sandbox(&[("app", &app), ("base", &base)]);
    let ask = |args: &[&str]| -> Vec<String> {
        let lines = sandbox.json(["packages", "r"].iter().chain(args).copied());
        lines.iter().map(|line| line["nevra"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ask(&["--whatprovides", "lib"]), ["lib-0:1-1.x86_64"]);
    assert_eq!(ask(&["--whatprovides", "right >= 2"]), ["right-0:2-1.x86_64"]);
    assert_eq!(ask(&["--whatprovides", "/usr/bin/tool"]), ["tool-0:1-1.x86_64"]);
    assert_eq!(ask(&["--whatprovides", "/usr/share/data"]), ["tool-0:1-1.x86_64"]);
    assert_eq!(ask(&["--requires", "lib"]), ["app-0:1-1.x86_64"]);
    assert_eq!(ask(&["--requires", "lib = 1"]), ["app-0:1-1.x86_64"], "in a rich dependency");
    assert_eq!(ask(&["--requires", "gone"]), ["fine-0:1-1.x86_64"]);
    assert_eq!(ask(&["--requires", "nothing", "--whatprovides", "right"]), ["right-0:1-1.x86_64"]);
    assert!(ask(&["--whatprovides", "nobody"]).is_empty());
    let line = sandbox.ok(["packages", "r:app", "--whatprovides", "fine"]);
    assert_eq!(line, "fine-0:1-1.x86_64 fine-1-1.x86_64.rpm\n");
    assert!(sandbox.fails(2, ["packages", "r", "--requires", "a ~ 1"]).contains("is no sign"));
    assert!(sandbox.fails(3, ["packages", "r:app/repodata", "--requires", "lib"]).contains("no repository"));
    // What differs between two states of a repository.
    let mut newer = app.clone();
    newer[0] = newer[0].clone().version("2");
    newer[1] = newer[1].clone().requires("more");
    newer[2].name = "whole".to_owned();
    made::write(&sandbox.path("host/app"), &newer);
    sandbox.ok(["import", "host", "r"]);
    let differs = sandbox.run(["diff", "r@{1}", "r", "--packages"]);
    let expected = "A app: whole-1-1.x86_64\nR app: torn-1-1.x86_64\n\
                    U app: app-1-1.x86_64 -> app-2-1.x86_64\nC app: fine-1-1.x86_64\n";
    assert_eq!((differs.code, differs.stdout.as_str()), (1, expected));
    assert_eq!(sandbox.ok(["diff", "r:base", "r@{1}:base", "--packages"]), "");
}

#[test]
fn a_changelog_tells_two_composes_apart() {
    let sandbox = Sandbox::with_store();
    let old = [
        Made::new("bar").changes(&["first", "second"]),
        Made::new("bar-devel").of_source("bar"),
        Made::new("gone"),
        Made::new("back").version("2"),
        Made::new("same").changes(&["first"]),
        Made::new("same").version("0"),
        Made::new("mover"),
    ];
    made::write(&sandbox.path("old/BaseOS/os"), &old);
    sandbox.write("old/isos/dvd-1.iso", "1234");
    let new = [
        Made::new("bar").version("2").changes(&["first", "second", "third & last"]),
        Made::new("bar-doc").of_source("bar").version("2"),
        Made::new("back").version("1"),
        Made::new("same").changes(&["first"]),
        Made::new("fresh"),
        Made::new("fresh-libs").of_source("fresh"),
        Made::new("fresh-libs").of_source("fresh").arch("i686"),
    ];
    made::write(&sandbox.path("new/BaseOS/os"), &new);
    // A package that is in two repositories counts once.
    made::write(
        &sandbox.path("new/CRB/os"),
        &[Made::new("mover"), Made::new("fresh-libs").of_source("fresh")],
    );
    sandbox.write("new/isos/dvd-2.iso.xz", "12345");
    for name in ["old", "new"] {
        sandbox.ok(["import", name, name]);
    }
    let text = sandbox.ok(["changelog", "old", "new"]);
    let summary = "OLD: old\nNEW: new\n\n===== SUMMARY =====\nAdded images:        1\nDropped images:      1\n\
         Added packages:      1\nDropped packages:    1\nUpgraded packages:   1\nDowngraded packages: 1\n\
         Moved packages:      1\n\n\
         Size of added packages:      2.93 KiB\nSize of dropped packages:    1000 B\n\
         Size of upgraded packages:   1.95 KiB\nSize of downgraded packages: 1000 B\n\n\
         Size change of upgraded packages:   0 B\nSize change of downgraded packages: 0 B\n";
    assert!(text.starts_with(summary), "{text}");
    for part in [
        "===== DROPPED IMAGES =====\nisos/dvd-1.iso\n",
        "===== ADDED PACKAGES =====\nfresh-1-1\n",
        "===== UPGRADED PACKAGES =====\nbar-1-1 -> bar-2-1\n",
        "===== DOWNGRADED PACKAGES =====\nback-2-1 -> back-1-1\n",
        "===== MOVED PACKAGES =====\nmover-1-1: BaseOS/os -> CRB/os\n",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let verbose = sandbox.ok(["changelog", "old", "new", "--format", "verbose"]);
    let bar = "Package:      bar-2-1\nOld package:  bar-1-1\nSummary:      bar of a test\n\
         RPMs:         bar bar-doc\nAdded RPMs:   bar-doc\nDropped RPMs: bar-devel\n\
         Size:         1.95 KiB\nSize change:  0 B\nChangelog:\n  * Thu Jan 03 2019 A B <a@b> - 2-1\n  - third & last\n";
    assert!(verbose.contains(bar), "{verbose}");
    assert!(verbose.contains("RPMs:    fresh fresh-libs\nSize:    2.93 KiB\n"), "{verbose}");
    let value = &sandbox.json(["changelog", "old", "new"])[0];
    assert_eq!(value["upgraded"][0]["changelog"][0]["text"], "- third & last");
    assert_eq!(value["added"][0]["repositories"], serde_json::json!(["BaseOS/os", "CRB/os"]));
    assert_eq!(value["moved"][0]["from"], serde_json::json!(["BaseOS/os"]));
    sandbox.ok(["changelog", "old", "new", "--format", "html", "--output", "page.html"]);
    let page = fs::read_to_string(sandbox.path("page.html")).unwrap();
    assert!(page.contains("third &amp; last") && page.contains("<td>fresh-1-1</td>"), "{page}");
    assert!(sandbox.ok(["changelog", "new", "new"]).contains("Upgraded packages:   0"));
}

/// Takes one mail, as a server does that wants nothing but the mail.
fn take_mail(listener: &std::net::TcpListener) -> String {
    use std::io::{BufRead, BufReader, Write};
    let (mut stream, _) = listener.accept().unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    stream.write_all(b"220 here\r\n").unwrap();
    let mut mail = String::new();
    while let Some(Ok(line)) = lines.next() {
        let answer: &[u8] = match line.split(' ').next().unwrap() {
            "DATA" => {
                stream.write_all(b"354 go on\r\n").unwrap();
                for line in lines.by_ref().map(Result::unwrap).take_while(|line| line != ".") {
                    mail.extend([line.as_str(), "\n"]);
                }
                b"250 taken\r\n"
            }
            "QUIT" => b"221 bye\r\n",
            "RCPT" | "MAIL" => {
                mail.extend([line.as_str(), "\n"]);
                b"250 fine\r\n"
            }
            _ => b"250 fine\r\n",
        };
        stream.write_all(answer).unwrap();
    }
    mail
}

#[test]
fn a_changelog_is_sent_by_mail() {
    let sandbox = sandbox(&[("app", &[Made::new("app")])]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("smtp://{}", listener.local_addr().unwrap());
    let mut args =
        vec!["changelog", "r", "r", "--mail", "devel@example.org", "--mail", "Qa <qa@example.org>"];
    sandbox.fails(2, args.clone());
    args.extend(["--from", "releng@example.org", "--smtp", &server]);
    assert!(sandbox.ok(args.iter().copied().chain(["--dry-run"])).contains("SUMMARY"));
    let taken = std::thread::spawn(move || take_mail(&listener));
    assert_eq!(sandbox.ok(args), "sent to devel@example.org, Qa <qa@example.org>\n");
    let mail = taken.join().unwrap();
    for part in [
        "MAIL FROM:<releng@example.org>",
        "RCPT TO:<qa@example.org>",
        "Subject: compose report: r changes",
        "===== SUMMARY =====",
    ] {
        assert!(mail.contains(part), "{part} is not in {mail}");
    }
    assert!(
        sandbox
            .fails(
                3,
                [
                    "changelog",
                    "r",
                    "r",
                    "--mail",
                    "a@b.org",
                    "--from",
                    "a@b.org",
                    "--smtp",
                    "smtp://127.0.0.1:1"
                ]
            )
            .contains("cannot be sent")
    );
}

/// What libsolv says of the packages of repositories: for each those that cannot be installed, with the problem.
fn goals(sandbox: &Sandbox, dirs: &[PathBuf]) -> Option<Vec<BTreeMap<String, Vec<String>>>> {
    let python = "/usr/bin/python3";
    if ran(Command::new(python).args(["-c", "import hawkey"])).code != 0 {
        eprintln!("skipped: {python} has no module hawkey (package python3-dnf)");
        return None;
    }
    let script = sandbox.write("goals.py", GOALS);
    let done = ran(Command::new(python).arg(script).args(dirs).env("LC_ALL", "C.UTF-8"));
    assert_eq!(done.code, 0, "{done:?}");
    Some(done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// Compares what cfs and libsolv say of the packages of a repository; returns how many cannot be installed.
fn compare(dir: &Path, goals: &BTreeMap<String, Vec<String>>) -> usize {
    let text = fs::read_to_string(dir.join("repodata/primary.xml")).unwrap();
    let mut universe = Universe::new();
    let number = universe.add_repository("r");
    read_primary(&mut universe, number, &mut text.as_bytes()).unwrap();
    universe.index();
    let question = Question {
        machine: Some("x86_64".to_owned()),
        installable: true,
        sources: true,
        ..Question::default()
    };
    let repositories = Repositories { checked: vec![number], lookaside: Vec::new() };
    let found = closure::check(&universe, &repositories, &question).unwrap().problems;
    for (package, problem) in goals {
        // What libsolv would rather not choose, and what no x86_64 machine runs.
        let policy = |text: &String| text.contains("inferior arch") || text.contains("a compatible arch");
        if problem.iter().any(policy) {
            continue;
        }
        let ours = found.iter().find(|one| one.package == *package);
        let same = ours.is_some() != problem.is_empty();
        assert!(same, "{package} in {}: {problem:?}, {ours:?}", dir.display());
    }
    found.len()
}

#[test]
fn a_resolver_says_the_same_of_random_repositories() {
    let sandbox = Sandbox::new();
    let mut dirs = Vec::new();
    for seed in 0..400 {
        let dir = sandbox.path(format!("u{seed}"));
        made::write(&dir, &random_packages(&mut StdRng::seed_from_u64(seed)));
        dirs.push(dir);
    }
    let Some(goals) = goals(&sandbox, &dirs) else { return };
    let broken: usize = dirs.iter().zip(&goals).map(|(dir, goals)| compare(dir, goals)).sum();
    let all: usize = goals.iter().map(BTreeMap::len).sum();
    assert!(broken * 10 > all && broken * 10 < all * 9, "{broken} of {all} is no test");
}

fn random_packages(random: &mut StdRng) -> Vec<Made> {
    let mut packages: Vec<Made> = Vec::new();
    for _ in 0..random.gen_range(3..14) {
        let name = format!("n{}", random.gen_range(0..7));
        let version = random.gen_range(1..4).to_string();
        let arch = ["x86_64", "x86_64", "x86_64", "noarch", "i686", "src"].choose(random).unwrap();
        let mut package = Made::new(&name).version(&version).arch(arch);
        for _ in 0..random.gen_range(0..4) {
            let text = random_formula(random, 2);
            package = match random.gen_range(0..9) {
                0 | 1 => package.provides(&random_given(random)),
                2 => package.with("conflicts", &text),
                3 => package.with("obsoletes", &random_atom(random)),
                4 => package.with("recommends", &text),
                _ => package.requires(&text),
            };
        }
        // What a rich conflict with oneself comes to, libsolv alone knows.
        let own: Vec<String> = package
            .relations
            .iter()
            .filter(|(list, _)| *list == "provides")
            .map(|(_, text)| text.clone())
            .collect();
        let is_own = |text: &str| own.iter().chain([&name]).any(|own| text.contains(&own[..2]));
        package
            .relations
            .retain(|(list, text)| *list != "conflicts" || !text.starts_with('(') || !is_own(text));
        if package.arch == "src" {
            // libsolv does not read what must not be there for building; rpmbuild does, and so does cfs.
            package.relations.retain(|(list, _)| *list != "conflicts" && *list != "obsoletes");
        }
        if packages.iter().all(|other| other.nevra() != package.nevra()) {
            packages.push(package);
        }
    }
    packages
}

fn random_given(random: &mut StdRng) -> String {
    match random.gen_range(0..3) {
        0 => format!("v{}", random.gen_range(0..2)),
        1 => format!("v{} = {}", random.gen_range(0..2), random.gen_range(1..4)),
        _ => format!("n{} = {}-1", random.gen_range(0..7), random.gen_range(1..4)),
    }
}

fn random_atom(random: &mut StdRng) -> String {
    let name = match random.gen_range(0..10) {
        0..=1 => format!("v{}", random.gen_range(0..2)),
        at => format!("n{}", at - 2),
    };
    if random.gen_bool(0.6) {
        return name;
    }
    let sign = ["=", "<", "<=", ">", ">="].choose(random).unwrap();
    let release = ["", "", "-1", "-2", "~rc1", "^git1-1"].choose(random).unwrap();
    format!("{name} {sign} {}{release}", random.gen_range(1..4))
}

fn random_formula(random: &mut StdRng, depth: usize) -> String {
    if depth == 0 || random.gen_bool(0.5) {
        return random_atom(random);
    }
    let mut part = || random_formula(random, depth - 1);
    let (a, b, c) = (part(), part(), part());
    match random.gen_range(0..9) {
        0 => format!("({a} and {b})"),
        1 => format!("({a} or {b})"),
        2 => format!("({a} or {b} or {c})"),
        3 => format!("({a} if {b})"),
        4 => format!("({a} if {b} else {c})"),
        5 => format!("({a} unless {b})"),
        6 => format!("({a} unless {b} else {c})"),
        7 => format!("({} with {})", random_atom(random), random_atom(random)),
        _ => format!("({} without {})", random_atom(random), random_atom(random)),
    }
}

/// Real subsets of Fedora 32 and EL 8, written the way every reader understands.
fn real_subsets(sandbox: &Sandbox) -> Option<Vec<(&'static str, PathBuf)>> {
    let data = real_data()?.join("bazeldnf-fc32");
    let mut subsets = Vec::new();
    for name in ["bash-fc32", "libvirt-daemon-fc32", "libvirt-devel-el8"] {
        let mut text = fs::read_to_string(data.join(format!("{name}.xml"))).unwrap();
        for list in [
            "entry",
            "provides",
            "requires",
            "conflicts",
            "obsoletes",
            "recommends",
            "suggests",
            "supplements",
            "enhances",
            "license",
            "sourcerpm",
        ] {
            text = text.replace(&format!("<{list}"), &format!("<rpm:{list}"));
            text = text.replace(&format!("</{list}"), &format!("</rpm:{list}"));
        }
        // What is not said was written down as said to be nothing.
        for nothing in [r#" flags="""#, r#" epoch="""#, r#" ver="""#, r#" rel="""#] {
            text = text.replace(nothing, "");
        }
        let top = r#"<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm""#;
        let text = text.replace(r#"<metadata xmlns="" rpm="""#, top);
        let dir = sandbox.path("host").join(name);
        made::write_metadata(&dir, &text, None, None);
        subsets.push((name, dir));
    }
    Some(subsets)
}

#[test]
fn a_resolver_says_the_same_of_fedora_and_el() {
    let sandbox = Sandbox::new();
    let Some(subsets) = real_subsets(&sandbox) else { return };
    let dirs: Vec<PathBuf> = subsets.into_iter().map(|(_, dir)| dir).collect();
    let Some(goals) = goals(&sandbox, &dirs) else { return };
    for (dir, goals) in dirs.iter().zip(&goals) {
        assert!(goals.len() > 50, "{} packages in {}", goals.len(), dir.display());
        compare(dir, goals);
    }
}

fn dnf_repoclosure(sandbox: &Sandbox, name: &str, dir: &Path, args: &[&str]) -> Ran {
    let path = |name: &str| sandbox.path(name).display().to_string();
    let mut command = Command::new("dnf");
    command.args(["-q", "--releasever", "40", "--disableplugin=local", "--forcearch=x86_64"]);
    command.arg(format!("--installroot={}", path("installroot")));
    command.arg(format!("--setopt=cachedir={}", path("cache"))).arg("--setopt=reposdir=/nonexistent");
    command.arg(format!("--repofrompath={name},file://{}", dir.display()));
    command.args(["repoclosure", "--repo", name, "--check", name]).args(args);
    ran(command.env("LC_ALL", "C.UTF-8"))
}

/// The blocks of a report, with what is in no order put into one.
fn sorted(report: &str) -> Vec<Vec<&str>> {
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    for line in report.lines() {
        if line.starts_with("package:") {
            blocks.push(Vec::new());
        }
        blocks.last_mut().unwrap().push(line);
    }
    blocks.iter_mut().for_each(|block| block[2..].sort_unstable());
    blocks
}

#[test]
fn compat_dnf_prints_what_dnf_repoclosure_prints() {
    if !installed("dnf") {
        return;
    }
    let sandbox = Sandbox::with_store();
    let mut names = vec!["app".to_owned()];
    let (app, base) = app_and_base();
    let app: Vec<Made> = app.into_iter().chain(base).chain([Made::new("app").version("0")]).collect();
    made::write(&sandbox.path("host/app"), &app);
    for seed in 0..4 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut packages = Vec::new();
        for number in 0..5 {
            for mut package in random_packages(&mut random) {
                package.name = format!("p{number}{}", package.name);
                packages.push(package.provides(&format!("n{number}")));
            }
        }
        names.push(format!("random{seed}"));
        made::write(&sandbox.path(format!("host/random{seed}")), &packages);
    }
    if let Some(subsets) = real_subsets(&sandbox) {
        names.extend(subsets.iter().map(|(name, _)| (*name).to_owned()));
    }
    sandbox.ok(["import", "host", "r"]);
    for name in &names {
        for (theirs, ours) in
            [(vec![], vec!["--source"]), (vec!["--newest", "--arch", "x86_64"], vec!["--newest"])]
        {
            let theirs_said = dnf_repoclosure(&sandbox, name, &sandbox.path("host").join(name), &theirs);
            let place = format!("r:{name}");
            let mut args = vec!["closure", &place, "--arch", "x86_64", "--compat", "dnf"];
            args.extend(ours);
            let said = sandbox.run(args);
            let has_arch = |block: &Vec<&str>| theirs.is_empty() || block[0].contains(".x86_64 ");
            let mut blocks = sorted(&said.stdout);
            blocks.retain(has_arch);
            assert_eq!(blocks, sorted(&theirs_said.stdout), "{name} {theirs:?}: {theirs_said:?}");
            if theirs.is_empty() {
                assert_eq!(said.code, theirs_said.code);
                assert_eq!(said.stderr, theirs_said.stderr);
            }
        }
    }
}
