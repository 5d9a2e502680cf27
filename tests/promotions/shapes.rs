//! The shapes that promotions have: merged, kept, protected, excluded, several views at once.

use std::process::Stdio;

use super::{import, store_with};

#[test]
fn composes_are_merged_and_may_not_disagree() {
    let sandbox = store_with("", &[("BaseOS/a", "1"), ("metadata/id", "one"), ("COMPOSE_ID", "one")]);
    import(&sandbox, "compose/9/extras", &[("extras/b", "2"), ("metadata/id", "two"), ("COMPOSE_ID", "two")]);
    let config = sandbox.write(
        "cfs.toml",
        r#"
[promotion.stage-9]
message = "from the configuration"
from = ["compose/9/one", "compose/9/extras"]
to = "staging:pub/9"
exclude = ["/metadata"]
"#,
    );
    let config = config.to_str().unwrap();
    let error = sandbox.fails(1, ["--config", config, "promote", "stage-9"]);
    assert!(error.contains("say different things of COMPOSE_ID") && error.contains("--exclude"), "{error}");
    sandbox.ok(["--config", config, "promote", "stage-9", "--exclude", "COMPOSE_ID"]);
    let tree = "BaseOS\nBaseOS/a\nextras\nextras/b\n";
    assert_eq!(sandbox.ok(["ls", "-R", "staging:pub/9"]), tree);
    assert!(sandbox.ok(["show", "staging"]).contains("from the configuration"));
    let error = sandbox.fails(2, ["--config", config, "promote", "stage-8"]);
    assert!(error.contains("no promotion is called \"stage-8\"") && error.contains("stage-9"), "{error}");
}

#[test]
fn an_update_keeps_old_packages_and_leaves_protected_files_alone() {
    let sandbox = store_with("", &[("os/p/old", "1"), ("os/.treeinfo", "GA"), ("os/images/boot.iso", "GA")]);
    sandbox.ok(["promote", "compose/9/one", "staging"]);
    let update = [
        ("os/p/new", "2"),
        ("os/.treeinfo", "update"),
        ("os/images/boot.iso", "update"),
        ("os/images/x", "new"),
    ];
    import(&sandbox, "compose/9/one", &update);
    let protect = ["--keep", "--protect", ".treeinfo", "--protect", "os/images"];
    sandbox.ok(["promote", "compose/9/one", "staging"].iter().chain(&protect));
    assert_eq!(sandbox.ok(["ls", "staging:os/p"]), "new\nold\n");
    assert_eq!(sandbox.ok(["cat", "staging:os/.treeinfo"]), "GA");
    assert_eq!(sandbox.ok(["ls", "staging:os/images"]), "boot.iso\n");
    // Where the target has nothing to protect, it is brought.
    sandbox.ok(["promote", "compose/9/one", "fresh"].iter().chain(&protect));
    assert_eq!(sandbox.ok(["cat", "fresh:os/.treeinfo"]), "update");
}

#[test]
fn an_update_replaces_the_metadata_of_what_it_updates() {
    let old = [
        ("os/repodata/repomd.xml", "1"),
        ("os/repodata/1-primary", "1"),
        ("os/p/1", "1"),
        ("repodata/x", "1"),
    ];
    let sandbox = store_with("", &old);
    sandbox.ok(["promote", "compose/9/one", "staging"]);
    import(
        &sandbox,
        "compose/9/one",
        &[
            ("os/repodata/repomd.xml", "2"),
            ("os/repodata/2-primary", "2"),
            ("os/p/2", "2"),
            ("repodata/y", "2"),
        ],
    );
    sandbox.ok(["promote", "compose/9/one", "staging", "--keep"]);
    assert_eq!(sandbox.ok(["ls", "staging:os/repodata"]), "2-primary\nrepomd.xml\n");
    assert_eq!(sandbox.ok(["ls", "staging:os/p"]), "1\n2\n");
    assert_eq!(sandbox.ok(["ls", "staging:repodata"]), "x\ny\n", "this is no repository's");
    assert_eq!(
        sandbox.ok(["promote", "compose/9/one", "staging", "--keep"]).matches("nothing changed").count(),
        1
    );
}

#[test]
fn what_is_done_is_what_the_plan_said() {
    let config = r#"
[view.production]
max-deletes-percent = 100

[[view.production.lists]]
directory = "pub"
name = "all"
"#;
    let sandbox = store_with(config, &[("os/a", "1"), ("os/b", "1"), ("c", "1")]);
    let told = |args: &[&str]| {
        let mut value = sandbox.json(args.iter().copied()).remove(0);
        for key in ["dry_run", "changed", "snapshot", "generation"] {
            value.as_object_mut().unwrap().remove(key);
            for view in value["views"].as_array_mut().unwrap() {
                view.as_object_mut().unwrap().remove(key);
            }
        }
        value
    };
    for round in 0..3 {
        let b = round.to_string();
        import(&sandbox, "compose/9/one", &[("os/a", "2"), ("os/b", &b), (&b, "x")]);
        let promote = ["promote", "compose/9/one", "production:pub", "compose/9/one:os", "staging", "--link"];
        let link = format!("production:link={}", ["pub", "pub/os", "pub"][round]);
        let promote: Vec<&str> = promote.into_iter().chain([link.as_str()]).collect();
        let planned = told(&[&promote[..], &["-n"]].concat());
        assert_eq!(told(&promote), planned);
        assert_ne!(planned["views"][0]["changes"]["added"]["files"], 0);
    }
}

#[test]
fn what_is_excluded_is_neither_brought_nor_removed() {
    let sandbox = store_with("", &[("a/x", "1"), ("Minimal/y", "1"), ("b/Cloud/z", "1")]);
    let exclude = ["--exclude", "Minimal", "--exclude", "Cloud/"];
    sandbox.ok(["promote", "compose/9/one", "staging"].iter().chain(&exclude));
    assert_eq!(sandbox.ok(["ls", "-R", "staging"]), "a\na/x\nb\n");
    sandbox.ok(["promote", "compose/9/one", "staging"]);
    import(&sandbox, "compose/9/one", &[("a/x", "2")]);
    sandbox.ok(["promote", "compose/9/one", "staging"].iter().chain(&exclude));
    assert_eq!(sandbox.ok(["ls", "-R", "staging"]), "Minimal\nMinimal/y\na\na/x\nb\nb/Cloud\nb/Cloud/z\n");
}

#[test]
fn several_views_and_links_move_in_one_flip() {
    let sandbox = store_with("", &[("os/a", "1")]);
    let plan = sandbox.write(
        "release.toml",
        r#"
message = "9.7 is out"
step = [
    { from = "compose/9/one", to = "staging:pub/9.7-RC2" },
    { from = "staging:pub/9.7-RC2/os", to = "staging:pub/9.7-RC2/kickstart" },
    { from = "staging:pub/9.7-RC2", to = "production:pub/9.7" },
]
links = { "production:pub/9" = "9.7", "staging:pub/latest-9" = "9.7-RC2" }
"#,
    );
    let plan = plan.to_str().unwrap();
    let planned = &sandbox.json(["promote", "--plan", plan, "-n"])[0];
    assert_eq!(planned["views"].as_array().unwrap().len(), 2);
    assert_eq!(sandbox.ok(["refs"]).lines().count(), 1, "a dry run changed something");
    let done = &sandbox.json(["promote", "--plan", plan])[0];
    assert_eq!(done["views"][1]["generation"], 1);
    let (staging, production) =
        (sandbox.listing("staging:pub/9.7-RC2"), sandbox.listing("production:pub/9.7"));
    assert_eq!(staging, production);
    assert!(staging.contains("kickstart/a"), "{staging}");
    assert!(sandbox.listing("production:pub").contains("9 -> 9.7\n"));
    assert!(sandbox.listing("staging:pub").contains("latest-9 -> 9.7-RC2\n"));
    assert_eq!(sandbox.json(["promote", "--plan", plan])[0]["changed"], false, "links say so already");
    sandbox.write("wrong.toml", "keep = true\nform = \"a\"\n");
    let error = sandbox.fails(2, ["promote", "--plan", "wrong.toml"]);
    assert!(error.contains("wrong.toml:2: unknown field") && error.contains("is \"from\" meant?"), "{error}");
    sandbox.ok(["promote", "staging:pub/9.7-RC2", "vault:9.7", "--link", "production:pub/9=9.7/os"]);
    assert_eq!(sandbox.json(["log", "production"]).len(), 2);
}

#[test]
fn of_several_views_all_flip_or_none() {
    let config = "[view.production]\ngates = [\"names\"]\n";
    let sandbox = store_with(config, &[("a b", "1")]);
    let pairs = ["promote", "compose/9/one", "staging", "compose/9/one", "production"];
    let error = sandbox.fails(1, pairs);
    assert!(error.contains("production: refused by names"), "{error}");
    assert_eq!(sandbox.ok(["refs"]).lines().count(), 1, "staging moved alone");
    sandbox.fails(2, &pairs[..4]);
}

#[test]
fn promotions_of_the_same_views_at_once_never_mix() {
    let sandbox = store_with("", &[("which", "one")]);
    import(&sandbox, "compose/9/two", &[("which", "two")]);
    let promote = |from: &str| {
        let mut command = sandbox.cfs();
        command.args(["promote", from, "production", from, "staging"]).stdout(Stdio::null()).spawn().unwrap()
    };
    for _ in 0..3 {
        let running: Vec<_> =
            ["compose/9/one", "compose/9/two", "compose/9/one", "compose/9/two"].map(promote).into();
        for mut child in running {
            assert!(child.wait().unwrap().success());
        }
        // Whoever came last, both views are of one mind, now and after each of the moves.
        let moves = sandbox.json(["log", "staging"]).len();
        assert_eq!(sandbox.json(["log", "production"]).len(), moves);
        for back in 0..moves {
            let which = |view: &str| sandbox.ok(["cat", &format!("{view}@{{{back}}}:which")]);
            assert_eq!(which("staging"), which("production"), "{back} moves ago");
        }
    }
}
