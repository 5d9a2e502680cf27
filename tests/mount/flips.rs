//! Many flips under many readers.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cfs_fs::bell;
use cfs_indexer::catalogue::Signer;
use cfs_indexer::depot::Depot;
use cfs_indexer::{config::Config, promote};
use rustix::fs::{Mode, OFlags, openat};

use crate::mirrors::{can_serve, rsyncd};

use super::promotions::{DIRS, FILES, GENERATIONS, generations, read_in, walk, words_below};
use super::*;

/// Names the environment variable that says how many flips there are to be.
const FLIPS: &str = "CFS_TEST_FLIPS";
/// Without it, as many as fit into the time, of which there are always enough to be worth it.
const TIME: Duration = Duration::from_secs(12);
const FLIPS_MIN: usize = 150;

/// Makes the next flip of `staging` and waits for the mounts, as `cfs promote` does.
fn flip(depot: &Depot, generation: usize) {
    let step =
        promote::Step::plain(format!("compose/g{generation}").parse().unwrap(), "staging".parse().unwrap());
    let request = promote::Request { steps: vec![step], ..promote::Request::default() };
    let signer = Signer { actor: "tester@here".into(), tool: "cfs test".into(), now: 1_700_000_000 };
    promote::apply(depot, &Config::default(), &request, &signer).unwrap();
    let silent = bell::ring(&depot.store.run_dir(), Duration::from_mins(1)).unwrap();
    assert_eq!(silent, [""; 0]);
}

/// What the `reader`th reader does again and again; returns the content of every file that it saw as one. `daemon`
/// is the address of the view at a daemon of rsync.
fn read(sandbox: &Sandbox, live: &Live, daemon: Option<&str>, reader: usize) -> Vec<String> {
    let view = live.path("views/staging");
    match reader {
        0..4 => walk(live, reader),
        // By whole paths, which may meet any generation but never an error.
        4 => {
            for dir in 0..DIRS {
                for file in 0..FILES {
                    let path = view.join(format!("d{dir}/f{file}"));
                    assert!(fs::symlink_metadata(&path).unwrap().size() > 0);
                    assert!(fs::read_to_string(&path).unwrap().starts_with('g'));
                }
            }
            Vec::new()
        }
        // Inside for a while, and out and in again by `..`.
        5 => {
            let inside = File::open(view.join("d0")).unwrap();
            let first = read_in(&inside, "f0");
            std::thread::sleep(Duration::from_millis(20));
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let above = File::from(openat(&inside, "../d1/..", flags, Mode::empty()).unwrap());
            let words = words_below(&above);
            assert_eq!(words[0], first);
            // A name for it exists all the time.
            let place = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&inside));
            assert!(fs::read_link(place).unwrap().starts_with(&live.dir));
            words
        }
        6 if installed("rsync") => {
            let copy = sandbox.path("copy");
            let script = match daemon {
                Some(address) => format!("rsync -aI --delete {address} '{}'", copy.display()),
                // It opens its working directory by path again and gives up when that leads elsewhere by then.
                None => format!("cd -P current/staging && rsync -aI --delete ./ '{}'", copy.display()),
            };
            sh_ok(&live.dir, &script);
            words_below(&File::open(&copy).unwrap())
        }
        _ => {
            let script = "cd views/staging && find . -ls > /dev/null && find . -type f | sort | xargs cat";
            sh_ok(&live.dir, script).split_whitespace().map(str::to_owned).collect()
        }
    }
}

/// What the process that serves a mount takes in memory, when the kernel has forgotten what nobody uses.
fn memory_kib(live: &Live) -> Option<u64> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    // It notices that twice a second.
    std::thread::sleep(Duration::from_millis(1500));
    let status = fs::read_to_string(format!("/proc/{}/status", live.daemon().as_raw_nonzero())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    resident.split_whitespace().next().unwrap().parse().ok()
}

#[test]
fn eight_readers_during_many_flips_see_one_generation_each_time() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_store();
    generations(&sandbox);
    let depot = Depot::open(&sandbox.store()).unwrap();
    flip(&depot, 0);
    let live = mount(&sandbox, "mnt", &["--cache-size", "1"]);
    let daemon = can_serve().then(|| rsyncd(&sandbox, &["--view", "staging"], "staging"));
    let address = daemon.as_ref().map(|(_, address)| address.as_str());
    says(
        "A walk that begins in a directory of a snapshot and stays in it sees exactly one generation, however \
         many promotions happen meanwhile.",
    );
    #[expect(clippy::disallowed_methods, reason = "tests read the environment")]
    let wanted: Option<usize> = std::env::var(FLIPS).ok().map(|text| text.parse().unwrap());
    let done = AtomicBool::new(false);
    let (mut flips, mut before) = (0, None);
    let seen = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..8)
            .map(|reader| {
                let (sandbox, live, done) = (&sandbox, &live, &done);
                scope.spawn(move || {
                    let mut seen = std::collections::BTreeSet::new();
                    while !done.load(Ordering::Relaxed) {
                        let words = read(sandbox, live, address, reader);
                        let Some(first) = words.first().map(|word| word.trim().to_owned()) else { continue };
                        assert_eq!(words.len(), DIRS * FILES, "reader {reader}");
                        assert!(words.iter().all(|word| word.trim() == first), "reader {reader}: {words:?}");
                        seen.insert(first);
                    }
                    seen
                })
            })
            .collect();
        let began = Instant::now();
        let is_enough =
            |flips| wanted.map_or(began.elapsed() > TIME && flips >= FLIPS_MIN, |wanted| flips >= wanted);
        while !is_enough(flips) && !readers.iter().any(std::thread::ScopedJoinHandle::is_finished) {
            flips += 1;
            flip(&depot, flips % GENERATIONS);
            // The first half fills what is bounded; what leaks goes on in the second.
            if before.is_none() && wanted.map_or(began.elapsed() > TIME / 2, |wanted| flips >= wanted / 2) {
                before = memory_kib(&live);
            }
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).collect::<Vec<_>>()
    });
    let after = memory_kib(&live);
    eprintln!("{flips} flips; memory before {before:?} KiB, after {after:?} KiB");
    assert!(seen.iter().filter(|seen| seen.len() > 1).count() >= 5, "{seen:?}");
    assert_eq!(logs(&sandbox), "", "nothing went wrong");
    if let (Some(before), Some(after)) = (before, after) {
        assert!(after < before + before / 10, "{before} KiB before, {after} KiB after");
    }
    // Every flip made a snapshot, and all of them are there at once.
    let snapshots = fs::read_dir(live.path("snapshots")).unwrap();
    let snapshots = snapshots.filter(|entry| entry.as_ref().unwrap().path().join("d0/f0").exists()).count();
    assert!(snapshots >= flips, "{snapshots} snapshots after {flips} flips");
    drop(daemon);
}
