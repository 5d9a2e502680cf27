//! What programs see of a damaged store.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// The file of the store that is the content of `path` in `staging`.
fn blob(sandbox: &Sandbox, path: &str) -> (String, PathBuf) {
    let line = &sandbox.json(["ls", &format!("staging:{path}")])[0];
    let id = line["blob"].as_str().unwrap().to_owned();
    let file = sandbox.store().join("blobs").join(&id[..2]).join(&id[2..]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    (id, file)
}

#[test]
fn damage_is_an_error_and_never_wrong_bytes() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_store();
    let large = "large ".repeat(500_000);
    let files =
        [("missing", "one"), ("short", "two"), ("bent", "three"), ("large", &large), ("good", "good")];
    import(&sandbox, "source", "staging", &files);
    let live = mount(&sandbox, "mnt", &[]);
    let view = live.path("views/staging");
    let log = || logs(&sandbox);
    let fails = |path: &str| {
        let error = fs::read(view.join(path)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()), "{path}: {error}");
    };

    says(
        "A blob that is missing or has the wrong size is EIO for the files that need it, and the mount's log \
         names it.",
    );
    let (missing, file) = blob(&sandbox, "missing");
    fs::remove_file(file).unwrap();
    let (short, file) = blob(&sandbox, "short");
    fs::write(file, "tw").unwrap();
    fails("missing");
    fails("short");
    assert!(log().contains(&format!("blob {missing} is missing")), "{}", log());
    assert!(log().contains(&format!("blob {short} is damaged")), "{}", log());

    says(
        "A blob of up to 64 MiB is hashed before its first byte is given out, and again after the kernel had \
         forgotten the file; one with wrong bytes is EIO, and the log names it.",
    );
    let (bent, file) = blob(&sandbox, "bent");
    fs::write(file, "THREE").unwrap();
    let (flipped, file) = blob(&sandbox, "large");
    let mut bytes = fs::read(&file).unwrap();
    bytes[2_000_000] ^= 1;
    fs::write(&file, &bytes).unwrap();
    fails("bent");
    fails("large");
    for id in [&bent, &flipped] {
        assert!(log().contains(&format!("blob {id} is damaged: its bytes hash to ")), "{}", log());
    }

    says("What is not damaged stays readable.");
    assert_eq!(fs::read(view.join("good")).unwrap(), b"good");
    assert_eq!(listing(&view).len(), 5 + usize::from(listing(&view).contains_key("")));
    bytes[2_000_000] ^= 1;
    fs::write(&file, &bytes).unwrap();
    assert_eq!(fs::read_to_string(view.join("large")).unwrap(), large);
    if rustix::process::geteuid().is_root() {
        // The kernel forgets what nobody uses when it is asked to.
        fs::write(&file, "x".repeat(bytes.len())).unwrap();
        let mut forgotten = false;
        for _ in 0..20 {
            fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
            forgotten = fs::read(view.join("large")).is_err();
            if forgotten {
                break;
            }
        }
        assert!(forgotten, "wrong bytes of a file that the kernel had forgotten");
    }
}

#[test]
fn a_store_that_goes_away_takes_its_files_along_and_nothing_else() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_store();
    import(
        &sandbox,
        "source",
        "staging",
        &[("read", "was read"), ("unread", "never read"), ("dir/deep", "deep")],
    );
    let live = mount(&sandbox, "mnt", &[]);
    let view = live.path("views/staging");
    assert_eq!(fs::read_to_string(view.join("read")).unwrap(), "was read");
    says(
        "When the whole store goes away, files and directories that the kernel does not have are EIO, the log says \
         why, and `cfs umount` works.",
    );
    fs::rename(sandbox.store(), sandbox.path("elsewhere")).unwrap();
    let error = fs::read(view.join("unread")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()), "{error}");
    assert_eq!(listing(&view).len(), 5, "names are not bytes");
    sandbox.ok(["umount", "mnt"]);
    assert!(live.daemon_has_ended());
    fs::rename(sandbox.path("elsewhere"), sandbox.store()).unwrap();
    // A read that fails may be tried twice by the kernel.
    let logs = logs(&sandbox);
    let failures =
        logs.lines().filter_map(|line| line.split_once(' ').filter(|(_, text)| text.contains("blob")));
    let failures: BTreeSet<&str> = failures.map(|(_, text)| text).collect();
    assert_eq!(failures.len(), 1, "{logs}");
}
