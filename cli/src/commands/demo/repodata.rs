//! Writes the metadata of a repository as createrepo does: names that begin with their checksum, zstd.
//!
//! Always true: `repomd.xml` is written last and replaced in one step, and what it no longer names is removed
//! after that.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rpmrepo_metadata::{
    ChecksumType, CompressionType, FilelistsXml, MetadataError, OtherXml, PrimaryXml, RepomdRecord,
    RepomdXml, Repository,
};

use crate::report::{CommandError, Kind};

use super::upstream::set_time;

/// Writes the metadata of `repository` to the directory `dir`, as of `time` (seconds since 1970). Records
/// that are in the repository's repomd stay.
pub fn write(dir: &Path, repository: &mut Repository, time: u32) -> Result<(), CommandError> {
    let place = dir.join("repodata");
    fs::create_dir_all(&place).map_err(|e| CommandError::io("make", &place, e))?;
    let failed = |error: MetadataError| {
        CommandError::new(Kind::Failed, format!("{}: cannot write metadata: {error}", place.display()))
    };
    let zstd = CompressionType::Zstd;
    let written = [
        ("primary", repository.write_metadata_file::<PrimaryXml>(&place, zstd)),
        ("filelists", repository.write_metadata_file::<FilelistsXml>(&place, zstd)),
        ("other", repository.write_metadata_file::<OtherXml>(&place, zstd)),
    ];
    for (kind, path) in written {
        let record = record(kind, &path.map_err(failed)?, dir, time)?;
        repository.repomd_mut().add_record(record);
    }
    repository.repomd_mut().set_revision(&time.to_string());
    repository.repomd_mut().sort_records();
    let bytes = repository.write_metadata_bytes::<RepomdXml>().map_err(failed)?;
    let (temporary, path) = (place.join(".repomd.xml"), place.join("repomd.xml"));
    fs::write(&temporary, bytes).map_err(|e| CommandError::io("write", &temporary, e))?;
    set_time(&temporary, time)?;
    fs::rename(&temporary, &path).map_err(|e| CommandError::io("replace", &path, e))?;
    remove_others(dir, repository)
}

/// Describes a metadata file after giving it the name that its content asks for.
fn record(kind: &str, path: &Path, dir: &Path, time: u32) -> Result<RepomdRecord, CommandError> {
    let failed =
        |error| CommandError::new(Kind::Failed, format!("{}: cannot be described: {error}", path.display()));
    set_time(path, time)?;
    let href = path.strip_prefix(dir).unwrap_or(path);
    let mut record = RepomdRecord::new(kind, href, dir, ChecksumType::Sha256).map_err(failed)?;
    let (_, digest) = record.checksum.to_values().map_err(failed)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let href = PathBuf::from(format!("repodata/{digest}-{name}"));
    fs::rename(path, dir.join(&href)).map_err(|e| CommandError::io("rename", path, e))?;
    record.location_href = href;
    Ok(record)
}

/// Removes the files of `repodata/` that the metadata does not name.
fn remove_others(dir: &Path, repository: &Repository) -> Result<(), CommandError> {
    let mut named: BTreeSet<PathBuf> =
        repository.repomd().records().iter().map(|record| dir.join(&record.location_href)).collect();
    named.insert(dir.join("repodata/repomd.xml"));
    let place = dir.join("repodata");
    let entries = fs::read_dir(&place).map_err(|e| CommandError::io("list", &place, e))?;
    for entry in entries {
        let path = entry.map_err(|e| CommandError::io("list", &place, e))?.path();
        if !named.contains(&path) {
            fs::remove_file(&path).map_err(|e| CommandError::io("remove", &path, e))?;
        }
    }
    Ok(())
}
