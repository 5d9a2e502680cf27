//! The ways in which a mount can work: all of them show the same.

use super::*;
use crate::harness::MOUNT_ARGS;

#[test]
fn a_mount_says_how_it_works() {
    if !can_mount() {
        return;
    }
    says(
        "`cfs mount` says whether the kernel reads the store's files itself (passthrough) or asks for them.",
    );
    let sandbox = Sandbox::with_store();
    import(&sandbox, "source", "staging", &[("file", "content")]);
    fs::create_dir(sandbox.path("mnt")).unwrap();
    let live = Live { dir: sandbox.path("mnt"), daemon: None };
    let text = sandbox.ok(["mount", "mnt", "--no-passthrough"]);
    assert!(text.contains("no passthrough: it was not wished for"), "{text}");
    sandbox.ok(["umount", "mnt"]);
    let said = &sandbox.json(["mount", "mnt", "--threads", "3"])[0];
    assert!(said["passthrough"].is_boolean() && said["threads"].as_u64() >= Some(3), "{said}");
    assert_eq!(fs::read_to_string(live.path("views/staging/file")).unwrap(), "content");
}

#[test]
fn every_other_test_passes_in_every_mode() {
    if !can_mount() {
        return;
    }
    says("Whichever way a mount works, it shows the same.");
    let this = std::env::current_exe().unwrap();
    for args in ["--no-passthrough", "--threads 1"] {
        let mut again = Command::new(&this);
        // A workspace mounts by itself what is below it.
        again.args(["mount::", "--skip", "mount::modes::", "--skip", "mount::workspaces::"]);
        again.env(MOUNT_ARGS, args);
        let ran = ran(&mut again);
        assert_eq!(ran.code, 0, "with {args}: {}\n{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains("mount::promotions"), "{}", ran.stdout);
    }
}

#[test]
fn files_are_read_by_the_kernel_and_by_questions_at_once() {
    if !can_mount() {
        return;
    }
    // More files than backings are kept for, each opened again after all others, some held open and mapped.
    let sandbox = Sandbox::with_store();
    let files: Vec<(String, String)> = (0..300).map(|n| (format!("d/{n}"), format!("content {n}"))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    import(&sandbox, "source", "staging", &files);
    let live = mount(&sandbox, "mnt", &[]);
    let dir = live.path("views/staging/d");
    let held: Vec<fs::File> =
        (0..300).step_by(7).map(|n| fs::File::open(dir.join(n.to_string())).unwrap()).collect();
    for _ in 0..3 {
        for (path, text) in &files {
            assert_eq!(fs::read_to_string(live.path("views/staging").join(path)).unwrap(), *text);
        }
    }
    // Many at once, on the same files.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..300 {
                    assert_eq!(fs::read_to_string(dir.join(n.to_string())).unwrap(), format!("content {n}"));
                }
            });
        }
    });
    drop(held);
}
