//! `cfs keeper`

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;
use rustix::net::sockopt::socket_peercred;
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::args;
use crate::context::Context;
use crate::output;
use crate::permission::{self, Caller};
use crate::report::{CommandError, Kind};
use crate::settings::WORKS_FOR;

/// A longer question is none.
const QUESTION_BYTES_MAX: u64 = 64 << 10;
/// How long a question may take.
const QUESTION_TIME: Duration = Duration::from_secs(10);
/// Questions at once.
const GUESTS_MAX: usize = 64;

/// Promote, approve and roll back for users who may not write to the store themselves.
///
/// Run by the user whom the store belongs to, at a socket. Another user whose configuration names it (`keeper`) runs
/// commands as always; this process does those that policies are about (promote, approve, rollback, policy, link, pin,
/// unpin, refs, log, show, diff), with its own configuration, for the user whom the kernel names.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The socket [default: `keeper` of the configuration].
    #[arg(long, value_name = "SOCKET")]
    listen: Option<PathBuf>,

    /// The group that may use the socket, by number [default: its directory's]; what each of them may, policies say.
    #[arg(long, value_name = "GID")]
    group: Option<u32>,
}

/// Runs `cfs keeper`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let store = &context.settings.store;
    let me = rustix::process::geteuid().as_raw();
    match permission::owner_of(store) {
        Some(owner) if owner != me => {
            let owner = Caller::of_peer(owner, owner).name();
            let text = format!("{}: belongs to {owner}, who alone can keep it", store.display());
            return Err(CommandError::new(Kind::No, text).hint(format!("run it as {owner}")));
        }
        _ => drop(context.depot()?),
    }
    let configured = context.settings.configuration.1.keeper.clone();
    let socket = args.listen.clone().or(configured).ok_or_else(|| {
        CommandError::usage("no socket is named: --listen, or `keeper` in the configuration".to_owned())
    })?;
    let listener = listen(&socket, args.group)?;
    let signals = Signals::new([SIGTERM, SIGINT])
        .map_err(|error| CommandError::io("catch signals for", &socket, error))?;
    let ended = Arc::new(AtomicUsize::new(0));
    watch(signals, Arc::clone(&ended), socket.clone());
    context.output.note(format_args!("keeps {} at {}", store.display(), socket.display()));
    let place = Place { store: store.clone(), config: context.settings.config.clone() };
    let (place, guests) = (Arc::new(place), Arc::new(AtomicUsize::new(0)));
    for stream in listener.incoming() {
        if ended.load(Ordering::SeqCst) > 0 {
            break;
        }
        let Ok(stream) = stream else { continue };
        if guests.fetch_add(1, Ordering::SeqCst) >= GUESTS_MAX {
            guests.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (place, guests) = (Arc::clone(&place), Arc::clone(&guests));
        std::thread::spawn(move || {
            // A guest who goes away is his own affair.
            let _ = serve(stream, &place);
            guests.fetch_sub(1, Ordering::SeqCst);
        });
    }
    // There is nothing to come to any more; what is being done is done to its end.
    let _ = fs::remove_file(&socket);
    while guests.load(Ordering::SeqCst) > 0 {
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Where the keeper's own things are.
struct Place {
    store: PathBuf,
    config: Option<PathBuf>,
}

/// Makes the socket; one that a keeper left that is gone is taken away.
fn listen(socket: &Path, group: Option<u32>) -> Result<UnixListener, CommandError> {
    let failed = |verb| move |error| CommandError::io(verb, socket, error);
    if fs::symlink_metadata(socket).is_ok_and(|meta| meta.file_type().is_socket()) {
        match UnixStream::connect(socket) {
            Ok(_) => {
                let text = format!("{}: another keeper listens there", socket.display());
                return Err(CommandError::new(Kind::Failed, text));
            }
            Err(_) => fs::remove_file(socket).map_err(failed("remove"))?,
        }
    }
    // Nobody else may use it before it is as it should be.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(socket).map_err(failed("listen at"));
    rustix::process::umask(before);
    let listener = bound?;
    if group.is_some() {
        chown(socket, None, group).map_err(failed("give to the group"))?;
    }
    fs::set_permissions(socket, fs::Permissions::from_mode(0o660)).map_err(failed("set the mode of"))?;
    Ok(listener)
}

fn watch(mut signals: Signals, ended: Arc<AtomicUsize>, socket: PathBuf) {
    std::thread::spawn(move || {
        for _ in signals.forever() {
            ended.store(1, Ordering::SeqCst);
            // Wakes whoever waits for a guest.
            let _ = UnixStream::connect(&socket);
        }
    });
}

/// Answers one question.
fn serve(stream: UnixStream, place: &Place) -> io::Result<()> {
    stream.set_read_timeout(Some(QUESTION_TIME))?;
    let peer = socket_peercred(&stream)?;
    let caller = Caller::of_peer(peer.uid.as_raw(), peer.gid.as_raw());
    let mut line = Vec::new();
    BufReader::new((&stream).take(QUESTION_BYTES_MAX)).read_until(b'\n', &mut line)?;
    let words: Option<Vec<String>> = serde_json::from_slice::<Value>(&line)
        .ok()
        .and_then(|question| serde_json::from_value(question["words"].clone()).ok());
    let wire = Mutex::new(stream);
    let words = words.ok_or_else(|| "no question".to_owned());
    let code = match words.and_then(|words| check(&words).map(|()| words)) {
        Err(reason) => {
            say(&wire, &json!({ "err": format!("error: the keeper: {reason}\n") }))?;
            2
        }
        Ok(words) => {
            output::error(format_args!("{} asks: {}", caller.name(), words.join(" ").escape_debug()));
            work(&wire, place, &caller, &words)?
        }
    };
    say(&wire, &json!({ "exit": code }))
}

/// Refuses words that are no command that a keeper does.
fn check(words: &[String]) -> Result<(), String> {
    let places = ["--store", "--config"];
    let names_place = |word: &String| {
        places.iter().any(|place| {
            word.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })
    };
    if words.iter().any(names_place) {
        return Err("has a store and a configuration of its own".to_owned());
    }
    let parsed = args::Args::try_parse_from(["cfs"].into_iter().chain(words.iter().map(String::as_str)));
    let parsed = parsed.map_err(|error| error.to_string())?;
    if !parsed.command.is_kept() {
        return Err("does not do that for others".to_owned());
    }
    if parsed.command.names_file() {
        return Err("reads no files for others (--plan, --key)".to_owned());
    }
    Ok(())
}

/// Runs the command for the caller and passes on what it says; returns its exit status.
fn work(wire: &Mutex<UnixStream>, place: &Place, caller: &Caller, words: &[String]) -> io::Result<i32> {
    let mut command = Process::new(std::env::current_exe()?);
    command.env(WORKS_FOR, caller.to_text()).env_remove("SUDO_USER").arg("--store").arg(&place.store);
    if let Some(config) = &place.config {
        command.arg("--config").arg(config);
    }
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child: Child = command.spawn()?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        scope.spawn(|| pass_on(out, "out", wire));
        scope.spawn(|| pass_on(err, "err", wire));
    });
    Ok(child.wait()?.code().unwrap_or(3))
}

/// Passes on what comes line by line; when nobody listens any more it is read all the same, so that the command ends.
fn pass_on(from: Option<impl Read>, key: &str, wire: &Mutex<UnixStream>) {
    let Some(from) = from else { return };
    let mut lines = BufReader::new(from);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        let _ = say(wire, &json!({ key: String::from_utf8_lossy(&line) }));
        line.clear();
    }
}

fn say(wire: &Mutex<UnixStream>, value: &Value) -> io::Result<()> {
    writeln!(wire.lock().unwrap_or_else(PoisonError::into_inner), "{value}")
}
