//! What is answered to a request: status, header fields and which bytes follow, decided without a socket.
//!
//! Always true: the length that a head states is that of the body planned here, and a `HEAD` has the head of
//! its `GET`; an answer about a path of a snapshot names the snapshot.

use std::io::Write as _;
use std::ops::Range;
use std::sync::Arc;

use super::conditions::{Validators, Verdict, http_date};
use super::head::{HeadError, Method, Request};
use super::media::{Keep, media_type};
use super::ranges::{self, Wanted};
use super::target::{TargetError, encode};
use crate::digest::{BlobId, Digest, SnapshotId};
use crate::name::TreePath;

/// What stands at the path that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The snapshot in which it was looked for.
    pub(super) snapshot: Option<SnapshotId>,
    /// Whether the address names the snapshot, so that what stands there never changes.
    pub(super) is_permanent: bool,
    /// Whether the last name is that of a symlink.
    pub(super) is_link: bool,
    /// Of what has been removed: the second since 1970 from which on it is not found any more.
    pub(super) ghost_until: Option<i64>,
    /// What it is.
    pub(super) thing: Thing,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Thing {
    /// Nothing.
    Absent,
    /// Something that not everybody may read.
    Forbidden,
    /// A file.
    File { blob: BlobId, size_bytes: u64, mtime: i64 },
    /// A directory, with the page that lists it where the request is for one.
    Dir { page: Option<Arc<[u8]>>, mtime: i64 },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Fields of the head that depend on the request, each with its line end.
    fields: Vec<u8>,
    pub(super) body: Body,
    /// Bytes of the body, were it sent.
    length: u64,
    /// Whether the head states a length: not for 304.
    has_length: bool,
}

/// The bytes that follow the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    /// None.
    Nothing,
    /// These.
    Bytes(Vec<u8>),
    /// Parts of a page.
    Page(Arc<[u8]>, Vec<Part>),
    /// Parts of a blob.
    Blob { blob: BlobId, size_bytes: u64, parts: Vec<Part> },
}

/// A part of a body: text, then a range of the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) before: Vec<u8>,
    pub(super) range: Range<u64>,
}

/// Bytes that can be sent, with what is said of them.
struct Content<'a> {
    source: Source,
    size_bytes: u64,
    etag: String,
    mtime: i64,
    media: &'static str,
    keep: Keep,
    snapshot: Option<&'a SnapshotId>,
    ghost_until: Option<i64>,
}

enum Source {
    Blob(BlobId),
    Page(Arc<[u8]>),
}

/// The answer to bytes that are no request.
pub(super) fn to_mistake(error: HeadError) -> Answer {
    message(error.status(), "", None)
}

/// The answer to a request that needs no look at the tree, if that is so.
pub(super) fn to_misuse(request: &Request<'_>) -> Option<Answer> {
    if request.method == Method::Other {
        return Some(message(405, "Allow: GET, HEAD\r\n", None));
    }
    if request.has_body {
        return Some(message(413, "", None));
    }
    let error = request.target.as_ref().err()?;
    match error {
        TargetError::NotAPath | TargetError::Encoding | TargetError::AboveTop => {
            Some(quiet(message(400, "", None), request))
        }
    }
}

/// The answer when the store fails.
pub(super) fn to_failure(request_is_head: bool, snapshot: Option<&SnapshotId>) -> Answer {
    let answer = message(500, &snapshot_field(snapshot), Some(Keep::Ask));
    if request_is_head { Answer { body: Body::Nothing, ..answer } } else { answer }
}

/// The answer to a request for what nobody can have.
pub(super) fn to_nothing(request: &Request<'_>, snapshot: Option<&SnapshotId>) -> Answer {
    quiet(message(404, &snapshot_field(snapshot), Some(Keep::Briefly)), request)
}

/// A short text of the server itself.
pub(super) fn to_probe(status: u16, media: &str, text: Vec<u8>, is_head: bool) -> Answer {
    let fields = format!("Content-Type: {media}\r\nCache-Control: {}\r\n", Keep::Ask.header());
    let length = text.len() as u64;
    let body = if is_head { Body::Nothing } else { Body::Bytes(text) };
    Answer { status, fields: fields.into(), body, length, has_length: true }
}

/// The answer to a request for `path`, at which `found` stands.
pub(super) fn to_request(request: &Request<'_>, path: &TreePath, as_dir: bool, found: Found) -> Answer {
    let snapshot = found.snapshot.as_ref();
    let refuse = |status| quiet(message(status, &snapshot_field(snapshot), Some(Keep::Briefly)), request);
    match found.thing {
        Thing::Absent => refuse(404),
        Thing::Forbidden => refuse(403),
        Thing::File { .. } if as_dir => refuse(404),
        Thing::File { blob, size_bytes, mtime } => {
            let keep = match (found.is_permanent, found.is_link) {
                (true, _) => Keep::Forever,
                (false, true) => Keep::Ask,
                (false, false) => Keep::of(path.as_str()),
            };
            let etag = format!("\"{blob}\"");
            let media = media_type(path.as_str());
            let source = Source::Blob(blob);
            let ghost_until = found.ghost_until;
            content(request, Content { source, size_bytes, etag, mtime, media, keep, snapshot, ghost_until })
        }
        Thing::Dir { page: None, .. } => quiet(redirect(path, snapshot), request),
        Thing::Dir { page: Some(page), mtime } => {
            let keep = if found.is_permanent { Keep::Forever } else { Keep::Ask };
            let etag = format!("\"{}\"", Digest::of(&page));
            let size_bytes = page.len() as u64;
            let source = Source::Page(page);
            let media = "text/html; charset=utf-8";
            let ghost_until = None;
            content(request, Content { source, size_bytes, etag, mtime, media, keep, snapshot, ghost_until })
        }
    }
}

/// Sends a client that asked for a directory as for a file to where names in the page lead on from.
fn redirect(path: &TreePath, snapshot: Option<&SnapshotId>) -> Answer {
    let mut location = String::from("/");
    encode(path.as_str(), &mut location);
    let fields = format!("Location: {location}/\r\n{}", snapshot_field(snapshot));
    message(301, &fields, Some(Keep::Briefly))
}

/// The answer to a request for a content that exists.
fn content(request: &Request<'_>, content: Content<'_>) -> Answer {
    let now = Validators { etag: &content.etag, mtime: content.mtime };
    match request.conditions.verdict(now) {
        Verdict::Failed => {
            return quiet(message(412, &snapshot_field(content.snapshot), Some(Keep::Briefly)), request);
        }
        Verdict::NotModified => {
            let fields = content.fields();
            return Answer { status: 304, fields, body: Body::Nothing, length: 0, has_length: false };
        }
        Verdict::Go => {}
    }
    // Parts are defined for GET alone.
    let range = request.range.filter(|_| request.method == Method::Get);
    let range = range.filter(|_| request.conditions.part_is_good(now));
    match range.map_or(Wanted::Whole, |range| ranges::parse(range, content.size_bytes)) {
        Wanted::Whole => {
            let mut answer = whole(content);
            if request.method == Method::Head {
                answer.body = Body::Nothing;
            }
            answer
        }
        Wanted::Nothing => {
            let range = format!("Content-Range: bytes */{}\r\n", content.size_bytes);
            message(416, &(range + &snapshot_field(content.snapshot)), Some(Keep::Briefly))
        }
        Wanted::Parts(parts) => partial(content, parts),
    }
}

fn whole(content: Content<'_>) -> Answer {
    let mut fields = content.fields();
    let _ = write!(fields, "Content-Type: {}\r\n", content.media);
    let length = content.size_bytes;
    let parts = vec![Part { before: Vec::new(), range: 0..length }];
    Answer { status: 200, fields, body: content.body(parts), length, has_length: true }
}

fn partial(content: Content<'_>, ranges: Vec<Range<u64>>) -> Answer {
    let size_bytes = content.size_bytes;
    let span = |range: &Range<u64>| format!("bytes {}-{}/{size_bytes}", range.start, range.end - 1);
    let mut fields = content.fields();
    let parts: Vec<Part> = if let [range] = ranges.as_slice() {
        let _ = write!(fields, "Content-Type: {}\r\nContent-Range: {}\r\n", content.media, span(range));
        vec![Part { before: Vec::new(), range: range.clone() }]
    } else {
        // No content has its own digest in it, so this cannot be met inside a part.
        let boundary = &content.etag[1..=32];
        let _ = write!(fields, "Content-Type: multipart/byteranges; boundary={boundary}\r\n");
        let part = |range: Range<u64>| {
            let (media, span) = (content.media, span(&range));
            let before =
                format!("\r\n--{boundary}\r\nContent-Type: {media}\r\nContent-Range: {span}\r\n\r\n");
            Part { before: before.into_bytes(), range }
        };
        let end = Part { before: format!("\r\n--{boundary}--\r\n").into_bytes(), range: 0..0 };
        ranges.into_iter().map(part).chain([end]).collect()
    };
    let bytes = |part: &Part| part.before.len() as u64 + (part.range.end - part.range.start);
    let length = parts.iter().map(bytes).sum();
    Answer { status: 206, fields, body: content.body(parts), length, has_length: true }
}

impl Content<'_> {
    fn body(self, parts: Vec<Part>) -> Body {
        match self.source {
            Source::Blob(blob) => Body::Blob { blob, size_bytes: self.size_bytes, parts },
            Source::Page(page) => Body::Page(page, parts),
        }
    }

    /// What is said of the content in every answer that sends it or says that the client has it.
    fn fields(&self) -> Vec<u8> {
        let mut fields = Vec::with_capacity(384);
        let _ = write!(
            fields,
            "Last-Modified: {}\r\nETag: {}\r\nAccept-Ranges: bytes\r\nCache-Control: {}\r\n",
            http_date(self.mtime),
            self.etag,
            self.keep.header(),
        );
        fields.extend_from_slice(snapshot_field(self.snapshot).as_bytes());
        if let Some(until) = self.ghost_until {
            let _ = write!(fields, "X-Cfs-Ghost: {}\r\n", http_date(until));
        }
        fields
    }
}

fn snapshot_field(snapshot: Option<&SnapshotId>) -> String {
    snapshot.map_or(String::new(), |id| format!("X-Cfs-Snapshot: {id}\r\n"))
}

/// A status that speaks for itself, with a line of text for people.
fn message(status: u16, fields: &str, keep: Option<Keep>) -> Answer {
    let text = format!("{status} {}\n", reason(status));
    let mut fields = format!("{fields}Content-Type: text/plain; charset=utf-8\r\n").into_bytes();
    if let Some(keep) = keep {
        let _ = write!(fields, "Cache-Control: {}\r\n", keep.header());
    }
    let length = text.len() as u64;
    Answer { status, fields, body: Body::Bytes(text.into()), length, has_length: true }
}

/// Without a body when the request was a `HEAD`.
fn quiet(answer: Answer, request: &Request<'_>) -> Answer {
    if request.method == Method::Head { Answer { body: Body::Nothing, ..answer } } else { answer }
}

impl Answer {
    /// Appends the head as it is sent. `date` is the value of the field `Date`; `connection` is said where the
    /// version's own rule is not meant.
    pub(super) fn write_head(&self, date: &str, connection: Option<&str>, out: &mut Vec<u8>) {
        let (status, reason) = (self.status, reason(self.status));
        let _ = write!(out, "HTTP/1.1 {status} {reason}\r\nServer: cfs\r\nDate: {date}\r\n");
        if self.has_length {
            let _ = write!(out, "Content-Length: {}\r\n", self.length);
        }
        out.extend_from_slice(&self.fields);
        if let Some(connection) = connection {
            let _ = write!(out, "Connection: {connection}\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        301 => "Moved Permanently",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        416 => "Range Not Satisfiable",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests;
