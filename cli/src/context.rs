//! What a command is given: settings, output, and how to open the store.

use std::time::{SystemTime, UNIX_EPOCH};

use cfs_indexer::catalogue::Signer;
use cfs_indexer::depot::Depot;

use crate::output::Output;
use crate::report::CommandError;
use crate::settings::Settings;

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

    /// Who writes, and that it is now.
    pub fn signer(&self) -> Signer {
        Signer {
            actor: self.settings.actor.clone(),
            tool: concat!("cfs ", env!("CARGO_PKG_VERSION")).to_owned(),
            now: i64::try_from(Self::now_ns() / 1_000_000_000).unwrap_or(i64::MAX),
        }
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
