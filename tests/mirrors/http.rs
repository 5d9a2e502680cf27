//! `cfs serve` as clients see it: every sentence of `docs/semantics.md` about HTTP has a test that quotes it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::Sandbox;
pub use crate::mount::{import, says};

mod answers;
mod clients;
mod flips;
mod guests;
mod life;

/// A `cfs serve`, ended with the test.
pub struct Served {
    child: Child,
    /// Its address, without a slash at the end.
    pub url: String,
    /// Where it tells of itself.
    pub metrics: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves the sandbox's store at a free port of the loopback, with more arguments for `cfs serve`. What it
/// reports is in the sandbox's file `serve.log`.
#[track_caller]
pub fn serve(sandbox: &Sandbox, more: &[&str]) -> Served {
    let log = std::fs::File::create(sandbox.path("serve.log")).unwrap();
    let mut command = sandbox.cfs();
    command.args(["--json", "serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]).args(more);
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: serde_json::Value = serde_json::from_str(&line)
        .unwrap_or_else(|e| panic!("{e}: {}", std::fs::read_to_string(sandbox.path("serve.log")).unwrap()));
    let address = |name: &str| said[name][0].as_str().unwrap().trim_end_matches('/').to_owned();
    Served { child, url: address("listen"), metrics: address("metrics") }
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a field, by its name in any case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} stands twice in {self:?}");
        value
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection on which a test says what it likes.
pub struct Wire {
    stream: BufReader<TcpStream>,
}

impl Wire {
    /// Writes bytes; that the other side has gone is not this one's concern.
    pub fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.get_mut().write_all(bytes);
    }

    /// Reads one answer, or `None` when the connection ends before it.
    #[track_caller]
    pub fn hear(&mut self, is_head: bool) -> Option<Response> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match self.stream.read_line(&mut line) {
                Ok(count) if count > 0 && line != "\r\n" => lines.push(line.trim_end().to_owned()),
                Ok(count) if count > 0 => break,
                ended => {
                    assert!(lines.is_empty(), "the connection ends in a head: {lines:?}, {ended:?}");
                    return None;
                }
            }
        }
        let status = lines[0].strip_prefix("HTTP/1.1 ").unwrap().split(' ').next().unwrap().parse().unwrap();
        let field = |line: &String| line.split_once(": ").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let mut response =
            Response { status, fields: lines[1..].iter().map(field).collect(), body: Vec::new() };
        if !is_head && status != 304 {
            let length = response.field("Content-Length").unwrap().parse().unwrap();
            response.body.resize(length, 0);
            self.stream.read_exact(&mut response.body).unwrap();
        }
        Some(response)
    }

    /// Whether the other side has ended the connection, or does so before the test's patience ends.
    pub fn has_ended(&mut self) -> bool {
        self.stream.get_ref().set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        loop {
            let mut waste = [0; 4096];
            match self.stream.read(&mut waste) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }
}

impl Served {
    /// The host and port.
    pub fn authority(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    /// A new connection.
    pub fn connect(&self) -> Wire {
        let stream = TcpStream::connect(self.authority()).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        Wire { stream: BufReader::new(stream) }
    }

    /// Asks for `target` with more header lines, each with its line end.
    #[track_caller]
    pub fn ask(&self, method: &str, target: &str, fields: &str) -> Response {
        let mut wire = self.connect();
        let request =
            format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}Connection: close\r\n\r\n");
        wire.say(request.as_bytes());
        wire.hear(method == "HEAD").unwrap_or_else(|| panic!("{method} {target}: no answer"))
    }

    /// Gets `target`.
    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.ask("GET", target, "")
    }

    /// What it tells of itself at `path`.
    pub fn told(&self, path: &str) -> Response {
        let authority = self.metrics.strip_prefix("http://").unwrap();
        let mut wire = Wire { stream: BufReader::new(TcpStream::connect(authority).unwrap()) };
        wire.say(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").as_bytes());
        wire.hear(false).unwrap()
    }

    /// The value of a counter or gauge.
    #[track_caller]
    pub fn count(&self, name: &str) -> u64 {
        let text = self.told("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the process to end, and returns its exit status.
    pub fn ended(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}
