//! `cfs approve`

use std::path::PathBuf;

use cfs_indexer::approve::{self, Request};
use cfs_indexer::catalogue::Approval;
use cfs_indexer::refname::RefName;
use cfs_indexer::revision::Revision;
use cfs_indexer::sshsig::{self, Statement};
use serde_json::json;

use crate::context::Context;
use crate::output::time;
use crate::report::{CommandError, Kind};

/// Say that a snapshot may become part of a view; without one, list what was said.
///
/// Views whose configuration has `approvals` get what so many of their `approvers` approved of, besides who promotes.
/// An approval is of one snapshot: what comes to its ref afterwards is another one. With `signers` it must be signed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The view.
    #[arg(value_name = "VIEW")]
    view: RefName,

    /// What is to be promoted into it: a ref, or a snapshot's id.
    #[arg(value_name = "REV")]
    revision: Option<Revision>,

    /// The SSH key to sign with: a private key, or a public one whose private key an agent has.
    #[arg(long, value_name = "FILE", requires = "revision")]
    key: Option<PathBuf>,

    /// Take it back.
    #[arg(long, requires = "revision", conflicts_with_all = ["key", "signature"])]
    withdraw: bool,

    /// Why.
    #[arg(short, long, default_value = "")]
    message: String,

    /// Print what would be signed, and do nothing.
    #[arg(long, requires = "revision")]
    statement: bool,

    /// The signature itself, made with `ssh-keygen -Y sign -n cfs-approval` of what --statement prints.
    #[arg(long, value_name = "TEXT", requires = "revision", conflicts_with = "key")]
    signature: Option<String>,

    /// Print what would be recorded, and record nothing.
    #[arg(short = 'n', long, requires = "revision")]
    dry_run: bool,
}

/// What a user who signs himself asks of a keeper, and says then.
#[derive(Debug)]
pub struct ToBeSigned {
    /// The words that make the keeper say the statement.
    pub question: Vec<String>,
    view: RefName,
    key: PathBuf,
}

impl ToBeSigned {
    /// The words of the command with the signature in the place of the key.
    pub fn answer(&self, text: &str, words: Vec<String>) -> Result<Vec<String>, CommandError> {
        let snapshot =
            text.lines().find_map(|line| line.strip_prefix("snapshot ")).and_then(|id| id.parse().ok());
        let statement = snapshot.map(|id| Statement::of_approval(&self.view, id));
        // Nobody signs what somebody else makes up.
        let statement = statement.filter(|statement| statement.text() == text).ok_or_else(|| {
            CommandError::new(Kind::Failed, format!("the keeper wants something else signed: {text:?}"))
        })?;
        let signature = sign(&self.key, &statement)?;
        let mut kept = Vec::new();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            if word == "--key" {
                words.next();
            } else if !word.starts_with("--key=") {
                kept.push(word);
            }
        }
        kept.push(format!("--signature={signature}"));
        Ok(kept)
    }
}

impl Args {
    /// What is asked of a keeper first, when the user signs.
    pub fn to_be_signed(&self) -> Option<ToBeSigned> {
        let (key, revision) = (self.key.clone()?, self.revision.as_ref()?);
        let question =
            ["approve", "--statement", self.view.as_str(), &revision.to_string()].map(str::to_owned);
        Some(ToBeSigned { question: question.to_vec(), view: self.view.clone(), key })
    }

    /// Whether a file of the host is named.
    pub fn names_file(&self) -> bool {
        self.key.is_some()
    }
}

fn sign(key: &std::path::Path, statement: &Statement) -> Result<String, CommandError> {
    sshsig::sign(key, statement).map_err(|error| CommandError::new(Kind::Failed, error))
}

/// Runs `cfs approve`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let depot = context.depot()?;
    let config = &context.settings.configuration.1;
    let Some(revision) = &args.revision else {
        for approval in depot.catalogue.approvals(&args.view, None)? {
            print(&approval, context)?;
        }
        return Ok(());
    };
    let (id, statement) = approve::statement(&depot, &args.view, revision)?;
    if args.statement {
        let value = json!({ "namespace": statement.namespace(), "statement": statement.text() });
        return context.output.result(statement.text().trim_end(), &value);
    }
    context.may_approve(&args.view)?;
    let user = context.settings.caller.name();
    let verb = if args.withdraw { "takes back the approval of" } else { "approves of" };
    if args.dry_run {
        let value =
            json!({ "dry_run": true, "view": args.view.as_str(), "snapshot": id.to_string(), "user": user });
        return context
            .output
            .result(format_args!("would record that {user} {verb} {id} for {}", args.view), &value);
    }
    let key = args.key.as_deref().map(|key| sign(key, &statement)).transpose()?;
    let request = Request {
        view: args.view.clone(),
        revision: revision.clone(),
        user,
        signature: key.or_else(|| args.signature.clone()),
        withdraw: args.withdraw,
        message: args.message.clone(),
    };
    let (approval, name) = approve::approve(&depot, config, &request, &context.signer())?;
    let text = format!("{name} {verb} {} for {}", approval.snapshot, approval.view);
    let value = json!({
        "view": approval.view.as_str(), "snapshot": approval.snapshot.to_string(), "user": approval.user, "as": name,
        "given": approval.given, "signed": approval.signature.is_some(),
    });
    context.output.result(text, &value)
}

fn print(approval: &Approval, context: &Context<'_>) -> Result<(), CommandError> {
    let Approval { view, snapshot, user, given, signature, at, actor, message } = approval;
    let what = match (given, signature.is_some()) {
        (false, _) => "taken back",
        (true, true) => "approved, signed",
        (true, false) => "approved",
    };
    let text = format!("{snapshot:.12}  {}  {user}  {what}  {message}", time(*at));
    let value = json!({
        "view": view.as_str(), "snapshot": snapshot.to_string(), "user": user, "given": given,
        "signed": signature.is_some(), "at": time(*at), "actor": actor, "message": message,
    });
    context.output.result(text.trim_end(), &value)
}
