//! One act: the upstream's repositories become a compose.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Instant;

use cfs_fs::name::TreePath;
use cfs_indexer::address::Address;
use cfs_indexer::refname::RefName;
use cfs_indexer::revision::RefPath;
use cfs_indexer::sync::{self, Report, SyncError, sync};

use crate::output::{count, duration, size, time};
use crate::report::{CommandError, Kind};

use super::super::figures::{Compose, ms};
use super::super::pass::{Pass, PlainDir, StoredDir};
use super::super::readers::stored;
use super::super::source::State;
use super::{Generation, Story, failed, parse, same};

impl Story<'_> {
    /// Syncs every repository of the upstream into the compose of today with this respin.
    pub(super) fn sync(&mut self, respin: u32, state: &State) -> Result<Generation, CommandError> {
        let day = time(self.context.signer().now)[..10].replace('-', "");
        let name: RefName = parse(&format!("compose/9/Demo-9.0-{day}.{respin}"))?;
        let (began, mut done) = (Instant::now(), Compose { name: name.to_string(), ..Compose::default() });
        for (address, path) in &state.repositories {
            done.add(&self.sync_one(address, &name, path)?);
        }
        done.sync_ms = ms(began.elapsed());
        let text = format!(
            "{name}: {} packages, {} in {}; {} files ({}) downloaded, the rest was known",
            count(done.packages),
            size(done.bytes),
            duration(began.elapsed()),
            count(done.fetched_files),
            size(done.fetched_bytes),
        );
        self.say("sync", text)?;
        self.figures.composes.push(done);
        let top = stored(&self.depot, &parse(name.as_str())?).map_err(failed)?;
        let manifest = StoredDir { depot: &self.depot, root: top.clone() }.manifest()?;
        if let Some(plain) = &state.plain {
            let upstream = PlainDir::open(plain).map_err(|e| self.failed(e))?;
            let pass =
                Pass::over(&upstream, &self.repositories, &self.stopped()).map_err(|e| self.failed(e))?;
            same(&manifest, &pass.manifest, name.as_str(), "what the upstream has")?;
        }
        Ok(Generation { name, top, manifest })
    }

    fn sync_one(&self, address: &Address, name: &RefName, path: &TreePath) -> Result<Report, CommandError> {
        let request = sync::Request {
            like: None,
            keep: sync::Keep::Nothing,
            address: address.clone(),
            target: RefPath { name: name.clone(), path: path.clone() },
            keys: None,
            message: "cfs demo".to_owned(),
            options: sync::Options::default(),
        };
        let (bar, stop) = (self.context.output.progress("sync"), self.scratch.stop());
        let report = sync(&self.depot, &request, &[], &self.context.signer(), &mut |progress| {
            bar.set_length(progress.bytes);
            bar.set_position(progress.bytes_done);
            if stop.load(Ordering::SeqCst) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        bar.finish_and_clear();
        self.scratch.go_on()?;
        report.map_err(sync_failed)
    }
}

fn sync_failed(error: SyncError) -> CommandError {
    let details = match &error {
        SyncError::Failed { failures, .. } => {
            failures.iter().map(|failure| format!("{}: {}", failure.url, failure.reason)).collect()
        }
        _ => Vec::new(),
    };
    match error {
        SyncError::Catalogue(error) => error.into(),
        SyncError::Edit(error) => error.into(),
        error => CommandError { details, ..CommandError::new(Kind::Failed, error) },
    }
}
