//! How a workspace begins, goes on and ends.

use std::process::Stdio;

use rustix::process::{Signal, kill_process};

use super::*;

/// Something done in `BaseOS/x86_64/os`, and what status says of it.
const CHANGE: &str = "sed -i s/9.6/9.7/ media.repo; rm Packages/acl*; mkdir new; echo x > new/x";
const CHANGES: [&str; 6] =
    ["C Packages/", "R Packages/acl-2.3-1.noarch.rpm", "C media.repo", "A new/", "A new/x", "C ./"];

#[test]
fn a_workspace_is_opened_and_tells_what_has_changed() {
    if !can_work() {
        return;
    }
    let sandbox = release();
    says(
        "`cfs work open REV DIR` shows a snapshot, or a directory of one, at an empty directory that can be written to; the snapshot stays as it is.",
    );
    fs::create_dir(sandbox.path("work")).unwrap();
    assert!(sandbox.fails(3, ["work", "open", "nowhere", "work"]).contains("nowhere"));
    assert!(sandbox.fails(3, ["work", "open", "staging:tool", "work"]).contains("is not a directory"));
    assert!(sandbox.fails(3, ["work", "open", "staging", "source"]).contains("not empty"));
    assert!(sandbox.fails(1, ["work", "open", "staging", "store/tmp"]).contains("inside each other"));
    assert_eq!(sandbox.ok(["work", "list"]), "");
    let os = "BaseOS/x86_64/os";
    let work = open(&sandbox, &format!("staging:{os}"), "work", &[]);
    assert_eq!(work.status(), (0, Vec::new()));
    assert_eq!(contents(&work.dir, true), contents(&sandbox.path("source").join(os), true));
    assert!(sandbox.ok(["work", "open", &format!("staging:{os}"), "work"]).contains("is open already"));
    assert!(
        sandbox.fails(1, ["work", "open", "staging", "work"]).contains("is a workspace on staging:BaseOS")
    );
    sandbox.fails(1, ["work", "open", &format!("staging:{os}"), "work", "--overlay", "fuse"]);
    let listed = &sandbox.json(["work", "list"])[0];
    assert_eq!((&listed["open"], listed["dir"].as_str()), (&true.into(), work.dir.to_str()));

    says(
        "`cfs work status` lists what has changed since the workspace was opened or committed last, as `cfs diff` does, and exits with 1 when there is anything.",
    );
    sh_ok(&work.dir, CHANGE);
    assert_eq!(work.status(), (1, CHANGES.map(str::to_owned).to_vec()));
    let changes = sandbox.run(["--json", "work", "status", "work"]);
    assert!(
        changes.code == 1 && changes.stdout.contains(r#"{"change":"added","path":"new/x"}"#),
        "{changes:?}"
    );

    sandbox.ok(["work", "discard", "work"]);
}

#[test]
fn a_workspace_is_committed_goes_on_and_is_discarded() {
    if !can_work() {
        return;
    }
    let sandbox = release();
    let os = "BaseOS/x86_64/os";
    let work = open(&sandbox, &format!("staging:{os}"), "work", &[]);
    sh_ok(&work.dir, CHANGE);
    says(
        "`cfs work commit` makes what the workspace shows a path of a ref, in one step; the workspace goes on, and so does the next commit.",
    );
    let target = format!("staging:{os}");
    let planned = sandbox.ok(["-v", "work", "commit", "work", &target, "--dry-run"]);
    assert!(
        planned.contains("A new/x\n") && planned.contains("would commit work to staging:BaseOS"),
        "{planned}"
    );
    assert_eq!(sandbox.json(["log", "staging"]).len(), 1);
    let said = work.commit(&target);
    assert_eq!(
        (&said["generation"], &said["files_read"], &said["changes"]["added"]["files"]),
        (&2.into(), &2.into(), &1.into())
    );
    assert_eq!(work.status(), (0, Vec::new()));
    let diff = sandbox.run(["diff", "staging@{1}", "staging"]).stdout;
    let expected: Vec<String> =
        CHANGES[..5].iter().map(|line| line.replacen(' ', &format!(" {os}/"), 1)).collect();
    assert_eq!(
        diff.lines().map(str::to_owned).collect::<Vec<_>>(),
        [vec![format!("C {os}/")], expected].concat()
    );
    sh_ok(&work.dir, "echo y > new/y; touch -d @1700000000 new");
    assert_eq!(work.status(), (1, vec!["C new/".to_owned(), "A new/y".to_owned()]));
    work.commit(&target);
    assert_eq!(sandbox.ok(["ls", &format!("{target}/new")]), "x\ny\n");
    assert_eq!(work.commit(&target)["changed"], false);
    let record = sandbox.json(["show", "staging"]);
    assert!(record[0].to_string().contains("work.base"), "{}", record[0]);

    says(
        "`cfs work discard` drops a workspace and what was not committed, and leaves an empty directory and no process.",
    );
    let daemon = work.daemon();
    let inside = fs::File::open(work.path("media.repo")).unwrap();
    assert!(sandbox.fails(3, ["work", "discard", "work"]).contains("in use"));
    assert!(work.path("new/y").exists());
    drop(inside);
    sandbox.ok(["work", "discard", "work"]);
    assert!(fs::read_dir(&work.dir).unwrap().next().is_none());
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.as_raw_nonzero()));
    assert!(stat.is_err() || stat.unwrap().contains(") Z "));
    let left = sh_ok(&sandbox.store().join("work"), "ls -A | grep -v '\\.lock$' || true");
    assert_eq!((left.as_str(), sandbox.ok(["work", "list"]).as_str()), ("", ""));
    assert!(sandbox.fails(3, ["work", "status", "work"]).contains("is not a workspace"));
    assert!(sandbox.fails(3, ["work", "commit", "work", "staging"]).contains("is not a workspace"));
}

#[test]
fn others_are_not_overwritten_unseen() {
    if !can_work() {
        return;
    }
    let sandbox = release();
    let work = open(&sandbox, "staging", "work", &[]);
    says("A workspace stays on the snapshot that it was opened on, wherever the ref goes.");
    sh_ok(&work.dir, "echo mine > mine");
    sandbox.ok(["import", "source/isos", "staging:more"]);
    assert!(!work.path("more").exists());
    says(
        "A commit to a path that is neither new, nor what the workspace was opened on, nor what it committed there is refused, unless with --replace.",
    );
    let refused = sandbox.fails(1, ["work", "commit", "work", "staging"]);
    assert!(
        refused.contains("staging: is not what the workspace was opened on") && refused.contains("--replace"),
        "{refused}"
    );
    sandbox.fails(1, ["work", "commit", "work", "staging", "--dry-run"]);
    assert_eq!(work.status(), (1, vec!["A mine".to_owned(), "C ./".to_owned()]));
    work.commit("other:here");
    assert_eq!(sandbox.ok(["cat", "other:here/mine"]), "mine\n");
    sandbox.ok(["work", "commit", "work", "staging", "--replace", "-m", "as it was meant"]);
    assert_eq!(sandbox.run(["cat", "staging:more/CHECKSUM"]).code, 3);
    // What it has committed it may replace, in any of the refs.
    sh_ok(&work.dir, "echo more >> mine");
    work.commit("staging");
    work.commit("other:here");
    assert_eq!(sandbox.run(["diff", "staging", "other:here"]).code, 0);
    sandbox.ok(["link", "name", "staging"]);
    assert!(sandbox.fails(1, ["work", "commit", "work", "name"]).contains("symbolic"));
}

#[test]
fn what_was_written_outlives_mounts_and_processes() {
    if !can_work() {
        return;
    }
    let sandbox = release();
    let work = open(&sandbox, "staging", "work", &[]);
    sh_ok(&work.dir, "echo kept > kept; mv isos images; rm tool");
    let shown = contents(&work.dir, true);
    says(
        "What was written in a workspace outlives unmounts, killed processes and reboots: it can be committed without being open, and `cfs work open` shows it again.",
    );
    sandbox.ok(["work", "close", "work"]);
    assert!(fs::read_dir(&work.dir).unwrap().next().is_none());
    let closed = work.status();
    assert!(closed.0 == 1 && closed.1.contains(&"A kept".to_owned()), "{closed:?}");
    work.commit("first");
    assert!(sandbox.ok(["work", "open", "staging", "work"]).contains("opened again"));
    assert_eq!(contents(&work.dir, true), shown);

    // The daemon below is killed; everything else is found as a reboot leaves it.
    kill_process(work.daemon(), Signal::KILL).unwrap();
    while fs::read(work.path("CHECKSUM")).is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
    says(
        "`cfs work list` tells a workspace that is open from one whose process has died; `cfs work open` shows that again.",
    );
    assert_eq!(sandbox.json(["work", "list"])[0]["state"], "dead");
    assert_eq!(work.status().0, 0, "the first commit had everything");
    sandbox.ok(["import", "source/isos", "staging:more"]);
    assert!(sandbox.ok(["work", "open", "staging", "work"]).contains("opened again"));
    assert_eq!(contents(&work.dir, true), shown, "on the snapshot that it was opened on");
    sh_ok(&sandbox.path(""), &format!("umount -l work; umount -l {}", work.lower().display()));
    assert!(sandbox.ok(["work", "open", "staging", "work"]).contains("opened again"));
    assert_eq!(contents(&work.dir, true), shown);
    work.commit("second");
    assert_eq!(sandbox.run(["diff", "first", "second"]).code, 0);
}

#[test]
fn a_commit_that_is_killed_loses_nothing() {
    if !can_work() {
        return;
    }
    let sandbox = release();
    let work = open(&sandbox, "staging", "work", &[]);
    let script =
        "for n in $(seq 300); do head -c 20000 /dev/urandom > isos/$n; done; mv BaseOS AppStream; rm tool";
    sh_ok(&work.dir, script);
    let shown = contents(&work.dir, true);
    says("A commit that is killed has been made or not; made again it ends the same.");
    for delay_ms in [0, 5, 10, 20, 40, 80, 160] {
        let mut commit = sandbox.cfs();
        commit.args(["work", "commit", "work", "staging"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = commit.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        let generations = sandbox.json(["log", "staging"]).len();
        assert!(generations <= 2, "{generations}");
    }
    work.commit("staging");
    assert_eq!(sandbox.json(["log", "staging"]).len(), 2);
    assert_eq!(work.status(), (0, Vec::new()));
    sandbox.ok(["checkout", "staging", "out"]);
    assert_eq!(contents(&sandbox.path("out"), true), shown);
    assert_eq!(contents(&work.dir, true), shown);
    // It can go on.
    sh_ok(&work.dir, "echo > after");
    assert_eq!(work.commit("staging")["changed"], true);
}

#[test]
fn an_open_that_is_killed_can_be_made_again_or_discarded() {
    if !can_work() {
        return;
    }
    let sandbox = release();
    fs::create_dir(sandbox.path("work")).unwrap();
    for (number, delay_ms) in [0, 4, 8, 12, 16, 24, 32, 48, 64, 96].into_iter().enumerate() {
        let work = Work { sandbox: &sandbox, dir: sandbox.path("work"), name: "work".into() };
        let mut open = sandbox.cfs();
        open.args(["work", "open", "staging", "work"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = open.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        if number % 2 == 0 {
            sandbox.ok(["work", "open", "staging", "work"]);
            assert_eq!(work.status(), (0, Vec::new()));
            sh_ok(&work.dir, "echo more >> CHECKSUM; mv isos images");
            assert_eq!(work.status().0, 1);
            sandbox.ok(["work", "discard", "work"]);
        }
        let discarded = sandbox.run(["work", "discard", "work"]);
        assert!(discarded.code == 0 || discarded.stderr.contains("is not a workspace"), "{discarded:?}");
        drop(work);
        assert_eq!(sandbox.ok(["work", "list"]), "");
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(sandbox.path("").to_str().unwrap()), "{mounts}");
        assert!(fs::read_dir(sandbox.path("work")).unwrap().next().is_none());
    }
}

#[test]
fn changes_can_be_kept_elsewhere() {
    if !can_work() {
        return;
    }
    let sandbox = release();
    let odd = sandbox.path("a, scratch: place\\");
    fs::create_dir(&odd).unwrap();
    let work = open(&sandbox, "staging", "work", &["--scratch", odd.to_str().unwrap()]);
    says(
        "What is written is kept in the store's directory work/, or below the directory that `--scratch` names.",
    );
    sh_ok(&work.dir, "echo content > new; rm tool");
    let kept = sh_ok(&odd, "find . -name new -type f -exec cat {} +");
    assert_eq!(kept, "content\n");
    work.commit("staging");
    assert_eq!(sandbox.ok(["cat", "staging:new"]), "content\n");
    sandbox.ok(["work", "discard", "work"]);
    assert_eq!(fs::read_dir(&odd).unwrap().count(), 0, "nothing is left");
}

#[test]
fn a_full_disk_is_an_error_and_what_was_written_stays() {
    if !can_work() {
        return;
    }
    let sandbox = release();
    let small = sandbox.path("small");
    fs::create_dir(&small).unwrap();
    sh_ok(&small, "mount -t tmpfs -o size=300k,nr_inodes=40 none .");
    let small = Unmount(small);
    let work = open(&sandbox, "staging", "work", &["--scratch", small.0.to_str().unwrap()]);
    says(
        "Where there is no room for what is written, writing fails with ENOSPC, and so may removing; what was written before can be committed.",
    );
    sh_ok(&work.dir, "echo kept > kept; mv isos/old isos/new; rm tool");
    let full = sh(&work.dir, "for n in $(seq 40); do head -c 20000 /dev/zero > fill-$n || exit; done");
    assert!(full.code != 0 && full.stderr.contains("No space left on device"), "{full:?}");
    sh_ok(&work.dir, "rm fill-*");
    let shown = contents(&work.dir, true);
    work.commit("staging");
    sandbox.ok(["checkout", "staging", "out"]);
    assert_eq!(contents(&sandbox.path("out"), true), shown);
    sandbox.ok(["work", "discard", "work"]);
}

/// Unmounts a directory at the end.
struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}
