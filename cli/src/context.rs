//! What a command is given: settings, output, and how to open the store.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cfs_fs::bell;
use cfs_indexer::catalogue::Signer;
use cfs_indexer::compose::RecipeError;
use cfs_indexer::config::{Config, WhoMay};
use cfs_indexer::depot::Depot;
use cfs_indexer::hooks;
use cfs_indexer::refname::RefName;

use crate::output::Output;
use crate::permission::{self, Caller};
use crate::report::{CommandError, Kind};
use crate::settings::Settings;

/// How long mounts are waited for after a flip.
const PATIENCE: Duration = Duration::from_secs(1);

/// Given to every command.
#[derive(Debug)]
pub struct Context<'a> {
    /// Where things are printed.
    pub output: &'a Output,
    /// Where things are.
    pub settings: Settings,
}

impl Context<'_> {
    /// Opens the store.
    pub fn depot(&self) -> Result<Depot, CommandError> {
        Ok(Depot::open(&self.settings.store)?)
    }

    /// Waits until every mount of the store on this host shows what refs name now; a mount that does not say so
    /// is a reason for a word, not for an error: it looks by itself within a second.
    pub fn flip(&self, depot: &Depot) {
        match bell::ring(&depot.store.run_dir(), PATIENCE) {
            Ok(silent) => {
                for line in silent {
                    self.output
                        .note(format_args!("warning: a mount may still show the old snapshot: {line}"));
                }
            }
            Err(error) => self.output.note(format_args!("warning: cannot tell the mounts: {error}")),
        }
    }

    /// Who writes, and that it is now.
    pub fn signer(&self) -> Signer {
        Signer {
            actor: self.settings.actor.clone(),
            tool: concat!("cfs ", env!("CARGO_PKG_VERSION")).to_owned(),
            now: i64::try_from(Self::now_ns() / 1_000_000_000).unwrap_or(i64::MAX),
        }
    }

    /// Refuses what the policy of a view does not let this user do.
    pub fn may(&self, view: &RefName) -> Result<(), CommandError> {
        let policy = self.settings.configuration.1.view(view);
        self.is_let(
            policy.who_may.as_ref(),
            &format!("{view}: {} may not promote into it", self.settings.actor),
        )
    }

    /// Refuses, besides, what would give a view something that nobody approved.
    pub fn may_write(&self, view: &RefName) -> Result<(), CommandError> {
        self.may(view)?;
        let policy = self.settings.configuration.1.view(view);
        let text = match (policy.approvals, policy.signed_moves) {
            (None, false) => return Ok(()),
            (Some(_), _) => format!("{view}: gets what was approved and nothing else"),
            (None, true) => format!("{view}: is moved by promotions, which are signed, and nothing else"),
        };
        Err(CommandError::new(Kind::No, text).hint("bring it into another ref, and promote that"))
    }

    /// Refuses users who are no approvers of a view.
    pub fn may_approve(&self, view: &RefName) -> Result<(), CommandError> {
        let who = self.settings.configuration.1.view(view).approvers;
        self.is_let(who.as_ref(), &format!("{view}: {} is no approver", self.settings.actor))
    }

    /// The configuration, with this key to sign moves with in the place of its own.
    pub fn config_with(&self, key: Option<&Path>) -> Config {
        let mut config = self.settings.configuration.1.clone();
        config.signing_key = key.map(Path::to_owned).or(config.signing_key);
        config
    }

    /// Refuses users who may not say what is deleted and what is kept.
    pub fn may_delete(&self) -> Result<(), CommandError> {
        let who = self.settings.configuration.1.gc.who_may.as_ref();
        self.is_let(who, &format!("{} may not say what is deleted", self.settings.actor))
    }

    fn is_let(&self, who: Option<&WhoMay>, refusal: &str) -> Result<(), CommandError> {
        if let Some(who) = who.filter(|who| !self.settings.caller.is_one_of(who)) {
            let names: Vec<&str> = who.users.iter().chain(&who.groups).map(String::as_str).collect();
            let error = CommandError::new(Kind::No, refusal.to_owned());
            return Err(error.hint(format!("who may: {}", names.join(", "))));
        }
        self.is_owner()
    }

    /// Refuses root in a store of somebody else: what he wrote there its owner could not change.
    fn is_owner(&self) -> Result<(), CommandError> {
        let store = &self.settings.store;
        let Some(owner) = permission::owner_of(store).filter(|owner| *owner != 0) else { return Ok(()) };
        if !rustix::process::geteuid().is_root() {
            // Others are refused by the kernel.
            return Ok(());
        }
        let name = Caller::of_peer(owner, owner).name();
        let text = format!("{}: belongs to {name}, and would not any more", store.display());
        Err(CommandError::new(Kind::No, text).hint(format!("run it as {name}: runuser -u {name} -- cfs …")))
    }

    /// Tells post-promote hooks what has happened. One that fails is told again another time.
    pub fn tell_hooks(&self, depot: &Depot) -> Result<(), CommandError> {
        let told = hooks::post_promote(depot, &self.settings.configuration.1, &self.signer())?;
        for one in told {
            match one.result {
                Err(error) => {
                    self.output.note(format_args!("warning: {error}; `cfs hooks run` tries it again"));
                }
                Ok(output) => self.output.detail(format_args!("hook {}: {}", one.hook, output.trim_end())),
            }
        }
        Ok(())
    }

    /// The error for what the configuration does not know.
    pub fn unknown(&self, error: &RecipeError) -> CommandError {
        let (path, _) = &self.settings.configuration;
        CommandError::usage(format!("{}: {error}", path.display()))
    }

    /// Nanoseconds since 1970.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn now_ns() -> u128 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
    }

    /// How many threads read, write and hash.
    pub fn threads() -> usize {
        std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 16))
    }
}
