//! Full runs and updates: what is downloaded, what becomes of it, and what a failure leaves.

use std::process::Stdio;
use std::time::Duration;

use super::*;

#[test]
fn a_full_run_downloads_each_distinct_package_once_and_becomes_the_latest() {
    let scene = Scene::new();
    let first = scene.compose(&["sync", "9", "--full-run"]);
    assert_eq!((&first["whole"], first["trees"].as_array().unwrap().len()), (&true.into(), 10));
    let packages = scene.packages();
    assert_eq!(packages.len(), 10 * 5 + 2, "{packages:#?}");
    let name = first["compose"].as_str().unwrap();
    assert_eq!(first["latest"], "compose/9/latest-Rocky-9");
    assert_eq!(scene.latest().as_deref(), Some(name));
    for (place, tree) in [
        ("BaseOS/x86_64/os", "BaseOS/x86_64"),
        ("BaseOS/aarch64/debug/tree", "BaseOS/aarch64-debug"),
        ("devel/source/tree", "all/src"),
        ("devel/aarch64/kickstart", "all/aarch64"),
    ] {
        let out = scene.sandbox.path(place.replace('/', "-"));
        let place = format!("compose/9/latest-Rocky-9:compose/{place}");
        scene.sandbox.ok(["checkout", &place, out.to_str().unwrap()]);
        for own in [".treeinfo", ".discinfo", "media.repo"] {
            fs::remove_file(out.join(own)).unwrap();
        }
        let upstream = scene.sandbox.path("upstream").join(tree);
        let ran = crate::harness::ran(std::process::Command::new("diff").arg("-r").arg(&upstream).arg(&out));
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{place}");
    }

    // Nothing has changed: a second one downloads nothing and gets the next id.
    scene.upstream.heal();
    let second = scene.compose(&["sync", "9", "--full-run"]);
    assert_eq!((scene.packages().len(), &second["fetched_files"]), (0, &0.into()));
    let (last, next) = (name.rsplit_once('.').unwrap(), second["compose"].as_str().unwrap());
    assert_eq!((last.1, next), ("0", format!("{}.1", last.0).as_str()));
    assert_eq!(scene.latest().as_deref(), Some(next));
    assert_eq!(scene.file("COMPOSE_ID"), next.trim_start_matches("compose/9/"));
    assert_eq!(scene.file("STATUS"), "STARTED\n");
}

#[test]
fn a_full_run_with_failures_does_not_become_the_latest_and_can_go_on() {
    let scene = Scene::new();
    scene.compose(&["sync", "9", "--full-run"]);
    let before = scene.latest();
    let mut repo = scene.repos[0].clone();
    repo.add("Packages/new.rpm", &content(700));
    repo.add("Packages/newer.rpm", &content(701));
    repo.write();
    scene.upstream.heal();
    scene.upstream.fault("/BaseOS/x86_64/Packages/new.rpm", Fault::Status(404));
    let ran = scene.run(&["sync", "9", "--full-run"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("/BaseOS/x86_64/Packages/new.rpm"), "{}", ran.stderr);
    let report: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    let failed: Vec<&Value> =
        report["trees"].as_array().unwrap().iter().filter(|tree| tree["ok"] == false).collect();
    assert_eq!((failed.len(), &failed[0]["tree"]), (1, &"compose/BaseOS/x86_64/os".into()));
    assert_eq!(scene.latest(), before, "the latest stays");
    let name = report["compose"].as_str().unwrap();
    let refused = scene.sandbox.fails(1, ["promote", name, "staging"]);
    assert!(refused.contains("incomplete"), "{refused}");

    scene.upstream.heal();
    let resumed = scene.compose(&["sync", "9", "--resume"]);
    assert_eq!((&resumed["compose"], &resumed["whole"]), (&name.into(), &true.into()));
    assert_eq!(scene.packages(), ["/BaseOS/x86_64/Packages/new.rpm"]);
    assert_eq!(scene.latest().as_deref(), Some(name));
    scene.sandbox.ok(["promote", name, "staging"]);
    let error = scene.run(&["sync", "9", "--resume"]).stderr;
    assert!(error.contains("no full run is unfinished"), "{error}");
}

#[test]
fn a_killed_full_run_is_unfinished_and_goes_on_where_it_was() {
    let scene = Scene::new();
    scene.upstream.fault("/all/src/Packages/own3.rpm", Fault::Hang(Some(100)));
    let mut command = scene.sandbox.cfs();
    command.args(["compose", "sync", "9", "--full-run", "--jobs=1"]).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    while !scene.packages().contains(&"/all/src/Packages/own3.rpm".to_owned()) {
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(scene.latest(), None);
    let list = scene.sandbox.json(["compose", "list", "9"]);
    assert_eq!(list[0]["unfinished"], "the full run has not ended", "{list:?}");
    let name = list[0]["compose"].as_str().unwrap().to_owned();
    let refused = scene.sandbox.fails(1, ["promote", &name, "staging"]);
    assert!(refused.contains("incomplete"), "{refused}");

    scene.upstream.heal();
    let resumed = scene.compose(&["sync", "9", "--resume"]);
    assert_eq!((&resumed["compose"], &resumed["whole"]), (&name.clone().into(), &true.into()));
    assert!(scene.packages().len() <= 52 - 40, "most had arrived: {:?}", scene.packages());
    assert_eq!(scene.latest(), Some(name));
}

#[test]
fn an_update_is_made_as_a_whole_or_not_at_all() {
    let scene = Scene::new();
    let error = scene.run(&["sync", "9"]);
    assert!(error.code == 3 && error.stderr.contains("there is no compose yet"), "{error:?}");
    scene.compose(&["sync", "9", "--full-run"]);
    let before = scene.sandbox.snapshot("compose/9/latest-Rocky-9");
    for (number, name) in [(0, "x"), (5, "y")] {
        let mut repo = scene.repos[number].clone();
        repo.packages.remove(0);
        repo.add(&format!("Packages/{name}.rpm"), &content(800 + number));
        repo.write();
    }
    scene.upstream.fault("/all/x86_64/Packages/y.rpm", Fault::Close);
    let ran = scene.run(&["sync", "9"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(scene.sandbox.snapshot("compose/9/latest-Rocky-9"), before);

    scene.upstream.heal();
    let planned = scene.compose(&["sync", "9", "--dry-run"]);
    assert_eq!(planned["missing_files"], 1, "x has arrived: {planned}");
    assert_eq!(scene.sandbox.snapshot("compose/9/latest-Rocky-9"), before, "a dry run changes nothing");
    let done = scene.compose(&["sync", "9"]);
    assert_eq!((&done["fetched_files"], &done["latest"]), (&1.into(), &Value::Null));
    let listing = scene.sandbox.listing("compose/9/latest-Rocky-9:compose/BaseOS/x86_64");
    assert!(listing.contains("x.rpm"), "{listing}");
    let os = scene.sandbox.listing("compose/9/latest-Rocky-9:compose/BaseOS/x86_64/os");
    assert!(os.contains("own0.rpm"), "what was removed upstream stays: {os}");
    let first = scene.sandbox.listing("compose/9/latest-Rocky-9:compose/BaseOS/x86_64/kickstart");
    assert!(!first.contains("x.rpm"), "a kickstart tree never changes: {first}");

    let cleaned = scene.compose(&["sync", "9", "--clean-old-packages"]);
    assert_eq!(cleaned["fetched_files"], 0);
    let os = scene.sandbox.listing("compose/9/latest-Rocky-9:compose/BaseOS/x86_64/os");
    assert!(!os.contains("own0.rpm") && os.contains(".treeinfo"), "{os}");
    let same = scene.compose(&["sync", "9", "--clean-old-packages"]);
    assert_eq!(same["snapshot"], Value::Null, "nothing has changed: {same}");
}

#[test]
fn a_selection_touches_nothing_else() {
    let scene = Scene::new();
    scene.compose(&["sync", "9", "--full-run", "--repo=BaseOS", "--arch=x86_64", "--ignore-debug"]);
    let trees = scene.sandbox.ok(["ls", "compose/9/latest-Rocky-9:compose"]);
    assert!(trees.contains("BaseOS") && !trees.contains("devel"), "{trees}");
    assert_eq!(scene.packages().len(), 2 * 5 + 2, "os and sources");
    let error = scene.run(&["sync", "9", "--repo=Extra"]);
    assert!(error.code == 2 && error.stderr.contains("no repository is called"), "{error:?}");
}

#[test]
fn runs_at_once_get_ids_of_their_own() {
    let scene = Scene::new();
    let start = || {
        let mut command = scene.sandbox.cfs();
        command.args(["--json", "compose", "sync", "9", "--full-run", "--ignore-debug"]);
        command.stdout(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..3).map(|_| start()).collect();
    let mut names: Vec<String> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success());
            let value: Value = serde_json::from_slice(&output.stdout).unwrap();
            value["compose"].as_str().unwrap().to_owned()
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 3, "{names:?}");
    let packages = scene.packages();
    assert_eq!(packages.len(), 6 * 5 + 2, "runs at once share what they download: {packages:#?}");
}

#[test]
fn a_package_stands_nowhere_but_where_packages_do() {
    let scene = Scene::new();
    for name in [".treeinfo", "media.repo", ".discinfo/x.rpm"] {
        let mut repo = scene.repos[0].clone();
        repo.add(name, b"not what it says");
        repo.write();
        let ran = scene.run(&["sync", "9", "--full-run"]);
        let place = name.split('/').next().unwrap();
        assert!(ran.code == 3 && ran.stderr.contains(place), "{ran:?}");
        scene.upstream.heal();
    }
}

#[test]
fn packages_of_one_name_that_differ_are_named() {
    let scene = Scene::new();
    let mut repo = scene.repos[0].clone();
    repo.edit_primary = |text| text.replace("<name>p1</name>", "<name>p0</name>");
    repo.write();
    let ran = scene.run(&["sync", "9", "--full-run"]);
    assert!(
        ran.code == 0 && ran.stderr.contains("is listed several times, with different contents"),
        "{ran:?}"
    );
}

#[test]
fn metadata_is_there_as_yaml_too() {
    let scene = Scene::new();
    scene.compose(&["sync", "9", "--full-run"]);
    let readme = scene.file("compose/metadata/README");
    assert!(readme.contains("Rocky Linux 9.7") && readme.contains(&scene.file("COMPOSE_ID")), "{readme}");
    if ran(Command::new("python3").args(["-c", "import yaml"])).code != 0 {
        eprintln!("skipped: python3 has no yaml");
        return;
    }
    let out = scene.sandbox.path("out");
    scene.sandbox.ok(["checkout", "compose/9/latest-Rocky-9:compose/metadata", out.to_str().unwrap()]);
    let program = "import json, sys, yaml\n\
                   for name in ('metadata', 'composeinfo'):\n    \
                       place = sys.argv[1] + '/' + name\n    \
                       assert yaml.safe_load(open(place + '.yaml')) == json.load(open(place + '.json')), name\n";
    let read = ran(Command::new("python3").args(["-c", program]).arg(&out));
    assert_eq!(read.code, 0, "{read:?}");
}
