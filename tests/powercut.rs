//! Power cuts: work on a disk that remembers every write, and then, for a thousand moments of it, what is found when
//! the machine comes up again.
//!
//! At each moment everything that was acknowledged is there, everything that is named is there and whole, and work
//! goes on. The same work done without the calls that make things durable is shown to fail, so the test can fail.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use cfs_fs::digest::BlobId;
use cfs_fs::tree::{Kind, NodeError};
use cfs_fs::walk::walk;
use cfs_indexer::catalogue::{Ref, Target};
use cfs_indexer::depot::Depot;
use rusqlite::Connection;

use crate::crash::Dice;
use crate::disk::{Disk, Event, Found, Loss, cut};
use crate::harness::repo::Repo;
use crate::harness::{Sandbox, installed, ran};

/// Moments between two flushes at which some of what came between is lost.
const MIDDLES: u32 = 2;
/// How many moments are looked at, unless the environment says more.
const CUTS: u64 = 1000;
const CUTS_VARIABLE: &str = "CFS_TEST_POWER_CUTS";
const DISK_BYTES: u64 = 48 << 20;
/// What the write-ahead log is grown to: less than what is brought home.
const LOG_BYTES: usize = 800_000;
/// Keeps nothing but what refs and pins name, and waits for nobody.
pub const GC: [&str; 8] = ["gc", "--grace", "0", "--keep", "0", "--keep-generations", "2", "--yes"];

pub const CONFIG: &str = r#"
[view.production]
gates = ["names", "mtime"]

[[view.production.lists]]
directory = ""
name = "all"
"#;

/// What makes a file system on which renames reach the disk only when somebody sees to it.
const NO_JOURNAL: [&str; 2] = ["-O", "^has_journal"];

/// A way of working.
struct Work<'a> {
    mkfs: &'a [&'a str],
    /// What `strace` is to do to commands, if anything.
    spoiled: &'a [&'a str],
    rounds: u32,
}

/// What somebody was told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    refs: Vec<Ref>,
    pub moves: u64,
    pins: usize,
}

/// Everything that came to a disk, and what was told meanwhile.
struct Recording {
    start: Vec<u8>,
    events: Vec<Event>,
    told: Vec<Told>,
    repair: bool,
}

/// A moment of a recording.
#[derive(Debug, Clone, Copy)]
struct Moment {
    /// Everything before this event was flushed.
    flushed: usize,
    /// The power went before this event.
    end: usize,
    loss: Loss,
}

pub fn tell(store: &Path) -> Told {
    let depot = Depot::open(store).unwrap();
    let moves = depot.catalogue.log_length().unwrap();
    Told { refs: depot.catalogue.refs().unwrap(), moves, pins: depot.catalogue.pins().unwrap().len() }
}

/// Leaves a log that is long and of no use, as one that could not be cut short because of a reader: from now on
/// commits do not make it longer, so they make nothing durable but themselves.
fn grow_log(store: &Path) {
    let connection = Connection::open(store.join("catalogue.db")).unwrap();
    let no_checkpoint = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    connection.set_db_config(no_checkpoint, true).unwrap();
    connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    let sql = format!(
        "CREATE TABLE filler(x); INSERT INTO filler VALUES (zeroblob({LOG_BYTES})); DROP TABLE filler"
    );
    connection.execute_batch(&sql).unwrap();
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get(0)).unwrap();
    assert_eq!(busy, 0);
    assert!(fs::metadata(store.join("catalogue.db-wal")).unwrap().len() > LOG_BYTES as u64);
}

/// Changes some files of a tree.
fn change(sandbox: &Sandbox, dice: &mut Dice, round: u32) {
    for _ in 0..6 {
        let size = usize::try_from(if dice.below(12) == 0 { 150_000 } else { dice.below(9000) }).unwrap();
        let content = vec![u8::try_from(dice.below(256)).unwrap(); size];
        sandbox.write(&format!("tree/{}/{}", dice.below(3), dice.below(9)), content);
    }
    sandbox.write("tree/round", round.to_string());
}

/// Works on a disk.
fn record(work: &Work<'_>) -> Option<Recording> {
    let sandbox = Sandbox::new();
    let disk = Disk::mount(&sandbox.path("room"), &sandbox.path("disk"), DISK_BYTES, work.mkfs)?;
    fs::create_dir(sandbox.path("disk/store")).unwrap();
    std::os::unix::fs::symlink("disk/store", sandbox.store()).unwrap();
    sandbox.write("config.toml", CONFIG);
    let mut repo = Repo::with_packages(&sandbox.path("repo"), 6);
    repo.write();
    rustix::fs::syncfs(fs::File::open(&disk.dir).unwrap()).unwrap();
    let start = disk.image();
    let mut told = Vec::new();
    let mut run = |args: &[&str]| {
        let mut command = sandbox.cfs();
        if !work.spoiled.is_empty() {
            let mut spoiled = Command::new("strace");
            spoiled.args(["-f", "-qq", "-o"]).arg(sandbox.path("trace")).args(work.spoiled);
            spoiled.arg(command.get_program()).current_dir(sandbox.path("")).stdin(Stdio::null());
            spoiled.env("CFS_STORE", sandbox.store()).env("CFS_CONFIG", sandbox.path("config.toml"));
            command = spoiled;
        }
        let done = ran(command.args(args));
        assert_eq!(done.code, 0, "{args:?}: {done:?}");
        disk.seen(told.len());
        told.push(tell(&sandbox.store()));
    };
    let mut dice = Dice(42);
    run(&["init"]);
    for round in 0..work.rounds {
        if round % 5 == 0 {
            grow_log(&sandbox.store());
        }
        change(&sandbox, &mut dice, round);
        run(&["import", "tree", "compose/tree"]);
        run(&["promote", "compose/tree", "production"]);
        match round % 6 {
            1 => {
                repo.add(&format!("Packages/r{round}.rpm"), &vec![7; 5000 + round as usize]);
                repo.write();
                let from = sandbox.path("repo").display().to_string();
                run(&["sync", &from, "compose/repo"]);
            }
            2 => run(&["pin", "production"]),
            3 => run(&["rollback", "production"]),
            4 => run(&["promote", "compose/repo", "production:repo"]),
            5 => {
                run(&GC);
                run(&GC);
            }
            _ => run(&["link", "latest", ["production", "compose/tree"][(round / 6 % 2) as usize]]),
        }
    }
    Some(Recording { start, events: disk.events(), told, repair: work.mkfs == NO_JOURNAL })
}

/// The moments of a recording: between each two flushes one at which all that came between is lost, one at which
/// nothing of it is, and some in the middle of it. Those only with a journal: without one, a file system does not promise
/// to survive a directory of which half is written.
fn moments(recording: &Recording, dice: &mut Dice) -> Vec<Moment> {
    let mut found = Vec::new();
    let mut flushed = 0;
    for (number, event) in recording.events.iter().enumerate() {
        if !matches!(event, Event::Flush) {
            continue;
        }
        found.push(Moment { flushed, end: number, loss: Loss::Everything });
        let between = (number - flushed) as u64;
        if between > 1 {
            found.push(Moment { flushed, end: number, loss: Loss::Nothing });
            let middles = if recording.repair { 0 } else { MIDDLES };
            for _ in 0..middles {
                let end = flushed + 1 + usize::try_from(dice.below(between)).unwrap();
                found.push(Moment { flushed, end, loss: Loss::Some });
            }
        }
        flushed = number;
    }
    found
}

/// What is wrong with a store, given what somebody was told; how many files were read.
pub fn look(store: &Path, told: &Told) -> Result<u64, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let depot = Depot::open(store).map_err(|error| text(&error))?;
    let catalogue = &depot.catalogue;
    let moves = catalogue.verify_reflog().map_err(|error| text(&error))?;
    if moves < told.moves {
        return Err(format!("{moves} moves of {} are left", told.moves));
    }
    for one in &told.refs {
        let entry = catalogue.log_generation(&one.name, one.generation).map_err(|error| text(&error))?;
        if entry.is_none_or(|entry| entry.new.as_ref() != Some(&one.target)) {
            return Err(format!("{}: generation {} is lost", one.name, one.generation));
        }
    }
    for found in catalogue.refs().map_err(|error| text(&error))? {
        let newest = catalogue.log(&found.name).map_err(|error| text(&error))?;
        if newest.first().is_none_or(|entry| {
            entry.new.as_ref() != Some(&found.target) || entry.generation != found.generation
        }) {
            return Err(format!("{}: is not where its last move went", found.name));
        }
        if matches!(found.target, Target::Snapshot(_)) {
            catalogue.current(&found.name).map_err(|error| text(&error))?;
        }
    }
    let pins = catalogue.pins().map_err(|error| text(&error))?.len();
    if pins < told.pins {
        return Err(format!("{pins} pins of {}", told.pins));
    }
    for byte in 0..=u8::MAX {
        for (id, size) in catalogue.blobs_beginning(byte).map_err(|error| text(&error))? {
            if !depot.store.has_blob(id, size) {
                return Err(format!("blob {id} has a row and no file"));
            }
        }
    }
    let connection = Connection::open(store.join("catalogue.db")).map_err(|error| text(&error))?;
    let said: String =
        connection.query_row("PRAGMA quick_check", [], |row| row.get(0)).map_err(|error| text(&error))?;
    if said == "ok" { read_all(&depot) } else { Err(said) }
}

/// Reads every file of every snapshot that is kept, each content once.
fn read_all(depot: &Depot) -> Result<u64, String> {
    let mut read: HashSet<BlobId> = HashSet::new();
    let mut files = 0;
    for id in depot.catalogue.whole_snapshots().map_err(|error| error.to_string())? {
        if !depot.store.commit_path(id).exists() {
            return Err(format!("snapshot {id} has no commit file"));
        }
        let snapshot = depot.catalogue.snapshot(id).map_err(|error| error.to_string())?;
        let snapshot = snapshot.ok_or_else(|| format!("snapshot {id} is lost"))?;
        let mut wrong = None;
        let walked = walk(&depot.catalogue, snapshot.root, "", &mut |path, item| {
            if let Kind::File { blob, .. } = item.kind
                && read.insert(blob)
                && let Err(error) = depot.store.read_blob(blob)
            {
                wrong = Some(format!("{id}:{path}: {error}"));
            }
            files += 1;
            Ok::<(), NodeError>(())
        });
        walked.map_err(|error| format!("{id}: {error}"))?;
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
    }
    Ok(files)
}

/// Goes on with a store that a power cut left.
fn go_on(room: &Path, store: &Path) -> Result<(), String> {
    let tree = room.join("next");
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("file"), "after the cut").unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cfs"));
        let done = ran(command.args(args).current_dir(room).env("CFS_STORE", store).env_remove("CFS_CONFIG"));
        if done.code == 0 { Ok(()) } else { Err(format!("{args:?}: {}", done.stderr)) }
    };
    run(&["import", "next", "after"])?;
    run(&["promote", "after", "production:after"])?;
    run(&GC)?;
    run(&GC)?;
    look(store, &Told::default()).map(drop)
}

/// What one machine after another finds at these moments, which are in order; the first things that are wrong.
struct Replay<'a> {
    recording: &'a Recording,
    room: PathBuf,
    image: Vec<u8>,
    applied: usize,
    told: Option<usize>,
    dice: Dice,
    files: u64,
    wrong: Vec<String>,
}

impl<'a> Replay<'a> {
    fn new(recording: &'a Recording, room: PathBuf, seed: u64) -> Self {
        let image = recording.start.clone();
        Self { recording, room, image, applied: 0, told: None, dice: Dice(seed), files: 0, wrong: Vec::new() }
    }

    /// Looks at one moment, and at every so many goes on with the store.
    fn look_at(&mut self, moment: Moment, go: bool) -> Result<(), String> {
        let events = &self.recording.events;
        cut(&mut self.image, &events[self.applied..moment.flushed], Loss::Nothing, &mut self.dice);
        let seen = |event: &Event| if let Event::Seen(number) = event { Some(*number) } else { None };
        self.told = events[self.applied..moment.flushed].iter().filter_map(seen).next_back().or(self.told);
        self.applied = moment.flushed;
        let mut image = self.image.clone();
        let open = &events[moment.flushed..moment.end];
        cut(&mut image, open, moment.loss, &mut self.dice);
        let told = open.iter().filter_map(seen).next_back().or(self.told);
        let found = Found::mount(&image, &self.room, self.recording.repair)?;
        let store = found.path("store");
        let Some(told) = told else {
            // The store is about to be made; whoever was not told so makes it again.
            return if Depot::open(&store).is_ok() {
                Ok(())
            } else {
                Depot::create(&store).map(drop).map_err(|error| error.to_string())
            };
        };
        self.files += look(&store, &self.recording.told[told])?;
        if go { go_on(&self.room, &store) } else { Ok(()) }
    }
}

/// Replays about `limit` moments of a recording; how many, how many files were read, and what was wrong how often. With
/// `enough`, ends when something was wrong so often.
fn replay(recording: &Recording, limit: u64, enough: Option<usize>) -> (usize, u64, Vec<String>) {
    let seed = 7;
    let dice = &mut Dice(seed);
    let mut moments = moments(recording, dice);
    let all = moments.len() as u64;
    moments.retain(|_| dice.below(all) < limit);
    let moments = &moments;
    let shm = Path::new("/dev/shm");
    let base = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    let room = tempfile::Builder::new().prefix("cfs-test-").tempdir_in(base).unwrap();
    let one = |half: usize| {
        let dir = room.path().join(half.to_string());
        fs::create_dir(&dir).unwrap();
        let mut replay = Replay::new(recording, dir, seed + half as u64);
        let mut looked = 0;
        for (number, moment) in moments.iter().enumerate().skip(half).step_by(2) {
            looked += 1;
            if let Err(wrong) = replay.look_at(*moment, number % 20 < 2) {
                replay.wrong.push(format!("moment {number}, {moment:?}: {wrong}"));
            }
            if enough.is_some_and(|enough| replay.wrong.len() >= enough) {
                break;
            }
        }
        (looked, replay.files, replay.wrong)
    };
    std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| scope.spawn(move || one(half)));
        let mut all = (0, 0, Vec::new());
        for half in halves {
            let (looked, files, wrong) = half.join().unwrap();
            all.0 += looked;
            all.1 += files;
            all.2.extend(wrong);
        }
        all
    })
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    #[expect(clippy::disallowed_methods, reason = "tests read the environment")]
    let said = std::env::var(CUTS_VARIABLE).ok().and_then(|text| text.parse().ok());
    let wanted: u64 = said.unwrap_or(CUTS).max(CUTS);
    let started = Instant::now();
    let mut cuts = 0;
    for (mkfs, rounds, limit) in [(&[][..], 12 * wanted.div_ceil(2000), wanted), (&NO_JOURNAL, 6, wanted / 5)]
    {
        let work = Work { mkfs, spoiled: &[], rounds: rounds.try_into().unwrap() };
        let Some(recording) = record(&work) else { return };
        let (recorded, events) = (started.elapsed(), recording.events.len());
        let (looked, files, wrong) = replay(&recording, limit, None);
        println!(
            "{mkfs:?}: {events} events ({recorded:?}), {looked} power cuts, {files} files read, {:?}",
            started.elapsed()
        );
        assert!(wrong.is_empty(), "{mkfs:?}: {wrong:#?}");
        assert!(files > 5000, "{files} files read");
        cuts += looked;
    }
    assert!(cuts >= 1000, "{cuts} power cuts");
}

#[test]
fn without_the_calls_that_make_durable_power_cuts_are_seen_to_lose() {
    if !installed("strace") {
        return;
    }
    let all = ["-e", "trace=fsync,fdatasync,syncfs", "-e", "inject=fsync,fdatasync,syncfs:retval=0"];
    // What `synchronous=FULL` sees to.
    let log = [
        "-P",
        "store/catalogue.db-wal",
        "-e",
        "trace=fsync,fdatasync",
        "-e",
        "inject=fsync,fdatasync:retval=0",
    ];
    // The bytes of blobs are made durable, and the catalogue is, but not the names that blobs get in between.
    let names = ["-e", "trace=syncfs", "-e", "inject=syncfs:retval=0:when=2+"];
    for (what, mkfs, spoiled, seen) in [
        ("everything", &[][..], &all[..], "store"),
        ("the log", &[], &log, "moves of"),
        ("names", &NO_JOURNAL, &names, "has a row and no file"),
    ] {
        let Some(recording) = record(&Work { mkfs, spoiled, rounds: 6 }) else { return };
        let (cuts, _, wrong) = replay(&recording, 500, Some(3));
        println!("{what}: {cuts} power cuts until {wrong:#?}");
        let seen = wrong.iter().filter(|wrong| wrong.contains(seen)).count();
        assert!(
            seen > 0,
            "without {what} nothing was lost in {cuts} power cuts, or something else: {wrong:#?}"
        );
    }
}
