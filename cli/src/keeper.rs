//! Asking a keeper: a command that this user may not do himself is done by the process that owns the store.
//!
//! The words of the command go to the socket as one line of JSON, `{"words": […]}`; back come lines `{"out": "…"}`,
//! `{"err": "…"}` and, as the last one, `{"exit": n}`. Who asks is not among them: the kernel tells that.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::commands::Command;
use crate::output;
use crate::permission::{self, Caller};
use crate::report::{CommandError, Kind};
use crate::settings::Settings;

/// The keeper's socket, when the command is one for the keeper: the configuration names one, and the store belongs to
/// somebody else.
pub fn needed(settings: &Settings, command: &Command) -> Option<PathBuf> {
    let socket = settings.configuration.1.keeper.clone()?;
    let me = rustix::process::geteuid();
    let is_mine = permission::owner_of(&settings.store) == Some(me.as_raw());
    (!is_mine && !me.is_root() && settings.caller == Caller::of_process() && command.is_kept())
        .then_some(socket)
}

/// Has the keeper do what the words say.
pub fn ask(socket: &Path, command: &Command, words: Vec<OsString>) -> Result<ExitCode, CommandError> {
    let plain = |word: OsString| {
        let text = word.into_string();
        text.map_err(|word| CommandError::usage(format!("{}: is not UTF-8", word.to_string_lossy())))
    };
    let mut words = words.into_iter().map(plain).collect::<Result<Vec<String>, _>>()?;
    words = without_places(words);
    if let Some(wanted) = command.to_be_signed() {
        let mut statement = Vec::new();
        let code = talk(socket, &wanted.question, &mut |is_error, text| {
            if is_error {
                output::error(text.trim_end());
            } else {
                statement.extend_from_slice(text.as_bytes());
            }
            Ok(())
        })?;
        if code != 0 {
            return Ok(ExitCode::from(code));
        }
        words = wanted.answer(&String::from_utf8_lossy(&statement), words)?;
    }
    let code = talk(socket, &words, &mut |is_error, text| {
        if is_error {
            output::error(text.trim_end());
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(CommandError::stdout)
    })?;
    Ok(ExitCode::from(code))
}

/// The words without those that say where store and configuration are: the keeper has its own.
fn without_places(words: Vec<String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--store" || word == "--config" {
            words.next();
        } else if word == "--" {
            kept.push(word);
            kept.extend(words.by_ref());
        } else if !word.starts_with("--store=") && !word.starts_with("--config=") {
            kept.push(word);
        }
    }
    kept
}

/// Takes text that the keeper's command has said: whether on standard error, and what.
type Hear<'a> = dyn FnMut(bool, &str) -> Result<(), CommandError> + 'a;

/// Says the words to the keeper and hears what comes of them; returns the exit status.
fn talk(socket: &Path, words: &[String], hear: &mut Hear<'_>) -> Result<u8, CommandError> {
    let failed = |error| {
        CommandError::io("reach the keeper there", socket, error).hint(
            "the store belongs to another user; is his `cfs keeper` running, and may you use its socket?",
        )
    };
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    writeln!(stream, "{}", json!({ "words": words })).map_err(failed)?;
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(failed)?;
        let said: Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(code) = said["exit"].as_u64() {
            return Ok(u8::try_from(code).unwrap_or(3));
        }
        for (key, is_error) in [("out", false), ("err", true)] {
            if let Some(text) = said[key].as_str() {
                hear(is_error, text)?;
            }
        }
    }
    Err(CommandError::new(
        Kind::Failed,
        format!("{}: the keeper went away before it was done", socket.display()),
    )
    .hint("`cfs log` tells what came of it"))
}
