//! Trees of bytes, and the ways of seeing one. Knows no SQL and no RPM.
//!
//! - [`digest`]: names of content. [`name`]: names and paths in trees.
//! - [`tree`]: directories as Merkle trees of packed nodes; [`walk`], [`diff`], [`edit`]: the verbs over them.
//! - [`store`]: one immutable file per blob, and the order of writes that makes a crash harmless; [`sweep`] removes
//!   what nobody needs, [`recheck`] looks after a failure of the disk.
//! - [`view`]: a read-only file system over refs and snapshots; [`fuse`] shows it through the kernel, [`mounts`]
//!   knows what is mounted; [`follow`] goes on when refs move, and [`bell`] tells that they have.
//! - [`http`] shows refs and snapshots to web clients.
//! - [`import`], [`checkout`]: from a host directory to a tree, and back; [`overlay`]: a writable directory over a
//!   tree, and what has changed in it.

pub mod bell;
pub mod checkout;
pub mod diff;
pub mod digest;
pub mod edit;
pub mod follow;
pub mod fuse;
pub mod http;
pub mod import;
pub mod mounts;
pub mod name;
pub mod overlay;
pub mod recheck;
pub mod store;
pub mod sweep;
pub mod tree;
pub mod view;
pub mod walk;
