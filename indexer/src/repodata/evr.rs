//! The order of versions, as rpm compares them: epoch, then version, then release.
//!
//! A version is cut into runs of digits and runs of letters; everything else only separates. Numbers compare as
//! numbers, a number is newer than letters, `~` sorts before the end of a version and `^` behind it.

use std::cmp::Ordering;

/// Compares two versions or two releases.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        a = skip_separators(a);
        b = skip_separators(b);
        for (mark, alone) in [(b'~', Ordering::Less), (b'^', Ordering::Greater)] {
            match (a.first() == Some(&mark), b.first() == Some(&mark)) {
                (true, true) => return compare_bytes(&a[1..], &b[1..]),
                // Where the other one ends, a caret is newer; where it goes on, older.
                (true, false) => return if mark == b'^' && !b.is_empty() { Ordering::Less } else { alone },
                (false, true) => {
                    return if mark == b'^' && !a.is_empty() { Ordering::Greater } else { alone.reverse() };
                }
                (false, false) => {}
            }
        }
        let (Some(first), Some(_)) = (a.first(), b.first()) else {
            // The one that goes on is newer.
            return a.len().cmp(&b.len());
        };
        let is_number = first.is_ascii_digit();
        let (run_a, rest_a) = run(a, is_number);
        let (run_b, rest_b) = run(b, is_number);
        if run_b.is_empty() {
            return if is_number { Ordering::Greater } else { Ordering::Less };
        }
        let order = if is_number { compare_numbers(run_a, run_b) } else { run_a.cmp(run_b) };
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

fn compare_bytes(a: &[u8], b: &[u8]) -> Ordering {
    // Cut at a mark of one byte, both are text still.
    compare(&String::from_utf8_lossy(a), &String::from_utf8_lossy(b))
}

fn skip_separators(bytes: &[u8]) -> &[u8] {
    let keeps = |byte: &u8| byte.is_ascii_alphanumeric() || b"~^".contains(byte);
    &bytes[bytes.iter().position(keeps).unwrap_or(bytes.len())..]
}

/// The run of digits, or of letters, at the beginning, and what is behind it.
fn run(bytes: &[u8], digits: bool) -> (&[u8], &[u8]) {
    let ends = |byte: &u8| if digits { !byte.is_ascii_digit() } else { !byte.is_ascii_alphabetic() };
    bytes.split_at(bytes.iter().position(ends).unwrap_or(bytes.len()))
}

fn compare_numbers(a: &[u8], b: &[u8]) -> Ordering {
    let significant = |digits: &[u8]| digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len());
    let (a, b) = (&a[significant(a)..], &b[significant(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_rpm_orders_them() {
        // From the man page of rpm and its bug reports, written down in order.
        let ascending = [
            ["1.0~rc1", "1.0~rc1^git1"],
            ["1.0~rc1^git1", "1.0"],
            ["1.0", "1.0^git1"],
            ["1.0^git1", "1.0.1"],
            ["1.0^git1", "1.01"],
            ["1.0^git1~pre", "1.0^git1"],
            ["2.0", "2.0.1"],
            ["2.0.1", "2.0.1a"],
            ["5.5p1", "5.5p10"],
            ["10xyz", "10.1xyz"],
            ["xyz10", "xyz10.1"],
            ["xyz.4", "8"],
            ["1.0aa", "1.0b"],
            ["9", "10"],
            ["", "0"],
            ["a", "1"],
            ["1.0", "1.0a"],
        ];
        for [a, b] in ascending {
            assert_eq!(compare(a, b), Ordering::Less, "{a} {b}");
            assert_eq!(compare(b, a), Ordering::Greater, "{b} {a}");
        }
        for [a, b] in
            [["1.0", "1.0"], ["1.0", "1_0"], ["1.05", "1.5"], ["1..0", "1.0"], ["2_0", "2.0."], ["", ""]]
        {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} {b}");
        }
    }
}
