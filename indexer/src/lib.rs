//! What the bytes mean: the catalogue of snapshots and refs, upstream repositories, promotion.
//!
//! - [`catalogue`]: one SQLite database, the only room with SQL. [`snapshot`], [`refname`], [`revision`]: its
//!   values. [`checksum`]: digests that others use.
//! - [`config`]: the configuration file, from text to values.
//! - [`commitfile`]: the files that a lost catalogue is rebuilt from.
//! - [`depot`]: a store with its catalogue, opened together; what every verb works on.
//! - [`views`]: what a mount asks of the catalogue.
//! - [`address`]: where upstream repositories are. [`arch`]: architectures.
//! - [`repodata`], [`openpgp`], [`rpm`]: what upstreams publish, from bytes to values; no files, no store.
//! - [`repository`]: a repository inside a tree, and the list of its packages.
//! - [`packages`], [`changelog`]: queries. [`closure`]: whether everything that packages require is there.
//! - [`filelist`], [`metalink`]: what mirrors and their clients read.
//! - [`hooks`]: programs that are run about promotions.
//! - [`productmd`]: what installers and release tools read of composes; no files, no store.
//! - [`sshsig`]: signatures of moves and approvals; [`audit`]: whether history is what was written.
//! - [`approve`], [`compose`], [`createrepo`], [`import`], [`sync`], [`promote`], [`policy`], [`rollback`], [`workspace`],
//!   [`gc`], [`fsck`], [`reindex`], [`backup`]: the verbs.

pub mod address;
pub mod approve;
pub mod arch;
pub mod audit;
pub mod backup;
pub mod catalogue;
pub mod changelog;
pub mod checksum;
pub mod closure;
pub mod commitfile;
pub mod compose;
pub mod config;
pub mod createrepo;
pub mod depot;
pub mod filelist;
pub mod fsck;
pub mod gc;
pub mod hooks;
pub mod import;
pub mod metalink;
pub mod openpgp;
pub mod packages;
pub mod policy;
pub mod productmd;
pub mod promote;
pub mod refname;
pub mod reindex;
pub mod repodata;
pub mod repository;
pub mod revision;
pub mod rollback;
pub mod rpm;
pub mod snapshot;
mod spread;
pub mod sshsig;
pub mod sync;
pub mod views;
pub mod workspace;
