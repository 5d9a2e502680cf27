//! A configuration in several files.
//!
//! Always true: what a file names is named from where that file is; no file is read twice; no section and no key
//! stands in two files, so that none overrules another unseen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fault::Fault;
use super::release::check;
use super::{Collection, Config, ConfigError, Fetch, Retention, parse};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A file is wrong.
    #[error("{}:{}: {}", path.display(), error.line, error.message)]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: ConfigError,
    },
}

/// Reads the configuration at `path` with everything that it includes.
pub fn load(path: &Path) -> Result<Config, LoadError> {
    let mut loading = Loading::default();
    loading.file(path)?;
    loading.check_groups()?;
    Ok(loading.config)
}

#[derive(Default)]
struct Loading {
    config: Config,
    /// Which file, with its text, says what: keys that lead to it.
    said: BTreeMap<Vec<String>, (PathBuf, Arc<str>)>,
    /// Files that are being read, each included by the one before it.
    open: Vec<PathBuf>,
    read: BTreeSet<PathBuf>,
}

impl Loading {
    fn file(&mut self, path: &Path) -> Result<(), LoadError> {
        let fail = |source| LoadError::Read { path: path.to_owned(), source };
        let text: Arc<str> = fs::read_to_string(path).map_err(fail)?.into();
        let whole = path.canonicalize().map_err(fail)?;
        if !self.read.insert(whole.clone()) {
            return Ok(());
        }
        let mut config = parse(&text).map_err(|error| LoadError::Config { path: path.to_owned(), error })?;
        let dir = path.parent().unwrap_or(Path::new(""));
        for view in config.views.values_mut() {
            view.keys.iter_mut().chain(&mut view.signers).for_each(|file| *file = dir.join(&*file));
        }
        config.signing_key = config.signing_key.map(|key| dir.join(key));
        config.locate_release_files(dir);
        let includes = std::mem::take(&mut config.include.0);
        self.merge(path, &text, config)?;
        self.open.push(whole);
        for include in includes {
            self.include(path, &text, &include, &dir.join(&include))?;
        }
        self.open.pop();
        Ok(())
    }

    /// Reads a file that `path` includes, or the files of a directory in the order of their names.
    fn include(&mut self, path: &Path, text: &str, written: &Path, included: &Path) -> Result<(), LoadError> {
        let refuse = |message: String| {
            let error = Fault::at(&["include", &written.to_string_lossy()], message).in_file(text);
            LoadError::Config { path: path.to_owned(), error }
        };
        let unreadable = |error: std::io::Error| refuse(format!("{}: {error}", included.display()));
        let whole = included.canonicalize().map_err(unreadable)?;
        if !whole.is_dir() {
            if self.open.contains(&whole) {
                return Err(refuse(format!("{} includes itself", included.display())));
            }
            return self.file(included);
        }
        let mut files = Vec::new();
        for entry in fs::read_dir(included).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            if file.extension().is_some_and(|extension| extension == "toml") {
                files.push(file);
            }
        }
        files.sort();
        files.iter().try_for_each(|file| self.include(path, text, written, file))
    }

    /// Adds what a file says to what the files before it say.
    fn merge(&mut self, path: &Path, text: &Arc<str>, config: Config) -> Result<(), LoadError> {
        let Config {
            include: _,
            store,
            keeper,
            signing_key,
            views,
            promotions,
            releases,
            sigs,
            hooks,
            gc,
            retention,
            fetch,
        } = config;
        if keeper.is_some() {
            self.say(path, text, &["keeper"])?;
            self.config.keeper = keeper;
        }
        if signing_key.is_some() {
            self.say(path, text, &["signing-key"])?;
            self.config.signing_key = signing_key;
        }
        if store.is_some() {
            self.say(path, text, &["store"])?;
            self.config.store = store;
        }
        if gc != Collection::default() {
            self.say(path, text, &["gc"])?;
            self.config.gc = gc;
        }
        if retention != Retention::default() {
            self.say(path, text, &["retention"])?;
            self.config.retention = retention;
        }
        if fetch != Fetch::default() {
            self.say(path, text, &["fetch"])?;
            self.config.fetch = fetch;
        }
        for (name, view) in views {
            self.say(path, text, &["view", name.as_str()])?;
            self.config.views.insert(name, view);
        }
        for (name, promotion) in promotions {
            self.say(path, text, &["promotion", &name])?;
            self.config.promotions.insert(name, promotion);
        }
        for (name, release) in releases {
            self.say(path, text, &["release", &name])?;
            self.config.releases.insert(name, release);
        }
        for (group, of_group) in sigs {
            for (name, sig) in of_group {
                self.say(path, text, &["sig", &group, &name])?;
                self.config.sigs.entry(group.clone()).or_default().insert(name, sig);
            }
        }
        for (name, hook) in hooks {
            self.say(path, text, &["hook", &name])?;
            self.config.hooks.insert(name, hook);
        }
        Ok(())
    }

    /// Notes that a file says what `keys` lead to; an error when another says it too.
    fn say(&mut self, path: &Path, text: &Arc<str>, keys: &[&str]) -> Result<(), LoadError> {
        let place = (path.to_owned(), text.clone());
        let said = keys.iter().map(|key| (*key).to_owned()).collect();
        let Some((other, _)) = self.said.insert(said, place) else { return Ok(()) };
        let message = format!("{} stands in {} too", keys.join("."), other.display());
        let error = Fault::at(keys, message).in_file(text);
        Err(LoadError::Config { path: path.to_owned(), error })
    }

    /// Looks at what groups add to releases, which may stand in other files.
    fn check_groups(&self) -> Result<(), LoadError> {
        let releases = &self.config.releases;
        for (group, of_group) in &self.config.sigs {
            for (profile, sig) in of_group {
                let checked = match releases.get(profile) {
                    Some(release) => check::sig_of(release, sig),
                    None => Err(Fault::at(&[], format!("is of the release {profile:?}, which is nowhere"))
                        .meant(profile, releases.keys().map(String::as_str))),
                };
                let keys = ["sig", group, profile];
                let Err(fault) = checked else { continue };
                let Some((path, text)) = self.said.get(&keys.map(str::to_owned)[..]) else { continue };
                let error = fault.under(&keys).in_file(text);
                return Err(LoadError::Config { path: path.clone(), error });
            }
        }
        Ok(())
    }
}
