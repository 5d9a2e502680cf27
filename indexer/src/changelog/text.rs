//! A changelog for people, as mails about composes have it.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Build, Change, Changelog, Image};

/// Counts and sizes, and a line for each package.
pub fn text(log: &Changelog) -> String {
    let mut out = summary(log);
    let images = |images: &[Image]| images.iter().map(|image| image.path.clone()).collect::<Vec<_>>();
    let builds = |builds: &[Build]| builds.iter().map(Build::nvr).collect::<Vec<_>>();
    let changes = |changes: &[Change]| -> Vec<String> {
        let line = |(old, new)| format!("{old} -> {new}");
        changes.iter().map(|change| line(change.titles())).collect()
    };
    for (title, lines) in [
        ("ADDED IMAGES", images(&log.added_images)),
        ("DROPPED IMAGES", images(&log.dropped_images)),
        ("ADDED PACKAGES", builds(&log.added)),
        ("DROPPED PACKAGES", builds(&log.dropped)),
        ("UPGRADED PACKAGES", changes(&log.upgraded)),
        ("DOWNGRADED PACKAGES", changes(&log.downgraded)),
        ("MOVED PACKAGES", moves(log)),
    ] {
        let _ = writeln!(out, "\n===== {title} =====");
        lines.iter().for_each(|line| out.extend([line, "\n"]));
    }
    out
}

/// The same, with everything about each package, and what its changelog says.
pub fn verbose(log: &Changelog) -> String {
    let mut out = summary(log);
    for (title, images) in [("ADDED IMAGES", &log.added_images), ("DROPPED IMAGES", &log.dropped_images)] {
        let _ = writeln!(out, "\n===== {title} =====");
        for Image { path, size_bytes } in images {
            let _ = writeln!(out, "Path: {path}\nSize: {}", size(*size_bytes));
        }
    }
    for (title, builds) in [("ADDED PACKAGES", &log.added), ("DROPPED PACKAGES", &log.dropped)] {
        let _ = writeln!(out, "\n===== {title} =====");
        for build in builds {
            let (nvr, bytes) = (build.nvr(), size(build.size_bytes()));
            let _ = writeln!(out, "Package: {nvr}\nSummary: {}", build.summary);
            let _ = writeln!(out, "RPMs:    {}\nSize:    {bytes}\n", names(build.names.iter()));
        }
    }
    for (title, changes) in [("UPGRADED PACKAGES", &log.upgraded), ("DOWNGRADED PACKAGES", &log.downgraded)] {
        let _ = writeln!(out, "\n===== {title} =====");
        changes.iter().for_each(|change| one_change(&mut out, change));
    }
    let _ = writeln!(out, "\n===== MOVED PACKAGES =====");
    moves(log).iter().for_each(|line| out.extend([line, "\n"]));
    out
}

fn one_change(out: &mut String, change: &Change) {
    let Change { old, new, entries } = change;
    let growth = change.growth_bytes();
    let (before, now) = change.titles();
    let _ = writeln!(out, "Package:      {now}\nOld package:  {before}");
    let _ = writeln!(out, "Summary:      {}\nRPMs:         {}", new.summary, names(new.names.iter()));
    for (title, some, others) in [("Added RPMs:  ", new, old), ("Dropped RPMs:", old, new)] {
        let only = names(some.names.difference(&others.names));
        if !only.is_empty() {
            let _ = writeln!(out, "{title} {only}");
        }
    }
    let _ = writeln!(out, "Size:         {}\nSize change:  {}", size(new.size_bytes()), signed(growth));
    if !entries.is_empty() {
        let _ = writeln!(out, "Changelog:");
        for entry in entries {
            let _ = writeln!(out, "  * {} {}", day(entry.time), entry.author);
            entry.text.lines().for_each(|line| out.extend(["  ", line, "\n"]));
            out.push('\n');
        }
    }
    out.push('\n');
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn moves(log: &Changelog) -> Vec<String> {
    let list = |set: &std::collections::BTreeSet<String>| names(set.iter()).replace(' ', ", ");
    let line = |one: &super::Move| {
        format!("{}: {} -> {}", one.build.nvr(), list(&one.from), list(&one.build.repositories))
    };
    log.moved.iter().map(line).collect()
}

fn summary(log: &Changelog) -> String {
    let builds = |builds: &[Build]| builds.iter().map(Build::size_bytes).sum::<u64>();
    let changes = |changes: &[Change]| changes.iter().map(|one| one.new.size_bytes()).sum::<u64>();
    let growth = |changes: &[Change]| changes.iter().map(Change::growth_bytes).sum::<i64>();
    let mut out = format!("OLD: {}\nNEW: {}\n\n===== SUMMARY =====\n", log.old, log.new);
    for (title, count) in [
        ("Added images:       ", log.added_images.len()),
        ("Dropped images:     ", log.dropped_images.len()),
        ("Added packages:     ", log.added.len()),
        ("Dropped packages:   ", log.dropped.len()),
        ("Upgraded packages:  ", log.upgraded.len()),
        ("Downgraded packages:", log.downgraded.len()),
        ("Moved packages:     ", log.moved.len()),
    ] {
        let _ = writeln!(out, "{title} {count}");
    }
    out.push('\n');
    for (title, bytes) in [
        ("Size of added packages:     ", builds(&log.added)),
        ("Size of dropped packages:   ", builds(&log.dropped)),
        ("Size of upgraded packages:  ", changes(&log.upgraded)),
        ("Size of downgraded packages:", changes(&log.downgraded)),
    ] {
        let _ = writeln!(out, "{title} {}", size(bytes));
    }
    let _ = writeln!(out, "\nSize change of upgraded packages:   {}", signed(growth(&log.upgraded)));
    let _ = writeln!(out, "Size change of downgraded packages: {}", signed(growth(&log.downgraded)));
    out
}

/// Bytes with two digits behind the point: `6.92 MiB`.
#[expect(clippy::cast_precision_loss, reason = "two digits are told")]
pub fn size(bytes: u64) -> String {
    let mut rest = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or("B");
    for larger in units {
        if rest < 1024.0 {
            break;
        }
        (rest, unit) = (rest / 1024.0, larger);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{rest:.2} {unit}") }
}

fn signed(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "" };
    format!("{sign}{}", size(bytes.unsigned_abs()))
}

/// The day of a time, as changelogs have it: `Tue Jan 01 2019`.
pub(super) fn day(time: i64) -> String {
    let zoned = Timestamp::from_second(time).map(|time| time.to_zoned(TimeZone::UTC));
    zoned.map_or_else(|_| format!("@{time}"), |zoned| zoned.strftime("%a %b %d %Y").to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn epochs_are_told_where_they_tell_builds_apart() {
        let build = |epoch, version: &str| Build {
            name: "ep".into(),
            epoch,
            version: version.into(),
            release: "1".into(),
            summary: String::new(),
            packages: BTreeMap::new(),
            names: BTreeSet::new(),
            repositories: BTreeSet::new(),
            built: 0,
            sample: (0, String::new()),
        };
        let titles = |old, new| Change { old, new, entries: Vec::new() }.titles();
        assert_eq!(titles(build(0, "5"), build(1, "1")), ("ep-0:5-1".into(), "ep-1:1-1".into()));
        assert_eq!(titles(build(1, "1"), build(1, "2")), ("ep-1-1".into(), "ep-2-1".into()));
    }

    #[test]
    fn sizes_and_days_are_as_in_mails() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(7_256_146), "6.92 MiB");
        assert_eq!(size(3 << 30), "3.00 GiB");
        assert_eq!(signed(-38_011), "-37.12 KiB");
        assert_eq!(day(1_546_344_000), "Tue Jan 01 2019");
    }
}
