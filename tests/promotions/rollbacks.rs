//! The way back: newer than what is withdrawn, so that mirrors follow; or raw.

use std::fs;

use cfs_indexer::repodata::repomd;

use crate::harness::repo::{Repo, TIME, put};
use crate::harness::{Sandbox, installed, ran};
use crate::mount;

const REPOMD: &str = "os/repodata/repomd.xml";

/// A store whose production has had a repository of five packages, and has one of six, newer by a day.
fn withdrawn(config: &str) -> Sandbox {
    let sandbox = Sandbox::with_config(config);
    for (count, days) in [(5, 0), (6, 1)] {
        let mut repo = Repo::with_packages(&sandbox.path("tree/os"), count);
        if days > 0 {
            repo.edit_repomd = |text| text.replace("1700000", "1700086");
        }
        repo.write();
        put(&sandbox.path("tree/os/repodata/repomd.xml.asc"), b"a signature", TIME);
        sandbox.ok(["import", "tree", "compose/9/one"]);
        sandbox.ok(["promote", "compose/9/one", "production"]);
    }
    sandbox
}

fn document(sandbox: &Sandbox, revision: &str) -> String {
    sandbox.ok(["cat", &format!("{revision}:{REPOMD}")])
}

fn mtime(sandbox: &Sandbox, revision: &str, path: &str) -> i64 {
    let (dir, name) = path.rsplit_once('/').unwrap();
    let lines = sandbox.json(["ls", "-l", &format!("{revision}:{dir}")]);
    lines.iter().find(|line| line["path"] == name).unwrap()["mtime"].as_i64().unwrap()
}

#[test]
fn what_comes_back_is_newer_than_what_is_withdrawn() {
    let sandbox = withdrawn("");
    let dry = sandbox.ok(["rollback", "production", "-n"]);
    assert!(dry.contains("would roll back"), "{dry}");
    let ran = sandbox.run(["rollback", "production", "-m", "bad push"]);
    assert!(ran.code == 0 && ran.stderr.contains("signature holds no longer"), "{ran:?}");
    assert_eq!(sandbox.ok(["ls", "production:os/Packages"]).lines().count(), 5);
    assert!(!sandbox.ok(["ls", "production:os/repodata"]).contains(".asc"));

    let parsed = |revision: &str| repomd::parse(document(&sandbox, revision).as_bytes()).unwrap();
    let (now, bad, good) = (parsed("production"), parsed("production@{1}"), parsed("production@{2}"));
    assert!(now.revision_time() > bad.revision_time());
    let newest = bad.records.iter().map(|record| record.timestamp).max().unwrap();
    assert!(now.records.iter().all(|record| record.timestamp > newest), "{now:?}");
    let content = |repomd: &repomd::Repomd| {
        repomd.records.iter().map(|record| (record.location.clone(), record.checksum)).collect::<Vec<_>>()
    };
    assert_eq!(content(&now), content(&good), "nothing but times has changed");
    for path in [REPOMD, "os/repodata"] {
        assert!(mtime(&sandbox, "production", path) > mtime(&sandbox, "production@{1}", path), "{path}");
    }
    // And once more, the other way.
    sandbox.ok(["rollback", "production"]);
    assert_eq!(sandbox.ok(["ls", "production:os/Packages"]).lines().count(), 6);
    assert!(parsed("production").revision_time() > now.revision_time());
}

#[test]
fn what_is_no_metadata_comes_back_as_it_was() {
    let sandbox = Sandbox::with_config("");
    for content in ["one", "two"] {
        sandbox.write(&format!("tree/{REPOMD}"), content);
        sandbox.ok(["import", "tree", "compose/9/one"]);
        sandbox.ok(["promote", "compose/9/one", "production"]);
    }
    let ran = sandbox.run(["rollback", "production"]);
    assert!(ran.code == 0 && ran.stderr.contains("comes back as it was: byte"), "{ran:?}");
    assert_eq!(document(&sandbox, "production"), "one");
    assert!(mtime(&sandbox, "production", REPOMD) > mtime(&sandbox, "production@{1}", REPOMD));
}

#[test]
fn raw_is_byte_by_byte_and_warns() {
    let sandbox = withdrawn("");
    let ran = sandbox.run(["rollback", "production", "--raw"]);
    assert!(ran.code == 0 && ran.stderr.contains("warning: --raw"), "{ran:?}");
    sandbox.ok(["diff", "production", "production@{2}"]);
    let again = sandbox.ok(["rollback", "production", "--to", "production@{2}", "--raw"]);
    assert!(again.contains("nothing changed"), "{again}");
}

#[test]
fn a_sign_hook_signs_what_is_stamped_anew() {
    let config = r#"
[hook.sign]
when = "sign"
command = ["sh", "-c", "echo signed $CFS_VIEW $CFS_PATH; b3sum --no-names"]
views = ["production"]
"#;
    if !installed("b3sum") {
        return;
    }
    let sandbox = withdrawn(config);
    let ran = sandbox.run(["rollback", "production"]);
    assert!(ran.code == 0 && !ran.stderr.contains("warning"), "{ran:?}");
    let digest = cfs_fs::digest::BlobId::of(document(&sandbox, "production").as_bytes());
    let signature = sandbox.ok(["cat", &format!("production:{REPOMD}.asc")]);
    assert_eq!(signature, format!("signed production {REPOMD}\n{digest}\n"));

    let config = config.replace("echo", "exit 3; echo");
    sandbox.write("config.toml", config);
    let before = sandbox.snapshot("production");
    let error = sandbox.fails(1, ["rollback", "production"]);
    assert!(error.contains("repomd.xml: cannot be signed: hook sign: exit status: 3"), "{error}");
    assert_eq!(sandbox.snapshot("production"), before);
}

#[test]
fn dnf_follows_a_rollback() {
    if !installed("dnf") || !mount::can_mount() {
        return;
    }
    let sandbox = withdrawn("");
    let mounted = mount::mount(&sandbox, "mnt", &[]);
    let packages = || {
        let mut dnf = std::process::Command::new("dnf");
        let repo = format!("r,file://{}", mounted.path("views/production/os").display());
        dnf.args(["-q", "--releasever", "9", "--forcearch", "x86_64", "--refresh"]);
        dnf.arg("--setopt").arg(format!("cachedir={}", sandbox.path("dnf").display()));
        dnf.args(["--setopt", "reposdir=/nowhere", "--repofrompath", &repo, "--repo", "r", "repoquery"]);
        let ran = ran(&mut dnf);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.stdout.lines().count()
    };
    assert_eq!(packages(), 6);
    sandbox.ok(["rollback", "production"]);
    assert_eq!(packages(), 5);
    assert!(fs::read_dir(sandbox.path("dnf")).unwrap().count() > 0, "dnf kept a cache");
}
