//! Programs that build and serve releases read a mount as they read ext4.

use std::fmt::Write;
use std::process::Stdio;

use super::workspaces::{contents, release};
use super::*;
use crate::mirrors::{Server, free_port, wait_for};

/// Writes an image of everything below `tree` as Pungi does: the dialog of xorriso, one `-map` a file.
fn image(tree: &Path, image: &Path) {
    let files = sh_ok(tree, r"find . -type f -printf '%P\n' -o -type l -printf '%P\n' | LC_ALL=C sort");
    let mut dialog = format!("-outdev 'stdio:{}'\n-volid 'Rocky-9-6'\n-rockridge on\n", image.display());
    for file in files.lines() {
        writeln!(dialog, "-map '{}/{file}' '/{file}'", tree.display()).unwrap();
    }
    dialog += "-end\n";
    let script = image.with_extension("dialog");
    fs::write(&script, &dialog).unwrap();
    let mut command = Command::new("xorriso");
    command.args(["-dialog", "on"]).stdin(fs::File::open(&script).unwrap());
    command.env("SOURCE_DATE_EPOCH", "1700000000").env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    let made = ran(&mut command);
    assert!(made.code == 0 && image.exists(), "{made:?}");
}

/// Extracts an image.
fn extract(image: &Path, dir: &Path) {
    let mut command = Command::new("xorriso");
    command.args(["-osirrox", "on", "-indev"]).arg(image).args(["-extract", "/"]).arg(dir);
    let extracted = ran(&mut command);
    assert_eq!(extracted.code, 0, "{extracted:?}");
    sh_ok(dir, "chmod -R u+w .");
}

#[test]
fn the_same_tree_gives_the_same_dvd() {
    if !can_mount() || !installed("xorriso") {
        return;
    }
    says(
        "The same tree gives the same DVD, byte for byte, from mounts of different stores, when SOURCE_DATE_EPOCH is set: xorriso \
         lays files out in the order of their inode numbers.",
    );
    let (one, two) = (release(), Sandbox::with_store());
    // The other store has it from a copy whose files were made in another order.
    let script = r#"mkdir ../copy; find . ! -type d | sort -r | while read -r name; do cp -a --parents "$name" ../copy; done
        find . -depth -type d -exec mkdir -p ../copy/{} \; -exec touch -r {} ../copy/{} \;"#;
    sh_ok(&one.path("source"), script);
    two.ok(["import", one.path("copy").to_str().unwrap(), "staging"]);
    assert_eq!(one.run(["ls", "-lR", "staging"]).stdout, two.run(["ls", "-lR", "staging"]).stdout);
    let lives = [mount(&one, "mnt", &[]), mount(&two, "mnt", &[])];
    let images = [one.path("one.iso"), two.path("two.iso")];
    for (live, image_path) in lives.iter().zip(&images) {
        image(&live.path("current/staging").canonicalize().unwrap(), image_path);
    }
    let same = ran(Command::new("cmp").args(&images));
    assert_eq!(same.code, 0, "{same:?}");
    // And it holds what was mapped.
    let out = one.path("out");
    extract(&images[0], &out);
    let sums = "find . -type f -exec sha256sum {} + | LC_ALL=C sort";
    assert_eq!(sh_ok(&out, sums), sh_ok(&one.path("source"), sums));
}

#[test]
fn createrepo_reads_a_mount_as_a_directory() {
    if !can_mount() || !installed("createrepo_c") {
        return;
    }
    says(
        "createrepo_c, xorriso, bind mounts such as mock's, nginx with sendfile, and rsyncd with chroot and without read a mount as ext4.",
    );
    let sandbox = release();
    let live = mount(&sandbox, "mnt", &[]);
    let made = |tree: &Path, out: &str| {
        let out = sandbox.path(out);
        fs::create_dir(&out).unwrap();
        let args = ["-q", "--revision", "1", "--set-timestamp-to-revision", "--workers", "3", "-o"];
        let mut command = Command::new("createrepo_c");
        let ran = ran(command.args(args).arg(&out).arg(tree).env("LC_ALL", "C"));
        assert_eq!(ran.code, 0, "{ran:?}");
        contents(&out, false)
    };
    let os = "BaseOS/x86_64/os";
    let plain = made(&sandbox.path("source").join(os), "plain");
    assert_eq!(made(&live.path("views/staging").join(os), "view"), plain);
    // With the old metadata at hand nothing is read but attributes.
    let update = format!(
        "createrepo_c -q --update --skip-stat --update-md-path {} -o . {}",
        live.path("views/staging").join(os).display(),
        live.path("current/staging").join(os).display()
    );
    fs::create_dir(sandbox.path("update")).unwrap();
    sh_ok(&sandbox.path("update"), &update);
}

#[test]
fn a_directory_is_bound_into_a_build_root() {
    if !can_mount() || !installed("unshare") || !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: bind mounts need root and unshare");
    }
    let sandbox = release();
    import(&sandbox, "other", "next", &[("BaseOS/file", "new")]);
    let live = mount(&sandbox, "mnt", &[]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-euc"]).arg(
        r#"mkdir -p root/repo; mount --bind "$VIEW/BaseOS" root/repo; mount -o remount,bind,ro,nosuid root/repo
           diff -r root/repo source/BaseOS
           touch root/repo/file 2> error && exit 9; grep -q 'Read-only' error
           cd root/repo; "$CFS" promote next staging > /dev/null; diff -r . "$OLDPWD/source/BaseOS"; cd "$OLDPWD"
           diff -r root/repo source/BaseOS; cat "$VIEW/BaseOS/file"; umount root/repo; test -z "$(ls root/repo)""#,
    );
    command.current_dir(sandbox.path("")).env("VIEW", live.path("views/staging"));
    command.env("CFS", env!("CARGO_BIN_EXE_cfs")).env("CFS_STORE", sandbox.store()).env("LC_ALL", "C");
    let ran = ran(&mut command);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "new"), "{ran:?}");
}

#[test]
fn nginx_sends_files_of_a_mount() {
    if !can_mount() || !installed("nginx") || !installed("curl") {
        return;
    }
    let sandbox = release();
    let live = mount(&sandbox, "mnt", &[]);
    let (port, dir) = (free_port(), sandbox.path(""));
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .flat_map(|name| [*name, "_temp_path ", dir.to_str().unwrap(), "/nginx-", *name, "; "])
        .collect();
    let config = format!(
        "daemon off; master_process off; pid {0}/nginx.pid; error_log {0}/nginx.log; {user} worker_processes 1; events {{}}
         http {{ access_log off; sendfile on; tcp_nopush on; sendfile_max_chunk 64k; {temporary}
         server {{ listen 127.0.0.1:{port}; root {1}; autoindex on; }} }}",
        dir.display(),
        live.path("views/staging").display(),
    );
    let config = sandbox.write("nginx.conf", config);
    let mut command = Command::new("nginx");
    let child = command.args(["-e", "stderr", "-c"]).arg(config).stderr(Stdio::null()).spawn().unwrap();
    let server = Server(child);
    wait_for(port);
    let source = sandbox.path("source");
    let files = sh_ok(&source, r"find . -type f -printf '%P\n'");
    let mut got = 0;
    for file in files.lines() {
        let url = format!("http://127.0.0.1:{port}/{}", file.replace('+', "%2B"));
        let sent = Command::new("curl").args(["-sf", &url]).output().unwrap();
        assert!(sent.status.success() && sent.stdout == fs::read(source.join(file)).unwrap(), "{file}");
        got += 1;
    }
    assert!(got > 8, "{got} files");
    let iso = format!("http://127.0.0.1:{port}/isos/old/older/boot.iso");
    let rest = Command::new("curl").args(["-sf", "-r", "70000-", &iso]).output().unwrap();
    assert_eq!(rest.stdout, vec![7; 30_000]);
    drop(server);
}

#[test]
fn rsyncd_serves_views_and_snapshots_with_and_without_chroot() {
    if !can_mount() || !installed("rsync") {
        return;
    }
    let sandbox = release();
    let live = mount(&sandbox, "mnt", &[]);
    let port = free_port();
    let mut config = format!("read only = yes\nlog file = {}\n", sandbox.path("rsyncd.log").display());
    let root = rustix::process::geteuid().is_root();
    let chroots: &[&str] = if root { &["yes", "no"] } else { &["no"] };
    for chroot in chroots {
        for place in ["views", "current"] {
            let path = live.path(place).join("staging");
            writeln!(config, "[{place}-{chroot}]\npath = {}\nuse chroot = {chroot}", path.display()).unwrap();
            if root {
                config += "uid = nobody\ngid = nogroup\n";
            }
        }
    }
    if !sh(Path::new("/"), "getent group nogroup").stdout.is_empty() || !root {
        let config = sandbox.write("rsyncd.conf", config);
        let mut command = Command::new("rsync");
        command.args([
            "--daemon",
            "--no-detach",
            "--address=127.0.0.1",
            &format!("--port={port}"),
            "--config",
        ]);
        let _server = Server(command.arg(config).stdin(Stdio::null()).spawn().unwrap());
        wait_for(port);
        let expected = contents(&sandbox.path("source"), true);
        for chroot in chroots {
            for place in ["views", "current"] {
                let out = sandbox.path(format!("out-{place}-{chroot}"));
                let url = format!("rsync://127.0.0.1:{port}/{place}-{chroot}/");
                let pulled = ran(Command::new("rsync").args(["-a", &url]).arg(&out));
                assert_eq!(pulled.code, 0, "{url}: {pulled:?}");
                assert_eq!(contents(&out, true), expected, "{url}");
            }
        }
    } else {
        eprintln!("skipped: there is no group nogroup");
    }
}

#[test]
fn nfs_is_refused() {
    if !can_mount() || !installed("python3") {
        return;
    }
    says(
        "The kernel's NFS server does not export a mount (kernel 6.9 or later): its handles would have to name directories beyond the \
         life of the process that serves the mount.",
    );
    let sandbox = release();
    let live = mount(&sandbox, "mnt", &[]);
    // What an NFS server asks the kernel for: a handle that outlives the file's being open. 95 is EOPNOTSUPP.
    let script = r"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
class Handle(ctypes.Structure):
    _fields_ = [('bytes', ctypes.c_uint), ('type', ctypes.c_int), ('handle', ctypes.c_char * 128)]
for path in sys.argv[1:]:
    handle, mount = Handle(128), ctypes.c_int()
    done = libc.name_to_handle_at(-100, path.encode(), ctypes.byref(handle), ctypes.byref(mount), 0)
    print(done, ctypes.get_errno())
";
    let (file, dir) = (live.path("views/staging/CHECKSUM"), live.path("views/staging/isos"));
    let mut command = Command::new("python3");
    let asked = ran(command.args(["-c", script]).arg(&file).arg(&dir).arg(sandbox.path("source")));
    let (mut version, release) = ((0, 0), fs::read_to_string("/proc/sys/kernel/osrelease").unwrap());
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    if let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) {
        version = (major, minor);
    }
    if version < (6, 9) {
        return eprintln!("skipped: kernel {version:?} cannot be told to give no handles");
    }
    assert!(asked.stdout.starts_with("-1 95\n-1 95\n"), "{asked:?}");
    if !Path::new("/proc/fs/nfsd/versions").exists() || !installed("exportfs") {
        return eprintln!("skipped: no NFS server in this kernel");
    }
    let export = format!("127.0.0.1:{}", live.dir.display());
    let refused = ran(Command::new("exportfs").args(["-o", "fsid=4711,ro", &export]));
    let _ = Command::new("exportfs").args(["-u", &export]).output();
    assert!(refused.stderr.contains("does not support NFS export"), "{refused:?}");
}
