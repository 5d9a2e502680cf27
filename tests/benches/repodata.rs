//! The metadata of 10,000 packages: `cfs repodata build` from what the store knows, against `createrepo_c` from
//! scratch and `createrepo_c --update --skip-stat`, all with gzip, three times each; the medians count.
//!
//! `cargo bench -p cfs-cli --bench repodata [-- PACKAGES]`

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a benchmark stops where it cannot go on, prints, and reads the clock"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 3;
/// What a package holds: about as much as a usual one.
const FILES: usize = 30;
const REQUIRES: usize = 12;

fn main() {
    let number = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    let packages: usize = number.unwrap_or(10_000);
    let base = std::env::var("CFS_BENCH_DIR").map_or_else(|_| std::env::temp_dir(), PathBuf::from);
    let dir = tempfile::Builder::new().prefix("cfs-bench-").tempdir_in(base).unwrap();
    let os = dir.path().join("in/os");
    fs::create_dir_all(os.join("Packages")).unwrap();
    let began = Instant::now();
    make(&os.join("Packages"), packages, "1");
    println!("{packages} packages made in {:.1} s", began.elapsed().as_secs_f64());

    let theirs = of_createrepo(dir.path(), &os, packages);
    let ours = of_cfs(dir.path(), packages);
    if let Some((cold, update)) = theirs {
        let ratio = |theirs: Duration, ours: Duration| theirs.as_secs_f64() / ours.as_secs_f64();
        println!("from the index against createrepo_c cold: {:.1} times (aim 5)", ratio(cold, ours));
        println!("… against --update --skip-stat: {:.1} times (aim 3)", ratio(update, ours));
    }
}

/// Times of `createrepo_c` from scratch, and with one package that is new.
fn of_createrepo(dir: &Path, os: &Path, packages: usize) -> Option<(Duration, Duration)> {
    let copy = dir.join("createrepo");
    if Command::new("createrepo_c").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("createrepo_c is not installed");
        return None;
    }
    run(Command::new("cp").arg("-al").arg(os).arg(&copy));
    let createrepo = |more: &[&str]| {
        let mut command = Command::new("createrepo_c");
        command.env("LC_ALL", "C").args(["-q", "--no-database", "--compress-type=gz"]).args(more);
        time(command.arg(&copy))
    };
    let cold: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let _ = fs::remove_dir_all(copy.join("repodata"));
            createrepo(&[])
        })
        .collect();
    let update: Vec<Duration> = (0..RUNS)
        .map(|run| {
            change(&copy.join("Packages"), packages, run);
            createrepo(&["--update", "--skip-stat"])
        })
        .collect();
    let sizes =
        fs::read_dir(copy.join("repodata")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    println!("createrepo_c: {:.2} MiB of metadata", sizes.sum::<u64>() as f64 / 1_048_576.0);
    println!("createrepo_c cold {}; --update --skip-stat {}", said(&cold), said(&update));
    Some((median(&cold), median(&update)))
}

/// The time of cfs with one package that is new.
fn of_cfs(dir: &Path, packages: usize) -> Duration {
    let cfs = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cfs"));
        command.current_dir(dir).env("CFS_STORE", dir.join("store")).env_remove("CFS_CONFIG").args(args);
        time(&mut command)
    };
    cfs(&["init"]);
    println!("cfs import {:?}", cfs(&["import", "in", "repo"]));
    println!("cfs repodata build, nothing known {:?}", cfs(&["repodata", "build", "repo:os"]));
    let mut times = Vec::new();
    for run in 0..RUNS {
        change(&dir.join("in/os/Packages"), packages, run);
        cfs(&["import", "in/os/Packages", "repo:os/Packages"]);
        times.push(cfs(&["repodata", "build", "repo:os"]));
    }
    let mut say = Command::new(env!("CARGO_BIN_EXE_cfs"));
    say.current_dir(dir).env("CFS_STORE", dir.join("store")).env_remove("CFS_CONFIG");
    let said_last = say.args(["repodata", "build", "repo:os"]).output().unwrap().stdout;
    print!("{}", String::from_utf8_lossy(&said_last));
    let same: Vec<Duration> = (0..RUNS).map(|_| cfs(&["repodata", "build", "repo:os"])).collect();
    println!("cfs repodata build, one package new {}; nothing new {}", said(&times), said(&same));
    median(&times)
}

fn time(command: &mut Command) -> Duration {
    let began = Instant::now();
    run(command);
    began.elapsed()
}

fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}");
}

fn said(times: &[Duration]) -> String {
    format!("{:.2} s ({times:.2?})", median(times).as_secs_f64())
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Puts a new version in the place of one package.
fn change(dir: &Path, packages: usize, run: usize) {
    let number = packages / (run + 2);
    fs::remove_file(dir.join(format!("package{number:05}-1-1.x86_64.rpm"))).unwrap();
    package(dir, number, "2");
}

/// Builds packages with two threads.
fn make(dir: &Path, packages: usize, version: &str) {
    std::thread::scope(|scope| {
        for start in 0..2 {
            scope
                .spawn(move || (start..packages).step_by(2).for_each(|number| package(dir, number, version)));
        }
    });
}

fn package(dir: &Path, number: usize, version: &str) {
    let name = format!("package{number:05}");
    let summary = format!("The package number {number} of a large repository");
    let mut builder = rpm::PackageBuilder::new(&name, version, "MIT", "x86_64", &summary);
    let compression = rpm::CompressionWithLevel::Zstd(1);
    let config =
        rpm::BuildConfig::v4().source_date(1_700_000_000).reserved_space(None).compression(compression);
    builder.using_config(config).release("1").build_host("bench.example");
    builder.description(format!("It is there to be listed with its files.\n{summary}; nobody reads this."));
    for file in 0..FILES {
        let path = match file {
            0 => format!("/usr/bin/{name}"),
            1 => format!("/etc/{name}.conf"),
            _ => format!("/usr/share/{name}/directory{}/file-number-{file}.dat", file % 5),
        };
        let content = format!("{name} {version} {file}");
        builder.with_file_contents(content, rpm::FileOptions::new(path)).unwrap();
    }
    for required in 0..REQUIRES {
        builder.requires(rpm::Dependency::greater_eq(format!("lib{}", (number + required * 7) % 997), "1.0"));
    }
    for entry in 0..5_u32 {
        let author = format!("Someone <someone@example.org> - {version}-{entry}");
        builder.add_changelog_entry(
            author,
            "- something was changed, and something else",
            1_690_000_000 - entry * 86_400,
        );
    }
    builder.build().unwrap().write_file(dir.join(format!("{name}-{version}-1.x86_64.rpm"))).unwrap();
}
