//! `approve`: somebody says of one snapshot that it may become part of a view.
//!
//! Always true: what is recorded would count: the view asks for approvals, and a signature that it demands is good.
//! Whether the user is one of the approvers is for whoever knows users to check before.

use std::path::Path;

use cfs_fs::digest::SnapshotId;

use crate::catalogue::{Approval, CatalogueError, Signer};
use crate::config::Config;
use crate::depot::Depot;
use crate::refname::RefName;
use crate::revision::Revision;
use crate::sshsig::{self, SignError, Statement};

/// Who says what of what.
#[derive(Debug, Clone)]
pub struct Request {
    /// The view.
    pub view: RefName,
    /// What is approved of.
    pub revision: Revision,
    /// The user who says so.
    pub user: String,
    /// His signature of the statement.
    pub signature: Option<String>,
    /// He takes it back.
    pub withdraw: bool,
    /// Why, in his words.
    pub message: String,
}

/// Why an approval is not recorded.
#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    /// Nobody asks for it.
    #[error("{view}: asks for no approvals")]
    NotAsked {
        /// The view.
        view: RefName,
    },
    /// It must be signed.
    #[error("{view}: counts signed approvals only")]
    Unsigned {
        /// The view.
        view: RefName,
    },
    /// The signature does not count.
    #[error("the signature {0}")]
    Signature(#[source] SignError),
    /// There is nothing to take back.
    #[error("{user} has not approved of {snapshot} for {view}")]
    NotGiven {
        /// The user.
        user: String,
        /// The snapshot.
        snapshot: SnapshotId,
        /// The view.
        view: RefName,
    },
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// What is to be signed for a request.
pub fn statement(
    depot: &Depot,
    view: &RefName,
    revision: &Revision,
) -> Result<(SnapshotId, Statement), ApproveError> {
    let (id, _) = depot.catalogue.resolve(revision)?;
    Ok((id, Statement::of_approval(view, id)))
}

/// Records what somebody says; returns it, and under which name it counts.
pub fn approve(
    depot: &Depot,
    config: &Config,
    request: &Request,
    signer: &Signer,
) -> Result<(Approval, String), ApproveError> {
    let view = &request.view;
    let policy = config.view(view);
    if policy.approvals.is_none() {
        return Err(ApproveError::NotAsked { view: view.clone() });
    }
    let (snapshot, _) = statement(depot, view, &request.revision)?;
    let mut approval = Approval::new(view, snapshot, &request.user, signer);
    approval.message.clone_from(&request.message);
    if request.withdraw {
        let said = depot.catalogue.approvals(view, Some(snapshot))?;
        if !said.iter().any(|said| said.given && said.user == request.user) {
            let user = request.user.clone();
            return Err(ApproveError::NotGiven { user, snapshot, view: view.clone() });
        }
        approval.given = false;
        depot.catalogue.record_approval(&approval)?;
        return Ok((approval, request.user.clone()));
    }
    approval.signature.clone_from(&request.signature);
    let name = match (&approval.signature, policy.signers.as_deref()) {
        (None, Some(_)) => return Err(ApproveError::Unsigned { view: view.clone() }),
        (_, signers) => counted(&approval, signers).map_err(ApproveError::Signature)?,
    };
    depot.catalogue.record_approval(&approval)?;
    Ok((approval, name))
}

/// The name under which an approval counts: that of its key among the allowed signers; or, where no signatures are
/// asked for, that of the user.
pub fn counted(approval: &Approval, signers: Option<&Path>) -> Result<String, SignError> {
    let Some(signers) = signers else { return Ok(approval.user.clone()) };
    let statement = Statement::of_approval(&approval.view, approval.snapshot);
    let signature = approval.signature.as_deref().ok_or(SignError::Malformed)?;
    Ok(sshsig::verify(signers, &statement, signature, approval.at)?.principal)
}

/// The user of `user@host`.
pub fn user_of(actor: &str) -> &str {
    actor.split('@').next().unwrap_or(actor)
}
