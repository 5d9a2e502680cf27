//! Commit files: a snapshot's record and the nodes it brought (`docs/format.md`, "Commits").
//!
//! Always true: reading accepts only what writing makes, and what is read was checked against its names.

use std::collections::BTreeMap;

use cfs_fs::digest::{NodeId, SnapshotId};

use crate::snapshot::Snapshot;

/// First line of every commit file.
const HEADER: &str = "cfs-commit 1\n";

/// What a commit file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitFile<'a> {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The nodes, in the order of the file.
    pub nodes: Vec<(NodeId, &'a [u8])>,
}

/// A commit file that says something impossible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("commit file {id}: {reason}")]
pub struct CommitFileError {
    /// The snapshot that it is called by.
    pub id: SnapshotId,
    /// What is wrong.
    pub reason: String,
}

/// The commit file of `snapshot`, which brought `nodes`, sorted by name.
pub fn encode<N: AsRef<[u8]>>(snapshot: &Snapshot, nodes: &[(NodeId, N)]) -> Vec<u8> {
    let record = snapshot.encode();
    let mut bytes = format!("{HEADER}record {}\nnodes {}\n", record.len(), nodes.len()).into_bytes();
    bytes.extend_from_slice(record.as_bytes());
    for (_, node) in nodes {
        let node = node.as_ref();
        let len = u32::try_from(node.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(node);
    }
    bytes
}

/// As [`encode`], with the nodes of the commit file that the same snapshot had before; one that is none had none.
pub fn encode_again<N: AsRef<[u8]>>(snapshot: &Snapshot, nodes: &[(NodeId, N)], before: &[u8]) -> Vec<u8> {
    match decode(snapshot.id(), before) {
        Ok(old) if !old.nodes.is_empty() => {
            let new = nodes.iter().map(|(id, node)| (*id, node.as_ref()));
            let all: BTreeMap<NodeId, &[u8]> = old.nodes.into_iter().chain(new).collect();
            encode(snapshot, &all.into_iter().collect::<Vec<_>>())
        }
        _ => encode(snapshot, nodes),
    }
}

/// Reads the commit file called `id`.
pub fn decode(id: SnapshotId, bytes: &[u8]) -> Result<CommitFile<'_>, CommitFileError> {
    let wrong = |reason: &str| CommitFileError { id, reason: reason.to_owned() };
    let rest = bytes.strip_prefix(HEADER.as_bytes()).ok_or_else(|| wrong("its first line is not known"))?;
    let (record_len, rest) = number(rest, "record ").ok_or_else(|| wrong("its second line is no length"))?;
    let (count, rest) = number(rest, "nodes ").ok_or_else(|| wrong("its third line is no count"))?;
    let (record, mut rest) =
        rest.split_at_checked(record_len).ok_or_else(|| wrong("it ends in the record"))?;
    if SnapshotId::of(record) != id {
        return Err(wrong("its record hashes to another name"));
    }
    let text = std::str::from_utf8(record).map_err(|error| wrong(&error.to_string()))?;
    let snapshot = Snapshot::decode(text).map_err(|error| wrong(&error.to_string()))?;
    let mut nodes: Vec<(NodeId, &[u8])> = Vec::new();
    for _ in 0..count {
        let (len, after) = rest.split_first_chunk::<4>().ok_or_else(|| wrong("it ends before its nodes"))?;
        let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
        let (node, after) = after.split_at_checked(len).ok_or_else(|| wrong("it ends in a node"))?;
        let name = NodeId::of(node);
        if nodes.last().is_some_and(|(last, _)| *last >= name) {
            return Err(wrong("its nodes are not sorted, or one is damaged"));
        }
        nodes.push((name, node));
        rest = after;
    }
    if rest.is_empty() {
        Ok(CommitFile { snapshot, nodes })
    } else {
        Err(wrong("it goes on after its nodes"))
    }
}

/// A line of a word and a number, and what follows.
fn number<'a>(bytes: &'a [u8], word: &str) -> Option<(usize, &'a [u8])> {
    let rest = bytes.strip_prefix(word.as_bytes())?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let digits = std::str::from_utf8(&rest[..end]).ok()?;
    let number: usize = digits.parse().ok()?;
    (number.to_string() == digits).then_some((number, &rest[end + 1..]))
}

#[cfg(test)]
mod tests;
