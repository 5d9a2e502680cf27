//! `cargo bench --bench work [-- PART…] [--quick]`: workspaces against ext4 and against a plain overlay on ext4.
//!
//! Parts: link (`cp -al` of 10,000 files, a walk, and the way back), commit (ten changes in trees of two sizes). Every figure
//! is a median of three in one run. Root is needed. `--quick` uses a tenth of the files.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops when it cannot go on"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const FILES_PER_DIR: usize = 250;

fn main() {
    #[expect(clippy::disallowed_methods, reason = "a benchmark works where it is told to")]
    let base = std::env::var("CFS_BENCH_DIR").map_or_else(|_| std::env::temp_dir(), PathBuf::from);
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let part = if args.iter().any(|arg| arg == "--quick") { 10 } else { 1 };
    let parts: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let wanted = |name: &str| parts.is_empty() || parts.iter().any(|arg| *arg == name);
    if !rustix::process::geteuid().is_root() {
        return println!("nothing measured: overlays are mounted by root");
    }
    let temp = tempfile::Builder::new().prefix("cfs-bench-").tempdir_in(base).unwrap();
    let bench = Bench { dir: temp.path().to_owned() };
    println!("in {}", bench.dir.display());
    bench.shell("mkdir tree work mnt; \"$CFS\" init");
    if wanted("link") {
        bench.link(10_000 / part);
    }
    if wanted("commit") {
        bench.commit(1_000 / part);
        bench.commit(100_000 / part);
    }
}

/// A directory with a store and empty directories `tree`, `work` and `mnt`.
struct Bench {
    dir: PathBuf,
}

impl Bench {
    /// Runs a script in the directory and tells its time.
    fn shell(&self, script: &str) -> Duration {
        let mut command = Command::new("bash");
        command.args(["-euc", script]).current_dir(&self.dir).stdout(Stdio::null());
        command.env("CFS", env!("CARGO_BIN_EXE_cfs")).env("CFS_STORE", self.dir.join("store"));
        let started = Instant::now();
        let status = command.status().unwrap();
        let time = started.elapsed();
        assert!(status.success(), "{script}: {status}");
        time
    }

    /// Makes a tree of small files, and a ref of it.
    fn tree(&self, name: &str, files: usize) {
        let top = self.dir.join("tree").join(name);
        for number in 0..files {
            let dir = top.join(format!("d{:05}", number / FILES_PER_DIR));
            if number % FILES_PER_DIR == 0 {
                fs::create_dir_all(&dir).unwrap();
            }
            let content = format!("package {number}\n").repeat(8);
            fs::write(dir.join(format!("package-{number:07}-1.0-1.el9.x86_64.rpm")), content).unwrap();
        }
        self.shell(&format!("\"$CFS\" -q import tree/{name} {name}; sync"));
    }

    /// A copy by hard links, which an overlay has to copy up.
    fn link(&self, files: usize) {
        self.tree("link", files);
        println!("\n{files} files: first `find -ls`, `cp -al`, what removes the copy");
        let overlay = "mkdir upper upperwork; mount -t overlay -o redirect_dir=on,metacopy=on,index=off,\
                       lowerdir=$PWD/tree,upperdir=$PWD/upper,workdir=$PWD/upperwork bench mnt";
        let ways = [
            ("ext4", "true", "tree/link", "tree/copy", "rm -r tree/copy"),
            ("overlay on ext4", overlay, "mnt/link", "mnt/copy", "umount mnt; rm -r upper upperwork"),
            ("workspace", "\"$CFS\" work open link work", "work", "work/copy", "\"$CFS\" work discard work"),
        ];
        let mut times = vec![Vec::new(); ways.len()];
        for _ in 0..3 {
            for (number, (_, open, from, to, close)) in ways.iter().enumerate() {
                self.shell(&format!("sync; {open}"));
                let walk = self.shell(&format!("find {from} -ls"));
                let copy = self.shell(&format!("mkdir {to}; cp -al {from}/d* {to}/"));
                times[number].push([walk, copy, self.shell(close)]);
            }
        }
        let medians: Vec<[Duration; 3]> = times.iter().map(|of| medians(of)).collect();
        for ((name, ..), of) in ways.iter().zip(&medians) {
            let [walk, copy, remove] = of;
            let [w, c, r] = [0, 1, 2].map(|step| of[step].as_secs_f64() / medians[1][step].as_secs_f64());
            println!(
                "  {name:<16} {walk:>10.1?} {copy:>10.1?} {remove:>10.1?}   to the overlay {w:.2} {c:.2} {r:.2}"
            );
        }
    }

    /// Ten changes in a tree of so many files.
    fn commit(&self, files: usize) {
        let name = format!("commit-{files}");
        self.tree(&name, files);
        self.shell(&format!("\"$CFS\" work open {name} work"));
        let mut times = Vec::new();
        for round in 0..3 {
            let script = format!(
                "cd work/d00001; for n in $(seq 7); do echo {round} $n > new-$n; done; mv new-1 new-x-{round}; \
                 f=$(ls | sed -n 9p); echo more >> $f; mv $(ls | sed -n 20p) x-{round}; sleep 0.1"
            );
            self.shell(&script);
            let status = self.shell("\"$CFS\" work status work || test $? = 1");
            let commit = self.shell(&format!("\"$CFS\" work commit work {name}"));
            times.push([status, commit]);
        }
        let [status, commit] = medians(&times);
        println!("\n{files} files, ten changes: status {status:.1?}, commit {commit:.1?}");
        self.shell("\"$CFS\" work discard work");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // What a failure left.
        for dir in ["mnt", "work"] {
            unmount(&self.dir.join(dir));
        }
        for home in fs::read_dir(self.dir.join("store/work")).into_iter().flatten().flatten() {
            unmount(&home.path().join("lower"));
        }
    }
}

fn unmount(dir: &Path) {
    let _ = rustix::mount::unmount(dir, rustix::mount::UnmountFlags::DETACH);
}

/// The median of every step.
fn medians<const N: usize>(times: &[[Duration; N]]) -> [Duration; N] {
    std::array::from_fn(|step| {
        let mut of: Vec<Duration> = times.iter().map(|round| round[step]).collect();
        of.sort();
        of[of.len() / 2]
    })
}
