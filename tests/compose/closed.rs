//! Whether what was gathered is closed.

use super::*;

/// Every package requires `text`.
fn requiring(text: &str, what: &str) -> String {
    let requires = format!("<rpm:requires><rpm:entry name=\"{what}\"/></rpm:requires></format>");
    text.replace("</format>", &requires)
}

#[test]
fn a_compose_is_looked_at_with_what_each_repository_may_need() {
    let scene = Scene::new();
    let wants = |scene: &Scene, edit: fn(String) -> String| {
        let mut repo = scene.repos[5].clone();
        repo.edit_primary = edit;
        repo.write();
    };
    // all/x86_64 needs what BaseOS has, a package of its own name.
    wants(&scene, |text| requiring(&text.replace("<name>p", "<name>q"), "p3"));
    scene.configure("");
    let error = scene.run(&["sync", "9", "--full-run", "--repoclosure"]);
    assert!(error.code == 2 && error.stderr.contains("no closure is configured"), "{error:?}");

    scene.configure("[release.9.closure]\ndevel = [\"BaseOS\"]\nBaseOS = []\n");
    let done = scene.compose(&["sync", "9", "--repoclosure"]);
    let checked = done["closure"].as_array().unwrap();
    assert_eq!(checked.len(), 4, "{done}");
    assert!(checked.iter().all(|one| one["problems"] == Value::Array(Vec::new())), "{done}");

    scene.configure("[release.9.closure]\ndevel = []\n");
    let args = ["compose", "sync", "9", "--repoclosure"];
    let ran = scene.sandbox.run(args);
    assert_eq!(ran.code, 1, "{ran:?}");
    let said = "closure of compose/devel/x86_64/os: 7 of 7 packages have problems\n";
    assert!(ran.stdout.contains(said) && ran.stdout.contains("requires p3"), "{ran:?}");
    assert!(ran.stdout.contains("closure of compose/devel/aarch64/os: 0 of 7"), "{ran:?}");
    assert!(ran.stderr.contains("compose/devel/x86_64/os") && !ran.stderr.contains("aarch64"), "{ran:?}");
    scene.sandbox.ok(["compose", "sync", "9", "--repoclosure", "--arch=aarch64"]);
}
