//! config: what is said of a good file and of a bad one.

use crate::harness::Sandbox;

#[test]
fn a_good_configuration_is_shown_with_what_it_leaves_out() {
    let sandbox = Sandbox::with_store();
    sandbox.write("cfs.toml", "[view.production]\nowner = 10004\n");
    let args = |verb: &'static str| ["--config", "cfs.toml", "config", verb];
    assert!(sandbox.ok(args("check")).contains("good: 1 views"));
    let shown = sandbox.ok(args("show"));
    assert!(shown.contains("owner = 10004") && shown.contains("max-deletes = 40000"), "{shown}");
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
