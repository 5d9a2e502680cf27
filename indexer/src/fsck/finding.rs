//! What a check can find. The names of kinds are for programs and never change.

use std::fmt;

use cfs_fs::digest::{BlobId, NodeId, SnapshotId};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The catalogue, or a part of it, cannot be read.
    CatalogueUnreadable,
    /// SQLite's own structures are damaged.
    CatalogueStructure,
    /// Tables, indexes or triggers are not those that cfs makes.
    CatalogueSchema,
    /// Rows that nothing else repeats are not those that were written.
    CatalogueRow,
    /// The catalogue's log holds a commit that cannot be read: a crash cut it off, or it was lost.
    CatalogueLog,
    /// The chain of the reflog is broken, or a ref is not where its last move has left it.
    Reflog,
    /// The copy of the reflog has moves that the catalogue has lost.
    ReflogAhead,
    /// The copy of the reflog is not as it was written.
    ReflogCopy,
    /// The copy of the reflog lacks the last moves.
    ReflogBehind,
    /// A ref, a pin or the reflog names a snapshot that is not known.
    SnapshotMissing,
    /// A snapshot is not what its name says.
    SnapshotDamaged,
    /// A node is named and not there.
    NodeMissing,
    /// A node's bytes are not what its name says.
    NodeDamaged,
    /// Whole nodes that do not fit together: order of names, heights, sums.
    NodeShape,
    /// A snapshot has no commit file.
    CommitMissing,
    /// A commit file cannot be used.
    CommitDamaged,
    /// A node is in no commit file.
    CommitIncomplete,
    /// A tree names a blob that the catalogue does not know, or knows with another size.
    BlobUnrecorded,
    /// A blob is not in the store.
    BlobMissing,
    /// A blob's file has another size than the catalogue says.
    BlobSize,
    /// A blob's file can be written or not be read by everybody.
    BlobMode,
    /// A blob's bytes are not what its name says.
    BlobDamaged,
    /// A blob cannot be read.
    BlobUnreadable,
    /// A digest of a blob is not that of its bytes.
    DigestWrong,
    /// Digests of blobs that are not there.
    DigestStale,
    /// A repository is not what its metadata says.
    Repodata,
}

impl Kind {
    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::CatalogueUnreadable => "catalogue-unreadable",
            Self::CatalogueStructure => "catalogue-structure",
            Self::CatalogueSchema => "catalogue-schema",
            Self::CatalogueRow => "catalogue-row",
            Self::CatalogueLog => "catalogue-log",
            Self::Reflog => "reflog",
            Self::ReflogAhead => "reflog-ahead",
            Self::ReflogCopy => "reflog-copy",
            Self::ReflogBehind => "reflog-behind",
            Self::SnapshotMissing => "snapshot-missing",
            Self::SnapshotDamaged => "snapshot-damaged",
            Self::NodeMissing => "node-missing",
            Self::NodeDamaged => "node-damaged",
            Self::NodeShape => "node-shape",
            Self::CommitMissing => "commit-missing",
            Self::CommitDamaged => "commit-damaged",
            Self::CommitIncomplete => "commit-incomplete",
            Self::BlobUnrecorded => "blob-unrecorded",
            Self::BlobMissing => "blob-missing",
            Self::BlobSize => "blob-size",
            Self::BlobMode => "blob-mode",
            Self::BlobDamaged => "blob-damaged",
            Self::BlobUnreadable => "blob-unreadable",
            Self::DigestWrong => "digest-wrong",
            Self::DigestStale => "digest-stale",
            Self::Repodata => "repodata",
        }
    }

    /// Whether it can cost anybody anything. What cannot is a remark: a crash leaves such things.
    pub fn is_damage(self) -> bool {
        !matches!(self, Self::CatalogueLog | Self::ReflogBehind | Self::DigestStale)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What something is wrong with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// The catalogue, or a part of it.
    Catalogue,
    /// An entry of the reflog or a ref, in words.
    Reflog(String),
    /// A snapshot.
    Snapshot(SnapshotId),
    /// A node.
    Node(NodeId),
    /// The commit file of a snapshot.
    Commit(SnapshotId),
    /// A blob.
    Blob(BlobId),
    /// A path of a ref.
    Path(String),
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalogue => f.write_str("catalogue.db"),
            Self::Reflog(text) | Self::Path(text) => f.write_str(text),
            Self::Snapshot(id) => write!(f, "snapshot {id}"),
            Self::Node(id) => write!(f, "node {id}"),
            Self::Commit(id) => write!(f, "commits/{id}"),
            Self::Blob(id) => write!(f, "blob {id}"),
        }
    }
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub kind: Kind,
    /// With what.
    pub object: Object,
    /// In words.
    pub what: String,
    /// Where refs show it, some of the places.
    pub places: Vec<String>,
}

impl Finding {
    pub(super) fn new(kind: Kind, object: Object, what: impl Into<String>) -> Self {
        Self { kind, object, what: what.into(), places: Vec::new() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.kind, self.object, self.what)
    }
}
