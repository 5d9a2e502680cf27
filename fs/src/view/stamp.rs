//! Times as names: `20260130T203000Z` is a second of UTC.
//!
//! Always true: text and second belong to each other in both directions; no other spelling is accepted.

/// Reads a name of sixteen characters as seconds since 1970, or says that it is none.
pub(crate) fn seconds(name: &str) -> Option<i64> {
    let (date, time) = name.strip_suffix('Z')?.split_once('T')?;
    if date.len() != 8 || time.len() != 6 {
        return None;
    }
    // A parser of numbers takes a sign, too.
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let number = |text: &str| text.parse::<i64>().ok().filter(|_| digits(text));
    let (year, month, day) = (number(date.get(..4)?)?, number(date.get(4..6)?)?, number(date.get(6..)?)?);
    let (hour, minute, second) = (number(time.get(..2)?)?, number(time.get(2..4)?)?, number(time.get(4..)?)?);
    let valid = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !valid || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar: whole years with their leap days, whole months, days.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let years = 365 * (year - 1970) + leaps(year - 1) - leaps(1969);
    years + (1..month).map(|month| days_in(year, month)).sum::<i64>() + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_seconds_are_read() {
        // As `date -u -d … +%s` prints them.
        for (name, expected) in [
            ("19700101T000000Z", 0),
            ("20000229T120000Z", 951_825_600),
            ("20260130T203000Z", 1_769_805_000),
            ("19691231T235959Z", -1),
            ("21000301T000000Z", 4_107_542_400),
        ] {
            assert_eq!(seconds(name), Some(expected), "{name}");
        }
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            "",
            "Z",
            "20260130",
            "20260130T203000",
            "2026-01-30T20:30:00Z",
            "20260230T000000Z",
            "20261301T000000Z",
            "20260100T000000Z",
            "20260130T240000Z",
            "20260130T206000Z",
            "20260130T203060Z",
            "+2260130T203000Z",
            "2026013éT20300Z",
        ] {
            assert_eq!(seconds(name), None, "{name}");
        }
    }
}
