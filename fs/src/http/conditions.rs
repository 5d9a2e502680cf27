//! Conditions on a request: whether what the client has is still good.
//!
//! Always true: entity tags are strong (they name bytes), so a client's weak one matches only where a weak
//! comparison is asked for; conditions are taken in the order of RFC 9110, 13.2.2.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second that an HTTP date can say: the end of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// What a client has, by the tag and time of what would be sent now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Validators<'a> {
    /// The strong entity tag, in its quotes.
    pub(super) etag: &'a str,
    /// Modification time in seconds since 1970.
    pub(super) mtime: i64,
}

/// The conditional headers of one request, as they came.
#[derive(Debug, Clone, Default)]
pub(super) struct Conditions<'a> {
    pub(super) matching: Vec<&'a [u8]>,
    pub(super) none_matching: Vec<&'a [u8]>,
    pub(super) modified_since: Option<&'a [u8]>,
    pub(super) unmodified_since: Option<&'a [u8]>,
    pub(super) range_of: Option<&'a [u8]>,
}

/// What the conditions come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Answer as without them.
    Go,
    /// 304: the client has it.
    NotModified,
    /// 412: it is not what the client takes it for.
    Failed,
}

impl Conditions<'_> {
    /// Whether the request is to be answered with the content.
    pub(super) fn verdict(&self, now: Validators<'_>) -> Verdict {
        let mtime = sayable(now.mtime);
        if !self.matching.is_empty() {
            if !self.matching.iter().any(|list| any_tag(list, |tag| tag == Tag::Strong(now.etag))) {
                return Verdict::Failed;
            }
        } else if self.unmodified_since.and_then(seconds).is_some_and(|since| mtime > since) {
            return Verdict::Failed;
        }
        if !self.none_matching.is_empty() {
            let same = |tag: Tag<'_>| tag.text() == now.etag;
            if self.none_matching.iter().any(|list| any_tag(list, same)) {
                return Verdict::NotModified;
            }
        } else if self.modified_since.and_then(seconds).is_some_and(|since| mtime <= since) {
            return Verdict::NotModified;
        }
        Verdict::Go
    }

    /// Whether a part may be sent: without `If-Range`, or when it names exactly what would be sent now.
    pub(super) fn part_is_good(&self, now: Validators<'_>) -> bool {
        let Some(header) = self.range_of else { return true };
        match seconds(header) {
            Some(second) => second == sayable(now.mtime),
            None => header.trim_ascii() == now.etag.as_bytes(),
        }
    }
}

/// An entity tag of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag<'a> {
    Strong(&'a str),
    Weak(&'a str),
}

impl<'a> Tag<'a> {
    fn text(self) -> &'a str {
        let (Self::Strong(text) | Self::Weak(text)) = self;
        text
    }
}

/// Whether `fits` says so of any tag in a list, `*` included. What follows a mistake is not read.
fn any_tag(list: &[u8], fits: impl Fn(Tag<'_>) -> bool) -> bool {
    let Ok(mut rest) = std::str::from_utf8(list) else { return false };
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.starts_with('*') {
            // A strong comparison takes anything that exists, and so does a weak one.
            return true;
        }
        let (weak, text) = rest.strip_prefix("W/").map_or((false, rest), |text| (true, text));
        let Some(end) = text.strip_prefix('"').and_then(|inner| inner.find('"')) else { return false };
        let (tag, after) = text.split_at(end + 2);
        if fits(if weak { Tag::Weak(tag) } else { Tag::Strong(tag) }) {
            return true;
        }
        rest = after;
    }
}

/// Reads an HTTP date, in any of its three forms, as seconds since 1970.
fn seconds(header: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(header).ok()?.trim();
    let time = httpdate::parse_http_date(text).ok()?;
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

/// The nearest second that an HTTP date can say.
fn sayable(second: i64) -> i64 {
    second.clamp(0, LAST_SECOND)
}

/// Writes seconds since 1970 as an HTTP date.
pub(super) fn http_date(second: i64) -> String {
    let since = Duration::from_secs(sayable(second).unsigned_abs());
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Validators<'static> = Validators { etag: "\"abc\"", mtime: 784_111_777 };
    const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
    const EARLIER: &[u8] = b"Sun, 06 Nov 1994 08:49:36 GMT";
    const LATER: &[u8] = b"Sun, 06 Nov 1994 08:49:38 GMT";

    #[test]
    fn tags_are_compared() {
        for (list, matches) in [
            ("\"abc\"", true),
            ("\"x\", \"abc\"", true),
            ("\"x,\" ,W/\"abc\"", true),
            ("*", true),
            (" * ", true),
            ("\"ABC\"", false),
            ("abc", false),
            ("\"abc", false),
            ("\"x\" nonsense \"abc\"", false),
            ("", false),
            ("\"\"", false),
        ] {
            let conditions = Conditions { none_matching: vec![list.as_bytes()], ..Default::default() };
            let expected = if matches { Verdict::NotModified } else { Verdict::Go };
            assert_eq!(conditions.verdict(NOW), expected, "If-None-Match: {list}");
            // A weak tag never names bytes.
            let expected = if matches && !list.contains("W/") { Verdict::Go } else { Verdict::Failed };
            let conditions = Conditions { matching: vec![list.as_bytes()], ..Default::default() };
            assert_eq!(conditions.verdict(NOW), expected, "If-Match: {list}");
        }
    }

    #[test]
    fn times_are_compared() {
        for (date, modified, unmodified) in [
            (DATE, Verdict::NotModified, Verdict::Go),
            (b"Sunday, 06-Nov-94 08:49:37 GMT".as_slice(), Verdict::NotModified, Verdict::Go),
            (b"Sun Nov  6 08:49:37 1994", Verdict::NotModified, Verdict::Go),
            (LATER, Verdict::NotModified, Verdict::Go),
            (EARLIER, Verdict::Go, Verdict::Failed),
            (b"yesterday", Verdict::Go, Verdict::Go),
            (b"", Verdict::Go, Verdict::Go),
        ] {
            let shown = String::from_utf8_lossy(date);
            let conditions = Conditions { modified_since: Some(date), ..Default::default() };
            assert_eq!(conditions.verdict(NOW), modified, "If-Modified-Since: {shown}");
            let conditions = Conditions { unmodified_since: Some(date), ..Default::default() };
            assert_eq!(conditions.verdict(NOW), unmodified, "If-Unmodified-Since: {shown}");
        }
    }

    #[test]
    fn a_tag_counts_more_than_a_time() {
        let (same, other): (&[u8], &[u8]) = (b"\"abc\"", b"\"x\"");
        let conditions =
            Conditions { none_matching: vec![other], modified_since: Some(LATER), ..Default::default() };
        assert_eq!(conditions.verdict(NOW), Verdict::Go);
        let conditions =
            Conditions { matching: vec![same], unmodified_since: Some(EARLIER), ..Default::default() };
        assert_eq!(conditions.verdict(NOW), Verdict::Go);
        let conditions =
            Conditions { matching: vec![other], none_matching: vec![same], ..Default::default() };
        assert_eq!(conditions.verdict(NOW), Verdict::Failed);
    }

    #[test]
    fn a_part_is_sent_only_of_the_very_same() {
        for (header, expected) in [
            (None, true),
            (Some(b"\"abc\"".as_slice()), true),
            (Some(DATE), true),
            (Some(b"W/\"abc\""), false),
            (Some(b"\"x\""), false),
            (Some(LATER), false),
            (Some(EARLIER), false),
            (Some(b"*"), false),
            (Some(b""), false),
        ] {
            let conditions = Conditions { range_of: header, ..Default::default() };
            assert_eq!(conditions.part_is_good(NOW), expected, "{header:?}");
        }
    }

    #[test]
    fn every_second_can_be_written() {
        for (second, expected) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (-5, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (i64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (i64::MIN, "Thu, 01 Jan 1970 00:00:00 GMT"),
        ] {
            assert_eq!(http_date(second), expected);
        }
    }
}
