//! Settings: flags, then the environment, then the configuration file, read once.

use std::path::{Path, PathBuf};

use cfs_indexer::config::{self, Config, ConfigError, LoadError};
use clap::Args;

use crate::permission::Caller;
use crate::report::CommandError;

/// Read when no other file is named, if it exists.
const DEFAULT_CONFIG: &str = "/etc/cfs/config.toml";
/// The store when nothing names another.
const DEFAULT_STORE: &str = "/var/lib/cfs";

/// Flags that say where things are.
#[derive(Debug, Args)]
pub struct SettingsArgs {
    /// Directory of the store [default: /var/lib/cfs].
    #[arg(long, global = true, env = "CFS_STORE", hide_env_values = true, value_name = "DIR")]
    store: Option<PathBuf>,

    /// Configuration file [default: /etc/cfs/config.toml, if it exists].
    #[arg(long, global = true, env = "CFS_CONFIG", hide_env_values = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What all commands need to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Directory of the store.
    pub store: PathBuf,
    /// The configuration file, where one was named.
    pub config: Option<PathBuf>,
    /// The configuration file that was read, and what it says.
    pub configuration: (PathBuf, Config),
    /// Who asks.
    pub caller: Caller,
    /// Who is at work: `user@host`.
    pub actor: String,
}

impl Settings {
    /// Brings flags, environment and configuration together.
    pub fn load(args: &SettingsArgs) -> Result<Self, CommandError> {
        let path = args.config.clone().unwrap_or_else(|| DEFAULT_CONFIG.into());
        let config = read_config(&path, args.config.is_some())?;
        let store =
            args.store.clone().or_else(|| config.store.clone()).unwrap_or_else(|| DEFAULT_STORE.into());
        let caller = caller();
        let actor = actor(&caller);
        Ok(Self { store, config: args.config.clone(), configuration: (path, config), caller, actor })
    }
}

fn read_config(path: &Path, must_exist: bool) -> Result<Config, CommandError> {
    if !must_exist && !path.exists() {
        return Ok(Config::default());
    }
    config::load(path).map_err(|error| match error {
        LoadError::Read { path, source } => CommandError::io("read", &path, source),
        LoadError::Config { path, error } => misread(&path, error),
    })
}

/// A file that is wrong, with the line and what was probably meant.
pub fn misread(path: &Path, error: ConfigError) -> CommandError {
    let ConfigError { line, message, suggestion } = error;
    let error = CommandError::usage(format!("{}:{line}: {message}", path.display()));
    match suggestion {
        Some(word) => error.hint(format!("is {word:?} meant?")),
        None => error,
    }
}

/// Names the one whom a keeper works for. Whoever sets it by himself can do so only as the store's owner, who may say
/// what he likes.
pub const WORKS_FOR: &str = "CFS_WORKS_FOR";

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn caller() -> Caller {
    let named = std::env::var(WORKS_FOR).ok();
    named.and_then(|text| Caller::parse(&text)).unwrap_or_else(Caller::of_process)
}

/// The caller by name; after him who says that he was somebody else before.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn actor(caller: &Caller) -> String {
    let user = caller.name();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let before = std::env::var("SUDO_USER").ok().filter(|name| *name != user);
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match before.filter(|name| name.len() <= 64 && name.chars().all(plain)) {
        Some(before) => format!("{user}@{host} (sudo: {before})"),
        None => format!("{user}@{host}"),
    }
}
