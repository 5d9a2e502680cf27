//! Where an upstream repository is: a URL or a host directory.
//!
//! Always true: an address has no query, no fragment and no `..`; a file of the repository is its base, `/`,
//! and a path that metadata gave, percent-encoded. What is printed or recorded of an address has no password.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use cfs_fs::name::TreePath;
use url::Url;

use crate::repodata::href::to_url_path;

/// Why a text is no address of a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no repository's address: {reason}")]
pub struct AddressError {
    /// The text as given.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The base of a repository: what `repodata/repomd.xml` stands below.
#[derive(Clone, PartialEq, Eq)]
pub enum Address {
    /// Over `http` or `https`.
    Http(Url),
    /// A directory of this host.
    Dir(PathBuf),
}

impl Address {
    /// The URL of the file at `path`, to be fetched; it may hold a password. `None` for a directory.
    pub(crate) fn url_of(&self, path: &TreePath) -> Option<Url> {
        let Address::Http(base) = self else { return None };
        let mut url = base.clone();
        url.set_path(&format!("{}/{}", base.path().trim_end_matches('/'), to_url_path(path)));
        Some(url)
    }

    /// Whether it holds a password.
    pub fn has_password(&self) -> bool {
        matches!(self, Address::Http(url) if url.password().is_some())
    }

    /// The address with this password for its user; `None` when it names no user.
    pub fn with_password(self, password: &str) -> Option<Self> {
        let Address::Http(mut url) = self else { return None };
        if url.username().is_empty() || url.set_password(Some(password)).is_err() {
            return None;
        }
        Some(Address::Http(url))
    }

    /// The file at `path`, in words for people.
    pub fn describe(&self, path: &TreePath) -> String {
        match (self.url_of(path), self) {
            (Some(url), _) => without_password(url),
            (None, Address::Dir(dir)) => dir.join(path.as_str()).display().to_string(),
            (None, Address::Http(_)) => path.to_string(),
        }
    }
}

fn without_password(mut url: Url) -> String {
    // Neither fails on a URL that has a host.
    if url.password().is_some() {
        let _ = url.set_password(None);
    }
    url.to_string()
}

impl fmt::Debug for Address {
    /// As it is printed: what is left in a log has no password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Http(url) => f.pad(without_password(url.clone()).trim_end_matches('/')),
            Address::Dir(dir) => f.pad(&dir.display().to_string()),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// `http://…`, `https://…`, `file:///…`, or the path of a directory.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refuse = |reason: &str| AddressError { text: text.to_owned(), reason: reason.to_owned() };
        if text.is_empty() {
            return Err(refuse("it is empty"));
        }
        if !text.contains("://") {
            return Ok(Address::Dir(Path::new(text).to_owned()));
        }
        let url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("it has a query or a fragment"));
        }
        match url.scheme() {
            "http" | "https" if url.has_host() => Ok(Address::Http(url)),
            "file" => match url.to_file_path() {
                Ok(dir) => Ok(Address::Dir(dir)),
                Err(()) => Err(refuse("it is no file of this host")),
            },
            scheme => Err(refuse(&format!("{scheme}: is not understood; http, https and file are"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn files_stand_below_the_base_with_or_without_a_slash() {
        let path = TreePath::new("repodata/a:b+c.xml").unwrap();
        for base in ["http://host:81/os", "http://host:81/os/"] {
            let url = address(base).url_of(&path).unwrap();
            assert_eq!(url.as_str(), "http://host:81/os/repodata/a%3Ab%2Bc.xml");
            assert_eq!(address(base).to_string(), "http://host:81/os");
        }
        let bare = address("https://host").url_of(&path).unwrap();
        assert_eq!(bare.as_str(), "https://host/repodata/a%3Ab%2Bc.xml");
        assert_eq!(address("file:///srv/a%20b").describe(&path), "/srv/a b/repodata/a:b+c.xml");
        assert_eq!(address("some/dir"), Address::Dir("some/dir".into()));
    }

    #[test]
    fn passwords_are_used_and_never_shown() {
        let secret = address("https://user:hunter2@host/os");
        let path = TreePath::new("x").unwrap();
        assert_eq!(secret.url_of(&path).unwrap().password(), Some("hunter2"));
        assert!(!format!("{secret} {} {secret:?}", secret.describe(&path)).contains("hunter2"));
        let from_file = address("https://user@host/os").with_password("hunter2").unwrap();
        assert_eq!(from_file, secret);
        assert!(from_file.has_password() && address("https://host/os").with_password("x").is_none());
    }

    #[test]
    fn other_addresses_are_refused() {
        for text in ["", "ftp://host/x", "http://", "http://host/?a=b", "http://host/#a", "file://host/x"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
