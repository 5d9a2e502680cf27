//! Clients of distributions: dnf, and zchunk's downloads of parts.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::harness::{Ran, installed, ran};
use crate::mirrors::{ok, put};

/// How often dnf comes in the race.
const LOOPS: usize = 20;

/// dnf with a root and a cache of its own.
fn dnf(sandbox: &Sandbox, url: &str, args: &[&str]) -> Ran {
    let mut command = Command::new("dnf");
    let path = |name: &str| sandbox.path(name).display().to_string();
    command.args(["-q", "--releasever", "40", "--disableplugin=local", "--nogpgcheck"]);
    command.arg(format!("--installroot={}", path("installroot")));
    command.arg(format!("--setopt=cachedir={}", path("cache"))).arg("--setopt=reposdir=/nonexistent");
    // Nothing is to be forgiven.
    command.args(["--setopt=retries=1", "--setopt=r.skip_if_unavailable=0", "--setopt=zchunk=0"]);
    command.arg(format!("--repofrompath=r,{url}"));
    ran(command.args(args).env("LC_ALL", "C.UTF-8"))
}

/// How many generations race.
const GENERATIONS: u64 = 4;

/// Makes trees, each with metadata and a package of its own: nothing but the name of the package is shared.
fn repositories(sandbox: &Sandbox) {
    for generation in 1..=GENERATIONS {
        let tree = sandbox.path(format!("g{generation}"));
        let mut package = Vec::new();
        let mut built =
            rpm::PackageBuilder::new("pkg", &generation.to_string(), "MIT", "noarch", "a package");
        built.build().unwrap().write(&mut package).unwrap();
        let time = 1_700_000_000 + generation;
        put(&tree.join(format!("os/Packages/pkg-{generation}-1.noarch.rpm")), package, time);
        ok(Command::new("createrepo_c").arg("-q").arg(tree.join("os")));
    }
}

/// Lets dnf come to `url` again and again while `flip` brings one generation after the other, a twentieth of a
/// second each, until dnf has come `loops` times or `is_enough` failures were seen. Returns failures and flips.
fn race(
    sandbox: &Sandbox,
    url: &str,
    loops: usize,
    is_enough: impl Fn(usize) -> bool,
    flip: impl Fn(u64) + Sync,
) -> (Vec<Ran>, u64) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flipping = scope.spawn(|| {
            let mut flips = 0;
            while !done.load(Ordering::Relaxed) {
                flip(flips % GENERATIONS + 1);
                flips += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
            flips
        });
        let mut failures = Vec::new();
        for _ in 0..loops {
            let downloads = sandbox.path("downloads").display().to_string();
            let _ = std::fs::remove_dir_all(&downloads);
            let ran = dnf(sandbox, url, &["--refresh", "download", "--destdir", &downloads, "pkg"]);
            if ran.code != 0 {
                failures.push(ran);
            }
            if is_enough(failures.len()) {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        (failures, flipping.join().unwrap())
    })
}

#[test]
fn dnf_never_meets_a_missing_file_while_a_view_flips() {
    if !["dnf", "createrepo_c"].into_iter().all(installed) {
        return;
    }
    let sandbox = Sandbox::with_store();
    repositories(&sandbox);
    for generation in 1..=GENERATIONS {
        sandbox.ok(["import", &format!("g{generation}"), &format!("compose/g{generation}")]);
    }
    sandbox.ok(["promote", "compose/g1", "production"]);
    let served = serve(&sandbox, &["--view", "production"]);
    let url = format!("{}/os/", served.url);
    let promote = |generation| {
        sandbox.ok(["promote", &format!("compose/g{generation}"), "production"]);
    };
    let (failures, flips) = race(&sandbox, &url, LOOPS, |_| false, promote);
    assert!(failures.is_empty(), "{} of {LOOPS}: {failures:?}", failures.len());
    assert!(flips > LOOPS as u64, "{flips} flips");
    assert_eq!(served.count("cfs_http_requests_total{status=\"404\"}"), 0);
}

#[test]
fn the_same_race_is_lost_by_a_plain_directory_and_without_ghosts() {
    if !["dnf", "createrepo_c", "rsync", "python3"].into_iter().all(installed) {
        return;
    }
    let sandbox = Sandbox::with_store();
    repositories(&sandbox);
    let plain = sandbox.path("plain");
    let sync = |generation: u64| {
        let from = sandbox.path(format!("g{generation}")).join("");
        ok(Command::new("rsync").args(["-a", "--delete"]).arg(from).arg(&plain));
    };
    sync(1);
    let port = crate::mirrors::free_port();
    let mut python = Command::new("python3");
    python.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]).current_dir(&plain);
    let python = crate::mirrors::Server(python.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    crate::mirrors::wait_for(port);
    let lost = |failures: usize| failures > 0;
    let (failures, _) = race(&sandbox, &format!("http://127.0.0.1:{port}/os/"), 20 * LOOPS, lost, sync);
    assert!(!failures.is_empty(), "a plain directory has no such race?");
    drop(python);

    for generation in 1..=GENERATIONS {
        sandbox.ok(["import", &format!("g{generation}"), &format!("compose/g{generation}")]);
    }
    sandbox.ok(["promote", "compose/g1", "production"]);
    let served = serve(&sandbox, &["--view", "production", "--grace", "0"]);
    let promote = |generation| {
        sandbox.ok(["promote", &format!("compose/g{generation}"), "production"]);
    };
    let (failures, _) = race(&sandbox, &format!("{}/os/", served.url), 20 * LOOPS, lost, promote);
    assert!(!failures.is_empty(), "it is not the ghosts that make the difference?");
}

#[test]
fn a_download_of_parts_puts_the_file_together() {
    if !["zck", "zckdl"].into_iter().all(installed) {
        return;
    }
    let sandbox = Sandbox::with_store();
    // Two versions of a file that share most of their chunks; the client has the old one.
    let text = |changed: usize| -> String {
        let line = |n: usize| {
            let number = if n.is_multiple_of(97) { n * changed } else { n };
            format!("<package number=\"{n}\" hash=\"{}\"/>\n", blake3::hash(&number.to_le_bytes()))
        };
        (0..20_000).map(line).collect()
    };
    let made = |name: &str, changed: usize| {
        put(&sandbox.path(name), text(changed), 1_700_000_000);
        let mut command = Command::new("zck");
        ok(command.args(["-o", &format!("{name}.zck"), name]).current_dir(sandbox.path("")));
        sandbox.path(format!("{name}.zck"))
    };
    let (old, new) = (made("old.xml", 1), made("new.xml", 3));
    put(&sandbox.path("tree/new.xml.zck"), std::fs::read(&new).unwrap(), 1_700_000_000);
    sandbox.ok(["import", "tree", "production"]);
    let served = serve(&sandbox, &["--view", "production"]);
    let dir = sandbox.path("client");
    std::fs::create_dir(&dir).unwrap();
    let mut command = Command::new("zckdl");
    command.arg("-s").arg(&old).arg(format!("{}/new.xml.zck", served.url));
    ok(command.current_dir(&dir));
    same(&dir.join("new.xml.zck"), &new);
    assert!(served.count("cfs_http_requests_total{status=\"206\"}") > 0, "it came in parts");
}

#[track_caller]
fn same(found: &Path, expected: &Path) {
    assert!(std::fs::read(found).unwrap() == std::fs::read(expected).unwrap(), "{} differs", found.display());
}
