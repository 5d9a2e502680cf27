//! A small HTTP server for one directory, on loopback.
//!
//! Always true: it serves regular files below its directory and nothing else; an answer carries exactly the
//! length it states; when a [`Server`] is dropped, its threads have ended.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

/// Longest request that is read.
const REQUEST_BYTES: u64 = 16 << 10;
/// How long a client may be silent.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A running server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves the directory `root` until it is dropped.
    pub fn start(root: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (root, stopped) = (root.to_owned(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || accept(&listener, &root, &stopped));
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// The address of a path below the directory.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a client.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, root: &Path, stop: &AtomicBool) {
    std::thread::scope(|scope| {
        for client in listener.incoming() {
            if stop.load(Ordering::SeqCst) {
                return;
            }
            let Ok(client) = client else { continue };
            // A client that has gone needs no answer.
            scope.spawn(move || drop(serve(&client, root)));
        }
    });
}

/// Answers one request and closes the connection.
fn serve(client: &TcpStream, root: &Path) -> io::Result<()> {
    client.set_read_timeout(Some(TIMEOUT))?;
    client.set_write_timeout(Some(TIMEOUT))?;
    let mut lines = BufReader::new(client.take(REQUEST_BYTES)).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let refuse = |status: &str| {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let mut client = client;
        client.write_all(head.as_bytes())
    };
    if !["GET", "HEAD"].contains(&method) {
        return refuse("405 Method Not Allowed");
    }
    let found = file_of(root, target).and_then(|path| {
        let file = File::open(path).ok()?;
        let metadata = file.metadata().ok()?;
        metadata.is_file().then_some((file, metadata))
    });
    let Some((file, metadata)) = found else { return refuse("404 Not Found") };
    let age = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = i64::try_from(age.as_secs()).ok().and_then(|second| Timestamp::from_second(second).ok());
    let time = DateTimePrinter::new().timestamp_to_rfc9110_string(&time.unwrap_or_default());
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nLast-Modified: {}\r\nConnection: close\r\n\r\n",
        metadata.len(),
        time.map_err(io::Error::other)?,
    );
    let mut client = client;
    client.write_all(head.as_bytes())?;
    if method == "GET" {
        io::copy(&mut file.take(metadata.len()), &mut client)?;
    }
    Ok(())
}

/// The file that a request means, if it can be below `root`.
fn file_of(root: &Path, target: &str) -> Option<PathBuf> {
    let path = decode(target.strip_prefix('/')?.split('?').next()?)?;
    let fine = path.split('/').all(|part| !["", ".", ".."].contains(&part));
    (fine && !path.contains('\0')).then(|| root.join(path))
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
