//! The head of a request: from bytes to what is asked, and by whose rules.
//!
//! Always true: a head is read whole or not at all; one that two programs could understand differently (two
//! hosts, two lengths, a length beside an encoding) is refused, since it could hide a second request.

use httparse::{Error, Header, Status};

use super::conditions::Conditions;
use super::target::{Target, TargetError};

/// Longest head, request line included.
pub(super) const HEAD_MAX_BYTES: usize = 16 << 10;
/// Most header fields.
const FIELDS_MAX: usize = 96;

/// What a request wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
    /// One that a read-only server refuses.
    Other,
}

/// A request.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) target: Result<Target, TargetError>,
    pub(super) conditions: Conditions<'a>,
    /// The header `Range`, unless there are several.
    pub(super) range: Option<&'a [u8]>,
    /// Whether the client waits for the next answer on the same connection.
    pub(super) keep_alive: bool,
    /// Whether HTTP/1.0 was spoken, which has to be told that the connection stays.
    pub(super) is_http10: bool,
    /// Whether a body follows, which nobody reads.
    pub(super) has_body: bool,
    /// For the access log.
    pub(super) trace: Trace<'a>,
}

/// What the access log tells of a request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trace<'a> {
    /// The request line, as far as it was understood.
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) minor_version: u8,
    pub(super) referer: &'a [u8],
    pub(super) user_agent: &'a [u8],
}

/// Why bytes are not a request. The connection ends after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadError {
    /// 400.
    Malformed,
    /// 414: the request line alone is too long.
    TargetTooLong,
    /// 431.
    TooLarge,
    /// 505.
    Version,
}

impl HeadError {
    /// The status to answer with.
    pub(super) fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::TargetTooLong => 414,
            Self::TooLarge => 431,
            Self::Version => 505,
        }
    }
}

/// Reads the request at the beginning of `bytes`. Returns it with the length of its head, or `None` as long
/// as the end of the head is not there.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Request<'_>, usize)>, HeadError> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut raw = httparse::Request::new(&mut fields);
    match raw.parse(bytes) {
        Ok(Status::Complete(length)) if length > HEAD_MAX_BYTES => Err(too_large(bytes)),
        Ok(Status::Complete(length)) => Ok(Some((understand(&raw)?, length))),
        Ok(Status::Partial) if bytes.len() >= HEAD_MAX_BYTES => Err(too_large(bytes)),
        Ok(Status::Partial) => Ok(None),
        Err(Error::TooManyHeaders) => Err(HeadError::TooLarge),
        Err(Error::Version) => Err(HeadError::Version),
        Err(_) => Err(HeadError::Malformed),
    }
}

fn too_large(bytes: &[u8]) -> HeadError {
    let first_lines = &bytes[..bytes.len().min(HEAD_MAX_BYTES)];
    // Empty lines may stand before a request.
    let has_line = first_lines.trim_ascii_start().contains(&b'\n');
    if has_line { HeadError::TooLarge } else { HeadError::TargetTooLong }
}

fn understand<'a>(raw: &httparse::Request<'_, 'a>) -> Result<Request<'a>, HeadError> {
    let (Some(method), Some(target), Some(minor_version)) = (raw.method, raw.path, raw.version) else {
        return Err(HeadError::Malformed);
    };
    let fields = Fields::read(raw.headers)?;
    if fields.hosts > 1 || fields.hosts == 0 && minor_version > 0 {
        return Err(HeadError::Malformed);
    }
    if fields.encoded && fields.length.is_some() {
        return Err(HeadError::Malformed);
    }
    Ok(Request {
        method: match method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            _ => Method::Other,
        },
        target: Target::parse(target),
        conditions: fields.conditions,
        range: if fields.ranges == 1 { fields.range } else { None },
        keep_alive: !fields.close && (minor_version > 0 || fields.keep_alive),
        is_http10: minor_version == 0,
        has_body: fields.encoded || fields.length.is_some_and(|length| length > 0),
        trace: Trace {
            method,
            target,
            minor_version,
            referer: fields.referer,
            user_agent: fields.user_agent,
        },
    })
}

/// The fields that mean something here.
#[derive(Debug, Default)]
struct Fields<'a> {
    hosts: usize,
    ranges: usize,
    range: Option<&'a [u8]>,
    length: Option<u64>,
    encoded: bool,
    close: bool,
    keep_alive: bool,
    conditions: Conditions<'a>,
    referer: &'a [u8],
    user_agent: &'a [u8],
}

impl<'a> Fields<'a> {
    fn read(headers: &[Header<'a>]) -> Result<Self, HeadError> {
        let mut fields = Self::default();
        for header in headers {
            fields.take(header.name, header.value)?;
        }
        Ok(fields)
    }

    fn take(&mut self, name: &str, value: &'a [u8]) -> Result<(), HeadError> {
        let is = |expected: &str| name.eq_ignore_ascii_case(expected);
        // The length sorts most names out before any is compared.
        match name.len() {
            4 if is("Host") => self.hosts += 1,
            5 if is("Range") => {
                self.ranges += 1;
                self.range = Some(value);
            }
            7 if is("Referer") => self.referer = value,
            8 if is("If-Match") => self.conditions.matching.push(value),
            8 if is("If-Range") => self.conditions.range_of = Some(value),
            10 if is("Connection") => {
                for word in value.split(|byte| *byte == b',') {
                    self.close |= word.trim_ascii().eq_ignore_ascii_case(b"close");
                    self.keep_alive |= word.trim_ascii().eq_ignore_ascii_case(b"keep-alive");
                }
            }
            10 if is("User-Agent") => self.user_agent = value,
            13 if is("If-None-Match") => self.conditions.none_matching.push(value),
            14 if is("Content-Length") => {
                let text = std::str::from_utf8(value).map_err(|_| HeadError::Malformed)?.trim();
                let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                let length = text.parse().ok().filter(|_| digits).ok_or(HeadError::Malformed)?;
                if self.length.is_some_and(|before| before != length) {
                    return Err(HeadError::Malformed);
                }
                self.length = Some(length);
            }
            17 if is("If-Modified-Since") => self.conditions.modified_since = Some(value),
            17 if is("Transfer-Encoding") => self.encoded = true,
            19 if is("If-Unmodified-Since") => self.conditions.unmodified_since = Some(value),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Option<(Request<'_>, usize)>, HeadError> {
        parse(text.as_bytes())
    }

    #[track_caller]
    fn whole(text: &str) -> Request<'_> {
        read(text).unwrap().unwrap().0
    }

    #[test]
    fn a_request_is_read_with_what_matters() {
        let text = "GET /a%20b HTTP/1.1\r\nHost: h\r\nrange: bytes=0-1\r\nIf-None-Match: \"x\"\r\nIF-RANGE: \"y\"\r\n\
                    Referer: r\r\nUser-Agent: u\r\n\r\nGET /next";
        let (request, length) = read(text).unwrap().unwrap();
        assert_eq!(&text[length..], "GET /next");
        assert_eq!(request.method, Method::Get);
        assert_eq!(request.target.unwrap().path.unwrap().as_str(), "a b");
        assert_eq!(request.range, Some(b"bytes=0-1".as_slice()));
        assert_eq!(request.conditions.none_matching, [b"\"x\""]);
        assert_eq!(request.conditions.range_of, Some(b"\"y\"".as_slice()));
        assert_eq!((request.trace.referer, request.trace.user_agent), (b"r".as_slice(), b"u".as_slice()));
        assert!(request.keep_alive && !request.has_body && !request.is_http10);
    }

    #[test]
    fn a_part_of_a_head_is_waited_for() {
        let text = "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n";
        for end in 0..text.len() {
            assert!(read(&text[..end]).unwrap().is_none(), "{end}");
        }
        assert_eq!(whole(text).method, Method::Head);
        // Bare line feeds and empty lines before a request are forgiven.
        assert_eq!(whole("\r\n\nGET / HTTP/1.1\nHost: h\n\n").method, Method::Get);
    }

    #[test]
    fn connections_are_kept_as_the_version_says() {
        for (version, connection, expected) in [
            ("1.1", "", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "Connection: Keep-Alive, Close\r\n", false),
            ("1.1", "Connection: upgrade\r\n", true),
            ("1.0", "", false),
            ("1.0", "Connection: keep-alive\r\n", true),
            ("1.0", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ] {
            let text = format!("GET / HTTP/{version}\r\nHost: h\r\n{connection}\r\n");
            assert_eq!(whole(&text).keep_alive, expected, "{text}");
        }
    }

    #[test]
    fn what_two_could_understand_differently_is_refused() {
        for text in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n",
            "GET\r\n\r\n",
            "\x16\x03\x01\x02\0",
        ] {
            assert_eq!(read(text).err(), Some(HeadError::Malformed), "{text:?}");
        }
        for text in [
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            // The version is what stands behind the second space.
            "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
        ] {
            assert_eq!(read(text).err(), Some(HeadError::Version), "{text:?}");
        }
    }

    #[test]
    fn bodies_are_noticed() {
        for (fields, expected) in [
            ("Content-Length: 0\r\n", false),
            ("Content-Length: 3\r\n", true),
            ("Content-Length: 3\r\nContent-Length: 3\r\n", true),
            ("Transfer-Encoding: chunked\r\n", true),
        ] {
            let text = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
            let request = whole(&text);
            assert_eq!((request.method, request.has_body), (Method::Other, expected), "{fields}");
        }
    }

    #[test]
    fn two_ranges_headers_are_none() {
        let text = "GET / HTTP/1.1\r\nHost: h\r\nRange: bytes=0-1\r\nRange: bytes=2-3\r\n\r\n";
        assert_eq!(whole(text).range, None);
    }

    #[test]
    fn heads_are_bounded() {
        let long = "a".repeat(HEAD_MAX_BYTES);
        assert_eq!(read(&format!("GET /{long}")).err(), Some(HeadError::TargetTooLong));
        assert_eq!(read(&format!("GET / HTTP/1.1\r\nX: {long}")).err(), Some(HeadError::TooLarge));
        assert_eq!(
            read(&format!("GET / HTTP/1.1\r\nHost: h\r\nX: {long}\r\n\r\n")).err(),
            Some(HeadError::TooLarge)
        );
        let many = "X: y\r\n".repeat(FIELDS_MAX + 1);
        assert_eq!(read(&format!("GET / HTTP/1.1\r\n{many}\r\n")).err(), Some(HeadError::TooLarge));
        let newlines = "\r\n".repeat(HEAD_MAX_BYTES / 2);
        assert_eq!(read(&newlines).err(), Some(HeadError::TargetTooLong));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn what_comes_later_changes_nothing(tail in prop::collection::vec(any::<u8>(), 0..40)) {
            let head = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n".to_vec();
            let mut bytes = head.clone();
            bytes.extend(tail);
            let (request, length) = parse(&bytes).unwrap().unwrap();
            prop_assert_eq!(length, head.len());
            prop_assert_eq!(request.trace.target, "/x");
        }
    }
}
