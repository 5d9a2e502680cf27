//! dnf on metadata that cfs made: groups, modules, errata, and packages and metadata that are signed.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{Ran, Sandbox, installed, ran};
use crate::mirrors::http::serve;
use crate::sync::signed::{key, key_file, package};

const COMPS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">
<comps><group><id>zoo</id><name>Animals of the zoo</name><description/><default>true</default>
<uservisible>true</uservisible><packagelist><packagereq type="mandatory">ant</packagereq></packagelist></group></comps>
"#;

const MODULES: &str = r"---
document: modulemd
version: 2
data:
  name: zoo
  stream: north
  version: 1
  context: c0ffee00
  arch: noarch
  summary: Animals
  description: Animals of the north
  license:
    module: [MIT]
  artifacts:
    rpms:
    - bee-0:1-1.noarch
...
";

const ERRATA: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<updates><update from="zoo@example.org" status="final" type="security" version="1"><id>ZOO-2025:1</id>
<title>Better ants</title><issued date="2025-01-01 00:00:00"/><description>They bite less.</description>
<pkglist><collection><name>Zoo</name><package name="ant" version="1" release="1" epoch="0" arch="noarch">
<filename>ant-1-1.noarch.rpm</filename></package></collection></pkglist></update></updates>
"#;

fn dnf(sandbox: &Sandbox, url: &str, args: &[&str]) -> Ran {
    let mut command = Command::new("dnf");
    let root = sandbox.path("root").display().to_string();
    command.args(["-q", "-y", "--releasever=9", "--disableplugin=local", "--setopt=reposdir=/nonexistent"]);
    command.args(["--setopt=r.skip_if_unavailable=0", "--setopt=retries=1", "--setopt=zchunk=0"]);
    command.args([
        "--setopt=module_platform_id=platform:el9",
        "--setopt=r.repo_gpgcheck=1",
        "--setopt=r.gpgcheck=1",
    ]);
    command.arg(format!("--setopt=r.gpgkey=file://{}", sandbox.path("key.asc").display()));
    command.arg(format!("--installroot={root}")).arg(format!("--setopt=cachedir={root}/cache"));
    command.arg(format!("--repofrompath=r,{url}"));
    ran(command.args(args).env("LC_ALL", "C.UTF-8"))
}

/// A keyring of gpg with the secret key that is in `file`; false where gpg cannot take it.
fn keyring(home: &Path, file: &Path) -> bool {
    fs::create_dir_all(home).unwrap();
    fs::set_permissions(home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let done = ran(Command::new("gpg").arg("--homedir").arg(home).args(["--batch", "--import"]).arg(file));
    done.code == 0
}

#[test]
fn dnf_reads_groups_modules_and_errata_and_installs_what_is_signed() {
    if !["dnf", "gpg", "rpm"].iter().all(|program| installed(program)) {
        return;
    }
    let sandbox = Sandbox::with_store();
    let key = key(7, None);
    key_file(&sandbox, "key.asc", &[&key]);
    let secret = key.to_armored_bytes(pgp::composed::ArmorOptions::default()).unwrap();
    sandbox.write("secret.asc", secret);
    // The path of gpg's socket must be short.
    let home = tempfile::Builder::new().prefix("g").tempdir().unwrap();
    assert!(keyring(home.path(), &sandbox.path("secret.asc")), "gpg takes the key");
    for name in ["ant", "bee"] {
        sandbox.write(&format!("in/os/Packages/{name}-1-1.noarch.rpm"), package(name, Some(&key), 1));
    }
    sandbox.write(
        "config.toml",
        format!(
            "[hook.sign]\nwhen = \"sign\"\nviews = [\"repo\"]\n\
             command = [\"gpg\", \"--homedir\", \"{}\", \"--batch\", \"--armor\", \"--detach-sign\"]\n",
            home.path().display()
        ),
    );
    sandbox.write("comps.xml", COMPS);
    sandbox.write("modules.yaml", MODULES);
    sandbox.write("errata.xml", ERRATA);
    sandbox.ok(["import", "in", "repo"]);
    let served = serve(&sandbox, &["--view", "repo"]);
    let url = format!("{}/os/", served.url);
    for compress in ["gz", "zst", "xz"] {
        let more = ["--comps=comps.xml", "--modules=modules.yaml", "--compress", compress];
        sandbox.ok(["repodata", "build", "repo:os"].into_iter().chain(more));
        sandbox.ok([
            "repodata",
            "inject",
            "repo:os",
            "errata.xml",
            "--type=updateinfo",
            "--compress",
            compress,
        ]);
        let made = dnf(&sandbox, &url, &["--refresh", "makecache"]);
        assert_eq!(made.code, 0, "{compress}: {made:?}");
        let query = dnf(&sandbox, &url, &["repoquery", "--qf", "%{name} %{evr}", "--available", "ant"]);
        assert_eq!(query.stdout.trim(), "ant 1-1", "{compress}: {query:?}");
        let groups = dnf(&sandbox, &url, &["group", "list"]);
        assert!(groups.stdout.contains("Animals of the zoo"), "{compress}: {groups:?}");
        let modules = dnf(&sandbox, &url, &["module", "list"]);
        assert!(modules.stdout.contains("north"), "{compress}: {modules:?}");
    }
    let installed = dnf(&sandbox, &url, &["install", "ant"]);
    assert_eq!(installed.code, 0, "{installed:?}");
    // dnf tells of errata about what is installed.
    let errata = dnf(&sandbox, &url, &["updateinfo", "--info", "--all"]);
    assert!(errata.stdout.contains("ZOO-2025:1") && errata.stdout.contains("They bite less."), "{errata:?}");
    assert_eq!(fs::read_to_string(sandbox.path("root/usr/share/ant")).unwrap(), "ant".repeat(100));
    // A signature of another key is none.
    let errata = sandbox.write("errata.xml", ERRATA.replace("bite less", "bite more"));
    fs::write(
        sandbox.path("config.toml"),
        "[hook.sign]\nwhen = \"sign\"\ncommand = [\"cat\", \"/dev/null\"]\n",
    )
    .unwrap();
    let error =
        sandbox.fails(1, ["repodata", "inject", "repo:os", errata.to_str().unwrap(), "--type=updateinfo"]);
    assert!(error.contains("repo:os: repodata/repomd.xml cannot be signed"), "{error}");
}
