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
fn a_mount_tells_what_the_kernel_asked() {
    if !can_mount() {
        return;
    }
    says(
        "`cfs mount --stats` tells what the kernel asked a mount how often, to everybody who sees the mount; with \
         `--metrics` Prometheus is told the same.",
    );
    let sandbox = Sandbox::with_store();
    import(&sandbox, "source", "staging", &[("dir/file", "content")]);
    fs::create_dir(sandbox.path("mnt")).unwrap();
    let live = Live { dir: sandbox.path("mnt"), daemon: None };
    let said = &sandbox.json(["mount", "mnt", "--metrics", "0"])[0];
    let of = |name: &str| {
        let ran = ran(sandbox.cfs().args(["--json", "mount", "--stats", "mnt"]));
        let said: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        said["stats"][name].as_u64().unwrap_or_else(|| panic!("{name}: {said}"))
    };
    assert_eq!((of("questions open"), of("failures")), (0, 0));
    // Held open, so that the kernel keeps everything on the way to it.
    let mut file = fs::File::open(live.path("views/staging/dir/file")).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut file, &mut text).unwrap();
    assert_eq!((text.as_str(), of("questions open")), ("content", 1));
    assert!(of("questions lookup") >= 4 && of("inodes") >= 4 && of("resident_bytes") > 0);
    assert!(of("node_cache_bytes") > 0 && of("cfs_ref_moves") >= 1);
    if said["passthrough"] == true {
        assert_eq!((of("passthrough_opens"), of("backing_files"), of("questions read")), (1, 1, 0));
    } else {
        assert!(of("questions read") >= 1);
    }
    let address = said["metrics"].as_str().unwrap();
    let get = |path: &str| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        std::io::Write::write_all(&mut stream, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
        text
    };
    let text = get("/metrics");
    assert!(
        text.starts_with("HTTP/1.0 200 ") && text.contains("\ncfs_mount_questions_total{kind=\"open\"} 1\n")
    );
    assert!(get("/other").starts_with("HTTP/1.0 404 "));
    let refused = sandbox.fails(3, ["mount", "source", "--stats"]);
    assert!(refused.contains("is not a cfs mount"), "{refused}");
    let names = sh_ok(&sandbox.path(""), "getfattr -d mnt 2> /dev/null || true");
    assert!(!names.contains("cfs.stats"), "nobody copies the numbers: {names}");
}

#[test]
fn every_other_test_passes_in_every_mode() {
    if !can_mount() {
        return;
    }
    says("Whichever way a mount works, it shows the same.");
    let this = std::env::current_exe().unwrap();
    for args in ["--transport dev --no-passthrough", "--transport dev --threads 1", "--no-passthrough"] {
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
