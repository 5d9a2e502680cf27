//! What programs learn about files.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use cfs_fs::digest::BlobId;
use cfs_indexer::depot::Depot;

use super::*;

/// A source with a bit of everything, imported into `staging`.
fn source(sandbox: &Sandbox) -> PathBuf {
    let large = "0123456789abcdef".repeat(200_000);
    let name = "é ~+^%20$'\"";
    import(
        sandbox,
        "source",
        "staging",
        &[
            ("empty", ""),
            ("small", "five."),
            ("block", &"b".repeat(512)),
            ("run", "#!/bin/sh\necho it runs\n"),
            ("dir/large", &large),
            ("dir/deep/er/file", "x"),
            (&format!("dir/{name}"), "a name"),
        ],
    );
    let source = sandbox.path("source");
    fs::create_dir(source.join("hollow")).unwrap();
    symlink("dir/large", source.join("link")).unwrap();
    symlink("nowhere/at all", source.join("dir/dangling")).unwrap();
    sandbox.ok(["import", "source", "staging"]);
    source
}

#[test]
fn a_tree_reads_back_as_it_was_imported() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_store();
    let source = source(&sandbox);
    let live = mount(&sandbox, "mnt", &[]);
    let view = live.path("views/staging");
    says(
        "A tree reads back as it was imported: names, content, symlinks, executable bits, and the modification \
         times of files and symlinks in whole seconds; `diff -r` with the source finds nothing.",
    );
    // What a directory of the host has beside is not kept; times within a second are not either.
    let whole = |of: BTreeMap<String, String>| -> BTreeMap<String, String> {
        let cut = |text: &str| match text.split_once('.') {
            Some((seconds, rest)) => {
                format!("{seconds} {}", rest.split_once(' ').map_or("", |(_, link)| link))
            }
            None => text.to_owned(),
        };
        of.into_iter().map(|(path, rest)| (path, cut(&rest))).collect()
    };
    assert_eq!(whole(listing(&view)), whole(listing(&source)));
    let differ = ran(Command::new("diff").args(["-r", "--no-dereference"]).args([&source, &view]));
    assert_eq!((differ.code, differ.stdout.as_str()), (0, ""));

    says("find, ls -lR, du, cp -a, tar, sha256sum, stat, cmp and mmap see what they see on ext4.");
    let both = |script: &str| (sh_ok(&view, script), sh_ok(&source, script));
    for script in [
        "find . | sort",
        "find . -type f -size +100k -name 'l*'",
        "find . -type l -printf '%p -> %l\\n' | sort",
        "find . -type f -exec sha256sum {} + | sort",
        "find . -type f -exec stat -c '%n %s %a %Y %F' {} + | sort",
        "ls -lR --time-style=+%s . | awk '/^[-l]/ { $2 = $3 = $4 = \"\"; print }'",
        "du -b --apparent-size dir/large small | cut -f1",
        "tar cf - --sort=name --mtime=@0 --mode=a+rX,u+w --owner=0 --group=0 . | sha256sum",
        "cmp dir/large link; ./run",
    ] {
        let (seen, expected) = both(script);
        assert_eq!(seen, expected, "{script}");
    }
    sh_ok(&sandbox.path(""), "cp -a mnt/views/staging copy && diff -r --no-dereference source copy");
    assert_eq!(whole(listing(&sandbox.path("copy"))), whole(listing(&source)));
    // Running a program maps it into memory.
    if let Ok(program) = fs::canonicalize("/bin/true") {
        fs::create_dir(sandbox.path("programs")).unwrap();
        fs::copy(program, sandbox.path("programs/true")).unwrap();
        sandbox.ok(["import", "programs", "programs"]);
        assert_eq!(ran(&mut Command::new(live.path("views/programs/true"))).code, 0);
    }
}

#[test]
fn modes_owners_sizes_and_links() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_store();
    let source = source(&sandbox);
    let live = mount(&sandbox, "mnt", &[]);
    let other = mount(&sandbox, "other", &["--owner", "10004:10005"]);
    let stat = |live: &Live, path: &str| {
        let meta = fs::symlink_metadata(live.path("views/staging").join(path)).unwrap();
        (meta.mode() & 0o7777, meta.uid(), meta.gid())
    };
    says(
        "Files have mode 0644 or, when executable, 0755; directories have 0755 and symlinks 0777; everything \
         belongs to the owner of the store, or to the one that `--owner UID:GID` names.",
    );
    let store = fs::metadata(sandbox.store()).unwrap();
    for (path, mode) in [("small", 0o644), ("run", 0o755), ("dir", 0o755), ("link", 0o777), (".", 0o755)] {
        assert_eq!(stat(&live, path), (mode, store.uid(), store.gid()), "{path}");
        assert_eq!(stat(&other, path), (mode, 10_004, 10_005), "{path}");
    }

    says(
        "A file has as many blocks of 512 bytes as its size fills and a directory none, so `du -l` tells the \
         logical size.",
    );
    let view = live.path("views/staging");
    for (path, blocks) in [("empty", 0), ("small", 1), ("block", 1), ("dir/large", 6250), ("dir", 0)] {
        assert_eq!(fs::metadata(view.join(path)).unwrap().blocks(), blocks, "{path}");
    }
    let bytes = "find . -type f -printf '%s\\n' | awk '{ sum += int(($1 + 511) / 512) } END { print sum }'";
    assert_eq!(sh_ok(&view, "du -l -s -B512 . | cut -f1"), sh_ok(&source, bytes));

    says("Directories made of refs have the time 0 and the size 0.");
    for path in ["", "views", "compose", "at/staging", "snapshots"] {
        let meta = fs::metadata(live.path(path)).unwrap();
        assert_eq!((meta.mtime(), meta.size()), (0, 0), "{path}");
    }
}

/// Waits until a file has so many links.
#[track_caller]
fn wait_for_links(path: &Path, links: u64) {
    let began = Instant::now();
    while fs::metadata(path).unwrap().nlink() != links {
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "{}: {}",
            path.display(),
            fs::metadata(path).unwrap().nlink()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn equal_files_are_hard_links() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_store();
    let files = [
        ("x86_64/noarch.rpm", "equal"),
        ("aarch64/noarch.rpm", "equal"),
        ("aarch64/more/noarch.rpm", "equal"),
        ("x86_64/repodata/repomd.xml", "index"),
        ("aarch64/repodata/repomd.xml", "index"),
        ("x86_64/.treeinfo", "index"),
        ("program", "#!equal"),
        ("other", "other"),
    ];
    import(&sandbox, "source", "staging", &files);
    let live = mount(&sandbox, "mnt", &[]);
    let without = mount(&sandbox, "without", &["--no-hardlinks"]);
    let view = live.path("views/staging");
    says(
        "Equal files of a snapshot (content, mode, owner and time) are hard links: they have one inode number, and \
         as many links as there are paths.",
    );
    says(
        "Links are counted when a file of a snapshot is looked up first, which waits for it up to a second; in a \
         tree so large that it takes longer a file has one link until then. A directory has always 1, which means \
         \"not counted\".",
    );
    let stat = |path: &str| fs::metadata(view.join(path)).unwrap();
    let number = stat("x86_64/noarch.rpm").ino();
    for path in ["aarch64/noarch.rpm", "aarch64/more/noarch.rpm"] {
        assert_eq!((stat(path).nlink(), stat(path).ino()), (3, number), "{path}");
    }
    for path in ["other", "program", "x86_64", "../../views"] {
        assert_eq!(stat(path).nlink(), 1, "{path}");
    }
    says(
        "Files that mirrors replace in place are nobody's links: those whose names begin with repomd.xml, treeinfo, \
         .treeinfo, fullfilelist, fullfiletimelist or imagelist.",
    );
    let lone = ["x86_64/repodata/repomd.xml", "aarch64/repodata/repomd.xml", "x86_64/.treeinfo"].map(stat);
    assert!(lone.iter().all(|meta| meta.nlink() == 1));
    assert!(lone[0].ino() != lone[1].ino() && lone[0].ino() != lone[2].ino());
    assert_eq!(sh_ok(&without.path("views/staging"), "find . -type f -links +1"), "");

    // The next generation has other counts, and those who are still in the old one have theirs.
    fs::remove_file(sandbox.path("source/aarch64/noarch.rpm")).unwrap();
    sandbox.ok(["import", "source", "staging"]);
    wait_for_links(&view.join("x86_64/noarch.rpm"), 2);
    if installed("rsync") {
        sh_ok(&live.dir, &format!("rsync -aH views/staging/ '{}'", sandbox.path("copy").display()));
        let copy = |path: &str| fs::metadata(sandbox.path("copy").join(path)).unwrap();
        assert_eq!(copy("x86_64/noarch.rpm").nlink(), 2);
        assert_eq!(copy("x86_64/noarch.rpm").ino(), copy("aarch64/more/noarch.rpm").ino());
        assert_eq!(copy("x86_64/.treeinfo").nlink(), 1);
    }
}

#[test]
fn inode_numbers_follow_from_what_is_there() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_store();
    let source = source(&sandbox);
    let other_store = Sandbox::with_store();
    other_store.ok(["import", source.to_str().unwrap(), "elsewhere"]);
    let live = mount(&sandbox, "mnt", &[]);
    let elsewhere = mount(&other_store, "mnt", &["--view", "elsewhere"]);
    says(
        "An inode number follows from content, mode, owner and time, and for directories and symlinks from the \
         path inside the snapshot; it is the same in every mount of every store, and what a promotion did not \
         change keeps it.",
    );
    let numbers = |dir: &Path| sh_ok(dir, "find . -printf '%p %i\\n' | sort");
    let here = numbers(&live.path("views/staging"));
    assert_eq!(here, numbers(&elsewhere.dir));
    assert_eq!(here, numbers(&live.path("current/staging/.")));
    // Listings say the same as stat.
    let listed = sh_ok(&live.path("views/staging/dir"), "ls -ai1 | grep -v '\\.\\.$' | awk '{ print $1 }'");
    let told = sh_ok(
        &live.path("views/staging/dir"),
        "for f in .* *; do case $f in ..) ;; *) stat -c %i \"$f\";; esac; done",
    );
    let sorted =
        |text: &str| -> std::collections::BTreeSet<String> { text.lines().map(str::to_owned).collect() };
    assert_eq!(sorted(&listed), sorted(&told));

    fs::write(source.join("small"), "six...").unwrap();
    sandbox.ok(["import", "source", "staging"]);
    let after = numbers(&live.path("views/staging"));
    let changed: Vec<&str> = here
        .lines()
        .filter(|line| !after.lines().any(|other| other == *line))
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(changed, [".", "./small"]);
}

#[test]
fn extended_attributes_and_space() {
    if !can_mount() || !installed("getfattr") {
        return;
    }
    let sandbox = Sandbox::with_store();
    source(&sandbox);
    let live = mount(&sandbox, "mnt", &[]);
    says(
        "The extended attribute `user.cfs.blake3` of a file is the BLAKE3 of its content; that of a directory \
         names its node, and `user.cfs.snapshot` its snapshot.",
    );
    let attribute = |name: &str, path: &str| {
        let script = format!("getfattr --only-values -n user.cfs.{name} {path}");
        sh_ok(&live.path("views/staging"), &script)
    };
    let listed = |path: &str| -> BTreeMap<String, serde_json::Value> {
        let lines = sandbox.json(["ls", &format!("staging:{path}")]);
        lines.into_iter().map(|value| (value["path"].as_str().unwrap().to_owned(), value)).collect()
    };
    assert_eq!(attribute("blake3", "small"), listed("")["small"]["blob"].as_str().unwrap());
    assert_eq!(attribute("blake3", "dir"), listed("")["dir"]["node"].as_str().unwrap());
    assert_eq!(attribute("snapshot", "dir/deep"), sandbox.snapshot("staging"));
    let dump = sh_ok(&live.path("views/staging"), "getfattr -d dir small");
    assert_eq!(dump.matches("user.cfs.blake3=").count(), 2);
    assert_eq!(dump.matches("user.cfs.snapshot=").count(), 1);
    assert_ne!(sh(&live.path("views/staging"), "getfattr -n user.other small").code, 0);
    assert_ne!(sh(&live.path("views/staging"), "getfattr -n user.cfs.sha256 small").code, 0);

    says("`user.cfs.sha256` of a file is its SHA-256, where a sync has computed it.");
    let depot = Depot::open(&sandbox.store()).unwrap();
    let blob: BlobId = attribute("blake3", "small").parse().unwrap();
    let size = fs::metadata(live.path("views/staging/small")).unwrap().len();
    let sum = sh_ok(&live.path("views/staging"), "sha256sum small | cut -d' ' -f1");
    let known = [format!("sha256:{}", sum.trim()).parse().unwrap()];
    depot.catalogue.record_blobs([(blob, size, &known[..])]).unwrap();
    assert_eq!(attribute("sha256", "small"), sum.trim());

    says("`statfs` tells the space of the file system that holds the store.");
    let figures = |path: &Path| sh_ok(path, "stat -f -c '%b %c %S %l' .");
    assert_eq!(figures(&live.path("views/staging")), figures(&sandbox.store()));
}

#[test]
fn nothing_can_be_changed() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_store();
    source(&sandbox);
    let live = mount(&sandbox, "mnt", &[]);
    says("Every attempt to write, to create, to remove, to rename or to change attributes fails with EROFS.");
    for script in [
        "echo x > small",
        "echo x >> small",
        "echo x > new",
        "mkdir new",
        "mkfifo new",
        "ln -s x new",
        "ln small new",
        "rm -f small",
        "rmdir hollow",
        "mv small other",
        "mv dir other",
        "chmod 600 small",
        "touch small",
        "truncate -s 0 small",
    ] {
        let ran = sh(&live.path("views/staging"), script);
        assert!(ran.code != 0 && ran.stderr.contains("Read-only file system"), "{script}: {ran:?}");
    }
    for script in
        ["mkdir views/new", "rmdir views/staging", "mv views/staging views/production", "rm current/staging"]
    {
        let ran = sh(&live.dir, script);
        assert!(ran.code != 0 && ran.stderr.contains("Read-only file system"), "{script}: {ran:?}");
    }
}
