//! The access log: one line for every answer, in the combined format of web servers.
//!
//! Always true: what a client sends is escaped, so a line is one answer and a field is one field; a log that
//! cannot be written loses lines and never stops service.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::head::Trace;

/// Where lines go.
pub struct AccessLog {
    path: Option<PathBuf>,
    out: Mutex<Box<dyn Write + Send>>,
}

impl std::fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessLog").field("path", &self.path).finish_non_exhaustive()
    }
}

impl AccessLog {
    /// Appends to the file at `path`, which is made if there is none.
    pub fn file(path: &Path) -> io::Result<Self> {
        Ok(Self { path: Some(path.to_owned()), out: Mutex::new(Box::new(append_to(path)?)) })
    }

    /// Writes to `out`.
    pub fn stream(out: impl Write + Send + 'static) -> Self {
        Self { path: None, out: Mutex::new(Box::new(out)) }
    }

    /// Goes on in a new file of the same name, when the old one has been renamed.
    pub fn reopen(&self) -> io::Result<()> {
        if let Some(path) = &self.path {
            let file = append_to(path)?;
            *self.out.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(file);
        }
        Ok(())
    }

    /// Writes whole lines.
    pub(super) fn write(&self, lines: &[u8]) -> io::Result<()> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.write_all(lines)?;
        out.flush()
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// What a line tells, kept until the answer is sent.
#[derive(Debug)]
pub(super) struct Record {
    /// The request line and the two headers, escaped and in quotes.
    request: String,
    headers: String,
}

impl Record {
    pub(super) fn new(trace: &Trace<'_>) -> Self {
        let mut request = String::from("\"");
        escape(trace.method.as_bytes(), &mut request);
        request.push(' ');
        escape(trace.target.as_bytes(), &mut request);
        let _ = write!(request, " HTTP/1.{}\"", trace.minor_version);
        let mut headers = String::new();
        for value in [trace.referer, trace.user_agent] {
            headers.push_str(" \"");
            escape(if value.is_empty() { b"-" } else { value }, &mut headers);
            headers.push('"');
        }
        Self { request, headers }
    }

    /// Of bytes that were no request.
    pub(super) fn of_mistake() -> Self {
        Self { request: "\"-\"".to_owned(), headers: " \"-\" \"-\"".to_owned() }
    }

    /// Appends the line. `date` is the value of a header `Date`.
    pub(super) fn write_line(
        &self,
        peer: IpAddr,
        date: &str,
        status: u16,
        sent_bytes: u64,
        out: &mut Vec<u8>,
    ) {
        let Self { request, headers } = self;
        let peer = peer.to_canonical();
        let _ = writeln!(out, "{peer} - - [{}] {request} {status} {sent_bytes}{headers}", log_date(date));
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` as `06/Nov/1994:08:49:37 +0000`.
fn log_date(date: &str) -> String {
    let words: Vec<&str> = date.split(' ').collect();
    match words.as_slice() {
        [_, day, month, year, time, _] => format!("{day}/{month}/{year}:{time} +0000"),
        _ => date.to_owned(),
    }
}

/// What could end a field or a line, or move a terminal's cursor, as `\xNN`.
fn escape(text: &[u8], out: &mut String) {
    for byte in text {
        if (b' '..=b'~').contains(byte) && !b"\"\\".contains(byte) {
            out.push(char::from(*byte));
        } else {
            let _ = write!(out, "\\x{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_log_readers_know() {
        let trace = Trace {
            method: "GET",
            target: "/a?b",
            minor_version: 1,
            referer: b"",
            user_agent: b"evil\" \\ \x1b[0m\nline",
        };
        let mut line = Vec::new();
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        Record::new(&trace).write_line("::ffff:192.0.2.1".parse().unwrap(), date, 206, 1234, &mut line);
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "192.0.2.1 - - [06/Nov/1994:08:49:37 +0000] \"GET /a?b HTTP/1.1\" 206 1234 \"-\" \
             \"evil\\x22 \\x5C \\x1B[0m\\x0Aline\"\n"
        );
    }

    #[test]
    fn a_renamed_log_is_left_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        let log = AccessLog::file(&path).unwrap();
        log.write(b"1\n").unwrap();
        std::fs::rename(&path, &old).unwrap();
        log.write(b"2\n").unwrap();
        log.reopen().unwrap();
        log.write(b"3\n").unwrap();
        assert_eq!(std::fs::read_to_string(old).unwrap(), "1\n2\n");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "3\n");
    }
}
