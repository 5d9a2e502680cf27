//! Signatures with SSH keys: moves of views and approvals, signed and verified by `ssh-keygen`.
//!
//! Always true: what is signed is text that says everything the signature is about, and a signature of one kind is none
//! of another (ssh-keygen's namespaces); whoever signed is named by the file of allowed signers, and by nobody else.

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use cfs_fs::digest::SnapshotId;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::refname::RefName;

const PROGRAM: &str = "ssh-keygen";
/// Bytes of a signature; that of the longest RSA key has some 3 KB.
const SIGNATURE_BYTES_MAX: usize = 16 << 10;

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    namespace: &'static str,
    text: String,
}

/// Who signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// As the file of allowed signers calls him.
    pub principal: String,
}

/// Why a signature cannot be made, or does not count.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The program cannot be run.
    #[error("{PROGRAM} cannot be run")]
    Start(#[source] std::io::Error),
    /// No signature came of the key.
    #[error("{}: cannot sign: {answer}", key.display())]
    Key {
        /// The key.
        key: PathBuf,
        /// What the program said.
        answer: String,
    },
    /// Nobody of the allowed signers made it.
    #[error("is by nobody whom {} allows: {answer}", signers.display())]
    Stranger {
        /// The file of allowed signers.
        signers: PathBuf,
        /// What the program said.
        answer: String,
    },
    /// It is not a signature of this.
    #[error("is no good signature of {principal}: {answer}")]
    Bad {
        /// Who should have made it.
        principal: String,
        /// What the program said.
        answer: String,
    },
    /// It is no signature at all.
    #[error("is no signature")]
    Malformed,
}

impl Statement {
    /// That a view moves: from what to what, as its which generation.
    pub fn of_move(view: &RefName, old: Option<SnapshotId>, new: SnapshotId, generation: u64) -> Self {
        let old = old.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let text = format!("cfs-move 1\nview {view}\nold {old}\nnew {new}\ngeneration {generation}\n");
        Self { namespace: "cfs-move", text }
    }

    /// That a snapshot may become part of a view.
    pub fn of_approval(view: &RefName, snapshot: SnapshotId) -> Self {
        Self {
            namespace: "cfs-approval",
            text: format!("cfs-approval 1\nview {view}\nsnapshot {snapshot}\n"),
        }
    }

    /// What is signed, byte by byte.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the signature is of: `ssh-keygen -Y sign -n NAMESPACE`.
    pub fn namespace(&self) -> &'static str {
        self.namespace
    }
}

/// Signs with a private key, or with a public one whose private key an agent has.
pub fn sign(key: &Path, statement: &Statement) -> Result<String, SignError> {
    let mut command = Command::new(PROGRAM);
    command.args(["-q", "-Y", "sign", "-n", statement.namespace, "-f"]).arg(key);
    let output = run(&mut command, statement.text.as_bytes())?;
    let signature = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() && is_signature(&signature) {
        return Ok(signature);
    }
    Err(SignError::Key { key: key.to_owned(), answer: said(&output) })
}

/// Who of the allowed signers made a signature that was given at `at`, seconds since 1970.
pub fn verify(signers: &Path, statement: &Statement, signature: &str, at: i64) -> Result<Signed, SignError> {
    if !is_signature(signature) {
        return Err(SignError::Malformed);
    }
    let file = in_memory(signature.as_bytes()).map_err(SignError::Start)?;
    // The file lives in this process; the program inherits it.
    let place = format!("/proc/self/fd/{}", file.as_raw_fd());
    let time = time_option(at);
    let mut find = Command::new(PROGRAM);
    find.args(["-Y", "find-principals", "-O", &time, "-s", &place, "-f"]).arg(signers);
    let output = run(&mut find, b"")?;
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    let principal = found.lines().next().and_then(|line| line.split(',').next()).unwrap_or_default().trim();
    // A pattern names nobody.
    let is_plain =
        !principal.is_empty() && !principal.starts_with('-') && !principal.contains(['*', '?', '!', ' ']);
    if !output.status.success() || !is_plain {
        return Err(SignError::Stranger { signers: signers.to_owned(), answer: said(&output) });
    }
    let mut check = Command::new(PROGRAM);
    check
        .args(["-Y", "verify", "-n", statement.namespace, "-O", &time, "-s", &place, "-I", principal, "-f"])
        .arg(signers);
    let output = run(&mut check, statement.text.as_bytes())?;
    let principal = principal.to_owned();
    if output.status.success() {
        return Ok(Signed { principal });
    }
    Err(SignError::Bad { principal, answer: said(&output) })
}

fn is_signature(text: &str) -> bool {
    let whole = text.trim();
    let begins = whole.starts_with("-----BEGIN SSH SIGNATURE-----");
    text.len() <= SIGNATURE_BYTES_MAX && begins && whole.ends_with("-----END SSH SIGNATURE-----")
}

/// Keys may be good for a time.
fn time_option(at: i64) -> String {
    let time = jiff::Timestamp::from_second(at).unwrap_or_default();
    format!("verify-time={}", time.strftime("%Y%m%d%H%M%S"))
}

/// A file that nobody else sees, which programs that are run inherit.
fn in_memory(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let mut file = std::fs::File::from(memfd_create("cfs-signature", MemfdFlags::empty())?);
    file.write_all(bytes)?;
    Ok(file.into())
}

fn run(command: &mut Command, input: &[u8]) -> Result<Output, SignError> {
    // The program takes times for those of the zone; times here are those of the world.
    command.env("TZ", "UTC").env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(SignError::Start)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not want all of it says why itself.
        let _ = stdin.write_all(input);
    }
    child.wait_with_output().map_err(SignError::Start)
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason was given");
    line.trim().chars().take(200).collect()
}
