//! A release as large as a real one: four architectures, six repositories, debug packages, sources and kickstart
//! trees. `CFS_COMPOSE_PACKAGES=20000` makes it of 20,000 packages, as many as a real one has; that takes more than a
//! minute unoptimized, so it has fewer otherwise.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use super::*;

const ARCHES: [&str; 4] = ["x86_64", "aarch64", "ppc64le", "s390x"];
const REPOSITORIES: [&str; 6] = ["BaseOS", "AppStream", "CRB", "HighAvailability", "NFV", "RT"];
/// Parts of a repository: what all architectures share, what each has of its own, for debugging, and sources.
const SHARED: usize = 2;
const OWN: usize = 3;
const DEBUG: usize = 1;
const SOURCES: usize = 2;
/// Packages when nobody says how many.
const PACKAGES: usize = 6_000;

/// The upstream being made, a package after the other.
struct Maker {
    sandbox: Sandbox,
    /// Packages of one part.
    part: usize,
    /// How many distinct packages there are.
    made: usize,
}

impl Maker {
    fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "tests read the environment")]
        let wanted = std::env::var("CFS_COMPOSE_PACKAGES").ok().and_then(|text| text.parse().ok());
        let parts = REPOSITORIES.len() * (SHARED + ARCHES.len() * (OWN + DEBUG) + SOURCES);
        let part = wanted.unwrap_or(PACKAGES).div_ceil(parts);
        Self { sandbox: Sandbox::with_store(), part, made: 0 }
    }

    /// The numbers of packages that are new.
    fn parts(&mut self, number: usize) -> std::ops::Range<usize> {
        let first = self.made;
        self.made += number * self.part;
        first..self.made
    }

    fn tree(&self, name: &str, packages: &[std::ops::Range<usize>]) {
        let mut repo = Repo::new(&self.sandbox.path("upstream").join(name));
        for number in packages.iter().cloned().flatten() {
            let content = format!("package {number}\n").repeat(20);
            repo.add(&format!("Packages/p/p{number}.rpm"), content.as_bytes());
        }
        repo.write();
    }

    fn release(&mut self) {
        for repository in REPOSITORIES {
            let shared = self.parts(SHARED);
            for arch in ARCHES {
                let (own, debug) = (self.parts(OWN), self.parts(DEBUG));
                self.tree(&format!("{repository}/{arch}"), &[shared.clone(), own]);
                self.tree(&format!("{repository}/{arch}-debug"), &[debug]);
            }
            let sources = self.parts(SOURCES);
            self.tree(&format!("{repository}/src"), &[sources]);
        }
    }
}

/// How often each package was asked for.
fn asked(upstream: &Upstream) -> BTreeMap<String, usize> {
    let mut asked = BTreeMap::new();
    for path in upstream.paths().iter().filter(|path| path.contains("/Packages/")) {
        *asked.entry(path.rsplit('/').next().unwrap().to_owned()).or_default() += 1;
    }
    asked
}

#[test]
fn a_large_release_is_downloaded_once_whatever_happens() {
    let mut maker = Maker::new();
    maker.release();
    let Maker { sandbox, made, .. } = maker;
    let upstream = Upstream::serve_many(&sandbox.path("upstream"));
    let quoted = |names: &[&str]| names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    let url = upstream.url();
    sandbox.write(
        "config.toml",
        format!(
            "[release.9]\nname = \"Rocky Linux\"\nshort = \"Rocky\"\nversion = \"9.7\"\narches = [{}]\n\
             [release.9.upstream]\nurl = \"{url}$repo/$basearch\"\nrepositories = [{}]\n",
            quoted(&ARCHES),
            quoted(&REPOSITORIES)
        ),
    );
    let mut command = sandbox.cfs();
    command.args(["compose", "sync", "9", "--full-run"]).stderr(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    while upstream.request_count() < made / 2 {
        assert_eq!(child.try_wait().unwrap(), None, "it ends before it is half done");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = asked(&upstream);
    assert!(before.values().all(|times| *times == 1), "each package once");

    upstream.heal();
    let line = |args: &[&str]| {
        let mut lines = sandbox.json(["compose", "sync", "9"].iter().chain(args).copied());
        lines.pop().unwrap()
    };
    let resumed = line(&["--resume"]);
    assert_eq!(resumed["whole"], true, "{resumed}");
    let after = asked(&upstream);
    assert!(after.values().all(|times| *times == 1), "each package once");
    let all: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    assert_eq!(all.len(), made);
    let again = before.keys().filter(|name| after.contains_key(*name)).count();
    println!("{made} packages, {} asked for before it was killed, {again} of them once more", before.len());
    // Those that were on their way; as many are at once.
    assert!(again <= 16, "{again} of {} once more", before.len());

    upstream.heal();
    let second = line(&["--full-run"]);
    assert_eq!((&second["whole"], &second["fetched_files"]), (&true.into(), &0.into()), "{second}");
    assert_eq!(asked(&upstream).len(), 0);
    let trees = second["trees"].as_array().unwrap();
    let os = trees.iter().find(|tree| tree["tree"] == "compose/CRB/s390x/os").unwrap();
    let listing = sandbox.ok(["ls", "compose/9/latest-Rocky-9:compose/CRB/s390x/kickstart/Packages/p"]);
    let expected = made / (REPOSITORIES.len() * 20) * (SHARED + OWN);
    assert_eq!((trees.len(), listing.lines().count()), (54, expected), "{os}");
}
