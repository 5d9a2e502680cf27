//! `cfs compose disc`

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use cfs_indexer::compose::{Disc, DiscError, Wish, disc};
use cfs_indexer::revision::Revision;
use serde_json::json;

use crate::context::Context;
use crate::output::{count, size};
use crate::report::{CommandError, Kind, with_causes};

/// Write the script by which xorriso makes a disc of a compose.
///
/// `xorriso -dialog on < SCRIPT` adds the disc's repositories, as they stand in a mount of the store, to a boot
/// image and boots as that one does; so do files of the install tree and extra files that the boot image lacks.
/// Everything is read through the compose's snapshot, so the disc is of one state even when the compose is brought
/// up to date meanwhile. The disc's .treeinfo, .discinfo and media.repo are written beside the script. No file of
/// the compose is read.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The release, as the configuration calls it.
    profile: String,

    /// The disc: NAME of a [release.9.iso.NAME] with disc = true.
    disc: String,

    /// Its architecture.
    #[arg(long, value_name = "ARCH")]
    arch: String,

    /// The compose [default: the latest].
    #[arg(long, value_name = "REV")]
    compose: Option<Revision>,

    /// Where the store is mounted when the script is run.
    #[arg(long, value_name = "DIR")]
    mount: PathBuf,

    /// The install tree that lorax made [default: the compose's, where it has one].
    #[arg(long, value_name = "DIR")]
    tree: Option<PathBuf>,

    /// Files that the disc has besides, at its top; the release's extra files come without being told.
    #[arg(long, value_name = "DIR")]
    extra: Option<PathBuf>,

    /// The image that it boots like, and whose label it gets.
    #[arg(long, value_name = "FILE")]
    boot: PathBuf,

    /// The image that the script makes; it must not be there.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// The script [default: the image's name and .xorriso].
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,

    /// The time that the disc says it was made, in seconds since 1970 [default: that of the compose's snapshot].
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH", hide_env_values = true)]
    time: Option<i64>,
}

/// Runs `cfs compose disc`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let recipe = super::recipe(&args.profile, None, context)?;
    let absolute =
        |path: &Path| std::path::absolute(path).map_err(|error| CommandError::io("find", path, error));
    let output = absolute(&args.output)?;
    if output.symlink_metadata().is_ok() {
        let error = CommandError::new(Kind::Failed, format!("{}: is there already", output.display()));
        return Err(error.hint("xorriso would add to it; remove it, or name another"));
    }
    let script = match &args.script {
        Some(script) => absolute(script)?,
        None => beside(&output, ".xorriso"),
    };
    let (mount, boot) = (absolute(&args.mount)?, absolute(&args.boot)?);
    let tree = args.tree.as_deref().map(absolute).transpose()?;
    let extra = args.extra.as_deref().map(absolute).transpose()?;
    let wish = Wish {
        disc: &args.disc,
        arch: &args.arch,
        compose: args.compose.as_ref(),
        mount: &mount,
        tree: tree.as_deref(),
        extra: extra.as_deref(),
        boot: &boot,
        output: &output,
        script: &script,
        time: args.time,
    };
    let done = disc(&context.depot()?, &recipe, &wish).map_err(|error| failed(error, context))?;
    for (path, bytes) in &done.documents {
        write(path, bytes, done.time)?;
    }
    write(&script, done.script.as_bytes(), done.time)?;
    print(args, &output, &script, &done, context)
}

fn print(
    args: &Args,
    output: &Path,
    script: &Path,
    done: &Disc,
    context: &Context<'_>,
) -> Result<(), CommandError> {
    let documents: Vec<&PathBuf> = done.documents.iter().map(|(path, _)| path).collect();
    let value = json!({
        "disc": args.disc,
        "arch": args.arch,
        "snapshot": done.snapshot.to_string(),
        "volume_id": done.volume_id,
        "files": done.files,
        "bytes": done.bytes,
        "time": done.time,
        "script": script,
        "documents": documents,
        "output": output,
    });
    let text = format!(
        "{}: {} files, {} beside the boot image; label {}, snapshot {}\nxorriso -dialog on < {}",
        output.display(),
        count(done.files),
        size(done.bytes),
        done.volume_id,
        done.snapshot,
        script.display()
    );
    context.output.result(text, &value)
}

/// The path with more at its end.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// Puts a file in its place, whole or not at all. Its time gets on the disc.
fn write(path: &Path, bytes: &[u8], time: i64) -> Result<(), CommandError> {
    let new = beside(path, ".new");
    let put = || {
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.set_modified(UNIX_EPOCH + Duration::from_secs(u64::try_from(time).unwrap_or(0)))?;
        fs::rename(&new, path)
    };
    put().map_err(|error| CommandError::io("write", path, error))
}

fn failed(error: DiscError, context: &Context<'_>) -> CommandError {
    match error {
        DiscError::Unknown(error) => context.unknown(&error),
        DiscError::Catalogue(error) => error.into(),
        error @ DiscError::NotADisc { .. } => {
            CommandError::new(Kind::Usage, error).hint("disc = true makes it one")
        }
        error => CommandError::new(Kind::Failed, with_causes(&error)),
    }
}
