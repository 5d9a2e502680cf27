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
    assert!(sandbox.fails(3, ["closure", "r:app/repodata"]).contains("no repository"));
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
        made::write_metadata(&dir, &text, None);
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
