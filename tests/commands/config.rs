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
