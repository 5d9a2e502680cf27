//! Trees of bytes, and the ways of seeing one. Knows no SQL and no RPM.
//!
//! - [`digest`]: names of content. [`name`]: names and paths in trees.
//! - [`tree`]: directories as Merkle trees of packed nodes; [`walk`], [`diff`], [`edit`]: the verbs over them.
//! - [`store`]: one immutable file per blob, and the order of writes that makes a crash harmless.
//! - [`import`], [`checkout`]: from a host directory to a tree, and back.

pub mod checkout;
pub mod diff;
pub mod digest;
pub mod edit;
pub mod import;
pub mod name;
pub mod store;
pub mod tree;
pub mod walk;
