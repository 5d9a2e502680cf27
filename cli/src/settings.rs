//! Settings: flags, then the environment, then the configuration file, read once.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

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

/// The configuration file. An unknown key is an error: a misspelt policy must not be silently off.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    store: Option<PathBuf>,
}

/// What all commands need to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Directory of the store.
    pub store: PathBuf,
    /// The configuration file, where one was named.
    pub config: Option<PathBuf>,
    /// Who is at work: `user@host`.
    pub actor: String,
}

impl Settings {
    /// Brings flags, environment and configuration together.
    pub fn load(args: &SettingsArgs) -> Result<Self, CommandError> {
        let config = match &args.config {
            Some(path) => read_config(path, true)?,
            None => read_config(Path::new(DEFAULT_CONFIG), false)?,
        };
        let store = args.store.clone().or(config.store).unwrap_or_else(|| DEFAULT_STORE.into());
        Ok(Self { store, config: args.config.clone(), actor: actor() })
    }
}

fn read_config(path: &Path, must_exist: bool) -> Result<ConfigFile, CommandError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => {
            return Ok(ConfigFile::default());
        }
        read => read.map_err(|error| CommandError::io("read", path, error))?,
    };
    toml::from_str(&text).map_err(|error| CommandError::usage(format!("{}: {error}", path.display())))
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn actor() -> String {
    let user = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let user = user.unwrap_or_else(|| rustix::process::getuid().as_raw().to_string());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{user}@{host}")
}
