//! Documents that are put into metadata, and signatures of it.

use std::fs;

use super::{checkout, metadata, plain, repomd, with_packages};

const ERRATA: &str =
    "<?xml version=\"1.0\"?>\n<updates><update type=\"security\"><id>ZOO-1</id></update></updates>\n";

/// A view with a hook that signs: with the digest of what it gets.
const SIGNING: &str = "[hook.sign]\nwhen = \"sign\"\ncommand = [\"sha256sum\"]\nviews = [\"repo\"]\n";

#[test]
fn errata_take_the_place_of_those_before_and_nothing_else_changes() {
    let sandbox = with_packages("");
    sandbox.ok(["repodata", "build", "repo:os"]);
    sandbox.write("errata.xml", ERRATA);
    let before = checkout(&sandbox, "repo:os", "before");
    let inject = ["repodata", "inject", "repo:os", "errata.xml", "--type=updateinfo"];
    let plan = sandbox.json(inject.into_iter().chain(["--dry-run"])).remove(0);
    assert_eq!((&plan["changed"], &plan["dry_run"]), (&true.into(), &true.into()));
    let report = sandbox.json(inject).remove(0);
    assert_eq!(report["carried"], serde_json::json!(["primary", "filelists", "other"]));
    let after = checkout(&sandbox, "repo:os", "after");
    assert_eq!(plain(&metadata(&after, "-updateinfo.xml.gz")), ERRATA);
    for part in ["-primary.xml", "-filelists.xml", "-other.xml"] {
        let name = |path: &std::path::Path| metadata(path, part).file_name().unwrap().to_owned();
        assert_eq!(name(&before), name(&after));
    }
    let snapshot = sandbox.snapshot("repo");
    let again = sandbox.json(inject).remove(0);
    assert_eq!((&again["changed"], sandbox.snapshot("repo")), (&false.into(), snapshot));
    // Compressed before is the same.
    fs::write(sandbox.path("errata.xml"), ERRATA.replace("ZOO-1", "ZOO-2")).unwrap();
    sandbox.ok(["repodata", "inject", "repo:os", "errata.xml", "--type=updateinfo", "--compress=xz"]);
    let after = checkout(&sandbox, "repo:os", "after");
    assert!(plain(&metadata(&after, "-updateinfo.xml")).contains("ZOO-2"));
    let document = repomd(&sandbox, "repo:os");
    assert_eq!(document.matches("type=\"updateinfo\"").count(), 1, "{document}");
    // A rebuild keeps them.
    let report = sandbox.json(["repodata", "build", "repo:os"]).remove(0);
    assert_eq!((&report["changed"], &report["carried"]), (&false.into(), &serde_json::json!(["updateinfo"])));
}

#[test]
fn what_would_be_lost_or_is_something_else_is_refused() {
    let sandbox = with_packages("");
    sandbox.write("errata.xml", ERRATA);
    let error = sandbox.fails(3, ["repodata", "inject", "repo:os", "errata.xml", "--type=updateinfo"]);
    assert!(error.contains("repo:os: there is no repodata/repomd.xml"), "{error}");
    sandbox.ok(["repodata", "build", "repo:os"]);
    let error = sandbox.fails(2, ["repodata", "inject", "repo:os", "errata.xml", "--type=modules"]);
    assert!(error.contains("errata.xml: is no modules metadata"), "{error}");
    let out = checkout(&sandbox, "repo:os", "out");
    let path = out.join("repodata/repomd.xml");
    let odd =
        fs::read_to_string(&path).unwrap().replace("<tags>", "").replace("</repomd>", "<odd/></repomd>");
    fs::remove_file(&path).unwrap();
    fs::write(&path, odd).unwrap();
    sandbox.ok(["import", "out", "repo:os"]);
    let error = sandbox.fails(3, ["repodata", "inject", "repo:os", "errata.xml", "--type=updateinfo"]);
    assert!(error.contains("elements that would be lost: odd"), "{error}");
}

#[test]
fn metadata_that_changes_is_signed_anew_or_loses_its_signature() {
    let sandbox = with_packages(SIGNING);
    let report = sandbox.json(["repodata", "build", "repo:os"]).remove(0);
    assert_eq!(report["signature"], "made");
    let signature = || sandbox.ok(["cat", "repo:os/repodata/repomd.xml.asc"]);
    let first = signature();
    let report = sandbox.json(["repodata", "build", "repo:os"]).remove(0);
    assert_eq!((&report["signature"], &report["changed"]), (&"kept".into(), &false.into()));
    sandbox.write("errata.xml", ERRATA);
    let inject = ["repodata", "inject", "repo:os", "errata.xml", "--type=updateinfo"];
    let report = sandbox.json(inject).remove(0);
    assert_eq!(report["signature"], "made");
    assert_ne!(signature(), first);
    // Without the hook it is dropped, and that is said.
    fs::write(sandbox.path("config.toml"), "").unwrap();
    fs::write(sandbox.path("errata.xml"), ERRATA.replace("ZOO-1", "ZOO-2")).unwrap();
    let done = sandbox.run(inject);
    assert!(done.code == 0 && done.stderr.contains("was dropped"), "{done:?}");
    sandbox.fails(3, ["cat", "repo:os/repodata/repomd.xml.asc"]);
}

/// A view with file lists and a hook that is told of its moves.
const PUBLISHED: &str = r#"
[[view.repo.lists]]
directory = "os"
name = "zoo"

[hook.tell]
when = "post-promote"
command = ["sh", "-c", "cat >> told; echo >> told"]
views = ["repo"]
"#;

#[test]
fn file_lists_follow_new_metadata_and_hooks_hear_of_it() {
    let sandbox = with_packages(PUBLISHED);
    sandbox.ok(["repodata", "build", "repo:os"]);
    let list = sandbox.ok(["cat", "repo:os/fullfiletimelist-zoo"]);
    let name =
        sandbox.json(["repodata", "build", "repo:os"])[0]["files"][0]["path"].as_str().unwrap().to_owned();
    assert!(list.contains(&name) && list.contains("repodata/repomd.xml"), "{name}: {list}");
    sandbox.write("errata.xml", ERRATA);
    sandbox.ok(["repodata", "inject", "repo:os", "errata.xml", "--type=updateinfo"]);
    assert!(sandbox.ok(["cat", "repo:os/fullfiletimelist-zoo"]).contains("-updateinfo.xml.gz"));
    let told = fs::read_to_string(sandbox.path("told")).unwrap();
    let reasons: Vec<String> = told
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|move_| move_["reason"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(reasons, ["repodata build repo:os", "repodata inject updateinfo into repo:os"]);
}
