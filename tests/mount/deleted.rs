//! A ref that is deleted under a mount.

use std::fs;

use super::{can_mount, mount, says};
use crate::harness::Sandbox;

#[test]
fn a_mount_loses_the_name_and_keeps_who_is_in_it() {
    says(
        "A ref that is deleted is gone from a mount; whoever is in it goes on there, and `generations/<ref>/<k>` shows \
         it to who knows its name, as long as it is not collected.",
    );
    let sandbox = Sandbox::with_config("[retention]\nupdates = \"0\"\n");
    for id in ["Rocky-9-updates-20251101.0", "Rocky-9.7-20251124.0"] {
        sandbox.write("tree/file", id);
        sandbox.ok(["import", "tree", &format!("compose/9/{id}")]);
    }
    if !can_mount() {
        return;
    }
    let mounted = mount(&sandbox, "mnt", &[]);
    let (gone, stays) = ("compose/9/Rocky-9-updates-20251101.0", "compose/9/Rocky-9.7-20251124.0");
    let dir = mounted.path(gone);
    let open = fs::File::open(dir.join("file")).unwrap();
    let within = rustix::fs::open(&dir, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    sandbox.ok(["compose", "prune"]);
    assert_eq!(fs::metadata(&dir).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    let left: Vec<_> =
        fs::read_dir(mounted.path("compose/9")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["Rocky-9.7-20251124.0"]);
    assert!(mounted.path(stays).join("file").exists());
    assert_eq!(std::io::read_to_string(open).unwrap(), "Rocky-9-updates-20251101.0");
    let file = rustix::fs::openat(&within, "file", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty());
    assert_eq!(std::io::read_to_string(fs::File::from(file.unwrap())).unwrap(), "Rocky-9-updates-20251101.0");
    let kept = mounted.path(&format!("generations/{gone}/1/file"));
    assert_eq!(fs::read_to_string(kept).unwrap(), "Rocky-9-updates-20251101.0");

    // Made again, it is seen again.
    sandbox.write("tree/file", "again");
    sandbox.ok(["import", "tree", gone]);
    assert_eq!(fs::read_to_string(dir.join("file")).unwrap(), "again");
}
