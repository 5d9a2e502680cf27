//! The one error of all commands: what went wrong, the exit status, and what to do about it.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use cfs_fs::checkout::CheckoutError;
use cfs_fs::edit::EditError;
use cfs_fs::fuse::FuseError;
use cfs_fs::http::HttpError;
use cfs_fs::import::ImportError;
use cfs_fs::mounts::MountsError;
use cfs_fs::overlay::{OverlayError, OverlayMountError};
use cfs_fs::store::StoreError;
use cfs_fs::tree::NodeError;
use cfs_indexer::approve::ApproveError;
use cfs_indexer::catalogue::CatalogueError;
use cfs_indexer::closure::places::ClosureError;
use cfs_indexer::filelist::FilelistError;
use cfs_indexer::import::ImportDirError;
use cfs_indexer::metalink::MetalinkError;
use cfs_indexer::packages::PackagesError;
use cfs_indexer::policy::PolicyError;
use cfs_indexer::promote::PromoteError;
use cfs_indexer::reindex::ReindexError;
use cfs_indexer::repository::documents::RepositoryError;
use cfs_indexer::rollback::RollbackError;
use cfs_indexer::workspace::WorkspaceError;

use crate::output::{self, Output};

/// Which exit status an error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 0: whoever read the output has gone.
    BrokenPipe,
    /// 1: the answer is no.
    No,
    /// 2: wrong usage.
    Usage,
    /// 3: failed.
    Failed,
    /// 4: the store is damaged.
    Damaged,
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct CommandError {
    /// The exit status.
    pub kind: Kind,
    /// What went wrong; `None` when the output has said it.
    pub error: Option<Box<dyn Error + Send + Sync>>,
    /// More lines of it, such as everything that failed.
    pub details: Vec<String>,
    /// What the user can do.
    pub hints: Vec<String>,
}

impl CommandError {
    /// An error with the given exit status.
    pub fn new(kind: Kind, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, error: Some(error.into()), details: Vec::new(), hints: Vec::new() }
    }

    /// The answer is no, and has been printed.
    pub fn answered_no() -> Self {
        Self { kind: Kind::No, error: None, details: Vec::new(), hints: Vec::new() }
    }

    /// The store is damaged, and how has been printed.
    pub fn found_damage() -> Self {
        Self { kind: Kind::Damaged, ..Self::answered_no() }
    }

    /// Wrong usage.
    pub fn usage(message: String) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// A file operation of the command itself failed.
    #[expect(clippy::needless_pass_by_value, reason = "errors are handed over")]
    pub fn io(verb: &str, path: &Path, error: std::io::Error) -> Self {
        Self::new(Kind::Failed, format!("{}: cannot {verb}: {error}", path.display()))
    }

    /// Standard output failed; a closed pipe is no error.
    #[expect(clippy::needless_pass_by_value, reason = "errors are handed over")]
    pub fn stdout(error: std::io::Error) -> Self {
        let closed = error.kind() == std::io::ErrorKind::BrokenPipe;
        Self::new(if closed { Kind::BrokenPipe } else { Kind::Failed }, format!("standard output: {error}"))
    }

    /// Adds what the user can do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Prints the error and returns the exit status.
    pub fn report(self, output: &Output) -> ExitCode {
        if self.kind != Kind::BrokenPipe {
            // What was printed before the error still counts; a failure of that would hide the error.
            let _ = output.finish();
            if let Some(text) = self.text(output.is_json()) {
                output::error(text);
            }
        }
        ExitCode::from(match self.kind {
            Kind::BrokenPipe => 0,
            Kind::No => 1,
            Kind::Usage => 2,
            Kind::Failed => 3,
            Kind::Damaged => 4,
        })
    }

    fn text(&self, json: bool) -> Option<String> {
        let error = self.error.as_ref()?;
        let message = with_causes(error.as_ref());
        if json {
            let value = serde_json::json!({
                "error": message, "details": self.details, "hints": self.hints,
            });
            return Some(value.to_string());
        }
        let mut text = format!("error: {message}");
        self.details.iter().for_each(|detail| text.extend(["\n  ", detail]));
        self.hints.iter().for_each(|hint| text.extend(["\nhint: ", hint]));
        Some(text)
    }
}

/// An error with all its causes, on one line.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        // Some errors repeat what is below them.
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Missing { .. } | StoreError::Damaged { .. } | StoreError::Unclean { .. } => {
                Kind::Damaged
            }
            _ => Kind::Failed,
        };
        let hint = match &error {
            StoreError::Closed { .. } => Some(
                "it belongs to another user, who may run a `cfs keeper` for you; then `keeper` in the configuration names \
                 its socket",
            ),
            StoreError::NotAStore { .. } => Some("make one with `cfs init`, or name another with --store"),
            StoreError::Full { .. } => {
                Some("`cfs gc` makes room; on a disk without any, `cfs gc --emergency`")
            }
            StoreError::Unclean { .. } => {
                Some("readers go on; repair what is damaged, and run the same command again")
            }
            _ => None,
        };
        let mut error = Self::new(kind, error);
        error.hints.extend(hint.map(str::to_owned));
        error
    }
}

impl From<NodeError> for CommandError {
    fn from(error: NodeError) -> Self {
        let kind = match &error {
            NodeError::Backend { .. } => Kind::Failed,
            NodeError::Missing { .. } | NodeError::Damaged { .. } => Kind::Damaged,
        };
        Self::new(kind, error)
    }
}

impl From<CatalogueError> for CommandError {
    fn from(error: CatalogueError) -> Self {
        match error {
            CatalogueError::Store(error) => error.into(),
            CatalogueError::Node(error) => error.into(),
            error @ (CatalogueError::Damaged { .. } | CatalogueError::MissingBlob { .. }) => {
                Self::new(Kind::Damaged, error)
            }
            error @ CatalogueError::Lost { .. } => {
                Self::new(Kind::Damaged, error).hint("`cfs reindex` rebuilds it from the rest of the store")
            }
            error @ CatalogueError::Vanished { .. } => {
                Self::new(Kind::Failed, error).hint("nothing was changed; run the same command again")
            }
            error @ CatalogueError::Collected { .. } => Self::new(Kind::Failed, error)
                .hint("`cfs pin` keeps a snapshot for ever; `cfs gc --keep` says how long others stay"),
            error @ CatalogueError::NoSuchRef { .. } => {
                Self::new(Kind::Failed, error).hint("`cfs refs` lists the refs")
            }
            error @ CatalogueError::Symbolic { .. } => {
                Self::new(Kind::No, error).hint("name the ref itself, or move the link with `cfs link`")
            }
            error @ (CatalogueError::RefConflict { .. }
            | CatalogueError::NotSymbolic { .. }
            | CatalogueError::Named { .. }
            | CatalogueError::SymbolicLoop { .. }) => Self::new(Kind::No, error),
            error => Self::new(Kind::Failed, error),
        }
    }
}

impl From<ReindexError> for CommandError {
    fn from(error: ReindexError) -> Self {
        match error {
            ReindexError::Catalogue(error) => error.into(),
            error @ ReindexError::InUse { .. } => Self::new(Kind::Failed, error)
                .hint("unmount and end exports, or wait until what runs has ended: the catalogue is rebuilt"),
            error => Self::new(Kind::Failed, error),
        }
    }
}

impl From<EditError> for CommandError {
    fn from(error: EditError) -> Self {
        match error {
            EditError::Node(error) => error.into(),
            error => Self::new(Kind::No, error),
        }
    }
}

impl From<ImportError> for CommandError {
    fn from(error: ImportError) -> Self {
        let details = match &error {
            ImportError::Refused { refusals, .. } => refusals
                .iter()
                .map(|refusal| {
                    format!("{} {}", refusal.path.display().to_string().escape_debug(), refusal.reason)
                })
                .collect(),
            _ => Vec::new(),
        };
        match error {
            ImportError::Store(error) => error.into(),
            error @ ImportError::Refused { .. } => Self { details, ..Self::new(Kind::No, error) },
            error => Self::new(Kind::Failed, error),
        }
    }
}

impl From<ImportDirError> for CommandError {
    fn from(error: ImportDirError) -> Self {
        match error {
            error @ ImportDirError::HoldsStore { .. } => Self::new(Kind::No, error),
            ImportDirError::Import(error) => error.into(),
            ImportDirError::Edit(error) => error.into(),
            ImportDirError::Filelist(error) => error.into(),
            ImportDirError::Catalogue(error) => error.into(),
        }
    }
}

impl From<FuseError> for CommandError {
    fn from(error: FuseError) -> Self {
        let hint = match &error {
            FuseError::Mount { .. } if !Path::new("/dev/fuse").exists() => {
                Some("there is no /dev/fuse: load the kernel's module with `modprobe fuse`")
            }
            FuseError::Mount { source, .. } if source.to_string().contains("user_allow_other") => {
                Some("without --allow-other, only you see the mount")
            }
            FuseError::Mount { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("you need to own the mount point and to be allowed to open /dev/fuse (mode 0666)")
            }
            FuseError::Mount { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Some("users other than root need the program fusermount3 (package fuse3)")
            }
            FuseError::Mount { .. } | FuseError::Session { .. } => None,
        };
        let mut error = Self::new(Kind::Failed, error);
        error.hints.extend(hint.map(str::to_owned));
        error
    }
}

impl From<HttpError> for CommandError {
    fn from(error: HttpError) -> Self {
        let hint = match &error {
            HttpError::Listen { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("ports below 1024 need root or the capability CAP_NET_BIND_SERVICE")
            }
            HttpError::Listen { .. } | HttpError::System { .. } | HttpError::Panicked => None,
        };
        let mut error = Self::new(Kind::Failed, error);
        error.hints.extend(hint.map(str::to_owned));
        error
    }
}

impl From<MountsError> for CommandError {
    fn from(error: MountsError) -> Self {
        Self::new(Kind::Failed, error)
    }
}

impl From<CheckoutError> for CommandError {
    fn from(error: CheckoutError) -> Self {
        match error {
            CheckoutError::Node(error) => error.into(),
            error @ CheckoutError::Blob {
                source: StoreError::Missing { .. } | StoreError::Damaged { .. },
                ..
            } => Self::new(Kind::Damaged, error),
            error => Self::new(Kind::Failed, error),
        }
    }
}

impl From<PromoteError> for CommandError {
    fn from(error: PromoteError) -> Self {
        match error {
            PromoteError::Edit(error) => error.into(),
            PromoteError::Catalogue(error) => error.into(),
            PromoteError::Filelist(error) => error.into(),
            error @ PromoteError::Unsigned { .. } => Self::new(Kind::No, error)
                .hint("--key names your SSH key, or its public half when an agent has it"),
            error @ PromoteError::Conflict { .. } => {
                Self::new(Kind::No, error).hint("--exclude leaves out what only one of them should bring")
            }
            error => Self::new(Kind::No, error),
        }
    }
}

impl From<PolicyError> for CommandError {
    fn from(error: PolicyError) -> Self {
        match error {
            PolicyError::Promote(error) => error.into(),
            error @ PolicyError::NoSuchPath { .. } => Self::new(Kind::No, error),
        }
    }
}

impl From<FilelistError> for CommandError {
    fn from(error: FilelistError) -> Self {
        match error {
            FilelistError::Node(error) => error.into(),
            FilelistError::Store(error) => error.into(),
            FilelistError::Catalogue(error) => error.into(),
            error @ FilelistError::Damaged { .. } => Self::new(Kind::Damaged, error),
            error @ FilelistError::Io { .. } => Self::new(Kind::Failed, error),
        }
    }
}

impl From<MetalinkError> for CommandError {
    fn from(error: MetalinkError) -> Self {
        match error {
            MetalinkError::Catalogue(error) => error.into(),
            error => Self::new(Kind::Failed, error),
        }
    }
}

impl From<RepositoryError> for CommandError {
    fn from(error: RepositoryError) -> Self {
        match error {
            RepositoryError::Node(error) => error.into(),
            RepositoryError::Store(error) => error.into(),
            error => Self::new(Kind::Failed, error),
        }
    }
}

impl From<PackagesError> for CommandError {
    fn from(error: PackagesError) -> Self {
        match error {
            PackagesError::Catalogue(error) => error.into(),
            error => Self::new(Kind::Failed, error),
        }
    }
}

impl From<ClosureError> for CommandError {
    fn from(error: ClosureError) -> Self {
        match error {
            ClosureError::Catalogue(error) => error.into(),
            error => Self::new(Kind::Failed, error),
        }
    }
}

impl From<RollbackError> for CommandError {
    fn from(error: RollbackError) -> Self {
        match error {
            RollbackError::Promote(error) => error.into(),
            error @ RollbackError::Unapproved { .. } => {
                Self::new(Kind::No, error).hint("`cfs approve` and `cfs promote` are the way to a new state")
            }
            error => Self::new(Kind::No, error),
        }
    }
}

impl From<ApproveError> for CommandError {
    fn from(error: ApproveError) -> Self {
        match error {
            ApproveError::Catalogue(error) => error.into(),
            error @ ApproveError::Unsigned { .. } => Self::new(Kind::No, error)
                .hint("--key names your SSH key, or its public half when an agent has it"),
            error => Self::new(Kind::No, error),
        }
    }
}

impl From<OverlayError> for CommandError {
    fn from(error: OverlayError) -> Self {
        match error {
            OverlayError::Import(error) => error.into(),
            OverlayError::Node(error) => error.into(),
            error @ OverlayError::Unreadable { .. } => Self::new(Kind::Failed, error),
        }
    }
}

impl From<OverlayMountError> for CommandError {
    fn from(error: OverlayMountError) -> Self {
        let hint = match &error {
            OverlayMountError::Kernel { .. } => {
                "--scratch names another place for the changes: a local file system such as ext4 or xfs"
            }
            OverlayMountError::Program { .. } => {
                "without the right to mount, the program fuse-overlayfs is needed (package fuse-overlayfs)"
            }
            OverlayMountError::Path { .. } => "--scratch names another place for the changes",
            OverlayMountError::Io { .. } => return Self::new(Kind::Failed, error),
        };
        Self::new(Kind::Failed, error).hint(hint)
    }
}

impl From<WorkspaceError> for CommandError {
    fn from(error: WorkspaceError) -> Self {
        match error {
            WorkspaceError::Overlay(error) => error.into(),
            WorkspaceError::Edit(error) => error.into(),
            WorkspaceError::Catalogue(error) => error.into(),
            error @ WorkspaceError::NotAWorkspace { .. } => {
                Self::new(Kind::Failed, error).hint("`cfs work list` lists the workspaces")
            }
            error @ WorkspaceError::Taken { .. } => {
                Self::new(Kind::No, error).hint("commit it or discard it first, or name another directory")
            }
            error @ WorkspaceError::Moved { .. } => Self::new(Kind::No, error)
                .hint("commit to another ref and compare, or overwrite it with --replace"),
            error => Self::new(Kind::Failed, error),
        }
    }
}
