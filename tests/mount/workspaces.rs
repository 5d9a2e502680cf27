//! Workspaces: what programs do in one is what they do on ext4, and a commit brings exactly that.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use super::*;

mod life;
mod programs;
mod random;
mod users;

/// A workspace that is gone at the end of the test, however that ends.
struct Work<'a> {
    sandbox: &'a Sandbox,
    dir: PathBuf,
    name: String,
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        let _ = self.sandbox.run(["work", "discard", "--lazy", &self.name]);
    }
}

impl Work<'_> {
    /// What `cfs work status` prints and its exit status.
    fn status(&self) -> (i32, Vec<String>) {
        let ran = self.sandbox.run(["work", "status", &self.name]);
        assert!(ran.stderr.is_empty(), "{ran:?}");
        (ran.code, ran.stdout.lines().map(str::to_owned).collect())
    }

    /// Commits to `target` and returns what `--json` says.
    #[track_caller]
    fn commit(&self, target: &str) -> serde_json::Value {
        self.sandbox.json(["work", "commit", &self.name, target]).remove(0)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Where the mount below it is.
    fn lower(&self) -> PathBuf {
        let found = fs::read_dir(self.sandbox.store().join("work")).unwrap();
        let homes: Vec<_> = found.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
        assert_eq!(homes.len(), 1, "one workspace");
        homes[0].join("lower")
    }

    /// The process that serves the mount below.
    fn daemon(&self) -> Pid {
        let mount = cfs_fs::mounts::find(&self.lower()).unwrap().unwrap();
        Pid::from_raw(mount.process().unwrap()).unwrap()
    }
}

/// Opens `source` at `name`, with more arguments for `cfs work open`.
#[track_caller]
fn open<'a>(sandbox: &'a Sandbox, source: &str, name: &str, more: &[&str]) -> Work<'a> {
    let dir = sandbox.path(name);
    let _ = fs::create_dir(&dir);
    let work = Work { sandbox, dir, name: name.to_owned() };
    sandbox.ok(["work", "open", source, name].into_iter().chain(more.iter().copied()));
    work
}

/// Whether this host mounts overlays; says so when not.
pub fn can_work() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: the kernel mounts overlays for root");
    }
    let known = fs::read_to_string("/proc/filesystems").unwrap().contains("\toverlay\n")
        || ran(Command::new("modprobe").arg("overlay")).code == 0;
    if !known {
        eprintln!("skipped: the kernel has no overlayfs");
    }
    root && known && can_mount()
}

/// Everything below a directory: kinds, modes, sizes, link targets, with times if wanted, and contents by their checksums.
#[track_caller]
pub fn contents(dir: &Path, times: bool) -> String {
    let time = if times { " %Ts" } else { "" };
    let script = format!(
        r"find . -mindepth 1 -type d -printf '%P %y %m{time}\n' -o -mindepth 1 -type l -printf '%P %y %l{time}\n' \
              -o -mindepth 1 -printf '%P %y %m %s{time}\n' | LC_ALL=C sort
          find . -type f -exec sha256sum {{}} + | LC_ALL=C sort"
    );
    sh_ok(dir, &script)
}

/// A store with a small release of real packages in the ref `staging`, with metadata where `createrepo_c` is installed.
pub fn release() -> Sandbox {
    let sandbox = Sandbox::with_store();
    let os = sandbox.path("source/BaseOS/x86_64/os");
    for (name, version) in [("bash", "5.1"), ("zlib", "1.2"), ("acl", "2.3"), ("vim", "9.0")] {
        crate::harness::packages::package(&os.join("Packages"), name, version);
    }
    fs::write(os.join("media.repo"), "[InstallMedia]\nname=Rocky Linux 9.6\n").unwrap();
    fs::create_dir_all(sandbox.path("source/isos/old/older")).unwrap();
    fs::write(sandbox.path("source/isos/old/older/boot.iso"), vec![7; 100_000]).unwrap();
    // Equal content under several names, as in a release.
    for copy in ["isos/CHECKSUM", "isos/old/CHECKSUM", "CHECKSUM"] {
        fs::write(sandbox.path("source").join(copy), "SHA256 (boot.iso) = 00\n").unwrap();
    }
    fs::write(sandbox.path("source/tool"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(sandbox.path("source/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("isos/old", sandbox.path("source/latest")).unwrap();
    if installed("createrepo_c") {
        let args = "-q --revision 1 --set-timestamp-to-revision .";
        sh_ok(&os, &format!("LC_ALL=C createrepo_c {args}"));
    }
    let source = sandbox.path("source");
    sh_ok(&source, "find . -exec touch -h -d '2024-05-01 12:00:00 UTC' {} +; chmod -R u=rwX,go=rX .");
    sandbox.ok(["import", "source", "staging"]);
    sandbox
}
