//! The programs of a release, run in a workspace and on a plain copy.

use super::*;

/// A program's work: what must be installed, what it does, and whether the times it leaves are its own.
struct Job {
    needs: &'static [&'static str],
    script: &'static str,
    times: bool,
}

const fn job(needs: &'static [&'static str], script: &'static str) -> Job {
    Job { needs, script, times: false }
}

/// Runs where the release is; `$NEW` has newer packages, and a repository of them.
const JOBS: &[Job] = &[
    // Metadata anew over the old: a directory made aside, the old one renamed away, the new one renamed in.
    job(
        &["createrepo_c"],
        "cp -p $NEW/zlib-1.3* BaseOS/x86_64/os/Packages; rm BaseOS/x86_64/os/Packages/acl*
         createrepo_c -q --revision 1 --set-timestamp-to-revision BaseOS/x86_64/os
         createrepo_c -q --revision 2 --set-timestamp-to-revision BaseOS/x86_64/os",
    ),
    job(
        &["createrepo_c"],
        "cp -p $NEW/zlib-1.3* BaseOS/x86_64/os/Packages
         createrepo_c -q --update --revision 1 --set-timestamp-to-revision BaseOS/x86_64/os",
    ),
    job(
        &["createrepo_c", "modifyrepo_c"],
        "printf '<comps/>' > comps.xml; touch -d @1700000000 comps.xml
         modifyrepo_c --mdtype=group comps.xml BaseOS/x86_64/os/repodata
         sed -i -E 's,<(timestamp|revision)>[0-9]*,<\\1>,' BaseOS/x86_64/os/repodata/repomd.xml; rm comps.xml",
    ),
    job(
        &["dnf", "createrepo_c"],
        "mkdir -p $TMP/root
         dnf -q --installroot $TMP/root --releasever 40 --setopt=reposdir=/nonexistent --setopt=cachedir=$TMP/cache \\
             --disableplugin=local --nogpgcheck --repofrompath=r,file://$NEW --setopt=r.skip_if_unavailable=0 \\
             reposync --repo r --norepopath --delete -p BaseOS/x86_64/os/Packages
         test ! -e BaseOS/x86_64/os/Packages/acl-2.3-1.noarch.rpm",
    ),
    Job { needs: &["rsync"], script: "rsync -a --delete --exclude=repodata $NEW/ BaseOS/x86_64/os/Packages/", times: true },
    Job { needs: &["rsync"], script: "rsync -aH --delete --inplace $NEW/ isos/", times: true },
    job(&["hardlink"], "hardlink -c . > /dev/null; hardlink . > /dev/null"),
    job(&["sed"], "sed -i s/9.6/9.7/ BaseOS/x86_64/os/media.repo; sed -i s/00/ff/ isos/CHECKSUM isos/old/CHECKSUM"),
    Job {
        needs: &["cp"],
        script: "cp -al BaseOS BaseOS-copy; cp -al isos/old isos/new; rm -r BaseOS-copy/x86_64/os/Packages/vim*
                 touch -d @1700000000 isos BaseOS-copy/x86_64/os/Packages; cp -a --reflink=never isos archived",
        times: true,
    },
    job(&["ln"], "ln -sr isos/old/older/boot.iso BaseOS/x86_64/boot.iso; ln -sfn isos/old/older latest; ln tool tool2"),
    job(
        &["mv"],
        "mv isos images; mv images/old/older images/newest; mkdir -p a/b; mv BaseOS a/b/; mv a c
         mv c/b/BaseOS/x86_64 c/b/BaseOS/aarch64; mkdir isos; mv images/newest isos/older; mv tool isos/tool
         rmdir images/old 2>/dev/null || mv images/old images/kept; mkdir images/old; echo new > images/old/file",
    ),
    job(
        &["sh"],
        "for writer in $(seq 16); do (
             mkdir -p out/$((writer % 4)); for n in $(seq 12); do
                 echo $writer $n > out/$((writer % 4))/.$writer-$n.new; mv out/$((writer % 4))/.$writer-$n.new out/$((writer % 4))/$writer-$n
             done; echo $writer >> isos/CHECKSUM; rm -f out/$((writer % 4))/$writer-7 ) & done; wait
         LC_ALL=C sort -o isos/CHECKSUM isos/CHECKSUM",
    ),
    job(
        &["truncate", "dd"],
        "truncate -s 10 isos/old/older/boot.iso; echo more >> BaseOS/x86_64/os/media.repo; truncate -s 0 CHECKSUM
         printf xx | dd of=isos/CHECKSUM bs=1 seek=3 conv=notrunc status=none; truncate -s 5000 isos/old/CHECKSUM",
    ),
    job(
        &["rm"],
        "rm -r isos; mkdir -p isos/old; echo again > isos/old/CHECKSUM; rm -r BaseOS; rm latest; mkdir latest; rm tool; ln -s x tool
         rm CHECKSUM; mkdir CHECKSUM; rmdir CHECKSUM; mkfifo pipe; rm pipe",
    ),
    Job {
        needs: &["chmod", "touch"],
        script: "chmod a+x CHECKSUM; chmod a-x tool; chmod 600 isos/CHECKSUM; chmod u=rw,go=r isos/CHECKSUM
                 touch -d @1700000001 isos/old BaseOS/x86_64/os/media.repo; touch -h -d @1700000002 latest",
        times: true,
    },
    Job { needs: &["tar"], script: "tar cf $TMP/t.tar isos BaseOS; rm -r isos BaseOS; tar xf $TMP/t.tar", times: true },
    Job { needs: &["find"], script: "find . -name '*.rpm' -delete; find . -depth -type d -empty -delete", times: false },
];

#[test]
fn programs_leave_in_a_workspace_what_they_leave_on_ext4() {
    if !can_work() {
        return;
    }
    says(
        "createrepo_c, modifyrepo_c, `dnf reposync --delete`, `rsync -a --delete`, hardlink, `sed -i`, `cp -al`, `ln -sr`, mv \
         of directories and parallel writers leave in a workspace what they leave on ext4: the same paths, modes, contents and \
         link targets.",
    );
    says(
        "A commit reads back as the workspace showed it, with the times of files, directories and symlinks in whole seconds.",
    );
    let sandbox = release();
    let new = sandbox.path("new");
    for (name, version) in [("bash", "5.1"), ("zlib", "1.3"), ("vim", "9.1"), ("less", "6")] {
        crate::harness::packages::package(&new, name, version);
    }
    if installed("createrepo_c") {
        sh_ok(&new, "createrepo_c -q --revision 1 --set-timestamp-to-revision .");
    }
    let live = mount(&sandbox, "mnt", &[]);
    for (number, Job { needs, script, times }) in JOBS.iter().enumerate() {
        if !needs.iter().all(|program| installed(program)) {
            continue;
        }
        let work = open(&sandbox, "staging", "work", &[]);
        let plain = sandbox.path(format!("plain-{number}"));
        sandbox.ok(["checkout", "staging", plain.to_str().unwrap()]);
        for dir in [&work.dir, &plain] {
            let temporary = tempfile::tempdir().unwrap();
            let mut shell = Command::new("bash");
            shell.args(["-euc", script]).current_dir(dir).env("NEW", &new).env("TMP", temporary.path());
            let ran = ran(shell.env("LC_ALL", "C.UTF-8"));
            assert_eq!(ran.code, 0, "{script}: {ran:?}");
        }
        similar(&contents(&work.dir, *times), &contents(&plain, *times), script);

        let before = contents(&work.dir, true);
        assert_eq!(work.status().0, 1, "{script}");
        let target = format!("compose/{number}");
        assert_eq!(work.commit(&target)["changed"], true, "{script}");
        assert_eq!(work.status(), (0, Vec::new()), "{script}");
        similar(&contents(&work.dir, true), &before, script);
        // Committed, promoted, read back; where nothing was before, since a promotion keeps times that mirrors know.
        let promoted = format!("production/{number}");
        sandbox.ok(["promote", &target, &promoted]);
        similar(&contents(&live.path("views").join(&promoted), true), &before, script);
    }
    let source = contents(&sandbox.path("source"), true);
    similar(&contents(&live.path("views/staging"), true), &source, "what was opened has not changed");
}

/// Compares two texts by their lines and says which differ.
#[track_caller]
fn similar(found: &str, expected: &str, what: &str) {
    if found != expected {
        let only = |a: &str, b: &str| {
            let lines: Vec<&str> = b.lines().collect();
            a.lines()
                .filter(|line| !lines.contains(line))
                .flat_map(|line| ["  ", line, "\n"])
                .collect::<String>()
        };
        panic!("{what}\nfound\n{}instead of\n{}", only(found, expected), only(expected, found));
    }
}

#[test]
fn a_commit_reads_what_was_written_and_nothing_else() {
    if !can_work() {
        return;
    }
    let sandbox = Sandbox::with_store();
    sh_ok(
        &sandbox.path(""),
        "for d in $(seq 20); do mkdir -p source/$d; for f in $(seq 100); do echo $d $f > source/$d/$f; done; done
         find source -exec touch -d @1700000000 {} +",
    );
    sandbox.ok(["import", "source", "staging"]);
    let work = open(&sandbox, "staging", "work", &[]);
    says(
        "A commit reads the files that were written and no others; to rename, to link or to change the mode of a file is not to write it.",
    );
    let commit = |script: &str| {
        sh_ok(&work.dir, script);
        // Times right before a commit could hide a later change; such files are read again.
        std::thread::sleep(Duration::from_millis(50));
        let said = work.commit("staging");
        (said["files_read"].as_u64().unwrap(), said["changed"].as_bool().unwrap())
    };
    assert_eq!(commit("echo new > 3/new; echo more >> 4/5; sed -i s/6/7/ 5/6"), (3, true));
    assert_eq!(commit("mv 6 600; mv 7/7 8/700; ln 8/8 800; cp -al 9 900; chmod +x 10/1"), (0, true));
    let said = sandbox.run(["diff", "--stat", "staging@{1}", "staging"]);
    assert!(said.stdout.starts_with("204 added"), "{said:?}");

    says(
        "A file that was written anew with the content, the mode and the time that it had is no change, and neither is another owner.",
    );
    let same = "cp -p 11/11 /tmp/$$; rm 11/11; cp -p /tmp/$$ 11/11; rm /tmp/$$; touch -d @1700000000 11";
    assert_eq!(commit(same), (1, false));
    assert_eq!(work.status(), (0, Vec::new()));
    assert_eq!(commit("chown -R 5:5 12 13/13"), (0, false));
    assert_eq!(fs::metadata(work.path("12/1")).unwrap().uid(), 5);
    assert_eq!(work.status(), (0, Vec::new()));
    // What was read before is not read again.
    assert_eq!(commit("echo last > last"), (1, true));
}

#[test]
fn equal_files_are_changed_one_by_one() {
    if !can_work() {
        return;
    }
    let sandbox = Sandbox::with_store();
    let paths = ["a", "b", "dir/c"];
    import(&sandbox, "source", "staging", &paths.map(|path| (path, "same\n")));
    says(
        "With `--no-hardlinks` every path of a snapshot is a file of its own, with an inode number of its own.",
    );
    let live = mount(&sandbox, "mnt", &["--no-hardlinks"]);
    let numbers = sh_ok(&live.path("views/staging"), "stat -c '%i %h' a b dir/c");
    let distinct: std::collections::BTreeSet<&str> = numbers.lines().collect();
    assert!(distinct.len() == 3 && numbers.lines().all(|line| line.ends_with(" 1")), "{numbers}");
    let others: &[&[&str]] =
        if installed("fuse-overlayfs") { &[&[], &["--overlay", "fuse"]] } else { &[&[]] };
    for more in others {
        let work = open(&sandbox, "staging", "work", more);
        sh_ok(&work.dir, "cat a b dir/c; chmod 755 a; echo more >> b");
        let seen = sh_ok(&work.dir, "cat a b dir/c; stat -c %a a b dir/c");
        assert_eq!(seen, "same\nsame\nmore\nsame\n755\n644\n644\n");
        // fuse-overlayfs lets the time of a directory move when it copies a file of it.
        let (_, mut changed) = work.status();
        changed.retain(|line| line != "C ./");
        assert_eq!(changed, ["C a", "C b"]);
    }
}

#[test]
fn very_long_paths_are_not_linked() {
    if !can_work() {
        return;
    }
    let sandbox = Sandbox::with_store();
    let long = ["long".repeat(25).as_str(); 3].join("/");
    import(&sandbox, "source", "staging", &[(&format!("{long}/file"), "content")]);
    let work = open(&sandbox, "staging", "work", &[]);
    says(
        "A file whose path in the snapshot is longer than 255 bytes cannot be linked in a workspace of the kernel (EXDEV, as between \
         two file systems); a directory of such a path is copied by mv.",
    );
    let error = fs::hard_link(work.path(&long).join("file"), work.path("link")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::XDEV.raw_os_error()));
    sh_ok(&work.dir, &format!("mv {long}/file short; mv {long} moved; mv short moved/back"));
    work.commit("staging");
    assert_eq!(sandbox.ok(["cat", "staging:moved/back"]), "content");
}

#[test]
fn a_workspace_has_no_attributes_that_could_be_wrong() {
    if !can_work() || !installed("getfattr") {
        return;
    }
    let sandbox = release();
    let work = open(&sandbox, "staging", "work", &[]);
    says("A workspace has no extended attributes `user.cfs.*`: they would not change with what is written.");
    sh_ok(&work.dir, "cp -a isos copy; echo more >> tool");
    let listed = sh(&work.dir, "getfattr -R -d -m - .");
    assert!(!listed.stdout.contains("user."), "{listed:?}");
    let asked = sh(&work.dir, "getfattr -n user.cfs.blake3 CHECKSUM");
    assert!(asked.code != 0, "{asked:?}");
    // Others can be set.
    sh_ok(&work.dir, "setfattr -n user.own -v 1 tool; getfattr --only-values -n user.own tool");
}

#[test]
fn what_is_only_named_is_not_read() {
    if !can_work() {
        return;
    }
    let sandbox = release();
    let boot = "isos/old/older/boot.iso";
    let line = &sandbox.json(["ls", &format!("staging:{boot}")])[0];
    let id = line["blob"].as_str().unwrap();
    let blob = sandbox.store().join("blobs").join(&id[..2]).join(&id[2..]);
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o644)).unwrap();
    let work = open(&sandbox, "staging", "work", &[]);
    says(
        "To link, to rename or to change the mode or the time of a file of the snapshot opens nothing of its content.",
    );
    // Whoever opened it would meet the damage.
    fs::write(&blob, vec![8; 100_000]).unwrap();
    sh_ok(
        &work.dir,
        &format!("ln {boot} one; ln one two; mv {boot} three; chmod 755 two; touch -d @1700000000 three"),
    );
    for name in ["one", "two", "three"] {
        let error = fs::read(work.path(name)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()), "{name}: {error}");
    }
    fs::write(&blob, vec![7; 100_000]).unwrap();
    for name in ["one", "two", "three"] {
        assert!(fs::read(work.path(name)).unwrap() == vec![7; 100_000], "{name}");
    }
    work.commit("staging");
    assert_eq!(sandbox.ok(["ls", "-R", "staging"]).matches("boot.iso").count(), 0);
}

#[test]
fn the_kinds_of_files_that_a_tree_cannot_hold_are_refused() {
    if !can_work() {
        return;
    }
    let sandbox = release();
    let work = open(&sandbox, "staging", "work", &[]);
    says(
        "Devices, sockets, named pipes and names that a tree cannot hold are refused by a commit, all of them in one list, and nothing is committed.",
    );
    sh_ok(
        &work.dir,
        "mkfifo isos/pipe; mknod device c 1 3; echo > 'new\nline'; echo > \"$(printf 'tab\\tbed')\"; echo > \"$(printf 'bad\\377')\"; echo good > good",
    );
    let _socket = std::os::unix::net::UnixListener::bind(work.path("socket")).unwrap();
    assert!(fs::symlink_metadata(work.path("socket")).unwrap().file_type().is_socket());
    let error = sandbox.fails(1, ["work", "commit", "work", "staging"]);
    let dir = work.dir.display();
    for refused in [
        format!("{dir}/isos/pipe is a named pipe"),
        format!("{dir}/device is a device"),
        format!("{dir}/socket is a socket"),
        "its name is not UTF-8".to_owned(),
    ] {
        assert!(error.contains(&refused), "{error}");
    }
    assert!(
        error.contains("6 entries") && error.contains("new\\nline") && error.contains("tab\\tbed"),
        "{error}"
    );
    assert_eq!(sandbox.json(["log", "staging"]).len(), 1);
    sh_ok(
        &work.dir,
        "rm isos/pipe device socket 'new\nline' \"$(printf 'tab\\tbed')\" \"$(printf 'bad\\377')\"",
    );
    work.commit("staging");
    assert_eq!(sandbox.ok(["cat", "staging:good"]), "good\n");
}

#[test]
fn the_kernel_copies_nothing_from_the_snapshot_by_itself() {
    if !can_work() {
        return;
    }
    let sandbox = release();
    let work = open(&sandbox, "staging", "work", &[]);
    says(
        "copy_file_range from a file of the snapshot may fail with EXDEV, as between two file systems; cp and others read and write then.",
    );
    let (from, to) = (
        fs::File::open(work.path("isos/old/older/boot.iso")).unwrap(),
        fs::File::create(work.path("to")).unwrap(),
    );
    match rustix::fs::copy_file_range(&from, None, &to, None, 100_000) {
        Ok(copied) => assert!(fs::read(work.path("to")).unwrap() == vec![7; copied]),
        Err(errno) => assert_eq!(errno, rustix::io::Errno::XDEV),
    }
    sh_ok(&work.dir, "cp --reflink=auto isos/old/older/boot.iso to; cmp isos/old/older/boot.iso to");
}

#[test]
fn a_commit_keeps_the_modes_that_a_tree_has() {
    if !can_work() {
        return;
    }
    let sandbox = release();
    let work = open(&sandbox, "staging", "work", &[]);
    says(
        "Of a mode a commit keeps whether the owner may execute the file; what else a view shows is a matter of its policy.",
    );
    sh_ok(
        &work.dir,
        "chmod 600 CHECKSUM; chmod 711 isos/CHECKSUM; chmod 700 isos; echo > private; chmod 400 private",
    );
    assert_eq!(work.status(), (1, ["C isos/CHECKSUM", "A private", "C ./"].map(str::to_owned).to_vec()));
    work.commit("staging");
    sandbox.ok(["checkout", "staging", "out"]);
    let modes = "stat -c '%a %n' CHECKSUM isos/CHECKSUM isos private";
    let expected = "644 CHECKSUM\n755 isos/CHECKSUM\n755 isos\n644 private\n";
    assert_eq!(sh_ok(&sandbox.path("out"), modes), expected);
}
