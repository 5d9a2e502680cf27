//! How composes go when they have had their time.

use super::*;

/// A store with composes of one file each, and a configuration.
fn scene(retention: &str) -> Sandbox {
    let sandbox = Sandbox::with_config(retention);
    for id in ["Rocky-9-updates-20251101.0", "Rocky-9-updates-20251102.0", "Rocky-9.7-20251124.0"] {
        sandbox.write("tree/STATUS", "STARTED\n");
        sandbox.write("tree/file", id);
        sandbox.ok(["import", "tree", &format!("compose/9/{id}")]);
    }
    sandbox
}

/// For each compose that was looked at: whether it goes, and why.
fn judged(sandbox: &Sandbox) -> Vec<(String, bool, String)> {
    let lines = sandbox.json(["compose", "prune", "--dry-run", "--all"]);
    let of = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    let composes = lines.iter().filter(|line| line["compose"].is_string());
    composes.map(|line| (of(line, "compose"), line["goes"] == true, of(line, "why"))).collect()
}

#[test]
fn updates_go_and_what_is_needed_stays() {
    let sandbox = scene("[retention]\nupdates = \"0\"\n");
    sandbox.write("tree/STATUS", "FINISHED\n");
    sandbox.ok(["import", "tree", "compose/9/Rocky-9-updates-20251103.0"]);
    sandbox.write("tree/STATUS", "STARTED\n");
    for number in 4..=7 {
        sandbox.write("tree/number", number.to_string());
        sandbox.ok(["import", "tree", &format!("compose/9/Rocky-9-updates-2025110{number}.0")]);
    }
    sandbox.ok(["promote", "compose/9/Rocky-9-updates-20251104.0", "staging:pub"]);
    // Promoted as it was then.
    sandbox.write("tree/number", "more");
    sandbox.ok(["import", "tree", "compose/9/Rocky-9-updates-20251104.0"]);
    sandbox.ok(["pin", "compose/9/Rocky-9-updates-20251105.0"]);
    sandbox.ok(["link", "compose/9/latest-Rocky-9", "compose/9/Rocky-9-updates-20251106.0"]);
    sandbox.ok(["import", "tree", "work-updates-20251107.0"]);
    let why = |name: &str| {
        let name = format!("compose/9/{name}");
        let found = judged(&sandbox).into_iter().find(|(found, ..)| *found == name).unwrap();
        (found.1, found.2)
    };
    assert_eq!(why("Rocky-9.7-20251124.0"), (false, "it is a full compose".into()));
    assert_eq!(why("Rocky-9-updates-20251103.0"), (false, "it is finished".into()));
    assert_eq!(why("Rocky-9-updates-20251104.0"), (false, "staging has something of it".into()));
    assert_eq!(why("Rocky-9-updates-20251105.0"), (false, "it is pinned".into()));
    assert_eq!(why("Rocky-9-updates-20251106.0"), (false, "compose/9/latest-Rocky-9 names it".into()));
    assert_eq!(judged(&sandbox).iter().filter(|(_, goes, _)| *goes).count(), 3);
    assert_eq!(sandbox.json(["refs"]).len(), 11, "a dry run changes nothing");

    let done = sandbox.json(["compose", "prune"]);
    assert_eq!(done.last().unwrap()["deleted"], 3, "{done:?}");
    assert_eq!(sandbox.json(["refs"]).len(), 8);
    let again = sandbox.json(["compose", "prune"]);
    assert_eq!(again.last().unwrap()["deleted"], 0, "{again:?}");

    // Its past is there, and so is the chain.
    let gone = "compose/9/Rocky-9-updates-20251101.0";
    let error = sandbox.fails(3, ["show", gone]);
    assert!(error.contains("was deleted"), "{error}");
    assert_eq!(sandbox.ok(["cat", &format!("{gone}@{{1}}:file")]), "Rocky-9-updates-20251101.0");
    let log = sandbox.json(["log", gone]);
    assert_eq!((&log[0]["reason"], &log[0]["new"]), (&"compose prune".into(), &Value::Null));
    crate::crash::check(&sandbox.store());

    // Until the reflog forgets it.
    sandbox.ok(["gc", "--grace", "0", "--yes"]);
    assert_eq!(sandbox.ok(["cat", &format!("{gone}@{{1}}:file")]), "Rocky-9-updates-20251101.0");
    for _ in 0..2 {
        sandbox.ok(["gc", "--grace", "0", "--keep", "0", "--yes"]);
    }
    let error = sandbox.fails(3, ["cat", &format!("{gone}@{{1}}:file")]);
    assert!(error.contains("collected"), "{error}");
    crate::crash::check(&sandbox.store());

    // A new one of the same name goes on.
    sandbox.ok(["import", "tree", gone]);
    assert_eq!(sandbox.json(["log", gone])[0]["generation"], 3);
}

#[test]
fn a_week_and_what_the_configuration_says() {
    let sandbox = scene("");
    assert!(judged(&sandbox).iter().all(|(_, goes, _)| !goes));
    let why = judged(&sandbox).remove(0).2;
    assert!(why.contains("young"), "{why}");
    sandbox.write("config.toml", "[retention]\nupdates = \"0\"\nfinished-updates = \"0\"\n");
    sandbox.write("tree/STATUS", "FINISHED\n");
    sandbox.ok(["import", "tree", "compose/9/Rocky-9-updates-20251103.0"]);
    assert_eq!(judged(&sandbox).iter().filter(|(_, goes, _)| *goes).count(), 3);
    // Composes that stand elsewhere are composes, too.
    sandbox.ok(["import", "tree", "builds/Rocky-9-updates-20251103.0"]);
    assert_eq!(judged(&sandbox).len(), 4);
    sandbox.write(
        "config.toml",
        "[release.9]\nname = \"R\"\nshort = \"R\"\nversion = \"9.7\"\narches = [\"x86_64\"]\nrefs = \"builds\"\n\
         [release.9.upstream]\nurl = \"file:///$repo\"\nrepositories = [\"B\"]\n",
    );
    assert_eq!(judged(&sandbox).len(), 5);
    sandbox.write("config.toml", "[retention]\nupdates = \"soon\"\n");
    let error = sandbox.fails(2, ["compose", "prune"]);
    assert!(error.contains("config.toml:2") && error.contains("no span of time"), "{error}");
}
