//! The gates that know what a repository is, and what a plan says of its packages.

use std::fs;

use cfs_fs::digest::BlobId;
use cfs_indexer::depot::Depot;

use crate::harness::Sandbox;
use crate::harness::repo::{Repo, put};
use crate::sync::signed;

const CONFIG: &str = "[view.production]\ngates = [\"repodata\"]\n";

/// A store with a repository of twelve packages promoted to production, and the repository.
fn promoted() -> (Sandbox, Repo) {
    let sandbox = Sandbox::with_config(CONFIG);
    let repo = Repo::with_packages(&sandbox.path("tree/BaseOS/os"), 12);
    repo.write();
    put(&sandbox.path("tree/AppStream/README"), b"no repository", 1);
    sandbox.ok(["import", "tree", "compose/9/one"]);
    sandbox.ok(["promote", "compose/9/one", "production"]);
    (sandbox, repo)
}

#[track_caller]
fn refused(sandbox: &Sandbox, reasons: &[&str]) {
    sandbox.ok(["import", "tree", "compose/9/one"]);
    let before = sandbox.snapshot("production");
    let error = sandbox.fails(1, ["promote", "compose/9/one", "production"]);
    let lines: Vec<&str> = error.lines().filter(|line| line.starts_with("  ")).collect();
    assert_eq!(lines.len(), reasons.len(), "{error}");
    for reason in reasons {
        assert!(lines.iter().any(|line| line.contains(reason)), "{reason}: {error}");
    }
    assert_eq!(sandbox.snapshot("production"), before);
}

#[test]
fn a_repository_that_lacks_what_it_lists_is_refused() {
    // First with what is there known to be good, then with nothing known.
    for forget in [false, true] {
        let (sandbox, _) = promoted();
        let packages = sandbox.path("tree/BaseOS/os/Packages");
        fs::remove_file(packages.join("p0003.rpm")).unwrap();
        fs::write(packages.join("p0004.rpm"), "short").unwrap();
        let mut bytes = fs::read(packages.join("p0005.rpm")).unwrap();
        bytes[0] ^= 1;
        fs::write(packages.join("p0005.rpm"), bytes).unwrap();
        fs::write(sandbox.path("tree/BaseOS/os/repodata/comps.xml"), "<Comps/>").unwrap();
        if forget {
            fs::remove_file(sandbox.store().join("cache.db")).unwrap();
        }
        refused(
            &sandbox,
            &[
                "production:BaseOS/os/Packages/p0003.rpm: is missing",
                "Packages/p0004.rpm: has 5 bytes, not 5004",
                "Packages/p0005.rpm: has another content than sha256:",
                "repodata/comps.xml: has another content than",
            ],
        );
    }
}

#[test]
fn metadata_that_cannot_be_used_is_refused() {
    let (sandbox, mut repo) = promoted();
    let repomd = sandbox.path("tree/BaseOS/os/repodata/repomd.xml");
    let good = fs::read_to_string(&repomd).unwrap();
    fs::write(&repomd, "no xml").unwrap();
    refused(&sandbox, &["BaseOS/os/repodata/repomd.xml: "]);
    fs::write(&repomd, good.replace("type=\"primary\"", "type=\"other\"")).unwrap();
    refused(&sandbox, &["lists no primary metadata"]);
    repo.edit_primary = |text| text.replace("<name>p3</name>", "");
    repo.write();
    refused(&sandbox, &["-primary.xml.gz: byte"]);
}

#[test]
fn checksums_in_treeinfo_hold_but_for_the_metadata() {
    let (sandbox, _) = promoted();
    let os = sandbox.path("tree/BaseOS/os");
    put(&os.join("images/boot.iso"), b"boot", 5);
    // Of "boot", as sha256sum prints it.
    let sum = "4d7214995fcaee7f4634c2ad0edec8c3d78fd8b9cc0ef6a3d3e7f0f3d3c1b3a8";
    let treeinfo = |sum: &str| {
        format!(
            "[checksums]\nimages/boot.iso = sha256:{sum}\nrepodata/repomd.xml = sha256:00\n[tree]\nx = y\n"
        )
    };
    put(&os.join(".treeinfo"), treeinfo(sum).as_bytes(), 5);
    refused(&sandbox, &["BaseOS/os/images/boot.iso: has another content than sha256:4d72"]);
    let right = crate::harness::ran(std::process::Command::new("sha256sum").arg(os.join("images/boot.iso")));
    put(&os.join(".treeinfo"), treeinfo(right.stdout.split(' ').next().unwrap()).as_bytes(), 6);
    sandbox.ok(["import", "tree", "compose/9/one"]);
    sandbox.ok(["promote", "compose/9/one", "production"]);
    fs::remove_file(os.join("images/boot.iso")).unwrap();
    refused(&sandbox, &["BaseOS/os/images/boot.iso: is missing"]);
}

#[test]
fn a_plan_tells_packages_by_name_and_version() {
    let (sandbox, mut repo) = promoted();
    fs::remove_file(sandbox.path("tree/BaseOS/os/Packages/p0011.rpm")).unwrap();
    repo.packages.pop();
    repo.packages[3].content = b"built again".to_vec();
    repo.add("Packages/new.rpm", b"something new");
    repo.edit_primary = |text| {
        // p2 becomes 1.10, which is newer than 1, at the same path; the twelfth package is called so now.
        let newer = text.replacen(
            "<version epoch=\"0\" ver=\"1\" rel=\"1\"/>",
            "<version epoch=\"0\" ver=\"1.10\" rel=\"1\"/>",
            1,
        );
        newer.replace("<name>p11</name>", "<name>brand-new</name>")
    };
    repo.write();
    sandbox.ok(["import", "tree", "compose/9/one"]);
    let plan = &sandbox.json(["promote", "compose/9/one", "production", "-n"])[0];
    let repository = &plan["views"][0]["repositories"][0];
    assert_eq!(repository["path"], "BaseOS/os");
    assert_eq!(repository["added"].as_array().unwrap(), &["brand-new-1-1.noarch"]);
    assert_eq!(repository["removed"].as_array().unwrap(), &["p11-1-1.noarch"]);
    assert_eq!(repository["replaced"].as_array().unwrap(), &["p3-1-1.noarch"]);
    let upgraded = &repository["upgraded"];
    assert_eq!(
        (upgraded[0]["from"].as_str(), upgraded[0]["to"].as_str()),
        (Some("p0-1-1.noarch"), Some("p0-1.10-1.noarch"))
    );
    assert_eq!(upgraded.as_array().unwrap().len(), 1);
    let text = sandbox.ok(["promote", "compose/9/one", "production", "-n"]);
    assert!(
        text.contains("production:BaseOS/os: 1 packages added, 1 removed, 1 upgraded, 1 replaced"),
        "{text}"
    );
    assert!(
        sandbox
            .ok(["promote", "compose/9/one", "production", "-nv"])
            .contains("    p0-1-1.noarch -> p0-1.10-1.noarch")
    );
}

#[test]
fn packages_and_metadata_must_be_signed_with_the_keys_of_the_view() {
    let config = "[view.production]\ngates = [\"signatures\"]\nkeys = [\"key\"]\n";
    let sandbox = Sandbox::with_config(config);
    let (ours, theirs) = (signed::key(1, None), signed::key(2, None));
    signed::key_file(&sandbox, "key", &[&ours]);
    let dir = sandbox.path("tree/os");
    let write = |packages: &[(&str, Vec<u8>)], key| {
        let _ = fs::remove_dir_all(&dir);
        let mut repo = Repo::new(&dir);
        packages.iter().for_each(|(name, bytes)| repo.add(&format!("Packages/{name}.rpm"), bytes));
        repo.write();
        signed::sign_repomd(&dir, key, 1);
    };
    let (a, b) = (signed::package("a", Some(&ours), 1), signed::package("b", Some(&ours), 1));
    write(&[("a", a.clone())], &ours);
    sandbox.ok(["import", "tree", "compose/9/one"]);
    sandbox.ok(["promote", "compose/9/one", "production"]);

    write(&[("a", a.clone()), ("b", signed::package("b", None, 1))], &ours);
    refused(&sandbox, &["production:os/Packages/b.rpm: the package is not signed"]);
    write(&[("a", a.clone()), ("b", signed::package("b", Some(&theirs), 1))], &ours);
    refused(&sandbox, &["os/Packages/b.rpm: the package is signed with the key"]);
    write(&[("a", a.clone()), ("b", b.clone())], &theirs);
    refused(&sandbox, &["os/repodata/repomd.xml: is signed with the key"]);
    fs::remove_file(dir.join("repodata/repomd.xml.asc")).unwrap();
    refused(&sandbox, &["os/repodata/repomd.xml: is not signed"]);
    write(&[("a", a), ("b", b)], &ours);
    sandbox.ok(["import", "tree", "compose/9/one"]);
    sandbox.ok(["promote", "compose/9/one", "production"]);
    fs::remove_file(sandbox.path("key")).unwrap();
    assert!(sandbox.fails(1, ["promote", "compose/9/one", "production:x"]).contains("key: No such file"));
}

#[test]
fn a_compose_whose_sync_failed_is_not_promoted_until_it_is_made_good() {
    let sandbox = Sandbox::with_config("");
    let repo = Repo::with_packages(&sandbox.path("upstream"), 5);
    repo.write();
    let sync = ["sync", "upstream", "compose/9/one:BaseOS/os"];
    sandbox.ok(sync);
    sandbox.ok(["promote", "compose/9/one", "production"]);
    let packages = [repo, Repo::with_packages(&sandbox.path("upstream"), 8)];
    packages[1].write();
    fs::remove_file(sandbox.path("upstream/Packages/p0007.rpm")).unwrap();
    sandbox.fails(3, sync);
    for source in ["compose/9/one", "compose/9/one:BaseOS"] {
        let error = sandbox.fails(1, ["promote", source, "production:x"]);
        assert!(error.contains("compose/9/one:BaseOS/os: the last sync failed: "), "{error}");
        assert!(error.contains("refused by incomplete"), "{error}");
    }
    sandbox.ok(["promote", "compose/9/one@{0}:BaseOS/os/repodata", "other"]);
    packages[1].write();
    sandbox.ok(sync);
    sandbox.ok(["promote", "compose/9/one", "production"]);
}

#[test]
fn whoever_brings_a_repository_in_reads_its_metadata_ahead() {
    for verb in ["import", "sync"] {
        let sandbox = Sandbox::with_store();
        let repo = Repo::with_packages(&sandbox.path("repo"), 3);
        repo.write();
        let files = fs::read_dir(sandbox.path("repo/repodata")).unwrap().map(|entry| entry.unwrap().path());
        let primary = files.into_iter().find(|path| path.to_string_lossy().contains("primary")).unwrap();
        let primary = BlobId::of(&fs::read(primary).unwrap());
        let is_known = || Depot::open(&sandbox.store()).unwrap().checked().has_extract(primary);
        assert!(!is_known());
        sandbox.ok([verb, "repo", "compose/9/one"]);
        assert!(is_known(), "{verb}");
    }
}
