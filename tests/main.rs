//! The integration tests: the `cfs` binary, the mount, and real clients, seen from outside.
//!
//! - `commands`: every verb, its messages and exit statuses.
//! - `tidy`: the code and the documents against the rules of the house.

mod commands;
mod harness;
mod tidy;
