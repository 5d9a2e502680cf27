//! The header `Range`: which parts of a content are asked for.
//!
//! Always true: parts that come out are inside the content, not empty, in ascending order, and neither
//! overlap nor touch, so that no request is answered with more bytes than the content has.

use std::ops::Range;

/// More ranges than this are answered with the whole. Delta downloads ask for 256 at a time.
const RANGES_MAX: usize = 512;

/// What a request wants of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// These parts, at least one.
    Parts(Vec<Range<u64>>),
    /// Only parts that it does not have.
    Nothing,
}

/// Reads the header for a content of `size_bytes`. What cannot be understood asks for the whole.
pub(super) fn parse(header: &[u8], size_bytes: u64) -> Wanted {
    let Some(list) = std::str::from_utf8(header).ok().and_then(ranges_of) else { return Wanted::Whole };
    let specs: Vec<&str> = list.split(',').map(|spec| spec.trim_matches([' ', '\t'])).collect();
    let specs: Vec<&str> = specs.into_iter().filter(|spec| !spec.is_empty()).collect();
    if specs.is_empty() || specs.len() > RANGES_MAX {
        return Wanted::Whole;
    }
    let mut parts = Vec::with_capacity(specs.len());
    for spec in specs {
        let Some(spec) = Spec::parse(spec) else { return Wanted::Whole };
        parts.extend(spec.of(size_bytes));
    }
    if parts.is_empty() { Wanted::Nothing } else { Wanted::Parts(merged(parts)) }
}

/// What stands behind `bytes=`.
fn ranges_of(header: &str) -> Option<&str> {
    let (unit, list) = header.split_once('=')?;
    unit.trim().eq_ignore_ascii_case("bytes").then_some(list)
}

/// One range as written.
enum Spec {
    /// `first-last`, both included.
    Between(u64, u64),
    /// `-count`.
    Last(u64),
}

impl Spec {
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        match (first, last) {
            ("", count) => number(count).map(Self::Last),
            (first, "") => Some(Self::Between(number(first)?, u64::MAX)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    /// The part of a content that it means, if the content has any of it.
    fn of(&self, size_bytes: u64) -> Option<Range<u64>> {
        let part = match *self {
            Self::Between(first, last) => first..last.saturating_add(1).min(size_bytes),
            Self::Last(count) => size_bytes.saturating_sub(count)..size_bytes,
        };
        (part.start < part.end).then_some(part)
    }
}

/// A number of digits alone; one that is too large is as good as the largest.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// In order, with what overlaps or touches made one.
fn merged(mut parts: Vec<Range<u64>>) -> Vec<Range<u64>> {
    parts.sort_unstable_by_key(|part| part.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(parts.len());
    for part in parts {
        match merged.last_mut() {
            Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
            _ => merged.push(part),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_read() {
        let parts =
            |parts: &[(u64, u64)]| Wanted::Parts(parts.iter().map(|(start, end)| *start..*end).collect());
        for (header, expected) in [
            ("bytes=0-0", parts(&[(0, 1)])),
            ("bytes=0-99", parts(&[(0, 100)])),
            ("bytes=10-19", parts(&[(10, 20)])),
            ("bytes=10-", parts(&[(10, 100)])),
            ("bytes=-10", parts(&[(90, 100)])),
            ("bytes=-1000", parts(&[(0, 100)])),
            ("bytes=90-1000", parts(&[(90, 100)])),
            ("BYTES=0-1", parts(&[(0, 2)])),
            ("bytes = 0-1", parts(&[(0, 2)])),
            ("bytes=0-1, 5-6,\t8-9", parts(&[(0, 2), (5, 7), (8, 10)])),
            ("bytes=,0-1,,", parts(&[(0, 2)])),
            // Overlapping and touching parts become one, and the order is that of the content.
            ("bytes=5-9,0-1", parts(&[(0, 2), (5, 10)])),
            ("bytes=0-4,5-9", parts(&[(0, 10)])),
            ("bytes=0-50,10-20,-70", parts(&[(0, 100)])),
            // Parts that the content does not have are left out, if there are others.
            ("bytes=0-1,200-300", parts(&[(0, 2)])),
            ("bytes=100-", Wanted::Nothing),
            ("bytes=200-300", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=99999999999999999999-", Wanted::Nothing),
            ("bytes=0-99999999999999999999", parts(&[(0, 100)])),
            // What is not understood is ignored.
            ("bytes=5-4", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("bytes", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=0-1,x", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=--1", Wanted::Whole),
            ("lines=0-1", Wanted::Whole),
            ("bytes=0 - 1", Wanted::Whole),
        ] {
            assert_eq!(parse(header.as_bytes(), 100), expected, "{header}");
        }
        assert_eq!(parse(b"bytes=0-", 0), Wanted::Nothing);
        assert_eq!(parse(b"bytes=0-\xff", 10), Wanted::Whole);
    }

    #[test]
    fn too_many_ranges_are_answered_with_the_whole() {
        let header = |count: usize| {
            let list: Vec<String> = (0..count).map(|n| format!("{0}-{0}", n * 2)).collect();
            format!("bytes={}", list.join(","))
        };
        let Wanted::Parts(parts) = parse(header(RANGES_MAX).as_bytes(), 10_000) else { panic!("no parts") };
        assert_eq!(parts.len(), RANGES_MAX);
        assert_eq!(parse(header(RANGES_MAX + 1).as_bytes(), 10_000), Wanted::Whole);
    }

    proptest! {
        /// Against a model that marks every byte.
        #[test]
        fn parts_are_the_bytes_asked_for(
            size in 0_u64..40,
            specs in prop::collection::vec((prop::option::of(0_u64..50), prop::option::of(0_u64..50)), 1..6),
        ) {
            let text = |n: Option<u64>| n.map_or(String::new(), |n| n.to_string());
            let list: Vec<String> = specs.iter().map(|(a, b)| format!("{}-{}", text(*a), text(*b))).collect();
            let valid = specs.iter().all(|spec| match spec {
                (None, None) => false,
                (Some(a), Some(b)) => a <= b,
                _ => true,
            });
            let mut marked = vec![false; usize::try_from(size).unwrap()];
            for byte in 0..size {
                marked[usize::try_from(byte).unwrap()] = specs.iter().any(|spec| match *spec {
                    (Some(a), Some(b)) => (a..=b).contains(&byte),
                    (Some(a), None) => byte >= a,
                    (None, Some(count)) => byte + count >= size,
                    (None, None) => false,
                });
            }
            match parse(format!("bytes={}", list.join(",")).as_bytes(), size) {
                Wanted::Whole => prop_assert!(!valid),
                Wanted::Nothing => prop_assert!(valid && !marked.contains(&true)),
                Wanted::Parts(parts) => {
                    prop_assert!(valid);
                    prop_assert!(parts.windows(2).all(|pair| pair[0].end < pair[1].start));
                    let mut found = vec![false; marked.len()];
                    for byte in parts.into_iter().flatten() {
                        found[usize::try_from(byte).unwrap()] = true;
                    }
                    prop_assert_eq!(found, marked);
                }
            }
        }

        #[test]
        fn any_header_is_survived(header in prop::collection::vec(any::<u8>(), 0..40), size in any::<u64>()) {
            if let Wanted::Parts(parts) = parse(&header, size) {
                prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= size));
            }
        }
    }
}
