//! Programs that are asked before a promotion and told after it; and who may promote at all.

use std::fs;
use std::time::{Duration, Instant};

use super::{import, store_with};

#[test]
fn a_hook_before_may_refuse_and_its_words_are_kept() {
    let config = r#"
[hook.ask]
when = "pre-promote"
command = ["sh", "-c", "cat > asked; test ! -e no || { echo 'frozen until Monday'; exit 1; }; echo fine"]
views = ["production"]
"#;
    let sandbox = store_with(config, &[("a", "1")]);
    sandbox.ok(["promote", "compose/9/one", "staging"]);
    assert!(!sandbox.path("asked").exists(), "staging is not its affair");
    sandbox.write("no", "");
    let error = sandbox.fails(1, ["promote", "compose/9/one", "production"]);
    assert!(error.contains("hook ask: exit status: 1: frozen until Monday"), "{error}");
    assert!(!sandbox.ok(["refs"]).contains("production"));

    fs::remove_file(sandbox.path("no")).unwrap();
    fs::remove_file(sandbox.path("asked")).unwrap();
    sandbox.ok(["promote", "compose/9/one", "production", "-n"]);
    assert!(!sandbox.path("asked").exists(), "a dry run asks nobody");
    sandbox.ok(["promote", "compose/9/one", "production", "-m", "why"]);
    let asked: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(sandbox.path("asked")).unwrap()).unwrap();
    assert_eq!((&asked["event"], &asked["views"][0]["view"]), (&"pre-promote".into(), &"production".into()));
    assert_eq!(
        (&asked["views"][0]["added"]["files"], &asked["views"][0]["message"]),
        (&1.into(), &"why".into())
    );
    assert!(sandbox.ok(["show", "production"]).contains("hook.ask = passed: fine"));
}

#[test]
fn whatever_moves_a_view_is_asked_about() {
    let config = r#"
[hook.ask]
when = "pre-promote"
command = ["sh", "-c", "test ! -e no || { cat > asked; exit 1; }"]
views = ["production"]
"#;
    let sandbox = store_with(config, &[("a", "1"), ("b", "2")]);
    sandbox.ok(["promote", "compose/9/one", "production"]);
    import(&sandbox, "compose/9/one", &[("a", "1"), ("b", "3")]);
    sandbox.ok(["promote", "compose/9/one", "production"]);
    sandbox.write("no", "");
    let before = sandbox.snapshot("production");
    for (command, reason) in [
        (&["policy", "set", "production:a", "--mode", "0640"][..], "policy set /a"),
        (&["rollback", "production"], "rollback to "),
        (&["rollback", "production", "--raw"], "rollback to "),
        (&["promote", "compose/9/one@{1}", "production"], "promote compose/9/one@{1}"),
    ] {
        let error = sandbox.fails(1, command);
        assert!(error.contains("hook ask: exit status: 1"), "{command:?}: {error}");
        assert_eq!(sandbox.snapshot("production"), before, "{command:?}");
        let asked: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(sandbox.path("asked")).unwrap()).unwrap();
        let told = asked["views"][0]["reason"].as_str().unwrap();
        assert!(told.starts_with(reason), "{command:?}: {told}");
    }
    fs::remove_file(sandbox.path("no")).unwrap();
    sandbox.ok(["rollback", "production"]);
    assert!(sandbox.ok(["show", "production"]).contains("hook.ask = passed"));
}

#[test]
fn nobody_waits_for_what_a_hook_has_left_running() {
    let hook = |when: &str, script: &str| {
        format!(
            "[hook.{when}]\nwhen = \"{when}\"\ntimeout-seconds = 90\ncommand = [\"sh\", \"-c\", \"{script}\"]\n"
        )
    };
    // What is left running keeps the pipes open, in the hook's process group and in one of its own; and one writes on.
    let left = "echo heard; sleep 45 & setsid sleep 45 & yes & echo $! > yes.pid";
    let config = hook("pre-promote", left) + &hook("post-promote", "setsid sleep 45 &");
    let sandbox = store_with(&config, &[("a", "1")]);
    let began = Instant::now();
    sandbox.ok(["promote", "compose/9/one", "production"]);
    let took = began.elapsed();
    let pid = fs::read_to_string(sandbox.path("yes.pid")).unwrap();
    super::end_group_of(pid.trim());
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(sandbox.ok(["show", "production"]).contains("hook.pre-promote = passed: heard"));
}

#[test]
fn a_hook_may_leave_its_input_and_say_more_than_is_kept() {
    let script = "exec 0<&-; head -c 1000000 /dev/zero | tr '\\\\0' x; echo done >&2";
    let config = format!("[hook.h]\nwhen = \"pre-promote\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\n");
    let sandbox = store_with(&config, &[("a", "1")]);
    sandbox.ok(["promote", "compose/9/one", "production"]);
    let shown = sandbox.ok(["show", "production"]);
    assert!(shown.contains("hook.h = passed: xxxx") && shown.len() < 4000, "{shown}");
}

#[test]
fn a_hook_that_takes_too_long_or_dies_is_a_refusal() {
    for (script, reason) in [("sleep 60 & sleep 60", "took more than 1 s"), ("kill -9 $$", "signal: 9")] {
        let config = format!(
            "[hook.h]\nwhen = \"pre-promote\"\ntimeout-seconds = 1\ncommand = [\"sh\", \"-c\", \"{script}\"]\n"
        );
        let sandbox = store_with(&config, &[("a", "1")]);
        let began = Instant::now();
        let error = sandbox.fails(1, ["promote", "compose/9/one", "production"]);
        assert!(error.contains(reason), "{error}");
        assert!(began.elapsed() < Duration::from_secs(30), "what the hook had started was waited for");
        assert!(!sandbox.ok(["refs"]).contains("production"));
    }
}

#[test]
fn a_hook_after_hears_every_move_once_and_in_order() {
    let config = r#"
[hook.tell]
when = "post-promote"
command = ["sh", "-c", "test ! -e broken || { echo down >&2; exit 1; }; cat >> told; echo >> told"]
views = ["production"]
"#;
    let sandbox = store_with(config, &[("a", "1")]);
    let told = || -> Vec<u64> {
        let text = fs::read_to_string(sandbox.path("told")).unwrap_or_default();
        let line = |line: &str| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["generation"].as_u64().unwrap()
        };
        text.lines().map(line).collect()
    };
    sandbox.ok(["promote", "compose/9/one", "production"]);
    assert_eq!(told(), [1]);
    sandbox.write("broken", "");
    import(&sandbox, "compose/9/one", &[("a", "2")]);
    let ran = sandbox.run(["promote", "compose/9/one", "production"]);
    assert!(ran.code == 0 && ran.stderr.contains("hook tell: exit status: 1: down"), "{ran:?}");
    import(&sandbox, "compose/9/one", &[("a", "3")]);
    sandbox.ok(["promote", "compose/9/one", "production"]);
    assert_eq!(told(), [1]);
    sandbox.fails(3, ["hooks", "run"]);
    fs::remove_file(sandbox.path("broken")).unwrap();
    let text = sandbox.ok(["hooks", "run"]);
    assert_eq!(text, "tell: told of production, generation 2\ntell: told of production, generation 3\n");
    assert_eq!(told(), [1, 2, 3]);
    assert_eq!(sandbox.ok(["hooks", "run"]), "");
    let log = sandbox.ok(["hooks", "log"]);
    assert!(
        log.contains("succeeded") && log.contains("failed\n    hook tell: exit status: 1: down"),
        "{log}"
    );
}

#[test]
fn only_who_may_promotes() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root");
        return;
    }
    for (who, may) in [
        ("users = [\"0\"]", true),
        ("users = [\"root\"]", true),
        ("groups = [\"root\"]", true),
        ("users = [\"nobody\"], groups = [\"nogroup\"]", false),
    ] {
        let sandbox = store_with(&format!("[view.production]\nwho-may = {{ {who} }}\n"), &[("a", "1")]);
        let promote = ["promote", "compose/9/one", "production"];
        if may {
            sandbox.ok(promote);
        } else {
            let error = sandbox.fails(1, promote);
            assert!(
                error.contains("may not promote into it") && error.contains("nobody, nogroup"),
                "{error}"
            );
            assert!(!sandbox.ok(["refs"]).contains("production"));
            sandbox.ok(["promote", "compose/9/one", "staging"]);
        }
    }
}
