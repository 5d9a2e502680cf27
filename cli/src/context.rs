//! What a command is given: settings, output, and how to open the store.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cfs_fs::bell;
use cfs_indexer::catalogue::Signer;
use cfs_indexer::depot::Depot;
use cfs_indexer::hooks;
use cfs_indexer::refname::RefName;

use crate::output::Output;
use crate::permission;
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
        match self.settings.configuration.1.view(view).who_may {
            Some(who) if !permission::is_one_of(&who) => {
                let text = format!("{view}: {} may not promote into it", self.settings.actor);
                let names: Vec<String> = who.users.into_iter().chain(who.groups).collect();
                Err(CommandError::new(Kind::No, text).hint(format!("who may: {}", names.join(", "))))
            }
            _ => Ok(()),
        }
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
