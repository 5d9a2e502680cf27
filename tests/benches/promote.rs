//! `cargo bench --bench promote [-- PART…] [--quick]`: promotions with everything that they bring along.
//!
//! Every part prints medians of one run, with the peer's beside them where there is one. Parts: gates, lists.
//! `--quick` uses a tenth of the files.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops when it cannot go on"
)]

use std::path::PathBuf;

#[path = "promote/gates.rs"]
mod gates;
#[path = "promote/lists.rs"]
mod lists;

fn main() {
    #[expect(clippy::disallowed_methods, reason = "a benchmark works where it is told to")]
    let base = std::env::var("CFS_BENCH_DIR").map_or_else(|_| std::env::temp_dir(), PathBuf::from);
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let quick = args.iter().any(|arg| arg == "--quick");
    let parts: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|arg| *arg == part);
    let temp = tempfile::Builder::new().prefix("cfs-bench-").tempdir_in(base).unwrap();
    println!("in {}", temp.path().display());
    if wanted("gates") {
        gates::run(&temp.path().join("gates"), if quick { 100_000 } else { 1_000_000 });
    }
    if wanted("lists") {
        lists::run(&temp.path().join("lists"), if quick { 100_000 } else { 1_000_000 });
    }
}
