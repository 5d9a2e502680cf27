//! config: what is said of a good file and of a bad one.

use crate::harness::Sandbox;

#[test]
fn a_good_configuration_is_shown_with_what_it_leaves_out() {
    let sandbox = Sandbox::with_store();
    let approvals = "approvals = 1\napprovers = { groups = [\"qa\"] }\n";
    sandbox.write("cfs.toml", format!("[view.production]\nowner = 10004\n{approvals}"));
    let args = |verb: &'static str| ["--config", "cfs.toml", "config", verb];
    assert!(sandbox.ok(args("check")).contains("good: 1 views"));
    let shown = sandbox.ok(args("show"));
    assert!(shown.contains("owner = 10004") && shown.contains("max-deletes = 40000"), "{shown}");
    assert!(shown.contains("approvals = 1") && shown.contains("\"qa\""), "{shown}");
    let value = &sandbox.json(args("show"))[0];
    assert_eq!(value["view"]["production"]["gates"][0], "incomplete");
}

#[test]
fn a_bad_configuration_is_refused_by_every_command() {
    let sandbox = Sandbox::with_store();
    sandbox.write("cfs.toml", "store = \"store\"\n\n[view.production]\nonwer = 10004\n");
    for verb in [&["config", "check"][..], &["refs"], &["promote", "a", "b"]] {
        let error = sandbox.fails(2, ["--config", "cfs.toml"].iter().chain(verb));
        assert!(error.contains("cfs.toml:4: unknown field `onwer`"), "{error}");
        assert!(error.contains("is \"owner\" meant?"), "{error}");
    }
    sandbox.fails(3, ["--config", "nowhere.toml", "refs"]);
}

#[test]
fn a_configuration_may_stand_in_several_files() {
    let sandbox = Sandbox::with_store();
    sandbox.write("cfs.toml", "include = [\"parts\", \"more/hooks.toml\"]\n[view.production]\nowner = 1\n");
    sandbox.write("parts/b.toml", "[view.\"*\"]\ngates = [\"names\"]\n[view.staging]\nkeys = [\"key\"]\n");
    sandbox
        .write("parts/a.toml", "include = \"../more/hooks.toml\"\n[promotion.p]\nfrom = \"a\"\nto = \"b\"\n");
    sandbox.write("parts/ignored", "what is not called .toml is not read");
    sandbox.write("more/hooks.toml", "[hook.h]\nwhen = \"sign\"\ncommand = [\"true\"]\n");
    let config = |verb: &'static str| ["--config", "cfs.toml", "config", verb];
    assert!(sandbox.ok(config("check")).contains("good: 3 views, 1 promotions, 1 hooks"));
    let value = &sandbox.json(config("show"))[0];
    let key = value["view"]["staging"]["keys"][0].as_str().unwrap();
    assert!(key.ends_with("parts/key"), "named from where its file is: {key}");

    // A ref without a section of its own has that of all.
    sandbox.write("tree/two words", "");
    sandbox.ok(["import", "tree", "compose"]);
    let error = sandbox.fails(1, ["--config", "cfs.toml", "promote", "compose", "elsewhere"]);
    assert!(error.contains("refused by names"), "{error}");

    for (file, content, expected) in [
        ("more/hooks.toml", "\n[hook.h]\nwehn = \"sign\"\n", "/hooks.toml:3: unknown field `wehn`"),
        ("more/hooks.toml", "\n[view.staging]\n", "parts/b.toml:3: view.staging stands in "),
        ("more/hooks.toml", "\ninclude = \"../parts/a.toml\"\n", "parts/a.toml includes itself"),
        ("more/hooks.toml", "\ninclude = \"hooks.toml\"\n", "/hooks.toml:2: "),
        ("cfs.toml", "\ninclude = \"nowhere.toml\"\n", "cfs.toml:2: nowhere.toml: No such file"),
    ] {
        sandbox.write(file, content);
        let error = sandbox.fails(2, config("check"));
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_mistake_in_meaning_is_told_with_its_file_and_its_line() {
    let sandbox = Sandbox::with_store();
    sandbox.write("cfs.toml", "\ninclude = \"parts\"\n");
    let release = "[release.9]\nname = \"Rocky Linux\"\nshort = \"Rocky\"\nversion = \"9.7\"\narches = [\"x86_64\"]\n\
                   renames = { all = \"devel\" }\n[release.9.upstream]\nurl = \"/srv/$repo/$basearch\"\n\
                   repositories = [\"all\", \"BaseOS\"]\n[release.9.closure]\nBaseOS = []\n";
    let sig = "[sig.core.9.upstream]\nurl = \"/srv/$repo\"\nrepositories = [\"common\"]\n[sig.core.9.closure]\n\
               common = [\"BaseOS\"]\n";
    let check = ["--config", "cfs.toml", "config", "check"];
    for (old, new, expected, meant) in [
        ("", "", "", ""),
        ("BaseOS = []", "BaesOS = []", "release.toml:11: release.9 says", "BaseOS"),
        ("devel", "BaseOS", "release.toml:6: release.9 has two repositories in one place: \"all\"", ""),
        ("$basearch", "$basearhc", "release.toml:8: release.9 has the address", "$basearch"),
        ("[\"BaseOS\"]", "[\"devle\"]", "group.toml:5: sig.core.9", "devel"),
        (
            "sig.core.9",
            "sig.core.19",
            "group.toml:1: sig.core.19 is of the release \"19\", which is nowhere",
            "9",
        ),
    ] {
        sandbox.write("parts/release.toml", release.replacen(old, new, 1));
        sandbox.write("parts/group.toml", sig.replace(old, new));
        if expected.is_empty() {
            sandbox.ok(check);
            continue;
        }
        for verb in [&["config", "check"][..], &["compose", "sync", "9", "--full-run"], &["refs"]] {
            let error = sandbox.fails(2, ["--config", "cfs.toml"].iter().chain(verb));
            assert!(error.contains(expected), "{expected}: {error}");
            assert!(meant.is_empty() || error.contains(&format!("is {meant:?} meant?")), "{error}");
        }
        assert_eq!(sandbox.ok(["refs"]), "", "nothing was begun");
    }
}

#[test]
fn a_release_is_shown_with_where_everything_comes_from_and_goes() {
    let sandbox = Sandbox::with_config(
        "[release.9]\nname = \"Rocky Linux\"\nshort = \"Rocky\"\nversion = \"9.7\"\nrc = 1\n\
         arches = [\"x86_64\"]\nrenames = { all = \"devel\" }\n\
         [release.9.upstream]\nurl = \"https://example.org/$repo/$basearch\"\nrepositories = [\"all\"]\n\
         [sig.core.9.upstream]\nurl = \"https://example.org/sig/$repo/$basearch\"\nrepositories = [\"common\"]\n\
         [retention]\nupdates = \"10d\"\n",
    );
    let shown = sandbox.ok(["config", "show"]);
    for line in [
        "release 9",
        "  latest = \"compose/9/latest-Rocky-9\"",
        "  label = \"RC-1.0\"",
        "  compose/devel/x86_64/os from https://example.org/all/x86_64",
        "  compose/devel/x86_64/debug/tree from https://example.org/all/x86_64-debug",
        "  compose/devel/source/tree from https://example.org/all/src",
        "sig core 9",
        "  compose/9/core/x86_64/common from https://example.org/sig/common/x86_64",
        "  keep = \"90d\"",
        "  updates = \"10d\"",
    ] {
        assert!(shown.lines().any(|found| found == line), "{line} is not in {shown}");
    }
    let value = &sandbox.json(["config", "show"])[0];
    assert_eq!(value["release"]["9"]["trees"][0]["kickstart"], "compose/devel/x86_64/kickstart");
    assert!(sandbox.ok(["config", "check"]).contains("1 releases, 1 groups"));
}

#[test]
fn what_empanadas_has_becomes_a_configuration() {
    let sandbox = Sandbox::with_store();
    sandbox.write(
        "el9.yaml",
        "---\n'9':\n  fullname: 'Rocky Linux 9.5'\n  revision: '9.5'\n  rclvl: 'RC1'\n  allowed_arches: [x86_64]\n  \
         project_id: 'abc'\n  all_repos:\n    - 'BaseOS'\n  livemap:\n    branch: 'r9'\n",
    );
    sandbox.write(
        "core.yaml",
        "core:\n  '9':\n    project_id: 'def'\n    repo:\n      common:\n        allowed_arches: [x86_64]\n",
    );
    for name in ["el9", "core"] {
        let ran =
            sandbox.run(["config", "import", &format!("{name}.yaml"), "--base-url", "https://example.org"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        sandbox.write(&format!("parts/{name}.toml"), ran.stdout);
        assert_eq!(
            ran.stderr.contains("el9.yaml:10: 9.livemap: is left out"),
            name == "el9",
            "{}",
            ran.stderr
        );
    }
    sandbox.write("config.toml", "include = \"parts\"\n");
    assert!(sandbox.ok(["config", "check"]).contains("1 releases, 1 groups"));
    let shown = sandbox.ok(["config", "show"]);
    assert!(
        shown.contains("compose/BaseOS/x86_64/os from https://example.org/abc/repo/BaseOS/x86_64"),
        "{shown}"
    );
    let value = &sandbox.json(["config", "import", "core.yaml"])[0];
    assert!(value["toml"].as_str().unwrap().contains("[sig.core.9]"), "{value}");

    sandbox.write("bad.yaml", "'9':\n  revision: '9.5'\n  revision: '9.6'\n");
    let error = sandbox.fails(2, ["config", "import", "bad.yaml"]);
    assert!(error.contains("bad.yaml:3: "), "{error}");
    sandbox.fails(3, ["config", "import", "nowhere.yaml"]);
}
