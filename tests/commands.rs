//! Every verb, seen from outside: what it prints, what it does, its exit status.

mod config;
mod history;
mod trees;
