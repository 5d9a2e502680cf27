//! The integration tests: the `cfs` binary, the mount, and real clients, seen from outside.
//!
//! - `access`: who may do what, approvals and signatures.
//! - `commands`: every verb, its messages and exit statuses.
//! - `closure`: what packages require, against a resolver and dnf.
//! - `guide`, `cli_reference`, `format`: the documents say what the program does.
//! - `compose`: releases of many repositories, and what release tools read of them.
//! - `crash`: `kill -9` at random points. `interop`: real servers and clients.
//! - `demo`: what the demo shows is true, and nothing is left of it.
//! - `faults`: disks that fail and fill up, calls that fail, clocks that jump.
//! - `hostile`: every known attack has its tests, and every reader of bytes from outside is fuzzed.
//! - `fsck`: checks, repairs, backups and rebuilt catalogues, as commands.
//! - `garbage`: what is collected and what is not, with real processes, and on a full disk.
//! - `migrations`: stores that earlier versions made.
//! - `mirrors`: rsync, dnf, nginx and curl see one generation at a time and never a hole.
//! - `mount`: every sentence of `docs/semantics.md`, through the kernel.
//! - `powercut`: what a power cut leaves, on a `disk` that remembers what was written.
//! - `productmd`: metadata of composes, against productmd itself.
//! - `promotions`: gates, shapes, several views in one flip.
//! - `repodata`: metadata that cfs makes, against `createrepo_c`, and what dnf makes of it.
//! - `reliability`: `docs/reliability.md` against the tests that it names.
//! - `sync`: upstreams that do as they should, and upstreams that do not.
//! - `tidy`: the code and the documents against the rules of the house.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test stops where it cannot go on, and says why it is skipped"
)]

mod access;
mod cli_reference;
mod closure;
mod commands;
mod compose;
mod crash;
mod demo;
mod disk;
mod faults;
mod format;
mod fsck;
mod garbage;
mod guide;
mod harness;
mod hostile;
mod interop;
mod migrations;
mod mirrors;
mod mount;
mod powercut;
mod productmd;
mod promotions;
mod reliability;
mod repodata;
mod sync;
mod tidy;
