//! `cfs demo`: what it shows is true, and it leaves nothing behind, however it ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Ran, Sandbox, installed, ran, real_data};

/// `cfs demo`, with temporary files in the sandbox.
fn demo(sandbox: &Sandbox, args: &[&str]) -> Command {
    fs::create_dir_all(sandbox.path("tmp")).unwrap();
    let mut command = sandbox.cfs();
    command.env("TMPDIR", sandbox.path("tmp")).arg("demo").args(args);
    command
}

/// The one object that `cfs --json demo` prints.
#[track_caller]
fn figures(sandbox: &Sandbox, args: &[&str]) -> Value {
    let Ran { code, stdout, stderr } = ran(demo(sandbox, args).arg("--json"));
    assert_eq!((code, stdout.lines().count()), (0, 1), "{stdout}{stderr}");
    let figures: Value = serde_json::from_str(&stdout).unwrap();
    if figures["mounted"] == false {
        eprintln!("skipped: no mount, because {}", figures["not_mounted_because"]);
    }
    figures
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}

/// Processes that were told about the sandbox, but for this one.
fn processes(sandbox: &Sandbox) -> Vec<String> {
    let place = sandbox.path("").to_string_lossy().into_owned();
    let all = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.unwrap().path().join("cmdline")).ok());
    let all = all.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    all.filter(|line| line.contains(&place)).collect()
}

/// Whatever there still is of a demo in this sandbox.
fn remains(sandbox: &Sandbox) -> Vec<String> {
    let place = sandbox.path("").to_string_lossy().into_owned();
    let mut found = processes(sandbox);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mounts.lines().filter(|line| line.contains(&place)).map(str::to_owned));
    let files = fs::read_dir(sandbox.path("tmp")).unwrap();
    found.extend(files.map(|entry| entry.unwrap().path().display().to_string()));
    found
}

#[track_caller]
fn assert_nothing_is_left(sandbox: &Sandbox) {
    assert_eq!(remains(sandbox), Vec::<String>::new());
}

#[test]
fn the_demo_tells_its_story_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let Ran { code, stdout, stderr } = ran(&mut demo(&sandbox, &[]));
    assert_eq!(code, 0, "{stdout}{stderr}");
    let keys: Vec<&str> = stdout.lines().map(|line| line[..10].trim_end()).collect();
    let mount = if keys.contains(&"mount") { "mount" } else { "no mount" };
    assert_eq!(
        keys,
        [
            "upstream", "sync", "link", "promote", mount, "read", "readers", "update", "sync", "link",
            "flip", "rollback", "proof", "stored", "done"
        ]
    );
    assert!(stdout.contains(" 0 a mixture") && stdout.contains("nothing is left behind"), "{stdout}");
    assert_nothing_is_left(&sandbox);
    assert!(!sandbox.store().exists(), "the demo has touched the user's store");
}

#[test]
fn the_figures_agree_with_each_other() {
    let sandbox = Sandbox::new();
    let figures = figures(&sandbox, &[]);
    let [first, second] = &figures["composes"].as_array().unwrap()[..] else { panic!("{figures}") };
    assert_eq!(figures["packages_read_back"], first["packages"]);
    assert!(number(&first["packages"]) > 50 && number(&first["bytes"]) > 10 << 20, "{figures}");
    // A package that both repositories have is downloaded once, one that is known already not at all.
    assert!(number(&first["fetched_bytes"]) < number(&first["bytes"]), "{figures}");
    assert!(number(&second["fetched_bytes"]) < number(&first["fetched_bytes"]), "{figures}");

    // Both composes, the second one in staging, and the first one in production again.
    for count in ["files", "bytes"] {
        let shown = 2 * (number(&first[count]) + number(&second[count]));
        assert_eq!(number(&figures[format!("logical_{count}")]), shown, "{figures}");
    }
    let (logical, stored) = (&figures["logical_bytes"], &figures["stored_bytes"]);
    let ratio = logical.as_f64().unwrap() / stored.as_f64().unwrap();
    assert!(ratio > 2.0 && (figures["dedup_ratio"].as_f64().unwrap() - ratio).abs() < 1e-9, "{figures}");

    let (passes, readers) = (&figures["passes"], number(&figures["readers"]));
    assert_eq!((&passes["mixed"], &figures["held_directory_unchanged"]), (&0.into(), &true.into()));
    let seen = ["first", "second", "back"].map(|generation| number(&passes[generation]));
    assert!(seen.iter().all(|passes| *passes >= readers), "{figures}");
    let all: u64 = seen.iter().sum();
    assert_eq!(number(&passes["packages"]), all * number(&first["packages"]), "{figures}");
    assert!(number(&passes["across_a_flip"]) <= all && figures["kept"].is_null(), "{figures}");
    assert_nothing_is_left(&sandbox);
}

#[test]
fn without_a_mount_it_says_so_and_shows_the_rest() {
    if !installed("unshare") {
        return;
    }
    let sandbox = Sandbox::new();
    let hide = "mount --bind /dev/null /dev/fuse";
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_cfs")]);
        command.env("TMPDIR", sandbox.path("tmp"));
        ran(&mut command)
    };
    fs::create_dir(sandbox.path("tmp")).unwrap();
    if unshare(hide).code != 0 {
        eprintln!("skipped: /dev/fuse cannot be hidden here");
        return;
    }
    let Ran { code, stdout, stderr } = unshare(&format!("{hide} && exec \"$0\" --json demo"));
    assert_eq!(code, 0, "{stdout}{stderr}");
    let figures: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&figures["mounted"], &figures["passes"]["mixed"]), (&false.into(), &0.into()));
    assert!(figures["not_mounted_because"].as_str().unwrap().contains("cannot mount"), "{figures}");
    assert!(number(&figures["passes"]["second"]) >= 2, "{figures}");
    assert!(unshare(&format!("{hide} && exec \"$0\" demo")).stdout.contains("\nno mount "));
    assert_nothing_is_left(&sandbox);
}

#[test]
fn keep_leaves_a_store_and_an_upstream_that_others_can_use() {
    let sandbox = Sandbox::new();
    let kept = sandbox.path("kept");
    let text = ran(&mut demo(&sandbox, &["--keep", kept.to_str().unwrap()])).stdout;
    assert!(text.contains("mkdir") && text.contains("cfs umount"), "{text}");
    let left: Vec<_> = fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_nothing_is_left(&sandbox);

    let store = kept.join("store");
    let cfs = |args: &[&str]| ran(sandbox.cfs().arg("--store").arg(&store).args(args));
    let refs = cfs(&["refs"]).stdout;
    let first = refs.split_whitespace().find(|word| word.ends_with(".0")).unwrap();
    // Directories of a view have times of their own: they move when something in them does.
    let files_differ = |old: &str, new: &str| {
        let differences = cfs(&["diff", old, new]).stdout;
        differences.lines().filter(|line| !line.ends_with('/')).map(str::to_owned).collect::<Vec<_>>()
    };
    // A rollback gives metadata new times, so that mirrors follow.
    let back = files_differ(first, "production:9");
    assert!(!back.is_empty() && back.iter().all(|line| line.ends_with("/repodata/repomd.xml")), "{back:?}");
    assert_eq!(files_differ("compose/9/latest-Demo-9", "staging:9"), [""; 0]);
    assert_eq!(cfs(&["diff", "staging", "production"]).code, 1);
    let repository = kept.join("upstream/BaseOS/x86_64/os");
    let repomd = fs::read_to_string(repository.join("repodata/repomd.xml")).unwrap();
    assert_eq!(cfs(&["cat", "staging:9/BaseOS/x86_64/os/repodata/repomd.xml"]).stdout, repomd);

    let error = ran(&mut demo(&sandbox, &["--keep", kept.to_str().unwrap()]));
    assert!(error.code == 3 && error.stderr.contains("is not empty"), "{error:?}");
    if installed("dnf") {
        let names = dnf_names(&sandbox, &repository);
        assert!(names.len() == 36 && names.contains(&"demo-release".to_owned()), "{names:?}");
    }
}

/// The packages that dnf finds in a repository, all of whose requirements it must find there, too.
fn dnf_names(sandbox: &Sandbox, repository: &Path) -> Vec<String> {
    let ask = |words: &[&str]| {
        let mut dnf = Command::new("dnf");
        dnf.args([
            "-q",
            "--releasever",
            "9",
            "--setopt=reposdir=/nonexistent",
            "--noplugins",
            "--nogpgcheck",
        ]);
        dnf.arg(format!("--setopt=cachedir={}", sandbox.path("cache").display()));
        dnf.arg("--installroot").arg(sandbox.path("root")).arg("--setopt=r.skip_if_unavailable=0");
        dnf.arg(format!("--repofrompath=r,file://{}", repository.display())).args(words);
        let answer = ran(&mut dnf);
        assert_eq!(answer.code, 0, "{answer:?}");
        answer.stdout
    };
    ask(&["makecache"]);
    ask(&["repoquery", "--qf", "%{name}"]).lines().map(str::to_owned).collect()
}

#[test]
fn a_repository_of_ones_own_is_shown_as_well() {
    let (Some(data), true) = (real_data(), installed("createrepo_c")) else { return };
    let sandbox = Sandbox::new();
    let packages = sandbox.path("upstream/Packages");
    fs::create_dir_all(&packages).unwrap();
    for dir in ["rpm-rs", "centos-release", "librepo"] {
        copy_packages(&data.join(dir), &packages);
    }
    let upstream = sandbox.path("upstream");
    let made = ran(Command::new("createrepo_c").env("LC_ALL", "C").arg("-q").arg(&upstream));
    assert_eq!(made.code, 0, "{made:?}");

    let figures = figures(&sandbox, &["--upstream", upstream.to_str().unwrap()]);
    let [first, second] = &figures["composes"].as_array().unwrap()[..] else { panic!("{figures}") };
    assert_eq!(figures["packages_read_back"], first["packages"]);
    assert!(number(&first["packages"]) > 10, "{figures}");
    assert_eq!(number(&second["packages"]), number(&first["packages"]) - 1);
    assert_eq!(number(&second["fetched_files"]), 3, "only package lists are new: {figures}");
    assert_eq!(figures["passes"]["mixed"], 0);
    assert_nothing_is_left(&sandbox);
}

/// Copies all packages below `from`, one of each name.
fn copy_packages(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            copy_packages(&path, to);
        } else if path.extension().is_some_and(|ending| ending == "rpm") {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

#[test]
fn an_upstream_that_is_not_there_is_an_error_that_names_it() {
    let sandbox = Sandbox::new();
    let error = ran(&mut demo(&sandbox, &["--upstream", "nowhere"]));
    assert!(error.code == 3 && error.stderr.contains("nowhere/repodata/repomd.xml"), "{error:?}");
    assert_eq!(ran(&mut demo(&sandbox, &["--upstream", "gopher://x"])).code, 2);
    assert_nothing_is_left(&sandbox);
}

/// Starts the demo and returns when it has told the line that begins with `key`.
fn started(sandbox: &Sandbox, key: &str) -> Child {
    let mut child = demo(sandbox, &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let mut lines = BufReader::new(stdout).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with(key)), "no line begins with {key}");
    // Whatever it tells later is read by somebody.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

fn send(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn a_signal_ends_the_demo_and_nothing_is_left() {
    for (key, signal) in [("upstream", Signal::TERM), ("promote", Signal::INT), ("readers", Signal::INT)] {
        let sandbox = Sandbox::new();
        let child = started(&sandbox, key);
        send(&child, signal);
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{key}: {stderr}");
        assert!(stderr.contains("interrupted"), "{key}: {stderr}");
        assert_nothing_is_left(&sandbox);
    }
}

#[test]
fn even_a_killed_demo_leaves_nothing() {
    let sandbox = Sandbox::new();
    let mut child = started(&sandbox, "readers");
    send(&child, Signal::KILL);
    child.wait().unwrap();
    let killed = Instant::now();
    while !remains(&sandbox).is_empty() {
        assert!(killed.elapsed() < Duration::from_mins(1), "{:?}", remains(&sandbox));
        std::thread::sleep(Duration::from_millis(20));
    }
}
