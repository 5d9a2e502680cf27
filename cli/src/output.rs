//! Everything that is printed: results on standard output, talk and progress on standard error.

use std::cell::{RefCell, RefMut};
use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use serde::Serialize;

use crate::report::CommandError;

/// Where a command prints.
#[derive(Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
    verbose: u8,
    stdout: RefCell<BufWriter<Stdout>>,
}

impl Output {
    /// Output as the global flags ask for.
    pub fn new(json: bool, quiet: bool, verbose: u8) -> Self {
        Self { json, quiet, verbose, stdout: RefCell::new(BufWriter::with_capacity(1 << 16, io::stdout())) }
    }

    /// Whether results are to be JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether more than usual is to be said.
    pub fn is_verbose(&self) -> bool {
        self.verbose > 0
    }

    /// Prints one result: `text` for people, or `value` as one line of JSON.
    pub fn result(&self, text: impl Display, value: &impl Serialize) -> Result<(), CommandError> {
        if self.json { self.json(value) } else { self.line(text) }
    }

    /// Prints a line for people on standard output.
    pub fn line(&self, text: impl Display) -> Result<(), CommandError> {
        writeln!(self.stdout.borrow_mut(), "{text}").map_err(CommandError::stdout)
    }

    /// Prints one line of JSON on standard output.
    pub fn json(&self, value: &impl Serialize) -> Result<(), CommandError> {
        let mut stdout = self.stdout.borrow_mut();
        let written = serde_json::to_writer(&mut *stdout, value).map_err(io::Error::from);
        written.and_then(|()| writeln!(stdout)).map_err(CommandError::stdout)
    }

    /// Gives raw bytes to standard output.
    pub fn raw(&self) -> std::cell::RefMut<'_, impl Write + use<>> {
        self.stdout.borrow_mut()
    }

    /// Standard output as a place that libraries write to.
    pub fn pipe(&self) -> Pipe<'_> {
        Pipe { out: self.stdout.borrow_mut(), failed: None }
    }

    /// Remarks on standard error, unless quiet.
    #[expect(clippy::print_stderr, reason = "the one place that talks")]
    pub fn note(&self, text: impl Display) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Remarks of interest to who asked for more.
    pub fn detail(&self, text: impl Display) {
        if self.verbose > 0 {
            self.note(text);
        }
    }

    /// Flushes standard output; the last thing a command does.
    pub fn finish(&self) -> Result<(), CommandError> {
        self.stdout.borrow_mut().flush().map_err(CommandError::stdout)
    }

    /// A progress bar over bytes, drawn only on a terminal and unless quiet.
    pub fn progress(&self, verb: &'static str) -> ProgressBar {
        let visible = !self.quiet && !self.json && io::stderr().is_terminal();
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target).with_prefix(verb);
        let template = "{prefix} {msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// Standard output, with its failures kept apart from those of whoever writes to it.
#[derive(Debug)]
pub struct Pipe<'a> {
    out: RefMut<'a, BufWriter<Stdout>>,
    failed: Option<io::Error>,
}

impl Pipe<'_> {
    /// What came of the work that wrote here; a failure of standard output itself goes before.
    pub fn result<T, E: Into<CommandError>>(self, done: Result<T, E>) -> Result<T, CommandError> {
        match self.failed {
            Some(error) => Err(CommandError::stdout(error)),
            None => done.map_err(Into::into),
        }
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes).map_err(|error| {
            let kind = error.kind();
            self.failed = Some(error);
            kind.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Prints an error on standard error, whatever the flags.
#[expect(clippy::print_stderr, reason = "the one place that talks")]
pub fn error(text: impl Display) {
    eprintln!("{text}");
}

/// A time as people and programs read it: `2026-01-30T20:30:00Z`.
pub fn time(second: i64) -> String {
    Timestamp::from_second(second).map_or_else(|_| format!("@{second}"), |time| time.to_string())
}

/// Bytes as people read them.
pub fn size(bytes: u64) -> impl Display {
    indicatif::HumanBytes(bytes)
}

/// A count as people read it: `1,234,567`.
pub fn count(number: u64) -> impl Display {
    indicatif::HumanCount(number)
}

/// A duration as people read it: `3.2 ms`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}
