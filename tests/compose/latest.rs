//! Which compose is the latest, and what a run that did not end well leaves behind.

use std::process::{Child, Stdio};
use std::time::Duration;

use super::*;

const DEBUG: &str = "/BaseOS/x86_64-debug/repodata/repomd.xml";

impl Scene {
    /// A full run that one tree fails; the compose's name.
    fn failed(&self) -> String {
        self.upstream.fault(DEBUG, Fault::Status(500));
        let ran = self.run(&["sync", "9", "--full-run"]);
        assert_eq!(ran.code, 3, "{ran:?}");
        self.upstream.heal();
        let report: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
        report["compose"].as_str().unwrap().to_owned()
    }

    /// A full run that waits for one package.
    fn hanging(&self) -> Child {
        let package = "/all/src/Packages/own3.rpm";
        self.upstream.fault(package, Fault::Hang(Some(100)));
        let mut command = self.sandbox.cfs();
        command.args(["compose", "sync", "9", "--full-run"]).stderr(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().unwrap();
        while !self.packages().contains(&package.to_owned()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    }

    fn status(&self, compose: &str) -> String {
        self.sandbox.ok(["cat", &format!("{compose}:STATUS")]).trim().to_owned()
    }
}

#[test]
fn going_on_with_a_part_leaves_the_rest_missing() {
    let scene = Scene::new();
    let name = scene.failed();
    assert_eq!(scene.status(&name), "DOOMED");
    for part in [&["--repo", "all"][..], &["--ignore-debug"]] {
        let ran = scene.run(&[&["sync", "9", "--resume"], part].concat());
        let report: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
        assert_eq!(
            (ran.code, &report["whole"], &report["latest"]),
            (3, &false.into(), &Value::Null),
            "{ran:?}"
        );
        assert_eq!(report["missing"], serde_json::json!(["compose/BaseOS/x86_64/debug/tree"]));
        assert!(ran.stderr.contains("compose/BaseOS/x86_64/debug/tree: has not been gathered"), "{ran:?}");
        assert_eq!(scene.latest(), None);
    }
    assert!(scene.sandbox.fails(1, ["promote", &name, "staging"]).contains("incomplete"));
    let done = scene.compose(&["sync", "9", "--resume"]);
    assert_eq!((&done["compose"], &done["whole"]), (&name.as_str().into(), &true.into()));
    assert_eq!((scene.latest(), scene.status(&name).as_str()), (Some(name), "STARTED"));
}

#[test]
fn what_a_release_has_no_longer_is_not_missing() {
    let scene = Scene::new();
    let name = scene.failed();
    scene.configure("debug = false\n");
    assert_eq!(scene.compose(&["sync", "9", "--resume"])["whole"], true);
    assert_eq!(scene.latest(), Some(name));
}

#[test]
fn an_older_run_that_ends_later_does_not_become_the_latest() {
    let scene = Scene::new();
    let older = scene.failed();
    let newer = scene.compose(&["sync", "9", "--full-run"]);
    let newer = newer["compose"].as_str().unwrap().to_owned();
    let resumed = scene.compose(&["sync", "9", "--resume"]);
    assert_eq!((&resumed["compose"], &resumed["whole"]), (&older.as_str().into(), &true.into()));
    assert_eq!((&resumed["latest"], scene.latest()), (&Value::Null, Some(newer)));
    scene.sandbox.ok(["promote", &older, "staging"]);
}

#[test]
fn releases_with_one_name_and_version_keep_their_composes_apart() {
    let scene = Scene::new();
    let text = fs::read_to_string(scene.sandbox.path("config.toml")).unwrap();
    let beta = text.replace("[release.9", "[release.9-beta");
    scene.sandbox.write("config.toml", text + &beta);
    let name = scene.failed();
    let other = scene.run(&["sync", "9-beta", "--resume"]);
    assert!(other.code == 3 && other.stderr.contains("no full run is unfinished"), "{other:?}");
    let beta = scene.compose(&["sync", "9-beta", "--full-run"]);
    assert_eq!(beta["latest"], "compose/9/latest-Rocky-9-beta");
    assert_ne!(beta["compose"], name.as_str());
    let listed = |profile: &str| -> Vec<Value> {
        let composes = scene.sandbox.json(["compose", "list", profile]);
        composes.iter().map(|compose| compose["compose"].clone()).collect()
    };
    assert_eq!((listed("9"), listed("9-beta")), (vec![name.as_str().into()], vec![beta["compose"].clone()]));
    assert_eq!(scene.compose(&["sync", "9", "--resume"])["compose"], name.as_str());
}

#[test]
fn an_update_that_fails_leaves_the_compose_as_whole_as_it_was() {
    let scene = Scene::new();
    let name = scene.compose(&["sync", "9", "--full-run"])["compose"].as_str().unwrap().to_owned();
    scene.upstream.fault(DEBUG, Fault::Status(500));
    assert_eq!(scene.run(&["sync", "9"]).code, 3);
    let listed = &scene.sandbox.json(["compose", "list", "9"])[0];
    assert_eq!((&listed["unfinished"], scene.status(&name).as_str()), (&Value::Null, "STARTED"));
    scene.sandbox.ok(["promote", &name, "staging"]);
    scene.upstream.heal();
    scene.compose(&["sync", "9", "--full-run"]);
    let judged = scene.sandbox.ok(["compose", "prune", "--dry-run", "-v"]);
    assert!(!judged.contains("never ended"), "{judged}");
    // It gets as far as to the packages, which are none here.
    let finished = scene.sandbox.run(["compose", "finalize", "9", &name]);
    assert!(finished.stderr.contains("the magic number of a package is missing"), "{finished:?}");
}

#[test]
fn a_full_run_that_is_stopped_says_so_and_goes_on() {
    let scene = Scene::new();
    let mut child = scene.hanging();
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success() && !child.wait().unwrap().success());
    scene.upstream.heal();
    let listed = scene.sandbox.json(["compose", "list", "9"]);
    assert_eq!(listed[0]["status"], "TERMINATED", "{listed:?}");
    let done = scene.compose(&["sync", "9", "--resume"]);
    assert_eq!((&done["compose"], &done["whole"]), (&listed[0]["compose"], &true.into()));
    assert_eq!(scene.file("STATUS"), "STARTED\n");
}

#[test]
fn a_full_run_of_a_part_says_what_its_compose_lacks() {
    let scene = Scene::new();
    let ran = scene.run(&["sync", "9", "--full-run", "--repo", "BaseOS"]);
    assert!(ran.stderr.contains("2 trees of the release are not in it"), "{ran:?}");
    let report: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    let absent = serde_json::json!(["compose/devel/x86_64/os", "compose/devel/aarch64/os"]);
    assert_eq!((ran.code, &report["absent"]), (0, &absent));
    let all = scene.compose(&["sync", "9", "--full-run", "--ignore-debug", "--ignore-source"]);
    assert_eq!(all["absent"], serde_json::json!([]));
}

#[test]
fn the_id_of_a_compose_that_was_pruned_is_not_given_again() {
    let scene = Scene::new();
    let first = scene.failed();
    scene.configure("[retention]\nunfinished = \"0s\"\n");
    scene.sandbox.ok(["compose", "prune"]);
    assert!(scene.sandbox.json(["compose", "list", "9"]).is_empty());
    let second = scene.compose(&["sync", "9", "--full-run"])["compose"].as_str().unwrap().to_owned();
    let (series, respin) = first.rsplit_once('.').unwrap();
    assert_eq!((respin, second), ("0", format!("{series}.1")));
}

#[test]
fn nobody_goes_on_with_a_run_that_is_under_way() {
    let scene = Scene::new();
    let mut child = scene.hanging();
    let name = scene.sandbox.json(["compose", "list", "9"])[0]["compose"].as_str().unwrap().to_owned();
    for args in [&["sync", "9", "--resume"][..], &["finalize", "9", &name]] {
        let refused = scene.sandbox.run(["compose"].iter().chain(args).copied());
        assert!(refused.code == 3 && refused.stderr.contains("another run"), "{refused:?}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    scene.upstream.heal();
    let done = scene.compose(&["sync", "9", "--resume"]);
    assert_eq!((&done["compose"], scene.latest()), (&name.as_str().into(), Some(name.clone())));
    let locks = fs::read_dir(scene.sandbox.store().join("tmp")).unwrap();
    let names: Vec<_> = locks.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.starts_with("compose-")), "{names:?}");
}

#[test]
fn what_is_put_into_a_compose_leaves_it_to_its_release() {
    let scene = Scene::new();
    let text = fs::read_to_string(scene.sandbox.path("config.toml")).unwrap();
    let beta = text.replace("[release.9", "[release.9-beta");
    scene.sandbox.write("config.toml", text + &beta);
    let name = scene.compose(&["sync", "9", "--full-run"])["compose"].as_str().unwrap().to_owned();
    scene.sandbox.write("more/note", "made elsewhere");
    scene.sandbox.ok(["import", "more", &format!("{name}:work")]);
    assert!(scene.sandbox.json(["compose", "list", "9-beta"]).is_empty());
    assert_eq!(scene.latest(), Some(name));
}
