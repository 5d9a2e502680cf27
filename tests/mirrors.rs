//! Mirrors and clients while a view flips: real rsync, nginx, dnf and curl.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::{Sandbox, ran};

mod clients;
pub mod http;
mod lists;
mod rsync;

pub use rsync::{can_serve, rsyncd};

/// A child that is ended with the test.
pub struct Server(pub Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port of the loopback that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until somebody listens on a port of the loopback.
pub fn wait_for(port: u16) {
    for _ in 0..400 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("nothing listens on port {port}");
}

/// Runs a command, which must succeed, and returns its standard output.
#[track_caller]
pub fn ok(command: &mut Command) -> String {
    let ran = ran(command);
    assert_eq!(ran.code, 0, "{command:?}: {ran:?}");
    ran.stdout
}

/// How many generations the trees of [`generations`] have.
const GENERATIONS: usize = 5;
const DIRS: usize = 8;
const FILES: usize = 6;

/// What stands in each generation: every file tells its generation, and one name in each directory does.
fn paths(generation: usize) -> Vec<String> {
    let of_dir = |dir| {
        let files = (0..FILES).map(move |file| format!("d{dir}/f{file}"));
        files.chain([format!("d{dir}/only-{generation}")])
    };
    (0..DIRS).flat_map(of_dir).collect()
}

/// Makes the refs `compose/g0`, `compose/g1` … whose files have `file_bytes` bytes each.
fn generations(sandbox: &Sandbox, file_bytes: usize) {
    for generation in 0..GENERATIONS {
        for path in paths(generation) {
            let words = format!("g{generation} ").repeat(file_bytes / 3);
            // Whoever compares sizes and times sees the difference.
            put(&sandbox.path(format!("g{generation}/{path}")), &words, 1_700_000_000 + generation as u64);
        }
        sandbox.ok(["import", &format!("g{generation}"), &format!("compose/g{generation}")]);
    }
}

/// Writes a file with a time.
pub fn put(path: &Path, content: impl AsRef<[u8]>, time: u64) {
    crate::harness::repo::put(path, content.as_ref(), time);
}

/// The one generation that a copy of a tree of [`generations`] holds; panics when it is a mixture.
#[track_caller]
fn generation_of(dir: &Path) -> usize {
    let mut found: Vec<String> =
        ok(Command::new("find").args([".", "-type", "f", "-printf", "%P\n"]).current_dir(dir))
            .lines()
            .map(str::to_owned)
            .collect();
    found.sort();
    let generation = (0..GENERATIONS).find(|generation| paths(*generation) == found);
    let generation = generation.unwrap_or_else(|| panic!("no generation has just these names: {found:?}"));
    for path in found {
        let text = fs::read_to_string(dir.join(&path)).unwrap();
        let word = format!("g{generation}");
        assert!(
            text.split_whitespace().all(|found| found == word),
            "{path} is not of generation {generation}"
        );
    }
    generation
}

/// Says that something is done when it is dropped: a failed test ends the flipping, too.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Promotes one generation after the other to `production`, beginning with `first`, until `work` is done; returns
/// what it returned and how many promotions there were.
fn while_flipping<T: Send>(sandbox: &Sandbox, first: usize, work: impl FnOnce() -> T + Send) -> (T, usize) {
    let (done, flips) = (AtomicBool::new(false), AtomicUsize::new(0));
    let result = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let _done = Done(&done);
            work()
        });
        while !done.load(Ordering::Relaxed) {
            let generation = (first + flips.fetch_add(1, Ordering::Relaxed)) % GENERATIONS;
            sandbox.ok(["promote", &format!("compose/g{generation}"), "production"]);
            std::thread::sleep(Duration::from_millis(50));
        }
        worker.join()
    });
    match result {
        Ok(result) => (result, flips.into_inner()),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
