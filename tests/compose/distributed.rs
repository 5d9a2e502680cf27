//! Documents of version 2.0: what a compose says of its files when they may stand elsewhere.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

const DOCUMENTS: [&str; 5] =
    ["composeinfo.json", "rpms.json", "images.json", "modules.json", "extra_files.json"];
const IMAGE: &str = "Rocky-9.7-x86_64-boot.iso";

fn config(scene: &Scene, more: &str) {
    let url = scene.upstream.url();
    scene.sandbox.write(
        "config.toml",
        format!(
            "[release.9]\nname = \"Rocky Linux\"\nshort = \"Rocky\"\nversion = \"9.7\"\nrc = 1\narches = [\"x86_64\"]\n\
             kickstart = false\n{more}\n[release.9.upstream]\nurl = \"{url}$repo/$basearch\"\nrepositories = [\"BaseOS\"]\n"
        ),
    );
}

/// Packages of every sort, with the number of the tree that each belongs to.
const PACKAGES: [(usize, &str); 4] = [
    (0, "RPMS/noarch/app-1-1.noarch.rpm"),
    (0, "RPMS/noarch/c++-1-1.noarch.rpm"),
    (1, "RPMS/noarch/app-debuginfo-1-1.noarch.rpm"),
    (4, "SRPMS/app-1-1.src.rpm"),
];

/// Builds [`PACKAGES`]; says so when there is no rpmbuild.
fn build(sandbox: &Sandbox) -> bool {
    if !installed("rpmbuild") {
        eprintln!("skipped: rpmbuild is not installed");
        return false;
    }
    let package =
        |name: &str| format!("%package {name}\nSummary: x\n%description {name}\nx\n%files {name}\n");
    let head = "Name: app\nVersion: 1\nRelease: 1\nSummary: x\nLicense: MIT\nBuildArch: noarch\n";
    let (other, debug) = (package("-n c++"), package("debuginfo"));
    let spec = format!("{head}%description\nx\n%files\n{other}{debug}");
    let spec = sandbox.write("app.spec", spec);
    let top = format!("_topdir {}", sandbox.path("built").display());
    let done = ran(Command::new("rpmbuild").args(["-ba", "-D", &top, "-D", "dist %{nil}"]).arg(spec));
    assert_eq!(done.code, 0, "{done:?}");
    true
}

/// A compose with packages, modules, an image and an extra file, that is not finished.
fn scene() -> Option<Scene> {
    let scene = Scene::new();
    if !build(&scene.sandbox) {
        return None;
    }
    for tree in [0, 1, 4] {
        let mut repo = scene.repos[tree].clone();
        for old in std::mem::take(&mut repo.packages) {
            fs::remove_file(repo.dir.join(old.href)).unwrap();
        }
        for (_, built) in PACKAGES.iter().filter(|(of, _)| *of == tree) {
            let name = built.rsplit('/').next().unwrap();
            repo.add(
                &format!("Packages/{name}"),
                &fs::read(scene.sandbox.path("built").join(built)).unwrap(),
            );
        }
        repo.write();
    }
    config(&scene, "productmd = \"2.0\"");
    let name = scene.compose(&["sync", "9", "--full-run"])["compose"].as_str().unwrap().to_owned();
    let early: Value = serde_json::from_str(&scene.file("compose/metadata/composeinfo.json")).unwrap();
    assert_eq!(early["header"]["version"], "2.0", "before it is finished, too");
    let sandbox = &scene.sandbox;
    sandbox.write(&format!("work/isos/x86_64/{IMAGE}"), "an image that is not one of the packages");
    sandbox.ok(["import", "work", &format!("{name}:work")]);
    let os = format!("{name}:compose/BaseOS/x86_64/os");
    sandbox.ok(["checkout", &os, "tree"]);
    sandbox.write("tree/EULA", "agreed");
    sandbox.ok(["import", "tree", &os]);
    let modules = "---\ndocument: modulemd\nversion: 2\ndata:\n  name: app\n  stream: one\n  version: 7\n  context: c0\n  \
                   artifacts:\n    rpms: [app-0:1-1.noarch]\n...\n";
    let modules = sandbox.write("modules.yaml", modules);
    sandbox.ok(["repodata", "build", &os]);
    sandbox.ok(["repodata", "inject", &os, "--type", "modules", modules.to_str().unwrap()]);
    Some(scene)
}

/// A copy of the scene's store.
fn copy(scene: &Scene, name: &str) -> PathBuf {
    let to = scene.sandbox.path(name);
    assert_eq!(ran(Command::new("cp").arg("-a").arg(scene.sandbox.store()).arg(&to)).code, 0);
    to
}

/// Changes the last byte of the blob in `store` that holds `content`.
fn garble(store: &Path, content: &[u8]) {
    let script = "find \"$0\" -type f -size \"$1\"c -exec cmp -s {} \"$2\" ';' -print";
    let same = store.join("same");
    fs::write(&same, content).unwrap();
    let mut find = Command::new("sh");
    find.args(["-c", script]).arg(store.join("blobs")).arg(content.len().to_string()).arg(&same);
    let found = ran(&mut find).stdout;
    assert_eq!(found.lines().count(), 1, "{found}");
    let mut bad = content.to_vec();
    *bad.last_mut().unwrap() ^= 1;
    let blob = found.trim();
    let mode = fs::metadata(blob).unwrap().permissions();
    fs::remove_file(blob).unwrap();
    fs::write(blob, bad).unwrap();
    fs::set_permissions(blob, mode).unwrap();
}

/// Finishes the compose in `store`, and returns its documents.
fn finish(scene: &Scene, store: &Path) -> BTreeMap<&'static str, String> {
    let store = store.to_str().unwrap();
    scene.sandbox.ok(["--store", store, "compose", "finalize", "9"]);
    let read = |name: &'static str| {
        let place = format!("compose/9/latest-Rocky-9:compose/metadata/{name}");
        (name, scene.sandbox.ok(["--store", store, "cat", &place]))
    };
    DOCUMENTS.into_iter().map(read).collect()
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Visits every location below `value`, with the keys that lead to it.
fn locations(value: &Value, keys: &str, visit: &mut dyn FnMut(&str, &Value)) {
    match value {
        Value::Object(fields) if fields.contains_key("local_path") => visit(keys, value),
        Value::Object(fields) => {
            fields.iter().for_each(|(key, below)| locations(below, &format!("{keys}/{key}"), visit));
        }
        Value::Array(all) => all.iter().for_each(|below| locations(below, keys, visit)),
        _ => {}
    }
}

/// All texts below `value`.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Object(fields) => fields.values().for_each(|below| texts(below, found)),
        _ => panic!("{value}"),
    }
}

/// Every path that a document of version 1.2 names, sorted.
fn paths(name: &str, value: &Value, found: &mut Vec<String>) {
    let key = match name {
        "extra_files.json" => "file",
        "composeinfo.json" => "paths",
        "modules.json" => "modulemd_path",
        _ => "path",
    };
    match value {
        Value::Object(fields) => {
            for (own, below) in fields {
                if own == key { texts(below, found) } else { paths(name, below, found) }
            }
        }
        Value::Array(all) => all.iter().for_each(|below| paths(name, below, found)),
        _ => {}
    }
    found.sort();
}

#[test]
fn every_file_is_named_with_what_it_holds() {
    let Some(scene) = scene() else { return };
    let plain_store = copy(&scene, "plain");
    let planned: Value = value(&scene.sandbox.ok(["--json", "compose", "finalize", "9", "--dry-run"]));
    assert_eq!(planned["productmd"], "2.0", "{planned}");
    let again_store = copy(&scene, "again");
    let told = scene.sandbox.ok(["compose", "finalize", "9", "--dry-run"]);
    assert!(told.trim_end().ends_with("1 images, documents of version 2.0"), "{told}");
    let documents = finish(&scene, &scene.sandbox.store());

    // What was hashed once, by the sync or by the dry run, is not read again.
    garble(&again_store, b"an image that is not one of the packages");
    for (_, built) in PACKAGES {
        garble(&again_store, &fs::read(scene.sandbox.path("built").join(built)).unwrap());
    }
    assert_eq!(finish(&scene, &again_store), documents);

    config(&scene, "");
    let plain = finish(&scene, &plain_store);
    let out = scene.sandbox.path("out");
    scene.sandbox.ok(["checkout", "compose/9/latest-Rocky-9", out.to_str().unwrap()]);
    let mut files = 0;
    for name in DOCUMENTS {
        let (new, old) = (value(&documents[name]), value(&plain[name]));
        assert_eq!((&new["header"]["version"], &old["header"]["version"]), (&"2.0".into(), &"1.2".into()));
        assert_eq!(new["header"]["type"], old["header"]["type"]);
        assert_eq!(new["payload"]["compose"], old["payload"]["compose"]);
        let (mut named, mut before) = (Vec::new(), Vec::new());
        locations(&new, "", &mut |keys, location| {
            let path = location["local_path"].as_str().unwrap();
            named.push(path.to_owned());
            assert_eq!((&location["url"], &location["contents"]), (&path.into(), &Value::Array(vec![])));
            let mut file = out.join("compose").join(path);
            if file.is_dir() {
                if !keys.contains("repository/") {
                    assert_eq!((&location["size"], &location["checksum"]), (&Value::Null, &Value::Null));
                    return;
                }
                file.push("repodata/repomd.xml");
            }
            let sum = ran(Command::new("sha256sum").arg(&file)).stdout;
            let sum = format!("sha256:{}", sum.trim_start_matches('\\').split(' ').next().unwrap());
            let size = fs::metadata(&file).unwrap().len();
            assert_eq!((&location["size"], &location["checksum"]), (&size.into(), &sum.into()), "{path}");
            files += 1;
        });
        paths(name, &old, &mut before);
        named.sort();
        assert_eq!(named, before, "{name}");
        assert!(!named.is_empty(), "{name}");
    }
    // Three repositories, all packages, an image, a module and the file beside packages.
    assert_eq!(files, 3 + PACKAGES.len() + 1 + 1 + 1);
    rest_is_there(&documents);
    reads_with_productmd(&out);
}

/// What documents say besides where files are.
fn rest_is_there(documents: &BTreeMap<&str, String>) {
    let of = |name: &str| value(&documents[name])["payload"].clone();
    let rpm = &of("rpms.json")["rpms"]["BaseOS"]["x86_64"]["app-0:1-1.src"]["app-0:1-1.noarch"];
    assert_eq!(
        (&rpm["category"], &rpm["sigkey"], &rpm["sigkeys"]),
        (&"binary".into(), &Value::Null, &Value::Array(vec![]))
    );
    let image = &of("images.json")["images"]["BaseOS"]["x86_64"][0];
    assert_eq!((&image["type"], image.get("size"), image.get("checksums")), (&"boot".into(), None, None));
    let module = &of("modules.json")["modules"]["BaseOS"]["x86_64"]["app:one:7:c0"];
    assert_eq!(
        (&module["name"], &module["arch"], module.get("metadata")),
        (&"app".into(), &"x86_64".into(), None)
    );
    assert_eq!(module["rpms"][0], "app-0:1-1.noarch");
    assert_eq!(of("extra_files.json")["extra_files"]["BaseOS"]["x86_64"][0]["file"], "EULA");
    assert_eq!(of("composeinfo.json")["compose"]["label"], "RC-1.0");
}

/// Where a productmd is installed that knows locations, it would write the same.
fn reads_with_productmd(out: &Path) {
    if ran(Command::new("python3").args(["-c", "import productmd.location"])).code != 0 {
        eprintln!("skipped: python3 has no productmd that knows locations");
        return;
    }
    let program = r#"
import sys, productmd.composeinfo, productmd.rpms, productmd.images, productmd.modules, productmd.extra_files
for name, document in [("composeinfo", productmd.composeinfo.ComposeInfo()), ("rpms", productmd.rpms.Rpms()),
                       ("images", productmd.images.Images()), ("modules", productmd.modules.Modules()),
                       ("extra_files", productmd.extra_files.ExtraFiles())]:
    path = f"{sys.argv[1]}/compose/metadata/{name}.json"
    document.load(path)
    assert document.dumps() == open(path).read(), name
"#;
    let done = ran(Command::new("python3").args(["-c", program]).arg(out));
    assert_eq!(done.code, 0, "{done:?}");
}

#[test]
fn files_may_have_addresses() {
    let Some(scene) = scene() else { return };
    config(&scene, "productmd = \"2.0\"\nbase-url = \"https://dl.example.org/$major/$compose/compose/\"");
    let id = scene.latest().unwrap().trim_start_matches("compose/9/").to_owned();
    let documents = finish(&scene, &scene.sandbox.store());
    let base = format!("https://dl.example.org/9/{id}/compose");
    for name in DOCUMENTS {
        locations(&value(&documents[name]), "", &mut |_, location| {
            let path = location["local_path"].as_str().unwrap().replace('+', "%2B");
            assert_eq!(location["url"], format!("{base}/{path}"));
        });
    }
    assert!(documents["rpms.json"].contains("c%2B%2B-1-1.noarch.rpm"), "{}", documents["rpms.json"]);
}
