//! `cargo bench --bench view [-- PART…] [--quick]`: a mount against ext4 on the same files, in the same run.
//!
//! Every line is a ratio of times (1 is as fast as ext4, less is faster) with its aim. Parts: lookup, walk,
//! flip, read, small, million. `--quick` uses a tenth of the files. Root sees more: caches are dropped, and files
//! pass through.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_possible_wrap,
    reason = "a benchmark prints, and stops when it cannot go on"
)]

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cfs_fs::bell;
use cfs_fs::digest::BlobId;
use cfs_fs::name::Name;
use cfs_fs::tree::{Entry, Item, Kind, NodeMap, Stage};
use cfs_indexer::catalogue::{CatalogueError, Draft, Signer, Taken};
use cfs_indexer::config::Config;
use cfs_indexer::depot::Depot;
use cfs_indexer::promote;

const FILES_PER_DIR: usize = 250;
const MTIME: i64 = 1_700_000_000;

fn main() {
    #[expect(clippy::disallowed_methods, reason = "a benchmark works where it is told to")]
    let base = std::env::var("CFS_BENCH_DIR").map_or_else(|_| std::env::temp_dir(), PathBuf::from);
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let part = if args.iter().any(|arg| arg == "--quick") { 10 } else { 1 };
    let parts: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let wanted = |name: &str| parts.is_empty() || parts.iter().any(|arg| *arg == name);
    let temp = tempfile::Builder::new().prefix("cfs-bench-").tempdir_in(base).unwrap();
    println!("in {}", temp.path().display());
    let dir = |name: &str| temp.path().join(name);
    if wanted("lookup") {
        lookup(&dir("lookup"));
    }
    if wanted("walk") {
        walk(&dir("walk"), 500_000 / part);
    }
    if wanted("flip") {
        flip(&dir("flip"), 500_000 / part);
    }
    if wanted("read") {
        read(&dir("read"), (2 << 30) / part as u64);
    }
    if wanted("small") {
        small(&dir("small"), 100_000 / part);
    }
    if wanted("million") {
        million(&dir("million"), 1_000_000 / part);
    }
}

/// What one question costs, by the way it comes.
fn lookup(dir: &Path) {
    let files = 4_000;
    sketch(&dir.join("store"), files);
    let ext4 = dir.join("ext4");
    fs::create_dir(&ext4).unwrap();
    println!("\nlookup of {files} names that the kernel does not know, median (ext4 {:?})", absent(&ext4));
    for (name, args) in [
        ("io_uring", &["--transport", "uring"][..]),
        ("/dev/fuse, 2 threads", &["--transport", "dev", "--threads", "2"]),
        ("/dev/fuse, 1 thread", &["--transport", "dev", "--threads", "1"]),
    ] {
        let Some(mount) = Mount::try_new(dir, args) else {
            println!("  {name}: this host does not have it");
            continue;
        };
        let view = mount.view();
        let there = median(&(0..files).map(|n| stat(&view.join(path(n)))).collect::<Vec<_>>());
        println!(
            "  {name}: found {there:?}, absent {:?} (aim of io_uring 15 µs)",
            absent(&view.join("d00000"))
        );
    }
    fs::remove_dir_all(dir).unwrap();
}

/// The median time of a lookup that finds nothing, of names never asked for before.
fn absent(dir: &Path) -> Duration {
    median(&(0..4_000).map(|n| stat(&dir.join(format!("absent-{n}")))).collect::<Vec<_>>())
}

fn stat(path: &Path) -> Duration {
    let started = Instant::now();
    let _ = fs::symlink_metadata(path);
    started.elapsed()
}

/// Programs that walk a tree.
fn walk(dir: &Path, files: usize) {
    println!("\nwalk: {files} files in {} directories", files / FILES_PER_DIR);
    sketch(&dir.join("store"), files);
    let ext4 = dir.join("ext4");
    for number in 0..files {
        let path = ext4.join(path(number));
        if number % FILES_PER_DIR == 0 {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        File::create(path).unwrap();
    }
    let find = |dir: &Path| time(|| run(Command::new("find").arg(dir).stdout(Stdio::null())));
    let ls = |dir: &Path| time(|| run(Command::new("find").arg(dir).arg("-ls").stdout(Stdio::null())));
    let stats = |dir: &Path| {
        time(|| {
            (0..files).for_each(|n| {
                stat(&dir.join(path(n)));
            });
        })
    };
    let dropped = drop_caches("2").then(|| ls(&ext4));
    ls(&ext4);
    let (find_0, ls_0, stat_0) = (of3(|| find(&ext4)), of3(|| ls(&ext4)), of3(|| stats(&ext4)));
    let mount = Mount::new(dir, &[]);
    let view = mount.view();
    let first = ls(&view);
    line("first find -ls, of warm ext4", first, ls_0, 1.8);
    if let Some(dropped) = dropped {
        line("first find -ls, of ext4 with dropped inodes", first, dropped, 1.0);
    }
    line("second find", of3(|| find(&view)), find_0, 0.7);
    line("second find -ls", of3(|| ls(&view)), ls_0, 1.0);
    line("stat of every path", of3(|| stats(&view)), stat_0, 1.0);
    drop(mount);
    let mount = Mount::new(dir, &[]);
    first_find(find(&mount.view()), find_0);
    let rsync = |from: &Path| {
        let mut command = Command::new("rsync");
        // Nothing is compared but what a listing tells, and nothing is written.
        command
            .args(["-an", "--size-only"])
            .arg(from.join(""))
            .arg(dir.join("nowhere/"))
            .stdout(Stdio::null());
        time(|| run(&mut command))
    };
    let _ = rsync(&ext4);
    let rsync_0 = of3(|| rsync(&ext4));
    let _ = rsync(&mount.view());
    line("rsync -an, second", of3(|| rsync(&mount.view())), rsync_0, 1.1);
    drop(mount);
    fs::remove_dir_all(dir).unwrap();
}

fn first_find(took: Duration, ext4: Duration) {
    println!("  first find {:.2} (no aim) {took:?}, ext4 {ext4:?}", ratio(took, ext4));
}

/// How long a flip takes until everybody sees it, while the kernel remembers the whole view.
fn flip(dir: &Path, files: usize) {
    const FLIPS: usize = 200;
    println!("\nflip: of {files} files one in a hundred directories changes, {FLIPS} flips");
    let store = dir.join("store");
    sketch(&store, files);
    let depot = Depot::open(&store).unwrap();
    (0..2).for_each(|version| grow(&depot, &format!("compose/{version}"), files, version));
    let mount = Mount::new(dir, &[]);
    let view = dir.join("mnt/views/x");
    let remember = || run(Command::new("find").arg(&view).arg("-ls").stdout(Stdio::null()));
    for (name, readers) in [("idle", 0), ("under load", 2)] {
        let is_done = AtomicBool::new(false);
        let times: Vec<(Duration, Duration)> = std::thread::scope(|scope| {
            for reader in 0..readers {
                let (view, is_done) = (&view, &is_done);
                scope.spawn(move || load(view, reader, is_done));
            }
            let times = (0..FLIPS).map(|number| {
                if number % 20 == 0 {
                    remember();
                }
                flip_once(&depot, &view, number)
            });
            let times = times.collect();
            is_done.store(true, Ordering::Relaxed);
            times
        });
        let (rung, seen): (Vec<Duration>, Vec<Duration>) = times.into_iter().unzip();
        for (what, mut times) in [("shown by the mount", rung), ("seen by a path (aim 5 ms)", seen)] {
            times.sort();
            let [middle, late, last] = [FLIPS / 2, FLIPS * 99 / 100, FLIPS - 1].map(|at| times[at]);
            println!("  {what} after the commit, {name}: median {middle:?}, p99 {late:?}, slowest {last:?}");
        }
        println!("  the kernel holds {} inodes", mount.stat("inodes"));
    }
    drop(mount);
    fs::remove_dir_all(dir).unwrap();
}

/// Walks the view, or asks for names that are not there, again and again.
fn load(view: &Path, reader: usize, is_done: &AtomicBool) {
    let mut number = 0;
    while !is_done.load(Ordering::Relaxed) {
        if reader == 0 {
            // A directory that changes now and then may be gone while it is read.
            let _ = Command::new("find")
                .arg(view)
                .arg("-ls")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        } else {
            stat(&view.join(format!("d00001/none-{number}")));
            number += 1;
        }
    }
}

/// Lets `x` become the other version; the times from the commit until the mount says that it shows it, and until
/// a path does.
fn flip_once(depot: &Depot, view: &Path, number: usize) -> (Duration, Duration) {
    let version = (number + 1) % 2;
    let mark = view.join(path(0));
    let step = promote::Step::plain(format!("compose/{version}").parse().unwrap(), "x".parse().unwrap());
    let request = promote::Request { steps: vec![step], ..promote::Request::default() };
    let now = MTIME + number as i64;
    let signer = Signer { actor: "bench".into(), tool: "bench".into(), now };
    promote::apply(depot, &Config::default(), &request, &signer).unwrap();
    let committed = Instant::now();
    let silent = bell::ring(&depot.store.run_dir(), Duration::from_mins(1)).unwrap();
    let rung = committed.elapsed();
    assert!(silent.is_empty(), "{silent:?}");
    assert_eq!(fs::symlink_metadata(&mark).unwrap().len(), 8 + version as u64);
    (rung, committed.elapsed())
}

/// A large file.
fn read(dir: &Path, bytes: u64) {
    println!("\nread: a file of {} MiB", bytes >> 20);
    let source = dir.join("source");
    fs::create_dir_all(&source).unwrap();
    let ext4 = source.join("large");
    let mut noise = Vec::with_capacity(1 << 20);
    for number in 0..(1_u32 << 15) {
        noise.extend_from_slice(blake3::hash(&number.to_le_bytes()).as_bytes());
    }
    let file = File::create(&ext4).unwrap();
    for at in (0..bytes).step_by(1 << 20) {
        noise[..8].copy_from_slice(&at.to_le_bytes());
        file.write_all_at(&noise, at).unwrap();
    }
    drop(file);
    run(cfs(dir).arg("init"));
    run(cfs(dir).arg("import").arg(&source).arg("x"));
    // What was just written lies in memory in other pieces than what was read; both are to be read.
    run(&mut Command::new("sync"));
    drop_caches("3");
    for args in [&[][..], &["--no-passthrough"]] {
        println!("  {}", if args.is_empty() { "as mounted" } else { "without passthrough" });
        let mount = Mount::new(dir, args);
        let view = mount.view().join("large");
        let pair = |work: &dyn Fn(&Path) -> Duration| {
            let measured = |path: &Path| {
                let _ = work(path);
                of3(|| work(path))
            };
            // The two may not fit into memory together, so they are measured one after the other.
            (measured(&view), measured(&ext4))
        };
        let (ours, theirs) = pair(&sequential);
        line("  sequential, warm", ours, theirs, 1.05);
        let (ours, theirs) = pair(&random);
        line("  random 4 KiB, warm", ours, theirs, 1.1);
        let (ours, theirs) = pair(&mapped);
        line("  mapped, warm", ours, theirs, 1.1);
        let four = |path: &Path| {
            time(|| {
                std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| sequential(path)))));
            })
        };
        let (ours, theirs) = pair(&four);
        line("  four readers, warm", ours, theirs, 1.1);
        let cold = |path: &Path| {
            run(&mut Command::new("sync"));
            drop_caches("3").then(|| sequential(path))
        };
        if let (Some(ours), Some(theirs)) = (cold(&view), cold(&ext4)) {
            line("  sequential, cold", ours, theirs, 1.05);
        }
    }
    fs::remove_dir_all(dir).unwrap();
}

fn sequential(path: &Path) -> Duration {
    let (mut file, mut buffer) = (File::open(path).unwrap(), vec![0; 1 << 20]);
    time(|| while file.read(&mut buffer).unwrap() > 0 {})
}

fn random(path: &Path) -> Duration {
    let file = File::open(path).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    let (mut buffer, mut at) = ([0; 4096], 1_u64);
    time(|| {
        for _ in 0..200_000 {
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            file.read_exact_at(&mut buffer, (at >> 20) % pages * 4096).unwrap();
        }
    })
}

#[expect(unsafe_code, reason = "a file is mapped, which nobody writes to meanwhile")]
fn mapped(path: &Path) -> Duration {
    use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
    let file = File::open(path).unwrap();
    let bytes = usize::try_from(file.metadata().unwrap().len()).unwrap();
    time(|| {
        // SAFETY: a new mapping at a place of the kernel's choice, of a file that is as long and that nobody
        // changes; it is unmapped after its last use.
        unsafe {
            let start =
                mmap(std::ptr::null_mut(), bytes, ProtFlags::READ, MapFlags::SHARED, &file, 0).unwrap();
            let whole = std::slice::from_raw_parts(start.cast::<u8>(), bytes);
            let sum: u64 = whole.chunks(4096).map(|page| u64::from(page[0])).sum();
            std::hint::black_box(sum);
            munmap(start, bytes).unwrap();
        }
    })
}

/// Many small files, opened, read and closed one after the other.
fn small(dir: &Path, files: usize) {
    println!("\nsmall: {files} files of 20 KiB, each opened, read and closed");
    let source = dir.join("source");
    let mut content = vec![7; 20 << 10];
    for number in 0..files {
        let path = source.join(path(number));
        if number % FILES_PER_DIR == 0 {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        content[..8].copy_from_slice(&number.to_le_bytes());
        fs::write(path, &content).unwrap();
    }
    run(cfs(dir).arg("init"));
    run(cfs(dir).arg("import").arg(&source).arg("x"));
    let pass = |dir: &Path| {
        let mut buffer = vec![0; 32 << 10];
        time(|| {
            for number in 0..files {
                let mut file = File::open(dir.join(path(number))).unwrap();
                while file.read(&mut buffer).unwrap() > 0 {}
            }
        })
    };
    pass(&source);
    let ext4 = of3(|| pass(&source));
    // The store's own files are in memory.
    let cat = Command::new("find")
        .arg(dir.join("store/blobs"))
        .args(["-type", "f", "-exec", "cat", "{}", "+"])
        .stdout(Stdio::null())
        .status();
    assert!(cat.unwrap().success());
    for args in [&[][..], &["--transport", "dev"], &["--no-passthrough"]] {
        let name = if args.is_empty() { "as mounted".to_owned() } else { args.join(" ") };
        let mount = Mount::new(dir, args);
        line(&format!("first time, {name}"), pass(&mount.view()), ext4, 10.0);
        line(&format!("again, {name}"), of3(|| pass(&mount.view())), ext4, 3.0);
    }
    fs::remove_dir_all(dir).unwrap();
}

/// A view of a million files: until it is there, and what it costs in memory.
fn million(dir: &Path, files: usize) {
    println!("\nmillion: a view of {files} files");
    sketch(&dir.join("store"), files);
    let ready = of3(|| time(|| drop(Mount::new(dir, &[]))));
    println!("  mounted and unmounted in {ready:?} (aim 100 ms)");
    let mount = Mount::new(dir, &[]);
    let mib = || mount.stat("resident_bytes") >> 20;
    let before = mib();
    run(Command::new("find").arg(mount.view()).arg("-ls").stdout(Stdio::null()));
    // Memory is looked after twice a second.
    std::thread::sleep(Duration::from_secs(2));
    println!(
        "  memory {before} MiB, after a walk {} MiB for {} inodes (aim 150)",
        mib(),
        mount.stat("inodes")
    );
    if drop_caches("2") {
        // The kernel says what it forgets a little later.
        std::thread::sleep(Duration::from_secs(3));
        println!("  when the kernel has forgotten {} MiB for {} inodes", mib(), mount.stat("inodes"));
    }
    drop(mount);
    fs::remove_dir_all(dir).unwrap();
}

/// A mount of the store in a directory, gone when it is dropped.
struct Mount {
    dir: PathBuf,
}

impl Mount {
    fn new(dir: &Path, args: &[&str]) -> Self {
        Self::try_new(dir, args).expect("it can be mounted")
    }

    fn try_new(dir: &Path, args: &[&str]) -> Option<Self> {
        let at = dir.join("mnt");
        let _ = fs::create_dir(&at);
        let status = cfs(dir).arg("mount").arg(&at).args(args).stderr(Stdio::null()).status().unwrap();
        status.success().then_some(Self { dir: dir.to_owned() })
    }

    fn view(&self) -> PathBuf {
        self.dir.join("mnt/current/x").canonicalize().unwrap()
    }

    fn stat(&self, name: &str) -> u64 {
        let mut command = cfs(&self.dir);
        command.args(["mount", "--stats"]).arg(self.dir.join("mnt")).stdout(Stdio::piped());
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let line = text.lines().find(|line| line.ends_with(&format!("  {name}"))).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = cfs(&self.dir).arg("umount").arg(self.dir.join("mnt")).status();
    }
}

/// Where the file of a number is in a tree.
fn path(number: usize) -> String {
    format!("d{:05}/package-{number:07}.el9.x86_64.rpm", number / FILES_PER_DIR)
}

/// Makes a store with a ref `x` that names a tree of so many files, whose blobs nobody reads.
fn sketch(store: &Path, files: usize) {
    grow(&Depot::create(store).unwrap(), "x", files, 0);
}

/// Makes a ref name a tree of so many files. One in a hundred directories is different in every version.
fn grow(depot: &Depot, name: &str, files: usize, version: usize) {
    let base = NodeMap::new();
    let mut stage = Stage::new(&base);
    let (mut blobs, mut tops) = (Vec::with_capacity(files), Vec::new());
    let entry = |name: &str, item| Entry { name: Name::new(name).unwrap(), item };
    for first in (0..files).step_by(FILES_PER_DIR) {
        let mut entries = Vec::new();
        let version = if (first / FILES_PER_DIR).is_multiple_of(100) { version } else { 0 };
        for number in first..(first + FILES_PER_DIR).min(files) {
            let blob = BlobId::of(&[number, version].map(usize::to_le_bytes).concat());
            let size_bytes = 8 + version as u64;
            blobs.push((blob, size_bytes, &[][..]));
            let kind = Kind::File { blob, size_bytes, executable: false };
            let path = path(number);
            let mtime = MTIME + number as i64 % 10_000 + version as i64;
            entries.push(entry(path.split_once('/').unwrap().1, Item { mtime, kind }));
        }
        let kind = Kind::Dir(stage.write_dir(&entries));
        let mtime = MTIME + version as i64;
        tops.push(entry(path(first).split_once('/').unwrap().0, Item { mtime, kind }));
    }
    let root = stage.write_dir(&tops);
    depot.catalogue.record_blobs(blobs).unwrap();
    let mut draft = Some(Draft {
        root: Item { mtime: MTIME, kind: Kind::Dir(root) },
        nodes: stage.into_new_nodes(),
        taken: Taken::default(),
        parents: Vec::new(),
        meta: std::collections::BTreeMap::new(),
        message: String::new(),
        reason: "bench".into(),
        access: None,
    });
    let signer = Signer { actor: "bench".into(), tool: "bench".into(), now: MTIME };
    let update = depot
        .catalogue
        .update_ref(&depot.store, &name.parse().unwrap(), &signer, |_| Ok::<_, CatalogueError>(draft.take()));
    update.unwrap().unwrap();
}

fn cfs(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cfs"));
    command.arg("-q").env("CFS_STORE", dir.join("store")).stdout(Stdio::null());
    command
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// Lets the kernel forget pages (1), names and inodes (2) or both (3), where that is permitted.
fn drop_caches(what: &str) -> bool {
    fs::write("/proc/sys/vm/drop_caches", what).is_ok()
}

fn line(what: &str, ours: Duration, theirs: Duration, aim: f64) {
    println!("  {what} {:.2} (aim {aim}) {ours:?}, ext4 {theirs:?}", ratio(ours, theirs));
}

fn time(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}

fn of3(mut work: impl FnMut() -> Duration) -> Duration {
    median(&[work(), work(), work()])
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}
