//! `cargo bench --bench closure [-- PART…] [--quick]`: whether repositories are closed, and how fast metadata is read.
//!
//! Parts: `closure` (10,000 packages, against `dnf repoclosure` with a cold and a warm cache), `parse` (a primary.xml
//! of 60,000 packages, by child processes whose processor time and memory are measured). `--quick`: a tenth of it.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark prints, works where it is told to, and stops when it cannot go on"
)]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cfs_indexer::checksum::{Algorithm, Hasher};
use flate2::Compression;
use flate2::write::GzEncoder;

/// Runs of which the median is told.
const RUNS: usize = 5;

fn main() {
    let base = std::env::var("CFS_BENCH_DIR").map_or_else(|_| std::env::temp_dir(), PathBuf::from);
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let scale = if args.iter().any(|arg| arg == "--quick") { 10 } else { 1 };
    let parts: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|arg| *arg == part);
    let temp = tempfile::Builder::new().prefix("cfs-bench-").tempdir_in(base).unwrap();
    println!("in {}", temp.path().display());
    if wanted("closure") {
        closure(temp.path(), 10_000 / scale);
    }
    if wanted("parse") {
        parse(temp.path(), 60_000 / scale);
    }
}

/// A repository of `count` packages as distributions have them, imported as the ref `name`.
fn repository(base: &Path, name: &str, count: usize) -> PathBuf {
    let dir = base.join(name);
    fs::create_dir_all(dir.join("repodata")).unwrap();
    let mut records = String::new();
    for (kind, text) in [("primary", primary(count)), ("filelists", filelists(count))] {
        let file = format!("repodata/{kind}.xml.gz");
        let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
        gzip.write_all(text.as_bytes()).unwrap();
        let packed = gzip.finish().unwrap();
        write!(
            records,
            r#"<data type="{kind}"><checksum type="sha256">{}</checksum><open-checksum type="sha256">{}</open-checksum><location href="{file}"/><timestamp>1</timestamp><size>{}</size><open-size>{}</open-size></data>"#,
            sha256(&packed), sha256(text.as_bytes()), packed.len(), text.len()
        )
        .unwrap();
        fs::write(dir.join(file), packed).unwrap();
        println!("  {name}: {kind}.xml of {count} packages, {} MB", text.len() / 1_000_000);
    }
    let repomd = format!(
        r#"<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1</revision>{records}</repomd>"#
    );
    fs::write(dir.join("repodata/repomd.xml"), repomd).unwrap();
    let store = base.join("store");
    if !store.exists() {
        cfs(&store, &["init"]);
    }
    cfs(&store, &["import", dir.to_str().unwrap(), name]);
    dir
}

fn sha256(bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.write_all(bytes).unwrap();
    hasher.finish().checksum.to_hex()
}

fn id(number: usize) -> String {
    sha256(&number.to_le_bytes())
}

/// About 2.5 KB a package: a paragraph of text, libraries, commands, one of four needs a library, one of twenty is
/// broken.
fn primary(count: usize) -> String {
    let mut text = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="{count}">
"#
    );
    for n in 0..count {
        let name = format!("package-{n}");
        write!(
            text,
            r#"<package type="rpm"><name>{name}</name><arch>x86_64</arch><version epoch="0" ver="1.{n}" rel="3.el9"/><checksum type="sha256" pkgid="YES">{}</checksum>
<summary>The package of number {n}</summary><description>{}</description><packager>Releng &lt;releng@example.org&gt;</packager><url>https://example.org/{n}</url>
<time file="1700000000" build="1700000000"/><size package="123456" installed="234567" archive="345678"/><location href="Packages/p/{name}-1.{n}-3.el9.x86_64.rpm"/>
<format><rpm:license>GPL-2.0-or-later AND MIT</rpm:license><rpm:vendor>Example</rpm:vendor><rpm:group>Unspecified</rpm:group><rpm:buildhost>builder-{n}.example.org</rpm:buildhost><rpm:sourcerpm>{name}-1.{n}-3.el9.src.rpm</rpm:sourcerpm><rpm:header-range start="4504" end="12345"/>
<rpm:provides>"#,
            id(n),
            "What this package is for is told here in some words that nobody reads. ".repeat(6)
        )
        .unwrap();
        for (name, version) in [
            (name.clone(), true),
            (format!("{name}(x86-64)"), true),
            (format!("lib{n}.so.1()(64bit)"), false),
            (format!("lib{n}.so.1(LIB_1.0)(64bit)"), false),
            (format!("config({name})"), true),
        ] {
            let version = if version {
                format!(r#" flags="EQ" epoch="0" ver="1.{n}" rel="3.el9""#)
            } else {
                String::new()
            };
            writeln!(text, "<rpm:entry name=\"{name}\"{version}/>").unwrap();
        }
        text.push_str("</rpm:provides><rpm:requires>");
        for at in 1..9 {
            let other = (n * 31 + at * 977) % count;
            writeln!(text, r#"<rpm:entry name="lib{other}.so.1()(64bit)"/>"#).unwrap();
        }
        let other = (n * 17 + 5) % count;
        writeln!(text, r#"<rpm:entry name="package-{other}" flags="GE" epoch="0" ver="1.{other}"/>"#)
            .unwrap();
        writeln!(text, r#"<rpm:entry name="/usr/bin/tool{other}"/>"#).unwrap();
        writeln!(text, r#"<rpm:entry name="(package-{other} or nothing)"/>"#).unwrap();
        writeln!(text, r#"<rpm:entry name="rpmlib(CompressedFileNames)" flags="LE" epoch="0" ver="3.0.4" rel="1" pre="1"/>"#).unwrap();
        if n % 20 == 0 {
            writeln!(text, r#"<rpm:entry name="lost{n}.so.1()(64bit)"/>"#).unwrap();
        }
        if n % 50 == 0 {
            writeln!(text, r#"<rpm:entry name="/usr/share/data{other}"/>"#).unwrap();
        }
        writeln!(
            text,
            "</rpm:requires><file>/usr/bin/tool{n}</file><file>/etc/package-{n}.conf</file></format></package>"
        )
        .unwrap();
    }
    text + "</metadata>\n"
}

fn filelists(count: usize) -> String {
    let mut text =
        format!(r#"<filelists xmlns="http://linux.duke.edu/metadata/filelists" packages="{count}">"#);
    for n in 0..count {
        write!(
            text,
            r#"<package pkgid="{}" name="package-{n}" arch="x86_64"><version epoch="0" ver="1.{n}" rel="3.el9"/>"#,
            id(n)
        )
        .unwrap();
        write!(text, "<file>/usr/bin/tool{n}</file><file>/etc/package-{n}.conf</file>").unwrap();
        for at in 0..20 {
            write!(text, "<file>/usr/share/doc/package-{n}/chapter-{at}.html</file>").unwrap();
        }
        writeln!(text, "<file>/usr/share/data{n}</file></package>").unwrap();
    }
    text + "</filelists>\n"
}

fn cfs(store: &Path, args: &[&str]) {
    let done = Command::new(env!("CARGO_BIN_EXE_cfs"))
        .arg("-q")
        .arg("--store")
        .arg(store)
        .args(args)
        .stdout(Stdio::null())
        .status();
    assert!(done.unwrap().code().is_some_and(|code| code < 2), "{args:?}");
}

/// Removes what a store remembers of what it has read.
fn forget(store: &Path) {
    for file in ["cache.db", "cache.db-wal", "cache.db-shm"] {
        let _ = fs::remove_file(store.join(file));
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn timed(runs: usize, mut work: impl FnMut()) -> Duration {
    let time = |_| {
        let started = Instant::now();
        work();
        started.elapsed()
    };
    median((0..runs).map(time).collect())
}

fn closure(base: &Path, count: usize) {
    println!("\nclosure of {count} packages, medians");
    let repo = repository(base, "closure", count);
    let store = base.join("store");
    let questions = [
        ("cfs closure", vec!["closure", "closure"]),
        ("cfs closure --compat dnf", vec!["closure", "closure", "--compat", "dnf"]),
        ("cfs closure --installable", vec!["closure", "closure", "--installable"]),
    ];
    let ours = |fresh: bool| -> Vec<Duration> {
        let cache = if fresh { "cold" } else { "warm" };
        let time = |(what, args): &(&str, Vec<&str>)| {
            let time = timed(RUNS, || {
                if fresh {
                    forget(&store);
                }
                cfs(&store, args);
            });
            println!("  {what:30} {time:>10.3?}, {cache} cache");
            time
        };
        questions.iter().map(time).collect()
    };
    let (cold, warm) = (ours(true), ours(false));
    if Command::new("dnf").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("  dnf is not installed");
        return;
    }
    let dnf = |fresh: bool| {
        let (cache, root) = (base.join("dnf-cache"), base.join("dnf-root"));
        if fresh {
            let _ = fs::remove_dir_all(&cache);
        }
        let mut command = Command::new("dnf");
        command.args(["-q", "--releasever=9", "--disableplugin=local", "--forcearch=x86_64"]);
        command.arg(format!("--installroot={}", root.display()));
        command.arg(format!("--setopt=cachedir={}", cache.display())).arg("--setopt=reposdir=/nonexistent");
        command.arg(format!("--repofrompath=r,file://{}", repo.display()));
        command.args(["repoclosure", "--repo=r", "--check=r"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).env("LC_ALL", "C.UTF-8");
        assert_eq!(command.status().unwrap().code(), Some(1));
    };
    for (what, fresh, ours) in
        [("dnf repoclosure, cold cache", true, cold), ("dnf repoclosure, warm cache", false, warm)]
    {
        let time = timed(3, || dnf(fresh));
        let ratios: Vec<String> =
            ours.iter().map(|ours| format!("{:.1}x", time.as_secs_f64() / ours.as_secs_f64())).collect();
        println!("  {what:30} {time:>10.3?}  {}", ratios.join(", "));
    }
}

fn parse(base: &Path, count: usize) {
    println!("\nreading a primary.xml.gz of {count} packages in a process of its own, medians");
    repository(base, "parse", count);
    let store = base.join("store");
    for (what, args) in [
        ("cfs packages --whatprovides", vec!["packages", "parse", "--whatprovides", "package-7"]),
        ("cfs closure --pkg", vec!["closure", "parse", "--pkg", "package-7"]),
    ] {
        let run = |_| {
            forget(&store);
            measured(&store, &args)
        };
        let mut runs: Vec<(f64, u64, f64)> = (0..3).map(run).collect();
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (cpu, memory, wall) = runs[1];
        println!("  {what:30} {cpu:.2} s of processor, {wall:.2} s, {} MB at most", memory / 1024);
    }
}

/// Processor seconds, the most memory in KiB, and seconds of a run of cfs.
fn measured(store: &Path, args: &[&str]) -> (f64, u64, f64) {
    let script = "import resource, subprocess, sys, time\n\
        t = time.time()\n\
        subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n\
        u = resource.getrusage(resource.RUSAGE_CHILDREN)\n\
        print(u.ru_utime + u.ru_stime, u.ru_maxrss, time.time() - t)";
    let mut command = Command::new("python3");
    command.args(["-c", script, env!("CARGO_BIN_EXE_cfs"), "-q", "--store"]).arg(store).args(args);
    let done = command.output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    (words[0].parse().unwrap(), words[1].parse().unwrap(), words[2].parse().unwrap())
}
