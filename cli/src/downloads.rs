//! What verbs that download from repositories have in common: how far they are, and the keys that they are given.

use cfs_indexer::openpgp::Keyring;
use cfs_indexer::sync::{Phase, Progress};
use indicatif::ProgressBar;

use crate::report::CommandError;

/// Draws how far a download is.
pub fn show(bar: &ProgressBar, progress: &Progress) {
    let what = match progress.phase {
        Phase::Waiting => "waits for another sync of the same",
        Phase::Metadata => "metadata",
        Phase::Hashing => "hashes",
        Phase::Packages => "packages",
        Phase::Signatures => "signatures",
    };
    bar.set_length(progress.bytes);
    bar.set_position(progress.bytes_done);
    bar.set_message(format!("{what} {}/{}", progress.files_done, progress.files));
}

/// The keys of all files, each with its name and its content; `None` when there are no files.
pub fn keyring(
    files: impl Iterator<Item = Result<(String, Vec<u8>), CommandError>>,
) -> Result<Option<Keyring>, CommandError> {
    let mut all: Option<Keyring> = None;
    for file in files {
        let (name, bytes) = file?;
        let keys = Keyring::parse(&bytes).map_err(|error| {
            CommandError::usage(format!("{name}: {error}"))
                .hint("OpenPGP public keys are needed, such as an RPM-GPG-KEY file")
        })?;
        all = Some(match all {
            None => keys,
            Some(all) => all.and(keys),
        });
    }
    Ok(all)
}
