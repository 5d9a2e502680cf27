//! Who may read what: rules that come and go with a flip, and are inherited.

use std::os::unix::fs::MetadataExt;

use super::store_with;
use crate::mount;

#[test]
fn an_embargo_is_part_of_the_snapshot_and_lifted_in_one_flip() {
    let sandbox =
        store_with("[view.production]\nowner = 10004\ngroup = 10005\ngates = []\n", &[("9.7/os/a", "1")]);
    sandbox.ok(["promote", "compose/9/one", "production"]);
    let plain = sandbox.snapshot("production");
    let rule = ["policy", "set", "production:9.7", "--mode", "0750", "--group", "20000", "-m", "embargo"];
    assert!(sandbox.ok(rule.iter().copied().chain(["-n"])).contains("would be mode 0750, group 20000"));
    assert_eq!(sandbox.snapshot("production"), plain, "a dry run changed something");
    sandbox.ok(rule);
    assert!(sandbox.ok(rule).contains("nothing changed"));
    assert_ne!(sandbox.snapshot("production"), plain, "the id covers the rules");
    sandbox.ok(["diff", "production@{1}", "production"]);
    let shown = sandbox.ok(["show", "production"]);
    assert!(shown.contains("access    /9.7: mode 0750, group 20000\n"), "{shown}");
    assert!(shown.contains("access    /: owner 10004, group 10005\n"), "{shown}");

    // A later promotion inherits it.
    sandbox.write("compose-9-one/9.7/os/b", "2");
    sandbox.ok(["import", "compose-9-one", "compose/9/one"]);
    sandbox.ok(["promote", "compose/9/one", "production"]);
    assert_eq!(sandbox.ok(["policy", "show", "production"]).lines().count(), 2);
    if mount::can_mount() {
        let mounted = mount::mount(&sandbox, "mnt", &[]);
        let stat = |path: &str| {
            let meta = std::fs::metadata(mounted.path(path)).unwrap();
            (meta.mode() & 0o777, meta.uid(), meta.gid())
        };
        assert_eq!(stat("views/production/9.7"), (0o750, 10_004, 20_000));
        assert_eq!(stat("views/production/9.7/os/b"), (0o644, 10_004, 10_005));
        sandbox.ok(["policy", "unset", "production:9.7", "-m", "released"]);
        assert_eq!(stat("views/production/9.7"), (0o755, 10_004, 10_005));
    }
    sandbox.fails(1, ["policy", "set", "production:nowhere", "--mode", "0750"]);
    sandbox.fails(2, ["policy", "set", "production", "--mode", "1750"]);
}
