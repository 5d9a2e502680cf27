//! Signed approvals and moves, and whether history is what was written.

use std::fs;
use std::process::Command;

use super::{as_user, bring, ok_as, store_with};
use crate::harness::{Sandbox, installed, ran};

const PROMOTE: [&str; 3] = ["promote", "compose/9/one", "production"];

/// Makes a key of a user, who is an allowed signer if `is_allowed`, and returns its path.
fn key(sandbox: &Sandbox, name: &str, is_allowed: bool) -> String {
    let path = sandbox.path(format!("key-{name}"));
    let made =
        ran(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&path));
    assert_eq!(made.code, 0, "{made:?}");
    if is_allowed {
        let public = fs::read_to_string(path.with_extension("pub")).unwrap();
        let signers = sandbox.path("signers");
        let before = fs::read_to_string(&signers).unwrap_or_default();
        fs::write(&signers, format!("{before}{name} {public}")).unwrap();
    }
    path.to_str().unwrap().to_owned()
}

fn sql(sandbox: &Sandbox, text: &str) {
    let ran = ran(Command::new("sqlite3").arg(sandbox.store().join("catalogue.db")).arg(text));
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn approvals_count_by_the_key_that_signed_them() {
    if !installed("ssh-keygen") {
        return;
    }
    let config = "[view.production]\ngates = []\napprovals = 2\nsigners = \"signers\"\n\
                  approvers = { users = [\"1001\", \"1002\", \"1003\"] }\n";
    let sandbox = store_with(config);
    let (alice, bob, eve) =
        (key(&sandbox, "alice", true), key(&sandbox, "bob", true), key(&sandbox, "eve", false));
    let approve = |user: u32, key: &str| {
        as_user(&sandbox, user, &["approve", "production", "compose/9/one", "--key", key])
    };
    let unsigned = as_user(&sandbox, 1001, &["approve", "production", "compose/9/one"]);
    assert!(unsigned.code == 1 && unsigned.stderr.contains("counts signed approvals only"), "{unsigned:?}");
    let stranger = approve(1003, &eve);
    assert!(stranger.code == 1 && stranger.stderr.contains("is by nobody whom"), "{stranger:?}");
    let given = approve(1001, &alice);
    assert!(given.code == 0 && given.stdout.contains("alice approves of"), "{given:?}");
    // One key is one approver, whoever uses it.
    assert_eq!(approve(1002, &alice).code, 0);
    let error = sandbox.fails(1, PROMOTE);
    assert!(error.contains("has 1 of 2 approvals (alice)"), "{error}");
    // A signature made elsewhere, of what is to be signed.
    let statement = sandbox.ok(["approve", "production", "compose/9/one", "--statement"]);
    sandbox.write("statement", &statement);
    let mut sign = Command::new("ssh-keygen");
    sign.args(["-q", "-Y", "sign", "-n", "cfs-approval", "-f", &bob]).arg(sandbox.path("statement"));
    assert_eq!(ran(&mut sign).code, 0);
    let signature = fs::read_to_string(sandbox.path("statement.sig")).unwrap();
    let signature = format!("--signature={signature}");
    // It is of one snapshot and one view.
    bring(&sandbox, "compose/9/other", "x");
    let elsewhere = as_user(&sandbox, 1003, &["approve", "production", "compose/9/other", &signature]);
    assert!(elsewhere.code == 1 && elsewhere.stderr.contains("is no good signature of bob"), "{elsewhere:?}");
    ok_as(&sandbox, 1003, &["approve", "production", "compose/9/one", &signature]);
    sandbox.ok(PROMOTE);
    assert!(sandbox.ok(["log", "--verify"]).contains("everything is as it was written"));
    // Who is no signer any more does not count any more.
    let signers = fs::read_to_string(sandbox.path("signers")).unwrap();
    let left: Vec<&str> = signers.lines().filter(|line| !line.starts_with("bob")).collect();
    fs::write(sandbox.path("signers"), left.join("\n") + "\n").unwrap();
    let error = sandbox.fails(1, ["log", "--verify", "production"]);
    assert!(error.contains("the approval of") && error.contains("is by nobody whom"), "{error}");
}

#[test]
fn moves_are_signed_and_verified() {
    if !installed("ssh-keygen") || !installed("sqlite3") {
        return;
    }
    let sandbox = store_with("[view.production]\ngates = []\nsigners = \"signers\"\nsigned-moves = true\n");
    let (alice, eve) = (key(&sandbox, "alice", true), key(&sandbox, "eve", false));
    let error = sandbox.fails(1, PROMOTE);
    assert!(error.contains("its moves must be signed") && error.contains("--key"), "{error}");
    let error = sandbox.fails(1, PROMOTE.iter().chain(&["--key", &eve]));
    assert!(error.contains("is by nobody whom"), "{error}");
    assert!(!sandbox.ok(["refs"]).contains("production"));
    let error = sandbox.fails(1, ["import", "tree", "production"]);
    assert!(error.contains("is moved by promotions, which are signed"), "{error}");

    sandbox.ok(PROMOTE.iter().chain(&["--key", &alice]));
    bring(&sandbox, "compose/9/one", "2");
    sandbox.ok(PROMOTE.iter().chain(&["--key", &alice]));
    sandbox.ok(["rollback", "production", "--key", &alice]);
    sandbox.ok(["policy", "set", "production", "--mode", "0750", "--key", &alice]);
    let good = sandbox.ok(["log", "--verify", "production"]);
    assert!(good.contains("production: 4 of 4 moves signed (alice 4)"), "{good}");
    let json = &sandbox.json(["log", "--verify"])[0];
    assert_eq!((&json["good"], &json["refs"][1]["signed"]["alice"]), (&true.into(), &4.into()), "{json}");

    // The signature of another move is none of this one.
    sql(&sandbox, "DROP TRIGGER signatures_keep; DROP TRIGGER signatures_seal_update; UPDATE signatures SET signature =
        (SELECT signature FROM signatures ORDER BY entry LIMIT 1) WHERE entry = (SELECT max(entry) FROM signatures)");
    let error = sandbox.fails(1, ["log", "--verify"]);
    assert!(
        error.contains("production: the signature of generation 4 is no good signature of alice"),
        "{error}"
    );
    sql(
        &sandbox,
        "DROP TRIGGER signatures_stay; DROP TRIGGER signatures_seal_delete;
         DELETE FROM signatures WHERE entry = (SELECT max(entry) FROM signatures)",
    );
    let error = sandbox.fails(1, ["log", "--verify"]);
    assert!(error.contains("production: generation 4 is not signed"), "{error}");
}

#[test]
fn a_history_that_was_changed_is_told() {
    if !installed("sqlite3") {
        return;
    }
    for (change, fault) in [
        ("UPDATE reflog SET actor = 'somebody else' WHERE number = 2", "reflog entry 2: was changed"),
        ("UPDATE reflog SET reason = 'nothing' WHERE number = 3", "reflog entry 3: was changed"),
        ("DELETE FROM reflog WHERE number = 2", "reflog entry 3: does not follow"),
        ("DELETE FROM reflog WHERE number = 4", "is not what its last move"),
        ("UPDATE refs SET generation = 9 WHERE name = 'production'", "ref production"),
    ] {
        let sandbox = store_with("");
        sandbox.ok(PROMOTE);
        bring(&sandbox, "compose/9/one", "2");
        sandbox.ok(PROMOTE);
        let good = sandbox.ok(["log", "--verify"]);
        assert!(good.contains("4 entries, the last one ") && good.contains("as it was written"), "{good}");
        sql(&sandbox, &format!("DROP TRIGGER reflog_keeps; DROP TRIGGER reflog_stays; {change}"));
        let error = sandbox.fails(4, ["log", "--verify"]);
        assert!(error.contains(fault), "{change}: {error}");
    }
    let sandbox = store_with("");
    assert!(sandbox.fails(3, ["log", "--verify", "nothing"]).contains("no ref is called"));
    sandbox.fails(2, ["log"]);
}
