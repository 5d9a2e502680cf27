//! A view gets what enough others approved of, and nothing else.

use super::{as_user, bring, ok_as, store_with};

const CONFIG: &str = "[view.production]\ngates = []\napprovals = 2\n\
                      approvers = { users = [\"1001\", \"1002\", \"1003\"], groups = [] }\n";
const PROMOTE: [&str; 3] = ["promote", "compose/9/one", "production"];

#[test]
fn a_promotion_needs_so_many_of_the_approvers() {
    let sandbox = store_with(CONFIG);
    let id = sandbox.snapshot("compose/9/one");
    let error = sandbox.fails(1, PROMOTE);
    assert!(error.contains("refused by approvals") && error.contains("has 0 of 2 approvals"), "{error}");
    assert!(error.contains("cfs approve"), "{error}");
    let stranger = as_user(&sandbox, 1004, &["approve", "production", "compose/9/one"]);
    assert!(stranger.code == 1 && stranger.stderr.contains("is no approver"), "{stranger:?}");
    let planned = ok_as(&sandbox, 1001, &["approve", "production", "compose/9/one", "--dry-run"]);
    assert!(planned.contains(&id), "{planned}");
    for _ in 0..3 {
        // However often somebody says so, he is one.
        ok_as(&sandbox, 1001, &["approve", "production", "compose/9/one", "-m", "tested"]);
    }
    let error = sandbox.fails(1, PROMOTE.iter().chain(&["--dry-run"]));
    assert!(error.contains("has 1 of 2 approvals (1001)"), "{error}");
    ok_as(&sandbox, 1002, &["approve", "production", &id]);
    let planned = sandbox.ok(PROMOTE.iter().chain(&["--dry-run"]));
    assert!(
        planned.contains("production: approvals: 2 of 2") && planned.contains("(1001, 1002)"),
        "{planned}"
    );
    sandbox.ok(PROMOTE);
    let shown = sandbox.ok(["show", "production"]);
    assert!(shown.contains("gate.approvals = passed: 2 of 2") && shown.contains("1001, 1002"), "{shown}");
    let listed = sandbox.ok(["approve", "production"]);
    assert!(
        listed.lines().count() == 2 && listed.contains("tested") && listed.contains(&id[..12]),
        "{listed}"
    );
}

#[test]
fn an_approval_is_of_one_snapshot_and_can_be_taken_back() {
    let sandbox = store_with(CONFIG);
    for user in [1001, 1002] {
        ok_as(&sandbox, user, &["approve", "production", "compose/9/one"]);
    }
    let approved = sandbox.snapshot("compose/9/one");
    bring(&sandbox, "compose/9/one", "something else");
    let error = sandbox.fails(1, PROMOTE);
    assert!(error.contains("has 0 of 2 approvals"), "what came afterwards is not approved: {error}");
    // What was approved still is.
    sandbox.ok(["promote", &approved, "production"]);
    for user in [1001, 1002] {
        ok_as(&sandbox, user, &["approve", "production", "compose/9/one"]);
    }
    ok_as(&sandbox, 1002, &["approve", "production", "compose/9/one", "--withdraw", "-m", "a mistake"]);
    let error = sandbox.fails(1, PROMOTE);
    assert!(error.contains("has 1 of 2 approvals (1001)"), "{error}");
    let twice = as_user(&sandbox, 1003, &["approve", "production", "compose/9/one", "--withdraw"]);
    assert!(twice.code == 1 && twice.stderr.contains("has not approved"), "{twice:?}");
    assert!(sandbox.ok(["approve", "production"]).contains("taken back  a mistake"));
}

#[test]
fn who_promotes_does_not_count() {
    let sandbox = store_with(CONFIG);
    for user in [1001, 1002] {
        ok_as(&sandbox, user, &["approve", "production", "compose/9/one"]);
    }
    let own = as_user(&sandbox, 1002, &PROMOTE);
    assert!(own.code == 1 && own.stderr.contains("has 1 of 2 approvals (1001)"), "{own:?}");
    ok_as(&sandbox, 1003, &["approve", "production", "compose/9/one"]);
    ok_as(&sandbox, 1002, &PROMOTE);
}

#[test]
fn there_is_no_way_around() {
    let sandbox = store_with(CONFIG);
    let error = sandbox.fails(2, PROMOTE.iter().chain(&["--force", "approvals", "-m", "quick"]));
    assert!(error.contains("cannot be overruled"), "{error}");
    for command in [
        "import tree production",
        "sync tree production",
        "repodata build production",
        "link production compose/9/one",
    ] {
        let error = sandbox.fails(1, command.split(' '));
        assert!(error.contains("gets what was approved and nothing else"), "{command}: {error}");
    }
    let error = sandbox.fails(1, ["promote", "--link", "production:a=b", "compose/9/one", "staging"]);
    assert!(error.contains("only links move"), "{error}");
    // What the same flip makes nobody has seen.
    let both = ["promote", "compose/9/one", "staging", "staging", "production"];
    let error = sandbox.fails(1, both);
    assert!(error.contains("nobody has seen it") || error.contains("0 of 2"), "{error}");
    for user in [1001, 1002] {
        ok_as(&sandbox, user, &["approve", "production", "compose/9/one"]);
    }
    sandbox.ok(PROMOTE);
    // Back to what it was is always allowed; to anything else is not.
    bring(&sandbox, "compose/9/evil", "evil");
    let error = sandbox.fails(1, ["rollback", "production", "--to", "compose/9/evil"]);
    assert!(error.contains("and that is not approved"), "{error}");
    bring(&sandbox, "compose/9/one", "2");
    for user in [1001, 1002] {
        ok_as(&sandbox, user, &["approve", "production", "compose/9/one"]);
    }
    sandbox.ok(PROMOTE);
    sandbox.ok(["rollback", "production"]);
    assert_eq!(sandbox.ok(["cat", "production:file"]), "1");
}

#[test]
fn what_cannot_be_fulfilled_is_a_mistake() {
    for (view, reason) in [
        ("[view.a]\napprovals = 2\n", "`approvers` does not say whose"),
        ("[view.a]\napprovals = 2\napprovers = { users = [\"x\"] }\n", "more `approvals` than"),
        ("[view.a]\napprovals = 0\n", "0 approvals"),
        ("[view.a]\nsigned-moves = true\n", "`signers` does not say whose"),
        ("[view.\"*\"]\napprovals = 1\napprovers = { groups = [\"x\"] }\n", "name the views"),
    ] {
        let sandbox = crate::harness::Sandbox::with_store();
        sandbox.write("config.toml", view);
        let error = sandbox.fails(2, ["config", "check"]);
        assert!(error.contains(reason), "{view}: {error}");
    }
    let sandbox = store_with("");
    let error = sandbox.fails(1, ["approve", "production", "compose/9/one"]);
    assert!(error.contains("asks for no approvals"), "{error}");
}
