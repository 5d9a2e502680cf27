//! `cfs stats`

use cfs_fs::tree::Sums;
use cfs_indexer::catalogue::Target;
use serde_json::json;

use crate::context::Context;
use crate::output::{count, size};
use crate::report::CommandError;

/// Count what is stored.
///
/// Logical is what the refs show, every path counted; stored is what it costs.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `cfs stats`.
pub fn run(_: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    let totals = depot.catalogue.totals()?;
    let mut logical = Sums::default();
    for found in depot.catalogue.refs()? {
        let Target::Snapshot(id) = found.target else { continue };
        if let Some(snapshot) = depot.catalogue.snapshot(id)? {
            logical.add(&snapshot.root_item());
        }
    }
    // The write-ahead log belongs to the database; what is not there takes no space.
    let catalogue = ["catalogue.db", "catalogue.db-wal"].map(|name| depot.store.root().join(name));
    let catalogue_bytes: u64 = catalogue.iter().filter_map(|path| Some(path.metadata().ok()?.len())).sum();
    // A ratio of counts; it need not be exact.
    #[expect(clippy::cast_precision_loss, reason = "printed with two decimals")]
    let ratio = if totals.blob_bytes == 0 { 1.0 } else { logical.bytes as f64 / totals.blob_bytes as f64 };
    if context.output.is_json() {
        return context.output.json(&json!({
            "logical_bytes": logical.bytes, "logical_files": logical.files,
            "stored_bytes": totals.blob_bytes, "blobs": totals.blobs, "dedup_ratio": ratio,
            "nodes": totals.nodes, "node_bytes": totals.node_bytes, "snapshots": totals.snapshots,
            "refs": totals.refs, "digests": totals.digests, "catalogue_bytes": catalogue_bytes,
        }));
    }
    let line =
        |key: &str, value: &dyn std::fmt::Display| context.output.line(format_args!("{key:11}{value}"));
    line("logical", &format_args!("{} in {} files of all refs", size(logical.bytes), count(logical.files)))?;
    line("stored", &format_args!("{} in {} blobs", size(totals.blob_bytes), count(totals.blobs)))?;
    line("dedup", &format_args!("{ratio:.2}"))?;
    line("nodes", &format_args!("{} in {}", size(totals.node_bytes), count(totals.nodes)))?;
    line("snapshots", &count(totals.snapshots))?;
    line("refs", &count(totals.refs))?;
    line("catalogue", &size(catalogue_bytes))
}
