//! A keeper works for users who may not write to the store: he asks the kernel who they are, and his own configuration
//! what they may.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{as_nobody, bring, store_with};
use crate::harness::{Sandbox, installed};

/// A running keeper, ended with the test.
struct Kept {
    child: Child,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a keeper whose configuration is `own`; what others read names the socket and nothing else.
fn keep(sandbox: &Sandbox, own: &str) -> Kept {
    let socket = sandbox.path("socket");
    let config = sandbox.write("own.toml", own);
    sandbox.write("config.toml", format!("keeper = \"{}\"\n", socket.display()));
    let log = std::fs::File::create(sandbox.path("keeper.log")).unwrap();
    let mut command = sandbox.cfs();
    command
        .env_remove("CFS_CONFIG")
        .arg("--config")
        .arg(config)
        .args(["keeper", "--group", "65534", "--listen"]);
    let child = command.arg(&socket).stderr(log).stdout(Stdio::null()).spawn().unwrap();
    let kept = Kept { child };
    let deadline = Instant::now() + Duration::from_secs(30);
    while UnixStream::connect(&socket).is_err() {
        assert!(
            Instant::now() < deadline,
            "{}",
            std::fs::read_to_string(sandbox.path("keeper.log")).unwrap()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    kept
}

#[test]
fn a_keeper_does_for_others_what_policies_let_them() {
    let sandbox = store_with("");
    if as_nobody(&sandbox, "true").is_none() {
        return;
    }
    let own = "[view.production]\nwho-may = { users = [\"root\"] }\n\
               [view.staging]\nwho-may = { users = [\"65534\"] }\n[gc]\nwho-may = { users = [] }\n";
    let kept = keep(&sandbox, own);
    let nobody = |script: &str| as_nobody(&sandbox, script).unwrap();
    let mode = std::fs::metadata(sandbox.path("socket")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o660);

    let done = nobody("$CFS promote compose/9/one staging -m 'of nobody'");
    assert!(done.code == 0 && done.stdout.contains("promoted compose/9/one to staging"), "{done:?}");
    let log = sandbox.ok(["log", "staging"]);
    assert!(log.contains("nobody@"), "{log}");
    let refused = nobody("$CFS promote compose/9/one production");
    assert!(refused.code == 1 && refused.stderr.contains("may not promote into it"), "{refused:?}");
    let json = nobody("$CFS --json refs");
    assert!(json.stdout.lines().any(|line| line.contains("\"ref\":\"staging\"")), "{json:?}");

    // A configuration of one's own, another name, and another store help nobody.
    sandbox.write("mine.toml", std::fs::read(sandbox.path("config.toml")).unwrap());
    for script in [
        "$CFS --config mine.toml promote compose/9/one production",
        "CFS_WORKS_FOR=0:0 $CFS promote compose/9/one production",
        "USER=root SUDO_USER=root SUDO_UID=0 $CFS promote compose/9/one production",
        "$CFS promote --config=/dev/null compose/9/one production",
    ] {
        let refused = nobody(script);
        assert!(refused.code != 0, "{script}: {refused:?}");
        assert!(!sandbox.ok(["refs"]).contains("production"), "{script}");
    }
    for (script, reason) in [
        ("$CFS gc", "is not open to user"),
        ("$CFS pin staging", "may not say what is deleted"),
        ("$CFS promote --plan /etc/hostname", "reads no files for others"),
        ("$CFS rollback staging --key /etc/hostname", "reads no files for others"),
        ("$CFS cat staging:file", "is not open to user"),
    ] {
        let refused = nobody(script);
        assert!(refused.code != 0 && refused.stderr.contains(reason), "{script}: {refused:?}");
    }
    let said = std::fs::read_to_string(sandbox.path("keeper.log")).unwrap();
    assert!(said.contains("nobody asks: promote compose/9/one staging"), "{said}");
    drop(kept);
}

#[test]
fn who_signs_keeps_his_key_to_himself() {
    let sandbox = store_with("");
    if !installed("ssh-keygen") || as_nobody(&sandbox, "true").is_none() {
        return;
    }
    let home = sandbox.path("home");
    std::fs::create_dir(&home).unwrap();
    chown(&home, Some(65_534), Some(65_534)).unwrap();
    let own = "[view.production]\ngates = []\napprovals = 1\napprovers = { users = [\"nobody\"] }\nsigners = \"signers\"\n";
    let _kept = keep(&sandbox, own);
    let nobody = |script: &str| {
        let ran = as_nobody(&sandbox, script).unwrap();
        assert_eq!(ran.code, 0, "{script}: {ran:?}");
        ran.stdout
    };
    let public = nobody("ssh-keygen -q -t ed25519 -N '' -f home/key; cat home/key.pub");
    sandbox.write("signers", format!("nobody {public}"));
    let given = nobody("$CFS approve production compose/9/one --key home/key -m 'looked at'");
    assert!(given.starts_with("nobody approves of"), "{given}");
    let listed = nobody("$CFS approve production");
    assert!(listed.contains("approved, signed  looked at"), "{listed}");
    let said = std::fs::read_to_string(sandbox.path("keeper.log")).unwrap();
    assert!(!said.contains("home/key") && said.contains("approve --statement"), "{said}");
    let mut promote = sandbox.cfs();
    promote.env("CFS_CONFIG", sandbox.path("own.toml")).args(["promote", "compose/9/one", "production"]);
    let promoted = crate::harness::ran(&mut promote);
    assert_eq!(promoted.code, 0, "{promoted:?}");
}

#[test]
fn a_keeper_hears_anything_and_does_only_what_it_should() {
    let sandbox = store_with("");
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let mut kept = keep(&sandbox, "");
    let ask = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(sandbox.path("socket")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    };
    for question in [
        &b""[..],
        b"\n",
        b"{}\n",
        b"{\"words\": 3}\n",
        b"{\"words\": []}\n",
        b"{\"words\": [\"gc\", \"--yes\"]}\n",
        b"{\"words\": [\"import\", \"/etc\", \"x\"]}\n",
        b"{\"words\": [\"keeper\"]}\n",
        b"{\"words\": [\"--store\", \"/tmp/x\", \"refs\"]}\n",
        b"{\"words\": [\"--config=/tmp/x\", \"refs\"]}\n",
        b"{\"words\": [\"promote\", \"--plan=/etc/shadow\"]}\n",
        b"{\"words\": [\"approve\", \"a\", \"b\", \"--key\", \"/root/.ssh/id_ed25519\"]}\n",
        b"{\"words\": [\"refs\0\"]}\n",
        b"\xff\xfe\n",
    ] {
        let answer = ask(question);
        assert!(answer.lines().last().unwrap_or_default().contains("\"exit\":2"), "{question:?}: {answer}");
        assert!(!answer.contains("root:"), "{answer}");
    }
    // More than a question has.
    let long = [&b"{\"words\": [\"refs\", \""[..], &vec![b'x'; 1 << 20], b"\"]}\n"].concat();
    assert!(!ask(&long).contains("compose/9/one"));
    // Who goes away in the middle loses nothing but the answer.
    let mut stream = UnixStream::connect(sandbox.path("socket")).unwrap();
    stream.write_all(b"{\"words\": [\"promote\", \"compose/9/one\", \"left\"]}\n").unwrap();
    drop(stream);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !sandbox.ok(["refs"]).contains("left") {
        assert!(Instant::now() < deadline, "the promotion was not made");
    }
    let mut lines = BufReader::new(UnixStream::connect(sandbox.path("socket")).unwrap());
    lines.get_mut().write_all(b"{\"words\": [\"refs\"]}\n").unwrap();
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("\"out\""), "{line}");
    // Told to end, it ends, and takes its socket along; the next one may begin.
    bring(&sandbox, "compose/9/two", "2");
    kill_process(Pid::from_child(&kept.child), Signal::TERM).unwrap();
    assert_eq!(kept.child.wait().unwrap().code(), Some(0));
    assert!(!sandbox.path("socket").exists());
    let _next = keep(&sandbox, "");
}

#[test]
fn only_the_owner_keeps_a_store() {
    let sandbox = store_with("");
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root");
        return;
    }
    chown(sandbox.store(), Some(65_534), None).unwrap();
    let error = sandbox.fails(1, ["keeper", "--listen", "socket"]);
    assert!(error.contains("belongs to nobody"), "{error}");
}
