//! An HTTP server that does as it is told, also what no server should.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

/// What goes wrong with an answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The connection is closed without an answer.
    Close,
    /// The body breaks off after so many bytes of those asked for, although more are announced.
    Truncate(usize),
    /// The body ends after so many bytes, and no length was announced.
    End(usize),
    /// After so many bytes of the body nothing more comes; `None`: not even an answer.
    Hang(Option<usize>),
    /// A byte now and then.
    Trickle,
    /// An answer with this status.
    Status(u16),
    /// Other bytes than the file's.
    Content(Vec<u8>),
    /// Another length is announced, and the file is sent.
    Length(usize),
    /// Requests for a range get the whole file.
    NoRanges,
    /// Requests for a range get a later one.
    WrongRange,
    /// Go there.
    Redirect(String),
}

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The path, as sent.
    pub path: String,
    /// From which byte on.
    pub from: Option<usize>,
    /// All headers, in lower case.
    pub headers: String,
}

#[derive(Debug, Default)]
struct State {
    /// By path, with how often they still happen.
    faults: HashMap<String, (Fault, usize)>,
    requests: Vec<Request>,
}

/// A running server of a directory.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Upstream {
    /// Serves `root` on a free port until the process ends.
    pub fn serve(root: &Path) -> Self {
        Self::start(root, false)
    }

    /// As [`Upstream::serve`]; connections stay open as long as nothing goes wrong.
    pub fn serve_many(root: &Path) -> Self {
        Self::start(root, true)
    }

    fn start(root: &Path, keeps: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let (root, shared) = (root.to_owned(), Arc::clone(&state));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (root, shared) = (root.clone(), Arc::clone(&shared));
                // A client that goes away is its own affair.
                thread::spawn(move || while answer(&stream, &root, &shared, keeps).is_some() {});
            }
        });
        Self { address, state }
    }

    /// The address of the directory, with a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Makes every request for `path` (with its slash) go wrong.
    pub fn fault(&self, path: &str, fault: Fault) {
        self.fault_times(path, fault, usize::MAX);
    }

    /// Makes the next requests for `path` go wrong.
    pub fn fault_times(&self, path: &str, fault: Fault, times: usize) {
        self.state().faults.insert(path.to_owned(), (fault, times));
    }

    /// Makes everything go well again, and forgets the requests.
    pub fn heal(&self) {
        *self.state() = State::default();
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// How many requests came so far.
    pub fn request_count(&self) -> usize {
        self.state().requests.len()
    }

    /// The paths of requests so far, sorted.
    pub fn paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = self.requests().into_iter().map(|request| request.path).collect();
        paths.sort_unstable();
        paths
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// Answers one request; `None` when the connection ends with it.
fn answer(stream: &TcpStream, root: &Path, state: &Mutex<State>, keeps: bool) -> Option<()> {
    let request = read_request(stream)?;
    let fault = {
        let mut state = state.lock().unwrap();
        state.requests.push(request.clone());
        match state.faults.get_mut(&request.path) {
            Some((fault, times @ 1..)) => {
                *times -= 1;
                Some(fault.clone())
            }
            _ => None,
        }
    };
    let file = root.join(decode(&request.path).trim_start_matches('/'));
    let (body, modified) = match (&fault, read_file(&file)) {
        (Some(Fault::Content(bytes)), found) => (bytes.clone(), found.map_or(0, |(_, modified)| modified)),
        (Some(Fault::Status(status)), _) => return send(stream, &format!("{status} As Told"), "", b""),
        (Some(Fault::Redirect(to)), _) => {
            return send(stream, "302 Found", &format!("Location: {to}\r\n"), b"");
        }
        (Some(Fault::Close), _) => return None,
        (Some(Fault::Hang(None)), _) => {
            thread::sleep(Duration::from_hours(1));
            return None;
        }
        (_, None) => return send(stream, "404 Not Found", "", b"nothing here"),
        (_, Some(found)) => found,
    };
    let ranged = request.from.filter(|_| !matches!(fault, Some(Fault::NoRanges)));
    let (status, from) = match ranged {
        Some(from) if from >= body.len() => return send(stream, "416 Range Not Satisfiable", "", b""),
        Some(from) => ("206 Partial Content", from),
        None => ("200 OK", 0),
    };
    let from = if ranged.is_some() && matches!(fault, Some(Fault::WrongRange)) { from + 1 } else { from };
    let stays = keeps && fault.is_none();
    let connection = if stays { "keep-alive" } else { "close" };
    let mut head = format!("HTTP/1.1 {status}\r\nConnection: {connection}\r\n");
    let time = httpdate(modified);
    write!(head, "Last-Modified: {time}\r\n").ok()?;
    if ranged.is_some() {
        write!(head, "Content-Range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len()).ok()?;
    }
    match fault {
        Some(Fault::End(_)) => {}
        Some(Fault::Length(length)) => write!(head, "Content-Length: {length}\r\n").ok()?,
        _ => write!(head, "Content-Length: {}\r\n", body.len() - from).ok()?,
    }
    let mut stream = stream;
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(b"\r\n").ok()?;
    let body = &body[from..];
    match fault {
        Some(Fault::Truncate(len) | Fault::End(len)) => {
            stream.write_all(&body[..len.min(body.len())]).ok().and(None)
        }
        Some(Fault::Hang(Some(len))) => {
            stream.write_all(&body[..len.min(body.len())]).ok()?;
            thread::sleep(Duration::from_hours(1));
            None
        }
        Some(Fault::Trickle) => body
            .iter()
            .try_for_each(|byte| {
                stream.write_all(&[*byte]).ok()?;
                thread::sleep(Duration::from_millis(200));
                Some(())
            })
            .and(None),
        _ => stream.write_all(body).ok().filter(|()| stays),
    }
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream.take(1 << 16)).lines();
    let first = lines.next()?.ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut headers = String::new();
    for line in lines {
        let line = line.ok()?.to_lowercase();
        if line.is_empty() {
            break;
        }
        headers.push_str(&line);
        headers.push('\n');
    }
    let range = headers.lines().find_map(|line| line.strip_prefix("range: bytes="));
    let from = range.and_then(|range| range.strip_suffix('-')?.parse().ok());
    Some(Request { path, from, headers })
}

fn send(mut stream: &TcpStream, status: &str, headers: &str, body: &[u8]) -> Option<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok().and(None)
}

fn read_file(path: &PathBuf) -> Option<(Vec<u8>, u64)> {
    let bytes = fs::read(path).ok()?;
    let modified = fs::metadata(path).ok()?.modified().ok()?;
    Some((bytes, modified.duration_since(UNIX_EPOCH).ok()?.as_secs()))
}

fn decode(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            byte => byte,
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).unwrap()
}

/// A time as HTTP writes it; all that matters here is that clients understand it.
fn httpdate(second: u64) -> String {
    let time = jiff::Timestamp::from_second(i64::try_from(second).unwrap()).unwrap();
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
