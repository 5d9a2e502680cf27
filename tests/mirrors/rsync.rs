//! Pulls with rsync while the view flips: the result is always exactly one generation.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{GENERATIONS, Server, free_port, generation_of, generations, ok, wait_for, while_flipping};
use crate::harness::{Sandbox, installed, ran};
use crate::mount::{Live, can_mount, mount};

/// Whether this host can run a daemon of rsync over a mount.
pub fn can_serve() -> bool {
    if !can_mount() || !installed("rsync") {
        return false;
    }
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: a daemon that changes its root needs root");
    }
    root
}

/// A daemon of rsync with the configuration that `cfs rsyncd-config` writes for the mount `mnt`, and the address of
/// one of its modules.
pub fn rsyncd(sandbox: &Sandbox, more: &[&str], module: &str) -> (Server, String) {
    let port = free_port();
    let mut args = vec!["rsyncd-config", "--mount", "mnt", "--output", "conf"];
    args.extend(more);
    sandbox.ok(args);
    let mut command = Command::new("rsync");
    command.args(["--daemon", "--no-detach", "--address=127.0.0.1", &format!("--port={port}")]);
    command.arg(format!("--log-file={}", sandbox.path("rsyncd.log").display()));
    let child = command.arg("--config").arg(sandbox.path("conf/rsyncd.conf")).stdin(Stdio::null()).spawn();
    wait_for(port);
    (Server(child.unwrap()), format!("rsync://127.0.0.1:{port}/{module}/"))
}

#[test]
fn systemd_understands_the_units() {
    if !installed("systemd-analyze") {
        return;
    }
    let sandbox = Sandbox::with_store();
    sandbox.ok(["rsyncd-config", "--mount", "mnt", "--output", "conf", "--module", "rocky=pub/rocky"]);
    let verify = || {
        let units = ["cfs-mount", "cfs-serve", "cfs-rsyncd"].map(|unit| format!("conf/{unit}.service"));
        let mut command = Command::new("systemd-analyze");
        let ran = ran(command.args(["verify", "--man=no"]).args(units).current_dir(sandbox.path("")));
        let said = ran.stderr.lines().filter(|line| !line.contains("/cfs is not executable"));
        said.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(verify(), [""; 0]);
    let unit = sandbox.path("conf/cfs-serve.service");
    fs::write(&unit, fs::read_to_string(&unit).unwrap().replace("KillSignal", "KilSignal")).unwrap();
    assert_eq!(verify().len(), 1, "it would be told of a mistake");
}

/// A mount of a view that has generation 0, and the daemon that serves it. Dropped in this order: the mount
/// can go when nobody uses it any more.
struct Served {
    _daemon: Server,
    address: String,
    _live: Live,
    sandbox: Sandbox,
}

fn served(file_bytes: usize) -> Served {
    let sandbox = Sandbox::with_store();
    generations(&sandbox, file_bytes);
    sandbox.ok(["promote", "compose/g0", "production"]);
    let live = mount(&sandbox, "mnt", &[]);
    let (daemon, address) = rsyncd(&sandbox, &[], "production");
    Served { _daemon: daemon, address, _live: live, sandbox }
}

impl Served {
    fn pull(&self, args: &[&str], to: &str) -> PathBuf {
        let to = self.sandbox.path(to);
        ok(Command::new("rsync").args(args).arg(&self.address).arg(to.join("")));
        to
    }
}

#[test]
fn a_slow_pull_over_several_flips_is_one_generation() {
    if !can_serve() {
        return;
    }
    // 56 files of 12 KB at 600 KB/s: a second and more.
    let served = served(12_000);
    let mut flips_max = 0;
    for round in 0..3 {
        let (to, flips) = while_flipping(&served.sandbox, round, || {
            served.pull(&["-a", "--bwlimit=600"], &format!("pull-{round}"))
        });
        generation_of(&to);
        flips_max = flips_max.max(flips);
    }
    assert!(flips_max >= 3, "a pull saw {flips_max} flips at most");
}

#[test]
fn the_mirrors_command_over_several_flips_leaves_one_generation() {
    if !can_serve() {
        return;
    }
    let served = served(12_000);
    let command = ["-vrlptDSH", "--exclude=*.~tmp~", "--delete-delay", "--delay-updates", "--bwlimit=600"];
    let mut seen = Vec::new();
    for round in 0..4 {
        // Into the same directory, so that files are replaced and deleted.
        let (to, _) = while_flipping(&served.sandbox, round, || served.pull(&command, "mirror"));
        seen.push(generation_of(&to));
    }
    seen.dedup();
    assert!(seen.len() > 1, "all pulls met generation {seen:?}");
}

#[test]
fn a_pull_of_listed_files_over_several_flips_is_one_generation() {
    if !can_serve() {
        return;
    }
    let served = served(12_000);
    let list =
        super::paths(0).into_iter().filter(|path| !path.contains("only")).collect::<Vec<_>>().join("\n");
    let list = served.sandbox.write("list", list);
    for round in 0..3 {
        let from = format!("--files-from={}", list.display());
        let (to, _) = while_flipping(&served.sandbox, round, || {
            served.pull(&["-aSH", "--delay-updates", "--bwlimit=600", &from], &format!("listed-{round}"))
        });
        let words =
            ok(Command::new("sh").arg("-c").arg("cat d*/f* | tr ' ' '\\n' | sort -u").current_dir(to));
        let words: Vec<&str> = words.split_whitespace().collect();
        assert_eq!(words.len(), 1, "a mixture of generations: {words:?}");
    }
}

#[test]
fn above_the_view_a_pull_of_listed_files_mixes_generations() {
    if !can_serve() {
        return;
    }
    // The module's path must be inside the view: this is what happens otherwise.
    let sandbox = Sandbox::with_store();
    generations(&sandbox, 12_000);
    sandbox.ok(["promote", "compose/g0", "production"]);
    let live = mount(&sandbox, "mnt", &[]);
    let mut mixed = false;
    for round in 0..10 {
        let paths = super::paths(0).into_iter().filter(|path| !path.contains("only"));
        let list: Vec<String> = paths.map(|path| format!("production/{path}")).collect();
        let list = sandbox.write("list", list.join("\n"));
        let to = sandbox.path(format!("above-{round}"));
        while_flipping(&sandbox, round, || {
            let mut command = Command::new("rsync");
            command.args(["-a", "--bwlimit=600"]).arg(format!("--files-from={}", list.display()));
            ok(command.arg(live.path("views").join("")).arg(to.join("")));
        });
        let found = (0..GENERATIONS).filter(|generation| {
            let word = format!("g{generation} ");
            super::paths(0).iter().any(|path| {
                fs::read_to_string(to.join("production").join(path)).is_ok_and(|text| text.contains(&word))
            })
        });
        mixed = found.count() > 1;
        if mixed {
            break;
        }
    }
    assert!(mixed, "the tests of this file would not notice a mixture");
}

#[test]
fn a_pull_with_hard_links_costs_the_deduplicated_bytes() {
    if !can_serve() {
        return;
    }
    let sandbox = Sandbox::with_store();
    let paths = ["BaseOS/os/Packages/a.rpm", "BaseOS/kickstart/Packages/a.rpm", "devel/os/Packages/a.rpm"];
    for path in paths {
        super::put(&sandbox.path("tree").join(path), vec![7; 300_000], 1_700_000_000);
    }
    // Replaced in place, and so never linked.
    for path in ["BaseOS/os/repodata/repomd.xml", "devel/os/repodata/repomd.xml"] {
        super::put(&sandbox.path("tree").join(path), "same", 1_700_000_000);
    }
    sandbox.ok(["import", "tree", "production"]);
    let _live = mount(&sandbox, "mnt", &[]);
    let (_daemon, address) = rsyncd(&sandbox, &[], "production");
    let to = sandbox.path("linked");
    let said = ok(Command::new("rsync").args(["-aH", "--stats"]).arg(&address).arg(to.join("")));
    let inode = |path: &str| fs::metadata(to.join(path)).unwrap().ino();
    assert_eq!((inode(paths[0]), inode(paths[0])), (inode(paths[1]), inode(paths[2])));
    assert_ne!(inode("BaseOS/os/repodata/repomd.xml"), inode("devel/os/repodata/repomd.xml"));
    let sent = said.lines().find_map(|line| line.strip_prefix("Total transferred file size: ")).unwrap();
    assert_eq!(sent, "300,008 bytes", "{said}");
}
