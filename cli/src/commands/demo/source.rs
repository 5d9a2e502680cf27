//! Where the two composes come from: an upstream made here, or somebody's repository and what is derived from
//! it.

use std::path::PathBuf;
use std::time::Instant;

use cfs_fs::checkout::How;
use cfs_fs::name::TreePath;
use cfs_fs::tree::{Item, resolve};
use cfs_indexer::address::Address;
use cfs_indexer::depot::Depot;

use crate::context::Context;
use crate::output::{count, duration, size};
use crate::report::{CommandError, Kind};

use super::derived::derive;
use super::scratch::Scratch;
use super::server::Server;
use super::upstream::{Counts, Upstream};

/// Where a repository is in a compose when it is not ours.
const THEIR_PATH: &str = "os";
/// How old the first packages are.
const FIRST_AGE_SECONDS: i64 = 86_400;
/// How old those of the update are.
const UPDATE_AGE_SECONDS: i64 = 3_600;

/// Where the composes come from.
#[derive(Debug)]
pub enum Source {
    /// Repositories made on the spot.
    Own(Upstream, Server),
    /// The user's repository, and a server for its update.
    Theirs(Option<Server>),
}

/// One state of the upstream.
#[derive(Debug)]
pub struct State {
    /// The repositories, and the path of each in a compose.
    pub repositories: Vec<(Address, TreePath)>,
    /// The directory that such a compose must equal, where there is one.
    pub plain: Option<PathBuf>,
    /// What there is to say of it.
    pub text: String,
}

impl Source {
    /// The first state: of `theirs`, or of an upstream made now.
    pub fn begin(
        theirs: Option<&Address>,
        scratch: &Scratch,
        now: i64,
    ) -> Result<(Self, State), CommandError> {
        if let Some(address) = theirs {
            let repositories = vec![(address.clone(), path(THEIR_PATH)?)];
            let state = State { repositories, plain: None, text: address.to_string() };
            return Ok((Self::Theirs(None), state));
        }
        let (root, began) = (scratch.path("upstream"), Instant::now());
        let mut upstream = Upstream::new(&root);
        let counts = upstream.publish_first(seconds(now - FIRST_AGE_SECONDS), Context::threads())?;
        let server = serve(&root)?;
        let text = format!(
            "{}, built here in {}, served at {}",
            tell(&counts),
            duration(began.elapsed()),
            server.url("")
        );
        let state = own_state(&server, root, text)?;
        Ok((Self::Own(upstream, server), state))
    }

    /// Makes the update; `first` is the top of the first compose.
    pub fn update(
        &mut self,
        scratch: &Scratch,
        depot: &Depot,
        first: &Item,
        now: i64,
    ) -> Result<State, CommandError> {
        let (root, time) = (scratch.path("upstream"), seconds(now - UPDATE_AGE_SECONDS));
        match self {
            Self::Own(upstream, server) => {
                let counts = upstream.publish_update(time, Context::threads())?;
                own_state(server, root, format!("now {}", tell(&counts)))
            }
            Self::Theirs(server) => {
                let path = path(THEIR_PATH)?;
                let Some(original) = resolve(&depot.catalogue, first, &path)? else {
                    return Err(CommandError::new(
                        Kind::Failed,
                        format!("{path}: the compose has no such path"),
                    ));
                };
                // Links cost no space, but nobody may ever write to them.
                let how = if scratch.is_kept() { How::Copy } else { How::Hardlink };
                let missing = derive(depot, &original, &root.join(THEIR_PATH), how, time)?;
                let server = server.insert(serve(&root)?);
                let url = server.url(THEIR_PATH);
                let text = format!("the same repository without {missing}, made here, served at {url}");
                Ok(State { repositories: vec![(address(&url)?, path)], plain: Some(root), text })
            }
        }
    }
}

fn own_state(server: &Server, root: PathBuf, text: String) -> Result<State, CommandError> {
    let paths = Upstream::repositories();
    let repositories = paths.iter().map(|dir| Ok((address(&server.url(dir))?, path(dir)?)));
    Ok(State { repositories: repositories.collect::<Result<_, CommandError>>()?, plain: Some(root), text })
}

fn tell(counts: &Counts) -> String {
    let Counts { packages, distinct, bytes } = *counts;
    let (packages, distinct) = (count(packages), count(distinct));
    format!("{packages} packages ({distinct} different, {}) in 2 repositories", size(bytes))
}

fn serve(root: &std::path::Path) -> Result<Server, CommandError> {
    Server::start(root).map_err(|e| CommandError::io("serve", root, e))
}

fn address(url: &str) -> Result<Address, CommandError> {
    url.parse().map_err(|e| CommandError::new(Kind::Failed, e))
}

fn path(text: &str) -> Result<TreePath, CommandError> {
    text.parse().map_err(|e| CommandError::new(Kind::Failed, e))
}

/// A time as packages carry it.
fn seconds(time: i64) -> u32 {
    u32::try_from(time).unwrap_or_default()
}
