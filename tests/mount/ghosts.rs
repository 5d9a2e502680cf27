//! Names that a promotion removed.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

#[test]
fn removed_names_are_found_by_those_who_come_for_them() {
    if !can_mount() || !installed("getfattr") {
        return;
    }
    let sandbox = Sandbox::with_store();
    let gone = [("dir/gone", "gone"), ("old/deep/file", "deep"), ("back", "first"), ("stays", "1")];
    import(&sandbox, "one", "staging", &gone);
    symlink("deep/file", sandbox.path("one/old/link")).unwrap();
    sandbox.ok(["import", "one", "staging"]);
    let first = sandbox.snapshot("staging");
    import(&sandbox, "two", "compose/two", &[("dir/new", "new"), ("stays", "2")]);
    import(&sandbox, "three", "compose/three", &[("dir/new", "new"), ("back", "again"), ("stays", "3")]);
    let live = mount(&sandbox, "mnt", &[]);
    let one = mount(&sandbox, "one-ref", &["--view", "staging"]);
    let without = mount(&sandbox, "without", &["--grace", "0"]);
    let read = |root: &Path, path: &str| fs::read_to_string(root.join(path)).ok();
    let view = live.path("views/staging");
    assert_eq!(read(&view, "dir/new"), None);
    sandbox.ok(["promote", "compose/two", "staging"]);
    says(
        "A path below `views/<ref>`, or below a mount of one ref, that a promotion removed is still found, by its \
         exact path, for 72 hours or the time that `--grace` gives, as the newest generation that had it had it.",
    );
    for root in [&view, &one.dir] {
        for (path, content) in
            [("dir/gone", "gone"), ("old/deep/file", "deep"), ("old/link", "deep"), ("back", "first")]
        {
            assert_eq!(read(root, path).as_deref(), Some(content), "{path}");
        }
        assert_eq!(read(root, "old/deep/other"), None);
        assert_eq!(read(root, "stays").as_deref(), Some("2"));
    }
    assert_eq!(read(&without.path("views/staging"), "dir/gone"), None);

    says(
        "Ghosts are in no listing, and a ghost directory lists nothing; what the new snapshot has at a path hides \
         its ghost; snapshots/ and at/ have none.",
    );
    for root in [&view, &one.dir] {
        assert_eq!(sh_ok(root, "find . | sort; find old/deep"), ".\n./dir\n./dir/new\n./stays\nold/deep\n");
    }
    let second = sandbox.snapshot("staging");
    assert_eq!(read(&live.path(&format!("snapshots/{second}")), "dir/gone"), None);
    assert_eq!(read(&live.path("at/staging/29991231T235959Z"), "dir/gone"), None);
    assert_eq!(read(&live.path(&format!("snapshots/{first}")), "dir/gone").as_deref(), Some("gone"));

    says("A ghost has the extended attribute `user.cfs.ghost`.");
    let marked = |path: &str| sh(&view, &format!("getfattr -n user.cfs.ghost '{path}'")).code == 0;
    for (path, is_ghost) in
        [("dir/gone", true), ("old", true), ("old/deep/file", true), ("stays", false), ("dir", false)]
    {
        assert_eq!(marked(path), is_ghost, "{path}");
    }
    let generations = live.path("generations/staging/2/dir/gone");
    assert_eq!(sh(&view, &format!("getfattr -n user.cfs.ghost '{}'", generations.display())).code, 1);

    sandbox.ok(["promote", "compose/three", "staging"]);
    assert_eq!(read(&view, "back").as_deref(), Some("again"));
    assert!(!marked("back"));
    assert_eq!(read(&view, "dir/gone").as_deref(), Some("gone"));
    // A path that a ghost stood at, in another kind.
    import(&sandbox, "four", "staging", &[("old", "a file"), ("dir/gone/file", "a directory")]);
    for root in [&view, &one.dir] {
        assert_eq!(read(root, "old").as_deref(), Some("a file"));
        assert_eq!(read(root, "dir/gone/file").as_deref(), Some("a directory"));
        assert_eq!(read(root, "back").as_deref(), Some("again"));
    }
}
