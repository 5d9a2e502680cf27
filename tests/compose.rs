//! `cfs compose`: releases of many repositories, as they should be and otherwise.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::repo::{Repo, content};
use crate::harness::upstream::{Fault, Upstream};
use crate::harness::{Ran, Sandbox, installed, ran};

mod closed;
mod discs;
mod distributed;
mod groups;
mod groups_of_packages;
mod hashed;
mod images;
mod large;
mod latest;
mod metadata;
mod prune;
mod runs;

/// A release with two repositories on two architectures, debug packages and sources, and its upstream.
struct Scene {
    sandbox: Sandbox,
    upstream: Upstream,
    repos: Vec<Repo>,
}

/// The trees of the scene's release, as the upstream has them.
const TREES: [&str; 10] = [
    "BaseOS/x86_64",
    "BaseOS/x86_64-debug",
    "BaseOS/aarch64",
    "BaseOS/aarch64-debug",
    "BaseOS/src",
    "all/x86_64",
    "all/x86_64-debug",
    "all/aarch64",
    "all/aarch64-debug",
    "all/src",
];

impl Scene {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let upstream = sandbox.path("upstream");
        let mut repos = Vec::new();
        for (number, tree) in TREES.iter().enumerate() {
            let mut repo = Repo::new(&upstream.join(tree));
            // Every tree has five packages of its own and two that all have.
            for own in 0..5 {
                repo.add(&format!("Packages/own{own}.rpm"), &content(10 + number * 10 + own));
            }
            for shared in 0..2 {
                repo.add(&format!("Packages/shared{shared}.rpm"), &content(shared));
            }
            repo.write();
            repos.push(repo);
        }
        let upstream = Upstream::serve(&upstream);
        sandbox.ok(["init"]);
        let scene = Self { sandbox, upstream, repos };
        scene.configure("");
        scene
    }

    /// Writes the configuration, with more at the end.
    fn configure(&self, more: &str) {
        let url = self.upstream.url();
        let text = format!(
            r#"
[release.9]
name = "Rocky Linux"
short = "Rocky"
version = "9.7"
rc = 1
arches = ["x86_64", "aarch64"]
renames = {{ all = "devel" }}
iso.BaseOS = {{ variant = "BaseOS", repositories = ["BaseOS", "all"] }}

[release.9.upstream]
url = "{url}$repo/$basearch"
repositories = ["BaseOS", "all"]
{more}"#
        );
        self.sandbox.write("config.toml", text);
    }

    fn run(&self, args: &[&str]) -> Ran {
        let args = ["--json", "compose"].iter().chain(args).chain(&["--attempts=1"]);
        self.sandbox.run(args.copied())
    }

    #[track_caller]
    fn compose(&self, args: &[&str]) -> Value {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap()
    }

    /// Requests for packages, sorted.
    fn packages(&self) -> Vec<String> {
        let mut paths = self.upstream.paths();
        paths.retain(|path| path.contains("/Packages/"));
        paths
    }

    /// The name of the compose that is the latest.
    fn latest(&self) -> Option<String> {
        let composes = self.sandbox.json(["compose", "list", "9"]);
        let latest = composes.iter().find(|compose| compose["latest"] == true)?;
        Some(latest["compose"].as_str().unwrap().to_owned())
    }

    fn file(&self, path: &str) -> String {
        self.sandbox.ok(["cat", &format!("compose/9/latest-Rocky-9:{path}")])
    }

    /// What dnf says with a repository on this host; `None` where there is no dnf.
    fn dnf(&self, repository: &Path, args: &[&str]) -> Option<Ran> {
        let root = self.sandbox.path("root").display().to_string();
        let mut dnf = Command::new("dnf");
        dnf.args(["-q", "--releasever=9", "--disableplugin=local", "--setopt=reposdir=/nonexistent"]);
        dnf.arg(format!("--installroot={root}")).arg(format!("--setopt=cachedir={root}/cache"));
        dnf.arg(format!("--repofrompath=r,file://{}", repository.display())).args(args);
        installed("dnf").then(|| ran(dnf.env("LC_ALL", "C.UTF-8")))
    }
}
