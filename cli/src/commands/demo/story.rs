//! The story: what the demo does, in order, and the figures that it tells.
//!
//! Always true: each step is a library's verb, as its command would call it; a step that does not show what
//! it should ends the demo with an error.

use std::error::Error;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use cfs_fs::digest::BlobId;
use cfs_fs::name::TreePath;
use cfs_fs::tree::{Item, Sums};
use cfs_indexer::address::Address;
use cfs_indexer::catalogue::Target;
use cfs_indexer::config::Config;
use cfs_indexer::depot::Depot;
use cfs_indexer::refname::RefName;
use cfs_indexer::revision::RevPath;
use cfs_indexer::{promote, rollback};

use crate::context::Context;
use crate::output::{count, duration, size};
use crate::report::{CommandError, Kind};

use super::figures::{Figures, ms};
use super::pass::{Frozen, Manifest, Pass, PassError, PlainDir, StoredDir};
use super::readers::{Hold, Readers, stored};
use super::scratch::{MOUNT_POINT, STORE, Scratch};
use super::source::Source;
use super::verdict::{Verdict, differences};

mod syncing;

/// The symbolic ref that names the newest compose.
const LATEST: &str = "compose/9/latest-Demo-9";
/// The path of the release in a view.
const RELEASE: &str = "9";

/// How often each reader reads everything before the story goes on.
const PASSES: usize = 3;

/// What the demo works with.
#[derive(Debug)]
pub struct Story<'a> {
    context: &'a Context<'a>,
    scratch: &'a Scratch,
    depot: Depot,
    /// Where the repositories are in a compose.
    repositories: Vec<TreePath>,
    figures: Figures,
}

/// A compose as it was synced.
#[derive(Debug)]
struct Generation {
    name: RefName,
    top: Item,
    manifest: Manifest,
}

impl<'a> Story<'a> {
    /// A story that begins with an empty store.
    pub fn begin(context: &'a Context<'a>, scratch: &'a Scratch) -> Result<Self, CommandError> {
        let depot = Depot::create(&scratch.path(STORE))?;
        Ok(Self { context, scratch, depot, repositories: Vec::new(), figures: Figures::default() })
    }

    /// Tells it all, with the upstream `theirs` or one made on the spot. Returns the figures.
    pub fn tell(mut self, theirs: Option<&Address>) -> Result<Figures, CommandError> {
        let began = Instant::now();
        let (mut source, state) = Source::begin(theirs, self.scratch, self.context.signer().now)?;
        self.say("upstream", &state.text)?;
        self.repositories = state.repositories.iter().map(|(_, path)| path.clone()).collect();
        self.figures.upstream = state.repositories.iter().map(|(address, _)| address.to_string()).collect();
        let first = self.sync(0, &state)?;
        self.publish_first(&first)?;

        self.mount()?;
        let holds = self.holds()?;
        self.read_back(&holds[0], &first)?;
        let readers = self.start_readers(holds.clone())?;
        let state = source.update(self.scratch, &self.depot, &first.top, self.context.signer().now)?;
        self.say("update", &state.text)?;
        let second = self.sync(1, &state)?;
        let forth = self.publish_second(&holds[0], &readers, &first, &second)?;
        let (back, third) = self.roll_back(&holds[0], &readers, &first)?;
        self.judge(readers, &[&first.manifest, &second.manifest, &third], &[forth, back])?;
        self.count_bytes()?;
        self.figures.seconds = began.elapsed().as_secs_f64();
        Ok(self.figures)
    }

    /// Makes the first compose the newest one, and promotes it to staging and on to production.
    fn publish_first(&self, first: &Generation) -> Result<(), CommandError> {
        self.link(first)?;
        let began = Instant::now();
        self.promote(first.name.as_str(), "staging")?;
        self.promote("staging", "production")?;
        let text = format!("{} -> staging -> production in {}", first.name, duration(began.elapsed()));
        self.say("promote", text)
    }

    /// Mounts everything, if this host lets us.
    fn mount(&mut self) -> Result<(), CommandError> {
        let began = Instant::now();
        match self.scratch.mount()? {
            Ok(()) => {
                self.figures.mounted = true;
                self.figures.mount_ms = ms(began.elapsed());
                let dir = self.scratch.path(MOUNT_POINT);
                self.say("mount", format!("{}, after {}", dir.display(), duration(began.elapsed())))
            }
            Err(reason) => {
                let text = format!("{reason}; readers look into the store without a mount");
                self.figures.not_mounted_because = Some(reason);
                self.say("no mount", text)
            }
        }
    }

    /// The ways to get hold of production.
    fn holds(&self) -> Result<Vec<Hold>, CommandError> {
        if self.figures.mounted {
            let mnt = self.scratch.path(MOUNT_POINT);
            let path = |way: &str| mnt.join(way).join("production").join(RELEASE);
            Ok(vec![Hold::Open(path("views")), Hold::Follow(path("current"))])
        } else {
            let place = view("production")?;
            let store = || Hold::Store(self.scratch.path(STORE), place.clone());
            Ok(vec![store(), store()])
        }
    }

    /// Reads every package of production and compares it with the metadata.
    fn read_back(&mut self, hold: &Hold, first: &Generation) -> Result<(), CommandError> {
        let began = Instant::now();
        let pass = hold.pass(&self.repositories, &self.stopped()).map_err(|e| self.failed(e))?;
        same(&pass.manifest, &first.manifest, "production", "the first compose")?;
        self.figures.packages_read_back = pass.packages;
        let text = format!(
            "all {} packages from production in {}; each has the checksum that the metadata states",
            count(pass.packages),
            duration(began.elapsed())
        );
        self.say("read", text)
    }

    /// Starts the readers and waits until each has read everything once.
    fn start_readers(&mut self, holds: Vec<Hold>) -> Result<Readers, CommandError> {
        self.figures.readers = holds.len();
        let ways = if self.figures.mounted {
            "one goes into views/production, one follows current/production"
        } else {
            "each looks up production in the store"
        };
        let text = format!("{} read production over and over from here on: {ways}", holds.len());
        let (began, readers) =
            (Instant::now(), Readers::start(holds, &self.repositories, self.scratch.stop()));
        self.wait(&readers, began)?;
        self.say("readers", text)?;
        Ok(readers)
    }

    /// Promotes the second compose to production while readers read, and returns when it was there.
    fn publish_second(
        &mut self,
        hold: &Hold,
        readers: &Readers,
        first: &Generation,
        second: &Generation,
    ) -> Result<Instant, CommandError> {
        self.link(second)?;
        self.promote(second.name.as_str(), "staging")?;
        let kept = self.hold(hold)?;
        let began = Instant::now();
        self.promote("staging", "production")?;
        let flipped = Instant::now();
        self.shows(hold, &second.manifest)?;
        let seen = began.elapsed();
        let pass = Pass::over(&*kept, &self.repositories, &self.stopped()).map_err(|e| self.failed(e))?;
        same(&pass.manifest, &first.manifest, "a directory opened before the flip", "the first compose")?;
        drop(kept);
        self.figures.held_directory_unchanged = true;
        (self.figures.flip_ms, self.figures.flip_seen_ms) = (ms(flipped - began), ms(seen));
        let text = format!(
            "{} is production after {}, and {} after the start its repomd.xml was read there; \
             a directory opened before still is {}",
            second.name,
            duration(flipped - began),
            duration(seen),
            first.name
        );
        self.say("flip", text)?;
        self.wait(readers, flipped)?;
        Ok(flipped)
    }

    /// Gives production the tree it had before while readers read. Returns when it was there, and what it is:
    /// the first compose, but for the times in its metadata.
    fn roll_back(
        &mut self,
        hold: &Hold,
        readers: &Readers,
        first: &Generation,
    ) -> Result<(Instant, Manifest), CommandError> {
        let began = Instant::now();
        let (name, message) = (parse("production")?, "cfs demo".to_owned());
        let request = rollback::Request { name, to: None, raw: false, message };
        let plan = rollback::plan(&self.depot, &request)?;
        rollback::apply(&self.depot, &Config::default(), &request, &plan, &self.context.signer())?;
        self.context.flip(&self.depot);
        let flipped = Instant::now();
        let root = stored(&self.depot, &view("production")?).map_err(failed)?;
        let back = StoredDir { depot: &self.depot, root }.manifest()?;
        self.shows(hold, &back)?;
        let stamped = |path: &&String| back.get(*path) != first.manifest.get(*path);
        if let Some(path) = first.manifest.keys().filter(stamped).find(|path| !path.ends_with("/repomd.xml"))
        {
            return Err(CommandError::new(Kind::Failed, format!("{path} did not come back as it was")));
        }
        self.figures.rollback_ms = ms(flipped - began);
        let text = format!(
            "{} is production again after {}; its repomd.xml has new times, so that mirrors follow",
            first.name,
            duration(flipped - began)
        );
        self.say("rollback", text)?;
        self.wait(readers, flipped)?;
        Ok((flipped, back))
    }

    /// Ends the readers and judges what they saw.
    fn judge(
        &mut self,
        readers: Readers,
        [first, second, back]: &[&Manifest; 3],
        flips: &[Instant],
    ) -> Result<(), CommandError> {
        let mut log = readers.finish();
        if let Some(failure) = log.failure.take() {
            return Err(self.failed(failure));
        }
        let verdict = Verdict::of(&log, first, second, back, flips);
        let text = format!(
            "{} passes, {}: {} saw the first compose, {} the second one, {} the first one again, {} a mixture; \
             {} were under way at a flip",
            verdict.passes(),
            size(verdict.bytes),
            verdict.first,
            verdict.second,
            verdict.back,
            verdict.mixed,
            verdict.across_a_flip,
        );
        self.say("proof", text)?;
        let mixed = verdict.mixed;
        self.figures.passes = verdict;
        if mixed == 0 {
            return Ok(());
        }
        let mut error = CommandError::new(Kind::Failed, format!("{mixed} passes saw two composes mixed"));
        error.details.append(&mut self.figures.passes.evidence);
        Err(error)
    }

    /// Counts what the refs show and what is stored for it.
    fn count_bytes(&mut self) -> Result<(), CommandError> {
        let mut logical = Sums::default();
        for found in self.depot.catalogue.refs()? {
            let Target::Snapshot(id) = found.target else { continue };
            if let Some(snapshot) = self.depot.catalogue.snapshot(id)? {
                logical.add(&snapshot.root_item());
            }
        }
        let totals = self.depot.catalogue.totals()?;
        // A ratio of counts; it need not be exact.
        #[expect(clippy::cast_precision_loss, reason = "printed with two decimals")]
        let ratio = logical.bytes as f64 / totals.blob_bytes.max(1) as f64;
        let figures = &mut self.figures;
        (figures.logical_files, figures.logical_bytes) = (logical.files, logical.bytes);
        (figures.blobs, figures.stored_bytes, figures.dedup_ratio) = (totals.blobs, totals.blob_bytes, ratio);
        let text = format!(
            "{} in {} files of all refs, stored as {} in {} blobs: {ratio:.1} to 1",
            size(logical.bytes),
            count(logical.files),
            size(totals.blob_bytes),
            count(totals.blobs)
        );
        self.say("stored", text)
    }

    /// Prints a line of the story at once.
    fn say(&self, key: &str, text: impl Display) -> Result<(), CommandError> {
        self.scratch.go_on()?;
        if self.context.output.is_json() {
            return Ok(());
        }
        self.context.output.line(format_args!("{key:10}{text}"))?;
        self.context.output.finish()
    }

    fn link(&self, to: &Generation) -> Result<(), CommandError> {
        let latest: RefName = parse(LATEST)?;
        self.depot.catalogue.link(&latest, &to.name, &self.context.signer(), "link")?;
        self.say("link", format!("{latest} -> {}", to.name))
    }

    /// Makes the release in the view `to` equal to the compose, or to the release in the view `from`.
    fn promote(&self, from: &str, to: &str) -> Result<(), CommandError> {
        let source = if from.starts_with("compose/") { parse(from)? } else { view(from)? };
        let target = parse(&format!("{to}:{RELEASE}"))?;
        let steps = vec![promote::Step::plain(source, target)];
        let request =
            promote::Request { steps, message: "cfs demo".to_owned(), ..promote::Request::default() };
        promote::apply(&self.depot, &Config::default(), &request, &self.context.signer())?;
        self.context.flip(&self.depot);
        Ok(())
    }

    /// Takes hold of production as it is now.
    fn hold(&self, hold: &Hold) -> Result<Box<dyn Frozen + '_>, CommandError> {
        Ok(match hold {
            Hold::Open(path) | Hold::Follow(path) => {
                Box::new(PlainDir::open(path).map_err(|e| self.failed(e))?)
            }
            Hold::Store(_, place) => {
                let root = stored(&self.depot, place).map_err(failed)?;
                Box::new(StoredDir { depot: &self.depot, root })
            }
        })
    }

    /// Makes sure that production shows, right now, the `repomd.xml` of `expected`.
    fn shows(&self, hold: &Hold, expected: &Manifest) -> Result<(), CommandError> {
        let path = self.repositories.first().map(|base| format!("{base}/repodata/repomd.xml"));
        let path = path.unwrap_or_default();
        let mut bytes = Vec::new();
        let read = self.hold(hold)?.read(&path, &mut |part| bytes.extend_from_slice(part));
        read.map_err(|e| self.failed(e))?;
        if expected.get(&path) == Some(&BlobId::of(&bytes)) {
            return Ok(());
        }
        Err(CommandError::new(Kind::Failed, format!("production shows the {path} of before the flip")))
    }

    /// Waits until each reader has read everything a few times since `since`.
    fn wait(&self, readers: &Readers, since: Instant) -> Result<(), CommandError> {
        if readers.wait_for_passes(PASSES, since, self.scratch.stop()) {
            return Ok(());
        }
        self.scratch.go_on()?;
        match readers.failure() {
            Some(failure) => Err(self.failed(failure)),
            None => Err(CommandError::new(Kind::Failed, "the readers have ended")),
        }
    }

    fn stopped(&self) -> impl Fn() -> bool + use<> {
        let stop = Arc::clone(self.scratch.stop());
        move || stop.load(Ordering::SeqCst)
    }

    fn failed(&self, error: PassError) -> CommandError {
        match self.scratch.go_on() {
            Err(interrupted) => interrupted,
            Ok(()) => CommandError::new(Kind::Failed, error),
        }
    }
}

/// Reads a text that the demo wrote itself.
fn parse<T: FromStr<Err: Error + Send + Sync + 'static>>(text: &str) -> Result<T, CommandError> {
    text.parse().map_err(|e: T::Err| CommandError::new(Kind::Failed, e))
}

/// The release in a view.
fn view(name: &str) -> Result<RevPath, CommandError> {
    parse(&format!("{name}:{RELEASE}"))
}

fn failed(error: Box<dyn Error + Send + Sync>) -> CommandError {
    CommandError::new(Kind::Failed, error)
}

/// Makes sure that `what` shows all of `of` and nothing else.
fn same(saw: &Manifest, wanted: &Manifest, what: &str, of: &str) -> Result<(), CommandError> {
    if saw == wanted {
        return Ok(());
    }
    let mut error = CommandError::new(Kind::Failed, format!("{what} is not {of}"));
    error.details = differences(saw, wanted);
    Err(error)
}
