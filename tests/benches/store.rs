//! `cargo bench --bench store [-- PART…] [--quick]`: the store against cp, rsync and its own aims.
//!
//! Every part prints medians of one run with the peer's beside them; the ratios are what counts, since
//! machines differ. Parts: import, promote, walk. `--quick` uses a tenth of the files.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    reason = "a benchmark prints, and stops when it cannot go on"
)]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cfs_fs::diff::diff;
use cfs_fs::digest::BlobId;
use cfs_fs::name::Name;
use cfs_fs::tree::{Dir, Entry, Item, Kind, NodeError, NodeMap, Stage};
use cfs_fs::walk::walk;
use cfs_indexer::catalogue::{CatalogueError, Draft, Signer, Taken};
use cfs_indexer::depot::Depot;

fn main() {
    #[expect(clippy::disallowed_methods, reason = "a benchmark works where it is told to")]
    let base = std::env::var("CFS_BENCH_DIR").map_or_else(|_| std::env::temp_dir(), PathBuf::from);
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let quick = args.iter().any(|arg| arg == "--quick");
    let parts: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|arg| *arg == part);
    let temp = tempfile::Builder::new().prefix("cfs-bench-").tempdir_in(base).unwrap();
    println!("in {}", temp.path().display());
    if wanted("import") {
        import(&temp.path().join("import"), if quick { 2_000 } else { 20_000 });
    }
    let sizes: &[usize] = if quick { &[10_000, 100_000] } else { &[10_000, 100_000, 1_000_000] };
    for &files in sizes {
        if wanted("promote") {
            promote(&temp.path().join(format!("promote-{files}")), files);
        }
        if wanted("walk") {
            walk_and_diff(&temp.path().join(format!("walk-{files}")), files);
        }
    }
}

/// (a) A tree of 20,000 files and 2 GiB: `cfs import` against `cp -a` and `rsync -a`, each made durable.
fn import(dir: &Path, files: usize) {
    let source = dir.join("source");
    make_packages(&source, files);
    println!("\nimport: {files} files, {} MiB", files * 107_374 / (1 << 20));
    let (mut cp, mut rsync, mut cfs) = (Vec::new(), Vec::new(), Vec::new());
    let (mut rsync_again, mut cfs_again) = (Vec::new(), Vec::new());
    for round in 0..3 {
        let to = |name: &str| dir.join(format!("{name}-{round}"));
        cp.push(cold(|| {
            run(Command::new("cp").arg("-a").arg(&source).arg(to("cp")));
            run(Command::new("sync").arg("-f").arg(to("cp")));
        }));
        fs::remove_dir_all(to("cp")).unwrap();
        let sync = || {
            run(Command::new("rsync").arg("-a").arg(slash(&source)).arg(slash(&to("rsync"))));
            run(Command::new("sync").arg("-f").arg(to("rsync")));
        };
        rsync.push(cold(sync));
        rsync_again.push(time(sync));
        fs::remove_dir_all(to("rsync")).unwrap();
        run(cfs_command(&to("store")).arg("init"));
        let import = || run(cfs_command(&to("store")).arg("import").arg(&source).arg("x"));
        cfs.push(cold(import));
        cfs_again.push(time(import));
        fs::remove_dir_all(to("store")).unwrap();
    }
    let (cp, rsync, cfs) = (median(&cp), median(&rsync), median(&cfs));
    let (rsync_again, cfs_again) = (median(&rsync_again), median(&cfs_again));
    println!("  cold       cp -a {cp:?}  rsync -a {rsync:?}  cfs {cfs:?}");
    println!("             cfs / cp {:.2} (aim 1.2)  cfs / rsync {:.2}", ratio(cfs, cp), ratio(cfs, rsync));
    println!("  unchanged  rsync -a {rsync_again:?}  cfs {cfs_again:?}");
    println!("             cfs / rsync {:.2} (aim 0.5)", ratio(cfs_again, rsync_again));
    fs::remove_dir_all(dir).unwrap();
}

/// (b) A promotion in which 1 % of the directories changed, against `rsync -a --delete` of the same change.
fn promote(dir: &Path, files: usize) {
    let dirs = (files / 200).max(1);
    println!("\npromote: {files} files in {dirs} directories, 1 % of them changed");
    let store = dir.join("store");
    let depot = Depot::create(&store).unwrap();
    let old = Sketch { dirs, files_per_dir: 200, changed_dirs: 0 };
    let new = Sketch { changed_dirs: (dirs / 100).max(1), ..old };
    old.commit(&depot, "old");
    new.commit(&depot, "new");
    drop(depot);
    let bytes = catalogue_bytes(&store);
    let promote = |from: &str| {
        let mut command = cfs_command(&store);
        time(|| run(command.args(["promote", from, "production"]).stdout(Stdio::null())))
    };
    promote("old");
    let cfs: Vec<Duration> = (0..20).flat_map(|_| [promote("new"), promote("old")]).collect();
    println!("  catalogue of both trees {:.1} bytes a file", bytes as f64 / files as f64);

    let (source, target) = (dir.join("source"), dir.join("target"));
    old.write_files(&source);
    run(Command::new("cp").arg("-al").arg(&source).arg(&target));
    let mut rsync = Vec::new();
    for round in 1..=3 {
        new.rewrite_files(&source, round);
        rsync.push(time(|| {
            run(Command::new("rsync").args(["-a", "--delete"]).arg(slash(&source)).arg(slash(&target)));
        }));
    }
    let (slowest, cfs, rsync) = (*cfs.iter().max().unwrap(), median(&cfs), median(&rsync));
    println!("  cfs {cfs:?} (aim 20 ms; slowest {slowest:?})  rsync -a --delete {rsync:?}");
    println!("  rsync / cfs {:.0}", ratio(rsync, cfs));
    fs::remove_dir_all(dir).unwrap();
}

/// (c), (d) Listing, difference and size of the catalogue.
fn walk_and_diff(dir: &Path, files: usize) {
    let dirs = (files / 200).max(1);
    println!("\nwalk: {files} files in {dirs} directories");
    let depot = Depot::create(&dir.join("store")).unwrap();
    let old = Sketch { dirs, files_per_dir: 200, changed_dirs: 0 };
    let started = Instant::now();
    let old_dir = old.commit(&depot, "x");
    println!("  commit {:?}", started.elapsed());
    let store = depot.store.root().to_owned();
    drop(depot);
    let bytes = catalogue_bytes(&store);
    println!("  catalogue {:.1} bytes a file (aim 100)", bytes as f64 / files as f64);
    let depot = Depot::open(&store).unwrap();
    // 500 changes: ten in each of fifty directories.
    let new_dir = Sketch { changed_dirs: 50.min(dirs), ..old }.commit(&depot, "x");

    let listing = median_of(5, || {
        let mut count = 0;
        walk(&depot.catalogue, old_dir, "", &mut |_, _| {
            count += 1;
            Ok::<(), NodeError>(())
        })
        .unwrap();
        assert_eq!(count, files + dirs);
    });
    println!("  listing {:.2} M paths/s (aim 2)", files as f64 / listing.as_secs_f64() / 1e6);
    let mut found = 0;
    let took = median_of(5, || {
        found = 0;
        diff(&depot.catalogue, old_dir, new_dir, &mut |_, _| {
            found += 1;
            Ok::<(), NodeError>(())
        })
        .unwrap();
    });
    println!("  diff of {found} changes {took:?} (aim 50 ms)");
    drop(depot);
    fs::remove_dir_all(dir).unwrap();
}

/// A synthetic tree of small packages. In each changed directory ten packages are replaced.
#[derive(Clone, Copy)]
struct Sketch {
    dirs: usize,
    files_per_dir: usize,
    changed_dirs: usize,
}

impl Sketch {
    fn content(self, dir: usize, file: usize) -> String {
        let changed = dir < self.changed_dirs && file < 10;
        format!("{dir} {file} {}", if changed { "new" } else { "old" })
    }

    /// Commits the tree as a ref; the blobs are recorded but not written, since nothing here reads one.
    fn commit(self, depot: &Depot, name: &str) -> Dir {
        let base = NodeMap::new();
        let mut stage = Stage::new(&base);
        let mut blobs = Vec::with_capacity(self.dirs * self.files_per_dir);
        let mut tops = Vec::new();
        for dir in 0..self.dirs {
            let mut entries: Vec<Entry> = (0..self.files_per_dir)
                .map(|file| {
                    let content = self.content(dir, file);
                    let (blob, size_bytes) = (BlobId::of(content.as_bytes()), 100_000 + content.len() as u64);
                    blobs.push((blob, size_bytes, &[][..]));
                    let built = (dir * 7919 + file / 4 * 104_729) % 40_000_000;
                    let mtime = 1_700_000_000 + (built + file % 4) as i64;
                    let kind = Kind::File { blob, size_bytes, executable: false };
                    entry(&package(dir, file), Item { mtime, kind })
                })
                .collect();
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            let kind = Kind::Dir(stage.write_dir(&entries));
            tops.push(entry(&format!("repo{dir:05}"), Item { mtime: 1_700_000_000, kind }));
        }
        let root = stage.write_dir(&tops);
        depot.catalogue.record_blobs(blobs).unwrap();
        let mut draft = Some(Draft {
            root: Item { mtime: 1_700_000_000, kind: Kind::Dir(root) },
            nodes: stage.into_new_nodes(),
            taken: Taken::default(),
            parents: Vec::new(),
            access: None,
            meta: std::collections::BTreeMap::new(),
            message: String::new(),
            reason: "bench".into(),
        });
        let signer = Signer { actor: "bench".into(), tool: "bench".into(), now: 1_764_000_000 };
        let update = depot.catalogue.update_ref(&depot.store, &name.parse().unwrap(), &signer, |_| {
            Ok::<_, CatalogueError>(draft.take())
        });
        update.unwrap().unwrap();
        root
    }

    fn write_files(self, dir: &Path) {
        for number in 0..self.dirs {
            let repo = dir.join(format!("repo{number:05}"));
            fs::create_dir_all(&repo).unwrap();
            for file in 0..self.files_per_dir {
                fs::write(repo.join(package(number, file)), self.content(number, file)).unwrap();
            }
        }
    }

    /// Replaces what is changed, by new files with new times, as a compose does.
    fn rewrite_files(self, dir: &Path, round: usize) {
        for number in 0..self.changed_dirs {
            for file in 0..10 {
                let path = dir.join(format!("repo{number:05}")).join(package(number, file));
                fs::remove_file(&path).unwrap();
                fs::write(&path, format!("{} {round}", self.content(number, file))).unwrap();
            }
        }
    }
}

/// The catalogue's size with its write-ahead log brought home.
fn catalogue_bytes(store: &Path) -> u64 {
    Depot::open(store).unwrap().catalogue.checkpoint().unwrap();
    fs::metadata(store.join("catalogue.db")).unwrap().len()
}

fn entry(name: &str, item: Item) -> Entry {
    Entry { name: Name::new(name).unwrap(), item }
}

/// A package's file name. As in real repositories, the packages built from one source share its name, version
/// and time: of 598 real names 8 bytes are not shared with the neighbour, of these 10.
fn package(dir: usize, file: usize) -> String {
    const STEMS: [&str; 8] = [
        "kernel-modules",
        "python3-",
        "libreoffice-",
        "perl-",
        "texlive-",
        "golang-github-",
        "gstreamer1-",
        "qt5-",
    ];
    const PARTS: [&str; 4] = ["", "-devel", "-libs", "-doc"];
    let number = dir * 211 + file / 4;
    let word = BlobId::of(&number.to_le_bytes()).to_string();
    let version = format!("{}.{}.{}-{}", number % 9, number % 37, number % 11, number % 29);
    format!("{}{}{}-{version}.el9.x86_64.rpm", STEMS[number % 8], &word[..8], PARTS[file % 4])
}

/// Files as a compose has them, 105 KiB in the mean, no two alike.
fn make_packages(dir: &Path, files: usize) {
    let noise: Vec<u8> = (0_u32..80_000).flat_map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes()).collect();
    let mut total = 0;
    let mut sizes = HashMap::new();
    for number in 0..files {
        // From 1 KiB to 1.9 MiB; one in ten is large.
        let size = if number % 10 == 9 {
            12_000 + number * 7919 % 1_000_000
        } else {
            1_000 + number * 7919 % 111_000
        };
        sizes.insert(number, size);
        total += size;
    }
    let wanted = files * 107_374;
    for number in 0..files {
        let size = sizes[&number] * wanted / total;
        let path = dir.join(format!("repo{:02}", number % 20)).join(package(number % 20, number));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let start = number * 31 % 10_000;
        let mut content = number.to_le_bytes().to_vec();
        content.extend_from_slice(&noise[start..(start + size).min(noise.len())]);
        fs::write(path, content).unwrap();
    }
}

fn cfs_command(store: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cfs"));
    command.arg("-q").env("CFS_STORE", store).stdout(Stdio::null());
    command
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

fn slash(path: &Path) -> PathBuf {
    path.join("")
}

fn time(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

/// Times `work` after everything is written back and, where that is permitted, dropped from memory.
fn cold(work: impl FnOnce()) -> Duration {
    run(&mut Command::new("sync"));
    let _ = fs::write("/proc/sys/vm/drop_caches", "3");
    time(work)
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}

fn median_of(rounds: usize, mut work: impl FnMut()) -> Duration {
    median(&(0..rounds).map(|_| time(&mut work)).collect::<Vec<_>>())
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}
