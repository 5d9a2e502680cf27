//! Packages in directories of their first letters.

use super::*;

/// A scene whose upstream shows every repository in both ways.
fn scene() -> Scene {
    let scene = Scene::new();
    for tree in TREES {
        let mut repo = Repo::new(&scene.sandbox.path("upstream").join(format!("hashed-{tree}")));
        for number in 0..3 {
            repo.add(&format!("Packages/p/p{number}.rpm"), &content(number));
        }
        repo.write();
    }
    configure(&scene, "");
    scene
}

/// Makes the upstream's addresses have `$hashed`.
fn configure(scene: &Scene, more: &str) {
    scene.configure(more);
    let config = fs::read_to_string(scene.sandbox.path("config.toml")).unwrap();
    scene.sandbox.write("config.toml", config.replace("$repo/", "$hashed$repo/"));
}

fn packages(scene: &Scene) -> String {
    scene.sandbox.ok(["ls", "compose/9/latest-Rocky-9:compose/BaseOS/x86_64/os/Packages"])
}

#[test]
fn a_compose_is_not_gone_on_with_in_the_other_way() {
    let scene = scene();
    scene.compose(&["sync", "9", "--full-run", "--hashed"]);
    assert_eq!(packages(&scene), "p\n");
    for args in [&["sync", "9"][..], &["sync", "9", "--dry-run"], &["sync", "9", "--clean-old-packages"]] {
        let ran = scene.run(args);
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.stderr.contains("os: was gathered with hashed directories"), "{ran:?}");
        assert!(ran.stderr.contains("every package would stand twice"), "{ran:?}");
    }
    assert_eq!(packages(&scene), "p\n");
    scene.compose(&["sync", "9", "--hashed"]);

    // The configuration remembers what a flag does not.
    configure(&scene, "hashed = true\n");
    scene.compose(&["sync", "9"]);
    assert_eq!(packages(&scene), "p\n");
    assert_eq!(scene.sandbox.json(["config", "show"])[0]["release"]["9"]["hashed"], true);

    // A new compose may be another.
    configure(&scene, "");
    scene.compose(&["sync", "9", "--full-run"]);
    assert!(packages(&scene).contains("own0.rpm"));
    let ran = scene.run(&["sync", "9", "--hashed"]);
    assert!(ran.code == 3 && ran.stderr.contains("without hashed directories"), "{ran:?}");
}
