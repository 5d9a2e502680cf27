//! What stands where.

use std::fs;

use super::*;

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn refs_and_snapshots_have_their_places() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_store();
    import(&sandbox, "rocky", "compose/9/Rocky-9.7", &[("BaseOS/repo", "rocky 9.7")]);
    import(&sandbox, "core", "sig/9/core", &[("file", "core")]);
    import(&sandbox, "one", "staging", &[("file", "one")]);
    let first = sandbox.snapshot("staging");
    sandbox.ok(["link", "compose/9/latest", "compose/9/Rocky-9.7"]);
    sandbox.ok(["link", "newest", "compose/9/latest"]);
    let live = mount(&sandbox, "mnt", &[]);

    says(
        "The top of a mount holds the directories at, compose, current, generations, snapshots and views, and \
         nothing else.",
    );
    assert_eq!(names(&live.dir), ["at", "compose", "current", "generations", "snapshots", "views"]);

    says(
        "A ref whose name begins with compose/ is a directory there, every other ref is one in views/, and \
         slashes in a name make directories on the way.",
    );
    assert_eq!(names(&live.path("compose")), ["9"]);
    assert_eq!(names(&live.path("compose/9")), ["Rocky-9.7", "latest"]);
    assert_eq!(names(&live.path("views")), ["newest", "sig", "staging"]);
    assert_eq!(names(&live.path("views/sig/9")), ["core"]);
    let content = |path: &str| fs::read_to_string(live.path(path)).unwrap();
    assert_eq!(content("compose/9/Rocky-9.7/BaseOS/repo"), "rocky 9.7");
    assert_eq!(content("views/sig/9/core/file"), "core");
    assert!(fs::metadata(live.path("views/compose")).is_err());

    says("A symbolic ref is a relative symlink to the place of the ref that it names.");
    let link = |path: &str| fs::read_link(live.path(path)).unwrap().into_os_string().into_string().unwrap();
    assert_eq!(link("compose/9/latest"), "Rocky-9.7");
    assert_eq!(link("views/newest"), "../compose/9/latest");
    assert_eq!(content("views/newest/BaseOS/repo"), "rocky 9.7");

    says("`current/<ref>` is a relative symlink to the snapshot that a ref of views/ names now.");
    assert_eq!(link("current/staging"), format!("../snapshots/{first}"));
    assert_eq!(link("current/sig/9/core"), format!("../../../snapshots/{}", sandbox.snapshot("sig/9/core")));
    assert_eq!(content("current/newest/BaseOS/repo"), "rocky 9.7");

    import(&sandbox, "two", "staging", &[("file", "two")]);
    assert_eq!(content("current/staging/file"), "two");
    says(
        "`generations/<ref>/<k>` is a ref as it was after its `<k>`th move, and for the last one a symlink to the \
         place of the ref; `generations/<ref>` lists nothing.",
    );
    assert_eq!(content("generations/staging/1/file"), "one");
    assert_eq!(link("generations/staging/2"), "../../views/staging");
    assert_eq!(names(&live.path("generations")), ["compose", "sig", "staging"]);
    assert_eq!(names(&live.path("generations/staging")), [""; 0]);
    assert!(fs::metadata(live.path("generations/staging/3")).is_err());
    says("`snapshots/<id>` is a snapshot by its whole id, and snapshots/ lists all of them.");
    assert_eq!(content(&format!("snapshots/{first}/file")), "one");
    let second = sandbox.snapshot("staging");
    let mut all = [first.clone(), second, sandbox.snapshot("sig/9/core"), sandbox.snapshot("newest")];
    all.sort();
    assert_eq!(names(&live.path("snapshots")), all);
    assert!(fs::metadata(live.path(&format!("snapshots/{}", &first[..12]))).is_err());
}

#[test]
fn the_past_has_its_place() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_store();
    import(&sandbox, "one", "staging", &[("file", "one")]);
    let made = sandbox.json(["log", "staging"])[0]["at"].as_str().unwrap().to_owned();
    let live = mount(&sandbox, "mnt", &[]);

    says(
        "`at/<ref>/<time>` is the newest snapshot of a ref of views/ that is not younger than the second \
         `<time>` of UTC, written 20260130T203000Z; `at/<ref>` lists nothing, since every second is in it.",
    );
    // 2026-01-30T20:30:00Z without its punctuation.
    let now: String = made.chars().filter(|c| !"-:".contains(*c)).collect();
    let file = |time: &str| fs::read_to_string(live.path(&format!("at/staging/{time}/file")));
    assert_eq!(file(&now).unwrap(), "one");
    assert_eq!(file("29991231T235959Z").unwrap(), "one");
    for none in ["19991231T235959Z", "now", "2026-01-30"] {
        assert!(file(none).is_err(), "{none}");
    }
    // Wait for another second, so that the ref has a past.
    while sandbox.json(["log", "staging"])[0]["at"].as_str() == Some(&made) {
        import(&sandbox, "two", "staging", &[("file", "two")]);
        import(&sandbox, "one", "staging", &[("file", "one")]);
        import(&sandbox, "two", "staging", &[("file", "two")]);
    }
    assert_eq!(file("29991231T235959Z").unwrap(), "two");
    assert_ne!(sandbox.snapshot(&format!("staging@{made}")), sandbox.snapshot("staging"));
    let then = sandbox.ok(["cat", &format!("staging@{made}:file")]);
    assert_eq!(file(&now).unwrap(), then);
    assert_eq!(names(&live.path("at")), ["staging"]);
    assert_eq!(names(&live.path("at/staging")), [""; 0]);
}

#[test]
fn one_ref_can_be_the_whole_mount() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_store();
    import(&sandbox, "one", "staging", &[("dir/file", "one"), ("gone", "x")]);
    let live = mount(&sandbox, "mnt", &["--view", "staging"]);
    says(
        "With `--view REF` the mount's top directory is the ref itself: it follows the ref, and everything \
         below belongs to the snapshot that it was found in.",
    );
    assert_eq!(names(&live.dir), ["dir", "gone"]);
    let inside = fs::File::open(live.path("dir")).unwrap();
    let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let before = time(&live.dir);
    sandbox.write("two/dir/file", "two");
    sandbox.write("two/new", "x");
    fs::File::open(sandbox.path("two")).unwrap().set_modified(before + Duration::from_secs(77)).unwrap();
    sandbox.ok(["import", "two", "staging"]);
    assert_eq!(names(&live.dir), ["dir", "new"]);
    assert_eq!(fs::read_to_string(live.path("dir/file")).unwrap(), "two");
    assert_eq!(time(&live.dir), before + Duration::from_secs(77));
    assert_eq!(promotions::read_in(&inside, "file"), "one");
    assert!(sandbox.fails(3, ["mount", "other", "--view", "nosuch"]).contains("nosuch"));
}
