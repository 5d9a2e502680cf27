//! What holds for everything that is downloaded.

use serde::Deserialize;

/// What holds for everything that is downloaded.
///
/// ```toml
/// [fetch]
/// https-only = true
/// private-hosts = ["mirror.example.internal"]
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fetch {
    /// Nothing is downloaded without TLS.
    #[serde(default)]
    pub https_only: bool,
    /// Hosts that redirects may lead to although their addresses are not public.
    #[serde(default)]
    pub private_hosts: Vec<String>,
    /// The most files that a repository may have.
    pub max_files: Option<u64>,
    /// The most bytes that a repository may have.
    pub max_bytes: Option<u64>,
}
